"""Laws of the engines that compute: what they say of a small table is what enumeration says."""

import itertools

import numpy as np
import pandas as pd
import pytest

from graftable.errors import ConfigError, DataError, ModelFileError
from graftable.tabular import ColumnSchema, Schema
from graftable.tabular.generators import Allowed, Conditions, Generator, engine_class

RNG = np.random.default_rng(11)
ENGINES = ["circuit", "copula"]


def small_table(rows=600):
    """Three columns that depend on each other, one of them with nulls."""
    size = RNG.integers(0, 4, rows)
    colour = np.where(RNG.random(rows) < 0.8, np.array(list("rrgb"))[size], "b").astype(object)
    price = (size * 2.5 + RNG.integers(0, 2, rows) * 0.5).astype(float)
    price[RNG.random(rows) < 0.1] = np.nan
    return pd.DataFrame({"size": size, "colour": colour, "price": price})


FRAME = small_table()
SCHEMA = Schema.detect(FRAME)


def fitted(engine, frame=FRAME, schema=None, **settings):
    if engine == "circuit":
        settings = {"members": 2, "states": 12, "epochs": 5} | settings
    return engine_class(engine)(**settings).fit(frame, schema or Schema.detect(frame), seed=3)


@pytest.fixture(scope="module")
def models():
    return {engine: fitted(engine) for engine in ENGINES}


def all_rows():
    """Every row that the small table could hold, and its probability by the circuit."""
    prices = [*sorted(FRAME["price"].dropna().unique()), np.nan]
    rows = itertools.product(range(4), "rgb", prices)
    return pd.DataFrame(rows, columns=["size", "colour", "price"])


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_draws_the_same_rows_and_another_seed_others(models, engine):
    first, second, other = (models[engine].sample(200, seed=seed) for seed in (5, 5, 6))
    pd.testing.assert_frame_equal(first, second)
    assert not first.equals(other)
    again = fitted(engine)
    pd.testing.assert_frame_equal(first, again.sample(200, seed=5))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loaded_generator_is_the_one_that_was_saved(models, engine, tmp_path):
    models[engine].save(tmp_path)
    loaded = Generator.load(tmp_path)
    assert loaded.settings() == models[engine].settings()
    pd.testing.assert_frame_equal(models[engine].sample(100, seed=2), loaded.sample(100, seed=2))
    assert not list(tmp_path.glob("*.pkl"))


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_have_the_columns_of_the_schema_and_only_its_values(models, engine):
    drawn = models[engine].sample(500, seed=1)
    assert tuple(drawn.columns) == SCHEMA.names
    assert set(drawn["size"]) <= {0.0, 1.0, 2.0, 3.0}
    assert set(drawn["colour"]) <= set("rgb")
    assert set(drawn["price"].dropna()) <= set(FRAME["price"].dropna())
    assert 0.03 < drawn["price"].isna().mean() < 0.2


def test_the_probabilities_of_all_rows_add_up_to_one(models):
    np.testing.assert_allclose(np.exp(models["circuit"].log_prob(all_rows())).sum(), 1.0, atol=1e-9)


def test_lattice_points_inside_intervals_add_up_to_one_too():
    frame = pd.DataFrame({"n": RNG.integers(0, 400, 900), "kind": RNG.choice(list("ab"), 900)})
    model = fitted("circuit", frame)
    low, high = int(frame["n"].min()), int(frame["n"].max())
    every = pd.DataFrame(itertools.product(range(low, high + 1), "ab"), columns=["n", "kind"])
    np.testing.assert_allclose(np.exp(model.log_prob(every)).sum(), 1.0, atol=1e-9)


@pytest.mark.parametrize(
    "asked",
    [
        {"size": Allowed(low=1, high=2)},
        {"colour": Allowed(texts=frozenset("rg"))},
        {"price": Allowed(low=1.0), "colour": Allowed(texts=frozenset("b"))},
        {"price": Allowed(low=np.inf, high=-np.inf, null=True), "size": Allowed(high=0)},
    ],
)
def test_conditional_frequencies_are_those_of_enumeration(models, asked):
    model, rows = models["circuit"], all_rows()
    meets = np.ones(len(rows), bool)
    for name, allowed in asked.items():
        cells = rows[name]
        inside = cells.isin(allowed.texts) if allowed.texts else cells.between(allowed.low, allowed.high)
        meets &= inside | (cells.isna() & allowed.null)
    exact = np.where(meets, np.exp(model.log_prob(rows)), 0.0)
    exact /= exact.sum()
    drawn = model.sample(40_000, conditions=Conditions(asked), seed=4)
    keys = pd.MultiIndex.from_frame(rows.astype({"size": float}).fillna(-1))
    found = pd.MultiIndex.from_frame(drawn.fillna(-1)).value_counts().reindex(keys, fill_value=0).to_numpy() / 40_000
    assert found.sum() == pytest.approx(1.0)
    assert np.abs(found - exact).sum() / 2 < 0.015


