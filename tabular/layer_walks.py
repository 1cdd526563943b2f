"""The walks of a compiled program on tensors: what the constraint layer does to a batch that lies column by column.

Numbers are counted in lattice points here, as in the program: sums of integers are exact, so that a row that obeys is
not moved by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat

import torch
from torch import Tensor

from graftable.graphs.ops import Adjacency, native, native_columns, spmm, torch_backend
from graftable.graphs.ops.backends import backend_for

__all__ = ["Categories", "Choice", "Part", "Plan", "Side", "Sums", "largest"]

Categories = Mapping[str, Tensor]

NARROW = 64  # columns of a batch, beyond which reading one after the other misses the cache too often
BITS = {torch.float32: torch.int32, torch.float64: torch.int64}
NOISE = {torch.float32: 2.0**-6, torch.float64: 2.0**-26}
"""Numbers this close to a lattice point are taken to lie on it: what a float leaves of a decimal."""


def largest(dtype: torch.dtype) -> float:
    """In lattice points; sums of larger numbers could be infinite, and their differences nan."""
    return float(torch.finfo(dtype).max ** 0.5)


def compiled(numbers: Tensor) -> bool:
    """Whether compiled code walks, which returns the bits that torch's own functions do, in a third of the time."""
    return backend_for(numbers) is torch_backend and native.supports(numbers)


@dataclass(frozen=True)
class Sums:
    """Affine functions of the columns, ``(weight * columns + constant) / divisor``, of which a cell may leave out some.

    Attributes:
        constant: ``(sums, 1)``, or ``(sums, cells + 1)`` where cells differ: infinite where the cell leaves a sum out.
        pattern: Sums over columns; None if all are constant.
        weight: The factor of each entry of ``pattern``.
        divisor: ``(sums, 1)``; None for ones.
        sources: The places of the columns that are read.
        adjoint: Sources over sums, the transpose of ``pattern``.
        adjoint_weight: The factor of each entry of ``adjoint``.
    """

    constant: Tensor
    pattern: Adjacency | None = None
    weight: Tensor | None = None
    divisor: Tensor | None = None
    sources: Tensor | None = None
    adjoint: Adjacency | None = None
    adjoint_weight: Tensor | None = None

    def values(self, columns: Tensor, cell: Tensor | None = None) -> Tensor:
        """``(sums, rows)``, or ``(sums, 1)`` where all rows have the same."""
        constant = self.constant if cell is None else self.constant.index_select(1, cell)
        if self.pattern is None:
            return constant
        values = spmm(self.pattern, columns, self.weight).add_(constant)
        return values if self.divisor is None else values.div_(self.divisor)

    @property
    def back(self) -> tuple[Tensor, Adjacency, Tensor] | None:
        """Sources, their sums and the factors: the way back, if sums are over columns."""
        if self.sources is None or self.adjoint is None or self.adjoint_weight is None:
            return None
        return self.sources, self.adjoint, self.adjoint_weight

    def pull(self, grad: Tensor, given: Tensor) -> None:
        """Add to the gradient of the columns, in place, what comes of that of the sums, which is used up."""
        if self.adjoint is not None and self.sources is not None:
            given = given if self.divisor is None else given.div_(self.divisor)
            grad.index_add_(0, self.sources, spmm(self.adjoint, given, self.adjoint_weight))


