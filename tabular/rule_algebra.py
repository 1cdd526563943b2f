"""Numeric expressions of the rule language: polynomials, quotients and minima, until a comparison makes them leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from .expressions import (
    Comparison,
    Expression,
    Linear,
    NonlinearComparison,
    Operator,
    Span,
    all_of,
    any_of,
)

__all__ = ["AlgebraError", "Quantity", "compare"]

Polynomial = Mapping[tuple[str, ...], Fraction]

_MIRRORED: dict[Operator, Operator] = {"<=": ">=", "<": ">", ">=": "<=", ">": "<", "==": "==", "!=": "!="}


class AlgebraError(ValueError):
    """An operation that has no meaning in a rule; the message is a sentence without a place."""


@dataclass(frozen=True)
class Extremum:
    """``factor * max(items)``, or ``min``."""

    factor: Fraction
    kind: Literal["min", "max"]
    items: tuple[Quantity, ...]


@dataclass(frozen=True)
class Quantity:
    """``(terms + extrema) / divisor``.

    Attributes:
        terms: Coefficients by monomial, a monomial being its columns in order; the empty one is the constant.
        extrema: Minima and maxima that are added.
        divisor: A polynomial with columns; None for 1.

    Example:
        >>> x = Quantity.of_column("x")
        >>> compare((x + x.scaled(Fraction(-3))).scaled(Fraction(1, 2)), ">=").linear.terms
        (('x', Fraction(-1, 1)),)
    """

    terms: Polynomial = field(default_factory=dict)
    extrema: tuple[Extremum, ...] = ()
    divisor: Polynomial | None = None

    @classmethod
    def of_number(cls, number: Fraction) -> Quantity:
        """A number."""
        return cls({(): number})

    @classmethod
    def of_column(cls, column: str) -> Quantity:
        """The value of a column."""
        return cls({(column,): Fraction(1)})

    @classmethod
    def extreme(cls, kind: Literal["min", "max"], items: Sequence[Quantity]) -> Quantity:
        """The least or the greatest of some quantities."""
        if any(item.divisor for item in items):
            raise AlgebraError("a quotient of columns cannot stand inside abs, min or max.")
        return items[0] if len(items) == 1 else cls({}, (Extremum(Fraction(1), kind, tuple(items)),))

    @property
    def number(self) -> Fraction | None:
        """The value, if no column is in it."""
        plain = not self.extrema and not self.divisor and not any(self.terms)
        return self.terms.get((), Fraction(0)) if plain else None

    @property
    def column(self) -> str | None:
        """The column, if it is one and nothing else."""
        plain = not self.extrema and not self.divisor and len(self.terms) == 1
        monomial, factor = next(iter(self.terms.items())) if plain else ((), Fraction(0))
        return monomial[0] if len(monomial) == 1 and factor == 1 else None

    @property
    def is_linear(self) -> bool:
        """Whether no columns are multiplied or divided."""
        inner = all(item.is_linear for extremum in self.extrema for item in extremum.items)
        return self.divisor is None and inner and all(len(monomial) <= 1 for monomial in self.terms)

    def scaled(self, factor: Fraction) -> Quantity:
        """The quantity times a number."""
        extrema = tuple(Extremum(e.factor * factor, e.kind, e.items) for e in self.extrema if factor)
        return Quantity({m: a * factor for m, a in self.terms.items() if factor}, extrema, self.divisor)

    def __add__(self, other: Quantity) -> Quantity:
        if self.divisor or other.divisor:
            one: Polynomial = {(): Fraction(1)}
            mine, theirs = self.divisor or one, other.divisor or one
            left, right = self._over_one().times(Quantity(theirs)), other._over_one().times(Quantity(mine))
            return Quantity((left + right).terms, (), _product(mine, theirs))
        terms = dict(self.terms)
        for monomial, factor in other.terms.items():
            terms[monomial] = terms.get(monomial, Fraction(0)) + factor
        return Quantity({m: a for m, a in terms.items() if a}, self.extrema + other.extrema)

    def _over_one(self) -> Quantity:
        return Quantity(self.terms, self.extrema)

    def times(self, other: Quantity) -> Quantity:
        """The product.

        Raises:
            AlgebraError: If a minimum, maximum or absolute value would be multiplied by a column.
        """
        for factor, rest in ((self.number, other), (other.number, self)):
            if factor is not None:
                return rest.scaled(factor)
        if self.extrema or other.extrema:
            raise AlgebraError("abs, min and max can be multiplied by numbers only.")
        one: Polynomial = {(): Fraction(1)}
        divisor = _product(self.divisor or one, other.divisor or one) if self.divisor or other.divisor else None
        return Quantity(_product(self.terms, other.terms), (), divisor)

    def over(self, other: Quantity) -> Quantity:
        """The quotient.

        Raises:
            AlgebraError: If the divisor is 0, or has a minimum, maximum or absolute value.
        """
        if other.number is not None:
            if other.number == 0:
                raise AlgebraError("this divides by zero.")
            return self.scaled(1 / other.number)
        if other.extrema:
            raise AlgebraError("abs, min and max cannot be divided by.")
        inverse = Quantity(other.divisor or {(): Fraction(1)}, (), other.terms)
        return inverse.scaled(self.number) if self.number is not None else self.times(inverse)


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    terms: dict[tuple[str, ...], Fraction] = {}
    for m, a in left.items():
        for n, b in right.items():
            monomial = tuple(sorted(m + n))
            terms[monomial] = terms.get(monomial, Fraction(0)) + a * b
    return {monomial: factor for monomial, factor in terms.items() if factor}


def compare(quantity: Quantity, operator: Operator, span: Span | None = None) -> Expression:
    r"""The condition ``quantity operator 0`` with minima, maxima and quotients resolved.

    .. math:: k \max(u, v) + r \ge 0 \iff (k u + r \ge 0) \lor (k v + r \ge 0), \qquad k > 0,

    with "and" for ``k < 0``, and the other way round for ``min`` and for ``<=``. A quotient is compared on either side
    of a divisor of 0, and never holds at 0.
    """
    if quantity.extrema:
        return _compare_extremum(quantity, operator, span)
    if quantity.divisor is not None:
        above, below = Quantity(quantity.divisor), Quantity(quantity.terms)
        sides: tuple[tuple[Operator, Operator], ...] = ((">", operator), ("<", _MIRRORED[operator]))
        return any_of(all_of([compare(above, sign, span), compare(below, side, span)]) for sign, side in sides)
    if quantity.is_linear:
        terms = {monomial[0]: factor for monomial, factor in quantity.terms.items() if monomial}
        return Comparison(Linear.of_terms(terms, quantity.terms.get((), Fraction(0))), operator, span)
    return NonlinearComparison(tuple(sorted(quantity.terms.items())), operator, span)


def _compare_extremum(quantity: Quantity, operator: Operator, span: Span | None) -> Expression:
    if operator == "==":
        return all_of([compare(quantity, "<=", span), compare(quantity, ">=", span)])
    if operator == "!=":
        return any_of([compare(quantity, "<", span), compare(quantity, ">", span)])
    first, *others = quantity.extrema
    rest = Quantity(quantity.terms, tuple(others), quantity.divisor)
    cases = [compare(rest + item.scaled(first.factor), operator, span) for item in first.items]
    some = ((first.kind == "max") == (first.factor > 0)) == (operator in (">", ">="))
    return any_of(cases) if some else all_of(cases)
