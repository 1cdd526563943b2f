r"""Exact answers about systems of integer rows, found in floating point and proved in fractions.

HiGHS solves a linear programme in doubles. What it says is only a hint: a point is rounded and put into the rows, and a
claim that nothing obeys them, or that they imply another row, must come with multipliers that prove it,

.. math:: y \ge 0, \qquad y^T A = c, \qquad \lceil y^T b \rceil \ge d,

recomputed over the support of the hint by elimination in `fractions.Fraction` (Farkas; ``c = 0, d = 1`` refutes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from .normal_form import Row
from .quiet_solver import quiet_solver

__all__ = ["Undecided", "find_point", "implies", "least_value", "minimal_conflict", "refutation"]

Terms = tuple[tuple[str, int], ...]

_FAR, _NEAR = 2.0**62, 1e9


class Undecided(Exception):
    """Neither a point nor a proof that there is none was found within the given effort."""


def refutation(rows: Sequence[Row]) -> tuple[int, ...] | None:
    """The indices of rows that no real point obeys together, proved, or None where no proof was found.

    Example:
        >>> x_large, x_small, y_large = Row((("x", 1),), 5), Row((("x", -1),), -4), Row((("y", 1),), 0)
        >>> refutation([y_large, x_large, x_small])
        (1, 2)
    """
    proof = _multipliers(rows, Row((), 1))
    return None if proof is None else tuple(sorted(proof))


def implies(rows: Sequence[Row], target: Row) -> bool:
    """Whether every integer point that obeys ``rows`` is proved to obey ``target``.

    Example:
        >>> implies([Row((("x", 1),), 1), Row((("x", -1), ("y", 1)), 0)], Row((("y", 1),), 1))
        True
    """
    return _multipliers(rows, target) is not None


def least_value(rows: Sequence[Row], terms: Terms) -> int | None:
    """A proved lower bound of a sum over the integer points of a system, mostly the least; None without one.

    Example:
        >>> least_value([Row((("x", 2), ("y", -1)), 0), Row((("y", 1),), 3)], (("x", 1),))
        2
    """
    matrix, bounds, columns = matrix_of(rows)
    place = {column: position for position, column in enumerate(columns)}
    if not all(column in place for column, _ in terms):
        return None
    cost = np.zeros(len(columns))
    for column, a in terms:
        cost[place[column]] = a
    result = linprog(cost, A_ub=-matrix, b_ub=-bounds, bounds=(None, None), method="highs-ds")
    if result.status != 0 or abs(result.fun) > _FAR:
        return None
    least = ceil(result.fun - 1e-6)
    return least if implies(rows, Row(terms, least)) else None


def find_point(rows: Sequence[Row], *, effort: int = 200) -> dict[str, int] | None:
    """An integer point that obeys every row, or None where it is proved that there is none.

    The proof is a tree: a leaf is refuted by multipliers, and a node splits one column at a fraction.

    Args:
        rows: The system.
        effort: Nodes of the tree before giving up.

    Raises:
        Undecided: If the effort is spent. Systems without bounds can need a tree without end.

    Example:
        >>> find_point([Row((("x", 3), ("y", 5)), 4), Row((("x", -3), ("y", -5)), -4), Row((("x", 1),), 0),
        ...             Row((("y", 1),), 0)]) is None
        True
    """
    if not rows:
        return {}
    if (point := _integer_hint(rows)) is not None:
        return point
    pending = [tuple(rows)]
    for _ in range(effort):
        if not pending:
            return None
        node = pending.pop()
        if refutation(node) is not None:
            continue
        relaxed = _real_hint(node)
        rounded = {column: round(value) for column, value in relaxed.items()}
        if all(row.holds(rounded) for row in rows):
            return rounded
        column = max(relaxed, key=lambda name: abs(relaxed[name] - rounded[name]))
        if abs(relaxed[column] - rounded[column]) < 1e-6:
            break
        below = floor(relaxed[column])
        pending += [(*node, Row(((column, -1),), -below)), (*node, Row(((column, 1),), below + 1))]
    raise Undecided


def minimal_conflict(count: int, satisfiable: Callable[[Sequence[int]], bool]) -> tuple[int, ...]:
    """A subset of a contradicting set that becomes satisfiable when any one member is dropped.

    Chunks of halving size are dropped where the rest still contradicts itself; the last pass tries single members.

    Args:
        count: Members of the set, which as a whole is not satisfiable.
        satisfiable: Whether the members with these indices can hold together.

    Example:
        >>> minimal_conflict(8, lambda kept: not {2, 5} <= set(kept))
        (2, 5)
    """
    kept = list(range(count))
    size = max(count // 2, 1)
    while True:
        start = 0
        while start < len(kept):
            rest = kept[:start] + kept[start + size :]
            if satisfiable(rest):
                start += size
            else:
                kept = rest
        if size == 1:
            return tuple(kept)
        size = max(min(size, len(kept)) // 2, 1)


def matrix_of(rows: Sequence[Row]) -> tuple[csr_array, NDArray[np.float64], tuple[str, ...]]:
    """The rows in doubles, each divided by its largest coefficient; their bounds; the columns in order."""
    columns = tuple(sorted({column for row in rows for column, _ in row.terms}))
    place = {column: position for position, column in enumerate(columns)}
    data, indices, starts, bounds = [], [], [0], []
    for row in rows:
        largest = max((abs(a) for _, a in row.terms), default=1)
        data += [a / largest for _, a in row.terms]
        indices += [place[column] for column, _ in row.terms]
        starts.append(len(indices))
        bounds.append(row.bound / largest)
    matrix = csr_array((data, indices, starts), shape=(len(rows), len(columns)))
    return matrix, np.array(bounds), columns


def _multipliers(rows: Sequence[Row], target: Row) -> dict[int, Fraction] | None:
    """Positive multipliers by row index that prove the target, checked in fractions."""
    columns = sorted({column for row in (*rows, target) for column, _ in row.terms})
    place = {column: position for position, column in enumerate(columns)}
    hint = _dual_hint(rows, target, place)
    if hint is None:
        return None
    support = [index for index, value in enumerate(hint) if value > 1e-9]
    goal = [Fraction(dict(target.terms).get(column, 0)) for column in columns]
    system: list[list[Fraction]] = [[Fraction(0)] * len(support) + [value] for value in goal]
    for position, index in enumerate(support):
        for column, a in rows[index].terms:
            system[place[column]][position] = Fraction(a)
    if not target.terms:  # the multipliers of a refutation are free up to a factor
        system.append([Fraction(1)] * (len(support) + 1))
    solution = _solve(system, len(support))
    if solution is None or min(solution, default=Fraction(0)) < 0:
        return None
    reached = sum((y * rows[index].bound for y, index in zip(solution, support, strict=True)), Fraction(0))
    if reached <= 0 if not target.terms else ceil(reached) < target.bound:
        return None
    return {index: y for y, index in zip(solution, support, strict=True) if y}


def _dual_hint(rows: Sequence[Row], target: Row, place: Mapping[str, int]) -> NDArray[np.float64] | None:
    """A vertex of ``max b.y`` over ``y >= 0, A^T y = c``, in doubles."""
    largest = [max((abs(a) for _, a in row.terms), default=1) for row in rows]
    data = [a / size for row, size in zip(rows, largest, strict=True) for _, a in row.terms]
    indices = [place[column] for row in rows for column, _ in row.terms]
    starts = np.cumsum([0, *(len(row.terms) for row in rows)])
    matrix = csr_array((data, indices, starts), shape=(len(rows), len(place)))
    goal = np.zeros(len(place))
    for column, a in target.terms:
        goal[place[column]] = a
    bounds = np.array([row.bound / size for row, size in zip(rows, largest, strict=True)])
    ceiling = None if target.terms else np.ones((1, len(rows)))
    result = linprog(
        -bounds / max(1.0, float(np.abs(bounds).max(initial=1.0))),
        A_eq=matrix.T.tocsr(),
        b_eq=goal,
        A_ub=ceiling,
        b_ub=None if ceiling is None else [1.0],
        method="highs-ds",
    )
    return result.x if result.status == 0 else None


def _solve(system: list[list[Fraction]], unknowns: int) -> list[Fraction] | None:
    """The one solution of an augmented system, or None where there is none or more than one."""
    filled = 0
    for unknown in range(unknowns):
        pivot = next((i for i in range(filled, len(system)) if system[i][unknown]), None)
        if pivot is None:
            return None
        system[filled], system[pivot] = system[pivot], system[filled]
        lead = system[filled][unknown]
        system[filled] = [value / lead if value else value for value in system[filled]]
        for i, row in enumerate(system):
            if i != filled and (factor := row[unknown]):
                system[i] = [v - factor * w if w else v for v, w in zip(row, system[filled], strict=True)]
        filled += 1
    if any(row[unknowns] for row in system[filled:]):
        return None
    return [system[i][unknowns] for i in range(unknowns)]


def _integer_hint(rows: Sequence[Row]) -> dict[str, int] | None:
    matrix, bounds, columns = matrix_of(rows)
    with quiet_solver():
        result = milp(
            np.zeros(len(columns)),
            constraints=LinearConstraint(matrix, bounds, np.inf),
            integrality=np.ones(len(columns)),
            bounds=Bounds(-_NEAR, _NEAR),  # a hint need not look everywhere, and HiGHS complains of wide integers
            options={"node_limit": 1000},
        )
    if result.x is None or not np.all(np.isfinite(result.x)):
        return None
    point = {column: round(float(value)) for column, value in zip(columns, result.x, strict=True)}
    return point if all(row.holds(point) for row in rows) else None


def _real_hint(rows: Sequence[Row]) -> dict[str, float]:
    matrix, bounds, columns = matrix_of(rows)
    result = linprog(np.zeros(len(columns)), A_ub=-matrix, b_ub=-bounds, bounds=(None, None), method="highs-ds")
    if result.x is None or np.abs(result.x).max(initial=0.0) > _FAR:
        raise Undecided
    return dict(zip(columns, result.x.tolist(), strict=True))
