"""CDGM with each engine: the steps of the engines, rows that obey, files, resumes with what was kept, and mistakes."""

import contextlib
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from graftable.cli import main
from graftable.errors import ConfigError, DataError, ModelFileError
from graftable.models.cdgm import CDGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.checkpoints import AtomicCheckpointIO, load_checkpoint
from graftable.pipelines.randomness import CounterRandomness
from graftable.pipelines.tables import TableDataModule
from graftable.tabular import Synthesizer
from graftable.tabular.generators import engine_class, neural_engine
from graftable.tabular.generators.neural import seeded

_spec = importlib.util.spec_from_file_location(
    "independent_checker_of_rows", Path(__file__).parents[1] / "tabular" / "independent_checker.py"
)
checker = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(checker)

SMALL = {
    "circuit": {"members": 1, "states": 8, "epochs": 2, "chain": 0},
    "copula": {},
    "ctgan": {"generator_width": 16, "critic_width": 16, "noise": 8},
    "tvae": {"hidden": 16, "latent": 8},
    "flow": {"width": 16, "depth": 1, "sampling_steps": 6},
}
NEURAL = tuple(name for name in SMALL if name not in ("circuit", "copula"))
RULES = ["end >= start + 1", "total == start + fee", "if plan == 'free' then fee == 0 else fee >= 1"]


def orders(rows=240, seed=0):
    rng = np.random.default_rng(seed)
    start, plan = rng.integers(0, 90, rows), rng.choice(["free", "gold", "tin"], rows).astype(object)
    fee = np.where(plan == "free", 0, rng.integers(1, 20, rows))
    seats = np.where(rng.random(rows) < 0.2, np.nan, rng.integers(1, 9, rows))
    frame = {"start": start, "end": start + rng.integers(1, 30, rows), "plan": plan, "fee": fee, "total": start + fee}
    return pd.DataFrame({**frame, "seats": seats, "void": None})


def data(frame=None, **options):
    options = {"rules": RULES, "cells_per_batch": 350} | options
    return TableDataModule.from_table(orders() if frame is None else frame, **options)


def trainer(*callbacks, folder=None, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    if folder is None:
        quiet["enable_checkpointing"] = False
    else:
        kept = {"save_last": True, "save_top_k": -1, "every_n_epochs": 1}
        callbacks = (*callbacks, ModelCheckpoint(folder / "checkpoints", filename="{epoch}", **kept))
    options = {"max_epochs": 2, "num_sanity_val_steps": 0} | options
    return Trainer(callbacks=[CounterRandomness(0), *callbacks], plugins=[AtomicCheckpointIO()], **quiet, **options)


def model(engine, constrain="none", **settings):
    seed_everything(0)
    return CDGM(engine, constrain, SMALL[engine] | settings)


@pytest.fixture(scope="module", params=SMALL)
def fitted(request, tmp_path_factory):
    """A finished fit: the engine, the model and the folder of its run."""
    folder = tmp_path_factory.mktemp(request.param)
    made = model(request.param, "training" if request.param in NEURAL else "none")
    trainer(folder=folder).fit(made, data())
    return request.param, made, folder


def test_a_model_from_a_checkpoint_makes_files_in_which_no_row_breaks_a_rule(fitted, tmp_path):
    _, made, folder = fitted
    loaded = CDGM.load_from_checkpoint(folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    rows, report = loaded.sample(80, where="start >= 10", seed=3)
    assert report.violating_rows == 0
    pd.testing.assert_frame_equal(rows, made.sample(80, where="start >= 10", seed=3)[0])
    loaded.save_synthesizer(tmp_path / "model")
    for name in ("rows.csv", "rows.parquet"):
        said = main(["synthesize", "--model", str(tmp_path / "model"), "-n", "80", "--out", str(tmp_path / name)])
        assert said == 0
        assert checker.judge(tmp_path / name, RULES).broken_rows == []


def test_a_fit_ends_with_a_folder_beside_its_checkpoints_that_draws_the_same_rows(fitted):
    engine, made, folder = fitted
    twin = Synthesizer.load(folder / "synthesizer")
    assert twin.engine == engine
    pd.testing.assert_frame_equal(twin.sample(40, seed=5)[0], made.sample(40, seed=5)[0])


def test_a_pretrained_folder_draws_the_same_rows_and_needs_no_table(fitted, tmp_path):
    _, made, _ = fitted
    made.save_pretrained(tmp_path)
    pd.testing.assert_frame_equal(
        load_pretrained(CDGM, str(tmp_path)).sample(30, seed=1)[0], made.sample(30, seed=1)[0]
    )


def test_validation_and_test_log_how_far_drawn_rows_are(fitted):
    engine, made, _ = fitted
    (validated,) = trainer().validate(made, data(), verbose=False)
    (tested,) = trainer().test(made, data(), verbose=False)
    measure = getattr(engine_class(engine), "measure", "shape_gap")
    assert set(validated) == {f"val/{measure}"}
    assert set(tested) == {f"test/{measure}", "test/shape_gap"}
    assert 0 <= tested["test/shape_gap"] < 1


class Last(neural_engine.Best):
    """Takes every score for the best."""

    def update(self, score, module):
        self.score, self.since = float("inf"), 0
        return super().update(0.0, module)


class Fed(TableDataModule):
    """All rows for training, in the very batches of `NeuralEngine.fit`."""

    def feed(self, engine, steps):
        self.engine, self.steps = engine, steps

    def train_dataloader(self):
        turns, rows, batches = len(self.engine.turns), len(self.frames["train"]), []
        for step in range(self.steps):
            with seeded(0, self.engine.step_seed, step):
                places = self.engine.chosen(step, rows, 0).tolist()
            batches += [self.frames["train"].iloc[places]] * turns
        return DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)


class Draws(Callback):
    """Seeds the draws of a step as `NeuralEngine.fit` does."""

    def __init__(self, engine):
        self.engine = engine

    def on_train_batch_start(self, trainer, model, batch, batch_index):
        step, turn = divmod(trainer.global_step, len(self.engine.turns))
        if turn == 0:
            key = np.random.SeedSequence((0, self.engine.step_seed, step))
            torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))
            self.engine.chosen(step, len(trainer.datamodule.frames["train"]), 0)
        else:
            torch.set_rng_state(self.state)

    def on_train_batch_end(self, *_):
        self.state = torch.get_rng_state()


