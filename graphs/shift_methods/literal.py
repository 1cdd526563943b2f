"""L2R-GNN as it was published, and OOD-GNN, which it grew from: weights of all training graphs, learnt by gradients."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from graftable.errors import ConfigError

from .learned_weights import RowMemory, device_of, effective_share
from .method import Extras, ShiftMethod
from .parts import GraphBatch, GraphNetwork, Moment, Task, mean_over

__all__ = ["OODGNN", "L2RLiteral", "partial_dependence", "variable_clusters"]


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
        return mean_over(losses, known, weight), effective_share(weight)

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
        self.memory.load(state["memory"], device_of(self))
        self.correlations = [part.to(device_of(self)) for part in state["correlations"]]
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
