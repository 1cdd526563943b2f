r"""Equalities over the integers, solved for one column each.

Where a column has a coefficient of one, it is computed from the others, whatever they are. Else, in

.. math:: p\,y + q\,x + \sum_i a_i z_i = b, \qquad \gcd(p, q) = 1,

``y`` is an integer exactly if ``x`` lies in one class modulo ``p`` that the ``z_i`` decide: ``y`` becomes derived and
``x``, which comes after all ``z_i`` in the walk, moves in strides of ``p``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import gcd

from .row_system import RowSystem, Terms

__all__ = ["Derived", "Stride", "solve_for_unit", "solve_with_stride"]

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
