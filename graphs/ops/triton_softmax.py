"""Triton kernels for the softmax over the edges that enter a node.

A row keeps a running maximum and the mass of the exponentials below it. The segments of a hub leave the same two, and
:func:`merge_kernel` joins them by the same rule, along with the vectors that attention weighs.
"""
# ruff: noqa: ANN001, ANN201, ANN202 - kernels are typed by the launch
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

from . import triton_launch
from .adjacency import Adjacency
from .triton_launch import NEVER, Rows, accumulator, edge_tile, launch, row_tile, rows_of, sum_dtype

__all__ = ["finite_top", "merge_kernel", "segment_softmax", "store_attention"]


@triton.jit
@no_type_check
def finite_top(top):
    """A maximum that may be subtracted: a row of nothing but -inf has weights 0, not nan."""
    return tl.where(top == float("-inf"), 0.0, top)


@triton.jit
@no_type_check
def store_attention(out, lse, place, v, inside, acc, top, mass):
    """Write acc / mass and top + log(mass), or 0 for a row without mass."""
    empty = mass == 0
    safe = tl.where(empty, 1.0, mass)
    value = acc / safe
    tl.store(out + place + v, value.to(out.dtype.element_ty), mask=inside)
    tl.store(lse, tl.where(empty, 0.0, finite_top(top) + tl.log(safe)))


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def softmax_kernel(
    top_out, mass_out, scores, begin, end, num_rows, heads, split, s_row, s_head,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """Maximum of each row and the sum of exp below it, for every head."""
    groups = tl.cdiv(heads, BLOCK_H)
    program = tl.program_id(0).to(tl.int64)
    h = (program % groups) * BLOCK_H + tl.arange(0, BLOCK_H)
    first_row = program // groups * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        top = tl.full([BLOCK_H], float("-inf"), ACC)
        mass = tl.zeros([BLOCK_H], ACC)
        for start in range(first, last, BLOCK_E):
            entry = start + tl.arange(0, BLOCK_E)
            mask = (entry < last)[:, None] & (h < heads)[None, :]
            s = tl.load(scores + entry[:, None] * s_row + h[None, :] * s_head, mask=mask, other=float("-inf")).to(ACC)
            higher = tl.maximum(top, tl.max(s, axis=0))
            below = finite_top(higher)
            mass = mass * tl.exp(top - below) + tl.sum(tl.exp(s - below[None, :]), axis=0)
            top = higher
        keep = h < tl.where(short, heads, 0)
        tl.store(top_out + index * heads + h, top, mask=keep)
        tl.store(mass_out + index * heads + h, mass, mask=keep)


@triton.jit(do_not_specialize=["num_edges"])
@no_type_check
def normalise_kernel(
    out, scores, top, mass, row, num_edges, heads, s_row, s_head,
    ACC: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    """exp(score - maximum) / mass for each edge and head."""
    groups = tl.cdiv(heads, BLOCK_H)
    program = tl.program_id(0).to(tl.int64)
    e = program // groups * BLOCK_E + tl.arange(0, BLOCK_E)
    h = program % groups * BLOCK_H + tl.arange(0, BLOCK_H)
    real = e < num_edges
    mask = real[:, None] & (h < heads)[None, :]
    place = tl.load(row + e, mask=real, other=0).to(tl.int64)[:, None] * heads + h[None, :]
    s = tl.load(scores + e[:, None] * s_row + h[None, :] * s_head, mask=mask, other=0).to(ACC)
    below = finite_top(tl.load(top + place, mask=mask, other=0))
    total = tl.load(mass + place, mask=mask, other=1)
    p = tl.exp(s - below) / tl.where(total == 0, 1.0, total)
    tl.store(out + e[:, None] * heads + h[None, :], p.to(out.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def merge_kernel(
    out, lse, top_out, mass_out, top, mass, vectors, begin, end, owner, heads, depth,
    ACC: tl.constexpr, VECTORS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Join the segments of each hub, in order, into its row."""
    program = tl.program_id(0).to(tl.int64)
    index, head = program // heads, program % heads
    v = tl.arange(0, BLOCK_V)
    place = tl.load(owner + index).to(tl.int64) * heads + head
    best = tl.full((), float("-inf"), ACC)
    total = tl.zeros((), ACC)
    acc = tl.zeros([BLOCK_V], ACC)
    last = tl.load(end + index).to(tl.int64)
    for start in range(tl.load(begin + index).to(tl.int64), last, BLOCK_E):
        piece = start + tl.arange(0, BLOCK_E)
        real = piece < last
        peak = tl.load(top + piece * heads + head, mask=real, other=float("-inf"))
        higher = tl.maximum(best, tl.max(peak, axis=0))
        share = tl.exp(peak - finite_top(higher))
        shrink = tl.exp(best - finite_top(higher))
        total = total * shrink + tl.sum(share * tl.load(mass + piece * heads + head, mask=real, other=0), axis=0)
        if VECTORS:
            at = (piece * heads + head)[:, None] * depth + v[None, :]
            part = tl.load(vectors + at, mask=real[:, None] & (v < depth)[None, :], other=0)
            acc = acc * shrink + tl.sum(share[:, None] * part, axis=0)
        best = higher
    if VECTORS:
        store_attention(out, lse + place, place * depth, v, v < depth, acc, best, total)
    else:
        tl.store(top_out + place, best)
        tl.store(mass_out + place, total)


def segment_softmax(adjacency: Adjacency, scores: Tensor) -> Tensor:
    """Softmax of the scores over the slots of each row; the contract of every backend."""
    rows, out = rows_of(adjacency, False), scores.new_empty(scores.shape)
    heads = 1 if scores.dim() == 1 else scores.shape[1]
    s_row, s_head = (scores.stride(0), 0) if scores.dim() == 1 else scores.stride()

    def statistics(part: Rows, split: int) -> tuple[Tensor, Tensor]:
        tile = row_tile(heads, scores.dtype, part)
        top, mass = scores.new_empty(2, len(part), heads, dtype=sum_dtype(scores))
        launch(
            softmax_kernel, -(-len(part) // tile.rows) * -(-heads // tile.columns), out,
            top, mass, scores, part.begin, part.end, len(part), heads, split, s_row, s_head,
            ACC=accumulator(scores), ROWS=tile.rows, BLOCK_E=tile.edges, BLOCK_H=tile.columns, num_warps=tile.warps,
        )  # fmt: skip
        return top, mass

    top, mass = statistics(rows, triton_launch.SPLIT)
    if rows.hubs is not None:
        members, tile = rows.hubs.members, row_tile(heads, scores.dtype, rows.hubs.members)
        launch(
            merge_kernel, len(members) * heads, out,
            None, None, top, mass, *statistics(rows.hubs.segments, NEVER), None,
            members.begin, members.end, members.owner, heads, 1,
            ACC=accumulator(scores), VECTORS=False, BLOCK_E=tile.edges, BLOCK_V=1, num_warps=1,
        )  # fmt: skip
    edges, together, _ = edge_tile(heads, 1)
    launch(
        normalise_kernel, -(-adjacency.num_edges // edges) * -(-heads // together), out,
        out, scores, top, mass, adjacency.row, adjacency.num_edges, heads, s_row, s_head,
        ACC=accumulator(scores), BLOCK_E=edges, BLOCK_H=together, num_warps=4,
    )  # fmt: skip
    return out
