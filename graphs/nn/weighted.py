"""Convolutions that take a weight per edge, so that one encoder serves methods that switch edges off by degrees.

Every message is multiplied by its edge's weight after all else is computed: a weight of 1 changes nothing, a weight
of 0 is as if nothing came over the edge. Without weights each layer is its parent, fused kernels and all.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.graphs.ops import Adjacency, edge_add, edge_gather, edge_sum, sddmm, segment_softmax, spmm

from .degree_scalers import degree_classes
from .gat import GATConv
from .gcn import GCNConv, gcn_weights
from .gin import GINConv, GINEConv
from .graph_transformer import GraphTransformerLayer
from .inputs import edge_matrix, must_be_square, optional_edge_matrix
from .patterns import incidence
from .pna import PNAConv
from .self_loops import with_self_loops

__all__ = ["WeightedGAT", "WeightedGCN", "WeightedGIN", "WeightedGINE", "WeightedPNA", "WeightedTransformer"]


class WeightedGIN(GINConv):
    """:class:`GINConv` with a weight per edge; it has no use for edge features."""

    def forward(  # type: ignore[override]
        self, x: Tensor, adjacency: Adjacency, edge_features: None = None, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Sum the weighted neighbours, add the node itself, apply the network."""
        if edge_weight is None:
            return super().forward(x, adjacency)
        mapped: Tensor = self.nn((1 + self.eps) * x + spmm(adjacency, x, edge_weight))
        return mapped


class WeightedGINE(GINEConv):
    """:class:`GINEConv` with a weight per edge."""

    def forward(  # type: ignore[override]
        self, x: Tensor, adjacency: Adjacency, edge_features: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Sum what comes over the weighted edges, add the node itself, apply the network."""
        if edge_weight is None:
            return super().forward(x, adjacency, edge_features)
        edges = edge_matrix(edge_features, adjacency, self.edge_dim or x.shape[-1], "GINEConv")
        edges = edges if self.lin is None else self.lin(edges)
        messages = (edge_gather(adjacency, x, "source") + edges).relu() * edge_weight.unsqueeze(1)
        mapped: Tensor = self.nn((1 + self.eps) * x + edge_sum(adjacency, messages))
        return mapped


class WeightedGCN(GCNConv):
    r"""Graph convolution with a weight per edge and, where ``edge_dim`` is given, edge features.

    .. math:: y_i = \sum_{e: j \to i} \frac{w_e}{\sqrt{d_i d_j}} \operatorname{ReLU}(W x_j + W_e f_e) + b

    The ReLU stands only where there are edge features. Degrees count edges, not their weights, so that a weight is a
    factor of its own message alone; loops have weight 1 and no features.

    References:
        Hu et al., "Open Graph Benchmark", 2020, appendix (the molecule encoders).
    """

    def __init__(self, in_channels: int, out_channels: int, *, edge_dim: int | None = None) -> None:
        super().__init__(in_channels, out_channels)
        self.edge_dim = edge_dim
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, out_channels)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        adjacency: Adjacency,
        edge_features: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Sum over neighbours."""
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "GCNConv")
        if edge_weight is None and edges is None:
            return super().forward(x, adjacency)
        must_be_square(adjacency, "GCNConv")
        looped, scale = gcn_weights(adjacency, None, True, x.dtype)
        loops = with_self_loops(adjacency)
        if edge_weight is not None:
            scale = scale * loops.fill(edge_weight, 1.0)
        mapped = self.lin(x)
        if edges is None or self.lin_edge is None:
            out = spmm(looped, mapped, scale)
        else:
            messages = edge_gather(looped, mapped, "source") + loops.fill(self.lin_edge(edges), 0.0)
            out = edge_sum(looped, messages.relu() * scale.unsqueeze(1))
        return out if self.bias is None else out + self.bias


class WeightedGAT(GATConv):
    """:class:`GATConv` with a weight per edge, applied after the softmax; loops have weight 1."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        adjacency: Adjacency,
        edge_features: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Attend to the neighbours."""
        if edge_weight is None:
            return super().forward(x, adjacency, edge_features)
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "GATConv")
        loops = with_self_loops(adjacency)
        edges = None if edges is None else loops.fill(edges, self.fill_value)
        attention = segment_softmax(loops.adjacency, self._scores(x, x, loops.adjacency, edges))
        attention = functional.dropout(attention, self.dropout, self.training)
        attention = attention * loops.fill(edge_weight, 1.0).unsqueeze(1)
        values = self._map(self.lin_src)(x).view(-1, self.heads, self.out_channels)
        out = spmm(loops.adjacency, values, attention)
        out = out.flatten(1) if self.concat else out.mean(1)
        return out if self.bias is None else out + self.bias


class WeightedPNA(PNAConv):
    """:class:`PNAConv` with a weight per edge; weighted messages are of size edges x width, by nature."""

    def forward(
        self,
        x: Tensor,
        adjacency: Adjacency,
        edge_features: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Aggregate the weighted neighbours in several ways."""
        if edge_weight is None:
            return super().forward(x, adjacency, edge_features)
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "PNAConv")
        pre = self.pre_nns[0].get_submodule("0")
        assert isinstance(pre, nn.Linear)  # one tower of one layer is what the encoder makes
        parts = torch.split(pre.weight, self.F_in, dim=1)
        received, sent = functional.linear(x, parts[0], pre.bias), functional.linear(x, parts[1])
        messages = edge_add(adjacency, received, sent, negative_slope=1.0)
        if edges is not None and self.edge_encoder is not None:
            messages = messages + functional.linear(self.edge_encoder(edges), parts[2])
        summaries = self._aggregated(incidence(adjacency), messages * edge_weight.unsqueeze(1), None)
        out: Tensor = self.lin(self._combined(x, summaries, degree_classes(adjacency)))
        return out


class WeightedTransformer(GraphTransformerLayer):
    """:class:`GraphTransformerLayer` with a weight per edge, applied after the softmax."""

    def forward(
        self,
        x: Tensor,
        adjacency: Adjacency,
        edge_features: Tensor | None = None,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Attend to the neighbours, then think."""
        if edge_weight is None:
            return super().forward(x, adjacency, edge_features)
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "GraphTransformerLayer")
        query, key, value = self.query_key_value(self.attention_norm(x)).view(len(x), 3, self.heads, -1).unbind(1)
        scores = sddmm(adjacency, query, key) / math.sqrt(query.shape[2])
        if edges is not None and self.edge_bias is not None:
            scores = scores + self.edge_bias(edges)
        attention = functional.dropout(segment_softmax(adjacency, scores), self.dropout, self.training)
        gathered = spmm(adjacency, value, attention * edge_weight.unsqueeze(1)).flatten(1)
        x = x + self._dropped(self.output(gathered))
        return x + self._dropped(self.feed_forward(self.feed_forward_norm(x)))
