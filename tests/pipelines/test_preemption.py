import random
import signal
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn

from graftable.demo_training import DemoCLI, DemoPreemption
from graftable.graphs.attributes import ATTRIBUTES
from graftable.graphs.conversion import from_networkx
from graftable.pipelines.checkpoints import AtomicCheckpointIO, load_checkpoint
from graftable.pipelines.datamodules import GraphDataModule
from graftable.pipelines.preemption import Preemption, resume_command
from graftable.pipelines.randomness import CounterRandomness

EPOCHS, STEPS = {"max_epochs": 2}, {"max_steps": 5, "max_epochs": -1}


class Toy(LightningModule):
    """Dropout and three kinds of random numbers in training and validation, and a scheduler of each kind."""

    def __init__(self, scheduler=None):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.scheduler, self.seen = scheduler, []

    def loss(self, batch):
        noise = random.random() + np.random.rand() + torch.rand(())
        return (self.net(batch.attributes.tanh()) - noise).pow(2).mean()

    def training_step(self, batch):
        self.seen.append((self.current_epoch, tuple(batch.graph_id)))
        return self.loss(batch)

    def validation_step(self, batch):
        self.log("val", self.loss(batch) * torch.rand(()), batch_size=1)

    def predict_step(self, batch):
        return []

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), 0.01)
        if self.scheduler is None:
            return optimizer
        if self.scheduler == "plateau":
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        else:
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.7)
        interval = "step" if self.scheduler == "step" else "epoch"
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": interval, "monitor": "val"},
        }


class Kill(Callback):
    """Sends signals to this process, each once, in a batch: ``(hook, index of the last training batch, signal)``."""

    def __init__(self, *plan):
        self.plan = list(plan)

    def send(self, hook, trainer):
        now = (hook, trainer.fit_loop.total_batch_idx)
        due, self.plan = [s for s in self.plan if s[:2] == now], [s for s in self.plan if s[:2] != now]
        for *_, number in due:
            signal.raise_signal(number)

    def on_train_batch_start(self, trainer, *rest):
        self.send("train", trainer)

    def on_validation_batch_start(self, trainer, *rest):
        self.send("validate", trainer)

    def on_predict_batch_start(self, trainer, *rest):
        self.send("predict", trainer)


def graphs(training=8, validation=2, test=0):
    """Path graphs, each a batch of its own under a budget of one node."""
    splits = ["train"] * training + ["val"] * validation + ["test"] * test
    found = [from_networkx(nx.path_graph(2 + i)) for i in range(len(splits))]
    for i, (graph, split) in enumerate(zip(found, splits, strict=True)):
        graph.graph_id, graph.split, graph.attributes = f"path-{i}", split, dict.fromkeys(ATTRIBUTES, 0.1 * i)
    return found


def fit(folder, *, kill=(), batches=4, scheduler=None, validate=True, average=False, save=None, resume=None, **limits):
    """One run, in a fresh trainer and model; returns the model, the exit code if it was stopped, and the trainer."""
    torch.manual_seed(1)
    model = Toy(scheduler)
    data = GraphDataModule.from_graphs(graphs(batches), nodes_per_batch=1, balance=1.0)
    callbacks = [CounterRandomness(0), Preemption(str(folder)), Kill(*kill)]
    callbacks += [EMAWeightAveraging(decay=0.8)] if average else []
    callbacks += [ModelCheckpoint(folder / "kept", filename="{step}", save_top_k=-1, **save)] if save else []
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(save),
        num_sanity_val_steps=0,
        limit_val_batches=2 if validate else 0,
        default_root_dir=folder,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        **limits,
    )
    code = None
    try:
        trainer.fit(model, datamodule=data, ckpt_path=resume)
    except SystemExit as stop:
        code = stop.code
    return model, code, trainer


def assert_same_run(parts, whole):
    """The parts trained on the same batches in the same order, and ended with the same bits, as the whole."""
    assert [batch for part in parts for batch in part.seen] == whole.seen
    for name, value in whole.state_dict().items():
        assert torch.equal(parts[-1].state_dict()[name], value), name


