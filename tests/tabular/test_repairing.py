"""After a repair no row breaks a rule, by a second judge, and nothing moved that did not have to."""

import csv
import io
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from independent_checker import judge
from rule_strategies import rows as random_rows
from rule_strategies import rule_texts

from graftable.errors import DataError, RuleError
from graftable.tabular import repairing
from graftable.tabular.finishing import Finisher
from graftable.tabular.io import ReadOptions
from graftable.tabular.repair_report import ChunkRepair
from graftable.tabular.repairing import repair, repair_file
from graftable.tabular.rule_files import parse_rules
from graftable.tabular.schema import ColumnSchema, Schema

DATA = Path(__file__).parents[1] / "data"
REAL = ("bike", "adult")

ORDERS = """id,"low",high,kind,count,sold-on,rate
1, 3 ,5.50,"a",2,2011-01-03,1
2,7,6.50,b,2,2011-01-01,0.5
3,"9",8.25,"it, b",2,2011-02-28,NaN

4,1,1.00,b,-2,2012-03-01,.5\r
5,,0.25,a,0,2010-12-31,-1"""
ORDER_RULES = [
    "low <= high",
    "count >= 0",
    "if kind == 'b' then rate >= 1",
    "`sold-on` >= date('2011-01-02') and `sold-on` < date('2012-01-01')",
]


def cells_of(path, **options):
    with open(path, newline="", encoding=options.get("encoding", "utf-8")) as file:
        return [row for row in csv.reader(file, delimiter=options.get("delimiter", ",")) if row]


def lines_of(path):
    return [line for line in Path(path).read_bytes().split(b"\n") if line.strip()]


def number(text):
    try:
        return Fraction(text.strip())
    except ValueError:
        return text


def repaired(tmp_path, content, rules, name="in.csv", **options):
    """Repair a CSV given as text; the file, the report, and the verdict on what came out."""
    source, out = tmp_path / name, tmp_path / f"out.{name}"
    source.write_bytes(content.encode() if isinstance(content, str) else content)
    report = repair_file(source, rules, out, **options)
    return out, report


def assert_lawful(source, out, report, rules):
    """What holds for every repair of a CSV."""
    broken = judge(source, rules).broken_rows
    assert len(judge(out, rules).broken_rows) == report.quarantined_rows
    assert report.moved_rows + report.quarantined_rows == len(broken)
    before, after = cells_of(source), cells_of(out)
    assert len(before) == len(after) == report.rows + 1
    quarantined = {row.row for row in report.quarantine}
    for row, (old, new, bytes_before, bytes_after) in enumerate(
        zip(before, after, lines_of(source), lines_of(out), strict=True), start=-1
    ):
        if row not in broken or row in quarantined:
            assert bytes_after == bytes_before
        else:
            assert any(a != b for a, b in zip(old, new, strict=True))
            assert all(a == b or number(a) != number(b) for a, b in zip(old, new, strict=True))


def test_only_the_cells_that_had_to_move_are_rewritten(tmp_path):
    out, report = repaired(tmp_path, ORDERS, ORDER_RULES)
    assert_lawful(tmp_path / "in.csv", out, report, ORDER_RULES)
    moved = out.read_bytes().split(b"\n")
    assert moved[:2] == ORDERS.encode().split(b"\n")[:2]  # quotes and blanks of a row that obeys
    assert b'"it, b",2,2011-02-28,NaN' in moved[3]
    assert moved[4] == b""
    assert moved[5].endswith(b"\r")
    assert moved[2].split(b",")[5] == b"2011-01-02"
    assert (report.rows, report.moved_rows, report.quarantined_rows) == (5, 4, 0)
    assert [rule.broken for rule in report.rules] == [2, 1, 2, 3]
    assert [rule.moved for rule in report.rules] == [2, 1, 2, 3]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rules=st.lists(rule_texts(), min_size=1, max_size=3), rows=st.lists(random_rows, min_size=1, max_size=8))
