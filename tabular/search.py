"""The nearest row that obeys a component, by branch and bound: exact, and for one row at a time.

A node is a region in which some disjunctions are still open. Its mixed-integer programme ignores them and so bounds the
cost from below; if its solution obeys them by chance it is the answer, else the node splits over a violated one. No
constant stands for infinity in it, and no list of cells is needed, so that components over the cap are served as well.
HiGHS works in doubles: its point is rounded and checked in integers, and if it fails, walked into the region.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from .batch import Batch
from .cells import Region
from .elimination import eliminate
from .equalities import IntegerPoints, integer_points
from .feasibility import Undecided, find_point
from .normal_form import AllOf, Among, AnyOf, Formula, Row, all_of
from .program import Component, Program
from .quiet_solver import quiet_solver
from .row_system import EmptySystemError, RowSystem, mirrored
from .walks import walk

__all__ = ["Found", "known", "nearest"]

_NODES = 400
_SWEEPS = 3
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
    return _found(point, chosen, numbers, texts, program)


def _found(
    point: dict[str, int],
    chosen: dict[str, str | None],
    numbers: Mapping[str, int],
    texts: Mapping[str, str | None],
    program: Program,
) -> Found:
    moves = sum(abs(point[column] - value) / program.spreads.get(column, 1.0) for column, value in numbers.items())
    return Found(point, chosen, moves + sum(chosen[column] != text for column, text in texts.items()))


def _nearest_point(rows: Sequence[Row], numbers: Mapping[str, int], program: Program) -> dict[str, int] | None:
    """The obeying point with the least sum of moves over spreads."""
    if all(row.holds(numbers) for row in rows):
        return dict(numbers)
    split = _solved_equalities(rows, numbers, program.spreads)
    if split is None:
        return None
    points, rest = split
    point = {**numbers, **points.start}
    times = _shortest_way(rest, points, numbers, program.spreads)
    if times is not None:
        for step, often in zip(points.steps, times, strict=True):
            _take_step(point, step, often)
        if all(row.holds(point) for row in rows):
            return point
    # also where HiGHS sees no point: what it says is not a proof, and a walk without gaps is
    return _walked(rows, point, program)


def _solved_equalities(
    rows: Sequence[Row], near: Mapping[str, int], spreads: Mapping[str, float]
) -> tuple[IntegerPoints, list[Row]] | None:
    """The points of the equalities among some rows, and the other rows; None if it is proved that there is none."""
    system = RowSystem()
    try:
        for row in rows:
            system.add(row.terms, row.bound)
    except EmptySystemError:
        return None
    equal = [(left, system.bounds[left]) for left in system.equalities()]
    used = sorted({column for row in rows for column, _ in row.terms})
    points = integer_points(equal, {column: near[column] for column in used}, spreads)
    if points is None:
        return None
    sides = {side for left, _ in equal for side in (left, mirrored(left))}
    return points, [row for row in system.rows() if row.terms not in sides]


def _left(row: Row, vector: Mapping[str, int]) -> int:
    return sum(a * vector.get(column, 0) for column, a in row.terms)


def _in_steps(rows: Sequence[Row], points: IntegerPoints) -> list[Row]:
    """Rows over the numbers of times that each step is taken, named by their places."""
    result = []
    for row in rows:
        rates = ((str(place), _left(row, step)) for place, step in enumerate(points.steps))
        result.append(Row(tuple((name, rate) for name, rate in rates if rate), row.bound - _left(row, points.start)))
    return result


def _shortest_way(
    rows: Sequence[Row], points: IntegerPoints, numbers: Mapping[str, int], spreads: Mapping[str, float]
) -> list[int] | None:
    """How often to take each step so that the rows hold and the way from ``numbers`` is shortest; None if unknown.

    The equalities are gone: they make knapsacks of large coefficients, in which HiGHS finds no point.
    """
    columns, count = list(points.start), len(points.steps)
    inner = _in_steps(rows, points)
    if any(not row.terms and row.bound > 0 for row in inner):
        return None
    weights = np.array([1.0 / spreads.get(column, 1.0) for column in columns])
    steps = np.array([[step.get(column, 0) for step in points.steps] for column in columns], float)
    steps = steps.reshape(len(columns), count)
    away = np.array([points.start[column] - numbers[column] for column in columns], float)
    slopes = np.zeros((len(inner), count + len(columns)))
    for place, row in enumerate(inner):
        for name, a in row.terms:
            slopes[place, int(name)] = a
    # a distance per column, not less than its move or the opposite
    distances = np.eye(len(columns))
    matrix = np.vstack([slopes, np.hstack([steps, distances]), np.hstack([-steps, distances])])
    bounds = np.concatenate([np.array([row.bound for row in inner], float), -away, away])
    with quiet_solver():
        result = milp(
            np.concatenate([np.zeros(count), weights / weights.max()]),
            constraints=LinearConstraint(csr_array(matrix), bounds, np.inf),
            integrality=np.repeat([1, 0], [count, len(columns)]),
            bounds=Bounds(np.repeat([-np.inf, 0.0], [count, len(columns)]), np.inf),
            options={"node_limit": 2000, "mip_rel_gap": 1e-6},
        )
    if result.x is None or np.abs(result.x).max(initial=0.0) >= _DOUBLE:
        return None
    return [round(value) for value in result.x[:count].tolist()]


def _take_step(point: dict[str, int], step: Mapping[str, int], times: int) -> None:
    for column, a in step.items():
        point[column] += times * a


def _walked(rows: Sequence[Row], point: Mapping[str, int], program: Program) -> dict[str, int] | None:
    """A point of the region near one that almost obeys it."""
    result = eliminate(rows, spreads=program.spreads)
    if result.empty or not result.complete:
        return None
    batch = Batch({column: np.array([value], object) for column, value in point.items()}, {}, {})
    walk(batch, result.levels, result.derived)
    walked = {column: int(values[0]) for column, values in batch.numbers.items()}
    return walked if all(row.holds(walked) for row in rows) else None


def known(
    program: Program, component: Component, numbers: Mapping[str, int], texts: Mapping[str, str | None]
) -> Found | None:
    """Some obeying row, for one next to which `nearest` found none: a point of a cell, taken back towards the row.

    It depends on no other row, and is there whenever the rules can hold and a cell has a point that can be found.
    Where columns of the component are pinned there is none, as the point would not keep them.
    """
    if not {*component.columns, *component.categorical}.isdisjoint(program.pinned):
        return None
    best: Found | None = None
    for cell in component.cells:
        point = _point_of(cell.rows)
        if point is None:
            continue
        chosen = {c: texts[c] if texts[c] in allowed else allowed[0] for c, allowed in cell.categories}
        if any(value is None and texts[column] is not None for column, value in chosen.items()):
            continue  # no text can be written that the schema does not list
        nearer = _taken_back(cell.rows, {**numbers, **point}, numbers, program.spreads)
        found = _found(nearer, {**texts, **chosen}, numbers, texts, program)
        best = found if best is None or found.cost < best.cost else best
    return best


@lru_cache(maxsize=4096)
def _point_of(rows: tuple[Row, ...]) -> dict[str, int] | None:
    """A point of a system, searched for among those of its equalities."""
    split = _solved_equalities(rows, defaultdict(int), {})
    if split is None:
        return None
    points, rest = split
    inner = [row for row in _in_steps(rest, points) if row.terms]
    near = _shortest_way(rest, points, points.start, {})  # a search for any point ends far from all rows
    times = dict(zip(map(str, range(len(points.steps))), near or (), strict=False))
    if near is None or not all(row.holds(times) for row in inner):
        try:
            with quiet_solver():
                found = find_point(inner)
        except Undecided:
            return None
        if found is None:
            return None
        times = found
    point = dict(points.start)
    for place, step in enumerate(points.steps):
        _take_step(point, step, times.get(str(place), 0))
    return point if all(row.holds(point) for row in rows) else None


def _taken_back(
    rows: Sequence[Row], point: dict[str, int], goal: Mapping[str, int], spreads: Mapping[str, float]
) -> dict[str, int]:
    """A point moved towards another one, along one step of its equalities after the other, as far as the rows allow."""
    split = _solved_equalities(rows, point, spreads)
    if split is None:
        return point
    points, rest = split

    def cost(times: int, step: Mapping[str, int]) -> float:
        return sum(abs(point[c] + times * a - goal[c]) / spreads.get(c, 1.0) for c, a in step.items())

    for _ in range(_SWEEPS):
        for step in points.steps:
            slack = [(_left(row, step), _left(row, point) - row.bound) for row in rest]
            most = [room // -rate for rate, room in slack if rate < 0]
            least = [-(room // rate) for rate, room in slack if rate > 0]
            turns = [(goal[column] - point[column]) // a + extra for column, a in step.items() for extra in (0, 1)]
            within = [max([min([turn, *most]), *least]) for turn in turns]
            _take_step(point, step, min([0, *within], key=lambda times: cost(times, step)))
    return point