@pytest.fixture(scope="module")
def chained():
    """A circuit with a chain of columns, and every row that its table could hold."""
    rng = np.random.default_rng(2)
    n = rng.integers(0, 20, 2000)
    kind = np.where(rng.random(2000) < 0.02, "rare", np.where(n % 2 ^ (rng.random(2000) < 0.2), "odd", "even"))
    size = np.where(kind == "rare", 2, rng.integers(0, 3, 2000) * (n > 9))
    frame = pd.DataFrame({"n": n, "kind": kind.astype(object), "size": size})
    rows = pd.DataFrame(itertools.product(range(20), ["odd", "even", "rare"], range(3)), columns=list(frame))
    return fitted("circuit", frame, rounds=30), rows


@pytest.mark.parametrize(
    ("asked", "off"),
    [
        ({"kind": Allowed(texts=frozenset({"odd"}))}, 0.005),
        ({"kind": Allowed(texts=frozenset({"odd", "rare"})), "n": Allowed(low=5)}, 0.005),
        ({"size": Allowed(low=1, high=1), "kind": Allowed(texts=frozenset({"even"}))}, 0.005),
        ({"kind": Allowed(texts=frozenset({"rare"}))}, 0.05),
        ({"kind": Allowed(texts=frozenset({"rare"})), "n": Allowed(high=3)}, 0.05),
        ({"size": Allowed(low=np.full(12_000, 2.0))}, 0.05),
    ],
)
def test_conditions_on_the_chain_are_those_of_enumeration(chained, asked, off):
    model, rows = chained
    assert model.last.columns == (1, 2)  # kind and size
    np.testing.assert_allclose(np.exp(model.log_prob(rows)).sum(), 1.0, atol=1e-9)
    meets = np.ones(len(rows), bool)
    for name, allowed in asked.items():
        low, high = np.min(allowed.low), np.max(allowed.high)
        meets &= rows[name].isin(allowed.texts) if allowed.texts else rows[name].between(low, high)
    exact = np.where(meets, np.exp(model.log_prob(rows)), 0.0)
    drawn = model.sample(12_000, conditions=Conditions(asked), seed=4)
    found = drawn.astype({"n": int, "size": int}).value_counts().reindex(pd.MultiIndex.from_frame(rows), fill_value=0)
    assert found.sum() == len(drawn)
    exact /= exact.sum()
    chance = np.sqrt(exact / len(drawn) / np.pi / 2).sum()  # what as many exact draws are off
    assert np.abs(found.to_numpy() / len(drawn) - exact).sum() / 2 < 1.1 * chance + off


def test_bounds_by_row_are_those_of_each_row(models):
    low = np.tile([0.0, 1.0, 3.0, 0.0], 300)
    high = np.tile([0.0, 2.0, 3.0, 3.0], 300)
    for engine in ENGINES:
        drawn = models[engine].sample(1200, conditions=Conditions({"size": Allowed(low=low, high=high)}), seed=1)
        assert (drawn["size"] >= low).all()
        assert (drawn["size"] <= high).all()
    alike = models["circuit"].sample(20_000, conditions=Conditions({"size": Allowed(low=2.0)}), seed=1)
    by_row = models["circuit"].sample(
        20_000, conditions=Conditions({"size": Allowed(low=np.full(20_000, 2.0))}), seed=2
    )
    for name in ("size", "colour"):
        first, second = (frame[name].value_counts(normalize=True) for frame in (alike, by_row))
        assert first.sub(second, fill_value=0).abs().max() < 0.02


@pytest.mark.parametrize("engine", ENGINES)
def test_a_truncated_column_has_no_pile_at_its_bounds(engine):
    frame = pd.DataFrame({"n": np.round(RNG.normal(500, 120, 3000)), "m": RNG.integers(0, 9, 3000)})
    model = fitted(engine, frame)
    drawn = model.sample(6000, conditions=Conditions({"n": Allowed(low=600, high=650)}), seed=1)["n"]
    assert drawn.between(600, 650).all()
    assert drawn.isin([600.0, 650.0]).mean() < 0.08
    assert drawn.nunique() > 45


