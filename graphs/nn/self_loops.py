"""One loop per node, as attention and convolution with normalisation want it: made once per pattern, not per layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, segment_reduce

__all__ = ["FILLS", "SelfLoops", "with_self_loops"]

#: How the features of a new loop may be made from those of the other edges into its node.
FILLS = ("sum", "add", "mean", "max", "min")


@dataclass(frozen=True, slots=True)
class SelfLoops:
    """A pattern without its loops, plus one loop for each node.

    Attributes:
        adjacency: The new pattern; the loop of node ``i`` is the last slot of row ``i``.
        kept: ``(kept,)``, the old slots that join two different nodes, in order.
        segments: Which of ``kept`` enter each destination.
        order: ``(kept + nodes,)``, for each new slot an old one, or ``old edges + i`` for the loop of node ``i``.
        own: The same, but a node that had a loop keeps it (the last, if it had several); ``order`` if none had.
    """

    adjacency: Adjacency
    kept: Tensor
    segments: Adjacency
    order: Tensor
    own: Tensor

    @property
    def num_loops(self) -> int:
        """One for each node; between two kinds of node, as many as the smaller has."""
        return min(self.adjacency.num_dst, self.adjacency.num_src)

    def fill(self, values: Tensor, fill_value: float | Tensor | str, keep_own: bool = False) -> Tensor:
        """Bring edge values to the new slots.

        Args:
            values: One value or vector per old slot.
            fill_value: What a new loop gets: a number, a vector, or one of ``"mean"``, ``"sum"``, ``"max"``, ``"min"``
                over the edges of ``kept`` that enter its node.
            keep_own: A node that had a loop keeps the value of that.
        """
        if isinstance(fill_value, str):
            reduce = "sum" if fill_value == "add" else fill_value
            loops = segment_reduce(self.segments, values.index_select(0, self.kept), reduce)[: self.num_loops]
        else:
            value = torch.as_tensor(fill_value, dtype=values.dtype, device=values.device)
            loops = value.expand(self.num_loops, *values.shape[1:])
        return torch.cat([values, loops]).index_select(0, self.own if keep_own else self.order)


def with_self_loops(adjacency: Adjacency) -> SelfLoops:
    """Drop the loops that are there and give each node one.

    The result is kept by ``adjacency``: the layers of a network that share a batch share it.

    Example:
        >>> loops = with_self_loops(Adjacency.from_edge_index(torch.tensor([[1, 1], [0, 1]]), num_nodes=2))
        >>> loops.adjacency.row.tolist(), loops.adjacency.col.tolist()
        ([0, 0, 1], [1, 0, 1])
        >>> loops.fill(torch.tensor([3.0, 5.0]), "mean"), loops.fill(torch.tensor([3.0, 5.0]), 1.0, keep_own=True)
        (tensor([3., 3., 0.]), tensor([3., 1., 5.]))
    """
    return adjacency.cached("self loops", lambda: _build(adjacency))


def check_fill(fill_value: float | Tensor | str) -> None:
    """Refuse a name that :meth:`SelfLoops.fill` does not know.

    Raises:
        ConfigError: Naming those that it does.
    """
    if isinstance(fill_value, str) and fill_value not in FILLS:
        raise ConfigError(f"fill_value is {fill_value!r}; expected a number, a vector or one of {', '.join(FILLS)}.")


def _build(old: Adjacency) -> SelfLoops:
    nodes = torch.arange(min(old.num_dst, old.num_src), device=old.device)
    row, col = old.row.long(), old.col.long()
    joins_two = row != col
    kept = joins_two.nonzero().squeeze(1)
    kept_before = torch.cat([kept.new_zeros(1), joins_two.cumsum(0)])
    kept_ptr = kept_before[old.rowptr.long()]
    # each earlier row has grown by its loop; rows past the last node have none
    loops_before = torch.arange(old.num_dst + 1, device=old.device).clamp_(max=len(nodes))
    ptr = kept_ptr + loops_before
    order = kept.new_empty(len(kept) + len(nodes))
    order[torch.arange(len(kept), device=old.device) + loops_before[row[kept]]] = kept
    order[ptr[1:][: len(nodes)] - 1] = old.num_edges + nodes
    adjacency = Adjacency.from_ptr(ptr, torch.cat([col, nodes])[order], num_src=old.num_src)
    return SelfLoops(adjacency, kept, Adjacency.from_ptr(kept_ptr), order, _with_own(old, joins_two, order))


def _with_own(old: Adjacency, joins_two: Tensor, order: Tensor) -> Tensor:
    loops = (~joins_two).nonzero().squeeze(1)
    if len(loops) == 0:
        return order
    nodes = min(old.num_dst, old.num_src)
    source = torch.arange(old.num_edges + nodes, device=old.device)
    # slots rise within a row, so the largest is the last that the caller gave
    source[old.num_edges :].scatter_reduce_(0, old.row[loops].long(), loops, "amax", include_self=False)
    return source[order]
