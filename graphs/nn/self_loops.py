"""One loop per node, as attention and normalised convolution want it: made once per pattern, not per layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, segment_reduce
from graftable.graphs.ops.adjacency import index_dtype

from .patterns import incidence

__all__ = ["FILLS", "SelfLoops", "check_fill", "with_self_loops"]

#: How the features of a new loop may be made from those of the other edges into its node.
FILLS = ("sum", "add", "mean", "max", "min")


@dataclass(frozen=True, slots=True)
class SelfLoops:
    """A pattern without its loops, plus one loop for each node.

    Attributes:
        adjacency: The new pattern; the loop of a node is the last edge into it, and the last out of it.
        others: The pattern without any loops.
        kept: ``(kept,)``, the old slots that join two different nodes, in order; None if all do.
        order: ``(kept + nodes,)``, for each new slot an old one, or ``old edges + i`` for the loop of node ``i``.
        own: The same, but a node that had a loop keeps it (the last, if it had several).
    """

    adjacency: Adjacency
    others: Adjacency
    kept: Tensor | None
    order: Tensor
    own: Tensor

    def fill(self, values: Tensor, fill_value: float | Tensor | str, keep_own: bool = False) -> Tensor:
        """Bring edge values to the new slots.

        Args:
            values: One value or vector per old slot.
            fill_value: What a new loop gets: a number, a vector, or one of ``"mean"``, ``"sum"``, ``"max"``, ``"min"``
                over the other edges that enter its node.
            keep_own: A node that had a loop keeps the value of that.
        """
        num_loops = self.adjacency.num_edges - self.others.num_edges
        if isinstance(fill_value, str):
            reduce = "sum" if fill_value == "add" else fill_value
            entering = values if self.kept is None else values.index_select(0, self.kept)
            loops = segment_reduce(incidence(self.others), entering, reduce)[:num_loops]
        else:
            value = torch.as_tensor(fill_value, dtype=values.dtype, device=values.device)
            loops = value.expand(num_loops, *values.shape[1:])
        return torch.cat([values, loops]).index_select(0, self.own if keep_own else self.order)


def with_self_loops(adjacency: Adjacency) -> SelfLoops:
    """Drop the loops that are there and give each node one.

    Between two kinds of node, source ``i`` and destination ``i`` count as one node. The result is kept by
    ``adjacency``: the layers of a network that share a batch share it.

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
    joins_two = old.row != old.col
    if bool(joins_two.all()):
        adjacency, order = _add_loops(old)
        return SelfLoops(adjacency, old, None, order, order)
    kept = joins_two.nonzero().squeeze(1).to(old.col.dtype)
    others = _select(old, joins_two, kept)
    adjacency, order = _add_loops(others)
    # beyond the kept edges, whose numbers are those of their old slots, stand the loops
    num_loops = adjacency.num_edges - others.num_edges
    new_loops = torch.arange(old.num_edges, old.num_edges + num_loops, device=old.device, dtype=order.dtype)
    own_loops = _last_loops(old, joins_two, new_loops)
    order, own = (torch.cat([kept, loops]).index_select(0, order) for loops in (new_loops, own_loops))
    return SelfLoops(adjacency, others, kept, order, own)


def _select(old: Adjacency, chosen: Tensor, kept: Tensor) -> Adjacency:
    """The edges where ``chosen``, in order: nothing need be sorted again."""
    dtype = old.col.dtype
    before = torch.cat([kept.new_zeros(1), chosen.cumsum(0, dtype=dtype)])  # how many of them, before each slot
    slot_t = old.slot_t[chosen.index_select(0, old.slot_t)]
    before_t = torch.cat([kept.new_zeros(1), chosen.index_select(0, old.slot_t).cumsum(0, dtype=dtype)])
    row, col = old.row.index_select(0, kept), old.col.index_select(0, kept)
    return Adjacency(
        before.index_select(0, old.rowptr),
        col,
        row,
        before_t.index_select(0, old.rowptr_t),
        old.row.index_select(0, slot_t),
        before.index_select(0, slot_t),
    )


def _add_loops(old: Adjacency) -> tuple[Adjacency, Tensor]:
    """The pattern with a loop at the end of each row, and the old slot of each new one, loops counted on."""
    num_loops = min(old.num_dst, old.num_src)
    dtype = index_dtype(old.num_dst, old.num_src, old.num_edges + num_loops)
    nodes = torch.arange(num_loops, device=old.device, dtype=dtype)

    def longer(ptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pointers, rows and old entries of rows that each end with one more."""
        rows = torch.arange(len(ptr), device=ptr.device, dtype=dtype)
        ptr = ptr.to(dtype) + rows.clamp(max=num_loops)
        total = old.num_edges + num_loops
        row = torch.repeat_interleave(rows[:-1], ptr.diff(), output_size=total)
        entry = torch.arange(total, device=ptr.device, dtype=dtype) - row.clamp(max=num_loops)
        entry[(ptr[1 : num_loops + 1] - 1).long()] = old.num_edges + nodes
        return ptr, row, entry

    rowptr, row, order = longer(old.rowptr)
    rowptr_t, _, order_t = longer(old.rowptr_t)
    col, col_t = (torch.cat([part.to(dtype), nodes]) for part in (old.col, old.col_t))
    slot_t = torch.cat([old.slot_t + old.col_t.clamp(max=num_loops), rowptr[1 : num_loops + 1] - 1])
    col, col_t, slot_t = col.index_select(0, order), col_t.index_select(0, order_t), slot_t.index_select(0, order_t)
    return Adjacency(rowptr, col, row, rowptr_t, col_t, slot_t), order


def _last_loops(old: Adjacency, joins_two: Tensor, default: Tensor) -> Tensor:
    """The last loop of each node that has one, else ``default``."""
    loops = (~joins_two).nonzero().squeeze(1)
    # slots rise within a row, so the largest is the last that the caller gave
    last = default.long().scatter_reduce(0, old.row.index_select(0, loops).long(), loops, "amax", include_self=False)
    return last.to(default.dtype)
