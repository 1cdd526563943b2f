"""From the integers of a compiled program, by name, to the tensors of `graftable.tabular.layer_walks`, by place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from graftable.graphs.ops import Adjacency

from .elimination import Bound
from .layer_walks import Choice, Part, Plan, Side, Sums
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
        moved = [self.place[name] for name in self.touched if name in self.bounded]
        return Plan(
            tuple(parts),
            self._places([self.columns.index(name) for name in self.touched]),
            self.like.new_tensor([scale for scale in scales if scale != 1]).unsqueeze(1),
            slice(moved[0], moved[-1] + 1) if moved else slice(0, 0),
        )

    @cached_property
    def bounded(self) -> frozenset[str]:
        """The columns that some cell may move."""
        cells = (cell for component in self.program.components for cell in component.cells)
        return frozenset(name for cell in cells for found in _stages(cell).values() for name, _ in found)

    @cached_property
    def touched(self) -> list[str]:
        """The columns that the rules speak of: those with several lattice points a unit first, `bounded` in a row."""

        def order(name: str) -> tuple[bool, bool, int]:
            plain = self.program.scales[name] == 1
            return plain, (name in self.bounded) != plain, self.columns.index(name)

        return sorted(self.program.columns, key=order)

    @cached_property
    def place(self) -> dict[str, int]:
        """Where each of them lies."""
        return {name: index for index, name in enumerate(self.touched)}

    def part(self, cells: Sequence[Cell]) -> Part:
        """Cells of one component, or a single one.

        Cells share most of their bounds, so that these are written down once, with the cells in which they count:
        every row then takes the same few products, wherever it goes. Bounds by a constant cost no product at all.
        """
        stages = [_stages(cell) for cell in cells]
        sides = []
        for stage in sorted({stage for found in stages for stage, _ in found}):
            for upper in (False, True):
                holders: dict[tuple[str, Bound], list[int]] = {}
                for index, found in enumerate(stages):
                    for entry in found.get((stage, upper), ()):
                        holders.setdefault(entry, []).append(index)
                constant = {entry: held for entry, held in holders.items() if not entry[1].terms}
                varying = {entry: held for entry, held in holders.items() if entry[1].terms}
                if constant:
                    sides.append(self.limits(constant, len(cells), upper))
                if varying:
                    sides.append(self.side(varying, len(cells), upper))
        named = sorted({name for cell in cells for name, _ in cell.categories})
        allowed = {name: self._allowed(name, cells) for name in named}
        return Part(tuple(sides), self.choice(cells) if len(cells) > 1 else None, allowed)

    def choice(self, cells: Sequence[Cell]) -> Choice:
        """How far a row is from each of several cells."""
        rows = sorted({row for cell in cells for row in cell.rows}, key=lambda row: (row.terms, row.bound))
        held = [set(cell.rows) for cell in cells]
        spreads = self.program.spreads
        reach = [max(abs(a) * spreads[name] for name, a in row.terms) for row in rows]
        unmet = [Bound(1, tuple((name, -a) for name, a in row.terms), row.bound) for row in rows]
        sets = sorted({entry for cell in cells for entry in cell.categories}, key=str)
        return Choice(
            self.sums(unmet, self._column(bound.constant for bound in unmet)) if rows else None,
            self._column(1.0 / each for each in reach),
            self.like.new_tensor([[float(row in own) for row in rows] for own in held]),
            tuple((name, self._mask(name, kept), self._with((name, kept), cells)) for name, kept in sets),
        )

    def limits(self, holders: Mapping[tuple[str, Bound], list[int]], count: int, upper: bool) -> Side:
        """Constant bounds by the cells, of ``count``, that hold them: the tightest of each cell alone."""
        entries = list(holders)
        bounds = [bound for _, bound in entries]
        divisor = self._divisor(bounds)
        every = self._counted(self._column(bound.constant for bound in bounds), holders.values(), count, upper)
        every = every if divisor is None else every / divisor
        names = sorted({name for name, _ in entries}, key=self.place.__getitem__)
        rows = [[index for index, (owner, _) in enumerate(entries) if owner == name] for name in names]
        tightest = [every[row].amin(0) if upper else every[row].amax(0) for row in rows]
        return Side(
            self._places([self.place[name] for name in names]), (len(names),), Sums(torch.stack(tightest)), upper
        )

    def side(self, holders: Mapping[tuple[str, Bound], list[int]], count: int, upper: bool) -> Side:
        """Bounds over columns by the cells, of ``count``, that hold them."""
        own: dict[str, list[Bound]] = {}
        for name, bound in holders:
            own.setdefault(name, []).append(bound)
        names = sorted(own, key=lambda name: (-len(own[name]), self.place[name]))
        rounds = [[name for name in names if len(own[name]) > turn] for turn in range(len(own[names[0]]))]
        entries = [(name, own[name][turn]) for turn, found in enumerate(rounds) for name in found]
        bounds = [bound for _, bound in entries]
        constant = self._column(bound.constant for bound in bounds)
        constant = self._counted(constant, [holders[entry] for entry in entries], count, upper)
        targets = self._places([self.place[name] for name in names])
        return Side(targets, tuple(map(len, rounds)), self.sums(bounds, constant), upper)

    def sums(self, bounds: Sequence[Bound], constant: Tensor) -> Sums:
        """What bounds add up to, and the way back."""
        entries = [(row, self.place[name], a) for row, bound in enumerate(bounds) for name, a in bound.terms]
        sources = sorted({place for _, place, _ in entries})
        index = {place: number for number, place in enumerate(sources)}
        back = sorted((index[place], row, a) for row, place, a in entries)
        return Sums(
            constant,
            self._pattern(entries, len(bounds), [place for _, place, _ in entries], len(self.touched)),
            self.like.new_tensor([a for *_, a in entries]),
            self._divisor(bounds),
            self._places(sources),
            self._pattern(back, len(sources), [row for _, row, _ in back], len(bounds)),
            self.like.new_tensor([a for *_, a in back]),
        )

    def _pattern(self, entries: Sequence[tuple[int, int, int]], rows: int, col: Sequence[int], width: int) -> Adjacency:
        """Of entries in the order of their rows."""
        sizes = torch.tensor([row for row, *_ in entries], dtype=torch.int64).bincount(minlength=rows)
        ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        return Adjacency.from_ptr(ptr, torch.tensor(col, dtype=torch.int64), width).to(self.like.device)

    def _divisor(self, bounds: Sequence[Bound]) -> Tensor | None:
        divisors = [bound.coefficient for bound in bounds]
        return None if set(divisors) == {1} else self._column(divisors)

    def _counted(self, constant: Tensor, held: Iterable[Sequence[int]], count: int, upper: bool) -> Tensor:
        """One column for each cell, and one for rows that stay: infinite where a bound does not count."""
        if count == 1:
            return constant
        counted = self.like.new_full((len(constant), count + 1), float("inf") if upper else float("-inf"))
        for row, value, cells in zip(counted, constant, held, strict=True):
            row[list(cells)] = value
        return counted

    def _column(self, values: Iterable[float]) -> Tensor:
        return self.like.new_tensor(list(values)).unsqueeze(1)

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
