from collections import Counter

import networkx as nx
import numpy as np
import pytest
from scipy.stats import chisquare

from graftable.errors import DataError
from graftable.graphs import corpus, families
from graftable.graphs.edge_lists import edge_array
from graftable.graphs.subgraphs import structure_hash

SEEDS = range(12)


def as_network(graph):
    network = nx.empty_graph(graph.num_nodes)
    network.add_edges_from(edge_array(graph).tolist())
    return network


def draws(name):
    return [as_network(families.draw_graph(name, np.random.default_rng(seed))) for seed in SEEDS]


@pytest.fixture(params=families.FAMILIES)
def family(request):
    return request.param


def test_draws_keep_to_the_size_and_the_budget(family):
    for network in draws(family):
        assert 8 <= len(network) <= 200
        assert network.number_of_edges() <= 512


def test_draws_are_a_function_of_the_generator(family):
    first, again, other = (families.draw_graph(family, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert np.array_equal(edge_array(first), edge_array(again))
    assert structure_hash(first) != structure_hash(other)


def test_the_number_of_nodes_is_exact(family):
    if family != "grid":  # a grid has rows times columns
        for size in (40, 64, 97):
            assert families.FAMILIES[family](size, np.random.default_rng(0)).num_nodes == size


def test_the_corpus_names_the_same_families():
    assert tuple(families.FAMILIES) == corpus.FAMILIES


def test_unknown_family_is_refused_with_the_known_names():
    with pytest.raises(DataError, match="lobster"):
        families.draw_graph("lobsters", np.random.default_rng(0))


def test_an_edge_budget_that_nothing_meets_is_refused():
    with pytest.raises(DataError, match="allow more"):
        families.draw_graph("planar", np.random.default_rng(0), max_edges=5)


def test_planar_graphs_are_planar_and_connected():
    for network in draws("planar"):
        assert nx.check_planarity(network)[0]
        assert nx.is_connected(network)


def test_trees_are_trees():
    assert all(nx.is_tree(network) for network in draws("tree"))


def test_labelled_trees_are_uniform():
    rng = np.random.default_rng(0)
    counts = Counter(tuple(edge_array(families.tree(4, rng)).ravel().tolist()) for _ in range(1600))
    assert len(counts) == 16  # Cayley: 4^2
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_lobsters_become_paths_when_pruned_twice():
    for network in draws("lobster"):
        assert nx.is_tree(network)
        for _ in range(2):
            network.remove_nodes_from([node for node, degree in list(network.degree()) if degree <= 1])
        assert len(network) == 0 or (nx.is_connected(network) and max(d for _, d in network.degree()) <= 2)


def test_grids_are_products_of_two_paths():
    for network in draws("grid"):
        rows = next(r for r in range(2, 200) if nx.could_be_isomorphic(network, nx.grid_2d_graph(r, len(network) // r)))
        assert nx.is_isomorphic(network, nx.grid_2d_graph(rows, len(network) // rows))


def test_sbm_edges_have_the_stated_probability():
    rng = np.random.default_rng(0)
    found = np.mean([families.sbm(60, rng, inside=0.3, between=0.3).num_edges / (60 * 59) for _ in range(40)])
    assert found == pytest.approx(0.3, abs=0.01)
    alone = as_network(families.sbm(100, rng, inside=1.0, between=0.0))
    sizes = [len(c) for c in nx.connected_components(alone)]
    assert 2 <= len(sizes) <= 5
    assert all(20 <= size <= 40 for size in sizes)


def test_ba_graphs_are_connected_with_a_fixed_number_of_edges_per_node():
    for network in draws("ba"):
        assert nx.is_connected(network)
        assert network.number_of_edges() in {m * (len(network) - m) for m in range(1, 5)}


def test_ws_graphs_are_connected_with_the_edges_of_a_ring():
    for network in draws("ws"):
        assert nx.is_connected(network)
        assert network.number_of_edges() in {len(network) * half for half in (1, 2, 3)}


def test_rgg_graphs_cluster_far_above_their_density():
    networks = draws("rgg")
    clustering = np.mean([nx.average_clustering(network) for network in networks])
    assert clustering > 3 * np.mean([nx.density(network) for network in networks])


def test_community_graphs_have_communities():
    found = [
        nx.community.modularity(network, nx.community.louvain_communities(network, seed=0))
        for network in draws("community")
        if len(network) >= 40
    ]
    assert min(found) > 0.4
