"""Synthetic rows that obey rules: draw, draw again what broke a rule, repair what is left, and free it from bounds.

A row that breaks a rule is drawn anew, which gives exactly the distribution of the rows that obey. What still breaks
one is repaired, which would pile rows up on the bounds; so each number that the repair moved is drawn once more, from
its distribution given the rest of the row, between the bounds that the rest leaves it. All rows are checked last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graftable.errors import ConfigError, DataError
from graftable.files import write_text

from .checking import read_rules
from .compiler import Compiled
from .derived_columns import computed, derived_columns, sums
from .equalities import Derived
from .evaluation import ChunkCells, obeys
from .expressions import RuleSet
from .finishing import snap
from .generators.conditions import Where, read_where
from .generators.interface import Conditions, Generator, Progress, engine_class
from .generators.loosening import loosen
from .io import open_table
from .repairing import repair
from .rule_files import format_rules, parse_rules
from .schema import Schema

__all__ = ["SynthesisReport", "Synthesizer", "synthesize"]

SHOWN = 10_000  # rows from which shares on bounds are taken
ROUNDS = 3  # how often rows that break a rule are drawn anew
LEAST = 0.2  # share of rows that must obey for this to be worth while
LAST_ROUNDS = 50  # how often rows without a repair are replaced before giving up


@dataclass
class RuleFigures:
    """What a rule had to do with the rows.

    Attributes:
        name: The rule.
        broken: Share of the rows, as first drawn, that broke it.
        boundary_real: Share of the real rows that obey it without slack; None if it is only checked.
        boundary: The same of the rows that were made.
    """

    name: str
    broken: float
    boundary_real: float | None = None
    boundary: float | None = None


@dataclass
class SynthesisReport:
    """What was done.

    Attributes:
        rows: Rows made.
        drawn: Rows drawn for that.
        broken_rows: Rows, as first drawn, that broke a rule.
        redrawn_rows: Rows that were replaced by another draw.
        repaired_rows: Rows that were repaired.
        loosened_cells: Numbers that the repair had moved and that were drawn again between their bounds.
        violating_rows: Rows made that break a rule: 0.
        rules: By rule.
        seconds: Wall time of drawing, and of all the rest.
    """

    rows: int = 0
    drawn: int = 0
    broken_rows: int = 0
    redrawn_rows: int = 0
    repaired_rows: int = 0
    loosened_cells: int = 0
    violating_rows: int = 0
    rules: list[RuleFigures] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def summary(self) -> str:
        """The report in a few lines."""
        lines = [
            f"{self.rows:,} rows, {self.violating_rows} of them break a rule.",
            f"As drawn, {self.broken_rows:,} did: {self.redrawn_rows:,} were drawn again, "
            f"{self.repaired_rows:,} repaired ({self.loosened_cells:,} cells freed from their bounds).",
        ]
        for rule in self.rules:
            where = ""
            if rule.boundary is not None and rule.boundary_real is not None:
                where = f"; on its bound: real {rule.boundary_real:.1%}, made {rule.boundary:.1%}"
            lines.append(f"  {rule.broken:>7.2%} broke {rule.name}{where}")
        return "\n".join(lines)


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
        try:
            self.generator: Generator = engine_class(engine)(**(settings or {}))
        except TypeError as error:
            raise ConfigError(f"the engine `{engine}` cannot be made: {error}.") from error

    def fit(self, table: pd.DataFrame, *, seed: int = 0, progress: Progress | None = None) -> Self:
        """Learn a table.

        Raises:
            DataError: If it has no rows or does not fit the schema.
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
        self.derived = derived_columns(table, compiled)
        # a sum need not be learnt: it is computed, where a draw of it would almost never be right
        learnt = Schema(tuple(column for column in self.schema if column.name not in self.derived))
        hard = RuleSet(tuple(rule for rule in self.rule_set.hard if not set(rule.columns) & set(self.derived)))
        rules = Compiled(hard, learnt) if len(hard) else None
        self.generator.fit(table[list(learnt.names)], learnt, rules=rules, seed=seed, progress=progress)
        self.boundaries = boundary_shares(table, self.rule_set, self.schema)
        return self

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
        self.generator.fitted_schema()
        schema = cast("Schema", self.schema)
        asked = read_where(where, schema, self.rule_set)
        rows, report = _Draw(self.generator, schema, self.rule_set, self.derived, asked, seed).make(n)
        shares = boundary_shares(rows, self.rule_set, schema) if n else {}
        for rule in report.rules:
            rule.boundary, rule.boundary_real = shares.get(rule.name), self.boundaries.get(rule.name)
        for name in self.booleans:
            if rows[name].notna().all():
                rows[name] = rows[name] == "true"
        return rows, report

    def save(self, folder: str | Path) -> None:
        """Write the generator and its rules to a folder, without pickle."""
        self.generator.save(folder)
        cast("Schema", self.schema).save(Path(folder) / "table.schema.json")
        extra = {"rules": format_rules(self.rule_set), "booleans": self.booleans, "boundaries": self.boundaries}
        write_text(Path(folder) / "synthesizer.json", json.dumps(extra, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Synthesizer:
        """Read what `save` wrote."""
        generator = Generator.load(folder)
        extra = json.loads((Path(folder) / "synthesizer.json").read_text(encoding="utf-8"))
        schema = Schema.load(Path(folder) / "table.schema.json")
        model = cls(generator.engine, schema=schema)
        model.generator, model.booleans, model.boundaries = generator, extra["booleans"], extra["boundaries"]
        text = extra["rules"]
        model.rule_set = parse_rules(text, schema, unseen="allow") if text.strip() else RuleSet(())
        found = sums(Compiled(model.rule_set.hard, schema))
        model.derived = {name: item for name, item in found.items() if name not in generator.schema}
        return model


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


class _Draw:
    """One call of `Synthesizer.sample`."""

    def __init__(
        self,
        generator: Generator,
        schema: Schema,
        rules: RuleSet,
        derived: Mapping[str, Derived],
        where: Where,
        seed: int,
    ) -> None:
        self.generator, self.schema, self.derived = generator, schema, derived
        learnt = generator.fitted_schema()
        self.box = Conditions({name: one for name, one in where.box.columns.items() if name in learnt})
        self.binding = RuleSet(
            (*(rule for rule in rules if rule.mode in ("hard", "reject")), *where.rules.rules), rules.file
        )
        self.seeds = np.random.SeedSequence(seed)
        self.report = SynthesisReport()

    def make(self, n: int) -> tuple[pd.DataFrame, SynthesisReport]:
        report, started = self.report, time.perf_counter()
        frame = self._fresh(n)
        report.rows, report.seconds["draw"] = n, time.perf_counter() - started
        if len(self.binding) and n:
            broken = self._broken(frame)
            report.rules = [
                RuleFigures(rule.name, float(part.mean())) for rule, part in zip(self.binding, broken, strict=True)
            ]
            left = np.flatnonzero(broken.any(0))
            report.broken_rows = len(left)
            left = self._redraw(frame, left, ROUNDS, LEAST, alike=True)
            report.redrawn_rows = report.broken_rows - len(left)
            self._repair(frame, left)
        report.seconds["rules"] = time.perf_counter() - started - report.seconds["draw"]
        return frame, report

    def _fresh(self, n: int) -> pd.DataFrame:
        """Rows on the lattice, as the engine draws them."""
        self.report.drawn += n
        drawn = snap(self.generator.sample(n, conditions=self.box, seed=self._seed()), self.generator.schema)
        for name, item in self.derived.items():
            drawn[name] = computed(drawn, name, item, self.schema)
        return snap(drawn, self.schema) if self.derived else drawn

    def _broken(self, frame: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows break which rule ``(rules, rows)``."""
        parts = []
        for chunk in open_table(frame).chunks():
            cells = ChunkCells(chunk, self.schema)
            parts.append(np.stack([~obeys(rule, cells) for rule in self.binding]))
        return np.concatenate(parts, 1)

    def _redraw(
        self, frame: pd.DataFrame, left: NDArray[np.intp], rounds: int, least: float, *, alike: bool
    ) -> NDArray[np.intp]:
        """Replace rows by draws that obey, in place; returns the rows for which none was found."""
        share = 1 - len(left) / len(frame)
        for _ in range(rounds):
            if not len(left) or share < least:
                break
            many = int(np.ceil(len(left) / max(share, least))) + 8
            fresh = self._fresh(many)
            good = np.flatnonzero(~self._broken(fresh).any(0))
            share = len(good) / many
            taken = np.arange(min(len(left), len(good)))
            if alike:  # else rows would win in which the cell that the rule needs is null
                taken, found = _matched(self._nulls(frame)[left], self._nulls(fresh)[good])
                good = good[found]
            _put(frame, left[taken], fresh.iloc[good[: len(taken)]])
            left = np.delete(left, taken)
        return left

    def _nulls(self, frame: pd.DataFrame) -> NDArray[np.int64]:
        """A number for which columns of the rules are null, by row."""
        missing = frame[list(self.binding.columns)].isna().to_numpy()
        weights = np.random.default_rng(0).integers(1 << 62, size=missing.shape[1])
        return np.asarray((missing * weights).sum(1), np.int64)

    def _repair(self, frame: pd.DataFrame, left: NDArray[np.intp]) -> None:
        """Repair rows in place, free what was moved, and replace what cannot be repaired."""
        if not len(left):
            return
        before = frame.iloc[left].reset_index(drop=True)
        after, found = repair(before, self.binding, self.schema, coerce=True)
        after = after.reset_index(drop=True)
        free, cells = loosen(before, after, Compiled(self.binding.hard, self.schema), self.generator, self._seed())
        kept = self._broken(free).any(0)
        free = free.where(~pd.Series(kept), after) if kept.any() else free
        self.report.loosened_cells, self.report.repaired_rows = cells, found.moved_rows
        _put(frame, left, free)
        broken = left[self._broken(free).any(0)]
        broken = self._redraw(frame, broken, LAST_ROUNDS, 0.0, alike=False) if len(broken) else broken
        self.report.violating_rows = len(broken)
        if len(broken):
            rule = self.binding.rules[int(self._broken(frame).sum(1).argmax())]
            raise DataError(
                f"no rows were found that obey `{rule.name}`: {len(broken)} of {len(frame)} are missing; relax it or "
                "the condition."
            )

    def _seed(self) -> int:
        return int(self.seeds.spawn(1)[0].generate_state(1)[0])


def _matched(wanted: NDArray[np.int64], found: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Places in both arrays that hold the same number, each used once.

    Example:
        >>> [places.tolist() for places in _matched(np.array([5, 7, 5, 9]), np.array([7, 5, 5, 5]))]
        [[0, 1, 2], [1, 0, 2]]
    """
    pairs = []
    for number in np.unique(wanted):
        ours, theirs = np.flatnonzero(wanted == number), np.flatnonzero(found == number)
        size = min(len(ours), len(theirs))
        pairs.append(np.stack([ours[:size], theirs[:size]]))
    both = np.concatenate(pairs, 1)
    both = both[:, np.argsort(both[0])]
    return both[0], both[1]


def _put(frame: pd.DataFrame, rows: NDArray[np.intp], values: pd.DataFrame) -> None:
    """Replace rows in place; a column of whole numbers may have to take nulls."""
    for name in frame.columns:
        series, new = frame[name], values[name]
        if series.dtype != new.dtype and pd.api.types.is_integer_dtype(series.dtype) and new.isna().any():
            series = series.astype("Int64")
        column = series.copy()
        column.iloc[rows] = new.to_numpy() if column.dtype == object else new.array
        frame[name] = column


def boundary_shares(frame: pd.DataFrame, rules: RuleSet, schema: Schema) -> dict[str, float]:
    """Share of the first rows that obey a rule without slack, by hard rule."""
    if not len(rules.hard):
        return {}
    first = frame[list(schema.names)][:SHOWN].reset_index(drop=True)
    _, report = repair(first, rules, schema)
    return {rule.name: rule.boundary_before / len(first) for rule in report.rules if rule.boundary_before is not None}
