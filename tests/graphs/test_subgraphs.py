from itertools import islice

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import DataError
from graftable.graphs.edge_lists import edge_array, graph_from_edges
from graftable.graphs.subgraphs import SPLIT_FRACTIONS, partition_regions, sample_subgraphs, structure_hash

NETWORKS = {
    "power": nx.connected_watts_strogatz_graph(400, 4, 0.05, seed=0),
    "web": nx.barabasi_albert_graph(400, 3, seed=0),
    "blocks": nx.planted_partition_graph(8, 50, 0.3, 0.005, seed=0),
    "dense": nx.gnp_random_graph(250, 0.4, seed=0),
    "hub": nx.star_graph(299),
    "scattered": nx.disjoint_union_all([nx.cycle_graph(15) for _ in range(20)]),
}


def as_data(network):
    return graph_from_edges(network.number_of_nodes(), list(network.edges()))


@pytest.fixture(params=NETWORKS)
def network(request):
    return NETWORKS[request.param]


def test_regions_share_no_node_and_cover_the_network(network):
    regions = partition_regions(as_data(network))
    assert np.array_equal(np.sort(np.concatenate(list(regions.values()))), np.arange(len(network)))


def test_regions_have_their_share_of_nodes(network):
    for name, nodes in partition_regions(as_data(network)).items():
        assert len(nodes) / len(network) == pytest.approx(SPLIT_FRACTIONS[name], abs=0.07)


@pytest.mark.parametrize("name", ["power", "web", "blocks", "dense"])
def test_regions_of_a_connected_network_hold_almost_one_piece(name):
    for nodes in partition_regions(as_data(NETWORKS[name])).values():
        inside = NETWORKS[name].subgraph(nodes.tolist())
        assert max(map(len, nx.connected_components(inside))) >= 0.8 * len(nodes)


def test_regions_are_a_function_of_the_seed(network):
    first, again = (partition_regions(as_data(network), seed=5) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)


@settings(max_examples=20, deadline=None)
@given(st.integers(6, 40), st.floats(0, 1), st.integers(0, 1000))
def test_no_region_is_empty_whatever_the_network(nodes, density, seed):
    regions = partition_regions(as_data(nx.gnp_random_graph(nodes, density, seed=seed)), seed=seed)
    assert min(map(len, regions.values())) > 0


def test_fractions_that_do_not_sum_to_one_are_refused():
    with pytest.raises(DataError, match="sum 1"):
        partition_regions(as_data(NETWORKS["power"]), {"train": 0.7, "test": 0.2})


def test_a_network_too_small_to_cut_is_refused():
    with pytest.raises(DataError, match="too small"):
        partition_regions(graph_from_edges(2, [[0, 1]]))


def test_subgraphs_are_induced_connected_and_inside_the_region(network):
    data = as_data(network)
    for region in partition_regions(data).values():
        for graph in islice(sample_subgraphs(data, seed=0, nodes=region), 15):
            assert np.isin(graph.nodes, region).all()
            expected = nx.relabel_nodes(
                network.subgraph(graph.nodes.tolist()), {node: i for i, node in enumerate(graph.nodes.tolist())}
            )
            assert set(map(tuple, edge_array(graph).tolist())) == {(min(e), max(e)) for e in expected.edges()}
            assert nx.is_connected(expected)


def test_subgraphs_of_two_regions_share_no_node(network):
    data = as_data(network)
    used = {
        name: {node for g in islice(sample_subgraphs(data, seed=0, nodes=nodes), 30) for node in g.nodes.tolist()}
        for name, nodes in partition_regions(data).items()
    }
    assert not used["train"] & used["test"]
    assert not used["train"] & used["val"]
    assert not used["val"] & used["test"]


def test_subgraphs_keep_to_their_limits(network):
    limits = {"min_nodes": 6, "max_nodes": 60, "max_edges": 80}
    for graph in islice(sample_subgraphs(as_data(network), seed=3, **limits), 30):
        assert 6 <= graph.num_nodes <= 60
        assert graph.num_edges // 2 <= 80


def test_a_dense_network_gives_small_graphs_instead_of_none():
    graphs = list(islice(sample_subgraphs(as_data(NETWORKS["dense"]), seed=0, max_edges=200), 50))
    assert len(graphs) == 50
    assert max(g.num_edges // 2 for g in graphs) > 100


def test_sizes_reach_from_the_smallest_to_the_budget():
    sizes = [g.num_nodes for g in islice(sample_subgraphs(as_data(NETWORKS["power"]), seed=0), 150)]
    assert min(sizes) < 15
    assert max(sizes) > 150
    assert 25 < np.median(sizes) < 110  # a log-uniform law on [8, 256 or so] has its median near 45


def test_subgraphs_are_a_function_of_the_seed(network):
    def draw(seed):
        return [g.nodes.tolist() for g in islice(sample_subgraphs(as_data(network), seed=seed), 10)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_no_structure_is_drawn_twice_even_over_two_regions():
    data, seen = as_data(NETWORKS["scattered"]), set()
    regions = partition_regions(data)
    graphs = [g for name in regions for g in sample_subgraphs(data, seed=0, nodes=regions[name], seen=seen)]
    assert len({structure_hash(g) for g in graphs}) == len(graphs)
    assert len(graphs) == 8  # of a ring of 15: paths of 8 to 14 nodes, and the ring


def test_a_region_smaller_than_the_smallest_graph_gives_nothing():
    assert list(sample_subgraphs(as_data(NETWORKS["power"]), seed=0, nodes=range(5))) == []


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.floats(0, 1), st.integers(0, 1000))
def test_isomorphic_graphs_have_one_hash(nodes, density, seed):
    network = nx.gnp_random_graph(nodes, density, seed=seed)
    order = np.random.default_rng(seed).permutation(nodes)
    shuffled = graph_from_edges(nodes, [(order[u], order[v]) for u, v in network.edges()])
    assert structure_hash(shuffled) == structure_hash(as_data(network))


def test_hashes_differ_wherever_networkx_weisfeiler_lehman_hashes_differ():
    atlas = [graph for graph in nx.graph_atlas_g()[1:] if len(graph) <= 6]
    theirs = {(len(g), nx.weisfeiler_lehman_graph_hash(g, iterations=5)) for g in atlas}
    ours = {structure_hash(as_data(g)) for g in atlas}
    assert len(ours) >= len(theirs)
