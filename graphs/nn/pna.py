"""Principal neighbourhood aggregation: several summaries of the neighbours, each scaled by degree.

PyG gathers both ends of every edge, joins them and maps the long rows. Here the first map of a message is split into a
part for each end, so that without edge features nothing of size edges x width is made: the mean, maximum and minimum
of ``a_i + b_j`` over ``j`` are ``a_i`` plus those of ``b_j``, and its spread is that of ``b_j``. Nor is the long row of
all scaled summaries made: nodes of one degree are scaled alike, so for each degree the scaled maps add up to one map,
which in a batch with few degrees, as of molecules, divides the work after the aggregation by the number of scalers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, edge_add, edge_gather, multi_aggregate

from .degree_scalers import DegreeClasses, DegreeScalers, degree_classes
from .initialization import reset
from .inputs import must_be_square, optional_edge_matrix
from .patterns import incidence

__all__ = ["AGGREGATORS", "PNAConv"]

#: The aggregators by name, as PyG calls them.
AGGREGATORS: Final = ("mean", "max", "min", "std", "sum", "var")
ROWS_PER_CLASS: Final = 128  # with fewer nodes of a degree, a product for each degree costs more than it saves
SMALLEST_VARIANCE: Final = 1e-5  # PyG calls a standard deviation up to the root of this 0


class PNAConv(nn.Module):
    r"""Principal neighbourhood aggregation.

    .. math:: y_i = W\, \gamma\Big(x_i, S(n_i) \otimes \bigoplus_{e: j \to i} h(x_i, x_j, W_e f_e + b_e)\Big) + b

    with aggregators :math:`\bigoplus`, scalers :math:`S` and networks :math:`\gamma` and :math:`h` for each tower.
    Equal to PyG's layer from the same weights. Not covered of PyG's options: an activation by name (give its class),
    aggregators and scalers other than those below.

    Args:
        in_channels: Width of the input.
        out_channels: Width of the output, a multiple of ``towers``.
        aggregators: Some of ``"mean"``, ``"max"``, ``"min"``, ``"std"``, ``"sum"``, ``"var"``.
        scalers: Some of ``"identity"``, ``"amplification"``, ``"attenuation"``, ``"linear"``, ``"inverse_linear"``.
        deg: Histogram of in-degrees of the training nodes: :func:`~graftable.graphs.nn.degree_histogram`.
        edge_dim: Width of edge features, if there are any; messages are then of size edges x width, by nature.
        towers: How many networks side by side.
        pre_layers: Layers of :math:`h`; with more than one, messages are of size edges x width, by nature.
        post_layers: Layers of :math:`\gamma`.
        divide_input: Give each tower its own part of the input.
        act: Class of the activation between layers.
        train_norm: Learn the means of the scalers.

    Shapes:
        x: (nodes, in_channels); edge_features: (edges, edge_dim) in slot order; returns (nodes, out_channels).

    Raises:
        ConfigError: If a name is not known, or the widths do not divide.

    References:
        Corso et al., "Principal Neighbourhood Aggregation for Graph Nets", 2020, equation 7.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> layer = PNAConv(3, 4, ["mean", "max", "std"], ["identity", "amplification"], deg=torch.tensor([0, 2]))
        >>> layer(torch.ones(2, 3), adjacency).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        aggregators: Sequence[str],
        scalers: Sequence[str],
        deg: Tensor,
        *,
        edge_dim: int | None = None,
        towers: int = 1,
        pre_layers: int = 1,
        post_layers: int = 1,
        divide_input: bool = False,
        act: Callable[[], nn.Module] = nn.ReLU,
        train_norm: bool = False,
    ) -> None:
        super().__init__()
        for name in aggregators:
            if name not in AGGREGATORS:
                raise ConfigError(f"{name!r} is not an aggregator; expected some of {', '.join(AGGREGATORS)}.")
        if out_channels % towers or (divide_input and in_channels % towers):
            raise ConfigError(f"{towers} towers do not divide the widths of PNAConv, {in_channels} and {out_channels}.")
        self.in_channels, self.out_channels, self.towers = in_channels, out_channels, towers
        self.aggregators, self.divide_input, self.edge_dim = tuple(aggregators), divide_input, edge_dim
        self.F_in = in_channels // towers if divide_input else in_channels
        self.F_out = out_channels // towers
        summary = (len(aggregators) * len(scalers) + 1) * self.F_in
        message = (2 if edge_dim is None else 3) * self.F_in
        self.aggr_module = DegreeScalers(scalers, deg, train_norm)
        self.edge_encoder = None if edge_dim is None else nn.Linear(edge_dim, self.F_in)
        self.pre_nns = nn.ModuleList(_network(message, self.F_in, pre_layers, act) for _ in range(towers))
        self.post_nns = nn.ModuleList(_network(summary, self.F_out, post_layers, act) for _ in range(towers))
        self.lin = nn.Linear(out_channels, out_channels)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset(self)

    def forward(self, x: Tensor, adjacency: Adjacency, edge_features: Tensor | None = None) -> Tensor:
        """Aggregate the neighbours in several ways."""
        must_be_square(adjacency, "PNAConv")
        edges = optional_edge_matrix(edge_features, adjacency, self.edge_dim, "PNAConv")
        summaries = self._summaries(x, adjacency, edges)
        out: Tensor = self.lin(self._combined(x, summaries, degree_classes(adjacency)))
        return out

    def _summaries(self, x: Tensor, adjacency: Adjacency, edges: Tensor | None) -> Tensor:
        """What each tower gathers, (nodes, towers, aggregators * width)."""
        weights = torch.split(_stacked(self.pre_nns, "weight"), self.F_in, dim=2)  # (towers, width, width) for each end
        received = self._towers(x, weights[0], _stacked(self.pre_nns, "bias"))
        sent = self._towers(x, weights[1])
        later = [_later(network) for network in self.pre_nns]
        deep = len(later[0]) > 0
        if not deep and edges is None:
            return self._aggregated(adjacency, sent, _where_neighbours(adjacency, received))
        if deep:
            messages = edge_add(adjacency, received, sent, negative_slope=1.0)
        else:
            messages = edge_gather(adjacency, sent, "source")
        if edges is not None and self.edge_encoder is not None:
            messages = messages + _composed(weights[2], self.edge_encoder, edges)
        if not deep:
            return self._aggregated(incidence(adjacency), messages, _where_neighbours(adjacency, received))
        parts = messages.view(-1, self.towers, self.F_in).unbind(1)
        mapped = [network(part) for network, part in zip(later, parts, strict=True)]
        return self._aggregated(incidence(adjacency), torch.cat(mapped, dim=1), None)

    def _aggregated(self, pattern: Adjacency, messages: Tensor, shift: Tensor | None) -> Tensor:
        """Aggregate ``messages``, to each of which ``shift`` of its destination would have been added."""
        kinds = ["std" if name == "var" else name for name in self.aggregators]
        wanted = tuple(dict.fromkeys(kinds))
        eps = 0.0 if "var" in self.aggregators else SMALLEST_VARIANCE
        found = dict(zip(wanted, multi_aggregate(pattern, messages, wanted, eps=eps), strict=True))
        parts = []
        for name in self.aggregators:
            part = found["std" if name == "var" else name]
            if name == "var":
                part = part.square()
            elif name == "std":
                part = functional.threshold(part, math.sqrt(SMALLEST_VARIANCE) * (1 + 1e-6), 0.0)
            elif shift is not None and name == "sum":
                part = part + shift * pattern.rowptr.diff().unsqueeze(1)
            elif shift is not None:
                part = part + shift
            parts.append(part.view(-1, self.towers, self.F_in))
        return torch.cat(parts, dim=2)

    def _combined(self, x: Tensor, summaries: Tensor, classes: DegreeClasses) -> Tensor:
        r"""The towers' outputs: :math:`\gamma` maps the node's own row plus, for each scaler, the scaled summaries."""
        weight = _stacked(self.post_nns, "weight")  # (towers, F_out, width + scalers * aggregators * width)
        scales = self.aggr_module(classes.degrees)
        rest = weight[..., self.F_in :].reshape(*weight.shape[:2], scales.shape[1], -1)
        out = self._towers(x, weight[..., : self.F_in], _stacked(self.post_nns, "bias"))
        if len(classes.sizes) * ROWS_PER_CLASS <= len(x):
            maps = torch.einsum("ds,tosi->dtoi", scales, rest)
            parts = torch.split(summaries.index_select(0, classes.order), classes.sizes)
            mapped = [_each_tower(part, each) for part, each in zip(parts, maps, strict=True)]
            out = out + torch.cat(mapped).index_select(0, classes.place)
        else:
            unscaled = _each_tower(summaries, rest.transpose(1, 2).flatten(1, 2))
            unscaled = unscaled.view(-1, self.towers, scales.shape[1], self.F_out)
            scale = scales.index_select(0, classes.class_of)[:, None, :, None]
            out = out + (scale * unscaled).sum(2).flatten(1)
        outputs = out.view(-1, self.towers, self.F_out).unbind(1)
        return torch.cat([_later(network)(part) for network, part in zip(self.post_nns, outputs, strict=True)], dim=1)

    def _towers(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if self.divide_input:
            out = _each_tower(x.view(-1, self.towers, self.F_in), weight)
            return out if bias is None else out + bias.flatten()
        return functional.linear(x, weight.flatten(0, 1), None if bias is None else bias.flatten())


def _network(width: int, out: int, layers: int, act: Callable[[], nn.Module]) -> nn.Sequential:
    modules: list[nn.Module] = [nn.Linear(width, out)]
    for _ in range(layers - 1):
        modules += [act(), nn.Linear(out, out)]
    return nn.Sequential(*modules)


def _later(network: nn.Module) -> nn.Sequential:
    return nn.Sequential(*[layer for layer in network._modules.values() if layer is not None][1:])  # one may come twice


def _stacked(networks: nn.ModuleList, name: str) -> Tensor:
    return torch.stack([getattr(network.get_submodule("0"), name) for network in networks])


def _each_tower(x: Tensor, weight: Tensor) -> Tensor:
    """Map (nodes, towers, in) by (towers, out, in) to (nodes, towers * out)."""
    if len(weight) == 1:
        return functional.linear(x.squeeze(1), weight[0])
    return torch.einsum("nti,toi->nto", x, weight).flatten(1)


def _composed(weight: Tensor, encoder: nn.Linear, edges: Tensor) -> Tensor:
    """Map edge features by the encoder and each tower's part for edges, as one map."""
    whole = (weight @ encoder.weight).flatten(0, 1)
    bias = None if encoder.bias is None else (weight @ encoder.bias).flatten()
    return functional.linear(edges, whole, bias)


def _where_neighbours(adjacency: Adjacency, values: Tensor) -> Tensor:
    """Zero where a node hears from nobody: an aggregate of nothing is 0, whatever the node itself would have added."""
    hears, all_hear = adjacency.cached("hears", lambda: _hears(adjacency))
    return values if all_hear else torch.where(hears, values, 0.0)


def _hears(adjacency: Adjacency) -> tuple[Tensor, bool]:
    hears = adjacency.rowptr.diff() > 0
    return hears.unsqueeze(1), bool(hears.all())
