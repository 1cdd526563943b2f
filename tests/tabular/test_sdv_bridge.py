"""Rows of SDV, finished: any object that samples like a synthesizer will do, and the real one where it is there."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from graftable.errors import ConfigError, DataError, MissingExtraError, RuleError
from graftable.tabular import Schema, check
from graftable.tabular.sdv_bridge import SDVGenerator, read_metadata, write_metadata

RNG = np.random.default_rng(0)
REAL = pd.DataFrame(
    {
        "low": RNG.integers(0, 50, 200),
        "high": RNG.integers(50, 99, 200) + 0.5,
        "kind": RNG.choice(["a", "b"], 200),
        "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(RNG.integers(0, 99, 200), unit="D"),
    }
)
RULES = "low <= high\nif kind == 'a' then low >= 10\nday >= date(\"2020-01-10\")"


class Metadata:
    """As SDV's: a mapping on demand."""

    def __init__(self, schema):
        self.schema = schema

    def to_dict(self):
        return json.loads(self.schema.to_sdv("V2", "loans"))


class Synthesizer:
    """Draws each column by itself, and rounds nothing."""

    def __init__(self, named=False, short=False):
        self.named, self.short, self.metadata = named, short, Metadata(Schema.detect(REAL))

    def sample(self, num_rows):
        rng = np.random.default_rng(1)
        frame = pd.DataFrame({name: rng.permutation(REAL[name])[np.arange(num_rows) % 200] for name in REAL})
        frame["low"] = frame["low"] * 2.0 + 0.3
        frame = frame[: num_rows - self.short]
        return {"loans": frame} if self.named else frame


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_with_a_zone_are_finished_as_such(zone, monkeypatch):
    times = pd.Series(pd.date_range("2024-03-30 12:00:30.25", periods=200, freq="37min", tz="Europe/Berlin"))
    table = REAL.assign(day=times.map(lambda time: time.isoformat()))
    drawn = times.dt.tz_convert("UTC") if zone else times.dt.tz_convert(None)
    monkeypatch.setattr(Synthesizer, "sample", lambda self, num_rows: REAL.assign(day=drawn)[:num_rows])
    rows, report = SDVGenerator(Synthesizer(), "low <= high", table=table).sample(50)
    assert pd.to_datetime(rows["day"], utc=True).tolist() == times[:50].tolist()
    assert report.moved_rows == 0


@pytest.mark.parametrize("named", [False, True])
def test_no_finished_row_breaks_a_rule_on_the_file(named, tmp_path):
    rows, report = SDVGenerator(Synthesizer(named), RULES, table=REAL).sample(150)
    rows.to_csv(tmp_path / "o.csv", index=False)
    found = check(tmp_path / "o.csv", RULES)
    assert (found.rows, found.violating_rows) == (150, 0)
    assert 0 < report.moved_rows < 150
    assert report.quarantined_rows == 0
    assert list(rows) == list(REAL)
    assert rows["low"].dtype.kind == "i"


def test_metadata_say_what_the_columns_are_if_nothing_else_does():
    wrapped = SDVGenerator(Synthesizer(), RULES)
    assert [column.kind for column in wrapped.schema] == ["integer", "decimal", "categorical", "datetime"]
    assert check(wrapped.sample(20)[0], RULES, wrapped.schema).violating_rows == 0


def test_metadata_are_written_as_they_are_read(tmp_path):
    schema = Schema.detect(REAL)
    write_metadata(schema, tmp_path / "meta.json")
    found = read_metadata(tmp_path / "meta.json")
    assert found.names == schema.names
    assert [column.kind for column in found] == [column.kind for column in schema]


def test_what_is_no_synthesizer_is_told_in_a_sentence(tmp_path):
    with pytest.raises(ConfigError, match="no `sample`"):
        SDVGenerator(REAL.to_dict(), RULES, table=REAL)
    with pytest.raises(DataError, match="10 rows were asked of SDV and 9 came"):
        SDVGenerator(Synthesizer(short=True), RULES, table=REAL).sample(10)
    with pytest.raises(RuleError, match="Did you mean `high`"):
        SDVGenerator(Synthesizer(), "hihg >= 3", table=REAL)
    with pytest.raises(ConfigError, match="at least 1"):
        SDVGenerator(Synthesizer(), RULES, table=REAL).sample(0)
    with pytest.raises(DataError, match="no such file"):
        read_metadata(tmp_path / "none.json")
    with pytest.raises(DataError, match="metadata of SDV"):
        read_metadata(3)


def test_the_extra_is_named_where_sdv_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sdv.single_table", None)
    with pytest.raises(MissingExtraError, match=r"graftable\[sdv\].*BUSL-1.1"):
        SDVGenerator.fit("GaussianCopulaSynthesizer", REAL, RULES)


def test_the_real_synthesizer_is_finished():
    pytest.importorskip("sdv")
    wrapped = SDVGenerator.fit("GaussianCopulaSynthesizer", REAL, RULES)
    assert check(wrapped.sample(100)[0], RULES, wrapped.schema).violating_rows == 0
    with pytest.raises(ConfigError, match="Did you mean `GaussianCopulaSynthesizer`"):
        SDVGenerator.fit("GausianCopulaSynthesizer", REAL, RULES)
