"""Cells that are integers already are read as their texts would be."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from graftable.tabular import ColumnSchema, Schema
from graftable.tabular.evaluation import ChunkCells
from graftable.tabular.io import ReadOptions, open_table

COLUMN = ColumnSchema("x", "integer", special=("-9", "7.0", "none"))


def cells(column, options=None):
    (chunk,) = open_table(pa.table({"x": column}), options).chunks()
    return ChunkCells(chunk, Schema((COLUMN,))).numbers("x")


@pytest.mark.parametrize("kind", [pa.int8(), pa.int64(), pa.uint16(), pa.uint64()])
def test_integers_are_read_as_their_texts(kind):
    values = [0, 7, None, 9, 100] + ([-9, -1] if pa.types.is_signed_integer(kind) else [])
    typed = pa.array(values, kind)
    found, known = cells(typed), cells(typed.cast(pa.string()))
    np.testing.assert_array_equal(found.numbers, known.numbers)
    np.testing.assert_array_equal(found.usable, known.usable)
    np.testing.assert_array_equal(found.missing, known.missing)
    assert found.scale == known.scale == 1


def test_an_integer_that_stands_for_null_is_null():
    found = cells(pa.array([1, -1, 2]), ReadOptions(nulls=("-1",)))
    assert found.missing.tolist() == [False, True, False]


def test_the_largest_integers_stay_exact():
    most = 2**63 - 1
    found = cells(pa.array([most, -most - 1, 5]))
    assert [int(number) for number in found.numbers] == [most, -most - 1, 5]


def test_a_frame_is_not_written_to():
    frame = pd.DataFrame({"x": [-9, 3]})
    (chunk,) = open_table(frame).chunks()
    assert ChunkCells(chunk, Schema((COLUMN,))).numbers("x").missing.tolist() == [True, False]
    assert frame["x"].tolist() == [-9, 3]
