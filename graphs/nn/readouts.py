"""One vector per graph of a batch: its nodes' sum, mean, maximum, or a learnt average."""

from __future__ import annotations

from torch import Tensor, nn

from graftable.errors import ShapeError
from graftable.graphs.ops import Adjacency, segment_reduce, segment_softmax, spmm

from .initialization import reset

__all__ = ["AttentionReadout", "MaxReadout", "MeanReadout", "SumReadout"]


class _Readout(nn.Module):
    reduce: str

    def forward(self, x: Tensor, segments: Tensor | Adjacency) -> Tensor:
        """Read each graph: ``segments`` is PyG's ``batch.ptr``, or ``Adjacency.from_ptr`` of it, made once a batch."""
        return segment_reduce(segments, x, self.reduce)


class SumReadout(_Readout):
    """Sum the nodes of each graph; an empty graph reads 0.

    Shapes:
        x: (nodes, width); segments: (graphs + 1,) offsets, or their ``Adjacency``; returns (graphs, width).

    Example:
        >>> SumReadout()(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0, 2, 3])).flatten()
        tensor([3., 5.])
    """

    reduce = "sum"


class MeanReadout(_Readout):
    """Average the nodes of each graph; an empty graph reads 0.

    Shapes:
        x: (nodes, width); segments: (graphs + 1,) offsets, or their ``Adjacency``; returns (graphs, width).

    Example:
        >>> MeanReadout()(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0, 2, 3])).flatten()
        tensor([1.5000, 5.0000])
    """

    reduce = "mean"


class MaxReadout(_Readout):
    """Take the largest of each graph's nodes, width by width; an empty graph reads 0.

    Shapes:
        x: (nodes, width); segments: (graphs + 1,) offsets, or their ``Adjacency``; returns (graphs, width).

    Example:
        >>> MaxReadout()(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0, 2, 3])).flatten()
        tensor([2., 5.])
    """

    reduce = "max"


class AttentionReadout(nn.Module):
    r"""Average the nodes of each graph with learnt weights.

    .. math:: r_g = \sum_{i \in g} \operatorname{softmax}_{i \in g}(\operatorname{gate}(x_i))\, h(x_i)

    Equal to PyG's ``AttentionalAggregation`` from the same weights.

    Args:
        gate_nn: The network of the gate, from (nodes, in) to (nodes, 1), or to (nodes, out) for a gate per width.
        nn: The network :math:`h`, from (nodes, in) to (nodes, out); absent, nodes are taken as they are.

    Shapes:
        x: (nodes, in); segments: (graphs + 1,) offsets, or their ``Adjacency``; returns (graphs, out).

    Raises:
        ShapeError: If the gate is neither one number per node nor as wide as the output.

    References:
        Li et al., "Gated Graph Sequence Neural Networks", 2016, equation 7, with a softmax for the sigmoid.

    Example:
        >>> gate = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.zeros_(gate.weight)
        >>> AttentionReadout(gate)(torch.tensor([[1.0], [2.0], [5.0]]), torch.tensor([0, 2, 3])).flatten().tolist()
        [1.5, 5.0]
    """

    def __init__(self, gate_nn: nn.Module, nn: nn.Module | None = None) -> None:
        super().__init__()
        self.gate_nn, self.nn = gate_nn, nn

    def reset_parameters(self) -> None:
        """Draw the weights of both networks anew."""
        reset(self)

    def forward(self, x: Tensor, segments: Tensor | Adjacency) -> Tensor:
        """Read each graph."""
        nodes = segments if isinstance(segments, Adjacency) else Adjacency.from_ptr(segments)
        gate, values = self.gate_nn(x), x if self.nn is None else self.nn(x)
        if gate.dim() != 2 or gate.shape[1] not in (1, values.shape[1]):
            raise ShapeError(f"gate_nn gave {tuple(gate.shape)}; expected one number per node or {values.shape[1]}.")
        weights = segment_softmax(nodes, gate)
        if gate.shape[1] == 1:
            return spmm(nodes, values, weights.squeeze(1))
        return spmm(nodes, values.unsqueeze(2), weights).squeeze(2)
