"""What the runs of a comparison say: means, intervals, and differences to plain training over the same seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from graftable.comparison_plan import CHEAP, Method, Plan, Run, Set, make_run, stage_of
from graftable.graphs.shift import bootstrap_interval, holm, paired_difference
from graftable.graphs.shift.scores import HIGHER_IS_BETTER

__all__ = ["COLUMNS", "FROM_L2R", "Found", "Row", "Table", "choose", "tables", "text_of", "tuning_text"]

COLUMNS = ("id_val", "ood_val", "oracle")
"""Whose best epoch is scored; the first is the headline, the last is what no user could choose by."""
FROM_L2R = ("erm_refit", "l2r_all_pairs", "l2r_permuted", "l2r_random_clusters")
"""Last layers from the training of ``l2r``: without weights, under weights against all dependence whatever environments
show, under shuffled weights, under those of shuffled clusters."""


@dataclass
class Row:
    """One model on one set.

    Attributes:
        model: Its name.
        kind: ``cheap``, ``method`` or ``control``.
        seeds: How many there are.
        columns: By column of selection ``mean``, ``low``, ``high`` and ``sd`` of the metric on the shifted test.
        scores: Means of all scores on the shifted test, by the first column.
        id_score: Mean of the metric on the test of the training law.
        difference: To ``erm`` over the same seeds, above 0 is better: ``mean``, ``low``, ``high``, ``p_value``,
            ``p_holm`` (over the sets), ``wins``, ``ties``, ``losses``.
        to_refit: The same to ``erm_refit``, of models that share its training: what their weights alone are worth.
        seconds: Of processor time for a training; those of controls are in that of ``l2r``.
        error: Why there is none, where a method cannot run.
    """

    model: str
    kind: str
    seeds: int = 0
    columns: dict[str, dict[str, float | None]] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    id_score: float | None = None
    difference: dict[str, Any] | None = None
    to_refit: dict[str, Any] | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass
class Table:
    """All models on one set.

    Attributes:
        name: Of the set.
        config: The plan that it is from.
        metric: The field's measure.
        data: Sizes of the parts, the task, notes.
        seeds: Those that every method of the plan has finished are counted as ``complete``.
        rows: The models.
        weights: Of the runs of ``l2r``, by seed: histogram, report, and matrices where they were kept.
        training: How the methods were trained.
        chosen: Settings that the tuning chose, by method.
    """

    name: str
    config: str
    metric: str
    data: dict[str, Any]
    seeds: list[int]
    complete: int
    rows: list[Row]
    weights: dict[int, dict[str, Any]]
    training: dict[str, Any]
    chosen: dict[str, Any]

    def row(self, model: str) -> Row | None:
        """The row of a model."""
        return next((row for row in self.rows if row.model == model), None)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Found:
    """Finished runs, looked up by what they hold.

    Args:
        records: By id.
    """

    def __init__(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self.records = records
        self.stages = {
            stage_of(record["facts"]): record for record in records.values() if record["facts"]["method"] == "l2r"
        }

    def get(self, run: Run) -> Mapping[str, Any] | None:
        """The record of a run; of ``erm``, that of a run whose first stage it is."""
        found = self.records.get(run.id)
        return self.stages.get(stage_of(run.facts)) if found is None and run.method == "erm" else found


def choose(plan: Plan, records: Mapping[str, Mapping[str, Any]]) -> dict[str, Method]:
    """The best configuration of each method by its mean rank over the tuning sets, on ``id_val``; else the default.

    A higher score wins, then a lower loss; of equal ranks the configuration that comes first.
    """
    found, chosen = Found(records), {}
    for name, trials in plan.trials.items():
        ranks = np.zeros(len(trials))
        for place in plan.tuning_sets:
            keys = [_validation(found.get(make_run(place, trial, plan.tuning_seed)), name) for trial in trials]
            order = sorted(set(keys), reverse=True)
            ranks += [order.index(key) for key in keys]
        chosen[name] = trials[int(ranks.argmin())]
    return chosen


def _validation(record: Mapping[str, Any] | None, model: str) -> tuple[float, float]:
    """Score, signed so that more is better, and negative loss; the worst where there is none."""
    for row in (record or {}).get("rows", []):
        if (row["model"], row["selected_by"]) == (model, "id_val"):
            metric = (record or {})["metric"]
            return (1 if HIGHER_IS_BETTER[metric] else -1) * row["id_val"][metric], -row["id_val"]["loss"]
    return (-np.inf, -np.inf)


def tables(plans: Sequence[Plan], records: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """One table for each set of which a run is finished, with Holm's correction over these sets."""
    found, made = Found(records), []
    for plan in plans:
        chosen = choose(plan, records)
        made += [table for place in plan.sets if (table := _table(plan, place, chosen, found)) is not None]
    for model in dict.fromkeys(row.model for table in made for row in table.rows):
        rows = [row for table in made for row in table.rows if row.model == model and row.difference]
        for name in ("difference", "to_refit"):
            having = [differences for row in rows if (differences := getattr(row, name))]
            adjusted = holm([differences["p_value"] for differences in having])
            for differences, p in zip(having, adjusted, strict=True):
                differences["p_holm"] = p
    return made


