"""Walks over a batch that lies column by column, in C++: what a constraint layer is made of.

Tensors are of 32 or 64 bits, on the CPU; :func:`.native.supports` says whether there are kernels for them.
"""

import torch
from torch import Tensor

from .adjacency import Adjacency
from .native_library import address, loaded, threads_for

__all__ = ["clamp_columns", "clamp_columns_backward", "nearest_row", "put_columns", "take_columns"]


def take_columns(x: Tensor, places: Tensor, limit: Tensor | None = None) -> tuple[Tensor, bool]:
    """The columns of x [R, C] that ``places`` [P] names, as rows [P, R]; and whether all are under a ``limit`` [P]."""
    kernels, rows, count = loaded(x.dtype, torch.int32), x.shape[0], places.shape[0]
    columns = torch.empty((count, rows), dtype=x.dtype)
    within = kernels.take_columns(
        x.data_ptr(), *x.stride(), rows, places.data_ptr(), count, address(limit), columns.data_ptr(),
        threads_for(columns.numel()),
    )  # fmt: skip
    return columns, bool(within)


def put_columns(columns: Tensor, places: Tensor, x: Tensor, out: Tensor) -> None:
    """Make ``out`` [R, C], contiguous, what x is, but for its columns ``places`` [P]: these are ``columns`` [P, R]."""
    kernels = loaded(x.dtype, torch.int32)
    kernels.put_columns(
        x.data_ptr(), *x.stride(), *x.shape, places.data_ptr(), places.shape[0], columns.data_ptr(), out.data_ptr(),
        threads_for(columns.numel()),
    )  # fmt: skip


def clamp_columns(
    columns: Tensor,
    targets: Tensor,
    constant: Tensor,
    sums: tuple[Adjacency, Tensor] | None,
    divisor: Tensor | None,
    cell: Tensor | None,
    *,
    upper: bool,
    record: bool,
) -> Tensor | None:
    """One bound after the other, ``columns[target] = max(columns[target], (sum + constant) / divisor)``, in place.

    No column may be both in a sum and a target, except under an infinite constant.

    Args:
        columns: ``[P, R]``, contiguous.
        targets: ``[bounds]``, which column each bound moves.
        constant: ``[bounds, kinds]``.
        sums: Bounds over columns, and a weight for each entry; None for no sums.
        divisor: ``[bounds, 1]``; None for ones.
        cell: ``[R]``, which of the kinds counts in each row; None for the first.
        upper: Whether bounds are the most, not the least.
        record: Whether to return ``[bounds, R]``: 1 where a bound moved its target, else 0.
    """
    kernels = loaded(columns.dtype, torch.int32 if sums is None else sums[0].rowptr.dtype)
    rows = columns.shape[1]
    moved = torch.empty((targets.shape[0], rows), dtype=columns.dtype) if record else None
    ptr, col, weight = (
        (None, None, None) if sums is None else (address(sums[0].rowptr), address(sums[0].col), address(sums[1]))
    )
    kernels.clamp_columns(
        ptr, col, weight, constant.data_ptr(), constant.shape[1], address(cell), address(divisor), targets.data_ptr(),
        targets.shape[0], columns.data_ptr(), rows, upper, address(moved), threads_for(columns.numel()),
    )  # fmt: skip
    return moved


def clamp_columns_backward(
    grad: Tensor,
    targets: Tensor,
    moved: Tensor,
    sums: tuple[Tensor, Adjacency, Tensor] | None,
    divisor: Tensor | None,
) -> None:
    """The gradient of :func:`clamp_columns`, in place of that of what came out.

    Args:
        grad: ``[P, R]``, contiguous.
        targets: As there.
        moved: What was recorded there.
        sums: The columns that are in sums, these columns over bounds, and a weight for each entry.
        divisor: As there.
    """
    kernels = loaded(grad.dtype, torch.int32 if sums is None else sums[1].rowptr.dtype)
    source, count, ptr, col, weight = (
        (None, 0, None, None, None)
        if sums is None
        else (address(sums[0]), sums[0].shape[0], address(sums[1].rowptr), address(sums[1].col), address(sums[2]))
    )
    kernels.clamp_columns_backward(
        targets.data_ptr(), targets.shape[0], moved.data_ptr(), address(divisor), source, count, ptr, col, weight,
        grad.data_ptr(), grad.shape[1], threads_for(grad.numel()),
    )  # fmt: skip


def nearest_row(distance: Tensor) -> Tensor:
    """``[R]``: of each column of ``distance`` [K, R], contiguous, the first row with its least; K where it is <= 0."""
    kernels = loaded(distance.dtype, torch.int32)
    nearest = torch.empty(distance.shape[1], dtype=torch.int64)
    kernels.nearest_row(
        distance.data_ptr(), *distance.shape, nearest.data_ptr(), threads_for(distance.numel())
    )  # fmt: skip
    return nearest
