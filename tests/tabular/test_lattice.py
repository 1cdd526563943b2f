"""Texts become exact integers and come back; the oracle is `fractions.Fraction` on the text."""

import datetime
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftable.tabular.lattice import (
    format_dates,
    format_numbers,
    number_text,
    parse_dates,
    parse_number,
    parse_numbers,
    units_per_day,
)

digits = st.text("0123456789", max_size=25)
plain = st.builds(
    lambda sign, a, b: f"{sign}{a}{b}", st.sampled_from(["", "-"]), digits.filter(bool), digits.map(lambda d: f".{d}")
)
number_texts = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.decimals(min_value=-(10**6), max_value=10**6, places=4).map(str),
    plain,
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["+5", ".5", "5.", "-.25", "1e3", "1E-3", " 7 ", "9223372036854775807", "-9223372036854775808"]),
)


def values(cells):
    return [Fraction(int(number), cells.scale) for number in cells.numbers]


@given(st.lists(number_texts, min_size=1, max_size=8))
def test_the_value_of_a_cell_is_that_of_its_text(texts):
    cells = parse_numbers(pa.array(texts))
    assert values(cells) == [Fraction(text.strip()) for text in texts]
    assert cells.usable.all()


@given(
    st.lists(
        st.none() | number_texts | st.sampled_from(["nan", "inf", "-Infinity", "x", "1,5", "", "--1", "1e999"]),
        max_size=8,
    )
)
def test_each_cell_is_a_number_or_missing_or_infinite_or_unreadable(texts):
    cells = parse_numbers(pa.array(texts, pa.string()))
    for row, text in enumerate(texts):
        missing = text in (None, "nan")
        infinite = text in ("inf", "-Infinity", "1e999")
        unreadable = text in ("x", "1,5", "", "--1")
        assert (cells.missing[row], cells.infinite[row], cells.unreadable[row]) == (missing, infinite, unreadable)
        assert cells.usable[row] == (not (missing or infinite or unreadable))


def test_int64_is_used_where_it_is_safe_and_python_integers_elsewhere():
    assert parse_numbers(pa.array(["1.5", "100000000000"])).numbers.dtype == np.int64
    long = parse_numbers(pa.array(["1.5", "100000000000000000000"]))
    assert long.numbers.dtype == object
    assert values(long) == [Fraction(3, 2), 10**20]
    assert values(parse_numbers(pa.array(["1e15", "0.00001"]))) == [10**15, Fraction(1, 10**5)]


@given(st.lists(number_texts, min_size=1, max_size=4), st.integers(0, 12))
def test_a_finer_scale_keeps_the_values(texts, places):
    cells = parse_numbers(pa.array(texts))
    assert values(cells.at_scale(cells.scale * 10**places)) == values(cells)


def test_a_decimal_comma_is_a_point_and_a_point_is_not():
    cells = parse_numbers(pa.array(["12,50", "-3", "1.5"]), decimal=",")
    assert values(cells)[:2] == [Fraction(25, 2), -3]
    assert cells.unreadable.tolist() == [False, False, True]


@given(st.integers(-(10**30), 10**30), st.integers(0, 20), st.integers(0, 4), st.sampled_from(".,"))
def test_a_number_comes_back_from_its_text(number, places, shown, decimal):
    text = number_text(number, 10**places, shown, decimal)
    assert Fraction(text.replace(decimal, ".")) == Fraction(number, 10**places)
    assert format_numbers([number], 10**places, shown, decimal) == [text]
    decimals = text.partition(decimal)[2]
    assert len(decimals) >= min(shown, 1)
    assert len(decimals) <= shown or not decimals.endswith("0")


@given(number_texts)
def test_one_number_is_read_as_many_are(text):
    mantissa, places = parse_number(text)
    assert Fraction(mantissa, 10**places) == Fraction(text.strip())


EPOCH = datetime.datetime(1970, 1, 1)
FORMATS = [
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%Y-%m-%d %H:%M:%S.%f",
]


@pytest.mark.parametrize("date_format", FORMATS)
@given(moment=st.datetimes(min_value=datetime.datetime(1000, 1, 1)))
def test_a_date_is_its_days_since_1970_and_comes_back(date_format, moment):
    text = moment.strftime(date_format)
    moment = datetime.datetime.strptime(text, date_format)
    cells = parse_dates(pa.array([text, None]), date_format, 6)
    passed = moment - EPOCH
    expected = passed.days + Fraction(passed.seconds, 86400) + Fraction(passed.microseconds, 86400 * 10**6)
    assert values(cells)[0] == expected
    assert cells.missing.tolist() == [False, True]
    units = units_per_day(date_format, 6)
    assert format_dates([int(expected * units)], date_format, 6) == [text]


@pytest.mark.parametrize("zone", ["Z", " UTC", "+00:00", "+05:30", "-0830", "-11"])
@given(moment=st.datetimes(datetime.datetime(1000, 1, 2), datetime.datetime(9999, 12, 30)))
def test_a_time_with_a_zone_is_its_time_in_utc_and_comes_back(zone, moment):
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + zone
    aware = datetime.datetime.fromisoformat(text.replace(" UTC", "+00:00")).astimezone(datetime.UTC)
    passed = aware.replace(tzinfo=None) - EPOCH
    microseconds = (passed.days * 86400 + passed.seconds) * 10**6 + passed.microseconds
    date_format = f"%Y-%m-%dT%H:%M:%S.%f{zone}"
    for known in (date_format, "%Y-%m-%d%z"):
        cells = parse_dates(pa.array([text, None]), known, 6)
        assert values(cells)[0] == Fraction(microseconds, 86400 * 10**6)
        assert cells.missing.tolist() == [False, True]
    assert format_dates([microseconds], date_format, 6) == [text]
    utc = aware.strftime("%Y-%m-%dT%H:%M:%S.%f") + "+00:00"
    assert format_dates([microseconds], "%Y-%m-%dT%H:%M:%S.%f%z", 6) == [utc]


@pytest.mark.parametrize(
    "text", ["2024-01-01", "2024-01-01T10:20", "2024-01-01Z", "2024-01-01T10:20+5", "2024-01-01-05"]
)
def test_a_time_without_a_zone_is_none_with_one(text):
    assert parse_dates(pa.array([text]), "%Y-%m-%d%z").unreadable.all()


@given(st.lists(st.datetimes(min_value=datetime.datetime(1000, 1, 1)), min_size=1, max_size=4), st.data())
def test_iso_times_are_read_at_any_precision(moments, data):
    forms = ["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S.%f"]
    texts = [moment.strftime(data.draw(st.sampled_from(forms))) for moment in moments]
    cells = parse_dates(pa.array(texts), "%Y-%m-%d")
    passed = [datetime.datetime.fromisoformat(text) - EPOCH for text in texts]
    assert values(cells) == [p.days + Fraction(p.seconds * 10**6 + p.microseconds, 86400 * 10**6) for p in passed]


@pytest.mark.parametrize(
    "text",
    ["2011-02-30", "2011-02-30 12:00", "2011-13-01", "11-01-01", "2011-01-01 24:00", "2011-01-01 10:61", "x", ""],
)
def test_what_is_no_date_is_unreadable(text):
    assert parse_dates(pa.array([text]), "%Y-%m-%d").unreadable.all()
