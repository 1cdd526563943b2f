"""Orbit counts against an oracle that looks at every set of nodes, and against ORCA where it is installed."""

from collections import Counter
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.graphs.edge_lists import graph_from_edges
from graftable.graphs.metrics import ORBITS, orbit_counts, orbits, to_csr

random_graphs = st.builds(nx.gnp_random_graph, st.integers(0, 9), st.floats(0, 1), seed=st.integers(0, 10**6))

# The degrees inside a connected induced subgraph tell which graphlet it is; a node's own degree tells its orbit
# (in the paw too, whose four nodes have degrees 1, 2, 2, 3).
ORBIT_OF = {
    (1, 1): {1: 0},
    (1, 1, 2): {1: 1, 2: 2},
    (2, 2, 2): {2: 3},
    (1, 1, 2, 2): {1: 4, 2: 5},
    (1, 1, 1, 3): {1: 6, 3: 7},
    (2, 2, 2, 2): {2: 8},
    (1, 2, 2, 3): {1: 9, 2: 10, 3: 11},
    (2, 2, 3, 3): {2: 12, 3: 13},
    (3, 3, 3, 3): {3: 14},
}


def orbits_by_looking(graph):
    counts = np.zeros((len(graph), 15), dtype=int)
    for size in (2, 3, 4):
        for nodes in combinations(range(len(graph)), size):
            part = graph.subgraph(nodes)
            if nx.is_connected(part):
                roles = ORBIT_OF[tuple(sorted(degree for _, degree in part.degree()))]
                for node, degree in part.degree():
                    counts[node, roles[degree]] += 1
    return counts


@given(random_graphs)
@settings(max_examples=80, deadline=None)
def test_orbits_equal_the_count_over_all_subsets(graph):
    np.testing.assert_array_equal(orbit_counts(graph), orbits_by_looking(graph))


@pytest.mark.parametrize(("nodes", "share"), [(60, 0.1), (60, 0.6), (200, 0.03)])
def test_orbits_equal_those_of_orca(nodes, share):
    orca = pytest.importorskip("orca", reason="orca-graphlets is not installed: no second oracle")
    graph = nx.gnp_random_graph(nodes, share, seed=nodes)
    edges = np.array(graph.edges(), dtype=np.int32)
    np.testing.assert_array_equal(orbit_counts(graph), orca.orca_nodes(edges, nodes, 4))


def test_orbits_do_not_depend_on_the_size_of_memory_blocks(monkeypatch):
    graph = nx.gnp_random_graph(40, 0.3, seed=0)
    whole = orbit_counts(graph)
    monkeypatch.setattr(orbits, "BLOCK", 7)
    np.testing.assert_array_equal(orbit_counts(graph), whole)


@given(random_graphs, st.randoms())
@settings(max_examples=30, deadline=None)
def test_renumbering_nodes_renumbers_orbits(graph, random):
    order = list(range(len(graph)))
    random.shuffle(order)
    moved = nx.Graph()
    moved.add_nodes_from(range(len(graph)))
    moved.add_edges_from((order[u], order[v]) for u, v in graph.edges())
    np.testing.assert_array_equal(orbit_counts(moved)[order], orbit_counts(graph))


@given(random_graphs)
@settings(max_examples=30, deadline=None)
def test_every_copy_of_a_graphlet_fills_its_orbits_in_proportion(graph):
    total = orbit_counts(graph).sum(axis=0)
    for degrees, roles in ORBIT_OF.items():
        copies = {total[orbit] / share for orbit, share in Counter(roles[d] for d in degrees).items()}
        assert len(copies) == 1


@pytest.mark.parametrize("nodes", [0, 1, 2, 5])
def test_graphs_without_edges_have_no_orbits(nodes):
    counts = orbit_counts(nx.empty_graph(nodes))
    assert counts.shape == (nodes, len(ORBITS))
    assert not counts.any()


def test_all_readable_forms_of_a_graph_count_alike():
    edges = [(0, 1), (1, 2), (2, 0), (2, 3)]
    expected = orbit_counts(nx.Graph(edges))
    directed = nx.MultiDiGraph([*edges, (1, 0), (3, 3)])
    for form in (graph_from_edges(4, edges), directed, to_csr(nx.Graph(edges))):
        np.testing.assert_array_equal(orbit_counts(form), expected)
