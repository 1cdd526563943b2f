"""Fill the null cells of a data frame or of a file; see `graftable.tabular.gap_filling` for how."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from .checking import read_rules
from .gap_filling import Filler, ImputeReport, Progress, require_gaps
from .generators.interface import Progress as FitProgress
from .generators.interface import engine_class
from .io import ReadOptions, Table, open_table
from .rule_parser import Unseen
from .schema import Schema
from .synthesis import Synthesizer
from .table_frames import read_frame

__all__ = ["ImputeReport", "fit_for_gaps", "impute", "impute_file", "require_gaps"]


def impute(
    table: Any,
    *,
    rules: Any = None,
    model: Synthesizer | None = None,
    engine: str = "circuit",
    seed: int = 0,
    schema: Schema | None = None,
    settings: Mapping[str, Any] | None = None,
    options: ReadOptions | None = None,
    unseen: Unseen = "refuse",
    progress: FitProgress | None = None,
) -> tuple[Any, ImputeReport]:
    """Fill the null cells of a data frame or Arrow table.

    Args:
        table: The rows; they stay as they are.
        rules: What the filled rows obey: a rule file, the text of rules, a list of rules, or a `RuleSet`.
        model: A fitted model, whose rules hold, too; by default one is fitted to the table.
        engine: That model's engine: ``circuit``, ``copula`` or ``flow``.
        seed: The same seed gives the same cells.
        schema: What the columns are; found out from the table by default.
        settings: Arguments of the engine.
        options: Which texts mean null.
        unseen: Whether a category that the table never holds is an error.
        progress: Is told how far the fit has come.

    Returns:
        The table with its gaps filled, and what was done.

    Example:
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"low": [1, 2, 3] * 40, "high": [2.0, 4.0, None] * 40})
        >>> filled, report = impute(frame, rules="low <= high", settings={"members": 1})
        >>> int(filled["high"].isna().sum()), bool((filled["low"] <= filled["high"]).all()), report.filled_cells
        (0, True, {'high': 40})
    """
    opened = open_table(table, options)
    if model is None:
        model = fit_for_gaps(
            opened, rules, engine, seed=seed, schema=schema, settings=settings, unseen=unseen, progress=progress
        )
    filler = Filler(model, opened, rules, seed, unseen)
    with opened.writer(Path()) as writer:
        report = filler.run(writer, None)
        return cast("Any", writer).result, report


def impute_file(
    path: str | Path | Table,
    out: str | Path,
    model: Synthesizer,
    *,
    rules: Any = None,
    seed: int = 0,
    options: ReadOptions | None = None,
    unseen: Unseen = "refuse",
    progress: Progress | None = None,
) -> ImputeReport:
    """Fill the null cells of a CSV or Parquet file; it is read back and checked before it gets its name.

    Args:
        path: The file.
        out: The filled file, of the same kind.
        model: A fitted model.
        rules: What the filled rows obey beside the rules of the model.
        seed: The same seed gives the same cells.
        options: How to read texts.
        unseen: Whether a category that the model never saw is an error.
        progress: See `Progress`.

    Raises:
        RuleError: If a rule is wrong.
        DataError: If a file cannot be read or written, or has other columns than the model.
    """
    table = open_table(path, options)
    filler = Filler(model, table, rules, seed, unseen)
    with table.writer(Path(out)) as writer:
        return filler.run(writer, progress)


def fit_for_gaps(
    table: Table,
    rules: Any,
    engine: str = "circuit",
    *,
    seed: int = 0,
    schema: Schema | None = None,
    settings: Mapping[str, Any] | None = None,
    unseen: Unseen = "refuse",
    progress: FitProgress | None = None,
) -> Synthesizer:
    """Fit a model to a table whose gaps it is to fill."""
    require_gaps(engine_class(engine), engine)
    schema = schema or Schema.detect(table)
    found = None if rules is None else read_rules(rules, table, schema, unseen)[0]
    model = Synthesizer(engine, rules=found, schema=schema, settings=settings)
    return model.fit(read_frame(table, schema), seed=seed, progress=progress)
