"""The operators that kernels answer: signature, shapes of the results, and derivative of each.

Edge values stand in slot order everywhere, also where an operator runs over the transpose. So four of them are closed
under differentiation: the gradients of ``spmm`` are an ``spmm`` over the transpose and an ``sddmm``, those of ``sddmm``
two ``spmm``, and ``edge_gather`` and ``edge_sum`` are each other's adjoint.
"""

from typing import Any

import torch
from torch import Tensor

from .adjacency import Adjacency
from .registry import Operator

__all__ = [
    "edge_gather",
    "edge_sum",
    "gatv2_score",
    "graph_attention",
    "multi_aggregate",
    "permute_rows",
    "sddmm",
    "segment_softmax",
    "spmm",
    "spmm_typed",
    "typed_outer",
]


# --- weighted sums of neighbours, and inner products along edges ----------------------------------------------------


def _rows_out(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    return x.new_empty((adjacency.num_src if transposed else adjacency.num_dst, *x.shape[1:]))


def _spmm_fake(adjacency: Adjacency, x: Tensor, weight: Tensor | None, transposed: bool, mean: bool) -> Tensor:
    return _rows_out(adjacency, x, transposed)


def _spmm_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, ctx.transposed, ctx.mean = inputs
    learns = weight is not None and weight.requires_grad  # else x is not kept alive for nothing
    ctx.save_for_backward(x if learns else None, weight)


def _spmm_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, weight = ctx.saved_tensors
    gx = spmm(ctx.adjacency, g, weight, not ctx.transposed, ctx.mean) if ctx.wanted[0] else None
    gw = None
    if ctx.wanted[1]:
        gw = sddmm(ctx.adjacency, x, g) if ctx.transposed else sddmm(ctx.adjacency, g, x)
        if ctx.mean:
            share = edge_gather(ctx.adjacency, ctx.adjacency.inverse_degree(gw.dtype), False)
            gw = gw * (share if gw.dim() == 1 else share.unsqueeze(-1))
    return gx, gw, None, None


spmm = Operator(
    "spmm",
    "Tensor x, Tensor? weight, bool transposed, bool mean",
    "Tensor",
    _spmm_fake,
    _spmm_save,
    _spmm_backward,
    autocast="low",
)


def _sddmm_fake(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty((adjacency.num_edges, *a.shape[1:-1]))


def _sddmm_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _sddmm_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    a, b = ctx.saved_tensors
    ga = spmm(ctx.adjacency, b, g, False, False) if ctx.wanted[0] else None
    gb = spmm(ctx.adjacency, a, g, True, False) if ctx.wanted[1] else None
    return ga, gb


sddmm = Operator("sddmm", "Tensor a, Tensor b", "Tensor", _sddmm_fake, _sddmm_save, _sddmm_backward, autocast="low")


# --- from nodes to their edges and back -----------------------------------------------------------------------------


def _edge_gather_fake(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    return x.new_empty((adjacency.num_edges, *x.shape[1:]))


def _side_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.transposed = inputs[1]


def _edge_gather_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return edge_sum(ctx.adjacency, g, ctx.transposed), None


def _edge_sum_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return edge_gather(ctx.adjacency, g, ctx.transposed), None


def _edge_gather_plain(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    return x.index_select(0, adjacency.col if transposed else adjacency.row)


def _edge_sum_plain(adjacency: Adjacency, values: Tensor, transposed: bool) -> Tensor:
    nodes = adjacency.col if transposed else adjacency.row
    return _rows_out(adjacency, values, transposed).zero_().index_add(0, nodes, values)


edge_gather = Operator(
    "edge_gather",
    "Tensor x, bool transposed",
    "Tensor",
    _edge_gather_fake,
    _side_save,
    _edge_gather_backward,
    _edge_gather_plain,
)
edge_sum = Operator(
    "edge_sum",
    "Tensor values, bool transposed",
    "Tensor",
    _rows_out,
    _side_save,
    _edge_sum_backward,
    _edge_sum_plain,
)


class _Permutation(torch.autograd.Function):
    """Its adjoint is the inverse permutation, a gather; autograd's own would be a scatter."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return values.index_select(0, order)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        order, inverse = ctx.saved_tensors
        return permute_rows(g, inverse, order), None, None


def permute_rows(values: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """Row ``order[i]`` comes to place ``i``; ``inverse`` undoes it."""
    result: Tensor = _Permutation.apply(values, order, inverse)  # type: ignore[no-untyped-call]
    return result


# --- sums with a vector for each type of edge -----------------------------------------------------------------------


def _spmm_typed_fake(adjacency: Adjacency, x: Tensor, table: Tensor, edge_type: Tensor, transposed: bool) -> Tensor:
    return _rows_out(adjacency, x, transposed)


def _spmm_typed_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, table, edge_type, ctx.transposed = inputs
    ctx.save_for_backward(x, table, edge_type)


def _spmm_typed_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, table, edge_type = ctx.saved_tensors
    gx = spmm_typed(ctx.adjacency, g, table, edge_type, not ctx.transposed) if ctx.wanted[0] else None
    gt = None
    if ctx.wanted[1]:
        a, b = (x, g) if ctx.transposed else (g, x)
        gt = typed_outer(ctx.adjacency, a, b, edge_type, table.shape[0])
    return gx, gt, None, None


def _typed_outer_fake(adjacency: Adjacency, a: Tensor, b: Tensor, edge_type: Tensor, num_types: int) -> Tensor:
    return a.new_empty(num_types, a.shape[1])


def _typed_outer_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])


def _typed_outer_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    a, b, edge_type = ctx.saved_tensors
    ga = spmm_typed(ctx.adjacency, b, g, edge_type, False) if ctx.wanted[0] else None
    gb = spmm_typed(ctx.adjacency, a, g, edge_type, True) if ctx.wanted[1] else None
    return ga, gb, None, None


spmm_typed = Operator(
    "spmm_typed",
    "Tensor x, Tensor table, Tensor edge_type, bool transposed",
    "Tensor",
    _spmm_typed_fake,
    _spmm_typed_save,
    _spmm_typed_backward,
    autocast="low",
)
typed_outer = Operator(
    "typed_outer",
    "Tensor a, Tensor b, Tensor edge_type, SymInt num_types",
    "Tensor",
    _typed_outer_fake,
    _typed_outer_save,
    _typed_outer_backward,
    autocast="low",
)


# --- mean, max, min and spread of neighbours in one call ------------------------------------------------------------


def _multi_aggregate_fake(adjacency: Adjacency, x: Tensor, kinds: str, eps: float) -> tuple[Tensor, ...]:
    asked = kinds.split(",")

    def out(wanted: bool, like: Tensor) -> Tensor:
        return like.new_empty((adjacency.num_dst, x.shape[1])) if wanted else like.new_empty(0)

    center = x.new_empty(x.shape[1] if "std" in asked else 0, dtype=_statistics_dtype(x))
    return (
        out("mean" in asked or "std" in asked, x),
        out("max" in asked, x),
        out("min" in asked, x),
        out("std" in asked, x),
        out("max" in asked, adjacency.rowptr),
        out("min" in asked, adjacency.rowptr),
        center,
    )


def _statistics_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _multi_aggregate_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, _, ctx.eps = inputs
    mean, _, _, std, argmax, argmin, center = output
    ctx.computed = tuple(each.dim() == 2 for each in output[:4])
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(argmax, argmin, center)
    if ctx.computed[3]:
        ctx.save_for_backward(x, mean, std, argmax, argmin, center)
    else:  # the mean and the extremes are linear once the winners are known
        ctx.save_for_backward(center, center, center, argmax, argmin, center)


def _multi_aggregate_backward(ctx: Any, *g: Tensor | None) -> tuple[Any, ...]:
    known = (each if computed else None for each, computed in zip(g, ctx.computed, strict=False))
    return multi_aggregate_backward(ctx.adjacency, *known, *ctx.saved_tensors, ctx.eps), None, None


def _multi_aggregate_backward_fake(adjacency: Adjacency, *inputs: Any) -> Tensor:
    g = next(each for each in inputs[:4] if each is not None)
    return _rows_out(adjacency, g, True)


multi_aggregate = Operator(
    "multi_aggregate",
    "Tensor x, str kinds, float eps",
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _multi_aggregate_fake,
    _multi_aggregate_save,
    _multi_aggregate_backward,
)
multi_aggregate_backward = Operator(
    "multi_aggregate_backward",
    "Tensor? g_mean, Tensor? g_max, Tensor? g_min, Tensor? g_std, Tensor x, Tensor mean, Tensor std, "
    "Tensor argmax, Tensor argmin, Tensor center, float eps",
    "Tensor",
    _multi_aggregate_backward_fake,
)


# --- attention ------------------------------------------------------------------------------------------------------


def _gatv2_fake(adjacency: Adjacency, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float) -> Tensor:
    return q.new_empty(adjacency.num_edges, q.shape[1])


def _gatv2_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.slope = inputs[4]


def _gatv2_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    q, k, att, edge = ctx.saved_tensors
    gq, gk, gatt, gedge = gatv2_score_backward(ctx.adjacency, g, q, k, att, edge, ctx.slope)
    return gq, gk, gatt, None if edge is None else gedge, None


def _gatv2_backward_fake(
    adjacency: Adjacency, g: Tensor, q: Tensor, k: Tensor, att: Tensor, edge: Tensor | None, slope: float
) -> tuple[Tensor, ...]:
    like = (q, k, att, q.new_empty(0) if edge is None else edge)
    return tuple(each.new_empty(each.shape) for each in like)


gatv2_score = Operator(
    "gatv2_score",
    "Tensor q, Tensor k, Tensor att, Tensor? edge, float slope",
    "Tensor",
    _gatv2_fake,
    _gatv2_save,
    _gatv2_backward,
    autocast="low",
)
gatv2_score_backward = Operator(
    "gatv2_score_backward",
    "Tensor g, Tensor q, Tensor k, Tensor att, Tensor? edge, float slope",
    "(Tensor, Tensor, Tensor, Tensor)",
    _gatv2_backward_fake,
)


def _softmax_fake(adjacency: Adjacency, scores: Tensor) -> Tensor:
    return scores.new_empty(scores.shape)


def _softmax_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output)


def _softmax_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    (p,) = ctx.saved_tensors
    weighted = p * g
    return (weighted - p * edge_gather(ctx.adjacency, edge_sum(ctx.adjacency, weighted, False), False),)


segment_softmax = Operator(
    "segment_softmax",
    "Tensor scores",
    "Tensor",
    _softmax_fake,
    _softmax_save,
    _softmax_backward,
    autocast="float32",
)


def _attention_fake(adjacency: Adjacency, q: Tensor, k: Tensor, v: Tensor, *options: Any) -> tuple[Tensor, ...]:
    heads = q.shape[1]
    kept = (0,) if q.device.type == "cuda" else (adjacency.num_edges, heads)  # the GPU recomputes them
    statistics = _statistics_dtype(q)
    return (
        q.new_empty(adjacency.num_dst, heads, v.shape[2]),
        q.new_empty(adjacency.num_dst, heads, dtype=statistics),
        q.new_empty(kept, dtype=statistics),
    )


def _attention_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    q, k, v, bias, ctx.scale, ctx.dropout, seed = inputs
    out, lse, weights = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(lse, weights)
    ctx.save_for_backward(q, k, v, bias, out, lse, weights, seed)


def _attention_backward(ctx: Any, g: Tensor, *unused: Any) -> tuple[Any, ...]:
    q, k, v, bias, out, lse, weights, seed = ctx.saved_tensors
    gq, gk, gv, gbias = graph_attention_backward(
        ctx.adjacency, g, q, k, v, bias, out, lse, weights, ctx.scale, ctx.dropout, seed
    )
    return gq, gk, gv, None if bias is None else gbias, None, None, None


def _attention_backward_fake(
    adjacency: Adjacency, g: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *rest: Any
) -> tuple[Tensor, ...]:
    like = (q, k, v, q.new_empty(0) if bias is None else bias)
    return tuple(each.new_empty(each.shape) for each in like)


graph_attention = Operator(
    "graph_attention",
    "Tensor q, Tensor k, Tensor v, Tensor? bias, float scale, float dropout, Tensor? seed",
    "(Tensor, Tensor, Tensor)",
    _attention_fake,
    _attention_save,
    _attention_backward,
    autocast="low",
)
graph_attention_backward = Operator(
    "graph_attention_backward",
    "Tensor g, Tensor q, Tensor k, Tensor v, Tensor? bias, Tensor out, Tensor lse, Tensor weights, "
    "float scale, float dropout, Tensor? seed",
    "(Tensor, Tensor, Tensor, Tensor)",
    _attention_backward_fake,
)
