"""How like the real ones synthetic columns are, one by one and in pairs, by the definitions of SDMetrics.

References:
    SDMetrics, KSComplement, TVComplement, CorrelationSimilarity and ContingencySimilarity, https://docs.sdv.dev/sdmetrics
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .views import View, shared_codes

__all__ = ["column_shapes", "mean_score", "pair_trends", "shape_score", "trend_score"]

Pair = tuple[str, str]
MOST_CELLS = 1 << 22  # of a joint table that is counted in one array


def column_shapes(real: View, synthetic: View) -> dict[str, float]:
    r"""Of each column, how alike its two distributions are.

    .. math:: 1 - \sup_x |F(x) - G(x)| \quad\text{for numbers}, \qquad
        1 - \tfrac12 \sum_c |p(c) - q(c)| \quad\text{for categories}.

    Numbers are compared without nulls; among categories, null is one.

    Returns:
        Scores from 0 to 1 by column. NaN for a column of numbers without a single one in the real rows; 0 if only the
        synthetic rows have none.

    Example:
        >>> real = View(pd.DataFrame({"n": [1.0, 2.0]}), pd.DataFrame({"c": ["a", "b"]}))
        >>> column_shapes(real, View(real.numbers + 1, real.texts))
        {'n': 0.5, 'c': 1.0}
    """
    scores = {}
    for name in real.numbers:
        ours, theirs = real.numbers[name].dropna(), synthetic.numbers[name].dropna()
        if len(ours) and len(theirs):
            scores[name] = 1 - _kolmogorov_smirnov(ours.to_numpy(), theirs.to_numpy())
        else:
            scores[name] = 0.0 if len(ours) else float("nan")
    for name in real.texts:
        codes, kinds = shared_codes([real.texts[name], synthetic.texts[name]])
        scores[name] = _overlap(codes[0], codes[1], kinds)
    return scores


def _kolmogorov_smirnov(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The largest distance of two empirical distribution functions; at least one number each."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(part), places, side="right") / len(part) for part in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def _overlap(real: NDArray[np.int64], synthetic: NDArray[np.int64], kinds: int) -> float:
    """1 - total variation of two samples of the numbers below ``kinds``."""
    shares = [np.bincount(codes, minlength=kinds) / max(len(codes), 1) for codes in (real, synthetic)]
    return float(1 - np.abs(shares[0] - shares[1]).sum() / 2)


def pair_trends(real: View, synthetic: View, pairs: list[Pair] | None = None) -> dict[Pair, float]:
    r"""Of each pair of columns, how alike what ties them is.

    .. math:: 1 - \tfrac12 |\rho - \sigma| \quad\text{for two columns of numbers}, \qquad
        1 - \tfrac12 \sum_{a, b} |p(a, b) - q(a, b)| \quad\text{for others},

    with Pearson's correlations, and numbers in ten bins of equal width between the ends of the *real* column (and one
    for those from its greatest on, one for those below its least; null is with the former). SDMetrics' report bins the
    synthetic column between its own ends, so that a column twice as wide looks alike; the metric itself does as here.

    Args:
        real: Real rows.
        synthetic: Rows with the same columns.
        pairs: Only these; by default all, numbers before categories.

    Returns:
        Scores from 0 to 1. NaN where a correlation is not defined, as one of the columns is constant.
    """
    wanted = list(itertools.combinations(real.columns, 2)) if pairs is None else pairs
    place = {name: number for number, name in enumerate(real.numbers)}
    first, second = (_correlations(view.numbers) for view in (real, synthetic))
    codes = _pair_codes(real, synthetic, {name for pair in wanted for name in pair if not set(pair) <= set(place)})
    scores: dict[Pair, float] = {}
    for one, other in wanted:
        if one in place and other in place:
            at = place[one], place[other]
            scores[one, other] = float(1 - abs(first[at] - second[at]) / 2)
        else:
            scores[one, other] = _joint_overlap(codes[one], codes[other])
    return scores


Codes = tuple[list[NDArray[np.int64]], int]


def _correlations(numbers: pd.DataFrame) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(numbers.corr(), np.float64)


def _pair_codes(real: View, synthetic: View, names: set[str]) -> dict[str, Codes]:
    codes: dict[str, Codes] = {}
    for name in real.numbers:
        if name in names:
            edges = np.histogram_bin_edges(real.numbers[name].dropna())
            codes[name] = [np.digitize(view.numbers[name], edges) for view in (real, synthetic)], len(edges) + 1
    for name in real.texts:
        if name in names:
            codes[name] = shared_codes([real.texts[name], synthetic.texts[name]])
    return codes


def _joint_overlap(one: Codes, other: Codes) -> float:
    joint = [first * other[1] + second for first, second in zip(one[0], other[0], strict=True)]
    kinds = one[1] * other[1]
    if kinds > MOST_CELLS:  # most cells of so large a table are empty
        known, numbers = np.unique(np.concatenate(joint), return_inverse=True)
        joint, kinds = [numbers[: len(joint[0])], numbers[len(joint[0]) :]], len(known)
    return _overlap(joint[0], joint[1], kinds)


def mean_score(scores: Mapping[str, float] | Mapping[Pair, float]) -> float:
    """The mean of what is defined; NaN if nothing is."""
    defined = [score for score in scores.values() if not np.isnan(score)]
    return float(np.mean(defined)) if defined else float("nan")


def shape_score(real: View, synthetic: View) -> float:
    """The mean of `column_shapes`."""
    return mean_score(column_shapes(real, synthetic))


def trend_score(real: View, synthetic: View) -> float:
    """The mean of `pair_trends`."""
    return mean_score(pair_trends(real, synthetic))