@dataclass(frozen=True)
class Side:
    """Lower or upper bounds that can be applied at once.

    The first bound of every target comes first, then the second of those that have two, and so on. So a round compares
    neighbouring rows of memory, and an entry moves in at most one round for good: the last that moved it.

    Attributes:
        targets: The places of the columns that are bounded, those with most bounds first.
        rounds: How many targets each round bounds.
        sums: The bounds.
        upper: Whether the least bound counts, not the largest.
    """

    targets: Tensor
    rounds: tuple[int, ...]
    sums: Sums
    upper: bool

    @cached_property
    def each(self) -> Tensor:
        """``(bounds,)``: the place of the column that each bound moves."""
        return torch.cat([self.targets[:count] for count in self.rounds])

    def correct(self, columns: Tensor, cell: Tensor | None, *, record: bool = False) -> Tensor | None:
        """Move the targets inside their bounds, in place.

        Returns:
            With ``record``, ``(bounds, rows)``: 1 where a bound moved its target, 0 where not, in the type of the
            numbers, in which torch compares and multiplies several times faster than with truth values.
        """
        if compiled(columns):
            sums = self.sums
            entries = None if sums.pattern is None or sums.weight is None else (sums.pattern, sums.weight)
            return native_columns.clamp_columns(
                columns, self.each, sums.constant, entries, sums.divisor, cell, upper=self.upper, record=record
            )
        here, bounds = columns.index_select(0, self.targets), self.sums.values(columns, cell)
        tighter, passed = (torch.minimum, torch.gt) if self.upper else (torch.maximum, torch.lt)
        moved = here.new_empty(len(bounds), here.shape[1]) if record else None
        marks = repeat(None) if moved is None else moved.split(self.rounds)
        for bound, mark in zip(bounds.split(self.rounds), marks, strict=False):
            part = here[: len(bound)]
            if mark is not None:
                passed(part, bound, out=mark)
            tighter(part, bound, out=part)
        columns.index_copy_(0, self.targets, here)
        return moved

    def pull(self, grad: Tensor, moved: Tensor) -> None:
        """From the gradient of the corrected columns to that of the columns before, in place.

        All of it goes to the bound that moved an entry last, and to the entry itself if it lay on its bound.
        """
        if compiled(grad):
            return native_columns.clamp_columns_backward(grad, self.each, moved, self.sums.back, self.sums.divisor)
        here, given = grad.index_select(0, self.targets), torch.empty_like(moved)
        rounds = zip(given.split(self.rounds), moved.split(self.rounds), strict=True)
        for bound, mark in reversed(list(rounds)):
            part = here[: len(bound)]
            torch.mul(part, mark, out=bound)
            part.sub_(bound)
        grad.index_copy_(0, self.targets, here)
        self.sums.pull(grad, given)


