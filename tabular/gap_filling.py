"""Fill the null cells of a table with draws given the other cells of their rows, so that the rules hold.

A gap is filled by the generator; where the row then breaks a rule, it is drawn again, and what still breaks one is
repaired with every cell that was given pinned, so that only the gaps move. A rule may demand that a cell is null; it
then stays so. Cells that were given are never touched: in a file, their bytes stay.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftable.errors import ConfigError, DataError

from .checking import check
from .chunk_repair import ChunkRepairer
from .compiler import Compiled
from .csv_text import Changes
from .derived_columns import computed
from .evaluation import ChunkCells, obeys_form
from .expressions import IsNull, RuleSet, atoms, columns_of, negation_normal_form
from .finishing import snap
from .generators.interface import Generator
from .io import Chunk, Table, open_table
from .repairing import fitted_column
from .rule_parser import Unseen
from .schema import Schema
from .synthesis import Synthesizer
from .synthesis_files import under_rules
from .table_frames import chunk_frame, shown
from .text_rows import TextRows, with_texts

__all__ = ["Filler", "ImputeReport", "Progress", "require_gaps"]

ROUNDS = 5  # how often rows that break a rule are drawn anew

Progress = Callable[[str, int], None]
"""Called after each chunk with what is being done (``fill`` or ``check``) and the number of rows so far."""


@dataclass
class ImputeReport:
    """What was done.

    Attributes:
        source: The table.
        rows: Its rows.
        null_cells: Null cells by column, before.
        filled_cells: How many of them were filled, by column.
        kept_cells: How many stay null by column: because a rule demands it, or nothing could be learnt of the column.
        repaired_rows: Rows whose draws broke a rule to the last and were moved, in their gaps alone.
        violating_rows: Rows that break a rule by the cells that were given; their cells in that rule stay as they are.
        seconds: Wall time.
    """

    source: str = ""
    rows: int = 0
    null_cells: dict[str, int] = field(default_factory=dict)
    filled_cells: dict[str, int] = field(default_factory=dict)
    kept_cells: dict[str, int] = field(default_factory=dict)
    repaired_rows: int = 0
    violating_rows: int = 0
    seconds: float = 0.0

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def summary(self) -> str:
        """The report in a few lines."""
        null, filled = sum(self.null_cells.values()), sum(self.filled_cells.values())
        lines = [f"{self.source}: {filled:,} of {null:,} null cells in {self.rows:,} rows were filled."]
        for name in self.null_cells:
            kept = self.kept_cells.get(name, 0)
            stay = f", {kept:,} stay null" if kept else ""
            lines.append(f"{self.filled_cells.get(name, 0):>10,}  {name}{stay}")
        if self.violating_rows:
            broken = f"{self.violating_rows:,}; `graftable repair` moves them."
            lines.append(f"Rows that break a rule by the cells they have: {broken}")
        return "\n".join(lines)


def require_gaps(generator: Generator | type[Generator], engine: str) -> None:
    """Check that an engine can fill gaps.

    Raises:
        ConfigError: If it cannot.
    """
    kind = generator if isinstance(generator, type) else type(generator)
    if kind.impute is Generator.impute:
        raise ConfigError(f"the engine `{engine}` cannot fill gaps; take circuit, copula or flow, which can.")


class Filler:
    """Fills the gaps of one table, chunk after chunk.

    Args:
        model: Draws the cells.
        table: The table, which has the columns of the model.
        rules: Rules beside those of the model.
        seed: Of the draws.
        unseen: Whether a category that the model never saw is an error.
    """

    def __init__(self, model: Synthesizer, table: Table, rules: Any, seed: int, unseen: Unseen) -> None:
        require_gaps(model.generator, model.engine)
        self.model = model if rules is None else under_rules(model, rules, unseen)
        self.table, self.seed = table, seed
        known = cast("Schema", self.model.schema)
        first = next(iter(table.chunks()))
        for name in known.names:
            if name not in table.names:
                raise DataError(f"{table.source}: has no column `{name}`, which the model has learnt; give its table.")
        self.schema = Schema(tuple(fitted_column(column, first) for column in known))
        binding = tuple(rule for rule in self.model.rule_set if rule.mode in ("hard", "reject"))
        self.binding = RuleSet(binding, self.model.rule_set.file)
        self._forms = [negation_normal_form(rule.expression) for rule in self.binding]
        # columns that a rule tests for null, and those of them whose value does not matter to it
        found = [list(atoms(rule.expression)) for rule in self.binding]
        self._tested = [frozenset(atom.column for atom in some if isinstance(atom, IsNull)) for some in found]
        valued = [
            {name for atom in some if not isinstance(atom, IsNull) for name in columns_of(atom)} for some in found
        ]
        self._demanded = [tested - used for tested, used in zip(self._tested, valued, strict=True)]
        self.report = ImputeReport(table.source)
        self._repairers: dict[frozenset[str], ChunkRepairer] = {}

    def run(self, writer: Any, progress: Progress | None) -> ImputeReport:
        """Fill and write all chunks, read them back, and check them."""
        started, report = time.perf_counter(), self.report
        for index, chunk in enumerate(self.table.chunks()):
            writer.write(chunk, self.changes(chunk, index))
            report.rows += chunk.num_rows
            if progress is not None:
                progress("fill", report.rows)
        note = None if progress is None else (lambda rows: progress("check", rows))
        found = check(writer.read_back(), self.binding, self.schema, examples=1, progress=note)
        if (found.rows, found.violating_rows) != (report.rows, report.violating_rows):
            raise DataError(
                f"{self.table.source}: was filled, but read back, {found.violating_rows} of {found.rows} rows break "
                f"a rule, where {report.violating_rows} of {report.rows} did before; nothing was written."
            )
        report.seconds = time.perf_counter() - started
        return report

    def changes(self, chunk: Chunk, index: int) -> Changes | None:
        """The new texts of the gaps of a chunk."""
        texts = {name: chunk.texts(name) for name in self.schema.names}
        given = TextRows(texts, chunk.num_rows, chunk.first_row)
        gaps = pd.DataFrame({name: np.asarray(pc.is_null(cells), bool) for name, cells in texts.items()})
        rows = np.flatnonzero(gaps.to_numpy().any(1))
        broken = np.asarray(self._broken(given).any(0))
        if not len(rows):
            self.report.violating_rows += int(broken.sum())
            return None
        filled = self._filled(given.take(rows), gaps.iloc[rows].reset_index(drop=True), index)
        broken[rows] = self._broken(filled).any(0)
        self.report.violating_rows += int(broken.sum())
        return self._counted(gaps, rows, filled)

    def _filled(self, given: TextRows, gaps: pd.DataFrame, index: int) -> TextRows:
        """Rows of which all have gaps, filled as far as the rules let them be."""
        frame = chunk_frame(cast("Chunk", given), self.schema, self.table)
        lost = self._broken(given, unknown=True).any(0)  # whatever stands in the gaps
        rows = self._drawn(given, gaps, frame, np.arange(given.num_rows), (index, 0))
        for attempt in range(ROUNDS):
            broken = np.flatnonzero(self._broken(rows).any(0) & ~lost)
            if not len(broken):
                break
            some = given.take(broken), gaps.iloc[broken].reset_index(drop=True)
            rows = rows.put(broken, self._drawn(*some, frame, broken, (index, attempt + 1)))
        for demanded in (self._demanded, self._tested):  # a cell that may be filled is not to be emptied
            broken = np.flatnonzero(self._broken(rows).any(0) & ~lost)
            if not len(broken):
                break
            part = self._emptied(rows.take(broken), given.take(broken), demanded)
            rows = rows.put(broken, part)
            rows = self._repaired(rows, gaps, broken[self._broken(part).any(0)])
        return self._given_back(rows, given)

    def _emptied(self, rows: TextRows, given: TextRows, by_rule: Sequence[frozenset[str]]) -> TextRows:
        """Rows with those gaps left open again that a rule wants to be null; the columns to try are given by rule."""
        for place, names in enumerate(by_rule):
            choices = [*([name] for name in sorted(names)), sorted(names)] if names else []
            for chosen in choices:
                part = TextRows({**rows.columns, **{name: given.columns[name] for name in chosen}}, rows.num_rows)
                better = np.flatnonzero(self._broken(rows)[place] & ~self._broken(part)[place])
                rows = rows.put(better, part.take(better)) if len(better) else rows
        return rows

    def _given_back(self, rows: TextRows, given: TextRows) -> TextRows:
        """Rows without the draws that could not be brought to obey."""
        seen = None
        while (broken := self._broken(rows)).any() and (seen is None or (broken != seen).any()):
            seen, columns = broken, dict(rows.columns)
            for rule, mask in zip(self.binding, broken, strict=True):
                for name in rule.columns if mask.any() else ():
                    columns[name] = pc.if_else(pa.array(mask), given.columns[name], columns[name])
            rows = TextRows(columns, rows.num_rows, rows.first_row)
        return rows

    def _drawn(
        self, given: TextRows, gaps: pd.DataFrame, frame: pd.DataFrame, rows: NDArray[np.intp], seed: tuple[int, int]
    ) -> TextRows:
        """The rows with every gap filled by a draw."""
        generator, derived = self.model.generator, self.model.derived
        learnt = list(generator.schema.names)
        number = int(np.random.SeedSequence([self.seed, *seed]).generate_state(1)[0])
        source = frame.iloc[rows].reset_index(drop=True)
        drawn = generator.impute(source[learnt], seed=number)
        drawn = snap(drawn, Schema(tuple(self.schema[name] for name in learnt)))
        for name, item in derived.items():
            drawn[name] = computed(drawn, name, item, self.schema)
        drawn = snap(drawn, self.schema)
        columns = dict(given.columns)
        table = open_table(drawn)
        chunks = list(table.chunks())
        for name in self.schema.names:
            mask = gaps[name].to_numpy()
            if mask.any():
                found = pa.concat_arrays([chunk.texts(name) for chunk in chunks])
                found = shown(self.schema[name], found, self.table.decimal)
                columns[name] = pc.if_else(pa.array(mask), found, columns[name])
        return TextRows(columns, given.num_rows, given.first_row)

    def _repaired(self, rows: TextRows, gaps: pd.DataFrame, broken: NDArray[np.intp]) -> TextRows:
        """Rows that break a rule, moved in their gaps alone."""
        bound = sorted(set(self.binding.columns))
        masks = gaps[bound].to_numpy()[broken]
        kinds, group = np.unique(masks, axis=0, return_inverse=True)
        for place, kind in enumerate(kinds):
            mine = broken[group.reshape(-1) == place]
            open_columns = frozenset(np.array(bound)[kind].tolist())
            if not open_columns:
                continue
            part = rows.take(mine)
            done = self._repairer(open_columns).repair(cast("Chunk", part))
            columns = dict(part.columns)
            for name, (places, texts) in done.changes.items():
                columns[name] = with_texts(columns[name], places, texts)
            self.report.repaired_rows += done.moved_rows
            rows = rows.put(mine, TextRows(columns, part.num_rows))
        return rows

    def _repairer(self, free: frozenset[str]) -> ChunkRepairer:
        if free not in self._repairers:
            pins = tuple(name for name in self.schema.names if name in self.binding.columns and name not in free)
            compiled = Compiled(self.binding, self.schema, pins)
            self._repairers[free] = ChunkRepairer(compiled, self.table.decimal, self.table.source)
        return self._repairers[free]

    def _broken(self, rows: TextRows, unknown: bool | None = None) -> NDArray[np.bool_]:
        """Which rows break which rule ``(rules, rows)``; ``unknown`` says what an unknown outcome counts for."""
        cells = ChunkCells(cast("Chunk", rows), self.schema, self.table.decimal, self.table.source)
        broken = np.zeros((len(self.binding), rows.num_rows), bool)
        for place, (rule, form) in enumerate(zip(self.binding, self._forms, strict=True)):
            counts = rule.when_missing == "satisfied" if unknown is None else unknown
            broken[place] = ~obeys_form(form, cells, counts)
        return broken

    def _counted(self, gaps: pd.DataFrame, rows: NDArray[np.intp], filled: TextRows) -> Changes:
        """The cells that got a text, and the count of them."""
        changes: dict[str, tuple[NDArray[np.int64], Sequence[str | None]]] = {}
        report = self.report
        for name in self.schema.names:
            mask = gaps[name].to_numpy()[rows]
            if not mask.any():
                continue
            present = mask & ~np.asarray(pc.is_null(filled.columns[name]), bool)
            places = np.flatnonzero(present)
            counts = (report.null_cells, int(mask.sum())), (report.filled_cells, len(places))
            for counted, number in (*counts, (report.kept_cells, int(mask.sum()) - len(places))):
                if number:
                    counted[name] = counted.get(name, 0) + number
            if len(places):
                changes[name] = rows[places], filled.columns[name].take(pa.array(places)).to_pylist()
        return changes
