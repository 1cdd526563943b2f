"""The published rows, from graph sets that lie beside the tests (sources and licences: tests/data/README.md)."""

import os
from pathlib import Path

import pytest

from graftable.graphs.metrics import STATISTICS, describe_graphs, evaluate_graphs, vun
from graftable.pipelines.readers import read_graphs

DATA = Path(__file__).parents[2] / "data"


def parts(name):
    graphs = read_graphs(DATA / f"{name}.npz")
    return [graph for graph in graphs if graph.split == "train"], [graph for graph in graphs if graph.split == "test"]


def row(report):
    return [round(report.statistics[name].value, 4) for name in STATISTICS]


@pytest.fixture(scope="module")
def planar():
    train, test = parts("planar")
    return train, describe_graphs(train), describe_graphs(test)


def test_planar_training_row_is_the_published_one(planar):
    _, train, test = planar
    assert row(evaluate_graphs(train, test)) == [0.0002, 0.0310, 0.0005, 0.0038, 0.0012]


def test_tree_training_row_is_the_published_one():
    train, test = (describe_graphs(part, clip_spectrum=False) for part in parts("tree"))
    found = row(evaluate_graphs(train, test))
    # which trees lose their eigenvalue 2 to rounding depends on the processor: .0073 to .0075
    assert found.pop(3) == pytest.approx(0.0075, abs=0.0003)
    assert found == [0.0001, 0.0, 0.0, 0.0030]


def test_tree_spectra_do_not_depend_on_rounding_by_default():
    train, test = (describe_graphs(part, ["spectral"]) for part in parts("tree"))
    figure = evaluate_graphs(train, test, statistics=["spectral"]).statistics["spectral"]
    assert figure.value == pytest.approx(0.00735, abs=1e-5)


def test_released_planar_samples_of_digress_score_as_recorded(planar):
    train_graphs, train, test = planar
    samples = read_graphs(DATA / "digress_planar_samples.npz")
    report = evaluate_graphs(samples, test, train)
    assert row(report) == [0.0006, 0.0563, 0.0098, 0.0062, 0.0024]
    assert round(report.ratio.value, 2) == 5.35
    assert vun(samples, train_graphs, "planar").vun.value == 0.85


def test_block_model_rows_are_the_published_ones():
    train_graphs, test_graphs = parts("sbm")
    train, test = describe_graphs(train_graphs), describe_graphs(test_graphs)
    assert row(evaluate_graphs(train, test, bootstrap=0)) == [0.0008, 0.0332, 0.0255, 0.0027, 0.0007]
    samples = read_graphs(DATA / "digress_sbm_samples.npz")
    report = evaluate_graphs(samples, test, train, bootstrap=0)
    assert row(report) == [0.0023, 0.0505, 0.0568, 0.0052, 0.0057]
    assert round(report.ratio.value, 2) == 3.26
    assert vun(samples, train_graphs, "sbm").vun.value == 0.6


# sets without a stated licence are not bundled: the folder must hold bench/*.npz, as for the benchmarks
SETS = Path(os.environ.get("GRAFTABLE_DATA", Path(__file__).parents[3] / "../shared/data/graphs"))


@pytest.mark.skipif(
    not (SETS / "bench" / "ego_small.npz").exists(),
    reason=f"{SETS} holds no bench/ego_small.npz; set GRAFTABLE_DATA to the folder of graph sets",
)
@pytest.mark.parametrize(
    ("name", "published"), [("community_small", [0.0034, 0.0092]), ("ego_small", [0.0142, 0.0273])]
)
def test_small_sets_have_the_recorded_earth_mover_rows(name, published):
    graphs = read_graphs(SETS / "bench" / f"{name}.npz")
    held_out = len(graphs) // 5  # GDSS tests on the first fifth of the file
    report = evaluate_graphs(graphs[held_out:], graphs[:held_out], kernel="gaussian_emd", bootstrap=0)
    assert [round(report.statistics[statistic].value, 4) for statistic in ("degree", "clustering")] == published
