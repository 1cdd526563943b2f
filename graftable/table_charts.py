"""The pictures of a report on synthetic rows: where the dots of a chart go, marginals, trends and pairs."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colors, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from graftable.tabular.quality.figures import WORDS, Score, TableEvaluation
from graftable.tabular.quality.views import View

__all__ = ["SHARES", "draw_marginals", "draw_pairs", "draw_trends", "score_chart", "shown_pairs"]

SHARES = ("shape", "trend", "c2st", "precision", "recall", "utility", "utility_linear")
"""Scores of which 1 is the most that can be had."""
WIDTH, LEFT, LINE = 900, 230, 30
COLOURS = {"independent": "var(--other)", "real": "var(--real)", "synthetic": "var(--model)"}

REAL, SYNTHETIC, INK, SOFT, GRID = "#4a9b8e", "#3b6ea8", "#1f2933", "#616e7c", "#e4e1da"
LOSS = colors.LinearSegmentedColormap.from_list("loss", ["#fdfcfa", "#f2cfa5", "#d98a3d", "#8f3d14"])
STYLE: Any = {
    "font.size": 7.5,
    "axes.edgecolor": "#c9c4b8",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "text.parse_math": False,  # a column may be called $a$
    "svg.hashsalt": "graftable",
}
Floats = NDArray[np.float64]

TAILS = (0.002, 0.998)  # what is drawn of a column of numbers
MOST_COLUMNS = 40  # in a picture: those that score lowest
MOST_KINDS = 8  # bars of a column
FEW_VALUES = 16  # numbers of so few values are drawn as bars
BINS = 32
POINTS = 1500
PAIRS = 4
MOST_LETTERS = 18


def score_chart(scores: dict[str, Score]) -> dict[str, Any]:
    """Place three dots for each score on an axis from 0 to 1; what is not defined has none.

    Args:
        scores: Of an evaluation.
    """

    def at(value: float) -> float:
        return round(LEFT + min(max(value, 0.0), 1.0) * (WIDTH - LEFT - 30), 1)

    rows = []
    for place, name in enumerate(name for name in SHARES if name in scores):
        found = scores[name]._asdict()
        dots: list[dict[str, Any]] = [
            {"kind": kind, "x": at(found[kind]), "colour": colour}
            for kind, colour in COLOURS.items()
            if not math.isnan(found[kind])
        ]
        ends = [dot["x"] for dot in dots] or [LEFT]
        rows.append({"name": WORDS[name], "y": 46 + LINE * place, "dots": dots, "low": min(ends), "high": max(ends)})
    words = "; ".join(
        f"{WORDS[name]}: synthetic {scores[name].synthetic:.2f}, real {scores[name].real:.2f}, independent columns "
        f"{scores[name].independent:.2f}"
        for name in SHARES
        if name in scores
    )
    ticks = [{"x": at(tick / 5), "label": f"{tick / 5:g}"} for tick in range(6)]
    legend = {"synthetic": "synthetic", "real": "other real rows", "independent": "independent columns"}
    keys = [{"words": words, "colour": COLOURS[kind]} for kind, words in legend.items()]
    places = (0, 110, 255)
    return {
        "width": WIDTH,
        "height": 46 + LINE * len(rows) + 16,
        "left": LEFT,
        "rows": rows,
        "ticks": ticks,
        "keys": [{**key, "x": LEFT + place} for key, place in zip(keys, places, strict=True)],
        "alt": f"Scores from 0 to 1. {words}",
    }


def draw_marginals(found: TableEvaluation, kind: str = "svg", most: int = MOST_COLUMNS) -> bytes:
    """Each column of the real and the synthetic rows, those that are least alike first."""
    names = sorted(found.columns, key=lambda name: _number(found.columns[name].shape.synthetic))[:most]
    across = min(4, len(names))
    down = math.ceil(len(names) / across)
    with rc_context(STYLE):
        roomy = ConstrainedLayoutEngine(h_pad=0.07, w_pad=0.06)
        figure = Figure(figsize=(2.75 * across, 1.62 * down + 0.35), layout=roomy)
        FigureCanvasAgg(figure)
        axes = np.ravel(figure.subplots(down, across, squeeze=False))
        for ax, name in zip(axes, names, strict=False):
            _marginal(ax, name, found)
            score = found.columns[name].shape.synthetic
            ax.set_title(_short(name, 26), loc="left", size=8, color=INK, weight="bold")
            ax.set_title("" if math.isnan(score) else f"{score:.3f}", loc="right", size=7.5, color=SOFT)
        for ax in axes[len(names) :]:
            ax.set_axis_off()
        _legend(figure)
        return _bytes(figure, kind)


def _legend(figure: Figure) -> None:
    from matplotlib.patches import Patch

    keys = [Patch(color=REAL, alpha=0.45, label="real"), Patch(color=SYNTHETIC, label="synthetic")]
    figure.legend(handles=keys, loc="outside upper left", ncols=2, frameon=False, fontsize=8)


def _marginal(ax: Axes, name: str, found: TableEvaluation) -> None:
    parts = [_cells(found.views[kind], name).dropna() for kind in ("real", "synthetic")]
    if name in found.views["real"].texts:
        _category_bars(ax, parts)
        return
    values = np.unique(np.concatenate(parts))
    if len(values) > FEW_VALUES:
        _histogram(ax, parts)
        _number_ticks(ax.xaxis, found.columns[name].kind, values)
    else:
        _value_bars(ax, parts, values, found.columns[name].kind)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_ylim(bottom=0)


def _category_bars(ax: Axes, parts: Sequence[pd.Series]) -> None:
    """The most frequent categories, a bar in a bar each."""
    shares = [part.value_counts(normalize=True) for part in parts]
    ranked = shares[0].add(shares[1], fill_value=0).sort_values(ascending=False, kind="stable")
    kinds = list(ranked.index[:MOST_KINDS])
    places = np.arange(len(kinds))
    ax.barh(places, [shares[0].get(kind, 0.0) for kind in kinds], 0.86, color=REAL, alpha=0.45, lw=0)
    ax.barh(places, [shares[1].get(kind, 0.0) for kind in kinds], 0.3, color=SYNTHETIC, lw=0)
    ax.set_yticks(places, [_short(str(one)) for one in kinds], fontsize=6.5)
    ax.set_ylim(max(len(kinds), 3) - 0.5, -0.5)
    ax.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    ax.xaxis.set_major_locator(_few_ticks())


def _value_bars(ax: Axes, parts: Sequence[pd.Series], values: Floats, kind: str) -> None:
    """Few numbers, a bar in a bar each."""
    places = np.arange(len(values))
    for part, width, colour, alpha in zip(parts, (0.86, 0.3), (REAL, SYNTHETIC), (0.45, 1), strict=True):
        counts = np.bincount(np.searchsorted(values, part), minlength=len(values))
        ax.bar(places, counts / max(len(part), 1), width, color=colour, alpha=alpha, lw=0)
    words = [_tick(value, kind) for value in values]
    step = max(1, math.ceil(len(values) * max(map(len, words), default=1) / 26))
    ax.set_xticks(places[::step], words[::step])


def _histogram(ax: Axes, parts: Sequence[pd.Series]) -> None:
    """Two histograms over the middle of both samples: single far values would leave them no room."""
    both = np.concatenate(parts)
    low, high = np.quantile(both, TAILS)
    low, high = (low, high) if low < high else (both.min(), both.max())
    edges = np.linspace(low, high, BINS + 1)
    if (both == np.rint(both)).all():  # as many whole numbers to each bin, else the bars look like a comb
        width = math.ceil((high - low + 1) / BINS)
        edges = np.arange(math.floor(low), high + width + 1, width) - 0.5
    shares = [np.histogram(part, edges)[0] / max(len(part), 1) for part in parts]
    ax.stairs(shares[0], edges, fill=True, color=REAL, alpha=0.45, lw=0)
    ax.stairs(shares[1], edges, color=SYNTHETIC, lw=1.2)


def _number_ticks(axis: Any, kind: str, values: Floats) -> None:
    """A few ticks; dates as dates."""
    span = float(values.max() - values.min()) if len(values) else 0.0
    axis.set_major_locator(_few_ticks(2 if kind == "datetime" else 4))
    axis.set_major_formatter(lambda value, _: _tick(value, kind, span))


def draw_trends(found: TableEvaluation, kind: str = "svg") -> bytes:
    """What is lost of the trend of each pair, of the synthetic rows and of other real ones, in one scale."""
    losses = {name: 0.0 for name in found.columns}
    for pair, score in found.pairs.items():
        for name in pair:
            losses[name] = max(losses[name], _number(1 - score.synthetic, 0.0))
    kept = sorted(losses, key=lambda name: -losses[name])[:MOST_COLUMNS]
    names = [name for name in found.columns if name in kept]
    maps = np.full((2, len(names), len(names)), np.nan)
    place = {name: number for number, name in enumerate(names)}
    for (one, other), score in found.pairs.items():
        if one in place and other in place:
            for number, value in enumerate((score.synthetic, score.real)):
                maps[number, place[one], place[other]] = maps[number, place[other], place[one]] = 1 - value
    top = max(0.05, float(np.nanmax(maps, initial=0.0)) if not np.isnan(maps).all() else 0.05)
    with rc_context(STYLE):
        size = min(max(0.2 * len(names), 2.4), 5.2)
        figure = Figure(figsize=(2 * size + 2.2, size + 1.5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, 2, sharey=True)
        font = 7.5 if len(names) <= 25 else 5.5
        for ax, values, title in zip(axes, maps, ("synthetic rows", "other real rows"), strict=True):
            image = ax.imshow(values, cmap=LOSS, vmin=0, vmax=top)
            ax.set_title(title, loc="left", size=9, color=INK, weight="bold")
            ax.set_xticks(range(len(names)), [_short(name) for name in names], rotation=90, fontsize=font)
            ax.set_yticks(range(len(names)), [_short(name) for name in names], fontsize=font)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("1 - trend: 0 is alike", color=SOFT)
        return _bytes(figure, kind)


def shown_pairs(found: TableEvaluation) -> list[tuple[str, str]]:
    """The pairs that lost most beside other real rows, and the numbers that are most tied in the real rows."""
    lost = {pair: _number(score.real - score.synthetic, 0.0) for pair, score in found.pairs.items()}
    worst = sorted(lost, key=lambda pair: -lost[pair])[: PAIRS // 2]
    numbers = found.views["real"].numbers
    with np.errstate(invalid="ignore", divide="ignore"):
        tied = numbers.corr().abs()
    pairs = [pair for pair in lost if pair not in worst and set(pair) <= set(numbers.columns)]
    strong = sorted(pairs, key=lambda pair: -_number(tied.loc[pair], 0.0))[: PAIRS - len(worst)]
    return worst + strong


def draw_pairs(found: TableEvaluation, pairs: Sequence[tuple[str, str]], seed: int = 0, kind: str = "png") -> bytes:
    """Real and synthetic rows over pairs of columns, side by side on the same axes."""
    rng = np.random.default_rng(seed)
    down = math.ceil(len(pairs) / 2)
    with rc_context(STYLE):
        figure = Figure(figsize=(11, 2.75 * down), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, 4, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for number, pair in enumerate(pairs):
            row, column = divmod(number, 2)
            couple = axes[row, 2 * column : 2 * column + 2]
            _scatter_couple(couple, pair, found, rng)
            couple[0].set_title("real", loc="left", size=8.5, color=REAL, weight="bold")
            score = found.pairs[pair].synthetic
            couple[1].set_title("synthetic", loc="left", size=8.5, color=SYNTHETIC, weight="bold")
            couple[1].set_title("" if math.isnan(score) else f"trend {score:.3f}", loc="right", size=7.5, color=SOFT)
        return _bytes(figure, kind)


def _scatter_couple(axes: Any, pair: tuple[str, str], found: TableEvaluation, rng: np.random.Generator) -> None:
    scales = [_Scale(name, found) for name in pair]
    for ax, kind, colour in zip(axes, ("real", "synthetic"), (REAL, SYNTHETIC), strict=True):
        x, y = (scale.places(found.views[kind], rng) for scale in scales)
        ax.set_axis_on()
        ax.scatter(x[:POINTS], y[:POINTS], s=5, color=colour, alpha=0.28, lw=0)
        ax.set(xlim=scales[0].ends, ylim=scales[1].ends)
        ax.set_xlabel(_short(pair[0], 28), color=INK, size=8)
        scales[0].mark(ax.xaxis, letters=11)
        scales[1].mark(ax.yaxis)
    axes[0].set_ylabel(_short(pair[1], 28), color=INK, size=8)
    axes[1].set_yticklabels([])


class _Scale:
    """Where the cells of a column go on an axis: numbers where they are, and few values spread about whole numbers."""

    def __init__(self, name: str, found: TableEvaluation) -> None:
        self.name, self.kind = name, found.columns[name].kind
        cells = pd.concat([_cells(view, name) for view in found.views.values()]).dropna()
        self.known: list[Any] = list(cells.value_counts().index[:MOST_KINDS])
        self.is_number = name in found.views["real"].numbers
        self.numbers = np.unique(cells.to_numpy(np.float64)) if self.is_number else np.empty(0)
        if self.is_number:
            self.known = self.numbers.tolist() if len(self.numbers) <= FEW_VALUES else []
        self.ends = (-0.6, len(self.known) - 0.4)
        if not self.known:
            low, high = np.quantile(cells, TAILS) if len(cells) else (0.0, 1.0)
            room = 0.04 * (high - low) or 0.5
            self.ends = (float(low - room), float(high + room))

    def places(self, view: View, rng: np.random.Generator) -> Floats:
        """Where the rows lie."""
        cells = _cells(view, self.name)
        if not self.known:
            return np.asarray(cells, np.float64)
        codes = cells.map({one: place for place, one in enumerate(self.known)}).to_numpy(np.float64)
        return np.asarray(codes + rng.uniform(-0.32, 0.32, len(codes)), np.float64)

    def mark(self, axis: Any, letters: int = MOST_LETTERS) -> None:
        """Set the ticks."""
        if not self.known:
            _number_ticks(axis, self.kind, self.numbers)
            return
        words = [_tick(one, self.kind) if self.is_number else _short(one, letters) for one in self.known]
        turned = axis.axis_name == "x" and max(map(len, words)) > 4
        axis.set_ticks(range(len(words)), words, rotation=90 if turned else 0)


def _cells(view: View, name: str) -> pd.Series:
    return view.numbers[name] if name in view.numbers else view.texts[name]


def _few_ticks(most: int = 4) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most, steps=[1, 2, 2.5, 5, 10])


def _tick(value: float, kind: str = "decimal", span: float = 99.0) -> str:
    """A number, or a date, in few letters.

    Example:
        >>> _tick(250_000.0), _tick(1_500_000.0), _tick(0.25), _tick(-3.0)
        ('250k', '1.5M', '0.25', '-3')
        >>> _tick(15_000.0, "datetime"), _tick(15_000.5, "datetime", span=1.0), _tick(15_000.0, "datetime", span=999.0)
        ('2011-01-26', '26 12:00', '2011-01')
    """
    if kind == "datetime":
        form = "%d %H:%M" if span < 3 else "%Y-%m-%d" if span < 400 else "%Y-%m"
        return str((pd.Timestamp("1970-01-01") + pd.Timedelta(value, "D")).strftime(form))
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:g}{letter}"
    return f"{value:.6g}"


def _short(text: str, letters: int = MOST_LETTERS) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _number(value: Any, other: float = math.inf) -> float:
    return other if math.isnan(value) else float(value)


def _bytes(figure: Figure, kind: str) -> bytes:
    stream = io.BytesIO()
    # no date and no random ids in the file: the same rows make the same bytes
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(stream, format=kind, dpi=130, facecolor="white", metadata=metadata)
    return stream.getvalue()
