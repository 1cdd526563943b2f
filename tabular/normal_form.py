r"""Rules in negation normal form over the integers.

A cell of a table is ``m / scale`` with an integer ``m``, so a linear rule is one row of integers,

.. math:: \sum_j a_j m_j \ge b, \qquad \gcd(a) = 1,

with ``b`` rounded up: no integer point is lost by it. On integers ``>`` is ``>= b + 1``, ``!=`` is a choice of two
sides, and the cells that are null for a whole group of rows turn their leaves into constants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, gcd, lcm

from graftable.errors import RuleError

from .expressions import (
    And,
    Comparison,
    Constant,
    Expression,
    IsNull,
    Member,
    NonlinearComparison,
    Not,
    Or,
    WhenMissing,
    negation_normal_form,
)

__all__ = [
    "AllOf",
    "Among",
    "AnyOf",
    "Formula",
    "Lattice",
    "Row",
    "all_of",
    "any_of",
    "columns_of",
    "literals",
    "make_row",
    "negate",
    "on_lattice",
]


@dataclass(frozen=True)
class Row:
    """``sum of coefficient * column >= bound`` over lattice integers; terms are sorted, coprime and never zero."""

    terms: tuple[tuple[str, int], ...]
    bound: int

    def holds(self, point: Mapping[str, int]) -> bool:
        """Whether a point obeys the row."""
        return sum(a * point[column] for column, a in self.terms) >= self.bound

    @property
    def opposite(self) -> Row:
        """The row that holds exactly where this one does not."""
        return Row(tuple((column, -a) for column, a in self.terms), 1 - self.bound)


@dataclass(frozen=True)
class Among:
    """The category is one of ``values``; ``None`` stands for every text that the lattice does not list."""

    column: str
    values: frozenset[str | None]


@dataclass(frozen=True)
class AllOf:
    """Every item holds."""

    items: tuple[Formula, ...]


@dataclass(frozen=True)
class AnyOf:
    """Some item holds."""

    items: tuple[Formula, ...]


Formula = bool | Row | Among | AllOf | AnyOf


@dataclass(frozen=True)
class Lattice:
    """What the compiler knows of the columns.

    Attributes:
        scales: Lattice points per unit of each column with numbers or dates.
        categories: Known categories of each column with categories, the most frequent first.
        free: Those of them with any text, whose categories are only the ones that rules name.
    """

    scales: Mapping[str, int]
    categories: Mapping[str, tuple[str, ...]]
    free: frozenset[str] = frozenset()

    def known(self, column: str) -> frozenset[str | None]:
        """Every value that a category column can take, with ``None`` for an unlisted one."""
        return frozenset((*self.categories[column], None))


def make_row(terms: Mapping[str, Fraction | int], bound: Fraction | int) -> Row | bool:
    """The row of ``sum of terms >= bound``, coprime and with its bound rounded up; a constant if nothing is left.

    Example:
        >>> make_row({"x": 2, "y": Fraction(-4)}, Fraction(3))
        Row(terms=(('x', 1), ('y', -2)), bound=2)
        >>> make_row({"x": 0}, 1)
        False
    """
    kept = sorted((column, Fraction(a)) for column, a in terms.items() if a)
    if not kept:
        return bound <= 0
    denominators = lcm(*(a.denominator for _, a in kept))
    divisor = gcd(*(a.numerator * (denominators // a.denominator) for _, a in kept))
    factor = Fraction(denominators, divisor)
    return Row(tuple((column, int(a * factor)) for column, a in kept), ceil(bound * factor))


def all_of(items: Iterable[Formula]) -> Formula:
    """The conjunction, flat, without constants or repetitions."""
    return _joined(items, AllOf, neutral=True)


def any_of(items: Iterable[Formula]) -> Formula:
    """The disjunction, flat, without constants or repetitions."""
    return _joined(items, AnyOf, neutral=False)


def _joined(items: Iterable[Formula], node: type[AllOf] | type[AnyOf], neutral: bool) -> Formula:
    flat: dict[Formula, None] = {}
    for item in items:
        if isinstance(item, bool):
            if item != neutral:
                return item
        else:
            flat.update(dict.fromkeys(item.items if isinstance(item, node) else (item,)))
    kept = tuple(flat)
    return kept[0] if len(kept) == 1 else node(kept) if kept else neutral


def negate(formula: Formula, lattice: Lattice) -> Formula:
    """The formula that holds exactly where this one does not.

    Example:
        >>> negate(Row((("x", 1),), 5), Lattice({"x": 1}, {}))
        Row(terms=(('x', -1),), bound=-4)
    """
    if isinstance(formula, bool):
        return not formula
    if isinstance(formula, Row):
        return formula.opposite
    if isinstance(formula, Among):
        return _among(formula.column, lattice.known(formula.column) - formula.values, lattice)
    parts = (negate(item, lattice) for item in formula.items)
    return any_of(parts) if isinstance(formula, AllOf) else all_of(parts)


def literals(formula: Formula) -> Iterator[Row | Among]:
    """The leaves, from left to right."""
    if isinstance(formula, Row | Among):
        yield formula
    elif isinstance(formula, AllOf | AnyOf):
        for item in formula.items:
            yield from literals(item)


def columns_of(formula: Formula) -> frozenset[str]:
    """The columns that a formula speaks of."""
    return frozenset(
        column
        for literal in literals(formula)
        for column in ((literal.column,) if isinstance(literal, Among) else dict(literal.terms))
    )


def on_lattice(
    expression: Expression,
    lattice: Lattice,
    *,
    nulls: frozenset[str] = frozenset(),
    when_missing: WhenMissing = "satisfied",
) -> Formula:
    """Bring a rule onto the lattice, for the rows whose null columns are exactly ``nulls``.

    Args:
        expression: The rule.
        lattice: Scales and categories of the columns.
        nulls: The columns that are null; a leaf that needs one counts as ``when_missing`` says.
        when_missing: ``satisfied`` or ``violated``.

    Returns:
        The formula: rows and category sets under `AllOf` and `AnyOf`, or a constant.

    Raises:
        RuleError: If the rule multiplies columns, or uses a column as a number that the lattice has no scale for.

    Example:
        >>> from graftable.tabular.expressions import Linear
        >>> price, cost = Linear.of_column("price"), Linear.of_column("cost")
        >>> on_lattice(Comparison(price - cost, ">"), Lattice({"price": 100, "cost": 10}, {}))
        Row(terms=(('cost', -10), ('price', 1)), bound=1)
    """
    missing = when_missing == "satisfied"

    def lower(node: Expression) -> Formula:
        match node:
            case Constant(value):
                return value
            case And(items):
                return all_of(lower(item) for item in items)
            case Or(items):
                return any_of(lower(item) for item in items)
            case IsNull(column):
                return column in nulls
            case Not(IsNull(column)):
                return column not in nulls
            case Member(column, values) | Not(Member(column, values)):
                if column in nulls:
                    return missing
                chosen = frozenset[str | None](values)
                return _among(column, lattice.known(column) - chosen if isinstance(node, Not) else chosen, lattice)
            case Comparison(linear, _, _):
                return missing if nulls & set(linear.columns) else _comparison(node, lattice)
            case NonlinearComparison():
                raise RuleError("a product or a ratio of columns can only be checked: give the rule `mode: reject`")
        raise TypeError(f"not in negation normal form: {node!r}")

    return lower(negation_normal_form(expression))


def _among(column: str, values: frozenset[str | None], lattice: Lattice) -> Formula:
    return bool(values) if not values or values == lattice.known(column) else Among(column, values)


def _comparison(comparison: Comparison, lattice: Lattice) -> Formula:
    linear = comparison.linear
    if unknown := [column for column in linear.columns if column not in lattice.scales]:
        raise RuleError(f'column "{unknown[0]}" holds categories, and the rule computes with it as a number')
    terms = {column: a / lattice.scales[column] for column, a in linear.terms}
    mirrored = {column: -a for column, a in terms.items()}
    at_least, at_most = make_row(terms, -linear.constant), make_row(mirrored, linear.constant)
    match comparison.operator:
        case ">=":
            return at_least
        case "<=":
            return at_most
        case ">":
            return at_most.opposite if isinstance(at_most, Row) else not at_most
        case "<":
            return at_least.opposite if isinstance(at_least, Row) else not at_least
        case "==" | "!=" as operator:
            # an equality whose constant lies off the lattice rounds to two rows that exclude each other
            met = all_of((at_least, at_most))
            if isinstance(at_least, Row) and isinstance(at_most, Row) and at_least.bound + at_most.bound > 0:
                met = False
            return met if operator == "==" else negate(met, lattice)
    raise TypeError(f"unknown operator {comparison.operator!r}")
