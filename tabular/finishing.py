"""The last step of a generator: its floating-point columns become cells of the table's own kind that obey the rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .checking import read_rules
from .draft import DAYS, FLOAT_LIMIT, clip_range
from .io import open_table
from .lattice import SAFE, format_dates
from .repair_report import RepairReport
from .repairing import repair
from .schema import ColumnSchema, Schema

__all__ = ["Finisher", "snap"]


class Finisher:
    r"""Makes rows that obey from whatever a model drew.

    Every number is brought to its column's lattice,

    .. math:: m = \mathrm{clip}(\mathrm{round}(x \cdot s)), \qquad x' = m / s,

    and the rows that then break a rule are corrected exactly.

    Args:
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        schema: The columns of the table that the model imitates.
        pin: Columns that must not change beyond rounding.

    Example:
        >>> columns = (ColumnSchema("low", "integer"), ColumnSchema("high", "decimal", decimals=1))
        >>> finish = Finisher("low <= high", Schema(columns))
        >>> frame, report = finish(pd.DataFrame({"low": [1.2, 7.7], "high": [float("inf"), 7.55]}))
        >>> frame["low"].tolist(), frame["high"].tolist()[1], report.moved_rows
        ([1, 8], 8.0, 1)
    """

    def __init__(self, rules: Any, schema: Schema, *, pin: Sequence[str] = ()) -> None:
        self.schema, self.pin = schema, tuple(pin)
        empty = pd.DataFrame({name: [None] for name in schema.names})
        self.rules, _ = read_rules(rules, open_table(empty), schema)

    def __call__(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, RepairReport]:
        """Finish some rows.

        Args:
            frame: The columns of the schema: floats for numbers, floats (days since 1970-01-01) or texts for dates, the
                schema's texts for categories. NaN and None are null; any other float will do.

        Returns:
            The rows with integers, decimals as the nearest floats, dates as texts; and what had to move. Rows without
            a solution, which only pins or rules on null cells can leave, are in its quarantine.
        """
        return repair(snap(frame, self.schema), self.rules, self.schema, pin=self.pin, coerce=True)


def snap(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """Bring columns of floats to the lattice of a schema.

    Example:
        >>> schema = Schema((ColumnSchema("price", "decimal", decimals=2, maximum=9),))
        >>> snap(pd.DataFrame({"price": [1.23456, -0.0, float("inf"), float("nan")]}), schema)["price"].tolist()
        [1.23, 0.0, 9.0, nan]
    """
    snapped = {
        name: _snapped(frame[name], schema[name]) if schema[name].is_numeric else frame[name] for name in schema.names
    }
    return pd.DataFrame(snapped, index=frame.index)


def _snapped(series: pd.Series, column: ColumnSchema) -> pd.Series:
    if not pd.api.types.is_numeric_dtype(series.dtype):
        return series
    values = series.to_numpy(np.float64, na_value=np.nan)
    missing, limit = np.isnan(values), FLOAT_LIMIT if column.kind == "decimal" else SAFE
    limit = -DAYS[0] * column.scale if column.kind == "datetime" else limit
    low, high = clip_range(column, limit)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.where(missing, 0.0, np.rint(values * column.scale))
    numbers = np.where(np.abs(scaled) < limit, scaled, 0.0).astype(np.int64)
    numbers = np.where(scaled >= limit, high, np.where(scaled <= -limit, low, numbers))
    if column.kind == "datetime":
        texts = format_dates(numbers, column.date_format or "%Y-%m-%d", column.decimals)
        return pd.Series(texts, series.index, dtype=object).mask(missing, None)
    if column.scale == 1:
        whole = pd.Series(numbers, series.index)
        return whole.astype("Int64").mask(missing) if missing.any() else whole
    # the float nearest to m / s prints as that decimal, up to 15 digits
    return pd.Series(np.where(missing, np.nan, numbers / column.scale), series.index)
