"""Graph attention in which the ranking of neighbours may depend on the node that asks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.graphs.ops import Adjacency, gatv2_score, segment_softmax, spmm

from .initialization import glorot_, glorot_linear
from .inputs import Nodes, optional_edge_matrix, source_and_destination, widths
from .self_loops import check_fill, with_self_loops

__all__ = ["GATv2Conv"]


class GATv2Conv(nn.Module):
    r"""Graph attention convolution, second form.

    .. math:: y_i = \sum_{e: j \to i} p_e W_l x_j + b, \qquad
        p_e = \operatorname{softmax}_{e \to i} a \operatorname{LeakyReLU}(W_r x_i + W_l x_j + W_e f_e)

    for each head; heads stand side by side, or are averaged. Equal to PyG's layer from the same weights. Not covered of
    PyG's options: ``fill_value="mul"`` and ``return_attention_weights``.

    Args:
        in_channels: Width of the input, or widths of sources and destinations.
        out_channels: Width of the output of one head.
        heads: How many heads.
        concat: Put heads side by side; off, average them.
        negative_slope: Of the LeakyReLU.
        dropout: Share of the attention weights that training drops.
        add_self_loops: Drop the loops that are there and give each node one.
        edge_dim: Width of edge features, if there are any.
        fill_value: Edge features of the new loops: a number, a vector, or ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``
            of those that enter the node.
        bias: Add a vector to the output and to both maps.
        share_weights: Use one map for sources and destinations.
        residual: Add the node's own vector, mapped.

    Shapes:
        x: (nodes, in_channels) or ((sources, in_channels[0]), (destinations, in_channels[1]));
        edge_features: (edges, edge_dim) in slot order; returns (destinations, heads * out_channels), or
        (destinations, out_channels) if heads are averaged.

    Raises:
        ConfigError: If ``fill_value`` is a name that is not one of those.

    References:
        Brody et al., "How Attentive are Graph Attention Networks?", 2022, equation 7.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> GATv2Conv(3, 4, heads=2, concat=False)(torch.ones(2, 3), adjacency).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        *,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | Tensor | str = "mean",
        bias: bool = True,
        share_weights: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_fill(fill_value)
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.negative_slope, self.dropout, self.share_weights = negative_slope, dropout, share_weights
        self.add_self_loops, self.edge_dim, self.fill_value = add_self_loops, edge_dim, fill_value
        width_src, width_dst = widths(in_channels)
        total = heads * out_channels
        self.lin_l = glorot_linear(width_src, total, bias=bias)
        self.lin_r = self.lin_l if share_weights else glorot_linear(width_dst, total, bias=bias)
        self.lin_edge = None if edge_dim is None else glorot_linear(edge_dim, total)
        self.att = nn.Parameter(torch.empty(1, heads, out_channels))
        width = total if concat else out_channels
        self.res = glorot_linear(width_dst, width) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for linear in {self.lin_l, self.lin_r}:
            linear.reset_parameters()  # for its bias
        for name, parameter in self.named_parameters():
            if name == "bias":
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                glorot_(parameter)

    def forward(self, x: Nodes, adjacency: Adjacency, edge_features: Tensor | None = None) -> Tensor:
        """Attend to the neighbours."""
        x_src, x_dst = source_and_destination(x)
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "GATv2Conv")
        if self.add_self_loops:
            loops = with_self_loops(adjacency)
            adjacency = loops.adjacency
            edges = None if edges is None else loops.fill(edges, self.fill_value)
        keys = self._heads(self.lin_l(x_src))
        queries = keys if self.share_weights and x_dst is x_src else self._heads(self.lin_r(x_dst))
        edges = None if edges is None or self.lin_edge is None else self._heads(self.lin_edge(edges))
        scores = gatv2_score(adjacency, queries, keys, self.att[0], edges, self.negative_slope)
        weights = functional.dropout(segment_softmax(adjacency, scores), self.dropout, self.training)
        out = spmm(adjacency, keys, weights)
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.res is not None:
            out = out + self.res(x_dst)
        return out if self.bias is None else out + self.bias

    def _heads(self, x: Tensor) -> Tensor:
        return x.view(-1, self.heads, self.out_channels)
