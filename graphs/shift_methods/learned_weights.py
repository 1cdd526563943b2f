"""Sample weights learnt by gradient steps beside the network: what such methods share, and StableNet.

Embeddings of the batch stand below a memory of earlier ones; gradient steps move the weights of all rows so that random
functions of different variables become uncorrelated; the batch's own weights then weigh its losses. OOD-GNN and L2R-GNN
as it was published (``literal``) do the same. They are kept to be compared with, not recommended: see ``joint`` and
``two_stage``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from graftable.errors import ConfigError

from .method import Extras, ShiftMethod
from .parts import GraphBatch, GraphNetwork, Moment, Task, mean_over

__all__ = ["RowMemory", "StableNet", "device_of", "effective_share"]


class RowMemory:
    r"""Moving averages of the rows of batches: row r averages whatever was r-th in each batch.

    .. math:: Z_k \leftarrow a_k Z_k + (1 - a_k) Z, \qquad W_k \leftarrow a_k W_k + (1 - a_k) W

    Queues differ by :math:`a_k = a^k`, k = 1, 2, ...; a shorter batch moves the first rows alone.

    Args:
        queues: How many.
        momentum: a, in [0, 1).

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024, equations 14 to 16.
    """

    def __init__(self, queues: int, momentum: float) -> None:
        if queues < 0 or not 0 <= momentum < 1:
            raise ConfigError(f"queues {queues} and momentum {momentum}: expected at least 0, and 0 to below 1.")
        self.momenta = [momentum ** (k + 1) for k in range(queues)]
        self.features: list[Tensor] = []
        self.weights: list[Tensor] = []

    def above(self, z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The remembered rows and weights on top of the batch's."""
        return torch.cat([*self.features, z]), torch.cat([*self.weights, weight])

    def update(self, z: Tensor, weight: Tensor) -> None:
        """Take in a batch."""
        if len(self.features) < len(self.momenta):
            self.features.append(z.detach().clone())
            self.weights.append(weight.detach().clone())
            return
        for k, a in enumerate(self.momenta):
            rows = min(len(self.features[k]), len(z))
            self.features[k][:rows] = a * self.features[k][:rows] + (1 - a) * z[:rows].detach()
            self.weights[k][:rows] = a * self.weights[k][:rows] + (1 - a) * weight[:rows].detach()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        # copies: the rows are moved in place
        return {name: [part.clone() for part in getattr(self, name)] for name in ("features", "weights")}

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Take it over."""
        self.features = [part.to(device) for part in state["features"]]
        self.weights = [part.to(device) for part in state["weights"]]


class StableNet(ShiftMethod):
    r"""Deep stable learning: softmax weights that decorrelate one random function of all variables.

    .. math:: \min_v \frac{1}{\lambda} \sum_{i \ne j} C_{ij}(p)^2 + \sum_n p_n^2, \qquad p = \operatorname{softmax}(v)

    by ``steps`` of SGD with momentum 0.9, a tenth of the rate in the second half. C is the weighted covariance of
    :math:`\sqrt2 (\cos + \sin)` of the variables times one frequency, drawn anew each step and rescaled to
    :math:`[0, \pi/2]` row by row.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        balance: :math:`\lambda`.
        steps: Of the weights.
        rate: Of the weights.
        momentum: Of the memory.

    References:
        Zhang et al., "Deep Stable Learning for Out-Of-Distribution Generalization", 2021, section 3.
    """

    def __init__(
        self,
        task: Task,
        width: int,
        balance: float = 70.0,
        steps: int = 20,
        rate: float = 1.0,
        momentum: float = 0.9,
    ) -> None:
        super().__init__(task, width)
        self.balance, self.steps, self.rate = balance, steps, rate
        self.memory = RowMemory(1, momentum)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The loss under weights learnt for this batch."""
        z = network.embed(graphs)
        losses, known = self.task.losses(network.head(z), graphs.y)
        rows = z.detach().float()
        stacked, _ = self.memory.above(rows, rows.new_ones(len(rows)))
        weight = self._weights(stacked)[-len(rows) :]
        weight = weight / weight.mean()
        self.memory.update(rows, weight)
        return mean_over(losses, known, weight), effective_share(weight)

    @torch.enable_grad()
    def _weights(self, z: Tensor) -> Tensor:
        raw = torch.zeros(len(z), device=z.device, requires_grad=True)
        optimizer = torch.optim.SGD([raw], lr=self.rate, momentum=0.9)
        for step in range(self.steps):
            if step == self.steps // 2:
                optimizer.param_groups[0]["lr"] = self.rate / 10
            phase = z * torch.randn((), device=z.device) + 2 * math.pi * torch.rand((), device=z.device)
            low, high = phase.aminmax(dim=1, keepdim=True)
            phase = (phase - low) / (high - low).clamp(min=1e-6) * (math.pi / 2)
            features = math.sqrt(2) * (phase.cos() + phase.sin())
            weight = raw.softmax(0)
            mean = weight @ features
            covariance = (features * weight.unsqueeze(1)).T @ features - torch.outer(mean, mean)
            off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
            optimizer.zero_grad()
            (off_diagonal / self.balance + weight.square().sum()).backward()
            optimizer.step()
        return raw.detach().softmax(0)

    def training_state(self) -> dict[str, Any]:
        """The memory."""
        return self.memory.state()

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self.memory.load(state, device_of(self))


def effective_share(weight: Tensor) -> Extras:
    """How much of the sample is left: the effective size as a share of the rows."""
    return {"ess": (weight.sum().square() / weight.square().sum().clamp(min=1e-12) / len(weight)).detach()}


def device_of(module: torch.nn.Module) -> torch.device:
    """Where its buffers live."""
    return next((tensor.device for tensor in module.buffers()), torch.device("cpu"))
