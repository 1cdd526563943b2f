"""Whether synthetic rows lie where real ones do, and the other way round: alpha-precision and beta-recall."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .views import Codes, View, code_columns, unequal_cells

__all__ = ["SupportScores", "support_scores"]

LEVELS = np.linspace(0, 1, 21)
BLOCK = 50  # rows whose distances to all others are held at once, so few that they stay in the cache
Floats = NDArray[np.float64]


class SupportScores(NamedTuple):
    """How alike two supports are, from 0 to 1.

    Attributes:
        precision: Of synthetic rows in the support of real ones.
        recall: Of real rows in the support of synthetic ones.
    """

    precision: float
    recall: float


def support_scores(real: View, synthetic: View) -> SupportScores:
    r"""Integrated alpha-precision and beta-recall.

    With :math:`c` the mean of real rows, the :math:`\alpha`-support is the ball about :math:`c` that holds the share
    :math:`\alpha` of them, and :math:`P_\alpha` the share of synthetic rows in it. A real row is covered at
    :math:`\beta` if its nearest synthetic row is in the :math:`\beta`-support of the synthetic rows and no farther than
    its nearest real row; :math:`R_\beta` is the share that is. The scores are

    .. math:: 1 - \frac{\sum_\alpha |P_\alpha - \alpha|}{\sum_\alpha \alpha}, \qquad
        1 - \frac{\sum_\beta |R_\beta - \beta|}{\sum_\beta \beta}

    over 21 levels from 0 to 1. A second sample of real rows has a precision near 1 and a recall near 0.5, as every
    other row is nearer to one of its own sample. The published scores first embed rows with a one-class network; here
    numbers are standardised by the real rows (null is the mean, and a category) and categories are corners at mutual
    distance 1, so that no training run decides.

    Args:
        real: At least two rows.
        synthetic: At least one row with the same columns.

    References:
        Alaa, van Breugel, Saveliev, van der Schaar, How Faithful is your Synthetic Data?, ICML 2022, section 3.
    """
    ours, theirs = _embedded(real, synthetic)
    radii = np.quantile(_from_centre(ours, ours), LEVELS)
    reach = _from_centre(theirs, ours)
    precision = np.array([_within(reach, radius).mean() for radius in radii])
    own = _from_centre(theirs, theirs)
    nearest, distance = _nearest(ours, theirs)
    _, room = _nearest(ours, ours, itself=False)
    covered = _within(distance, room)
    recall = np.array([(covered & _within(own[nearest], radius)).mean() for radius in np.quantile(own, LEVELS)])
    return SupportScores(_integrated(precision), _integrated(recall))


def _within(distances: Floats, radius: Any) -> NDArray[np.bool_]:
    """Which distances are no more than a radius, but for rounding: rows of few values tie often."""
    return np.asarray(distances <= radius * (1 + 1e-9) + 1e-12, np.bool_)


def _integrated(shares: Floats) -> float:
    return float(1 - np.abs(shares - LEVELS).sum() / LEVELS.sum())


class _Points(NamedTuple):
    """Rows in space: standardised numbers ``(rows, numbers)`` and codes of categories ``(columns, rows)``."""

    numbers: Floats
    codes: Codes


def _embedded(real: View, synthetic: View) -> tuple[_Points, _Points]:
    gappy = [name for name in real.numbers if real.numbers[name].isna().any() or synthetic.numbers[name].isna().any()]
    parts = []
    for view in (real, synthetic):
        gaps = pd.DataFrame({f"{name} is null": view.numbers[name].isna().astype(str) for name in gappy})
        texts = pd.concat([view.texts, gaps.set_axis(view.texts.index)], axis=1) if gappy else view.texts
        parts.append(View(view.numbers, texts))
    mean, spread = real.numbers.mean(), real.numbers.std(ddof=0).fillna(0).replace(0, 1)
    numbers = [np.nan_to_num(((view.numbers - mean) / spread).to_numpy(float)) for view in parts]
    codes = code_columns(parts)
    return _Points(numbers[0], codes[0]), _Points(numbers[1], codes[1])


def _from_centre(points: _Points, centred: _Points) -> Floats:
    r"""Distances ``(rows,)`` to the mean of some points, in which a category is :math:`e_c / \sqrt 2`."""
    square = ((points.numbers - centred.numbers.mean(0)) ** 2).sum(1)
    for ours, theirs in zip(points.codes, centred.codes, strict=True):
        shares = np.bincount(theirs, minlength=max(int(ours.max()), int(theirs.max())) + 1) / len(theirs)
        square += (1 - 2 * shares[ours] + (shares**2).sum()) / 2
    return np.asarray(np.sqrt(np.maximum(square, 0)), np.float64)


def _nearest(rows: _Points, others: _Points, itself: bool = True) -> tuple[NDArray[np.int64], Floats]:
    """The nearest other of each row and how far it is; without the row itself where both are the same points."""
    from scipy.spatial.distance import cdist

    places, distances = [], []
    for start in range(0, len(rows.numbers), BLOCK):
        part = slice(start, start + BLOCK)
        square = np.zeros((len(rows.numbers[part]), len(others.numbers)))
        if rows.numbers.shape[1]:
            square += cdist(rows.numbers[part], others.numbers, "sqeuclidean")
        square += unequal_cells(rows.codes[:, part], others.codes)
        if not itself:
            np.fill_diagonal(square[:, start:], np.inf)
        places.append(square.argmin(1))
        distances.append(np.sqrt(square.min(1)))
    return np.concatenate(places), np.concatenate(distances)
