"""The operators as loops and sums in float64: slow, short, and the oracle for every other backend.

Each function follows its formula: one message per slot, added up where it arrives. Values are computed in float64
and cast back to the dtype of the input. Every backend module has these functions with these arguments; ``transposed``
turns the edges around, so that messages go from destinations to sources. Edge tensors are in slot order either way.
"""

import itertools
import math

import torch
from torch import Tensor

from .adjacency import Adjacency
from .dropout import dropout_mask

__all__ = [
    "edge_gather",
    "edge_sum",
    "gatv2_score",
    "gatv2_score_backward",
    "graph_attention",
    "graph_attention_backward",
    "multi_aggregate",
    "multi_aggregate_backward",
    "sddmm",
    "segment_softmax",
    "spmm",
    "spmm_typed",
    "typed_outer",
]


def spmm(adjacency: Adjacency, x: Tensor, weight: Tensor | None, transposed: bool, mean: bool) -> Tensor:
    """y_i = sum of w_e x_j over the edges e from j to i; ``mean`` divides each w_e by the in-degree of its destination.

    Shapes: x [n_in, F] with weight [E], or x [n_in, H, D] with weight [E, H].
    """
    tail, head, size = _ends(adjacency, transposed)
    messages = x.double()[tail]
    if weight is not None:
        messages = messages * weight.double()[..., None]
    if mean:
        messages = messages / _wide(_in_degree(adjacency)[adjacency.row.long()], messages)
    return _sum(messages, head, size).to(x.dtype)


