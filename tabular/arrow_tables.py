"""Typed tables as texts: Parquet files and data frames, whose cells are read as text and written back in their type."""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graftable.errors import DataError
from graftable.files import atomic_path

from .csv_text import Changes
from .lattice import parse_dates, parse_number

__all__ = ["ArrowChunk", "FrameTable", "ParquetTable", "typed_cells"]

CHUNK_ROWS = 1 << 14  # few, as the repair of a chunk holds several copies of it
GROUP_ROWS = 1 << 16  # the most of a row group, which has to be held until it is whole
BUFFER_BYTES = 1 << 18  # of each column; without it, a reader holds the whole of every column of a row group


def texts_of(column: pa.Array, nulls: Sequence[str]) -> pa.Array:
    """The cells of a typed column as texts that say exactly what they hold; NaN and the null texts become null.

    A float is the shortest decimal that reads back as it; a time is written as far as its column needs.

    Example:
        >>> texts_of(pa.array([0.1, float("nan"), 3.0]), ()).to_pylist()
        ['0.1', None, '3']
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_float16(kind):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if pa.types.is_timestamp(kind):
        return _time_texts(column.cast(pa.timestamp(kind.unit)))
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([None if cell is None else repr(cell) for cell in column.to_pylist()], pa.string())
    texts = column.cast(pa.string())
    if not nulls:
        return texts
    return pc.if_else(pc.is_in(texts, pa.array(nulls, pa.string())), pa.scalar(None, pa.string()), texts)


def _time_texts(column: pa.Array) -> pa.Array:
    """Times in ISO form, without the fraction, and then without the clock, if all of them are zero."""
    texts = column.cast(pa.string())
    texts = pc.replace_substring_regex(texts, r"(\.\d*?)0*$", r"\1") if column.type.unit != "s" else texts
    texts = pc.replace_substring_regex(texts, r"\.$", "")
    if pc.all(pc.ends_with(texts, " 00:00:00"), min_count=0).as_py():
        return pc.utf8_slice_codeunits(texts, 0, 10)
    return texts


def typed_cells(texts: Sequence[str | None], kind: pa.DataType, place: str) -> pa.Array:
    """Texts as cells of a type, exact.

    Args:
        texts: Numbers, ISO dates, categories, or booleans, as the type needs; None for null.
        kind: The Arrow type.
        place: The column, as an error names it.

    Raises:
        DataError: If the type cannot hold what a text says: a fraction in whole numbers, too long a number for a float.

    Example:
        >>> typed_cells(["12.50", "-1"], pa.decimal128(10, 2), "price").to_pylist()
        [Decimal('12.50'), Decimal('-1.00')]
    """
    value_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    present = [text for text in texts if text is not None]
    try:
        cells = _convert(present, value_kind)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{place}: cannot hold {_example(present)} as {value_kind} ({error}).") from error
    if pa.types.is_floating(value_kind):
        _confirm(present, cells, place)
    if len(present) < len(texts):  # a take from nowhere is null
        empty = np.array([text is None for text in texts])
        cells = cells.take(pa.array(np.cumsum(~empty) - 1, mask=empty))
    return cells.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else cells


def _convert(texts: Sequence[str], kind: pa.DataType) -> pa.Array:
    if pa.types.is_integer(kind):
        return pa.array([_whole(text) for text in texts], kind)
    if pa.types.is_floating(kind):
        return pa.array([float(text) for text in texts], pa.float64()).cast(kind)
    if pa.types.is_timestamp(kind):
        decimals = {"s": 0, "ms": 3, "us": 6, "ns": 9}[kind.unit]
        times = parse_dates(pa.array(texts, pa.string()), "%Y-%m-%d %H:%M:%S.%f", decimals)
        if times.unreadable.any() or times.scale != 86400 * 10**decimals:
            raise ValueError("expected ISO times no finer than the unit of the column")
        return pa.array(times.numbers.tolist(), pa.int64()).cast(pa.timestamp(kind.unit)).cast(kind)
    return pa.array(texts, pa.string()).cast(kind)


def _whole(text: str) -> int:
    mantissa, places = parse_number(text) or (1, 1)
    if mantissa % 10**places:
        raise ValueError(f"{text!r} is not a whole number")
    return int(mantissa // 10**places)


def _confirm(texts: Sequence[str], cells: pa.Array, place: str) -> None:
    """Raise unless every float reads back as the decimal that it was made from."""
    for text, back in zip(texts, texts_of(cells, ()).to_pylist(), strict=True):
        (mantissa, places), (found, found_places) = parse_number(text) or (0, -1), parse_number(back or "") or (1, 0)
        if mantissa * 10**found_places != found * 10**places:
            raise DataError(f"{place}: cannot hold {text!r} as {cells.type}; it would read back as {back!r}.")


def _example(texts: Sequence[str]) -> str:
    return repr(max(texts, key=len)) if texts else "nothing"


class ArrowChunk:
    """Some rows of a typed table."""

    def __init__(self, batch: pa.RecordBatch, first_row: int, nulls: Sequence[str]) -> None:
        self.batch, self.first_row, self.nulls = batch, first_row, tuple(nulls)
        self.names: tuple[str, ...] = tuple(batch.schema.names)
        self.num_rows: int = batch.num_rows

    def texts(self, column: str) -> pa.Array:
        """The texts of a column as Arrow strings, null where the cell is null."""
        return texts_of(self.batch.column(column), self.nulls)

    def integers(self, column: str) -> pa.Array | None:
        """The cells of a column of integers as they are; None for other columns, and where a number stands for null."""
        cells = self.batch.column(column)
        numbers_mean_null = any(text.lstrip("-").isdigit() for text in self.nulls)
        return cells if pa.types.is_integer(cells.type) and not numbers_mean_null else None

    def place(self, row: int) -> str:
        """The number of a row, from 0 at the top of the table."""
        return f"row {self.first_row + row}"

    def replaced(self, changes: Changes) -> pa.RecordBatch:
        """The rows with some cells changed, in the types that the columns had."""
        columns = list(self.batch.columns)
        for name, (rows, texts) in changes.items():
            position = self.names.index(name)
            old = columns[position]
            cells = typed_cells(list(texts), old.type, f"column `{name}`")
            # one take over old and new cells keeps the type, nulls and dictionary
            source = np.arange(self.num_rows)
            source[rows] = self.num_rows + np.arange(len(rows))
            both = pa.chunked_array([old, cells]).unify_dictionaries() if pa.types.is_dictionary(old.type) else None
            merged = pa.concat_arrays(both.chunks if both else [old, cells])
            columns[position] = merged.take(pa.array(source))
        return pa.record_batch(columns, schema=self.batch.schema)


class ParquetTable:
    """A Parquet file, read and written a batch of rows at a time with its schema kept."""

    decimal = "."

    def __init__(self, path: Path, nulls: Sequence[str]) -> None:
        self.path, self.nulls, self.source = path, nulls, str(path)
        try:
            with pq.ParquetFile(path) as file:
                self.schema, metadata = file.schema_arrow, file.metadata
                rows = metadata.num_rows
                sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
                self._group_ends = frozenset(accumulate(sizes))
                self._compression = metadata.row_group(0).column(0).compression if rows else "SNAPPY"
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path}: is not a Parquet file that can be read ({error}).") from error
        self.names = _distinct(self.schema.names, self.source)
        if not rows:
            raise DataError(f"{path}: has column names but no rows.")

    def chunks(self) -> Iterator[ArrowChunk]:
        """All rows in their order; no chunk spans two row groups."""
        row = 0
        with pq.ParquetFile(self.path, buffer_size=BUFFER_BYTES) as file:
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(CHUNK_ROWS, row_groups=[group]):
                    yield ArrowChunk(batch, row, self.nulls)
                    row += batch.num_rows

    @contextlib.contextmanager
    def writer(self, target: Path) -> Iterator["ParquetWriter"]:
        """Open a Parquet file of the same schema, compression and row groups; it appears, whole, when the block ends.

        Row groups of more than `GROUP_ROWS` rows are split, as what is held in memory would grow with them.

        Raises:
            DataError: If ``target`` cannot be written or is no Parquet file.
        """
        if target.suffix not in (".parquet", ".pq"):
            raise DataError(f"{target}: a Parquet table is written as Parquet; choose a name that ends in .parquet.")
        with (
            atomic_path(target) as part,
            pq.ParquetWriter(
                part, self.schema, compression=self._compression.lower().replace("uncompressed", "none")
            ) as file,
        ):
            writer = ParquetWriter(file, part, self.nulls, self._group_ends)
            yield writer
            writer.flush()


class ParquetWriter:
    """Appends chunks to a Parquet file, gathered into row groups that end where those of the source do."""

    def __init__(self, file: pq.ParquetWriter, part: Path, nulls: Sequence[str], group_ends: Collection[int]) -> None:
        self.file, self._part, self._nulls, self._group_ends = file, part, nulls, group_ends
        self._held: list[pa.RecordBatch] = []

    def read_back(self) -> ParquetTable:
        """End the file and open what was written, before it appears under its name."""
        self.flush()
        self.file.close()
        return ParquetTable(self._part, self._nulls)

    def write(self, chunk: ArrowChunk, changes: Changes | None = None) -> None:
        """Append a chunk with some of its cells changed."""
        self._held.append(chunk.replaced(changes) if changes else chunk.batch)
        ended = chunk.first_row + chunk.num_rows in self._group_ends
        if ended or sum(batch.num_rows for batch in self._held) >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held as one row group."""
        if self._held:
            self.file.write_table(pa.Table.from_batches(self._held))
            self._held.clear()