RUNS = {
    "epochs": EPOCHS,
    "steps": STEPS,
    "accumulation": {**EPOCHS, "batches": 5, "accumulate_grad_batches": 2, "scheduler": "step"},
    "accumulation by steps": {**STEPS, "accumulate_grad_batches": 3, "validate": False},
    "no validation": {**STEPS, "validate": False, "batches": 2},
    "one batch an epoch": {**STEPS, "validate": False, "batches": 1, "scheduler": "epoch"},
    "validation within an epoch": {**EPOCHS, "batches": 3, "val_check_interval": 2, "average": True},
    "averaged weights": {**STEPS, "average": True, "accumulate_grad_batches": 2, "batches": 5},
    "plateau": {"max_epochs": 4, "scheduler": "plateau", "batches": 2},
}


@pytest.mark.parametrize("run", RUNS)
def test_a_run_stopped_at_any_batch_resumes_to_the_same_bits(tmp_path, run):
    whole, code, _ = fit(tmp_path, **RUNS[run])
    assert code is None
    for batch in range(len(whole.seen)):
        first, code, trainer = fit(tmp_path, kill=[("train", batch, signal.SIGTERM)], **RUNS[run])
        if code is None:  # the rest of the run was one optimiser step
            assert_same_run([first], whole)
            continue
        assert code == 143
        assert len(first.seen) - batch <= trainer.accumulate_grad_batches
        rest, code, _ = fit(tmp_path, resume=tmp_path / "preempted.ckpt", **RUNS[run])
        assert code is None
        assert_same_run([first, rest], whole)


@pytest.mark.parametrize("save", [{"every_n_train_steps": 1}, {"every_n_epochs": 1}], ids=["steps", "epochs"])
@pytest.mark.parametrize("run", ["accumulation", "no validation", "one batch an epoch", "validation within an epoch"])
def test_a_run_that_lost_its_power_resumes_to_the_same_bits_from_any_kept_checkpoint(tmp_path, run, save):
    whole, _, trainer = fit(tmp_path, save=save, **RUNS[run])
    for path in (tmp_path / "kept").iterdir():
        if load_checkpoint(path)["global_step"] < trainer.global_step:
            rest, _, _ = fit(tmp_path, resume=path, **RUNS[run])
            whole_rest, whole.seen = whole.seen, whole.seen[len(whole.seen) - len(rest.seen) :]
            assert_same_run([rest], whole)
            whole.seen = whole_rest


def test_a_finished_run_can_be_extended_as_if_it_had_been_longer(tmp_path):
    for more, less in (({"max_epochs": 3}, {"max_epochs": 2}), ({"max_steps": 8}, {"max_steps": 4})):
        limits = {"max_epochs": -1, "batches": 4}
        whole, _, _ = fit(tmp_path, **{**limits, **more})
        first, _, trainer = fit(tmp_path, **{**limits, **less})
        trainer.save_checkpoint(tmp_path / "finished.ckpt")
        rest, _, _ = fit(tmp_path, resume=tmp_path / "finished.ckpt", **{**limits, **more})
        assert_same_run([first, rest], whole)


def test_inside_gradient_accumulation_the_stop_waits_for_the_optimiser_step(tmp_path):
    settings = {**EPOCHS, "accumulate_grad_batches": 3}
    stopped, code, _ = fit(tmp_path, kill=[("train", 0, signal.SIGTERM)], **settings)
    assert code == 143
    assert len(stopped.seen) == 3
    assert load_checkpoint(tmp_path / "preempted.ckpt")["global_step"] == 1


@pytest.mark.parametrize("average", [False, True])
def test_a_signal_during_validation_stops_after_it(tmp_path, average):
    settings = {**EPOCHS, "val_check_interval": 2, "average": average}
    whole, _, _ = fit(tmp_path, **settings)
    first, code, _ = fit(tmp_path, kill=[("validate", 1, signal.SIGTERM)], **settings)
    assert code == 143
    assert len(first.seen) == 2
    rest, _, _ = fit(tmp_path, resume=tmp_path / "preempted.ckpt", **settings)
    assert_same_run([first, rest], whole)


