r"""A variational autoencoder for tables, with rules nowhere, inside its training, or on its samples.

A row :math:`r` of `RowLayout` is encoded as a normal distribution of short codes :math:`z`, from which a row is
decoded: a normalised value :math:`\alpha_i \sim N(\bar\alpha_i, \delta_i)` with a deviation that is learnt once for
each column, and a choice :math:`c_j \sim \mathrm{softmax}(\ell_j)`. Training lowers

.. math:: L = w \, \Big(\sum_i \frac{(\alpha_i - \bar\alpha_i)^2}{2 \delta_i^2} + \log \delta_i
          + \sum_j H(c_j, \ell_j)\Big) + \mathrm{KL}(q(z | r) \,\|\, N(0, 1)).

Unlike in the paper, the weights that are kept are an average over steps, training stops when held out rows get no more
likely, modes may be single values, null and special codes, and rows are drawn from the distributions, not at their
modes.

With ``constrain="training"`` the decoded row is corrected in data space and the corrected values stand in the first sum
(C-DGM; the logits of choices stay as they are, since a choice that the rules forbid has no likelihood). With
``"sampling"`` only the rows that are drawn are corrected (P-DGM).

References:
    Xu et al., "Modeling Tabular Data using Conditional GAN", 2019, section 4.5 (TVAE).
    Stoian et al., "How Realistic Is Your Synthetic Data? Constraining Deep Generative Models for Tabular Data", 2024.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .interface import Arrays, within
from .mode_normalization import EDGE
from .neural import linear, seeded, to_arrays, to_module, valid_constrain
from .neural_engine import Rows
from .row_engine import RowEngine

__all__ = ["TVAEGenerator", "TVAENetwork", "kl_to_normal"]

DEVIATIONS = (0.01, 1.0)  # between which the deviation of a normalised value lies


class TVAENetwork(nn.Module):
    """Encoder and decoder.

    Shapes:
        Rows ``(rows, width)``, codes ``(rows, latent)``.
    """

    def __init__(self, width: int, numbers: int, hidden: int, latent: int) -> None:
        super().__init__()
        self.encoder = _mlp([width, hidden, hidden, 2 * latent])
        self.decoder = _mlp([latent, hidden, hidden, width])
        self.log_deviation = nn.Parameter(torch.full((numbers,), -2.3))

    def encode(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the codes."""
        mean, log_variance = self.encoder(row).chunk(2, 1)
        return mean, log_variance.clamp(-12, 12)

    def deviation(self) -> Tensor:
        """Of the normalised values, ``(numbers,)``."""
        return self.log_deviation.exp().clamp(*DEVIATIONS)


