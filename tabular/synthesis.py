"""Synthetic rows that obey rules: a generator, its rules, and the columns that follow from others, in one model."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graftable.errors import ConfigError, DataError, ModelFileError
from graftable.files import write_bytes

from .checking import read_rules
from .compiler import Compiled
from .derived_columns import derived_columns, sums
from .expressions import RuleSet
from .generators.cells import read_numbers
from .generators.conditions import read_where
from .generators.encoding import counts_rows
from .generators.interface import Generator, Progress, engine_class, read_files, require_settings
from .io import open_table
from .obedient_rows import Draw, binding, broken_rules
from .repairing import repair
from .row_names import RowNames
from .rule_files import format_rules, parse_rules
from .schema import Schema
from .synthesis_report import SynthesisReport

__all__ = ["SynthesisReport", "Synthesizer", "left_out", "synthesize"]

SHOWN = 10_000  # rows from which shares on bounds are taken


class Synthesizer:
    """A generator with the rules that its rows must obey.

    Args:
        engine: Its name; see `graftable.tabular.generators.ENGINES`.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`; None for none.
        schema: What the columns are; found out from the table by default.
        settings: Arguments of the engine.

    Example:
        >>> frame = pd.DataFrame({"start": [1, 2, 3, 4] * 30, "end": [2, 2, 5, 9] * 30})
        >>> model = Synthesizer(rules="end >= start", settings={"members": 1}).fit(frame)
        >>> rows, report = model.sample(20, where="start >= 3", seed=1)
        >>> bool((rows["end"] >= rows["start"]).all()), int(rows["start"].min()), report.violating_rows
        (True, 3, 0)
    """

    def __init__(
        self,
        engine: str = "circuit",
        *,
        rules: Any = None,
        schema: Schema | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.engine, self.rules, self.schema = engine, rules, schema
        kind = engine_class(engine)
        require_settings(kind, settings or {})
        self.generator: Generator = kind(**(settings or {}))

    def fit(self, table: pd.DataFrame, *, seed: int = 0, progress: Progress | None = None) -> Self:
        """Learn a table; its rows that break a rule are left out, unless they are half of it.

        Raises:
            DataError: If it has no rows or does not fit the schema.
            RuleError: If a rule is wrong, or rules contradict each other.
        """
        learnt, schema, rules = self.prepare(table)
        self.generator.fit(learnt, schema, rules=rules, seed=seed, progress=progress)
        return self

    def prepare(self, table: pd.DataFrame) -> tuple[pd.DataFrame, Schema, Compiled | None]:
        """All of `fit` but the learning: read the rules, and find the columns that follow from others.

        Returns:
            What the generator is to be fitted to: rows, their columns, and the rules that it may learn with.

        Raises:
            DataError: If the table has no rows or does not fit the schema.
            RuleError: If a rule is wrong, or rules contradict each other.
        """
        if not len(table):
            raise DataError("the table has no rows; a generator needs at least one.")
        table = table.rename(columns=str).reset_index(drop=True)
        self.schema = self.schema or Schema.detect(table)
        self.rule_set = self._read(self.rules, table)
        compiled = Compiled(self.rule_set.hard, self.schema)
        if compiled.nearest_nulls(frozenset()) is None:
            compiled.program()
        self.booleans = [str(name) for name in table if pd.api.types.is_bool_dtype(table[name].dtype)]
        self.times = {str(name): str(table[name].dtype) for name in table.select_dtypes(["datetime", "datetimetz"])}
        self.derived = derived_columns(table, compiled)
        # a sum need not be learnt: it is computed, where a draw of it would almost never be right
        learnt = Schema(tuple(column for column in self.schema if column.name not in self.derived))
        hard = RuleSet(tuple(rule for rule in self.rule_set.hard if not set(rule.columns) & set(self.derived)))
        self.boundaries = boundary_shares(table, self.rule_set, self.schema)
        obeying = table[~left_out(table, self.rule_set, self.schema)].reset_index(drop=True)
        for column in learnt if len(obeying) < len(table) else ():
            if column.kind == "integer" and column.name not in self.rule_set.columns and not column.is_long:
                values = read_numbers(table[column.name], column).values
                if counts_rows(values, column, len(table)):  # a numbering of all rows is one of those that are left
                    obeying[column.name] = int(values.min()) + np.arange(len(obeying))
        return obeying[list(learnt.names)], learnt, Compiled(hard, learnt) if len(hard) else None

    def _read(self, rules: Any, table: pd.DataFrame) -> RuleSet:
        if rules is None:
            return RuleSet(())
        return read_rules(rules, open_table(table), self.schema, unseen="allow")[0]

    def sample(
        self, n: int, *, where: str | Mapping[str, Any] | None = None, seed: int = 0
    ) -> tuple[pd.DataFrame, SynthesisReport]:
        """Make rows.

        Args:
            n: How many.
            where: What they have in common, in the rule language, or fixed values by column.
            seed: The same seed gives the same rows.

        Returns:
            Rows of which none breaks a rule, and what was done.

        Raises:
            RuleError: If the condition cannot be read, or contradicts the rules.
            ConfigError: If the engine can draw no row that meets the condition.
            DataError: If no row that obeys was found.
        """
        if n < 0:
            raise ConfigError(f"n is {n}; expected 0 rows or more.")
        self.generator.fitted_schema()
        schema = cast("Schema", self.schema)
        asked = read_where(where, schema, self.rule_set)
        rows, report = Draw(self.generator, schema, self.rule_set, self.derived, asked, seed).make(n)
        # rows that were drawn again brought names that others have
        rows = RowNames(self.generator, {*self.rule_set.columns, *asked.rules.columns}).distinct(rows)
        shares = boundary_shares(rows, self.rule_set, schema) if n else {}
        for rule in report.rules:
            rule.boundary, rule.boundary_real = shares.get(rule.name), self.boundaries.get(rule.name)
        for name in self.booleans:
            if rows[name].notna().all():
                rows[name] = rows[name] == "true"
        for column in schema:
            if column.is_long:
                rows[column.name] = _integers(rows[column.name])
        for name, kind in self.times.items():
            rows[name] = pd.to_datetime(rows[name], format="ISO8601", utc="," in kind).astype(kind)
        return rows, report

    def files(self) -> dict[str, bytes]:
        """What `save` writes: the files of the generator, all columns, and the rules.

        Raises:
            ConfigError: If the model was not fitted.
        """
        files = self.generator.files()
        extra = {"rules": format_rules(self.rule_set), "booleans": self.booleans, "boundaries": self.boundaries}
        extra |= {"times": self.times} if self.times else {}
        return files | {
            "table.schema.json": cast("Schema", self.schema).to_json().encode(),
            "synthesizer.json": (json.dumps(extra, ensure_ascii=False, indent=1) + "\n").encode(),
        }

    def save(self, folder: str | Path) -> None:
        """Write the generator and its rules to a folder, without pickle."""
        for name, content in self.files().items():
            write_bytes(Path(folder) / name, content)

    @classmethod
    def load(cls, folder: str | Path) -> Synthesizer:
        """Read what `save` wrote.

        Raises:
            ModelFileError: If the folder holds no such model, or one of another version.
        """
        return cls.from_files(read_files(folder), str(folder))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], source: str) -> Synthesizer:
        """Read what `files` gave; ``source`` is what errors call it.

        Raises:
            ModelFileError: If it is no such model, or one of another version.
        """
        generator = Generator.from_files(files, source)
        try:
            extra = json.loads(files["synthesizer.json"])
            schema = Schema.from_json(files["table.schema.json"].decode())
        except (KeyError, ValueError) as error:
            reason = f"there is no {error.args[0]}" if isinstance(error, KeyError) else error
            raise ModelFileError(
                f"{source}: holds a generator without its rules ({reason}); give a folder that a synthesizer wrote."
            ) from error
        model = cls(generator.engine, schema=schema)
        model.generator, model.booleans, model.boundaries = generator, extra["booleans"], extra["boundaries"]
        model.times = extra.get("times", {})
        text = extra["rules"]
        model.rule_set = parse_rules(text, schema, unseen="allow") if text.strip() else RuleSet(())
        found = sums(Compiled(model.rule_set.hard, schema))
        model.derived = {name: item for name, item in found.items() if name not in generator.schema}
        return model


def _integers(texts: pd.Series) -> pd.Series:
    """Whole numbers from their texts; those that no integer type holds stay texts."""
    numbers = [None if pd.isna(text) else int(text) for text in texts]
    for kind in ("Int64", "UInt64"):
        with contextlib.suppress(OverflowError, TypeError):  # what the plain types would take through floats
            found = pd.Series(pd.array(numbers, kind), texts.index)
            return found if texts.isna().any() else found.astype(kind.lower())
    return texts


def synthesize(
    table: pd.DataFrame,
    *,
    rules: Any = None,
    n: int | None = None,
    engine: str = "circuit",
    seed: int = 0,
    where: str | Mapping[str, Any] | None = None,
    schema: Schema | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[pd.DataFrame, SynthesisReport]:
    """Learn a table and make rows like those of it, none of which breaks a rule.

    Args:
        table: The real rows.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`; None for none.
        n: How many rows; as many as the table has by default.
        engine: See `graftable.tabular.generators.ENGINES`.
        seed: The same seed gives the same rows.
        where: What the rows have in common; see `Synthesizer.sample`.
        schema: What the columns are; found out from the table by default.
        settings: Arguments of the engine.
        progress: Is told how far the fit has come.

    Returns:
        The rows and a report.

    Example:
        >>> frame = pd.DataFrame({"low": [1, 2, 3] * 40, "high": [2, 2, 5] * 40})
        >>> rows, report = synthesize(frame, rules="low <= high", n=50, seed=1, settings={"members": 1})
        >>> len(rows), report.violating_rows
        (50, 0)
    """
    model = Synthesizer(engine, rules=rules, schema=schema, settings=settings)
    return model.fit(table, seed=seed, progress=progress).sample(len(table) if n is None else n, where=where, seed=seed)


def left_out(table: pd.DataFrame, rules: RuleSet, schema: Schema) -> NDArray[np.bool_]:
    """Rows that are not learnt ``(rows,)``: those that break a rule, as none such will be made, unless most do."""
    bound = binding(rules)
    none = np.zeros(len(table), bool)
    broken = np.asarray(broken_rules(table, bound, schema).any(0), bool) if len(bound) else none
    return broken if broken.mean() < 0.5 else none


def boundary_shares(frame: pd.DataFrame, rules: RuleSet, schema: Schema) -> dict[str, float]:
    """Share of the first rows that obey a rule without slack, by hard rule."""
    if not len(rules.hard):
        return {}
    first = frame[list(schema.names)][:SHOWN].reset_index(drop=True)
    _, report = repair(first, rules, schema)
    return {rule.name: rule.boundary_before / len(first) for rule in report.rules if rule.boundary_before is not None}
