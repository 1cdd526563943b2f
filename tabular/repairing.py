"""Repair a table, so that in its file no row breaks a rule; and tell which rows that was impossible for.

Every row stays, in its order. A row that obeys is copied as the bytes it is, and of a row that does not, only the cells
that have to move are rewritten, in the manner of their column. What was written is read back and checked before it
appears under its name.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from graftable.errors import DataError
from graftable.files import atomic_path

from .arrow_tables import ArrowChunk
from .checking import check, read_rules
from .chunk_repair import ChunkRepairer
from .compiler import Compiled
from .expressions import RuleSet
from .io import Chunk, ReadOptions, Table, TableWriter, open_table
from .repair_report import ChunkRepair, QuarantineFile, RepairReport
from .rule_parser import Unseen
from .schema import ColumnSchema, Schema

__all__ = ["Progress", "fitted_column", "repair", "repair_file"]

Progress = Callable[[str, int], None]
"""Called after each chunk with what is being done (``repair`` or ``check``) and the number of rows so far."""

_DIGITS = 17  # of a lattice value, within 1e6 spreads: sums of them stay in int64
_FLOAT_DIGITS = {16: 3, 32: 6, 64: 15}  # decimal digits that a float gives back


def repair(
    source: Any,
    rules: Any,
    schema: Schema | None = None,
    *,
    pin: Sequence[str] = (),
    coerce: bool = False,
    options: ReadOptions | None = None,
    unseen: Unseen = "refuse",
    progress: Progress | None = None,
) -> tuple[Any, RepairReport]:
    """Repair a table in memory.

    Args:
        source: A pandas data frame or an Arrow table; it stays as it is.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        schema: What the columns are; found out from the table by default.
        pin: Columns that must not change.
        coerce: Clip infinities and numbers past the lattice; else their rows are quarantined.
        options: Which texts mean null.
        unseen: Whether a category that the table (or schema) never holds is an error.
        progress: See `Progress`.

    Returns:
        A table of the same kind with the same rows, and what was done to them.

    Raises:
        RuleError: If a rule is wrong, or rules contradict each other.
        DataError: If the table is empty, or a cell that must be a number is none.

    Example:
        >>> import pandas as pd
        >>> frame, report = repair(pd.DataFrame({"low": [1.5, 7.0, 3.0], "high": [2.0, 6.0, 4.5]}), "low <= high")
        >>> frame["low"].tolist(), frame["high"].tolist(), report.moved_rows
        ([1.5, 6.0, 3.0], [2.0, 6.0, 4.5], 1)
    """
    started = time.perf_counter()
    table = open_table(source, options)
    rule_set, repairer = _prepare(table, rules, schema, pin, coerce, unseen)
    report = RepairReport(table.source)
    with table.writer(Path()) as writer:
        for repaired in _write_repaired(table, writer, repairer, progress):
            report.add(*repaired, repairer.binding, most=None)
        written = writer.read_back()
        _confirm(written, rule_set, repairer.compiled.schema, report, progress)
    report.finish(repairer.binding)
    report.seconds = time.perf_counter() - started
    return written.frame, report  # type: ignore[attr-defined]


def repair_file(
    path: str | Path,
    rules: Any,
    out: str | Path,
    schema: Schema | None = None,
    *,
    pin: Sequence[str] = (),
    coerce: bool = False,
    options: ReadOptions | None = None,
    unseen: Unseen = "refuse",
    progress: Progress | None = None,
) -> RepairReport:
    """Repair a CSV or Parquet file of any size, some megabytes at a time.

    Args:
        path: The file.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        out: The repaired file, of the same kind; may be ``path`` itself. It appears whole or not at all. If rows are
            quarantined, ``OUT.quarantine.csv`` lists them.
        schema: What the columns are; found out in a first pass by default.
        pin: Columns that must not change.
        coerce: Clip infinities and numbers past the lattice; else their rows are quarantined.
        options: How to read texts.
        unseen: Whether a category that the table (or schema) never holds is an error.
        progress: See `Progress`.

    Returns:
        What was done.

    Raises:
        RuleError: If a rule is wrong, or rules contradict each other.
        DataError: If a file cannot be read or written, or a cell that must be a number is none.
    """
    started = time.perf_counter()
    table, target = open_table(path, options), Path(out)
    rule_set, repairer = _prepare(table, rules, schema, pin, coerce, unseen)
    report = RepairReport(table.source, out=str(target))
    quarantine: QuarantineFile | None = None
    with contextlib.ExitStack() as files:
        writer = files.enter_context(table.writer(target))
        for rows, done in _write_repaired(table, writer, repairer, progress):
            report.add(rows, done, repairer.binding)
            if done.quarantined:
                if quarantine is None:
                    report.quarantine_file = str(QuarantineFile.path(target))
                    part = files.enter_context(atomic_path(report.quarantine_file))
                    quarantine = QuarantineFile(files.enter_context(open(part, "wb")), repairer.columns)
                quarantine.add(done.quarantined)
        _confirm(writer.read_back(), rule_set, repairer.compiled.schema, report, progress)
    if quarantine is None:  # a list of an earlier repair would speak of other rows
        QuarantineFile.path(target).unlink(missing_ok=True)
    report.finish(repairer.binding)
    report.seconds = time.perf_counter() - started
    return report


def _prepare(
    table: Table, rules: Any, schema: Schema | None, pin: Sequence[str], coerce: bool, unseen: Unseen
) -> tuple[RuleSet, ChunkRepairer]:
    rule_set, known = read_rules(rules, table, schema, unseen)
    Schema(tuple(ColumnSchema(name, "text") for name in table.names)).require(pin, "--pin")
    chunks = table.chunks()
    first = next(iter(chunks))
    fitted = Schema(tuple(fitted_column(c, first) if c.name in rule_set.columns else c for c in known))
    compiled = Compiled(rule_set, fitted, tuple(pin))
    repairer = ChunkRepairer(compiled, table.decimal, table.source, coerce)
    repairer.require_consistent()
    return rule_set, repairer


def fitted_column(column: ColumnSchema, chunk: Chunk) -> ColumnSchema:
    """The column on a lattice that its cells can hold, and no finer than the digits that its numbers have."""
    if not column.is_numeric:
        return column
    kind = chunk.batch.schema.field(column.name).type if isinstance(chunk, ArrowChunk) else None
    if column.kind == "datetime":
        units = {"s": 0, "ms": 3, "us": 6, "ns": 9}
        digits = units[kind.unit] if kind is not None and pa.types.is_timestamp(kind) else column.decimals
        return replace(column, decimals=min(column.decimals, digits))
    ends = [abs(end) for end in (column.minimum, column.maximum) if end is not None]
    whole = len(str(int(min(max(ends, default=0), 10**6 * column.spread))))
    most = _DIGITS - whole
    if kind is not None and pa.types.is_floating(kind):
        most = _FLOAT_DIGITS[kind.bit_width] - whole
    elif kind is not None and pa.types.is_integer(kind):
        most = 0
    elif kind is not None and pa.types.is_decimal(kind):
        most = min(most, kind.scale)
    decimals = min(column.decimals, max(most, 0))
    return column if decimals == column.decimals else replace(column, decimals=decimals)


def _write_repaired(
    table: Table, writer: TableWriter, repairer: ChunkRepairer, progress: Progress | None
) -> Iterator[tuple[int, ChunkRepair]]:
    """Repair and write chunk after chunk; yields the rows of each and what was done to it."""
    rows = 0
    for chunk in table.chunks():
        done = repairer.repair(chunk)
        writer.write(chunk, done.changes)
        rows += chunk.num_rows
        if progress is not None:
            progress("repair", rows)
        yield chunk.num_rows, done


def _confirm(written: Table, rules: RuleSet, schema: Schema, report: RepairReport, progress: Progress | None) -> None:
    """Read back what was written: as many rows, and none that breaks a rule but those in quarantine."""
    note = None if progress is None else (lambda rows: progress("check", rows))
    found = check(written, rules, schema, examples=1, progress=note)
    if (found.rows, found.violating_rows) == (report.rows, report.quarantined_rows):
        return
    broken = next((rule for rule in found.binding if rule.violations), None)
    where = f", such as `{broken.rule.name}` at {broken.examples[0].place}" if broken else ""
    raise DataError(
        f"{report.source}: was repaired, but when read back {found.violating_rows} of {found.rows} rows break a rule"
        f"{where}, where {report.quarantined_rows} of {report.rows} are in quarantine; nothing was written."
    )