@example(rules=["x is null", "y >= 1"], rows=[("1", None, None, "a", None), (None, "2", None, "a", None)])
@example(rules=["c is not null", "c in ['a']"], rows=[(None, None, None, None, None), ("1", None, None, "b", None)])
def test_any_rules_on_any_rows_end_with_rows_that_obey_or_are_listed(tmp_path, rules, rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(
        [("x", "y", "z", "c", "d"), ("0", "1", "2", "a", "2011-01-01"), *rows]
    )
    try:
        out, report = repaired(tmp_path, text.getvalue(), rules, schema=WORLD)
    except RuleError:
        assume(False)
    assert_lawful(tmp_path / "in.csv", out, report, rules)
    twice = tmp_path / "twice.csv"
    repair_file(out, rules, twice, WORLD)
    assert twice.read_bytes() == out.read_bytes()


WORLD = Schema(
    (
        *(
            ColumnSchema(
                name, "decimal", decimals=2, nullable=True, minimum=Fraction(-9), maximum=Fraction(9), fill="0"
            )
            for name in "xyz"
        ),
        ColumnSchema("c", "categorical", categories=("a", "b", "say 'c'"), nullable=True, fill="a"),
        ColumnSchema("d", "datetime", date_format="%Y-%m-%d", nullable=True, fill="2011-01-01"),
    )
)


@pytest.mark.parametrize("name", REAL)
def test_real_rows_that_obey_come_back_byte_for_byte(name, tmp_path):
    out = tmp_path / "out.csv"
    report = repair_file(DATA / f"{name}_rows.csv", DATA / f"{name}.rules", out)
    assert report.moved_rows == report.quarantined_rows == 0
    assert out.read_bytes() == (DATA / f"{name}_rows.csv").read_bytes()


def spoiled(name, rows=200, seed=0):
    """Real rows in which each cell may come from another row, be null, infinite, huge or fine."""
    rng = np.random.default_rng(seed)
    real = pd.read_csv(DATA / f"{name}_rows.csv", dtype=str, keep_default_na=False)
    frame = real.iloc[rng.integers(0, len(real), rows)].reset_index(drop=True)
    for column in frame:
        for share, text in ((0.3, None), (0.03, ""), (0.02, "inf"), (0.02, "1e300"), (0.02, "-77.123456789")):
            chosen = rng.random(rows) < share
            is_number = str(frame[column][0]).replace(".", "").isdigit()
            if text is None:
                frame.loc[chosen, column] = rng.permutation(frame[column])[chosen]
            elif is_number or text == "":
                frame.loc[chosen, column] = text
    return frame


def row_groups(path):
    metadata = pq.ParquetFile(path).metadata
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", REAL)
def test_spoiled_rows_obey_after_csv_and_parquet(name, kind, tmp_path):
    source, out, rules = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}", DATA / f"{name}.rules"
    schema = Schema.detect(DATA / f"{name}_rows.csv")
    frame = spoiled(name)
    if kind == "csv":
        frame.to_csv(source, index=False)
    else:
        frame = frame.replace("", None)
        numbers = {c.name: frame[c.name].astype(float) for c in schema if c.kind in ("integer", "decimal")}
        frame.assign(**numbers).to_parquet(source, row_group_size=64)
    report = repair_file(source, rules, out, schema, coerce=True)
    verdict = judge(out, rules)
    assert (verdict.rows, verdict.broken_rows, report.quarantined_rows) == (200, [], 0)
    if kind == "csv":
        assert_lawful(source, out, report, rules)
    else:
        assert pq.read_schema(out) == pq.read_schema(source)
        groups = [pq.ParquetFile(path).metadata for path in (source, out)]
        assert [[meta.row_group(i).num_rows for i in range(meta.num_row_groups)] for meta in groups] == [
            [64, 64, 64, 8]
        ] * 2


def test_the_sum_and_the_sixteen_pairs_hold_exactly(tmp_path):
    schema = Schema.detect(DATA / "bike_rows.csv")
    numbers = pd.DataFrame({"casual": [3, 0], "registered": [5, -2], "count": [9, 4]})
    frame, _ = repair(numbers, "count == casual + registered", schema)
    assert (frame["count"] == frame["casual"] + frame["registered"]).all()
    pairs = pd.read_csv(DATA / "adult_rows.csv")[["education", "education-num"]].drop_duplicates()
    assert len(pairs) == 16
    mixed = pd.DataFrame(itertools.product(pairs["education"], pairs["education-num"]), columns=pairs.columns)
    rules = [line for line in (DATA / "adult.rules").read_text().splitlines() if "education-num" in line]
    frame, report = repair(mixed, rules)
    assert set(map(tuple, frame.to_numpy())) == set(map(tuple, pairs.to_numpy()))
    assert report.moved_rows == 256 - 16


