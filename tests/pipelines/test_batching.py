"""Laws of the batch order: within budgets, the same for everyone, every graph once, and exact after a kill."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import ConfigError, DataError
from graftable.pipelines.batching import PADDING_RATIO, SMALL, BudgetBatchSampler, draw_epoch, pack

law = settings(deadline=None, max_examples=60)
sizes = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 120)), min_size=1, max_size=60)
budgets = {"nodes_per_batch": st.integers(1, 150), "edges_per_batch": st.none() | st.integers(1, 300)}


def samplers(graphs, world_size=1, **settings):
    nodes, edges = zip(*graphs, strict=True)
    return [BudgetBatchSampler(nodes, edges, rank=r, world_size=world_size, **settings) for r in range(world_size)]


@law
@given(sizes, st.fixed_dictionaries(budgets), st.integers(0, 3), st.booleans())
def test_no_batch_exceeds_a_budget_unless_it_is_one_graph(graphs, limits, epoch, shuffle):
    (sampler,) = samplers(graphs, shuffle=shuffle, **limits)
    for batch in sampler.batches(epoch):
        nodes, edges = zip(*(graphs[i] for i in batch), strict=True)
        within = sum(nodes) <= limits["nodes_per_batch"] and sum(edges) <= (limits["edges_per_batch"] or sum(edges))
        assert within or len(batch) == 1


@law
@given(sizes, st.fixed_dictionaries(budgets), st.integers(0, 3))
def test_graphs_of_a_batch_are_of_similar_size(graphs, limits, epoch):
    (sampler,) = samplers(graphs, **limits)
    for batch in sampler.batches(epoch):
        tokens = [max(sum(graphs[i]), SMALL) for i in batch]
        assert max(tokens) <= PADDING_RATIO * min(tokens)


@law
@given(sizes, st.fixed_dictionaries(budgets), st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_the_ranks_together_see_every_graph_exactly_once(graphs, limits, epoch, world_size, shuffle):
    ranks = samplers(graphs, world_size, shuffle=shuffle, **limits)
    for sampler in ranks:
        sampler.set_epoch(epoch)
    seen = Counter(chain.from_iterable(chain.from_iterable(ranks)))
    repeats = sum(len(sampler) for sampler in ranks) - len(graphs)  # with one graph a batch, none is left to part
    if repeats <= 0:
        assert seen == Counter(range(len(graphs)))
    else:
        assert set(seen) == set(range(len(graphs)))
        assert seen.total() - len(graphs) <= repeats


@law
@given(sizes, st.fixed_dictionaries(budgets), st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0]))
def test_every_rank_has_the_same_number_of_batches_in_every_epoch(graphs, limits, world_size, balance):
    domains = ["ab"[i % 3 == 0] for i in range(len(graphs))]
    ranks = samplers(graphs, world_size, balance=balance, domains=domains, **limits)
    lengths = set()
    for epoch in range(4):
        for sampler in ranks:
            sampler.set_epoch(epoch)
            lengths |= {len(list(sampler)), len(sampler)}
    assert len(lengths) == 1


@law
@given(sizes, st.fixed_dictionaries(budgets), st.integers(0, 5), st.integers(0, 2**32))
def test_the_order_is_a_function_of_seed_and_epoch(graphs, limits, epoch, seed):
    (one,), (other,) = samplers(graphs, seed=seed, **limits), samplers(graphs, seed=seed, **limits)
    for earlier in range(epoch):  # a different history
        other.set_epoch(earlier)
        next(iter(other))
    assert one.batches(epoch) == other.batches(epoch)


def test_order_differs_between_epochs_and_seeds_but_not_for_evaluation():
    graphs = [(n, n) for n in range(5, 65)]
    (one,), (other,) = samplers(graphs, nodes_per_batch=70), samplers(graphs, nodes_per_batch=70, seed=1)
    assert one.batches(0) != one.batches(1)
    assert one.batches(0) != other.batches(0)
    (fixed,) = samplers(graphs, nodes_per_batch=70, shuffle=False)
    assert fixed.batches(0) == fixed.batches(1)


@law
@given(sizes, st.fixed_dictionaries(budgets), st.integers(1, 2), st.sampled_from([0.5, 1.0]), st.data())
def test_served_and_resumed_batches_are_the_unbroken_order(graphs, limits, world_size, balance, data):
    epochs = 3
    settings = {**limits, "balance": balance, "domains": ["ab"[i % 2] for i in range(len(graphs))]}
    for rank, sampler in enumerate(samplers(graphs, world_size, **settings)):
        unbroken = []
        for epoch in range(epochs):
            sampler.set_epoch(epoch)
            unbroken.append(list(sampler))
        killed_in = data.draw(st.integers(0, epochs - 1))
        served = data.draw(st.integers(0, len(sampler)))
        resumed = samplers(graphs, world_size, **settings)[rank]
        resumed.resume(killed_in, served)
        after = []
        for epoch in range(killed_in, epochs):
            resumed.set_epoch(epoch)
            after += list(resumed)
        assert list(chain(*unbroken[:killed_in], unbroken[killed_in][:served])) + after == list(chain(*unbroken))


@law
@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=80),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(0, 99),
)
def test_domains_are_drawn_by_the_power_of_their_size_and_their_graphs_in_turns(domains, balance, seed):
    drawn = draw_epoch(domains, balance, np.random.default_rng(seed))
    assert len(drawn) == len(domains)
    counts = Counter(domains)
    total = sum(count**balance for count in counts.values())
    for domain, count in counts.items():
        times = [int((drawn == i).sum()) for i, name in enumerate(domains) if name == domain]
        assert abs(sum(times) - len(domains) * count**balance / total) < 1 + 1e-6
        assert max(times) - min(times) <= 1


def test_a_graph_larger_than_the_budget_forms_its_own_batch():
    assert pack([0, 1, 2], np.array([2, 50, 2]), np.array([0, 0, 0]), nodes_per_batch=10) == [[0], [1], [2]]


def test_padding_is_small_on_mixed_sizes():
    rng = np.random.default_rng(0)
    graphs = [(int(n), int(n * rng.uniform(1, 4))) for n in np.exp(rng.uniform(1, 6, 2000))]
    (sampler,) = samplers(graphs, nodes_per_batch=2048)
    tokens = np.array(graphs).sum(axis=1)
    padded = sum(tokens[batch].max() * len(batch) for batch in sampler.batches(0))
    assert tokens.sum() / padded > 0.85


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"nodes_per_batch": 0}, "nodes_per_batch is 0"),
        ({"nodes_per_batch": 9, "edges_per_batch": 0}, "edges_per_batch is 0"),
        ({"nodes_per_batch": 9, "balance": -1.0}, "balance is -1"),
        ({"nodes_per_batch": 9, "balance": float("nan")}, "balance is nan"),
    ],
)
def test_bad_settings_are_refused(settings, reason):
    with pytest.raises(ConfigError, match=reason):
        samplers([(2, 1)], **settings)


def test_no_graphs_are_refused():
    with pytest.raises(DataError, match="no graphs"):
        BudgetBatchSampler([], [], nodes_per_batch=4)
