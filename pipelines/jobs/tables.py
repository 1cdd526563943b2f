"""Batch jobs over tables: many rows that obey rules, and many tables that are brought to obey them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from graftable.errors import ConfigError, DataError
from graftable.tabular.arrow_tables import ParquetTable
from graftable.tabular.bundled import bundled_rules, bundled_table
from graftable.tabular.checking import is_file, read_rules
from graftable.tabular.compiler import Compiled
from graftable.tabular.generators.conditions import read_where
from graftable.tabular.io import ReadOptions, open_table
from graftable.tabular.repair_report import QuarantineFile
from graftable.tabular.repairing import repair_file
from graftable.tabular.schema import Schema
from graftable.tabular.sources import TableSource, load_model, schema_of_file
from graftable.tabular.synthesis import Synthesizer
from graftable.tabular.synthesis_files import synthesize_file, under_rules
from graftable.tabular.table_frames import ENDINGS, read_frame

from .job import Fitting, Job, Made, Make, Part

__all__ = ["RepairJob", "SynthesizeJob"]

MODEL = "model"
COUNTED = ("violating_rows", "drawn", "broken_rows", "redrawn_rows", "repaired_rows", "loosened_cells")


class SynthesizeJob(Job):
    """Rows like those of a table, in Parquet files that are each read back and checked: none breaks a rule.

    Args:
        data: The real rows: a CSV (.gz too) or Parquet file, or the name of a table that ships: ``bike``. Give this or
            ``model``.
        model: The folder of a fitted model.
        rules: What every row must obey: a rule file, the text of rules, or the name of a table that ships. With
            ``model``, they add to its own.
        rows: How many rows to make, at least 1.
        rows_per_part: How many rows a file has, at least 1; the last may have fewer. What is lost by a kill is one file
            for each worker.
        where: What the rows have in common, such as ``age >= 65``; a rule, or a list of them.
        engine: What learns ``data``: circuit, copula, flow, ctgan or tvae.
        settings: Arguments of the engine.
        seed: The same seed gives the same rows. Each file has a seed of its own, made of this one and its number.
        schema: A file that says what the columns of ``data`` are: JSON, or SDV metadata. Found out by default.
        allow_unseen: Let rules name categories that the table does not hold.
        separator: Of a CSV.
        decimal: The decimal mark of a CSV.
        encoding: Of a CSV.
        nulls: More texts that mean "no value".

    Raises:
        ConfigError: If an argument is wrong.
    """

    def __init__(
        self,
        data: str | None = None,
        model: str | None = None,
        rules: str | list[str] | None = None,
        rows: int = 100_000,
        rows_per_part: int = 50_000,
        where: str | list[str] | None = None,
        engine: str = "circuit",
        settings: dict[str, Any] | None = None,
        seed: int = 0,
        schema: str | None = None,
        allow_unseen: bool = False,
        separator: str = ",",
        decimal: str = ".",
        encoding: str = "utf-8",
        nulls: list[str] | None = None,
    ) -> None:
        self.data, self.model, self.rules, self.rows, self.rows_per_part = data, model, rules, rows, rows_per_part
        self.where, self.engine, self.settings, self.seed = where, engine, settings, seed
        self.schema, self.allow_unseen = schema, allow_unseen
        self.separator, self.decimal, self.encoding, self.nulls = separator, decimal, encoding, nulls
        self._options()
        for name, least in {"rows": 1, "rows_per_part": 1, "seed": 0}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected a whole number of at least {least}.")
        if (data is None) == (model is None):
            raise ConfigError(
                "there is nothing to learn from: give data, or the folder of a fitted model."
                if data is None
                else "data and model are both given, and a model has learnt already; keep one of them."
            )
        Synthesizer(engine, settings=settings)  # for its complaints about settings, before a folder is begun

    def parts(self) -> list[Part]:
        """A file for each ``rows_per_part`` rows."""
        count = -(-self.rows // self.rows_per_part)
        digits = max(5, len(str(count - 1)))
        return [Part(index, f"rows-{index:0{digits}d}.parquet") for index in range(count)]

    def sources(self) -> dict[str, Path]:
        """The table or the model, the rules, and the schema."""
        return _files(data=self._data(), model=self.model, rules=_rules(self.rules), schema=self.schema)

    def prepare(self, shared: Path, progress: Fitting | None = None) -> None:
        """Learn the table, unless a model is given; refuse a condition that contradicts the rules."""
        if self.model is not None:
            self._loaded(shared)
            return
        source = TableSource.read(
            self._data(), _rules(self.rules), self.schema, options=self._options(), unseen=_unseen(self.allow_unseen)
        )
        read_where(self._where(), source.schema, source.rules)
        model = Synthesizer(self.engine, rules=source.rules, schema=source.schema, settings=self.settings)
        model.fit(read_frame(source.table, source.schema), seed=self.seed, progress=progress)
        model.save(shared / MODEL)

    def open(self, shared: Path) -> Make:
        """Load the model."""
        model, where = self._loaded(shared), self._where()
        table = None if self.data is None else open_table(self._data(), self._options())
        types = table.schema if isinstance(table, ParquetTable) else None

        def make(part: Part, target: Path) -> Made:
            first = part.index * self.rows_per_part
            report = synthesize_file(
                model,
                min(self.rows_per_part, self.rows - first),
                target,
                where=where,
                seed=part_seed(self.seed, part.index),
                first_row=first,
                like=types,
            )
            return Made(report.rows, {name: getattr(report, name) for name in COUNTED})

        return make

    def _loaded(self, shared: Path) -> Synthesizer:
        if self.model is None:
            return load_model(shared / MODEL)
        model = load_model(self.model)
        if self.rules:
            model = under_rules(model, _rules(self.rules), _unseen(self.allow_unseen))
        read_where(self._where(), cast("Schema", model.schema), model.rule_set)
        return model

    def _data(self) -> str | None:
        return None if self.data is None else str(bundled_table(self.data) or self.data)

    def _where(self) -> str | None:
        return "\n".join(self.where) if isinstance(self.where, list) else self.where

    def _options(self) -> ReadOptions:
        return _options(self.separator, self.decimal, self.encoding, self.nulls)


def part_seed(seed: int, part: int) -> int:
    """The seed of a part: of 64 bits, so that no two parts of a large job have the same.

    Example:
        >>> len({part_seed(7, part) for part in range(1000)})
        1000
    """
    return int(np.random.SeedSequence([seed, part], spawn_key=(1,)).generate_state(1, np.uint64)[0])


class RepairJob(Job):
    """Every table of a folder, with the rows that break a rule moved to where they hold, read back and checked.

    A table keeps its name and its kind. One that cannot be read, or does not have the columns of the rules, is set
    aside with the reason, and the job goes on; once it is mended, the next run makes it. Rows that cannot be repaired
    are listed in a file beside their table, as ``graftable repair`` does.

    Args:
        tables: The folder of the tables: CSV (.gz too) and Parquet files.
        rules: What every row must obey: a rule file, or the text of rules.
        pin: Columns that must not change.
        coerce: Clip infinities and numbers past all range, in place of quarantine.
        schema: A file that says what the columns are: JSON, or SDV metadata. Found out for each table by default.
        allow_unseen: Let rules name categories that a table does not hold.
        separator: Of a CSV.
        decimal: The decimal mark of a CSV.
        encoding: Of a CSV.
        nulls: More texts that mean "no value".
    """

    quarantine = True

    def __init__(
        self,
        tables: str,
        rules: str | list[str],
        pin: list[str] | None = None,
        coerce: bool = False,
        schema: str | None = None,
        allow_unseen: bool = False,
        separator: str = ",",
        decimal: str = ".",
        encoding: str = "utf-8",
        nulls: list[str] | None = None,
    ) -> None:
        self.tables, self.rules, self.pin, self.coerce = tables, rules, pin, coerce
        self.schema, self.allow_unseen = schema, allow_unseen
        self.separator, self.decimal, self.encoding, self.nulls = separator, decimal, encoding, nulls
        self._options()

    def parts(self) -> list[Part]:
        """A part for each table of the folder, by name.

        Raises:
            DataError: If there is no such folder, or no table in it.
        """
        folder = Path(self.tables)
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder; expected one that holds the tables.")
        lists = QuarantineFile.path(Path("x")).name[1:]  # what earlier repairs have written beside their tables
        found = [p.name for p in folder.iterdir() if p.name.endswith(ENDINGS) and not p.name.endswith(lists)]
        names = sorted(name for name in found if name[0] not in "._")
        if not names:
            raise DataError(f"{folder}: holds no table; expected files that end in {', '.join(ENDINGS)}.")
        return [Part(index, name) for index, name in enumerate(names)]

    def sources(self) -> dict[str, Path]:
        """The rules and the schema."""
        return _files(rules=_rules(self.rules), schema=self.schema)

    def source(self, part: Part) -> Path:
        """The table."""
        return Path(self.tables) / part.name

    def prepare(self, shared: Path, progress: Fitting | None = None) -> None:
        """Refuse rules that the first table that can be read shows to be wrong."""
        for part in self.parts():
            try:
                table = open_table(self.source(part), self._options())
                schema = None if self.schema is None else schema_of_file(self.schema, table)
                rules, found = read_rules(_rules(self.rules), table, schema, _unseen(self.allow_unseen))
            except DataError:
                continue
            Compiled(rules, found).program()
            return

    def open(self, shared: Path) -> Make:
        """Nothing is shared."""

        def make(part: Part, target: Path) -> Made:
            if target.resolve() == self.source(part).resolve():
                raise ConfigError(f"{target}: would be replaced by its repaired self; give another --out.")
            beside = QuarantineFile.path(target)
            beside.unlink(missing_ok=True)  # if a run was killed once it had written it, and the table has changed
            table = open_table(self.source(part), self._options())
            report = repair_file(
                self.source(part),
                _rules(self.rules),
                target,
                None if self.schema is None else schema_of_file(self.schema, table),
                pin=self.pin or (),
                coerce=self.coerce,
                options=self._options(),
                unseen=_unseen(self.allow_unseen),
            )
            lists = (beside.name,) if report.quarantined_rows else ()
            return Made(report.rows, {"moved_rows": report.moved_rows}, lists, report.quarantined_rows)

        return make

    def _options(self) -> ReadOptions:
        return _options(self.separator, self.decimal, self.encoding, self.nulls)


def _files(**given: str | list[str] | None) -> dict[str, Path]:
    """The arguments that name a file or a folder; rules may also be a text."""
    return {
        name: Path(value)
        for name, value in given.items()
        if isinstance(value, str) and (name != "rules" or is_file(value))
    }


def _rules(rules: str | list[str] | None) -> str | list[str] | None:
    """Rules, with the path in the place of the name of a table that ships."""
    return str(bundled_rules(rules) or rules) if isinstance(rules, str) else rules


def _options(separator: str, decimal: str, encoding: str, nulls: Sequence[str] | None) -> ReadOptions:
    separator = "\t" if separator == "\\t" else separator
    return ReadOptions(separator, decimal, encoding, nulls=(*ReadOptions().nulls, *(nulls or ())))


def _unseen(allow: bool) -> Literal["allow", "refuse"]:
    return "allow" if allow else "refuse"
