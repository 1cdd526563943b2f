"""Triton kernels with a result for each edge: inner products, and the additive scores of GATv2 with their gradients."""
# ruff: noqa: ANN001, ANN202 - kernels are typed by the launch
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from dataclasses import replace
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import triton_launch
from .adjacency import Adjacency
from .triton_launch import NEVER, Rows, accumulator, edge_tile, launch, row_tile, rows_of, sum_dtype
from .triton_sums import add_members, with_heads

__all__ = ["gatv2_score", "gatv2_score_backward", "sddmm"]


@triton.jit(do_not_specialize=["num_edges"])
@no_type_check
def dot_kernel(
    out, a, b, row, col, num_edges, heads, depth, a_row, a_head, a_col, b_row, b_head, b_col,
    ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """out[e, h] = <a[row e, h], b[col e, h]>. Slots are sorted by row, so the cache answers for a."""
    groups = tl.cdiv(heads, BLOCK_H)
    program = tl.program_id(0).to(tl.int64)
    e = program // groups * BLOCK_E + tl.arange(0, BLOCK_E)
    h = program % groups * BLOCK_H + tl.arange(0, BLOCK_H)
    real = e < num_edges
    some = real[:, None] & (h < heads)[None, :]
    i = tl.load(row + e, mask=real, other=0).to(tl.int64)
    j = tl.load(col + e, mask=real, other=0).to(tl.int64)
    a_at = i[:, None] * a_row + h[None, :] * a_head
    b_at = j[:, None] * b_row + h[None, :] * b_head
    total = tl.zeros([BLOCK_E, BLOCK_H], ACC)
    for start in range(0, depth, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D).to(tl.int64)
        mask = some[:, :, None] & (d < depth)[None, None, :]
        left = tl.load(a + a_at[:, :, None] + d[None, None, :] * a_col, mask=mask, other=0).to(ACC)
        right = tl.load(b + b_at[:, :, None] + d[None, None, :] * b_col, mask=mask, other=0).to(ACC)
        total += tl.sum(left * right, axis=2)
    tl.store(out + e[:, None] * heads + h[None, :], total.to(out.dtype.element_ty), mask=some)


@triton.jit(do_not_specialize=["num_edges"])
@no_type_check
def gatv2_kernel(
    out, q, k, att, edge, row, col, num_edges, heads, depth,
    q_row, q_head, q_col, k_row, k_head, k_col, e_row, e_head, e_col,
    SLOPE: tl.constexpr, EDGE: tl.constexpr,
    ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    """out[e, h] = <att[h], LeakyReLU(q[row e, h] + k[col e, h] + edge[e, h])>."""
    groups = tl.cdiv(heads, BLOCK_H)
    program = tl.program_id(0).to(tl.int64)
    e = program // groups * BLOCK_E + tl.arange(0, BLOCK_E)
    h = program % groups * BLOCK_H + tl.arange(0, BLOCK_H)
    real = e < num_edges
    some = real[:, None] & (h < heads)[None, :]
    i = tl.load(row + e, mask=real, other=0).to(tl.int64)
    j = tl.load(col + e, mask=real, other=0).to(tl.int64)
    q_at = i[:, None] * q_row + h[None, :] * q_head
    k_at = j[:, None] * k_row + h[None, :] * k_head
    e_at = e[:, None] * e_row + h[None, :] * e_head
    total = tl.zeros([BLOCK_E, BLOCK_H], ACC)
    for start in range(0, depth, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D).to(tl.int64)
        mask = some[:, :, None] & (d < depth)[None, None, :]
        value = tl.load(q + q_at[:, :, None] + d[None, None, :] * q_col, mask=mask, other=0).to(ACC)
        value += tl.load(k + k_at[:, :, None] + d[None, None, :] * k_col, mask=mask, other=0).to(ACC)
        if EDGE:
            value += tl.load(edge + e_at[:, :, None] + d[None, None, :] * e_col, mask=mask, other=0).to(ACC)
        at = h[:, None] * depth + d[None, :]
        direction = tl.load(att + at, mask=(h < heads)[:, None] & (d < depth)[None, :], other=0).to(ACC)
        total += tl.sum(tl.where(value > 0, value, value * SLOPE) * direction[None, :, :], axis=2)
    tl.store(out + e[:, None] * heads + h[None, :], total.to(out.dtype.element_ty), mask=some)


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def gatv2_backward_kernel(
    out, att_out, edge_out, g, own, other, att, edge, begin, end, col, slot, owner, num_rows, width, depth, split,
    out_row, own_row, own_col, other_row, other_col, e_row, e_col, g_row, g_head,
    SLOPE: tl.constexpr, EDGE: tl.constexpr, BY_ROW: tl.constexpr, SLOT: tl.constexpr, OWNER: tl.constexpr,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """out[row] = sum over its edges of g att LeakyReLU'(own + other + edge), that argument recomputed.

    BY_ROW, over destinations, also writes the gradient of each edge vector and what the row adds to that of att.
    """
    tiles = tl.cdiv(width, BLOCK_F)
    program = tl.program_id(0).to(tl.int64)
    f = (program % tiles) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = f < width
    direction = tl.load(att + f, mask=inside, other=0).to(ACC)
    first_row = program // tiles * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        row = tl.load(owner + index).to(tl.int64) if OWNER else index
        mine = tl.load(own + row * own_row + f * own_col, mask=inside, other=0).to(ACC)
        total = tl.zeros([BLOCK_F], ACC)
        att_total = tl.zeros([BLOCK_F], ACC)
        for start in range(first, last, BLOCK_E):
            entry = start + tl.arange(0, BLOCK_E)
            real = entry < last
            mask = real[:, None] & inside[None, :]
            j = tl.load(col + entry, mask=real, other=0).to(tl.int64)
            e = tl.load(slot + entry, mask=real, other=0).to(tl.int64) if SLOT else entry
            value = tl.load(other + j[:, None] * other_row + f[None, :] * other_col, mask=mask, other=0).to(ACC)
            value += mine[None, :]
            if EDGE:
                value += tl.load(edge + e[:, None] * e_row + f[None, :] * e_col, mask=mask, other=0).to(ACC)
            up = tl.load(g + e[:, None] * g_row + (f // depth)[None, :] * g_head, mask=mask, other=0).to(ACC)
            one = tl.where(value > 0, up, up * SLOPE)
            change = tl.where(mask, one * direction[None, :], 0.0)
            total += tl.sum(change, axis=0)
            if BY_ROW:
                att_total += tl.sum(tl.where(mask, one * value, 0.0), axis=0)
                if EDGE:
                    place = edge_out + e[:, None] * width + f[None, :]
                    tl.store(place, change.to(edge_out.dtype.element_ty), mask=mask)
        keep = f < tl.where(short, width, 0)
        tl.store(out + index * out_row + f, total.to(out.dtype.element_ty), mask=keep)
        if BY_ROW:
            tl.store(att_out + index * out_row + f, att_total, mask=keep)


def sddmm(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """Inner product along each edge; the contract of every backend."""
    out = a.new_empty((adjacency.num_edges, *a.shape[1:-1]))
    a, b = with_heads(a), with_heads(b)
    heads, depth = a.shape[1:]
    edges, together, columns = edge_tile(heads, depth)
    launch(
        dot_kernel, -(-adjacency.num_edges // edges) * -(-heads // together), out,
        out, a, b, adjacency.row, adjacency.col, adjacency.num_edges, heads, depth, *a.stride(), *b.stride(),
        ACC=accumulator(a, b), BLOCK_E=edges, BLOCK_H=together, BLOCK_D=columns, num_warps=4,
    )  # fmt: skip
    return out


def gatv2_score(adjacency: Adjacency, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float) -> Tensor:
    """Additive attention score of each edge; the contract of every backend."""
    heads, depth = q.shape[1:]
    out = q.new_empty(adjacency.num_edges, heads)
    edges, together, columns = edge_tile(heads, depth)
    launch(
        gatv2_kernel, -(-adjacency.num_edges // edges) * -(-heads // together), out,
        out, q, k, att.contiguous(), edge, adjacency.row, adjacency.col, adjacency.num_edges, heads, depth,
        *q.stride(), *k.stride(), *((0, 0, 0) if edge is None else edge.stride()),
        SLOPE=slope, EDGE=edge is not None, ACC=accumulator(q, k),
        BLOCK_E=edges, BLOCK_H=together, BLOCK_D=columns, num_warps=4,
    )  # fmt: skip
    return out


def gatv2_score_backward(
    adjacency: Adjacency, g: Tensor, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients to q, k, att and edge, by rows and then by columns; the contract of every backend."""
    dtype, width, depth = sum_dtype(q, k), q.shape[1] * q.shape[2], q.shape[2]
    gq, gk = q.new_empty(q.shape), k.new_empty(k.shape)
    gedge = None if edge is None else edge.new_empty(edge.shape)
    each_row = q.new_empty(adjacency.num_dst, width, dtype=dtype)
    flat_q, flat_k, flat_att = q.flatten(1), k.flatten(1), att.contiguous()
    flat_edge = None if edge is None else edge.flatten(1)

    def run(rows: Rows, out: Tensor, att_out: Tensor, transposed: bool, partial: bool) -> None:
        own, other = (flat_k, flat_q) if transposed else (flat_q, flat_k)
        tile = row_tile(width, q.dtype, rows)
        launch(
            gatv2_backward_kernel, -(-len(rows) // tile.rows) * -(-width // tile.columns), out,
            out, att_out, gedge, g, own, other, flat_att, flat_edge,
            rows.begin, rows.end, rows.col, rows.slot, rows.owner,
            len(rows), width, depth, NEVER if partial else triton_launch.SPLIT, out.stride(0),
            *own.stride(), *other.stride(), *((0, 0) if flat_edge is None else flat_edge.stride()), *g.stride(),
            SLOPE=slope, EDGE=edge is not None, BY_ROW=not transposed, SLOT=rows.slot is not None,
            OWNER=rows.owner is not None, ACC=accumulator(q, k), ROWS=tile.rows, BLOCK_E=tile.edges,
            BLOCK_F=tile.columns, num_warps=tile.warps,
        )  # fmt: skip

    for transposed, out in ((False, gq), (True, gk)):
        rows = rows_of(adjacency, transposed)
        flat = out.flatten(1)
        run(rows, flat, each_row, transposed, False)
        if rows.hubs is not None:
            sums = q.new_empty(len(rows.hubs.segments), 2 - transposed, width, dtype=dtype)
            run(rows.hubs.segments, sums[:, 0], sums[:, -1], transposed, True)
            whole = sums.new_empty(len(rows.hubs.owner), sums.shape[1] * width)
            add_members(replace(rows.hubs.members, owner=None), whole, sums.flatten(1))
            flat[rows.hubs.owner] = whole[:, :width].to(out.dtype)
            if not transposed:
                each_row[rows.hubs.owner] = whole[:, width:]
    return gq, gk, torch.sum(each_row, 0).view(att.shape).to(att.dtype), gedge
