"""A growing and shrinking set of integer rows, of which parallel ones are kept as their tightest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import gcd

from .normal_form import Row

__all__ = ["EmptySystemError", "RowSystem", "Terms", "mirrored"]

Terms = tuple[tuple[str, int], ...]


class EmptySystemError(Exception):
    """Two rows contradict each other."""


@dataclass
class RowSystem:
    """Rows ``left >= bound`` by their left side, the left sides with their coefficient by column, and what changed.

    Example:
        >>> system = RowSystem()
        >>> system.add({"x": 2, "y": 2}, 3)
        >>> system.add({"x": 1, "y": 1}, 1)
        >>> system.bounds
        {(('x', 1), ('y', 1)): 2}
    """

    bounds: dict[Terms, int] = field(default_factory=dict)
    holders: dict[str, dict[Terms, int]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def add(self, terms: Mapping[str, int] | Iterable[tuple[str, int]], bound: int) -> None:
        """Add ``sum of terms >= bound``, coprime, its bound rounded up.

        Raises:
            EmptySystemError: If the row is impossible, by itself or with its mirror image.
        """
        kept = [(column, a) for column, a in dict(terms).items() if a]
        if not kept:
            if bound > 0:
                raise EmptySystemError
            return
        divisor = gcd(*(a for _, a in kept))
        left = tuple(sorted((column, a // divisor) for column, a in kept))
        bound = -(-bound // divisor)
        if (known := self.bounds.get(left)) is not None and known >= bound:
            return
        if (other := self.bounds.get(mirrored(left))) is not None and other + bound > 0:
            raise EmptySystemError
        self.bounds[left] = bound
        for column, a in left:
            self.holders.setdefault(column, {})[left] = a
            self.touched.add(column)

    def remove(self, left: Terms) -> int:
        """Take a row out; returns its bound."""
        for column, _ in left:
            del self.holders[column][left]
            self.touched.add(column)
        return self.bounds.pop(left)

    def remove_equality(self, left: Terms) -> int:
        """Take both rows of an equality out; returns what its left side equals."""
        self.remove(mirrored(left))
        return self.remove(left)

    def sides(self, column: str) -> tuple[list[Terms], list[Terms]]:
        """The left sides that bound a column from below and from above."""
        below: list[Terms] = []
        above: list[Terms] = []
        for left, a in sorted(self.holders.get(column, {}).items()):
            (below if a > 0 else above).append(left)
        return below, above

    def effect(self, column: str) -> tuple[bool, int]:
        """What eliminating a column does: whether it is inexact on integers, and the rows that it adds."""
        coefficients = self.holders.get(column, {}).values()
        below = [a for a in coefficients if a > 0]
        above = [a for a in coefficients if a < 0]
        gap = max(below, default=1) > 1 and min(above, default=-1) < -1
        return gap, len(below) * len(above) - len(coefficients)

    def equalities(self) -> list[Terms]:
        """One left side of each pair of rows that make an equality."""
        return [
            left for left, bound in self.bounds.items() if left[0][1] > 0 and self.bounds.get(mirrored(left)) == -bound
        ]

    def rows(self) -> list[Row]:
        """All rows."""
        return [Row(left, bound) for left, bound in self.bounds.items()]


def mirrored(left: Terms) -> Terms:
    """The left side with its signs turned."""
    return tuple((column, -a) for column, a in left)
