"""Numbers that a repair put on a bound, drawn again between the bounds that the rest of their row leaves them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..compiler import Compiled
from ..elimination import Bound, Level
from ..program import Component, Program
from .cells import data_space, read_texts
from .interface import Allowed, Generator

__all__ = ["loosen"]

SWEEPS = 3  # times that the columns of a row are gone through
MOST = 8  # columns that share rules; with more, only the moved ones are drawn again
EXACT = 2.0**53  # sums below this are whole in float64
Floats = NDArray[np.float64]


def loosen(
    before: pd.DataFrame, after: pd.DataFrame, compiled: Compiled, generator: Generator, seed: int
) -> tuple[pd.DataFrame, int]:
    """Draw again what a repair moved.

    Each number that was moved, and then each that shares rules with it, is drawn from its distribution given the other
    cells of the repaired row, inside the bounds of the part of the rules that the row is in (Gibbs sampling). Columns
    come one after another, so that rows keep obeying.

    Args:
        before: Rows before the repair, on the lattice.
        after: The same rows, repaired.
        compiled: The rules.
        generator: Draws; where it has no conditionals, nothing is done.
        seed: Of the draws.

    Returns:
        The rows, and how many cells were drawn again.
    """
    schema = compiled.schema
    first, rows = data_space(before, schema), data_space(after, schema)
    learnt = generator.fitted_schema()
    names = [name for name in compiled.lattice.scales if schema[name].kind != "datetime" and name in learnt]
    moved = pd.DataFrame(
        {name: first[name].notna() & (first[name] != rows[name]) & rows[name].notna() for name in names}
    )
    drawn = _Drawn(after, rows, generator, seed)
    for nulls, members in _patterns(rows, compiled):
        program = compiled.program(nulls)
        for index, component in enumerate(program.components):
            columns = [name for name in component.columns if name in names]
            touched = np.any([moved[name].to_numpy()[members] for name in columns], axis=0) if columns else False
            for sweep in range(SWEEPS):
                for name in columns:
                    # a row at the end of one column is freed by moving another
                    mine = members[touched if sweep and len(columns) <= MOST else moved[name].to_numpy()[members]]
                    if len(mine) and not drawn.again(mine, program, index, name):
                        return after, 0
    return drawn.frame, drawn.count


class _Drawn:
    """Rows while some of their numbers are drawn again."""

    def __init__(self, frame: pd.DataFrame, rows: pd.DataFrame, generator: Generator, seed: int) -> None:
        self.frame, self.rows, self.generator, self.seed = frame.copy(), rows, generator, seed
        self.count = 0

    def again(self, mine: NDArray[np.intp], program: Program, index: int, name: str) -> bool:
        """Draw the numbers of a column in some rows; False if the engine cannot."""
        low, high = _bounds(self.rows.iloc[mine], program, index, name)
        wide = np.flatnonzero(low < high)
        mine, scale = mine[wide], program.scales[name]
        allowed = Allowed(low=low[wide] / scale, high=high[wide] / scale)
        if not len(mine):
            return True
        found = self.generator.redraw(self.rows.iloc[mine], name, allowed, seed=self.seed + self.count)
        if found is None:
            return False
        good = np.flatnonzero(~np.isnan(found))
        mine, points = mine[good], np.rint(found[good] * scale)
        self.count += len(mine)
        position = self.rows.columns.get_loc(name)
        self.rows.iloc[mine, position] = points / scale
        column = self.frame[name].copy()
        column.iloc[mine] = points.astype(np.int64) if scale == 1 else points / scale
        self.frame[name] = column
        return True


def _patterns(rows: pd.DataFrame, compiled: Compiled) -> Iterator[tuple[frozenset[str], NDArray[np.intp]]]:
    """Rows grouped by which columns of the rules are null."""
    columns = sorted(compiled.columns)
    missing = np.stack([rows[name].isna().to_numpy() for name in columns], 1)
    kinds, places = np.unique(missing, axis=0, return_inverse=True)
    for index, kind in enumerate(kinds):
        yield frozenset(np.array(columns)[kind].tolist()), np.flatnonzero(places.reshape(-1) == index)


def _bounds(rows: pd.DataFrame, program: Program, index: int, name: str) -> tuple[Floats, Floats]:
    """The bounds of a column given the others, in lattice points; 0, 0 for rows that are to stay ``(rows,)``."""
    component = program.components[index]
    points = {
        column: np.rint(rows[column].to_numpy(np.float64) * program.scales[column]) for column in component.columns
    }
    low, high = np.zeros(len(rows)), np.zeros(len(rows))
    left = np.ones(len(rows), bool)
    for place in range(len(component.cells)):
        inside = left & _inside(component, place, points, rows)
        if inside.any() and name in (limits := program.limits(index, place)):
            here = {column: values[inside] for column, values in points.items()}
            low[inside], high[inside] = _ends(limits[name], here, int(inside.sum()))
        left &= ~inside
    return low, high


def _inside(component: Component, place: int, points: dict[str, Floats], rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows lie in a cell; a sum too long for a float counts as outside."""
    cell = component.cells[place]
    inside = np.ones(len(rows), bool)
    for row in cell.rows:
        total, reach = np.zeros(len(rows)), np.zeros(len(rows))
        for column, a in row.terms:
            total += a * points[column]
            reach += abs(a) * np.abs(points[column])
        inside &= (total >= row.bound) & (reach + abs(row.bound) < EXACT)
    for column, kept in cell.categories:
        texts = np.array(read_texts(rows[column]).to_pylist(), object)
        inside &= np.isin(texts, [text for text in kept if text is not None])
    return inside


def _ends(level: Level, points: dict[str, Floats], rows: int) -> tuple[Floats, Floats]:
    """The largest lower and the smallest upper bound of a level."""

    def value(bound: Bound) -> Floats:
        total = np.full(rows, float(bound.constant))
        for column, a in bound.terms:
            total = total + a * points[column]
        return total / bound.coefficient

    low = np.max([np.ceil(value(bound) - 1e-9) for bound in level.lower] or [np.full(rows, -np.inf)], axis=0)
    high = np.min([np.floor(value(bound) + 1e-9) for bound in level.upper] or [np.full(rows, np.inf)], axis=0)
    return low, high
