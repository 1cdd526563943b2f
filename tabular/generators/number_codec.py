r"""A numeric column as symbols: ordered lattice intervals, then special codes, then null.

A value that many rows share (a zero, a rounded price, every value of a short grid) is an interval of its own, an
*atom*, so that it comes back exactly; the other intervals hold about equally many rows, fewer towards both ends.
Inside an interval all lattice points are equally likely:

.. math:: P(x) = P(\text{symbol}) \cdot P(x \mid \text{symbol}), \qquad P(m \mid [a, b]) = 1 / (b - a + 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ..schema import ColumnSchema
from .cells import NumberCells, read_numbers
from .interface import Allowed, Arrays

__all__ = ["SHORT_GRID", "NumberCodec"]

Symbols = NDArray[np.int64]
Floats = NDArray[np.float64]

SHORT_GRID = 64  # a column with at most as many values is nothing but atoms
FEWEST = 8  # rows in an interval
LARGEST = 2.0**52  # lattice numbers below this are exact as floats


@dataclass(frozen=True)
class NumberCodec:
    """A numeric column as ordered intervals, then special codes, then null.

    Attributes:
        column: The column.
        scale: Lattice points per unit; that of the column, or coarser where its numbers are too long for a float.
        low: First lattice point of each interval, ascending ``(intervals,)``.
        high: Last lattice point of each.
        counts: Training rows by symbol ``(size,)``.
        nulls: Whether the last symbol is null.
    """

    kind: ClassVar[str] = "number"
    column: ColumnSchema
    scale: int
    low: Floats
    high: Floats
    counts: Floats
    nulls: bool

    @classmethod
    def fit(cls, series: pd.Series, column: ColumnSchema, most: int) -> NumberCodec:
        """Cut a column into about ``most`` intervals."""
        cells = read_numbers(series, column)
        values = cells.values[cells.usable]
        scale, reach = column.scale, float(np.abs(values).max(initial=0.0))
        while scale > 1 and reach * scale >= LARGEST:
            scale //= 10
        points, shares = np.unique(np.rint(values * scale), return_counts=True)
        low, high = _intervals(points, shares, most)
        nulls = bool(cells.missing.any())
        codec = cls(column, scale, low, high, np.zeros(len(low) + len(column.special) + nulls), nulls)
        codec.counts[:] = np.bincount(codec._symbols(cells)[0], minlength=codec.size)
        return codec

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return len(self.counts)

    @property
    def ordered(self) -> int:
        """How many of them, the first, have an order."""
        return len(self.low)

    def encode(self, series: pd.Series) -> tuple[Symbols, Floats]:
        """The symbol of each cell, -1 for a null where there was none, and the log-probability of the cell in it.

        A number between two intervals takes the nearer one, with log-probability ``-inf``.
        """
        return self._symbols(read_numbers(series, self.column))

    def _symbols(self, cells: NumberCells) -> tuple[Symbols, Floats]:
        points = np.rint(cells.values * self.scale)
        symbols = np.full(len(points), -1)
        inside = np.ones(len(points), bool)
        if self.ordered:
            symbols = self._nearest(points)
            inside = (points >= self.low[symbols]) & (points <= self.high[symbols])
        within = np.where(inside, -np.log(self._widths)[symbols] if self.ordered else 0.0, -np.inf)
        symbols = np.where(cells.special >= 0, self.ordered + cells.special, symbols)
        symbols = np.where(cells.missing, self.size - 1 if self.nulls else -1, symbols)
        return symbols, np.where(cells.usable, within, 0.0)

    def _nearest(self, points: Floats) -> Symbols:
        left = np.clip(np.searchsorted(self.low, points, side="right") - 1, 0, None)
        right = np.minimum(left + 1, self.ordered - 1)
        nearer = (points > self.high[left]) & (self.low[right] - points < points - self.high[left])
        return np.where(nearer, right, left)

    @cached_property
    def _widths(self) -> Floats:
        return self.high - self.low + 1

    def mass(self, allowed: Allowed) -> Floats:
        """The share of each symbol that is allowed, ``(size,)``, or ``(rows, size)`` for bounds by row."""
        low, high = (np.asarray(end, np.float64)[..., None] for end in self._ends(allowed))
        overlap = np.minimum(self.high, high) - np.maximum(self.low, low) + 1
        share = np.zeros((*overlap.shape[:-1], self.size))
        share[..., : self.ordered] = np.clip(overlap / self._widths, 0, 1)
        for place, text in enumerate(self.column.special):
            share[..., self.ordered + place] = allowed.texts is not None and text in allowed.texts
        if self.nulls:
            share[..., -1] = allowed.null
        return share if np.ndim(allowed.low) or np.ndim(allowed.high) else share.reshape(self.size)

    def _ends(self, allowed: Allowed) -> tuple[Any, Any]:
        """The first and the last lattice point that are allowed; a hair is forgiven, as 0.3 * 10 is no 3."""
        hair = 1e-9
        return np.ceil(np.asarray(allowed.low) * self.scale - hair), np.floor(
            np.asarray(allowed.high) * self.scale + hair
        )

    def decode(self, symbols: Symbols, rng: np.random.Generator, allowed: Allowed | None = None) -> pd.Series:
        """Cells of these symbols, inside what is allowed: numbers, or the special code as a number; NaN for null."""
        values = np.full(len(symbols), np.nan)
        places = np.flatnonzero(symbols < self.ordered)
        low, high = self.low[symbols[places]], self.high[symbols[places]]
        if allowed is not None:
            least, most = (np.broadcast_to(end, len(symbols))[places] for end in self._ends(allowed))
            low, high = np.maximum(low, least), np.minimum(high, most)
        values[places] = (low + np.floor(rng.random(len(places)) * (high - low + 1))) / self.scale
        for place, text in enumerate(self.column.special if self.column.kind != "datetime" else ()):
            values[symbols == self.ordered + place] = float(text)
        return pd.Series(values)

    @cached_property
    def _edges(self) -> Floats:
        """The share of numbers below each interval, and 1 at the end."""
        counts = self.counts[: self.ordered]
        return np.concatenate([[0.0], np.cumsum(counts) / max(counts.sum(), 1.0)])

    def to_scores(self, series: pd.Series, rng: np.random.Generator | None = None) -> Floats:
        """Normal scores; an atom is a slice of the normal distribution, filled at random or taken in the middle.

        Cells without a number get 0.
        """
        cells = read_numbers(series, self.column)
        points = np.rint(cells.values * self.scale)
        symbols = self._nearest(points)
        jitter = 0.5 if rng is None else rng.random(len(points))
        inner = np.clip((points - self.low[symbols] + jitter) / self._widths[symbols], 0, 1)
        shares = self._edges[symbols] + inner * (self._edges[symbols + 1] - self._edges[symbols])
        return np.where(cells.usable, ndtri(np.clip(shares, 1e-6, 1 - 1e-6)), 0.0)

    def from_scores(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """The number of each normal score."""
        shares = ndtr(np.asarray(scores, np.float64))
        symbols = np.clip(np.searchsorted(self._edges, shares, side="right") - 1, 0, self.ordered - 1)
        inner = (shares - self._edges[symbols]) / np.maximum(self._edges[symbols + 1] - self._edges[symbols], 1e-300)
        steps = np.floor(np.clip(inner, 0, 1 - 1e-12) * self._widths[symbols])
        return np.asarray((self.low[symbols] + steps) / self.scale, np.float64)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and settings."""
        return {"low": self.low, "high": self.high, "counts": self.counts}, {"scale": self.scale, "nulls": self.nulls}

    @classmethod
    def restored(cls, column: ColumnSchema, arrays: Arrays, extra: dict[str, Any]) -> NumberCodec:
        """Read what `state` gave."""
        return cls(column, extra["scale"], arrays["low"], arrays["high"], arrays["counts"], extra["nulls"])


