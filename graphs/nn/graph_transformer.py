"""A transformer block whose attention follows the edges of a graph."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, graph_attention

from .inputs import must_be_square, optional_edge_matrix

__all__ = ["GraphTransformerLayer"]


class GraphTransformerLayer(nn.Module):
    r"""Attention over neighbours, then a feed-forward network, each added to its normalised input.

    .. math:: h = x + W_o \operatorname{attention}(N_1 x), \qquad y = h + W_2\, \phi(W_1 N_2 h)

    with layer norms :math:`N` before each part (which trains without a warm-up), :math:`\phi` the GELU, and a score
    :math:`\langle q_i, k_j \rangle / \sqrt{d} + u f_e` in which edge features add one number per head: the kernel
    stays fused and nothing of size edges x width is made. On a complete graph with loops and without edge features this
    is ``torch.nn.TransformerEncoderLayer``.

    Args:
        channels: Width of input and output, a multiple of ``heads``.
        heads: How many heads.
        expansion: Hidden width of the feed-forward network, in multiples of ``channels``.
        dropout: Share of attention weights and of both parts' outputs that training drops.
        edge_dim: Width of edge features, if there are any.

    Shapes:
        x: (nodes, channels); edge_features: (edges, edge_dim) in slot order; returns (nodes, channels).

    Raises:
        ConfigError: If ``heads`` does not divide ``channels``.

    References:
        Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", 2021, equations 2 to 6.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> GraphTransformerLayer(8, heads=2)(torch.ones(2, 8), adjacency).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        channels: int,
        heads: int = 4,
        *,
        expansion: int = 4,
        dropout: float = 0.0,
        edge_dim: int | None = None,
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f"{heads} heads do not divide {channels} channels; choose a number of heads that does.")
        self.channels, self.heads, self.dropout, self.edge_dim = channels, heads, dropout, edge_dim
        self.attention_norm = nn.LayerNorm(channels)
        self.query_key_value = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)
        self.edge_bias = None if edge_dim is None else nn.Linear(edge_dim, heads, bias=False)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, expansion * channels),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * channels, channels),
        )

    def forward(self, x: Tensor, adjacency: Adjacency, edge_features: Tensor | None = None) -> Tensor:
        """Attend to the neighbours, then think."""
        must_be_square(adjacency, "GraphTransformerLayer")
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "GraphTransformerLayer")
        bias = None if edges is None or self.edge_bias is None else self.edge_bias(edges)
        x = x + self._dropped(self.output(self._attention(self.attention_norm(x), adjacency, bias)))
        return x + self._dropped(self.feed_forward(self.feed_forward_norm(x)))

    def _attention(self, x: Tensor, adjacency: Adjacency, bias: Tensor | None) -> Tensor:
        query, key, value = self.query_key_value(x).view(len(x), 3, self.heads, -1).unbind(1)
        dropout = self.dropout if self.training else 0.0
        return graph_attention(adjacency, query, key, value, bias, dropout=dropout).flatten(1)

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)
