"""``graftable evaluate-graphs``: the figures are those of the metrics, in a table and in JSON."""

import json

import networkx as nx
import numpy as np
import pytest

from graftable import evaluation
from graftable.cli import main
from graftable.evaluation import compare_sets
from graftable.graphs.conversion import from_networkx
from graftable.graphs.metrics import STATISTICS, evaluate_graphs
from graftable.pipelines.readers import read_graphs, write_graphs

SEEDS = range(6)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two sets of trees and one of rings, as records."""
    folder = tmp_path_factory.mktemp("sets")
    sets = {
        "trees": [nx.random_labeled_tree(12, seed=seed) for seed in SEEDS],
        "others": [nx.random_labeled_tree(12, seed=99 + seed) for seed in SEEDS],
        "rings": [nx.cycle_graph(10 + seed) for seed in SEEDS],
    }
    for name, graphs in sets.items():
        write_graphs([from_networkx(graph) for graph in graphs], folder / f"{name}.parquet")
    return {name: str(folder / f"{name}.parquet") for name in sets}


def as_json(capsys, *arguments):
    assert main(["evaluate-graphs", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_holds_what_the_metrics_compute(files, capsys):
    found = as_json(capsys, files["trees"], files["others"], "--train", files["rings"])
    sets = [read_graphs(files[name]) for name in ("trees", "others", "rings")]
    assert found["distances"] == json.loads(json.dumps(evaluate_graphs(*sets).to_dict()))
    assert set(found["distances"]["statistics"]) == set(STATISTICS)
    assert found["shares"]["novel"]["value"] == 1.0
    assert found["mean_attributes"]["num_nodes"] == {"generated": 12.0, "reference": 12.0}
    assert found["mean_attributes"]["mean_degree"]["generated"] == pytest.approx(22 / 12)


def test_a_set_is_at_no_distance_from_itself_and_nothing_new(files, capsys):
    found = as_json(capsys, files["trees"], files["trees"], "--train", files["trees"])
    assert all(interval["value"] < 1e-9 for interval in found["distances"]["statistics"].values())
    assert found["shares"]["novel"]["value"] == 0.0


def test_without_training_graphs_there_is_no_novelty_and_no_ratio(files, capsys):
    found = as_json(capsys, files["trees"], files["rings"])
    assert found["distances"]["ratio"] is None
    assert "novel" not in found["shares"]
    assert found["train"] is None


def test_other_graphs_are_farther_away_than_graphs_of_the_same_kind(files):
    trees, others, rings = (read_graphs(files[name]) for name in ("trees", "others", "rings"))
    near, far = compare_sets(trees, others).distances, compare_sets(rings, others).distances
    assert all(near.statistics[name].value < far.statistics[name].value for name in ("degree", "spectral", "wavelet"))


def test_every_distance_has_an_interval_that_is_not_reversed(files):
    report = compare_sets(*(read_graphs(files[name]) for name in ("trees", "others", "rings"))).distances
    for interval in (*report.statistics.values(), report.ratio):
        assert 0 <= interval.low <= interval.high


def test_the_table_names_files_statistics_and_shares(files, capsys):
    assert main(["evaluate-graphs", files["trees"], files["others"], "--train", files["rings"]]) == 0
    printed = capsys.readouterr().out
    for words in (files["trees"], *STATISTICS, "95 % interval", "ratio to real graphs", "novel: 100.0%", "are few"):
        assert words in printed


def test_what_is_missing_is_asked_for(files, capsys):
    assert main(["evaluate-graphs", files["trees"], files["others"]]) == 0
    assert "add --train FILE" in capsys.readouterr().out


def test_the_spectrum_of_huge_graphs_is_left_out_and_said(files, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "SPECTRUM_UP_TO", 11)
    found = as_json(capsys, files["trees"], files["others"])
    assert found["left_out"] == ["spectral", "wavelet"]
    assert set(found["distances"]["statistics"]) == set(STATISTICS) - {"spectral", "wavelet"}
    assert main(["evaluate-graphs", files["trees"], files["others"]]) == 0
    assert "left out above 11 nodes" in capsys.readouterr().out


def test_files_of_any_kind_are_compared(files, tmp_path, capsys):
    edges = tmp_path / "[bold]set"
    edges.mkdir()
    for seed in SEEDS:
        lines = "\n".join(f"{u} {v}" for u, v in nx.random_labeled_tree(9, seed=seed).edges())
        (edges / f"{seed}.txt").write_text(lines)
    assert main(["evaluate-graphs", str(edges), files["trees"]]) == 0
    assert str(edges) in capsys.readouterr().out


def test_mistakes_are_one_sentence(files, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for wrong, told in (("missing.npz", "no such file"), ("empty", "no graph file"), ("other.npz", "'n'")):
        for arguments in (
            [tmp_path / wrong, files["trees"]],
            [files["trees"], files["trees"], "--train", tmp_path / wrong],
        ):
            assert main(["evaluate-graphs", *map(str, arguments)]) == 2
            out, err = capsys.readouterr()
            assert out == ""
            assert err.count("\n") == 1
            assert told in err
