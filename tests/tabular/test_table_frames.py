"""What is written of made rows is what they say, in the type of its column, and reads back as that."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from graftable.tabular import ColumnSchema, Schema, Synthesizer
from graftable.tabular.sources import TableSource
from graftable.tabular.synthesis_files import synthesize_file
from graftable.tabular.table_frames import read_frame, rows_writer

RNG = np.random.default_rng(5)
BRIEF = {"circuit": {"members": 1, "states": 4, "epochs": 1}, "flow": {"steps": 2}, "tvae": {"epochs": 1, "hidden": 8}}
STAMPS = ["2024-03-31 01:59:58", "1969-12-31 23:59:59", "0001-01-02 00:00:00", "9999-12-30 00:00:01", None]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize(("unit", "decimals"), [("s", 0), ("ms", 3), ("us", 0), ("us", 1), ("us", 6)])
def test_a_time_is_written_as_itself_in_every_unit(unit, decimals, zone, tmp_path):
    digits = "." + "123456"[:decimals] if decimals else ""
    date_format = "%Y-%m-%d %H:%M:%S" + (".%f" if decimals else "")
    schema = Schema((ColumnSchema("t", "datetime", decimals=decimals, date_format=date_format),))
    like = pa.schema([("t", pa.timestamp(unit, zone))])
    with rows_writer(tmp_path / "t.parquet", schema, like=like) as writer:
        writer.write(pd.DataFrame({"t": [stamp and stamp + digits for stamp in STAMPS]}, dtype=object))
    found = pq.read_table(tmp_path / "t.parquet")["t"]
    assert found.type == (pa.timestamp("ms", zone) if unit == "s" else like.types[0])  # Parquet has no seconds
    utc = found.cast(pa.timestamp("us")).cast(pa.string()).to_pylist()
    assert utc == [stamp and f"{stamp}.{digits[1:]:0<6}" for stamp in STAMPS]


def typed(rows=400):
    """A column of each common type, with nulls."""
    null = RNG.random(rows) < 0.2
    start = pa.array(RNG.integers(1_600_000_000, 1_700_000_000, rows), pa.timestamp("s"))
    return pa.table(
        {
            "flag": pa.array(RNG.random(rows) < 0.3, mask=null),
            "small": pa.array(RNG.integers(0, 5, rows), pa.int8(), mask=null),
            "half": pa.array(RNG.normal(size=rows), pa.float32()),
            "code": pa.array(RNG.choice(["007", "042"], rows)).dictionary_encode(),
            "price": pa.array([f"{cents / 100:.2f}" for cents in RNG.integers(100, 9999, rows)]).cast(
                pa.decimal128(9, 2)
            ),
            "seen": start.cast(pa.timestamp("us", "UTC")),
            "day": start.cast(pa.date32()),
            "clock": pa.array(RNG.integers(0, 86400, rows).tolist(), pa.time32("ms")),
            "parts": pa.array([[int(n)] for n in RNG.integers(0, 3, rows)], pa.list_(pa.int64())),
        }
    )


@pytest.mark.parametrize("engine", ["circuit", "copula", "tvae"])
def test_a_parquet_table_comes_back_in_its_types(engine, tmp_path):
    table = typed()
    pq.write_table(table, tmp_path / "real.parquet")
    source = TableSource.read(tmp_path / "real.parquet")
    model = Synthesizer(engine, schema=source.schema, settings=BRIEF.get(engine)).fit(
        read_frame(source.table, source.schema)
    )
    synthesize_file(model, 300, tmp_path / "made.parquet", like=source.types)
    made = pq.read_table(tmp_path / "made.parquet")
    assert made.num_rows == 300
    for name in table.column_names:
        real, found = table[name], made[name]
        if name == "parts":  # what no text can be cast to is written as text
            assert set(found.to_pylist()) <= {str(cell) for cell in real.to_pylist()}
            continue
        if name == "code":
            real = real.cast(pa.string())
        assert found.type == real.type
        assert (found.null_count > 0) == (real.null_count > 0)
        if name in ("flag", "small", "code", "clock"):
            assert set(found.to_pylist()) <= set(real.to_pylist())
        elif engine != "tvae":  # whose numbers are normal in the end
            assert min(real.to_pylist()) <= min(found.to_pylist())
            assert max(found.to_pylist()) <= max(real.to_pylist())


KEYS = [9007199254740993, 9007199254740995, 1234567890123456789, 2**64 - 1, 7]


@pytest.mark.parametrize("engine", ["circuit", "copula", "flow", "tvae"])
def test_whole_numbers_that_floats_cannot_tell_apart_come_back_exact(engine, tmp_path):
    keys = [str(KEYS[place % 5]) for place in range(120)]
    hashes = RNG.integers(2**61, 2**63 - 1, 120)
    real = {"key": keys, "same": "123456789012345678901234567890", "gaps": [*keys[:100], *[None] * 20], "hash": hashes}
    pd.DataFrame(real | {"n": np.arange(120) % 3}).to_csv(tmp_path / "real.csv", index=False)
    source = TableSource.read(tmp_path / "real.csv", "key >= 8")
    model = Synthesizer(engine, rules=source.rules, schema=source.schema, settings=BRIEF.get(engine))
    model.fit(read_frame(source.table, source.schema))
    for where, least in ((None, 8), ("key >= 9007199254740995", 9007199254740995)):
        synthesize_file(model, 100, tmp_path / "made.csv", where=where)
        made = pd.read_csv(tmp_path / "made.csv", dtype=str)
        assert set(map(int, made["key"])) <= {key for key in KEYS if key >= least}
        assert set(made["same"]) == {real["same"]}
        assert set(made["gaps"].dropna()) <= set(keys)
        assert made["gaps"].isna().any()
        assert made["hash"].is_unique
        assert made["hash"].astype(np.int64).between(10**18, 2**63 - 1).all()
    synthesize_file(model, 50, tmp_path / "made.parquet")
    kinds = pq.read_schema(tmp_path / "made.parquet").types
    assert kinds == [pa.string(), pa.string(), pa.string(), pa.int64(), pa.int64()]


@pytest.mark.parametrize("kind", ["int64", "uint64", "Int64", "UInt64"])
def test_a_frame_of_long_whole_numbers_comes_back_as_such(kind, tmp_path):
    keys = [key for key in KEYS if key < 2**63 or kind.lower() == "uint64"]
    cells = pd.Series(
        pd.array([keys[place % len(keys)] for place in range(90)], kind.replace("i", "I").replace("uI", "UI"))
    )
    cells = cells.mask(cells.index % 9 == 4) if kind[0] in "IU" else cells.astype(kind)
    model = Synthesizer("copula").fit(pd.DataFrame({"key": cells, "n": range(90)}))
    model.save(tmp_path)
    for made in (model.sample(60)[0], Synthesizer.load(tmp_path).sample(60)[0]):
        assert str(made["key"].dtype) == kind
        assert set(made["key"].dropna()) == set(keys)
        assert made["key"].isna().any() == (kind[0] in "IU")


@pytest.mark.parametrize("zone", [None, "Asia/Kolkata"])
def test_a_frame_of_times_comes_back_as_times(zone, tmp_path):
    times = pd.Series(pd.date_range("2024-01-01 00:00:30.25", periods=90, freq="37min", tz=zone))
    frame = pd.DataFrame({"t": times.mask(times.index % 9 == 4), "n": range(90)})
    model = Synthesizer("copula", rules='t >= date("2024-01-01 05:00")').fit(frame)
    model.save(tmp_path)
    for made in (model.sample(50)[0], Synthesizer.load(tmp_path).sample(50)[0]):
        assert made["t"].dtype == frame["t"].dtype
        assert made["t"].isna().any()
        assert made["t"].dropna().between(pd.Timestamp("2024-01-01 05:00", tz=zone and "UTC"), frame["t"].max()).all()
