from random import Random

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.graphs.connectivity import components, join_components, largest_component
from graftable.graphs.edge_lists import graph_from_edges


@st.composite
def graphs(draw):
    nodes = draw(st.integers(1, 12))
    pairs = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    return graph_from_edges(nodes, draw(st.lists(pairs, max_size=10)), domain="road")


def as_networkx(graph):
    result = nx.empty_graph(graph.num_nodes)
    result.add_edges_from(graph.edge_index.T.tolist())
    return result


@settings(deadline=None)
@given(graphs(), st.integers(0, 99))
def test_join_adds_the_fewest_edges_and_keeps_every_old_one(graph, seed):
    joined = join_components(graph, Random(seed))
    old, new = as_networkx(graph), as_networkx(joined)
    assert nx.is_connected(new)
    assert new.number_of_nodes() == old.number_of_nodes()
    assert set(map(frozenset, old.edges)) <= set(map(frozenset, new.edges))
    assert new.number_of_edges() - old.number_of_edges() == nx.number_connected_components(old) - 1


@settings(deadline=None)
@given(graphs())
def test_the_largest_component_is_that_of_networkx(graph):
    kept, reference = as_networkx(largest_component(graph)), as_networkx(graph)
    size = max(map(len, nx.connected_components(reference)))
    assert kept.number_of_nodes() == size
    assert nx.is_connected(kept)
    assert [len(group) for group in components(graph)] == sorted(
        map(len, nx.connected_components(reference)), reverse=True
    )


@pytest.mark.parametrize("change", [largest_component, lambda graph: join_components(graph, Random(0))])
def test_other_fields_are_kept(change):
    assert change(graph_from_edges(3, [[0, 1]], domain="road")).domain == "road"
