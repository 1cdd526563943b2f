"""Sample weights learnt by gradient steps beside the network: StableNet, OOD-GNN, and L2R-GNN as it was published.

The three share a plan. Embeddings of the batch stand below a memory of earlier ones; gradient steps move the weights
of all rows so that random functions of different variables become uncorrelated; the batch's own weights then weigh its
losses. They are kept here to be compared with, not recommended: see ``joint`` and ``two_stage``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from graftable.errors import ConfigError

from .method import Extras, ShiftMethod
from .parts import GraphBatch, GraphNetwork, Moment, Task, mean_over

__all__ = ["OODGNN", "L2RLiteral", "RowMemory", "StableNet", "partial_dependence", "variable_clusters"]


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


def partial_dependence(features: Tensor, weight: Tensor, clusters: Tensor | None = None) -> Tensor:
    r"""How dependent variables are, over pairs of different clusters, by the published measure.

    .. math:: \sum_{i < j,\, c_i \ne c_j} \lVert \Sigma_{ij} \rVert_F^2, \qquad
        \Sigma_{ij} = \frac{1}{N - 1} \sum_n (w_n u_{ni} - \overline{w u_i})^\top (w_n u_{nj} - \overline{w u_j})

    The weight multiplies the features, so that products carry its square.

    Args:
        features: Random functions of each variable.
        weight: One per row.
        clusters: Cluster of each variable; absent, every pair counts.

    Shapes:
        features: (rows, variables, functions); weight: (rows,); clusters: (variables,).

    References:
        Chen et al., 2024, equations 1, 5 and 7, with equation 5 read as the text has it: 1 across clusters.
    """
    rows, variables, functions = features.shape
    weighted = features * weight.view(-1, 1, 1)
    centred = (weighted - weighted.mean(0)).flatten(1)
    covariance = centred.T @ centred / max(rows - 1, 1)
    labels = torch.arange(variables, device=features.device) if clusters is None else clusters
    labels = labels.repeat_interleave(functions)
    return (covariance.square() * (labels.unsqueeze(0) != labels.unsqueeze(1))).sum() / 2


def variable_clusters(correlations: list[Tensor], count: int) -> Tensor:
    r"""Cluster variables by how their correlations vary over batches.

    .. math:: \operatorname{Dis}(i, j) = \sqrt{\tfrac{1}{L - 1} \sum_l (r_l(i, j) - \bar r(i, j))^2}

    and k-means on its rows, started from the rows that are farthest from each other.

    Args:
        correlations: One matrix (variables, variables) per batch.
        count: Clusters wanted.

    Returns:
        The cluster of each variable; all 0 while there are fewer than two batches.

    References:
        Chen et al., 2024, equations 3, 4 and 13.
    """
    variables = len(correlations[0])
    if len(correlations) < 2:
        return torch.zeros(variables, dtype=torch.int64, device=correlations[0].device)
    distance = torch.stack(correlations).std(0)
    chosen = [int(distance.norm(dim=1).argmax())]
    while len(chosen) < min(count, variables):
        chosen.append(int(torch.cdist(distance, distance[chosen]).amin(1).argmax()))
    centres = distance[chosen].clone()
    labels = torch.cdist(distance, centres).argmin(1)
    for _ in range(10):
        for cluster in range(len(centres)):
            members = distance[labels == cluster]
            if len(members):
                centres[cluster] = members.mean(0)
        labels = torch.cdist(distance, centres).argmin(1)
    return labels


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
        return mean_over(losses, known, weight), _spread(weight)

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
        self.memory.load(state, _device(self))


class L2RLiteral(ShiftMethod):
    r"""L2R-GNN as published: weights of all training graphs, moved against dependence across clusters of variables.

    Every step: embed the batch; put the queues above it; refresh Dis and the clusters; take ``steps`` gradient steps
    on the weights; give back the loss under the batch's weights; move the queues. Weights are then projected to be at
    least 0 with mean 1, and act on the graphs that they belong to: the published objective is least at W = 0, and
    puts the weights of training graphs on validation graphs.

    The first order (``second_order=False``) is the authors' recommendation. The second adds to the gradient of each
    weight :math:`-\frac{\eta}{\epsilon} [\ell_n(\theta + \epsilon g) - \ell_n(\theta)]`, g the gradient of the
    dependence with respect to the network: since the loss is linear in the weights, this difference of losses is all
    that the published second derivative is.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        clusters: Clusters of variables; 1 leaves the weights alone, 0 makes every variable its own (OOD-GNN).
        functions: Random functions per variable.
        queues: Queues of the memory.
        momentum: Of the memory.
        steps: Gradient steps on the weights.
        rate: Of these steps, by Adam.
        second_order: See above.
        network_rate: :math:`\eta` of the second order.
        epsilon: :math:`\epsilon` of the second order.
        warmup: Epochs of plain training before weights move.
        batches: Batches whose correlations Dis looks back on.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024, equations 1 to 16.
    """

    def __init__(
        self,
        task: Task,
        width: int,
        clusters: int = 4,
        functions: int = 5,
        queues: int = 1,
        momentum: float = 0.9,
        steps: int = 20,
        rate: float = 0.05,
        second_order: bool = False,
        network_rate: float = 1e-3,
        epsilon: float = 1e-2,
        warmup: int = 10,
        batches: int = 8,
    ) -> None:
        super().__init__(task, width)
        for name, value, least in (("clusters", clusters, 0), ("functions", functions, 1), ("batches", batches, 2)):
            if value < least:
                raise ConfigError(f"{name} is {value}; expected at least {least}.")
        self.clusters, self.steps, self.rate, self.warmup = clusters, steps, rate, warmup
        self.second_order, self.network_rate, self.epsilon = second_order, network_rate, epsilon
        self.frequency = torch.nn.Buffer(torch.randn(width, functions))
        self.phase = torch.nn.Buffer(2 * math.pi * torch.rand(width, functions))
        self.memory, self.batches = RowMemory(queues, momentum), batches
        self.correlations: list[Tensor] = []
        self.kept: dict[int, float] = {}  # the weight of each training graph; absent is 1

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The loss under the weights after this batch's steps."""
        z = network.embed(graphs)
        losses, known = self.task.losses(network.head(z), graphs.y)
        if moment.epoch < self.warmup:
            return mean_over(losses, known), {}
        names = graphs.index.tolist()
        weight = z.new_tensor([self.kept.get(name, 1.0) for name in names], dtype=torch.float32)
        pull = self._second_order_pull(network, graphs, z, weight) if self.second_order else None
        weight = self._moved(z.detach().float(), weight, pull)
        self.kept |= dict(zip(names, weight.tolist(), strict=True))
        self.memory.update(z.detach().float(), weight)
        return mean_over(losses, known, weight), _spread(weight)

    def _functions(self, z: Tensor) -> Tensor:
        return math.sqrt(2) * (z.unsqueeze(2) * self.frequency + self.phase).cos()

    def _labels(self, z: Tensor) -> Tensor | None:
        """The clusters of the variables after this batch; None where every variable is its own."""
        if self.clusters == 0:
            return None
        correlation = torch.nan_to_num(torch.corrcoef(z.T)).view(z.shape[1], z.shape[1])
        self.correlations = [*self.correlations, correlation][-self.batches :]
        return variable_clusters(self.correlations, self.clusters)

    @torch.enable_grad()
    def _moved(self, z: Tensor, weight: Tensor, pull: Tensor | None) -> Tensor:
        """The batch's weights after the steps."""
        if len(z) < 2:
            return weight
        stacked, above = self.memory.above(z, weight)
        labels, features, earlier = self._labels(z), self._functions(stacked), above[: -len(z)]
        own = weight.clone().requires_grad_()
        optimizer = torch.optim.Adam([own], lr=self.rate)
        for _ in range(self.steps):
            optimizer.zero_grad()
            share = own / own.mean()  # the gradient must not be that of making all weights small
            partial_dependence(features, torch.cat([earlier, share]), labels).backward()
            if pull is not None and own.grad is not None:
                own.grad += pull
            optimizer.step()
            with torch.no_grad():
                own.clamp_(min=0)
                own.mul_(len(own) / own.sum().clamp(min=1e-6))
        moved = own.detach()
        return moved if bool(moved.isfinite().all()) and float(moved.sum()) > 0 else weight

    def _second_order_pull(self, network: GraphNetwork, graphs: GraphBatch, z: Tensor, weight: Tensor) -> Tensor:
        """The difference of each graph's loss along the gradient of the dependence."""
        dependence = partial_dependence(self._functions(z.float()), weight, self._peek(z.detach().float()))
        parameters = dict(network.named_parameters())
        found = torch.autograd.grad(dependence, list(parameters.values()), retain_graph=True, materialize_grads=True)
        length = torch.sqrt(sum((part.square().sum() for part in found), start=z.new_zeros(()))).clamp(min=1e-12)
        step = self.epsilon / float(length)  # epsilon is a length, whatever the size of the gradient
        moved = {name: p + step * g for (name, p), g in zip(parameters.items(), found, strict=True)}
        trains = network.training
        network.eval()  # the two passes must differ by the parameters alone, not by what dropout draws
        with torch.no_grad():
            before, _ = self.task.losses(network(graphs), graphs.y)
            after, _ = self.task.losses(functional_call(network, moved, (graphs,)), graphs.y)
        network.train(trains)
        return -self.network_rate / step * (after - before)

    def _peek(self, z: Tensor) -> Tensor | None:
        """The clusters as they stand, without taking the batch in."""
        if self.clusters == 0 or not self.correlations:
            return None
        return variable_clusters(self.correlations, self.clusters)

    def training_state(self) -> dict[str, Any]:
        """The memory, the correlations and the weights."""
        return {"memory": self.memory.state(), "correlations": list(self.correlations), "kept": dict(self.kept)}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Take them over."""
        self.memory.load(state["memory"], _device(self))
        self.correlations = [part.to(_device(self)) for part in state["correlations"]]
        self.kept = dict(state["kept"])


class OODGNN(L2RLiteral):
    """OOD-GNN: as ``L2RLiteral``, with every pair of variables to be made independent, and no clusters.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        functions: Random functions per variable.
        queues: Groups of the global memory.
        momentum: Of the memory.
        steps: Gradient steps on the weights.
        rate: Of these steps, by Adam.
        warmup: Epochs of plain training before weights move.

    References:
        Li et al., "OOD-GNN: Out-of-Distribution Generalized Graph Neural Network", 2022, equations 5 to 9.
    """

    def __init__(
        self,
        task: Task,
        width: int,
        functions: int = 5,
        queues: int = 1,
        momentum: float = 0.9,
        steps: int = 20,
        rate: float = 0.05,
        warmup: int = 10,
    ) -> None:
        super().__init__(
            task,
            width,
            clusters=0,
            functions=functions,
            queues=queues,
            momentum=momentum,
            steps=steps,
            rate=rate,
            warmup=warmup,
        )


def _spread(weight: Tensor) -> Extras:
    """How much of the sample is left: the effective size as a share of the rows."""
    return {"ess": (weight.sum().square() / weight.square().sum().clamp(min=1e-12) / len(weight)).detach()}


def _device(module: torch.nn.Module) -> torch.device:
    return next((tensor.device for tensor in module.buffers()), torch.device("cpu"))
