"""What is not changed keeps its bytes, what is changed reads back exactly, and a bad file is one sentence."""

import csv
import datetime
import gzip
import io
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from graftable.errors import DataError
from graftable.tabular import arrow_tables
from graftable.tabular.arrow_tables import texts_of, typed_cells
from graftable.tabular.io import ReadOptions, open_table

cells = st.text(alphabet="ab1. ;,\"\n\r'é", max_size=5)
dialects = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t"]),
        "lineterminator": st.sampled_from(["\n", "\r\n"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    }
)


@st.composite
def csv_tables(draw):
    """Rows of texts, and the bytes that python's csv module makes of them."""
    width = draw(st.integers(1, 4))
    row = st.lists(cells, min_size=width, max_size=width).filter(lambda cells: cells != [""])
    rows = draw(st.lists(row, min_size=1, max_size=6))
    dialect = draw(dialects)
    if dialect["quoting"] != csv.QUOTE_ALL:  # a bare return at the end of a line is part of the line end
        rows = [[cell.replace("\r", "") for cell in row] for row in rows]
        rows = [row if row != [""] else ["a"] for row in rows]
    text = io.StringIO(newline="")
    csv.writer(text, **dialect).writerows([[f"c{i}" for i in range(width)], *rows])
    written = text.getvalue().encode()
    if draw(st.booleans()):
        written = written.removesuffix(dialect["lineterminator"].encode())
    return rows, dialect, written


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("io") / "table.csv"


def options(dialect, **others):
    return ReadOptions(separator=dialect["delimiter"], nulls=(), **others)


def texts(table):
    chunks = list(table.chunks())
    columns = [[text for chunk in chunks for text in chunk.texts(name).to_pylist()] for name in table.names]
    return [list(row) for row in zip(*columns, strict=True)]


@settings(max_examples=150)
@given(csv_tables(), st.integers(1, 40))
def test_texts_are_those_of_the_csv_module_however_the_file_is_cut(path, table, block):
    rows, dialect, written = table
    path.write_bytes(written)
    assert texts(open_table(path, options(dialect, block_bytes=block))) == rows


@settings(max_examples=150)
@given(csv_tables(), st.integers(1, 40), st.data())
def test_only_the_changed_cells_of_a_csv_change(path, table, block, data):
    rows, dialect, written = table
    path.write_bytes(written)
    opened, target = open_table(path, options(dialect, block_bytes=block)), path.with_name("out.csv")
    changes = data.draw(st.dictionaries(st.tuples(st.integers(0, len(rows) - 1), st.sampled_from(opened.names)), cells))
    with opened.writer(target) as writer:
        for chunk in opened.chunks():
            here = {}
            for (row, name), text in changes.items():
                if chunk.first_row <= row < chunk.first_row + chunk.num_rows:
                    at, new = here.setdefault(name, ([], []))
                    at.append(row - chunk.first_row)
                    new.append(text)
            writer.write(chunk, {name: (np.array(at), new) for name, (at, new) in here.items()})
    if not changes:
        assert target.read_bytes() == written
    expected = [
        [changes.get((r, name), old) for name, old in zip(opened.names, row, strict=True)] for r, row in enumerate(rows)
    ]
    if len(opened.names) > 1 or [""] not in expected:  # a line with one empty cell is a blank line
        assert texts(open_table(target, options(dialect))) == expected


def rewritten(source, changes, path, **read):
    path.write_bytes(source)
    table, target = open_table(path, ReadOptions(**read)), path.with_name("out.csv")
    with table.writer(target) as writer:
        for chunk in table.chunks():
            writer.write(chunk, {name: (np.array(rows), new) for name, (rows, new) in changes.items()})
    return target.read_bytes()


def test_quotes_line_ends_blank_lines_and_the_byte_order_mark_stay(path):
    source = b'\xef\xbb\xbf"a";b\r\n"1";x\r\n\r\n2;"y;z"\r\n3;w'
    assert rewritten(source, {}, path, separator=";") == source
    changes = {"a": ([0, 1], ["7", "8"]), "b": ([1, 2], ["q", 'u"v'])}
    expected = b'\xef\xbb\xbf"a";b\r\n"7";x\r\n\r\n8;"q"\r\n3;"u""v"'
    assert rewritten(source, changes, path, separator=";") == expected


