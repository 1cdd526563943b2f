"""Counts of broken rules are exact: those of a second checker, on every kind of table and however it is read."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_checker import judge
from rule_strategies import NAMES, rows, rule_texts

from graftable.errors import DataError, RuleError
from graftable.tabular.checking import check
from graftable.tabular.io import ReadOptions
from graftable.tabular.rule_files import parse_rules
from graftable.tabular.schema import ColumnSchema, Schema

DATA = Path(__file__).parents[1] / "data" / "tabular"
SCHEMA = Schema(
    (
        *(ColumnSchema(name, "decimal") for name in "xyz"),
        ColumnSchema("c", "categorical"),
        ColumnSchema("d", "datetime", date_format="%Y-%m-%d"),
    )
)


def table_of(rows):
    columns = zip(*rows, strict=True)
    return pa.table({name: pa.array(list(cells), pa.string()) for name, cells in zip(NAMES, columns, strict=True)})


@settings(max_examples=60)
@given(
    st.lists(rule_texts(), min_size=1, max_size=3),
    st.lists(rows, min_size=1, max_size=12),
    st.sampled_from(["satisfied", "violated"]),
    st.integers(1, 60),
)
def test_counts_are_those_of_a_second_checker(tmp_path_factory, texts, table, when_missing, block):
    path = tmp_path_factory.getbasetemp() / "random.csv"
    table_of(table).to_pandas().to_csv(path, index=False)
    expected = judge(path, texts, when_missing)
    rules = parse_rules("\n".join(f"{text} ; when_missing: {when_missing}" for text in texts), SCHEMA)
    report = check(path, rules, SCHEMA, options=ReadOptions(block_bytes=block), examples=99)
    assert (report.rows, report.violating_rows) == (len(table), len(expected.broken_rows))
    assert [found.violations for found in report.rules] == expected.broken_by_rule
    assert sorted({e.row for found in report.rules for e in found.examples}) == expected.broken_rows


@pytest.mark.parametrize("name", ["adult", "bike"])
def test_real_tables_obey_their_rules(name):
    report = check(DATA / f"{name}.csv", DATA / f"{name}.rules", unseen="allow")  # few rows lack rare categories
    assert (report.rows, report.violating_rows, report.clean) == (240, 0, True)
    assert judge(DATA / f"{name}.csv", DATA / f"{name}.rules").broken_rows == []


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        (
            "bike",
            ["count == casual + 2*registered", "dateday >= date('2011-06-01')", "temp < humidity or windspeed == 0"],
        ),
        ("adult", ["workclass is null iff occupation is null", "age > `hours-per-week`", "sex != 'Male'"]),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet", "data frame", "gz"])
def test_every_form_of_a_table_has_the_same_counts(tmp_path, name, rules, kind):
    expected = judge(DATA / f"{name}.csv", rules)
    frame = pd.read_csv(DATA / f"{name}.csv")
    source = {"csv": DATA / f"{name}.csv", "data frame": frame}.get(kind, tmp_path / f"table.{kind}")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pandas(frame), source, row_group_size=50)
    if kind == "gz":
        frame.to_csv(tmp_path / "table.csv.gz", index=False)
        source = tmp_path / "table.csv.gz"
    report = check(source, rules)
    assert [found.violations for found in report.rules] == expected.broken_by_rule
    assert 0 < report.violating_rows == len(expected.broken_rows)


def counts(cells, *rules, **options):
    return [found.violations for found in check(pa.table(cells), list(rules), **options).rules]


def test_equal_values_are_equal_and_the_smallest_difference_counts():
    cells = {"a": ["1000", "0.3", "1000000.3"], "b": ["1000.0", "0.30000000000000001", "1000000.3"]}
    assert counts(cells, "a > b", "a == b", "a >= b", "b - a <= 0.00000000000000001") == [3, 1, 1, 0]


def test_rules_may_need_the_kinds_of_columns():
    cells = {"born": ["31.12.1999", "01.01.2000", None], "member": ["TRUE", "FALSE", "TRUE"], "n": ["1", "x", "2"]}
    rules = ["born < '01.01.2000'", "if member then n != 'x'", "not member", "n is null"]
    assert counts(cells, *rules) == [1, 0, 2, 3]


def test_sums_past_the_range_of_int64_are_exact():
    big = str(2**62)
    cells = {"a": [big, big, "1e15"], "b": [big, f"-{big}", "1000000000000000.000000000001"]}
    assert counts(cells, f"a + b == {2**63}", "4*a - 4*b == 0", "a < b", "a + b > 0") == [2, 2, 2, 1]


def test_products_past_the_range_of_int64_are_exact():
    cells = {"a": ["4000000000", "3"], "b": ["4000000000", "0.5"]}
    report = check(pa.table(cells), parse_rules("a * b == 16000000000000000000 ; mode: reject"))
    assert report.violating_rows == 1


def test_an_infinity_obeys_no_rule_that_calculates_with_it_but_nan_is_null():
    cells = {"a": ["inf", "-inf", "nan", "1"]}
    assert counts(cells, "a > 0", "not a > 0", "a > 0 or 1 > 0", "a > 0 or a < 5", "a is null") == [2, 3, 0, 2, 3]


def test_special_codes_are_nulls():
    cells = {"a": ["-7", "3", "-8"]}
    schema = Schema((ColumnSchema("a", "integer", special=("-7", "-8")),))
    assert counts(cells, "a >= 0", "a is null", schema=schema) == [0, 1]
    assert counts(cells, "a >= 0") == [2]


def test_unknown_outcomes_count_as_each_rule_says():
    cells = pa.table({"a": ["1", None], "k": [None, "x"]})
    rules = parse_rules("a > 0\na > 0 ; when_missing: violated\nk == 'x' and a > 0 ; when_missing: violated\nk != 'x'")
    assert [found.violations for found in check(cells, rules).rules] == [0, 1, 2, 1]


def test_soft_and_reported_rules_leave_a_table_clean():
    report = check(pa.table({"a": ["1", "2"]}), parse_rules("a > 0\na > 1 ; mode: soft\na > 2 ; mode: report"))
    assert (report.clean, report.violating_rows) == (True, 0)
    assert [found.violations for found in report.binding] == [0]
    assert [found.violations for found in report.informative] == [1, 2]
    assert report.warnings == ["the rules, line 3: no row obeys `a > 2`; check its direction and its units."]


def test_examples_show_the_first_rows_that_break_a_rule(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('x,y,z\n3,2,"a\nb"\n1,2,c\n"5",,d\n4.0,1,e\n')
    report = check(path, "x <= y", examples=2)
    shown = [(example.row, example.place, example.cells) for example in report.rules[0].examples]
    assert shown == [(0, "line 2", {"x": "3", "y": "2"}), (3, "line 6", {"x": "4.0", "y": "1"})]
    assert str(report).splitlines()[1] == "         2  x <= y  line 2: x = 3, y = 2"
    written = json.loads(report.to_json())
    assert (written["violating_rows"], written["clean"], written["rules"][0]["violations"]) == (2, False, 2)


def test_progress_counts_the_rows(tmp_path):
    (tmp_path / "a.csv").write_text("a\n" + "1\n" * 50)
    seen = []
    check(tmp_path / "a.csv", "a > 0", options=ReadOptions(block_bytes=20), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 50


def test_reading_options_reach_the_texts(tmp_path):
    (tmp_path / "a.csv").write_bytes("größe;n\n1,5;?\n2,5;3\n".encode("latin-1"))
    options = ReadOptions(separator=";", decimal=",", encoding="latin-1", nulls=("?",))
    report = check(tmp_path / "a.csv", "größe > 2\nn is not null\nn > 2", options=options)
    assert [found.violations for found in report.rules] == [1, 1, 0]


@pytest.mark.parametrize(
    ("content", "rules", "sentence"),
    [
        (
            "a,b\n1,2\n2,x\n3,4\n",
            "b > a",
            "t.csv, line 3, column `b`: found 'x', expected a number. If it means that there",
        ),
        (
            'a,b\n1,2\n2,"2,5"\n3,4\n',
            "b > a",
            "t.csv, line 3, column `b`: found '2,5', expected a number. Decimal commas are",
        ),
        ('a,b\n"1,5","2,5"\n', "b > a", "t.csv, line 2, column `a`: found '1,5', expected a number. Decimal commas"),
        ("a,b\n2011-01-01,1 May 2011\n", "b > a", "the rules, line 1, column 5: the column `b` holds"),
        ("a,b\n1,2\n", "c > a", "the rules, line 1, column 1: there is no column `c`. There is `a`, `b`."),
        ("a,b\nx,2\n", "a == 'y'", "the rules, line 1, column 6: the column `a` never holds 'y'."),
        ("a,b\n1,2\n", "a > > 1", "the rules, line 1, column 5: found `>`, expected a column or a number."),
        ("a,b\n1\n", "a > 1", "t.csv, line 2: found 1 cells, expected 2 as in the header"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, content, rules, sentence):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises((DataError, RuleError)) as caught:
        check(tmp_path / "t.csv", rules)
    assert str(caught.value).removeprefix(f"{tmp_path}/").startswith(sentence)


def test_dates_that_are_not_read_are_said_to_be_written_unlike():
    with pytest.raises(RuleError, match="If these are dates, write all alike"):
        check(pa.table({"a": ["2011-01-01", "01/02/2011"], "b": ["2011-01-01", "2011-01-01"]}), "a < b")


def test_a_column_that_cancels_is_read_for_what_it_is():
    assert check(pa.table({"x": ["1", "-1"], "y": ["2.5", "3"]}), "2*x + y >= y").violating_rows == 1


def test_a_table_without_an_excluded_category_is_clean_and_warned_of():
    report = check(pa.table({"sort": ["a", "b"]}), "sort != 'c'")
    assert report.clean
    assert report.warnings == ["the rules, line 1: the column `sort` never holds 'c', which the rule excludes."]


def test_where_no_row_is_clean_a_contradiction_is_named():
    table = pa.table({"x": [1, 9]})
    (*_, said) = check(table, ["x > 3", "x < 3"]).warnings
    assert said.startswith("the rules on lines 1 and 2 of the rules cannot all hold")
    assert check(table, ["x > 1", "x < 9"]).warnings == []


def test_a_schema_and_a_table_must_have_the_columns_of_the_rules():
    schema = Schema((ColumnSchema("a", "integer"), ColumnSchema("b", "integer")))
    with pytest.raises(DataError, match="the table: there is no column `b`"):
        check(pa.table({"a": ["1"]}), "b > 1", schema)
    with pytest.raises(DataError, match="the schema: there is no column `c`"):
        check(pa.table({"c": ["1"]}), parse_rules("c > 1"), schema)
    with pytest.raises(DataError, match="the table: there is no column `c`"):
        check(pa.table({"a": ["1"]}), parse_rules("c > 1"))


def test_a_cell_of_another_kind_than_the_schema_says_is_named():
    schema = Schema((ColumnSchema("d", "datetime", date_format="%d.%m.%Y"),))
    with pytest.raises(DataError, match=r"row 1, column `d`: found '2011-01-01', expected a date like %d\.%m\.%Y"):
        check(pa.table({"d": ["01.01.2011", "2011-01-01"]}), "d > date('2000-01-01')", schema)


def test_the_order_of_rows_does_not_matter():
    frame = pd.read_csv(DATA / "bike.csv")
    rules = ["count == casual + 2*registered", "temp < humidity"]
    shuffled = frame.sample(frac=1, random_state=0)
    assert [r.violations for r in check(frame, rules).rules] == [r.violations for r in check(shuffled, rules).rules]
