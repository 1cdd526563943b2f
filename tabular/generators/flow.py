r"""A flow for tables: numbers are carried from noise to data, categories are uncovered one after the other.

Numbers are normal scores and move along :math:`x_t = (1 - t) x_0 + t x_1` with the velocity that a network expects of
them; everything discrete is a token that is masked with probability :math:`1 - t`. One small network sees both:

.. math:: L = \sum_i (v_i(x_t, c_t, t) - (x_1 - x_0)_i)^2 + \sum_{j\ \mathrm{masked}} H(c_j, \ell_j(x_t, c_t, t)).

Rows are drawn in some tens of steps, in each of which the scores move and some tokens are uncovered. Columns may be
known from the start, which is how conditions and gaps are met; training shows the network such columns too.

With ``constrain="sampling"``, rules act on the denoised estimate :math:`\hat x_1 = x_t + (1 - t) v` in the last third
of the steps, so that rows are led to where the rules hold and not only clamped in the end (P-DGM). With ``"training"``
they also act on the estimate inside the loss, late in time, through the differentiable way to data space (C-DGM).

References:
    Lipman et al., "Flow Matching for Generative Modeling", 2023, equation 23 with the straight path.
    Sahoo et al., "Simple and Effective Masked Diffusion Language Models", 2024.
    Shi et al., "TabDiff: a Mixed-type Diffusion Model for Tabular Data Generation", 2025 (one network for both).
    Stoian et al., "How Realistic Is Your Synthetic Data? Constraining Deep Generative Models for Tabular Data", 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graftable.errors import ConfigError

from ..compiler import Compiled
from ..schema import Schema
from .cells import check_table
from .encoding import TableEncoder
from .flow_network import FlowNetwork, noisy_scores, noisy_tokens
from .interface import Arrays, Conditions, within
from .mixed_layout import MixedLayout
from .neural import seeded, to_arrays, to_module, valid_constrain
from .neural_engine import NeuralEngine, Rows
from .requests import draw_asked, may_be, meets
from .rule_guidance import RuleGuidance, rules_from_text, rules_to_text
from .rule_view import RuleView, obey_frame

__all__ = ["FlowGenerator"]

LATE = 2 / 3  # the time from which on rules act on the denoised estimate
LAST = 0.995  # the latest time that training sees
SHOWN = 0.25  # the share of training rows in which some columns are known
PIECE, EVALUATIONS, REDRAWS = 5_000, 20, 4
HINT = 1e-3  # the mass that a drawn text leaves to the others, so that a forbidden one has a successor


@dataclass
class _Known:
    """Rows of which some columns are known; with ``no_null``, the others are not null."""

    scores: Tensor
    tokens: Tensor
    is_score: Tensor
    is_token: Tensor
    no_null: bool = False


class FlowGenerator(NeuralEngine):
    """Flow matching for numbers and masked diffusion for categories, in one network.

    Args:
        constrain: Where the rules given to `fit` act: ``none``, ``training`` (and while rows are drawn), or
            ``sampling`` (only there).
        steps: The most steps of training.
        batch_size: Rows a step.
        width: Width of the network.
        depth: Its residual steps.
        lr: The highest learning rate; it falls along a cosine.
        decay: Of the averaged weights.
        sampling_steps: Steps in which rows are drawn.
        leak: The share of a gradient that passes entries which rules moved.
        levels: The most levels of a column of texts; rare texts share levels.
        intervals: About how many intervals the scores of a column rest on.
        patience: How many times held out rows, looked at twenty times in all, may get no more likely before training
            stops; 0 for never.

    References:
        Lipman et al., "Flow Matching for Generative Modeling", 2023.
    """

    engine: ClassVar[str] = "flow"
    held_rows: ClassVar[int] = 2_000
    clip: ClassVar[float | None] = 1.0
    ruled: ClassVar[tuple[str, ...]] = ("steps", "batch_size")

    def __init__(
        self,
        *,
        constrain: str = "none",
        steps: int = 4_000,
        batch_size: int = 512,
        width: int = 256,
        depth: int = 4,
        lr: float = 2e-3,
        decay: float = 0.999,
        sampling_steps: int = 40,
        leak: float = 0.1,
        levels: int = 100,
        intervals: int = 256,
        patience: int = 10,
    ) -> None:
        self.constrain = valid_constrain(constrain)
        within(steps=(steps, 1), batch_size=(batch_size, 1), sampling_steps=(sampling_steps, 1))
        within(width=(width, 1), depth=(depth, 0), lr=(lr, 0), patience=(patience, 0))
        within(leak=(leak, 0, 1), decay=(decay, 0, 1))
        self.steps, self.batch_size, self.width, self.depth = steps, batch_size, width, depth
        self.lr, self.decay, self.sampling_steps, self.leak = lr, decay, sampling_steps, leak
        self.levels, self.intervals, self.patience = levels, intervals, patience

    def _take(self, encoder: TableEncoder, schema: Schema, rules: str) -> None:
        self.schema, self.layout, self.rules = schema, MixedLayout(encoder), rules
        found = rules_from_text(rules, schema) if self.constrain != "none" else None
        if found is None and self.constrain != "none":
            raise ConfigError(
                f'constrain is "{self.constrain}", but there are no rules; give some, or set it to "none".'
            )
        self.guidance = None if found is None else RuleGuidance(found, schema, leak=self.leak)
        self.view = None if self.guidance is None else RuleView(self.guidance, encoder)
        self.network = FlowNetwork(len(self.layout.scored), self.layout.blocks, self.width, self.depth)

    def prepare(self, table: pd.DataFrame, schema: Schema, rules: Compiled | None, seed: int) -> None:
        """Learn the codecs, take in the rules, and make the network."""
        encoder = TableEncoder.fit(check_table(table, schema), schema, intervals=self.intervals, levels=self.levels)
        with seeded(seed, 0):
            self._take(encoder, schema, rules_to_text(rules.rules) if rules is not None else "")

    def encode(self, table: pd.DataFrame, seed: int) -> Rows:
        """Scores and tokens."""
        return self.layout.encode(table, np.random.default_rng(seed))

    def networks(self) -> dict[str, nn.Module]:
        """The one network."""
        return {"network": self.network}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.network.parameters(), self.lr, betas=(0.9, 0.99))

    def schedule(self, optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
        """A short rise, of at least one step, then a cosine."""
        steps = max(steps, 4)
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.lr, total_steps=steps, pct_start=max(0.05, 2 / steps), cycle_momentum=False
        )

    def plan(self, rows: int) -> tuple[int, int]:
        """The steps that were asked for, looked at twenty times."""
        return self.steps, max(self.steps // EVALUATIONS, 1)

    def chosen(self, step: int, rows: int, seed: int) -> Tensor:
        """Drawn with replacement."""
        return torch.randint(rows, (self.batch_size,))

    def step_loss(self, rows: Rows, turn: int) -> Tensor:
        """See `loss`."""
        return self.loss(self.network, *rows)

    def score(self, network: nn.Module, rows: Rows, seed: int) -> float:
        """The loss, with the same noise each time."""
        with seeded(seed, 3), torch.no_grad():
            return self.loss(network, *rows).item()

    def loss(self, network: nn.Module, scores: Tensor, tokens: Tensor) -> Tensor:
        """The mean of :math:`L` over some rows, divided by the number of columns."""
        time = torch.rand(len(scores), 1) * LAST
        share = torch.rand(len(scores), 1) * (torch.rand(len(scores), 1) < SHOWN)
        shown = [torch.rand(values.shape) < share for values in (scores, tokens)]
        noise = torch.randn_like(scores)
        x, c = noisy_scores(scores, noise, time, shown[0]), noisy_tokens(tokens, time, shown[1])
        velocity, logits = network(x, c, time, shown[0])
        masked = (c < 0) & (tokens >= 0)
        misses = self.layout.blocks.cross_entropy(logits, tokens.where(masked, -1))
        if self.constrain == "training":
            late = (time[:, 0] > LATE).nonzero().squeeze(1)
            velocity = velocity.index_copy(0, late, self._led(velocity[late], x[late], tokens[late], time[late]))
        error = (velocity - (scores - noise)).square().masked_fill(shown[0], 0.0)
        columns = max(scores.shape[1] + tokens.shape[1], 1)
        loss: Tensor = (error.sum(1) + misses.sum(1)).mean() / columns
        return loss

    def _led(self, velocity: Tensor, x: Tensor, tokens: Tensor, time: Tensor) -> Tensor:
        """The velocity towards the denoised estimate on which the rules are imposed, given the tokens of the row."""
        if self.view is None or not len(x):
            return velocity
        estimate = x + (1 - time) * velocity
        wanted = self.view.guidance.numeric
        seen = tokens.clamp(min=0)
        numbers = self.layout.numbers(estimate, seen, wanted)
        corrected, _ = self.view.obey(numbers, self._levels(seen, None), len(x))
        moved = []
        for place, name in enumerate(self.layout.scored):
            if name in wanted:
                old, new = numbers[name], corrected[:, wanted.index(name)]
                still = (old == new) | old.isnan() | new.isnan()
                curve = self.layout.curves[name]
                shift = curve.score(new.where(~still, 0.0)) - curve.score(old.where(~still, 0.0))
                moved.append(shift.masked_fill(still, 0.0).float())
            else:
                moved.append(torch.zeros_like(x[:, place]))
        return velocity + torch.stack(moved, 1) / (1 - time) if moved else velocity

    def _levels(self, tokens: Tensor, probabilities: Tensor | None) -> dict[str, Tensor]:
        """Texts of the rules as probabilities: what the tokens say, and a hint of what else is likely."""
        row = self.layout.blocks.one_hot(tokens)
        row = row if probabilities is None else (1 - HINT) * row + HINT * probabilities
        parts = dict(zip(self.layout.tokens, self.layout.blocks.split(row), strict=True))
        return {name: parts[name] for name in self.view.guidance.categories if name in parts} if self.view else {}

    def sample(self, n: int, *, conditions: Conditions | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw rows; the conditioned columns are drawn first, each by itself, and the others given them."""
        self.fitted_schema()
        rng = np.random.default_rng(seed)
        with seeded(seed, 4):
            if conditions is None or not conditions.columns:
                return self._finished(*self._draw(self._nothing_known(n)), rng)
            for name, allowed in conditions.columns.items():
                may_be(name, self.layout.encoder.codecs[name], allowed)
            return self._under(n, conditions, rng)

    def _under(self, n: int, conditions: Conditions, rng: np.random.Generator) -> pd.DataFrame:
        rows, waiting = pd.DataFrame(), np.arange(n)
        for _ in range(REDRAWS):
            asked = {
                name: draw_asked(self.layout.encoder.codecs[name], allowed, waiting, rng)
                for name, allowed in conditions.columns.items()
            }
            known = self._known(pd.DataFrame(asked), len(waiting), rng)
            drawn = self._finished(*self._draw(known), rng, asked)
            if len(rows):
                rows.iloc[waiting] = drawn.to_numpy(object)
            else:
                rows = drawn.astype(object)
            waiting = waiting[~meets(drawn.infer_objects(), self.schema, conditions, waiting)]
            if not len(waiting):
                break
        for name, cells in asked.items():  # rules and conditions that fight: the finisher decides
            column = rows[name].to_numpy(copy=True)
            column[waiting] = cells.to_numpy(object)[-len(waiting) :] if len(waiting) else column[waiting]
            rows[name] = column
        return self._typed(rows)

    def impute(self, table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Fill the null cells of some rows with a draw given the other cells of the row."""
        check_table(table, self.fitted_schema())
        rng = np.random.default_rng(seed)
        table = table[list(self.schema.names)]
        known = self._known(table, len(table), rng)
        known.no_null = True
        with seeded(seed, 5):
            drawn = self.layout.decode(*self._draw(known), rng)
        given = table.reset_index(drop=True)
        filled = {name: given[name].where(given[name].notna(), drawn[name]) for name in self.schema.names}
        return pd.DataFrame(filled).set_index(table.index)

    def _finished(
        self, scores: Tensor, tokens: Tensor, rng: np.random.Generator, fixed: dict[str, pd.Series] | None = None
    ) -> pd.DataFrame:
        frame = self.layout.decode(scores, tokens, rng).assign(**(fixed or {}))
        return frame if self.guidance is None else obey_frame(frame, self.guidance)

    def _typed(self, rows: pd.DataFrame) -> pd.DataFrame:
        floats = [column.name for column in self.schema if column.is_numeric and not column.is_long]
        return rows.astype(dict.fromkeys(floats, np.float64))

    def _nothing_known(self, n: int) -> _Known:
        scores = torch.zeros(n, len(self.layout.scored))
        tokens = torch.full((n, len(self.layout.tokens)), -1)
        return _Known(scores, tokens, torch.zeros_like(scores, dtype=torch.bool), tokens >= 0)

    def _known(self, table: pd.DataFrame, n: int, rng: np.random.Generator) -> _Known:
        """What some cells say: those that are not null of the columns that the table has."""
        empty = {
            name: pd.Series(np.full(n, np.nan)) if self.schema[name].is_numeric else pd.Series(np.full(n, None, object))
            for name in self.schema.names
        }
        present = {name: table[name].notna().to_numpy() for name in table}
        frame = pd.DataFrame(
            {name: table[name].reset_index(drop=True) if name in table else empty[name] for name in empty}
        )
        scores, tokens = self.layout.encode(frame, rng)
        nothing: NDArray[np.bool_] = np.zeros(n, bool)
        masks = [
            torch.from_numpy(
                np.stack([present.get(name, nothing) for name in names], 1) if names else np.zeros((n, 0), bool)
            )
            for names in (self.layout.scored, self.layout.tokens)
        ]
        return _Known(scores, tokens, masks[0], masks[1] & (tokens >= 0))

    @torch.no_grad()
    def _draw(self, known: _Known) -> tuple[Tensor, Tensor]:
        """Scores and tokens, piece by piece."""
        parts = [part.split(PIECE) for part in (known.scores, known.tokens, known.is_score, known.is_token)]
        pieces = [
            self._carried(_Known(scores, tokens, is_score, is_token, known.no_null))
            for scores, tokens, is_score, is_token in zip(*parts, strict=True)
        ]
        return torch.cat([scores for scores, _ in pieces]), torch.cat([tokens for _, tokens in pieces])

    def _carried(self, known: _Known) -> tuple[Tensor, Tensor]:
        """Rows carried from noise to data."""
        x = torch.randn_like(known.scores).where(~known.is_score, known.scores)
        c = known.tokens.masked_fill(~known.is_token, -1)
        forbidden = self.layout.nulls() if known.no_null else torch.zeros(self.layout.blocks.width, dtype=torch.bool)
        for step in range(self.sampling_steps):
            now, then = step / self.sampling_steps, (step + 1) / self.sampling_steps
            velocity, logits = self.network(x, c, torch.full((len(x), 1), now), known.is_score)
            logits = logits.masked_fill(forbidden, -1e9)
            drawn = self.layout.blocks.draw(logits).where(c < 0, c)
            estimate = x + (1 - now) * velocity
            if self.view is not None and now >= LATE:
                levels = self._levels(drawn, self.layout.blocks.softmax(logits))
                estimate, obedient = self.layout.obey(estimate, drawn, levels, self.view)
                c = torch.where((c >= 0) & ~known.is_token, obedient, c)
                drawn = obedient.where(~known.is_token, c)
            moved = x + (then - now) / (1 - now) * (estimate - x)
            x = moved.where(~known.is_score, known.scores)
            uncovered = torch.rand(c.shape) < (then - now) / (1 - now) + 1e-9
            c = drawn.where((c < 0) & uncovered, c)
        return x, drawn.where(c < 0, c)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that was learnt."""
        arrays, extra = self.layout.encoder.state()
        return arrays | to_arrays(self.network, "network."), {"encoder": extra, "rules": self.rules}

    def restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `state` gave."""
        with seeded(0):
            self._take(TableEncoder.restored(self.schema, arrays, extra["encoder"]), self.schema, extra["rules"])
        to_module(self.network, arrays, "network.")
        self.network.eval().requires_grad_(False)
