"""What a graph isomorphism layer sums, and edges told apart by kind, so that what depends on them is computed once."""

from functools import partial
from typing import Any
from weakref import ref

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from . import native, native_order, operators
from .adjacency import Adjacency
from .checks import check_edge_type, check_rows, check_shape
from .fused import may_fuse, second_derivative

__all__ = ["edge_kinds", "gin_sum"]

MOST = 128  # kinds of edge worth telling apart
REPEATS = 4  # edges of a kind, on average


def gin_sum(
    adjacency: Adjacency,
    x: Float[Tensor, "sources features"],
    epsilon: Float[Tensor, "1"] | None = None,
    edge_features: Float[Tensor, "rows features"] | None = None,
    edge_type: Integer[Tensor, " edges"] | None = None,
) -> Float[Tensor, "destinations features"]:
    r"""Sum a node's own vector and its neighbours', each of these rectified after its edge's vector was added.

    .. math:: y_i = (1 + \epsilon) x_i + \sum_{e = (i, j)} \operatorname{ReLU}(x_j + u_e), \qquad
        u_e = T_{r_e} \text{ if edges have types}

    and without edge vectors :math:`y_i = (1 + \epsilon) x_i + \sum_e x_j`. On a CPU with a C++ compiler one pass, and
    one for all gradients, in which no message is stored.

    Args:
        adjacency: The pattern, between nodes of one kind where ``epsilon`` is given.
        x: One vector for each source.
        epsilon: :math:`\epsilon`; absent, the node's own vector is left out.
        edge_features: One vector for each edge, in slot order; or with ``edge_type`` a table of one for each type.
        edge_type: The row of the table for each edge, in slot order.

    Raises:
        ShapeError: If a shape or a device does not fit.
        DataError: If types are not integers, or not rows of the table.

    References:
        Hu et al., "Strategies for Pre-training Graph Neural Networks", 2020, appendix A.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3)
        >>> x, u = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[-3.0], [1.0]])
        >>> gin_sum(adjacency, x, torch.zeros(1), u).T
        tensor([[1., 2., 7.]])
    """
    check_rows(adjacency, "x", x, adjacency.num_src, "sources", dims=(2,))
    if epsilon is not None:
        check_shape(adjacency, "epsilon", epsilon, (1,), "one number")
        check_rows(adjacency, "x", x, adjacency.num_dst, "destinations, which epsilon multiplies", dims=(2,))
    if edge_features is not None:
        rows = adjacency.num_edges if edge_type is None else edge_features.shape[0]
        meaning = "one vector as wide as x for each edge" if edge_type is None else "a table as wide as x"
        check_shape(adjacency, "edge_features", edge_features, (rows, x.shape[1]), meaning, ("x", x))
        if edge_type is not None:
            check_edge_type(adjacency, edge_type, rows)
            edge_type = edge_type.to(adjacency.col.dtype).contiguous()
    alone = epsilon is None and edge_features is None
    if not alone and may_fuse(x, epsilon, edge_features, adjacency=adjacency):
        total: Tensor = _GinSum.apply(adjacency, x, epsilon, edge_features, edge_type)  # type: ignore[no-untyped-call]
        return total
    return _formula(x, epsilon, edge_features, adjacency=adjacency, kind=edge_type)


class _GinSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, adjacency: Adjacency, x: Tensor, epsilon: Tensor | None, u: Tensor | None, kind: Tensor | None
    ) -> Tensor:
        keeps = u is not None or ctx.needs_input_grad[2]  # else the gradient does not depend on x
        ctx.adjacency, ctx.kind = adjacency, kind
        ctx.save_for_backward(x if keeps else None, epsilon, u)
        return native.gin_sum(adjacency, x, epsilon, u, kind)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        x, epsilon, u = ctx.saved_tensors
        x = g.contiguous() if x is None else x  # any numbers will do
        if torch.is_grad_enabled():
            formula = partial(_formula, adjacency=ctx.adjacency, kind=ctx.kind)
            found = second_derivative(formula, (x, epsilon, u), ctx.needs_input_grad[1:4], g)
        else:
            found = native.gin_sum_backward(ctx.adjacency, g.contiguous(), x, epsilon, u, ctx.kind)
        return (None, *found, None)


def _formula(
    x: Tensor, epsilon: Tensor | None, u: Tensor | None, *, adjacency: Adjacency, kind: Tensor | None
) -> Tensor:
    total: Tensor
    if u is None:
        total = operators.spmm(adjacency, x, None, False, False)
    else:
        edges = u if kind is None else u.index_select(0, kind)
        total = operators.edge_sum(adjacency, (operators.edge_gather(adjacency, x, True) + edges).relu(), False)
    if epsilon is None:
        return total
    if epsilon.requires_grad or epsilon.device.type != "cpu" or torch.compiler.is_compiling():  # reading would wait
        return torch.addcmul(total, x, 1 + epsilon)
    return torch.add(total, x, alpha=1 + epsilon.item())  # whose gradient at 1 is passed on, not computed


def edge_kinds(adjacency: Adjacency, edge_features: Tensor) -> tuple[Tensor, Tensor | None]:
    """The distinct rows of the features and which of them each edge has; where few are equal, all rows and None.

    What a row is mapped to is then computed once for each kind: molecules have a dozen kinds of bond. The answer is
    kept with the pattern, for the next layer.

    Shapes:
        edge_features: (edges, width); returns (kinds, width) and (edges,).

    Example:
        >>> adjacency = Adjacency.from_ptr(torch.tensor([0, 8]))
        >>> rows, kind = edge_kinds(adjacency, torch.tensor([[3.0], [5.0]]).repeat(4, 1))
        >>> rows.T
        tensor([[3., 5.]])
    """
    learnt = edge_features.requires_grad or edge_features.is_inference()  # or not known when it was changed
    if learnt or edge_features.dim() != 2 or not may_fuse(edge_features, adjacency=adjacency):
        return edge_features, None
    key, version = "edge kinds", edge_features._version
    whose, when, kinds = adjacency._cache.get(key, (lambda: None, -1, None))
    if whose() is not edge_features or when != version:
        most = min(MOST, len(edge_features) // REPEATS)
        found = native_order.distinct_rows(edge_features, most)
        if found is not None:
            with torch.inference_mode(False):  # for a layer that learns, too
                kinds = edge_features.index_select(0, found[0].clone()), found[1].to(adjacency.col.dtype, copy=True)
        adjacency._cache[key] = ref(edge_features), version, kinds
    return (edge_features, None) if kinds is None else kinds
