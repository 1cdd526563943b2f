"""A table as symbols for engines that count, or as normal scores and codes for engines that differentiate.

Both forms rest on one codec per column (see `number_codec` and `text_codecs`), which `TableEncoder` chooses: intervals
for numbers and dates, levels for texts, and for what is no random variable at all a constant or a name of the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftable.errors import ConfigError

from ..schema import ColumnSchema, Schema
from .cells import check_table, read_numbers, read_texts, whole_texts
from .interface import Arrays, Conditions
from .number_codec import SHORT_GRID, NumberCodec
from .text_codecs import CategoryCodec, ConstantCodec, IdentifierCodec, form_of

__all__ = ["Codec", "Encoded", "TableEncoder", "counts_rows"]

Codec = NumberCodec | CategoryCodec | ConstantCodec | IdentifierCodec

CLOCK = r"^\d?\d:\d\d(:\d\d(\.\d+)?)?$"  # texts that may all differ and still name nothing

_KINDS: dict[str, Any] = {codec.kind: codec for codec in (NumberCodec, CategoryCodec, ConstantCodec, IdentifierCodec)}


@dataclass(frozen=True)
class Encoded:
    """Rows as numbers for a network.

    Attributes:
        scores: Normal scores of the columns in `TableEncoder.numeric`, 0 where there is no number ``(rows, P)``.
        codes: Codes of the columns in `TableEncoder.categorical`, -1 for what was never seen ``(rows, Q)``. Of a
            numeric column, 0 says that there is a number; its special codes come after that, and then null.
    """

    scores: NDArray[np.float32]
    codes: NDArray[np.int64]


class TableEncoder:
    """Turns the rows of a table into numbers and back.

    Args:
        schema: The columns.
        codecs: A codec for each, by name.

    Example:
        >>> frame = pd.DataFrame({"age": [20.0, 30.0, None, 20.0], "sex": ["F", "M", "F", "F"], "land": ["x"] * 4})
        >>> encoder = TableEncoder.fit(frame, Schema.detect(frame))
        >>> encoder.numeric, encoder.categorical, encoder.code_sizes
        (('age',), ('age', 'sex'), (2, 2))
        >>> encoded = encoder.transform(frame)
        >>> encoder.inverse(encoded, np.random.default_rng(0))["age"].tolist()
        [20.0, 30.0, nan, 20.0]
    """

    def __init__(self, schema: Schema, codecs: Mapping[str, Codec]) -> None:
        self.schema, self.codecs = schema, dict(codecs)

    @classmethod
    def fit(cls, table: pd.DataFrame, schema: Schema, *, intervals: int = 256, levels: int = 100) -> TableEncoder:
        """Choose and fit a codec for each column.

        Args:
            table: At least one row.
            schema: The columns.
            intervals: About how many intervals a numeric column may have.
            levels: The most symbols of a column of texts; rare texts share one.

        Raises:
            DataError: If the table has no rows, lacks a column, or holds what its schema does not.
        """
        for name, value, least in (("intervals", intervals, 2), ("levels", levels, CategoryCodec.BANDS + 1)):
            if value < least:
                raise ConfigError(f"{name} is {value}; expected at least {least}.")
        table = check_table(table, schema)
        codecs = {column.name: make_codec(table[column.name], column, intervals, levels) for column in schema}
        return cls(schema, codecs)

    @property
    def numeric(self) -> tuple[str, ...]:
        """The columns with a normal score: numbers that vary."""
        return tuple(
            name for name, codec in self.codecs.items() if isinstance(codec, NumberCodec) and codec.ordered > 1
        )

    @property
    def categorical(self) -> tuple[str, ...]:
        """The columns with a code: texts, and numbers with nulls or special codes."""
        return tuple(name for name, codec in self.codecs.items() if codec.size - max(codec.ordered - 1, 0) > 1)

    @property
    def code_sizes(self) -> tuple[int, ...]:
        """How many codes each of `categorical` has."""
        return tuple(codec.size - max(codec.ordered - 1, 0) for codec in map(self.codecs.__getitem__, self.categorical))

    def transform(self, table: pd.DataFrame, rng: np.random.Generator | None = None) -> Encoded:
        """Rows as normal scores and codes.

        Args:
            table: Some rows.
            rng: Fills the slices of repeated values at random, so that scores are normal; None takes their middle.
        """
        table = check_table(table, self.schema)
        scores = [self._number(name).to_scores(table[name], rng) for name in self.numeric]
        codes = []
        for name in self.categorical:
            codec = self.codecs[name]
            symbols = codec.encode(table[name])[0]
            codes.append(np.where(symbols < 0, -1, np.maximum(symbols - max(codec.ordered - 1, 0), 0)))
        rows = len(table)
        return Encoded(
            np.stack(scores, 1).astype(np.float32) if scores else np.zeros((rows, 0), np.float32),
            np.stack(codes, 1) if codes else np.zeros((rows, 0), np.int64),
        )

    def inverse(self, encoded: Encoded, rng: np.random.Generator, conditions: Conditions | None = None) -> pd.DataFrame:
        """Rows of data space; ``rng`` draws inside bands of rare texts, and names.

        Numbers are clipped to what ``conditions`` allow; texts of a band are drawn among those allowed.
        """
        rows = len(encoded.scores)
        columns: dict[str, pd.Series] = {}
        for name, codec in self.codecs.items():
            allowed = conditions.columns.get(name) if conditions is not None else None
            symbols = np.zeros(rows, np.int64)
            if name in self.categorical:
                symbols = np.maximum(encoded.codes[:, self.categorical.index(name)], 0)
                symbols = symbols + np.where(symbols > 0, max(codec.ordered - 1, 0), 0)
            cells = codec.decode(symbols, rng, None if isinstance(codec, NumberCodec) else allowed)
            if name in self.numeric:
                numbers = self._number(name).from_scores(encoded.scores[:, self.numeric.index(name)])
                clipped = numbers if allowed is None else np.clip(numbers, allowed.low, allowed.high)
                cells = cells.where(symbols >= codec.ordered, clipped)
            columns[name] = cells
        return pd.DataFrame(columns)

    def _number(self, name: str) -> NumberCodec:
        codec = self.codecs[name]
        assert isinstance(codec, NumberCodec)  # for the type checker: `numeric` names no others
        return codec

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that was learnt: arrays by name, and what JSON can hold."""
        arrays: Arrays = {}
        kinds = []
        for place, codec in enumerate(self.codecs.values()):
            own, extra = codec.state()
            arrays |= {f"codec{place}.{key}": array for key, array in own.items()}
            kinds.append({"kind": codec.kind, **extra})
        return arrays, {"codecs": kinds}

    @classmethod
    def restored(cls, schema: Schema, arrays: Arrays, extra: dict[str, Any]) -> TableEncoder:
        """Read what `state` gave."""
        codecs: dict[str, Codec] = {}
        for place, (column, settings) in enumerate(zip(schema, extra["codecs"], strict=True)):
            start = f"codec{place}."
            own = {key.removeprefix(start): array for key, array in arrays.items() if key.startswith(start)}
            codecs[column.name] = _KINDS[settings["kind"]].restored(column, own, settings)
        return cls(schema, codecs)


