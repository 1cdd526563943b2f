"""Factors by which a node's degree, against the usual one, scales what it has gathered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from graftable.errors import ConfigError, ShapeError
from graftable.graphs.ops import Adjacency

__all__ = ["SCALERS", "DegreeScalers", "degree_histogram"]

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
        deg: (largest degree + 1,); returns (destinations, scalers).

    Raises:
        ConfigError: If a name is not known.
        ShapeError: If ``deg`` is not a vector that counts at least one node.

    References:
        Corso et al., "Principal Neighbourhood Aggregation for Graph Nets", 2020, equation 5.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3)
        >>> DegreeScalers(["identity", "linear"], torch.tensor([2, 0, 1]))(adjacency, torch.float32)[2]
        tensor([1., 3.])
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

    def forward(self, adjacency: Adjacency, dtype: torch.dtype) -> Tensor:
        """Scale each destination of ``adjacency``."""
        degree, log_degree, at_least_one, log_at_least_one = adjacency.cached(
            f"degrees {dtype}", lambda: _degrees(adjacency, dtype)
        )
        factors = {
            "identity": lambda: torch.ones_like(degree),
            "amplification": lambda: log_degree / self.avg_deg_log,
            "attenuation": lambda: self.avg_deg_log / log_at_least_one,
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


def _degrees(adjacency: Adjacency, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    # a later training step may save what an evaluation built, so these must not be inference tensors
    with torch.inference_mode(False):
        degree = adjacency.rowptr.diff().to(dtype)
        at_least_one = degree.clamp(min=1)
        return degree, degree.log1p(), at_least_one, at_least_one.log1p()