def test_filled_gaps_follow_the_conditional_distribution(models):
    model, rows = models["circuit"], all_rows()
    probability = np.exp(model.log_prob(rows))
    gaps = pd.DataFrame({"size": np.full(20_000, 2), "colour": [None] * 20_000, "price": [5.0] * 20_000})
    filled = model.impute(gaps, seed=1)
    here = (rows["size"] == 2) & (rows["price"] == 5.0)
    exact = pd.Series(probability[here], rows["colour"][here]) / probability[here].sum()
    found = filled["colour"].value_counts(normalize=True)
    assert exact.sub(found, fill_value=0).abs().sum() / 2 < 0.015
    assert (filled["size"] == 2).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_filling_leaves_no_null_and_no_other_cell_changed(models, engine):
    filled = models[engine].impute(FRAME, seed=1)
    known = FRAME["price"].notna()
    assert filled.notna().all(axis=None)
    assert filled["price"][known].equals(FRAME["price"][known])
    assert (filled["colour"] == FRAME["colour"]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_text_that_was_never_seen_is_no_gap(engine):
    frame = pd.DataFrame({"c": ["a", "b", None, "a"] * 30, "n": range(120)})
    given = pd.DataFrame({"c": ["new", None], "n": [3, 4]})
    filled = fitted(engine, frame).impute(given, seed=1)["c"].tolist()
    assert filled[0] == "new"
    assert filled[1] in ("a", "b")


ODD = {
    "one row": pd.DataFrame({"a": [1.5], "b": ["x"], "c": [None]}),
    "two rows": pd.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]}),
    "constant": pd.DataFrame({"a": [3] * 50, "b": RNG.integers(0, 5, 50)}),
    "all null": pd.DataFrame({"a": [None] * 50, "b": RNG.integers(0, 5, 50)}),
    "names": pd.DataFrame({"a": [f"id{i:04d}" for i in range(100)], "b": RNG.integers(0, 5, 100)}),
    "dates": pd.DataFrame({"a": pd.date_range("2020-01-01", periods=90).strftime("%Y-%m-%d"), "b": range(90)}),
    "one column": pd.DataFrame({"a": RNG.integers(0, 5, 100)}),
    "long numbers": pd.DataFrame({"a": RNG.random(200) * 1e15, "b": RNG.random(200)}),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", ODD)
def test_odd_tables_are_learnt_and_drawn(engine, case, tmp_path):
    frame = ODD[case]
    model = fitted(engine, frame)
    model.save(tmp_path)
    drawn = Generator.load(tmp_path).sample(30, seed=1)
    assert drawn.shape == (30, frame.shape[1])
    for name in frame:
        assert drawn[name].isna().all() == frame[name].isna().all()
    if case == "constant":
        assert set(drawn["a"]) == {3.0}
    if case == "names":
        assert drawn["a"].is_unique
    assert model.sample(0, seed=1).shape == (0, frame.shape[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_three_hundred_thousand_categories_need_little_memory(engine):
    texts = [f"c{number}" for number in [*range(300_000), *range(20_000)]]
    frame = pd.DataFrame({"c": texts, "n": RNG.integers(0, 9, len(texts))})
    schema = Schema((ColumnSchema("c", "text"), ColumnSchema("n", "integer")))
    model = engine_class(engine)(**({"members": 1, "states": 8, "epochs": 1} if engine == "circuit" else {}))
    model.fit(frame, schema, seed=1)
    arrays, _ = model.state()
    assert sum(array.nbytes for array in arrays.values()) < 12_000_000
    assert model.sample(1000, seed=1)["c"].isin(set(frame["c"])).all()


def test_rows_that_cannot_be_drawn_have_no_probability(models):
    never = pd.DataFrame({"size": [7, 1], "colour": ["r", "violet"], "price": [0.0, 0.0]})
    assert np.isneginf(models["circuit"].log_prob(never)).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_mistakes_are_told_in_a_sentence(models, engine, tmp_path):
    with pytest.raises(ConfigError, match="has learnt no table yet"):
        engine_class(engine)().sample(1)
    with pytest.raises(ConfigError, match="no value of column `size`"):
        models[engine].sample(5, conditions=Conditions({"size": Allowed(low=9)}))
    with pytest.raises(DataError, match="no column `height`"):
        models[engine].sample(5, conditions=Conditions({"height": Allowed(low=9)}))
    with pytest.raises(DataError, match="no rows"):
        engine_class(engine)().fit(FRAME[:0], SCHEMA)
    with pytest.raises(ModelFileError, match="holds no table generator"):
        Generator.load(tmp_path)


@pytest.mark.parametrize(
    ("engine", "setting", "said"),
    [
        ("circuit", {"members": 0}, "members is 0; expected at least 1"),
        ("circuit", {"edge_prior": -5.0}, "edge_prior is -5.0; expected at least 0"),
        ("circuit", {"shake": float("inf")}, "shake is inf; expected at least 0"),
        ("copula", {"shrink": 1.5}, "shrink is 1.5; expected 0 to 1"),
        ("copula", {"intervals": 1}, "intervals is 1; expected at least 2"),
    ],
)
def test_a_setting_out_of_range_is_told_in_a_sentence(engine, setting, said):
    with pytest.raises(ConfigError, match=said):
        engine_class(engine)(**setting).fit(FRAME, SCHEMA)


def test_only_the_circuit_has_a_density(models):
    with pytest.raises(ConfigError, match="has no density"):
        models["copula"].log_prob(FRAME)
