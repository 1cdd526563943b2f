import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import DataError
from graftable.graphs.edge_lists import edge_array, graph_from_edges, unique_edges

pairs = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30)


@settings(deadline=None)
@given(pairs)
def test_edges_are_the_set_of_unordered_pairs_without_loops(edges):
    expected = sorted({(min(e), max(e)) for e in edges if e[0] != e[1]})
    assert list(map(tuple, unique_edges(10, edges).tolist())) == expected


@settings(deadline=None)
@given(pairs)
def test_graphs_are_symmetric_coalesced_and_sorted(edges):
    graph = graph_from_edges(10, edges)
    assert graph.is_undirected()
    assert torch.equal(graph.coalesce().edge_index, graph.edge_index)


@settings(deadline=None)
@given(pairs, st.randoms(use_true_random=False))
def test_order_and_direction_of_pairs_do_not_matter(edges, random):
    turned = [edge[::-1] if random.random() < 0.5 else edge for edge in edges]
    random.shuffle(turned)
    assert torch.equal(graph_from_edges(10, edges).edge_index, graph_from_edges(10, turned).edge_index)


@settings(deadline=None)
@given(pairs)
def test_edge_array_inverts_graph_from_edges(edges):
    assert np.array_equal(edge_array(graph_from_edges(10, edges)), unique_edges(10, edges))


def test_nodes_without_edges_are_kept_and_absent_fields_left_out():
    graph = graph_from_edges(5, [], domain="road", text=None)
    assert (graph.num_nodes, graph.edge_index.shape, graph.domain) == (5, (2, 0), "road")
    assert "text" not in graph


@pytest.mark.parametrize(("edge", "named"), [((0, 3), "node 3"), ((-1, 0), "node -1")])
def test_a_node_outside_the_graph_is_named(edge, named):
    with pytest.raises(DataError, match=named):
        graph_from_edges(3, [edge])
