"""Move rows to where the rules hold, exactly and not far.

Only the rows that break a component are touched, and only in its columns. Each cell of the component proposes a
correction: categories that it forbids flip to its most frequent one at a cost of 1, then a walk clamps column after
column, in a few orders, and a polish takes every moved column back as far as the rows allow. The cheapest proposal
wins, where the cost is the sum of moves in units of the columns' spreads. Everything is in integers, and a proposal
counts only if the rows of its cell were evaluated on it. What no walk solves is searched row by row (see
`graftable.tabular.search`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .batch import Batch, Integers, Mask
from .choices import chosen_cells, row_distance
from .lattice import SAFE, largest
from .normal_form import Row
from .program import Cell, Component, Program
from .search import Found, known, nearest
from .walks import flip, move_back, move_cost, obeys, walk

__all__ = ["NOWHERE", "SEARCHED", "UNTOUCHED", "Correction", "correct"]

UNTOUCHED, SEARCHED, NOWHERE = -1, -2, -3
"""Entries of `Correction.cells` that are no cell: the row obeyed, moved into a cell of its own, stays as it was."""

_CHUNK = 1 << 14
_POLISHES = 2
_TIE = 1e-9
_FEW_CELLS = 16


@dataclass(frozen=True)
class Correction:
    """What `correct` did.

    Attributes:
        numbers: Corrected lattice integers, by column of the rules; int64 where they fit.
        codes: Corrected category codes.
        cost: Per row, the sum of moves over spreads, and 1 per flipped category.
        solved: Rows that obey all rules now; the others are as they were.
        cells: Per component and row, the cell that the row was moved into, or `UNTOUCHED`, `SEARCHED`, `NOWHERE`.
    """

    numbers: dict[str, Integers]
    codes: dict[str, NDArray[np.int64]]
    cost: NDArray[np.float64]
    solved: Mask
    cells: NDArray[np.int32]

    @property
    def moved(self) -> Mask:
        """Rows that were changed."""
        return np.asarray(((self.cells >= 0) | (self.cells == SEARCHED)).any(axis=0))


def correct(
    program: Program,
    numbers: Mapping[str, Integers],
    codes: Mapping[str, NDArray[np.int64]] | None = None,
    nulls: Mapping[str, Mask] | None = None,
    *,
    search: bool = True,
) -> Correction:
    """Correct a batch of rows.

    Args:
        program: The compiled rules, with scales, spreads and pinned columns.
        numbers: Lattice integers by column; at least the columns of the program. int64 or object arrays of Python
            integers.
        codes: Category codes by column: the place in ``program.categories``, -1 for a text that is not there.
        nulls: Null cells by column, beside the program's own ``nulls``. They never move, and what needs one counts as
            satisfied; a row with some may stay unsolved that the program for its own nulls would solve (see
            `graftable.tabular.null_cells`).
        search: Search the rows without such nulls that no walk solves one by one, which is exact and slow; else they
            stay unsolved.

    Returns:
        The corrected columns, and what happened to each row.

    Example:
        >>> from graftable.tabular.elimination import eliminate
        >>> rows = (Row((("high", 1), ("low", -1)), 1),)
        >>> result = eliminate(rows)
        >>> cell = Cell(rows, (), result.levels, result.derived)
        >>> component = Component(("high", "low"), (), rows[0], (cell,), ("high > low",))
        >>> program = Program((component,), {"high": 1, "low": 1}, {"high": 1.0, "low": 1.0})
        >>> correct(program, {"high": np.array([5, 2]), "low": np.array([3, 7])}).numbers
        {'high': array([5, 8]), 'low': array([3, 7])}
    """
    codes_of = codes or {}
    whole = _Table(
        {c: numbers[c].copy() for c in program.columns},
        {c: codes_of[c].copy() for c in program.categorical},
        nulls or {},
    )
    size = len(next(iter((*numbers.values(), *codes_of.values(), *(nulls or {}).values())), ()))
    cost = np.zeros(size)
    cells = np.full((len(program.components), size), UNTOUCHED, np.int32)
    for index, component in enumerate(program.components):
        broken = whole.broken(component, program.categories, size)
        for start in range(0, len(broken), _CHUNK):
            rows = broken[start : start + _CHUNK]
            best = _Best(whole.batch(component, program.categories, rows))
            _propose_all(program, index, best)
            if not component.complete:
                _propose_chosen(program, index, best)
            if search:
                _search_all(program, component, best)
            best.verify(component)
            cells[index, rows] = best.cell
            cost[rows] += np.where(best.cell == NOWHERE, 0.0, best.cost)
            whole.put(rows, best.batch)
    return Correction(whole.numbers, whole.codes, cost, (cells != NOWHERE).all(axis=0), cells)


@dataclass
class _Table:
    """All rows of the call, each column in its own dtype."""

    numbers: dict[str, Integers]
    codes: dict[str, NDArray[np.int64]]
    nulls: Mapping[str, Mask]

    def batch(
        self, component: Component, categories: Mapping[str, Sequence[str]], rows: NDArray[np.intp] | slice
    ) -> Batch:
        numbers = {column: self.numbers[column][rows] for column in component.columns}
        codes = {column: self.codes[column][rows] for column in component.categorical}
        nulls = {column: self.nulls[column][rows] for column in (*numbers, *codes) if column in self.nulls}
        return Batch(numbers, codes, categories, nulls)

    def broken(self, component: Component, categories: Mapping[str, Sequence[str]], size: int) -> NDArray[np.intp]:
        """The rows that do not obey a component."""
        found = [np.empty(0, np.intp)]
        for start in range(0, size, _CHUNK):
            chunk = self.batch(component, categories, slice(start, min(start + _CHUNK, size)))
            found.append(start + np.flatnonzero(~chunk.holds(component.formula)))
        return np.concatenate(found)

    def put(self, rows: NDArray[np.intp], batch: Batch) -> None:
        for column, values in batch.numbers.items():
            if self.numbers[column].dtype != object and values.dtype == object:
                if largest(values) < SAFE:
                    values = values.astype(np.int64)
                else:
                    self.numbers[column] = self.numbers[column].astype(object)
            self.numbers[column][rows] = values
        for column, code in batch.codes.items():
            self.codes[column][rows] = code


class _Best:
    """The cheapest proposal so far for each of some broken rows."""

    def __init__(self, original: Batch) -> None:
        self.original = original
        self.batch = original.take(np.arange(original.size))
        self.cost = np.full(original.size, np.inf)
        self.cell = np.full(original.size, NOWHERE, np.int32)

    def accept(self, rows: NDArray[np.intp], proposal: Batch, cost: NDArray[np.float64], cell: int) -> None:
        """Keep a proposal for these rows where it is cheaper."""
        better = np.flatnonzero(cost < self.cost[rows] - _TIE)
        if not len(better):
            return
        rows, chosen = rows[better], proposal.take(better)
        self.cost[rows], self.cell[rows] = cost[better], cell
        for column, values in chosen.numbers.items():
            mine = self.batch.numbers[column]
            if values.dtype == object and mine.dtype != object:
                mine = mine.astype(object)
            mine[rows] = values
            self.batch.set(column, mine)
        for column, code in chosen.codes.items():
            self.batch.codes[column][rows] = code

    def improvable(self, place: int, least: NDArray[np.float64]) -> NDArray[np.intp]:
        """Rows in a cell, or in none yet, that may still find a cheaper proposal there."""
        return np.flatnonzero(((self.cell == place) | (self.cell == NOWHERE)) & (least < self.cost - _TIE))

    def verify(self, component: Component) -> None:
        """Put back every row on which the rules themselves do not hold."""
        wrong = np.flatnonzero(~self.batch.holds(component.formula))
        if len(wrong):
            self.cost[wrong] = np.inf
            for column, values in self.original.numbers.items():
                self.batch.numbers[column][wrong] = values[wrong]
            for column, code in self.original.codes.items():
                self.batch.codes[column][wrong] = code[wrong]
            self.cell[wrong] = NOWHERE


def _propose_all(program: Program, index: int, best: _Best) -> None:
    """Find the cell of each row, with one walk per cell if there are many, then try all walks in that cell.

    A row starts with the cell that seems nearest and goes on with those that can still be cheaper; one that no first
    walk solved tries every walk of every cell. What happens to it does not depend on the other rows.
    """
    cells = program.components[index].cells
    if not cells:
        return
    least = _least_costs(program, cells, best.original)
    seems = np.argmin(least, axis=0)
    for first in (True, False):
        for place in range(len(cells)):
            for number in range(len(program.walks(index, place)) if len(cells) <= _FEW_CELLS else 1):
                rows = np.flatnonzero((least[place] < best.cost - _TIE) & ((seems == place) == first))
                _propose(program, index, place, number, best, rows, least[place])
    for place in range(len(cells)):
        number = 0
        while len(rows := best.improvable(place, least[place])) and number < len(program.walks(index, place)):
            _propose(program, index, place, number, best, rows, least[place], polish=True)
            number += 1


def _propose_chosen(program: Program, index: int, best: _Best) -> None:
    """Let the cells that rows choose themselves propose."""
    for rows, alone in chosen_cells(program, index, best.original):
        group = _Best(best.original.take(rows))
        _propose_all(alone, 0, group)
        best.accept(rows, group.batch, group.cost, SEARCHED)


def _propose(
    program: Program,
    index: int,
    place: int,
    number: int,
    best: _Best,
    rows: NDArray[np.intp],
    least: NDArray[np.float64],
    polish: bool = False,
) -> None:
    """Let one walk of a cell propose for some rows."""
    if not len(rows):
        return
    cell, (levels, derived) = program.components[index].cells[place], program.walks(index, place)[number]
    visited = [*(level.column for level in levels), *(item.column for item in derived)]
    columns = [column for column in visited if column not in program.pinned]
    original = best.original.take(rows)
    proposal, flips = flip(original, cell.categories, program.pinned)
    walk(proposal, levels, derived, program.pinned)
    met = obeys(proposal, cell.rows)
    cost = np.where(met, flips + move_cost(proposal, original, columns, program.spreads), np.inf)
    best.accept(rows, proposal, cost, place)
    far = np.flatnonzero(met & (cost > least[rows] + _TIE))
    if polish and len(far):
        nearer, start = proposal.take(far), original.take(far)
        for _ in range(_POLISHES):
            move_back(nearer, start, program.limits(index, place), columns)
        cost = flips[far] + move_cost(nearer, start, columns, program.spreads)
        best.accept(rows[far], nearer, cost, place)


def _least_costs(program: Program, cells: Sequence[Cell], batch: Batch) -> list[NDArray[np.float64]]:
    """For each cell a lower bound of the cost of every row: its flips and the distances to its intervals."""

    @cache
    def distance(row: Row) -> NDArray[np.float64]:
        return row_distance(program, row, batch)

    @cache
    def flips(column: str, allowed: tuple[str | None, ...]) -> NDArray[np.float64]:
        return np.where(batch.among(column, allowed), 0.0, np.inf if column in program.pinned else 1.0)

    costs = []
    for cell in cells:
        intervals = [distance(row) for row in cell.rows if len(row.terms) == 1]
        others = [distance(row) for row in cell.rows if len(row.terms) > 1]
        moves = np.maximum.reduce([np.zeros(batch.size), sum(intervals, np.zeros(batch.size)), *others])
        costs.append(sum((flips(column, allowed) for column, allowed in cell.categories), moves))
    return costs


def _search_all(program: Program, component: Component, best: _Best) -> None:
    """Search the rows without a proposal, once each if they are distinct."""
    rows = np.flatnonzero(np.isinf(best.cost) & ~best.original.any_null())
    seen: dict[tuple[int, ...], Found | None] = {}
    for row in rows.tolist():
        numbers = {column: int(values[row]) for column, values in best.original.numbers.items()}
        codes = {column: int(code[row]) for column, code in best.original.codes.items()}
        key = (*numbers.values(), *codes.values())
        if key not in seen:
            texts = {column: (*program.categories[column], None)[code] for column, code in codes.items()}
            seen[key] = nearest(program, component, numbers, texts) or known(program, component, numbers, texts)
        found = seen[key]
        if found is not None:
            best.accept(np.array([row]), _as_batch(found, program), np.array([found.cost]), SEARCHED)


def _as_batch(found: Found, program: Program) -> Batch:
    numbers = {column: np.array([value], object) for column, value in found.numbers.items()}
    codes = {
        column: np.array([-1 if text is None else program.categories[column].index(text)])
        for column, text in found.texts.items()
    }
    return Batch(numbers, codes, program.categories)
