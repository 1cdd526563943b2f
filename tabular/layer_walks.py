"""The walks of a compiled program on tensors: what the constraint layer does to a batch that lies column by column.

Numbers are counted in lattice points here, as in the program: sums of integers are exact, so that a row that obeys is
not moved by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardshrink

from graftable.graphs.ops import Adjacency, segment_reduce, spmm

__all__ = ["Categories", "Choice", "Part", "Plan", "Side"]

Categories = Mapping[str, Tensor]

NOISE = {torch.float32: 2.0**-6, torch.float64: 2.0**-26}
"""Numbers this close to a lattice point are taken to lie on it: what a float leaves of a decimal."""


@dataclass(frozen=True)
class Side:
    """Lower or upper bounds that can be applied at once: sums over columns, and which of them bound which column.

    Attributes:
        targets: The places of the columns that are bounded.
        pattern: Bounds over columns.
        weight: The factor of each entry of ``pattern``.
        constant: ``(bounds, 1)``, what is added to each sum.
        divisor: ``(bounds, 1)``, by what it is divided then; None for ones.
        idle: ``(bounds, cells + 1)``, 0 where a bound counts and infinite where it does not; None if all count.
        segments: The bounds of each target; None if each has one, so that there is nothing to compare.
        upper: Whether the least bound counts, not the largest.
    """

    targets: Tensor
    pattern: Adjacency
    weight: Tensor
    constant: Tensor
    divisor: Tensor | None
    idle: Tensor | None
    segments: Adjacency | None
    upper: bool

    def bounds(self, columns: Tensor, cell: Tensor | None = None) -> Tensor:
        """``(targets, rows)``: the tightest bound of each target that counts in the cell of each row."""
        values = spmm(self.pattern, columns, self.weight) + self.constant
        if self.divisor is not None:
            values = values / self.divisor
        if self.idle is not None and cell is not None:
            values = values + self.idle.index_select(1, cell)
        if self.segments is None:
            return values
        return segment_reduce(self.segments, values, "min" if self.upper else "max")

    def correct(self, columns: Tensor, cell: Tensor | None) -> Tensor:
        """``(columns, rows)`` with the targets inside their bounds; in place where no gradient is recorded."""
        before, bound = columns.index_select(0, self.targets), self.bounds(columns, cell)
        if columns.requires_grad:  # relu gives an entry on its bound the whole gradient, where maximum would share it
            moved = before - (before - bound).relu() if self.upper else before + (bound - before).relu()
            return columns.index_copy(0, self.targets, moved)
        moved = torch.minimum(before, bound) if self.upper else torch.maximum(before, bound)
        return columns.index_copy_(0, self.targets, moved)


@dataclass(frozen=True)
class Choice:
    """How far a row is from each cell of a component.

    To repair one row ``sum of a x >= b`` alone costs at least its violation over the largest ``|a|`` times spread. The
    sum of these over the rows of a cell is 0 inside, and outside ranks the cells; for all cells at once that is a
    product with the matrix that says which cell holds which row.
    """

    unmet: Side | None
    cost: Tensor
    holds: Tensor
    masks: tuple[tuple[str, Tensor, Tensor], ...]

    def nearest(self, columns: Tensor, categories: Categories) -> Tensor:
        """``(rows,)``: the nearest cell; for a row that lies in one, the number of cells."""
        distance = columns.new_zeros(len(self.holds), columns.shape[1])
        if self.unmet is not None:
            missing = self.unmet.bounds(columns).clamp_(min=0.0).mul_(self.cost).nan_to_num_(0.0)
            torch.mm(self.holds, missing, out=distance)
        for name, allowed, cells in self.masks:
            distance += torch.outer(cells, forbidden(categories[name], allowed).to(columns.dtype))
        least, cell = distance.min(0)
        return cell.masked_fill_(least <= 0, len(self.holds))


def forbidden(given: Tensor, allowed: Tensor) -> Tensor:
    """For each row 1 where its category is not allowed; of probabilities, the mass that is not."""
    if given.is_floating_point():
        return given @ (~allowed[:-1]).to(given.dtype)
    return ~allowed[given]


@dataclass(frozen=True)
class Part:
    """Components, or one with cells to choose from.

    Attributes:
        sides: What corrects the numbers, in order.
        choice: How to choose the cell; None where there is one.
        allowed: ``(cells + 1, categories + 1)`` by column: which categories each cell allows, the last entry being an
            unlisted one. The last cell is that of rows that stay.
    """

    sides: tuple[Side, ...]
    choice: Choice | None
    allowed: dict[str, Tensor]

    def masked(self, name: str, given: Tensor, cell: Tensor | None) -> Tensor:
        """Probabilities with the forbidden ones at 0 and the rest scaled up; codes with forbidden ones replaced."""
        allowed = self.allowed[name]
        cell = torch.zeros(len(given), dtype=torch.int64, device=given.device) if cell is None else cell
        if not given.is_floating_point():
            first = allowed.int().argmax(1)  # the schema lists the most frequent first
            first = first.where(first < allowed.shape[1] - 1, -1).to(given.dtype)
            return torch.where(allowed[cell, given], given, first[cell])
        listed = allowed[:, :-1].to(given.dtype)
        kept = given * listed[cell]
        total = kept.sum(1, keepdim=True)
        even = listed / listed.sum(1, keepdim=True).clamp(min=1)
        scaled = torch.where(total > 0, kept / total.clamp(min=torch.finfo(given.dtype).tiny), even[cell])
        return torch.where((kept == given).all(1, keepdim=True), given, scaled)


@dataclass(frozen=True)
class Plan:
    """All that a batch with the same nulls goes through.

    Attributes:
        parts: The parts; no two share a column.
        places: Where the columns of the rules lie in a batch, those with ``points`` first.
        points: ``(columns, 1)``, the lattice points per unit where these are not 1.
        moved: Which of ``places`` the parts may move.
    """

    parts: tuple[Part, ...]
    places: Tensor
    points: Tensor
    moved: Tensor

    def lattice(self, x: Tensor) -> Tensor:
        """From ``(rows, columns)`` in units to ``(places, rows)`` in lattice points, as exact as they were meant."""
        columns = x.index_select(1, self.places).t().contiguous()
        scaled = columns[: len(self.points)].mul_(self.points)
        whole = scaled.round()
        torch.add(whole, hardshrink(scaled.sub_(whole), NOISE[x.dtype]), out=scaled)
        return columns

    def units(self, columns: Tensor) -> Tensor:
        """From lattice points back to units, in place."""
        columns[: len(self.points)].div_(self.points)
        return columns

    def cells(self, columns: Tensor, categories: Categories) -> list[Tensor | None]:
        """The cell of each row, part by part."""
        return [part.choice.nearest(columns, categories) if part.choice else None for part in self.parts]

    def correct(self, columns: Tensor, cells: list[Tensor | None]) -> Tensor:
        """``(places, rows)`` moved into the cells; in place where no gradient is recorded."""
        for part, cell in zip(self.parts, cells, strict=True):
            for side in part.sides:
                columns = side.correct(columns, cell)
        return columns
