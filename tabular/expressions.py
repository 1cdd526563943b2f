"""Rules as data: the tree that the parser makes, and that the checker, the compiler and the writer read.

Every number is exact (`fractions.Fraction`). Three kinds of leaf speak of columns: `Comparison` (a linear form against
zero), `Member` (a category in a set) and `IsNull`. Chains, ``abs``, ``min``, ``max``, ``between``, ``iff``, ``implies``
and ``if`` are gone by the time a tree exists.
"""

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

__all__ = [
    "And",
    "Comparison",
    "Constant",
    "Expression",
    "IsNull",
    "Linear",
    "Member",
    "Mode",
    "NonlinearComparison",
    "Not",
    "Operator",
    "Or",
    "Rule",
    "RuleSet",
    "Span",
    "WhenMissing",
    "all_of",
    "any_of",
    "atoms",
    "columns_of",
    "holds",
    "negation_normal_form",
]

Operator = Literal["<=", "<", ">=", ">", "==", "!="]
Mode = Literal["hard", "soft", "report", "reject"]
WhenMissing = Literal["satisfied", "violated"]

OPPOSITE: dict[Operator, Operator] = {"<=": ">", ">": "<=", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}
"""The operator that holds exactly where the key does not."""

_COMPARE: dict[Operator, Callable[[Any, Any], Any]] = {
    "<=": operators.le,
    "<": operators.lt,
    ">=": operators.ge,
    ">": operators.gt,
    "==": operators.eq,
    "!=": operators.ne,
}


@dataclass(frozen=True)
class Span:
    """Where a piece of a rule stands in its file; lines and columns count from 1, the end is exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Linear:
    """The form ``sum of coefficient * column + constant``.

    Terms are sorted by column and hold no zero, so equal forms compare equal.

    Example:
        >>> x, y = Linear.of_column("x"), Linear.of_column("y")
        >>> 2 * x - y + 3 - x
        Linear(terms=(('x', Fraction(1, 1)), ('y', Fraction(-1, 1))), constant=Fraction(3, 1))
    """

    terms: tuple[tuple[str, Fraction], ...]
    constant: Fraction = Fraction(0)

    @classmethod
    def of_column(cls, column: str) -> Linear:
        """The form that is one column."""
        return cls(((column, Fraction(1)),))

    @classmethod
    def of_number(cls, number: Fraction | int) -> Linear:
        """The form that is one number."""
        return cls((), Fraction(number))

    @classmethod
    def of_terms(cls, terms: Mapping[str, Fraction | int], constant: Fraction | int = 0) -> Linear:
        """The form with these coefficients; zeros are dropped."""
        kept = sorted((column, Fraction(coefficient)) for column, coefficient in terms.items() if coefficient)
        return cls(tuple(kept), Fraction(constant))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns with a coefficient other than zero."""
        return tuple(column for column, _ in self.terms)

    @property
    def is_number(self) -> bool:
        """Whether no column is left in the form."""
        return not self.terms

    def __add__(self, other: Linear | Fraction | int) -> Linear:
        if not isinstance(other, Linear):
            return Linear(self.terms, self.constant + other)
        merged = dict(self.terms)
        for column, coefficient in other.terms:
            merged[column] = merged.get(column, Fraction(0)) + coefficient
        return Linear.of_terms(merged, self.constant + other.constant)

    def __mul__(self, factor: Fraction | int) -> Linear:
        return Linear.of_terms({column: a * factor for column, a in self.terms}, self.constant * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Linear:
        return self * -1

    def __sub__(self, other: Linear | Fraction | int) -> Linear:
        return self + -other

    def value(self, row: Mapping[str, Fraction]) -> Fraction:
        """The value of the form at a row."""
        return sum((a * row[column] for column, a in self.terms), self.constant)


@dataclass(frozen=True)
class Comparison:
    """``linear operator 0``."""

    linear: Linear
    operator: Operator
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class NonlinearComparison:
    """``polynomial operator 0``; a monomial is the sorted tuple of its columns. It can be checked, never compiled."""

    terms: tuple[tuple[tuple[str, ...], Fraction], ...]
    operator: Operator
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Member:
    """The category of a column is one of ``values``, which are sorted texts."""

    column: str
    values: tuple[str, ...]
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class IsNull:
    """The cell is empty: the one leaf that is never unknown."""

    column: str
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Not:
    """The item does not hold."""

    item: Expression


@dataclass(frozen=True)
class And:
    """Every item holds."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    """Some item holds."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Constant:
    """Always true, or always false."""

    value: bool


Atom = Comparison | NonlinearComparison | Member | IsNull
Expression = Atom | Not | And | Or | Constant


@dataclass(frozen=True)
class Rule:
    """One rule and where it came from.

    Attributes:
        name: What reports call it; by default its text.
        expression: The tree.
        mode: ``hard`` is enforced, ``soft`` is a penalty and a figure in reports, ``report`` only a figure, and
            ``reject`` (products of columns) is checked and met by drawing rows again.
        when_missing: What an unknown outcome counts as, where a cell that the rule needs is null.
        text: The source text.
        line: Its line in ``file``, from 1.
        file: The file as the user named it; empty for text from memory.
        mentioned: The columns that the text names, those included that cancel out of the tree.
    """

    name: str
    expression: Expression
    mode: Mode = "hard"
    when_missing: WhenMissing = "satisfied"
    text: str = ""
    line: int = 1
    file: str = ""
    mentioned: tuple[str, ...] = field(default=(), compare=False)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule speaks of, sorted."""
        return columns_of(self.expression)


@dataclass(frozen=True)
class RuleSet:
    """The rules of one file, in its order."""

    rules: tuple[Rule, ...]
    file: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that any rule speaks of, sorted."""
        return tuple(sorted({column for rule in self.rules for column in rule.columns}))

    @property
    def mentioned(self) -> tuple[str, ...]:
        """The columns that any rule speaks of or its text names, sorted."""
        return tuple(sorted({*self.columns, *(column for rule in self.rules for column in rule.mentioned)}))

    @property
    def hard(self) -> RuleSet:
        """The rules that are enforced."""
        return RuleSet(tuple(rule for rule in self.rules if rule.mode == "hard"), self.file)

    def __len__(self) -> int:
        return len(self.rules)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)


