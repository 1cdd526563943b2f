"""One batch out of all processes' parts, so that each solves the same problem and takes its own rows."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist

from .memory import Rows

__all__ = ["gathered"]


def gathered(rows: Rows) -> tuple[Rows, slice]:
    """Join the rows of all processes, in the order of their ranks, and say which of them are one's own.

    Detached, in one process a copy of nothing. Parts may differ in length; every process must call it, with the same
    columns.

    Args:
        rows: The rows of this process.

    Returns:
        All rows, the same in every process, and the slice of this one's.

    Example:
        >>> gathered(Rows(torch.zeros(3, 2)))[1]
        slice(0, 3, None)
    """
    own = rows.map(lambda column: column.detach())
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return own, slice(0, len(own.z))
    size = torch.tensor([len(own.z)], device=own.z.device)
    sizes = [torch.zeros_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    counts = [int(count) for count in sizes]
    start = sum(counts[: dist.get_rank()])
    return own.map(lambda column: _gather(column, counts)), slice(start, start + len(own.z))


def _gather(column: Tensor, counts: list[int]) -> Tensor:
    """Gather parts of different lengths: collectives want equal ones."""
    padded = column.new_zeros(max(counts), *column.shape[1:])
    padded[: len(column)] = column
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