@pytest.mark.parametrize("engine", NEURAL)
def test_lightning_takes_the_very_steps_of_the_engines_own_fit(engine, monkeypatch):
    monkeypatch.setattr(neural_engine, "Best", Last)
    monkeypatch.setattr(neural_engine, "holdout", lambda rows, *_: (torch.arange(rows),) * 2)
    frame = orders(150)
    length = {"steps": 12, "batch_size": 40} if engine == "flow" else {"epochs": 3, "batch_size": 40}
    alone = Synthesizer(engine, rules=RULES, settings=SMALL[engine] | length | {"constrain": "training"})
    alone.fit(frame, seed=0)
    steps = alone.generator.plan(150)[0]
    rows = Fed.from_table(frame, rules=RULES, split_fractions=(1.0, 0.0, 0.0))
    made = model(engine, "training")
    rows.feed(alone.generator, steps)
    trained = trainer(Draws(alone.generator), max_epochs=1)
    trained.fit(made, rows)
    first, second = alone.generator.state()[0], made.synthesizer.generator
    with made._serving():
        second = second.state()[0]
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("engine", NEURAL)
def test_the_weights_that_are_kept_are_those_of_the_best_score_after_a_resume_too(engine, tmp_path):
    made = model(engine)
    trainer(folder=tmp_path, max_epochs=3).fit(made, data())
    kept = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["cdgm"]["best"]
    assert all(torch.equal(value, kept["weights"][name]) for name, value in made.average.state_dict().items())
    resumed = model(engine)
    trainer(max_epochs=3).fit(resumed, data(), ckpt_path=tmp_path / "checkpoints" / "epoch=0.ckpt")
    assert resumed._best.score == kept["score"]
    for name, value in made.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("engine", NEURAL)
def test_a_fit_stops_when_held_out_rows_get_no_likelier(engine):
    made = model(engine, patience=1)
    settled = trainer(max_epochs=30)
    made.synthesizer.generator.score = lambda network, rows, seed: 1.0
    settled.fit(made, data())
    assert settled.current_epoch == 2


def test_a_model_goes_on_from_itself(tmp_path):
    made = model("flow")
    trainer(max_epochs=1).fit(made, data())
    before = {name: value.clone() for name, value in made.networks.state_dict().items()}
    trainer(max_epochs=1).fit(made, data())
    assert any(not torch.equal(value, before[name]) for name, value in made.networks.state_dict().items())


ODD = {
    "one row": pd.DataFrame({"a": [3], "b": ["x"]}),
    "nulls only": pd.DataFrame({"a": [None] * 30, "b": [1.5, None, 2.0] * 10}),
    "one column of nulls": pd.DataFrame({"a": [None] * 20}),
}


@pytest.mark.parametrize("engine", SMALL)
@pytest.mark.parametrize("kind", ODD)
def test_odd_tables_are_learnt(engine, kind):
    made = model(engine)
    trainer(max_epochs=1).fit(made, data(ODD[kind], rules=None))
    rows, _ = made.sample(7, seed=0)
    assert list(rows) == list(ODD[kind])
    assert (rows["a"].isna() == ODD[kind]["a"].isna().any()).all()


