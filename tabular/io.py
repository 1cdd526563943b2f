"""Tables as texts: CSV, Parquet and data frames, read in chunks and written back with only the given cells changed.

A rule is checked, and a row is moved, on the text of its cells, because that text is what a user opens. So a CSV is
never parsed into numbers and printed again: a row that is not touched leaves as the bytes it came as.
"""

import codecs
import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol, cast

import pyarrow as pa

from graftable.errors import DataError
from graftable.files import atomic_path

from .arrow_tables import FrameTable, ParquetTable
from .csv_text import Changes, CsvChunk, CsvDialect, rows_end, split_cells, unquoted

__all__ = ["Changes", "Chunk", "CsvTable", "ReadOptions", "Table", "TableWriter", "open_table"]

BLOCK_BYTES = 2 << 20  # small enough for the caches, large enough for numpy
UNREADABLE = (OSError, EOFError, zlib.error)
LONGEST_ROW = 64 << 20  # bytes; more is a quote that was never closed


@dataclass(frozen=True)
class ReadOptions:
    """How the texts of a table are to be read.

    Attributes:
        separator: The byte between two cells of a CSV.
        decimal: The decimal mark of its numbers.
        encoding: Its encoding, as Python names it.
        nulls: Texts that mean "no value". NaN of a typed column is null whatever stands here.
        quote: The quote of a CSV; empty if quotes are ordinary text.
        block_bytes: How much of a CSV is held at a time.
    """

    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"
    nulls: tuple[str, ...] = ("", "NaN", "nan", "NULL", "null")
    quote: str = '"'
    block_bytes: int = BLOCK_BYTES

    def __post_init__(self) -> None:
        if len(self.separator.encode()) != 1 or self.separator in ("\n", "\r", self.quote):
            raise DataError(f"--sep {self.separator!r}: expected one ASCII character such as ',' or ';'.")
        if len(self.quote.encode()) > 1:
            raise DataError(f"the quote {self.quote!r}: expected one ASCII character, or none.")
        if self.decimal not in (".", ","):
            raise DataError(f"--decimal {self.decimal!r}: expected '.' or ','.")
        try:
            codecs.lookup(self.encoding)
        except LookupError as error:
            raise DataError(f"--encoding {self.encoding}: there is no such encoding; try utf-8 or latin-1.") from error


class Chunk(Protocol):
    """Some consecutive rows of a table."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""

    @property
    def first_row(self) -> int:
        """The number of the first row, from 0 at the top of the table."""

    @property
    def num_rows(self) -> int:
        """How many rows there are."""

    def texts(self, column: str) -> pa.Array:
        """The texts of a column as Arrow strings, null where the cell is null."""

    def place(self, row: int) -> str:
        """Where a row of the chunk stands, in the user's words: ``line 214`` or ``row 213``."""


class TableWriter(Protocol):
    """Takes the chunks of a table in their order."""

    def write(self, chunk: Any, changes: Changes | None = None) -> None:
        """Append a chunk with some of its cells changed."""

    def read_back(self) -> "Table":
        """End the file and open what was written, before it appears under its name."""


class Table(Protocol):
    """A table that can be read any number of times."""

    @property
    def source(self) -> str:
        """What errors and reports call it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns in their order."""

    @property
    def decimal(self) -> str:
        """The decimal mark of its texts."""

    def chunks(self) -> Iterator[Chunk]:
        """All rows in their order."""

    def writer(self, target: Path) -> contextlib.AbstractContextManager[TableWriter]:
        """Open a file of the same kind that appears, whole, when the block ends."""


