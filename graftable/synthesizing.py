"""``graftable synthesize`` and ``impute``: rows that obey rules, and gaps filled so that they do."""

import argparse
import contextlib
import inspect
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa

from graftable.errors import ConfigError, DataError
from graftable.files import require_writable, write_text
from graftable.tables import read_options
from graftable.tabular.generators.conditions import read_where
from graftable.tabular.generators.interface import engine_class
from graftable.tabular.imputation import fit_for_gaps, impute_file, require_gaps
from graftable.tabular.io import ReadOptions, Table, open_table
from graftable.tabular.schema import Schema, did_you_mean
from graftable.tabular.sources import MODEL_FILES, TableSource, load_model
from graftable.tabular.synthesis import Synthesizer
from graftable.tabular.synthesis_files import synthesize_file, under_rules
from graftable.tabular.table_frames import ENDINGS, read_frame

__all__ = ["run"]

VIOLATIONS_LEFT = 3
ENGINE = "circuit"


def run(namespace: argparse.Namespace) -> int:
    """Run the command that was named.

    Args:
        namespace: The command line of ``synthesize`` or ``impute``.

    Returns:
        0; for ``impute`` 3 if rows break a rule by the cells that they have.

    Raises:
        GraftableError: If a file cannot be read or written, a rule is wrong, or an option is; then nothing is written.
    """
    return {"synthesize": run_synthesize, "impute": run_impute}[namespace.command](namespace)


def run_synthesize(namespace: argparse.Namespace) -> int:
    """Fit or load a model, write its rows, and print what was done."""
    _look_over(namespace)
    options, where = read_options(namespace), "\n".join(namespace.where)
    like: pa.Schema | None = None
    with _progress(namespace) as show:
        if namespace.model:
            model = _loaded(namespace, options)
            read_where(where, cast("Schema", model.schema), model.rule_set)
        else:
            source = _read(namespace, options)
            read_where(where, source.schema, source.rules)
            like = source.types
            model = Synthesizer(
                namespace.engine or ENGINE, rules=source.rules, schema=source.schema, settings=_settings(namespace)
            )
            model.fit(read_frame(source.table, source.schema), seed=namespace.seed, progress=show.fit)
        if namespace.save_model:
            _save(model, Path(namespace.save_model))
        report = synthesize_file(
            model,
            namespace.count,
            namespace.out,
            where=where,
            seed=namespace.seed,
            options=options,
            like=like,
            progress=show.rows,
        )
    _write_report(namespace, report.to_json())
    print(report.to_json() if namespace.json else f"{report.summary()}\nwrote {namespace.out}", end="\n")
    return 0


def run_impute(namespace: argparse.Namespace) -> int:
    """Fit or load a model, fill the gaps of a table, and print what was done."""
    _look_over(namespace)
    options = read_options(namespace)
    table = open_table(namespace.data, options)
    _same_kind(namespace.data, namespace.out)
    with _progress(namespace) as show:
        if namespace.model:
            model = _loaded(namespace, options)
            require_gaps(model.generator, model.engine)
        else:
            source = _read(namespace, options)
            engine, settings = namespace.engine or ENGINE, _settings(namespace)
            model = fit_for_gaps(
                table,
                source.rules if len(source.rules) else None,
                engine,
                seed=namespace.seed,
                schema=source.schema,
                settings=settings,
                progress=show.fit,
            )
        if namespace.save_model:
            _save(model, Path(namespace.save_model))
        report = impute_file(table, namespace.out, model, seed=namespace.seed, progress=show.rows)
    _write_report(namespace, report.to_json())
    print(report.to_json() if namespace.json else f"{report.summary()}\nwrote {namespace.out}")
    return VIOLATIONS_LEFT if report.violating_rows else 0


def _read(namespace: argparse.Namespace, options: ReadOptions) -> TableSource:
    """The table that is learnt, and its rules."""
    return TableSource.read(
        namespace.data, namespace.rules, namespace.schema, options=options, unseen=_unseen(namespace)
    )


def _loaded(namespace: argparse.Namespace, options: ReadOptions) -> Synthesizer:
    """The model of a folder, held against the table, and under the rules that were named."""
    folder = Path(namespace.model)
    model = load_model(folder)
    if namespace.data:
        _same_table(model, open_table(namespace.data, options), folder)
    return under_rules(model, namespace.rules, _unseen(namespace)) if namespace.rules else model


def _same_table(model: Synthesizer, table: Table, folder: Path) -> None:
    """Refuse a table with other columns than the model has learnt."""
    known = cast("Schema", model.schema)
    for name in known.names:
        if name not in table.names:
            raise DataError(
                f"{table.source}: has no column `{name}`, which the model in {folder} has learnt."
                f"{did_you_mean(name, table.names)} Give the table of the model, or fit one to this table."
            )
    found = Schema.detect(table, known.names)
    numeric = {"integer", "decimal"}
    for column in known:
        kind = found[column.name].kind
        empty = kind == "categorical" and not found[column.name].categories
        same = kind == column.kind or {kind, column.kind} <= numeric or {kind, column.kind} <= {"categorical", "text"}
        if not (same or empty or column.special):
            raise DataError(
                f"{table.source}, column `{column.name}`: found {kind} cells, where the model in {folder} has learnt "
                f"{column.kind} ones; give the table of the model, or fit one to this table."
            )


