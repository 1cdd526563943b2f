"""What a set of rules amounts to: its components, cells and bounds, what it fixes, and which rules say nothing new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .compiler import Compiled
from .contradiction import satisfiable
from .elimination import Bound
from .expressions import IsNull, Rule, atoms
from .feasibility import least_value
from .normal_form import Row, columns_of, negate
from .program import Cell, Component, Program
from .schema import Schema

__all__ = ["Explanation", "explain"]

_SHOWN_CELLS = 4
_PROGRAMMES = 64


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes:
        program: The compiled rules.
        ranges: The least and the largest value that the rules leave a column, as text; None without a limit.
        fixed: Columns with one value left.
        always: Rules that every row obeys, by themselves.
        implied: Other rules that a row obeys if it obeys the remaining ones; two that imply each other are both here.
        text: All of it in words.
    """

    program: Program
    ranges: dict[str, tuple[str | None, str | None]]
    fixed: dict[str, str]
    always: tuple[Rule, ...]
    implied: tuple[Rule, ...]
    text: str


def explain(compiled: Compiled) -> Explanation:
    r"""Explain the rules for rows without nulls.

    Args:
        compiled: Rules and schema.

    Raises:
        ContradictionError: If no row can obey the rules.

    Example:
        >>> from graftable.tabular.rule_files import parse_rules
        >>> from graftable.tabular.schema import ColumnSchema
        >>> schema = Schema((ColumnSchema("low", "integer"), ColumnSchema("high", "decimal", decimals=1)))
        >>> rules = parse_rules("high >= 2*low + 0.5\nlow >= 3\nhigh >= 5\nlow <= 3", schema)
        >>> print(explain(Compiled(rules, schema)).text)
        4 rules on 2 columns in 1 component.
        Component 1: high, low; 4 rules, 1 cell.
          high >= 6.5
          low = 3
        Always the same: low = 3.
        Say nothing new beside the other rules: line 3 (high >= 5).
    """
    program, schema = compiled.program(), compiled.schema

    def text(column: str, number: int | None) -> str | None:
        return None if number is None else schema[column].text(number)

    ranges = {}
    for component in program.components:
        for column in component.columns:
            low, high = _range(component, column)
            ranges[column] = text(column, low), text(column, high)
    fixed = {column: low for column, (low, high) in ranges.items() if low is not None and low == high}
    always, implied = _idle(compiled, program)
    lines = [*_overview(program, schema), *_facts(fixed, always, implied)]
    return Explanation(program, ranges, fixed, always, implied, "\n".join(lines))


def _range(component: Component, column: str) -> tuple[int | None, int | None]:
    """The least and largest lattice value of a column over all cells; proved, and not always tight."""
    if not component.complete:
        return None, None
    tight = len(component.cells) * len(component.columns) <= _PROGRAMMES
    lows = [_least(cell, column, 1, tight) for cell in component.cells]
    highs = [_least(cell, column, -1, tight) for cell in component.cells]
    low = None if None in lows else min(value for value in lows if value is not None)
    high = None if None in highs else -min(value for value in highs if value is not None)
    return low, high


def _least(cell: Cell, column: str, sign: int, tight: bool) -> int | None:
    """The least value of ``sign * column`` in a cell."""
    terms = ((column, sign),)
    joined = any(column == name for row in cell.rows if len(row.terms) > 1 for name, _ in row.terms)
    if tight and joined and (value := least_value(cell.rows, terms)) is not None:
        return value
    return max((row.bound for row in cell.rows if row.terms == terms), default=None)


def _idle(compiled: Compiled, program: Program) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
    """Rules that are always true, and those that the others imply."""
    lattice, rules = compiled.lattice, compiled.rules.hard.rules
    formulas = compiled.formulas()
    tests_null = [any(isinstance(atom, IsNull) for atom in atoms(rule.expression)) for rule in rules]
    # one linear rule alone is broken somewhere, and need not be asked for that
    always = [
        not (speaks_of_null or isinstance(formula, Row) or satisfiable([negate(formula, lattice)], lattice))
        for formula, speaks_of_null in zip(formulas, tests_null, strict=True)
    ]
    columns = [columns_of(formula) for formula in formulas]
    implied = []
    for index, formula in enumerate(formulas):
        # rules that share no component cannot matter
        near = next((c for c in program.components if columns[index] & {*c.columns, *c.categorical}), None)
        if always[index] or near is None or tests_null[index]:
            continue
        reach = {*near.columns, *near.categorical}
        others = [other for place, other in enumerate(formulas) if place != index and columns[place] & reach]
        if not satisfiable([negate(formula, lattice), *others], lattice):
            implied.append(rules[index])
    return tuple(rule for rule, idle in zip(rules, always, strict=True) if idle), tuple(implied)


