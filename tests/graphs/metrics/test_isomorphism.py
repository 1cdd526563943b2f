"""Isomorphism against networkx, on random pairs and on pairs that colour refinement cannot tell apart."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.graphs.metrics import GraphIndex, are_isomorphic, wl_hash

seeds = st.integers(0, 10**6)
random_graphs = st.builds(nx.gnp_random_graph, st.integers(0, 7), st.floats(0, 1), seed=seeds)


def renumbered(graph, seed):
    nodes = list(graph)
    order = np.random.default_rng(seed).permutation(len(nodes)).tolist()
    place = dict(zip(nodes, order, strict=True))
    moved = nx.empty_graph(len(nodes))
    moved.add_edges_from((place[u], place[v]) for u, v in graph.edges())
    return moved


def rook():
    return nx.line_graph(nx.complete_bipartite_graph(4, 4))


def shrikhande():
    """The other graph with the rook's parameters: both are strongly regular (16, 6, 2, 2)."""
    steps = [(0, 1), (1, 0), (1, 1)]
    return nx.Graph(((a, b), ((a + i) % 4, (b + j) % 4)) for a in range(4) for b in range(4) for i, j in steps)


STUBBORN = {
    "grid": nx.grid_2d_graph(6, 6),
    "torus": nx.grid_2d_graph(7, 7, periodic=True),
    "cubes": nx.disjoint_union_all([nx.cubical_graph()] * 4),
    "regular": nx.random_regular_graph(3, 40, seed=1),
    "rook": rook(),
    "shrikhande": shrikhande(),
    "tree": nx.random_labeled_tree(200, seed=1),
    "edgeless": nx.empty_graph(300),
    "complete": nx.complete_graph(40),
}


@given(random_graphs, random_graphs)
@settings(max_examples=60, deadline=None)
def test_verdict_is_that_of_networkx(first, second):
    assert are_isomorphic(first, second) is nx.is_isomorphic(first, second)


@given(st.integers(4, 8), st.integers(3, 12), seeds)
@settings(max_examples=60, deadline=None)
def test_verdict_is_that_of_networkx_when_degrees_agree(nodes, edges, seed):
    first = nx.gnm_random_graph(nodes, edges, seed=seed)
    second = nx.havel_hakimi_graph([degree for _, degree in first.degree()])
    assert are_isomorphic(first, second) is nx.is_isomorphic(first, second)


@pytest.mark.parametrize("name", STUBBORN)
def test_renumbered_graphs_are_isomorphic_and_share_their_hash(name):
    moved = renumbered(STUBBORN[name], seed=5)
    assert are_isomorphic(STUBBORN[name], moved) is True
    assert wl_hash(STUBBORN[name]) == wl_hash(moved)


def test_graphs_that_refinement_confuses_are_told_apart():
    assert wl_hash(rook()) == wl_hash(shrikhande())
    assert are_isomorphic(rook(), shrikhande()) is False
    rings = nx.disjoint_union(nx.cycle_graph(5), nx.cycle_graph(7)), nx.cycle_graph(12)
    assert wl_hash(rings[0]) == wl_hash(rings[1])
    assert are_isomorphic(*rings) is False


def test_hash_is_the_same_on_every_machine():
    assert wl_hash(nx.path_graph(3)) == "fe6ee5cf1a576c97ad4a535de7127c79"


def test_an_exhausted_budget_decides_nothing_and_counts_as_equal():
    assert are_isomorphic(rook(), shrikhande(), budget=1) is None
    index = GraphIndex([rook()], budget=1)
    assert shrikhande() in index
    assert index.undecided == 1


@given(st.lists(random_graphs, max_size=8))
@settings(max_examples=30, deadline=None)
def test_an_index_holds_one_graph_per_class(graphs):
    index, classes = GraphIndex(), []
    for graph in graphs:
        new = not any(nx.is_isomorphic(graph, member) for member in classes)
        assert (graph not in index) == new
        assert index.add(graph) == new
        classes += [graph] * new
    assert len(index) == len(classes)
