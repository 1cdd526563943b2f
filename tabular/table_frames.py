"""Tables as data frames and back: what a generator learns from, and files that are made of what it drew."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import time
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from graftable.errors import DataError
from graftable.files import atomic_path

from .arrow_tables import ParquetTable
from .csv_text import CsvDialect
from .evaluation import ChunkCells
from .io import Chunk, CsvTable, ReadOptions, Table, open_table
from .lattice import has_zone
from .schema import ColumnSchema, Schema

__all__ = ["ENDINGS", "RowsWriter", "chunk_frame", "read_frame", "rows_writer", "shown"]

ENDINGS = (".csv", ".csv.gz", ".tsv", ".txt", ".parquet", ".pq")
"""How the names of files end that can be written."""


def read_frame(table: Table, schema: Schema) -> pd.DataFrame:
    """A whole table as a frame: numbers as floats (whole ones as integers where none is null), all else as texts.

    Whole numbers of more than 53 bits are texts, too, as floats cannot tell them apart.

    Args:
        table: The table.
        schema: Its columns; others are left out.

    Raises:
        DataError: If a column is missing, or a cell that must be a number is none.

    Example:
        >>> table = open_table(pa.table({"age": ["39", "", "7"], "sex": ["F", None, "M"]}))
        >>> frame = read_frame(table, Schema.detect(table))
        >>> frame["age"].tolist(), frame["sex"].fillna("-").tolist()
        ([39.0, nan, 7.0], ['F', '-', 'M'])
    """
    Schema(tuple(ColumnSchema(name, "text") for name in table.names)).require(schema.names, table.source)
    parts = [chunk_frame(chunk, schema, table) for chunk in table.chunks()]
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def chunk_frame(chunk: Chunk, schema: Schema, table: Table) -> pd.DataFrame:
    """The rows of one chunk; see `read_frame`."""
    cells = ChunkCells(chunk, schema, table.decimal, table.source)
    columns: dict[str, Any] = {}
    for column in schema:
        if column.kind in ("integer", "decimal"):
            columns[column.name] = _numbers(column, cells)
        else:
            if column.kind == "datetime":
                cells.numbers(column.name)  # for its complaint about what is no date
            columns[column.name] = np.array(chunk.texts(column.name).to_pylist(), object)
    return pd.DataFrame(columns)


def _numbers(column: ColumnSchema, cells: ChunkCells) -> Any:
    found = cells.numbers(column.name)
    if column.is_long:
        return np.array(cells.chunk.texts(column.name).to_pylist(), object)
    if found.infinite.any():
        place = cells.chunk.place(int(np.flatnonzero(found.infinite)[0]))
        raise DataError(f"{cells.source}, {place}, column `{column.name}`: found an infinity; mend it.")
    missing = np.asarray(found.missing)
    if found.scale == 1 and not missing.any() and found.numbers.dtype != object:
        return found.numbers
    values = np.where(missing, np.nan, np.asarray(found.numbers / found.scale, np.float64))
    if column.special:
        codes = np.array([float(text) for text in column.special])
        places = np.asarray(
            pc.fill_null(pc.index_in(cells.chunk.texts(column.name), pa.array(column.special, pa.string())), -1)
        )
        values = np.where(places >= 0, codes[places], values)
    return values


class RowsWriter(Protocol):
    """Takes frames of rows one after another."""

    @property
    def schema(self) -> Schema:
        """What the columns of the file are."""

    def write(self, frame: pd.DataFrame) -> None:
        """Append the rows of a frame, which has the columns of the schema."""

    def read_back(self) -> Table:
        """End the file and open what was written, before it appears under its name."""


@contextlib.contextmanager
def rows_writer(
    target: str | Path, schema: Schema, options: ReadOptions | None = None, like: pa.Schema | None = None
) -> Iterator[RowsWriter]:
    """Open a file for rows that were made; it appears, whole, when the block ends.

    Args:
        target: ``.parquet`` and ``.pq`` are Parquet, ``.gz`` is packed, all else is CSV.
        schema: The columns. Numbers are written with its decimals; dates in its format, and as times in Parquet.
        options: Separator, decimal mark and encoding of a CSV.
        like: Types for the columns of Parquet, by name.

    Raises:
        DataError: If the file cannot be written.
    """
    path, options = Path(target), options or ReadOptions()
    with atomic_path(path) as part:
        writer: _CsvRows | _ParquetRows
        if path.suffix in (".parquet", ".pq"):
            writer = _ParquetRows(part, schema, options, like)
        else:
            writer = _CsvRows(part, schema, options, path)
        with contextlib.closing(writer):
            yield writer


class _CsvRows:
    """Rows as CSV."""

    def __init__(self, part: Path, schema: Schema, options: ReadOptions, target: Path) -> None:
        self.schema, self._options, self._target, self._part = schema, options, target, part
        self._raw = open(part, "wb")  # noqa: SIM115 - closed by `close`
        self._packed = gzip.GzipFile("", "wb", mtime=0, fileobj=self._raw) if target.suffix == ".gz" else None
        self._file = cast("IO[bytes]", self._packed or self._raw)
        self._encoder = codecs.getincrementalencoder(options.encoding)()
        dialect = CsvDialect(options.separator.encode())
        self._append(dialect.separator.join(dialect.cell(name, False) for name in schema.names) + b"\n")

    def write(self, frame: pd.DataFrame) -> None:
        columns = self.schema.names
        for chunk in open_table(frame[list(columns)], self._options).chunks() if len(frame) else ():
            texts = [shown(self.schema[name], chunk.texts(name), self._options.decimal) for name in columns]
            cells = [_quoted(cells, self._options.separator) for cells in texts]
            empty = '""' if len(cells) == 1 else ""  # a row must not be an empty line
            lines = pc.binary_join_element_wise(
                *cells, self._options.separator, null_handling="replace", null_replacement=empty
            )
            self._append("\n".join([*lines.to_pylist(), ""]).encode())

    def _append(self, data: bytes) -> None:
        try:
            self._file.write(self._encoder.encode(data.decode()))
        except UnicodeEncodeError as error:
            found = error.object[error.start]
            raise DataError(
                f"{self._target}: {found!r} cannot be written in {self._options.encoding}; choose another --encoding."
            ) from error

    def read_back(self) -> CsvTable:
        self.close()
        return CsvTable(self._part, self._options, packed=self._packed is not None)

    def close(self) -> None:
        if self._packed is not None:
            self._packed.close()
        self._raw.close()


def _quoted(texts: pa.Array, separator: str) -> pa.Array:
    """Texts as cells of a CSV, quoted where they must be."""
    special = pc.match_substring_regex(texts, "[" + re.escape(separator) + '"\r\n]')
    if not pc.any(special, min_count=0).as_py():
        return texts
    doubled = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(pc.fill_null(special, False), doubled, texts)


def shown(column: ColumnSchema, texts: pa.Array, decimal: str) -> pa.Array:
    """Texts with as many decimals as every text of the column has shown, and with its decimal mark."""
    if column.kind not in ("integer", "decimal"):
        return texts
    if column.shown_decimals:
        point = np.asarray(pc.fill_null(pc.find_substring(texts, "."), 0)).astype(np.int64)
        length = np.asarray(pc.fill_null(pc.binary_length(texts), 0)).astype(np.int64)
        short = column.shown_decimals - (length - point - 1)
        plain = np.asarray(pc.fill_null(pc.match_substring_regex(texts, r"^-?\d+(\.\d+)?$"), False), bool)
        longest = column.shown_decimals + 1
        endings = ["0" * places for places in range(longest)] + ["." + "0" * column.shown_decimals]
        kinds = np.where(plain, np.where(point < 0, longest, np.clip(short, 0, column.shown_decimals)), 0)
        tails = pa.array(endings, pa.string()).take(pa.array(kinds))
        texts = pc.binary_join_element_wise(texts, tails, "")
    return pc.replace_substring(texts, ".", decimal) if decimal != "." else texts


class _ParquetRows:
    """Rows as Parquet."""

    def __init__(self, part: Path, schema: Schema, options: ReadOptions, like: pa.Schema | None) -> None:
        self._part, self._options = part, options
        known = {} if like is None else {field.name: field.type for field in like}
        self.types: Mapping[str, pa.DataType] = {
            column.name: _plain_type(known[column.name]) if column.name in known else _type_of(column)
            for column in schema
        }
        self.schema = Schema(tuple(_iso(column, self.types[column.name]) for column in schema))
        self._texts_schema = schema
        self._file = pq.ParquetWriter(part, pa.schema(list(self.types.items())))

    def write(self, frame: pd.DataFrame) -> None:
        table = open_table(frame[list(self.types)], self._options)
        for chunk in table.chunks() if len(frame) else ():
            batch = cast("Any", chunk).batch
            columns = [
                _typed(self._texts_schema[name], batch.column(name), chunk.texts(name), kind)
                for name, kind in self.types.items()
            ]
            self._file.write_table(pa.table(columns, schema=self._file.schema))

    def read_back(self) -> ParquetTable:
        self.close()
        return ParquetTable(self._part, self._options.nulls)

    def close(self) -> None:
        self._file.close()


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that rows are written in: text for lists and whatever else no text can become."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return kind
    try:
        pa.array([], pa.string()).cast(kind)
    except pa.ArrowNotImplementedError:
        return pa.string()
    return kind


def _type_of(column: ColumnSchema) -> pa.DataType:
    if column.kind == "datetime":
        unit = next(unit for unit, digits in {"s": 0, "ms": 3, "us": 6, "ns": 9}.items() if column.decimals <= digits)
        return pa.timestamp(unit, "UTC" if has_zone(column.date_format or "") else None)
    if column.kind == "boolean" and set(column.categories) <= {"true", "false"}:
        return pa.bool_()
    if column.kind == "integer" and column.reach >= 1 << 63:
        return pa.string()
    return {"integer": pa.int64(), "decimal": pa.float64()}.get(column.kind, pa.string())


def _iso(column: ColumnSchema, kind: pa.DataType) -> ColumnSchema:
    """A column of dates as its texts will be read from a typed column."""
    if column.kind != "datetime" or not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return column
    fine = "%Y-%m-%d" if column.scale == 1 else "%Y-%m-%d %H:%M:%S" + (".%f" if column.decimals else "")
    return replace(column, date_format=fine)


def _typed(column: ColumnSchema, cells: pa.Array, texts: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            found = column.parse(texts)
            unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit] if pa.types.is_timestamp(kind) else 0
            per_day = 86400 * unit or 1
            shared = math.gcd(per_day, found.scale)  # taken out first: microseconds of a day times seconds are too long
            ticks = found.numbers * (per_day // shared) // (found.scale // shared)
            whole = pa.array(np.asarray(ticks, np.int64), pa.int64(), mask=found.missing)
            days = whole.cast(pa.int32()).cast(pa.date32()) if not unit else whole.cast(pa.timestamp(kind.unit))
            return days.cast(kind)
        if pa.types.is_time(kind):
            return pa.array([text and time.fromisoformat(text) for text in texts.to_pylist()], kind)
        if pa.types.is_duration(kind):
            return texts.cast(pa.int64()).cast(kind)
        numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return (cells if numeric and not pa.types.is_string(cells.type) else texts).cast(kind)
    except (pa.ArrowException, OverflowError, ValueError) as error:
        raise DataError(f"column `{column.name}`: what was made does not fit {kind} ({error}); write CSV.") from error
