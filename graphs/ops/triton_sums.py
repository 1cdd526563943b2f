"""Triton kernels that add up rows: weighted sums of neighbours, sums of edge values, and their gradients.

One kernel does all of them; what it multiplies each row by is a constant of the launch.
"""
# ruff: noqa: ANN001, ANN202 - kernels are typed by the launch
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from dataclasses import replace
from typing import Any, no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import triton_launch
from .adjacency import Adjacency
from .triton_launch import NEVER, Rows, Tile, accumulator, launch, row_tile, rows_of, split_rows, sum_dtype

__all__ = ["add_members", "add_rows", "edge_gather", "edge_sum", "spmm", "spmm_typed", "typed_outer", "with_heads"]


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def sum_kernel(
    out, x, weight, edge_type, scale, begin, end, col, slot, owner, num_rows, width, depth, split,
    x_row, x_head, x_col, w_row, w_col,
    ACC: tl.constexpr, WEIGHT: tl.constexpr, SCALE: tl.constexpr, COL: tl.constexpr, SLOT: tl.constexpr,
    OWNER: tl.constexpr, TO_OWNER: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """out[row] = sum over the entries of a row of weight * x[col]; one program a few rows and one tile of columns."""
    # Tiles of one row are neighbours in the grid: its entries are then read from the cache. Offsets are int64
    # throughout, since node times width passes 2^31 long before memory ends.
    tiles = tl.cdiv(width, BLOCK_F)
    program = tl.program_id(0).to(tl.int64)
    f = (program % tiles) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = f < width
    x_offset = (f // depth) * x_head + (f % depth) * x_col
    first_row = program // tiles * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        row = tl.load(owner + index).to(tl.int64) if OWNER else index
        total = tl.zeros([BLOCK_F], ACC)
        for start in range(first, last, BLOCK_E):
            entry = start + tl.arange(0, BLOCK_E)
            real = entry < last
            mask = real[:, None] & inside[None, :]
            j = tl.load(col + entry, mask=real, other=0).to(tl.int64) if COL else entry
            e = tl.load(slot + entry, mask=real, other=0).to(tl.int64) if SLOT else entry
            value = tl.load(x + j[:, None] * x_row + x_offset[None, :], mask=mask, other=0).to(ACC)
            if WEIGHT == "edge":
                value *= tl.load(weight + e * w_row, mask=real, other=0).to(ACC)[:, None]
            if WEIGHT == "head":
                at = e[:, None] * w_row + (f // depth)[None, :] * w_col
                value *= tl.load(weight + at, mask=mask, other=0).to(ACC)
            if WEIGHT == "type":
                kind = tl.load(edge_type + e, mask=real, other=0).to(tl.int64)
                value *= tl.load(weight + kind[:, None] * w_row + f[None, :] * w_col, mask=mask, other=0).to(ACC)
            if SCALE == "source":
                value *= tl.load(scale + j, mask=real, other=0).to(ACC)[:, None]
            total += tl.sum(value, axis=0)
        if SCALE == "row":
            total *= tl.load(scale + row).to(ACC)
        target = row if TO_OWNER else index
        tl.store(out + target * width + f, total.to(out.dtype.element_ty), mask=f < tl.where(short, width, 0))


def _launch_sum(
    rows: Rows, out: Tensor, x: Tensor, weight: Tensor | None, edge_type: Tensor | None, scale: Tensor | None,
    *, acc: Any, mode: str, scaled: str, split: int, to_owner: bool, tile: Tile,
) -> None:  # fmt: skip
    heads, depth = x.shape[1:]
    width = heads * depth
    programs = -(-len(rows) // tile.rows) * -(-width // tile.columns)
    w_row, w_col = (0, 0) if weight is None else (weight.stride(0), weight.stride(1))
    launch(
        sum_kernel, programs, out,
        out, x, weight, edge_type, scale, rows.begin, rows.end, rows.col, rows.slot, rows.owner,
        len(rows), width, depth, split, *x.stride(), w_row, w_col,
        ACC=acc, WEIGHT=mode, SCALE=scaled, COL=rows.col is not None, SLOT=rows.slot is not None,
        OWNER=rows.owner is not None, TO_OWNER=to_owner, ROWS=tile.rows, BLOCK_E=tile.edges, BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )  # fmt: skip


def add_rows(
    rows: Rows,
    out: Tensor,
    x: Tensor,
    weight: Tensor | None = None,
    *,
    mode: str = "none",
    edge_type: Tensor | None = None,
    scale: Tensor | None = None,
    scaled: str = "none",
) -> Tensor:
    """Fill ``out`` with the sums of the rows of x that each row reads, long rows in segments.

    Args:
        rows: What to add up, and where the hubs are.
        out: Contiguous, one row for each of ``rows``.
        x: [n, H, D] of any strides.
        weight: A factor for each entry, [E, 1] or [E, H], or for each type, [R, F].
        mode: ``none``, ``edge``, ``head`` or ``type``: what ``weight`` is.
        edge_type: The type in each slot.
        scale: A further factor for each ``row``, or for each ``source`` that is read.
        scaled: ``none``, ``row`` or ``source``.
    """
    acc, tile = accumulator(x, weight), row_tile(x.shape[1] * x.shape[2], x.dtype, rows)
    _launch_sum(
        rows, out, x, weight, edge_type, scale,
        acc=acc, mode=mode, scaled=scaled, split=triton_launch.SPLIT, to_owner=False, tile=tile,
    )  # fmt: skip
    if rows.hubs is not None:
        pieces = rows.hubs.segments
        partial = torch.empty(len(pieces), x.shape[1] * x.shape[2], dtype=sum_dtype(x, weight), device=x.device)
        inner = scaled if scaled == "source" else "none"
        _launch_sum(
            pieces, partial, x, weight, edge_type, scale,
            acc=acc, mode=mode, scaled=inner, split=NEVER, to_owner=False, tile=replace(tile, rows=1),
        )  # fmt: skip
        add_members(rows.hubs.members, out, partial, scale if scaled == "row" else None)
    return out


def add_members(members: Rows, out: Tensor, partial: Tensor, scale: Tensor | None = None) -> None:
    """Add the segments of each hub in order, into its row of ``out``; one row a hub if the members have no owner."""
    _launch_sum(
        members, out, partial.unsqueeze(1), None, None, scale,
        acc=accumulator(partial), mode="none", scaled="none" if scale is None else "row", split=NEVER,
        to_owner=members.owner is not None, tile=row_tile(partial.shape[1], partial.dtype, members),
    )  # fmt: skip


def with_heads(x: Tensor) -> Tensor:
    """[n, H, D], whatever x has: [n] and [n, F] get one head."""
    if x.dim() == 3:
        return x
    return x[:, None, :] if x.dim() == 2 else x[:, None, None]


def spmm(adjacency: Adjacency, x: Tensor, weight: Tensor | None, transposed: bool, mean: bool) -> Tensor:
    """Weighted sum of neighbours; the contract of every backend."""
    rows = rows_of(adjacency, transposed)
    mode = "none" if weight is None else "edge" if weight.dim() == 1 else "head"
    if weight is not None and weight.dim() == 1:
        weight = weight.unsqueeze(1)  # one factor for all columns
    out = x.new_empty((len(rows), *x.shape[1:]))
    scale, scaled = None, "none"
    if mean:  # by the in-degree of the destination, which is what the transpose reads
        scale = adjacency.inverse_degree(sum_dtype(x))
        scaled = "source" if transposed else "row"
    return add_rows(rows, out, with_heads(x), weight, mode=mode, scale=scale, scaled=scaled)


def edge_gather(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    """The row of x at the destination (``transposed``: source) of each slot. A gather has nothing to fuse."""
    return x.index_select(0, adjacency.col if transposed else adjacency.row)


def edge_sum(adjacency: Adjacency, values: Tensor, transposed: bool) -> Tensor:
    """The sum of edge values over each row: the same kernel, reading slots instead of nodes."""
    rows = rows_of(adjacency, transposed)
    hubs = rows.hubs
    if hubs is not None:
        hubs = replace(hubs, segments=replace(hubs.segments, col=rows.slot))
    out = values.new_empty((len(rows), *values.shape[1:]))
    return add_rows(replace(rows, col=rows.slot, hubs=hubs), out, with_heads(values))


def spmm_typed(adjacency: Adjacency, x: Tensor, table: Tensor, edge_type: Tensor, transposed: bool) -> Tensor:
    """Sum of neighbours, each times the vector of the type of its edge."""
    rows = rows_of(adjacency, transposed)
    out = x.new_empty((len(rows), x.shape[1]))
    return add_rows(rows, out, with_heads(x), table, mode="type", edge_type=edge_type.contiguous())


def typed_outer(adjacency: Adjacency, a: Tensor, b: Tensor, edge_type: Tensor, num_types: int) -> Tensor:
    """Sum over the edges of each type of a_i * b_j: rows are types, and a is a table of which ``row`` is the type."""
    out = a.new_zeros(num_types, a.shape[1])
    if adjacency.num_edges == 0 or num_types == 0:
        return out
    ordered, order = torch.sort(edge_type, stable=True)
    ptr = torch.searchsorted(ordered, torch.arange(num_types + 1, device=ordered.device, dtype=ordered.dtype))
    rows = Rows(ptr[:-1], ptr[1:], adjacency.col.index_select(0, order), order)
    every_type = torch.arange(num_types, device=ptr.device)
    limit = num_types + adjacency.num_edges // triton_launch.SPLIT
    # There are few types and many edges of each: all are hubs, and nobody waits for the device to count them.
    hubs = split_rows(rows, every_type, limit)
    partial = torch.empty(limit, a.shape[1], dtype=sum_dtype(a, b), device=a.device)
    add_rows(hubs.segments, partial, with_heads(b), a, mode="type", edge_type=adjacency.row)
    add_members(hubs.members, out, partial)
    return out
