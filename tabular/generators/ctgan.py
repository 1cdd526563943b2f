r"""A conditional generative adversarial network for tables, with rules nowhere, inside its training, or on its samples.

Two networks play against each other. The generator turns noise and a *condition*, one level of one column, into a row
of `RowLayout`; the critic looks at ten rows at a time, so that it sees when they are all alike, and says how real they
are:

.. math:: L_C = C(\hat r \oplus c) - C(r \oplus c) + \lambda (\|\nabla C\|_2 - 1)^2, \qquad
          L_G = -C(\hat r \oplus c) + H(c, \hat d_c).

Conditions are drawn with the logarithm of their frequency, and the real rows that the critic sees meet them, so that
rare levels are learnt too. Three things differ from the paper: modes may be single values, null and special codes (see
`mode_normalization`); choices are hard with the gradient of soft ones, so that rules are imposed on rows that could be
drawn; and the weights that are kept are an average over steps, at the epoch whose marginals are nearest to a holdout's.

With ``constrain="training"`` a row is corrected in data space before the critic sees it (C-DGM); with ``"sampling"``
only the rows that are drawn are (P-DGM).

References:
    Xu et al., "Modeling Tabular Data using Conditional GAN", 2019.
    Lin et al., "PacGAN: The power of two samples in generative adversarial networks", 2018.
    Gulrajani et al., "Improved Training of Wasserstein GANs", 2017, equation 3.
    Stoian et al., "How Realistic Is Your Synthetic Data? Constraining Deep Generative Models for Tabular Data", 2024.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from .conditional_vector import ConditionalVector
from .interface import Arrays, within
from .neural import linear, seeded, to_arrays, to_module, valid_constrain
from .neural_engine import Rows
from .row_engine import RowEngine, marginal_distance

__all__ = ["CTGANGenerator", "Critic", "RowGenerator", "gradient_penalty"]


class RowGenerator(nn.Module):
    r"""Noise and condition to a row: layers whose inputs are passed on beside their outputs.

    .. math:: h_{l+1} = h_l \oplus \mathrm{ReLU}(\mathrm{BN}(W_l h_l))

    Shapes:
        ``(rows, noise + conditions)`` to raw values and logits ``(rows, layout.width)``.
    """

    def __init__(self, inputs: int, hidden: list[int], outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for size in hidden:
            self.layers.append(nn.Sequential(nn.Linear(inputs, size), nn.BatchNorm1d(size), nn.ReLU()))
            inputs += size
        self.head = linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Raw values and logits."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        raw: Tensor = self.head(x)
        return raw


class Critic(nn.Module):
    """How real some rows are, ``pac`` of them at a time: ``(rows, width)`` to ``(rows / pac, 1)``."""

    def __init__(self, width: int, hidden: list[int], pac: int) -> None:
        super().__init__()
        self.pac = pac
        layers: list[nn.Module] = []
        for before, after in pairwise([width * pac, *hidden]):
            layers += [linear(before, after), nn.LeakyReLU(0.2), nn.Dropout(0.5)]
        # only differences of scores count, in which a bias would cancel
        self.layers = nn.Sequential(*layers, nn.Linear([width * pac, *hidden][-1], 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """The higher, the more real."""
        score: Tensor = self.layers(x.reshape(len(x) // self.pac, -1))
        return score


def gradient_penalty(critic: Critic, real: Tensor, fake: Tensor) -> Tensor:
    r"""How far the slope of a critic is from 1 on the way from real rows to drawn ones.

    .. math:: \mathbb{E}\, (\| \nabla_x C(x) \|_2 - 1)^2, \qquad x = u r + (1 - u) \hat r, \quad u \sim U(0, 1)

    with one :math:`u` for all rows that the critic sees at a time.
    """
    mix = torch.rand(len(real) // critic.pac, 1, 1)
    shape = (len(mix), critic.pac, -1)
    x = (mix * real.reshape(shape) + (1 - mix) * fake.reshape(shape)).flatten(0, 1).requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.reshape(len(mix), -1).square().sum(1).sqrt() - 1).square().mean()


class CTGANGenerator(RowEngine):
    """Conditional GAN for tables.

    Args:
        constrain: Where the rules given to `fit` act: ``none``, ``training`` (and on the rows that are drawn), or
            ``sampling`` (only there).
        epochs: The most passes over the table.
        batch_size: Rows a step, a multiple of ``pac``.
        pac: Rows that the critic sees at a time. With ten, as published, it takes hundreds of epochs until pairs of
            columns are learnt; in a short run, 1 with learning rates of .001 learns more.
        noise: Length of the noise.
        generator_width: Width of the generator's two layers.
        critic_width: Width of the critic's two layers.
        generator_lr: Learning rate of the generator.
        critic_lr: Learning rate of the critic.
        weight_decay: Of the generator.
        penalty: Weight of the gradient penalty.
        temperature: Of the choices; lower is harder.
        leak: The share of a gradient that passes entries which rules moved; with less than all of it, what rules bring
            to a fixed value (an integer, say, that belongs to a text) is hardly learnt.
        decay: Of the averaged weights of the generator.
        modes: The most Gaussians of a column.
        levels: The most levels of a column of texts; rare texts share levels.
        patience: How many times the marginals, looked at every fifth epoch, may get no better before training stops; 0
            for never.

    References:
        Xu et al., "Modeling Tabular Data using Conditional GAN", 2019, section 4 and its supplement.
    """

    engine: ClassVar[str] = "ctgan"
    turns: ClassVar[tuple[str, ...]] = ("critic_loss", "generator_loss")
    drawing: ClassVar[str] = "generator"
    measure: ClassVar[str] = "marginal_distance"

    def __init__(
        self,
        *,
        constrain: str = "none",
        epochs: int = 100,
        batch_size: int = 500,
        pac: int = 10,
        noise: int = 128,
        generator_width: int = 256,
        critic_width: int = 256,
        generator_lr: float = 2e-4,
        critic_lr: float = 2e-4,
        weight_decay: float = 1e-6,
        penalty: float = 10.0,
        temperature: float = 0.2,
        leak: float = 1.0,
        decay: float = 0.99,
        modes: int = 10,
        levels: int = 100,
        patience: int = 0,
    ) -> None:
        self.constrain = valid_constrain(constrain)
        within(epochs=(epochs, 1), pac=(pac, 1), batch_size=(batch_size, 2 * pac), noise=(noise, 1))
        within(generator_width=(generator_width, 1), critic_width=(critic_width, 1), modes=(modes, 1))
        within(generator_lr=(generator_lr, 0), critic_lr=(critic_lr, 0), weight_decay=(weight_decay, 0))
        within(penalty=(penalty, 0), temperature=(temperature, 0.01), leak=(leak, 0, 1), decay=(decay, 0, 1))
        within(patience=(patience, 0))
        self.epochs, self.batch_size, self.pac, self.noise = epochs, batch_size // pac * pac, pac, noise
        self.generator_width, self.critic_width = generator_width, critic_width
        self.generator_lr, self.critic_lr, self.weight_decay = generator_lr, critic_lr, weight_decay
        self.penalty, self.temperature, self.leak, self.decay = penalty, temperature, leak, decay
        self.modes, self.levels, self.patience = modes, levels, patience

    def build(self) -> None:
        """Make the networks for the layout; weights are drawn from torch's global generator."""
        self.conditions = ConditionalVector(self.layout, torch.zeros(0))
        width, inputs = self.layout.width, self.noise + self.conditions.width
        self.generator = RowGenerator(inputs, [self.generator_width] * 2, width)
        self.critic = Critic(width + self.conditions.width, [self.critic_width] * 2, self.pac)

    def look_over(self, rows: Rows) -> None:
        """Remember which rows have which level: a step draws its rows among all, by their conditions."""
        self.rows, self.conditions = rows, ConditionalVector.fit(self.layout, rows[1])

    def networks(self) -> dict[str, nn.Module]:
        """The two."""
        return {"critic": self.critic, "generator": self.generator}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, with settings of each network."""
        own: dict[str, Any] = {"params": self.generator.parameters(), "weight_decay": self.weight_decay}
        groups = [{"params": self.critic.parameters(), "lr": self.critic_lr}, own | {"lr": self.generator_lr}]
        return torch.optim.Adam(groups, betas=(0.5, 0.9))

    def plan(self, rows: int) -> tuple[int, int]:
        """Passes over as many rows as the table has, looked at after every fifth."""
        steps = max(rows // self.batch_size, 1)
        return self.epochs * steps, 5 * steps

    def chosen(self, step: int, rows: int, seed: int) -> Tensor:
        """Any: it only matters how many there are."""
        return torch.arange(self.batch_size) % rows

    def step_loss(self, rows: Rows, turn: int) -> Tensor:
        """That of the critic or of the generator, on as many rows as these, drawn by their conditions."""
        self.critic.train()
        self.generator.train()
        size = max(len(rows[0]) // self.pac, 2) * self.pac
        return self.critic_loss(*self.rows, size) if turn == 0 else self.generator_loss(size)

    @torch.no_grad()
    def score(self, network: nn.Module, rows: Rows, seed: int) -> float:
        """How far the marginals of drawn rows are from those of real ones, in [0, 1]."""
        with seeded(seed, 3):
            drawn = self.draw_from(network, 2_000, {})
        if self.view is not None:  # what counts is what the rules leave
            count = len(self.layout.numeric)
            row, _ = self.layout.obey(self.layout.row(*drawn), self.view)
            drawn = row[:, :count], self.layout.blocks.argmax(row[:, count:])
        return marginal_distance(self.layout, rows, drawn)

    def critic_loss(self, alpha: Tensor, codes: Tensor, size: int) -> Tensor:
        """How well the critic tells ``size`` rows of the table from drawn ones, with the penalty on its slope."""
        condition, _, rows = self.conditions.draw(size)
        with torch.no_grad():
            fake, met, _ = self.fake(condition)
        order = torch.randperm(size)  # else a real row and a drawn one with the same condition go together
        real = torch.cat([self.layout.row(alpha[rows], codes[rows]), condition], 1)[order]
        fake = torch.cat([fake, met], 1)
        difference: Tensor = self.critic(fake).mean() - self.critic(real).mean()
        return difference + self.penalty * gradient_penalty(self.critic, real, fake)

    def generator_loss(self, size: int) -> Tensor:
        """How well ``size`` drawn rows pass for real ones with the critic as it is, and meet their conditions."""
        condition, targets, _ = self.conditions.draw(size)
        fake, met, raw = self.fake(condition)
        miss = self.layout.blocks.cross_entropy(raw[:, len(self.layout.numeric) :], targets).sum(1).mean()
        critic = {name: value.detach() for name, value in self.critic.named_parameters()}
        realness: Tensor = functional_call(self.critic, critic, torch.cat([fake, met], 1)).mean()
        return miss - realness

    def fake(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Drawn rows, with the rules imposed if they are to be, their conditions, and the raw output they come from.

        Where rules moved the level that a condition asks for, the condition is that to which they moved it: a critic
        that sees the old one beside the new level learns to tell corrected rows, not unreal ones.
        """
        noise = torch.randn(len(condition), self.noise)
        raw = self.generator(torch.cat([noise, condition], 1))
        row = self.activated(raw)
        if self.view is None:
            return row, condition, raw
        obedient, _ = self.layout.obey(row, self.view)
        return obedient, self.conditions.followed(condition, row.detach(), obedient.detach()), raw

    def activated(self, raw: Tensor) -> Tensor:
        """Raw output as a row: values in [-1, 1] and hard choices."""
        count = len(self.layout.numeric)
        return torch.cat([raw[:, :count].tanh(), self.layout.blocks.gumbel(raw[:, count:], self.temperature)], 1)

    @torch.no_grad()
    def draw_rows(self, n: int, fixed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and codes of ``n`` rows; a column in ``fixed`` is the condition, if there is one."""
        return self.draw_from(self.generator, n, fixed)

    def draw_from(self, generator: nn.Module, n: int, fixed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and codes of ``n`` rows; ``fixed`` holds the levels that columns may have."""
        generator.eval()
        alphas, codes = [torch.zeros(0, len(self.layout.numeric))], [torch.zeros(0, len(self.layout.blocks)).long()]
        count = len(self.layout.numeric)
        for start in range(0, n, 10_000):
            size = min(10_000, n - start)
            condition = self.conditions.draw_as_seen(size, fixed)
            raw = generator(torch.cat([torch.randn(size, self.noise), condition], 1))
            alphas.append(raw[:, :count].tanh())
            codes.append(self.layout.blocks.argmax(self.layout.blocks.gumbel(raw[:, count:], self.temperature)))
        return torch.cat(alphas), torch.cat(codes)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that was learnt."""
        arrays, extra = self.shared_state()
        arrays |= to_arrays(self.generator, "generator.") | {"conditions": self.conditions.counts.numpy()}
        return arrays, extra

    def restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.shared_restore(arrays, extra)
        with seeded(0):
            self.build()
        self.conditions = ConditionalVector(self.layout, torch.from_numpy(np.array(arrays["conditions"])))
        to_module(self.generator, arrays, "generator.")
