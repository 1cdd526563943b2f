"""CSV as text: where every cell lies in the bytes of the file, so that what is not changed is copied as it is.

A block of whole rows is split with a handful of numpy comparisons; columns come out as Arrow strings over the same
bytes. Nothing is converted: "1.50" stays "1.50", and line endings, quotes and blank lines are those of the source.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftable.errors import DataError

__all__ = ["Changes", "CsvChunk", "CsvDialect", "rows_end", "split_cells", "unquoted"]

Changes = Mapping[str, tuple[NDArray[np.int64], Sequence[str | None]]]
"""New texts by column: the rows of the chunk, and one text for each; None empties the cell."""

RETURN = ord("\r")


@dataclass(frozen=True)
class CsvDialect:
    """The three bytes that give a CSV its structure. An empty quote means that no byte quotes."""

    separator: bytes = b","
    quote: bytes = b'"'
    newline: bytes = b"\n"

    def quoted(self, text: str) -> bytes:
        """A text as a quoted cell."""
        return self.quote + text.encode().replace(self.quote, self.quote * 2) + self.quote

    def cell(self, text: str, was_quoted: bool) -> bytes:
        """A text as a cell, quoted where the old cell was, or where it must be."""
        raw = text.encode()
        special = any(byte in raw for byte in (self.separator, self.quote, b"\n", b"\r"))
        return self.quoted(text) if was_quoted or special else raw


def _marks(data: bytes, dialect: CsvDialect) -> NDArray[np.int64]:
    """Positions of the separators and line ends that are outside quotes, in order."""
    buffer = np.frombuffer(data, np.uint8)
    separator, newline = dialect.separator[0], dialect.newline[0]
    marks = np.flatnonzero((buffer == separator) | (buffer == newline))
    if not dialect.quote or dialect.quote not in data:
        return marks
    quotes = np.flatnonzero(buffer == dialect.quote[0])
    # outside quotes an even number of quotes has passed; a doubled quote inside passes two
    opening, closing = quotes[0::2], quotes[1::2]
    before = buffer[np.maximum(opening - 1, 0)]
    after = buffer[np.minimum(closing + 1, len(buffer) - 1)]
    borders = (separator, newline, dialect.quote[0])
    opens_a_cell = (opening == 0) | np.isin(before, borders)
    closes_a_cell = (closing == len(buffer) - 1) | np.isin(after, (*borders, RETURN))
    if not (opens_a_cell.all() and closes_a_cell.all()):
        return _marks_one_by_one(data, dialect)
    outside: NDArray[np.int64] = marks[np.searchsorted(quotes, marks) % 2 == 0]
    return outside


def _marks_one_by_one(data: bytes, dialect: CsvDialect) -> NDArray[np.int64]:
    """The same where quotes stand inside unquoted cells (``5" pipe``): a quote counts only where a cell begins."""
    q, s, n = (re.escape(byte) for byte in (dialect.quote, dialect.separator, dialect.newline))
    cell = re.compile(rb"(%b(?:[^%b]|%b%b)*%b)?[^%b%b]*([%b%b]|\Z)" % (q, q, q, q, q, s, n, s, n))
    found, position = [], 0
    while (match := cell.match(data, position)) and match.start(2) < len(data):
        if match[1] is None and data[position : position + 1] == dialect.quote:  # opened, and not closed so far
            break
        found.append(match.start(2))
        position = match.end()
    return np.array(found, np.int64)


def rows_end(data: bytes, dialect: CsvDialect) -> int:
    r"""The length of the whole rows at the start of ``data``.

    Example:
        >>> rows_end(b'a,b\n1,"x\ny', CsvDialect())
        4
    """
    if not dialect.quote or dialect.quote not in data:
        return data.rfind(dialect.newline) + 1
    marks = _marks(data, dialect)
    ends = marks[np.frombuffer(data, np.uint8)[marks] == dialect.newline[0]]
    return int(ends[-1]) + 1 if len(ends) else 0


def split_cells(data: bytes, dialect: CsvDialect) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    r"""Find the cells of a block of whole rows.

    Args:
        data: Rows, each ended by the newline except perhaps the last.
        dialect: Separator, quote and newline.

    Returns:
        Start and end of each cell, and the number of cells of each row. Blank lines are no rows.

    Example:
        >>> starts, ends, widths = split_cells(b'1,"a,b"\r\n\r\n,x', CsvDialect())
        >>> starts.tolist(), ends.tolist(), widths.tolist()
        ([0, 2, 11, 12], [1, 7, 11, 13], [2, 2])
    """
    buffer = np.frombuffer(data, np.uint8)
    marks = _marks(data, dialect)
    if data[-1:] != dialect.newline or not len(marks) or marks[-1] != len(data) - 1:
        marks = np.append(marks, len(data))
    is_end = np.append(buffer, dialect.newline[0])[marks] == dialect.newline[0]
    starts, ends = np.concatenate([[0], marks[:-1] + 1]), marks.copy()
    if dialect.newline == b"\n":
        lasts = np.flatnonzero(is_end)
        ends[lasts] -= (ends[lasts] > starts[lasts]) & (buffer[np.maximum(ends[lasts] - 1, 0)] == RETURN)
    widths = np.diff(np.flatnonzero(is_end), prepend=-1)
    blank = (widths == 1) & (starts[is_end] == ends[is_end])
    if blank.any():
        kept = np.repeat(~blank, widths)
        starts, ends, widths = starts[kept], ends[kept], widths[~blank]
    return starts, ends, widths


def unquoted(cells: pa.Array, quote: str) -> pa.Array:
    """Cell sources as texts: the quotes around them gone, doubled quotes single."""
    if not quote or not pc.any(pc.starts_with(cells, quote), min_count=0).as_py():
        return cells
    quoted = pc.and_(
        pc.starts_with(cells, quote), pc.and_(pc.ends_with(cells, quote), pc.greater(pc.binary_length(cells), 1))
    )
    if not pc.any(quoted, min_count=0).as_py():
        return cells
    inner = pc.replace_substring(pc.utf8_slice_codeunits(cells, 1, -1), quote * 2, quote)
    return pc.if_else(quoted, inner, cells)


class CsvChunk:
    """Some rows of a CSV: their bytes, and where each cell lies in them.

    Attributes:
        names: The columns.
        first_row: The number of the first row, from 0 at the top of the table.
        first_line: The line of the file on which the chunk begins, from 1.
        num_rows: How many rows there are.
    """

    def __init__(
        self,
        data: bytes,
        names: tuple[str, ...],
        dialect: CsvDialect,
        *,
        first_row: int = 0,
        first_line: int = 1,
        nulls: Sequence[str] = ("",),
        source: str = "the table",
    ) -> None:
        self.data, self.names, self.dialect, self.nulls = data, names, dialect, tuple(nulls)
        self.first_row, self.first_line, self.source = first_row, first_line, source
        self._positions = {name: position for position, name in enumerate(names)}
        starts, ends, widths = split_cells(data, dialect)
        if (widths != len(names)).any():
            bad = int(np.flatnonzero(widths != len(names))[0])
            line = self._line_at(int(starts[int(widths[:bad].sum())]))
            raise DataError(
                f"{source}, line {line}: found {widths[bad]} cells, expected {len(names)} as in the header; "
                f"quote the cells that hold a {dialect.separator.decode()!r}, or mend the line."
            )
        self.num_rows = len(widths)
        self._starts, self._ends = starts.reshape(-1, len(names)), ends.reshape(-1, len(names))

    def texts(self, column: str) -> pa.Array:
        """The source texts of a column as Arrow strings, null where the text says null."""
        position = self._positions[column]
        # cell, gap, cell, gap, ...: one array of strings over the bytes as they are, of which every other is wanted
        offsets = np.empty(2 * self.num_rows + 1, np.int32)
        offsets[0:-1:2], offsets[1::2] = self._starts[:, position], self._ends[:, position]
        offsets[-1] = len(self.data)
        both = pa.StringArray.from_buffers(2 * self.num_rows, pa.py_buffer(offsets), pa.py_buffer(self.data))
        cells = unquoted(both.take(pa.array(np.arange(0, 2 * self.num_rows, 2))), self.dialect.quote.decode())
        null = pc.is_in(cells, pa.array(self.nulls, pa.string()))
        return pc.if_else(null, pa.scalar(None, pa.string()), cells) if null.true_count else cells

    def place(self, row: int) -> str:
        """The line of the file on which a row of the chunk begins."""
        return f"line {self._line_at(int(self._starts[row, 0]))}"

    def _line_at(self, position: int) -> int:
        return self.first_line + self.data.count(self.dialect.newline, 0, position)

    def row_bytes(self, row: int) -> bytes:
        """The source of a row, without its line end."""
        return self.data[int(self._starts[row, 0]) : int(self._ends[row, -1])]

    def replaced(self, changes: Changes) -> bytes:
        """The bytes of the chunk with some cells rewritten, and every other byte as it was."""
        edits: list[tuple[int, int, bytes]] = []
        null = b"" if "" in self.nulls or not self.nulls else self.nulls[0].encode()
        quote = self.dialect.quote
        for column, (rows, texts) in changes.items():
            position = self._positions[column]
            spans = zip(self._starts[rows, position].tolist(), self._ends[rows, position].tolist(), texts, strict=True)
            for start, end, text in spans:
                was_quoted = bool(quote) and end > start and self.data[start : start + 1] == quote
                cell = null if text is None else self.dialect.cell(text, was_quoted)
                edits.append((start, end, cell))
        pieces: list[Any] = []
        at, view = 0, memoryview(self.data)
        for start, end, cell in sorted(edits):
            pieces += (view[at:start], cell)
            at = end
        return b"".join([*pieces, view[at:]])
