"""Graph attention: the weight of a neighbour from a sum of two scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.graphs.ops import Adjacency, edge_add, segment_softmax, spmm

from .initialization import glorot_, glorot_linear
from .inputs import Nodes, optional_edge_matrix, source_and_destination, widths
from .self_loops import check_fill, with_self_loops

__all__ = ["GATConv"]


class GATConv(nn.Module):
    r"""Graph attention convolution.

    .. math:: y_i = \sum_{e: j \to i} p_e W_s x_j + b, \qquad
        p_e = \operatorname{softmax}_{e \to i} \operatorname{LeakyReLU}(a_t W_t x_i + a_s W_s x_j + a_e W_e f_e)

    for each head; heads stand side by side, or are averaged. Equal to PyG's layer from the same weights. Not covered of
    PyG's options: ``fill_value="mul"`` and ``return_attention_weights``.

    Args:
        in_channels: Width of the input, or widths of sources and destinations, which then have maps of their own.
        out_channels: Width of the output of one head.
        heads: How many heads.
        concat: Put heads side by side; off, average them.
        negative_slope: Of the LeakyReLU.
        dropout: Share of the attention weights that training drops.
        add_self_loops: Drop the loops that are there and give each node one.
        edge_dim: Width of edge features, if there are any.
        fill_value: Edge features of the new loops: a number, a vector, or ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``
            of those that enter the node.
        bias: Add a vector to the output.
        residual: Add the node's own vector, mapped.

    Shapes:
        x: (nodes, in_channels) or ((sources, in_channels[0]), (destinations, in_channels[1]));
        edge_features: (edges, edge_dim) in slot order; returns (destinations, heads * out_channels), or
        (destinations, out_channels) if heads are averaged.

    Raises:
        ConfigError: If ``fill_value`` is a name that is not one of those.

    References:
        Velickovic et al., "Graph Attention Networks", 2018, equations 3 to 6.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> GATConv(3, 4, heads=2)(torch.ones(2, 3), adjacency).shape
        torch.Size([2, 8])
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
        residual: bool = False,
    ) -> None:
        super().__init__()
        check_fill(fill_value)
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.negative_slope, self.dropout = negative_slope, dropout
        self.add_self_loops, self.edge_dim, self.fill_value = add_self_loops, edge_dim, fill_value
        width_src, width_dst = widths(in_channels)
        total, shared = heads * out_channels, isinstance(in_channels, int)
        self.lin = glorot_linear(width_src, total) if shared else None
        self.lin_src = None if shared else glorot_linear(width_src, total)
        self.lin_dst = None if shared else glorot_linear(width_dst, total)
        self.lin_edge = None if edge_dim is None else glorot_linear(edge_dim, total)
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_edge = None if edge_dim is None else nn.Parameter(torch.empty(1, heads, out_channels))
        width = total if concat else out_channels
        self.res = glorot_linear(width_dst, width) if residual else None
        self.bias = nn.Parameter(torch.empty(width)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name == "bias" else glorot_(parameter)

    def forward(self, x: Nodes, adjacency: Adjacency, edge_features: Tensor | None = None) -> Tensor:
        """Attend to the neighbours."""
        x_src, x_dst = source_and_destination(x)
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "GATConv")
        if self.add_self_loops:
            loops = with_self_loops(adjacency)
            adjacency = loops.adjacency
            edges = None if edges is None else loops.fill(edges, self.fill_value)
        scores = self._scores(x_src, x_dst, adjacency, edges)
        weights = functional.dropout(segment_softmax(adjacency, scores), self.dropout, self.training)
        values = self._map(self.lin_src)(x_src).view(-1, self.heads, self.out_channels)
        out = spmm(adjacency, values, weights)
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.res is not None and x_dst is not None:
            out = out + self.res(x_dst)
        return out if self.bias is None else out + self.bias

    def _scores(self, x_src: Tensor, x_dst: Tensor | None, adjacency: Adjacency, edges: Tensor | None) -> Tensor:
        # a (W x) = (a W) x: a score costs one product with a matrix of one row per head, and W x_i is never made
        sent = functional.linear(x_src, self._folded(self._map(self.lin_src), self.att_src))
        if x_dst is None:
            received = sent.new_zeros(adjacency.num_dst, self.heads)
        else:
            received = functional.linear(x_dst, self._folded(self._map(self.lin_dst), self.att_dst))
        if edges is None or self.lin_edge is None or self.att_edge is None:
            return edge_add(adjacency, received, sent, self.negative_slope)
        scores = edge_add(adjacency, received, sent, 1.0)
        scores = scores + functional.linear(edges, self._folded(self.lin_edge, self.att_edge))
        return functional.leaky_relu(scores, self.negative_slope)

    def _map(self, own: nn.Linear | None) -> nn.Linear:
        linear = self.lin if own is None else own
        assert linear is not None  # the constructor makes the shared map, or one for each side
        return linear

    def _folded(self, linear: nn.Linear, attention: Tensor) -> Tensor:
        weight = linear.weight.view(self.heads, self.out_channels, -1)
        return torch.einsum("hc,hci->hi", attention[0], weight)
