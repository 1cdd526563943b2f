"""What a user asks of the rows, ``age >= 65``, as something that engines obey and as rules that are checked.

A condition is written in the rule language. What it says of single columns becomes a box, from which engines with
conditionals draw directly; whatever else it says (choices, sums of columns) is kept as rules that every row must obey.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from graftable.errors import RuleError

from ..compiler import Compiled, ContradictionError
from ..expressions import RuleSet
from ..program import Cell, Component, Program
from ..rule_files import parse_rules
from ..schema import Schema
from .interface import Allowed, Conditions

__all__ = ["Where", "read_where"]


@dataclass(frozen=True)
class Where:
    """A condition.

    Attributes:
        rules: What it says, as hard rules in which a missing cell is no answer.
        box: What it says of single columns.
        exact: Whether the box says all of it.
    """

    rules: RuleSet = field(default_factory=lambda: RuleSet(()))
    box: Conditions = field(default_factory=Conditions)
    exact: bool = True


def read_where(where: str | Mapping[str, Any] | None, schema: Schema, rules: RuleSet | None = None) -> Where:
    """Read a condition and see whether rows can meet it.

    Args:
        where: A text in the rule language, one condition a line, or fixed values by column; None for no condition.
        schema: The columns.
        rules: The rules that the rows obey as well.

    Raises:
        RuleError: If it cannot be read, or contradicts itself or the rules.

    Example:
        >>> from ..schema import ColumnSchema
        >>> schema = Schema((ColumnSchema("age", "integer"), ColumnSchema("sex", "categorical", categories=("F", "M"))))
        >>> read_where("age >= 65 and sex == 'F'", schema).box.columns["age"].low
        65.0
        >>> read_where({"sex": "M"}, schema).box.columns["sex"].texts
        frozenset({'M'})
    """
    if where is None or not where:
        return Where()
    text = where if isinstance(where, str) else "\n".join(_fixed(name, value, schema) for name, value in where.items())
    found = parse_rules(text, schema, file="the condition")
    asked = RuleSet(tuple(replace(rule, mode="hard", when_missing="violated") for rule in found), found.file)
    nulls = _feasible(asked, schema, asked, "the condition cannot be met")
    if rules is not None and len(rules.hard):
        both = RuleSet((*rules.hard.rules, *asked.rules), "the rules and the condition")
        nulls = _feasible(both, schema, asked, "the condition contradicts the rules") & frozenset(asked.columns)
    box, exact = _box(Compiled(asked, schema).program(nulls), nulls)
    return Where(asked, box, exact)


def _fixed(name: str, value: Any, schema: Schema) -> str:
    """A fixed value as a condition."""
    schema.require((name,), "the condition")
    column = "`" + name.replace("`", "``") + "`"
    if value is None or value != value:
        return f"{column} is null"
    if schema[name].kind == "datetime":
        return f'{column} == date("{value}")'
    if schema[name].is_numeric:
        return f"{column} == {value}"
    text = str(value).lower() if isinstance(value, bool | np.bool_) else str(value)
    return f"{column} in ['" + text.replace("'", "''") + "']"


def _feasible(rules: RuleSet, schema: Schema, asked: RuleSet, complaint: str) -> frozenset[str]:
    """The null columns of the rows that can obey, mostly none.

    Raises:
        RuleError: If there are none.
    """
    compiled = Compiled(rules, schema)
    nulls = compiled.nearest_nulls(frozenset(), most=4)
    if nulls is not None:
        return nulls
    try:
        compiled.program(frozenset())
    except ContradictionError as error:
        raise RuleError(f"{complaint}: {error}") from error
    raise RuleError(f"{complaint}: {'; '.join(rule.text for rule in asked)}")


def _box(program: Program, nulls: frozenset[str]) -> tuple[Conditions, bool]:
    """The hull of what a program says of single columns, and whether that is all it says."""
    columns: dict[str, Allowed] = {
        name: Allowed(low=np.inf, high=-np.inf, texts=frozenset(), null=True) for name in nulls
    }
    exact = True
    for component in program.components:
        exact = exact and component.complete and len(component.cells) == 1
        if not component.complete:
            continue
        for name in component.columns:
            ends = [_interval(cell, name) for cell in component.cells]
            low, high = min(end[0] for end in ends), max(end[1] for end in ends)
            columns[name] = Allowed(low=low / program.scales[name], high=high / program.scales[name])
        exact = exact and all(len(row.terms) == 1 for cell in component.cells for row in cell.rows)
        columns |= _texts(component)
    return Conditions(columns), exact


def _interval(cell: Cell, name: str) -> tuple[float, float]:
    """The bounds of a column in a cell by the rows that speak of it alone, in lattice points."""
    low, high = -np.inf, np.inf
    for row in cell.rows:
        if len(row.terms) == 1 and row.terms[0][0] == name:
            a = row.terms[0][1]
            if a > 0:
                low = max(low, float(-(-row.bound // a)))
            else:
                high = min(high, float(row.bound // a))
    return low, high


def _texts(component: Component) -> dict[str, Allowed]:
    """The categories that some cell allows, by column."""
    found = {}
    for name in component.categorical:
        kept = [dict(cell.categories).get(name) for cell in component.cells]
        if all(values is not None and None not in values for values in kept):
            found[name] = Allowed(texts=frozenset(text for values in kept for text in values or () if text is not None))
    return found