class FrameTable:
    """A pandas data frame, or an Arrow table, in memory."""

    decimal = "."
    source = "the table"

    def __init__(self, frame: Any, nulls: Sequence[str]) -> None:
        self.frame, self.nulls = frame, nulls
        is_arrow = isinstance(frame, pa.Table)
        if not is_arrow and not hasattr(frame, "iloc"):
            raise DataError(f"found a {type(frame).__name__}, expected a path, a pandas data frame or a pyarrow Table.")
        self.names = _distinct([str(name) for name in (frame.column_names if is_arrow else frame.columns)], self.source)
        self._arrow = frame if is_arrow else self._from_pandas()
        if not self._arrow.num_rows:
            raise DataError("the table has no rows.")

    def _from_pandas(self) -> pa.Table:
        return pa.table([_series_cells(self.frame.iloc[:, i]) for i in range(len(self.names))], names=self.names)

    def chunks(self) -> Iterator[ArrowChunk]:
        """All rows in their order."""
        row = 0
        for batch in self._arrow.to_batches(CHUNK_ROWS):
            yield ArrowChunk(batch, row, self.nulls)
            row += batch.num_rows

    @contextlib.contextmanager
    def writer(self, target: Path | None = None) -> Iterator["FrameWriter"]:
        """Collect the changed chunks; `FrameWriter.result` is then a table of the kind that was opened."""
        yield FrameWriter(self)


