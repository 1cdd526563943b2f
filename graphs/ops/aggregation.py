"""What a node takes from its neighbours: sums, means, extremes and spread."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from graftable.errors import ConfigError

from . import operators
from .adjacency import Adjacency
from .checks import check_edge_type, check_rows, check_shape

__all__ = ["multi_aggregate", "spmm", "spmm_edge"]

AGGREGATES = ("mean", "max", "min", "std")  # in the order in which the operator returns them
REDUCES = ("sum", *AGGREGATES)
EPS = 1e-6


def spmm(
    adjacency: Adjacency,
    x: Float[Tensor, "sources *features"],
    edge_weight: Float[Tensor, "edges *heads"] | None = None,
    reduce: str = "sum",
) -> Float[Tensor, "destinations *features"]:
    r"""Aggregate the vectors of the sources that enter each destination.

    .. math::
        y_i = \sum_{e = (i, j)} w_e x_j, \qquad
        y_i = \frac{1}{\max(n_i, 1)} \sum_e w_e x_j, \qquad
        y_{if} = \max_e x_{jf}, \qquad
        y_{if} = \sqrt{\max(\mathrm{Var}_e\, x_{jf}, \epsilon)}

    with :math:`n_i` the number of edges into :math:`i`, equal ones counted each. No message is stored: memory grows
    with the nodes and the edges apart, never with edges times features.

    Args:
        adjacency: The pattern.
        x: One vector for each source; or one for each source and head.
        edge_weight: One weight for each edge, in slot order; or one for each edge and head. With sum and mean only.
        reduce: ``sum``; ``mean``, which divides by the number of edges, not by the sum of their weights; ``max`` and
            ``min``, whose gradient goes to the first winning slot alone; ``std``, the population's, with
            :math:`\epsilon = 10^{-6}`, and 0 for a node with at most one edge.

    Shapes:
        x ``(num_src, F)`` with edge_weight ``(E,)``; or x ``(num_src, H, D)`` with edge_weight ``(E,)`` or ``(E, H)``.

    Returns:
        Vectors of the shape of ``x`` for each destination; 0 where no edge enters.

    Raises:
        ShapeError: If a shape or a device does not fit.
        ConfigError: If there is no such reduction, or it takes no weights.

    References:
        Fey and Lenssen, "Fast Graph Representation Learning with PyTorch Geometric", 2019, equation 1.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [2, 2, 0]]), num_nodes=3)
        >>> spmm(adjacency, torch.tensor([[1.0], [2.0], [4.0]]), reduce="mean").T
        tensor([[4.0000, 0.0000, 1.5000]])
    """
    check_rows(adjacency, "x", x, adjacency.num_src, "sources")
    if reduce not in REDUCES:
        raise ConfigError(f"reduce is {reduce!r}; expected one of {', '.join(REDUCES)}.")
    if reduce in ("sum", "mean"):
        return _weighted(adjacency, x, edge_weight, reduce == "mean")
    if edge_weight is not None:
        raise ConfigError(
            f"edge_weight was given with reduce={reduce!r}, which has none; weights go with sum and mean."
        )
    place, kinds = AGGREGATES.index(reduce), _kinds(x, reduce)
    if x.dim() == 2:
        result: Tensor = operators.multi_aggregate(adjacency, x, kinds, EPS)[place]
        return result
    flat: Tensor = operators.multi_aggregate(adjacency, x.flatten(1), kinds, EPS)[place]
    return flat.view(adjacency.num_dst, *x.shape[1:])


def _kinds(x: Tensor, kinds: str) -> str:
    """What the operator is asked for: without a gradient to come, values alone and not the slots they came from."""
    learns = torch.compiler.is_compiling() or (x.requires_grad and torch.is_grad_enabled())
    return kinds if learns else f"{kinds},values"


def _weighted(adjacency: Adjacency, x: Tensor, edge_weight: Tensor | None, mean: bool) -> Tensor:
    if edge_weight is not None and edge_weight.dim() == 2 and x.dim() == 3:
        shape = (adjacency.num_edges, x.shape[1])
        check_shape(adjacency, "edge_weight", edge_weight, shape, "one weight for each edge and head", ("x", x))
        result: Tensor = operators.spmm(adjacency, x, edge_weight, False, mean)
        return result
    if edge_weight is not None:
        check_shape(adjacency, "edge_weight", edge_weight, (adjacency.num_edges,), "one weight for each edge", ("x", x))
    if x.dim() == 2:
        result = operators.spmm(adjacency, x, edge_weight, False, mean)
        return result
    flat: Tensor = operators.spmm(adjacency, x.flatten(1), edge_weight, False, mean)
    return flat.view(adjacency.num_dst, *x.shape[1:])


def multi_aggregate(
    adjacency: Adjacency,
    x: Float[Tensor, "sources *features"],
    reduces: Sequence[str] = ("mean", "max", "min", "std"),
    *,
    eps: float = EPS,
) -> tuple[Tensor, ...]:
    r"""Several reductions of :func:`spmm`, unweighted, in shared passes over the edges: PNA's four cost less than two.

    Args:
        adjacency: The pattern.
        x: One vector for each source; or one for each source and head.
        reduces: Any of ``sum``, ``mean``, ``max``, ``min``, ``std``.
        eps: The least variance under the root of ``std``.

    Returns:
        One tensor for each name, in the order asked, shaped as by :func:`spmm`. First derivatives only, but for
        ``sum``.

    Raises:
        ShapeError: If ``x`` does not have one row per source.
        ConfigError: If there is no such reduction.

    References:
        Corso et al., "Principal Neighbourhood Aggregation for Graph Nets", 2020, equations 2 to 4.

    Example:
        >>> adjacency = Adjacency.from_ptr(torch.tensor([0, 2, 3]))
        >>> mean, spread = multi_aggregate(adjacency, torch.tensor([[1.0], [3.0], [5.0]]), ("mean", "std"))
        >>> mean.T, spread.T
        (tensor([[2., 5.]]), tensor([[1., 0.]]))
    """
    check_rows(adjacency, "x", x, adjacency.num_src, "sources")
    if isinstance(reduces, str) or not reduces or any(name not in REDUCES for name in reduces):
        got = reduces if isinstance(reduces, str) else tuple(reduces)
        raise ConfigError(f"reduces is {got!r}; expected one or more of {', '.join(REDUCES)}, as a list or tuple.")
    shape = x.shape[1:]
    x = x.flatten(1) if x.dim() == 3 else x
    found: dict[str, Tensor] = {}
    if "sum" in reduces:
        found["sum"] = operators.spmm(adjacency, x, None, False, False)
    kinds = ",".join(sorted(set(reduces) - {"sum"}))
    if kinds == "mean":  # the weighted sum differentiates to any order
        found["mean"] = operators.spmm(adjacency, x, None, False, True)
    elif kinds:
        found |= zip(AGGREGATES, operators.multi_aggregate(adjacency, x, _kinds(x, kinds), eps)[:4], strict=True)
    return tuple(found[name].view(adjacency.num_dst, *shape) for name in reduces)


def spmm_edge(
    adjacency: Adjacency,
    x: Float[Tensor, "sources features"],
    edge_features: Float[Tensor, "rows features"],
    edge_type: Integer[Tensor, " edges"] | None = None,
) -> Float[Tensor, "destinations features"]:
    r"""Sum the neighbours' vectors, each multiplied entry by entry with the vector of its edge.

    .. math:: y_i = \sum_{e = (i, j)} u_e \odot x_j, \qquad u_e = T_{r_e} \text{ if edges have types}

    Args:
        adjacency: The pattern.
        x: One vector for each source.
        edge_features: One vector for each edge, in slot order; or with ``edge_type`` a table of one for each type,
            whose gradient costs no memory per edge.
        edge_type: The row of the table for each edge, in slot order.

    Raises:
        ShapeError: If a shape or a device does not fit.
        DataError: If types are not integers, or not rows of the table.

    Example:
        >>> adjacency = Adjacency.from_ptr(torch.tensor([0, 2]))
        >>> x, table = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 10.0]])
        >>> spmm_edge(adjacency, x, table, edge_type=torch.tensor([0, 1]))
        tensor([[ 1., 40.]])
    """
    check_rows(adjacency, "x", x, adjacency.num_src, "sources", dims=(2,))
    if edge_type is not None:
        shape = (edge_features.shape[0], x.shape[1])
        check_shape(adjacency, "edge_features", edge_features, shape, "a table as wide as x", ("x", x))
        check_edge_type(adjacency, edge_type, edge_features.shape[0])
        if edge_type.dtype not in (torch.int32, torch.int64):  # of which alone torch takes rows
            edge_type = edge_type.long()
        typed: Tensor = operators.spmm_typed(adjacency, x, edge_features, edge_type, False)
        return typed
    shape = (adjacency.num_edges, x.shape[1])
    check_shape(adjacency, "edge_features", edge_features, shape, "one vector as wide as x for each edge", ("x", x))
    # a vector for each edge is a weight for each edge and head, with heads one entry wide
    summed: Tensor = operators.spmm(adjacency, x.unsqueeze(-1), edge_features, False, False)
    return summed.squeeze(-1)
