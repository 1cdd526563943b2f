from random import Random

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import DataError
from graftable.graphs.trails import (
    BRANCH,
    CHILD,
    CLUSTERING_STEPS,
    END,
    LINK,
    ROOT,
    TrailState,
    TrailToken,
    draw_trail,
    trail_edges,
)


@st.composite
def graphs(draw, max_nodes=12):
    nodes = draw(st.integers(1, max_nodes))
    pairs = [(u, v) for v in range(nodes) for u in range(v)]
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(draw(st.sets(st.sampled_from(pairs))) if pairs else [])
    return graph


def neighbours(graph):
    return [list(graph[node]) for node in graph]


def read_back(tokens):
    nodes, edges = trail_edges(tokens)
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(edges)
    assert graph.number_of_edges() == len(edges)  # no edge twice
    return graph


@settings(max_examples=150, deadline=None)
@given(graphs(), st.integers(0, 2**32))
def test_every_graph_comes_back_from_each_of_its_trails(graph, seed):
    tokens = draw_trail(neighbours(graph), Random(seed))
    assert nx.is_isomorphic(read_back(tokens), graph)
    children = sum(token.kind == CHILD for token in tokens)
    assert len(tokens) == graph.number_of_nodes() - children + graph.number_of_edges() + 1


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 15), st.integers(0, 2**32))
def test_every_legal_sequence_is_a_simple_graph_of_the_size_asked_for(nodes, seed):
    random = Random(seed)
    state, tokens = TrailState(nodes), []
    while not state.complete:
        candidates = [TrailToken(kind) for kind in (ROOT, CHILD, BRANCH, END)]
        candidates += [TrailToken(LINK, node) for node in range(nodes)]
        token = random.choice([token for token in candidates if state.allows(token)])
        state.apply(token)
        tokens.append(token)
    graph = read_back(tokens)
    assert graph.number_of_nodes() == nodes
    assert nx.number_of_selfloops(graph) == 0


@settings(max_examples=80, deadline=None)
@given(graphs(), st.integers(0, 2**32))
def test_running_features_end_at_the_facts_of_the_graph(graph, seed):
    state = TrailState(graph.number_of_nodes(), graph.number_of_edges())
    for token in draw_trail(neighbours(graph), Random(seed)):
        features = state.apply(token)
    assert features.nodes_left == 0
    assert features.edges_left == 0
    assert features.components == nx.number_connected_components(graph)
    assert abs(features.clustering / CLUSTERING_STEPS - nx.average_clustering(graph)) <= 0.5 / CLUSTERING_STEPS + 1e-9


def test_isolated_nodes_and_components_survive():
    graph = nx.disjoint_union_all([nx.empty_graph(3), nx.complete_graph(5), nx.path_graph(4)])
    assert nx.is_isomorphic(read_back(draw_trail(neighbours(graph), Random(1))), graph)


def test_trails_of_one_graph_differ_and_are_a_function_of_the_seed():
    graph = neighbours(nx.petersen_graph())
    trails = [draw_trail(graph, Random(seed)) for seed in (0, 0, 1, 2, 3)]
    assert trails[0] == trails[1]
    assert len({tuple(trail) for trail in trails}) > 2


@pytest.mark.parametrize(
    "tokens",
    [
        [TrailToken(CHILD), TrailToken(END)],  # nothing to be a child of
        [TrailToken(ROOT), TrailToken(LINK, 0), TrailToken(END)],  # a self loop
        [TrailToken(ROOT), TrailToken(CHILD), TrailToken(LINK, 0), TrailToken(END)],  # an edge twice
        [TrailToken(ROOT), TrailToken(CHILD), TrailToken(BRANCH), TrailToken(END)],  # a branch from nowhere
        [TrailToken(ROOT), TrailToken(CHILD)],  # cut
    ],
)
def test_what_is_no_trail_is_refused(tokens):
    with pytest.raises(DataError, match="trail"):
        trail_edges(tokens)
