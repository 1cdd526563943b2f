"""The cells of one column of a frame as floats or texts, whatever their type is, and texts as bytes for safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftable.errors import DataError

from ..io import open_table
from ..schema import ColumnSchema, Schema, did_you_mean

__all__ = [
    "NumberCells",
    "check_table",
    "data_space",
    "pack_texts",
    "read_numbers",
    "read_texts",
    "unpack_texts",
    "whole_texts",
]

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class NumberCells:
    """Cells of a numeric column.

    Attributes:
        values: Numbers in the units of the table, days since 1970-01-01 for dates; 0 where there is none ``(rows,)``.
        missing: Cells that are null.
        special: The place of the cell's text among the column's special codes, else -1.
    """

    values: NDArray[np.float64]
    missing: Mask
    special: NDArray[np.int64]

    @property
    def usable(self) -> Mask:
        """Cells that hold a number."""
        return ~self.missing & (self.special < 0)


def check_table(table: Any, schema: Schema) -> pd.DataFrame:
    """The table, if it is a frame with rows and with the columns of a schema.

    Raises:
        DataError: If it is not.
    """
    if not isinstance(table, pd.DataFrame):
        raise DataError(f"found a {type(table).__name__}, expected a pandas data frame; read the file with pandas.")
    names = [str(name) for name in table.columns]
    for name in schema.names:
        if name not in names:
            raise DataError(f"the table has no column `{name}`, which the schema has.{did_you_mean(name, names)}")
    if not len(table):
        raise DataError("the table has no rows; a generator needs at least one.")
    return table


def read_texts(series: pd.Series) -> pa.Array:
    """The texts of a column as Arrow strings, null where the cell is null."""
    if not len(series):
        return pa.array([], pa.string())
    table = open_table(pd.DataFrame({"cells": series.reset_index(drop=True)}))
    return pa.concat_arrays([chunk.texts("cells") for chunk in table.chunks()])


def whole_texts(series: pd.Series, column: ColumnSchema) -> pd.Series:
    """The cells of a column of whole numbers as texts without a point or an exponent, None where there is none.

    Raises:
        DataError: If a cell is neither a number nor null nor a special code.
    """
    read_numbers(series, column)  # for its complaint
    texts = read_texts(series)
    cells = column.parse(texts)
    numbers = [str(number // cells.scale) for number in cells.numbers.tolist()]
    codes = texts.to_pylist()
    return pd.Series(np.where(cells.usable, np.array(numbers, object), np.array(codes, object)), dtype=object)


def read_numbers(series: pd.Series, column: ColumnSchema) -> NumberCells:
    """The numbers of a column.

    Raises:
        DataError: If a cell is neither a number (a date) nor null nor a special code.
    """
    special = np.full(len(series), -1)
    if pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(series.dtype):
        values = series.to_numpy(np.float64, na_value=np.nan)
        for place, text in enumerate(column.special if column.kind != "datetime" else ()):
            special[values == float(text)] = place
        missing = np.isnan(values)
        unreadable = np.isinf(values)
    else:
        texts = read_texts(series)
        found = pc.index_in(texts, pa.array(column.special, pa.string()))
        special = np.asarray(pc.fill_null(found, -1)).astype(np.int64)
        cells = column.parse(texts)
        values = np.asarray(cells.numbers / cells.scale, np.float64)
        missing, unreadable = cells.missing & (special < 0), cells.unreadable | cells.infinite
    if unreadable.any():
        row = int(np.flatnonzero(unreadable)[0])
        what = "a date" if column.kind == "datetime" else "a finite number"
        raise DataError(f"row {row}, column `{column.name}`: found {series.iloc[row]!r:.60}, expected {what}.")
    return NumberCells(np.where(missing | (special >= 0), 0.0, values), missing, special)


def data_space(table: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """A table as generators draw rows: floats, days since 1970-01-01, else texts, also of long whole numbers.

    Example:
        >>> frame = pd.DataFrame({"day": ["1970-01-03", None], "yes": [True, False]})
        >>> data_space(frame, Schema.detect(frame)).values.tolist()
        [[2.0, 'true'], [nan, 'false']]
    """
    columns = {}
    for column in schema:
        if column.is_numeric and not column.is_long:
            cells = read_numbers(table[column.name], column)
            codes = np.array([float(text) for text in column.special if column.kind != "datetime"] or [np.nan])
            values = np.where(cells.special >= 0, codes[np.minimum(cells.special, len(codes) - 1)], cells.values)
            columns[column.name] = pd.Series(np.where(cells.missing, np.nan, values), table.index)
        else:
            texts = np.array(read_texts(table[column.name]).to_pylist(), object)
            columns[column.name] = pd.Series(texts, table.index, dtype=object)
    return pd.DataFrame(columns, index=table.index)


def pack_texts(texts: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Texts as one array of bytes and the places where each ends.

    Example:
        >>> unpack_texts(*pack_texts(["ab", "", "é"]))
        ['ab', '', 'é']
    """
    encoded = [text.encode() for text in texts]
    ends = np.cumsum([len(part) for part in encoded], dtype=np.int64)
    return np.frombuffer(b"".join(encoded), np.uint8), ends


def unpack_texts(data: NDArray[np.uint8], ends: NDArray[np.int64]) -> list[str]:
    """Read what `pack_texts` made."""
    whole, starts = data.tobytes(), [0, *ends[:-1].tolist()]
    return [whole[start:end].decode() for start, end in zip(starts, ends.tolist(), strict=True)]
