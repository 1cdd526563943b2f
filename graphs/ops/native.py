"""Kernels in C++ for the CPU, where a compiler was found; the same functions as in every backend.

They earn their place where torch has no primitive that keeps messages out of memory, or a slow one: extremes with a
gradient, several statistics in one pass, edge vectors, GATv2, narrow features and attention. :func:`supports` says
whether they may be called. See :mod:`.native_build` for how they come to be, and
:mod:`.native_library` for how they are called.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from .adjacency import Adjacency
from .dropout import dropout_mask
from .native_library import VALUES, address, library, loaded, threads_for
from .native_order import take_rows

__all__ = [
    "edge_gather",
    "edge_sum",
    "gatv2_score",
    "gatv2_score_backward",
    "gin_sum",
    "gin_sum_backward",
    "graph_attention",
    "graph_attention_backward",
    "multi_aggregate",
    "multi_aggregate_backward",
    "sddmm",
    "segment_softmax",
    "spmm",
    "spmm_typed",
    "supports",
    "typed_outer",
]

NONE, PER_SOURCE, PER_HEAD, PER_COLUMN = range(4)  # which weight multiplies a column of a row

NOTHING = torch.empty(0)  # in the place of results that nobody asked for


def supports(x: Tensor, adjacency: Adjacency | None = None) -> bool:
    """Whether the kernels take this tensor: on the CPU, of 32 or 64 bits, and compiled."""
    index = torch.int32 if adjacency is None else adjacency.rowptr.dtype
    return x.is_cpu and x.dtype in VALUES and library(x.dtype, index) is not None


def _for(adjacency: Adjacency, x: Tensor) -> SimpleNamespace:
    return loaded(x.dtype, adjacency.rowptr.dtype)


def _threads(adjacency: Adjacency, width: int) -> int:
    return threads_for(adjacency.num_edges * width)


def _rows(x: Tensor) -> Tensor:
    """The tensor itself if each of its rows is one stretch of memory, as in a slice of columns, else a copy."""
    if x.is_contiguous():
        return x
    return x if x.dim() == 2 and x.stride(1) == 1 and x.stride(0) >= x.shape[1] else x.contiguous()


def _half(adjacency: Adjacency, transposed: bool) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Row pointers, far ends, the slot of each entry (None: its own place) and the number of rows."""
    if transposed:
        return adjacency.rowptr_t, adjacency.col_t, adjacency.slot_t, adjacency.num_src
    return adjacency.rowptr, adjacency.col, None, adjacency.num_dst


def _sum(
    adjacency: Adjacency,
    x: Tensor,
    weight: Tensor | None,
    kind: int,
    heads: int,
    width: int,
    transposed: bool,
    mean: bool = False,
    col: Tensor | None = None,
    edge_type: Tensor | None = None,
) -> Tensor:
    ptr, far, slot, n = _half(adjacency, transposed)
    far = far if col is None else col
    x, edges = x if x.is_contiguous() else _rows(x), far.shape[0]
    weight = None if weight is None else weight.contiguous()  # named, lest a copy be freed before it is read
    y = torch.empty(n, width, dtype=x.dtype) if x.dim() == 2 else torch.empty((n, *x.shape[1:]), dtype=x.dtype)
    _for(adjacency, x).sum(
        ptr.data_ptr(), far.data_ptr(), address(slot), address(edge_type), x.data_ptr(),
        address(weight), n, edges, x.stride(0), heads, width, kind, mean, y.data_ptr(),
        threads_for(edges * heads * width),
    )  # fmt: skip
    return y


def spmm(adjacency: Adjacency, x: Tensor, weight: Tensor | None, transposed: bool, mean: bool) -> Tensor:
    """y_i = sum of w_e x_j over the edges e from j to i; ``mean`` divides each w_e by the in-degree of its destination.

    Shapes: x [n_in, F] with weight [E], or x [n_in, H, D] with weight [E, H].
    """
    shape = (1, x.shape[1]) if x.dim() == 2 else (x.shape[1], x.shape[2])
    kind = NONE if weight is None else PER_HEAD
    if weight is not None and x.dim() == 3 and shape[1] == 1:
        kind, shape = PER_COLUMN, (1, shape[0])
    if mean and transposed:  # the degree is that of the far end
        share = adjacency.inverse_degree(x.dtype)
        if weight is None:
            return _sum(adjacency, x, share, PER_SOURCE, *shape, transposed)
        share = share.index_select(0, adjacency.row)
        weight = weight * (share if weight.dim() == 1 else share[:, None])
    return _sum(adjacency, x, weight, kind, *shape, transposed, mean and not transposed)


