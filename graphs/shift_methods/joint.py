"""L2R while the encoder is trained: every batch's losses are weighted against dependence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from graftable.errors import ConfigError

from .method import Extras, ShiftMethod
from .parts import GraphBatch, GraphNetwork, Moment, Task, mean_over
from .two_stage import class_of, make_weighter

__all__ = ["L2RJoint"]


class L2RJoint(ShiftMethod):
    r"""Weighted training: :math:`L = \sum_n w_n \ell_n / \sum_n w_n` with weights of the current embeddings.

    Weights are solved for the batch and a memory of recent graphs together, every few steps; in between, a graph keeps
    the last weight that it had. Each weight is a moving average over the visits of its graph.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        rho: Share of the graphs that the weights must leave as an effective sample, in (0, 1].
        clusters: As of ``L2R``; found anew at the first solve of an epoch.
        balance: As of ``L2R``.
        features: As of ``L2R``.
        num_features: As of ``L2R``.
        alpha: As of ``L2R``.
        warmup: Epochs of plain training before weights act.
        every: Steps from one solve to the next, at least 1.
        memory: Recent graphs that are solved with the batch; 0 for none.
        smoothing: Share of a graph's earlier weight in its new one, in [0, 1).
        max_weight: Weights are cut at this.
        seed: Of the random functions.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(
        self,
        task: Task,
        width: int,
        rho: float = 0.5,
        clusters: int | str = "auto",
        balance: str = "class",
        features: str = "rff",
        num_features: int = 5,
        alpha: float = 0.0,
        warmup: int = 10,
        every: int = 5,
        memory: int = 448,
        smoothing: float = 0.9,
        max_weight: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__(task, width)
        if every < 1 or warmup < 0 or memory < 0:
            raise ConfigError(f"every {every}, warmup {warmup}, memory {memory}: expected at least 1, 0 and 0.")
        self.clusters, self.warmup, self.every = clusters, warmup, every
        self.weighter = make_weighter(
            task,
            rho=rho,
            clusters=clusters,
            balance=balance,
            features=features,
            num_features=num_features,
            alpha=alpha,
            memory=memory,
            smoothing=smoothing,
            max_weight=max_weight,
            seed=seed,
            # from the last weights of all rows this comes as close to the solution as the defaults do from none
            rounds=3,
            tolerance=1e-2,
        )
        self.clustered_in = -1  # the epoch in which clusters were last found

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """The loss under the current weights."""
        z = network.embed(graphs)
        losses, known = self.task.losses(network.head(z), graphs.y)
        if moment.epoch < self.warmup:
            return mean_over(losses, known), {}
        if moment.step % self.every:
            weights = self.weighter.store.get(graphs.index, default=1.0)
            return mean_over(losses, known, weights), {}
        weights, report = self._solve(z, graphs, moment)
        found: Extras = {"ess": report["ess"] / max(report["num_rows"], 1), "max_weight": report["max_weight"]}
        return mean_over(losses, known, weights), found

    def _solve(self, z: Tensor, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, dict[str, float]]:
        clusters = None
        if self.clusters == "all":
            clusters = torch.arange(z.shape[1], device=z.device)
        elif self.clustered_in == moment.epoch:
            clusters = self.weighter.clusterer.labels
        elif len(graphs.environment.unique()) > 1:
            self.clustered_in = moment.epoch
        else:  # nothing to compare: every variable is a group
            clusters = torch.arange(z.shape[1], device=z.device)
        weights, report = self.weighter(
            z.detach(),
            clusters=clusters,
            label=class_of(self.task, graphs.y),
            environment=graphs.environment,
            sample_id=graphs.index,
        )
        return weights, report.numbers()

    def training_state(self) -> dict[str, Any]:
        """Memory, clusters and weights."""
        return {"weighter": self.weighter.state_dict(), "clustered_in": self.clustered_in}

    def load_training_state(self, state: dict[str, Any]) -> None:
        """Take them over."""
        self.weighter.load_state_dict(state["weighter"])
        self.clustered_in = state["clustered_in"]
