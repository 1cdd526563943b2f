"""GraphSAGE: a node's own vector beside a summary of its neighbours'."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, spmm

from .initialization import reset
from .inputs import Nodes, source_and_destination, widths

__all__ = ["SAGEConv"]

REDUCES: Final = {"mean": "mean", "sum": "sum", "add": "sum", "max": "max", "min": "min"}


class SAGEConv(nn.Module):
    r"""GraphSAGE convolution.

    .. math:: y_i = W_l \operatorname{reduce}_{j \to i} x_j + b + W_r x_i

    Equal to PyG's layer from the same weights. Not covered of PyG's options: ``aggr`` other than those below (LSTM,
    several at once, modules).

    Args:
        in_channels: Width of the input, or widths of sources and destinations.
        out_channels: Width of the output.
        aggr: How neighbours are summarised: ``"mean"``, ``"sum"``, ``"max"`` or ``"min"``.
        normalize: Scale each output to length 1.
        root_weight: Add the node's own vector, mapped by :math:`W_r`.
        project: Map sources by a linear layer and ReLU first.
        bias: Add a vector to the output.

    Shapes:
        x: (nodes, in_channels) or ((sources, in_channels[0]), (destinations, in_channels[1]));
        returns (destinations, out_channels).

    Raises:
        ConfigError: If ``aggr`` is not one of those.

    References:
        Hamilton et al., "Inductive Representation Learning on Large Graphs", 2017, algorithm 1.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> SAGEConv(3, 4)(torch.ones(2, 3), adjacency).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        aggr: str = "mean",
        *,
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if aggr not in REDUCES:
            raise ConfigError(f"aggr of SAGEConv is {aggr!r}; expected one of {', '.join(REDUCES)}.")
        width_src, width_dst = widths(in_channels)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.aggr, self.normalize, self.root_weight, self.project = REDUCES[aggr], normalize, root_weight, project
        self.lin = nn.Linear(width_src, width_src) if project else None
        self.lin_l = nn.Linear(width_src, out_channels, bias=bias)
        self.lin_r = nn.Linear(width_dst, out_channels, bias=False) if root_weight else None

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        reset(self)

    def forward(self, x: Nodes, adjacency: Adjacency) -> Tensor:
        """Summarise the neighbours and add the node itself."""
        x_src, x_dst = source_and_destination(x)
        if self.lin is not None:
            x_src = self.lin(x_src).relu()
        out = self._neighbours(x_src, adjacency)
        if self.lin_r is not None and x_dst is not None:
            out = out + self.lin_r(x_dst)
        return functional.normalize(out, dim=-1) if self.normalize else out

    def _neighbours(self, x_src: Tensor, adjacency: Adjacency) -> Tensor:
        linear = self.aggr in ("mean", "sum")
        if linear and self.lin_l.out_features < self.lin_l.in_features:  # send the narrower rows along the edges
            out = spmm(adjacency, functional.linear(x_src, self.lin_l.weight), reduce=self.aggr)
            return out if self.lin_l.bias is None else out + self.lin_l.bias
        mapped: Tensor = self.lin_l(spmm(adjacency, x_src, reduce=self.aggr))
        return mapped