def spmm_typed(adjacency: Adjacency, x: Tensor, table: Tensor, edge_type: Tensor, transposed: bool) -> Tensor:
    """y_i = sum of table[type_e] * x_j over the edges e from j to i. Shapes: x [n_in, F], table [R, F]."""
    edge_type = edge_type.to(adjacency.rowptr.dtype).contiguous()
    return _sum(adjacency, x, table, PER_COLUMN, 1, x.shape[1], transposed, edge_type=edge_type)


def edge_sum(adjacency: Adjacency, values: Tensor, transposed: bool) -> Tensor:
    """The sum of the values of the edges into each destination (``transposed``: out of each source)."""
    flat = values.reshape(values.shape[0], values.shape[1:].numel())
    slots = adjacency.slot_t if transposed else adjacency.cached("slots", lambda: _slots(adjacency))
    y = _sum(adjacency, flat, None, NONE, 1, flat.shape[1], transposed, col=slots)
    return y.view(y.shape[0], *values.shape[1:])


def _slots(adjacency: Adjacency) -> Tensor:
    return torch.arange(adjacency.num_edges, dtype=adjacency.rowptr.dtype)


def edge_gather(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    """The row of x for each edge's destination (``transposed``: source)."""
    return take_rows(x, adjacency.col if transposed else adjacency.row)


def typed_outer(adjacency: Adjacency, a: Tensor, b: Tensor, edge_type: Tensor, num_types: int) -> Tensor:
    """g_r = sum of a_i * b_j over the edges of type r. Shapes: a [n_dst, F], b [n_src, F], g [R, F]."""
    a, b, edge_type = a.contiguous(), b.contiguous(), edge_type.to(adjacency.rowptr.dtype).contiguous()
    out = torch.empty((num_types, a.shape[1]), dtype=a.dtype)
    _for(adjacency, a).typed(
        adjacency.row.data_ptr(), adjacency.col.data_ptr(), edge_type.data_ptr(), a.data_ptr(), b.data_ptr(),
        adjacency.num_edges, num_types, a.shape[1], out.data_ptr(), _threads(adjacency, a.shape[1]),
    )  # fmt: skip
    return out


def sddmm(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """s_e = <a_i, b_j>, per head where a and b have heads. Shapes: a [n_dst, F] or [n_dst, H, D]; s [E] or [E, H]."""
    a, b, edges = a.contiguous(), b.contiguous(), adjacency.num_edges
    if a.dim() == 2:
        (n, width), heads, out = a.shape, 1, torch.empty(edges, dtype=a.dtype)
    else:
        n, heads, width = a.shape
        out = torch.empty(edges, heads, dtype=a.dtype)
    _for(adjacency, a).sddmm(
        adjacency.rowptr.data_ptr(), adjacency.col.data_ptr(), a.data_ptr(), b.data_ptr(),
        n, edges, heads, width, out.data_ptr(), threads_for(edges * heads * width),
    )  # fmt: skip
    return out


def multi_aggregate(
    adjacency: Adjacency, x: Tensor, kinds: str, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, max, min, std, argmax, argmin and centre of the neighbours of each node; what is not asked stays empty.

    The squares for std are summed about the first neighbour, lest they cancel; the gradient is taken about the centre,
    the mean of all rows of x.
    """
    asked, x, shape = kinds.split(","), _rows(x), (adjacency.num_dst, x.shape[1])
    wants_std, wants_max, wants_min = "std" in asked, "max" in asked, "min" in asked
    index, traced = adjacency.rowptr.dtype, "values" not in asked

    def out(wanted: bool, dtype: torch.dtype) -> Tensor:
        if not (wanted or traced):
            return NOTHING
        return torch.empty(shape if wanted else 0, dtype=dtype)

    mean, std = out("mean" in asked or (wants_std and traced), x.dtype), out(wants_std, x.dtype)
    largest, argmax = out(wants_max, x.dtype), out(wants_max and traced, index)
    smallest, argmin = out(wants_min, x.dtype), out(wants_min and traced, index)
    center = x.mean(0) if wants_std and traced else out(False, x.dtype)
    _for(adjacency, x).aggregate(
        adjacency.rowptr.data_ptr(), adjacency.col.data_ptr(), x.data_ptr(),
        adjacency.num_dst, adjacency.num_edges, x.stride(0), x.shape[1], eps,
        *(each.data_ptr() for each in (mean, largest, smallest, std, argmax, argmin)), _threads(adjacency, x.shape[1]),
    )  # fmt: skip
    return mean, largest, smallest, std, argmax, argmin, center


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
    """Gradient to x: g/n for the mean, all of g to the winning slot, g (x - mean)/(n std) where the variance > eps."""
    g_mean, g_max, g_min, g_std = (None if g is None else g.contiguous() for g in (g_mean, g_max, g_min, g_std))
    g = next(each for each in (g_mean, g_max, g_min, g_std) if each is not None)
    if g_std is not None:
        gx = _spread(adjacency, g_mean, g_std, _rows(x), mean, std, center, eps)
    elif g_mean is not None:
        gx = spmm(adjacency, g_mean, None, True, True)
    else:
        gx = torch.empty((adjacency.num_src, g.shape[1]), dtype=g.dtype)
    if g_max is not None or g_min is not None:
        add = g_std is not None or g_mean is not None
        _for(adjacency, g).winners(
            adjacency.col.data_ptr(), argmax.data_ptr(), address(g_max), argmin.data_ptr(), address(g_min),
            adjacency.num_dst, adjacency.num_src, g.shape[1], gx.data_ptr(), add, _threads(adjacency, g.shape[1]),
        )  # fmt: skip
    return gx


def _spread(
    adjacency: Adjacency,
    g_mean: Tensor | None,
    g_std: Tensor,
    x: Tensor,
    mean: Tensor,
    std: Tensor,
    center: Tensor,
    eps: float,
) -> Tensor:
    n, features, threads = adjacency.num_dst, x.shape[1], _threads(adjacency, x.shape[1])
    kernels = _for(adjacency, g_std)
    pairs, gx = torch.empty((n, 2, features), dtype=x.dtype), torch.empty(x.shape, dtype=x.dtype)
    kernels.slopes(
        adjacency.rowptr.data_ptr(), address(g_mean), g_std.data_ptr(), mean.data_ptr(), std.data_ptr(),
        center.data_ptr(), n, features, eps, pairs.data_ptr(), threads,
    )  # fmt: skip
    kernels.spread(
        adjacency.rowptr_t.data_ptr(), adjacency.col_t.data_ptr(), pairs.data_ptr(), x.data_ptr(), center.data_ptr(),
        adjacency.num_src, adjacency.num_edges, x.stride(0), features, gx.data_ptr(), threads,
    )  # fmt: skip
    return gx


def gatv2_score(adjacency: Adjacency, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float) -> Tensor:
    """s_e = <att, LeakyReLU(q_i + k_j + edge_e)>. Shapes: q [n_dst, H, D], k [n_src, H, D], att [H, D]; s [E, H]."""
    q, k, att, edge = q.contiguous(), k.contiguous(), att.contiguous(), None if edge is None else edge.contiguous()
    out = torch.empty((adjacency.num_edges, q.shape[1]), dtype=q.dtype)
    _for(adjacency, q).gatv2(
        adjacency.rowptr.data_ptr(), adjacency.col.data_ptr(), q.data_ptr(), k.data_ptr(), address(edge),
        att.data_ptr(), adjacency.num_dst, adjacency.num_edges, *q.shape[1:], slope, out.data_ptr(),
        _threads(adjacency, q.shape[1:].numel()),
    )  # fmt: skip
    return out


def gatv2_score_backward(
    adjacency: Adjacency, g: Tensor, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients to q, k, att and edge: t_e = g_e att LeakyReLU'(q_i + k_j + edge_e), summed where each came from."""
    g, q, k, att = g.contiguous(), q.contiguous(), k.contiguous(), att.contiguous()
    edge = None if edge is None else edge.contiguous()
    gq, gk, gatt = (torch.empty(each.shape, dtype=each.dtype) for each in (q, k, att))
    gedge = None if edge is None else torch.empty(edge.shape, dtype=edge.dtype)
    for transposed, near, far, to in ((False, q, k, gq), (True, k, q, gk)):
        ptr, col, slot, n = _half(adjacency, transposed)
        once = (None, None) if transposed else (address(gedge), gatt.data_ptr())
        _for(adjacency, q).gatv2_backward(
            ptr.data_ptr(), col.data_ptr(), address(slot), g.data_ptr(), near.data_ptr(), far.data_ptr(), address(edge),
            att.data_ptr(), n, adjacency.num_edges, *q.shape[1:], slope, to.data_ptr(), *once,
            _threads(adjacency, q.shape[1:].numel()),
        )  # fmt: skip
    return gq, gk, gatt, gedge


def gin_sum(adjacency: Adjacency, x: Tensor, epsilon: Tensor | None, u: Tensor | None, kind: Tensor | None) -> Tensor:
    """y_i = (1 + epsilon) x_i + sum of relu(x_j + u_e), or of x_j without u, over the edges e from j to i.

    Shapes: x [n, F]; epsilon [1], absent for no x_i; u [E, F], or [K, F] where edge e takes row kind_e.
    """
    y = torch.empty((adjacency.num_dst, x.shape[1]), dtype=x.dtype)
    _for(adjacency, x).gin_sum(
        adjacency.rowptr.data_ptr(), adjacency.col.data_ptr(), address(kind), x.data_ptr(), address(u),
        address(epsilon), adjacency.num_dst, adjacency.num_edges, x.shape[1], y.data_ptr(),
        _threads(adjacency, x.shape[1]),
    )  # fmt: skip
    return y


def gin_sum_backward(
    adjacency: Adjacency, g: Tensor, x: Tensor, epsilon: Tensor | None, u: Tensor | None, kind: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Gradients to x, epsilon and u: those of the sums pass where x_j + u_e is above 0."""
    gx, gepsilon, gu = (None if each is None else torch.empty(each.shape, dtype=x.dtype) for each in (x, epsilon, u))
    assert gx is not None
    kinds = 0 if u is None or kind is None else u.shape[0]
    _for(adjacency, x).gin_sum_backward(
        adjacency.rowptr_t.data_ptr(), adjacency.col_t.data_ptr(), adjacency.slot_t.data_ptr(), address(kind),
        g.data_ptr(), x.data_ptr(), address(u), address(epsilon), adjacency.num_src, adjacency.num_edges, x.shape[1],
        kinds, gx.data_ptr(), address(gu), address(gepsilon), _threads(adjacency, x.shape[1]),
    )  # fmt: skip
    return gx, gepsilon, gu


def segment_softmax(adjacency: Adjacency, scores: Tensor) -> Tensor:
    """p_e = exp(s_e) / sum of exp(s) over the edges into the same destination; 0 where all of them are -inf."""
    scores = scores.contiguous()
    p = torch.empty(scores.shape, dtype=scores.dtype)
    _softmax(adjacency, scores, p, None)
    return p


def _softmax(adjacency: Adjacency, scores: Tensor, p: Tensor, lse: Tensor | None) -> None:
    heads = scores.shape[1] if scores.dim() == 2 else 1
    _for(adjacency, scores).softmax(
        adjacency.rowptr.data_ptr(), scores.data_ptr(), adjacency.num_dst, heads, p.data_ptr(), address(lse),
        _threads(adjacency, heads),
    )  # fmt: skip


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
    """o_i = sum of p_e v_j with p the softmax of scale <q_i, k_j> + bias_e over the edges into i."""
    weights = sddmm(adjacency, q * scale, k)
    if bias is not None:
        weights += bias
    lse = torch.empty((adjacency.num_dst, q.shape[1]), dtype=q.dtype)
    _softmax(adjacency, weights, weights, lse)
    return spmm(adjacency, v, _dropped(weights, dropout, seed), False, False), lse, weights


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
    g = g.contiguous()
    gv = spmm(adjacency, g, _dropped(weights, dropout, seed), True, False)
    t = _dropped(sddmm(adjacency, g, v), dropout, seed)
    _for(adjacency, t).softmax_backward(
        adjacency.rowptr.data_ptr(), weights.data_ptr(), t.data_ptr(), adjacency.num_dst, t.shape[1], t.data_ptr(),
        _threads(adjacency, t.shape[1]),
    )  # fmt: skip
    gq = spmm(adjacency, k, t, False, False).mul_(scale)
    gk = spmm(adjacency, q, t, True, False).mul_(scale)
    return gq, gk, gv, None if bias is None else t


def _dropped(p: Tensor, dropout: float, seed: Tensor | None) -> Tensor:
    if seed is None or dropout == 0.0:
        return p
    return p * dropout_mask(seed, p.shape[0], p.shape[1], dropout) / (1.0 - dropout)