def _intervals(points: Floats, shares: NDArray[np.intp], most: int) -> tuple[Floats, Floats]:
    """Atoms where values repeat, and runs of other values cut into pieces of about equally many rows."""
    rows = int(shares.sum())
    if len(points) <= SHORT_GRID:
        return points, points.copy()
    is_atom = shares >= max(FEWEST, rows / (2 * most))
    piece = max(float(FEWEST), float(shares[~is_atom].sum()) / most)
    starts = np.flatnonzero(np.diff(is_atom.astype(int), prepend=2) != 0)
    low, high = [], []
    for start, end in zip(starts, [*starts[1:], len(points)], strict=True):
        if is_atom[start]:
            low.append(points[start:end])
            high.append(points[start:end])
            continue
        first, last = points[start], points[end - 1]
        if shares[start:end].sum() < FEWEST:  # too few rows to show where they are: all that lies between the atoms
            first = points[start - 1] + 1 if start else first
            last = points[end] - 1 if end < len(points) else last
        cuts = start + _cuts(shares[start:end], piece, bool(start == 0), bool(end == len(points)))
        borders = np.floor((points[cuts - 1] + points[cuts]) / 2)
        low.append(np.concatenate([[first], borders + 1]))
        high.append(np.concatenate([borders, [last]]))
    return np.concatenate(low), np.concatenate(high)


def _cuts(shares: NDArray[np.intp], piece: float, is_first: bool, is_last: bool) -> NDArray[np.intp]:
    """Where to cut a run of values so that each part has about ``piece`` rows, fewer at the ends of the column."""
    below = np.cumsum(shares)
    total = float(below[-1])
    parts = max(1, round(total / piece))
    targets = [total * part / parts for part in range(1, parts)]
    width = total / parts
    while width >= 2 * FEWEST:  # tails are long: an interval of many rows would reach too far
        width /= 2
        targets += [width] * is_first + [total - width] * is_last
    cuts = np.unique(np.searchsorted(below, targets, side="left") + 1)
    return cuts[cuts < len(shares)]