def _table(plan: Plan, place: Set, chosen: Mapping[str, Method], found: Found) -> Table | None:
    methods = [chosen.get(method.name, method) for method in plan.methods]
    records: dict[str, dict[int, Mapping[str, Any]]] = {}
    for seed in plan.seeds:
        runs = [Run(place, CHEAP, seed, {}, {}), *(make_run(place, method, seed) for method in methods)]
        for run in runs:
            record = found.get(run)
            if record is not None:
                records.setdefault(run.method, {})[seed] = record
    if not records:
        return None
    first = next(iter(next(iter(records.values())).values()))
    scores, kinds = _scores(records)
    table = Table(
        name=place.name,
        config=plan.name,
        metric=first["metric"],
        data=first["data"],
        seeds=[seed for seed in plan.seeds if any(seed in each for each in records.values())],
        complete=sum(all(seed in records.get(name, {}) for name in _wanted(plan)) for seed in plan.seeds),
        rows=[],
        weights={seed: each["weights"] for seed, each in records.get("l2r", {}).items() if "weights" in each},
        training=dict(place.training),
        chosen={name: {**method.training, **method.settings} for name, method in chosen.items()},
    )
    for model, by_seed in scores.items():
        table.rows.append(_row(model, kinds[model], by_seed, scores, table.metric))
        own = records.get(model, {}).values()
        if own:
            table.rows[-1].seconds = float(np.mean([record["seconds"] for record in own]))
    for method, by_seed_record in records.items():
        errors = [record["error"] for record in by_seed_record.values() if "error" in record]
        if errors and method not in scores:
            table.rows.append(Row(method, "method", error=errors[0]))
    return table


def _wanted(plan: Plan) -> list[str]:
    return [CHEAP, *(method.name for method in plan.methods)]


Scores = dict[str, dict[int, dict[str | None, Mapping[str, Any]]]]
"""By model, seed and column the row of a record."""


def _scores(records: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> tuple[Scores, dict[str, str]]:
    """Rows by model, in the order in which they are shown, and the kind of each model."""
    scores: Scores = {}
    kinds: dict[str, str] = {}
    for method, by_seed in records.items():
        for seed, record in by_seed.items():
            for row in record.get("rows", []):
                model = row["model"]
                kind = "cheap" if method == CHEAP else "control" if model in FROM_L2R else "method"
                if method != {"method": model, "control": "l2r", "cheap": CHEAP}[kind]:
                    continue  # the first stage of another configuration
                kinds[model] = kind
                scores.setdefault(model, {}).setdefault(seed, {})[row["selected_by"]] = row
    order = [*(name for name in scores if kinds[name] == "cheap"), "erm", "l2r", *FROM_L2R, *scores]
    return {name: scores[name] for name in dict.fromkeys(order) if name in scores}, kinds


def _row(
    model: str,
    kind: str,
    by_seed: Mapping[int, Mapping[str | None, Mapping[str, Any]]],
    scores: Scores,
    metric: str,
) -> Row:
    row = Row(model, kind, seeds=len(by_seed))
    for column in COLUMNS:
        values = [_value(rows, column, metric) for rows in by_seed.values()]
        row.columns[column] = _spread([value for value in values if value is not None])
    headline = [_picked(rows, COLUMNS[0]) for rows in by_seed.values()]
    for name in sorted({key for each in headline if each for key in each["ood_test"]}):
        numbers = [each["ood_test"][name] for each in headline if each and each["ood_test"].get(name) is not None]
        if numbers:
            row.scores[name] = float(np.mean(numbers))
    inside = [
        each["id_test"][metric] for each in headline if each and (each.get("id_test") or {}).get(metric) is not None
    ]
    row.id_score = float(np.mean(inside)) if inside else None
    row.difference = _difference(by_seed, scores.get("erm"), metric) if model != "erm" else None
    if model == "l2r" or model in FROM_L2R[1:]:
        row.to_refit = _difference(by_seed, scores.get("erm_refit"), metric)
    return row


def _picked(rows: Mapping[str | None, Mapping[str, Any]], column: str) -> Mapping[str, Any] | None:
    return rows.get(column) or rows.get(None)  # constants and forests need no selection


def _value(rows: Mapping[str | None, Mapping[str, Any]], column: str, metric: str) -> float | None:
    row = _picked(rows, column)
    return None if row is None else (row.get("ood_test") or {}).get(metric)


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {}
    low, high = bootstrap_interval(values)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "low": low, "high": high, "sd": sd}


