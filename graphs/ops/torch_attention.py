"""Softmax over the edges into each node, attention, and the score of GATv2, from torch's own CPU primitives.

Attention keeps its normalised weights, one number an edge and head; nothing has a vector an edge.
"""

import torch
from torch import Tensor

from . import torch_primitives as primitives
from .adjacency import Adjacency
from .dropout import dropout_mask
from .torch_primitives import gather_sum, identity, matrix, row_extreme, slot_chunks
from .torch_sums import HALVES, edge_dots, spmm, sum_chunks

__all__ = [
    "gatv2_score",
    "gatv2_score_backward",
    "graph_attention",
    "graph_attention_backward",
    "segment_softmax",
]


def segment_softmax(adjacency: Adjacency, scores: Tensor) -> Tensor:
    """Softmax of the scores over the slots of each row; the contract of every backend."""
    if scores.dtype in HALVES:
        return segment_softmax(adjacency, scores.float()).to(scores.dtype)
    p = torch.empty_like(scores, memory_format=torch.contiguous_format).copy_(scores)
    _softmax_(adjacency, p if p.dim() == 2 else p.unsqueeze(1))
    return p


def _softmax_(adjacency: Adjacency, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Turn scores [E, H] into weights in place; returns the maximum and the sum of each row [n_dst, H]."""
    dtype, row = scores.dtype, adjacency.row
    slots = identity(adjacency)

    def build() -> Tensor:
        return matrix(adjacency.rowptr, slots, torch.ones(adjacency.num_edges, dtype=dtype), adjacency.num_edges)

    segments = adjacency.cached(f"segments {dtype}", build)
    info = torch.finfo(dtype)
    top = row_extreme(segments, scores, "amax").clamp_(min=info.min)  # finite, so that a row of -inf becomes 0, not nan
    scores.sub_(top.index_select(0, row)).exp_()
    total = gather_sum(scores, slots, adjacency.rowptr)
    scores.div_(total.clamp(min=info.tiny).index_select(0, row))
    return top, total


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
    """Attention over the edges into each node; the contract of every backend."""
    if q.dtype in HALVES:
        o, lse, p = graph_attention(adjacency, q.float(), k.float(), v.float(), bias, scale, dropout, seed)
        return o.to(q.dtype), lse, p
    p = edge_dots(adjacency, q, k, scale)
    if bias is not None:
        p.add_(bias)
    top, total = _softmax_(adjacency, p)
    lse = top.add_(total.log()).masked_fill_(total == 0, 0)
    o = spmm(adjacency, v, _dropped(p, dropout, seed), False, False)
    return o, lse, p


def _dropped(weights: Tensor, dropout: float, seed: Tensor | None) -> Tensor:
    """A fresh tensor of the weights that dropout leaves, scaled up; the weights themselves without a dropout."""
    if seed is None or dropout == 0.0:
        return weights
    slots, heads = weights.shape
    return (weights * dropout_mask(seed, slots, heads, dropout)).mul_(1 / (1 - dropout))


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
    if q.dtype in HALVES:
        gq, gk, gv, gs = graph_attention_backward(
            adjacency,
            g.float(),
            q.float(),
            k.float(),
            v.float(),
            bias,
            o.float(),
            lse,
            weights,
            scale,
            dropout,
            seed,
        )
        return gq.to(q.dtype), gk.to(q.dtype), gv.to(q.dtype), gs
    gv = spmm(adjacency, g, _dropped(weights, dropout, seed), True, False)
    gs = _dropped(edge_dots(adjacency, g, v), dropout, seed)
    gs.sub_((g * o).sum(-1).index_select(0, adjacency.row)).mul_(weights)
    scaled = gs if bias is None else gs * scale
    if bias is None:
        scaled.mul_(scale)
    gq = spmm(adjacency, k, scaled, False, False)
    gk = spmm(adjacency, q, scaled, True, False)
    return gq, gk, gv, None if bias is None else gs.to(bias.dtype)


# --- GATv2 ----------------------------------------------------------------------------------------------------------


def gatv2_score(adjacency: Adjacency, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float) -> Tensor:
    """Additive attention score of each edge; the contract of every backend."""
    if q.dtype in HALVES:
        wide_edge = None if edge is None else edge.float()
        return gatv2_score(adjacency, q.float(), k.float(), att.float(), wide_edge, slope).to(q.dtype)
    out = q.new_empty(adjacency.num_edges, q.shape[1])
    buffers = _buffers(adjacency, q)
    for slots, _, _ in slot_chunks(adjacency, False):
        total = _ends_sum(q, k, edge, adjacency.row[slots], adjacency.col[slots], slots, buffers)
        torch.nn.functional.leaky_relu_(total, slope).mul_(att)
        torch.sum(total, -1, out=out[slots])
    return out


def gatv2_score_backward(
    adjacency: Adjacency, g: Tensor, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients to q, k, att and edge; the contract of every backend.

    What an edge gives its source is added there at once if all sources fit in cache, else computed again by sources.
    """
    if q.dtype in HALVES:
        wide_edge = None if edge is None else edge.float()
        gq, gk, gatt, gedge = gatv2_score_backward(
            adjacency, g.float(), q.float(), k.float(), att.float(), wide_edge, slope
        )
        return gq.to(q.dtype), gk.to(q.dtype), gatt.to(q.dtype), None if gedge is None else gedge.to(q.dtype)
    gatt = torch.zeros_like(att, memory_format=torch.contiguous_format)
    gedge = None if edge is None else torch.empty_like(edge, memory_format=torch.contiguous_format)
    buffers, in_cache = _buffers(adjacency, q), k.numel() * k.element_size() <= primitives.WIDE // 2
    gk = k.new_zeros(k.shape if in_cache else 0)

    def by_destination(slots: slice, messages: Tensor) -> None:
        total = _ends_sum(q, k, edge, adjacency.row[slots], adjacency.col[slots], slots, buffers)
        at_head = g[slots].unsqueeze(-1)
        _bend_(torch.mul(at_head, att, out=messages), total, slope)
        gatt.add_(torch.nn.functional.leaky_relu_(total, slope).mul_(at_head).sum(0))
        if gedge is not None:
            gedge[slots] = messages
        if in_cache:
            flat = messages.flatten(1)
            gk.flatten(1).scatter_add_(0, adjacency.col[slots].long().unsqueeze(1).expand_as(flat), flat)

    def by_source(slots: slice, messages: Tensor) -> None:
        order = adjacency.slot_t[slots]
        sources = adjacency.col.index_select(0, order)
        total = _ends_sum(q, k, edge, adjacency.col_t[slots], sources, order, buffers)
        _bend_(torch.mul(g.index_select(0, order).unsqueeze(-1), att, out=messages), total, slope)

    gq = sum_chunks(adjacency, q, by_destination, False)
    return gq, gk if in_cache else sum_chunks(adjacency, k, by_source, True), gatt, gedge


def _buffers(adjacency: Adjacency, q: Tensor) -> tuple[Tensor, Tensor]:
    size = min(primitives.SLOTS, adjacency.num_edges)
    return q.new_empty(size, *q.shape[1:]), q.new_empty(size, *q.shape[1:])


def _ends_sum(
    q: Tensor,
    k: Tensor,
    edge: Tensor | None,
    destinations: Tensor,
    sources: Tensor,
    slots: slice | Tensor,
    buffers: tuple[Tensor, Tensor],
) -> Tensor:
    """q_i + k_j + edge_e of some slots, in the first buffer."""
    left, right = (each[: destinations.shape[0]] for each in buffers)
    torch.index_select(q, 0, destinations, out=left)
    torch.index_select(k, 0, sources, out=right)
    left.add_(right)
    if edge is not None:
        left.add_(edge[slots])
    return left


def _bend_(g: Tensor, total: Tensor, slope: float) -> None:
    """Multiply by the derivative of LeakyReLU at the total, in place; a ``where`` of two numbers takes far longer."""
    torch.ops.aten.leaky_relu_backward.grad_input(g, total, slope, False, grad_input=g)
