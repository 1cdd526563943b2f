"""Triton kernels for the mean, maximum, minimum and spread of neighbours: every neighbour is read once."""
# ruff: noqa: ANN001, ANN202 - kernels are typed by the launch
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from dataclasses import replace
from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import triton_launch
from .adjacency import Adjacency
from .triton_launch import NEVER, Hubs, Rows, accumulator, launch, row_tile, rows_of, sum_dtype
from .triton_sums import add_members

__all__ = ["multi_aggregate", "multi_aggregate_backward"]


@triton.jit
@no_type_check
def _fold_best(best, arg, value, entry, mask):
    """Carry the first maximum over a tile, or the first nan, which beats everything."""
    real = mask & (value == value)
    lost = mask & (value != value)
    any_lost = tl.sum(lost.to(tl.int32), axis=0) > 0
    top = tl.max(tl.where(real, value, float("-inf")), axis=0)
    beyond = tl.full([1, 1], 9223372036854775807, tl.int64)
    hit = tl.where(any_lost[None, :], lost, real & (value == top[None, :]))
    slot = tl.min(tl.where(hit, entry[:, None], beyond), axis=0)
    top = tl.where(any_lost, float("nan"), top)
    better = (arg < 0) | ((best == best) & (any_lost | (top > best)))
    return tl.where(better, top, best), tl.where(better, slot, arg)


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def aggregate_kernel(
    total_out, first_out, second_out, top_out, bottom_out, top_arg, bottom_arg, x, center, begin, end, col,
    num_rows, width, split, stat_row, x_row, x_col,
    EPS: tl.constexpr, ACC: tl.constexpr, MEAN: tl.constexpr, STD: tl.constexpr, MAX: tl.constexpr, MIN: tl.constexpr,
    COL: tl.constexpr, PARTIAL: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """The statistics of each row; with PARTIAL the sums behind them, for a segment of a hub."""
    tiles = tl.cdiv(width, BLOCK_F)
    program = tl.program_id(0).to(tl.int64)
    f = (program % tiles) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = f < width
    if STD:
        middle = tl.load(center + f, mask=inside, other=0).to(ACC)
    first_row = program // tiles * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        total = tl.zeros([BLOCK_F], ACC)
        moment = tl.zeros([BLOCK_F], ACC)
        square = tl.zeros([BLOCK_F], ACC)
        top = tl.zeros([BLOCK_F], ACC)
        bottom = tl.zeros([BLOCK_F], ACC)
        top_at = tl.full([BLOCK_F], -1, tl.int64)
        bottom_at = tl.full([BLOCK_F], -1, tl.int64)
        for start in range(first, last, BLOCK_E):
            entry = start + tl.arange(0, BLOCK_E)
            real = entry < last
            mask = real[:, None] & inside[None, :]
            j = tl.load(col + entry, mask=real, other=0).to(tl.int64) if COL else entry
            value = tl.load(x + j[:, None] * x_row + f[None, :] * x_col, mask=mask, other=0).to(ACC)
            if MEAN:
                total += tl.sum(value, axis=0)
            if STD:  # about the centre, else the difference of two large sums would eat the spread
                shifted = tl.where(mask, value - middle[None, :], 0.0)
                moment += tl.sum(shifted, axis=0)
                square += tl.sum(shifted * shifted, axis=0)
            if MAX:
                top, top_at = _fold_best(top, top_at, value, entry, mask)
            if MIN:
                bottom, bottom_at = _fold_best(bottom, bottom_at, -value, entry, mask)
        keep = f < tl.where(short, width, 0)
        stat = index * stat_row + f
        place = index * width + f
        many = last - first > 1
        count = tl.maximum(last - first, 1).to(ACC)
        if PARTIAL:
            if MEAN:
                tl.store(total_out + stat, total, mask=keep)
            if STD:
                tl.store(first_out + stat, moment, mask=keep)
                tl.store(second_out + stat, square, mask=keep)
        else:
            if MEAN:
                tl.store(total_out + stat, (total / count).to(total_out.dtype.element_ty), mask=keep)
            if STD:
                variance = square / count - (moment / count) * (moment / count)
                spread = tl.sqrt(tl.where(variance < EPS, EPS, variance))  # a comparison lets nan through
                spread = tl.where(many, spread, 0.0)
                tl.store(second_out + stat, spread.to(second_out.dtype.element_ty), mask=keep)
        if MAX:
            tl.store(top_out + place, top.to(top_out.dtype.element_ty), mask=keep)
            tl.store(top_arg + place, top_at.to(top_arg.dtype.element_ty), mask=keep)
        if MIN:
            tl.store(bottom_out + place, (-bottom).to(bottom_out.dtype.element_ty), mask=keep)
            tl.store(bottom_arg + place, bottom_at.to(bottom_arg.dtype.element_ty), mask=keep)


@triton.jit(do_not_specialize=["num_rows", "split"])
@no_type_check
def aggregate_backward_kernel(
    out, tilt_out, base, tilt, g_max, g_min, top_arg, bottom_arg, x, center, begin, end, col, slot,
    num_rows, width, split, out_row, x_row, x_col,
    ACC: tl.constexpr, BASE: tl.constexpr, STD: tl.constexpr, MAX: tl.constexpr, MIN: tl.constexpr,
    PARTIAL: tl.constexpr, ROWS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_F: tl.constexpr,
):  # fmt: skip
    """gx[j] = sum over the edges out of j of base_i + tilt_i (x_j - c), and of g_i where the edge won."""
    tiles = tl.cdiv(width, BLOCK_F)
    program = tl.program_id(0).to(tl.int64)
    f = (program % tiles) * BLOCK_F + tl.arange(0, BLOCK_F)
    inside = f < width
    first_row = program // tiles * ROWS
    for index in range(first_row, tl.minimum(first_row + ROWS, num_rows)):
        first = tl.load(begin + index).to(tl.int64)
        last = tl.load(end + index).to(tl.int64)
        short = last - first <= split
        last = tl.where(short, last, first)
        total = tl.zeros([BLOCK_F], ACC)
        slope = tl.zeros([BLOCK_F], ACC)
        for start in range(first, last, BLOCK_E):
            entry = start + tl.arange(0, BLOCK_E)
            real = entry < last
            mask = real[:, None] & inside[None, :]
            i = tl.load(col + entry, mask=real, other=0).to(tl.int64)
            e = tl.load(slot + entry, mask=real, other=0).to(tl.int64)
            place = i[:, None] * width + f[None, :]
            if BASE:
                total += tl.sum(tl.load(base + place, mask=mask, other=0), axis=0)
            if STD:
                slope += tl.sum(tl.load(tilt + place, mask=mask, other=0), axis=0)
            if MAX:
                won = tl.load(top_arg + place, mask=mask, other=-1) == e[:, None]
                total += tl.sum(tl.where(won, tl.load(g_max + place, mask=mask, other=0).to(ACC), 0.0), axis=0)
            if MIN:
                won = tl.load(bottom_arg + place, mask=mask, other=-1) == e[:, None]
                total += tl.sum(tl.where(won, tl.load(g_min + place, mask=mask, other=0).to(ACC), 0.0), axis=0)
        keep = f < tl.where(short, width, 0)
        if STD:
            if PARTIAL:
                tl.store(tilt_out + index * out_row + f, slope, mask=keep)
            else:
                value = tl.load(x + index * x_row + f * x_col, mask=inside, other=0).to(ACC)
                value -= tl.load(center + f, mask=inside, other=0).to(ACC)
                total += tl.where(slope == 0, 0.0, value * slope)  # an infinite x that no spread saw has gradient 0
        tl.store(out + index * out_row + f, total.to(out.dtype.element_ty), mask=keep)


def multi_aggregate(
    adjacency: Adjacency, x: Tensor, kinds: str, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Mean, max, min, std, argmax, argmin and centre in one pass; the contract of every backend."""
    asked = kinds.split(",")
    rows, shape = rows_of(adjacency, False), (adjacency.num_dst, x.shape[1])
    std = "std" in asked
    center = x.mean(0, dtype=sum_dtype(x)) if std else x.new_empty(0, dtype=sum_dtype(x))
    center.nan_to_num_(0.0, 0.0, 0.0)  # any centre will do, and a nan would reach every row
    names = [("mean" in asked or std, x), (std, x), ("max" in asked, x), ("min" in asked, x)]
    names += [("max" in asked, adjacency.rowptr), ("min" in asked, adjacency.rowptr)]
    results = [like.new_empty(shape if wanted else 0) for wanted, like in names]
    mean, spread, top, bottom, argmax, argmin = results
    _launch_aggregate(rows, x, center, [mean, mean, spread, top, bottom, argmax, argmin], eps, False)
    if rows.hubs is not None:
        _aggregate_hubs(rows, rows.hubs, x, center, results, eps)
    return mean, top, bottom, spread, argmax, argmin, center


def _launch_aggregate(rows: Rows, x: Tensor, center: Tensor, outs: list[Tensor], eps: float, partial: bool) -> None:
    """Fill total, first moment, second moment, top, bottom and the two args, whichever are not empty."""
    tile = row_tile(x.shape[1], x.dtype, rows)
    mean, std, largest, smallest = (outs[i].numel() > 0 for i in (0, 2, 3, 4))
    launch(
        aggregate_kernel, -(-len(rows) // tile.rows) * -(-x.shape[1] // tile.columns), x,
        *outs, x, center, rows.begin, rows.end, rows.col,
        len(rows), x.shape[1], NEVER if partial else triton_launch.SPLIT, outs[0].stride(0), *x.stride(),
        EPS=eps, ACC=accumulator(x), MEAN=mean, STD=std, MAX=largest, MIN=smallest,
        COL=rows.col is not None, PARTIAL=partial, ROWS=tile.rows, BLOCK_E=tile.edges, BLOCK_F=tile.columns,
        num_warps=tile.warps,
    )  # fmt: skip


def _aggregate_hubs(rows: Rows, hubs: Hubs, x: Tensor, center: Tensor, results: list[Tensor], eps: float) -> None:
    """Statistics of segments, then of their statistics; what is left is arithmetic on a few rows."""
    mean, std, top, bottom, argmax, argmin = results
    count, width, dtype = len(hubs.segments), x.shape[1], sum_dtype(x)
    sums = x.new_empty(count, 3 if std.numel() else 1 if mean.numel() else 0, width, dtype=dtype)
    planes = [*sums.unbind(1), *[x.new_empty(0)] * (3 - sums.shape[1])]
    bests = [x.new_empty((count, width) if each.numel() else 0, dtype=dtype) for each in (top, bottom)]
    args = [argmax.new_empty((count, width) if each.numel() else 0) for each in (argmax, argmin)]
    _launch_aggregate(hubs.segments, x, center, [*planes, *bests, *args], eps, True)
    members = replace(hubs.members, owner=None)
    if mean.numel():
        whole = sums.new_empty(len(members), sums.shape[1] * width)
        add_members(members, whole, sums.flatten(1))
        whole = whole.view(len(members), -1, width) / (rows.end - rows.begin)[hubs.owner].to(dtype)[:, None, None]
        mean[hubs.owner] = whole[:, 0].to(mean.dtype)
        if std.numel():
            std[hubs.owner] = (whole[:, 2] - whole[:, 1].square()).clamp(min=eps).sqrt().to(std.dtype)
    nothing = x.new_empty(0)
    for at, (out, arg) in enumerate(((top, argmax), (bottom, argmin))):
        if out.numel():
            best, winner = bests[at].new_empty(len(members), width), argmax.new_empty(len(members), width)
            outs = [nothing] * 7
            outs[3 + at], outs[5 + at] = best, winner
            _launch_aggregate(members, bests[at], center, outs, eps, True)
            out[hubs.owner] = best.to(out.dtype)
            arg[hubs.owner] = args[at].gather(0, winner.long())


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
    """Gradient to x by one pass over the transpose; the contract of every backend."""
    like = next(each for each in (g_mean, g_max, g_min, g_std, x) if each is not None)
    parts = _linear_parts(adjacency, g_mean, g_std, mean, std, center, eps)
    base, tilt = (None if part is None else part.contiguous() for part in parts)  # arithmetic keeps odd strides
    gx = like.new_empty(adjacency.num_src, like.shape[1])
    rows, tile = rows_of(adjacency, True), row_tile(like.shape[1], like.dtype, rows_of(adjacency, True))
    g_max, g_min = (None if g is None else g.contiguous() for g in (g_max, g_min))
    x_strides = x.stride() if tilt is not None else (0, 0)

    def run(part: Rows, out: Tensor, tilt_out: Tensor, partial: bool) -> None:
        several = 1 if partial else tile.rows
        launch(
            aggregate_backward_kernel, -(-len(part) // several) * -(-gx.shape[1] // tile.columns), gx,
            out, tilt_out, base, tilt, g_max, g_min, argmax, argmin, x, center,
            part.begin, part.end, part.col, part.slot,
            len(part), gx.shape[1], NEVER if partial else triton_launch.SPLIT, out.stride(0), *x_strides,
            ACC=accumulator(gx), BASE=base is not None, STD=tilt is not None, MAX=g_max is not None,
            MIN=g_min is not None, PARTIAL=partial, ROWS=several, BLOCK_E=tile.edges, BLOCK_F=tile.columns,
            num_warps=tile.warps,
        )  # fmt: skip

    run(rows, gx, gx, False)
    if rows.hubs is not None:
        hubs, planes = rows.hubs, 1 if tilt is None else 2
        sums = gx.new_empty(len(hubs.segments), planes, gx.shape[1], dtype=sum_dtype(gx))
        run(hubs.segments, sums[:, 0], sums[:, planes - 1], True)
        whole = sums.new_empty(len(hubs.owner), planes * gx.shape[1])
        add_members(replace(hubs.members, owner=None), whole, sums.flatten(1))
        total, *slope = whole.view(-1, planes, gx.shape[1]).unbind(1)
        for each in slope:
            total = total + torch.where(each == 0, 0.0, (x[hubs.owner].to(each.dtype) - center) * each)
        gx[hubs.owner] = total.to(gx.dtype)
    return gx


def _linear_parts(
    adjacency: Adjacency,
    g_mean: Tensor | None,
    g_std: Tensor | None,
    mean: Tensor,
    std: Tensor,
    center: Tensor,
    eps: float,
) -> tuple[Tensor | None, Tensor | None]:
    """What a destination sends back along each of its edges: base + tilt * (x_j - center)."""
    if g_mean is None and g_std is None:
        return None, None
    share = adjacency.inverse_degree(sum_dtype(g_mean, g_std)).unsqueeze(1)
    base = None if g_mean is None else g_mean.to(share.dtype) * share
    if g_std is None:
        return base, None
    # Spreads that eps holds up stand at its root, to the rounding of two square roots: they have no gradient.
    floor = share.new_tensor(eps).sqrt().to(std.dtype).to(share.dtype) * (1 + 4 * torch.finfo(share.dtype).eps)
    spread = std.to(share.dtype)
    tilt = torch.where((spread <= floor) | (share == 1), 0.0, g_std.to(share.dtype) * share / spread)
    lean = torch.where(tilt == 0, 0.0, tilt * (mean.to(share.dtype) - center))
    return -lean if base is None else base - lean, tilt
