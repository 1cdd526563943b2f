"""Check a table against rules: exact counts and example rows, one pass over a file of any size."""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from graftable.errors import RuleError

from .evaluation import ChunkCells, Mask, obeys
from .expressions import Comparison, Member, NonlinearComparison, Rule, RuleSet, atoms, columns_of
from .io import Chunk, ReadOptions, Table, open_table
from .lattice import parse_numbers
from .rule_files import load_rules, parse_rules
from .rule_parser import Unseen
from .schema import ColumnSchema, Schema

__all__ = ["CheckReport", "Example", "RuleReport", "check", "read_rules"]


@dataclass(frozen=True)
class Example:
    """A row that breaks a rule.

    Attributes:
        row: Its number, from 0 at the top of the table.
        place: Where it stands, in a user's words, such as ``line 214``.
        cells: The texts of the columns that the rule speaks of.
    """

    row: int
    place: str
    cells: dict[str, str | None]

    def __str__(self) -> str:
        """``line 214: age = 15, education = null``."""
        shown = ", ".join(f"{name} = {'null' if text is None else text}" for name, text in self.cells.items())
        return f"{self.place}: {shown}"


@dataclass
class RuleReport:
    """How a table fares under one rule."""

    rule: Rule
    violations: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass
class CheckReport:
    """How a table fares under a set of rules.

    Attributes:
        source: The table.
        rows: How many rows it has.
        violating_rows: How many of them break a ``hard`` or ``reject`` rule.
        rules: What was found for each rule, in the order of the file.
        warnings: Sentences on rules that no row obeys.
    """

    source: str
    rows: int
    violating_rows: int
    rules: list[RuleReport]
    warnings: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether every row obeys every ``hard`` and ``reject`` rule."""
        return self.violating_rows == 0

    @property
    def binding(self) -> list[RuleReport]:
        """The reports of ``hard`` and ``reject`` rules."""
        return [report for report in self.rules if report.rule.mode in ("hard", "reject")]

    @property
    def informative(self) -> list[RuleReport]:
        """The reports of ``soft`` and ``report`` rules, which leave a table clean."""
        return [report for report in self.rules if report.rule.mode in ("soft", "report")]

    def to_json(self) -> str:
        """The report as JSON."""
        rules = [
            {
                "name": report.rule.name,
                "mode": report.rule.mode,
                "line": report.rule.line,
                "violations": report.violations,
                "examples": [{"row": e.row, "place": e.place, "cells": e.cells} for e in report.examples],
            }
            for report in self.rules
        ]
        totals = {"source": self.source, "rows": self.rows, "violating_rows": self.violating_rows, "clean": self.clean}
        return json.dumps({**totals, "rules": rules, "warnings": self.warnings}, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        """A summary, then a line for each broken rule, with its examples."""
        share = 100 * self.violating_rows / self.rows if self.rows else 0.0
        lines = [f"{self.source}: {self.violating_rows:,} of {self.rows:,} rows break a rule ({share:.2f} %)."]
        for title, reports in (("", self.binding), ("not binding: ", self.informative)):
            for report in reports:
                if not report.violations:
                    continue
                shown = [f"  {example}" for example in report.examples] or [""]
                lines.append(f"{report.violations:>10,}  {title}{report.rule.name}{shown[0]}")
                lines += [f"{'':>12}{example}" for example in shown[1:]]
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def check(
    source: Any,
    rules: Any,
    schema: Schema | None = None,
    *,
    options: ReadOptions | None = None,
    examples: int = 3,
    unseen: Unseen = "refuse",
    progress: Callable[[int], None] | None = None,
) -> CheckReport:
    """Count the rows that break each rule, exactly.

    Args:
        source: A CSV or Parquet file, a data frame, or an Arrow table.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        schema: What the columns are; found out from the table by default, for the columns that the rules speak of.
        options: How to read texts.
        examples: How many rows to show for each rule.
        unseen: Whether a category that the table (or schema) never holds is an error.
        progress: Called after each chunk with the number of rows so far.

    Returns:
        Counts per rule, and of rows that break any binding rule.

    Raises:
        RuleError: If a rule is wrong.
        DataError: If the table cannot be read, or a cell that must be a number is none.

    Example:
        >>> import pandas as pd
        >>> report = check(pd.DataFrame({"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1]}), "a <= b")
        >>> report.violating_rows, report.rules[0].examples[0].cells
        (1, {'a': '0.3', 'b': '0.1'})
        >>> print(report)
        the table: 1 of 3 rows break a rule (33.33 %).
                 1  a <= b  row 2: a = 0.3, b = 0.1
    """
    table = open_table(source, options)
    rule_set, schema = read_rules(rules, table, schema, unseen)
    reports = [RuleReport(rule) for rule in rule_set]
    rows = violating = 0
    for chunk in table.chunks():
        cells = ChunkCells(chunk, schema, table.decimal, table.source)
        breaks_any = np.zeros(chunk.num_rows, bool)
        for report in reports:
            broken = ~obeys(report.rule, cells)
            _count(report, broken, chunk, examples)
            if report.rule.mode in ("hard", "reject"):
                breaks_any |= broken
        rows, violating = rows + chunk.num_rows, violating + int(breaks_any.sum())
        if progress is not None:
            progress(rows)
    warnings = [
        f"{_place(report.rule)}no row obeys `{report.rule.name}`; check its direction and its units."
        for report in reports
        if report.violations == rows
    ]
    warnings += _absent_categories(rule_set, schema) if unseen == "refuse" else []
    if violating == rows and (conflict := _conflict(rule_set, schema)):
        warnings.append(conflict)
    return CheckReport(table.source, rows, violating, reports, warnings)


def _absent_categories(rules: RuleSet, schema: Schema) -> list[str]:
    """A warning for each category that a rule excludes and no row has: it may be misspelt."""
    return [
        f"{_place(rule)}the column `{atom.column}` never holds {value!r}, which the rule excludes."
        for rule in rules
        for atom in atoms(rule.expression)
        if isinstance(atom, Member) and schema[atom.column].kind == "categorical"
        for value in atom.values
        if value not in schema[atom.column].categories
    ]


def _conflict(rules: RuleSet, schema: Schema) -> str:
    """Which hard rules contradict each other, asked where no row is clean; nothing if a row could be."""
    from .compiler import Compiled, ContradictionError

    try:
        Compiled(rules, schema).program()
    except RuleError as error:
        return f"{error}." if isinstance(error, ContradictionError) else ""
    return ""


def _count(report: RuleReport, broken: Mask, chunk: Chunk, examples: int) -> None:
    report.violations += int(broken.sum())
    missing = examples - len(report.examples)
    for row in np.flatnonzero(broken)[:missing].tolist() if missing > 0 else []:
        texts = {column: chunk.texts(column)[row].as_py() for column in report.rule.columns}
        report.examples.append(Example(chunk.first_row + row, chunk.place(row), texts))


def _place(rule: Rule) -> str:
    return f"{rule.file}, line {rule.line}: " if rule.file else ""


def read_rules(
    rules: Any, table: Table, schema: Schema | None = None, unseen: Unseen = "refuse"
) -> tuple[RuleSet, Schema]:
    """Read rules against a table, and find out what the columns that they speak of are, unless a schema says it.

    Args:
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`, which is taken as it is.
        table: The table.
        schema: What the columns are.
        unseen: Whether a category that the table (or schema) never holds is an error.

    Raises:
        RuleError: If a rule is wrong.
        DataError: If a column that rules calculate with holds numbers but for some cells.
    """
    if schema is not None:
        found = _parse(rules, schema, unseen)
        schema.require(found.columns, "the schema")
        _undescribed(table).require(found.columns, table.source)
        return found, schema
    columns = _parse(rules, table.names, unseen).mentioned
    _undescribed(table).require(columns, table.source)
    detected = Schema.detect(table, columns)
    calculated = _calculated(_parse(rules, table.names, unseen))
    detected = Schema(tuple(_number_if_empty(column) if column.name in calculated else column for column in detected))
    described = {column.name: column for column in (*_undescribed(table), *detected)}
    schema = Schema(tuple(described[name] for name in table.names))
    _refuse_stray_texts(calculated, schema, table)
    return _parse(rules, schema, unseen), schema


def _number_if_empty(column: ColumnSchema) -> ColumnSchema:
    """A column without a single text is what the rules take it for."""
    empty = column.kind == "categorical" and not column.categories
    return ColumnSchema(column.name, "integer", nullable=True, fill="0") if empty else column


def _undescribed(table: Table) -> Schema:
    return Schema(tuple(ColumnSchema(name, "text") for name in table.names))


def _parse(rules: Any, columns: Schema | Sequence[str], unseen: Unseen) -> RuleSet:
    if isinstance(rules, RuleSet):
        return rules
    if isinstance(rules, str | Path):
        is_text = isinstance(rules, str) and not is_file(rules) and re.search(r"[<>=\n\[]| is ", rules)
        return parse_rules(str(rules), columns, unseen=unseen) if is_text else load_rules(rules, columns, unseen=unseen)
    return parse_rules("\n".join(rules), columns, unseen=unseen)


def is_file(text: str) -> bool:
    """Whether a text that may be rules is the path of a file."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null byte
        return False


def _calculated(rules: RuleSet) -> set[str]:
    """The columns that rules calculate with."""
    return {
        column
        for rule in rules
        for atom in atoms(rule.expression)
        if isinstance(atom, Comparison | NonlinearComparison)
        for column in columns_of(atom)
    }


def _refuse_stray_texts(calculated: Collection[str], schema: Schema, table: Table) -> None:
    """Name the cell that keeps a column of numbers from being one, where rules calculate with it."""
    wanted = sorted(column for column in calculated if schema[column].kind in ("categorical", "text"))
    for chunk in table.chunks() if wanted else ():
        for column in wanted:
            texts = chunk.texts(column).drop_null()
            stray = parse_numbers(texts, table.decimal).unreadable
            marked = texts.filter(pa.array(stray))  # all with the other decimal mark, say
            if stray.any() and (
                stray.sum() < len(texts) / 2
                or not parse_numbers(marked, "," if table.decimal == "." else ".").unreadable.any()
            ):
                as_number = Schema((ColumnSchema(column, "decimal"),))
                ChunkCells(chunk, as_number, table.decimal, table.source).numbers(column)