def _mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes[:-1]):
        layers += [linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, linear(sizes[-2], sizes[-1]))


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    r"""``(rows,)``: :math:`\frac12 \sum_d \mu_d^2 + \sigma_d^2 - 1 - \log \sigma_d^2`."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class TVAEGenerator(RowEngine):
    """Variational autoencoder for tables.

    Args:
        constrain: Where the rules given to `fit` act: ``none``, ``training`` (and on the rows that are drawn), or
            ``sampling`` (only there).
        epochs: The most passes over the table.
        batch_size: Rows a step.
        hidden: Width of the two layers of encoder and decoder.
        latent: Length of the codes.
        lr: Learning rate.
        weight_decay: Of all weights.
        reconstruction: Weight of the reconstruction, :math:`w`.
        leak: The share of a gradient that passes entries which rules moved.
        decay: Of the averaged weights.
        modes: The most Gaussians of a column.
        levels: The most levels of a column of texts; rare texts share levels.
        patience: How many times held out rows, looked at every fifth epoch, may get no more likely before training
            stops; 0 for never.

    References:
        Xu et al., "Modeling Tabular Data using Conditional GAN", 2019, section 4.5.
    """

    engine: ClassVar[str] = "tvae"
    step_seed: ClassVar[int] = 3

    def __init__(
        self,
        *,
        constrain: str = "none",
        epochs: int = 100,
        batch_size: int = 500,
        hidden: int = 128,
        latent: int = 128,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        reconstruction: float = 2.0,
        leak: float = 0.1,
        decay: float = 0.99,
        modes: int = 10,
        levels: int = 100,
        patience: int = 4,
    ) -> None:
        self.constrain = valid_constrain(constrain)
        within(epochs=(epochs, 1), batch_size=(batch_size, 1), hidden=(hidden, 1), latent=(latent, 1), modes=(modes, 1))
        within(lr=(lr, 0), weight_decay=(weight_decay, 0), reconstruction=(reconstruction, 0), patience=(patience, 0))
        within(leak=(leak, 0, 1), decay=(decay, 0, 1))
        self.epochs, self.batch_size, self.hidden, self.latent = epochs, batch_size, hidden, latent
        self.lr, self.weight_decay, self.reconstruction = lr, weight_decay, reconstruction
        self.leak, self.decay = leak, decay
        self.modes, self.levels, self.patience = modes, levels, patience

    def build(self) -> None:
        """Make the network for the layout; weights are drawn from torch's global generator."""
        self.network = TVAENetwork(self.layout.width, len(self.layout.numeric), self.hidden, self.latent)

    def networks(self) -> dict[str, nn.Module]:
        """Encoder and decoder in one."""
        return {"network": self.network}

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.network.parameters(), self.lr, weight_decay=self.weight_decay)

    def plan(self, rows: int) -> tuple[int, int]:
        """Passes over the table, looked at after every fifth."""
        steps = -(-rows // self.batch_size)
        return self.epochs * steps, 5 * steps

    def chosen(self, step: int, rows: int, seed: int) -> Tensor:
        """The next ones in the order of the pass."""
        epoch, place = divmod(step, -(-rows // self.batch_size))
        with seeded(seed, 2, epoch):
            order = torch.randperm(rows)
        return order[place * self.batch_size : (place + 1) * self.batch_size]

    def step_loss(self, rows: Rows, turn: int) -> Tensor:
        """See `loss`."""
        return self.loss(self.network, *rows)

    def score(self, network: nn.Module, rows: Rows, seed: int) -> float:
        """The loss, with the same noise each time."""
        with seeded(seed, 5), torch.no_grad():
            return self.loss(network, *rows).item()

    def loss(self, network: nn.Module, alpha: Tensor, codes: Tensor) -> Tensor:
        """The mean of :math:`L` over some rows."""
        assert isinstance(network, TVAENetwork)
        count = len(self.layout.numeric)
        mean, log_variance = network.encode(self.layout.row(alpha, codes))
        raw = network.decoder(mean + (log_variance / 2).exp() * torch.randn_like(mean))
        found, logits = raw[:, :count].tanh(), raw[:, count:]
        if self.view is not None:
            found = self.corrected(found, logits, codes)
        deviation = network.deviation()
        has_number = codes[:, :count] < torch.tensor([len(modes) for modes in self.layout.modes.values()])
        misses = (alpha - found).square() / (2 * deviation.square()) + deviation.log()
        choices_miss = self.layout.blocks.cross_entropy(logits, codes)
        total = (misses * has_number).sum(1) + choices_miss.sum(1)
        mean_loss: Tensor = (self.reconstruction * total + kl_to_normal(mean, log_variance)).mean()
        return mean_loss

    def corrected(self, found: Tensor, logits: Tensor, codes: Tensor) -> Tensor:
        """Decoded values with the rules imposed, where the corrected value lies in the mode of the real one."""
        assert self.view is not None
        count = len(self.layout.numeric)
        choices = self.layout.blocks.harden(self.layout.blocks.softmax(logits))
        row, _ = self.layout.obey(torch.cat([found, choices], 1), self.view)
        modes = self.layout.blocks.argmax(row[:, count:].detach())[:, :count]
        return torch.where(modes == codes[:, :count], row[:, :count], found)

    @torch.no_grad()
    def draw_rows(self, n: int, fixed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and codes of ``n`` rows; nothing can be fixed."""
        count = len(self.layout.numeric)
        alphas, codes = [torch.zeros(0, count)], [torch.zeros(0, len(self.layout.blocks)).long()]
        for start in range(0, n, 10_000):
            raw = self.network.decoder(torch.randn(min(10_000, n - start), self.latent))
            value = raw[:, :count].tanh()
            value = value + self.network.deviation() * torch.randn_like(value)
            alphas.append(value.clamp(-EDGE, EDGE))
            codes.append(self.layout.blocks.draw(raw[:, count:]))
        return torch.cat(alphas), torch.cat(codes)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that was learnt."""
        arrays, extra = self.shared_state()
        return arrays | to_arrays(self.network, "network."), extra

    def restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.shared_restore(arrays, extra)
        with seeded(0):
            self.build()
        to_module(self.network, arrays, "network.")