def sddmm(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """s_e = <a_i, b_j>, per head where a and b have heads. Shapes: a [n_dst, F] or [n_dst, H, D]; s [E] or [E, H]."""
    return (a.double()[adjacency.row.long()] * b.double()[adjacency.col.long()]).sum(-1).to(a.dtype)


def edge_gather(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    """The row of x that belongs to the destination (``transposed``: the source) of each edge. Shapes: [E, ...]."""
    return x[(adjacency.col if transposed else adjacency.row).long()]


def edge_sum(adjacency: Adjacency, values: Tensor, transposed: bool) -> Tensor:
    """The sum of the values of the edges into each destination (``transposed``: out of each source)."""
    _, head, size = _ends(adjacency, transposed)
    return _sum(values.double(), head, size).to(values.dtype)


def spmm_typed(adjacency: Adjacency, x: Tensor, table: Tensor, edge_type: Tensor, transposed: bool) -> Tensor:
    """y_i = sum of table[type_e] * x_j over the edges e from j to i. Shapes: x [n_in, F], table [R, F]."""
    tail, head, size = _ends(adjacency, transposed)
    return _sum(x.double()[tail] * table.double()[edge_type.long()], head, size).to(x.dtype)


def typed_outer(adjacency: Adjacency, a: Tensor, b: Tensor, edge_type: Tensor, num_types: int) -> Tensor:
    """g_r = sum of a_i * b_j over the edges of type r. Shapes: a [n_dst, F], b [n_src, F], g [R, F]."""
    products = a.double()[adjacency.row.long()] * b.double()[adjacency.col.long()]
    return _sum(products, edge_type.long(), num_types).to(a.dtype)


def multi_aggregate(
    adjacency: Adjacency, x: Tensor, kinds: str, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, max, min, std, argmax, argmin and centre of the neighbours of each node; what is not asked stays empty.

    std = sqrt(max(variance, eps)), and 0 for fewer than two neighbours. argmax is the first maximal slot, -1 where
    there is none. The centre is the mean of all rows of x, about which other backends sum squares; 0 where it is not
    finite, since a nan must reach only those who see it.
    """
    asked = kinds.split(",")
    shape = (adjacency.num_dst, x.shape[1])
    mean, largest, smallest, std = (x.new_zeros(shape, dtype=torch.float64) for _ in range(4))
    argmax, argmin = (torch.full(shape, -1, dtype=adjacency.rowptr.dtype, device=x.device) for _ in range(2))
    for i, slots in _rows(adjacency):
        values = x.double()[adjacency.col[slots].long()]  # [n_i, F]
        mean[i] = values.mean(0)
        largest[i], smallest[i] = values.amax(0), values.amin(0)
        argmax[i] = slots.start + _first(values == largest[i], values)
        argmin[i] = slots.start + _first(values == smallest[i], values)
        if len(values) > 1:
            std[i] = (values - mean[i]).square().mean(0).clamp(min=eps).sqrt()
    statistics = torch.float64 if x.dtype == torch.float64 else torch.float32

    def out(
        wanted: bool, values: Tensor, dtype: torch.dtype
    ) -> Tensor:  # a fresh one each: outputs may not be one tensor
        return values.to(dtype) if wanted else values.new_empty(0, dtype=dtype)

    return (
        out("mean" in asked or "std" in asked, mean, x.dtype),
        out("max" in asked, largest, x.dtype),
        out("min" in asked, smallest, x.dtype),
        out("std" in asked, std, x.dtype),
        out("max" in asked, argmax, argmax.dtype),
        out("min" in asked, argmin, argmin.dtype),
        out("std" in asked, x.double().mean(0), statistics),
    )


def multi_aggregate_backward(
    adjacency: Adjacency,
    g_mean: Tensor | None,
    g_max: Tensor | None,
    g_min: Tensor | None,
    g_std: Tensor | None,
    x: Tensor,
    mean: Tensor,
    std: Tensor,
    argmax: Tensor,
    argmin: Tensor,
    center: Tensor,
    eps: float,
) -> Tensor:
    """Gradient to x: g/n for the mean, all of g to the winning slot, g (x - mean)/(n std) where the variance > eps.

    x, mean, std and center are empty where g_std is None.
    """
    like = next(g for g in (g_mean, g_max, g_min, g_std) if g is not None)
    gx = like.new_zeros((adjacency.num_src, like.shape[1]), dtype=torch.float64)
    for i, slots in _rows(adjacency):
        sources = adjacency.col[slots].long()
        count = len(sources)
        gradient = gx.new_zeros((count, gx.shape[1]))  # one row per slot: a source may come twice
        if g_mean is not None:
            gradient += g_mean[i].double() / count
        if g_std is not None and count > 1:
            values = x.double()[sources]
            variance = (values - values.mean(0)).square().mean(0)
            shifted = g_std[i].double() * (values - values.mean(0)) / (count * variance.clamp(min=eps).sqrt())
            gradient += torch.where(variance > eps, shifted, 0.0)
        for g, arg in ((g_max, argmax), (g_min, argmin)):
            if g is not None:
                gradient.scatter_add_(0, arg[i].long()[None] - slots.start, g[i].double()[None])
        gx.index_add_(0, sources, gradient)
    return gx.to(like.dtype)


def gatv2_score(adjacency: Adjacency, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float) -> Tensor:
    """s_e = <att, LeakyReLU(q_i + k_j + edge_e)>. Shapes: q [n_dst, H, D], k [n_src, H, D], att [H, D]; s [E, H]."""
    total = _gatv2_sum(adjacency, q, k, edge)
    return (torch.where(total > 0, total, slope * total) * att.double()).sum(-1).to(q.dtype)


def gatv2_score_backward(
    adjacency: Adjacency, g: Tensor, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients to q, k, att and edge: t_e = g_e att LeakyReLU'(q_i + k_j + edge_e), summed where each came from."""
    total, g_edge = _gatv2_sum(adjacency, q, k, edge), g.double()[..., None]
    t = g_edge * att.double() * torch.where(total > 0, torch.ones_like(total), slope)
    gatt = (g_edge * torch.where(total > 0, total, slope * total)).sum(0)
    gq = _sum(t, adjacency.row.long(), adjacency.num_dst).to(q.dtype)
    gk = _sum(t, adjacency.col.long(), adjacency.num_src).to(k.dtype)
    return gq, gk, gatt.to(att.dtype), None if edge is None else t.to(edge.dtype)


def segment_softmax(adjacency: Adjacency, scores: Tensor) -> Tensor:
    """p_e = exp(s_e) / sum of exp(s) over the edges into the same destination; 0 where all of them are -inf."""
    return _softmax(adjacency, scores.double())[0].to(scores.dtype)


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
    """o_i = sum of p_e v_j with p the softmax of scale <q_i, k_j> + bias_e over the edges into i.

    Shapes: q [n_dst, H, D], k [n_src, H, D], v [n_src, H, Dv], bias [E, H].

    Returns:
        The output [n_dst, H, Dv]; lse [n_dst, H], the logarithm of the sum of exp, 0 where there is nothing to sum;
        the weights p [E, H] before dropout.
    """
    row, col = adjacency.row.long(), adjacency.col.long()
    scores = scale * (q.double()[row] * k.double()[col]).sum(-1)
    if bias is not None:
        scores = scores + bias.double()
    p, lse = _softmax(adjacency, scores)
    kept = p * _kept(p, dropout, seed)
    o = _sum(kept[..., None] * v.double()[col], row, adjacency.num_dst)
    return o.to(v.dtype), lse.to(_statistics(q)), p.to(_statistics(q))


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
    """Gradients to q, k, v and bias through t_e = p_e (gp_e - sum of p gp over the edges into i)."""
    row, col = adjacency.row.long(), adjacency.col.long()
    q64, k64, v64, g64 = q.double(), k.double(), v.double(), g.double()
    scores = scale * (q64[row] * k64[col]).sum(-1)
    p, _ = _softmax(adjacency, scores if bias is None else scores + bias.double())
    keep = _kept(p, dropout, seed)
    gv = _sum((p * keep)[..., None] * g64[row], col, adjacency.num_src)
    gp = keep * (g64[row] * v64[col]).sum(-1)
    t = p * (gp - _sum(p * gp, row, adjacency.num_dst)[row])
    gq = scale * _sum(t[..., None] * k64[col], row, adjacency.num_dst)
    gk = scale * _sum(t[..., None] * q64[row], col, adjacency.num_src)
    return gq.to(q.dtype), gk.to(k.dtype), gv.to(v.dtype), None if bias is None else t.to(bias.dtype)


def _ends(adjacency: Adjacency, transposed: bool) -> tuple[Tensor, Tensor, int]:
    """Where the messages of the slots come from, where they go, and how many receivers there are."""
    row, col = adjacency.row.long(), adjacency.col.long()
    return (row, col, adjacency.num_src) if transposed else (col, row, adjacency.num_dst)


def _sum(messages: Tensor, head: Tensor, size: int) -> Tensor:
    return messages.new_zeros((size, *messages.shape[1:])).index_add_(0, head, messages)


def _statistics(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _in_degree(adjacency: Adjacency) -> Tensor:
    return adjacency.rowptr.diff().double()


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """One value per edge, shaped to divide the messages of any number of axes."""
    return values.reshape(-1, *(1,) * (like.dim() - 1))


def _rows(adjacency: Adjacency) -> list[tuple[int, slice]]:
    """Each destination that has neighbours, and its slots."""
    offsets = adjacency.rowptr.tolist()
    return [(i, slice(a, b)) for i, (a, b) in enumerate(itertools.pairwise(offsets)) if a < b]


def _first(hit: Tensor, values: Tensor) -> Tensor:
    """Index of the first winner in each column; a nan wins over all."""
    return (hit | values.isnan()).int().argmax(0)


def _gatv2_sum(adjacency: Adjacency, q: Tensor, k: Tensor, edge: Tensor | None) -> Tensor:
    total = q.double()[adjacency.row.long()] + k.double()[adjacency.col.long()]
    return total if edge is None else total + edge.double()


def _softmax(adjacency: Adjacency, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax over the slots of each row, and the logarithm of its denominator."""
    p = torch.zeros_like(scores)
    lse = scores.new_zeros((adjacency.num_dst, *scores.shape[1:]))
    for i, slots in _rows(adjacency):
        total = scores[slots].logsumexp(0)
        reachable = total != -math.inf
        p[slots] = torch.where(reachable, (scores[slots] - total).exp(), 0.0)
        lse[i] = torch.where(reachable, total, 0.0)
    return p, lse


def _kept(p: Tensor, dropout: float, seed: Tensor | None) -> Tensor:
    """The factor of each weight under dropout: 0, or 1 / (1 - dropout)."""
    if seed is None or dropout == 0.0:
        return torch.ones_like(p)
    slots, heads = p.shape
    return dropout_mask(seed, slots, heads, dropout).to(p.dtype) / (1.0 - dropout)
