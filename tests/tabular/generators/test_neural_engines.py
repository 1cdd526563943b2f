"""What holds for every engine with a network: seeds, files, rules in training and in sampling, nulls, gradients."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from graftable.errors import ConfigError, DataError
from graftable.tabular import Schema, check, parse_rules
from graftable.tabular.compiler import Compiled
from graftable.tabular.generators import Allowed, Conditions, Generator
from graftable.tabular.generators.ctgan import CTGANGenerator
from graftable.tabular.generators.flow import FlowGenerator
from graftable.tabular.generators.mixed_layout import Curve
from graftable.tabular.generators.neural import Average, Best, holdout, seeded
from graftable.tabular.generators.row_layout import RowLayout
from graftable.tabular.generators.rule_guidance import RuleGuidance
from graftable.tabular.generators.rule_view import obey_frame
from graftable.tabular.generators.tvae import TVAEGenerator

SMALL = {
    "ctgan": lambda **own: CTGANGenerator(
        **{"epochs": 1, "batch_size": 100, "generator_width": 16, "critic_width": 16, "noise": 8} | own
    ),
    "tvae": lambda **own: TVAEGenerator(**{"epochs": 1, "batch_size": 100, "hidden": 16, "latent": 8} | own),
    "flow": lambda **own: FlowGenerator(
        **{"steps": 10, "batch_size": 64, "width": 16, "depth": 1, "sampling_steps": 6} | own
    ),
}
LENGTH = {"ctgan": "epochs", "tvae": "epochs", "flow": "steps"}
ENGINES = tuple(SMALL)

RULES = """
end >= start + 1
if plan == 'free' then price == 0 else price >= 1.5
if plan is null then seats is null
seats is null or seats <= 2 * start + 10
"""


def orders(rows=400, seed=0):
    """Two modes, repeated values, nulls, special codes, texts, a constant and a name of the row."""
    rng = np.random.default_rng(seed)
    high = rng.random(rows) < 0.4
    start = np.where(high, rng.normal(80, 4, rows), rng.normal(20, 2, rows)).round()
    plan = np.where(rng.random(rows) < 0.5, "free", np.where(high, "gold", "tin")).astype(object)
    price = np.where(plan == "free", 0.0, np.where(high, rng.normal(30, 3, rows), rng.normal(9, 1, rows)).round(2))
    plan[rng.random(rows) < 0.1] = None
    price[plan == None] = 1.5  # noqa: E711
    seats = rng.integers(1, 9, rows).astype(float)
    seats[(plan == None) | (rng.random(rows) < 0.2)] = np.nan  # noqa: E711
    end = start + rng.integers(1, 30, rows)
    names = [f"row-{number:05d}" for number in rng.permutation(rows)]
    columns = {"start": start, "end": end, "plan": plan, "price": price, "seats": seats, "land": "x", "name": names}
    return pd.DataFrame(columns)


@pytest.fixture(scope="module")
def world():
    frame = orders()
    schema = Schema.detect(frame)
    return frame, schema, Compiled(parse_rules(RULES, schema), schema)


@pytest.fixture(scope="module")
def fitted(world):
    frame, schema, rules = world
    return {
        (engine, constrain): SMALL[engine](constrain=constrain).fit(frame, schema, rules=rules)
        for engine in ENGINES
        for constrain in ("none", "training", "sampling")
    }


def broken(frame, world):
    return check(frame, world[2].rules, world[1]).violating_rows


@pytest.mark.parametrize("engine", ENGINES)
def test_drawn_rows_have_the_columns_and_cells_of_the_schema(engine, fitted, world):
    frame, schema, _ = world
    drawn = fitted[engine, "none"].sample(500, seed=1)
    assert tuple(drawn.columns) == schema.names
    assert len(drawn) == 500
    assert (drawn["land"] == "x").all()
    assert drawn["name"].is_unique
    assert set(drawn["plan"].dropna()) <= set(frame["plan"].dropna())
    assert drawn["start"].dtype == np.float64
    assert not drawn[["start", "end", "price"]].isna().any().any()
    assert len(fitted[engine, "none"].sample(0)) == 0


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_rows_and_another_gives_others(engine, fitted, world):
    frame, schema, rules = world
    again = SMALL[engine](constrain="training")
    torch.rand(3)  # what was drawn before does not matter
    again.fit(frame, schema, rules=rules)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = fitted[engine, "training"].sample(50, seed=3)
    pd.testing.assert_frame_equal(again.sample(50, seed=3), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not fitted[engine, "training"].sample(50, seed=4).equals(first)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_saved_draws_the_same_rows(engine, fitted, tmp_path):
    model = fitted[engine, "sampling"]
    model.save(tmp_path)
    twin = Generator.load(tmp_path)
    assert twin.settings() == model.settings()
    pd.testing.assert_frame_equal(twin.sample(60, seed=2), model.sample(60, seed=2))
    assert json.loads((tmp_path / "config.json").read_text())["engine"] == engine


@pytest.mark.parametrize("constrain", ["training", "sampling"])
@pytest.mark.parametrize("engine", ENGINES)
def test_rules_hold_on_drawn_rows_before_the_finisher(engine, constrain, fitted, world):
    assert broken(fitted[engine, "none"].sample(400, seed=1), world) > 100
    # a bound met in floating point may be missed by a unit in the last place; the finisher sees to that
    assert broken(fitted[engine, constrain].sample(400, seed=1), world) <= 4


@pytest.mark.parametrize("engine", ENGINES)
def test_rules_in_sampling_change_nothing_that_is_learnt(engine, fitted):
    free, guarded = fitted[engine, "none"].state()[0], fitted[engine, "sampling"].state()[0]
    assert all(np.array_equal(free[name], guarded[name]) for name in free)


@pytest.mark.parametrize("engine", ["ctgan", "tvae"])
def test_rows_inside_the_training_graph_obey(engine, fitted, world):
    model = fitted[engine, "training"]
    torch.manual_seed(0)
    count, blocks = len(model.layout.numeric), model.layout.blocks
    raw = torch.randn(300, model.layout.width) * 3
    row = torch.cat([raw[:, :count].tanh(), blocks.gumbel(raw[:, count:], 0.5)], 1)
    obedient, numbers = model.layout.obey(row, model.view)
    codes = blocks.argmax(obedient[:, count:].detach())
    drawn = model.layout.decode(obedient[:, :count].detach(), codes, np.random.default_rng(0))
    for place, name in enumerate(model.guidance.numeric):
        drawn[name] = numbers[:, place].detach().numpy()
    assert broken(drawn, world) <= 3  # by a unit in the last place, as processors round a tanh differently
    assert (
        broken(model.layout.decode(row[:, :count], blocks.argmax(row[:, count:]), np.random.default_rng(0)), world) > 50
    )


def test_a_condition_follows_its_level_where_rules_move_it_and_only_there(fitted):
    model = fitted["ctgan", "training"]
    conditions, blocks = model.conditions, model.layout.blocks
    place = len(model.layout.numeric) + model.layout.categorical.index("plan")
    before = torch.zeros(3, len(blocks), dtype=torch.int64)
    after = before.clone()
    after[1, place] = 1  # moved
    after[2, 0] = 1  # another column moved
    rows = [model.layout.row(torch.zeros(3, len(model.layout.numeric)), codes) for codes in (before, after)]
    asked = rows[0][:, -conditions.width :]
    met = conditions.followed(asked, *rows)
    assert torch.equal(met[[0, 2]], asked[[0, 2]])
    assert torch.equal(met[1], rows[1][1, -conditions.width :])


@pytest.mark.parametrize("leak", [0.0, 0.1, 1.0])
def test_levels_that_rules_move_pass_the_leaks_share_of_a_gradient(leak, world):
    frame, schema, _ = world
    layout = RowLayout.fit(frame, schema)
    view = layout.view(RuleGuidance(parse_rules("plan != 'free'\nstart >= 0", schema), schema, leak=leak))
    codes = layout.encoder.codecs["plan"].encode(pd.Series(["gold", "free"]))[0]
    levels = torch.nn.functional.one_hot(torch.from_numpy(codes).long(), layout.encoder.codecs["plan"].size).double()
    _, found = view.obey({"start": torch.ones(2)}, {"plan": levels.requires_grad_()}, 2)
    assert (found["plan"] != levels).any(1).tolist() == [False, True]
    (slope,) = torch.autograd.grad(found["plan"].sum(), levels)
    torch.testing.assert_close(slope, torch.tensor([[1.0], [leak]]).expand_as(slope).double())


@pytest.mark.parametrize("constrain", ["none", "training"])
@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_reach_every_parameter(engine, constrain, fitted, world):
    model, frame = fitted[engine, constrain], world[0]
    rows = model.encode(frame, 0)
    model.look_over(rows)
    networks = nn.ModuleDict(model.networks()).train().requires_grad_(True)
    with seeded(0):
        losses = [model.step_loss(rows, turn) for turn in range(len(model.turns))]
    modules = networks.values() if len(losses) > 1 else [networks]
    for loss, module in zip(losses, modules, strict=True):
        for name, parameter in module.named_parameters():
            (slope,) = torch.autograd.grad(loss, parameter, retain_graph=True, allow_unused=True)
            assert slope is not None, name
            assert slope.isfinite().all(), name
            assert slope.abs().sum() > 0, name


LEARN = {
    "ctgan": {
        "epochs": 200,
        "generator_width": 64,
        "critic_width": 64,
        "noise": 16,
        "generator_lr": 1e-3,
        "critic_lr": 1e-3,
    },
    "flow": {"steps": 800, "width": 64, "depth": 2, "decay": 0.98, "sampling_steps": 30},
    "tvae": {"epochs": 60, "hidden": 64, "latent": 8, "lr": 3e-3, "patience": 0},
}


@pytest.mark.parametrize("engine", ENGINES)
def test_two_modes_are_learnt_with_what_belongs_to_them(engine):
    rng = np.random.default_rng(0)
    high = rng.random(600) < 0.3
    x = np.where(high, rng.normal(80, 4, 600), rng.normal(20, 2, 600)).round(1)
    y = np.where(high, 0.0, rng.normal(5, 1, 600)).round(1)
    frame = pd.DataFrame({"x": x, "y": y, "kind": np.where(high, "b", "a")})
    schema = Schema.detect(frame)
    apart, agree = {}, {}
    length = LENGTH[engine]
    for epochs in (1, LEARN[engine][length]):
        drawn = SMALL[engine](**LEARN[engine] | {length: epochs}).fit(frame, schema).sample(1000, seed=1)
        apart[epochs] = distance(frame, drawn)
        agree[epochs] = ((drawn["x"] > 50) == (drawn["kind"] == "b")).mean()
    assert apart[LEARN[engine][length]] < min(0.15, apart[1])  # the last bits of training differ between machines
    if engine != "ctgan":  # whose critic may take longer than this to see what belongs together
        assert agree[LEARN[engine][length]] > 0.8


def distance(real, drawn):
    """The mean over columns of the distance of marginals."""
    found = []
    for name in ("x", "y"):
        some, others = np.sort(real[name]), np.sort(drawn[name])
        both = np.concatenate([some, others])
        found.append(
            np.abs(np.searchsorted(some, both) / len(some) - np.searchsorted(others, both) / len(others)).max()
        )
    return np.mean([*found, abs((real["kind"] == "a").mean() - (drawn["kind"] == "a").mean())])


@pytest.mark.parametrize("engine", ENGINES)
def test_conditions_are_met(engine, fitted):
    asked = Conditions(
        {
            "start": Allowed(low=70, high=75),
            "plan": Allowed(texts=frozenset({"gold", "tin"})),
            "seats": Allowed(null=True),
        }
    )
    drawn = fitted[engine, "none"].sample(80, conditions=asked, seed=0)
    assert drawn["start"].between(70, 75).all()
    assert drawn["plan"].isin(["gold", "tin"]).all()
    assert drawn["name"].is_unique
    low = np.linspace(10, 90, 40)
    by_row = fitted[engine, "none"].sample(40, conditions=Conditions({"start": Allowed(low=low, high=low + 5)}))
    assert (by_row["start"].to_numpy() >= low - 1e-6).all()
    assert (by_row["start"].to_numpy() <= low + 5 + 1e-6).all()
    with pytest.raises(ConfigError, match="no row of the table that was learnt has a value of `plan`"):
        fitted[engine, "none"].sample(3, conditions=Conditions({"plan": Allowed(texts=frozenset({"lead"}))}))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "columns",
    [
        {"a": [1]},
        {"a": [None, None, None], "b": ["u", "v", "u"]},
        {"a": [1.5, None, 2.5] * 30, "b": ["2011-01-01", None, "2012-02-29"] * 30},
        {"a": [f"id{number}" for number in range(50)]},
    ],
    ids=["one cell", "all null", "dates", "names"],
)
def test_odd_tables_are_learnt(engine, columns):
    frame = pd.DataFrame(columns)
    schema = Schema.detect(frame)
    drawn = SMALL[engine]().fit(frame, schema).sample(20, seed=0)
    assert tuple(drawn.columns) == schema.names
    for name in frame:
        assert drawn[name].isna().any() <= frame[name].isna().any()


@pytest.mark.parametrize("engine", ENGINES)
def test_special_codes_come_back_as_codes(engine):
    frame = pd.DataFrame({"score": [-9, -8, 50, 60, 70, 80] * 40})
    schema = Schema.from_json(Schema.detect(frame).to_json().replace('"minimum"', '"special": ["-9", "-8"], "minimum"'))
    drawn = SMALL[engine](**{LENGTH[engine]: 5}).fit(frame, schema).sample(300, seed=0)["score"]
    assert {-9.0, -8.0} <= set(drawn)
    assert drawn[drawn < 0].isin([-9, -8]).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_many_levels_need_no_wide_network(engine):
    rng = np.random.default_rng(0)
    texts = [f"town {number}" for number in rng.zipf(1.3, 6000) % 3000]
    frame = pd.DataFrame({"town": texts})
    schema = Schema.detect(frame)
    model = SMALL[engine](levels=40).fit(frame, schema)
    arrays = [array for name, array in model.state()[0].items() if array.dtype == np.float32]
    assert max(max(array.shape) for array in arrays) <= 10 * 2 * 60
    assert set(model.sample(500)["town"]) <= set(texts)


@pytest.mark.parametrize("engine", ENGINES)
def test_mistakes_are_named(engine, world):
    frame, schema, _ = world
    with pytest.raises(ConfigError, match=r"constrain is 'samplng'\. Did you mean sampling"):
        SMALL[engine](constrain="samplng")
    with pytest.raises(ConfigError, match=r'constrain is "sampling", but there are no rules'):
        SMALL[engine](constrain="sampling").fit(frame, schema)
    with pytest.raises(DataError, match="no rows"):
        SMALL[engine]().fit(frame[:0], schema)
    with pytest.raises(ConfigError, match="call fit first"):
        SMALL[engine]().sample(3)


@pytest.mark.parametrize(
    ("engine", "setting", "said"),
    [
        ("ctgan", {"generator_width": 0}, "generator_width is 0; expected at least 1"),
        ("ctgan", {"temperature": float("nan")}, "temperature is nan; expected at least 0.01"),
        ("ctgan", {"leak": 2.0}, "leak is 2.0; expected 0 to 1"),
        ("tvae", {"lr": -1.0}, "lr is -1.0; expected at least 0"),
        ("tvae", {"lr": float("inf")}, "lr is inf; expected at least 0"),
        ("flow", {"width": -1}, "width is -1; expected at least 1"),
        ("flow", {"depth": -1}, "depth is -1; expected at least 0"),
    ],
)
def test_a_setting_out_of_range_is_refused_before_anything_is_learnt(engine, setting, said):
    with pytest.raises(ConfigError, match=said):
        SMALL[engine](**setting)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 20, 21])
def test_the_flow_learns_in_any_number_of_steps(steps):
    frame = pd.DataFrame({"a": np.arange(60.0) % 7, "b": list("xyz") * 20})
    model = SMALL["flow"](steps=steps).fit(frame, Schema.detect(frame), seed=1)
    assert model.sample(5, seed=1).shape == (5, 2)


def test_a_fit_that_came_to_nothing_says_so(world):
    frame, schema, _ = world
    with pytest.raises(ConfigError, match=r"has learnt nothing, as its loss is no number; lower the learning rate\."):
        SMALL["tvae"](lr=1e30, epochs=3).fit(frame, schema)


@pytest.mark.parametrize("engine", ENGINES)
def test_progress_is_told(engine, world):
    frame, schema, _ = world
    heard = []
    SMALL[engine]().fit(frame, schema, progress=lambda share, word: heard.append((share, word)))
    assert heard[-1][0] == 1.0
    assert all(word for _, word in heard)


def test_gaps_are_filled_and_what_is_known_stays(fitted, world):
    frame, schema, _ = world
    rng = np.random.default_rng(1)
    holes = frame.mask(pd.DataFrame({name: rng.random(len(frame)) < 0.3 for name in frame}))
    filled = fitted["flow", "none"].impute(holes, seed=0)
    assert not filled.isna().any().any()
    for name in frame:
        kept = holes[name].notna()
        assert (filled[name][kept] == holes[name][kept]).all()
    pd.testing.assert_frame_equal(fitted["flow", "none"].impute(holes, seed=0), filled)
    assert filled["start"].min() >= schema["start"].minimum


def test_the_curve_of_a_column_goes_there_and_back_and_rises(fitted):
    for model in (fitted["flow", "none"],):
        for name, curve in model.layout.curves.items():
            assert isinstance(curve, Curve)
            numbers = torch.linspace(float(curve.numbers[0]), float(curve.numbers[-1]), 50, dtype=torch.float64)
            torch.testing.assert_close(curve.number(curve.score(numbers)), numbers)
            codec = model.layout.number(name)
            middle = codec.to_scores(pd.Series(codec.low / codec.scale))
            found = curve.number(torch.from_numpy(middle)).numpy() * codec.scale
            assert (found[1:] >= codec.low[:-1]).all()
            assert (found[:-1] <= codec.high[1:]).all()


def test_rules_lead_the_flow_before_they_clamp():
    frame = pd.DataFrame({"low": np.random.default_rng(0).normal(0, 1, 500).round(3)})
    frame["high"] = (frame["low"] + np.random.default_rng(1).exponential(1, 500)).round(3)
    schema = Schema.detect(frame)
    rules = Compiled(parse_rules("high >= low", schema), schema)
    free, led = (
        SMALL["flow"](constrain=way, steps=200).fit(frame, schema, rules=rules) for way in ("none", "sampling")
    )
    late = {}
    for name, model in (("free", free), ("led", led)):
        with seeded(0):
            drawn = model.layout.decode(*model._draw(model._nothing_known(1000)), np.random.default_rng(0))
        late[name] = (drawn["high"] < drawn["low"] - 0.05).mean()
    assert late["free"] > 0.02
    assert late["led"] < 0.2 * late["free"]


def test_guidance_settles_nulls_that_no_rule_allows(world):
    _, schema, rules = world
    guidance = RuleGuidance(rules.rules, schema)
    frame = pd.DataFrame(
        {"start": [20.0, 20], "end": [30.0, 3], "plan": [None, "free"], "price": [3.0, 4], "seats": [4.0, np.nan]}
    )
    moved = obey_frame(frame, guidance)
    assert broken(moved.assign(land="x", name="y"), world) == 0
    assert moved["end"].tolist() == [30.0, 3.0]
    assert moved.loc[1, "start"] == 2.0
    pd.testing.assert_frame_equal(obey_frame(moved, guidance), moved)


def test_an_average_follows_the_weights_and_the_best_ones_are_kept():
    module = torch.nn.Linear(2, 1)
    average, best = Average(module, 0.5), Best(2)
    for value in (1.0, 2.0, 3.0):
        torch.nn.init.constant_(module.weight, value)
        average.update(module)
    assert 2 < average.module.weight[0, 0] < 3
    assert [best.update(score, module) for score in (3.0, float("nan"), 2.0, 2.0, 2.5)] == [False] * 4 + [True]
    assert best.score == 2.0
    train, held = holdout(100, 0.2, 50, 0)
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(100))