def test_a_quote_inside_an_unquoted_cell_is_a_letter(path):
    source = b'size,name\n5" pipe,a\n6,"b ""c"", d"\n7" rod,e\n'
    assert rewritten(source, {}, path) == source
    assert texts(open_table(path)) == [['5" pipe', "a"], ["6", 'b "c", d'], ['7" rod', "e"]]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-be", "utf-8-sig", "cp1252"])
def test_a_file_keeps_its_encoding(path, encoding):
    source = "größe,n\nmäßig,1\n".encode(encoding)
    assert rewritten(source, {}, path, encoding=encoding) == source
    changed = rewritten(source, {"größe": ([0], ["süß"])}, path, encoding=encoding)
    assert changed.decode(encoding) == "größe,n\nsüß,1\n"


def test_old_line_ends_are_read_and_kept(path):
    assert rewritten(b"a,b\r1,2\r3,4\r", {"b": ([1], ["5"])}, path) == b"a,b\r1,2\r3,5\r"


def test_a_packed_file_is_unpacked_and_packed_again(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    table = open_table(tmp_path / "a.csv.gz")
    with table.writer(tmp_path / "b.csv.gz") as writer:
        for chunk in table.chunks():
            writer.write(chunk, {"a": (np.array([0]), ["9"])})
    assert gzip.decompress((tmp_path / "b.csv.gz").read_bytes()) == b"a,b\n9,2\n"


def test_null_texts_are_null_and_every_other_text_is_itself(path):
    path.write_bytes(b'a,b\n,?\n"",NaN\nnull,0\n')
    assert texts(open_table(path)) == [[None, "?"], [None, None], [None, "0"]]
    assert texts(open_table(path, ReadOptions(nulls=("?",)))) == [["", None], ["", "NaN"], ["null", "0"]]


def test_a_row_of_a_csv_knows_its_bytes_and_its_line(path):
    path.write_bytes(b'a,b\n1,"x\ny"\n\n2,z\r\n3,w')
    (chunk,) = open_table(path).chunks()
    assert [chunk.row_bytes(row) for row in range(3)] == [b'1,"x\ny"', b"2,z", b"3,w"]
    assert [chunk.place(row) for row in range(3)] == ["line 2", "line 5", "line 6"]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        (b"", "table.csv: is empty; expected a line of column names"),
        (b"\n\n", "table.csv: is empty"),
        (b"a,b\n", "table.csv: has column names but no rows."),
        (b"a,b,a\n1,2,3\n", "table.csv, line 1: the column `a` is there twice, as number 1 and number 3; rename one."),
        (b"a,b\n1,2\n3\n4,5\n", "table.csv, line 3: found 1 cells, expected 2 as in the header; quote the cells"),
        (b'a,b\n1,"x\ny"\n3,4,5\n', "table.csv, line 4: found 3 cells, expected 2"),
        (b"a,b\n1,2\n3,\xe9\n", "table.csv, line 3: found the byte 0xe9, which is not utf-8; name the encoding of"),
        (b'a,b\n1,2\n3,"4\n5,6\n', "table.csv, line 3: a quote is opened and never closed; close it, or double it."),
        (b"a;b\n1;2\n", "table.csv, line 1: found one column, 'a;b'; to part it, use --sep ';'."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block", [7, 1 << 20])
def test_a_bad_csv_is_one_sentence_with_its_line(path, source, sentence, block):
    path.write_bytes(source)
    with pytest.raises(DataError) as caught:
        list(open_table(path, ReadOptions(block_bytes=block)).chunks())
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"separator": ";;"}, "--sep ';;': expected one ASCII character"),
        ({"decimal": "x"}, "--decimal 'x': expected '.' or ','."),
        ({"encoding": "klingon"}, "--encoding klingon: there is no such encoding"),
    ],
)
def test_a_bad_option_is_one_sentence(wrong, sentence):
    with pytest.raises(DataError, match=r"expected|there is no") as caught:
        ReadOptions(**wrong)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("cut", [5, 300])
def test_a_broken_archive_is_one_sentence(tmp_path, cut):
    packed = gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 2000, mtime=0)
    (tmp_path / "a.csv.gz").write_bytes(packed[:cut] + b"x" * 50)
    with pytest.raises(DataError, match=r"a\.csv\.gz: cannot be read"):
        list(open_table(tmp_path / "a.csv.gz").chunks())


