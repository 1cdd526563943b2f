"""Files of rows that were made: drawn and written in pieces, then read back and checked before they get their name."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from graftable.errors import ConfigError, DataError

from .checking import check, read_rules
from .compiler import Compiled
from .expressions import RuleSet
from .generators.conditions import read_where
from .io import ReadOptions, Table, open_table
from .row_names import RowNames
from .rule_parser import Unseen
from .schema import Schema
from .synthesis import Synthesizer
from .synthesis_report import SynthesisReport
from .table_frames import rows_writer

__all__ = ["Progress", "synthesize_file", "under_rules"]

PIECE = 50_000  # rows that are drawn at a time

Progress = Callable[[str, int], None]
"""Called after each piece with what is being done (``draw`` or ``check``) and the number of rows so far."""


def under_rules(model: Synthesizer, rules: Any, unseen: Unseen = "refuse") -> Synthesizer:
    """A fitted model whose rows obey other rules, too.

    Args:
        model: Learnt with rules of its own or without any; it stays as it is.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        unseen: Whether a category that the model never saw is an error.

    Raises:
        RuleError: If a rule is wrong, names what the model does not have, or contradicts the others.
    """
    schema = cast("Schema", model.schema)
    empty = open_table(pd.DataFrame({name: [None] for name in schema.names}))
    added, _ = read_rules(rules, empty, schema, unseen)
    known = {rule.text for rule in model.rule_set}
    both = RuleSet((*model.rule_set, *(rule for rule in added if rule.text not in known)), added.file)
    compiled = Compiled(both.hard, schema)
    if compiled.nearest_nulls(frozenset()) is None:
        compiled.program()
    model = copy.copy(model)
    model.rule_set = both
    return model


def synthesize_file(
    model: Synthesizer,
    n: int,
    out: str | Path,
    *,
    where: str | Mapping[str, Any] | None = None,
    seed: int = 0,
    first_row: int = 0,
    options: ReadOptions | None = None,
    like: pa.Schema | None = None,
    progress: Progress | None = None,
) -> SynthesisReport:
    """Make rows and write them to a CSV or Parquet file, which is read back and checked before it appears.

    Args:
        model: A fitted model.
        n: How many rows, at least 1.
        out: The file. ``.parquet`` and ``.pq`` are Parquet, ``.gz`` is packed, all else is CSV.
        where: What the rows have in common; see `Synthesizer.sample`.
        seed: The same seed gives the same file.
        first_row: The number of the first row among the rows of all files, if this is one of several: columns that
            name the rows go on from there, so that no name comes twice.
        options: Separator, decimal mark and encoding of a CSV.
        like: Types for the columns of Parquet, by name.
        progress: See `Progress`.

    Returns:
        What was done, over all pieces.

    Raises:
        RuleError: If the condition cannot be read, or contradicts the rules.
        ConfigError: If ``n`` is below 1, or the engine can draw no row that meets the condition.
        DataError: If the file cannot be written, or does not hold what it must when it is read back.
    """
    if n < 1:
        raise ConfigError(f"n is {n}; expected at least 1 row for a file.")
    started, schema = time.perf_counter(), cast("Schema", model.schema)
    asked = read_where(where, schema, model.rule_set).rules
    names = RowNames(model.generator, {*model.rule_set.columns, *asked.columns}, first_row)
    reports: list[SynthesisReport] = []
    with rows_writer(out, schema, options, like) as writer:
        for piece, start in enumerate(range(0, n, PIECE)):
            rows = min(PIECE, n - start)
            frame, report = model.sample(rows, where=where, seed=piece_seed(seed, piece))
            writer.write(names.distinct(frame))
            reports.append(report)
            if progress is not None:
                progress("draw", start + rows)
        rules = RuleSet((*model.rule_set, *asked.rules), model.rule_set.file)
        _confirm(writer.read_back(), rules, writer.schema, n, str(out), progress)
    total = _total(reports)
    total.seconds["all"] = time.perf_counter() - started
    return total


def piece_seed(seed: int, piece: int) -> int:
    """The seed of a piece of the rows; the first has the seed itself, as in `Synthesizer.sample`.

    Example:
        >>> piece_seed(7, 0), piece_seed(7, 1) == piece_seed(7, 2)
        (7, False)
    """
    return seed if not piece else int(np.random.SeedSequence([seed, piece]).generate_state(1)[0])


def _confirm(written: Table, rules: RuleSet, schema: Schema, rows: int, out: str, progress: Progress | None) -> None:
    """Read back what was written: as many rows, and none that breaks a rule."""
    note = None if progress is None else (lambda done: progress("check", done))
    found = check(written, rules, schema, examples=1, progress=note)
    if (found.rows, found.violating_rows) == (rows, 0):
        return
    broken = next((rule for rule in found.binding if rule.violations), None)
    where = f", such as `{broken.rule.name}` at {broken.examples[0].place}" if broken else ""
    raise DataError(
        f"{out}: when read back, {found.violating_rows} of {found.rows} rows break a rule{where}, where none of {rows} "
        "should; nothing was written."
    )


def _total(reports: list[SynthesisReport]) -> SynthesisReport:
    """The report of all pieces; shares are those of the rows of all of them."""
    total = copy.deepcopy(reports[0])
    rows = sum(report.rows for report in reports)
    for name in ("drawn", "broken_rows", "redrawn_rows", "repaired_rows", "loosened_cells", "violating_rows"):
        setattr(total, name, sum(getattr(report, name) for report in reports))
    for stage in total.seconds:
        total.seconds[stage] = sum(report.seconds.get(stage, 0.0) for report in reports)
    for place, rule in enumerate(total.rules):
        parts = [(report.rules[place], report.rows / rows) for report in reports]
        rule.broken = sum(part.broken * share for part, share in parts)
        if rule.boundary is not None:
            rule.boundary = sum((part.boundary or 0.0) * share for part, share in parts)
    total.rows = rows
    return total
