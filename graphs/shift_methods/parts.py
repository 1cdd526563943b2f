"""What every method works on: a batch of graphs, a network of encoder and head, the task and its loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.errors import ConfigError, DataError
from graftable.graphs.nn import GraphEncoder
from graftable.graphs.ops import Adjacency

__all__ = ["TASKS", "GraphBatch", "GraphNetwork", "Moment", "Task", "environment_rows", "mean_over"]

#: What is predicted: one class of two or of several, yes or no for each of some tasks, or numbers.
TASKS: Final = ("binary", "multiclass", "multitask", "regression")


@dataclass(frozen=True)
class Task:
    """What is predicted, and how wrong a prediction is.

    Args:
        kind: ``binary`` or ``multiclass`` (one class of ``outputs``), ``multitask`` (yes or no for each of ``outputs``
            tasks) or ``regression`` (``outputs`` numbers).
        outputs: How many numbers the head gives for a graph.

    Raises:
        ConfigError: If there is no such kind, or no output.
    """

    kind: str
    outputs: int

    def __post_init__(self) -> None:
        if self.kind not in TASKS:
            raise ConfigError(f"task is {self.kind!r}; expected one of {', '.join(TASKS)}.")
        if self.outputs < 1:
            raise ConfigError(f"outputs is {self.outputs}; expected at least 1.")

    @property
    def one_class(self) -> bool:
        """Whether each graph belongs to one class of several."""
        return self.kind in ("binary", "multiclass")

    def losses(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each graph, averaged over its known labels, and which graphs have any.

        Labels that are NaN (or a negative class) are unknown: they add nothing, and no gradient.

        Shapes:
            logits: (graphs, outputs); y: (graphs,) or (graphs, outputs); returns (graphs,) and (graphs,) bool.

        Raises:
            DataError: If the labels do not fit the task.

        Example:
            >>> losses, known = Task("multitask", 2).losses(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]]))
            >>> losses, known
            (tensor([0.6931]), tensor([True]))
        """
        if self.one_class:
            y = y.flatten()
            known = ~y.isnan() & (y >= 0) if y.is_floating_point() else y >= 0
            labels = torch.where(known, y, torch.zeros_like(y)).long()
            self._check(labels.shape, logits.shape[:1])
            if labels.numel() and int(labels.max()) >= self.outputs:
                raise DataError(f"a label is {int(labels.max())}; expected a class from 0 to {self.outputs - 1}.")
            losses = functional.cross_entropy(logits.float(), labels, reduction="none")
            return losses * known, known
        y = y.view(len(logits), -1).to(torch.float32)
        self._check(y.shape, logits.shape)
        there = ~y.isnan()
        targets = torch.where(there, y, 0.0)
        if self.kind == "multitask":
            each = functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
        else:
            each = (logits.float() - targets).square()
        count = there.sum(1)
        return (each * there).sum(1) / count.clamp(min=1), count > 0

    def _check(self, got: torch.Size, expected: torch.Size) -> None:
        if got != expected:
            raise DataError(f"labels have shape {tuple(got)}; expected {tuple(expected)} for {self.kind}.")

    def classes(self, y: Tensor, method: str) -> Tensor:
        """One class per graph, -1 where unknown.

        Raises:
            ConfigError: If the task has no single class.
        """
        if not self.one_class:
            raise ConfigError(f"{method} compares graphs of one class, but the task is {self.kind}; choose another.")
        y = y.flatten().float()
        return torch.where(y.isnan(), -1.0, y).long()


@dataclass(frozen=True)
class Moment:
    """Where training stands: whole epochs and steps before this one."""

    epoch: int
    step: int


@dataclass(frozen=True)
class GraphBatch:
    """A batch of graphs with its sparse structure, made once.

    Attributes:
        x: ``(nodes, features)``.
        adjacency: The edges of all graphs.
        segments: Which nodes belong to which graph.
        edge_features: ``(edges, width)`` in slot order, if there are any.
        y: Labels, one row per graph.
        environment: ``(graphs,)``, the environment of each graph; 0 where none is known.
        index: ``(graphs,)``, the number of each graph in its split.
    """

    x: Tensor
    adjacency: Adjacency
    segments: Adjacency
    edge_features: Tensor | None
    y: Tensor
    environment: Tensor
    index: Tensor

    @classmethod
    def from_pyg(cls, batch: Any) -> GraphBatch:
        """Read a ``torch_geometric.data.Batch``.

        Raises:
            DataError: If it has no node features or labels.
        """
        for name in ("x", "y"):
            if batch.get(name) is None:
                raise DataError(f"the graphs have no {name}; expected node features x and labels y.")
        adjacency = Adjacency.from_pyg(batch)
        edges = batch.get("edge_attr")
        if edges is not None:
            edges = adjacency.to_slots(edges.float().view(adjacency.num_edges, -1))
        graphs = len(batch.ptr) - 1
        nothing = batch.ptr.new_zeros(graphs)
        environment, index = batch.get("environment"), batch.get("graph_number")
        return cls(
            x=batch.x.float(),
            adjacency=adjacency,
            segments=Adjacency.from_ptr(batch.ptr),
            edge_features=edges,
            y=batch.y,
            environment=nothing if environment is None else environment.flatten(),
            index=torch.arange(graphs, device=batch.ptr.device) if index is None else index.flatten(),
        )

    @property
    def num_graphs(self) -> int:
        """How many graphs there are."""
        return self.segments.num_dst


class GraphNetwork(nn.Module):
    """An encoder and a linear head.

    Args:
        encoder: Gives one vector per graph.
        outputs: How many numbers the head gives.

    Shapes:
        ``embed`` returns (graphs, width); the call returns (graphs, outputs).
    """

    def __init__(self, encoder: GraphEncoder, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, outputs)

    def embed(
        self, graphs: GraphBatch, *, edge_weight: Tensor | None = None, node_weight: Tensor | None = None
    ) -> Tensor:
        """One vector per graph."""
        out: Tensor = self.encoder(
            graphs.x,
            graphs.adjacency,
            graphs.segments,
            graphs.edge_features,
            edge_weight=edge_weight,
            node_weight=node_weight,
        )
        return out

    def nodes(self, graphs: GraphBatch) -> Tensor:
        """One vector per node."""
        return self.encoder.nodes(graphs.x, graphs.adjacency, graphs.edge_features)

    def forward(self, graphs: GraphBatch) -> Tensor:
        """The head's numbers for each graph."""
        out: Tensor = self.head(self.embed(graphs))
        return out


def mean_over(losses: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    r"""The (weighted) mean of the known losses, :math:`\sum_n w_n \ell_n / \sum_n w_n`; 0 if none is known.

    Example:
        >>> mean_over(torch.tensor([1.0, 3.0, 0.0]), torch.tensor([True, True, False]))
        tensor(2.)
    """
    factor = known.to(losses.dtype) if weight is None else known * weight.to(losses.dtype)
    return (losses * factor).sum() / factor.sum().clamp(min=torch.finfo(losses.dtype).tiny)


def environment_rows(environment: Tensor, known: Tensor, least: int = 1) -> list[Tensor]:
    """The rows of each environment that has at least ``least`` labelled graphs in the batch, in order of its number.

    Example:
        >>> environment_rows(torch.tensor([4, 0, 4]), torch.tensor([True, True, True]))
        [tensor([1]), tensor([0, 2])]
    """
    rows = [((environment == each) & known).nonzero().squeeze(1) for each in environment.unique().tolist()]
    return [found for found in rows if len(found) >= least]
