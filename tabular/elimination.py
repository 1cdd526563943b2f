r"""From a system of integer rows to a sequence of one-column corrections.

Fourier-Motzkin elimination takes the columns away one by one, the last of the correction order first. The rows that
hold a column when it goes bound it by the columns before it, and every pair of a lower row ``p m >= u`` and an upper
row ``q m <= v`` leaves ``p v >= q u`` behind. A row is then corrected by one walk in order: clamp each column between
its bounds, which depend on corrected columns only. Over the reals that always succeeds. Over the integers it succeeds
where in every pair ``p = 1`` or ``q = 1`` (Pugh, "The Omega test", 1991); a level without that is marked as a gap.

Equalities are solved for a column first: it becomes derived, recomputed after the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal

from .equalities import Derived, Stride, solve_for_unit, solve_with_stride
from .feasibility import implies
from .normal_form import Row
from .row_system import EmptySystemError, RowSystem, Terms

__all__ = ["Bound", "Derived", "Elimination", "Level", "Stride", "Style", "eliminate", "limits_of"]

Style = Literal["fill", "leaves", "cheap", "dear"]

_MANY_ROWS = 200
STYLES: tuple[Style, ...] = ("fill", "leaves", "cheap", "dear")
"""Which column is corrected last: the one that leaves fewest rows; that with fewest rows; the cheapest; the dearest."""


@dataclass(frozen=True)
class Bound:
    """``coefficient * column >= constant + sum of terms`` (or ``<=`` for an upper bound), coefficient positive."""

    coefficient: int
    terms: Terms
    constant: int


@dataclass(frozen=True)
class Level:
    """One step of the walk: ``column`` lies between its bounds over earlier columns.

    Attributes:
        column: The column that is corrected.
        lower: Its lower bounds; the largest counts, rounded up.
        upper: Its upper bounds; the smallest counts, rounded down.
        gap: Whether rounding may leave no integer between them.
        stride: The class that the column must lie in, if an equality asks for one.
    """

    column: str
    lower: tuple[Bound, ...]
    upper: tuple[Bound, ...]
    gap: bool
    stride: Stride | None = None


@dataclass(frozen=True)
class Elimination:
    """The result for one system.

    Attributes:
        levels: The walk, in correction order.
        derived: Columns computed after the walk, in an order in which each needs earlier ones only.
        empty: No integer point obeys the system; proved.
        complete: False where the rows passed the cap: the levels are then missing.
    """

    levels: tuple[Level, ...]
    derived: tuple[Derived, ...]
    empty: bool = False
    complete: bool = True

    @property
    def gap(self) -> bool:
        """Whether some level has a gap, so that the walk can fail on integers."""
        return any(level.gap for level in self.levels)


class _TooManyRowsError(Exception):
    pass


def eliminate(
    rows: Sequence[Row],
    *,
    spreads: Mapping[str, float] | None = None,
    pinned: Collection[str] = (),
    style: Style = "fill",
    max_rows: int = 20_000,
) -> Elimination:
    """Order the columns of a system and close it, so that a walk in that order corrects any row.

    Args:
        rows: The system.
        spreads: The scale of distances by column, in lattice units; a column with a large one is cheap to move.
        pinned: Columns that never move: they come first, so that their levels only say whether they can stay.
        style: One of `STYLES`.
        max_rows: The most rows that elimination may hold at a time.

    Returns:
        Levels and derived columns.

    Example:
        >>> parts, whole = (("a", 1), ("b", 1), ("total", -1)), (("a", -1), ("b", -1), ("total", 1))
        >>> result = eliminate([Row(parts, 0), Row(whole, 0), Row((("a", 1),), 3)], spreads={"total": 9.0})
        >>> result.derived
        (Derived(column='total', terms=(('a', 1), ('b', 1)), constant=0, coefficient=1),)
        >>> [(level.column, level.lower) for level in result.levels]
        [('a', (Bound(coefficient=1, terms=(), constant=3),))]
    """
    spreads = spreads or {}
    system = RowSystem()
    try:
        for row in rows:
            system.add(row.terms, row.bound)
        derived, levels = _solve_equalities(system, spreads, pinned, style, max_rows)
        waiting = {column for row in rows for column, _ in row.terms}
        waiting -= {item.column for item in derived} | {level.column for level in levels}
        limit = max(_MANY_ROWS, 2 * len(system.bounds))
        preference = _preference(system, spreads, pinned, style)
        keys: dict[str, tuple[float | str, ...]] = {}
        system.touched = set(waiting)
        while waiting:
            keys.update((column, preference(column)) for column in system.touched & waiting)
            system.touched.clear()
            column = min(waiting, key=keys.__getitem__)
            waiting.remove(column)
            levels.append(_take(system, column, max_rows))
            if len(system.bounds) > limit:
                _drop_implied(system)
                limit = max(limit, 2 * len(system.bounds))
    except EmptySystemError:
        return Elimination((), (), empty=True)
    except _TooManyRowsError:
        return Elimination((), (), complete=False)
    walk = tuple(level for level in reversed(levels) if level.lower or level.upper or level.stride)
    return Elimination(walk, tuple(reversed(derived)))


def limits_of(rows: Sequence[Row]) -> dict[str, Level]:
    """For each column of a system, its bounds over all the other columns."""
    sides: dict[str, tuple[list[Bound], list[Bound]]] = {}
    for row in rows:
        for column, a in row.terms:
            sign = 1 if a > 0 else -1
            terms = tuple((name, -sign * b) for name, b in row.terms if name != column)
            sides.setdefault(column, ([], []))[a < 0].append(Bound(abs(a), terms, sign * row.bound))
    return {column: Level(column, tuple(low), tuple(high), False) for column, (low, high) in sides.items()}


def _solve_equalities(
    system: RowSystem, spreads: Mapping[str, float], pinned: Collection[str], style: Style, max_rows: int
) -> tuple[list[Derived], list[Level]]:
    """Derived columns, and the levels of the columns that move in strides, which are eliminated at once."""
    preference = _pivot_preference(system, spreads, style)
    derived: list[Derived] = []
    while (found := solve_for_unit(system, preference, pinned)) is not None:
        derived.append(found)
    levels: list[Level] = []
    excluded = set(pinned)
    while (strided := solve_with_stride(system, preference, excluded)) is not None:
        item, column, stride = strided
        derived.append(item)
        levels.append(_take(system, column, max_rows, stride))
        excluded.update((column, *dict(stride.terms)))
    return derived, levels


def _preference(
    system: RowSystem, spreads: Mapping[str, float], pinned: Collection[str], style: Style
) -> Callable[[str], tuple[float | str, ...]]:
    """Ranks columns to eliminate next, and so to correct last."""

    def key(column: str) -> tuple[float | str, ...]:
        (gap, fill), spread = system.effect(column), spreads.get(column, 1.0)
        free = max(fill, 0)  # most styles choose among columns that add no row
        taste: dict[Style, tuple[float, float]] = {
            "fill": (fill, -spread),
            "leaves": (free, len(system.holders.get(column, ()))),
            "cheap": (free, -spread),
            "dear": (free, spread),
        }
        return column in pinned, gap, *taste[style], -spread, column

    return key


def _take(system: RowSystem, column: str, max_rows: int, stride: Stride | None = None) -> Level:
    """Eliminate one column: its level, with the combined rows left in the system."""
    below, above = system.sides(column)
    if len(system.bounds) + len(below) * len(above) > max_rows:
        raise _TooManyRowsError
    pairs = [(low, system.bounds[low], high, system.bounds[high]) for low in below for high in above]
    lower = tuple(_bound(left, column, system.remove(left)) for left in below)
    upper = tuple(_bound(left, column, system.remove(left)) for left in above)
    for low, low_bound, high, high_bound in pairs:
        low_terms, high_terms = dict(low), dict(high)
        p, q = low_terms[column], -high_terms[column]
        divisor = gcd(p, q)
        p, q = p // divisor, q // divisor
        combined = {name: q * a for name, a in low}
        for name, a in high:
            combined[name] = combined.get(name, 0) + p * a
        system.add(combined, q * low_bound + p * high_bound)
    wide = any(low.coefficient > 1 and high.coefficient > 1 for low in lower for high in upper)
    gap = wide or bool(stride and lower and upper)
    return Level(column, lower, upper, gap, stride)


def _bound(left: Terms, column: str, bound: int) -> Bound:
    """Solve ``left >= bound`` for a column."""
    a = dict(left)[column]
    sign = 1 if a > 0 else -1
    return Bound(abs(a), tuple((name, -sign * b) for name, b in left if name != column), sign * bound)


def _pivot_preference(
    system: RowSystem, spreads: Mapping[str, float], style: Style
) -> Callable[[str], tuple[int, float, str]]:
    """The pivot in fewest rows keeps the system sparse; between sparse pivots, each style has its own taste."""
    few = 0 if style in ("fill", "leaves") else 4
    sign = 1.0 if style == "dear" else -1.0

    def key(column: str) -> tuple[int, float, str]:
        return max(len(system.holders[column]), few), sign * spreads.get(column, 1.0), column

    return key


def _drop_implied(system: RowSystem) -> None:
    """Drop every row that the others are proved to imply, the widest first."""
    for left in sorted(system.bounds, key=lambda terms: (-len(terms), terms)):
        row = Row(left, system.bounds[left])
        if implies([other for other in system.rows() if other.terms != left], row):
            system.remove(left)
