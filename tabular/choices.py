"""Cells for components over the cap, made for the rows that need them.

Listing all cells of a component with many disjunctions is hopeless, but a row is near few of them. Each row picks the
nearest alternative of every disjunction, and the alternatives that it picked are one cell, which serves all rows that
picked the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .batch import Batch
from .cells import Region
from .compiler import Limits, build_cell
from .normal_form import AllOf, Among, AnyOf, Formula, Row
from .program import Component, Program

__all__ = ["chosen_cells", "row_distance"]

_MOST_KEPT, _MOST_ROWS = 4_096, 20_000


def chosen_cells(program: Program, index: int, batch: Batch) -> Iterator[tuple[NDArray[np.intp], Program]]:
    """Groups of rows, each with a program of one component that has the one cell that these rows chose.

    Rows whose alternatives exclude each other are in no group.
    """
    component = program.components[index]
    root = Region(program.lattice).meet(component.formula)
    root = None if root is None else root.settled()
    if root is None or not root.waiting:
        return
    picks = [_nearest_alternative(program, clause, batch) for clause in root.waiting]
    choices, group = np.unique(np.array(picks).T, axis=0, return_inverse=True)
    for place, choice in enumerate(choices.tolist()):
        made = _program_of(program, index, component, root, tuple(choice))
        if made is not None:
            yield np.flatnonzero(group.ravel() == place), made


def row_distance(program: Program, row: Row, batch: Batch) -> NDArray[np.float64]:
    """The least cost of making a row hold: its shortfall, by the column that is cheapest to move."""
    short = np.maximum(row.bound - batch.total(row.terms, 0), 0).astype(np.float64)
    if (missing := batch.missing(row.terms)) is not None:
        short[missing] = 0.0
    return np.asarray(short / max(abs(a) * program.spreads.get(column, 1.0) for column, a in row.terms))


def _nearest_alternative(program: Program, clause: AnyOf, batch: Batch) -> NDArray[np.intp]:
    return np.asarray(np.argmin([_distance(program, item, batch) for item in clause.items], axis=0))


def _distance(program: Program, formula: Formula, batch: Batch) -> NDArray[np.float64]:
    """About what it costs to make a formula hold."""
    match formula:
        case bool():
            return np.full(batch.size, 0.0 if formula else np.inf)
        case Row():
            return row_distance(program, formula, batch)
        case Among(column, values):
            return np.where(batch.among(column, values), 0.0, np.inf if column in program.pinned else 1.0)
        case AllOf(items) | AnyOf(items):
            parts = [_distance(program, item, batch) for item in items]
            return np.asarray(np.sum(parts, axis=0) if isinstance(formula, AllOf) else np.min(parts, axis=0))
    raise TypeError(f"not a formula: {formula!r}")


def _program_of(
    program: Program, index: int, component: Component, root: Region, choice: tuple[int, ...]
) -> Program | None:
    """The program with the cell of a choice alone, kept for later batches."""
    kept = program.chosen
    if len(kept) > _MOST_KEPT:
        kept.clear()
    if (index, choice) not in kept:
        region: Region | None = replace(root, waiting=())
        for place, clause in zip(choice, root.waiting, strict=True):
            region = None if region is None else region.meet(clause.items[place])
        # alternatives with disjunctions in them: the first way through
        while region is not None and region.waiting:
            region = region.settled()
            if region is not None and region.waiting:
                region = next(iter(region.branches()), None)
        limits = Limits(program.spreads, program.pinned, 1, _MOST_ROWS)
        cell = None if region is None else build_cell(region, program.lattice, limits)[1]
        only = None if cell is None else replace(component, cells=(cell,))
        kept[index, choice] = None if only is None else replace(program, components=(only,))
    return kept[index, choice]