def all_of(items: Iterable[Expression]) -> Expression:
    """The conjunction, flat, without constants, and without a node around a single item.

    Example:
        >>> all_of([IsNull("a"), Constant(True)])
        IsNull(column='a', span=None)
        >>> all_of([IsNull("a"), Constant(False)])
        Constant(value=False)
    """
    flat = [part for item in items for part in (item.items if isinstance(item, And) else (item,))]
    if Constant(False) in flat:
        return Constant(False)
    kept = tuple(item for item in flat if item != Constant(True))
    return kept[0] if len(kept) == 1 else And(kept) if kept else Constant(True)


def any_of(items: Iterable[Expression]) -> Expression:
    """The disjunction, flat, without constants, and without a node around a single item.

    Example:
        >>> any_of([])
        Constant(value=False)
    """
    flat = [part for item in items for part in (item.items if isinstance(item, Or) else (item,))]
    if Constant(True) in flat:
        return Constant(True)
    kept = tuple(item for item in flat if item != Constant(False))
    return kept[0] if len(kept) == 1 else Or(kept) if kept else Constant(False)


def atoms(expression: Expression) -> Iterator[Atom]:
    """The leaves that speak of columns, from left to right."""
    if isinstance(expression, And | Or):
        for item in expression.items:
            yield from atoms(item)
    elif isinstance(expression, Not):
        yield from atoms(expression.item)
    elif not isinstance(expression, Constant):
        yield expression


def columns_of(expression: Expression) -> tuple[str, ...]:
    """The columns of an expression, sorted.

    Example:
        >>> columns_of(And((IsNull("b"), Comparison(Linear.of_column("a"), ">="))))
        ('a', 'b')
    """
    found: set[str] = set()
    for atom in atoms(expression):
        if isinstance(atom, Comparison):
            found.update(atom.linear.columns)
        elif isinstance(atom, NonlinearComparison):
            found.update(column for monomial, _ in atom.terms for column in monomial)
        else:
            found.add(atom.column)
    return tuple(sorted(found))


def holds(value: Fraction | int, operator: Operator) -> bool:
    """Whether ``value operator 0``.

    Example:
        >>> holds(0, ">="), holds(0, ">")
        (True, False)
    """
    return bool(_COMPARE[operator](value, 0))


def negation_normal_form(expression: Expression, negated: bool = False) -> Expression:
    r"""Push every negation down to a leaf.

    Comparisons take the opposite operator, so that only ``Not(Member)`` and ``Not(IsNull)`` keep a `Not`. Comparisons
    without columns become constants, and constants vanish. In this form a rule is monotone in its leaves: under Kleene
    logic it is false exactly where it is false with every unknown leaf taken as true.

    Args:
        expression: Any expression.
        negated: Give the form of its negation.

    Returns:
        A tree of `And` and `Or` over leaves, or a `Constant`.

    Example:
        >>> positive = Comparison(Linear.of_column("x"), ">")
        >>> negation_normal_form(Not(And((positive, IsNull("y")))))  # doctest: +ELLIPSIS
        Or(items=(Comparison(..., operator='<=', span=None), Not(item=IsNull(column='y', span=None))))
    """
    if isinstance(expression, Not):
        return negation_normal_form(expression.item, not negated)
    if isinstance(expression, And | Or):
        items = [negation_normal_form(item, negated) for item in expression.items]
        return all_of(items) if isinstance(expression, And) != negated else any_of(items)
    if isinstance(expression, Constant):
        return Constant(expression.value != negated)
    if isinstance(expression, Comparison):
        operator = OPPOSITE[expression.operator] if negated else expression.operator
        if expression.linear.is_number:
            return Constant(holds(expression.linear.constant, operator))
        return Comparison(expression.linear, operator, expression.span)
    if isinstance(expression, NonlinearComparison):
        operator = OPPOSITE[expression.operator] if negated else expression.operator
        return NonlinearComparison(expression.terms, operator, expression.span)
    return Not(expression) if negated else expression
