"""Rows against what was asked for: which meet the conditions, and the nearest cell that does."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from graftable.errors import ConfigError

from ..schema import Schema
from .cells import read_numbers, read_texts
from .encoding import Codec, TableEncoder
from .interface import Allowed, Conditions
from .number_codec import NumberCodec
from .text_codecs import CategoryCodec

__all__ = ["draw_asked", "force", "may_be", "meets"]


def may_be(name: str, codec: Codec, allowed: Allowed) -> None:
    """Check that a column has any value that is allowed.

    Raises:
        ConfigError: If it has none in the table that was learnt.
    """
    if not np.asarray(codec.mass(allowed)).any():
        raise ConfigError(f"no row of the table that was learnt has a value of `{name}` that the conditions allow.")


def meets(frame: pd.DataFrame, schema: Schema, conditions: Conditions, asked: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which rows meet the conditions, ``(rows,)``.

    Args:
        frame: Rows of data space.
        schema: The columns.
        conditions: What is allowed; with bounds by row, row ``asked[i]`` is meant for row ``i`` of the frame.
        asked: ``(rows,)``.
    """
    good = np.ones(len(frame), bool)
    for name, allowed in conditions.columns.items():
        good &= _met(frame[name], schema, name, allowed, asked)
    return good


def _met(series: pd.Series, schema: Schema, name: str, allowed: Allowed, asked: NDArray[np.intp]) -> NDArray[np.bool_]:
    column = schema[name]
    if not column.is_numeric:
        texts = read_texts(series)
        missing = np.asarray(texts.is_null())
        kept = (
            np.isin(np.array(texts.to_pylist(), object), list(allowed.texts)) if allowed.texts is not None else ~missing
        )
        return np.asarray(np.where(missing, allowed.null, kept), bool)
    cells = read_numbers(series, column)
    low, high = (_of(end, asked) for end in (allowed.low, allowed.high))
    inside = (cells.values >= low - 1e-9) & (cells.values <= high + 1e-9)
    codes = np.array([allowed.texts is not None and text in allowed.texts for text in (*column.special, "")], bool)
    return np.asarray(np.where(cells.missing, allowed.null, np.where(cells.special >= 0, codes[cells.special], inside)))


def force(
    frame: pd.DataFrame,
    schema: Schema,
    conditions: Conditions,
    waiting: NDArray[np.intp],
    encoder: TableEncoder,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Bring the conditioned cells of some rows to values that are allowed.

    Args:
        frame: Rows of data space.
        schema: The columns.
        conditions: What is allowed.
        waiting: Which rows; the others stay.
        encoder: Knows the values of the columns and how often they are.
        rng: Draws texts, and numbers for cells that have none.
    """
    if not len(waiting):
        return frame
    frame = frame.copy()
    for name, allowed in conditions.columns.items():
        own = frame[name].iloc[waiting]
        wrong = ~_met(own, schema, name, allowed, waiting)
        if not wrong.any():
            continue
        rows, own = waiting[wrong], own[wrong]
        codec = encoder.codecs[name]
        numbers = own.to_numpy(np.float64, na_value=np.nan) if schema[name].is_numeric else np.empty(0)
        if (
            schema[name].is_numeric
            and not np.isnan(numbers).any()
            and np.all(_of(allowed.low, rows) <= _of(allowed.high, rows))
        ):
            cells = pd.Series(np.clip(numbers, _of(allowed.low, rows), _of(allowed.high, rows)))
        else:
            cells = draw_asked(codec, allowed, rows, rng)
        column = frame[name].to_numpy(copy=True)
        column[rows] = cells.to_numpy()
        frame[name] = column
    return frame


def draw_asked(codec: Codec, allowed: Allowed, rows: NDArray[np.intp], rng: np.random.Generator) -> pd.Series:
    """Cells of a column that are allowed, as often as they were seen, one for each of some rows."""
    here = Allowed(_of(allowed.low, rows), _of(allowed.high, rows), allowed.texts, allowed.null)
    counts = _symbol_counts(codec)
    mass = np.broadcast_to(codec.mass(here), (len(rows), codec.size)) * counts
    edges = mass.cumsum(1)
    symbols = (rng.random(len(rows))[:, None] * edges[:, -1:] >= edges).sum(1).clip(max=codec.size - 1)
    cells = codec.decode(symbols, rng, here)
    if isinstance(codec, NumberCodec):  # between values that were seen there may be room for what is asked
        cells = cells.where(edges[:, -1] > 0, cells.clip(_of(allowed.low, rows), _of(allowed.high, rows)))
    return cells


def _symbol_counts(codec: Codec) -> NDArray[np.float64]:
    """Training rows by symbol."""
    if isinstance(codec, NumberCodec):
        return codec.counts
    if isinstance(codec, CategoryCodec):
        counts = np.bincount(codec.levels, codec.counts, minlength=codec.size).astype(np.float64)
        counts[-1] = codec.null_count if codec.nulls else counts[-1]
        return counts
    return np.ones(codec.size)


def _of(end: float | NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """A bound for each of some rows."""
    bounds = np.asarray(end, np.float64)
    return bounds[rows] if bounds.ndim else np.full(len(rows), bounds)
