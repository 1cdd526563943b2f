"""The broken rows of a chunk while they are repaired: numbers on the lattice, category codes, nulls, and objections."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .arrow_tables import ArrowChunk
from .compiler import Compiled
from .evaluation import ChunkCells, Mask
from .io import Chunk
from .lattice import SAFE, largest
from .null_cells import RowsCorrection
from .schema import ColumnSchema

__all__ = ["DAYS", "FLOAT_LIMIT", "Draft", "clip_range", "round_to_scale"]

Integers = NDArray[Any]

FLOAT_LIMIT = 10**15  # every decimal of 15 digits is one float64 and comes back from it
DAYS = -719_162, 2_932_896  # of the years 1 to 9999, beyond which a date has no text


def round_to_scale(numbers: Integers, scale: int, target: int) -> tuple[Integers, Mask]:
    """Bring lattice integers to another scale, to the nearest, ties up, and say which came there exactly.

    Example:
        >>> round_to_scale(np.array([125, 130, -15]), 100, 10)
        (array([13, 13, -1]), array([False,  True, False]))
    """
    if scale == target:
        return numbers, np.ones(len(numbers), bool)
    if numbers.dtype != object and 2 * largest(numbers) * target + scale >= SAFE:
        numbers = numbers.astype(object)
    scaled = numbers * target
    exact = np.asarray(scaled % scale == 0, bool)
    rounded = (2 * scaled + scale) // (2 * scale)
    if rounded.dtype == object and largest(rounded) < SAFE:
        rounded = rounded.astype(np.int64)
    return rounded, exact


class Draft:
    """The broken rows of a chunk while they are repaired, by column and aligned with ``rows``."""

    def __init__(self, chunk: Chunk, cells: ChunkCells, rows: NDArray[np.intp], compiled: Compiled) -> None:
        self.chunk, self.rows, self.schema = chunk, rows, compiled.schema
        self.reasons = np.full(len(rows), None, object)
        self.searched = np.zeros(len(rows), bool)
        self.before: dict[str, Integers] = {}
        self.exact: dict[str, Mask] = {}
        self.beyond: dict[str, Mask] = {}  # infinite, or past the lattice
        self.upward: dict[str, Mask] = {}  # those of them above, not below
        self.codes_before: dict[str, NDArray[np.int64]] = {}
        self.missing = {column: cells.missing(column)[rows] for column in compiled.rules.hard.columns}
        for column, scale in compiled.lattice.scales.items():
            if column in self.missing:
                self._take_numbers(column, scale, cells)
        for column, categories in compiled.lattice.categories.items():
            codes = pc.index_in(cells.texts(column).take(pa.array(rows)), pa.array(categories, pa.string()))
            self.codes_before[column] = np.asarray(pc.fill_null(codes, -1)).astype(np.int64)
        self.numbers = {column: values.copy() for column, values in self.before.items()}
        self.codes = {column: values.copy() for column, values in self.codes_before.items()}
        self.null = {column: missing.copy() for column, missing in self.missing.items()}
        self.rewritten: dict[str, Mask] = {}  # cells that get a new text even if their number is the old one

    def _take_numbers(self, column: str, scale: int, cells: ChunkCells) -> None:
        found = cells.numbers(column)
        numbers, exact = round_to_scale(found.numbers[self.rows], found.scale, scale)
        infinite, limit = found.infinite[self.rows], self.limit(column)
        past = np.asarray((numbers >= limit) | (numbers <= -limit), bool)
        self.beyond[column] = infinite | past
        self.upward[column] = past & np.asarray(numbers > 0, bool)
        if infinite.any():
            texts = cells.texts(column).take(pa.array(self.rows))
            self.upward[column] |= infinite & ~np.asarray(
                pc.fill_null(pc.starts_with(pc.utf8_ltrim(texts, " "), "-"), False)
            )
        numbers = np.where(self.beyond[column], 0, numbers)
        self.before[column] = numbers.astype(np.int64) if largest(numbers) < SAFE else numbers
        self.exact[column] = exact

    def limit(self, column: str) -> int:
        """The magnitude from which numbers of a column are past the lattice."""
        if self.schema[column].kind == "datetime":
            return -DAYS[0] * self.schema[column].scale
        return FLOAT_LIMIT if self.kind(column) is not None and pa.types.is_floating(self.kind(column)) else SAFE

    def kind(self, column: str) -> pa.DataType | None:
        """The type that holds a column; None for text."""
        return self.chunk.batch.schema.field(column).type if isinstance(self.chunk, ArrowChunk) else None

    @property
    def open(self) -> Mask:
        """Rows without a reason against them."""
        return np.array([reason is None for reason in self.reasons], bool)

    def columns_of(
        self, compiled: Compiled, members: NDArray[np.intp]
    ) -> tuple[dict[str, Integers], dict[str, NDArray[np.int64]], dict[str, Mask]]:
        """Numbers, codes and nulls of some rows, for the columns of some of the rules."""
        return (
            {column: self.numbers[column][members] for column in compiled.lattice.scales},
            {column: self.codes[column][members] for column in compiled.lattice.categories},
            {column: self.null[column][members] for column in compiled.columns},
        )

    def put(self, members: NDArray[np.intp], found: RowsCorrection) -> None:
        """Take over what was corrected of these rows."""
        for column, values in found.numbers.items():
            if values.dtype == object and self.numbers[column].dtype != object:
                self.numbers[column] = self.numbers[column].astype(object)
            self.numbers[column][members] = values
        for column, codes in found.codes.items():
            self.codes[column][members] = codes
        for column, null in found.nulls.items():
            self.null[column][members] = null
        self.searched[members] |= found.searched

    def refuse(self, members: NDArray[np.intp], reason: str) -> None:
        """Give up these rows, unless they were given up before."""
        for row in members.tolist():
            self.reasons[row] = self.reasons[row] or reason

    def rewrite(self, column: str, members: NDArray[np.intp] | Mask) -> None:
        """Have these cells written anew."""
        self.rewritten.setdefault(column, np.zeros(len(self.rows), bool))[members] = True

    def changed(self, column: str) -> Mask:
        """Cells with another value than before."""
        changed = self.missing[column] != self.null[column]
        if column in self.before:
            changed |= np.asarray(self.before[column] != self.numbers[column], bool) & ~self.null[column]
        if column in self.codes_before:
            changed |= (self.codes_before[column] != self.codes[column]) & ~self.null[column]
        if column in self.rewritten:
            changed |= self.rewritten[column]
        return np.asarray(changed & self.open)


def clip_range(column: ColumnSchema, limit: int) -> tuple[int, int]:
    """The lattice values between which a column is clipped."""
    low, high = (end if end is None else int(end * column.scale) for end in (column.minimum, column.maximum))
    within = [number for number in (low, high) if number is not None and -limit < number < limit]
    low = low if low in within else min([*within, -(limit - 1)])
    high = high if high in within else max([*within, limit - 1])
    return int(low or 0), int(high or 0)
