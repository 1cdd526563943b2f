"""Every set comes through one door, whole, typed and repeatable; what is missing is said in one sentence."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.loader import DataLoader

from graftable.errors import ConfigError, DataError
from graftable.graphs.shift import PARTS, SHIFT_SETS, load_shift_set
from graftable.graphs.shift.good_motif import good_cuts
from graftable.graphs.shift.shift_set import part_sizes

GENERATED = {
    "triangles": {"size": 100},
    "colors": {"size": 22},
    "spurious_motif": {"size": 60},
    "good_motif": {"size": 60},
    "wheel_star": {"size": 60},
    "good_cmnist": {"size": 60},
    "mnist75sp": {"size": 60},
}
FROM_FILES = sorted(name for name in SHIFT_SETS if not name.startswith(tuple(GENERATED)))


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_set_keeps_the_contract(name):
    shift = load_shift_set(name, **GENERATED[name])
    assert len(shift.train) == GENERATED[name]["size"]
    assert tuple(shift.parts) == PARTS
    for graphs in shift.parts.values():
        for graph in graphs:
            assert graph.x.dtype == torch.float32
            assert graph.x.shape == (graph.num_nodes, shift.num_features)
            assert graph.y.dtype == torch.int64
            assert graph.y.shape == (1,)
            assert 0 <= int(graph.y) < shift.num_classes == shift.num_outputs
            assert isinstance(graph.environment, int)
            assert graph.edge_index.dtype == torch.int64
            assert graph.edge_index.is_contiguous()
            assert graph.is_undirected()
            assert not graph.has_self_loops()
    assert {graph.environment for graph in shift.train} == set(range(shift.num_environments))
    assert shift.summary().startswith(f"{shift.name}, ")
    assert SHIFT_SETS[shift.name]  # a set can be loaded again by the name that it bears
    batch = next(iter(DataLoader(shift.train, batch_size=7)))
    assert batch.y.shape == batch.environment.shape == (7,)


@pytest.mark.parametrize("name", GENERATED)
def test_the_same_seed_gives_the_same_graphs_and_another_gives_others(name):
    first, again, other = (load_shift_set(name, seed=seed, **GENERATED[name]) for seed in (3, 3, 4))

    def content(shift):
        return [
            (g.num_nodes, g.environment, g.y.tolist(), g.x.tolist(), g.edge_index.tolist())
            for graphs in shift.parts.values()
            for g in graphs
        ]

    assert content(first) == content(again)
    assert content(first) != content(other)


def test_a_copy_of_one_graph_copies_no_others():
    graph = copy.deepcopy(load_shift_set("wheel_star", size=500).train[0])
    assert graph.x.untyped_storage().nbytes() == graph.x.numel() * 4


@given(st.integers(1, 40_000), st.integers(1, 40_000), st.sampled_from([1, 2, 3, 10, 11]))
@settings(derandomize=True)
def test_training_has_exactly_the_size_asked_for_up_to_whole_classes(size, published, multiple):
    sizes = part_sizes(size * multiple, {"train": published, "ood_test": 2 * published}, multiple=multiple)
    assert sizes == {"train": size * multiple, "ood_test": 2 * size * multiple}


@pytest.mark.parametrize("size", [10, 77, 600])
@pytest.mark.parametrize("shift", ["covariate", "concept"])
def test_cuts_hold_each_graph_once_and_training_has_the_size_asked_for(size, shift):
    environment, parts = good_cuts(size, 30_000, shift, 3, np.random.default_rng(0))
    assert abs(len(parts["train"]) - size) <= 2
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(environment)))
    assert set(environment[parts["train"]].tolist()) == {0, 1, 2}
    assert set(environment[parts["ood_test"]].tolist()) == {4}


@pytest.mark.parametrize("name", FROM_FILES)
def test_a_set_without_its_folder_says_which_file_it_wants(name, tmp_path):
    with pytest.raises(ConfigError, match=r"is read from (tu|mol)_\S+\.npz, and no folder was given"):
        load_shift_set(name)
    with pytest.raises(DataError, match=r"is read from (tu|mol)_\S+\.npz, and .* holds no such file"):
        load_shift_set(name, tmp_path)


def test_digits_in_a_folder_that_lacks_them_are_not_replaced_in_silence(tmp_path):
    with pytest.raises(DataError, match=r"mnist75sp_t10k\.npz"):
        load_shift_set("good_cmnist", tmp_path)


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean wheel_star"):
        load_shift_set("wheelstar")


def test_an_unknown_setting_offers_those_that_are():
    with pytest.raises(ConfigError, match=r"no setting 'muu'; its settings are mu\."):
        load_shift_set("wheel_star", muu=0.9)
    with pytest.raises(ConfigError, match="it has none of its own"):
        load_shift_set("triangles", bias=0.9)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"seed": 0.5}, {"seed": True}, {"size": 0}, {"size": "many"}])
def test_a_seed_or_size_that_is_none_is_refused(wrong):
    with pytest.raises(ConfigError, match="expected"):
        load_shift_set("wheel_star", **wrong)
