"""Triton kernels for attention over the edges that enter a node, one pass over them, nothing per edge stored.

A row keeps the maximum and the mass of its softmax and the vector that it weighs. Backward passes recompute the
weights from the logarithm of the mass: by rows for queries and biases, over the transpose for keys and values.
"""
# ruff: noqa: ANN001, ANN202 - kernels are typed by the launch
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import no_type_check

import triton
import triton.language as tl
from torch import Tensor

from . import triton_launch
from .adjacency import Adjacency
from .triton_launch import NEVER, Hubs, Rows, Tile, accumulator, launch, row_tile, rows_of, sum_dtype
from .triton_softmax import finite_top, merge_kernel, store_attention
from .triton_sums import add_members

__all__ = ["graph_attention", "graph_attention_backward"]


@triton.jit
@no_type_check
def _kept(weight, seed, counter, DROPOUT: tl.constexpr):
    """Dropout as a function of seed, slot and head, so that the backward passes draw the same, in any order."""
    return tl.where(tl.rand(seed, counter) >= DROPOUT, weight / (1.0 - DROPOUT), 0.0)


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def attention_kernel(
    out, lse, top_out, mass_out, q, k, v, bias, seed, begin, end, col, owner, num_rows, heads, depth, depth_v, split,
    q_row, q_head, q_col, k_row, k_head, k_col, v_row, v_head, v_col, b_row, b_head,
    SCALE: tl.constexpr, DROPOUT: tl.constexpr, BIAS: tl.constexpr, OWNER: tl.constexpr, PARTIAL: tl.constexpr,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """Attention of one head of a few rows; with PARTIAL the maximum, mass and vector of a segment of a hub."""
    program = tl.program_id(0).to(tl.int64)
    head = program % heads
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    dv = tl.arange(0, BLOCK_V).to(tl.int64)
    in_d, in_v = d < depth, dv < depth_v
    first_row = program // heads * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        row = tl.load(owner + index).to(tl.int64) if OWNER else index
        query = tl.load(q + row * q_row + head * q_head + d * q_col, mask=in_d, other=0).to(ACC) * SCALE
        top = tl.full((), float("-inf"), ACC)
        mass = tl.zeros((), ACC)
        acc = tl.zeros([BLOCK_V], ACC)
        for start in range(first, last, BLOCK_E):
            e = start + tl.arange(0, BLOCK_E)
            real = e < last
            j = tl.load(col + e, mask=real, other=0).to(tl.int64)[:, None]
            mask_d, mask_v = real[:, None] & in_d[None, :], real[:, None] & in_v[None, :]
            keys = tl.load(k + j * k_row + head * k_head + d[None, :] * k_col, mask=mask_d, other=0).to(ACC)
            s = tl.sum(keys * query[None, :], axis=1)
            if BIAS:
                s += tl.load(bias + e * b_row + head * b_head, mask=real, other=0).to(ACC)
            s = tl.where(real, s, float("-inf"))
            higher = tl.maximum(top, tl.max(s, axis=0))
            p = tl.exp(s - finite_top(higher))
            shrink = tl.exp(top - finite_top(higher))
            mass = mass * shrink + tl.sum(p, axis=0)
            if DROPOUT > 0:
                p = _kept(p, tl.load(seed), e * heads + head, DROPOUT)
            values = tl.load(v + j * v_row + head * v_head + dv[None, :] * v_col, mask=mask_v, other=0).to(ACC)
            acc = acc * shrink + tl.sum(p[:, None] * values, axis=0)
            top = higher
        place = index * heads + head
        if PARTIAL:
            tl.store(out + place * depth_v + dv, acc, mask=in_v)
            tl.store(top_out + place, top)
            tl.store(mass_out + place, mass)
        else:  # a hub leaves zeros here, and its merged segments overwrite them
            store_attention(out, lse + place, place * depth_v, dv, in_v, acc, top, mass)


@triton.jit
@no_type_check
def _share(s, lse, real, dp, delta, seed, counter, DROPOUT: tl.constexpr):
    """Weight after dropout, and the gradient of the score, of edges whose output gradient meets their value in dp."""
    p = tl.where(real, tl.exp(s - lse), 0.0)
    kept = p
    if DROPOUT > 0:
        kept = _kept(p, seed, counter, DROPOUT)
        dp = _kept(dp, seed, counter, DROPOUT)
    return kept, tl.where(real, p * (dp - delta), 0.0)


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def attention_query_kernel(
    gq, gbias, g, q, k, v, bias, lse, delta, seed, begin, end, col, owner, num_rows, heads, depth, depth_v, split,
    g_row, g_head, g_col, q_row, q_head, q_col, k_row, k_head, k_col, v_row, v_head, v_col, b_row, b_head,
    SCALE: tl.constexpr, DROPOUT: tl.constexpr, BIAS: tl.constexpr, OWNER: tl.constexpr,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """gq[i] = scale * sum of t_e k_j over the row, and gbias[e] = t_e."""
    program = tl.program_id(0).to(tl.int64)
    head = program % heads
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    dv = tl.arange(0, BLOCK_V).to(tl.int64)
    in_d, in_v = d < depth, dv < depth_v
    draw = tl.load(seed) if DROPOUT > 0 else 0
    first_row = program // heads * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        row = tl.load(owner + index).to(tl.int64) if OWNER else index
        query = tl.load(q + row * q_row + head * q_head + d * q_col, mask=in_d, other=0).to(ACC) * SCALE
        up = tl.load(g + row * g_row + head * g_head + dv * g_col, mask=in_v, other=0).to(ACC)
        log_mass = tl.load(lse + row * heads + head)
        fall = tl.load(delta + row * heads + head)
        total = tl.zeros([BLOCK_D], ACC)
        for start in range(first, last, BLOCK_E):
            e = start + tl.arange(0, BLOCK_E)
            real = e < last
            j = tl.load(col + e, mask=real, other=0).to(tl.int64)[:, None]
            mask_d, mask_v = real[:, None] & in_d[None, :], real[:, None] & in_v[None, :]
            keys = tl.load(k + j * k_row + head * k_head + d[None, :] * k_col, mask=mask_d, other=0).to(ACC)
            values = tl.load(v + j * v_row + head * v_head + dv[None, :] * v_col, mask=mask_v, other=0).to(ACC)
            s = tl.sum(keys * query[None, :], axis=1)
            if BIAS:
                s += tl.load(bias + e * b_row + head * b_head, mask=real, other=0).to(ACC)
            dp = tl.sum(values * up[None, :], axis=1)
            _, t = _share(s, log_mass, real, dp, fall, draw, e * heads + head, DROPOUT)
            if BIAS:
                tl.store(gbias + e * heads + head, t.to(gbias.dtype.element_ty), mask=real)
            total += tl.sum(t[:, None] * keys, axis=0)
        place = (index * heads + head) * depth
        keep = d < tl.where(short, depth, 0)
        tl.store(gq + place + d, (total * SCALE).to(gq.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def attention_key_kernel(
    gk, gv, g, q, k, v, bias, lse, delta, seed, begin, end, col, slot, owner, num_rows, heads, depth, depth_v, split,
    g_row, g_head, g_col, q_row, q_head, q_col, k_row, k_head, k_col, v_row, v_head, v_col, b_row, b_head,
    SCALE: tl.constexpr, DROPOUT: tl.constexpr, BIAS: tl.constexpr, OWNER: tl.constexpr,
    ACC: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
):  # fmt: skip
    """gk[j] = scale * sum of t_e q_i and gv[j] = sum of p_e g_i over the edges out of j."""
    program = tl.program_id(0).to(tl.int64)
    head = program % heads
    d = tl.arange(0, BLOCK_D).to(tl.int64)
    dv = tl.arange(0, BLOCK_V).to(tl.int64)
    in_d, in_v = d < depth, dv < depth_v
    draw = tl.load(seed) if DROPOUT > 0 else 0
    first_row = program // heads * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        row = tl.load(owner + index).to(tl.int64) if OWNER else index
        key = tl.load(k + row * k_row + head * k_head + d * k_col, mask=in_d, other=0).to(ACC) * SCALE
        value = tl.load(v + row * v_row + head * v_head + dv * v_col, mask=in_v, other=0).to(ACC)
        k_total = tl.zeros([BLOCK_D], ACC)
        v_total = tl.zeros([BLOCK_V], ACC)
        for start in range(first, last, BLOCK_E):
            entry = start + tl.arange(0, BLOCK_E)
            real = entry < last
            i = tl.load(col + entry, mask=real, other=0).to(tl.int64)
            e = tl.load(slot + entry, mask=real, other=0).to(tl.int64)
            mask_d, mask_v = real[:, None] & in_d[None, :], real[:, None] & in_v[None, :]
            query = tl.load(q + i[:, None] * q_row + head * q_head + d[None, :] * q_col, mask=mask_d, other=0).to(ACC)
            up = tl.load(g + i[:, None] * g_row + head * g_head + dv[None, :] * g_col, mask=mask_v, other=0).to(ACC)
            log_mass = tl.load(lse + i * heads + head, mask=real, other=0)
            fall = tl.load(delta + i * heads + head, mask=real, other=0)
            s = tl.sum(query * key[None, :], axis=1)
            if BIAS:
                s += tl.load(bias + e * b_row + head * b_head, mask=real, other=0).to(ACC)
            dp = tl.sum(up * value[None, :], axis=1)
            p, t = _share(s, log_mass, real, dp, fall, draw, e * heads + head, DROPOUT)
            k_total += tl.sum(t[:, None] * query, axis=0)
            v_total += tl.sum(p[:, None] * up, axis=0)
        place = index * heads + head
        tl.store(gk + place * depth + d, (k_total * SCALE).to(gk.dtype.element_ty), mask=d < tl.where(short, depth, 0))
        tl.store(gv + place * depth_v + dv, v_total.to(gv.dtype.element_ty), mask=dv < tl.where(short, depth_v, 0))


def graph_attention(
    adjacency: Adjacency,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    scale: float,
    dropout: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Attention over the edges into each node; the contract of every backend. No weights are kept."""
    heads, depth_v = v.shape[1:]
    rows, dtype = rows_of(adjacency, False), sum_dtype(q)
    o, lse = v.new_empty(adjacency.num_dst, heads, depth_v), q.new_empty(adjacency.num_dst, heads, dtype=dtype)
    meta = _meta(q, k, v, bias, scale, dropout)
    inputs = (q, k, v, bias, seed)

    def run(part: Rows, out: Tensor, top: Tensor | None, mass: Tensor | None, split: int) -> None:
        tile = _tile(q, v, part)
        launch(
            attention_kernel, -(-len(part) // tile.rows) * heads, o,
            out, lse, top, mass, *inputs, part.begin, part.end, part.col, part.owner,
            len(part), heads, q.shape[2], depth_v, split, *_strides(q, k, v, bias),
            OWNER=part.owner is not None, PARTIAL=top is not None, ROWS=tile.rows, BLOCK_E=tile.edges,
            num_warps=tile.warps, **meta,
        )  # fmt: skip

    run(rows, o, None, None, triton_launch.SPLIT)
    if rows.hubs is not None:
        pieces, members = rows.hubs.segments, rows.hubs.members
        tile = _tile(q, v, members)
        top, mass = q.new_empty(2, len(pieces), heads, dtype=dtype)
        vectors = q.new_empty(len(pieces), heads, depth_v, dtype=dtype)
        run(pieces, vectors, top, mass, NEVER)
        launch(
            merge_kernel, len(members) * heads, o,
            o, lse, None, None, top, mass, vectors, members.begin, members.end, members.owner, heads, depth_v,
            ACC=meta["ACC"], VECTORS=True, BLOCK_E=tile.edges, BLOCK_V=meta["BLOCK_V"], num_warps=tile.warps,
        )  # fmt: skip
    return o, lse, q.new_empty(0, dtype=dtype)


def graph_attention_backward(
    adjacency: Adjacency,
    g: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    o: Tensor,
    lse: Tensor,
    weights: Tensor,
    scale: float,
    dropout: float,
    seed: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients to q, k, v and bias; the contract of every backend."""
    heads = q.shape[1]
    delta = (g.to(lse.dtype) * o).sum(-1).contiguous()  # arithmetic keeps odd strides
    gq, gk, gv = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
    gbias = None if bias is None else bias.new_empty(bias.shape)
    inputs = (g, q, k, v, bias, lse.contiguous(), delta, seed)
    meta = _meta(q, k, v, bias, scale, dropout)

    def run(kernel: object, part: Rows, outs: tuple[Tensor | None, ...], split: int) -> None:
        maps = (part.col,) if kernel is attention_query_kernel else (part.col, part.slot)
        tile = _tile(q, v, part)
        launch(
            kernel, -(-len(part) // tile.rows) * heads, gq,
            *outs, *inputs, part.begin, part.end, *maps, part.owner,
            len(part), heads, q.shape[2], v.shape[2], split, *g.stride(), *_strides(q, k, v, bias),
            OWNER=part.owner is not None, ROWS=tile.rows, BLOCK_E=tile.edges, num_warps=tile.warps, **meta,
        )  # fmt: skip

    rows = rows_of(adjacency, False)
    run(attention_query_kernel, rows, (gq, gbias), triton_launch.SPLIT)
    if rows.hubs is not None:
        parts = _parts(rows.hubs, gq, lse)
        run(attention_query_kernel, rows.hubs.segments, (parts, gbias), NEVER)
        add_members(rows.hubs.members, gq, parts)
    rows = rows_of(adjacency, True)
    run(attention_key_kernel, rows, (gk, gv), triton_launch.SPLIT)
    if rows.hubs is not None:
        both = _parts(rows.hubs, gk, lse), _parts(rows.hubs, gv, lse)
        run(attention_key_kernel, rows.hubs.segments, both, NEVER)
        for out, parts in zip((gk, gv), both, strict=True):
            add_members(rows.hubs.members, out, parts)
    return gq, gk, gv, gbias


def _parts(hubs: Hubs, like: Tensor, lse: Tensor) -> Tensor:
    return like.new_empty(len(hubs.segments), like.shape[1] * like.shape[2], dtype=lse.dtype)


def _tile(q: Tensor, v: Tensor, rows: Rows) -> Tile:
    return row_tile(max(q.shape[2], v.shape[2]), q.dtype, rows)


def _strides(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[int, ...]:
    return (*q.stride(), *k.stride(), *v.stride(), *((0, 0) if bias is None else bias.stride()))


def _meta(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, dropout: float) -> dict[str, object]:
    """Constants of the three kernels. A depth is padded to a power of two, 16 at least."""
    depth, depth_v = (max(16, triton.next_power_of_2(each.shape[2])) for each in (q, v))
    return {
        "SCALE": scale,
        "DROPOUT": dropout,
        "BIAS": bias is not None,
        "ACC": accumulator(q, k, v),
        "BLOCK_D": depth,
        "BLOCK_V": depth_v,
    }
