"""Repair the rows of one chunk: find those that break a rule, correct them on the lattice, and prove it on their texts.

What comes out is a list of new texts for single cells. A row gets none unless, with them, the very rules that found it
broken find that it obeys; a row for which that cannot be done keeps its cells and is named with a reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftable.errors import DataError

from .arrow_tables import typed_cells
from .compiler import Compiled
from .draft import DAYS, Draft, clip_range
from .evaluation import ChunkCells, Mask, obeys_form
from .expressions import Comparison, Expression, Linear, Rule, any_of, negation_normal_form
from .io import Chunk
from .lattice import format_dates, format_numbers
from .normal_form import Row, literals
from .null_cells import correct_rows, parts_of
from .repair_report import ChunkRepair, Quarantined
from .schema import ColumnSchema
from .text_rows import TextRows

__all__ = ["ChunkRepairer"]


class ChunkRepairer:
    """Repairs chunk after chunk of one table.

    Args:
        compiled: The hard rules, with the schema and the pinned columns.
        decimal: The decimal mark of the texts.
        source: The table, as errors name it.
        coerce: Clip infinities and numbers past the lattice to the range of their column; else their rows are
            quarantined.
    """

    def __init__(self, compiled: Compiled, decimal: str = ".", source: str = "the table", coerce: bool = False) -> None:
        self.compiled, self.decimal, self.source, self.coerce = compiled, decimal, source, coerce
        self.binding: tuple[Rule, ...] = tuple(rule for rule in compiled.rules if rule.mode in ("hard", "reject"))
        self.columns = tuple(sorted({column for rule in self.binding for column in rule.columns}))
        # texts that only other rules name have no code here, so that codes are those of the parts
        limits = compiled.pinned, compiled.max_cells, compiled.max_rows
        self._hard = Compiled(compiled.rules.hard, compiled.schema, *limits)
        self._parts = parts_of(self._hard)
        self._forms = [negation_normal_form(rule.expression) for rule in self.binding]

    @cached_property
    def _edges(self) -> list[Expression]:
        """For each hard rule, the expression that holds where one of its comparisons has no slack left."""
        return [_edge(formula, self.compiled.lattice.scales) for formula in self.compiled.formulas()]

    def require_consistent(self) -> None:
        """Compile the rules.

        Raises:
            ContradictionError: If no row can obey them; it names the rules that contradict each other.
        """
        for part in self._parts:
            if part.nearest_nulls(()) is None:
                part.program()

    def repair(self, chunk: Chunk) -> ChunkRepair:
        """Repair a chunk.

        Raises:
            DataError: If a cell that must hold a number does not.
        """
        cells = self._cells(chunk)
        broken = self._broken(cells)
        edges = self._on_edge(cells, broken)
        rows = np.flatnonzero(broken.any(axis=0))
        result = ChunkRepair(
            broken=broken.sum(axis=1).tolist(),
            moved=[0] * len(self.binding),
            boundary_before=edges.sum(axis=1).tolist(),
            boundary_after=edges.sum(axis=1).tolist(),
        )
        if not len(rows):
            return result
        draft = Draft(chunk, cells, rows, self._hard)
        self._correct(draft, broken[:, rows])
        written = self._confirm(draft)
        self._report(draft, written, broken[:, rows], edges[:, rows], result)
        return result

    def _cells(self, chunk: Chunk) -> ChunkCells:
        return ChunkCells(chunk, self.compiled.schema, self.decimal, self.source)

    def _broken(self, cells: ChunkCells) -> Mask:
        """Per binding rule and row, whether it is broken."""
        broken = np.empty((len(self.binding), cells.num_rows), bool)
        for index, (rule, form) in enumerate(zip(self.binding, self._forms, strict=True)):
            broken[index] = ~obeys_form(form, cells, rule.when_missing == "satisfied")
        return broken

    def _on_edge(self, cells: ChunkCells, broken: Mask) -> Mask:
        hard = [index for index, rule in enumerate(self.binding) if rule.mode == "hard"]
        met = [obeys_form(edge, cells, False) & ~broken[i] for i, edge in zip(hard, self._edges, strict=True)]
        return np.array(met, bool).reshape(len(hard), cells.num_rows)

    def _correct(self, draft: Draft, broken: Mask) -> None:
        """Move the rows on the lattice, one part of the rules after the other."""
        hard = np.array([rule.mode == "hard" for rule in self.binding])
        draft.refuse(np.flatnonzero(~broken[hard].any(axis=0)), "breaks a rule that can be checked but not repaired")
        self._bring_back(draft)
        pinned = ", ".join(f"`{column}`" for column in self.compiled.pinned)
        reason = f"no row with the same {pinned} obeys the rules" if pinned else "no row that obeys was found near it"
        for part in self._parts:
            members = np.flatnonzero(draft.open)
            found = correct_rows(part, *draft.columns_of(part, members))
            draft.put(members, found)
            draft.refuse(members[~found.solved], reason)

    def _bring_back(self, draft: Draft) -> None:
        """Clip what is past the lattice, or give its rows up."""
        for column, beyond in draft.beyond.items():
            members = np.flatnonzero(beyond)
            if not len(members):
                continue
            if not self.coerce or column in self.compiled.pinned:
                advice = f"and `{column}` is pinned" if self.coerce else "--coerce clips it"
                draft.refuse(members, f"`{column}` is infinite or past the numbers that can be repaired; {advice}")
                continue
            known = self.compiled.schema[column]
            low, high = clip_range(known, draft.limit(column))
            ends = [high if draft.upward[column][row] else low for row in members]
            draft.before[column][members] = draft.numbers[column][members] = ends
            draft.rewrite(column, members)

    def _confirm(self, draft: Draft) -> dict[str, tuple[Mask, NDArray[Any]]]:
        """The new texts of the rows that obey with them; all others are given up."""
        written = {column: self._texts(draft, column) for column in draft.missing}
        wrong = draft.open & ~self._obeys(draft, written)
        rough = {column: wrong & ~exact for column, exact in draft.exact.items() if column not in self.compiled.pinned}
        if any(cells.any() for cells in rough.values()):  # what was rounded has to be written as it was rounded
            for column, cells in rough.items():
                draft.rewrite(column, cells & ~draft.null[column])
            written = {column: self._texts(draft, column) for column in draft.missing}
            wrong = draft.open & ~self._obeys(draft, written)
        draft.refuse(np.flatnonzero(wrong), "no row that obeys was found near it")
        for column, (changed, texts) in written.items():
            kind = draft.kind(column)
            if kind is not None and changed.any():
                places = np.flatnonzero(changed)
                for place in places[~_held(texts[places].tolist(), kind)]:
                    draft.refuse(np.array([place]), f"`{column}` cannot hold {texts[place]} as {kind}")
        return {column: (changed & draft.open, texts) for column, (changed, texts) in written.items()}

    def _texts(self, draft: Draft, column: str) -> tuple[Mask, NDArray[Any]]:
        """Which cells of a column change, and to what."""
        known = self.compiled.schema[column]
        if column in draft.numbers and known.kind == "datetime":
            low, high = (day * known.scale for day in DAYS)
            outside = (draft.numbers[column] < low) | (draft.numbers[column] > high)
            draft.refuse(np.flatnonzero(np.asarray(outside, bool)), f"`{column}` would leave the calendar")
        changed = draft.changed(column)
        texts = np.full(len(changed), None, object)
        places = np.flatnonzero(changed & ~draft.null[column])
        if not len(places):
            return changed, texts
        if column in draft.numbers:
            texts[places] = _format(known, draft.numbers[column][places], self.decimal)
        elif column in draft.codes:
            categories = np.array([*self._hard.lattice.categories[column], known.fill], object)
            texts[places] = categories[draft.codes[column][places]]
        else:
            texts[places] = known.fill
        return changed, texts

    def _obeys(self, draft: Draft, written: Mapping[str, tuple[Mask, NDArray[Any]]]) -> Mask:
        return np.asarray(~self._broken(self._candidate(draft, written)).any(axis=0))

    def _candidate(self, draft: Draft, written: Mapping[str, tuple[Mask, NDArray[Any]]]) -> ChunkCells:
        """The broken rows with their new texts."""
        columns = {}
        for column in self.columns:
            old = draft.chunk.texts(column).take(pa.array(draft.rows))
            changed, texts = written.get(column, (np.zeros(len(draft.rows), bool), np.empty(0)))
            new = pa.array(texts[changed].tolist() if changed.any() else [], pa.string())
            columns[column] = pc.replace_with_mask(old, pa.array(changed), new) if len(new) else old
        return self._cells(TextRows(columns, len(draft.rows)))

    def _report(
        self,
        draft: Draft,
        written: Mapping[str, tuple[Mask, NDArray[Any]]],
        broken: Mask,
        edges: Mask,
        result: ChunkRepair,
    ) -> None:
        """Fill in what was done."""
        moved = draft.open
        result.moved = (broken & moved).sum(axis=1).tolist()
        result.moved_rows, result.searched = int(moved.sum()), int((moved & draft.searched).sum())
        after = self._candidate(draft, written)
        edges_after = self._on_edge(after, self._broken(after))
        gained = edges_after.sum(axis=1) - edges.sum(axis=1)
        result.boundary_after = (np.array(result.boundary_before, int) + gained).tolist()
        for column, (changed, texts) in written.items():
            places = np.flatnonzero(changed)
            if not len(places):
                continue
            result.changes[column] = (draft.rows[places], texts[places].tolist())
            filled = draft.missing[column][places] & ~draft.null[column][places]
            emptied = ~draft.missing[column][places] & draft.null[column][places]
            result.filled, result.emptied = result.filled + int(filled.sum()), result.emptied + int(emptied.sum())
            clipped = draft.beyond.get(column, np.zeros(len(changed), bool))[places]
            result.clipped += int(clipped.sum())
            kept = places[~(filled | emptied | clipped)]
            if column in draft.numbers:
                result.distances[column] = self._distances(draft, column, kept)
            elif column in draft.codes:
                result.flipped[column] = len(kept)
        result.quarantined = self._quarantined(draft)

    def _distances(self, draft: Draft, column: str, places: NDArray[np.intp]) -> NDArray[np.float64]:
        known = self.compiled.schema[column]
        moves = draft.numbers[column][places].astype(object) - draft.before[column][places].astype(object)
        return np.asarray(np.abs(moves.astype(np.float64)) / float(known.spread * known.scale))

    def _quarantined(self, draft: Draft) -> list[Quarantined]:
        """The rows that were given up."""
        refused = np.flatnonzero(~draft.open)
        places = draft.rows[refused]
        texts = [draft.chunk.texts(column).take(pa.array(places)).to_pylist() for column in self.columns]
        first, place = draft.chunk.first_row, draft.chunk.place
        return [
            Quarantined(first + at, place(at), str(reason), dict(zip(self.columns, cells, strict=True)))
            for at, reason, *cells in zip(places.tolist(), draft.reasons[refused], *texts, strict=True)
        ]


def _edge(formula: Any, scales: Mapping[str, int]) -> Expression:
    """Holds where some row of the formula has no slack, in values."""
    rows = dict.fromkeys(literal for literal in literals(formula) if isinstance(literal, Row))
    return any_of(
        Comparison(Linear.of_terms({column: a * scales[column] for column, a in row.terms}, -row.bound), "==")
        for row in rows
    )


def _format(column: ColumnSchema, numbers: NDArray[Any], decimal: str) -> list[str]:
    if column.kind == "datetime":
        return format_dates(numbers, column.date_format or "%Y-%m-%d", column.decimals)
    return format_numbers(numbers, column.scale, column.shown_decimals, decimal)


def _held(texts: Sequence[str | None], kind: pa.DataType) -> Mask:
    """Which texts a type holds exactly: all at once, and by halves where that fails."""
    try:
        typed_cells(texts, kind, "the column")
    except DataError:
        if len(texts) == 1:
            return np.array([False])
        half = len(texts) // 2
        return np.concatenate([_held(texts[:half], kind), _held(texts[half:], kind)])
    return np.ones(len(texts), bool)
