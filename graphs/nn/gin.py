"""Graph isomorphism convolutions, without and with edge features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, edge_kinds, gin_sum

from .initialization import reset
from .inputs import Nodes, edge_matrix, source_and_destination

__all__ = ["GINConv", "GINEConv"]


class GINConv(nn.Module):
    r"""Graph isomorphism convolution: a network over a node's own vector plus the sum of its neighbours'.

    .. math:: y_i = h\Big((1 + \epsilon) x_i + \sum_{j \to i} x_j\Big)

    Equal to PyG's layer from the same weights; unlike PyG's, it leaves the parameters of ``nn`` as they are given.
    Not covered: another ``aggr`` than the sum.

    Args:
        nn: The network :math:`h`, from (nodes, in) to (nodes, out).
        eps: Where :math:`\epsilon` begins.
        train_eps: Learn :math:`\epsilon`.

    Shapes:
        x: (nodes, in) or ((sources, in), (destinations, in)); returns (destinations, out).

    References:
        Xu et al., "How Powerful are Graph Neural Networks?", 2019, equation 4.1.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3)
        >>> GINConv(torch.nn.Identity())(torch.tensor([[1.0], [2.0], [4.0]]), adjacency).flatten()
        tensor([1., 2., 7.])
    """

    eps: Tensor

    def __init__(self, nn: nn.Module, eps: float = 0.0, train_eps: bool = False) -> None:
        super().__init__()
        self.nn, self.initial_eps = nn, eps
        _hold_epsilon(self, eps, train_eps)

    def reset_parameters(self) -> None:
        """Draw the weights of ``nn`` anew and take epsilon back to where it began."""
        reset(self)
        self.eps.data.fill_(self.initial_eps)

    def forward(self, x: Nodes, adjacency: Adjacency) -> Tensor:
        """Sum the neighbours, add the node itself, apply the network."""
        mapped: Tensor = self.nn(_sum(adjacency, x, self.eps))
        return mapped


class GINEConv(nn.Module):
    r"""Graph isomorphism convolution with edge features.

    .. math:: y_i = h\Big((1 + \epsilon) x_i + \sum_{e: j \to i} \operatorname{ReLU}(x_j + W f_e + b)\Big)

    Equal to PyG's layer from the same weights; unlike PyG's, it leaves the parameters of ``nn`` as they are given.
    The ReLU stands between the edge and the sum, so messages of size edges x width are made, by nature.

    Args:
        nn: The network :math:`h`, from (nodes, in) to (nodes, out).
        eps: Where :math:`\epsilon` begins.
        train_eps: Learn :math:`\epsilon`.
        edge_dim: Width of the edge features; absent, they are as wide as the nodes' and :math:`W f + b` is :math:`f`.

    Shapes:
        x: (nodes, in) or ((sources, in), (destinations, in)); edge_features: (edges, edge_dim) in slot order;
        returns (destinations, out).

    Raises:
        ConfigError: If ``edge_dim`` is given and the input width of ``nn`` cannot be read from its first layer.

    References:
        Hu et al., "Strategies for Pre-training Graph Neural Networks", 2020, appendix A.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3)
        >>> x, f = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[-3.0], [1.0]])
        >>> GINEConv(torch.nn.Identity())(x, adjacency, adjacency.to_slots(f)).flatten()
        tensor([1., 2., 7.])
    """

    eps: Tensor

    def __init__(self, nn: nn.Module, eps: float = 0.0, train_eps: bool = False, edge_dim: int | None = None) -> None:
        super().__init__()
        self.nn, self.initial_eps, self.edge_dim = nn, eps, edge_dim
        _hold_epsilon(self, eps, train_eps)
        self.lin = None if edge_dim is None else torch.nn.Linear(edge_dim, _input_width(nn))

    def reset_parameters(self) -> None:
        """Draw the weights anew and take epsilon back to where it began."""
        reset(self)
        self.eps.data.fill_(self.initial_eps)

    def forward(self, x: Nodes, adjacency: Adjacency, edge_features: Tensor) -> Tensor:
        """Sum what comes over the edges, add the node itself, apply the network."""
        width = self.edge_dim or source_and_destination(x)[0].shape[-1]
        edges, kind = edge_matrix(edge_features, adjacency, width, "GINEConv"), None
        if self.lin is not None:
            edges, kind = edge_kinds(adjacency, edges)
            edges = self.lin(edges)
        mapped: Tensor = self.nn(_sum(adjacency, x, self.eps, edges, kind))
        return mapped


def _hold_epsilon(layer: nn.Module, eps: float, learn: bool) -> None:
    if learn:
        layer.eps = nn.Parameter(torch.full((1,), eps))
    else:
        layer.register_buffer("eps", torch.full((1,), eps))


def _sum(
    adjacency: Adjacency, x: Nodes, eps: Tensor, edges: Tensor | None = None, kind: Tensor | None = None
) -> Tensor:
    if isinstance(x, Tensor):
        return gin_sum(adjacency, x, eps, edges, kind)
    neighbours = gin_sum(adjacency, x[0], None, edges, kind)
    return neighbours if x[1] is None else torch.addcmul(neighbours, x[1], 1 + eps)


def _input_width(network: nn.Module) -> int:
    first = network[0] if isinstance(network, nn.Sequential) else network
    for name in ("in_features", "in_channels"):
        if isinstance(width := getattr(first, name, None), int):
            return width
    raise ConfigError(f"GINEConv cannot read the input width of {type(first).__name__}; begin nn with a linear layer.")
