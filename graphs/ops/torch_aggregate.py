"""Mean, max, min and standard deviation of neighbours from torch's own CPU primitives, each in its own pass."""

import torch
from torch import Tensor

from .adjacency import Adjacency
from .torch_primitives import gather_sum, matrix, row_extreme, row_winners
from .torch_sums import HALVES, mean_share

__all__ = ["multi_aggregate", "multi_aggregate_backward"]

WINNERS = 1 << 20  # winners whose gradients are scattered at a time: their int64 targets stay small


def multi_aggregate(
    adjacency: Adjacency, x: Tensor, kinds: str, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, max, min, std, argmax, argmin and centre; the contract of every backend."""
    if x.dtype in HALVES:
        *values, argmax, argmin, center = multi_aggregate(adjacency, x.float(), kinds, eps)
        mean, largest, smallest, std = (each.to(x.dtype) for each in values)
        return mean, largest, smallest, std, argmax, argmin, center
    asked = kinds.split(",")
    mean, largest, smallest, std, center = (x.new_empty(0) for _ in range(5))
    argmax, argmin = (adjacency.rowptr.new_empty(0) for _ in range(2))
    if "std" in asked:
        mean, std, center = _spread(adjacency, x, eps)
    elif "mean" in asked:
        mean = gather_sum(x, adjacency.col, adjacency.rowptr, mean_share(adjacency, x.dtype, False))
    pattern = _pattern(adjacency, x.dtype) if "max" in asked or "min" in asked else x
    if "values" in asked:  # no gradient is to come: the winners, which take four times as long, are not looked for
        largest = row_extreme(pattern, x, "amax") if "max" in asked else largest
        smallest = row_extreme(pattern, x, "amin") if "min" in asked else smallest
        return mean, largest, smallest, std, argmax, argmin, center
    if "max" in asked:
        largest, argmax = row_winners(adjacency, pattern, x, "amax")
    if "min" in asked:
        smallest, argmin = row_winners(adjacency, pattern, x, "amin")
    return mean, largest, smallest, std, argmax, argmin, center


def _pattern(adjacency: Adjacency, dtype: torch.dtype) -> Tensor:
    def build() -> Tensor:
        ones = torch.ones(adjacency.num_edges, dtype=dtype)
        return matrix(adjacency.rowptr, adjacency.col, ones, adjacency.num_src)

    return adjacency.cached(f"ones {dtype}", build)


def _fewer_than(adjacency: Adjacency, count: int) -> Tensor:
    """The destinations that fewer edges than that enter."""
    return adjacency.cached(f"fewer than {count}", lambda: (adjacency.rowptr.diff() < count).nonzero().squeeze(1))


def _spread(adjacency: Adjacency, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, std and centre. About the centre, squares of data far from 0 do not cancel each other's digits."""
    center = x.mean(0).nan_to_num_(0.0, 0.0, 0.0)  # a nan must reach only those who see it
    share = mean_share(adjacency, x.dtype, False)
    shifted = x - center
    mean = gather_sum(shifted, adjacency.col, adjacency.rowptr, share)
    std = gather_sum(shifted.square_(), adjacency.col, adjacency.rowptr, share)
    std.addcmul_(mean, mean, value=-1).clamp_(min=eps).sqrt_().index_fill_(0, _fewer_than(adjacency, 2), 0)
    return mean.add_(center).index_fill_(0, _fewer_than(adjacency, 1), 0), std, center


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
    """Gradient to x: two sums over the transpose, and each extreme's to its winner; the contract of every backend."""
    g = next(each for each in (g_mean, g_max, g_min, g_std) if each is not None)
    if g.dtype in HALVES:
        floor = float(torch.tensor(eps).sqrt().to(g.dtype))  # what a clamped std became
        g_mean, g_max, g_min, g_std = (None if each is None else each.float() for each in (g_mean, g_max, g_min, g_std))
        return multi_aggregate_backward(
            adjacency,
            g_mean,
            g_max,
            g_min,
            g_std,
            x.float(),
            mean.float(),
            std.float(),
            argmax,
            argmin,
            center,
            floor**2 * (1 + 1e-6),
        ).to(g.dtype)
    index, offsets = adjacency.col_t, adjacency.rowptr_t
    direct, gx = g_mean, None
    if g_std is not None:
        clamped = std.new_tensor(eps).sqrt()  # where std is this number, or 0, it has no slope
        slope = torch.where(std > clamped, g_std / std, 0)
        pull = slope * (mean - center)
        direct = pull.neg_() if g_mean is None else torch.sub(g_mean, pull, out=pull)
        share = mean_share(adjacency, g.dtype, True)
        gx = gather_sum(slope, index, offsets, share).mul_(x - center)
    if direct is not None:
        total = gather_sum(direct, index, offsets, mean_share(adjacency, g.dtype, True))
        gx = total if gx is None else gx.add_(total)
    if gx is None:
        gx = g.new_zeros(adjacency.num_src, g.shape[1])
    for gradient, winner in ((g_max, argmax), (g_min, argmin)):
        if gradient is not None:
            _scatter(adjacency, gx, gradient, winner)
    return gx


def _scatter(adjacency: Adjacency, gx: Tensor, g: Tensor, winner: Tensor) -> None:
    """Add each gradient to the source of its winning slot, some rows at a time."""
    if adjacency.num_edges == 0:
        return
    step = max(1, WINNERS // max(1, g.shape[1]))
    for start in range(0, g.shape[0], step):
        slots, part = winner[start : start + step], g[start : start + step]
        source = adjacency.col.index_select(0, slots.clamp(min=0).flatten()).long().view_as(slots)
        gx.scatter_add_(0, source, part.masked_fill(slots < 0, 0))
