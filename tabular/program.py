"""The compiled form of a rule set: what corrects rows, explains itself, and travels inside a model file.

A `Program` is plain data: components that share no column, each a union of cells, each cell a system of integer rows
with a walk that corrects any row into it (see `graftable.tabular.elimination`). It holds the lattice too, so that
nothing else is needed to apply it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Any

from .elimination import STYLES, Bound, Level, eliminate, limits_of
from .equalities import Derived, Stride
from .normal_form import AllOf, Among, AnyOf, Formula, Lattice, Row

__all__ = ["Cell", "Component", "Program"]

VERSION = 1


@dataclass(frozen=True)
class Cell:
    """A convex part of a component.

    Attributes:
        rows: The full system: ``sum of coefficient * m >= bound`` each.
        categories: Allowed categories of each column that the cell limits, the most frequent first; ``None``, always
            last, stands for every text that the schema does not list.
        levels: The walk that corrects a row into the cell, in order, over lattice integers.
        derived: Columns that are computed after the walk, in order; no level holds them.
    """

    rows: tuple[Row, ...]
    categories: tuple[tuple[str, tuple[str | None, ...]], ...]
    levels: tuple[Level, ...]
    derived: tuple[Derived, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The columns that the walk visits, then the derived ones."""
        return (*(level.column for level in self.levels), *(item.column for item in self.derived))

    @property
    def gap(self) -> bool:
        """Whether rounding can make the walk fail, so that some rows need the slow exact search."""
        return any(level.gap for level in self.levels)


@dataclass(frozen=True)
class Component:
    """Rules that share columns, directly or through each other.

    Attributes:
        columns: Columns with numbers or dates, sorted.
        categorical: Columns with categories, sorted.
        formula: What the rules say, exactly.
        cells: Convex parts whose union is the formula if ``complete``, and lies inside it in any case.
        rules: Names of the rules.
        complete: False where a cap was passed; rows are then searched one by one.
    """

    columns: tuple[str, ...]
    categorical: tuple[str, ...]
    formula: Formula
    cells: tuple[Cell, ...]
    rules: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True)
class Program:
    """Everything that correcting rows needs.

    Attributes:
        components: Parts of the rules that share no column.
        scales: Lattice points per unit, by column with numbers or dates.
        spreads: The unit of distance by such column, in lattice points.
        categories: Known categories by column, the most frequent first.
        pinned: Columns that never move.
        nulls: Columns that are null in the rows that this program is for.
    """

    components: tuple[Component, ...]
    scales: Mapping[str, int] = field(default_factory=dict)
    spreads: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    nulls: tuple[str, ...] = ()

    @property
    def lattice(self) -> Lattice:
        """Scales and categories."""
        return Lattice(self.scales, self.categories)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns with numbers or dates that some rule speaks of."""
        return tuple(column for component in self.components for column in component.columns)

    @property
    def categorical(self) -> tuple[str, ...]:
        """The columns with categories that some rule speaks of."""
        return tuple(column for component in self.components for column in component.categorical)

    def walks(self, component: int, cell: int) -> tuple[tuple[tuple[Level, ...], tuple[Derived, ...]], ...]:
        """The walk of a cell and up to three others in other orders, compiled when they are first asked for."""
        key = component, cell
        if key not in self._walks:
            chosen = self.components[component].cells[cell]
            found = {(chosen.levels, chosen.derived): None}
            for style in STYLES[1:]:
                other = eliminate(chosen.rows, spreads=self.spreads, pinned=self.pinned, style=style)
                if other.complete and not other.empty:
                    found[(other.levels, other.derived)] = None
            self._walks[key] = tuple(found)
        return self._walks[key]

    def limits(self, component: int, cell: int) -> dict[str, Level]:
        """For each column of a cell, its bounds over all the others; see `elimination.limits_of`."""
        key = component, cell
        if key not in self._limits:
            self._limits[key] = limits_of(self.components[component].cells[cell].rows)
        return self._limits[key]

    @cached_property
    def chosen(self) -> dict[tuple[int, tuple[int, ...]], Program | None]:
        """Programs that `graftable.tabular.choices` made for single cells of components over the cap."""
        return {}

    @cached_property
    def _walks(self) -> dict[tuple[int, int], tuple[tuple[tuple[Level, ...], tuple[Derived, ...]], ...]]:
        return {}

    @cached_property
    def _limits(self) -> dict[tuple[int, int], dict[str, Level]]:
        return {}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the JSON text: equal programs have equal hashes on every machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The program as JSON text, with keys in a fixed order.

        Example:
            >>> Program.from_json(Program(()).to_json()) == Program(())
            True
        """
        document = {
            "version": VERSION,
            "components": [_component_to_json(component) for component in self.components],
            "scales": dict(self.scales),
            "spreads": dict(self.spreads),
            "categories": {column: list(values) for column, values in self.categories.items()},
            "pinned": list(self.pinned),
            "nulls": list(self.nulls),
        }
        return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Program:
        """Read what `to_json` wrote."""
        document = json.loads(text)
        return cls(
            tuple(_component_from_json(item) for item in document["components"]),
            document["scales"],
            document["spreads"],
            {column: tuple(values) for column, values in document["categories"].items()},
            tuple(document["pinned"]),
            tuple(document["nulls"]),
        )


