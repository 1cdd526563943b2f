"""Rows of tables of any size, at random, as the columns of the real table say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from graftable.errors import DataError

from ..io import Table
from ..schema import Schema, did_you_mean
from ..table_frames import chunk_frame

__all__ = ["Sample", "names_rows", "own_schema", "sampled"]

DISTINCT = 0.95  # share of different texts from which a column names its rows


class Sample(NamedTuple):
    """Some rows of a table, in random order.

    Attributes:
        frame: The rows, as `graftable.tabular.table_frames.read_frame` gives them.
        schema: What the columns are in this table.
        total: How many rows the table has.
    """

    frame: pd.DataFrame
    schema: Schema
    total: int


def own_schema(table: Table, schema: Schema, source: str, owner: str) -> Schema:
    """The columns of the real table with the date formats of another, which may write them otherwise.

    Raises:
        DataError: If it lacks a column.
    """
    for name in schema.names:
        if name not in table.names:
            raise DataError(f"{source}: has no column `{name}`, which {owner} has.{did_you_mean(name, table.names)}")
    dates = [column.name for column in schema if column.kind == "datetime"]
    found = {column.name: column for column in Schema.detect(table, dates)} if dates else {}
    same = {name: column for name, column in found.items() if column.kind == "datetime"}
    return Schema(
        tuple(
            replace(column, date_format=same[column.name].date_format, decimals=same[column.name].decimals)
            if column.name in same
            else column
            for column in schema
        )
    )


def sampled(table: Table, schema: Schema, most: int, seed: Sequence[int]) -> Sample:
    """At most some rows of a table, each as likely as any other, in one pass and in the memory of those rows.

    Args:
        table: The table.
        schema: Its columns; others are left out.
        most: How many rows.
        seed: The same seed gives the same rows.

    Raises:
        DataError: If a cell that must be a number or a date is none.
    """
    rng = np.random.default_rng(list(seed))
    frame, order, total = pd.DataFrame(), np.empty(0), 0
    for chunk in table.chunks():
        part = chunk_frame(chunk, schema, table)
        keys = np.concatenate([order, rng.random(len(part))])
        first = np.argsort(keys)[:most]
        frame = (pd.concat([frame, part], ignore_index=True) if total else part).iloc[first].reset_index(drop=True)
        order, total = keys[first], total + len(part)
    return Sample(frame, schema, total)


def names_rows(sample: Sample) -> list[str]:
    """Columns that name rows, which nothing can be learnt of: texts that all differ, numbers that count rows."""
    return [column.name for column in sample.schema if _names_rows(sample, column.name)]


def _names_rows(sample: Sample, name: str) -> bool:
    series, column = sample.frame[name], sample.schema[name]
    if series.isna().any() or len(series) < 2:
        return False
    kinds = series.nunique()
    if column.kind == "integer":
        span = None if column.minimum is None or column.maximum is None else column.maximum - column.minimum
        return kinds == len(series) and span is not None and span <= sample.total / DISTINCT
    return not column.is_numeric and kinds >= DISTINCT * len(series)
