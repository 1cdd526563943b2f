"""Laws of the chain of boosted trees: a density that sums to one, draws that follow it, the same ones everywhere."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from graftable.tabular import Schema
from graftable.tabular.generators import Allowed, Conditions, Generator
from graftable.tabular.generators.boosted_chain import BoostedChain, draw_symbols
from graftable.tabular.generators.circuit import CircuitGenerator

ROWS = 1500
LIGHT = {"members": 2, "states": 8, "epochs": 3, "rounds": 40}


def marked_table():
    """A column of twenty values, two of few, and a mark that two of the others decide together."""
    rng = np.random.default_rng(2)
    wide, few = rng.integers(0, 20, ROWS), rng.integers(0, 3, ROWS)
    mark = np.array(["even", "odd"], object)[((wide > 9) & (few > 0)).astype(int)]
    grade = np.where(rng.random(ROWS) < 0.1, np.nan, few * 0.5)
    return pd.DataFrame({"mark": mark, "wide": wide, "few": few, "grade": grade})


FRAME = marked_table()


def fitted(**settings):
    return CircuitGenerator(**(LIGHT | settings)).fit(FRAME, Schema.detect(FRAME), seed=3)


@pytest.fixture(scope="module")
def model():
    return fitted()


def names_of_chain(model):
    return [list(model.encoder.codecs)[place] for place in model.last.columns]


def test_only_columns_of_few_values_are_in_the_chain(model):
    assert names_of_chain(model) == ["mark", "few", "grade"]
    assert fitted(chain=0).last.columns == ()
    assert names_of_chain(fitted(chain=2)) == ["mark"]


def test_small_tables_have_no_chain():
    small = FRAME[:300]
    assert CircuitGenerator(**LIGHT).fit(small, Schema.detect(small)).last.columns == ()


def test_the_probabilities_of_all_rows_add_up_to_one(model):
    rows = itertools.product(["even", "odd"], range(20), range(3), [0.0, 0.5, 1.0, np.nan])
    every = pd.DataFrame(rows, columns=["mark", "wide", "few", "grade"])
    np.testing.assert_allclose(np.exp(model.log_prob(every)).sum(), 1.0, atol=1e-6)


def test_draws_come_as_often_as_their_probability_says(model):
    drawn = model.sample(20_000, seed=4)
    rows = itertools.product(["even", "odd"], range(3))
    for mark, few in rows:
        share = ((drawn["mark"] == mark) & (drawn["few"] == few)).mean()
        every = pd.DataFrame(
            itertools.product([mark], range(20), [few], [0.0, 0.5, 1.0, np.nan]), columns=list(FRAME.columns)
        )
        assert abs(share - np.exp(model.log_prob(every)).sum()) < 0.02


def test_what_three_columns_say_together_is_learnt(model):
    drawn = model.sample(4000, seed=5)
    said = ((drawn["wide"] > 9) & (drawn["few"] > 0)) == (drawn["mark"] == "odd")
    assert said.mean() > 0.95


def test_symbols_come_as_often_as_they_were_learnt(model):
    drawn = model.sample(20_000, seed=6)
    for name in names_of_chain(model):
        real, made = (frame[name].value_counts(normalize=True, dropna=False) for frame in (FRAME, drawn))
        assert real.sub(made, fill_value=0).abs().max() < 0.02


@pytest.mark.parametrize(
    ("conditions", "obeyed"),
    [
        ({"mark": Allowed(texts=frozenset({"odd"}))}, lambda rows: rows["mark"] == "odd"),
        ({"few": Allowed(low=1, high=1)}, lambda rows: rows["few"] == 1),
        ({"grade": Allowed(low=1)}, lambda rows: rows["grade"] == 1),
        (
            {"wide": Allowed(high=3), "few": Allowed(low=2), "grade": Allowed(low=np.inf, high=-np.inf, null=True)},
            lambda rows: (rows["wide"] <= 3) & (rows["few"] == 2) & rows["grade"].isna(),
        ),
    ],
)
def test_conditions_on_columns_of_the_chain_and_on_others_are_obeyed(model, conditions, obeyed):
    assert obeyed(model.sample(500, conditions=Conditions(conditions), seed=7)).all()


def test_columns_after_the_last_condition_still_follow_the_rest(model):
    drawn = model.sample(2000, conditions=Conditions({"few": Allowed(low=2)}), seed=8)
    kept = drawn["grade"].dropna()
    assert (kept == 1.0).mean() > 0.9


def test_a_saved_chain_draws_and_weighs_as_before(model, tmp_path):
    model.save(tmp_path)
    loaded = Generator.load(tmp_path)
    pd.testing.assert_frame_equal(model.sample(200, seed=9), loaded.sample(200, seed=9))
    np.testing.assert_array_equal(model.log_prob(FRAME[:100]), loaded.log_prob(FRAME[:100]))


def test_the_number_of_threads_changes_nothing(model):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        other = fitted()
        assert other.last.trees == model.last.trees
        pd.testing.assert_frame_equal(model.sample(300, seed=10), other.sample(300, seed=10))
    finally:
        torch.set_num_threads(threads)


def test_a_symbol_that_was_never_learnt_is_never_drawn():
    shares = np.array([0.5, 0.0, 0.5])
    chain = BoostedChain((1,), (shares,), (np.zeros(3),), (b"",))
    found = chain.log_probabilities(0, np.zeros((50, 2), np.float32))
    np.testing.assert_allclose(np.exp(found), np.broadcast_to(shares, (50, 3)))
    assert set(draw_symbols(found, np.random.default_rng(0))) == {0, 2}


def test_trees_grow_from_some_rows_of_a_long_table_and_still_know_every_symbol(monkeypatch):
    monkeypatch.setattr("graftable.tabular.generators.boosted_chain.MOST_ROWS", 400)
    frame = FRAME.assign(mark=["seldom", *FRAME["mark"][1:]])
    long = CircuitGenerator(**LIGHT).fit(frame, Schema.detect(frame), seed=3)
    place = names_of_chain(long).index("mark")
    assert (long.last.shares[place] > 0).all()
    assert np.isfinite(long.log_prob(frame[:5])).all()


def test_gaps_at_the_end_of_the_chain_are_filled_from_the_rest_of_their_row(model):
    holed = FRAME.assign(grade=np.nan)
    holed.loc[::2, "few"] = np.nan
    filled = model.impute(holed, seed=11)
    pd.testing.assert_series_equal(filled["mark"], FRAME["mark"], check_dtype=False)
    np.testing.assert_array_equal(filled["few"][1::2], FRAME["few"][1::2])
    assert not filled.isna().to_numpy().any()
    assert (filled["grade"] == filled["few"] * 0.5).mean() > 0.9
