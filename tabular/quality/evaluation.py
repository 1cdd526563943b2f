"""Everything that can be said of synthetic rows beside real ones, each figure between a ceiling and a floor.

The ceiling is other real rows, the floor real columns that were shuffled each on its own: it has every marginal and
nothing else. All three are as many rows, and are compared with the same real rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from graftable.errors import ConfigError, DataError

from ..checking import read_rules
from ..expressions import RuleSet
from ..io import ReadOptions, Table, open_table
from ..rule_parser import Unseen
from ..schema import Schema, did_you_mean
from .detection import c2st_score
from .figures import ColumnFigures, Score, TableEvaluation
from .nearness import copied, nearer_share, nearest_distances, spans
from .rule_scores import read_report, rule_figures
from .sampling import Sample, names_rows, own_schema, sampled
from .shapes_trends import column_shapes, mean_score, pair_trends
from .support import support_scores
from .utility import Learner, utility_score
from .views import NULL, View, as_texts, frame_view, independent, taken

__all__ = ["evaluate_table"]

ROWS = 10_000  # of each part that are compared
FEWEST = 20  # rows of a table that are worth a comparison
FEW = 500  # rows below which figures are coarse
MOST_CLASSES = 50  # of a target
LARGEST = 1e18  # number that boosted trees can take the square of
LEARNERS: Mapping[str, Learner] = {"utility": "xgboost", "utility_linear": "linear"}

Progress = Callable[[str], None]
"""Is told what is being measured."""


def evaluate_table(
    real: Any,
    synthetic: Any,
    rules: Any = None,
    *,
    holdout: Any = None,
    target: str | None = None,
    before: Any = None,
    schema: Schema | None = None,
    rows: int = ROWS,
    seed: int = 0,
    options: ReadOptions | None = None,
    unseen: Unseen = "allow",
    progress: Progress | None = None,
) -> TableEvaluation:
    """Measure synthetic rows beside the real ones that they imitate.

    Without a holdout, one half of the real rows stands for those that were learnt and the other is what all is compared
    with, so the synthetic rows are a little nearer to it than they should be; with one, the comparison is fair.

    Args:
        real: The real rows that were learnt: a CSV or Parquet file, a data frame, or an Arrow table.
        synthetic: The rows to judge, with the same columns.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        holdout: Real rows that were not learnt.
        target: The column that models learn to predict, for the utility; by default the last that can be one.
        before: What was done to make the rows, for what broke rules before: a report of a synthesis or a repair, or its
            file.
        schema: What the columns are; found out from the real table by default.
        rows: How many rows of each part are compared at the most. Rules are checked on all.
        seed: Of the sample, the shuffle and the models.
        options: How to read texts.
        unseen: Whether a category that the real table never holds is an error in a rule.
        progress: Is told what is being measured.

    Raises:
        DataError: If a table cannot be read, lacks a column, or has too few rows.
        ConfigError: If the target is no column, or none that can be predicted.
        RuleError: If a rule is wrong.

    Example:
        >>> import pandas as pd
        >>> real = pd.DataFrame({"start": [1, 2, 3, 4] * 20, "end": [2, 2, 5, 9] * 20})
        >>> found = evaluate_table(real, real[:40], "end >= start", target="end")
        >>> found.rules.violating_rows, round(found.scores["shape"].real, 1), found.scores["copies"].synthetic
        (0, 0.9, 1.0)
    """
    started, tell = time.perf_counter(), progress or (lambda words: None)
    if rows < FEWEST:
        raise ConfigError(f"rows is {rows}; expected at least {FEWEST}.")
    made = None if before is None else read_report(before)
    tables = {"real": open_table(real, options), "synthetic": open_table(synthetic, options)}
    if holdout is not None:
        tables["holdout"] = open_table(holdout, options)
    sources = _sources(tables)
    owner = sources["real"] if schema is None else "the schema"
    schema, rule_set = _read(tables["real"], rules, schema, unseen)
    if target is not None and target not in schema:
        raise ConfigError(f"--target: {sources['real']} has no column `{target}`.{did_you_mean(target, schema.names)}")
    schemas = {name: own_schema(table, schema, sources[name], owner) for name, table in tables.items()}
    tell("reading")
    halves = 1 if holdout is not None else 2
    samples = {
        name: sampled(table, schemas[name], rows * (halves if name == "real" else 1), (seed, place))
        for place, (name, table) in enumerate(tables.items())
    }
    found = _prepared(sources, samples, rows, seed)
    (learnt, fresh, drawn), notes = _views(samples, found.compared)
    found.target = _target(target, learnt, schema, sources["real"])
    found.notes = _notes(found, rows, sorted(set(tables["synthetic"].names) - set(schema.names))) + notes
    found.views = {"real": fresh, "synthetic": drawn}
    tell("rules")
    if len(rule_set):
        pair = (tables["synthetic"], tables["real"]), (samples["synthetic"], samples["real"])
        found.rules = rule_figures(rule_set, *pair, report=made, seed=seed)
    _measure(found, learnt, fresh, drawn, schema, tell)
    found.seconds = time.perf_counter() - started
    return found


def _sources(tables: dict[str, Table]) -> dict[str, str]:
    """What to call the tables; those in memory by their part."""
    return {name: f"the {name} table" if t.source == "the table" else t.source for name, t in tables.items()}


def _read(table: Table, rules: Any, schema: Schema | None, unseen: Unseen) -> tuple[Schema, RuleSet]:
    """The schema of the whole table, and the rules."""
    rule_set, known = RuleSet(()), schema
    if rules is not None:
        rule_set, known = read_rules(rules, table, schema, unseen)
    if schema is not None:
        return schema, rule_set
    found = {column.name: column for column in Schema.detect(table)}
    spoken = {column.name: column for column in known or () if column.name in rule_set.columns}
    return Schema(tuple((found | spoken)[name] for name in table.names)), rule_set


def _prepared(sources: dict[str, str], samples: dict[str, Sample], rows: int, seed: int) -> TableEvaluation:
    """An evaluation without figures, of as many rows of each part as there are in the smallest."""
    for name, sample in samples.items():
        if sample.total < FEWEST:
            plural = "" if sample.total == 1 else "s"
            raise DataError(
                f"{sources[name]}: has {sample.total} row{plural}, too few to compare; expected at least {FEWEST}."
            )
    real = samples["real"].total // (1 if "holdout" in samples else 2)
    others = [sample.total for name, sample in samples.items() if name != "real"]
    totals = {name: sample.total for name, sample in samples.items()}
    return TableEvaluation(
        sources["real"], sources["synthetic"], sources.get("holdout"), totals, min(rows, real, *others), seed
    )


def _views(samples: dict[str, Sample], size: int) -> tuple[tuple[View, View, View], list[str]]:
    """As many learnt, fresh and synthetic rows, and what was done to their columns."""
    left_out, notes, views = names_rows(samples["real"]), [], {}
    if left_out:
        notes.append(f"left out, as they name rows, or nearly all of their cells differ: {', '.join(left_out)}.")
    for name, sample in samples.items():
        kept = Schema(tuple(column for column in sample.schema if column.name not in left_out))
        if not len(kept.names):
            raise DataError("every column names its rows, so there is nothing to compare; give a table with others.")
        views[name] = frame_view(sample.frame, kept, {column.name for column in kept if column.is_numeric})
    for name in views["real"].numbers:
        largest = max(float(view.numbers[name].abs().max()) for view in views.values())
        if largest > LARGEST:
            power = math.floor(math.log10(largest))
            notes.append(f"{name} is measured in units of 1e{power}.")
            for view in views.values():
                view.numbers[name] /= 10.0**power
    fresh = taken(views["holdout"], slice(size)) if "holdout" in views else taken(views["real"], slice(size, 2 * size))
    return (taken(views["real"], slice(size)), fresh, taken(views["synthetic"], slice(size))), notes


def _notes(found: TableEvaluation, rows: int, strange: list[str]) -> list[str]:
    notes = []
    if found.compared == rows:
        notes.append(f"{rows:,} rows of each part were taken at random; rules were checked on all.")
    if found.compared < FEW:
        notes.append(f"{found.compared} rows are few: expect every figure to move by some hundredths.")
    if strange:
        notes.append(f"columns that only {found.synthetic} has were left out: {', '.join(strange)}.")
    return notes


def _measure(found: TableEvaluation, learnt: View, fresh: View, drawn: View, schema: Schema, tell: Progress) -> None:
    """All scores of the synthetic rows, of the learnt ones, and of independent columns."""
    rng = np.random.default_rng([found.seed, 2])
    parts = (drawn, learnt, independent(learnt, rng))
    tell("shapes and trends")
    shapes = [column_shapes(fresh, part) for part in parts]
    nulls = [_null_shares(part) for part in (drawn, fresh, parts[2])]
    for name in (name for name in schema.names if name in shapes[0]):
        shape, null = (Score(*(part[name] for part in figures)) for figures in (shapes, nulls))
        found.columns[name] = ColumnFigures(schema[name].kind, shape, null)
    trends = [pair_trends(fresh, part) for part in parts]
    found.pairs = {pair: Score(*(part[pair] for part in trends)) for pair in trends[0]}
    found.scores["shape"] = Score(*map(mean_score, shapes))
    if found.pairs:
        found.scores["trend"] = Score(*map(mean_score, trends))
    tell("detection")
    found.scores["c2st"] = Score(*(c2st_score(fresh, part, found.seed) for part in parts))
    tell("supports")
    supports = [support_scores(fresh, part) for part in parts]
    found.scores["precision"] = Score(*(score.precision for score in supports))
    found.scores["recall"] = Score(*(score.recall for score in supports))
    tell("utility")
    if found.target is None:
        found.notes.append("no utility: there is no column that a model could learn to predict from others.")
    else:
        # a number of two values, such as 0 and 1, is a class
        coded = found.target in fresh.numbers and learnt.numbers[found.target].nunique() == 2
        found.measure = "R2" if found.target in fresh.numbers and not coded else "AUC"
        views = [as_texts(part, found.target) if coded else part for part in (*parts, fresh)]
        for name, learner in LEARNERS.items():
            values = [utility_score(part, views[-1], found.target, found.seed, learner) for part in views[:-1]]
            found.scores[name] = Score(*values)
    tell("closest records")
    found.scores |= _memory(learnt, fresh, drawn, rng, found.holdout is not None)


def _null_shares(view: View) -> dict[str, float]:
    shares = {name: float(view.numbers[name].isna().mean()) for name in view.numbers}
    return shares | {name: float((view.texts[name] == NULL).mean()) for name in view.texts}


def _target(target: str | None, learnt: View, schema: Schema, real: str) -> str | None:
    """The column to predict: the one that was asked for, or the last that can be one and is no date.

    Raises:
        ConfigError: If the one that was asked for cannot be predicted.
    """
    if target is None:
        undated = (name for name in reversed(schema.names) if schema[name].kind != "datetime")
        able = (name for name in undated if not _why_no_target(name, learnt))
        return next(able, None)
    if why := _why_no_target(target, learnt):
        raise ConfigError(f"--target {target}: the column {why}, so nothing can be learnt of it; choose another.")
    return target


def _why_no_target(name: str, view: View) -> str:
    if name not in view.columns:
        return "names the rows"
    if len(view.columns) == 1:
        return "is the only one"
    cells = view.numbers[name] if name in view.numbers else view.texts[name].replace(NULL, None)
    kinds = cells.nunique()
    if kinds < 2:
        return "has a single value"
    if name in view.texts and kinds > MOST_CLASSES:
        return f"has {kinds:,} texts, and models are scored on {MOST_CLASSES} at most"
    return ""


def _memory(learnt: View, fresh: View, drawn: View, rng: np.random.Generator, with_holdout: bool) -> dict[str, Score]:
    """How near rows are to those that were learnt, and how many copy one."""
    scale = spans(learnt, fresh)
    parts = (drawn, fresh, independent(fresh, rng))
    near = [nearest_distances(part, learnt, scale) for part in parts]
    scores = {
        "closest": Score(*(float(np.median(distances)) for distances in near)),
        "closest_low": Score(*(float(np.quantile(distances, 0.05)) for distances in near)),
        "copies": Score(*(copied(part, learnt) for part in parts)),
    }
    if with_holdout:
        half = fresh.rows // 2
        shares = [nearer_share(part, learnt, fresh, scale) for part in (drawn, parts[2])]
        same = nearer_share(taken(fresh, slice(half)), learnt, taken(fresh, slice(half, None)), scale)
        scores["nearer_train"] = Score(shares[0], same, shares[1])
    return scores
