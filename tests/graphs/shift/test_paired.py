"""Paired differences: scipy's own tests and bootstrap are the oracle, Holm's correction keeps its laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from graftable.errors import DataError
from graftable.graphs.shift import bootstrap_interval, holm, paired_difference

scores = st.lists(st.floats(0, 1, allow_nan=False), min_size=2, max_size=12)
chances = st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8)


def test_the_interval_is_the_percentile_bootstrap_of_scipy():
    values = np.random.default_rng(0).normal(size=10)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=50_000, rng=1).confidence_interval
    assert bootstrap_interval(values, resamples=50_000) == pytest.approx((theirs.low, theirs.high), abs=0.02)


@pytest.mark.parametrize("digits", [12, 1])  # rounded, there are ties and zeros
@pytest.mark.parametrize("count", [2, 5, 8])
def test_the_p_value_is_scipys_exact_one(count, digits):
    values = np.random.default_rng(count).normal(0.3, 0.3, count).round(digits)
    assert paired_difference(values, np.zeros(count)).p_value == pytest.approx(stats.wilcoxon(values).pvalue)


def test_the_p_value_of_many_pairs_is_scipys():
    values = np.random.default_rng(0).normal(0.3, 1, 80)
    assert paired_difference(values, np.zeros(80)).p_value == stats.wilcoxon(values).pvalue


@given(scores)
def test_the_interval_holds_the_mean_and_lies_within_the_differences(values):
    found = paired_difference(values, np.zeros(len(values)))
    assert min(values) - 1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= max(values) + 1e-9
    assert found.seeds == len(values)


@given(scores)
def test_an_exchange_of_methods_and_an_error_for_a_score_turn_the_sign(values):
    zeros = np.zeros(len(values))
    found = paired_difference(values, zeros)
    for turned in (paired_difference(zeros, values), paired_difference(values, zeros, higher_is_better=False)):
        assert (turned.wins, turned.ties, turned.losses) == (found.losses, found.ties, found.wins)
        assert turned.mean == pytest.approx(-found.mean)
        assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=0.05)


def test_equal_scores_are_ties_however_they_were_rounded():
    found = paired_difference([0.1 + 0.2, 0.7], [0.3, 0.7])
    assert (found.mean, found.low, found.high, found.p_value, found.ties) == (0, 0, 0, 1, 2)
    assert not found.excludes_zero


def test_one_seed_has_no_interval_and_no_test():
    found = paired_difference([0.9], [0.7])
    assert (found.low, found.high, found.p_value) == (None, None, None)
    assert not found.excludes_zero


def test_an_interval_of_few_seeds_is_no_claim():
    assert not paired_difference([0.9] * 4, [0.1] * 4).excludes_zero
    for sign in (1, -1):
        assert paired_difference([0.5 + 0.1 * sign] * 5, [0.5] * 5).excludes_zero


def test_seeds_without_both_scores_are_left_out_and_none_is_refused():
    assert paired_difference([0.5, np.nan, 0.7], [0.4, 0.4, np.nan]).seeds == 1
    with pytest.raises(DataError, match="no seed"):
        paired_difference([np.nan], [0.4])
    with pytest.raises(DataError, match="one per seed"):
        paired_difference([0.5, 0.5], [0.4])


@given(chances)
def test_holm_raises_every_p_keeps_their_order_and_counts_only_tests(p_values):
    adjusted = holm(p_values)
    count = sum(p is not None for p in p_values)
    pairs = sorted((p, a) for p, a in zip(p_values, adjusted, strict=True) if p is not None)
    assert [a is None for a in adjusted] == [p is None for p in p_values]
    assert all(p <= a <= min(1, count * p) + 1e-12 or a == max(b for _, b in pairs[: k + 1])
               for k, (p, a) in enumerate(pairs))  # fmt: skip
    assert [a for _, a in pairs] == sorted(a for _, a in pairs)
    assert all(a == pytest.approx(min(1, count * p)) for p, a in pairs[:1])


def test_holm_rejects_as_the_step_down_procedure_does():
    rng = np.random.default_rng(0)
    for _ in range(50):
        p_values = (rng.random(6) * 0.1).tolist()
        rejected = set()
        for rank, place in enumerate(
            np.argsort(p_values)
        ):  # compare with level / (m - rank), stop at the first failure
            if p_values[place] > 0.05 / (6 - rank):
                break
            rejected.add(int(place))
        assert {place for place, p in enumerate(holm(p_values)) if p <= 0.05} == rejected
