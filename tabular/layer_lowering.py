"""From the integers of a compiled program, by name, to the tensors of `graftable.tabular.layer_walks`, by place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from graftable.graphs.ops import Adjacency

from .elimination import Bound
from .layer_walks import Choice, Part, Plan, Side
from .program import Cell, Program

__all__ = ["Lowering"]


@dataclass(frozen=True)
class Lowering:
    """Makes the plan of a program.

    Attributes:
        program: The program.
        columns: The names of the columns of a batch.
        like: A tensor of the device and the type of number that are wanted.
    """

    program: Program
    columns: Sequence[str]
    like: Tensor

    def plan(self) -> Plan:
        """The plan: rules without a choice as one part, whatever their components, and one part for each choice."""
        convex = [component.cells[0] for component in self.program.components if len(component.cells) == 1]
        parts = [self.part(component.cells) for component in self.program.components if len(component.cells) > 1]
        if convex:
            parts.insert(0, self.part([_merged(convex)]))
        scales = [self.program.scales[name] for name in self.touched]
        moved = {place for part in parts for side in part.sides for place in side.targets.tolist()}
        return Plan(
            tuple(parts),
            self._places([self.columns.index(name) for name in self.touched]),
            self.like.new_tensor([scale for scale in scales if scale != 1]).unsqueeze(1),
            self._places(sorted(moved)),
        )

    @cached_property
    def touched(self) -> list[str]:
        """The columns that the rules speak of, those with several lattice points a unit first."""
        return sorted(self.program.columns, key=lambda name: (self.program.scales[name] == 1, self.columns.index(name)))

    @cached_property
    def place(self) -> dict[str, int]:
        """Where each of them lies."""
        return {name: index for index, name in enumerate(self.touched)}

    def part(self, cells: Sequence[Cell]) -> Part:
        """Cells of one component, or a single one.

        Cells share most of their bounds, so that these are written down once, with the cells in which they count:
        every row then takes the same few products, wherever it goes.
        """
        stages = [_stages(cell) for cell in cells]
        sides = []
        for stage in sorted({stage for found in stages for stage, _ in found}):
            for upper in (False, True):
                holders: dict[tuple[str, Bound], list[int]] = {}
                for index, found in enumerate(stages):
                    for entry in found.get((stage, upper), ()):
                        holders.setdefault(entry, []).append(index)
                if holders:
                    sides.append(self.side(holders, len(cells), upper))
        named = sorted({name for cell in cells for name, _ in cell.categories})
        allowed = {name: self._allowed(name, cells) for name in named}
        return Part(tuple(sides), self.choice(cells) if len(cells) > 1 else None, allowed)

    def choice(self, cells: Sequence[Cell]) -> Choice:
        """How far a row is from each of several cells."""
        rows = sorted({row for cell in cells for row in cell.rows}, key=lambda row: (row.terms, row.bound))
        held = [set(cell.rows) for cell in cells]
        spreads = self.program.spreads
        reach = [max(abs(a) * spreads[name] for name, a in row.terms) for row in rows]
        unmet = [("", Bound(1, tuple((name, -a) for name, a in row.terms), row.bound)) for row in rows]
        sets = sorted({entry for cell in cells for entry in cell.categories}, key=str)
        return Choice(
            self.side({entry: [0] for entry in unmet}, 1, False) if rows else None,
            self.like.new_tensor([1.0 / each for each in reach]).unsqueeze(1),
            self.like.new_tensor([[float(row in own) for row in rows] for own in held]),
            tuple((name, self._mask(name, kept), self._with((name, kept), cells)) for name, kept in sets),
        )

    def side(self, holders: Mapping[tuple[str, Bound], list[int]], count: int, upper: bool) -> Side:
        """Bounds by the cells, of ``count``, that hold them; those of no column, named "", are not compared."""
        entries = sorted(holders, key=lambda entry: self.place.get(entry[0], -1))
        bounds = [bound for _, bound in entries]
        grouped = [(name, len(list(found))) for name, found in groupby(entries, lambda entry: entry[0])]
        ptr = torch.tensor([0, *(len(bound.terms) for bound in bounds)]).cumsum(0)
        col = torch.tensor([self.place[name] for bound in bounds for name, _ in bound.terms], dtype=torch.int64)
        ends = torch.tensor([0, *(size for _, size in grouped)]).cumsum(0)
        divisor = [bound.coefficient for bound in bounds]
        alone = all(size == 1 for _, size in grouped) or not entries[0][0]
        return Side(
            self._places([self.place.get(name, 0) for name, _ in grouped]),
            Adjacency.from_ptr(ptr, col, len(self.touched)).to(self.like.device),
            self.like.new_tensor([a for bound in bounds for _, a in bound.terms]),
            self.like.new_tensor([bound.constant for bound in bounds]).unsqueeze(1),
            self.like.new_tensor(divisor).unsqueeze(1) if set(divisor) != {1} else None,
            self._idle([holders[entry] for entry in entries], count, upper) if count > 1 else None,
            None if alone else Adjacency.from_ptr(ends).to(self.like.device),
            upper,
        )

    def _idle(self, held: Sequence[Sequence[int]], count: int, upper: bool) -> Tensor:
        idle = self.like.new_full((len(held), count + 1), float("inf") if upper else float("-inf"))
        for row, cells in zip(idle, held, strict=True):
            row[list(cells)] = 0.0
        return idle

    def _places(self, places: Sequence[int]) -> Tensor:
        return torch.tensor(places, dtype=torch.int64, device=self.like.device)

    def _with(self, entry: tuple[str, tuple[str | None, ...]], cells: Sequence[Cell]) -> Tensor:
        return self.like.new_tensor([float(entry in cell.categories) for cell in cells])

    def _allowed(self, name: str, cells: Sequence[Cell]) -> Tensor:
        """Of each cell; the one after the last allows everything."""
        everything = (*self.program.categories[name], None)
        kept = [dict(cell.categories).get(name, everything) for cell in cells]
        return torch.stack([self._mask(name, values) for values in (*kept, everything)])

    def _mask(self, name: str, kept: tuple[str | None, ...]) -> Tensor:
        """Which categories are allowed; the last entry is that of an unlisted one."""
        known = self.program.categories[name]
        return torch.tensor([value in kept for value in (*known, None)], device=self.like.device)


def _merged(cells: Sequence[Cell]) -> Cell:
    """Cells that share no column, as one."""
    return Cell(
        tuple(row for cell in cells for row in cell.rows),
        tuple(entry for cell in cells for entry in cell.categories),
        tuple(level for cell in cells for level in cell.levels),
        tuple(item for cell in cells for item in cell.derived),
    )


def _stages(cell: Cell) -> dict[tuple[int, bool], list[tuple[str, Bound]]]:
    """The lower and the upper bounds of columns that can be corrected at once, each after those that it needs."""
    steps = [(level.column, level.lower, level.upper) for level in cell.levels]
    for item in cell.derived:  # a value that is both the least and the most
        exact = (Bound(item.coefficient, item.terms, item.constant),)
        steps.append((item.column, exact, exact))
    depth: dict[str, int] = {}
    found: dict[tuple[int, bool], list[tuple[str, Bound]]] = {}
    for column, lower, upper in steps:
        before = [depth.get(name, 0) for bound in (*lower, *upper) for name, _ in bound.terms]
        depth[column] = 1 + max(before, default=0)
        for side, bounds in ((False, lower), (True, upper)):
            found.setdefault((depth[column], side), []).extend((column, bound) for bound in bounds)
    return found
