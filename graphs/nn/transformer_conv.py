"""Dot-product attention over the edges of a graph."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.graphs.ops import Adjacency, graph_attention, sddmm, segment_softmax, spmm

from .initialization import reset
from .inputs import Nodes, optional_edge_matrix, source_and_destination, widths
from .patterns import incidence

__all__ = ["TransformerConv"]


class TransformerConv(nn.Module):
    r"""Graph transformer convolution.

    .. math:: y_i = W_1 x_i + \sum_{e: j \to i} p_e (W_2 x_j + W_6 f_e), \qquad
        p_e = \operatorname{softmax}_{e \to i} \frac{\langle W_3 x_i, W_4 x_j + W_6 f_e \rangle}{\sqrt{d}}

    for each head; heads stand side by side, or are averaged. Equal to PyG's layer from the same weights. Not covered of
    PyG's options: ``return_attention_weights``.

    Args:
        in_channels: Width of the input, or widths of sources and destinations.
        out_channels: Width of the output of one head, :math:`d`.
        heads: How many heads.
        concat: Put heads side by side; off, average them.
        beta: Weigh the node's own vector against its neighbours' by a learnt gate; needs ``root_weight``.
        dropout: Share of the attention weights that training drops.
        edge_dim: Width of edge features, if there are any. Where it is less than ``out_channels``, nothing of size
            edges x heads x ``out_channels`` is made.
        bias: Add vectors to the four maps of nodes.
        root_weight: Add the node's own vector, :math:`W_1 x_i`.

    Shapes:
        x: (nodes, in_channels) or ((sources, in_channels[0]), (destinations, in_channels[1]));
        edge_features: (edges, edge_dim) in slot order; returns (destinations, heads * out_channels), or
        (destinations, out_channels) if heads are averaged.

    References:
        Shi et al., "Masked Label Prediction: Unified Message Passing Model for Semi-Supervised Classification", 2021,
        equations 3 to 5.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> TransformerConv(3, 4, heads=2)(torch.ones(2, 3), adjacency).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        beta: bool = False,
        dropout: float = 0.0,
        *,
        edge_dim: int | None = None,
        bias: bool = True,
        root_weight: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.heads, self.concat = in_channels, out_channels, heads, concat
        self.beta, self.root_weight = beta and root_weight, root_weight
        self.dropout, self.edge_dim = dropout, edge_dim
        width_src, width_dst = widths(in_channels)
        total = heads * out_channels
        width = total if concat else out_channels
        self.lin_key = nn.Linear(width_src, total, bias=bias)
        self.lin_query = nn.Linear(width_dst, total, bias=bias)
        self.lin_value = nn.Linear(width_src, total, bias=bias)
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, total, bias=False)
        self.lin_skip = nn.Linear(width_dst, width, bias=bias)
        self.lin_beta = nn.Linear(3 * width, 1, bias=False) if self.beta else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset(self)

    def forward(self, x: Nodes, adjacency: Adjacency, edge_features: Tensor | None = None) -> Tensor:
        """Attend to the neighbours."""
        x_src, x_dst = source_and_destination(x)
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "TransformerConv")
        query, key, value = (
            linear(nodes).view(-1, self.heads, self.out_channels)
            for linear, nodes in ((self.lin_query, x_dst), (self.lin_key, x_src), (self.lin_value, x_src))
        )
        if edges is None:
            dropout = self.dropout if self.training else 0.0
            out = graph_attention(adjacency, query, key, value, dropout=dropout)
        else:
            out = self._attend_with_edges(adjacency, query, key, value, edges)
        out = out.flatten(1) if self.concat else out.mean(1)
        return self._with_root(out, x_dst) if self.root_weight else out

    def _attend_with_edges(self, adjacency: Adjacency, query: Tensor, key: Tensor, value: Tensor, f: Tensor) -> Tensor:
        assert (
            self.lin_edge is not None
        )  # optional_edge_matrix lets edge features pass only where the layer was made for them
        weight = self.lin_edge.weight.view(self.heads, self.out_channels, -1)
        narrow = f.shape[1] < self.out_channels
        if narrow:  # <q, W f> = <W^T q, f> and sum p W f = W sum p f: map the nodes instead of the edges
            asked = torch.einsum("nhc,hci->nhi", query, weight)
            edges = f.unsqueeze(1).expand(-1, self.heads, -1)
        else:
            asked, edges = query, self.lin_edge(f).view(-1, self.heads, self.out_channels)
        enters = incidence(adjacency)
        scores = (sddmm(adjacency, query, key) + sddmm(enters, asked, edges)) / math.sqrt(self.out_channels)
        weights = functional.dropout(segment_softmax(adjacency, scores), self.dropout, self.training)
        carried = spmm(enters, edges, weights)
        if narrow:
            carried = torch.einsum("nhi,hci->nhc", carried, weight)
        return spmm(adjacency, value, weights) + carried

    def _with_root(self, out: Tensor, x_dst: Tensor | None) -> Tensor:
        own: Tensor = self.lin_skip(x_dst)
        if self.lin_beta is None:
            return out + own
        # the row [m, r, m - r] of the gate is not made: its three parts of the weight become two
        neighbours, root, difference = self.lin_beta.weight.chunk(3, dim=1)
        gate = functional.linear(out, neighbours + difference) + functional.linear(own, root - difference)
        return torch.lerp(out, own, gate.sigmoid())
