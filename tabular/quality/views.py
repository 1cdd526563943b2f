"""Rows in the two forms that measures need: floats for numbers and dates, texts for all else (null is one)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ..schema import ColumnSchema, Schema

__all__ = [
    "NULL",
    "View",
    "as_texts",
    "code_columns",
    "features",
    "frame_view",
    "independent",
    "shared_codes",
    "taken",
    "unequal_cells",
]

NULL = "null"
"""The text of a null cell among categories."""

Codes = NDArray[np.unsignedinteger]

MOST_KINDS = 200  # of a column that gets one feature a category
MOST_FEATURES = 2_000  # of all such columns together


class View(NamedTuple):
    """Some rows.

    Attributes:
        numbers: Numbers, and dates as days since 1970-01-01; NaN is null.
        texts: Categories as texts; null is a category of its own.
    """

    numbers: pd.DataFrame
    texts: pd.DataFrame

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.texts.index)

    @property
    def columns(self) -> list[str]:
        """The columns, numbers first."""
        return [*self.numbers.columns, *self.texts.columns]


def frame_view(frame: pd.DataFrame, schema: Schema, continuous: Collection[str]) -> View:
    """Part a frame into numbers and categories.

    Args:
        frame: Rows as `graftable.tabular.table_frames.read_frame` or `graftable.tabular.finishing.snap` give them.
        schema: The columns that count, in their order.
        continuous: Those that are numbers or dates.

    Example:
        >>> schema = Schema((ColumnSchema("day", "datetime", date_format="%Y-%m-%d"), ColumnSchema("ok", "boolean")))
        >>> view = frame_view(pd.DataFrame({"day": ["1970-01-03", None], "ok": [True, None]}), schema, {"day"})
        >>> view.numbers["day"].tolist(), view.texts["ok"].tolist()
        ([2.0, nan], ['true', 'null'])
    """
    numeric = [name for name in schema.names if name in continuous]
    discrete = [name for name in schema.names if name not in continuous]
    numbers = pd.DataFrame({name: _floats(frame[name], schema[name]) for name in numeric}, index=frame.index)
    texts = pd.DataFrame(
        {name: _texts(frame[name], schema[name]) for name in discrete}, index=frame.index, dtype=object
    )
    return View(numbers.astype(float).reset_index(drop=True), texts.reset_index(drop=True))


def _floats(series: pd.Series, column: ColumnSchema) -> pd.Series:
    if column.kind == "datetime" and not pd.api.types.is_numeric_dtype(series.dtype):
        if pd.api.types.is_datetime64_any_dtype(series.dtype):
            return (series - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
        cells = column.parse(pa.Array.from_pandas(series).cast(pa.string()))
        days = np.asarray(cells.numbers / cells.scale, np.float64)
        return pd.Series(np.where(cells.missing | cells.unreadable, np.nan, days), series.index)
    return pd.to_numeric(series, errors="coerce").astype(float)


def _texts(series: pd.Series, column: ColumnSchema) -> pd.Series:
    if pd.api.types.is_float_dtype(series.dtype):
        return series.map(lambda cell: NULL if pd.isna(cell) else f"{cell:g}")
    # a truth is True in one kind of file and true in another
    truth = column.kind == "boolean" or pd.api.types.is_bool_dtype(series.dtype)
    texts = series.astype(object).map(lambda cell: NULL if pd.isna(cell) else str(cell))
    return texts.str.lower() if truth else texts


def as_texts(view: View, name: str) -> View:
    """The rows with a column of numbers as one of categories."""
    texts = view.texts.assign(**{name: _texts(view.numbers[name], ColumnSchema(name, "categorical"))})
    return View(view.numbers.drop(columns=name), texts)


def taken(view: View, rows: NDArray[np.integer] | slice) -> View:
    """Some of the rows, numbered anew."""
    return View(*(part.iloc[rows].reset_index(drop=True) for part in view))


def independent(view: View, rng: np.random.Generator) -> View:
    """The rows with each column shuffled on its own: its marginals are right, and nothing else is."""
    return View(
        *(pd.DataFrame({name: rng.permutation(part[name].to_numpy()) for name in part}, part.index) for part in view)
    )


def shared_codes(parts: Sequence[pd.Series], ordered: bool = False) -> tuple[list[NDArray[np.int64]], int]:
    """Texts of several parts as numbers from 0, the same text as the same number; and how many there are.

    Args:
        parts: Series of texts.
        ordered: Number them in the order of the alphabet, which says nothing of the part that a text comes from; by
            default as they come.
    """
    codes, kinds = pd.factorize(pd.concat(list(parts), ignore_index=True), sort=ordered)
    ends = np.cumsum([len(part) for part in parts])[:-1]
    return np.split(codes.astype(np.int64), ends), len(kinds)


def features(parts: Sequence[View]) -> list[NDArray[np.float32]]:
    """What classifiers are given: numbers, and a column for each category.

    A column of more than 200 categories becomes one column of numbers; so do the largest where there would be more than
    2,000 columns.

    Args:
        parts: Views with the same columns.

    Returns:
        An array ``(rows, features)`` for each part.
    """
    dense = [np.concatenate([part.numbers.to_numpy(np.float32) for part in parts])]
    coded = {name: shared_codes([part.texts[name] for part in parts]) for name in parts[0].texts}
    room = MOST_FEATURES
    spread = set()
    for name in sorted(coded, key=lambda name: coded[name][1]):
        room -= coded[name][1]
        if coded[name][1] <= MOST_KINDS and room >= 0:
            spread.add(name)
    for name, (codes, kinds) in coded.items():
        if name in spread:
            dense.append(np.eye(kinds, dtype=np.float32)[np.concatenate(codes)])
        else:
            codes, _ = shared_codes([part.texts[name] for part in parts], ordered=True)
            dense.append(np.concatenate(codes)[:, None].astype(np.float32))
    ends = np.cumsum([part.rows for part in parts])[:-1]
    return cast("list[NDArray[np.float32]]", np.split(np.concatenate(dense, 1), ends))


def code_columns(parts: Iterable[View]) -> list[Codes]:
    """The categories of each part as numbers ``(columns, rows)``, equal where texts are."""
    views = list(parts)
    columns = [shared_codes([view.texts[name] for view in views]) for name in views[0].texts]
    kind = np.min_scalar_type(max([kinds for _, kinds in columns], default=0))
    return [
        np.array([codes[place] for codes, _ in columns], kind).reshape(len(columns), view.rows)
        for place, view in enumerate(views)
    ]


def unequal_cells(ours: Codes, theirs: Codes) -> NDArray[np.unsignedinteger]:
    """How many categories differ between each of some rows and each of some others ``(rows, others)``."""
    kind = np.uint8 if len(ours) < 256 else np.uint32
    unequal = np.zeros((ours.shape[1], theirs.shape[1]), kind)
    for one, other in zip(ours, theirs, strict=True):
        unequal += (one[:, None] != other[None, :]).view(np.uint8)
    return unequal
