"""What an evaluation of synthetic rows found, as JSON and as text."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from .views import View

__all__ = ["BETTER", "WORDS", "ColumnFigures", "Moves", "RuleScore", "RulesFigures", "Score", "TableEvaluation"]

Pair = tuple[str, str]

WORDS = {
    "shape": "shapes of columns",
    "trend": "trends of pairs",
    "c2st": "C2ST with boosted trees",
    "precision": "alpha-precision",
    "recall": "beta-recall",
    "utility": "utility, boosted trees",
    "utility_linear": "utility, linear model",
    "closest": "distance to the closest record, median",
    "closest_low": "the same, 5th percentile",
    "copies": "exact copies",
    "nearer_train": "nearer to train than to holdout",
}
"""What scores are called, in the order of a report."""

BETTER = {"closest": "", "closest_low": "", "copies": "", "nearer_train": ""}
"""Scores of which more is not better; the others are best at 1."""


class Score(NamedTuple):
    """A figure of synthetic rows between two that say what it means.

    Attributes:
        synthetic: Of the synthetic rows.
        real: Of as many other real rows: what a perfect generator would have.
        independent: Of real columns that were shuffled each on its own: what marginals alone are worth.
    """

    synthetic: float
    real: float
    independent: float


@dataclass
class ColumnFigures:
    """A column.

    Attributes:
        kind: As in the schema.
        shape: See `graftable.tabular.quality.column_shapes`.
        null: Share of null cells.
    """

    kind: str
    shape: Score
    null: Score


@dataclass
class RuleScore:
    """A rule.

    Attributes:
        name: The rule.
        mode: Its mode; only rows that break a ``hard`` or ``reject`` rule are violations.
        broken: Share of rows that break it: all synthetic and all real ones, and some independent ones.
        before: Share of the synthetic rows that broke it as they were drawn, where a report says so.
        boundary: Share of the first rows that obey it without slack; None for a rule that is only checked.
    """

    name: str
    mode: str
    broken: Score
    before: float | None = None
    boundary: Score | None = None


@dataclass
class Moves:
    """What was moved, or would have to be, so that rules hold.

    Attributes:
        source: ``repair`` or ``synthesis`` if a report says it, ``none yet`` if it is what a repair would do.
        rows: Rows that were looked at.
        moved: Rows of which a repair moved some cell.
        redrawn: Rows that were drawn again.
        columns: By column the numbers that moved, their mean and largest distance in spreads, and flipped categories.
    """

    source: str
    rows: int
    moved: int
    redrawn: int = 0
    columns: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass
class RulesFigures:
    """All rules together.

    Attributes:
        rows: Synthetic rows.
        violating_rows: Those of them that break a rule.
        violating: The same as a share, beside real and independent rows.
        before: Share of rows that broke a rule as they were drawn, where a report says so.
        rules: By rule.
        moves: What moved.
    """

    rows: int
    violating_rows: int
    violating: Score
    before: float | None
    rules: list[RuleScore]
    moves: Moves | None = None


@dataclass
class TableEvaluation:
    """What was found.

    Attributes:
        real: The real table.
        synthetic: The synthetic one.
        holdout: Real rows that were not learnt, if they were given.
        rows: How many rows each of them has.
        compared: How many rows of each were compared.
        seed: Of the sample and of the models.
        target: The column of the utility scores.
        measure: What these are: ``AUC`` for classes (the mean of each against the rest), ``R2`` for numbers.
        scores: By name; see `WORDS`.
        columns: By column.
        pairs: By pair of columns, its trend.
        rules: Of the rules, if there are any.
        notes: What a reader has to know.
        seconds: Wall time.
        views: The compared rows, ``real`` and ``synthetic``, for pictures; not in the JSON.
    """

    real: str
    synthetic: str
    holdout: str | None
    rows: dict[str, int]
    compared: int
    seed: int
    target: str | None = None
    measure: str | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    columns: dict[str, ColumnFigures] = field(default_factory=dict)
    pairs: dict[Pair, Score] = field(default_factory=dict)
    rules: RulesFigures | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    views: dict[str, View] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values; what is not defined is None."""
        found = {name: getattr(self, name) for name in ("real", "synthetic", "holdout", "rows", "compared", "seed")}
        found |= {"version": 1, "target": self.target, "measure": self.measure}
        found["scores"] = {name: score._asdict() for name, score in self.scores.items()}
        found["columns"] = {name: _plain(asdict(column)) for name, column in self.columns.items()}
        found["pairs"] = [{"columns": list(pair), "trend": score._asdict()} for pair, score in self.pairs.items()]
        found["rules"] = None if self.rules is None else _plain(asdict(self.rules))
        found |= {"notes": self.notes, "seconds": round(self.seconds, 2)}
        values: dict[str, Any] = _defined(found)
        return values

    def to_json(self) -> str:
        """The figures as JSON text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        """The figures as a table."""
        lines = [
            f"{self.synthetic} beside {self.real}: {self.compared:,} rows of each",
            f"{'':<40}{'synthetic':>12}{'real':>12}{'independent':>14}",
        ]
        for name, score in self.scores.items():
            cells = [f"{value:>{width}.4f}" for value, width in zip(score, (12, 12, 14), strict=True)]
            lines.append(f"{WORDS[name]:<40}{''.join(cells)}")
        if self.rules is not None:
            lines += ["", *_rule_lines(self.rules)]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _rule_lines(rules: RulesFigures) -> list[str]:
    lines = [
        f"{rules.violating_rows:,} of {rules.rows:,} rows break a rule"
        f" (real {rules.violating.real:.2%}, independent columns {rules.violating.independent:.2%})."
    ]
    if rules.before is not None:
        lines.append(f"As drawn, {rules.before:.2%} did.")
    for rule in rules.rules:
        bound = ""
        if rule.boundary is not None:
            bound = f"; on its bound {rule.boundary.synthetic:.1%}, real {rule.boundary.real:.1%}"
        before = "" if rule.before is None else f", as drawn {rule.before:.2%}"
        lines.append(f"  {rule.broken.synthetic:>7.2%} break {rule.name}{before}{bound}")
    return lines


def _plain(found: Any) -> Any:
    """The same with scores as mappings, which `asdict` leaves as they are."""
    if isinstance(found, Score):
        return found._asdict()
    if isinstance(found, dict):
        return {name: _plain(value) for name, value in found.items()}
    return [_plain(value) for value in found] if isinstance(found, list) else found


def _defined(found: Any) -> Any:
    """The same with None for NaN, which JSON does not have."""
    if isinstance(found, dict):
        return {name: _defined(value) for name, value in found.items()}
    if isinstance(found, list):
        return [_defined(value) for value in found]
    return None if isinstance(found, float) and math.isnan(found) else found