def test_a_permutation_of_the_rows_permutes_the_result(tmp_path):
    frame, rules, schema = spoiled("bike"), DATA / "bike.rules", Schema.detect(DATA / "bike_rows.csv")
    order = np.random.default_rng(1).permutation(len(frame))
    straight, _ = repair(frame, rules, schema, coerce=True)
    shuffled, _ = repair(frame.iloc[order], rules, schema, coerce=True)
    pd.testing.assert_frame_equal(straight.iloc[order], shuffled)


def test_chunks_of_any_size_give_the_same_file(tmp_path):
    spoiled("adult").to_csv(tmp_path / "in.csv", index=False)
    arguments = (tmp_path / "in.csv", DATA / "adult.rules")
    schema = Schema.detect(DATA / "adult_rows.csv")
    repair_file(*arguments, tmp_path / "whole.csv", schema)
    repair_file(*arguments, tmp_path / "parts.csv", schema, options=ReadOptions(block_bytes=700))
    assert (tmp_path / "whole.csv").read_bytes() == (tmp_path / "parts.csv").read_bytes()
    assert lines_of(tmp_path / "whole.csv.quarantine.csv") == lines_of(tmp_path / "parts.csv.quarantine.csv")


def test_pinned_columns_stay_and_rows_that_need_them_are_listed(tmp_path):
    content = "a,b,c\n1,2,0\n5,2,0\n-1,3,0\n"
    out, report = repaired(tmp_path, content, ["a <= b", "a >= 0"], pin=["a"])
    assert out.read_text() == "a,b,c\n1,2,0\n5,5,0\n-1,3,0\n"
    assert (report.moved_rows, report.quarantined_rows) == (1, 1)
    assert cells_of(report.quarantine_file) == [
        ["row", "place", "reason", "a", "b"],
        ["2", "line 4", "no row with the same `a` obeys the rules", "-1", "3"],
    ]
    out, report = repaired(tmp_path, content, ["a <= b", "a >= 0"])
    assert report.quarantined_rows == 0
    assert not (tmp_path / "out.in.csv.quarantine.csv").exists()  # the old list would speak of other rows


@pytest.mark.parametrize("text", ["inf", "-inf", "1e400", "99999999999999999999999"])
def test_what_no_lattice_holds_is_quarantined_or_clipped(text, tmp_path):
    content = f"a,b\n1,2\n{text},2\n3,-1\n"
    out, report = repaired(tmp_path, content, ["a <= b", "a >= 0"])
    assert out.read_text().splitlines()[2] == f"{text},2"
    assert report.quarantined_rows == len(judge(out, ["a <= b", "a >= 0"]).broken_rows) == 1
    out, report = repaired(tmp_path, content, ["a <= b", "a >= 0"], coerce=True)
    assert judge(out, ["a <= b", "a >= 0"]).broken_rows == []
    assert report.clipped == 1


def test_magnitudes_of_1e15_with_cents_are_exact(tmp_path):
    content = "a,b\n1000000000000000.01,1000000000000000.00\n1000000000000000.00,1000000000000000.01\n"
    out, _ = repaired(tmp_path, content, ["a <= b"])
    low, high = "1000000000000000.00", "1000000000000000.01"
    assert out.read_text().splitlines()[1] in (f"{low},{low}", f"{high},{high}")
    assert out.read_text().splitlines()[2] == content.splitlines()[2]


def test_a_value_finer_than_the_lattice_stays_while_it_obeys(tmp_path):
    schema = Schema((ColumnSchema("a", "decimal", decimals=1), ColumnSchema("b", "decimal", decimals=1)))
    out, _ = repaired(tmp_path, "a,b\n1.23456,2\n1.26,1.25\n1.34,1.3\n", ["a <= b"], schema=schema)
    assert out.read_text().splitlines()[1] == "1.23456,2"
    assert judge(out, ["a <= b"]).broken_rows == []
    assert out.read_text().splitlines()[3] in ("1.3,1.3", "1.34,1.4")


