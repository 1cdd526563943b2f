"""Laws of the layouts: finite, repeatable, distances on the page that follow distances in the graph."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.graphs.layouts import layout_graph

GRAPHS = {
    "one node": nx.empty_graph(1),
    "two nodes": nx.path_graph(2),
    "no edges": nx.empty_graph(30),
    "path": nx.path_graph(60),
    "star": nx.star_graph(40),
    "complete": nx.complete_graph(25),
    "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(8, 9)),
    "several components": nx.disjoint_union_all([nx.cycle_graph(k) for k in (3, 5, 12)] + [nx.empty_graph(4)]),
    "large tree": nx.random_labeled_tree(600, seed=1),
    "large small world": nx.barabasi_albert_graph(600, 2, seed=1),
    "large lattice": nx.convert_node_labels_to_integers(nx.grid_2d_graph(40, 15)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_has_a_finite_position_of_its_own(name):
    position = layout_graph(GRAPHS[name])
    assert position.shape == (len(GRAPHS[name]), 2)
    assert np.isfinite(position).all()
    assert len(np.unique(position.round(6), axis=0)) == len(position)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_same_graph_is_laid_out_in_the_same_way(name):
    np.testing.assert_array_equal(layout_graph(GRAPHS[name]), layout_graph(GRAPHS[name]))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(0, 30), st.integers(0, 99))
def test_small_graphs_of_any_kind_are_centred(nodes, edges, seed):
    graph = nx.gnm_random_graph(nodes, min(edges, nodes * (nodes - 1) // 2), seed=seed)
    position = layout_graph(graph)
    np.testing.assert_allclose(position.max(axis=0), -position.min(axis=0), atol=1e-9)


def test_a_path_is_drawn_as_a_straight_line_of_unit_steps():
    position = layout_graph(nx.path_graph(20))
    np.testing.assert_allclose(np.linalg.norm(np.diff(position, axis=0), axis=1), 1, atol=0.05)
    assert np.ptp(position[:, 1]) < 0.2


@pytest.mark.parametrize("shape", [(9, 6), (40, 15)], ids=["all pairs", "pivots"])
def test_distances_on_the_page_follow_distances_in_the_graph(shape):
    graph = nx.convert_node_labels_to_integers(nx.grid_2d_graph(*shape))
    position = layout_graph(graph)
    walked = np.array([[d[v] for v in range(len(graph))] for _, d in sorted(nx.all_pairs_shortest_path_length(graph))])
    drawn = np.linalg.norm(position[:, None] - position[None], axis=2)
    assert np.corrcoef(walked.ravel(), drawn.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("nodes", [40, 150])
def test_trees_have_few_crossings(nodes):
    tree = nx.random_labeled_tree(nodes, seed=3)
    position = layout_graph(tree)
    edges = np.array(tree.edges())
    assert crossings(position, edges) <= nodes // 20


def crossings(position, edges):
    """How many pairs of edges without a common end cross."""

    def side(p, q, r):
        return np.sign(
            (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (r[..., 0] - p[..., 0])
        )

    a, b = position[edges[:, 0]], position[edges[:, 1]]
    apart = (edges[:, None, :, None] != edges[None, :, None, :]).all(axis=(2, 3))
    one = side(a[:, None], b[:, None], a[None]) != side(a[:, None], b[:, None], b[None])
    return int((apart & one & one.T).sum()) // 2


def test_components_do_not_overlap():
    graph = nx.disjoint_union_all([nx.cycle_graph(k) for k in (4, 9, 15)])
    position = layout_graph(graph)
    boxes = [(position[p].min(axis=0), position[p].max(axis=0)) for p in (range(4), range(4, 13), range(13, 28))]
    for index, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[index + 1 :]:
            assert (high < other_low).any() or (other_high < low).any()
