"""Stopping a run so that it can go on later as if it had never stopped.

SIGTERM (a scheduler takes the machine back) and Ctrl-C let the current optimiser step end, save a checkpoint, print
the command that resumes, and exit with 143 or 130. Lightning by itself exits with 0 after SIGTERM and saves nothing.

The checkpoint is saved where Lightning's own bookkeeping is complete: after every hook of the batch and after a
validation that was due, at an optimiser step. Inside a window of gradient accumulation the run therefore goes on to
the end of the window: the partial gradients live on every rank and would have to be saved from every rank.
"""

import shlex
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException

__all__ = ["Preemption", "resume_command"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)
FILE_NAME = "preempted.ckpt"


class Preemption(Callback):
    """Saves on SIGTERM or Ctrl-C, prints the command that resumes, and exits with 143 or 130.

    A second signal ends the run at once, without a checkpoint. Validation, test and prediction have nothing to save
    and end at the first. A run whose last step is done ends as usual.

    Two repairs make the resumed run equal to an unbroken one, for checkpoints of ``ModelCheckpoint`` too: see
    ``on_load_checkpoint`` and ``on_train_batch_end``. What ``ModelCheckpoint`` saves is not exact in two cases that
    Lightning leaves open: at a time interval inside gradient accumulation, and at the end of an epoch that
    ``ReduceLROnPlateau`` judges.

    Args:
        folder: Where ``preempted.ckpt`` is written; by default where the run's other checkpoints are.
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder
        self._signal: signal.Signals | None = None
        self._training = self._stopping = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; Lightning gives them back when the run ends, in whichever way."""
        early = trainer.received_sigterm  # during the sanity check, when Lightning's handler was in place
        self._signal = signal.SIGTERM if early else None
        trainer._signal_connector.received_sigterm = self._stopping = False
        self._listen(training=True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep Lightning from stopping inside a validation, where averaged weights may stand in for the trained ones.

        Outside of a training run, end at the first signal.
        """
        if trainer.state.fn == "validate":
            self._listen(training=False)
        elif self._stopping:
            trainer._signal_connector.received_sigterm = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop once a validation has ended, for a signal that came before it or during it."""
        if self._training and trainer.state.fn == "fit":
            self._stop_at_step(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at the first signal."""
        self._listen(training=False)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at the first signal."""
        self._listen(training=False)

    def _listen(self, training: bool) -> None:
        self._training = training
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None or not self._training:
            raise SystemExit(128 + number)
        self._signal = signal.Signals(number)
        name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        _say(f"{name}: saving a checkpoint after this step; once more ends at once, without saving.")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after an optimiser step, once all hooks of its batch have run."""
        # Lightning believes that it is restarting until the epoch ends, and would skip ReduceLROnPlateau there
        trainer.fit_loop._restarting = False
        self._stop_at_step(trainer)

    def _stop_at_step(self, trainer: Trainer) -> None:
        """Let Lightning stop at the end of this batch if any rank has a signal and no gradients are pending."""
        if trainer.fit_loop._should_accumulate() or _is_finished(trainer):
            return
        wanted = self._signal is not None
        if trainer.world_size > 1:
            wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
        if wanted:
            self._stopping = trainer._signal_connector.received_sigterm = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save where the run stopped, and give the exception the exit code of the signal."""
        if not isinstance(exception, SIGTERMException):
            return
        exception.code = 128 + (self._signal or signal.SIGTERM)
        if not self._stopping:  # Lightning's own stop, before the training began
            return
        path = self._checkpoint_path(trainer)
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            _say(self.last_words(trainer, path))

    def last_words(self, trainer: Trainer, checkpoint: Path) -> str:
        """What is said of a run that was stopped and saved."""
        return f"stopped after step {trainer.global_step} and saved. Resume with:\n  {resume_command(checkpoint)}"

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restate an epoch that had ended as one that is at its last batch.

        With ``max_steps``, Lightning re-enters an epoch that had ended: without validation it trains on a batch too
        many, and it counts the epoch twice. It resumes exactly from a checkpoint that ``ModelCheckpoint`` saves
        within the last batch, so the counters are put there.
        """
        loops = checkpoint.get("loops", {}).get("fit_loop")
        if loops is None or trainer.state.fn != "fit":
            return
        epoch, batch = loops["epoch_progress"], loops["epoch_loop.batch_progress"]
        if epoch["current"]["ready"] == epoch["current"]["processed"] > 0 and batch["is_last_batch"]:
            for counters in (epoch["total"], epoch["current"]):
                counters["processed"] = counters["completed"] = counters["ready"] - 1
            for counters in (batch["total"], batch["current"]):
                counters["completed"] = counters["ready"] - 1

    def _checkpoint_path(self, trainer: Trainer) -> Path:
        folders = [c.dirpath for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.dirpath]
        default = folders[0] if folders else Path(trainer.default_root_dir) / "checkpoints"
        return Path(self.folder or default) / FILE_NAME


def resume_command(checkpoint: Path, arguments: list[str] | None = None) -> str:
    """The command that goes on from a checkpoint: the one that started this process, with ``--ckpt_path`` set.

    Args:
        checkpoint: The file to resume from.
        arguments: The command line, by default this process's own.

    Example:
        >>> resume_command(Path("a.ckpt"), ["/usr/bin/graftable", "fit", "--config", "my run.yaml", "--ckpt_path=old"])
        "graftable fit --config 'my run.yaml' --ckpt_path a.ckpt"
    """
    program, *rest = sys.argv if arguments is None else arguments
    if rest[:1] != ["fit"]:  # a script of the user's own
        return f"trainer.fit(..., ckpt_path={str(checkpoint)!r})"
    kept, skip = [], False
    for argument in rest:
        if not skip and not argument.startswith("--ckpt_path="):
            skip = argument == "--ckpt_path"
            kept += [] if skip else [argument]
        else:
            skip = False
    name = "lightning" if Path(program).name == "lightning" else "graftable"
    return shlex.join([name, *kept, "--ckpt_path", str(checkpoint)])


def _is_finished(trainer: Trainer) -> bool:
    """Whether the batch that has just ended was the last of the run."""
    steps_done = trainer.max_steps >= 0 and trainer.global_step >= trainer.max_steps
    return steps_done or (trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs)


def _say(message: str) -> None:
    print(f"graftable: {message}", file=sys.stderr, flush=True)
