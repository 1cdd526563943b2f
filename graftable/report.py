"""A report that is one HTML file: what was asked, what was drawn, and how close it is to real graphs.

Nothing in it is loaded from elsewhere: pictures are inlined, charts are inline SVG, there are no scripts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch_geometric.data import Data

from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conditions import Condition, Terciles
from graftable.graphs.corpus import DOMAINS, FAMILIES
from graftable.graphs.drawing import render_gallery
from graftable.graphs.metrics import VUN, Interval, Report
from graftable.pages import inline, page_template
from graftable.report_charts import Curve, loss_chart, ratio_chart

__all__ = ["Answer", "Score", "attribute_rows", "render_report"]

SHOWN = ("num_nodes", "num_edges", "mean_degree", "clustering", "modularity", "components", "diameter")
"""Attributes that the report shows for every prompt; others only where they were asked for."""
WHOLE = ("num_nodes", "num_edges", "components", "diameter")
NEAR = 0.1
"""A number counts as met within a tenth of it, a size only if it is exact."""


@dataclass(frozen=True)
class Score:
    """How one way to draw graphs does against real test graphs of a domain."""

    name: str
    kind: str  # "ours", "copy" or "baseline"
    report: Report
    shares: VUN


@dataclass(frozen=True)
class Answer:
    """A prompt and what came of it.

    Args:
        prompt: The words of the user.
        request: What was understood of them.
        drawn: Graphs, each with ``requested``: what the model settled on before it drew.
        real: Real graphs of the domain, to look at beside them.
        scores: The model and its baselines on the domain.
    """

    prompt: str
    request: Condition
    drawn: Sequence[Data]
    real: Sequence[Data] = ()
    scores: Sequence[Score] = field(default_factory=list)


def render_report(
    answers: Sequence[Answer],
    *,
    title: str,
    lede: str,
    terciles: Terciles,
    curve: Curve | None = None,
    small: Sequence[Data] = (),
    next_steps: Sequence[tuple[str, str]] = (),
    footer: str = "",
    resamples: int = 1000,
) -> str:
    """Write the report.

    Args:
        answers: One for each prompt.
        title: The headline.
        lede: What the page shows, in one or two sentences.
        terciles: What low, medium and high mean.
        curve: The losses of a model that was trained on the spot.
        small: What that model draws from the prompts.
        next_steps: Pairs of a sentence and a command.
        footer: The last line.
        resamples: How many resamples the intervals come from.

    Returns:
        An HTML document. All text is escaped.
    """
    groups = {
        _domain_name(answer.request): [(s.name, s.kind, s.report.ratio) for s in answer.scores if s.report.ratio]
        for answer in answers
    }
    groups = {name: rows for name, rows in groups.items() if rows}
    return page_template("demo.html.j2").render(
        title=title,
        lede=lede,
        answers=[_answer(answer, terciles) for answer in answers],
        chart=ratio_chart(groups) if groups else None,
        scored=max((score.report.generated for answer in answers for score in answer.scores), default=0),
        resamples=f"{resamples:,}",
        curve=loss_chart(curve) if curve else None,
        small=[_picture(graph, f"{answer.prompt}") for graph, answer in zip(small, answers, strict=False)],
        next_steps=[{"words": words, "command": command} for words, command in next_steps],
        footer=footer,
    )


def _answer(answer: Answer, terciles: Terciles) -> dict[str, Any]:
    family = answer.request.domain in FAMILIES
    return {
        "prompt": answer.prompt,
        "understood": _understood(answer.request, terciles),
        "drawn": [_picture(graph) for graph in answer.drawn],
        "real": [_picture(graph) for graph in answer.real],
        "real_title": "Beside them, test graphs of the same family" if family else "Beside them, real graphs",
        "real_note": "not seen in training, of the nearest sizes",
        "attributes": attribute_rows(answer.drawn, answer.request, terciles),
        "domain_words": DOMAINS.get(answer.request.domain or "", answer.request.domain or "").partition(";")[0],
        "statistics": list(answer.scores[0].report.statistics) if answer.scores else [],
        "scores": [_score(score) for score in answer.scores],
    }


def _domain_name(request: Condition) -> str:
    return DOMAINS.get(request.domain or "", request.domain or "any domain").partition(";")[0]


def _picture(graph: Data, caption: str | None = None) -> dict[str, str]:
    content = render_gallery([graph], "svg", titles=[""])
    nodes, edges = int(graph.num_nodes or 0), graph.num_edges // 2
    size = f"{nodes:,} node{'s' * (nodes != 1)}, {edges:,} edge{'s' * (edges != 1)}"
    return {
        "source": inline(content),
        "alt": f"Drawing of a graph with {size}",
        "caption": size if caption is None else caption,
    }


def _understood(request: Condition, terciles: Terciles) -> list[tuple[str, str]]:
    facts = [("domain", request.domain)] if request.domain else []
    if request.num_nodes_range:
        facts.append(("nodes", "{:,} to {:,}".format(*request.num_nodes_range)))
    return facts + [(_words(name), text) for name, text in _asked(request, terciles).items()]


def _asked(request: Condition, terciles: Terciles) -> dict[str, str]:
    """What the prompt fixes, by attribute, in words."""
    asked: dict[str, str] = {}
    if request.num_nodes is not None:
        asked["num_nodes"] = f"{request.num_nodes:,}"
    if request.num_edges is not None:
        asked["num_edges"] = f"{request.num_edges:,}"
    for name, level in request.levels.items():
        low, high = terciles.bounds(name, level)
        span = {"low": f"up to {high:.3g}", "medium": f"{low:.3g} to {high:.3g}", "high": f"above {low:.3g}"}[level]
        asked[name] = f"{level}: {span}"
    return asked | {name: f"{value:g}" for name, value in request.attributes.items()}


def attribute_rows(graphs: Sequence[Data], request: Condition, terciles: Terciles) -> list[dict[str, str]]:
    """Requested, planned and achieved values, an attribute a row.

    Args:
        graphs: Drawn graphs with ``requested``.
        request: What was asked for.
        terciles: What low, medium and high mean.

    Returns:
        Rows with ``name``, ``asked`` (empty if it was left open), ``planned``, ``mean``, ``span`` and ``met``.
    """
    asked = _asked(request, terciles)
    achieved = [
        {"num_nodes": float(g.num_nodes or 0), "num_edges": g.num_edges / 2, **graph_attributes(g)} for g in graphs
    ]
    planned: list[Mapping[str, Any]] = [graph.get("requested") or {} for graph in graphs]
    rows = []
    for name in (*SHOWN, *(name for name in asked if name not in SHOWN)):
        values = [float(measured[name]) for measured in achieved]
        plans = [float(plan[name]) for plan in planned if plan.get(name) is not None]
        met = sum(_is_met(name, value, request, terciles) for value in values)
        rows.append(
            {
                "name": _words(name),
                "asked": asked.get(name, ""),
                "planned": _span(name, plans),
                "mean": _number(name, sum(values) / len(values)),
                "span": _span(name, values),
                "met": f"{met} of {len(values)}" if name in asked else "",
            }
        )
    return rows


def _is_met(name: str, value: float, request: Condition, terciles: Terciles) -> bool:
    if name in ("num_nodes", "num_edges"):
        return bool(value == getattr(request, name))
    if name in request.attributes:
        return abs(value - request.attributes[name]) <= NEAR * abs(request.attributes[name])
    return name in request.levels and terciles.level_of(name, value) == request.levels[name]


def _score(score: Score) -> dict[str, Any]:
    ratio = score.report.ratio
    return {
        "name": score.name,
        "kind": score.kind,
        "distances": [f"{interval.value:.4f}" for interval in score.report.statistics.values()],
        "ratio": f"{ratio.value:.2f}" if ratio else "",
        "interval": f"{ratio.low:.2f} to {ratio.high:.2f}" if ratio and ratio.low is not None else "",
        "unique": _percent(score.shares.unique),
        "novel": _percent(score.shares.novel),
    }


def _percent(share: Interval) -> str:
    return f"{100 * share.value:.0f} %"


def _words(name: str) -> str:
    return name.removeprefix("num_").replace("_", " ")


def _number(name: str, value: float) -> str:
    if name in WHOLE:
        return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
    return f"{value:.2f}"


def _span(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    ends = _number(name, min(values)), _number(name, max(values))
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)
