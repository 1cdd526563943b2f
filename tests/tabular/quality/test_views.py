"""Rows are the same view whatever file they come from, and independent columns keep each column."""

import math

import numpy as np
import pandas as pd

from graftable.tabular import Schema
from graftable.tabular.io import open_table
from graftable.tabular.quality import frame_view, independent
from graftable.tabular.table_frames import read_frame

FRAME = pd.DataFrame(
    {
        "day": pd.to_datetime(["1970-01-03", None, "1969-12-31"]),
        "ok": pd.array([True, None, False], "boolean"),
        "n": [1.5, math.nan, -2.0],
        "code": ["a", None, "B"],
        "whole": pd.array([3, None, 4], "Int64"),
    }
)


def test_csv_and_parquet_and_memory_give_one_view(tmp_path):
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    FRAME.to_parquet(tmp_path / "t.parquet", index=False)
    views = []
    for source in (tmp_path / "t.csv", tmp_path / "t.parquet", FRAME):
        table = open_table(source)
        schema = Schema.detect(table)
        numeric = {column.name for column in schema if column.is_numeric}
        views.append(frame_view(read_frame(table, schema), schema, numeric))
    for view in views:
        assert view.columns == ["day", "n", "whole", "ok", "code"]
        assert view.rows == 3
        pd.testing.assert_frame_equal(view.numbers, views[0].numbers)
        pd.testing.assert_frame_equal(view.texts, views[0].texts)
    assert views[0].numbers.fillna(99).to_numpy().tolist() == [[2, 1.5, 3], [99, 99, 99], [-1, -2, 4]]
    assert views[0].texts.to_numpy().tolist() == [["true", "a"], ["null", "null"], ["false", "B"]]


def test_independent_columns_hold_the_same_cells_in_another_order():
    schema = Schema.detect(FRAME)
    view = frame_view(FRAME, schema, {"n", "day", "whole"})
    apart = independent(view, np.random.default_rng(1))
    for part, other in zip(view, apart, strict=True):
        for name in part:
            assert sorted(map(str, part[name])) == sorted(map(str, other[name]))