@pytest.mark.parametrize(
    ("content", "rules", "expected"),
    [
        ("a,b\n5,3\n", ["a <= b"], {"a,b\n3,3\n", "a,b\n5,5\n"}),
        ("a,b\n,3\n,4\n", ["a <= b", "b <= 3"], {"a,b\n,3\n,3\n"}),
        ("a,b\n1000,1000\n2,1\n", ["a > b"], {"a,b\n1001,1000\n2,1\n", "a,b\n1000,999\n2,1\n"}),
        ("a,b\n1000000.3,1\n0.1,1\n", ["a >= 0", "b == 1"], {"a,b\n1000000.3,1\n0.1,1\n"}),
        ("a,b\n7,3\n7,4\n", ["b >= 4"], {"a,b\n7,4\n7,4\n"}),
        (
            "class,in,Is\n1,2,x\n3,2,x\n",
            ["class <= `in`"],
            {"class,in,Is\n1,2,x\n2,2,x\n", "class,in,Is\n1,2,x\n3,3,x\n"},
        ),
        ("on\n28.02.2011\n01.03.2011\n", ["on >= date('2011-03-01')"], {"on\n01.03.2011\n01.03.2011\n"}),
        ("a,b\nTrue,1\nFalse,1\n", ["if a == false then b >= 2"], {"a,b\nTrue,1\nTrue,1\n", "a,b\nTrue,1\nFalse,2\n"}),
        ("a\n-0.50\n1.25\n", ["a >= 0.5"], {"a\n0.50\n1.25\n"}),
        ("a,b\n1,\n2,x\n", ["if a == 1 then b is not null"], {"a,b\n1,x\n2,x\n", "a,b\n2,\n2,x\n", "a,b\n0,\n2,x\n"}),
        ("a,b\n1,y\n2,\n", ["if a == 1 then b is null"], {"a,b\n1,\n2,\n", "a,b\n2,y\n2,\n", "a,b\n0,y\n2,\n"}),
    ],
    ids=[
        "one row",
        "null column",
        "strict",
        "binary noise",
        "constant column",
        "keywords",
        "dates",
        "booleans",
        "decimals",
        "fill",
        "empty",
    ],
)
def test_small_tables(content, rules, expected, tmp_path):
    out, report = repaired(tmp_path, content, rules)
    assert report.quarantined_rows == 0
    assert out.read_text() in expected


def test_texts_that_only_other_rules_name_do_not_change_what_a_cell_becomes(tmp_path):
    rules = ["who in ['x', 'y'] ; mode: report", "if n >= 5 then who == 'z'"]
    schema = Schema((ColumnSchema("who", "text"), ColumnSchema("n", "integer")))
    out, report = repaired(tmp_path, "who,n\ny,5\nx,1\nz,7\n", rules, schema=schema, pin=["n"])
    assert out.read_text() == "who,n\nz,5\nx,1\nz,7\n"
    assert report.moved_rows == 1


