"""Controllability figures: known values, bounds, and what random answers score."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from graftable.errors import DataError
from graftable.graphs.conditions import Terciles
from graftable.graphs.metrics import (
    attribute_error,
    domain_accuracy,
    graph_features,
    level_accuracy,
    paraphrase_consistency,
)

values = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=30)


@given(values)
def test_attribute_errors_stay_within_their_bounds(pairs):
    requested, achieved = np.array(pairs).T
    found = attribute_error(requested, achieved)
    assert found["mae"] >= 0
    assert 0 <= found["smape"] <= 2
    assert -1 <= found["spearman"] <= 1
    assert 0 <= found["coverage"] <= 1


def test_exact_obedience_has_no_error():
    wanted = np.repeat(np.linspace(1, 9, 9), 20)
    assert attribute_error(wanted, wanted) == {"mae": 0, "smape": 0, "spearman": pytest.approx(1), "coverage": 1}


def test_rank_correlation_is_that_of_scipy_with_ties():
    rng = np.random.default_rng(0)
    wanted, got = rng.integers(0, 5, 40), rng.integers(0, 7, 40)
    assert attribute_error(wanted, got)["spearman"] == pytest.approx(spearmanr(wanted, got).statistic)


def test_known_errors():
    found = attribute_error([0, 2, 4], [0, 2, 2])
    assert found["mae"] == pytest.approx(2 / 3)
    assert found["smape"] == pytest.approx((2 * 2 / 6) / 3)
    assert found["coverage"] == 0.5
    assert attribute_error([3, 3], [1, 2])["spearman"] == 0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_levels_are_those_of_the_corpus(achieved):
    terciles = Terciles({"clustering": (3.0, 6.0)})
    requested = [terciles.level_of("clustering", value) for value in achieved]
    assert level_accuracy(requested, achieved, (3.0, 6.0)).value == 1


def test_one_answer_for_all_requests_scores_a_third():
    assert level_accuracy(["low", "medium", "high"] * 20, [5.0] * 60, (1.0, 9.0)).value == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def domains():
    rings = [nx.watts_strogatz_graph(20, 4, 0.1, seed=seed) for seed in range(30)]
    trees = [nx.random_labeled_tree(20, seed=seed) for seed in range(30)]
    return rings, trees


def test_a_forest_tells_domains_apart_and_sees_wrong_answers(domains):
    rings, trees = domains
    train = rings[:20] + trees[:20], ["ring"] * 20 + ["tree"] * 20
    real = rings[20:] + trees[20:], ["ring"] * 10 + ["tree"] * 10
    swapped = real[0], real[1][::-1]
    found = domain_accuracy(train, swapped, real)
    assert found["real"].value == 1
    assert found["generated"].value == 0


def test_features_are_finite_for_every_size():
    features = graph_features([nx.empty_graph(0), nx.empty_graph(1), nx.empty_graph(3), nx.complete_graph(30)])
    assert features.shape == (4, 43)
    assert np.isfinite(features).all()


def test_wordings_that_do_not_matter_score_about_one_and_others_more(domains):
    rings, trees = domains
    same = paraphrase_consistency({"a": trees[:10], "b": trees[10:20], "c": trees[20:]}, repeats=5)
    assert 0.5 < same < 2
    assert paraphrase_consistency({"a": trees, "b": rings}, repeats=2) > 5
    assert paraphrase_consistency({"a": rings[:1] * 4, "b": rings[:1] * 4}) == pytest.approx(1)


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        (lambda: attribute_error([1.0], [1.0, 2.0]), "equally long"),
        (lambda: attribute_error([], []), "equally long"),
        (lambda: attribute_error([1.0], [np.nan]), "NaN"),
        (lambda: level_accuracy(["low"], [], (0, 1)), "1 requested levels for 0 graphs"),
        (lambda: level_accuracy(["huge"], [1.0], (0, 1)), "'huge' is not one of low, medium, high"),
        (lambda: level_accuracy(["low"], [1.0], (2, 1)), "cut points"),
        (lambda: domain_accuracy(([nx.path_graph(2)], []), ([], [])), "one domain per graph"),
        (lambda: paraphrase_consistency({"a": [nx.path_graph(2)] * 2}), "at least two wordings"),
    ],
)
def test_bad_input_is_named(call, hint):
    with pytest.raises(DataError, match=hint):
        call()
