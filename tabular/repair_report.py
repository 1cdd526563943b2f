"""What a repair did: how many rows moved, by which rule, how far, and what could not be repaired."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from .expressions import Rule

__all__ = ["ChunkRepair", "ColumnMoves", "QuarantineFile", "Quarantined", "RepairReport", "RuleMoves"]

_MOST_NAMED = 1000


@dataclass(frozen=True)
class Quarantined:
    """A row that could not be repaired and is as it was.

    Attributes:
        row: Its number, from 0 at the top of the table.
        place: Where it stands, such as ``line 214``.
        reason: Why.
        cells: The texts of the columns that rules speak of.
    """

    row: int
    place: str
    reason: str
    cells: dict[str, str | None]


@dataclass
class ChunkRepair:
    """What is to be done to a chunk, and what it amounts to.

    Attributes:
        changes: New texts by column, with the rows of the chunk that they are for; None empties a cell.
        quarantined: Rows that break a rule and stay as they are.
        broken: Per binding rule, how many rows broke it.
        moved: Per binding rule, how many of these were repaired.
        moved_rows: Rows with a new text.
        searched: Those of them that only the row search could repair.
        boundary_before: Per hard rule, rows that obey it without slack.
        boundary_after: The same after the repair.
        distances: By column, how far its moved numbers went, in spreads.
        flipped: By column, how many cells changed their category.
        filled: How many null cells were filled.
        emptied: How many cells were emptied.
        clipped: How many infinities and numbers past the lattice were brought back.
    """

    changes: dict[str, tuple[NDArray[np.int64], list[str | None]]] = field(default_factory=dict)
    quarantined: list[Quarantined] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    moved: list[int] = field(default_factory=list)
    moved_rows: int = 0
    searched: int = 0
    boundary_before: list[int] = field(default_factory=list)
    boundary_after: list[int] = field(default_factory=list)
    distances: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    flipped: dict[str, int] = field(default_factory=dict)
    filled: int = 0
    emptied: int = 0
    clipped: int = 0


@dataclass
class RuleMoves:
    """What a rule had to do with the repair.

    Attributes:
        name: The rule.
        mode: Its mode.
        line: Its line.
        broken: Rows that broke it.
        moved: Those of them that were repaired.
        boundary_before: Rows that obeyed it without slack; None for a rule that is only checked.
        boundary_after: The same after the repair.
    """

    name: str
    mode: str
    line: int
    broken: int = 0
    moved: int = 0
    boundary_before: int | None = None
    boundary_after: int | None = None


@dataclass
class ColumnMoves:
    """How far the cells of a column moved.

    Attributes:
        moved: Numbers that moved.
        mean: Their mean distance, in spreads of the column.
        largest: Their largest distance.
        flipped: Cells that changed their category.
    """

    moved: int = 0
    mean: float = 0.0
    largest: float = 0.0
    flipped: int = 0

    def add(self, distances: NDArray[np.float64]) -> None:
        """Take the distances of one more chunk."""
        if len(distances):
            total = self.mean * self.moved + float(distances.sum())
            self.moved += len(distances)
            self.mean, self.largest = total / self.moved, max(self.largest, float(distances.max()))


@dataclass
class RepairReport:
    """What a repair did.

    Attributes:
        source: The table.
        rows: How many rows it has.
        moved_rows: Rows of which some cells were rewritten.
        searched_rows: Those of them that only a search of the single row could repair.
        quarantined_rows: Rows that break a rule still, and are as they were.
        filled: Null cells that were filled.
        emptied: Cells that were emptied.
        clipped: Infinities and numbers past the lattice that were clipped.
        rules: The binding rules, in the order of the file.
        columns: The columns of which some cell was rewritten.
        quarantine: The quarantined rows, at most 1,000 of a file; the file beside the output has all.
        warnings: Sentences on rules that no row obeyed.
        seconds: How long it took, with reading and writing.
        out: Where the repaired table is.
        quarantine_file: Where the list of the quarantined rows is, if there are any.
    """

    source: str
    rows: int = 0
    moved_rows: int = 0
    searched_rows: int = 0
    quarantined_rows: int = 0
    filled: int = 0
    emptied: int = 0
    clipped: int = 0
    rules: list[RuleMoves] = field(default_factory=list)
    columns: dict[str, ColumnMoves] = field(default_factory=dict)
    quarantine: list[Quarantined] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0
    out: str | None = None
    quarantine_file: str | None = None

    def add(self, rows: int, repair: ChunkRepair, rules: Sequence[Rule], most: int | None = _MOST_NAMED) -> None:
        """Take one more chunk."""
        if not self.rules:
            self.rules = [RuleMoves(rule.name, rule.mode, rule.line) for rule in rules]
        self.rows += rows
        self.moved_rows += repair.moved_rows
        self.searched_rows += repair.searched
        self.quarantined_rows += len(repair.quarantined)
        self.filled += repair.filled
        self.emptied += repair.emptied
        self.clipped += repair.clipped
        for rule, broken, moved in zip(self.rules, repair.broken, repair.moved, strict=True):
            rule.broken, rule.moved = rule.broken + broken, rule.moved + moved
        hard = [rule for rule in self.rules if rule.mode == "hard"]
        for rule, before, after in zip(hard, repair.boundary_before, repair.boundary_after, strict=True):
            rule.boundary_before = (rule.boundary_before or 0) + before
            rule.boundary_after = (rule.boundary_after or 0) + after
        for column in repair.changes:
            moves = self.columns.setdefault(column, ColumnMoves())
            moves.add(repair.distances.get(column, np.empty(0)))
            moves.flipped += repair.flipped.get(column, 0)
        room = len(repair.quarantined) if most is None else most - len(self.quarantine)
        self.quarantine += repair.quarantined[: max(room, 0)]

    def finish(self, rules: Sequence[Rule]) -> None:
        """Write the warnings, now that every row was seen."""
        for moves, rule in zip(self.rules, rules, strict=True):
            if moves.broken == self.rows:
                place = f"{rule.file}, line {rule.line}: " if rule.file else ""
                self.warnings.append(f"{place}no row obeyed `{rule.name}`; check its direction and its units.")

    def to_json(self) -> str:
        """The report as JSON.

        Example:
            >>> json.loads(RepairReport("t.csv", rows=3, moved_rows=1).to_json())["moved_rows"]
            1
        """
        return json.dumps({"version": 1, **asdict(self)}, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        """A summary, a line for each rule that rows broke, and a line for each column that moved."""
        share = 100 * self.moved_rows / self.rows if self.rows else 0.0
        lines = [f"{self.source}: {self.moved_rows:,} of {self.rows:,} rows moved ({share:.2f} %)."]
        for rule in self.rules:
            if rule.broken:
                lines.append(f"{rule.moved:>10,}  {rule.name}{self._boundary(rule)}")
        for name, moves in self.columns.items():
            parts = [f"{moves.moved:,} numbers by {moves.mean:.3g} spreads, at most {moves.largest:.3g}"]
            parts = parts if moves.moved else []
            parts += [f"{moves.flipped:,} categories"] if moves.flipped else []
            lines += [f"  {name}: moved {' and '.join(parts)}"] if parts else []
        counts = {"filled": self.filled, "emptied": self.emptied, "clipped": self.clipped}
        if any(counts.values()):
            lines.append("  cells " + ", ".join(f"{word}: {count:,}" for word, count in counts.items() if count))
        if self.quarantined_rows:
            reasons = sorted({row.reason for row in self.quarantine})[:3]
            lines.append(f"{self.quarantined_rows:,} rows in quarantine, as they were: {'; '.join(reasons)}.")
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])

    def _boundary(self, rule: RuleMoves) -> str:
        if rule.boundary_before is None or rule.boundary_after is None or not self.rows:
            return ""
        before, after = 100 * rule.boundary_before / self.rows, 100 * rule.boundary_after / self.rows
        return f"  (without slack: {before:.2f} % before, {after:.2f} % now)"


class QuarantineFile:
    """Writes quarantined rows to a CSV of their number, place, reason and cells.

    Args:
        file: Where the text goes.
        columns: The columns whose cells are shown.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[str]) -> None:
        self.file, self.columns = file, columns
        self._write([["row", "place", "reason", *columns]])

    @staticmethod
    def path(out: Path) -> Path:
        """Where the list for an output lies."""
        return out.with_name(f"{out.name}.quarantine.csv")

    def add(self, rows: Sequence[Quarantined]) -> None:
        """Append rows; a null cell is empty."""
        self._write([[str(row.row), row.place, row.reason, *map(row.cells.get, self.columns)] for row in rows])

    def _write(self, rows: Sequence[Sequence[str | None]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self.file.write(text.getvalue().encode())
