"""An evaluation of synthetic rows as one HTML file that loads nothing from elsewhere and has no scripts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from graftable import __version__
from graftable.pages import inline, page_template
from graftable.table_charts import draw_marginals, draw_pairs, draw_trends, score_chart, shown_pairs
from graftable.tabular.quality.figures import WORDS, Moves, RulesFigures, Score, TableEvaluation

__all__ = ["render_table_report"]

SAYS = {
    "shape": "how alike single columns are: 1 - Kolmogorov-Smirnov distance, or 1 - total variation. Independent "
    "columns have it by construction.",
    "trend": "how alike pairs are: correlations of numbers, joint tables of others.",
    "c2st": "1 if boosted trees cannot tell the rows from real ones, 0 if they always can.",
    "precision": "whether the rows lie where real ones do; 1 is best.",
    "recall": "whether real rows have a synthetic one as near as a real one. Other real rows have about 0.5.",
    "utility": "how well boosted trees that learnt from the rows predict `{target}` of real rows: {measure}.",
    "utility_linear": "the same with a linear model.",
    "closest": "how far the closest learnt row is: numbers in spans of their column, 1 for each other category.",
    "closest_low": "how far it is for the nearest twentieth of the rows.",
    "copies": "rows that equal a learnt one in every cell.",
    "nearer_train": "rows that are nearer to what was learnt than to as many real rows that were not; 50 % is right.",
}
MEASURES = {"AUC": "area under the ROC curve", "R2": "R², 1 is best"}
MEMORY = ("closest", "closest_low", "copies", "nearer_train")
SHARES = ("copies", "nearer_train")
WORST_PAIRS = 12
NONE = "-"


def render_table_report(found: TableEvaluation) -> str:
    """Write the report.

    Returns:
        An HTML document. All text is escaped.
    """
    pairs = [pair for pair in found.pairs if not math.isnan(found.pairs[pair].synthetic)]
    scattered = shown_pairs(found)
    lost = sorted(pairs, key=lambda pair: found.pairs[pair].synthetic - _or(found.pairs[pair].real, 1.0))
    return page_template("table_quality.html.j2").render(
        title=f"How good are the rows of {Path(found.synthetic).name}?",
        lede=_lede(found),
        facts=_facts(found),
        rules=None if found.rules is None else _rules(found.rules),
        chart=score_chart(found.scores),
        likeness=[_score(name, found) for name in found.scores if name not in MEMORY],
        memory=[_score(name, found) for name in found.scores if name in MEMORY],
        memory_note=_memory_note(found),
        marginals={"source": inline(draw_marginals(found)), "alt": "Histograms and bars of real and synthetic columns"},
        columns=[
            {"name": name, "kind": column.kind, "shape": _triple(column.shape), "null": _triple(column.null, True)}
            for name, column in found.columns.items()
        ],
        trends={"source": inline(draw_trends(found)), "alt": "Heat maps of what pairs lost"} if pairs else None,
        scatters=_scatters(found, scattered) if scattered else None,
        pairs=[{"name": " and ".join(p), "score": _triple(found.pairs[p])} for p in lost[:WORST_PAIRS]],
        notes=found.notes,
        footer=f"graftable {__version__}, seed {found.seed}, {found.seconds:.0f} s.",
    )


def _lede(found: TableEvaluation) -> str:
    rows = {name: f"{count:,} row{'s' * (count != 1)}" for name, count in found.rows.items()}
    held = f" and {Path(found.holdout).name} ({rows['holdout']} that were not learnt)" if found.holdout else ""
    return (
        f"{Path(found.synthetic).name} ({rows['synthetic']}) beside {Path(found.real).name} ({rows['real']}){held}. "
        f"{found.compared:,} rows of each are compared."
    )


def _facts(found: TableEvaluation) -> list[tuple[str, str]]:
    facts = []
    if found.rules is not None:
        facts.append(("rows that break a rule", f"{found.rules.violating_rows:,} of {found.rules.rows:,}"))
    names = {"shape": "shapes", "trend": "trends", "c2st": "C2ST", "utility": f"utility for {found.target}"}
    facts += [(words, _figure(found.scores[name].synthetic)) for name, words in names.items() if name in found.scores]
    return [*facts, ("exact copies", _percent(found.scores["copies"].synthetic))]


def _rules(rules: RulesFigures) -> dict[str, Any]:
    share = rules.violating
    verdict = (
        f"{rules.violating_rows:,} of {rules.rows:,} synthetic rows break a rule ({_percent(share.synthetic)}); of the "
        f"real rows {_percent(share.real)} do, and of independent columns {_percent(share.independent)}."
    )
    return {
        "verdict": verdict,
        "before": "" if rules.before is None else f"As they were drawn, {_percent(rules.before)} did.",
        "has_before": any(rule.before is not None for rule in rules.rules),
        "rows": [
            {
                "name": rule.name,
                "mode": rule.mode,
                "before": NONE if rule.before is None else _percent(rule.before),
                "broken": _triple(rule.broken, True),
                "is_broken": rule.broken.synthetic > 0 and rule.mode in ("hard", "reject"),
                "boundary": None if rule.boundary is None else _triple(rule.boundary, True),
            }
            for rule in rules.rules
        ],
        "moves": None if rules.moves is None else _moves(rules.moves),
    }


def _moves(moves: Moves) -> dict[str, Any]:
    share = _percent(moves.moved / max(moves.rows, 1))
    rows, moved = f"{moves.rows:,}", f"{moves.moved:,}"
    words = {
        "none yet": f"Nothing yet. A repair would move {moved} of the {rows} rows that were looked at ({share}).",
        "repair": f"A repair moved {moved} of {rows} rows ({share}).",
        "synthesis": f"Of {rows} rows, {moves.redrawn:,} were drawn again and {moved} repaired ({share}).",
    }
    columns = [
        {
            "name": name,
            "moved": f"{row['moved']:,}",
            "mean": _figure(row["mean"]) if row["moved"] else NONE,
            "largest": _figure(row["largest"]) if row["moved"] else NONE,
            "flipped": f"{row['flipped']:,}",
        }
        for name, row in moves.columns.items()
    ]
    return {"words": words[moves.source], "columns": columns}


def _score(name: str, found: TableEvaluation) -> dict[str, Any]:
    words = SAYS[name].format(target=found.target, measure=MEASURES.get(found.measure or ""))
    return {"name": WORDS[name], "score": _triple(found.scores[name], name in SHARES), "words": words}


def _memory_note(found: TableEvaluation) -> str:
    nearer = "Rows that are nearer than those have been learnt by heart."
    if found.holdout:
        return f"Real: rows of the holdout, which were not learnt. {nearer}"
    return (
        f"Real: one half of the real rows, whose closest record is sought in the other. {nearer} With --holdout FILE, "
        "of real rows that were not learnt, the comparison is sharper."
    )


def _scatters(found: TableEvaluation, pairs: list[tuple[str, str]]) -> dict[str, str]:
    names = "; ".join(" and ".join(pair) for pair in pairs)
    return {"source": inline(draw_pairs(found, pairs, found.seed)), "alt": f"Real and synthetic rows over {names}"}


def _triple(score: Score, as_share: bool = False) -> dict[str, str]:
    return {name: (_percent if as_share else _figure)(value) for name, value in score._asdict().items()}


def _figure(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3f}"


def _percent(share: float) -> str:
    """A share of which the least is not shown as none.

    Example:
        >>> _percent(0.0), _percent(0.00001), _percent(0.1234), _percent(1.0)
        ('0 %', '< 0.01 %', '12.34 %', '100 %')
    """
    if math.isnan(share):
        return NONE
    if 0 < share < 0.0001:
        return "< 0.01 %"
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


def _or(value: float, other: float) -> float:
    return other if math.isnan(value) else value