def _difference(
    by_seed: Mapping[int, Mapping[str | None, Mapping[str, Any]]],
    reference: Mapping[int, Mapping[str | None, Mapping[str, Any]]] | None,
    metric: str,
) -> dict[str, Any] | None:
    """To the reference, over the seeds that both have, by the first column."""
    pairs = [
        (mine, theirs)
        for seed in sorted(set(by_seed) & set(reference or {}))
        if (mine := _value(by_seed[seed], COLUMNS[0], metric)) is not None
        and (theirs := _value((reference or {})[seed], COLUMNS[0], metric)) is not None
    ]
    if not pairs:
        return None
    first, second = np.array(pairs).T
    found = paired_difference(first, second, higher_is_better=HIGHER_IS_BETTER[metric])
    return asdict(found) | {"excludes_zero": found.excludes_zero}


def text_of(table: Table) -> str:
    """A table for the terminal: the shifted test by each column, the difference to plain training, the time."""
    parts = table.data["parts"]
    sizes = ", ".join(f"{part} {count:,}" for part, (count, _, _) in parts.items())
    lines = [f"{table.name}: {table.metric} on the shifted test; {sizes}; {_seed_words(table)}"]
    lines.append(
        f"  {'':<22}{'by id_val':>25}{'ood_val':>9}{'oracle':>9}{'id_test':>9}"
        f"{'difference to erm':>27}{'Holm p':>9}{'s':>7}"
    )
    for row in table.rows:
        if row.error:
            lines.append(f"  {row.model:<22}  {row.error}")
            continue
        by = row.columns
        cells = f"{_number(by['id_val'].get('mean'))}{_ends(by['id_val']):>17}"
        others = "".join(f"{_number(by[column].get('mean')):>9}" for column in COLUMNS[1:])
        difference = row.difference or {}
        words = f"{difference['mean']:+.3f} {_ends(difference, '+'):>18}" if difference else ""
        p = _number(difference.get("p_holm"))
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        lines.append(f"  {row.model:<22}{cells:>25}{others}{_number(row.id_score):>9}{words:>27}{p:>9}{seconds:>7}")
    for name in ("l2r", "l2r_all_pairs"):
        weighted = table.row(name)
        if weighted is not None and (worth := weighted.to_refit):
            lines.append(f"  {name} to erm_refit, by its weights: {worth['mean']:+.3f} {_ends(worth, '+')}")
    return "\n".join(lines)


def tuning_text(found: Sequence[Table]) -> list[str]:
    """What the tuning of each config chose, a line each."""
    by_config = {table.config: table.chosen for table in found if table.chosen}
    return [
        f"{config}, chosen by tuning: "
        + "; ".join(
            f"{name} {', '.join(f'{key} {value}' for key, value in settings.items()) or 'as it is'}"
            for name, settings in chosen.items()
        )
        for config, chosen in by_config.items()
    ]


def _seed_words(table: Table) -> str:
    count = len(table.seeds)
    if count == 1:
        return "one seed: no intervals"
    return f"{count} seeds" + ("" if table.complete == count else f", {table.complete} of them complete")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _ends(interval: Mapping[str, Any], sign: str = "") -> str:
    if interval.get("low") is None:
        return ""
    return f"({interval['low']:{sign}.3f} to {interval['high']:{sign}.3f})"
