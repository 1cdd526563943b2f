"""``graftable evaluate-table``: how good synthetic rows are, as a page, as JSON, and as a table on the screen."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from graftable.errors import ConfigError
from graftable.files import require_writable, write_text
from graftable.tables import read_options, schema_of
from graftable.tabular.io import open_table
from graftable.tabular.quality.evaluation import evaluate_table

__all__ = ["run"]

VIOLATIONS = 1
STDOUT = "-"


def run(namespace: argparse.Namespace) -> int:
    """Evaluate a table of synthetic rows, and write a page.

    Args:
        namespace: The command line of ``evaluate-table``.

    Returns:
        0; 1 if a synthetic row breaks a rule.

    Raises:
        GraftableError: If a file cannot be read or written, a rule is wrong, or an option is; then nothing is written.
    """
    _look_over(namespace)
    options = read_options(namespace)
    real, synthetic = (open_table(path, options) for path in (namespace.real, namespace.synthetic))
    with _progress(namespace) as tell:
        found = evaluate_table(
            real,
            synthetic,
            namespace.rules,
            holdout=None if namespace.holdout is None else open_table(namespace.holdout, options),
            target=namespace.target,
            before=namespace.before,
            schema=schema_of(namespace, real),
            rows=namespace.rows,
            seed=namespace.seed,
            unseen="allow" if namespace.allow_unseen else "refuse",
            progress=tell,
        )
        tell("drawing the page")
        # matplotlib takes a second to load, which no mistake should wait for
        from graftable.table_report import render_table_report

        write_text(namespace.out, render_table_report(found))
    written = [namespace.out]
    if namespace.json not in (None, STDOUT):
        write_text(namespace.json, found.to_json())
        written.append(namespace.json)
    print(found.to_json() if namespace.json == STDOUT else f"{found}\nwrote {' and '.join(written)}")
    return VIOLATIONS if found.rules is not None and found.rules.violating_rows else 0


def _look_over(namespace: argparse.Namespace) -> None:
    """Refuse what cannot be done before any work.

    Raises:
        ConfigError: If what is written would replace what is read or is no page, or the holdout is what was learnt.
        DataError: If it cannot be written.
    """
    if not namespace.out.endswith((".html", ".htm")):
        raise ConfigError(f"--out {namespace.out}: expected a name that ends in .html.")
    read = {
        "the real table": namespace.real,
        "the synthetic table": namespace.synthetic,
        "--holdout": namespace.holdout,
        "--rules": namespace.rules,
        "--before": namespace.before,
        "--schema": namespace.schema,
    }
    if namespace.holdout is not None and Path(namespace.holdout).resolve() == Path(namespace.real).resolve():
        raise ConfigError(f"--holdout {namespace.holdout} is the real table itself; give rows that were not learnt.")
    for option, path in {"--out": namespace.out, "--json": namespace.json}.items():
        if path is None or path == STDOUT:
            continue
        if Path(path).is_dir():
            raise ConfigError(f"{option} {path} is a folder; give the name of a file.")
        for other, known in (read | ({"--out": namespace.out} if option == "--json" else {})).items():
            if known and Path(known).resolve() == Path(path).resolve():
                raise ConfigError(f"{option} and {other} are one file, {path}, which would be lost; give another name.")
        require_writable(path)


@contextlib.contextmanager
def _progress(namespace: argparse.Namespace) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being measured, where someone can see it."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    hidden = namespace.json == STDOUT or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda words: bar.update(task, description=words)
