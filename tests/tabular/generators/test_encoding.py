"""The two forms of a table, symbols and scores: what goes in comes back, whatever the column is."""

import math

import numpy as np
import pandas as pd
import pytest

from graftable.errors import DataError
from graftable.tabular import ColumnSchema, Schema
from graftable.tabular.generators import Allowed, Conditions, TableEncoder
from graftable.tabular.generators.number_codec import NumberCodec
from graftable.tabular.generators.text_codecs import IdentifierCodec

RNG = np.random.default_rng(7)
FRAMES = {
    "grid": [1, 2, 2, 5, 5, 5] * 20,
    "decimals with nulls": [0.5, 1.25, None, 7.0] * 30,
    "texts with nulls": ["a", "b", None, "a"] * 30,
    "booleans": [True, False, False] * 40,
    "dates": ["2011-01-01", "2011-02-28", "2012-12-31"] * 40,
    "all null": [None] * 120,
    "constant": ["same"] * 120,
    "constant number": [2.5] * 120,
    "constant with nulls": [7, None] * 60,
    "large magnitudes": [1e15, -1e15, 3.0, 1e14] * 30,
}


def coder(values, **settings):
    frame = pd.DataFrame({"x": values})
    schema = Schema.detect(frame)
    return frame, TableEncoder.fit(frame, schema, **settings)


def symbols_back(frame, encoder, allowed=None):
    codec = encoder.codecs["x"]
    return codec.decode(codec.encode(frame["x"])[0], np.random.default_rng(0), allowed)


def same(frame, back):
    """Equal cells: dates as days, booleans as texts."""
    given = frame["x"]
    if back.dtype == object:
        texts = [None if cell is None or cell != cell else str(cell).lower() for cell in given]
        return texts == [None if cell is None else cell.lower() for cell in back]
    if isinstance(given.iloc[0], str):
        given = pd.to_datetime(given).map(lambda day: (day - pd.Timestamp("1970-01-01")).days)
    return np.array_equal(given.astype(float), back, equal_nan=True)


@pytest.mark.parametrize("name", FRAMES)
def test_repeated_values_come_back_from_symbols_and_from_scores(name):
    frame, encoder = coder(FRAMES[name])
    assert same(frame, symbols_back(frame, encoder))
    for rng in (None, np.random.default_rng(1)):
        back = encoder.inverse(encoder.transform(frame, rng), np.random.default_rng(2))
        assert same(frame, back["x"])


@pytest.mark.parametrize("name", FRAMES)
def test_a_restored_encoder_is_the_encoder(name):
    frame, encoder = coder(FRAMES[name])
    other = TableEncoder.restored(encoder.schema, *encoder.state())
    assert same(frame, symbols_back(frame, other))
    first, second = encoder.transform(frame), other.transform(frame)
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(first.codes, second.codes)


def test_scores_of_a_continuous_column_are_normal():
    frame, encoder = coder(np.round(RNG.lognormal(size=4000), 4))
    scores = encoder.transform(frame, np.random.default_rng(0)).scores[:, 0]
    assert abs(scores.mean()) < 0.05
    assert abs(scores.std() - 1) < 0.05
    assert abs((scores < 1.0).mean() - 0.8413) < 0.01


def test_intervals_are_disjoint_ascending_and_hold_every_value():
    for values in (RNG.lognormal(3, 2, 5000).round(2), RNG.integers(0, 500, 3000), np.repeat([0, 1000, 7], 900)):
        frame, encoder = coder(np.concatenate([values, [0.0] * 700]))
        codec = encoder.codecs["x"]
        assert isinstance(codec, NumberCodec)
        assert (codec.low <= codec.high).all()
        assert (codec.high[:-1] < codec.low[1:]).all()
        assert np.isfinite(codec.encode(frame["x"])[1]).all()


def test_the_shares_of_symbols_below_and_above_a_bound_add_up_to_one():
    _, encoder = coder(RNG.integers(0, 3000, 4000))
    codec = encoder.codecs["x"]
    for bound in (0, 17, 1500, 2999):
        both = codec.mass(Allowed(high=bound)) + codec.mass(Allowed(low=bound + 1))
        np.testing.assert_allclose(both, 1.0)
    assert codec.mass(Allowed(low=np.array([0.0, 100.0, 5000.0]))).shape == (3, codec.size)


