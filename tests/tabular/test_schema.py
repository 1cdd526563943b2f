"""Columns are found out from their texts, and a schema comes back from JSON and from SDV metadata."""

import json
from fractions import Fraction

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import DataError
from graftable.tabular.io import ReadOptions
from graftable.tabular.schema import ColumnSchema, Schema

fractions = st.none() | st.fractions(max_denominator=1000)
columns = st.builds(
    ColumnSchema,
    st.text(min_size=1, max_size=5),
    st.sampled_from(["integer", "decimal", "categorical", "boolean", "datetime", "text"]),
    decimals=st.integers(0, 12),
    categories=st.lists(st.text(max_size=3), max_size=3).map(tuple),
    nullable=st.booleans(),
    special=st.lists(st.sampled_from(["-7", "-8"])).map(tuple),
    minimum=fractions,
    maximum=fractions,
    date_format=st.none() | st.just("%d.%m.%Y"),
    fill=st.text(max_size=3),
    spread=st.fractions(min_value=Fraction(1, 100)),
    shown_decimals=st.integers(0, 3),
)
schemas = st.lists(columns, unique_by=lambda column: column.name, max_size=4).map(lambda found: Schema(tuple(found)))


def detected(*texts):
    (column,) = Schema.detect(pa.table({"c": list(texts)}))
    return column


@given(schemas)
def test_a_schema_comes_back_from_json(schema):
    back = Schema.from_json(schema.to_json())
    assert back == schema
    assert back.hash == schema.hash


@pytest.mark.parametrize(
    ("texts", "kind", "decimals"),
    [
        (["1", "-20", None], "integer", 0),
        (["1.0", "2.0"], "integer", 0),
        (["1.50", "2.25"], "decimal", 2),
        (["1e-3", "2"], "decimal", 3),
        (["1e3", "inf", "nan"], "integer", 0),
        (["123456789012345678901234567890.5"], "decimal", 1),
        (["01234", "5"], "categorical", 0),
        (["a", "b", "1"], "categorical", 0),
        (["True", "False"], "boolean", 0),
        (["0", "1"], "integer", 0),
        ([None, None], "categorical", 0),
        ([f"n{i}" for i in range(60)], "text", 0),
        (["2011-01-01", "1850-12-31"], "datetime", 0),
        (["2011-01-01T10:20:30.25", "2011-01-01"], "datetime", 2),
        (["31.12.2011", "01.02.2012"], "datetime", 0),
    ],
)
def test_kinds_are_found_out_from_texts(texts, kind, decimals):
    column = detected(*texts)
    assert (column.kind, column.decimals) == (kind, decimals)
    assert column.nullable == (None in texts or "nan" in texts)


@pytest.mark.parametrize(
    ("texts", "date_format"),
    [
        (["2011-01-01"], "%Y-%m-%d"),
        (["2011-01-01 10:20", "2011-01-01 10:20"], "%Y-%m-%d %H:%M"),
        (["2011-01-01T10:20:30"], "%Y-%m-%dT%H:%M:%S"),
        (["2011-01-01 10:20:30.500"], "%Y-%m-%d %H:%M:%S.%f"),
        (["12/31/2011", "01/02/2011"], "%m/%d/%Y"),
        (["31/12/2011", "01/02/2011"], "%d/%m/%Y"),
        (["01/02/2011"], "%d/%m/%Y"),
        (["2011-01-01T10:20:30Z", "2011-01-01T10:20:31Z"], "%Y-%m-%dT%H:%M:%SZ"),
        (["2011-01-01 10:20+01:00"], "%Y-%m-%d %H:%M+01:00"),
        (["2011-03-27T01:00:00.5+01:00", "2011-03-27T03:00:00+02:00"], "%Y-%m-%dT%H:%M:%S.%f%z"),
    ],
)
def test_the_format_of_dates_is_the_first_that_fits_all(texts, date_format):
    assert detected(*texts).date_format == date_format


def test_ranges_fills_and_shown_decimals_are_those_of_the_texts():
    column = detected("1.50", "12.00", "3.25", "2.00", None)
    assert (column.minimum, column.maximum, column.scale) == (Fraction(3, 2), 12, 100)
    assert (column.fill, column.shown_decimals) == ("2.62", 2)
    assert column.spread > 0
    round_prices = detected("79.00", "86.50", "64.00")
    assert (round_prices.decimals, round_prices.shown_decimals, round_prices.fill) == (1, 2, "79.00")
    assert detected("1.50e1", "2.5", "1e-3").shown_decimals == 0
    dates = detected("1970-01-03", "1970-01-01", "1970-01-02")
    assert (dates.minimum, dates.maximum, dates.fill) == (0, 2, "1970-01-02")
    constant = detected("5", "5")
    assert (constant.spread, constant.fill) == (1, "5")


