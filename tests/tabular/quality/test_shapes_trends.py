"""Shapes and trends against their definitions, counted by hand, and against figures of SDMetrics."""

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from scipy.stats import ks_2samp
from view_worlds import people, view_pairs

from graftable.tabular import Schema
from graftable.tabular.quality import (
    View,
    column_shapes,
    frame_view,
    independent,
    pair_trends,
    shape_score,
    trend_score,
)
from graftable.tabular.quality import shapes_trends as module
from graftable.tabular.quality.views import taken

DATA = Path(__file__).parents[2] / "data"


def overlap(first, second):
    """The mass that two samples of hashable things share."""
    ours, theirs = Counter(first), Counter(second)
    return sum(min(ours[key] / len(first), theirs[key] / len(second)) for key in ours)


def bin_of(value, real):
    """The bin of ten between the ends of the real values; 11 from the greatest on and for null, 0 below the least."""
    known = [x for x in real if not math.isnan(x)] or [0.0, 1.0]
    low, high = min(known), max(known)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    edges = np.linspace(low, high, 11)
    return 11 if math.isnan(value) else sum(value >= edge for edge in edges)


def brute_trend(one, other, real, synthetic):
    if one in real.numbers and other in real.numbers:
        both = []
        for view in (real, synthetic):
            known = view.numbers[[one, other]].dropna().to_numpy()
            with np.errstate(all="ignore"):
                spread = known.std(0) if len(known) > 1 else np.zeros(2)
            both.append(np.corrcoef(known.T)[0, 1] if (spread > 0).all() else math.nan)
        return 1 - abs(both[0] - both[1]) / 2
    rows = [
        [
            tuple(
                bin_of(x, real.numbers[name]) if name in real.numbers else x
                for name, x in zip((one, other), cells, strict=True)
            )
            for cells in zip(*(part(view, name) for name in (one, other)), strict=True)
        ]
        for view in (real, synthetic)
    ]
    return overlap(*rows)


def part(view, name):
    return view.numbers[name] if name in view.numbers else view.texts[name]


@given(view_pairs())
def test_a_shape_is_the_distance_of_distributions(views):
    real, synthetic = views
    for name, score in column_shapes(real, synthetic).items():
        ours, theirs = part(real, name), part(synthetic, name)
        if name in real.texts:
            assert score == pytest.approx(overlap(list(ours), list(theirs)))
        elif ours.notna().any() and theirs.notna().any():
            assert score == pytest.approx(1 - ks_2samp(ours.dropna(), theirs.dropna()).statistic)
        else:
            assert math.isnan(score) if ours.isna().all() else score == 0


@given(view_pairs())
def test_a_trend_is_the_distance_of_correlations_or_of_joint_tables(views):
    real, synthetic = views
    found = pair_trends(real, synthetic)
    assert list(found) == list(itertools.combinations(real.columns, 2))
    for (one, other), score in found.items():
        wanted = brute_trend(one, other, real, synthetic)
        assert score == pytest.approx(wanted, abs=1e-9, nan_ok=True)


@given(view_pairs())
def test_rows_in_another_order_score_the_same(views):
    real, synthetic = views
    turned = taken(synthetic, np.arange(synthetic.rows)[::-1])
    for score in (column_shapes, pair_trends):
        ours, theirs = score(real, synthetic), score(real, turned)
        assert list(ours.values()) == pytest.approx(list(theirs.values()), abs=1e-9, nan_ok=True)


@given(view_pairs())
def test_rows_are_like_themselves(views):
    real, _ = views
    defined = [*column_shapes(real, real).values(), *pair_trends(real, real).values()]
    assert [score for score in defined if not math.isnan(score)] == pytest.approx(
        [1.0] * sum(not math.isnan(score) for score in defined)
    )


@pytest.mark.parametrize("table", ["adult", "bike"])
def test_scores_are_those_of_sdmetrics(table):
    """Of `benchmarks/quality_peers.py`: with the real column's bins; null is no category in its shapes."""
    wanted = json.loads((DATA / "sdmetrics_scores.json").read_text())[table]
    frame = pd.read_csv(DATA / "tabular" / f"{table}.csv")
    schema = Schema.detect(frame)
    continuous = {column.name for column in schema if column.is_numeric}
    real, synthetic = (frame_view(frame[place::2], schema, continuous) for place in range(2))
    whole = [name for name in schema.names if frame[name].notna().all() or name in continuous]
    found = column_shapes(real, synthetic)
    assert {name: found[name] for name in whole} == pytest.approx({name: wanted["shapes"][name] for name in whole})
    pairs = {(one, other): math.nan if score is None else score for one, other, score in wanted["trends"]}
    assert pair_trends(real, synthetic) == pytest.approx(pairs, abs=1e-9, nan_ok=True)
    assert len(pairs) > 100


def test_independent_columns_keep_shapes_and_lose_trends():
    real = people(2000)
    apart = independent(real, np.random.default_rng(0))
    assert shape_score(real, apart) == 1.0
    assert trend_score(real, people(2000, seed=1)) > 0.95
    assert trend_score(real, apart) < 0.85


def test_a_large_joint_table_is_counted_the_same(monkeypatch):
    real, other = people(500), people(500, seed=1)
    dense = pair_trends(real, other)
    monkeypatch.setattr(module, "MOST_CELLS", 1)
    assert pair_trends(real, other) == pytest.approx(dense)


def test_a_column_without_a_number_has_no_score_and_counts_for_nothing():
    texts = pd.DataFrame({"c": ["a", "b"]})
    empty = View(pd.DataFrame({"n": [math.nan, math.nan]}), texts)
    full = View(pd.DataFrame({"n": [1.0, 2.0]}), texts)
    assert math.isnan(column_shapes(empty, full)["n"])
    assert shape_score(empty, full) == 1.0
    assert column_shapes(full, empty) == {"n": 0.0, "c": 1.0}