def test_cells_drawn_inside_bounds_stay_inside():
    _, encoder = coder(RNG.integers(0, 3000, 4000))
    codec, allowed = encoder.codecs["x"], Allowed(low=900, high=1100)
    symbols = np.repeat(np.flatnonzero(codec.mass(allowed)), 200)
    drawn = codec.decode(symbols, np.random.default_rng(0), allowed)
    assert drawn.between(900, 1100).all()
    assert drawn.nunique() > 150


def test_special_codes_are_symbols_of_their_own():
    frame = pd.DataFrame({"x": [-7, 5, 6, -8, 5, 5]})
    column = ColumnSchema("x", "integer", special=("-7", "-8"))
    encoder = TableEncoder.fit(frame, Schema((column,)))
    assert encoder.code_sizes == (3,)
    assert symbols_back(frame, encoder).tolist() == frame["x"].tolist()
    assert encoder.codecs["x"].mass(Allowed(low=-100)).tolist() == [1, 1, 0, 0]


def test_rare_texts_share_symbols_and_are_drawn_as_often_as_seen():
    counts = {f"t{i}": 400 // (i + 1) + 1 for i in range(300)}
    frame, encoder = coder([text for text, count in counts.items() for _ in range(count)], levels=60)
    assert encoder.codecs["x"].size <= 60
    drawn = pd.concat([symbols_back(frame, encoder) for _ in range(4)]).value_counts()
    assert abs(drawn["t0"] / 4 - counts["t0"]) < 1
    rare = drawn.reindex([f"t{i}" for i in range(100, 300)], fill_value=0)
    assert abs(rare.mean() / 4 - np.mean(list(counts.values())[100:])) < 0.2
    only = symbols_back(frame, encoder, Allowed(texts=frozenset({"t299"})))
    rare = encoder.codecs["x"].encode(frame["x"])[0] == encoder.codecs["x"].encode(pd.Series(["t299"]))[0][0]
    assert set(only[rare]) == {"t299"}


def test_names_of_rows_are_made_up_and_all_different():
    frame, encoder = coder([f"C-{i:05d}x" for i in RNG.permutation(20_000)[:500]])
    drawn = encoder.inverse(encoder.transform(frame), np.random.default_rng(0))["x"]
    assert drawn.str.fullmatch(r"C-\d{5}[a-z]\d*").all()
    assert drawn.is_unique
    assert coder(RNG.permutation(300) + 5)[1].codecs["x"].kind == "identifier"


@pytest.mark.parametrize("form", [(), ("A",), ("A", "-", "0123456789", "abc"), ("0123456789abcdef",) * 400])
def test_a_name_depends_on_the_number_of_its_row_alone_and_never_comes_twice(form):
    codec = IdentifierCodec(ColumnSchema("x", "text"), None, form)
    names = codec.names(0, 500).tolist()
    assert len(set(names)) == 500
    assert [*codec.names(0, 7), *codec.names(7, 493)] == names
    first = names[: math.prod(map(len, form))]  # the names that the form itself has
    assert all(len(name) == len(form) and all(map(str.count, form, name)) for name in first)


def test_clipping_of_scores_keeps_to_the_conditions():
    frame, encoder = coder(RNG.integers(0, 3000, 4000))
    kept = encoder.inverse(
        encoder.transform(frame), np.random.default_rng(0), Conditions({"x": Allowed(low=900, high=1100)})
    )
    assert kept["x"].between(900, 1100).all()


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"x": []}), "no rows"),
        (pd.DataFrame({"y": [1]}), "no column `x`"),
        (pd.DataFrame({"x": ["1", "two"]}), "row 1, column `x`: found 'two', expected a finite number"),
        ([1, 2], "expected a pandas data frame"),
    ],
)
def test_a_table_that_does_not_fit_its_schema_is_told_in_a_sentence(frame, said):
    with pytest.raises(DataError, match=said):
        TableEncoder.fit(frame, Schema((ColumnSchema("x", "integer"),)))