@pytest.mark.parametrize("engine", NEURAL)
def test_many_categories_need_no_wide_network(engine):
    frame = pd.DataFrame({"town": [f"town {number}" for number in range(3_000)] * 2, "n": range(6_000)})
    made = model(engine, levels=40)
    trainer(max_steps=3, max_epochs=-1, limit_val_batches=0).fit(made, data(frame, rules=None, cells_per_batch=400))
    assert max(max(p.shape) for p in made.networks.parameters()) <= 10 * 2 * 70
    assert set(made.sample(50)[0]["town"]) <= set(frame["town"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("circiut",), r"no engine `circiut`\. Did you mean `circuit`"),
        (("flow", "samplng"), "constrain is 'samplng'"),
        (("circuit", "training"), "the engine circuit has no training for rules to act in"),
        (("flow", "none", {"steps": 5}), r"settings\.steps: a fit goes on as long as trainer\.max_epochs"),
        (("flow", "none", {"constrain": "none"}), r"settings\.constrain: say it as"),
        (("flow", "none", {"wide": 5}), r"the engine `flow` has no setting `wide`\. Did you mean `width`\?"),
        (
            ("flow", "none", {"width": "many"}),
            "the setting `width` of the engine `flow` is 'many'; expected a whole number",
        ),
        (("circuit", "none", {"members": True}), "the setting `members` .* is True; expected a whole number such as 4"),
        (("tvae", "none", {"lr": "1e-3x"}), "the setting `lr` .* expected a number such as 0.001"),
    ],
)
def test_a_setting_that_cannot_be_is_named(arguments, said):
    with pytest.raises(ConfigError, match=said):
        CDGM(*arguments)


def test_mistakes_are_one_sentence(fitted, tmp_path):
    engine, made, folder = fitted
    saved = folder / "checkpoints" / "last.ckpt"
    for act in (lambda: model(engine).sample(3), lambda: model(engine).save_synthesizer(tmp_path)):
        with pytest.raises(ConfigError, match="has learnt no table yet"):
            act()
    with pytest.raises(ConfigError, match="has learnt no table yet"):
        trainer().validate(model(engine), data())
    other = orders().rename(columns={"seats": "chairs"})
    with pytest.raises(DataError, match="no column `seats`"):
        trainer().fit(model(engine), data(other), ckpt_path=saved)
    with pytest.raises(DataError, match="no column `seats`"):
        trainer().test(made, data(other))
    strange = "copula" if engine == "circuit" else "circuit"
    with pytest.raises(ModelFileError, match=f"holds the engine {engine}, expected {strange}"):
        trainer().fit(model(strange), data(), ckpt_path=saved)


@pytest.mark.parametrize(
    ("engine", "kwargs", "said"),
    [
        ("circuit", {}, "circuit is learnt by one process; set trainer.devices to 1"),
        ("ctgan", {}, "take turns, .*; set trainer.strategy to ddp_find_unused_parameters_true"),
        ("ctgan", {"find_unused_parameters": True}, None),
        ("flow", {}, None),
    ],
)
def test_several_processes_learn_what_they_can(engine, kwargs, said):
    made = model(engine)
    made._trainer = SimpleNamespace(strategy=SimpleNamespace(_ddp_kwargs=kwargs))
    with pytest.raises(ConfigError, match=said) if said else contextlib.nullcontext():
        made._require_ranks()


def test_rules_must_be_there_if_they_are_to_act():
    with pytest.raises(ConfigError, match='constrain is "sampling", but there are no rules'):
        trainer().fit(model("flow", "sampling"), data(rules=None))


def test_only_tables_are_learnt():
    from lightning.pytorch.demos.boring_classes import BoringDataModule

    with pytest.raises(ConfigError, match=r"set data\.class_path to graftable\.pipelines\.TableDataModule"):
        trainer().fit(model("copula"), BoringDataModule())


def test_the_config_that_was_written_beside_a_checkpoint_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "cdgm_copula_debug", "--trainer.enable_progress_bar", "false"]) == 0
    run = tmp_path / "runs" / "cdgm_copula_debug" / "version_0"
    assert "graftable synthesize --model runs/cdgm_copula_debug/version_0/synthesizer" in capsys.readouterr().out
    assert json.loads((run / "synthesizer" / "config.json").read_text())["engine"] == "copula"
    again = ["--config", str(run / "config.yaml"), "--ckpt_path", str(run / "checkpoints" / "last.ckpt")]
    assert main(["predict", *again]) == 0
    assert "wrote 248 row records" in capsys.readouterr().out