def _settings(namespace: argparse.Namespace) -> Mapping[str, Any]:
    """The settings of an engine, each of the type of its default."""
    engine = namespace.engine or ENGINE
    parameters = inspect.signature(engine_class(engine)).parameters
    settings = {}
    for text in namespace.set:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected NAME=VALUE, such as --set {next(iter(parameters))}=10.")
        if name not in parameters:
            near = did_you_mean(name, tuple(parameters))
            raise ConfigError(
                f"--set {text}: the engine `{engine}` has no setting `{name}`.{near} It has {', '.join(parameters)}."
            )
        settings[name] = _like(value, parameters[name].default, text)
    return settings


def _like(value: str, default: Any, text: str) -> Any:
    """A text as a value of the type of a default.

    Example:
        >>> _like("10", 300, "epochs=10"), _like("true", False, ""), _like("none", "all", "")
        (10, True, 'none')
    """
    try:
        found = json.loads(value)
    except json.JSONDecodeError:
        found = value
    wanted = {bool: "true or false", int: "a whole number", float: "a number"}
    if isinstance(default, str):
        return value
    for kind, words in wanted.items():
        if type(default) is kind:
            right = isinstance(found, bool) if kind is bool else not isinstance(found, bool | str)
            right = right and (isinstance(found, int) if kind is int else isinstance(found, bool | int | float))
            if not right:
                raise ConfigError(f"--set {text}: found {value!r}, expected {words}.")
            return kind(found)
    return found


def _look_over(namespace: argparse.Namespace) -> None:
    """Refuse what cannot be done before any work.

    Raises:
        ConfigError: If options contradict each other, or what is written would replace what is read.
        DataError: If the output cannot be written.
    """
    if not namespace.data and not namespace.model:
        raise ConfigError("there is nothing to learn from: give --data DATA, or --model FOLDER of a fitted model.")
    fitting = {"--engine": namespace.engine, "--set": namespace.set, "--save-model": namespace.save_model}
    if namespace.model and (given := [option for option, value in fitting.items() if value]):
        raise ConfigError(f"{given[0]} is for a model that is fitted, and --model is one already; keep one of them.")
    engine_class(namespace.engine or ENGINE)
    read = {"the table": namespace.data, "the rules": namespace.rules, "--schema": namespace.schema}
    written = {"--out": namespace.out, "--report": namespace.report, "--save-model": namespace.save_model}
    for option, path in written.items():
        if not path:
            continue
        if option != "--save-model" and Path(path).is_dir():
            raise ConfigError(f"{option} {path} is a folder; give the name of a file.")
        others = read | {name: other for name, other in written.items() if name < option}
        for other, known in others.items():
            if known and Path(known).resolve() == Path(path).resolve():
                raise ConfigError(f"{option} and {other} are one file, {path}, which would be lost; give another name.")
    if not namespace.out.endswith(ENDINGS):
        raise ConfigError(f"--out {namespace.out}: expected a name that ends in {', '.join(ENDINGS[:-1])}.")
    for path in filter(None, (namespace.out, namespace.report)):
        require_writable(path)
    if namespace.save_model:
        _require_model_folder(Path(namespace.save_model))


def _require_model_folder(folder: Path) -> None:
    strange = [path.name for path in folder.iterdir() if path.name not in MODEL_FILES] if folder.is_dir() else []
    if folder.is_file() or strange:
        what = f"holds {strange[0]}" if strange else "is a file"
        raise ConfigError(f"--save-model {folder} {what}; give an empty or new folder, or one that holds a model.")


def _save(model: Synthesizer, folder: Path) -> None:
    """Save a model so that the folder holds the old one or the new one, never files of both."""
    aside = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.part"
    old = aside.with_suffix(".old")
    try:
        aside.mkdir(parents=True)
        model.save(aside)
        if folder.exists():
            os.replace(folder, old)
        os.replace(aside, folder)
    except OSError as error:
        raise DataError(f"--save-model {folder}: cannot be written ({error.strerror}); choose another.") from error
    finally:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        for left in (aside, old):
            shutil.rmtree(left, ignore_errors=True)


def _same_kind(data: str, out: str) -> None:
    """A filled table is of the kind of the table."""
    parquet = [Path(path).suffix in (".parquet", ".pq") for path in (data, out)]
    if parquet[0] != parquet[1]:
        kind = "Parquet" if parquet[0] else "CSV"
        raise ConfigError(f"--out {out}: a {kind} table is written as {kind}, as its cells are kept; change the name.")


def _unseen(namespace: argparse.Namespace) -> Literal["allow", "refuse"]:
    return "allow" if namespace.allow_unseen else "refuse"


def _write_report(namespace: argparse.Namespace, text: str) -> None:
    if namespace.report:
        write_text(namespace.report, text)


@dataclass(frozen=True)
class _Show:
    """Where progress is told."""

    fit: Callable[[float, str], None]
    rows: Callable[[str, int], None]


@contextlib.contextmanager
def _progress(namespace: argparse.Namespace) -> Iterator[_Show]:
    """A line on stderr, where someone can see it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    total = getattr(namespace, "count", None)
    words = {"draw": "drawing rows", "fill": "filling gaps", "check": "checking what was written"}
    with Progress(*columns, console=console, transient=True, disable=namespace.json or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        yield _Show(
            lambda share, word: bar.update(task, total=1.0, completed=share, description=f"learning, {word}"),
            lambda stage, rows: bar.update(task, total=total, completed=rows, description=f"{words[stage]}: {rows:,}"),
        )