def open_table(source: Any, options: ReadOptions | None = None) -> Table:
    """Open a CSV or Parquet file, or a data frame or Arrow table in memory.

    Args:
        source: A path (``.parquet`` and ``.pq`` are Parquet, all else is CSV; ``.gz`` is unpacked), a pandas data
            frame, a `pyarrow.Table`, or a table that is open already.
        options: How to read texts.

    Raises:
        DataError: If the file is missing, empty, not decodable, or names a column twice.

    Example:
        >>> table = open_table(pa.table({"age": [39, None], "name": ["Ann", "Bo"]}))
        >>> [chunk.texts("age").to_pylist() for chunk in table.chunks()]
        [['39', None]]
    """
    options = options or ReadOptions()
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; check the path.")
        return ParquetTable(path, options.nulls) if path.suffix in (".parquet", ".pq") else CsvTable(path, options)
    if hasattr(source, "chunks") and hasattr(source, "writer"):
        return cast("Table", source)
    return FrameTable(source, options.nulls)


class CsvTable:
    """A CSV file. Its dialect is that of the options; its line ending is that of its first line."""

    def __init__(self, path: Path, options: ReadOptions, *, packed: bool | None = None) -> None:
        self.path, self.options, self.source, self.decimal = path, options, str(path), options.decimal
        self._packed = path.suffix == ".gz" if packed is None else packed
        try:
            with self._open() as file:
                start = file.read(1 << 16)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        self._encoding = _plain_encoding(options.encoding, start)
        newline = b"\n" if b"\n" in start or b"\r" not in start else b"\r"
        self.dialect = CsvDialect(options.separator.encode(), options.quote.encode(), newline)
        blocks = self._blocks()
        first = next(blocks, b"")
        if not first.strip(b"\r\n"):
            raise DataError(f"{path}: is empty; expected a line of column names and at least one row.")
        self.header_bytes, self.names = self._read_header(first)
        if not first[len(self.header_bytes) :].strip(b"\r\n") and next(blocks, None) is None:
            raise DataError(f"{path}: has column names but no rows.")

    def _open(self) -> IO[bytes]:
        return cast("IO[bytes]", gzip.open(self.path) if self._packed else open(self.path, "rb"))

    def _unreadable(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: cannot be read ({error}); check the file and your permission to read it.")

    def chunks(self) -> Iterator[CsvChunk]:
        """All rows in their order, some megabytes at a time."""
        row, line = 0, 1 + self.header_bytes.count(self.dialect.newline)
        header = self.header_bytes
        for block in self._blocks():
            data, header = block[len(header) :], b""
            if not data:  # the first block may be the header alone
                continue
            chunk = CsvChunk(
                data,
                self.names,
                self.dialect,
                first_row=row,
                first_line=line,
                nulls=self.options.nulls,
                source=self.source,
            )
            yield chunk
            row, line = row + chunk.num_rows, line + data.count(self.dialect.newline)

    def _blocks(self) -> Iterator[bytes]:
        """The file as UTF-8, in blocks of whole rows; the first holds the header."""
        decoder = codecs.getincrementaldecoder(self._encoding)()
        held, carried, line = b"", b"", 1  # a block is held back, to take in a last row without a line end
        try:
            with self._open() as file:
                while raw := file.read(self.options.block_bytes):
                    carried += self._utf8(decoder, raw, line + carried.count(b"\n"))
                    if (end := rows_end(carried, self.dialect)) or len(carried) < LONGEST_ROW:
                        block, carried = carried[:end], carried[end:]
                        line += block.count(b"\n")
                        if held and block:
                            yield held
                        held = block or held
                        continue
                    break
            carried += self._utf8(decoder, b"", line, final=True)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        if rows_end(carried + self.dialect.newline, self.dialect) <= len(carried):
            line += carried[: rows_end(carried, self.dialect)].count(b"\n")
            raise DataError(f"{self.path}, line {line}: a quote is opened and never closed; close it, or double it.")
        if held or carried:
            yield held + carried

    def _utf8(self, decoder: codecs.IncrementalDecoder, raw: bytes, line: int, final: bool = False) -> bytes:
        try:
            return decoder.decode(raw, final).encode()
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            other = "latin-1" if self._encoding.startswith("utf") else "utf-8"
            raise DataError(
                f"{self.path}, line {line}: found the byte 0x{error.object[error.start]:02x}, which is not "
                f"{self.options.encoding}; name the encoding of the file, for example --encoding {other}."
            ) from error

    def _read_header(self, block: bytes) -> tuple[bytes, tuple[str, ...]]:
        head = block[: 1 << 16]
        head = head[: rows_end(head, self.dialect)] or block
        starts, ends, widths = split_cells(head, self.dialect)
        end = int(starts[widths[0]]) if len(widths) > 1 else len(head)
        cells = pa.array([block[s:e].decode() for s, e in zip(starts[: widths[0]], ends[: widths[0]], strict=True)])
        cells = pa.array([cells[0].as_py().removeprefix("\ufeff"), *cells[1:].to_pylist()])
        names = tuple(unquoted(cells, self.options.quote).to_pylist())
        for position, name in enumerate(names):
            if name in names[:position]:
                raise DataError(
                    f"{self.path}, line 1: the column `{name}` is there twice, as number {names.index(name) + 1} and "
                    f"number {position + 1}; rename one."
                )
        if len(names) == 1 and (other := next((s for s in ";\t|," if s in names[0]), None)):
            raise DataError(f"{self.path}, line 1: found one column, {names[0]!r}; to part it, use --sep {other!r}.")
        return block[:end], names

    @contextlib.contextmanager
    def writer(self, target: Path) -> Iterator["CsvWriter"]:
        """Open a CSV of the same dialect, encoding and header; it appears, whole, when the block ends.

        Raises:
            DataError: If ``target`` cannot be written or is to be Parquet.
        """
        if target.suffix in (".parquet", ".pq"):
            raise DataError(f"{target}: a CSV is written as CSV; choose a name that ends in .csv or .csv.gz.")
        with atomic_path(target) as part, open(part, "wb") as raw:
            packed = gzip.GzipFile("", "wb", mtime=0, fileobj=raw) if target.suffix == ".gz" else None

            def finish() -> CsvTable:
                if packed:
                    packed.close()
                raw.flush()
                return CsvTable(part, self.options, packed=packed is not None)

            writer = CsvWriter(cast("IO[bytes]", packed or raw), self._encoding, target, finish)
            writer.append(self.header_bytes)
            yield writer
            if packed:
                packed.close()


class CsvWriter:
    """Appends chunks of a CSV to a file."""

    def __init__(self, file: IO[bytes], encoding: str, target: Path, finish: Callable[[], CsvTable]) -> None:
        self.file, self.encoding, self.target, self._finish = file, encoding, target, finish

    def read_back(self) -> CsvTable:
        """End the file and open what was written, before it appears under its name."""
        return self._finish()

    def write(self, chunk: CsvChunk, changes: Changes | None = None) -> None:
        """Append a chunk; of its rows, only the cells in ``changes`` are rewritten."""
        self.append(chunk.replaced(changes) if changes else chunk.data)

    def append(self, data: bytes) -> None:
        """Append text given in UTF-8."""
        if codecs.lookup(self.encoding).name not in ("utf-8", "ascii"):
            try:
                data = data.decode().encode(self.encoding)
            except UnicodeEncodeError as error:
                found = error.object[error.start]
                raise DataError(f"{self.target}: {found!r} cannot be written in {self.encoding}.") from error
        self.file.write(data)


def _plain_encoding(encoding: str, start: bytes) -> str:
    """The encoding without its own idea of a byte order mark, so that the mark stays where the file has it."""
    name = codecs.lookup(encoding).name
    marks: Mapping[str, dict[bytes, str]] = {
        "utf-8-sig": {b"": "utf-8"},
        "utf-16": {codecs.BOM_UTF16_BE: "utf-16-be", b"": "utf-16-le"},
        "utf-32": {codecs.BOM_UTF32_BE: "utf-32-be", b"": "utf-32-le"},
    }
    return next((plain for mark, plain in marks.get(name, {b"": encoding}).items() if start.startswith(mark)), encoding)