def test_what_is_no_table_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        open_table(tmp_path / "no.csv")
    (tmp_path / "a.parquet").write_bytes(b"a,b\n")
    with pytest.raises(DataError, match="is not a Parquet file"):
        open_table(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="found a list, expected a path"):
        open_table([1])
    with pytest.raises(DataError, match="has no rows"):
        open_table(pd.DataFrame({"a": []}))
    with pytest.raises(DataError, match="`a` is there twice"):
        open_table(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a\n1\n")
    table, target = open_table(tmp_path / "a.csv"), tmp_path / "b.csv"

    def stop_half_way():
        with table.writer(target) as writer:
            writer.write(next(table.chunks()))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_half_way()
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    with pytest.raises(DataError, match="a CSV is written as CSV"), table.writer(tmp_path / "b.parquet"):
        pass


# -- typed tables

TYPED = pa.table(
    {
        "int": pa.array([1, None, -3], pa.int32()),
        "float": pa.array([0.1, float("nan"), 3.0]),
        "small": pa.array([0.1, 2.5, None], pa.float32()),
        "money": pa.array([Decimal("1.50"), Decimal("-0.05"), None], pa.decimal128(9, 2)),
        "word": pa.array(["a", "", None]),
        "kind": pa.array(["u", "v", None]).dictionary_encode(),
        "flag": pa.array([True, False, None]),
        "day": pa.array([datetime.date(2011, 1, 1), None, datetime.date(1969, 12, 31)]),
        "time": pa.array([datetime.datetime(2011, 1, 1, 6, 30), None, datetime.datetime(1969, 12, 31)]),
        "zone": pa.array([datetime.datetime(2011, 1, 1), None, None], pa.timestamp("ns", "Europe/Berlin")),
        "nested": pa.array([[1], None, []]),
    }
)  # fmt: skip
TYPED_TEXTS = {
    "int": ["1", None, "-3"],
    "float": ["0.1", None, "3"],
    "small": ["0.1", "2.5", None],
    "money": ["1.50", "-0.05", None],
    "word": ["a", None, None],
    "kind": ["u", "v", None],
    "flag": ["true", "false", None],
    "day": ["2011-01-01", None, "1969-12-31"],
    "time": ["2011-01-01 06:30:00", None, "1969-12-31 00:00:00"],
    "zone": ["2011-01-01", None, None],
}
CHANGES = {
    "int": "7", "float": "123456.789", "small": "0.3", "money": "12.30", "word": "b", "kind": "new", "flag": "true",
    "day": "1999-12-31", "time": "2000-02-29 23:59:59.000001", "zone": "2000-02-29 23:59:59.000000001",
}  # fmt: skip


def test_cells_of_every_type_are_texts():
    (chunk,) = open_table(TYPED).chunks()
    assert {name: chunk.texts(name).to_pylist() for name in TYPED_TEXTS} == TYPED_TEXTS
    assert chunk.texts("nested").null_count == 1


def test_parquet_keeps_its_schema_and_every_cell_that_is_not_changed(tmp_path):
    source = TYPED.replace_schema_metadata({"made by": "a test"})
    pq.write_table(source, tmp_path / "a.parquet", row_group_size=2, compression="zstd")
    table = open_table(tmp_path / "a.parquet")
    with table.writer(tmp_path / "b.parquet") as writer:
        for chunk in table.chunks():
            rows = [row for row in range(chunk.num_rows) if chunk.first_row + row == 1]
            writer.write(chunk, {name: (np.array(rows), [text]) for name, text in CHANGES.items()} if rows else None)
    before, after = pq.read_table(tmp_path / "a.parquet"), pq.read_table(tmp_path / "b.parquet")
    assert after.schema.equals(before.schema, check_metadata=True)
    assert pq.ParquetFile(tmp_path / "b.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
    kept = [0, 2]
    assert after.take(kept).to_pylist() == before.take(kept).to_pylist()
    changed = after.slice(1, 1).combine_chunks()
    for name, text in CHANGES.items():
        assert texts_of(changed[name].chunk(0), ()).to_pylist() == [text.removesuffix("0") if name == "x" else text]


def test_parquet_keeps_its_row_groups_as_far_as_they_are_held(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow_tables, "CHUNK_ROWS", 4)
    monkeypatch.setattr(arrow_tables, "GROUP_ROWS", 12)
    kinds = pa.array([f"kind {row // 3}" for row in range(50)]).dictionary_encode()
    source = pa.table({"number": range(50), "kind": kinds})
    with pq.ParquetWriter(tmp_path / "a.parquet", source.schema) as file:
        for first, size in ((0, 10), (10, 30), (40, 3), (43, 7)):
            file.write_table(source.slice(first, size))
    table = open_table(tmp_path / "a.parquet")
    with table.writer(tmp_path / "b.parquet") as writer:
        for chunk in table.chunks():
            writer.write(chunk, {"kind": (np.array([0]), [f"new {chunk.first_row}"])})
    written = pq.ParquetFile(tmp_path / "b.parquet")
    sizes = [written.metadata.row_group(group).num_rows for group in range(written.metadata.num_row_groups)]
    assert sizes == [10, 12, 12, 6, 3, 7]
    assert written.read()["number"].to_pylist() == list(range(50))
    assert written.read()["kind"].to_pylist()[10:15] == ["new 10", "kind 3", "kind 4", "kind 4", "new 14"]


def test_data_frames_keep_their_dtypes_and_index():
    frame = pd.DataFrame(
        {
            "int": [1, 2],
            "whole": pd.array([1, None], "Int64"),
            "float": [0.5, float("nan")],
            "word": ["a", None],
            "kind": pd.Categorical(["u", "v"]),
            "when": pd.to_datetime(["2011-01-01", "2012-01-01"]),
            "flag": [True, False],
            "money": [Decimal("1.5"), Decimal("2.25")],
            "mixed": [1, "x"],
        },
        index=[7, 9],
    )
    before, table = frame.copy(), open_table(frame)
    new = {"int": "5", "whole": "6", "float": "0.1", "word": "b", "kind": "w", "when": "2000-01-01", "flag": "true"}
    new |= {"money": "123.75", "mixed": "y"}
    with table.writer(None) as writer:
        for chunk in table.chunks():
            writer.write(chunk, {name: (np.array([1]), [text]) for name, text in new.items()})
    result = writer.result
    pd.testing.assert_frame_equal(frame, before)
    pd.testing.assert_frame_equal(result.iloc[:1].drop(columns="kind"), before.iloc[:1].drop(columns="kind"))
    assert result.drop(columns="kind").dtypes.equals(before.drop(columns="kind").dtypes)
    assert list(result.index) == [7, 9]
    expected = [5, 6, 0.1, "b", "w", pd.Timestamp("2000-01-01"), True, Decimal("123.75"), "y"]
    assert result.iloc[1].tolist() == expected


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@example([1e16, 1e-7, 123456789.123456789, -0.0])
def test_the_text_of_a_float_reads_back_as_it(numbers):
    column = pa.array(numbers)
    assert typed_cells(texts_of(column, ()).to_pylist(), pa.float64(), "x").equals(column)


@pytest.mark.parametrize(
    ("text", "kind", "sentence"),
    [
        ("1.5", pa.int64(), "column `a`: cannot hold '1.5' as int64"),
        ("300", pa.int8(), "column `a`: cannot hold '300' as int8"),
        (
            "0.12345678901234567",
            pa.float64(),
            "column `a`: cannot hold '0.12345678901234567' as double; it would read ba",
        ),
        ("16777217", pa.float32(), "column `a`: cannot hold '16777217' as float; it would read back as '16777216'."),
        ("1.255", pa.decimal128(5, 2), "column `a`: cannot hold '1.255' as decimal128(5, 2)"),
        ("2011-02-30", pa.date32(), "column `a`: cannot hold '2011-02-30' as date32[day]"),
        ("2011-01-01 10:00:00.5", pa.timestamp("s"), "column `a`: cannot hold '2011-01-01 10:00:00.5' as timestamp[s]"),
    ],
)
def test_what_a_type_cannot_hold_is_refused(text, kind, sentence):
    with pytest.raises(DataError) as caught:
        typed_cells([text], kind, "column `a`")
    assert str(caught.value).startswith(sentence)
