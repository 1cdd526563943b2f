"""The two charts of the report as numbers: where each dot, line and label of an inline SVG goes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graftable.graphs.metrics import Interval

__all__ = ["Curve", "loss_chart", "ratio_chart"]

WIDTH, LEFT = 900, 170
DOT, GAP = 24, 40
"""Height of a dot's line, and what is left for the name of a group."""
COLOURS = {"ours": "var(--model)", "copy": "var(--real)"}
CURVE_HEIGHT, CURVE_LEFT, TOP, BOTTOM = 300, 48, 26, 40
SMOOTHED = 0.04
"""Share of the curve over which the smoothed line averages."""


@dataclass(frozen=True)
class Curve:
    """The losses of a training run, and a sentence on it."""

    words: str
    steps: Sequence[int]
    losses: Sequence[float]
    validation_steps: Sequence[int] = field(default_factory=list)
    validation_losses: Sequence[float] = field(default_factory=list)


def ratio_chart(groups: Mapping[str, Sequence[tuple[str, str, Interval]]]) -> dict[str, Any]:
    """Place dots with whiskers on one logarithmic axis.

    Args:
        groups: By the name of a group its rows: a name, a kind (``ours``, ``copy`` or another) and the ratio.
    """
    every = [ratio for rows in groups.values() for _, _, ratio in rows]
    ends = [max(end, 1e-2) for r in every for end in (r.value, r.low or r.value, r.high or r.value)]
    low, high = min(0.5, *ends) / 1.15, max(3.0, *ends) * 1.15

    def at(value: float) -> float:
        share = math.log(max(value, low) / low) / math.log(high / low)
        return float(round(LEFT + share * (WIDTH - LEFT - 24), 1))

    top, placed = 34, []
    for name, rows in groups.items():
        dots = [
            {
                "name": row,
                "colour": COLOURS.get(kind, "var(--other)"),
                "x": at(ratio.value),
                "low": at(ratio.low or ratio.value),
                "high": at(ratio.high or ratio.value),
                "y": top + 34 + DOT * index,
            }
            for index, (row, kind, ratio) in enumerate(rows)
        ]
        placed.append({"name": name, "y": top + 12, "dots": dots})
        top += GAP + DOT * len(rows)
    ticks = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    if len(ticks) > 8:  # keep the decades
        ticks = [tick for tick in ticks if math.log10(tick) % 1 == 0 or tick == 1]
    words = "; ".join(
        f"{name}: " + ", ".join(f"{row} {ratio.value:.2g}" for row, _, ratio in rows) for name, rows in groups.items()
    )
    return {
        "width": WIDTH,
        "height": top + 30,
        "left": LEFT,
        "one": at(1.0),
        "ticks": [{"x": at(tick), "label": f"{tick:g}", "one": tick == 1} for tick in ticks],
        "groups": placed,
        "alt": f"Ratio of distances, by domain. {words}",
    }


def loss_chart(curve: Curve) -> dict[str, Any]:
    """Place the losses of each step, their running mean, and the validation losses."""
    losses, steps = np.asarray(curve.losses, dtype=float), np.asarray(curve.steps, dtype=float)
    window = max(1, round(SMOOTHED * len(losses)))
    padded = np.pad(losses, (window, window), mode="edge")
    smooth = np.convolve(padded, np.ones(2 * window + 1) / (2 * window + 1), mode="valid")
    everything = np.concatenate([losses, np.asarray(curve.validation_losses, dtype=float)])
    low, high = 0.5 * math.floor(2 * everything.min()), 0.5 * math.ceil(2 * everything.max())
    high = max(high, low + 0.5)
    last = max(float(steps.max()), 1.0)

    def x(step: float) -> float:
        return float(round(CURVE_LEFT + step / last * (WIDTH - 8 - CURVE_LEFT), 1))

    def y(loss: float) -> float:
        return float(round(TOP + (high - loss) / (high - low) * (CURVE_HEIGHT - TOP - BOTTOM), 1))

    def line(values: np.ndarray) -> str:
        return " ".join(f"{x(step)},{y(value)}" for step, value in zip(steps.tolist(), values.tolist(), strict=True))

    rise = 0.5 * math.ceil((high - low) / 6 / 0.5)
    rows = [low + rise * index for index in range(int((high - low) / rise) + 1)]
    columns = sorted({round(last * share) for share in (0, 0.25, 0.5, 0.75, 1)})
    ends = f"from {losses[0]:.2f} to {smooth[-1]:.2f} nats per token in {int(last)} steps"
    return {
        "width": WIDTH,
        "height": CURVE_HEIGHT,
        "left": CURVE_LEFT,
        "words": curve.words,
        "alt": f"Training loss, {ends}",
        "rows": [{"at": y(row), "label": f"{row:g}"} for row in rows],
        "columns": [{"at": min(max(x(step), CURVE_LEFT + 4), WIDTH - 20), "label": f"{step:,}"} for step in columns],
        "raw": line(losses),
        "smooth": line(smooth),
        "validation": [
            {"x": x(step), "y": y(loss)}
            for step, loss in zip(curve.validation_steps, curve.validation_losses, strict=True)
        ],
    }
