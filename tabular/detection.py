"""Find out what the columns of a table are, one chunk at a time."""

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from .io import ReadOptions, Table, open_table
from .lattice import DATE_FORMATS, ZONE, LatticeCells, format_dates, number_text, parse_dates, parse_numbers
from .schema import ColumnSchema, Kind, Schema

__all__ = ["detect"]

MOST_CATEGORIES = 10_000
SAMPLE = 100_000  # values from which medians and spreads are estimated

_ISO_FORM = re.compile(r"^\d{4}-\d\d-\d\d(?:([T ])\d\d:\d\d(:\d\d(?:\.(\d+))?)?)?$")


def detect(source: Any, columns: Sequence[str] | None = None, options: ReadOptions | None = None) -> Schema:
    """Find out what the columns of a table are, in one pass.

    A column is numeric if every cell that is not null is a number, without leading zeros (a code such as 01234 is a
    category); a datetime if one of `graftable.tabular.lattice.DATE_FORMATS` fits all; boolean for true and false; else
    categorical, or text where most cells differ. Special codes cannot be told from values: declare them in the schema.

    Args:
        source: A path, a data frame, an Arrow table, or an open table.
        columns: Only these, in their order in the table; by default all.
        options: How to read texts.

    Raises:
        DataError: If the table cannot be read or lacks one of ``columns``.

    Example:
        >>> schema = detect(pa.table({"price": ["1.50", "20.00", ""], "sort": ["a", "b", "a"]}))
        >>> [(column.name, column.kind, column.decimals, column.nullable) for column in schema]
        [('price', 'decimal', 1, True), ('sort', 'categorical', 0, False)]
    """
    table = open_table(source, options)
    wanted = table.names if columns is None else tuple(name for name in table.names if name in set(columns))
    found = {name: _Column(name, table.decimal) for name in wanted}
    _read(table, found.values())
    # a column that looked numeric for some chunks and then was not has to be counted from the top
    late = {name: _Column(name, table.decimal, numeric=False) for name, column in found.items() if column.is_late}
    _read(table, late.values())
    schema = Schema(tuple(column.described() for column in (found | late).values()))
    schema.require(columns or (), table.source)
    return schema


def _read(table: Table, columns: Collection["_Column"]) -> None:
    for chunk in table.chunks() if columns else ():
        for column in columns:
            column.add(chunk.texts(column.name))