def test_ctrl_c_saves_and_exits_with_130(tmp_path, capsys):
    stopped, code, _ = fit(tmp_path, kill=[("train", 2, signal.SIGINT)], **EPOCHS)
    assert code == 130
    assert len(stopped.seen) == 3
    said = capsys.readouterr().err
    assert "graftable: Ctrl-C: saving a checkpoint after this step" in said
    assert "stopped after step 3 and saved" in said
    assert f"ckpt_path={str(tmp_path / 'preempted.ckpt')!r}" in said


def test_a_stopped_demo_says_to_run_it_again(tmp_path, capsys):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        max_steps=3,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        callbacks=[DemoPreemption(str(tmp_path)), Kill(("train", 0, signal.SIGINT))],
    )
    with pytest.raises(SystemExit) as stop:
        trainer.fit(Toy(), datamodule=GraphDataModule.from_graphs(graphs(), nodes_per_batch=1))
    assert stop.value.code == 130
    assert capsys.readouterr().err.endswith("graftable: stopped after step 1; run it again.\n")
    assert DemoCLI.preemption is DemoPreemption


def test_a_second_signal_ends_at_once_without_a_checkpoint(tmp_path):
    twice = [("train", 1, signal.SIGINT), ("train", 1, signal.SIGINT)]
    stopped, code, _ = fit(tmp_path, kill=twice, **EPOCHS)
    assert code == 130
    assert len(stopped.seen) == 1
    assert not (tmp_path / "preempted.ckpt").exists()


def test_a_crash_is_not_taken_for_a_preemption(tmp_path):
    class Broken(Kill):
        def send(self, hook, trainer):
            raise RuntimeError("broken")

    trainer = Trainer(accelerator="cpu", logger=False, max_steps=1, callbacks=[Preemption(str(tmp_path)), Broken()])
    data = GraphDataModule.from_graphs(graphs(), nodes_per_batch=1)
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(Toy(), datamodule=data)
    assert not (tmp_path / "preempted.ckpt").exists()


def test_prediction_ends_at_the_first_signal(tmp_path):
    settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
    kill = Kill(("predict", -1, signal.SIGTERM))
    data = GraphDataModule.from_graphs(graphs(test=2), nodes_per_batch=1)
    with pytest.raises(SystemExit) as stop:
        Trainer(callbacks=[Preemption(), kill], default_root_dir=tmp_path, **settings).predict(Toy(), datamodule=data)
    assert stop.value.code == 143


@pytest.mark.parametrize("kill", [[], [("train", 1, signal.SIGTERM)]])
def test_the_signals_are_given_back(tmp_path, kill):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    fit(tmp_path, kill=kill, **EPOCHS)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_the_checkpoint_lies_beside_those_of_the_run(tmp_path):
    trainer = Trainer(accelerator="cpu", logger=False, callbacks=[ModelCheckpoint(tmp_path / "kept")])
    assert Preemption()._checkpoint_path(trainer) == tmp_path / "kept" / "preempted.ckpt"
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    assert Preemption()._checkpoint_path(trainer) == tmp_path / "checkpoints" / "preempted.ckpt"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["graftable", "fit", "--config", "a.yaml"], "graftable fit --config a.yaml --ckpt_path x.ckpt"),
        (["/bin/lightning", "fit", "-c", "a.yaml"], "lightning fit -c a.yaml --ckpt_path x.ckpt"),
        (["/x/__main__.py", "fit", "--ckpt_path", "old", "-c", "a"], "graftable fit -c a --ckpt_path x.ckpt"),
        (["graftable", "fit", "--ckpt_path=old", "-c", "a b"], "graftable fit -c 'a b' --ckpt_path x.ckpt"),
        (["train.py", "--fast"], "trainer.fit(..., ckpt_path='x.ckpt')"),
    ],
)
def test_the_resume_command_repeats_what_was_typed(arguments, expected):
    assert resume_command(Path("x.ckpt"), arguments) == expected
