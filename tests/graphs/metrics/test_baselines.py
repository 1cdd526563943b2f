"""What the yardsticks promise: sizes, expected degrees, copies; all of them well-formed and repeatable."""

import networkx as nx
import numpy as np
import pytest

from graftable.errors import DataError
from graftable.graphs.conversion import to_networkx
from graftable.graphs.metrics import BASELINES, chung_lu, copy_of_train, erdos_renyi, vun
from graftable.graphs.metrics.baselines import _unrank

TRAIN = [nx.barabasi_albert_graph(20 + seed, 2, seed=seed) for seed in range(12)]


@pytest.mark.parametrize("name", BASELINES)
def test_draws_are_simple_graphs_and_repeat_with_the_seed(name):
    draws, again = (BASELINES[name](TRAIN, 30, np.random.default_rng(1)) for _ in range(2))
    assert len(draws) == 30
    for graph, other in zip(draws, again, strict=True):
        assert graph.edge_index.equal(other.edge_index)
        assert graph.is_undirected()
        assert graph.is_coalesced()
        assert not graph.has_self_loops()
        assert graph.num_nodes in {len(member) for member in TRAIN}


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_edgeless_training_graphs_give_edgeless_draws(name, size):
    (draw,) = BASELINES[name]([nx.empty_graph(size)], 1, np.random.default_rng(0))
    assert (draw.num_nodes, draw.num_edges) == (size, 0)


@pytest.mark.parametrize("name", BASELINES)
def test_nothing_to_learn_from_is_named(name):
    assert BASELINES[name](TRAIN, 0, np.random.default_rng(0)) == []
    with pytest.raises(DataError, match="no training graphs"):
        BASELINES[name]([], 1, np.random.default_rng(0))


def test_erdos_renyi_has_the_sizes_of_training_graphs():
    sizes = {(len(graph), graph.number_of_edges()) for graph in TRAIN}
    draws = erdos_renyi(TRAIN, 50, np.random.default_rng(0))
    assert {(graph.num_nodes, graph.num_edges // 2) for graph in draws} <= sizes
    assert erdos_renyi([nx.complete_graph(6)], 1, np.random.default_rng(0))[0].num_edges == 30


def test_every_pair_of_nodes_has_one_rank():
    pairs = _unrank(np.arange(45)).tolist()
    assert sorted(map(tuple, pairs)) == [(i, j) for i in range(10) for j in range(i + 1, 10)]
    last = 10**7 * (10**7 - 1) // 2 - 1
    assert _unrank(np.array([last])).tolist() == [[10**7 - 2, 10**7 - 1]]


def test_chung_lu_meets_the_degrees_on_average():
    graph = nx.barabasi_albert_graph(40, 3, seed=0)
    draws = chung_lu([graph], 400, np.random.default_rng(0))
    mean = np.mean([[degree for _, degree in to_networkx(draw).degree()] for draw in draws], axis=0)
    degree = np.array([degree for _, degree in graph.degree()])
    chances = np.minimum(1, np.outer(degree, degree) / degree.sum())
    np.fill_diagonal(chances, 0)
    np.testing.assert_allclose(mean, chances.sum(axis=1), atol=0.6)


def test_copies_use_every_training_graph_equally_often():
    copies = copy_of_train(TRAIN, 24, np.random.default_rng(0))
    assert sorted(graph.num_nodes for graph in copies) == sorted([len(graph) for graph in TRAIN] * 2)
    assert vun(copies, TRAIN).novel.value == 0
