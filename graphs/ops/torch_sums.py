"""Sums of neighbours and inner products along edges from torch's own CPU primitives.

Where every edge has a factor for each column, no primitive fits: rows are then gathered a chunk of edges at a time
into buffers that stay in cache, never all at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from . import torch_primitives as primitives
from .adjacency import Adjacency
from .torch_primitives import chunked_dots, edge_dot, gather_sum, identity, scaled_, slot_chunks

__all__ = ["edge_dots", "edge_gather", "edge_sum", "sddmm", "spmm", "spmm_typed", "typed_outer"]

NARROW = 8  # features of a head under which a chunked product beats a primitive called for each head
HALVES = (torch.float16, torch.bfloat16)


def spmm(adjacency: Adjacency, x: Tensor, weight: Tensor | None, transposed: bool, mean: bool) -> Tensor:
    """Weighted sum of neighbours; the contract of every backend."""
    if transposed:
        index, offsets = adjacency.col_t, adjacency.rowptr_t
        if weight is not None:
            weight = weight.index_select(0, adjacency.slot_t)
    else:
        index, offsets = adjacency.col, adjacency.rowptr
    if mean:
        share = mean_share(adjacency, x.dtype, transposed)
        weight = share if weight is None else weight * (share if weight.dim() == 1 else share.unsqueeze(-1))
    if x.dim() == 2:
        return gather_sum(x, index, offsets, weight)
    if weight is None or weight.dim() == 1:
        return gather_sum(x.flatten(1), index, offsets, weight).view(offsets.shape[0] - 1, *x.shape[1:])
    _, heads, features = x.shape
    if features < NARROW or index.shape[0] * heads * features < primitives.TINY:
        return _sum_products(adjacency, x, weight, index, transposed)
    y = x.new_empty(offsets.shape[0] - 1, heads, features)
    by_head = weight.t().contiguous()
    for head in range(heads):
        y[:, head] = gather_sum(x[:, head], index, offsets, by_head[head])
    return y


def mean_share(adjacency: Adjacency, dtype: torch.dtype, transposed: bool) -> Tensor:
    """One over the in-degree of each edge's destination, in slot order or in that of the transpose."""

    def build() -> Tensor:
        destination = adjacency.col_t if transposed else adjacency.row
        inverse = adjacency.inverse_degree(torch.float32 if dtype in HALVES else dtype)
        return inverse.index_select(0, destination).to(dtype)

    return adjacency.cached(f"mean share {dtype} {transposed}", build)


def _sum_products(adjacency: Adjacency, x: Tensor, weight: Tensor, index: Tensor, transposed: bool) -> Tensor:
    """Sum of weight_s x[index_s] with a factor for each head; weight is in the order of the sum."""
    if x.dtype in HALVES:
        return _sum_products(adjacency, x.float(), weight.float(), index, transposed).to(x.dtype)
    weight = weight.to(x.dtype).unsqueeze(-1)

    def multiply(slots: slice, messages: Tensor) -> None:
        torch.index_select(x, 0, index[slots], out=messages)
        messages.mul_(weight[slots])

    if adjacency.num_edges <= primitives.SLOTS:
        messages = x.index_select(0, index).mul_(weight)
        offsets = adjacency.rowptr_t if transposed else adjacency.rowptr
        rows = offsets.shape[0] - 1
        return gather_sum(messages.flatten(1), identity(adjacency), offsets).view(rows, *x.shape[1:])
    return sum_chunks(adjacency, x, multiply, transposed)


def sum_chunks(adjacency: Adjacency, x: Tensor, fill: Callable[[slice, Tensor], None], transposed: bool) -> Tensor:
    """Sum messages shaped like rows of x into each row; ``fill(slots, buffer)`` makes those of one chunk."""
    y = x.new_zeros(adjacency.num_src if transposed else adjacency.num_dst, *x.shape[1:])
    buffer = x.new_empty(min(primitives.SLOTS, adjacency.num_edges), *x.shape[1:])
    order = identity(adjacency)
    for slots, rows, offsets in slot_chunks(adjacency, transposed):
        messages = buffer[: slots.stop - slots.start]
        fill(slots, messages)
        sums = gather_sum(messages.flatten(1), order[: messages.shape[0]], offsets)
        y[rows] += sums.view(sums.shape[0], *x.shape[1:])
    return y