@dataclass
class _Numbers:
    """What is known of the numbers of a column so far, on a lattice that gets finer as needed."""

    scale: int = 1
    step: int = 0  # all numbers are multiples of this
    least: Fraction | None = None
    greatest: Fraction | None = None
    sample: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def add(self, cells: LatticeCells) -> None:
        finer = math.lcm(self.scale, cells.scale)
        self.step, self.scale = self.step * (finer // self.scale), finer
        numbers = cells.numbers[cells.usable]
        if not len(numbers):
            return
        step = int(np.gcd.reduce(numbers)) * (finer // cells.scale)
        self.step = math.gcd(self.step, step)
        least, greatest = Fraction(int(numbers.min()), cells.scale), Fraction(int(numbers.max()), cells.scale)
        self.least = least if self.least is None else min(self.least, least)
        self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)
        room = SAMPLE - len(self.sample)
        if room > 0:
            self.sample = np.append(self.sample, _floats(numbers[:room], cells.scale))

    def decimals(self) -> int:
        """How many decimals the values need: trailing zeros do not count."""
        places = len(str(self.scale)) - 1
        while places and self.step % 10 == 0:
            self.step, places = self.step // 10, places - 1
        return places

    def spread(self, scale: int) -> Fraction:
        """The interquartile range; else the standard deviation; else one lattice step."""
        values = self.sample
        low, high = np.quantile(values, [0.25, 0.75]) if len(values) else (0.0, 0.0)
        with np.errstate(over="ignore"):
            deviation = float(values.std()) if len(values) else 0.0
        width = next((width for width in (high - low, deviation) if 0 < width < math.inf), 0.0)
        return Fraction(round(Fraction(width) * scale), scale) or Fraction(1, scale)

    def median(self, scale: int) -> int:
        """The middle value in lattice units."""
        return round(Fraction(float(np.median(self.sample))) * scale) if len(self.sample) else 0


def _floats(numbers: NDArray[Any], scale: int) -> NDArray[np.float64]:
    """Values as floats, without those that no float can be."""
    if numbers.dtype == object:
        numbers = numbers[np.abs(numbers) < scale << 1000]
    return np.asarray(numbers / scale, np.float64)


class _Column:
    """What is known of a column so far: every kind that its texts still allow."""

    def __init__(self, name: str, decimal: str, numeric: bool = True) -> None:
        self.name, self.decimal = name, decimal
        self.nullable, self.rows, self.is_late = False, 0, False
        self.numbers: _Numbers | None = _Numbers() if numeric else None
        self.shown = 99
        self.dates: dict[str, _Numbers] = {date_format: _Numbers() for date_format in DATE_FORMATS}
        self.zones: set[str] = set()  # of times that have one
        self.iso_form = (0, " ", 0)  # the finest seen: precision, letter before the clock, digits of a second
        self.counts: Counter[str] | None = Counter()

    def add(self, texts: pa.Array) -> None:
        """Take the texts of one more chunk."""
        self.nullable = self.nullable or texts.null_count > 0
        texts = texts.drop_null() if texts.null_count else texts
        if not len(texts):
            return
        if self.numbers is not None:
            self._add_numbers(texts)
            self.is_late = self.numbers is None and self.rows > 0
        self.rows += len(texts)
        if self.numbers is not None or self.is_late:
            return
        if self.dates:
            self._add_dates(texts)
        if self.counts is not None:
            counted = pc.value_counts(texts)
            self.counts.update(dict(zip(*(part.to_pylist() for part in counted.flatten()), strict=True)))
            self.counts = self.counts if len(self.counts) <= MOST_CATEGORIES else None

    def _add_numbers(self, texts: pa.Array) -> None:
        cells = parse_numbers(texts.slice(0, 64), self.decimal)  # most columns of words show it at once
        if not cells.unreadable.any():
            cells = parse_numbers(texts, self.decimal)
        is_code = pc.any(pc.match_substring_regex(texts, r"^-?0\d")).as_py()
        if cells.unreadable.any() or is_code or self.numbers is None:
            self.numbers = None
            return
        self.numbers.add(cells)
        mark = pc.find_substring(texts, self.decimal)
        shown = pc.if_else(pc.less(mark, 0), 0, pc.subtract(pc.subtract(pc.binary_length(texts), mark), 1))
        exponent = pc.any(pc.match_substring_regex(texts, "[eE]")).as_py()
        self.shown = 0 if exponent else min(self.shown, pc.min(shown).as_py())

    def _add_dates(self, texts: pa.Array) -> None:
        for date_format in list(self.dates):
            cells = parse_dates(texts.slice(0, 64), date_format)
            if not cells.unreadable.any():
                cells = parse_dates(texts, date_format)
            if cells.unreadable.any():
                del self.dates[date_format]
            else:
                self.dates[date_format].add(cells)
        if "%Y-%m-%d%z" in self.dates:
            parts = pc.extract_regex(texts, f"^(?P<local>.*?){ZONE}")
            texts = pc.struct_field(parts, [0])
            self.zones.update(pc.unique(pc.struct_field(parts, [1])).to_pylist())
        if self.dates.keys() & {"%Y-%m-%d", "%Y-%m-%d%z"}:
            longest = max(texts.to_pylist(), key=len)
            letter, second, digits = match.groups() if (match := _ISO_FORM.match(longest)) else (None, None, None)
            self.iso_form = max(self.iso_form, (bool(letter) + bool(second), letter or " ", len(digits or "")))

    def described(self) -> ColumnSchema:
        """The column, now that all texts have been seen."""
        if self.rows and self.numbers is not None:
            return self._numeric(self.numbers)
        if self.rows and self.dates and self.numbers is None:
            return self._datetime()
        ordered = sorted((self.counts or {}).items(), key=lambda item: (-item[1], item[0]))
        categories = tuple(text for text, _ in ordered)
        if categories and {text.lower() for text in categories} <= {"true", "false"}:
            kind: Kind = "boolean"
        elif self.counts is None or (len(categories) > 50 and len(categories) > self.rows / 2):
            return ColumnSchema(self.name, "text", nullable=self.nullable, fill=categories[0] if categories else "")
        else:
            kind = "categorical"
        fill = categories[0] if categories else ""
        return ColumnSchema(self.name, kind, categories=categories, nullable=self.nullable, fill=fill)

    def _numeric(self, numbers: _Numbers) -> ColumnSchema:
        decimals = numbers.decimals()
        scale = 10**decimals
        return ColumnSchema(
            self.name,
            "decimal" if decimals else "integer",
            decimals=decimals,
            nullable=self.nullable,
            minimum=numbers.least,
            maximum=numbers.greatest,
            fill=number_text(numbers.median(scale), scale, self.shown, self.decimal),
            spread=numbers.spread(scale),
            shown_decimals=self.shown,
        )

    def _datetime(self) -> ColumnSchema:
        date_format, numbers = next(iter(self.dates.items()))
        zone = "" if not date_format.endswith("%z") else self.zones.pop() if len(self.zones) == 1 else "%z"
        date_format, (precision, letter, digits) = date_format.removesuffix("%z"), self.iso_form
        if date_format == "%Y-%m-%d" and precision:
            date_format += f"{letter}%H:%M" + (":%S" if precision > 1 else "") + (".%f" if digits else "")
        date_format += zone
        column = ColumnSchema(self.name, "datetime", decimals=digits, nullable=self.nullable, date_format=date_format)
        median = format_dates([numbers.median(column.scale)], date_format, digits)[0]
        return ColumnSchema(
            self.name,
            "datetime",
            decimals=digits,
            nullable=self.nullable,
            minimum=numbers.least,
            maximum=numbers.greatest,
            date_format=date_format,
            fill=median,
            spread=numbers.spread(column.scale),
        )
