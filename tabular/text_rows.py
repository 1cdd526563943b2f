"""Rows given by the texts of their cells: what a chunk of a file is, without the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["TextRows", "with_texts"]


@dataclass(frozen=True)
class TextRows:
    """Some rows, for `ChunkCells` and `graftable.tabular.table_frames.chunk_frame`.

    Attributes:
        columns: The texts of each column ``(num_rows,)``; null is null.
        num_rows: How many rows there are.
        first_row: The number of the first one in its table, for messages.
    """

    columns: Mapping[str, pa.Array]
    num_rows: int
    first_row: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(self.columns)

    def texts(self, column: str) -> pa.Array:
        """The texts of a column."""
        return self.columns[column]

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"row {self.first_row + row}"

    def take(self, rows: NDArray[np.intp]) -> TextRows:
        """Some of the rows."""
        places = pa.array(rows)
        taken = {name: cells.take(places) for name, cells in self.columns.items()}
        return TextRows(taken, len(rows), self.first_row)

    def put(self, rows: NDArray[np.intp], part: TextRows) -> TextRows:
        """All rows, those at some places replaced by the rows of ``part``."""
        source = np.arange(self.num_rows)
        source[rows] = self.num_rows + np.arange(len(rows))
        columns = {
            name: pa.concat_arrays([cells, part.columns[name].cast(cells.type)]).take(pa.array(source))
            for name, cells in self.columns.items()
        }
        return TextRows(columns, self.num_rows, self.first_row)


def with_texts(cells: pa.Array, rows: NDArray[np.int64], texts: Sequence[str | None]) -> pa.Array:
    """A column with the texts at some places replaced.

    Example:
        >>> with_texts(pa.array(["a", "b", "c"]), np.array([2, 0]), ["z", None]).to_pylist()
        [None, 'b', 'z']
    """
    mask = np.zeros(len(cells), bool)
    mask[rows] = True
    order = np.argsort(rows)
    return pc.replace_with_mask(cells, pa.array(mask), pa.array([texts[place] for place in order], pa.string()))