def test_a_decimal_comma_is_read_and_written(tmp_path):
    (tmp_path / "a.csv").write_text("c;d\n1,5;x\n2;y\n")
    column = Schema.detect(tmp_path / "a.csv", options=ReadOptions(separator=";", decimal=",")).columns[0]
    assert (column.kind, column.fill, column.text(25, ",")) == ("decimal", "1,8", "2,5")


def test_categories_are_in_the_order_of_their_frequency():
    assert detected("b", "a", "c", "c", "b", "c").categories == ("c", "b", "a")


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["1", "2.5", "-3", "", "x", "2011-01-01", "07", "true"]), min_size=1, max_size=12))
def test_a_column_is_the_same_however_the_file_is_cut(tmp_path_factory, texts):
    path = tmp_path_factory.getbasetemp() / "cut.csv"
    path.write_text("c,d\n" + "".join(f"{text},{text}\n" for text in texts))
    whole = Schema.detect(path)
    assert Schema.detect(path, options=ReadOptions(block_bytes=1)) == whole
    assert Schema.detect(path, ["d"]).columns == whole.columns[1:]


def test_a_typed_table_has_the_schema_of_its_texts():
    frame = pd.DataFrame(
        {"n": [1, 2], "x": [0.5, None], "k": ["a", "b"], "t": pd.to_datetime(["2011-01-01", "2012-01-01"])}
    )
    schema = Schema.detect(frame)
    assert [column.kind for column in schema] == ["integer", "decimal", "categorical", "datetime"]
    assert schema["x"].nullable
    assert schema["t"].date_format == "%Y-%m-%d"


def test_special_codes_are_missing_for_rules():
    column = ColumnSchema("c", "integer", special=("-7", "-8"))
    assert column.parse(pa.array(["-7", "3", "-9"])).missing.tolist() == [True, False, False]


@given(st.integers(-(10**12), 10**12), st.integers(0, 6), st.integers(0, 6))
def test_the_text_of_a_lattice_value_parses_to_it(number, decimals, shown):
    column = ColumnSchema("c", "decimal", decimals=decimals, shown_decimals=shown)
    cells = column.parse(pa.array([column.text(number)]))
    assert Fraction(int(cells.numbers[0]), cells.scale) == Fraction(number, column.scale)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "s.json, line 1: this is not JSON"),
        ("[]", 's.json: expected a mapping with "schema_version" and "columns".'),
        ('{"columns": []}', "s.json: found schema version None, but this graftable reads version 1"),
        (
            '{"schema_version": 1, "columns": [{"kind": "integer"}]}',
            's.json: expected each column as a mapping with "name"',
        ),
        (
            '{"schema_version": 1, "columns": [{"name": "a", "kind": "int"}]}',
            "s.json, column `a`: found kind 'int', expected",
        ),
        (
            '{"schema_version": 1, "columns": [{"name": "a", "kind": "integer", "decimal": 2}]}',
            "s.json, column `a`: there is no setting `decimal`. Did you mean `decimals`?",
        ),
        (
            '{"schema_version": 1, "columns": [{"name": "a", "kind": "integer", "minimum": "x"}]}',
            "s.json, column `a`: has a value that cannot be read",
        ),
    ],
)
def test_a_mistake_in_a_schema_is_one_sentence(text, sentence):
    with pytest.raises(DataError) as caught:
        Schema.from_json(text, "s.json")
    assert str(caught.value).startswith(sentence)


def test_a_table_that_lost_or_changed_a_column_is_refused():
    schema = Schema((ColumnSchema("age", "integer"), ColumnSchema("sex", "categorical")))
    schema.require_same(Schema((ColumnSchema("sex", "categorical"), ColumnSchema("age", "decimal"))), "b.csv")
    with pytest.raises(DataError, match=r"b\.csv: there is no column `sex`. Did you mean `Sex`\?"):
        schema.require_same(Schema((ColumnSchema("age", "integer"), ColumnSchema("Sex", "categorical"))), "b.csv")
    with pytest.raises(DataError, match=r"b\.csv, column `age`: found categorical cells, expected integer ones"):
        schema.require_same(Schema((ColumnSchema("age", "categorical"), ColumnSchema("sex", "categorical"))), "b.csv")
    with pytest.raises(DataError, match="there is no column `c`"):
        Schema.detect(pa.table({"a": ["1"]}), ["c"])