def test_a_category_never_seen_is_refused_and_allowed_on_request(tmp_path):
    content, rules = "kind,n\na,5\nb,1\na,2\n", ["if n >= 5 then kind in ['b', 'new']"]
    with pytest.raises(RuleError, match="`kind` never holds 'new'"):
        repaired(tmp_path, content, rules, pin=["n"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]
    out, report = repaired(tmp_path, content, rules, pin=["n"], unseen="allow")
    assert out.read_text() == "kind,n\nb,5\nb,1\na,2\n"
    assert report.moved_rows == 1


def test_an_empty_cell_is_filled_in_the_manner_of_its_column(tmp_path):
    content = "a;b\n1,25;x\n;y\n1,25;z\n"
    out, _ = repaired(tmp_path, content, ["a is not null"], options=ReadOptions(separator=";", decimal=","), pin=["b"])
    assert out.read_text() == "a;b\n1,25;x\n1,25;y\n1,25;z\n"


def test_a_reject_rule_is_never_broken_by_a_repair_and_lists_what_breaks_it(tmp_path):
    rules = parse_rules("a * b <= 10 ; mode: reject\na >= 2", ["a", "b"])
    out, report = repaired(tmp_path, "a,b\n5,3\n1,4\n1,9\n", rules)
    assert out.read_text() == "a,b\n5,3\n2,4\n1,9\n"
    assert [row.row for row in report.quarantine] == [0, 2]


@pytest.mark.parametrize(
    "dtype", ["int8", "int64", "float32", "float64", "Int64", "object", "decimal128(5, 2)[pyarrow]"]
)
def test_frames_keep_their_types_and_index(dtype):
    low = pd.Series([1, 7, 3], index=[10, 20, 30]).astype("float64" if "decimal" in dtype else dtype)
    if "decimal" in dtype:
        low = pd.Series(pd.array(["1", "7", "3"], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), index=low.index)
    frame = pd.DataFrame({"low": low, "high": [2, 6, 4]}, index=low.index)
    found, report = repair(frame, "low <= high", pin=["high"])
    assert report.moved_rows == 1
    assert found["low"].dtype == frame["low"].dtype
    assert found["low"].tolist() == [1, 6, 3]
    assert list(found.index) == [10, 20, 30]
    assert frame["low"].tolist() == [1, 7, 3]  # the given frame is as it was


def test_a_categorical_column_stays_one():
    frame = pd.DataFrame({"kind": pd.Series(["p", "q", "p"], dtype="category"), "high": [2, 6, 4]})
    found, _ = repair(frame, "if high >= 6 then kind == 'p'", pin=["high"])
    assert found["kind"].dtype == frame["kind"].dtype
    assert found["kind"].tolist() == ["p", "p", "p"]


def test_an_arrow_table_comes_back_as_one():
    table = pa.table({"a": pa.array([1, 9], pa.int16()), "b": [5, 5]})
    found, _ = repair(table, "a <= b", pin=["b"])
    assert found.schema == table.schema
    assert found["a"].to_pylist() == [1, 5]


def test_a_number_that_its_type_cannot_hold_is_quarantined(tmp_path):
    table = pa.table({"a": pa.array([1, 100], pa.int8()), "b": pa.array([1, 100], pa.int64())})
    found, report = repair(table, "a >= 2 * b", pin=["b"])
    assert found["a"].to_pylist() == [2, 100]
    assert "cannot hold 200 as int8" in report.quarantine[0].reason


def test_the_report_says_how_far_and_by_which_rule(tmp_path):
    frame = pd.DataFrame({"a": [0, 1, 2, 3, 4, 9], "b": [4, 4, 4, 4, 4, 4]})
    _, report = repair(frame, ["a <= b", "a >= -5"], pin=["b"])
    moves = report.columns["a"]
    assert moves.moved == 1
    assert moves.largest == moves.mean == 5 / float(Schema.detect(frame)["a"].spread)
    assert (report.rules[0].boundary_before, report.rules[0].boundary_after) == (1, 2)
    assert "1 of 6 rows moved (16.67 %)" in str(report)


def test_rules_that_no_row_obeys_are_a_warning(tmp_path):
    _, report = repaired(tmp_path, "a,b\n5,3\n5,4\n", ["a <= b"])
    assert "no row obeyed `a <= b`" in report.warnings[0]


def test_a_repair_in_place_replaces_the_file(tmp_path):
    path = tmp_path / "t.csv.gz"
    pd.DataFrame({"a": [1, 9], "b": [5, 5]}).to_csv(path, index=False)
    repair_file(path, ["a <= b"], path, pin=["b"])
    assert pd.read_csv(path)["a"].tolist() == [1, 5]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, DataError])
def test_a_stop_at_any_moment_leaves_the_old_file(stop, tmp_path):
    (tmp_path / "in.csv").write_text("a,b\n5,3\n")
    (tmp_path / "out.csv").write_text("old")

    def note(stage, rows):
        if stage == "check":
            raise stop("now")

    with pytest.raises(stop):
        repair_file(tmp_path / "in.csv", ["a <= b"], tmp_path / "out.csv", progress=note)
    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_a_fault_that_reading_back_finds_is_an_error_and_no_file(tmp_path, monkeypatch):
    idle = ChunkRepair(broken=[1], moved=[1], boundary_before=[0], boundary_after=[0])
    monkeypatch.setattr(repairing.ChunkRepairer, "repair", lambda self, chunk: idle)
    with pytest.raises(DataError, match="nothing was written"):
        repaired(tmp_path, "a,b\n5,3\n", ["a <= b"])
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(), min_size=5, max_size=5), st.integers(0, 1000))
def test_the_finisher_takes_any_float(extremes, seed):
    schema = Schema.detect(DATA / "bike_rows.csv")
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({c.name: rng.normal(float(c.minimum), 50, 20) for c in schema})
    for column, value in zip(rng.choice(schema.names, 5), extremes, strict=True):
        frame.loc[rng.integers(20), column] = value
    finished, report = Finisher(DATA / "bike.rules", schema)(frame)
    assert report.quarantined_rows == 0
    again, report = repair(finished, DATA / "bike.rules", schema)
    assert report.moved_rows == 0
    pd.testing.assert_frame_equal(finished, again)
