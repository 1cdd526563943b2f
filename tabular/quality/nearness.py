"""Whether synthetic rows repeat the rows that were learnt: distances to the closest record, and exact copies."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .views import View, code_columns, taken, unequal_cells

__all__ = ["copied", "memory_scores", "nearer_share", "nearest_distances", "repeated", "spans"]

BLOCK = 50  # rows whose distances to all others are held at once, so few that they stay in the cache


def spans(*views: View) -> pd.Series:
    """The span of each column of numbers over some rows, 1 where it is none: the unit of distances."""
    numbers = pd.concat([view.numbers for view in views])
    return (numbers.max() - numbers.min()).fillna(0).replace(0, 1)


def nearest_distances(rows: View, others: View, scale: pd.Series, block: int = BLOCK) -> NDArray[np.float64]:
    r"""The distance of each row to the closest of some others.

    .. math:: d(x, y) = \sum_{j\ \text{number}} \frac{|x_j - y_j|}{s_j} + \sum_{j\ \text{category}} [x_j \ne y_j],

    where a null number is at 1 from every number and at 0 from another null.

    Args:
        rows: Rows.
        others: At least one row with the same columns.
        scale: The unit of each column of numbers; see `spans`.
        block: How many rows are measured at once.
    """
    from scipy.spatial.distance import cdist

    numbers = [(view.numbers / scale[view.numbers.columns]).to_numpy(float) for view in (rows, others)]
    gappy = np.isnan(numbers[0]).any(0) | np.isnan(numbers[1]).any(0)
    codes = code_columns([rows, others])
    found = []
    for start in range(0, rows.rows, block):
        part = slice(start, start + block)
        distance = np.zeros((len(numbers[0][part]), others.rows))
        if not gappy.all():
            distance += cdist(numbers[0][part][:, ~gappy], numbers[1][:, ~gappy], "cityblock")
        for column in np.flatnonzero(gappy):
            ours, theirs = numbers[0][part, None, column], numbers[1][None, :, column]
            apart = np.abs(ours - theirs)
            distance += np.where(np.isnan(apart), np.isnan(ours) != np.isnan(theirs), apart)
        distance += unequal_cells(codes[0][:, part], codes[1])
        found.append(distance.min(1))
    return np.concatenate(found) if found else np.empty(0)


def nearer_share(rows: View, train: View, holdout: View, scale: pd.Series | None = None) -> float:
    """The share of rows that are nearer to a learnt row than to a row of an equal holdout; ties count half.

    It is 0.5 for rows that know no more of the learnt rows than of the holdout, and 1 for copies.

    Args:
        rows: Rows to judge.
        train: Rows that were learnt.
        holdout: Rows of the same table that were not.
        scale: See `nearest_distances`.
    """
    scale = spans(train, holdout) if scale is None else scale
    size = min(train.rows, holdout.rows)
    near, far = (nearest_distances(rows, taken(view, slice(size)), scale) for view in (train, holdout))
    return float(np.mean(near < far) + np.mean(near == far) / 2)


def _hashes(view: View) -> NDArray[np.uint64]:
    """A number for each row; equal rows (numbers to 6 decimals) have the same, and others do not but by a wonder."""
    table = pd.concat([view.numbers.round(6) + 0.0, view.texts], axis=1)
    return np.asarray(pd.util.hash_pandas_object(table, index=False, categorize=False), np.uint64)


def copied(rows: View, known: View) -> float:
    """The share of rows that equal one of the known rows in every cell, numbers to 6 decimals."""
    return float(np.isin(_hashes(rows), _hashes(known)).mean())


def repeated(rows: View) -> float:
    """The share of rows that equal another of these rows: what `copied` is for real rows without a holdout."""
    _, places, counts = np.unique(_hashes(rows), return_inverse=True, return_counts=True)
    return float((counts[places] > 1).mean())


def memory_scores(synthetic: View, train: View, holdout: View) -> dict[str, float]:
    """`nearer_share` of synthetic rows, their exact copies, and those that a holdout has.

    Returns:
        ``nearer_train``, ``copies`` and ``copies_holdout``.
    """
    return {
        "nearer_train": nearer_share(synthetic, train, holdout),
        "copies": copied(synthetic, train),
        "copies_holdout": copied(holdout, train),
    }
