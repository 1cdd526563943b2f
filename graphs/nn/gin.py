"""Graph isomorphism convolutions, without and with edge features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, edge_gather, edge_sum, spmm

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
        x_src, x_dst = source_and_destination(x)
        out = _plus_self(spmm(adjacency, x_src), x_dst, self.eps)
        mapped: Tensor = self.nn(out)
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
        x_src, x_dst = source_and_destination(x)
        edges = edge_matrix(edge_features, adjacency, self.edge_dim or x_src.shape[-1], "GINEConv")
        edges = edges if self.lin is None else self.lin(edges)
        messages = (edge_gather(adjacency, x_src, "source") + edges).relu_()
        mapped: Tensor = self.nn(_plus_self(edge_sum(adjacency, messages), x_dst, self.eps))
        return mapped


def _hold_epsilon(layer: nn.Module, eps: float, learn: bool) -> None:
    if learn:
        layer.eps = nn.Parameter(torch.full((1,), eps))
    else:
        layer.register_buffer("eps", torch.full((1,), eps))


def _plus_self(neighbours: Tensor, x_dst: Tensor | None, eps: Tensor) -> Tensor:
    if x_dst is None:
        return neighbours
    if eps.requires_grad or eps.device.type != "cpu" or torch.compiler.is_compiling():  # reading it would wait
        return torch.addcmul(neighbours, x_dst, 1 + eps)
    return torch.add(neighbours, x_dst, alpha=1 + eps.item())  # whose gradient at 1 is passed on, not computed


def _input_width(network: nn.Module) -> int:
    first = network[0] if isinstance(network, nn.Sequential) else network
    for name in ("in_features", "in_channels"):
        if isinstance(width := getattr(first, name, None), int):
            return width
    raise ConfigError(f"GINEConv cannot read the input width of {type(first).__name__}; begin nn with a linear layer.")
