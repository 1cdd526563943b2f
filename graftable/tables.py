"""``graftable check``, ``explain`` and ``repair``: rules on a CSV or Parquet file."""

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from graftable.errors import ConfigError
from graftable.files import write_text
from graftable.tabular.checking import check, read_rules
from graftable.tabular.compiler import Compiled
from graftable.tabular.explanation import Explanation, explain
from graftable.tabular.io import ReadOptions, Table, open_table
from graftable.tabular.repairing import repair_file
from graftable.tabular.schema import Schema
from graftable.tabular.sources import schema_of_file

__all__ = ["read_options", "run", "schema_of"]

VIOLATIONS, QUARANTINED = 1, 3


def run(namespace: argparse.Namespace) -> int:
    """Run the command that was named.

    Args:
        namespace: The command line of ``check``, ``explain`` or ``repair``.

    Returns:
        0; for ``check`` 1 if a row breaks a rule, for ``repair`` 3 if a row is in quarantine.

    Raises:
        GraftableError: If a file cannot be read or written, or a rule is wrong; then nothing is written.
    """
    _keep_apart(namespace)
    return {"check": run_check, "explain": run_explain, "repair": run_repair}[namespace.command](namespace)


def run_check(namespace: argparse.Namespace) -> int:
    """Print what `graftable.tabular.check` finds."""
    table = open_table(namespace.data, read_options(namespace))
    schema = schema_of(namespace, table)
    with _progress(namespace) as show:
        report = check(
            table,
            namespace.rules,
            schema,
            examples=namespace.examples,
            unseen=_unseen(namespace),
            progress=lambda rows: show("check", rows),
        )
    if namespace.report:
        write_text(namespace.report, report.to_json() + "\n")
    print(report.to_json() if namespace.json else report)
    return 0 if report.clean else VIOLATIONS


def run_explain(namespace: argparse.Namespace) -> int:
    """Print what the rules amount to, and which of them no row obeys."""
    table = open_table(namespace.data, read_options(namespace))
    rules, schema = read_rules(namespace.rules, table, schema_of(namespace, table), _unseen(namespace))
    found = explain(Compiled(rules, schema))
    with _progress(namespace) as show:
        report = check(table, rules, schema, examples=0, progress=lambda rows: show("check", rows))
    if namespace.json:
        print(json.dumps(_as_json(found, report.warnings), indent=2, ensure_ascii=False))
        return 0
    print("\n".join([found.text, *(f"warning: {warning}" for warning in report.warnings)]))
    return 0


def run_repair(namespace: argparse.Namespace) -> int:
    """Repair a file, and print what was done."""
    options = read_options(namespace)
    schema = schema_of(namespace, open_table(namespace.data, options))
    with _progress(namespace) as show:
        report = repair_file(
            namespace.data,
            namespace.rules,
            namespace.out,
            schema,
            pin=namespace.pin,
            coerce=namespace.coerce,
            options=options,
            unseen=_unseen(namespace),
            progress=show,
        )
    if namespace.report:
        write_text(namespace.report, report.to_json() + "\n")
    if namespace.json:
        print(report.to_json())
    else:
        listed = f", and the rows in quarantine to {report.quarantine_file}" if report.quarantine_file else ""
        print(f"{report}\nwrote {report.out}{listed}")
    return QUARANTINED if report.quarantined_rows else 0


def _keep_apart(namespace: argparse.Namespace) -> None:
    """What is written must not replace what is read, but for a table repaired in its place.

    Raises:
        ConfigError: If two arguments name one file, or a folder is to be written.
    """
    read = {"the table": namespace.data, "the rules": namespace.rules, "--schema": namespace.schema}
    written = {option: getattr(namespace, option[2:], None) for option in ("--out", "--report")}
    for option, path in written.items():
        if path is None:
            continue
        if Path(path).is_dir():
            raise ConfigError(f"{option} {path} is a folder; give the name of a file.")
        others = read | {"--out": written["--out"]} if option == "--report" else read
        for other, known in others.items():
            if known and Path(known).resolve() == Path(path).resolve() and (option, other) != ("--out", "the table"):
                raise ConfigError(f"{option} and {other} are one file, {path}, which would be lost; give another name.")


def _unseen(namespace: argparse.Namespace) -> Literal["allow", "refuse"]:
    return "allow" if namespace.allow_unseen else "refuse"


def read_options(namespace: argparse.Namespace) -> ReadOptions:
    """How texts are to be read, as the options say."""
    separator = "\t" if namespace.sep == "\\t" else namespace.sep
    nulls = (*ReadOptions().nulls, *namespace.null)
    return ReadOptions(separator=separator, decimal=namespace.decimal, encoding=namespace.encoding, nulls=nulls)


def schema_of(namespace: argparse.Namespace, table: Table) -> Schema | None:
    """The schema that was named, held against the first rows of the table."""
    return None if namespace.schema is None else schema_of_file(namespace.schema, table)


@contextlib.contextmanager
def _progress(namespace: argparse.Namespace) -> Iterator[Callable[[str, int], None]]:
    """A line on stderr that counts rows, where someone can see it."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=namespace.json or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        words = {"check": "rows checked", "repair": "rows repaired"}
        yield lambda stage, rows: bar.update(task, description=f"{rows:,} {words[stage]}")


def _as_json(found: Explanation, warnings: list[str]) -> dict[str, Any]:
    components = [
        {
            "columns": [*component.columns, *component.categorical],
            "rules": list(component.rules),
            "cells": len(component.cells),
            "complete": component.complete,
        }
        for component in found.program.components
    ]
    return {
        "version": 1,
        "program": found.program.hash,
        "components": components,
        "ranges": {column: list(ends) for column, ends in found.ranges.items()},
        "fixed": found.fixed,
        "always_true": [rule.name for rule in found.always],
        "implied": [rule.name for rule in found.implied],
        "obeyed_by_no_row": warnings,
        "text": found.text,
    }
