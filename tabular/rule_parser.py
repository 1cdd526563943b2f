"""From the text of a rule to its tree, with every name, category and date checked against the columns."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal, cast

import pyarrow as pa
from lark import Token, Tree

from graftable.errors import RuleError

from .expressions import (
    And,
    Comparison,
    Constant,
    Expression,
    IsNull,
    Member,
    Mode,
    NonlinearComparison,
    Not,
    Operator,
    Or,
    Rule,
    WhenMissing,
    all_of,
    any_of,
    holds,
)
from .lattice import DATE_FORMATS, parse_dates, parse_number
from .rule_algebra import AlgebraError, Quantity, compare
from .rule_grammar import Source, parse_tree, unknown_column, unquote
from .schema import ColumnSchema, Schema, did_you_mean

__all__ = ["Unseen", "parse_rule"]

Unseen = Literal["refuse", "allow"]
"""What to do with a category that the schema does not have."""

_FLIPPED: dict[Operator, Operator] = {"<=": ">=", "<": ">", ">=": "<=", ">": "<", "==": "==", "!=": "!="}


@dataclass(frozen=True)
class _Text:
    """A quoted literal."""

    text: str


@dataclass(frozen=True)
class _Category:
    """A column that the schema says holds categories."""

    column: ColumnSchema


_Value = Quantity | _Text | _Category | Expression
_EXPRESSIONS = (And, Comparison, Constant, IsNull, Member, NonlinearComparison, Not, Or)


def parse_rule(
    text: str,
    columns: Schema | Sequence[str] | None = None,
    *,
    name: str = "",
    mode: Mode = "hard",
    when_missing: WhenMissing = "satisfied",
    file: str = "the rules",
    line: int = 1,
    column: int = 1,
    unseen: Unseen = "refuse",
) -> Rule:
    """Parse one rule.

    Args:
        text: The rule, such as ``income >= debt`` or ``if sex == 'F' then age between 18 and 99``.
        columns: The columns of the table. A schema also says which hold categories and dates; names alone, or None,
            leave that to how the rule uses them.
        name: What reports call it; by default its text.
        mode: See `Rule`.
        when_missing: See `Rule`.
        file: The file, as errors name it.
        line: The line on which ``text`` begins in it.
        column: The column in which it begins.
        unseen: Whether a category that the schema lacks is an error. One that the rule excludes (``!=``, ``not in``)
            never is: a table that obeys lacks it.

    Raises:
        RuleError: With file, line, column, and the line itself with the mistake underlined.

    Example:
        >>> parse_rule("0 <= x < 1/3").columns
        ('x',)
        >>> parse_rule("incom >= 3", ["income", "debt"], file="loans.rules", line=7)
        Traceback (most recent call last):
        graftable.errors.RuleError: loans.rules, line 7, column 1: there is no column `incom`. Did you mean `income`?
          7 | incom >= 3
              ^^^^^
    """
    source = Source(text, file, line, column)
    names = columns.names if isinstance(columns, Schema) else columns
    schema = columns if isinstance(columns, Schema) else None
    tree = parse_tree(source, names)
    builder = _Builder(source, names, schema, mode in ("reject", "report"), unseen)
    expression = builder.condition(tree)
    mentioned = tuple(sorted(builder.mentioned))
    return Rule(name or " ".join(text.split()), expression, mode, when_missing, text, line, file, mentioned)


class _Builder:
    """Walks a syntax tree from the bottom; a method per kind of node."""

    def __init__(
        self, source: Source, names: Sequence[str] | None, schema: Schema | None, nonlinear: bool, unseen: Unseen
    ) -> None:
        self.source, self.names, self.schema, self.nonlinear, self.unseen = source, names, schema, nonlinear, unseen
        self.mentioned: set[str] = set()
        self.excluding = False  # whether the piece that is being read is negated

    def error(self, tree: Tree[Token], sentence: str) -> RuleError:
        return self.source.error(tree.meta.start_pos, tree.meta.end_pos, sentence)

    def value(self, tree: Tree[Token]) -> _Value:
        """What a node stands for."""
        method: Callable[[Tree[Token]], _Value] = getattr(self, f"_{tree.data}")
        return method(tree)

    def condition(self, tree: Tree[Token]) -> Expression:
        """What a node stands for, which must be true or false."""
        found = self.value(tree)
        if isinstance(found, _Category) and found.column.kind == "boolean":
            return Member(found.column.name, _truths(found.column, True), self._span(tree))
        if self.schema is None and isinstance(found, Quantity) and found.column:
            return self._column_with_truth(found.column, "==", Constant(True), tree, tree)
        if not isinstance(found, _EXPRESSIONS):
            raise self.error(tree, f"expected a condition such as `x >= 0`, found {self._described(found)}.")
        return found

    def quantity(self, tree: Tree[Token]) -> Quantity:
        """What a node stands for, which must be a number."""
        found = self.value(tree)
        if isinstance(found, _Category):
            name = found.column.name
            raise self.error(
                tree,
                f"the column `{name}` holds {_content(found.column)}; it cannot be calculated with."
                f"{_if_dates(found.column)}",
            )
        if not isinstance(found, Quantity):
            raise self._no_number(found, tree)
        return found

    def _no_number(self, found: _Value, tree: Tree[Token]) -> RuleError:
        advice = ""
        if isinstance(found, _Text) and found.text in (self.names or ()):
            advice = " The name of a column is quoted with `back-quotes`."
        return self.error(tree, f"expected a number, found {self._described(found)}.{advice}")

    @staticmethod
    def _described(found: _Value) -> str:
        if isinstance(found, _Text):
            return f"the text {found.text!r}"
        if isinstance(found, Quantity):
            return "a column" if found.column else "a number"
        return f"the column `{found.column.name}`" if isinstance(found, _Category) else "a condition"

    def _span(self, tree: Tree[Token]) -> Any:
        return self.source.span(tree.meta.start_pos, tree.meta.end_pos)

    # -- leaves

    def _number(self, tree: Tree[Token]) -> Quantity:
        parsed = parse_number(str(tree.children[0]))
        if parsed is None:
            raise self.error(tree, "this number is too large or too small.")
        return Quantity.of_number(Fraction(parsed[0], 10 ** parsed[1]))

    def _text(self, tree: Tree[Token]) -> _Text:
        return _Text(unquote(str(tree.children[0])))

    def _truth(self, tree: Tree[Token]) -> Constant:
        return Constant(tree.children[0] == "true")

    def _column(self, tree: Tree[Token]) -> Quantity | _Category:
        name = unquote(str(tree.children[0]))
        if self.names is not None and name not in self.names:
            raise unknown_column(self.source, tree.meta.start_pos, tree.meta.end_pos, self.names)
        self.mentioned.add(name)
        if self.schema is not None and not self.schema[name].is_numeric:
            return _Category(self.schema[name])
        return Quantity.of_column(name)

    _quoted_column = _column

    # -- conditions

    def _conditional(self, tree: Tree[Token]) -> Expression:
        condition, *branches = (self.condition(child) for child in _trees(tree))
        implied = any_of([_negated(condition), branches[0]])
        return implied if len(branches) == 1 else all_of([implied, any_of([condition, branches[1]])])

    def _iff(self, tree: Tree[Token]) -> Expression:
        sides = [self.condition(child) for child in _trees(tree)]
        return all_of(_same(left, right) for left, right in pairwise(sides))

    def _implication(self, tree: Tree[Token]) -> Expression:
        condition, consequence = (self.condition(child) for child in _trees(tree))
        return any_of([_negated(condition), consequence])

    def _disjunction(self, tree: Tree[Token]) -> Expression:
        return any_of([self.condition(child) for child in _trees(tree)])

    def _conjunction(self, tree: Tree[Token]) -> Expression:
        return all_of([self.condition(child) for child in _trees(tree)])

    def _negation(self, tree: Tree[Token]) -> Expression:
        return self._excluded(lambda: self.condition(_trees(tree)[0]))

    def _excluded(self, read: Callable[[], Expression]) -> Expression:
        """The negation of what is read."""
        self.excluding = not self.excluding
        found = read()
        self.excluding = not self.excluding  # an error in between ends the reading
        return _negated(found)

    # -- relations

    def _comparison(self, tree: Tree[Token]) -> Expression:
        sides, operators = _trees(tree), [cast("Operator", str(token)) for token in tree.children[1::2]]
        values = [self.value(side) for side in sides]
        return all_of(
            self._pair(values[i], operator, values[i + 1], sides[i], sides[i + 1])
            for i, operator in enumerate(operators)
        )

    def _pair(self, left: _Value, operator: Operator, right: _Value, at: Tree[Token], to: Tree[Token]) -> Expression:
        """One comparison; categories, texts and truths are brought to the right of their column first."""
        if isinstance(left, _Text | Constant) and not isinstance(right, _Text | Constant):
            return self._pair(right, _FLIPPED[operator], left, to, at)
        if isinstance(right, _Category) and not isinstance(left, _Category):
            return self._pair(right, _FLIPPED[operator], left, to, at)
        if isinstance(left, _Category):
            return self._category(left.column, operator, right, at, to)
        if isinstance(left, Quantity) and isinstance(right, _Text):
            return self._quantity_with_text(left, operator, right, at, to)
        if isinstance(left, Quantity) and isinstance(right, Constant) and left.column:
            return self._column_with_truth(left.column, operator, right, at, to)
        if isinstance(left, _EXPRESSIONS) and isinstance(right, _EXPRESSIONS):
            if operator not in ("==", "!="):
                raise self.error(to, f"two conditions are compared with == or !=, not with {operator}.")
            return _same(left, right) if operator == "==" else _negated(_same(left, right))
        for value, tree in ((left, at), (right, to)):
            if not isinstance(value, Quantity):
                raise self._no_number(value, tree)
        self._refuse_dates_for_numbers(at, to)
        difference = self._linear(at, to, lambda: cast("Quantity", left) + cast("Quantity", right).scaled(Fraction(-1)))
        return compare(difference, operator, self.source.span(at.meta.start_pos, to.meta.end_pos))

    def _refuse_dates_for_numbers(self, *sides: Tree[Token]) -> None:
        """Refuse a date that is held against numbers only: as a count of days it would mean something else."""
        if self.schema is None or "date" not in self.source.text:
            return
        pieces = [piece for side in sides for piece in side.iter_subtrees()]
        columns = [unquote(str(piece.children[0])) for piece in pieces if piece.data in ("column", "quoted_column")]
        dates = [piece for piece in pieces if piece.data == "function" and piece.children[0] == "date"]
        if dates and columns and not any(self.schema[name].kind == "datetime" for name in columns):
            raise self.error(dates[0], f"the column `{columns[0]}` holds numbers, which no date can be held against.")

    def _category(
        self, column: ColumnSchema, operator: Operator, right: _Value, at: Tree[Token], to: Tree[Token]
    ) -> Expression:
        span = self.source.span(at.meta.start_pos, to.meta.end_pos)
        number = right.number if isinstance(right, Quantity) else None
        if number is not None:
            return self._category_with_number(column, operator, number, at, to)
        if not isinstance(right, _Text | Constant):
            raise self.error(
                to, f"the column `{column.name}` holds {_content(column)}; {_comparable(column)}.{_if_dates(column)}"
            )
        if operator not in ("==", "!="):
            raise self.error(
                at,
                f"the column `{column.name}` holds {_content(column)}; they have no order, use == or in."
                f"{_if_dates(column)}",
            )
        if isinstance(right, Constant):
            truths = _truths(column, right.value)
            if column.kind != "boolean" and not set(truths) & set(column.categories):  # yes and no are other texts
                self._known(column, truths[0], to)
            member = Member(column.name, truths, span)
        else:
            known = right.text if self.excluding != (operator == "!=") else self._known(column, right.text, to)
            member = Member(column.name, (known,), span)
        return member if operator == "==" else Not(member)

    def _category_with_number(
        self, column: ColumnSchema, operator: Operator, number: Fraction, at: Tree[Token], to: Tree[Token]
    ) -> Expression:
        """Categories that are numbers, such as codes: those that satisfy the comparison."""
        values = {text: parsed for text in column.categories if (parsed := parse_number(text)) is not None}
        if len(values) < len(column.categories) or not values:
            raise self.error(to, f"the column `{column.name}` holds {_content(column)}; {_comparable(column)}.")
        kept = [text for text, (m, places) in values.items() if holds(Fraction(m, 10**places) - number, operator)]
        if operator == "==" and not kept and not self.excluding and self.unseen == "refuse":
            raise self._never(column, str(self.source.text[to.meta.start_pos : to.meta.end_pos]), to)
        return Member(column.name, tuple(sorted(kept)), self.source.span(at.meta.start_pos, to.meta.end_pos))

    def _quantity_with_text(
        self, left: Quantity, operator: Operator, right: _Text, at: Tree[Token], to: Tree[Token]
    ) -> Expression:
        span = self.source.span(at.meta.start_pos, to.meta.end_pos)
        known = self.schema[left.column] if self.schema is not None and left.column else None
        if known is not None and known.kind != "datetime":
            raise self.error(to, f"the column `{known.name}` holds numbers; write the number without quotes.")
        if left.column and known is None and operator in ("==", "!="):
            member = Member(left.column, (right.text,), span)
            return member if operator == "==" else Not(member)
        formats = DATE_FORMATS if known is None else (known.date_format or "%Y-%m-%d", "%Y-%m-%d", "%Y-%m-%d%z")
        days = self._days(right.text, to, formats)
        return compare(left + Quantity.of_number(-days), operator, span)

    def _column_with_truth(
        self, column: str, operator: Operator, right: Constant, at: Tree[Token], to: Tree[Token]
    ) -> Expression:
        """``column == true``: the number 1 in a numeric column, a category where nothing is known of the column."""
        span = self.source.span(at.meta.start_pos, to.meta.end_pos)
        if operator not in ("==", "!="):
            raise self.error(at, "true and false have no order; use == or !=.")
        if self.schema is not None:
            return compare(Quantity({(column,): Fraction(1), (): Fraction(-int(right.value))}), operator, span)
        word = str(right.value)
        member = Member(column, tuple(sorted({word, word.lower(), word.upper()})), span)
        return member if operator == "==" else Not(member)

    def _member(self, tree: Tree[Token]) -> Expression:
        subject, items = _trees(tree)
        left = self.value(subject)
        if not items.children:
            raise self.error(tree, "the list is empty; name at least one value.")
        cases = [self._pair(left, "==", self.value(item), subject, item) for item in _trees(items)]
        if all(isinstance(case, Member) for case in cases):
            members = cast("list[Member]", cases)
            values = {value for member in members for value in member.values}
            return Member(members[0].column, tuple(sorted(values)), self._span(tree))
        return any_of(cases)

    def _not_member(self, tree: Tree[Token]) -> Expression:
        return self._excluded(lambda: self._member(tree))

    def _is_null(self, tree: Tree[Token]) -> Expression:
        found = self.value(_trees(tree)[0])
        column = found.column.name if isinstance(found, _Category) else getattr(found, "column", None)
        if not isinstance(column, str) or isinstance(found, IsNull | Member):
            raise self.error(tree, "only a column can be null.")
        return IsNull(column, self._span(tree))

    def _is_not_null(self, tree: Tree[Token]) -> Expression:
        return _negated(self._is_null(tree))

    def _between(self, tree: Tree[Token]) -> Expression:
        subject, low, high = _trees(tree)
        value = self.value(subject)
        pairs: tuple[tuple[Operator, Tree[Token]], ...] = ((">=", low), ("<=", high))
        return all_of([self._pair(value, operator, self.value(bound), subject, bound) for operator, bound in pairs])

    def _not_between(self, tree: Tree[Token]) -> Expression:
        return _negated(self._between(tree))

    # -- arithmetic

    def _sum(self, tree: Tree[Token]) -> Quantity:
        first, *others = (self.quantity(child) for child in _trees(tree))
        total = first
        for sign, other in zip(tree.children[1::2], others, strict=True):
            addend = other if sign == "+" else other.scaled(Fraction(-1))
            total = self._linear(tree, tree, lambda a=total, b=addend: a + b)  # type: ignore[misc]
        return total

    def _product(self, tree: Tree[Token]) -> Quantity:
        first, *others = (self.quantity(child) for child in _trees(tree))
        total = first
        for sign, other in zip(tree.children[1::2], others, strict=True):
            operation = total.times if sign == "*" else total.over
            total = self._linear(tree, tree, lambda f=operation, b=other: f(b))  # type: ignore[misc]
        return total

    def _signed(self, tree: Tree[Token]) -> Quantity:
        found = self.quantity(_trees(tree)[0])
        return found.scaled(Fraction(-1)) if tree.children[0] == "-" else found

    def _linear(self, at: Tree[Token], to: Tree[Token], operation: Callable[[], Quantity]) -> Quantity:
        """Calculate, and refuse what is not linear where the mode of the rule needs it to be."""
        start, end = at.meta.start_pos, to.meta.end_pos
        try:
            result = operation()
        except AlgebraError as error:
            raise self.source.error(start, end, str(error)) from None
        if not result.is_linear and not self.nonlinear:
            raise self.source.error(
                start,
                end,
                "a product or quotient of columns is not linear; such a rule can be checked but not repaired, "
                "so give it `mode: reject`.",
            )
        return result

    def _function(self, tree: Tree[Token]) -> Quantity:
        name, *arguments = tree.children
        items = [cast("Tree[Token]", argument) for argument in arguments]
        if name == "date":
            found = self.value(items[0]) if len(items) == 1 else None
            if not isinstance(found, _Text):
                raise self.error(tree, 'expected one quoted date, such as date("2011-12-31").')
            return Quantity.of_number(self._days(found.text, items[0], ("%Y-%m-%d", "%Y-%m-%d%z")))
        values = [self.quantity(item) for item in items]
        if name in ("abs", "days") and len(values) != 1:
            raise self.error(tree, f"{name} takes one number, found {len(values)}.")
        if name == "days":
            return values[0]
        if name == "sum":
            return self._linear(tree, tree, lambda: sum(values, Quantity()))
        if name == "abs":
            values.append(values[0].scaled(Fraction(-1)))
        kind: Literal["min", "max"] = "min" if name == "min" else "max"
        return self._linear(tree, tree, lambda: Quantity.extreme(kind, values))

    # -- literals of columns

    def _days(self, text: str, tree: Tree[Token], date_formats: Sequence[str]) -> Fraction:
        for candidate in date_formats:
            cells = parse_dates(pa.array([text]), candidate)
            if not cells.unreadable[0]:
                return Fraction(int(cells.numbers[0]), cells.scale)
        raise self.error(tree, f'found {text!r}, expected a date such as "2011-12-31" or "2011-12-31 18:30".')

    def _known(self, column: ColumnSchema, text: str, tree: Tree[Token]) -> str:
        if self.unseen == "refuse" and column.categories and text not in column.categories:
            raise self._never(column, text, tree)
        return text

    def _never(self, column: ColumnSchema, text: str, tree: Tree[Token]) -> RuleError:
        advice = did_you_mean(text, column.categories, "'")
        misspelt = "Did you mean" in advice
        allow = "" if misspelt else " If it is only missing here, add --allow-unseen (in Python, unseen='allow')."
        return self.error(tree, f"the column `{column.name}` never holds {text!r}.{advice}{allow}")


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _negated(expression: Expression) -> Expression:
    return Constant(not expression.value) if isinstance(expression, Constant) else Not(expression)


def _same(left: Expression, right: Expression) -> Expression:
    return all_of([any_of([_negated(left), right]), any_of([left, _negated(right)])])


def _content(column: ColumnSchema) -> str:
    if column.kind == "boolean":
        return "true and false"
    return "categories" if column.kind == "categorical" else "texts"


def _if_dates(column: ColumnSchema) -> str:
    """Advice on a column whose texts look like dates, in mixed or unknown formats."""
    looks = column.categories[:1] and re.search(r"\d{4}.*\d|\d.*\d{4}", column.categories[0])
    return " If these are dates, write all alike, such as 2011-12-31 or 31/12/2011." if looks else ""


def _comparable(column: ColumnSchema) -> str:
    return "compare it with true or false" if column.kind == "boolean" else "compare it with a quoted text"


def _truths(column: ColumnSchema, value: bool) -> tuple[str, ...]:
    """The texts of a column that say true, or false."""
    word = str(value).lower()
    return tuple(sorted(text for text in column.categories if text.lower() == word)) or (word,)
