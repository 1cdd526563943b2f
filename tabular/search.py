"""The nearest row that obeys a component, by branch and bound: exact, and for one row at a time.

A node is a region in which some disjunctions are still open. Its mixed-integer programme ignores them and so bounds the
cost from below; if its solution obeys them by chance it is the answer, else the node splits over a violated one. No
constant stands for infinity in it, and no list of cells is needed, so that components over the cap are served as well.
HiGHS works in doubles: its point is rounded and checked in integers, and if it fails, walked into the region.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

from .batch import Batch
from .cells import Region
from .elimination import eliminate
from .feasibility import matrix_of
from .normal_form import AllOf, Among, AnyOf, Formula, Row, all_of
from .program import Component, Program
from .walks import walk

__all__ = ["Found", "nearest"]

_NODES = 400
_DOUBLE = 1 << 53


@dataclass(frozen=True)
class Found:
    """A row that obeys a component: its numbers, its categories (None: an unlisted text), and the cost of the move."""

    numbers: dict[str, int]
    texts: dict[str, str | None]
    cost: float


def nearest(
    program: Program,
    component: Component,
    numbers: Mapping[str, int],
    texts: Mapping[str, str | None],
    *,
    cutoff: float = float("inf"),
) -> Found | None:
    """The obeying row at the least cost from a given one.

    Args:
        program: Scales, spreads, categories and pinned columns.
        component: What to obey.
        numbers: The row's lattice integers, for the columns of the component.
        texts: The row's categories; None where the text is not listed.
        cutoff: Only a row at a lower cost is of interest.

    Returns:
        The row, or None if there is none, or none was found within the effort.
    """
    root = Region(program.lattice).meet(all_of((component.formula, _pins(program, numbers, texts))))
    root = None if root is None else root.settled()
    order = count()
    heap: list[tuple[float, int, Region, Found]] = []

    def push(region: Region | None) -> None:
        found = None if region is None else _relaxed(program, region, numbers, texts)
        if region is not None and found is not None and found.cost < cutoff:
            heapq.heappush(heap, (found.cost, next(order), region, found))

    push(root)
    for _ in range(_NODES):
        if not heap:
            return None
        _, _, region, found = heapq.heappop(heap)
        violated = [clause for clause in region.waiting if not holds_at(clause, found.numbers, found.texts)]
        if not violated:
            return found
        for branch in region.branches(min(violated, key=lambda clause: len(clause.items))):
            push(branch)
    return None


def holds_at(formula: Formula, numbers: Mapping[str, int], texts: Mapping[str, str | None]) -> bool:
    """Whether one row obeys a formula."""
    match formula:
        case bool():
            return formula
        case Row():
            return formula.holds(numbers)
        case Among(column, values):
            return texts[column] in values
        case AllOf(items):
            return all(holds_at(item, numbers, texts) for item in items)
        case AnyOf(items):
            return any(holds_at(item, numbers, texts) for item in items)
    raise TypeError(f"not a formula: {formula!r}")


def _pins(program: Program, numbers: Mapping[str, int], texts: Mapping[str, str | None]) -> Formula:
    """What the pinned columns of a row say of it."""
    values = [(column, numbers[column]) for column in program.pinned if column in numbers]
    rows = [Row(((column, sign),), sign * value) for column, value in values for sign in (1, -1)]
    kinds = [Among(column, frozenset((texts[column],))) for column in program.pinned if column in texts]
    return all_of((*rows, *kinds))


def _relaxed(
    program: Program, region: Region, numbers: Mapping[str, int], texts: Mapping[str, str | None]
) -> Found | None:
    """The nearest row of a region without its open disjunctions; None if there is none."""
    chosen = dict(texts)
    for column, allowed in region.allowed.items():
        if texts[column] not in allowed:
            listed = [value for value in program.categories[column] if value in allowed]
            if not listed:
                return None
            chosen[column] = listed[0]
    point = _nearest_point(region.system(), numbers, program)
    if point is None:
        return None
    moves = sum(abs(point[column] - value) / program.spreads.get(column, 1.0) for column, value in numbers.items())
    return Found(point, chosen, moves + sum(chosen[column] != text for column, text in texts.items()))


def _nearest_point(rows: Sequence[Row], numbers: Mapping[str, int], program: Program) -> dict[str, int] | None:
    """The obeying point with the least sum of moves over spreads."""
    if all(row.holds(numbers) for row in rows):
        return dict(numbers)
    shifted = [Row(row.terms, row.bound - sum(a * numbers[column] for column, a in row.terms)) for row in rows]
    matrix, bounds, columns = matrix_of(shifted)
    weights = np.array([1.0 / program.spreads.get(column, 1.0) for column in columns])
    result = milp(
        np.concatenate([weights, weights]) / weights.max(),  # up and down apart, so that distances are linear
        constraints=LinearConstraint(csr_array(hstack([matrix, -matrix])), bounds, np.inf),
        integrality=np.ones(2 * len(columns)),
        bounds=Bounds(0, np.inf),
        options={"node_limit": 2000, "mip_rel_gap": 1e-6},
    )
    point = dict(numbers)
    if result.x is not None and np.abs(result.x).max(initial=0.0) < _DOUBLE:
        up, down = np.split(result.x, 2)
        for column, step in zip(columns, (up - down).tolist(), strict=True):
            point[column] += round(step)
        if all(row.holds(point) for row in rows):
            return point
    # also where HiGHS sees no point: what it says is not a proof, and a walk without gaps is
    return _walked(rows, point, program)


def _walked(rows: Sequence[Row], point: Mapping[str, int], program: Program) -> dict[str, int] | None:
    """A point of the region near one that almost obeys it."""
    result = eliminate(rows, spreads=program.spreads)
    if result.empty or not result.complete:
        return None
    batch = Batch({column: np.array([value], object) for column, value in point.items()}, {}, {})
    walk(batch, result.levels, result.derived)
    walked = {column: int(values[0]) for column, values in batch.numbers.items()}
    return walked if all(row.holds(walked) for row in rows) else None
