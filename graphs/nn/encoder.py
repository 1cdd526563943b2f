"""One graph encoder for every method that is compared: the same parts, the same number of parameters."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.errors import ConfigError, DataError
from graftable.graphs.ops import Adjacency, norm_rows, segment_expand, segment_reduce, segment_softmax, spmm

from .weighted import WeightedGAT, WeightedGCN, WeightedGIN, WeightedGINE, WeightedPNA, WeightedTransformer

__all__ = ["KINDS", "READOUTS", "GraphEncoder"]

#: Encoders by name.
KINDS: Final = ("gin", "gcn", "gat", "pna", "transformer")
#: Readouts by name; several are joined by ``+``, as in ``mean+max``.
READOUTS: Final = ("sum", "mean", "max", "attention")
PNA_AGGREGATORS: Final = ("mean", "min", "max", "std")
PNA_SCALERS: Final = ("identity", "amplification", "attenuation")


class GraphEncoder(nn.Module):
    r"""A stack of graph layers and a readout: one vector per graph.

    .. math:: h^0 = W x, \qquad h^l = \operatorname{dropout} \phi \operatorname{norm} \operatorname{layer}_l(h^{l-1}),
        \qquad z_g = \operatorname{readout}_{i \in g}(h^L_i)

    with batch norm and ReLU (none after the last layer) for message passing, and the layer norms of its own for the
    transformer. A batch of one node is normalised by the running statistics.

    Args:
        kind: ``gin``, ``gcn``, ``gat``, ``pna`` or ``transformer``.
        in_features: Width of the node features.
        width: Width of every layer and of the output; a multiple of ``heads`` for ``gat`` and ``transformer``.
        layers: How many layers, at least 1.
        readout: ``sum``, ``mean``, ``max`` or ``attention``, or several of them joined by ``+``, which are then mapped
            back to ``width``. A mean and a maximum know nothing of a graph's size, a sum does.
        dropout: After every layer, in [0, 1).
        edge_features: Width of the edge features, if there are any.
        heads: Attention heads.

    Shapes:
        x: (nodes, in_features); adjacency: nodes x nodes; segments: (graphs + 1,) offsets or their ``Adjacency``;
        edge_features: (edges, edge_features), edge_weight: (edges,), both in slot order; node_weight: (nodes,);
        returns (graphs, width).

    Raises:
        ConfigError: If a name is not known or a number is out of range.

    References:
        Xu et al., "How Powerful are Graph Neural Networks?", 2019; Gui et al., "GOOD", 2022, appendix (the setup).

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=3)
        >>> GraphEncoder("gin", 4, width=8, layers=2)(torch.ones(3, 4), adjacency, torch.tensor([0, 2, 3])).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        kind: str,
        in_features: int,
        width: int = 64,
        layers: int = 3,
        *,
        readout: str = "mean",
        dropout: float = 0.0,
        edge_features: int | None = None,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ConfigError(f"encoder is {kind!r}; expected one of {', '.join(KINDS)}.")
        for name, value in (("width", width), ("layers", layers), ("in_features", in_features), ("heads", heads)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; expected at least 1.")
        if kind in ("gat", "transformer") and width % heads:
            raise ConfigError(f"{heads} heads do not divide a width of {width}; choose a number of heads that does.")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout is {dropout}; expected a number from 0 to below 1.")
        self.kind, self.in_features, self.width, self.dropout = kind, in_features, width, dropout
        self.edge_features = edge_features
        self.input = nn.Linear(in_features, width)
        self.layers = nn.ModuleList(_layer(kind, width, edge_features, heads, dropout) for _ in range(layers))
        passes = kind != "transformer"  # the transformer's layers normalise their own inputs, but not the last output
        self.norms = nn.ModuleList(_NodeNorm(width) for _ in range(layers)) if passes else None
        self.last_norm = None if passes else nn.LayerNorm(width)
        self.readout = Readout(readout, width)

    def forward(
        self,
        x: Tensor,
        adjacency: Adjacency,
        segments: Adjacency | Tensor,
        edge_features: Tensor | None = None,
        *,
        edge_weight: Tensor | None = None,
        node_weight: Tensor | None = None,
    ) -> Tensor:
        """Encode each graph of a batch."""
        nodes = self.nodes(x, adjacency, edge_features, edge_weight=edge_weight)
        out: Tensor = self.readout(nodes, segments, node_weight)
        return out

    def nodes(
        self,
        x: Tensor,
        adjacency: Adjacency,
        edge_features: Tensor | None = None,
        *,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """One vector per node, before the readout.

        Raises:
            DataError: If the node features are not ``in_features`` wide.
        """
        if x.dim() != 2 or x.shape[1] != self.in_features:
            raise DataError(
                f"node features have shape {tuple(x.shape)}; the encoder was made for (nodes, {self.in_features})."
            )
        edges = edge_features if self.edge_features is not None else None
        hidden = self.input(x)
        for depth, layer in enumerate(self.layers):
            hidden = layer(hidden, adjacency, edges, edge_weight)
            if self.norms is None:
                continue  # the transformer has dropout of its own
            hidden = _normed(self.norms[depth], hidden, relu=depth < len(self.layers) - 1)
            hidden = functional.dropout(hidden, self.dropout, self.training)
        out: Tensor = hidden if self.last_norm is None else self.last_norm(hidden)
        return out

    def fit_degrees(self, histogram: Tensor) -> None:
        """Take over the training nodes' in-degrees (``degree_histogram``), which PNA scales by; others need none."""
        degrees = torch.arange(len(histogram), dtype=torch.float64)
        total = histogram.sum().clamp(min=1)
        linear, log = (float((values * histogram).sum() / total) for values in (degrees, degrees.log1p()))
        for layer in self.layers:
            if isinstance(layer, WeightedPNA):
                # graphs without edges have a mean degree of 0, which nothing can be divided by
                layer.aggr_module.avg_deg_lin.fill_(linear or 1.0)
                layer.aggr_module.avg_deg_log.fill_(log or 1.0)


class Readout(nn.Module):
    """One vector per graph from those of its nodes, by one rule or several.

    Args:
        rule: As ``GraphEncoder``'s ``readout``.
        width: Width of the nodes and of the result.

    Shapes:
        x: (nodes, width); segments: (graphs + 1,); weight: (nodes,), at least 0; returns (graphs, width). A weight
        of 0 leaves a node out, whatever the rule; a graph with nothing left reads 0.

    Raises:
        ConfigError: If a rule is not known.

    Example:
        >>> Readout("mean", 1)(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 2]), torch.tensor([1.0, 0.0]))
        tensor([[1.]])
    """

    def __init__(self, rule: str, width: int) -> None:
        super().__init__()
        self.rules = tuple(rule.split("+"))
        for name in self.rules:
            if name not in READOUTS:
                raise ConfigError(f"readout is {name!r}; expected some of {', '.join(READOUTS)}, joined by +.")
        self.gate = nn.Linear(width, 1) if "attention" in self.rules else None
        self.join = nn.Linear(len(self.rules) * width, width) if len(self.rules) > 1 else None

    def forward(self, x: Tensor, segments: Adjacency | Tensor, weight: Tensor | None = None) -> Tensor:
        """Read each graph."""
        nodes = segments if isinstance(segments, Adjacency) else Adjacency.from_ptr(segments)
        parts = [self._read(rule, x, nodes, weight) for rule in self.rules]
        out: Tensor = parts[0] if self.join is None else self.join(torch.cat(parts, dim=1))
        return out

    def _read(self, rule: str, x: Tensor, nodes: Adjacency, weight: Tensor | None) -> Tensor:
        if rule == "attention" and self.gate is not None:
            attention = segment_softmax(nodes, self.gate(x)).squeeze(1)
            return spmm(nodes, x, attention if weight is None else attention * weight)
        if weight is None:
            return segment_reduce(nodes, x, rule)
        if rule == "max":
            return _weighted_max(x, nodes, weight)
        total = spmm(nodes, x, weight)
        if rule == "sum":
            return total
        return total / segment_reduce(nodes, weight, "sum").clamp(min=1e-6).unsqueeze(1)


class _NodeNorm(nn.BatchNorm1d):
    """Batch norm, and the ReLU after it; a batch of one row, which has no variance, takes the running statistics."""

    def forward(self, x: Tensor, relu: bool = False, offset: Tensor | None = None) -> Tensor:
        mean, variance = self.running_mean, self.running_var
        if self.training and len(x) > 1:
            assert mean is not None
            assert variance is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.add_(1)
            # absent, as while averaged weights get statistics of their own: the mean over all batches
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            return norm_rows(x, self.weight, self.bias, mean, variance, momentum, self.eps, relu=relu, offset=offset)
        x = x if offset is None else x + offset
        out = functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)
        return out.relu_() if relu else out


def _normed(norm: nn.Module, x: Tensor, relu: bool) -> Tensor:
    if isinstance(norm, _NodeNorm):
        out: Tensor = norm(x, relu)
        return out
    out = norm(x)  # another, as Lightning puts in its place to share statistics between processes
    return out.relu_() if relu else out


class _Network(nn.Sequential):
    """GIN's: a linear map, a norm, a ReLU, which the norm takes over, and a linear map."""

    def forward(self, x: Tensor) -> Tensor:
        first, norm, _, last = self
        if x.is_cpu and norm.training and isinstance(norm, _NodeNorm) and isinstance(first, nn.Linear):
            hidden = norm(functional.linear(x, first.weight), relu=True, offset=first.bias)
        else:
            hidden = _normed(norm, first(x), relu=True)
        out: Tensor = last(hidden)
        return out


def _layer(kind: str, width: int, edge_features: int | None, heads: int, dropout: float) -> nn.Module:
    if kind == "gin":
        network = _Network(nn.Linear(width, 2 * width), _NodeNorm(2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        if edge_features is None:
            return WeightedGIN(network, train_eps=True)
        return WeightedGINE(network, train_eps=True, edge_dim=edge_features)
    if kind == "gcn":
        return WeightedGCN(width, width, edge_dim=edge_features)
    if kind == "gat":
        return WeightedGAT(width, width // heads, heads, edge_dim=edge_features)
    if kind == "pna":
        unknown: dict[str, Any] = {"deg": torch.tensor([0, 1])}  # until fit_degrees, or the weights that are loaded
        return WeightedPNA(width, width, PNA_AGGREGATORS, PNA_SCALERS, edge_dim=edge_features, **unknown)
    return WeightedTransformer(width, heads, expansion=2, dropout=dropout, edge_dim=edge_features)


def _weighted_max(x: Tensor, nodes: Adjacency, weight: Tensor) -> Tensor:
    """The largest of the weighted nodes among those with a weight; 0 where a graph has none."""
    lowest = segment_reduce(nodes, x, "min").detach()
    raised = (x - segment_expand(nodes, lowest)) * weight.unsqueeze(1)  # at least 0: a weight of 0 never wins
    kept = segment_reduce(nodes, weight.detach(), "max").clamp(0, 1).ceil().unsqueeze(1)
    return (segment_reduce(nodes, raised, "max") + lowest) * kept
