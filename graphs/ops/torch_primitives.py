"""The few calls of torch that the CPU operators are made of, each private one beside a public one.

``torch`` has no public name for the fastest sum of gathered rows, nor for the winners of a maximum. A private name may
change with any release, so it is tried when this module is loaded, and ``PRIVATE`` turns all of them off at once.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from .adjacency import Adjacency

__all__ = [
    "chunked_dots",
    "edge_dot",
    "gather_sum",
    "identity",
    "matrix",
    "row_extreme",
    "row_winners",
    "scaled_",
    "slot_chunks",
]

PRIVATE = True  # use torch's unnamed primitives where they work
TINY = 20_000  # edges times features under which one call over everything beats several in cache
SLOTS = 4_096  # edges of a chunk: its rows, some megabytes, stay in the second-level cache
TILE = 32  # columns at a time where x is too wide for the last-level cache

with warnings.catch_warnings():  # torch says once a process that compressed rows are in beta
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor(torch.zeros(1, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(0))


def _works(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:  # whatever a release may make of a name that it never promised
        return False
    return True


def _try_bag() -> bool:
    x, index, offsets = torch.ones(1, 1), torch.zeros(1, dtype=torch.int32), torch.tensor([0, 1], dtype=torch.int32)
    return _works(lambda: torch._embedding_bag_forward_only(x, index, offsets, False, 0, False, None, True))


def _try_dot() -> bool:
    a, index = torch.ones(1, 1), torch.zeros(1, dtype=torch.int32)
    offsets = torch.tensor([0, 1], dtype=torch.int32)
    return _works(lambda: torch.ops.aten._embedding_bag_per_sample_weights_backward(a, a, index, offsets, index, 0))


def _try_winners() -> bool:
    pattern = matrix(torch.tensor([0, 1]), torch.zeros(1, dtype=torch.long), torch.ones(1), 1)
    return _works(lambda: _private_winners(pattern, torch.ones(1, 1), "amax"))


def _last_level_cache() -> int:
    """Bytes of the last cache before memory; 32 MiB where the system does not tell."""
    for level in (3, 2):
        try:
            text = Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size").read_text().strip()
            return int(text.removesuffix("K")) * 1024
        except (OSError, ValueError):
            continue
    return 32 * 2**20


def matrix(offsets: Tensor, index: Tensor, values: Tensor, num_columns: int) -> Tensor:
    """Compressed rows as a torch tensor; shares all memory."""
    size = (offsets.shape[0] - 1, num_columns)
    return torch.sparse_csr_tensor(offsets, index, values, size, check_invariants=False)


def identity(adjacency: Adjacency) -> Tensor:
    """0, 1, 2 ... for the slots."""
    return adjacency.cached("identity", lambda: torch.arange(adjacency.num_edges, dtype=adjacency.col.dtype))


# --- sums of gathered rows ------------------------------------------------------------------------------------------


def gather_sum(x: Tensor, index: Tensor, offsets: Tensor, weight: Tensor | None = None) -> Tensor:
    """y_i = sum of weight_s x[index_s] over offsets[i] <= s < offsets[i + 1]; the sum is in float32 for half types.

    Shapes: x [n, F]; index, weight [S]; offsets [m + 1]; y [m, F], contiguous.
    """
    if weight is not None:
        if weight.dtype != x.dtype:
            weight = weight.to(x.dtype)
        if not weight.is_contiguous():
            weight = weight.contiguous()
    if x.dtype is torch.float64:  # the bag of doubles is nine times slower than that of floats
        ones = x.new_ones(index.shape[0]) if weight is None else weight
        return matrix(offsets, index, ones, x.shape[0]) @ x
    n, width = x.shape
    if width == 0:  # the bag believes such an x to have no rows
        return x.new_empty(offsets.shape[0] - 1, 0)
    if x.stride(1) != 1:
        x = x.contiguous()
    if width > TILE and n * width * x.element_size() > WIDE:
        y = x.new_empty(offsets.shape[0] - 1, width)
        for column in range(0, width, TILE):
            columns = slice(column, column + TILE)
            y[:, columns] = _bag(x[:, columns], index, offsets, weight)
        return y
    return _bag(x, index, offsets, weight)


def _bag(x: Tensor, index: Tensor, offsets: Tensor, weight: Tensor | None) -> Tensor:
    if PRIVATE and HAS_BAG:
        return torch._embedding_bag_forward_only(x, index, offsets, False, 0, False, weight, True)[0]
    return torch.nn.functional.embedding_bag(
        index, x, offsets, mode="sum", per_sample_weights=weight, include_last_offset=True
    )


# --- inner products along edges -------------------------------------------------------------------------------------


def edge_dot(adjacency: Adjacency, a: Tensor, b: Tensor, scale: float = 1.0) -> Tensor:
    """s_e = scale <a_i, b_j> in float32 or float64. Shapes: a [n_dst, F], b [n_src, F], s [E]."""
    edges = adjacency.num_edges
    if edges * a.shape[1] < TINY:
        if PRIVATE and HAS_DOT and edges:
            dot: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(
                a.contiguous(), b.contiguous(), adjacency.col, adjacency.rowptr, adjacency.row, 0
            )
        else:
            dot = (a.index_select(0, adjacency.row) * b.index_select(0, adjacency.col)).sum(-1)
        return scaled_(dot, scale)
    if edges > adjacency.num_dst * adjacency.num_src:  # more repeats than torch believes a sparse matrix can have
        return scaled_(chunked_dots(adjacency, a.unsqueeze(1), b.unsqueeze(1)).squeeze(1), scale)
    zeros = adjacency.cached(f"zeros {a.dtype}", lambda: _zeros(adjacency, a.dtype))
    dot = torch.sparse.sampled_addmm(zeros, a, b.t(), alpha=scale).values()
    return dot


def chunked_dots(adjacency: Adjacency, a: Tensor, b: Tensor) -> Tensor:
    """<a_ih, b_jh> for every edge and head, chunk by chunk. Shapes: a [n_dst, H, D]; result [E, H]."""
    edges, shape = adjacency.num_edges, a.shape[1:]
    out = a.new_empty(edges, shape[0])
    left, right = (a.new_empty(min(SLOTS, edges), *shape) for _ in range(2))
    for slots, _, _ in slot_chunks(adjacency, False):
        size = slots.stop - slots.start
        torch.index_select(a, 0, adjacency.row[slots], out=left[:size])
        torch.index_select(b, 0, adjacency.col[slots], out=right[:size])
        torch.sum(left[:size].mul_(right[:size]), -1, out=out[slots])
    return out


def scaled_(values: Tensor, scale: float) -> Tensor:
    """The values times scale, in place."""
    return values if scale == 1.0 else values.mul_(scale)


def _zeros(adjacency: Adjacency, dtype: torch.dtype) -> Tensor:
    values = torch.zeros(adjacency.num_edges, dtype=dtype)
    return matrix(adjacency.rowptr, adjacency.col, values, adjacency.num_src)


# --- extremes over rows ---------------------------------------------------------------------------------------------


def row_extreme(pattern: Tensor, x: Tensor, kind: str) -> Tensor:
    """Largest (``amax``) or smallest (``amin``) of the gathered rows of x; 0 where there is none; nan wins."""
    extreme: Tensor = torch.sparse.mm(pattern, x, kind)
    return extreme


def row_winners(adjacency: Adjacency, pattern: Tensor, x: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """The extreme of each row, and the first slot that attains it; -1 where there is none."""
    if not (PRIVATE and HAS_WINNERS and adjacency.num_edges):
        best = row_extreme(pattern, x, kind)
        return best, _first_equal(adjacency, x, best)
    best, winner = _private_winners(pattern, x, kind)
    if bool(torch.isnan(best.sum())):  # the primitive takes the last nan of a row; also after inf - inf, to no harm
        winner = _first_equal(adjacency, x, best)
    return best, winner.masked_fill_(winner == adjacency.num_edges, -1)


def _private_winners(pattern: Tensor, x: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():  # without a gradient to come, torch leaves the winners out
        best, winner = torch.ops.aten._sparse_mm_reduce_impl(pattern, x.detach().requires_grad_(), kind)
    if winner.shape != best.shape:
        raise RuntimeError("no winners were returned")
    return best.detach(), winner


def _first_equal(adjacency: Adjacency, x: Tensor, best: Tensor) -> Tensor:
    """First slot of each row whose value is the extreme, or nan where that is nan; chunk by chunk of the slots."""
    none = adjacency.num_edges
    winner = torch.full(best.shape, none, dtype=adjacency.col.dtype)
    for slots, rows, _ in slot_chunks(adjacency, False):
        values, extreme = x.index_select(0, adjacency.col[slots]), best.index_select(0, adjacency.row[slots])
        hit = (values == extreme) | values.isnan()
        slot = torch.arange(slots.start, slots.stop, dtype=winner.dtype)[:, None]
        candidates = torch.where(hit, slot, none)
        place = (adjacency.row[slots] - rows.start).long()[:, None].expand_as(candidates)
        winner[rows].scatter_reduce_(0, place, candidates, "amin")
    return winner.masked_fill_(winner == none, -1)


# --- chunks of slots ------------------------------------------------------------------------------------------------


def slot_chunks(adjacency: Adjacency, transposed: bool) -> list[tuple[slice, slice, Tensor]]:
    """The slots in pieces of ``SLOTS``: which slots, which rows they touch, and the offsets of those rows within.

    A row that lies across a border is in both pieces, so that sums over pieces are to be added up.
    """
    return adjacency.cached(f"chunks {transposed} {SLOTS}", functools.partial(_cut, adjacency, transposed))


def _cut(adjacency: Adjacency, transposed: bool) -> list[tuple[slice, slice, Tensor]]:
    return list(_pieces(adjacency.rowptr_t if transposed else adjacency.rowptr, adjacency.num_edges))


def _pieces(offsets: Tensor, edges: int) -> Iterator[tuple[slice, slice, Tensor]]:
    starts = torch.arange(0, edges, SLOTS, dtype=offsets.dtype)
    stops = (starts + SLOTS).clamp_(max=edges)
    first_rows = torch.searchsorted(offsets, starts, right=True) - 1
    last_rows = torch.searchsorted(offsets, stops, right=False)
    for start, stop, first, last in torch.stack([starts, stops, first_rows, last_rows], 1).tolist():
        yield slice(start, stop), slice(first, last), offsets[first : last + 1].clamp(start, stop) - start


WIDE = _last_level_cache() * 3 // 2
HAS_BAG, HAS_DOT, HAS_WINNERS = _try_bag(), _try_dot(), _try_winners()
