r"""Equalities over the integers, solved for one column each.

Where a column has a coefficient of one, it is computed from the others, whatever they are. Else, in

.. math:: p\,y + q\,x + \sum_i a_i z_i = b, \qquad \gcd(p, q) = 1,

``y`` is an integer exactly if ``x`` lies in one class modulo ``p`` that the ``z_i`` decide: ``y`` becomes derived and
``x``, which comes after all ``z_i`` in the walk, moves in strides of ``p``.

All points of some equalities together are one of them plus whole multiples of a basis of the integer kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from .row_system import RowSystem, Terms

__all__ = ["Derived", "IntegerPoints", "Stride", "integer_points", "solve_for_unit", "solve_with_stride"]

_SWEEPS = 20  # mostly two or three suffice; floats that go round in circles stop here

Preference = Callable[[str], tuple[int, float, str]]


@dataclass(frozen=True)
class Derived:
    """``coefficient * column = constant + sum of terms``, exactly; the coefficient is positive, and mostly 1."""

    column: str
    terms: Terms
    constant: int
    coefficient: int = 1


@dataclass(frozen=True)
class Stride:
    """The column is congruent to ``constant + sum of terms`` modulo ``modulus``."""

    modulus: int
    terms: Terms
    constant: int


def solve_for_unit(system: RowSystem, preference: Preference, pinned: Collection[str]) -> Derived | None:
    """Substitute the preferred column with coefficient one out of an equality, in place; None if there is none."""
    pivots = [
        (preference(name), left, name)
        for left in system.equalities()
        for name, a in left
        if abs(a) == 1 and name not in pinned
    ]
    if not pivots:
        return None
    _, left, column = min(pivots)
    return _substitute(system, left, column)


def solve_with_stride(
    system: RowSystem, preference: Preference, excluded: Collection[str]
) -> tuple[Derived, str, Stride] | None:
    """Substitute a column with another coefficient out of an equality, in place; None if there is none.

    Args:
        system: The rows, changed in place.
        preference: Ranks columns to derive.
        excluded: Columns that may be neither derived nor strided: pinned ones, and those of earlier strides.

    Returns:
        The derived column, the column that must move in strides, and its strides.
    """
    equalities = system.equalities()
    in_equalities = [name for left in equalities for name, _ in left]
    pairs = [
        (preference(y), preference(x), left, y, x)
        for left in equalities
        for y, p in left
        for x, q in left
        if x != y and gcd(p, q) == 1 and in_equalities.count(x) == 1 and not {x, y} & set(excluded)
    ]
    if not pairs:
        return None
    _, _, left, y, x = min(pairs)
    total, modulus = system.bounds[left], abs(dict(left)[y])
    inverse = pow(dict(left)[x], -1, modulus)
    others = ((name, _centred(-inverse * a, modulus)) for name, a in left if name not in (x, y))
    stride = Stride(modulus, tuple((name, a) for name, a in others if a), _centred(inverse * total, modulus))
    return _substitute(system, left, y), x, stride


@dataclass(frozen=True)
class IntegerPoints:
    """The points ``start + sum of t_i * steps_i`` with whole ``t_i``."""

    start: dict[str, int]
    steps: tuple[dict[str, int], ...]


def integer_points(
    equalities: Sequence[tuple[Terms, int]], near: Mapping[str, int], spreads: Mapping[str, float]
) -> IntegerPoints | None:
    r"""All integer points of some equalities; None if there is none.

    Euclid's algorithm on the basis leaves one vector per equality along which its left side changes; the others are a
    basis of the kernel (a Hermite form). They are then made short, pair by pair, so that few multiples matter.

    Args:
        equalities: Left sides and what they equal.
        near: A point, for all columns that matter. The start is one close to it.
        spreads: The unit of distance by column.

    References:
        Schrijver, Theory of Linear and Integer Programming (1986), sections 4.1 and 6.2.

    Example:
        >>> found = integer_points([((("x", 5), ("y", -3)), 7)], {"x": 0, "y": 0}, {})
        >>> found.start, found.steps
        ({'x': 2, 'y': 1}, ({'y': -5, 'x': -3},))
    """
    basis = [{column: 1} for column in near]
    start = dict(near)
    for left, total in equalities:
        coefficients = dict(left)
        while True:
            slopes = [(abs(_along(coefficients, vector)), place) for place, vector in enumerate(basis)]
            turning = sorted(slope for slope in slopes if slope[0])
            if len(turning) < 2:
                break
            pivot = basis[turning[0][1]]
            size = _along(coefficients, pivot)
            for _, place in turning[1:]:
                basis[place] = _plus(basis[place], pivot, -(_along(coefficients, basis[place]) // size))
        rest = total - _along(coefficients, start)
        if not turning:
            if rest:
                return None
            continue
        vector = basis.pop(turning[0][1])
        times, odd = divmod(rest, _along(coefficients, vector))
        if odd:
            return None
        start = _plus(start, vector, times)
    weights = {column: 1.0 / spreads.get(column, 1.0) for column in near}
    return _shortened(start, basis, near, weights)


def _shortened(
    start: dict[str, int], basis: list[dict[str, int]], near: Mapping[str, int], weights: Mapping[str, float]
) -> IntegerPoints:
    for _ in range(_SWEEPS):
        before = list(basis)
        for place in range(len(basis)):
            for other in range(len(basis)):
                if other != place:
                    basis[place] = _nearest_to_zero(basis[place], basis[other], weights)
        if basis == before:
            break
    away = {column: start.get(column, 0) - value for column, value in near.items()}
    for _ in range(_SWEEPS):
        for vector in basis:
            away = _nearest_to_zero(away, vector, weights)
    return IntegerPoints({column: value + away.get(column, 0) for column, value in near.items()}, tuple(basis))


def _nearest_to_zero(vector: dict[str, int], step: Mapping[str, int], weights: Mapping[str, float]) -> dict[str, int]:
    """The vector less the multiple of a step that leaves it shortest."""
    inner = sum(float(vector.get(column, 0)) * weights[column] ** 2 * a for column, a in step.items())
    times = round(inner / sum((a * weights[column]) ** 2 for column, a in step.items()))
    return _plus(vector, step, -times) if times else vector


def _along(coefficients: Mapping[str, int], vector: Mapping[str, int]) -> int:
    return sum(a * vector.get(column, 0) for column, a in coefficients.items())


def _plus(vector: Mapping[str, int], step: Mapping[str, int], times: int) -> dict[str, int]:
    """``vector + times * step`` without its zeros."""
    result = dict(vector)
    for column, a in step.items():
        result[column] = result.get(column, 0) + times * a
    return {column: a for column, a in result.items() if a}


def _substitute(system: RowSystem, left: Terms, column: str) -> Derived:
    total = system.remove_equality(left)
    a = dict(left)[column]
    sign, size = (1, a) if a > 0 else (-1, -a)
    derived = Derived(column, tuple((name, -sign * b) for name, b in left if name != column), sign * total, size)
    for holder in sorted(system.holders.get(column, ())):
        bound = system.remove(holder)
        factor = dict(holder)[column]
        changed = {name: size * b for name, b in holder if name != column}
        for name, b in derived.terms:
            changed[name] = changed.get(name, 0) + factor * b
        system.add(changed, size * bound - factor * derived.constant)
    return derived


def _centred(number: int, modulus: int) -> int:
    """The member of least magnitude of the class of a number."""
    rest = number % modulus
    return rest - modulus if 2 * rest > modulus else rest
