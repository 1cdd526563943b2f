"""Graph convolution with symmetric normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, edge_gather, edge_sum, spmm

from .initialization import glorot_, glorot_linear
from .inputs import must_be_square
from .self_loops import with_self_loops

__all__ = ["GCNConv", "gcn_weights"]


class GCNConv(nn.Module):
    r"""Graph convolution: a weighted sum over neighbours, scaled by the degrees of both ends.

    .. math:: y_i = W \sum_{e: j \to i} \frac{w_e}{\sqrt{d_i d_j}} x_j + b, \qquad d_i = \sum_{e \to i} w_e

    with one loop of weight 1 per node that has none. Equal to PyG's layer from the same weights. Not covered of PyG's
    options: ``improved`` (which PyG itself ignores where no edge weights are given); ``cached`` is not needed, as the
    normalisation is kept by the ``Adjacency``.

    Args:
        in_channels: Width of the input, at least 1.
        out_channels: Width of the output, at least 1.
        add_self_loops: Give each node a loop; by default where ``normalize`` is on.
        normalize: Divide by the degrees; off, weights are used as they are.
        bias: Add a vector to the output.

    Shapes:
        x: (nodes, in_channels); edge_weight: (edges,) in slot order; returns (nodes, out_channels).

    Raises:
        ConfigError: If loops are asked for without normalisation.

    References:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", 2017, equation 2.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> GCNConv(3, 4)(torch.ones(2, 3), adjacency).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if add_self_loops and not normalize:
            raise ConfigError("add_self_loops=True of GCNConv needs normalize=True, but normalize=False was given.")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.normalize = normalize
        self.add_self_loops = normalize if add_self_loops is None else add_self_loops
        self.lin = glorot_linear(in_channels, out_channels)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        glorot_(self.lin.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, adjacency: Adjacency, edge_weight: Tensor | None = None) -> Tensor:
        """Sum over neighbours."""
        must_be_square(adjacency, "GCNConv")
        if self.normalize:
            adjacency, edge_weight = gcn_weights(adjacency, edge_weight, self.add_self_loops, x.dtype)
        if self.in_channels < self.out_channels:  # the sum and the map commute: send the narrower rows along the edges
            out: Tensor = self.lin(spmm(adjacency, x, edge_weight))
        else:
            out = spmm(adjacency, self.lin(x), edge_weight)
        return out if self.bias is None else out + self.bias


def gcn_weights(
    adjacency: Adjacency, edge_weight: Tensor | None, add_self_loops: bool, dtype: torch.dtype
) -> tuple[Adjacency, Tensor]:
    r"""The pattern and the weights :math:`w_e / \sqrt{d_i d_j}` that a graph convolution sums with.

    Without ``edge_weight`` they depend on the pattern alone and are made once for it.
    """
    if edge_weight is None:
        return adjacency.cached(
            f"gcn weights {add_self_loops} {dtype}", lambda: _unweighted(adjacency, add_self_loops, dtype)
        )
    if add_self_loops:
        loops = with_self_loops(adjacency)
        edge_weight, adjacency = loops.fill(edge_weight, 1.0, keep_own=True), loops.adjacency
    return adjacency, _normalized(adjacency, edge_weight)


def _unweighted(adjacency: Adjacency, add_self_loops: bool, dtype: torch.dtype) -> tuple[Adjacency, Tensor]:
    # a later training step may save what an evaluation built, so it must not be an inference tensor
    with torch.inference_mode(False), torch.no_grad():
        if add_self_loops:
            adjacency = with_self_loops(adjacency).adjacency
        ones = torch.ones(adjacency.num_edges, device=adjacency.device, dtype=torch.promote_types(dtype, torch.float32))
        return adjacency, _normalized(adjacency, ones).to(dtype)


def _normalized(adjacency: Adjacency, edge_weight: Tensor) -> Tensor:
    inverse_root = edge_sum(adjacency, edge_weight).pow(-0.5)
    inverse_root = inverse_root.masked_fill(inverse_root == torch.inf, 0.0)
    received, sent = (edge_gather(adjacency, inverse_root, side) for side in ("destination", "source"))
    return received * edge_weight * sent
