"""Rows that obey: draw, draw again what broke a rule, repair what is left, and free it from bounds.

A row that breaks a rule is drawn anew, which gives exactly the distribution of the rows that obey. What still breaks
one is repaired, which would pile rows up on the bounds; so each number that the repair moved is drawn once more, from
its distribution given the rest of the row, between the bounds that the rest leaves it. All rows are checked last.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graftable.errors import DataError

from .compiler import Compiled
from .derived_columns import computed
from .equalities import Derived
from .evaluation import ChunkCells, obeys
from .expressions import RuleSet
from .finishing import snap
from .generators.conditions import Where
from .generators.interface import Conditions, Generator
from .generators.loosening import loosen
from .io import open_table
from .repairing import repair
from .schema import Schema
from .synthesis_report import RuleFigures, SynthesisReport

__all__ = ["Draw", "binding", "broken_rules"]

ROUNDS = 3  # how often rows that break a rule are drawn anew
LEAST = 0.2  # share of rows that must obey for this to be worth while
LAST_ROUNDS = 50  # how often rows without a repair are replaced before giving up


def binding(rules: RuleSet) -> RuleSet:
    """The rules that no row may break."""
    return RuleSet(tuple(rule for rule in rules if rule.mode in ("hard", "reject")), rules.file)


def broken_rules(frame: pd.DataFrame, rules: RuleSet, schema: Schema) -> NDArray[np.bool_]:
    """Which rows break which rule ``(rules, rows)``."""
    parts = []
    for chunk in open_table(frame).chunks():
        cells = ChunkCells(chunk, schema)
        parts.append(np.stack([~obeys(rule, cells) for rule in rules]))
    return np.concatenate(parts, 1)


class Draw:
    """One draw of rows that obey; see the top of this module.

    Args:
        generator: Draws.
        schema: All columns, those too that are computed.
        rules: The rules.
        derived: Columns that are computed from others.
        where: What the rows are to have in common.
        seed: The same seed gives the same rows.
    """

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
        self.binding = RuleSet((*binding(rules), *where.rules), rules.file)
        self.seeds = np.random.SeedSequence(seed)
        self.report = SynthesisReport()

    def make(self, n: int) -> tuple[pd.DataFrame, SynthesisReport]:
        """Rows, and what was done.

        Raises:
            DataError: If no row that obeys was found.
        """
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
        return broken_rules(frame, self.binding, self.schema)

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
