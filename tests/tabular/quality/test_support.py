"""Alpha-precision and beta-recall by brute force on points with one coordinate for each category, and their laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from view_worlds import people, view_pairs

from graftable.tabular.quality import independent, support_scores
from graftable.tabular.quality.views import View, taken

LEVELS = np.linspace(0, 1, 21)


def points(real, synthetic):
    """Rows as points: standardised numbers, a mark of nulls, and corners at distance 1 for categories."""
    parts = []
    for name in real.numbers:
        ours, theirs = real.numbers[name].to_numpy(), synthetic.numbers[name].to_numpy()
        both = np.concatenate([ours, theirs])
        known = ours[~np.isnan(ours)]
        spread = known.std() if len(known) and known.std() > 0 else 1.0
        mean = known.mean() if len(known) else math.nan
        parts.append(np.nan_to_num((both - mean) / spread)[:, None])
        if np.isnan(both).any():
            parts.append(corners(np.isnan(both).astype(str)))
    parts += [corners(np.concatenate([real.texts[name], synthetic.texts[name]])) for name in real.texts]
    return np.split(np.concatenate(parts, 1), [real.rows])


def corners(texts):
    kinds = sorted(set(texts))
    return np.array([[text == kind for kind in kinds] for text in texts]) / math.sqrt(2)


def score(shares):
    return 1 - sum(abs(share - level) for share, level in zip(shares, LEVELS, strict=True)) / sum(LEVELS)


def brute(real, synthetic):
    ours, theirs = points(real, synthetic)
    reach = [np.linalg.norm(side - ours.mean(0), axis=1) for side in (ours, theirs)]
    precision = [np.mean(reach[1] <= np.quantile(reach[0], level) + 1e-9) for level in LEVELS]
    own = np.linalg.norm(theirs - theirs.mean(0), axis=1)
    covered = []
    for place, row in enumerate(ours):
        distances = np.linalg.norm(theirs - row, axis=1)
        room = min(np.linalg.norm(row - ours[other]) for other in range(len(ours)) if other != place)
        covered.append((distances.min() <= room + 1e-9, own[np.isclose(distances, distances.min())]))
    recall = []
    for level in LEVELS:
        radius = np.quantile(own, level) + 1e-9
        recall.append(np.mean([inside and (radii[0] <= radius) for inside, radii in covered]))
    ties = any(np.ptp(radii) > 1e-9 for _, radii in covered)
    return score(precision), score(recall), ties


def jitter(view, seed):
    """The same with numbers that never tie, which rounding would part differently."""
    rng = np.random.default_rng(seed)
    return View(view.numbers + rng.uniform(0, 0.1, view.numbers.shape), view.texts)


@given(view_pairs(least=2))
def test_scores_are_those_of_the_points(views):
    real, synthetic = jitter(views[0], 0), jitter(views[1], 1)
    precision, recall, ties = brute(real, synthetic)
    found = support_scores(real, synthetic)
    assert -1e-9 <= found.precision <= 1 + 1e-9
    if len(real.numbers.columns) and not real.numbers.isna().any().any():
        assert found.precision == pytest.approx(precision, abs=1e-9)
        assert ties or found.recall == pytest.approx(recall, abs=1e-9)


def test_fresh_real_rows_are_precise_and_recall_half():
    found = support_scores(people(1500), people(1500, seed=1))
    assert found.precision > 0.95
    assert found.recall == pytest.approx(0.5, abs=0.06)


def test_rows_recall_themselves_whole():
    real = people(500)
    assert support_scores(real, real) == pytest.approx((1.0, 1.0), abs=0.01)


def test_few_kinds_of_rows_recall_little_and_independent_columns_less_than_real_ones():
    real = people(1000)
    few = taken(real, np.arange(1000) % 10)
    assert support_scores(real, few).recall < 0.1
    apart = support_scores(real, independent(people(1000, seed=1), np.random.default_rng(0)))
    assert apart.recall < 0.4
    assert apart.precision < support_scores(real, people(1000, seed=1)).precision


def test_rows_in_another_order_score_the_same():
    real, other = people(300), people(300, seed=1)
    turned = taken(other, np.arange(300)[::-1])
    assert support_scores(real, turned) == pytest.approx(support_scores(real, other), abs=1e-12)