def formula_to_json(formula: Formula) -> Any:
    """A formula as nested lists.

    Example:
        >>> formula_to_json(AllOf((Row((("x", 1),), 0), Among("kind", frozenset({"a", None})))))
        ['and', ['row', [['x', 1]], 0], ['in', 'kind', ['a', None]]]
    """
    match formula:
        case bool():
            return formula
        case Row(terms, bound):
            return ["row", [list(term) for term in terms], bound]
        case Among(column, values):
            return ["in", column, sorted(values, key=lambda value: (value is None, value or ""))]
        case AllOf(items) | AnyOf(items):
            return ["and" if isinstance(formula, AllOf) else "or", *map(formula_to_json, items)]
    raise TypeError(f"not a formula: {formula!r}")


def formula_from_json(document: Any) -> Formula:
    """Read what `formula_to_json` wrote."""
    match document:
        case bool():
            return document
        case ["row", terms, bound]:
            return Row(_terms(terms), bound)
        case ["in", column, values]:
            return Among(column, frozenset(values))
        case ["and", *items]:
            return AllOf(tuple(map(formula_from_json, items)))
        case ["or", *items]:
            return AnyOf(tuple(map(formula_from_json, items)))
    raise ValueError(f"not a formula: {document!r}")


def _terms(terms: Any) -> tuple[tuple[str, int], ...]:
    return tuple((column, a) for column, a in terms)


def _component_to_json(component: Component) -> dict[str, Any]:
    return {
        "columns": list(component.columns),
        "categorical": list(component.categorical),
        "formula": formula_to_json(component.formula),
        "cells": [_cell_to_json(cell) for cell in component.cells],
        "rules": list(component.rules),
        "complete": component.complete,
    }


def _component_from_json(document: Mapping[str, Any]) -> Component:
    return Component(
        tuple(document["columns"]),
        tuple(document["categorical"]),
        formula_from_json(document["formula"]),
        tuple(_cell_from_json(cell) for cell in document["cells"]),
        tuple(document["rules"]),
        document["complete"],
    )


def _cell_to_json(cell: Cell) -> dict[str, Any]:
    def bounds(items: tuple[Bound, ...]) -> list[Any]:
        return [[bound.coefficient, bound.terms, bound.constant] for bound in items]

    return {
        "rows": [[row.terms, row.bound] for row in cell.rows],
        "categories": cell.categories,
        "levels": [
            [level.column, bounds(level.lower), bounds(level.upper), level.gap, level.stride and astuple(level.stride)]
            for level in cell.levels
        ],
        "derived": [astuple(item) for item in cell.derived],
    }


def _cell_from_json(document: Mapping[str, Any]) -> Cell:
    def bounds(items: Any) -> tuple[Bound, ...]:
        return tuple(Bound(a, _terms(terms), constant) for a, terms, constant in items)

    return Cell(
        tuple(Row(_terms(terms), bound) for terms, bound in document["rows"]),
        tuple((column, tuple(values)) for column, values in document["categories"]),
        tuple(
            Level(column, bounds(low), bounds(high), gap, stride and Stride(stride[0], _terms(stride[1]), stride[2]))
            for column, low, high, gap, stride in document["levels"]
        ),
        tuple(Derived(column, _terms(terms), constant, a) for column, terms, constant, a in document["derived"]),
    )