@dataclass(frozen=True)
class Choice:
    """How far a row is from each cell of a component.

    To repair one row ``sum of a x >= b`` alone costs at least its violation over the largest ``|a|`` times spread. The
    sum of these over the rows of a cell is 0 inside, and outside ranks the cells; for all cells at once that is a
    product with the matrix that says which cell holds which row.
    """

    unmet: Sums | None
    cost: Tensor
    holds: Tensor
    masks: tuple[tuple[str, Tensor, Tensor], ...]

    def nearest(self, columns: Tensor, categories: Categories) -> Tensor:
        """``(rows,)``: the nearest cell; for a row that lies in one, the number of cells."""
        if self.unmet is None:
            distance = columns.new_zeros(len(self.holds), columns.shape[1])
        else:
            missing = self.unmet.values(columns).clamp_(min=0.0).mul_(self.cost).nan_to_num_(0.0)
            distance = self.holds @ missing
        for name, allowed, cells in self.masks:
            distance += torch.outer(cells, forbidden(categories[name], allowed).to(columns.dtype))
        if compiled(distance):
            return native_columns.nearest_row(distance)
        least = distance.amin(0)  # torch is slow to say where the least is: the first of those that are equal to it
        count = len(self.holds)
        ranks = torch.arange(count, 0, -1, dtype=distance.dtype, device=distance.device).unsqueeze(1)
        cell = (count - distance.eq_(least).mul_(ranks).amax(0)).long()
        return cell.masked_fill_(least <= 0, count)


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
        moved: Which of ``places``, side by side, the parts may move.
    """

    parts: tuple[Part, ...]
    places: Tensor
    points: Tensor
    moved: slice

    @cached_property
    def rounded(self) -> slice:
        """Those of `moved` that have `points`."""
        return slice(self.moved.start, max(min(self.moved.stop, len(self.points)), self.moved.start))

    @property
    def rounds(self) -> bool:
        """Whether there are any."""
        return bool(self.rounded.stop > self.rounded.start)

    @cached_property
    def sides(self) -> tuple[Side, ...]:
        """Of all parts, in order."""
        return tuple(side for part in self.parts for side in part.sides)

    @property
    def width(self) -> int:
        """About how many numbers of a row are in use at once: its columns, and its distances to cells for a moment."""
        return len(self.places) + max([0, *(len(part.choice.holds) // 8 for part in self.parts if part.choice)])

    @cached_property
    def limits(self) -> Tensor:
        """``(places,)``: the `largest` number of each column that can be calculated with, in units."""
        limit = torch.full_like(self.places, largest(self.points.dtype), dtype=self.points.dtype)
        limit[: len(self.points)] /= self.points.squeeze(1)
        return limit

    @cached_property
    def moved_places(self) -> Tensor:
        """Where the columns that the parts may move lie in a batch."""
        return self.places[self.moved]

    def gather(self, x: Tensor) -> Tensor:
        """From ``(rows, columns)`` to ``(places, rows)``, still in units."""
        if compiled(x):
            return native_columns.take_columns(x, self.places)[0]
        if x.shape[1] <= NARROW:
            return x.t().index_select(0, self.places)
        return x.index_select(1, self.places).t().contiguous()

    def gather_known(self, x: Tensor) -> Tensor | None:
        """The same, but None if a number is null, or so large that sums would not be numbers."""
        if compiled(x):
            columns, within = native_columns.take_columns(x, self.places, self.limits)
            return columns if within else None
        columns = self.gather(x)
        return columns if bool((columns.abs() < self.limits.unsqueeze(1)).all()) else None

    def per_unit(self, columns: Tensor) -> None:
        """From a gradient by units to one by lattice points, in place."""
        if len(self.points):
            columns[: len(self.points)].div_(self.points)

    def per_point(self, columns: Tensor) -> None:
        """And back."""
        if len(self.points):
            columns[: len(self.points)].mul_(self.points)

    def scatter(self, columns: Tensor, places: Tensor, x: Tensor, out: Tensor) -> None:
        """Make ``out`` what ``x`` is, ``(rows, columns)``, but for ``columns``, ``(places, rows)``."""
        if compiled(x) and out.is_contiguous():
            native_columns.put_columns(columns, places, x, out)
        else:
            out.copy_(x).index_copy_(1, places, columns.t())

    def lattice(self, x: Tensor) -> Tensor:
        """From ``(rows, columns)`` in units to ``(places, rows)`` in lattice points."""
        return self.count(self.gather(x))

    def count(self, columns: Tensor) -> Tensor:
        """From units to lattice points, as exact as they were meant; in place."""
        if len(self.points):
            scaled = columns[: len(self.points)].mul_(self.points)
            whole = scaled.round()
            torch.hardshrink(scaled.sub_(whole), NOISE[columns.dtype], out=scaled).add_(whole)
        return columns

    def cells(self, columns: Tensor, categories: Categories) -> list[Tensor | None]:
        """The cell of each row, part by part."""
        return [part.choice.nearest(columns, categories) if part.choice else None for part in self.parts]

    def correct(self, columns: Tensor, cells: Sequence[Tensor | None], record: list[Tensor] | None = None) -> Tensor:
        """Move ``(places, rows)`` into the cells, in place; a record of what moved is what `pull` asks for."""
        for part, cell in zip(self.parts, cells, strict=True):
            for side in part.sides:
                moved = side.correct(columns, cell, record=record is not None)
                if record is not None and moved is not None:
                    record.append(moved)
        return columns

    def units(self, columns: Tensor, given: Tensor | None, before: Tensor | None) -> None:
        """What moved from lattice points to units, in place; the rest as it was given: there and back is not exact.

        Args:
            columns: ``(places, rows)``, in lattice points after the walk.
            given: ``(rounded, rows)``, in units.
            before: ``(rounded or moved, rows)``, in lattice points; is used up.
        """
        if given is None or before is None:
            return
        after, bits = columns[self.rounded], BITS[columns.dtype]  # torch.where takes ten times as long as bits
        moved = before[: len(after)].sub_(after).view(bits).ne_(0).neg_()  # no bit, or all of them
        old, new = given.view(bits), after.div_(self.points[self.moved.start :]).view(bits)
        new.bitwise_xor_(old).bitwise_and_(moved).bitwise_xor_(old)

    def pull(self, grad: Tensor, record: Sequence[Tensor]) -> Tensor:
        """From the gradient of the corrected columns to that of the columns before, in place."""
        for side, moved in zip(reversed(self.sides), reversed(record), strict=True):
            side.pull(grad, moved)
        return grad
