"""The training run inside ``graftable demo``: what ``graftable fit`` does, under a bar that fits one line."""

import contextlib
import csv
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from graftable.config_files import prepare
from graftable.pipelines.preemption import Preemption
from graftable.report_charts import Curve
from graftable.training import TrainingCLI, quieten_lightning, register_classes, restrict_imports

__all__ = ["read_curve", "train_small_model"]

SMOOTHED = 0.95
"""How much of the loss that the bar shows is kept from one step to the next."""


class TrainingBar(pl.Callback):
    """Steps, loss and time on one line."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("    "),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[loss]}"),
        )
        self.task = self.bar.add_task("training", total=None, loss="")
        self.loss: float | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        self.bar.update(self.task, total=int(trainer.estimated_stepping_batches))
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Move it on."""
        loss = float(trainer.callback_metrics["train/token_loss"])
        self.loss = loss if self.loss is None else SMOOTHED * self.loss + (1 - SMOOTHED) * loss
        self.bar.update(self.task, completed=trainer.global_step, loss=f"loss {self.loss:.2f}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the terminal in order, whatever ended the run."""
        self.bar.stop()


class DemoPreemption(Preemption):
    """Stops a demo, which is short: it begins anew."""

    def last_words(self, trainer: pl.Trainer, checkpoint: Path) -> str:
        """Give no command that resumes: a demo is more than its training."""
        return f"stopped after step {trainer.global_step}; run it again."


class DemoCLI(TrainingCLI):
    """``graftable fit`` with another bar, and without its last words: the demo has its own."""

    preemption = DemoPreemption

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Add the bar."""
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[pl.Callback] = vars(trainer)["callbacks"]
        callbacks.append(TrainingBar())
        return trainer

    def after_fit(self) -> None:
        """Say nothing."""


def train_small_model(out: Path, seed: int, config: str, overrides: Sequence[str]) -> TrainingCLI:
    """Fit the small model as ``graftable fit`` does, with its log and checkpoints in ``out/training``.

    Args:
        out: The folder of the demo.
        seed: Of weights, splits and order.
        config: Name of a bundled config.
        overrides: Options on top of it.

    Returns:
        What holds ``model``, ``datamodule`` and ``trainer``, after the fit.
    """
    request = prepare(
        [
            "fit",
            f"--config={config}",
            f"--seed_everything={seed}",
            f"--data.init_args.seed={seed}",
            f"--trainer.logger.init_args.save_dir={out}",
            "--trainer.logger.init_args.name=training",
            "--trainer.logger.init_args.version=",
            "--trainer.enable_progress_bar=false",
            *overrides,
        ]
    )
    restrict_imports(request.extra_roots)
    quieten_lightning()
    register_classes()
    with _few_words():
        return DemoCLI(request)


@contextlib.contextmanager
def _few_words() -> Iterator[None]:
    """Leave the screen to the bar: what hardware there is not is no news here, and a demo replaces the one before."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*exists and is not empty")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_curve(training: TrainingCLI) -> Curve:
    """The losses that the trainer logged."""
    steps, losses, validation_steps, validation_losses = [], [], [], []
    with open(Path(training.trainer.log_dir or ".") / "metrics.csv", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row.get("train/token_loss"):
                steps.append(int(row["step"]) + 1)
                losses.append(float(row["train/token_loss"]))
            if row.get("val/token_loss"):
                validation_steps.append(int(row["step"]) + 1)
                validation_losses.append(float(row["val/token_loss"]))
    weights = sum(parameter.numel() for parameter in training.model.parameters())
    data = training.datamodule
    limit = f" of up to {data.max_nodes:,} nodes" if data.max_nodes else ""
    words = (
        f"While you waited, a model with {weights:,} weights read {steps[-1]:,} batches of"
        f" {len(data.graphs['train']):,} training graphs{limit}. It learns how trails through graphs go on; it is too"
        " small, and was trained too briefly, to draw well. The graphs above come from the shipped model, whose"
        " config is lggm and whose training took hours."
    )
    return Curve(words, steps, losses, validation_steps, validation_losses)
