"""Engines with networks, and what a step of their learning is.

`NeuralEngine.fit` takes the steps one after the other; `graftable.models.CDGM` takes the same in Lightning's loop.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Self

import pandas as pd
import torch
from torch import Tensor, nn

from graftable.errors import ConfigError

from ..compiler import Compiled
from ..schema import Schema
from .interface import Generator, Progress
from .neural import Average, Best, holdout, seeded

__all__ = ["NeuralEngine", "Rows", "taken"]

Rows = tuple[Tensor, Tensor]
"""Rows of a table as an engine sees them: numbers ``(rows, N)`` and codes ``(rows, M)``."""


def taken(rows: Rows, places: Tensor) -> Rows:
    """Some of the rows, by their places."""
    return rows[0][places], rows[1][places]


class NeuralEngine(Generator):
    """An engine whose networks learn in steps.

    Every draw comes from torch's global generator, which the caller seeds; in `fit` it is a function of the seed and
    the step alone. What rows are drawn from is an average of the weights over steps, that of the best score.

    Attributes:
        turns: The losses that take turns, each with an optimiser step of its own, by name.
        drawing: The attribute that holds the network which rows are drawn from.
        measure: What `score` is, in words.
        held_rows: The most rows that `fit` holds out.
        clip: To which norm gradients are cut; None for as they are.
        step_seed: The key of the draws of a step in `fit`.
        ruled: The settings that say how long `fit` goes on, and with how many rows a step.
    """

    turns: ClassVar[tuple[str, ...]] = ("loss",)
    drawing: ClassVar[str] = "network"
    measure: ClassVar[str] = "loss"
    held_rows: ClassVar[int] = 5_000
    clip: ClassVar[float | None] = None
    step_seed: ClassVar[int] = 2
    ruled: ClassVar[tuple[str, ...]] = ("epochs", "batch_size")

    constrain: str
    batch_size: int
    decay: float
    patience: int

    @abstractmethod
    def prepare(self, table: pd.DataFrame, schema: Schema, rules: Compiled | None, seed: int) -> None:
        """Learn all but the weights from a table, and make the networks; sets ``schema``.

        Raises:
            ConfigError: If rules are to act and none are given.
        """

    @abstractmethod
    def encode(self, table: pd.DataFrame, seed: int) -> Rows:
        """Rows of a table, once `prepare` was called."""

    def look_over(self, rows: Rows) -> None:
        """Take note of all the rows that are learnt, before the first step."""

    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """All that learns, by name."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """Of all networks; in a turn it passes over those without a gradient."""

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Of the learning rate over so many steps; None for a constant one."""
        return None

    @abstractmethod
    def step_loss(self, rows: Rows, turn: int) -> Tensor:
        """The loss of a turn on some rows; only the networks whose turn it is get gradients."""

    @abstractmethod
    def score(self, network: nn.Module, rows: Rows, seed: int) -> float:
        """How badly a network in the place of `drawing` does on held out rows; lower is better."""

    @abstractmethod
    def plan(self, rows: int) -> tuple[int, int]:
        """How many steps `fit` takes on so many rows, and after how many each it looks at the score."""

    @abstractmethod
    def chosen(self, step: int, rows: int, seed: int) -> Tensor:
        """The places of the rows of a step of `fit`."""

    def fit(
        self,
        table: pd.DataFrame,
        schema: Schema,
        *,
        rules: Compiled | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Learn a table; see `Generator.fit`.

        Raises:
            ConfigError: If the score was no number to the last.
        """
        self.prepare(table, schema, rules, seed)
        rows = self.encode(table, seed)
        train, held = (taken(rows, places) for places in holdout(len(table), 0.1, self.held_rows, seed))
        self.look_over(train)
        steps, every = self.plan(len(train[0]))
        optimizer = self.optimizer()
        schedule = self.schedule(optimizer, steps)
        average, best = Average(self.drawn_by, self.decay), Best(self.patience)
        for step in range(steps):
            with seeded(seed, self.step_seed, step):
                batch = taken(train, self.chosen(step, len(train[0]), seed))
                for turn in range(len(self.turns)):
                    self._turn(optimizer, batch, turn)
            if schedule is not None:
                schedule.step()
            average.update(self.drawn_by)
            if (step + 1) % every == 0 or step == steps - 1:
                score = self.score(average.module, held, seed)
                if progress is not None:
                    progress((step + 1) / steps, f"step {step + 1}: {self.measure} {score:.4f} on held out rows")
                if best.update(score, average.module):
                    break
        if not math.isfinite(best.score):
            raise ConfigError(
                f"the engine `{self.engine}` has learnt nothing, as its {self.measure} is no number; lower the "
                "learning rate."
            )
        self.drawn_by.load_state_dict(best.weights)
        self.drawn_by.eval().requires_grad_(False)
        return self

    @property
    def drawn_by(self) -> nn.Module:
        """The network that rows are drawn from."""
        network: nn.Module = getattr(self, self.drawing)
        return network

    def _turn(self, optimizer: torch.optim.Optimizer, rows: Rows, turn: int) -> None:
        optimizer.zero_grad()
        self.step_loss(rows, turn).backward()
        if self.clip is not None:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        optimizer.step()