def make_codec(series: pd.Series, column: ColumnSchema, intervals: int, levels: int) -> Codec:
    """The codec that fits a column.

    Args:
        series: Its cells.
        column: What it is.
        intervals: About how many intervals a numeric column may have.
        levels: The most symbols of other columns.
    """
    if column.is_long:
        series = whole_texts(series, column)
    elif column.is_numeric:
        cells = read_numbers(series, column)
        values = cells.values[cells.usable]
        if cells.missing.all():
            return ConstantCodec(column, None)
        if len(values) == len(series) and values.min() == values.max():
            return ConstantCodec(column, float(values[0]))
        if counts_rows(values, column, len(series)):
            return IdentifierCodec(column, int(values.min()))
        return NumberCodec.fit(series, column, intervals)
    texts = read_texts(series)
    kinds = texts.drop_null().unique()
    if texts.null_count == len(texts):
        return ConstantCodec(column, None)
    if len(kinds) == 1 and not texts.null_count and not column.is_long:
        return ConstantCodec(column, kinds[0].as_py())
    named = column.kind == "text" or column.is_long
    names = named and not texts.null_count and len(kinds) >= 0.95 * len(texts) and len(texts) > 1
    if names and not pc.all(pc.match_substring_regex(kinds, CLOCK)).as_py():
        return IdentifierCodec(column, None, form_of(kinds.to_pylist()))
    return CategoryCodec.fit(series, column, levels)


def counts_rows(values: NDArray[np.float64], column: ColumnSchema, rows: int) -> bool:
    """Whether whole numbers are a numbering of the rows: each once, without gaps."""
    if column.kind != "integer" or len(values) < max(rows, SHORT_GRID + 1):
        return False
    return bool(values.max() - values.min() == rows - 1 and len(np.unique(values)) == rows)