class FrameWriter:
    """Collects the changes of a table in memory."""

    def __init__(self, table: FrameTable) -> None:
        self.table = table
        self._batches: list[pa.RecordBatch] = []
        self._changes: list[tuple[int, Changes]] = []

    def write(self, chunk: ArrowChunk, changes: Changes | None = None) -> None:
        """Take a chunk with some of its cells changed."""
        if isinstance(self.table.frame, pa.Table):
            self._batches.append(chunk.replaced(changes) if changes else chunk.batch)
        elif changes:
            self._changes.append((chunk.first_row, changes))

    def read_back(self) -> FrameTable:
        """What was written, as a table."""
        return FrameTable(self.result, self.table.nulls)

    @property
    def result(self) -> Any:
        """The table with the changes; the one that was opened is as it was."""
        if isinstance(self.table.frame, pa.Table):
            return pa.Table.from_batches(self._batches, self.table.frame.schema)
        frame = self.table.frame.copy()
        for first_row, changes in self._changes:
            for name, (rows, texts) in changes.items():
                position = self.table.names.index(name)
                frame.isetitem(position, _with_cells(frame.iloc[:, position], rows + first_row, texts, name))
        return frame


def _series_cells(series: Any) -> pa.Array:
    try:
        cells = pa.Array.from_pandas(series)
    except (pa.ArrowException, TypeError):  # objects of several types: what they look like is what they are
        cells = pa.array([None if cell is None or cell != cell else str(cell) for cell in series], pa.string())
    return pa.concat_arrays(cells.chunks) if isinstance(cells, pa.ChunkedArray) else cells


def _with_cells(series: Any, rows: Any, texts: Sequence[str | None], name: str) -> Any:
    """A series with some cells changed, of the same dtype."""
    kind = _series_cells(series).type
    if pa.types.is_decimal(kind):
        kind = pa.decimal128(38, kind.scale)
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    cells = typed_cells(texts, kind, f"column `{name}`")
    if hasattr(series, "cat"):
        new = [cell for cell in dict.fromkeys(cells.to_pylist()) if cell not in series.cat.categories]
        series = series.cat.add_categories(new)
    changed = series.copy()
    changed.iloc[rows] = cells.to_pylist() if series.dtype == object else cells.to_pandas().to_numpy()
    return changed


def _distinct(names: Sequence[str], source: str) -> tuple[str, ...]:
    for position, name in enumerate(names):
        if name in names[:position]:
            raise DataError(f"{source}: the column `{name}` is there twice; rename one.")
    return tuple(names)