def sddmm(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """Inner product along each edge; the contract of every backend."""
    if a.dtype in HALVES:
        return sddmm(adjacency, a.float(), b.float()).to(a.dtype)
    return edge_dot(adjacency, a, b) if a.dim() == 2 else edge_dots(adjacency, a, b)


def edge_dots(adjacency: Adjacency, a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
    """s_eh = scale <a_ih, b_jh> in float32 or float64. Shapes: a [n_dst, H, D], b [n_src, H, D], s [E, H]."""
    _, heads, features = a.shape
    edges = adjacency.num_edges
    if edges * heads * features < primitives.TINY and edges <= primitives.SLOTS:
        products = a.index_select(0, adjacency.row).mul_(b.index_select(0, adjacency.col))
        dots = products.squeeze(-1) if features == 1 else products.sum(-1)
        return scaled_(dots, scale)
    if features < NARROW:
        return scaled_(chunked_dots(adjacency, a, b), scale)
    out = a.new_empty(edges, heads)
    for head in range(heads):
        out[:, head] = edge_dot(adjacency, a[:, head], b[:, head], scale)
    return out


def edge_gather(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    """The row of x for each edge's destination or source; the contract of every backend."""
    return x.index_select(0, adjacency.col if transposed else adjacency.row)


def edge_sum(adjacency: Adjacency, values: Tensor, transposed: bool) -> Tensor:
    """Sum of the values of the edges of each node; the contract of every backend."""
    flat = values.unsqueeze(1) if values.dim() == 1 else values.flatten(1)
    if transposed:
        total = gather_sum(flat, adjacency.slot_t, adjacency.rowptr_t)
    else:
        total = gather_sum(flat, identity(adjacency), adjacency.rowptr)
    return total.view(total.shape[0], *values.shape[1:])


def spmm_typed(adjacency: Adjacency, x: Tensor, table: Tensor, edge_type: Tensor, transposed: bool) -> Tensor:
    """Sum of neighbours times the vector of the edge's type; the contract of every backend."""
    if x.dtype in HALVES:
        return spmm_typed(adjacency, x.float(), table.float(), edge_type, transposed).to(x.dtype)
    index = adjacency.col_t if transposed else adjacency.col
    kind = edge_type.index_select(0, adjacency.slot_t) if transposed else edge_type
    factors = x.new_empty(min(primitives.SLOTS, adjacency.num_edges), x.shape[1])
    table = table.to(x.dtype)

    def multiply(slots: slice, messages: Tensor) -> None:
        factor = factors[: messages.shape[0]]
        torch.index_select(x, 0, index[slots], out=messages)
        torch.index_select(table, 0, kind[slots], out=factor)
        messages.mul_(factor)

    return sum_chunks(adjacency, x, multiply, transposed)


def typed_outer(adjacency: Adjacency, a: Tensor, b: Tensor, edge_type: Tensor, num_types: int) -> Tensor:
    """Sum over the edges of each type of the products of their ends; the contract of every backend."""
    if a.dtype in HALVES:
        return typed_outer(adjacency, a.float(), b.float(), edge_type, num_types).to(a.dtype)
    total = a.new_zeros(num_types, a.shape[1])
    left, right = (a.new_empty(min(primitives.SLOTS, adjacency.num_edges), a.shape[1]) for _ in range(2))
    for slots, _, _ in slot_chunks(adjacency, False):
        size = slots.stop - slots.start
        torch.index_select(a, 0, adjacency.row[slots], out=left[:size])
        torch.index_select(b, 0, adjacency.col[slots], out=right[:size])
        total.index_add_(0, edge_type[slots], left[:size].mul_(right[:size]))
    return total
