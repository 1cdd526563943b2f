"""The operators on CPU: the whole contract of a backend, each from whichever of two sources is faster.

Sums with one weight an edge are torch's own primitives, which run at the speed of memory. The rest is compiled from
C++ where a compiler is found (:mod:`.native`), and else made of torch's primitives too, slower but equal.
"""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from . import native, native_library, torch_aggregate, torch_attention, torch_sums
from .adjacency import Adjacency
from .backends import TINY
from .torch_sums import edge_sum

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


def _compiled_takes(adjacency: Adjacency, inputs: tuple[Any, ...]) -> bool:
    """Whether there is compiled code for these inputs: all numbers of one type, which it reads without a look."""
    dtype = None
    for each in inputs:
        if isinstance(each, Tensor) and each.dtype.is_floating_point:
            if dtype is None:
                if not native.supports(each, adjacency):
                    return False
                dtype = each.dtype
            elif each.dtype is not dtype:
                return False
    return True


def _compiled_first(module: Any, name: str) -> Callable[..., Any]:
    """The compiled kernel of that name where it can serve, else the one of a module here."""
    compiled, plain = getattr(native, name), getattr(module, name)

    @functools.wraps(plain)
    def kernel(adjacency: Adjacency, *inputs: Any) -> Any:
        return (compiled if _compiled_takes(adjacency, inputs) else plain)(adjacency, *inputs)

    return kernel


def spmm(adjacency: Adjacency, x: Tensor, weight: Tensor | None, transposed: bool, mean: bool) -> Tensor:
    """Weighted sum of neighbours; the contract of every backend."""
    by_head = weight is not None and weight.dim() == 2
    if x.dim() == 3 and not by_head:
        flat = spmm(adjacency, x.flatten(1), weight, transposed, mean)
        return flat.view(flat.shape[0], *x.shape[1:])
    small = adjacency.num_edges * x.shape[1] <= native_library.SMALL  # less than torch takes to wake its other threads
    if (small or by_head) and native.supports(x, adjacency) and (weight is None or weight.dtype is x.dtype):
        if mean and not by_head:  # as torch's sums take it, so that a graph gives the same bits alone and in a batch
            share = torch_sums.mean_share(adjacency, x.dtype, False)
            return native.spmm(adjacency, x, share if weight is None else weight * share, transposed, False)
        return native.spmm(adjacency, x, weight, transposed, mean)
    return torch_sums.spmm(adjacency, x, weight, transposed, mean)


def edge_gather(adjacency: Adjacency, x: Tensor, transposed: bool) -> Tensor:
    """The row of x for each edge's destination or source; the contract of every backend."""
    if adjacency.num_edges > TINY and native.supports(x, adjacency):
        return native.edge_gather(adjacency, x, transposed)
    return torch_sums.edge_gather(adjacency, x, transposed)


sddmm = _compiled_first(torch_sums, "sddmm")
spmm_typed = _compiled_first(torch_sums, "spmm_typed")
typed_outer = _compiled_first(torch_sums, "typed_outer")
multi_aggregate = _compiled_first(torch_aggregate, "multi_aggregate")
multi_aggregate_backward = _compiled_first(torch_aggregate, "multi_aggregate_backward")
segment_softmax = _compiled_first(torch_attention, "segment_softmax")
graph_attention = _compiled_first(torch_attention, "graph_attention")
graph_attention_backward = _compiled_first(torch_attention, "graph_attention_backward")
gatv2_score = _compiled_first(torch_attention, "gatv2_score")
gatv2_score_backward = _compiled_first(torch_attention, "gatv2_score_backward")
