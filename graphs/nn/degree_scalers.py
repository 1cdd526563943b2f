"""Factors by which a node's degree, against the usual one, scales what it has gathered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from graftable.errors import ConfigError, ShapeError
from graftable.graphs.ops import Adjacency

__all__ = ["SCALERS", "DegreeClasses", "DegreeScalers", "degree_classes", "degree_histogram"]

#: The scalers by name, as PyG calls them.
SCALERS: Final = ("identity", "amplification", "attenuation", "linear", "inverse_linear")


class DegreeScalers(nn.Module):
    r"""One factor per node and scaler.

    .. math:: 1,\quad \log(n_i + 1) / \bar\delta,\quad \bar\delta / \log(n_i + 1),\quad n_i / \bar n,\quad \bar n / n_i

    in the order of ``SCALERS``, with :math:`\bar\delta` and :math:`\bar n` the means of :math:`\log(n + 1)` and
    :math:`n` over the training nodes. The inverses count a node without neighbours as one with one.

    Args:
        scalers: Names out of ``SCALERS``.
        deg: Histogram of in-degrees of the training nodes.
        trainable: Learn the two means.

    Shapes:
        deg: (largest degree + 1,); degree: (nodes,); returns (nodes, scalers).

    Raises:
        ConfigError: If a name is not known.
        ShapeError: If ``deg`` is not a vector that counts at least one node.

    References:
        Corso et al., "Principal Neighbourhood Aggregation for Graph Nets", 2020, equation 5.

    Example:
        >>> DegreeScalers(["identity", "linear"], deg=torch.tensor([2, 0, 1]))(torch.tensor([2]))
        tensor([[1., 3.]])
    """

    avg_deg_lin: Tensor
    avg_deg_log: Tensor

    def __init__(self, scalers: Sequence[str], deg: Tensor, trainable: bool = False) -> None:
        super().__init__()
        for name in scalers:
            if name not in SCALERS:
                raise ConfigError(f"{name!r} is not a scaler; expected some of {', '.join(SCALERS)}.")
        if deg.dim() != 1 or not float(deg.sum()) > 0:
            raise ShapeError(f"deg has shape {tuple(deg.shape)}; expected a histogram that counts at least one node.")
        self.scalers = tuple(scalers)
        counts, degrees = deg.double(), torch.arange(deg.numel(), device=deg.device).double()
        self.initial = tuple(float((values * counts).sum() / counts.sum()) for values in (degrees, degrees.log1p()))
        for name, mean in zip(("avg_deg_lin", "avg_deg_log"), self.initial, strict=True):
            if trainable:
                setattr(self, name, nn.Parameter(torch.full((1,), mean)))
            else:
                self.register_buffer(name, torch.full((1,), mean))

    def reset_parameters(self) -> None:
        """Take the two means back to those of the histogram."""
        self.avg_deg_lin.data.fill_(self.initial[0])
        self.avg_deg_log.data.fill_(self.initial[1])

    def forward(self, degree: Tensor) -> Tensor:
        """Scale nodes of these in-degrees."""
        degree = degree.to(self.avg_deg_lin.dtype)
        at_least_one = degree.clamp(min=1)
        factors = {
            "identity": lambda: torch.ones_like(degree),
            "amplification": lambda: degree.log1p() / self.avg_deg_log,
            "attenuation": lambda: self.avg_deg_log / at_least_one.log1p(),
            "linear": lambda: degree / self.avg_deg_lin,
            "inverse_linear": lambda: self.avg_deg_lin / at_least_one,
        }
        return torch.stack([factors[name]() for name in self.scalers], dim=1)


def degree_histogram(adjacencies: Iterable[Adjacency]) -> Tensor:
    """Count the in-degrees of all nodes of some batches, as :class:`~graftable.graphs.nn.PNAConv` wants them.

    Example:
        >>> degree_histogram([Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3)])
        tensor([2, 0, 1])
    """
    total = torch.zeros(1, dtype=torch.int64)
    for adjacency in adjacencies:
        counts = torch.bincount(adjacency.rowptr.diff()).cpu()
        longer, shorter = (counts, total) if len(counts) > len(total) else (total, counts)
        total = longer.clone()
        total[: len(shorter)] += shorter
    return total


@dataclass(frozen=True, slots=True)
class DegreeClasses:
    """The destinations of a pattern by in-degree.

    Attributes:
        degrees: ``(classes,)``, the degrees that occur, rising.
        sizes: How many destinations have each.
        class_of: ``(destinations,)``, the class of each.
        order: ``(destinations,)``, the destinations class by class.
        place: ``(destinations,)``, where each stands in ``order``.
    """

    degrees: Tensor
    sizes: list[int]
    class_of: Tensor
    order: Tensor
    place: Tensor


def degree_classes(adjacency: Adjacency) -> DegreeClasses:
    """Sort the destinations by in-degree, once per pattern.

    Example:
        >>> classes = degree_classes(Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3))
        >>> classes.degrees.tolist(), classes.sizes, classes.order.tolist()
        ([0, 2], [2, 1], [0, 1, 2])
    """
    return adjacency.cached("degree classes", lambda: _classes(adjacency))


def _classes(adjacency: Adjacency) -> DegreeClasses:
    degrees, class_of, sizes = torch.unique(adjacency.rowptr.diff(), return_inverse=True, return_counts=True)
    order = class_of.argsort(stable=True)
    return DegreeClasses(degrees, sizes.tolist(), class_of, order, order.argsort())
