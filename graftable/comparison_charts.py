"""The pictures of a comparison as numbers for inline SVG, and matrices as inline PNG."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.image import imsave
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from graftable.comparison_runs import HISTOGRAM
from graftable.comparison_tables import Row, Table
from graftable.pages import inline

__all__ = ["difference_chart", "histogram_chart", "matrix_pictures"]

WIDTH, LEFT, RIGHT = 900, 190, 160
LINE, GAP, HEAD = 19, 34, 30
COLOURS = {"l2r": "var(--model)", "erm_refit": "var(--real)"}
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 420, 170
PIXELS = 7
"""Size of a cell of a matrix."""


def difference_chart(found: Sequence[Table]) -> dict[str, Any] | None:
    """Differences to plain training as dots with whiskers on one axis; ``None`` where there are none.

    Args:
        found: The tables; constants and forests are not shown, which would stretch the axis.
    """
    groups = [
        (table, [row for row in table.rows if row.kind != "cheap" and row.difference is not None]) for table in found
    ]
    groups = [(table, rows) for table, rows in groups if rows]
    if not groups:
        return None
    ends = [0.0, *(end for _, rows in groups for row in rows for end in _ends(row))]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low or 1.0)
    low, high = low - room, high + room

    def at(value: float) -> float:
        return float(round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1))

    top, placed = HEAD, []
    for table, rows in groups:
        dots = [_dot(row, at, top + 26 + LINE * index) for index, row in enumerate(rows)]
        placed.append({"name": table.name, "metric": table.metric, "y": top + 10, "dots": dots})
        top += GAP + LINE * len(rows)
    step = _step(high - low)
    ticks = [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return {
        "width": WIDTH,
        "height": top + 26,
        "left": LEFT,
        "text_at": WIDTH - RIGHT + 12,
        "zero": at(0.0),
        "ticks": [{"x": at(tick), "label": f"{tick:+.2g}" if tick else "0"} for tick in ticks],
        "groups": placed,
        "alt": "Differences to plain training. "
        + "; ".join(
            f"{table.name}: " + ", ".join(f"{row.model} {_mean(row):+.3f}" for row in rows) for table, rows in groups
        ),
    }


def _mean(row: Row) -> float:
    return float((row.difference or {})["mean"])


def _ends(row: Row) -> list[float]:
    difference = row.difference or {}
    return [float(end) for name in ("mean", "low", "high") if (end := difference.get(name)) is not None]


def _dot(row: Row, at: Any, y: float) -> dict[str, Any]:
    difference = row.difference or {}
    mean = _mean(row)
    low, high = (mean if difference.get(name) is None else difference[name] for name in ("low", "high"))
    return {
        "name": row.model,
        "colour": COLOURS.get(row.model, "var(--other)" if row.kind == "control" else "var(--soft)"),
        "x": at(mean),
        "low": at(low),
        "high": at(high),
        "y": y,
        "sure": bool(difference.get("excludes_zero")),
        "words": f"{mean:+.3f}" + (f" ({low:+.3f}, {high:+.3f})" if difference.get("low") is not None else ""),
    }


def _step(span: float) -> float:
    """A round distance between ticks, about eight of which fill the span."""
    rough = span / 8
    power = 10.0 ** math.floor(math.log10(rough))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= rough)


def histogram_chart(counts: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Shares of graphs by their weight, over all runs, as bars on a logarithmic axis.

    Args:
        counts: Of each run, in the bins of ``HISTOGRAM``.
    """
    total = np.asarray(counts, dtype=float).sum(axis=0)
    shares = total / max(total.sum(), 1.0)
    highest = max(float(shares.max()), 1e-9)
    floor, width = HISTOGRAM_HEIGHT - 24, (HISTOGRAM_WIDTH - 8) / len(shares)
    bars = [
        {
            "x": round(4 + width * place, 1),
            "y": round(floor - (floor - 14) * float(share) / highest, 1),
            "height": round((floor - 14) * float(share) / highest, 1),
        }
        for place, share in enumerate(shares)
    ]
    labels = [
        {"x": round(4 + width * place, 1), "label": f"{HISTOGRAM[place]:.2g}"} for place in range(1, len(shares), 4)
    ]
    return {
        "width": HISTOGRAM_WIDTH,
        "height": HISTOGRAM_HEIGHT,
        "floor": floor,
        "bar": round(width - 2, 1),
        "one": round(4 + width * (1 + math.log(1 / HISTOGRAM[1]) / math.log(HISTOGRAM[2] / HISTOGRAM[1])), 1),
        "bars": bars,
        "labels": labels,
        "alt": f"Histogram of weights; the commonest bin holds {100 * highest:.0f} % of the graphs",
    }


def matrix_pictures(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Dependence of pairs of variables before and after, in one order and one scale, the diagonal left out.

    Args:
        before: Under uniform weights, (variables, variables).
        after: Under the weights.
    """
    first, second = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    order = _order(first)
    pairs = [_off_diagonal(matrix[np.ix_(order, order)]) for matrix in (first, second)]
    top = max(float(np.nanquantile(pairs[0], 0.99)), 1e-12)
    sums = [float(np.nansum(pair)) / 2 for pair in pairs]
    return {
        "size": PIXELS * len(first),
        "before": _png(pairs[0] / top),
        "after": _png(pairs[1] / top),
        "words": f"{sums[0]:.3g} before, {sums[1]:.3g} after ({sums[1] / max(sums[0], 1e-12):.0%})",
    }


def _off_diagonal(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    kept = matrix.copy()
    np.fill_diagonal(kept, np.nan)
    return kept


def _order(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Variables that depend on each other side by side."""
    if len(matrix) < 3:
        return np.arange(len(matrix))
    scale = np.sqrt(np.maximum(np.outer(matrix.diagonal(), matrix.diagonal()), 1e-24))
    distance = 1 - np.clip(matrix / scale, 0, 1)
    distance = (distance + distance.T) / 2
    np.fill_diagonal(distance, 0)
    found: npt.NDArray[np.int64] = leaves_list(linkage(squareform(distance, checks=False), "average")).astype(np.int64)
    return found


def _png(values: npt.NDArray[np.float64]) -> str:
    colours = colormaps["Blues"](np.clip(np.nan_to_num(values), 0, 1))
    colours[np.isnan(values)] = (0.94, 0.93, 0.91, 1.0)
    buffer = io.BytesIO()
    imsave(buffer, np.kron(colours, np.ones((PIXELS, PIXELS, 1))), format="png")
    return inline(buffer.getvalue())
