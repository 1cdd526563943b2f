"""How kernels are launched: tile sizes from a static table, long rows cut into segments, one grid axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from graftable.errors import ConfigError

from .adjacency import Adjacency

__all__ = [
    "Hubs",
    "Rows",
    "Tile",
    "accumulator",
    "edge_tile",
    "launch",
    "row_tile",
    "rows_of",
    "split_rows",
    "sum_dtype",
]

SPLIT = 1024  # rows with more edges than this are cut, so that one hub does not hold up the whole grid
NEVER = 2**31 - 1

# Width rounded up to 32, bytes of a number -> edges and columns of a tile, warps. Neither the number of nodes nor that
# of edges takes part: no batch is the first of its kind. Tiles alone fix the order of a sum, and they depend on nothing
# of the graph, so a graph gives the same bits alone and inside a batch. Starting points, not measurements.
TILES = {
    (32, 2): (16, 32, 1), (32, 4): (16, 32, 1), (32, 8): (16, 32, 2),
    (64, 2): (16, 64, 1), (64, 4): (16, 64, 2), (64, 8): (8, 64, 2),
    (96, 2): (16, 128, 2), (96, 4): (16, 128, 4), (96, 8): (8, 128, 4),
    (128, 2): (16, 128, 2), (128, 4): (16, 128, 4), (128, 8): (8, 128, 4),
}  # fmt: skip
ROWS = ((4, 8), (8, 4), (16, 2))  # mean degree at most -> rows that one program takes one after the other; else 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Runs of entries that kernels reduce, one run a row; ``None`` stands for the identity map.

    Attributes:
        begin: First entry of each row.
        end: One past its last entry.
        col: The node that each entry reads.
        slot: The slot of each entry, where edge values lie.
        owner: The node that each row belongs to.
        hubs: The rows longer than ``SPLIT``, cut, which a launch over these rows leaves out.
    """

    begin: Tensor
    end: Tensor
    col: Tensor | None = None
    slot: Tensor | None = None
    owner: Tensor | None = None
    hubs: Hubs | None = None

    def __len__(self) -> int:
        return self.begin.shape[0]


@dataclass(frozen=True, slots=True)
class Hubs:
    """Long rows cut up: one launch reduces their ``segments``, another the ``members`` of each hub, in order."""

    owner: Tensor
    segments: Rows
    members: Rows


@dataclass(frozen=True, slots=True)
class Tile:
    """Edges and columns that a program holds at once, its warps, and the rows it takes in turn."""

    edges: int
    columns: int
    warps: int
    rows: int = 1


def rows_of(adjacency: Adjacency, transposed: bool) -> Rows:
    """The rows of a pattern (``transposed``: of its transpose) with their hubs, listed once."""

    def build() -> Rows:
        if transposed:
            ptr, col, slot = adjacency.rowptr_t, adjacency.col_t, adjacency.slot_t
        else:
            ptr, col, slot = adjacency.rowptr, adjacency.col, None
        rows = Rows(ptr[:-1], ptr[1:], col, slot)
        owner = (ptr.diff() > SPLIT).nonzero().squeeze(1)
        return Rows(rows.begin, rows.end, col, slot, None, split_rows(rows, owner) if owner.numel() else None)

    return adjacency.cached(f"triton rows, transposed {transposed}, split {SPLIT}", build)


def split_rows(rows: Rows, owner: Tensor, limit: int | None = None) -> Hubs:
    """Cut rows into segments of at most ``SPLIT`` entries.

    Args:
        rows: The rows.
        owner: Those to cut.
        limit: At least the number of segments; spares the wait for a GPU to count them, and leaves empty ones behind.
    """
    begin, end = rows.begin[owner].long(), rows.end[owner].long()
    pieces = (end - begin + SPLIT - 1) // SPLIT
    ptr = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
    count = int(ptr[-1]) if limit is None else limit
    piece = torch.arange(count, device=ptr.device)
    hub = (torch.searchsorted(ptr, piece, right=True) - 1).clamp_(max=owner.numel() - 1)
    start = torch.minimum(begin[hub] + (piece - ptr[hub]) * SPLIT, end[hub])
    segments = Rows(start, torch.minimum(start + SPLIT, end[hub]), rows.col, rows.slot, owner[hub])
    return Hubs(owner, segments, Rows(ptr[:-1], ptr[1:], owner=owner))


def row_tile(width: int, dtype: torch.dtype, rows: Rows) -> Tile:
    """The tile for rows of a width; rows of few edges are taken several to a program."""
    edges, columns, warps = TILES[min(-(-max(width, 1) // 32) * 32, 128), max(dtype.itemsize, 2)]
    columns = min(columns, triton.next_power_of_2(max(width, 1)))
    mean_degree = 0 if rows.col is None or not len(rows) else rows.col.shape[0] / len(rows)
    several = next((count for degree, count in ROWS if mean_degree <= degree), 1)
    return Tile(edges, columns, warps, several if rows.owner is None else 1)


def edge_tile(heads: int, depth: int) -> tuple[int, int, int]:
    """Edges, heads and columns per head of a program that works edge by edge: some 2,048 numbers."""
    columns = min(triton.next_power_of_2(max(depth, 1)), 128)
    together = min(triton.next_power_of_2(max(heads, 1)), max(1, 128 // columns))
    return max(8, 2048 // (columns * together)), together, columns


def sum_dtype(*tensors: Tensor | None) -> torch.dtype:
    """Sums of halves run in float32; a float64 anywhere asks for float64."""
    wide = any(each is not None and each.dtype == torch.float64 for each in tensors)
    return torch.float64 if wide else torch.float32


def accumulator(*tensors: Tensor | None) -> Any:
    """:func:`sum_dtype` in Triton's words."""
    return tl.float64 if sum_dtype(*tensors) == torch.float64 else tl.float32


def launch(kernel: Any, programs: int, like: Tensor, *args: Any, **meta: Any) -> None:
    """Start a kernel on the device of a tensor; no programs, no launch.

    Raises:
        ConfigError: If the tensor is not on a GPU and kernels are not interpreted.
    """
    if programs == 0:
        return
    if not like.is_cuda and not triton.knobs.runtime.interpret:
        raise ConfigError(
            f"the triton backend was given tensors on {like.device}, expected a GPU; choose the torch backend there, "
            "or set TRITON_INTERPRET=1 before Python starts."
        )
    with torch.cuda.device_of(like):
        kernel[(programs,)](*args, **meta)
