"""The laws that every model keeps, checked on its debug config; a new ``configs/*_debug.yaml`` is a new entry.

A model may declare ``closed_form = True`` (it is solved in its first batch, not descended: its fit ends there, and its
parameters need no gradient) and ``record_kind`` (what its predictions are; graphs if it does not say).
"""

import csv
import importlib
import json
import math
import signal
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer, seed_everything
from safetensors.torch import load_file

from graftable.cli import main
from graftable.config_files import bundled_configs, command_of, read_config
from graftable.pipelines.checkpoints import AtomicCheckpointIO
from graftable.pipelines.prediction import SCHEMAS, RecordWriter
from graftable.pipelines.preemption import Preemption
from graftable.pipelines.randomness import CounterRandomness
from graftable.pipelines.records import read_records, record_to_graph

DEBUG_CONFIGS = {
    name: path
    for name, path in bundled_configs().items()
    if name.endswith("_debug") and command_of(read_config(path)) == "fit"
}
BATCHES, WINDOW, STOPPED_IN = 6, 2, 2  # the stopped run gets its signal in the first batch of a window of two


def instantiate(part):
    module, _, name = part["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**part.get("init_args", {}))


class Watch(Callback):
    """Keeps the losses of a fit and the parameters that had a gradient; can send SIGTERM in one batch."""

    def __init__(self, stop_in=None):
        self.stop_in, self.losses, self.moved = stop_in, [], set()

    def on_train_batch_start(self, trainer, *rest):
        if trainer.fit_loop.total_batch_idx == self.stop_in:
            signal.raise_signal(signal.SIGTERM)

    def on_train_batch_end(self, trainer, model, outputs, *rest):
        self.losses.append(float(outputs["loss"]))

    def on_before_optimizer_step(self, trainer, model, optimizer):
        self.moved |= {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


class Entry:
    """A debug config, and what the tests make of it, once."""

    def __init__(self, name, folder):
        self.path, self.folder = DEBUG_CONFIGS[name], folder
        self.settings = yaml.safe_load(self.path.read_text(encoding="utf-8"))
        self.watch = Watch()
        self.closed_form = getattr(instantiate(self.settings["model"]), "closed_form", False)
        self.batches, self.window, self.stopped_in = (1, 1, 0) if self.closed_form else (BATCHES, WINDOW, STOPPED_IN)
        self.data = instantiate(self.settings["data"])
        self.model = self.fit(self.watch)

    def fit(self, watch, resume=None):
        seed_everything(0)
        model = instantiate(self.settings["model"])
        self.trainer([watch]).fit(model, datamodule=self.data, ckpt_path=resume)
        return model

    def trainer(self, callbacks):
        return Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            max_steps=self.batches // self.window,
            accumulate_grad_batches=self.window,
            limit_val_batches=1,
            limit_predict_batches=1,
            use_distributed_sampler=False,
            default_root_dir=self.folder,
            callbacks=[CounterRandomness(0), Preemption(str(self.folder)), *callbacks],
            plugins=[AtomicCheckpointIO()],
        )


@pytest.fixture(scope="module", params=sorted(DEBUG_CONFIGS))
def entry(request, tmp_path_factory):
    return Entry(request.param, tmp_path_factory.mktemp(request.param))


def assert_same_weights(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_there_is_a_debug_config_for_every_model():
    from graftable import models

    configured = {yaml.safe_load(path.read_text())["model"]["class_path"] for path in DEBUG_CONFIGS.values()}
    assert configured == {f"graftable.models.{name}" for name in models.__all__}


class TestModel:
    def test_the_loss_is_finite(self, entry):
        assert len(entry.watch.losses) == entry.batches
        assert all(map(math.isfinite, entry.watch.losses))

    def test_every_trainable_parameter_receives_a_gradient(self, entry):
        if entry.closed_form:
            pytest.skip("solved in closed form")
        trainable = {name for name, parameter in entry.model.named_parameters() if parameter.requires_grad}
        still = trainable - entry.watch.moved
        # a norm over the batch takes out the bias before it: its gradient is 0, not what rounding leaves of that
        assert {name for name in still if not name.endswith("nn.0.bias")} == set()

    def test_a_run_killed_inside_accumulation_resumes_to_the_same_bits(self, entry):
        with pytest.raises(SystemExit) as stop:
            entry.fit(Watch(stop_in=entry.stopped_in))
        assert stop.value.code == 143
        rest = Watch()
        resumed = entry.fit(rest, resume=entry.folder / "preempted.ckpt")
        assert rest.losses == entry.watch.losses[entry.stopped_in + entry.window :]
        assert_same_weights(resumed.state_dict(), entry.model.state_dict())

    def test_a_saved_model_is_loaded_with_the_same_bits_and_the_same_config(self, entry, tmp_path):
        entry.model.save_pretrained(tmp_path / "first")
        loaded = type(entry.model).from_pretrained(str(tmp_path / "first"))
        assert_same_weights(loaded.state_dict(), entry.model.state_dict())
        loaded.save_pretrained(tmp_path / "second")
        configs = [json.loads((tmp_path / folder / "config.json").read_text()) for folder in ("first", "second")]
        assert configs[0] == configs[1]
        given = entry.settings["model"].get("init_args", {})
        assert {key: configs[0][key] for key in given if key != "pretrained"} == {
            key: value for key, value in given.items() if key != "pretrained"
        }
        weights = [load_file(tmp_path / folder / "model.safetensors") for folder in ("first", "second")]
        assert_same_weights(*weights)

    def test_predictions_are_records_and_repeat(self, entry, tmp_path):
        kind = getattr(entry.model, "record_kind", "graph")
        found = []
        for name in ("first.parquet", "second.parquet"):
            trainer = entry.trainer([RecordWriter(str(tmp_path / name))])
            trainer.predict(entry.model, datamodule=entry.data, return_predictions=False)
            found.append(read_records(tmp_path / name, SCHEMAS[kind]))
        assert len(found[0]) > 0
        assert repr(found[0]) == repr(found[1])
        if kind == "graph":
            assert all(record_to_graph(record).validate() for record in found[0])


class TestCommand:
    @pytest.fixture(autouse=True)
    def in_an_empty_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_the_debug_config_fits_through_the_command(self, entry, tmp_path):
        short = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu"]
        assert main(["fit", "--config", str(entry.path), *short, "--trainer.enable_progress_bar", "false"]) == 0
        folder = tmp_path / "runs" / entry.path.stem / "version_0"
        assert (folder / "checkpoints" / "last.ckpt").is_file()
        with open(folder / "metrics.csv", encoding="utf-8") as file:
            logged = [float(value) for row in csv.DictReader(file) for value in row.values() if value]
        assert logged
        assert all(map(math.isfinite, logged))

    @pytest.mark.parametrize(
        "wrong",
        [
            ["--model.init_args.no_such_setting", "1"],
            ["--trainer.max_steps", "many"],
            ["--ckpt_path", "no.ckpt"],
            ["--data.init_args.seed", "-1"],
            ["--seed_everything", "-1"],
        ],
        ids=["unknown key", "bad value", "no checkpoint", "what a constructor refuses", "bad seed"],
    )
    def test_a_mistake_is_one_sentence_and_exit_2(self, entry, wrong, capsys):
        assert main(["fit", "--config", str(entry.path), *wrong]) == 2
        said = capsys.readouterr().err
        (sentence,) = [line for line in said.splitlines() if line.startswith("graftable: ")]
        assert said.strip().endswith(sentence)
        assert "Union" not in said
        assert "Namespace(" not in said
        assert "Traceback" not in said
        assert wrong[0].rpartition(".")[2].strip("-") in sentence or wrong[1] in sentence
        assert not [path for path in Path().rglob("*") if path.is_file() and path.suffix == ".ckpt"]
