"""Walks over many rows: the correction of a cell, the way back that is left after it, and what the move costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .batch import Batch, Integers, Mask
from .elimination import Level
from .equalities import Derived, Stride
from .normal_form import Row

__all__ = ["clamp", "flip", "move_back", "move_cost", "obeys", "walk"]


def walk(batch: Batch, levels: Sequence[Level], derived: Sequence[Derived], pinned: Collection[str] = ()) -> None:
    """Clamp column after column, then compute the derived ones, in place.

    Where a level has no integer between its bounds the upper one counts; the row then fails the check of its cell.

    Example:
        >>> from graftable.tabular.elimination import Bound
        >>> batch = Batch({"x": np.array([5, 5]), "y": np.array([0, 9])}, {}, {})
        >>> walk(batch, [Level("y", (Bound(2, (("x", 1),), 0),), (), False)], [])
        >>> batch.numbers["y"]
        array([3, 9])
    """
    for level in levels:
        if level.column not in pinned:
            clamp(batch, level)
    for item in derived:
        value = batch.total(item.terms, item.constant)
        value = value if item.coefficient == 1 else value // item.coefficient
        if (missing := batch.missing((*item.terms, (item.column, 1)))) is not None:
            value = np.where(missing, batch.numbers[item.column], value)
        batch.set(item.column, value)


def clamp(batch: Batch, level: Level) -> None:
    """Bring one column between its bounds, in place."""
    values = batch.numbers[level.column]
    low = batch.tightest(level.lower, values, lower=True) if level.lower else None
    raised = values if low is None else np.maximum(values, low)
    high = batch.tightest(level.upper, raised, lower=False) if level.upper else None
    nearest = raised if high is None else np.minimum(raised, high)
    if level.stride is not None:
        nearest = _in_class(batch, level.stride, values, nearest, low, high)
    if level.column in batch.nulls:
        nearest = np.where(batch.nulls[level.column], values, nearest)
    batch.set(level.column, nearest)


def _in_class(
    batch: Batch, stride: Stride, values: Integers, inside: Integers, low: Integers | None, high: Integers | None
) -> Integers:
    """The member of a residue class between the bounds that is nearest to ``values``."""
    goal = batch.total(stride.terms, stride.constant)
    up = inside + (goal - inside) % stride.modulus
    down = np.where(up > inside, up - stride.modulus, up)
    lower = np.abs(down - values) <= np.abs(up - values)
    if high is not None:
        lower |= up > high
    return np.asarray(np.where(lower if low is None else lower & (down >= low), down, up))


def flip(
    batch: Batch, categories: Sequence[tuple[str, tuple[str | None, ...]]], pinned: Collection[str] = ()
) -> tuple[Batch, NDArray[np.float64]]:
    """A copy with forbidden categories replaced by the most frequent allowed ones, and the number of flips per row.

    The number is infinite where a column may not change, or could only become a text that is not listed.
    """
    flips = np.zeros(batch.size)
    flipped = batch.take(np.arange(batch.size))
    for column, allowed in categories:
        forbidden = ~batch.among(column, allowed)
        if column in pinned or allowed[0] is None:
            flips[forbidden] = np.inf
        else:
            flips += forbidden
            flipped.codes[column][forbidden] = batch.categories[column].index(allowed[0])
    return flipped, flips


def move_back(batch: Batch, original: Batch, limits: Mapping[str, Level], columns: Sequence[str]) -> None:
    """Take moved columns back towards where they were, one after the other, as far as the rows allow, in place.

    Args:
        batch: Rows that obey a system.
        original: The same rows before they were moved.
        limits: The bounds of `elimination.limits_of` that system.
        columns: The columns to move, in this order.
    """
    for column in columns:
        level = limits.get(column)
        if level is None:
            continue
        moved = np.flatnonzero(batch.numbers[column] != original.numbers[column])
        if not len(moved):
            continue
        part = batch.take(moved) if len(moved) < batch.size else batch
        values, goal = part.numbers[column], original.numbers[column][moved]
        nearer = goal
        if level.lower:
            low = part.tightest(level.lower, np.minimum(values, goal), lower=True)
            nearer = np.where(values < low, values, np.maximum(nearer, low))
        if level.upper:
            high = part.tightest(level.upper, np.maximum(values, goal), lower=False)
            nearer = np.where(values > high, values, np.minimum(nearer, high))
        result = batch.numbers[column].astype(nearer.dtype) if nearer.dtype == object else batch.numbers[column].copy()
        result[moved] = nearer
        batch.set(column, result)


def obeys(batch: Batch, rows: Sequence[Row]) -> Mask:
    """Which rows of a batch obey a system."""
    result = np.ones(batch.size, bool)
    for row in rows:
        result &= batch.holds(row)
    return result


def move_cost(
    batch: Batch, original: Batch, columns: Sequence[str], spreads: Mapping[str, float]
) -> NDArray[np.float64]:
    """The sum over some columns of the distance moved, in units of the columns' spreads."""
    cost = np.zeros(batch.size)
    for column in columns:
        cost += batch.moved(column, original) / spreads.get(column, 1.0)
    return cost
