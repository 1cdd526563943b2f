from random import Random

import networkx as nx
import numpy as np
import pytest
import torch

from graftable.graphs.trail_batch import LinkContext, batch_trails, link_context
from graftable.graphs.trail_sampling import TrailRequest, sample_trails
from graftable.graphs.trail_transformer import TrailTransformer
from graftable.graphs.trails import END, LINK, PointerRows, TrailState, draw_trail

GRAPHS = [
    nx.connected_watts_strogatz_graph(20, 4, 0.3, seed=1),
    nx.random_labeled_tree(15, seed=2),
    nx.disjoint_union(nx.complete_graph(6), nx.empty_graph(2)),
    nx.empty_graph(1),
]
NEIGHBOURS = [[list(graph[node]) for node in graph] for graph in GRAPHS]


@pytest.fixture(params=[64, 8], ids=["window-covers-all", "window-slides"])
def network(request):
    torch.manual_seed(0)
    network = TrailTransformer(width=32, layers=2, heads=2, window=request.param).eval()
    for parameter in network.parameters():  # so that heads which start at zero take part
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def step_through(network, tokens, nodes, edges, condition):
    """Logits of every step through the cache, (steps, 4 + nodes)."""
    rows = PointerRows(*(np.zeros(nodes, dtype=np.int64) for _ in range(3)), np.zeros(nodes, dtype=np.bool_))
    state, cache = TrailState(nodes, edges, rows), network.start(1, nodes)
    for token in tokens[:-1]:
        features = torch.tensor([state.apply(token)])
        root, child, branch, _, end = state.allowed_kinds()
        context = LinkContext(
            candidate=(torch.from_numpy(rows.chain) & (torch.arange(nodes) < state.anchor))[None],
            common=torch.from_numpy(rows.common)[None],
            degree=torch.from_numpy(rows.degree)[None],
            rank=features[:, -1:] - torch.from_numpy(rows.depth)[None],
        )
        yield network.step(cache, features, condition, context, torch.tensor([[root, child, branch, end]]))[0]


@torch.no_grad()
def test_sampling_sees_the_logits_of_training(network):
    batch = batch_trails(NEIGHBOURS, Random(3))
    condition = torch.randn(len(GRAPHS), 32)
    expected = network(batch, condition)
    random = Random(3)
    for index, graph in enumerate(GRAPHS):
        tokens = draw_trail(NEIGHBOURS[index], random)
        nodes = len(graph)
        steps = step_through(network, tokens, nodes, graph.number_of_edges(), condition[index : index + 1])
        for step, logits in enumerate(steps):
            torch.testing.assert_close(logits, expected[index, step, : 4 + nodes], atol=1e-4, rtol=1e-4)


def test_labels_are_legal_and_links_know_their_context():
    batch = batch_trails(NEIGHBOURS, Random(0))
    context = link_context(batch)
    for graph, step in (batch.labels >= 0).nonzero().tolist():
        label = int(batch.labels[graph, step])
        if label < 4:
            assert batch.allowed[graph, step, label]
            continue
        assert context.candidate[graph, step, label - 4]
        node = int(batch.features[graph, step, -4])
        linked = [t for t in batch.features[graph, : step + 1].tolist() if t[-4] == node and t[-3] >= 0]
        adjacency = batch.adjacency[graph]
        common = sum(bool(adjacency[token[-3], label - 4]) for token in linked)
        assert context.common[graph, step, label - 4] == common


def test_probabilities_of_a_small_graph_sum_to_one_over_all_trails(network):
    """Every trail of three nodes, enumerated: the model is a distribution over trails."""
    condition = torch.zeros(1, 32)

    def total(tokens, state_tokens):
        state = TrailState(3)
        for token in state_tokens:
            state.apply(token)
        if state.complete:
            return 1.0
        *_, logits = step_through(network, [*state_tokens, None], 3, None, condition)
        probability = logits.double().softmax(-1)
        return sum(
            float(probability[choice]) * total(tokens, [*state_tokens, token])
            for choice, token in choices()
            if state.allows(token)
        )

    from graftable.graphs.trails import BRANCH, CHILD, ROOT, TrailToken

    def choices():
        yield from enumerate([TrailToken(ROOT), TrailToken(CHILD), TrailToken(BRANCH), TrailToken(END)])
        yield from ((4 + node, TrailToken(LINK, node)) for node in range(3))

    with torch.no_grad():
        assert total([], [TrailToken(ROOT)]) == pytest.approx(1.0, abs=1e-6)


def test_samples_have_the_exact_size_and_do_not_depend_on_the_batch(network):
    requests = [TrailRequest(nodes, 2 * nodes, seed=nodes) for nodes in (1, 2, 9, 17, 30)]
    condition = torch.randn(5, 32)
    together = sample_trails(network, requests, condition)
    alone = [sample_trails(network, [r], condition[i : i + 1])[0] for i, r in enumerate(requests)]
    assert together == alone
    for request, edges in zip(requests, together, strict=True):
        assert all(0 <= early < late < request.num_nodes for late, early in edges)
        assert len(set(edges)) == len(edges)


def test_connected_and_acyclic_requests_are_kept(network):
    requests = [TrailRequest(25, None, seed, components=1, acyclic=True) for seed in range(6)]
    for edges in sample_trails(network, requests, torch.randn(6, 32)):
        graph = nx.empty_graph(25)
        graph.add_edges_from(edges)
        assert nx.is_tree(graph)


def test_guidance_moves_away_from_the_unconditional_pass(network):
    requests = [TrailRequest(12, None, seed) for seed in range(8)]
    condition, nothing = torch.randn(8, 32), torch.randn(8, 32)
    only_nothing = sample_trails(network, requests, nothing)
    assert sample_trails(network, requests, condition, nothing, guidance=0.0) == only_nothing
    assert sample_trails(network, requests, condition, nothing, guidance=2.0) != only_nothing


@pytest.mark.parametrize("components", [1, 2, 5, 12])
def test_a_number_of_components_is_exact(network, components):
    requests = [TrailRequest(12, None, seed, components=components) for seed in range(4)]
    for edges in sample_trails(network, requests, torch.randn(4, 32)):
        graph = nx.empty_graph(12)
        graph.add_edges_from(edges)
        assert nx.number_connected_components(graph) == components


@pytest.mark.parametrize(("guidance", "temperature"), [(30.0, 0.01), (-5.0, 100.0), (1.0, 0.01)])
def test_extreme_settings_still_give_legal_trails(network, guidance, temperature):
    requests = [TrailRequest(15, 30, seed) for seed in range(4)]
    condition, nothing = torch.randn(4, 32), torch.randn(4, 32)
    for edges in sample_trails(network, requests, condition, nothing, guidance=guidance, temperature=temperature):
        assert len(set(edges)) == len(edges)
        assert all(0 <= early < late < 15 for late, early in edges)
