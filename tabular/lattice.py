r"""Cells as exact integers: the text of a number or a date becomes :math:`m` with value :math:`m / s`, and back.

A number is its text: "12.50" is 1250 hundredths, and no binary fraction. Dates count days since 1970-01-01, in the
smallest step of their format. Plain texts go through Arrow a column at a time; exponents and more than 18 digits go
through Python integers.
"""

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = [
    "DATE_FORMATS",
    "SAFE",
    "ZONE",
    "LatticeCells",
    "format_dates",
    "format_numbers",
    "has_zone",
    "number_text",
    "parse_dates",
    "parse_number",
    "parse_numbers",
    "units_per_day",
]

SAFE = 1 << 62
"""Magnitudes below this stay in int64, and so does the sum of two of them."""

LONGEST_EXPONENT = 400  # a float64 reaches 308; beyond this a text is a typing error, not a number to expand

DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%d%z",
)
"""Formats that are tried; the first also takes ISO times, the last those with a time zone. Of two that fit a whole
column, the earlier is taken."""

ZONE = r"(?P<zone>Z| ?UTC|[+-]\d\d(?::?[0-5]\d)?)$"
"""The time zone at the end of a time, and at the end of a format whose texts all have this one."""

_PLAIN = r"^-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)$"
_NUMBER = re.compile(r"\s*([+-]?)(?:(\d+)(?:\.(\d*))?|\.(\d+))(?:[eE]([+-]?\d+))?\s*", re.ASCII)
_INFINITE = re.compile(r"\s*[+-]?inf(?:inity)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class LatticeCells:
    """One column of a chunk as integers.

    Attributes:
        numbers: ``value * scale`` per cell, int64, or Python integers where int64 is too short; 0 where there is none.
        scale: Units per 1 (per day, for dates).
        missing: Cells that are null.
        infinite: Cells that hold an infinity, which no lattice has.
        unreadable: Cells whose text is no number (no date) at all.
    """

    numbers: NDArray[Any]
    scale: int
    missing: NDArray[np.bool_]
    infinite: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Cells that hold a number."""
        return ~(self.missing | self.infinite | self.unreadable)

    def at_scale(self, scale: int) -> "LatticeCells":
        """The same cells on a finer lattice; ``scale`` must be a multiple of the present one."""
        factor = scale // self.scale
        if factor == 1:
            return self
        numbers = self.numbers
        if numbers.dtype != object and largest(numbers) * factor >= SAFE:
            numbers = numbers.astype(object)
        return LatticeCells(numbers * factor, scale, self.missing, self.infinite, self.unreadable)


def largest(numbers: NDArray[Any]) -> int:
    """The largest magnitude, 0 for none."""
    return max(abs(int(numbers.max())), abs(int(numbers.min()))) if len(numbers) else 0


def parse_number(text: str) -> tuple[int, int] | None:
    """Read one number as ``(mantissa, decimals)``, value ``mantissa / 10**decimals``; None if it is none.

    Example:
        >>> parse_number("12.50"), parse_number("-3e2"), parse_number("12,5")
        ((1250, 2), (-300, 0), None)
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    sign, whole, decimals, bare, exponent = match.groups()
    digits = decimals or bare or ""
    places = len(digits) - int(exponent or 0)
    if abs(places - len(digits)) > LONGEST_EXPONENT:
        return None
    mantissa = int(f"{sign}{whole or ''}{digits}")
    return (mantissa, places) if places >= 0 else (mantissa * 10**-places, 0)


def parse_numbers(texts: pa.Array, decimal: str = ".") -> LatticeCells:
    """Read a column of numbers at the finest scale that occurs in it.

    Args:
        texts: Strings; null where the cell is null.
        decimal: The decimal mark.

    Returns:
        The cells, exact.

    Example:
        >>> cells = parse_numbers(pa.array(["1.5", None, "-20", "inf", "x"]))
        >>> cells.numbers.tolist(), cells.scale
        ([15, 0, -200, 0, 0], 10)
        >>> cells.missing.tolist(), cells.infinite.tolist(), cells.unreadable.tolist()  # doctest: +NORMALIZE_WHITESPACE
        ([False, True, False, False, False], [False, False, False, True, False], [False, False, False, False, True])
    """
    texts = _contiguous(texts)
    missing = _mask(pc.is_null(texts))
    foreign = np.zeros(len(texts), bool)
    if decimal != ".":
        foreign = _mask(pc.match_substring(texts, "."))
        texts = pc.replace_substring(texts, decimal, ".")
    plain = (
        _mask(pc.match_substring_regex(texts, _PLAIN)) & _mask(pc.less_equal(pc.binary_length(texts), 18)) & ~foreign
    )
    numbers, places = _plain_numbers(texts, plain)
    infinite, unreadable = np.zeros(len(texts), bool), foreign
    rows = np.flatnonzero(~plain & ~missing & ~foreign)
    if len(rows):
        numbers = numbers.astype(object)
    for row, text in zip(rows, texts.take(pa.array(rows)).to_pylist(), strict=True):
        if (parsed := parse_number(text)) is not None:
            numbers[row], places[row] = parsed
        elif text.strip().lower() == "nan":
            missing[row] = True
        elif _INFINITE.fullmatch(text) or _NUMBER.fullmatch(text):
            infinite[row] = True
        else:
            unreadable[row] = True
    numbers, scale = _common_scale(numbers, places)
    return LatticeCells(numbers, scale, missing, infinite, unreadable)


def _plain_numbers(texts: pa.Array, plain: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Mantissas and decimal places of the texts marked plain; zeros elsewhere."""
    if not plain.all():
        texts = pc.if_else(pa.array(plain), texts, "0")
    point = np.asarray(pc.find_substring(texts, ".")).astype(np.int64)
    if (point < 0).all():
        return np.asarray(texts.cast(pa.int64())), np.zeros(len(texts), np.int64)
    length = np.asarray(pc.binary_length(texts)).astype(np.int64)
    digits = pc.replace_substring(texts, ".", "", max_replacements=1)
    return np.asarray(digits.cast(pa.int64())), np.where(point < 0, 0, length - point - 1)


def _common_scale(numbers: NDArray[Any], places: NDArray[np.int64]) -> tuple[NDArray[Any], int]:
    """Bring mantissas with different decimal places to the finest of them; int64 where it is safe."""
    finest = int(places.max(initial=0))
    steps = finest - places
    if numbers.dtype != object:
        reach = np.abs(numbers.astype(np.float64)) * 10.0**steps
        if reach.max(initial=0.0) < float(SAFE) / 2 and steps.max(initial=0) <= 18:
            return numbers * (np.int64(10) ** steps), 10**finest
        numbers = numbers.astype(object)
    scaled = np.array([int(m) * 10 ** int(step) for m, step in zip(numbers, steps, strict=True)], object)
    if largest(scaled) < SAFE:
        return scaled.astype(np.int64), 10**finest
    return scaled, 10**finest


def number_text(number: int, scale: int, shown_decimals: int = 0, decimal: str = ".") -> str:
    """The canonical text of ``number / scale``, ``scale`` a power of ten: the shortest, with at least some decimals.

    Example:
        >>> number_text(1250, 100), number_text(-5, 100), number_text(1200, 100, shown_decimals=1)
        ('12.5', '-0.05', '12.0')
    """
    whole, rest = divmod(abs(number), scale)
    digits = str(rest).zfill(len(str(scale)) - 1).rstrip("0") if rest else ""
    digits = digits.ljust(shown_decimals, "0")
    return f"{'-' if number < 0 else ''}{whole}{decimal if digits else ''}{digits}"


def format_numbers(
    numbers: Sequence[int] | NDArray[Any], scale: int, shown_decimals: int = 0, decimal: str = "."
) -> list[str]:
    """The canonical texts of many numbers; see `number_text`.

    Example:
        >>> format_numbers(np.array([5, -10]), 10)
        ['0.5', '-1']
    """
    if scale == 1 and shown_decimals == 0:
        return [str(number) for number in numbers]
    return [number_text(int(number), scale, shown_decimals, decimal) for number in numbers]


def units_per_day(date_format: str, decimals: int = 0) -> int:
    """The lattice of a date format: how many of its smallest steps make a day.

    Example:
        >>> units_per_day("%Y-%m-%d"), units_per_day("%d/%m/%Y %H:%M"), units_per_day("%Y-%m-%dT%H:%M:%S.%f", 3)
        (1, 1440, 86400000)
    """
    if "%f" in date_format:
        return int(86400 * 10**decimals)
    return 86400 if "%S" in date_format else 1440 if "%M" in date_format else 24 if "%H" in date_format else 1


def parse_dates(texts: pa.Array, date_format: str, decimals: int = 0) -> LatticeCells:
    """Read a column of dates or times as units since 1970-01-01.

    Args:
        texts: Strings; null where the cell is null.
        date_format: As `datetime.strptime` has it. ``%f``, if there, follows a point and ends the clock. ``%z`` at the
            end, or a time zone as it stands in the texts, says that what counts is the time in UTC, whatever the zone
            of a text. Where it is an ISO format, texts may also be coarser or finer than it says; a finer text makes
            the scale finer.
        decimals: Digits of ``%f``.

    Example:
        >>> cells = parse_dates(pa.array(["1970-01-02", "1969-12-31", "2011-13-01"]), "%Y-%m-%d")
        >>> cells.numbers.tolist(), cells.scale, cells.unreadable.tolist()
        ([1, -1, 0], 1, [False, False, True])
        >>> parse_dates(pa.array(["1970-01-02T06:00"]), "%Y-%m-%d").scale
        1440
        >>> parse_dates(pa.array(["1970-01-01T01:00Z", "1970-01-01T01:00-02:00"]), "%Y-%m-%dT%H:%M%z").numbers.tolist()
        [60, 180]
    """
    texts = _contiguous(texts)
    units = units_per_day(date_format, decimals)
    local, zone = _parted(date_format)
    if zone:
        return _zoned_times(texts, local, decimals)
    if "%f" not in date_format:
        cells = _stamps(texts, date_format, units)
        if not cells.unreadable.any() or not date_format.startswith("%Y-%m-%d"):
            return cells
    return _iso_times(texts, units)


def _stamps(texts: pa.Array, date_format: str, units: int) -> LatticeCells:
    """Dates of one format without fractions of a second."""
    missing = _mask(pc.is_null(texts))
    stamps = pc.strptime(texts, format=date_format, unit="s", error_is_null=True)
    seconds = np.array(pc.fill_null(stamps.cast(pa.int64()), 0))
    # Arrow takes 30 February for 2 March: what does not print as it was read is left to Python, which is strict
    unreadable = ~(_mask(pc.equal(pc.strftime(stamps, format=date_format), texts)) | missing)
    rows = np.flatnonzero(unreadable)
    for row, text in zip(rows, texts.take(pa.array(rows)).to_pylist(), strict=True):
        with contextlib.suppress(ValueError):
            passed = datetime.strptime(text, date_format) - datetime(1970, 1, 1)
            seconds[row], unreadable[row] = passed.days * 86400 + passed.seconds, False
    seconds[unreadable] = 0
    none = np.zeros(len(texts), bool)
    return LatticeCells(seconds // (86400 // units), units, missing, none, unreadable)


def _parted(date_format: str) -> tuple[str, str]:
    """A format without its time zone, and that."""
    zone = re.search(rf"%z$|{ZONE}", date_format)
    return (date_format[: zone.start()], zone[0]) if zone else (date_format, "")


def has_zone(date_format: str) -> bool:
    """Whether texts of a format say their time zone."""
    return bool(_parted(date_format)[1])


def _minutes_east(zone: str) -> int:
    """How far a time zone is ahead of UTC.

    Example:
        >>> _minutes_east("Z"), _minutes_east("+05:30"), _minutes_east("-0800"), _minutes_east("%z")
        (0, 330, -480, 0)
    """
    if zone[0] not in "+-":
        return 0
    minutes = 60 * int(zone[1:3]) + int(zone[3:].lstrip(":") or 0)
    return -minutes if zone[0] == "-" else minutes


def _zoned_times(texts: pa.Array, local_format: str, decimals: int) -> LatticeCells:
    """Times that end in a time zone, as times in UTC; those that end in none are unreadable."""
    parts = pc.extract_regex(texts, rf"^(?P<local>.*\d\d:\d\d.*?){ZONE}")
    local, zone = (pc.struct_field(parts, [field]) for field in range(2))
    cells = parse_dates(local, local_format, decimals)
    cells = cells.at_scale(math.lcm(1440, cells.scale))
    east = np.zeros(len(texts), np.int64)
    for name in pc.unique(zone.drop_null()).to_pylist():
        east[_mask(pc.equal(zone, name))] = _minutes_east(name)
    missing = _mask(pc.is_null(texts))
    usable = cells.usable
    numbers = np.where(usable, cells.numbers - east * (cells.scale // 1440), 0)
    return LatticeCells(numbers, cells.scale, missing, cells.infinite, ~usable & ~missing)


_ISO = (
    r"^(?P<day>\d{4}-\d\d-\d\d)"
    r"(?:[T ](?P<clock>(?:[01]\d|2[0-3]):[0-5]\d)(?::(?P<second>[0-5]\d(?:\.\d{1,12})?))?)?$"
)


def _iso_times(texts: pa.Array, units: int) -> LatticeCells:
    """ISO dates and times of any precision; date, clock and seconds are read apart, as Arrow's strptime has no %f."""
    parts = pc.extract_regex(texts, _ISO)
    day, clock, second = (pc.struct_field(parts, [field]) for field in range(3))
    days = _stamps(day, "%Y-%m-%d", 1)
    minutes = _stamps(pc.if_else(pc.equal(clock, ""), "00:00", clock), "%H:%M", 1440)
    seconds = parse_numbers(pc.if_else(pc.equal(second, ""), "0", second))
    minute = minutes.numbers % 1440  # a clock alone is read as a time of 1900-01-01
    scale = math.lcm(units, 86400 * seconds.scale if seconds.numbers.any() else 1440 if minute.any() else 1)
    of_day = minute * (scale // 1440) if minute.any() else 0
    of_minute = seconds.numbers * (scale // (86400 * seconds.scale)) if seconds.numbers.any() else 0
    missing = _mask(pc.is_null(texts))
    numbers = np.where(days.usable, days.at_scale(scale).numbers + of_day + of_minute, 0)
    return LatticeCells(numbers, scale, missing, days.infinite, days.missing & ~missing | days.unreadable)


def format_dates(numbers: Sequence[int] | NDArray[Any], date_format: str, decimals: int = 0) -> list[str]:
    """The texts of dates given in the units of `units_per_day`.

    Example:
        >>> format_dates(np.array([0, 14975]), "%d.%m.%Y")
        ['01.01.1970', '01.01.2011']
        >>> format_dates(np.array([1500]), "%Y-%m-%d %H:%M:%S.%f", decimals=3)
        ['1970-01-01 00:00:01.500']
        >>> format_dates(np.array([60]), "%Y-%m-%dT%H:%M+02:00"), format_dates(np.array([60]), "%Y-%m-%dT%H:%M%z")
        (['1970-01-01T03:00+02:00'], ['1970-01-01T01:00+00:00'])
    """
    units = units_per_day(date_format, decimals)
    local, zone = _parted(date_format)
    if zone:
        east = _minutes_east(zone) * units // 1440
        texts = format_dates([int(number) + east for number in numbers], local, decimals)
        return [text + zone.replace("%z", "+00:00") for text in texts]
    per_second = Fraction(units, 86400)
    exact = [int(number) for number in numbers]
    seconds = [int(number // per_second) for number in exact]
    texts = pc.strftime(pa.array(seconds, pa.timestamp("s")), format=date_format.removesuffix(".%f")).to_pylist()
    if not date_format.endswith(".%f"):
        return list(texts)
    fractions = [int(number - second * per_second) for number, second in zip(exact, seconds, strict=True)]
    return [f"{text}.{fraction:0{decimals}d}" for text, fraction in zip(texts, fractions, strict=True)]


def _contiguous(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts


def _mask(booleans: pa.Array) -> NDArray[np.bool_]:
    """An Arrow mask as numpy, null as false."""
    return np.array(pc.fill_null(booleans, False), dtype=bool)
