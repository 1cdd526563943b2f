"""Columns that the rules compute from others: a sum need not be learnt, and need not be drawn."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .compiler import Compiled
from .equalities import Derived
from .generators.cells import data_space
from .normal_form import Row
from .program import Cell
from .schema import Schema

__all__ = ["computed", "derived_columns", "sums"]


def derived_columns(table: pd.DataFrame, compiled: Compiled) -> dict[str, Derived]:
    """Columns that the rules compute from others, if they do so in nearly all real rows."""
    found = {}
    for name, item in sums(compiled).items():
        rows = data_space(table[[*dict(item.terms), name]], _part(compiled.schema, [*dict(item.terms), name]))
        wanted = computed(rows, name, item, compiled.schema)
        alike = np.isclose(rows[name], wanted, 1e-9, 1e-9) | (rows[name].isna() & wanted.isna())
        if alike.mean() >= 0.99:
            found[name] = item
    return found


def sums(compiled: Compiled) -> dict[str, Derived]:
    """Columns that every row that obeys computes from others that are not computed."""
    if not len(compiled.rules) or compiled.nearest_nulls(frozenset(), most=0) is None:
        return {}
    program = compiled.program()
    numeric = {column.name for column in compiled.schema if column.kind in ("integer", "decimal")}
    found: dict[str, Derived] = {}
    for component in program.components:
        if not component.complete or not component.cells:
            continue
        needed: set[str] = set()
        for row in sorted(set.intersection(*(_equalities(cell) for cell in component.cells)), key=str):
            signs = dict(row.terms)
            units = [name for name, a in row.terms if abs(a) == 1 and name not in needed]
            if len(signs) < 2 or not units or set(signs) & set(found) or not set(signs) <= numeric:
                continue
            pivot = max(units, key=lambda name: (program.spreads[name] / program.scales[name], name))
            others = tuple((name, -signs[pivot] * a) for name, a in row.terms if name != pivot)
            found[pivot] = Derived(pivot, others, signs[pivot] * row.bound)
            needed |= set(signs)
    return found


def _equalities(cell: Cell) -> set[Row]:
    """The rows of a cell that hold in both directions, each once."""
    rows = set(cell.rows)
    turned = {row: Row(tuple((name, -a) for name, a in row.terms), -row.bound) for row in rows}
    return {max(row, other, key=str) for row, other in turned.items() if other in rows}


def _part(schema: Schema, names: list[str]) -> Schema:
    return Schema(tuple(schema[name] for name in names))


def computed(rows: pd.DataFrame, name: str, item: Derived, schema: Schema) -> pd.Series:
    """The numbers of a derived column; null where a column that it needs is."""
    total = pd.Series(float(item.constant), rows.index)
    for other, a in item.terms:
        total = total + a * (rows[other].astype("float64") * schema[other].scale).round()
    return total / schema[name].scale