def _overview(program: Program, schema: Schema) -> Iterator[str]:
    names = {name for component in program.components for name in component.rules}
    columns = len(program.columns) + len(program.categorical)
    yield (
        f"{_count(len(names), 'rule')} on {_count(columns, 'column')} in "
        f"{_count(len(program.components), 'component')}."
    )
    for number, component in enumerate(program.components, 1):
        about = ", ".join((*component.columns, *component.categorical))
        cells = _count(len(component.cells), "cell") if component.complete else "more cells than the cap"
        yield f"Component {number}: {about}; {_count(len(component.rules), 'rule')}, {cells}."
        shown = component.cells[:_SHOWN_CELLS]
        for place, cell in enumerate(shown, 1):
            if len(component.cells) > 1:
                yield f"  Cell {place}:"
            indent = "    " if len(component.cells) > 1 else "  "
            yield from (indent + line for line in _cell_lines(cell, program, schema))
        if len(component.cells) > len(shown):
            yield f"  and {_count(len(component.cells) - len(shown), 'cell')} more."


def _cell_lines(cell: Cell, program: Program, schema: Schema) -> Iterator[str]:
    for column, allowed in cell.categories:
        listed = [text for text in allowed if text is not None]
        texts = [f"'{text}'" for text in listed[:_SHOWN_CELLS]]
        texts += [f"{len(listed) - _SHOWN_CELLS} more"] if len(listed) > _SHOWN_CELLS else []
        texts += ["any unlisted text"] if None in allowed else []
        yield f"{column} is {' or '.join(texts)}"
    for level in cell.levels:
        lower = [_side(level.column, bound, program, schema, up=True) for bound in level.lower]
        upper = [_side(level.column, bound, program, schema, up=False) for bound in level.upper]
        parts = [f"{level.column} >= {text}" for text in lower] + [f"{level.column} <= {text}" for text in upper]
        if len(lower) == len(upper) == 1:
            parts = [f"{lower[0]} <= {level.column} <= {upper[0]}"]
            parts = [f"{level.column} = {lower[0]}"] if lower == upper else parts
        if level.stride is not None:
            parts.append(f"{level.column} in steps of {Fraction(level.stride.modulus, program.scales[level.column])}")
        yield "; ".join(parts)
    for item in cell.derived:
        bound = Bound(item.coefficient, item.terms, item.constant)
        yield f"{item.column} = {_side(item.column, bound, program, schema, up=True)}"


def _side(column: str, bound: Bound, program: Program, schema: Schema, *, up: bool) -> str:
    """The other side of a bound, in values."""
    if not bound.terms:
        number = -(-bound.constant // bound.coefficient) if up else bound.constant // bound.coefficient
        return schema[column].text(number)
    unit = bound.coefficient * program.scales[column]
    terms = [(name, Fraction(a * program.scales[name], unit)) for name, a in bound.terms]
    terms.sort(key=lambda term: term[1] < 0)
    pieces = [("" if abs(a) == 1 else f"{_decimal(abs(a))} ") + name for name, a in terms]
    signs = [a < 0 for _, a in terms]
    if bound.constant:
        pieces.append(_decimal(Fraction(abs(bound.constant), unit)))
        signs.append(bound.constant < 0)
    return (
        ("-" if signs[0] else "")
        + pieces[0]
        + "".join(f" {'-' if sign else '+'} {piece}" for sign, piece in zip(signs[1:], pieces[1:], strict=True))
    )


def _decimal(number: Fraction) -> str:
    """A number as a decimal where that is exact and short, else as a fraction."""
    text = f"{float(number):.12g}"
    return text if Fraction(text) == number else str(number)


def _facts(fixed: dict[str, str], always: Sequence[Rule], implied: Sequence[Rule]) -> Iterator[str]:
    if fixed:
        yield f"Always the same: {', '.join(f'{column} = {text}' for column, text in fixed.items())}."
    for title, rules in (("Always true", always), ("Say nothing new beside the other rules", implied)):
        if rules:
            yield f"{title}: {', '.join(f'line {rule.line} ({rule.text or rule.name})' for rule in rules)}."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
