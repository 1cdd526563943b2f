"""Randomness as a function of (seed, rank, step), never of what the process did before.

A run that is killed and resumed has drawn a different number of random values than an unbroken one: loading weights,
a sanity check, a worker start. Restoring generator states repairs that only where the saved moment and the resumed
moment match exactly. Seeding anew before every batch needs no state at all.
"""

import os
import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["CounterRandomness", "seed_all"]

TRAIN, VALIDATE, TEST, PREDICT = range(4)


def seed_all(*key: int) -> None:
    """Seed Python's, NumPy's and torch's global generators from a key of non-negative integers.

    Keys that differ in any place give independent streams, and the three generators get different words.

    Args:
        key: For instance ``(seed, rank, step)``; each at least 0.

    Example:
        >>> seed_all(0, 0, 7)
        >>> first = torch.rand(2)
        >>> seed_all(0, 0, 7)
        >>> bool((torch.rand(2) == first).all())
        True
    """
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


class CounterRandomness(Callback):
    """Seeds every batch as a function of (seed, rank, stage, batches trained so far, batch).

    Dropout, augmentation and sampling in a step therefore repeat exactly after a resume, with gradient accumulation
    too, since batches are counted and not optimiser steps. Data loading happens before the batch starts and must use
    generators of its own (``GraphDataModule`` does).

    Args:
        seed: The seed of the run; ``None`` takes the one given to ``seed_everything``, or 0.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the seed of this run."""
        seed = self.seed if self.seed is not None else int(os.environ.get("PL_GLOBAL_SEED", "0"))
        self._run = (seed, trainer.global_rank)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed a training batch by the number of batches trained before it, over all epochs and resumes."""
        seed_all(*self._run, TRAIN, trainer.fit_loop.total_batch_idx)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a validation batch; validations at different moments of a training draw differently."""
        trained = trainer.fit_loop.total_batch_idx + 1
        seed_all(*self._run, VALIDATE, trained, dataloader_idx, batch_idx)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a test batch."""
        seed_all(*self._run, TEST, dataloader_idx, batch_idx)

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Seed a prediction batch."""
        seed_all(*self._run, PREDICT, dataloader_idx, batch_idx)
