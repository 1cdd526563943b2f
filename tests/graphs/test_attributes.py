import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.graphs.attributes import ATTRIBUTES, graph_attributes
from graftable.graphs.edge_lists import edge_array, graph_from_edges


@st.composite
def networks(draw, max_nodes=24):
    nodes = draw(st.integers(1, max_nodes))
    return nx.gnp_random_graph(nodes, draw(st.floats(0, 1)), seed=draw(st.integers(0, 2**32 - 1)))


def as_data(network):
    return graph_from_edges(network.number_of_nodes(), list(network.edges()))


def defined_or_zero(value):
    return value if math.isfinite(value) else 0.0


@settings(max_examples=60, deadline=None)
@given(networks())
def test_attributes_agree_with_networkx(network):
    found = graph_attributes(network)
    assert found["mean_degree"] == pytest.approx(2 * network.number_of_edges() / len(network))
    assert found["density"] == pytest.approx(nx.density(network))
    assert found["clustering"] == pytest.approx(nx.average_clustering(network))
    assert found["transitivity"] == pytest.approx(nx.transitivity(network))
    assert found["components"] == nx.number_connected_components(network)
    largest = max(map(len, nx.connected_components(network)))
    spans = [nx.diameter(network.subgraph(c)) for c in nx.connected_components(network) if len(c) == largest]
    assert found["diameter"] == max(spans)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@settings(max_examples=60, deadline=None)
@given(networks())
def test_assortativity_is_the_correlation_of_degrees_or_zero(network):
    regular = len({d for _, d in network.degree() if d}) <= 1
    expected = 0.0 if regular else defined_or_zero(nx.degree_assortativity_coefficient(network))
    assert graph_attributes(network)["assortativity"] == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(networks())
def test_gini_is_the_mean_difference_of_degrees(network):
    degrees = np.array([d for _, d in network.degree()], dtype=float)
    pairs = np.abs(degrees[:, None] - degrees[None, :]).mean()
    expected = pairs / (2 * degrees.mean()) if degrees.sum() else 0.0
    assert graph_attributes(network)["degree_gini"] == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(networks(), st.randoms(use_true_random=False))
def test_attributes_do_not_depend_on_node_order(network, random):
    order = list(network)
    random.shuffle(order)
    shuffled = nx.relabel_nodes(network, dict(zip(network, order, strict=True)))
    before, after = graph_attributes(network), graph_attributes(as_data(shuffled))
    for name in set(before) - {"modularity"}:  # Louvain's method visits nodes in their order
        assert after[name] == pytest.approx(before[name], abs=1e-9)


@settings(max_examples=30, deadline=None)
@given(networks())
def test_both_kinds_of_graph_measure_the_same(network):
    assert graph_attributes(as_data(network)) == graph_attributes(network)


def test_modularity_is_that_of_networkx_louvain():
    network = nx.les_miserables_graph()
    network = nx.convert_node_labels_to_integers(nx.Graph(network.edges()))
    data = as_data(network)
    same: nx.Graph = nx.empty_graph(data.num_nodes)
    same.add_edges_from(edge_array(data).tolist())
    expected = nx.community.modularity(same, nx.community.louvain_communities(same, seed=0))
    assert graph_attributes(data)["modularity"] == pytest.approx(expected)
    assert expected > 0.5


@pytest.mark.parametrize(
    "network", [nx.empty_graph(0), nx.empty_graph(1), nx.empty_graph(5), nx.complete_graph(2), nx.cycle_graph(7)]
)
def test_degenerate_graphs_have_all_attributes_finite(network):
    found = graph_attributes(network)
    assert set(found) == {*ATTRIBUTES, "density"}
    assert all(isinstance(value, float) and math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_directions_repeats_and_self_loops_are_ignored(kind):
    messy = kind([("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("a", "a")])
    assert graph_attributes(messy) == graph_attributes(nx.complete_graph(3))


def test_diameter_is_exact_on_a_large_graph_of_small_world():
    network = nx.connected_watts_strogatz_graph(400, 4, 0.05, seed=1)
    assert graph_attributes(network)["diameter"] == nx.diameter(network)
