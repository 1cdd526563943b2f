"""The walks of a compiled program as tensors: what the constraint layer does to a batch that lies column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from graftable.graphs.ops import Adjacency, segment_reduce, spmm

from .elimination import Bound
from .program import Cell, Component, Program

__all__ = ["Categories", "Choice", "Lowering", "Walk"]

Categories = Mapping[str, Tensor]


@dataclass(frozen=True)
class Side:
    """The lower or upper bounds of one level: rows over columns, and which rows bound which target."""

    targets: Tensor
    pattern: Adjacency
    weight: Tensor
    constant: Tensor
    segments: Adjacency | None  # None: one row a target, so that there is nothing to compare
    upper: bool = False

    def bounds(self, columns: Tensor) -> Tensor:
        """``(targets, rows)``: the tightest bound of each target."""
        values = spmm(self.pattern, columns, self.weight)
        values = values.add_(self.constant) if not values.requires_grad else values + self.constant
        if self.segments is None:
            return values
        return segment_reduce(self.segments, values, "min" if self.upper else "max")


@dataclass(frozen=True)
class Step:
    """Columns that are corrected at once."""

    lower: Side | None
    upper: Side | None


@dataclass(frozen=True)
class Walk:
    """One cell, ready for tensors: the steps that correct a row into it, and which categories it allows."""

    steps: tuple[Step, ...]
    allowed: dict[str, Tensor]

    def correct(self, columns: Tensor) -> Tensor:
        """``(columns, rows)`` moved into the cell; in place where no gradient is recorded."""
        copy = Tensor.index_copy if columns.requires_grad else Tensor.index_copy_
        for step in self.steps:
            for side, tighter in ((step.lower, torch.maximum), (step.upper, torch.minimum)):
                if side is not None:
                    moved = tighter(columns.index_select(0, side.targets), side.bounds(columns))
                    columns = copy(columns, 0, side.targets, moved)
        return columns

    def masked(self, name: str, given: Tensor) -> Tensor:
        """Probabilities with the forbidden ones at 0 and the rest scaled up; codes with forbidden ones replaced."""
        if name not in self.allowed:
            return given
        allowed = self.allowed[name]
        if not given.is_floating_point():
            first = int(allowed.int().argmax())  # the schema lists the most frequent first
            return torch.where(allowed[given], given, first if first < len(allowed) - 1 else -1)
        kept = given * allowed[:-1]
        total = kept.sum(1, keepdim=True)
        even = allowed[:-1] / allowed[:-1].sum().clamp(min=1)
        return torch.where(total > 0, kept / total.clamp(min=torch.finfo(given.dtype).tiny), even.to(given.dtype))


@dataclass(frozen=True)
class Choice:
    """The cells of a component, and how far a row is from each.

    To repair one row ``sum of a x >= b`` alone costs at least its violation over the largest ``|a|`` times spread. The
    sum of these over the rows of a cell is 0 inside, and outside ranks the cells; for all cells at once that is a
    product with the matrix that says which cell holds which row.
    """

    walks: tuple[Walk, ...]
    unmet: Side | None
    cost: Tensor
    holds: Tensor
    masks: tuple[tuple[str, Tensor, Tensor], ...]

    def nearest(self, columns: Tensor, categories: Categories) -> Tensor:
        """``(rows,)``: the nearest cell, -1 for a row that lies in one."""
        distance = columns.new_zeros(len(self.walks), columns.shape[1])
        if self.unmet is not None:
            missing = self.unmet.bounds(columns).clamp_(min=0.0).mul_(self.cost).nan_to_num_(0.0)
            distance += self.holds @ missing
        for name, allowed, cells in self.masks:
            distance += torch.outer(cells, forbidden(categories[name], allowed).to(columns.dtype))
        least, cell = distance.min(0)
        return torch.where(least > 0, cell, -1)


def forbidden(given: Tensor, allowed: Tensor) -> Tensor:
    """For each row 1 where its category is not allowed; of probabilities, the mass that is not."""
    if given.is_floating_point():
        return 1 - given[:, allowed[:-1]].sum(1).clamp(max=1)
    return ~allowed[given]


@dataclass(frozen=True)
class Lowering:
    """From integers by name to tensors by place, in the units of the table."""

    program: Program
    touched: tuple[str, ...]
    like: Tensor  # the device and the type of number

    def choice(self, component: Component) -> Choice:
        """The cells of a component."""
        cells = component.cells
        rows = sorted({row for cell in cells for row in cell.rows}, key=lambda row: (row.terms, row.bound))
        place = {row: index for index, row in enumerate(rows)}
        holds = torch.zeros(len(cells), len(rows))
        for index, cell in enumerate(cells):
            holds[index, [place[row] for row in cell.rows]] = 1.0
        spreads = self.program.spreads
        reach = [max(abs(a) * spreads[name] for name, a in row.terms) for row in rows]
        unmet = [Bound(1, tuple((name, -a) for name, a in row.terms), row.bound) for row in rows]
        sets = sorted({entry for cell in cells for entry in cell.categories}, key=str)
        return Choice(
            tuple(map(self.walk, cells)),
            self.side([("", (bound,)) for bound in unmet]),
            self.like.new_tensor([1.0 / each for each in reach]).unsqueeze(1),
            holds.to(self.like),
            tuple((name, self.mask(name, kept), self._cells_with((name, kept), cells)) for name, kept in sets),
        )

    def _cells_with(self, entry: tuple[str, tuple[str | None, ...]], cells: Sequence[Cell]) -> Tensor:
        return self.like.new_tensor([float(entry in cell.categories) for cell in cells])

    def walk(self, cell: Cell) -> Walk:
        """One cell: columns whose bounds hold no later ones are corrected together."""
        depth: dict[str, int] = {}
        for level in cell.levels:
            before = [depth.get(name, 0) for bound in (*level.lower, *level.upper) for name, _ in bound.terms]
            depth[level.column] = 1 + max(before, default=0)
        steps = []
        for stage in range(1, 1 + max(depth.values(), default=0)):
            here = [level for level in cell.levels if depth[level.column] == stage]
            lower = self.side([(level.column, level.lower) for level in here if level.lower])
            upper = self.side([(level.column, level.upper) for level in here if level.upper], upper=True)
            steps.append(Step(lower, upper))
        for item in cell.derived:  # a value that is both the least and the most
            exact = self.side([(item.column, (Bound(item.coefficient, item.terms, item.constant),))])
            steps.append(Step(exact, exact))
        return Walk(tuple(steps), {name: self.mask(name, kept) for name, kept in cell.categories})

    def side(self, bounds: Sequence[tuple[str, Sequence[Bound]]], upper: bool = False) -> Side | None:
        """The bounds of several columns; those of no column, named "", stay in lattice points."""
        if not bounds:
            return None
        places = {name: index for index, name in enumerate(self.touched)}
        ends, ptr, col, weight, constant = [0], [0], [], [], []
        for column, rows in bounds:
            for bound in rows:
                unit = float(bound.coefficient * self.program.scales.get(column, 1))
                col += [places[name] for name, _ in bound.terms]
                weight += [a * self.program.scales[name] / unit for name, a in bound.terms]
                constant.append([bound.constant / unit])
                ptr.append(len(col))
            ends.append(len(ptr) - 1)
        pattern = Adjacency.from_ptr(torch.tensor(ptr), torch.tensor(col, dtype=torch.int64), len(self.touched))
        single = ends == list(range(len(ends)))
        return Side(
            torch.tensor([places.get(column, 0) for column, _ in bounds], device=self.like.device),
            pattern.to(self.like.device),
            self.like.new_tensor(weight),
            self.like.new_tensor(constant),
            None if single else Adjacency.from_ptr(torch.tensor(ends)).to(self.like.device),
            upper,
        )

    def mask(self, column: str, kept: tuple[str | None, ...]) -> Tensor:
        """Which categories are allowed; the last entry is that of an unlisted one."""
        known = self.program.categories[column]
        return torch.tensor([name in kept for name in (*known, None)], device=self.like.device)
