"""Consecutive rows as one: pooling a batch of graphs, bounds over the rules of a table row, a node's own text."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from graftable.errors import ConfigError, DataError

from . import operators
from .adjacency import Adjacency
from .aggregation import REDUCES, multi_aggregate
from .checks import check_rows

__all__ = ["segment_expand", "segment_reduce"]


def segment_reduce(
    segments: Adjacency | Integer[Tensor, " pointers"], x: Float[Tensor, "rows *features"], reduce: str = "sum"
) -> Float[Tensor, "segments *features"]:
    r"""Reduce consecutive rows: :math:`y_s = \mathrm{reduce}(x_r : ptr_s \le r < ptr_{s+1})`.

    Args:
        segments: Where each segment begins, and the end: ``(S + 1,)`` integers from 0 to the number of rows, never
            falling. Or ``Adjacency.from_ptr`` of them, which saves the making where several calls share it.
        x: One value or vector for each row.
        reduce: ``sum``, ``mean``, ``max``, ``min`` or ``std``, as in :func:`spmm`.

    Returns:
        One row for each segment; 0 for an empty one.

    Raises:
        ShapeError: If ``x`` does not have one row for each entry.
        DataError: If the pointers fall, or do not end with the number of rows.
        ConfigError: If there is no such reduction.

    Example:
        >>> segment_reduce(torch.tensor([0, 2, 2, 3]), torch.tensor([1.0, 5.0, 7.0]), "max")
        tensor([5., 0., 7.])
    """
    if reduce not in REDUCES:
        raise ConfigError(f"reduce is {reduce!r}; expected one of {', '.join(REDUCES)}.")
    adjacency = _segments(segments)
    check_rows(adjacency, "x", x, adjacency.num_edges, "rows of the segments", dims=(1, 2, 3))
    result: Tensor
    if reduce == "sum":
        result = operators.edge_sum(adjacency, x, False)
    elif x.dim() == 1:
        result = multi_aggregate(adjacency, x.unsqueeze(-1), (reduce,))[0].squeeze(-1)
    else:
        result = multi_aggregate(adjacency, x, (reduce,))[0]
    return result


def segment_expand(
    segments: Adjacency | Integer[Tensor, " pointers"], x: Float[Tensor, "segments *features"]
) -> Float[Tensor, "rows *features"]:
    r"""Give each row the value of its segment: :math:`y_r = x_s` for :math:`ptr_s \le r < ptr_{s+1}`.

    Args:
        segments: As for :func:`segment_reduce`.
        x: One value or vector for each segment.

    Raises:
        ShapeError: If ``x`` does not have one row for each segment.
        DataError: If the pointers fall.

    Example:
        >>> segment_expand(torch.tensor([0, 2, 2, 3]), torch.tensor([1.0, 5.0, 7.0]))
        tensor([1., 1., 7.])
    """
    adjacency = _segments(segments)
    check_rows(adjacency, "x", x, adjacency.num_dst, "segments", dims=(1, 2, 3))
    result: Tensor = operators.edge_gather(adjacency, x, False)
    return result


def _segments(segments: Adjacency | Tensor) -> Adjacency:
    if isinstance(segments, Tensor):
        return Adjacency.from_ptr(segments)
    # a compiler may not ask what a tensor holds; where it is not, the answer is kept
    if not torch.compiler.is_compiling() and not segments.cached("are segments", lambda: _are_consecutive(segments)):
        raise DataError(
            f"segments is {segments!r}, whose rows do not own consecutive entries, each its own source; expected "
            "pointers, or Adjacency.from_ptr of them alone."
        )
    return segments


def _are_consecutive(segments: Adjacency) -> bool:
    if segments.num_src != segments.num_edges:
        return False
    slots = torch.arange(segments.num_edges, dtype=segments.col.dtype, device=segments.device)
    return segments.col is segments.slot_t or torch.equal(segments.col, slots)  # from_ptr makes them one tensor
