"""Membership of families against networkx and by construction; counting of valid, unique and novel graphs."""

import json

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import ConfigError, DataError
from graftable.graphs.edge_lists import graph_from_edges
from graftable.graphs.metrics import (
    GraphIndex,
    fit_blocks,
    is_lobster,
    is_planar_connected,
    is_sbm,
    is_tree,
    share_interval,
    vun,
)

random_graphs = st.builds(nx.gnp_random_graph, st.integers(1, 10), st.floats(0, 0.6), seed=st.integers(0, 10**6))


def block_model(sizes, within=0.3, between=0.005, seed=0):
    chances = np.where(np.eye(len(sizes), dtype=bool), within, between)
    return nx.stochastic_block_model(sizes, chances, seed=seed)


@given(random_graphs)
@settings(max_examples=80, deadline=None)
def test_trees_and_planar_graphs_are_those_of_networkx(graph):
    assert is_tree(graph) == nx.is_tree(graph)
    assert is_planar_connected(graph) == (nx.is_connected(graph) and nx.is_planar(graph))


@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 7), st.integers(0, 3)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_legs_of_two_on_a_spine_make_a_lobster(spine, legs):
    graph = nx.path_graph(spine)
    for place, feet in legs:
        knee = len(graph)
        graph.add_edge(place % spine, knee)
        graph.add_edges_from((knee, knee + 1 + foot) for foot in range(feet))
    assert is_lobster(graph)


def test_a_leg_of_three_is_too_long_for_a_lobster():
    spine = nx.path_graph(9)
    nx.add_path(spine, [4, 10, 11])
    assert is_lobster(spine)
    spine.add_edge(11, 12)
    assert not is_lobster(spine)
    assert not is_lobster(nx.cycle_graph(5))


def test_no_node_is_in_no_family_and_one_node_is_a_tree():
    for check in (is_tree, is_lobster, is_planar_connected, is_sbm):
        assert not check(graph_from_edges(0, []))
    assert is_tree(nx.empty_graph(1))
    assert is_lobster(nx.empty_graph(1))
    assert is_planar_connected(nx.empty_graph(1))
    assert not is_sbm(nx.empty_graph(1))


def test_most_draws_of_the_block_model_pass_and_others_do_not():
    draws = [block_model([25, 30, 35], seed=seed) for seed in range(10)]
    assert np.mean([is_sbm(graph) for graph in draws]) >= 0.7
    assert not is_sbm(nx.gnp_random_graph(90, 0.1, seed=0))
    assert not is_sbm(block_model([25, 30, 35], between=0.1))
    assert not is_sbm(block_model([25, 30, 35], within=0.9))
    assert not is_sbm(block_model([60, 30]))


def test_planted_blocks_are_found():
    found = fit_blocks(block_model([20, 30, 25]))
    planted = np.repeat([0, 1, 2], [20, 30, 25])
    assert len(set(zip(planted, found, strict=True))) == len(set(found)) == 3


@pytest.mark.parametrize("graph", [nx.empty_graph(0), nx.empty_graph(1), nx.empty_graph(30), nx.complete_graph(12)])
def test_graphs_without_blocks_have_one(graph):
    assert set(fit_blocks(graph)) <= {0}


def test_vun_counts_valid_first_and_novel_graphs():
    train = [nx.path_graph(5)]
    generated = [
        nx.path_graph(5),  # a copy of a training graph
        nx.star_graph(4),
        nx.star_graph([9, 8, 7, 6, 5]),  # the same star, numbered differently
        nx.cycle_graph(5),  # no tree
        nx.balanced_tree(2, 2),
    ]
    found = vun(generated, train, "tree")
    shares = (found.valid.value, found.unique.value, found.novel.value, found.vun.value)
    assert shares == (0.8, 0.8, 0.8, 0.4)
    assert found == vun(generated, GraphIndex(train), is_tree)
    assert vun(generated, train).valid is None
    assert vun(generated, train).vun.value == 0.6
    json.dumps(found.to_dict(), allow_nan=False)


def test_copies_of_the_training_set_are_not_novel():
    train = [nx.random_labeled_tree(12, seed=seed) for seed in range(20)]
    found = vun(train, train, "tree")
    assert (found.valid.value, found.novel.value, found.vun.value) == (1, 0, 0)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_share_intervals_hold_the_share_and_stay_within_bounds(hits):
    found = share_interval(np.array(hits))
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    assert found.low < found.high


def test_bad_requests_are_named():
    with pytest.raises(DataError, match="empty"):
        vun([], [])
    with pytest.raises(ConfigError, match="'forest' is not one of planar, tree, lobster, sbm"):
        vun([nx.path_graph(2)], [], "forest")
