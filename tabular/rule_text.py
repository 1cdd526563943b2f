"""Trees as text of the rule language: what this writes, the parser reads back as the same tree."""

import re
from collections.abc import Sequence
from fractions import Fraction

from .expressions import (
    And,
    Comparison,
    Constant,
    Expression,
    IsNull,
    Member,
    NonlinearComparison,
    Not,
    Operator,
    Or,
)
from .lattice import number_text

__all__ = ["format_column", "format_expression", "format_fraction"]

# words that the parser would not take for a column at the start of an operand
_RESERVED = {"if", "not", "true", "false"}


def format_expression(expression: Expression) -> str:
    """The text of a tree.

    Example:
        >>> from .expressions import Linear
        >>> format_expression(Or((IsNull("a b"), Comparison(Linear.of_terms({"x": 2, "y": -1}, -3), ">="))))
        '`a b` is null or 2*x - y >= 3'
    """
    if isinstance(expression, And | Or):
        word = " and " if isinstance(expression, And) else " or "
        return word.join(
            f"({format_expression(item)})" if isinstance(item, And | Or) else format_expression(item)
            for item in expression.items
        )
    if isinstance(expression, Not):
        return _negated(expression.item)
    if isinstance(expression, Constant):
        return "true" if expression.value else "false"
    if isinstance(expression, Comparison):
        linear = [((column,), factor) for column, factor in expression.linear.terms]
        return _comparison(linear, expression.linear.constant, expression.operator)
    if isinstance(expression, NonlinearComparison):
        monomials = [(monomial, factor) for monomial, factor in expression.terms if monomial]
        return _comparison(monomials, dict(expression.terms).get((), Fraction(0)), expression.operator)
    if isinstance(expression, IsNull):
        return f"{format_column(expression.column)} is null"
    return _member(expression, "==", "in")


def _negated(item: Expression) -> str:
    if isinstance(item, Member):
        return _member(item, "!=", "not in")
    if isinstance(item, IsNull):
        return f"{format_column(item.column)} is not null"
    return f"not ({format_expression(item)})"


def _member(member: Member, equal: str, among: str) -> str:
    texts = ["'" + value.replace("'", "''") + "'" for value in member.values]
    if len(texts) == 1:
        return f"{format_column(member.column)} {equal} {texts[0]}"
    return f"{format_column(member.column)} {among} [{', '.join(texts)}]"


def _comparison(monomials: Sequence[tuple[tuple[str, ...], Fraction]], constant: Fraction, operator: Operator) -> str:
    pieces: list[str] = []
    for monomial, factor in sorted(monomials, key=lambda term: term[1] < 0):  # `y - x`, not `-x + y`
        product = "*".join(format_column(column) for column in monomial)
        size, over = format_fraction(abs(factor)).partition("/")[::2]
        size = "" if size == "1" else f"{size}*"
        sign = ("-" if factor < 0 else "") if not pieces else (" - " if factor < 0 else " + ")
        pieces.append(f"{sign}{size}{product}{f'/{over}' if over else ''}")
    return f"{''.join(pieces) or '0'} {operator} {format_fraction(-constant)}"


def format_fraction(number: Fraction) -> str:
    """A number as the shortest exact text: a decimal where there is one, else a quotient.

    Example:
        >>> format_fraction(Fraction(1, 8)), format_fraction(Fraction(-2, 3))
        ('0.125', '-2/3')
    """
    twos_and_fives = number.denominator
    places = 0
    for prime in (2, 5):
        power = 0
        while twos_and_fives % prime == 0:
            twos_and_fives, power = twos_and_fives // prime, power + 1
        places = max(places, power)
    if twos_and_fives != 1:
        return f"{number.numerator}/{number.denominator}"
    return number_text(int(number * 10**places), 10**places)


def format_column(name: str) -> str:
    """A column as rules name it, in back-quotes where it needs them.

    Example:
        >>> format_column("count"), format_column("hours-per-week"), format_column("not")
        ('count', '`hours-per-week`', '`not`')
    """
    if re.fullmatch(r"[^\W\d]\w*", name) and name not in _RESERVED:
        return name
    return "`" + name.replace("`", "``") + "`"
