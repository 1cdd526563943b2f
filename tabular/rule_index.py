"""The index form of rule files: ``ordering y_0 y_1``, then a clause a line, such as ``neg y_3 > 1 or y_5 - 2y_6 >= 0``.

``y_i`` is column number i of the table. Literals are joined by ``or``; ``neg`` negates the one literal after it, its
bound included: ``neg y_0 >= 5`` is ``y_0 < 5``.

References:
    Stoian et al., "How Realistic Is Your Synthetic Data? Constraining Deep Generative Models for Tabular Data", 2024.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import product

from graftable.errors import RuleError

from .expressions import (
    And,
    Comparison,
    Constant,
    Expression,
    Linear,
    Or,
    Rule,
    RuleSet,
    any_of,
    negation_normal_form,
)
from .lattice import parse_number
from .rule_grammar import Source
from .rule_text import format_expression, format_fraction

__all__ = ["format_index_rules", "index_ordering", "is_index_form", "parse_index_rules"]

MOST_CLAUSES = 10_000

_NUMBER = r"(?:\d+(?:\.\d*)?|\.\d+)"
_LITERAL = re.compile(rf"\s*(neg\s+)?(.*?)\s*(>=|>)\s*([+-]?\s*{_NUMBER})\s*")
_TERM = re.compile(rf"\s*([+-]?)\s*({_NUMBER})?\s*y_(\d+)")


def is_index_form(text: str) -> bool:
    r"""Whether a rule file is in the index form.

    Example:
        >>> is_index_form("ordering y_0 y_1\ny_0 - y_1 >= 0"), is_index_form("a >= b")
        (True, False)
    """
    return re.match(r"\s*ordering\b\s*(y_\d+|\n|$)", text) is not None


def index_ordering(text: str) -> tuple[int, ...]:
    """The column numbers of the first line: the order in which the authors' layer corrects columns."""
    return tuple(int(number) for number in re.findall(r"y_(\d+)", text.lstrip().partition("\n")[0]))


def parse_index_rules(text: str, names: Sequence[str] | None = None, file: str = "the rules") -> RuleSet:
    r"""Read rules in the index form.

    Args:
        text: The whole file.
        names: The columns of the table in their order; without them they are called ``y_0``, ``y_1`` and so on.
        file: The file, as errors name it.

    Raises:
        RuleError: If a line is no clause of linear literals or names a column that the table does not have.

    Example:
        >>> rules = parse_index_rules("ordering y_0 y_1\nneg y_0 >= 5 or y_1 - 2y_0 > 1", ["a", "b"])
        >>> rules.rules[0].text
        'a < 5 or b - 2*a > 1'
    """
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(("ordering", "#")):
            continue
        source = Source(line, file, number)
        literals, start = [], 0
        for piece in re.split(r"(\s+or\s+)", line):
            if piece.strip() != "or":
                literals.append(_literal(source, start, piece, names))
            start += len(piece)
        expression = any_of(literals)
        written = format_expression(expression)
        rules.append(Rule(written, expression, text=written, line=number, file=file))
    return RuleSet(tuple(rules), file)


def _literal(source: Source, start: int, piece: str, names: Sequence[str] | None) -> Expression:
    match = _LITERAL.fullmatch(piece)
    if match is None:
        raise source.error(
            start, start + len(piece), "expected a literal such as `y_0 - 2y_1 >= 3`, with >= or > only."
        )
    negation, body, sign, bound = match.groups()
    terms: dict[str, Fraction] = {}
    at = 0
    while at < len(body):
        term = _TERM.match(body, at)
        first = start + match.start(2) + at
        if term is None or (at > 0 and not term[1]):
            raise source.error(first, start + match.end(2), "expected a term such as `+ 2y_1`.")
        end = start + match.start(2) + term.end()
        name = _column_name(int(term[3]), names, source, end - len(f"y_{term[3]}"), end)
        size = Fraction(term[2] or 1) * (-1 if term[1] == "-" else 1)
        terms[name] = terms.get(name, Fraction(0)) + size
        at = term.end()
    mantissa, places = parse_number(bound.replace(" ", "")) or (0, 0)
    linear = Linear.of_terms(terms, -Fraction(mantissa, 10**places))
    span = source.span(start + match.start(2), start + match.end(4))
    literal = Comparison(linear, ">=" if sign == ">=" else ">", span)
    return Comparison(linear, "<" if sign == ">=" else "<=", span) if negation else literal


