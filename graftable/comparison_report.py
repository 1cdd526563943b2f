"""The report of a comparison as one HTML file: nothing is loaded from elsewhere, nothing that failed is left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graftable import __version__
from graftable.comparison_charts import difference_chart, histogram_chart, matrix_pictures
from graftable.comparison_tables import COLUMNS, FROM_L2R, Row, Table
from graftable.graphs.shift import noise_corrected_accuracy
from graftable.graphs.shift.paired import FEWEST
from graftable.pages import page_template

__all__ = ["render_comparison"]

NAMES = {
    "balanced_accuracy": "balanced",
    "average_precision": "avg. precision",
    "roc_auc": "ROC AUC",
    "worst_group": "worst group",
}


def render_comparison(found: Sequence[Table], left_out: Sequence[str], runs: tuple[int, int]) -> str:
    """Write the report.

    Args:
        found: The tables.
        left_out: Why sets are missing.
        runs: Finished and planned.

    Returns:
        An HTML document. All text is escaped.
    """
    seeds = max(len(table.seeds) for table in found)
    return page_template("comparison.html.j2").render(
        title="Methods under shift",
        lede=_lede(found, seeds),
        chart=difference_chart(found),
        warning=_warning(seeds),
        claims=[claim for table in found if (claim := _claim(table))],
        sets=[_set(table) for table in found],
        left_out=left_out,
        runs=runs,
        footer=f"graftable {__version__}. Intervals: percentile bootstrap of the mean over seeds, 95 %. p: Wilcoxon's "
        "signed-rank test, corrected by Holm over the sets of this report.",
    )


def _lede(found: Sequence[Table], seeds: int) -> str:
    methods = dict.fromkeys(row.model for table in found for row in table.rows if row.kind == "method")
    return (
        f"{len(found)} set{'s' * (len(found) != 1)}, {len(methods)} methods, {seeds} seed{'s' * (seeds != 1)}; the "
        "same encoder, optimiser, epochs and rule of selection for all. What counts is the difference to plain "
        "training (erm) over the same seeds: a gain is one whose interval lies above 0."
    )


def _warning(seeds: int) -> str:
    if seeds == 1:
        return "One seed: there are no intervals, and no difference can be told from chance."
    return f"{seeds} seeds are few: their intervals are too short to rely on." if seeds < FEWEST else ""


def _claim(table: Table) -> dict[str, Any] | None:
    """What l2r gains, and how much of it the last layer gains without weights."""
    rows = {name: table.row(name) for name in ("l2r", *FROM_L2R)}
    l2r = rows["l2r"]
    if l2r is None or l2r.difference is None:
        return None
    cells = {name: _difference(row.difference if row else None) for name, row in rows.items()}
    reports = [each["report"] for each in table.weights.values()]
    off = sum(report["max_weight"] == 1 for report in reports)
    return cells | {
        "set": table.name,
        "weights": _difference(l2r.to_refit),
        "ess": f"{np.mean([report['ess'] / report['num_rows'] for report in reports]):.0%}" if reports else "",
        "off": f"{off} of {len(reports)}" if reports else "",
    }


def _set(table: Table) -> dict[str, Any]:
    metrics = [name for row in table.rows for name in row.scores]
    others = [name for name in dict.fromkeys(metrics) if name != table.metric]
    noise = 1.5 * (1 - table.data["ceiling"]) if table.data["ceiling"] else None
    parts = [
        f"{part} {count:,} ({low} to {high} nodes)" if low != high else f"{part} {count:,}"
        for part, (count, low, high) in table.data["parts"].items()
    ]
    return {
        "name": table.name,
        "metric": NAMES.get(table.metric, table.metric),
        "sizes": "; ".join(parts),
        "notes": table.data["notes"],
        "others": [NAMES.get(name, name) for name in others],
        "corrected": noise is not None,
        "rows": [_row(row, others, table.metric, noise) for row in table.rows],
        "seeds": _seeds(table),
        "training": ", ".join(f"{name} {value}" for name, value in table.training.items()),
        "chosen": [
            f"{name}: {', '.join(f'{k} {v}' for k, v in settings.items()) or 'as it is'}"
            for name, settings in table.chosen.items()
        ],
        "weights": _weights(table),
    }


def _seeds(table: Table) -> str:
    if len(table.seeds) == 1:
        return "One seed: there is no interval, and no difference can be told from chance."
    unfinished = "" if table.complete == len(table.seeds) else f", of which {table.complete} are complete"
    return f"{len(table.seeds)} seeds{unfinished}."


def _row(row: Row, others: Sequence[str], metric: str, noise: float | None) -> dict[str, Any]:
    if row.error:
        return {"name": row.model, "kind": row.kind, "error": row.error}
    by = row.columns
    mean = by[COLUMNS[0]].get("mean")
    corrected = ""
    if noise is not None and mean is not None:
        corrected = _number(noise_corrected_accuracy(mean, noise, 3))
    difference = row.difference or {}
    return {
        "name": row.model,
        "kind": {"l2r": "ours", "erm": "ours"}.get(row.model, "copy" if row.kind == "cheap" else row.kind),
        "error": "",
        "score": _number(mean),
        "ends": _ends(by[COLUMNS[0]]),
        "corrected": corrected,
        "columns": [_number(by[column].get("mean")) for column in COLUMNS[1:]],
        "others": [_number(row.scores.get(name)) for name in others],
        "inside": _number(row.id_score),
        "difference": _difference(row.difference),
        "sure": bool(difference.get("excludes_zero")),
        "wins": "{wins}/{ties}/{losses}".format(**difference) if difference else "",
        "p": _number(difference.get("p_holm")),
        "seconds": "" if row.seconds is None else f"{row.seconds:.1f}",
    }


def _weights(table: Table) -> dict[str, Any] | None:
    if not table.weights:
        return None
    reports = [each["report"] for each in table.weights.values()]
    share = np.mean([report["ess"] / report["num_rows"] for report in reports])
    clusters = sorted({int(report["clusters"]) for report in reports})
    kept = next((each for each in table.weights.values() if "before" in each), None)
    uniform = sum(report["max_weight"] == 1 for report in reports)
    words = f"Effective sample {share:.0%} of the graphs; largest weight {max(r['max_weight'] for r in reports):.2f}."
    if uniform:
        words += f" In {uniform} of {len(reports)} runs weights did harm on an environment left out: all weigh alike."
    else:
        words += f" Clusters of variables: {', '.join(map(str, clusters))}."
    return {
        "words": words,
        "histogram": histogram_chart([each["histogram"] for each in table.weights.values()]),
        "matrices": matrix_pictures(kept["before"], kept["after"]) if kept else None,
    }


def _difference(difference: Mapping[str, Any] | None) -> dict[str, str]:
    """Mean and ends, for a cell."""
    if not difference:
        return {"mean": "", "ends": ""}
    ends = "" if difference["low"] is None else f"{difference['low']:+.3f} to {difference['high']:+.3f}"
    return {"mean": f"{difference['mean']:+.3f}", "ends": ends}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ends(interval: Mapping[str, Any]) -> str:
    return "" if interval.get("low") is None else f"{interval['low']:.3f} to {interval['high']:.3f}"
