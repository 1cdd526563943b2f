"""Distances to the closest record by brute force; copies are found, and only they."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from view_worlds import people, view_pairs

from graftable.tabular.quality import copied, independent, memory_scores, nearer_share, nearest_distances
from graftable.tabular.quality.nearness import repeated, spans
from graftable.tabular.quality.views import View, taken


def cells(view, row):
    return [*view.numbers.iloc[row]], [*view.texts.iloc[row]]


def distance(first, second, scale):
    total = sum(a != b for a, b in zip(first[1], second[1], strict=True))
    for a, b, unit in zip(first[0], second[0], scale, strict=True):
        gaps = math.isnan(a) + math.isnan(b)
        total += {0: abs(a - b) / unit, 1: 1, 2: 0}[gaps]
    return total


@given(view_pairs())
def test_the_closest_is_the_least_of_all_distances(views):
    rows, others = views
    scale = spans(rows, others)
    found = nearest_distances(rows, others, scale, block=5)
    wanted = [
        min(distance(cells(rows, i), cells(others, j), scale) for j in range(others.rows)) for i in range(rows.rows)
    ]
    assert found == pytest.approx(wanted, abs=1e-9)


@given(view_pairs())
def test_copies_are_the_rows_at_no_distance(views):
    rows, others = views
    near = nearest_distances(rows, others, spans(rows, others))
    assert copied(rows, others) == pytest.approx(np.mean(near < 1e-9))
    assert copied(rows, rows) == 1


@given(view_pairs(least=2))
def test_repeated_rows_have_a_twin(views):
    rows, _ = views
    twin = []
    for i in range(rows.rows):
        rest = taken(rows, np.array([j for j in range(rows.rows) if j != i]))
        twin.append(copied(taken(rows, slice(i, i + 1)), rest))
    assert repeated(rows) == pytest.approx(np.mean(twin))


def test_rows_that_know_no_more_of_one_half_are_as_near_to_the_other():
    train, holdout, fresh = (people(600, seed=seed) for seed in range(3))
    assert nearer_share(fresh, train, holdout) == pytest.approx(0.5, abs=0.06)
    assert nearer_share(independent(train, np.random.default_rng(0)), train, holdout) == pytest.approx(0.5, abs=0.06)
    assert nearer_share(train, train, holdout) == 1
    assert nearer_share(holdout, train, holdout) == 0
    assert nearer_share(fresh, train, train) == 0.5


def test_memory_is_told_by_copies_beside_those_of_a_holdout():
    train, holdout = people(200), people(200, seed=1)
    half = View(*(pd.concat([a[:100], b[:100]], ignore_index=True) for a, b in zip(train, holdout, strict=True)))
    found = memory_scores(half, train, holdout)
    assert found == {"nearer_train": 0.5, "copies": 0.5, "copies_holdout": 0.0}