def _column_name(number: int, names: Sequence[str] | None, source: Source, start: int, end: int) -> str:
    if names is None:
        return f"y_{number}"
    if number >= len(names):
        raise source.error(start, end, f"there is no column y_{number}; the table has y_0 to y_{len(names) - 1}.")
    return names[number]


def format_index_rules(rules: RuleSet, names: Sequence[str], ordering: Sequence[int] | None = None) -> str:
    r"""Write rules in the index form, each as one or more clauses.

    Args:
        rules: Rules over numbers only.
        names: The columns of the table in their order.
        ordering: Column numbers for the first line; by default those that occur, ascending.

    Raises:
        RuleError: If a rule needs categories, nulls or products, which the form does not have.

    Example:
        >>> rules = parse_index_rules("ordering y_1 y_0\nneg y_0 >= 5 or y_1 - 2y_0 > 1", ["a", "b"])
        >>> print(format_index_rules(rules, ["a", "b"], ordering=[1, 0]))
        ordering y_1 y_0
        - y_0 > -5 or y_1 - 2y_0 > 1
        <BLANKLINE>
    """
    numbers = {name: number for number, name in enumerate(names)}
    lines = []
    for rule in rules:
        for column in rule.columns:
            if column not in numbers:
                raise RuleError(f"{rule.file or 'the rules'}, line {rule.line}: there is no column `{column}`.")
        for clause in _clauses(negation_normal_form(rule.expression), rule):
            lines.append(" or ".join(_format_literal(literal, numbers) for literal in clause))
    if ordering is None:
        ordering = sorted(numbers[column] for column in rules.columns)
    return "\n".join([" ".join(["ordering", *(f"y_{number}" for number in ordering)]), *lines, ""])


def _clauses(expression: Expression, rule: Rule) -> list[tuple[Comparison, ...]]:
    """Conjunctive normal form with ``>=`` and ``>`` only; a true rule has no clauses."""
    if isinstance(expression, And):
        return [clause for item in expression.items for clause in _clauses(item, rule)]
    if isinstance(expression, Or):
        choices = [_clauses(item, rule) for item in expression.items]
        if math.prod(map(len, choices)) > MOST_CLAUSES:
            raise RuleError(f"{rule.file or 'the rules'}, line {rule.line}: makes more than {MOST_CLAUSES} clauses.")
        return [tuple(literal for clause in choice for literal in clause) for choice in product(*choices)]
    if isinstance(expression, Comparison):
        linear, operator = expression.linear, expression.operator
        if operator in (">=", ">"):
            return [(Comparison(linear, operator),)]
        if operator in ("<=", "<"):
            return [(Comparison(-linear, ">=" if operator == "<=" else ">"),)]
        if operator == "==":
            return [(Comparison(linear, ">="),), (Comparison(-linear, ">="),)]
        return [(Comparison(linear, ">"), Comparison(-linear, ">"))]
    if expression == Constant(True):
        return []
    raise RuleError(
        f"{rule.file or 'the rules'}, line {rule.line}: the index form has sums of numbers only, no categories, nulls, "
        "products or contradictions; write the rules as text or YAML."
    )


def _format_literal(literal: Comparison, numbers: dict[str, int]) -> str:
    factors = [factor for _, factor in literal.linear.terms]
    endless = math.lcm(*(f.denominator for f in (*factors, literal.linear.constant) if "/" in format_fraction(f)))
    pieces: list[str] = []
    for column, factor in sorted(literal.linear.terms, key=lambda term: (term[1] < 0, numbers[term[0]])):
        size = format_fraction(abs(factor * endless))
        sign = "- " if factor < 0 else "+ " if pieces else ""
        pieces.append(f"{sign}{'' if size == '1' else size}y_{numbers[column]}")
    return f"{' '.join(pieces)} {literal.operator} {format_fraction(-literal.linear.constant * endless)}"