def test_a_file_holds_a_schema_or_sdv_metadata(tmp_path):
    schema = Schema.detect(pa.table({"a": ["1", "2"], "b": ["x", None]}))
    schema.save(tmp_path / "schema.json")
    assert Schema.load(tmp_path / "schema.json") == schema
    (tmp_path / "sdv.json").write_text(schema.to_sdv("V2"))
    assert Schema.load(tmp_path / "sdv.json").names == schema.names
    with pytest.raises(DataError, match="cannot be read"):
        Schema.load(tmp_path / "no.json")


# -- SDV metadata

V1 = {
    "METADATA_SPEC_VERSION": "V1",
    "tables": {
        "people": {
            "primary_key": "id",
            "columns": {
                "id": {"sdtype": "id", "regex_format": "[0-9]+"},
                "age": {"sdtype": "numerical", "computer_representation": "Int64"},
                "income": {"sdtype": "numerical"},
                "sex": {"sdtype": "categorical"},
                "born": {"sdtype": "datetime", "datetime_format": "%d.%m.%Y"},
                "member": {"sdtype": "boolean"},
                "email": {"sdtype": "email", "pii": True},
            },
        }
    },
    "relationships": [],
}
D = "%d.%m.%Y"
V2 = {
    "METADATA_SPEC_VERSION": "SINGLE_TABLE_V2",
    "columns": {
        "age": {"sdtype": "ordinal", "range_values": [1, 2, 3], "range_is_nullable": False},
        "income": {"sdtype": "numerical", "range_min": 0.1, "range_max": 9, "decimal_places": 2},
        "sex": {"sdtype": "categorical", "range_values": ["F", "M"], "range_is_nullable": False},
        "born": {"sdtype": "datetime", "datetime_format": D, "range_min": "02.01.1970", "range_max": "01.02.1970"},
    },
}  # fmt: skip


def test_sdv_metadata_of_the_first_version_is_read():
    schema = Schema.from_sdv(json.dumps(V1))
    kinds = ["text", "integer", "decimal", "categorical", "datetime", "boolean", "text"]
    assert [column.kind for column in schema] == kinds
    assert schema["born"].date_format == "%d.%m.%Y"


def test_sdv_metadata_of_the_second_version_is_read_exactly():
    schema = Schema.from_sdv(json.dumps(V2))
    assert [(c.kind, c.nullable) for c in schema][:3] == [("integer", False), ("decimal", True), ("categorical", False)]
    assert (schema["income"].minimum, schema["income"].maximum, schema["income"].decimals) == (Fraction(1, 10), 9, 2)
    assert schema["sex"].categories == ("F", "M")
    assert (schema["born"].minimum, schema["born"].maximum) == (1, 31)


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("table", [None, "people"])
def test_what_sdv_metadata_can_say_comes_back(version, table):
    source = Schema.from_sdv(json.dumps(V2))
    back = Schema.from_sdv(source.to_sdv(version, table))
    assert [(c.name, c.kind, c.date_format) for c in back] == [(c.name, c.kind, c.date_format) for c in source]
    if version == "V2":
        assert back == source


def test_metadata_takes_its_details_from_the_data():
    data = Schema.detect(
        pa.table({"age": ["1", "2"], "income": ["1.50", "2"], "sex": ["F", "M"], "born": ["01.02.2011"] * 2})
    )
    schema = Schema.from_sdv(json.dumps(V1)).refined_by(data)
    assert (schema["age"].kind, schema["age"].maximum) == ("integer", 2)
    assert schema["income"].decimals == 1
    assert schema["sex"].categories == ("F", "M")
    assert schema["id"].kind == "text"


@pytest.mark.parametrize(
    ("metadata", "table", "sentence"),
    [
        ("{", None, "m.json, line 1: this is not JSON"),
        ("{}", None, "m.json: found METADATA_SPEC_VERSION None, expected SDV metadata of V1 or V2."),
        (json.dumps(V1), "persons", "m.json: there is no table `persons`. There is `people`."),
        (json.dumps(V1 | {"tables": {"a": {}, "b": {}}}), None, "m.json: holds the tables a, b; name one of them."),
    ],
)
def test_a_mistake_in_metadata_is_one_sentence(metadata, table, sentence):
    with pytest.raises(DataError) as caught:
        Schema.from_sdv(metadata, "m.json", table)
    assert str(caught.value).startswith(sentence)
