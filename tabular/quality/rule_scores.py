"""How synthetic rows keep rules: who breaks them, before and after, what moved, and what lies on their bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graftable.errors import DataError

from ..checking import CheckReport, check
from ..expressions import RuleSet
from ..io import Table, open_table
from ..obedient_rows import binding
from ..repair_report import RepairReport
from ..repairing import repair
from .figures import Moves, RuleScore, RulesFigures, Score
from .sampling import Sample

__all__ = ["read_report", "rule_figures"]


def rule_figures(
    rules: RuleSet,
    tables: tuple[Table, Table],
    samples: tuple[Sample, Sample],
    *,
    report: dict[str, Any] | None = None,
    seed: int = 0,
) -> RulesFigures:
    """Count what breaks rules, over whole tables, and measure what lies on their bounds, over samples.

    Args:
        rules: The rules.
        tables: The synthetic and the real table.
        samples: Rows of both.
        report: What `read_report` read.
        seed: Of the independent columns.

    Raises:
        DataError: If a cell that must be a number is none.
        RuleError: If the rules contradict each other.
    """
    rng = np.random.default_rng([seed, 3])
    real = samples[1].frame
    shuffled = pd.DataFrame({name: real[name].iloc[rng.permutation(len(real))].to_numpy() for name in real})
    apart = open_table(shuffled)
    schemas = samples[0].schema, samples[1].schema, samples[1].schema
    checks = [
        check(table, rules, schema, examples=0, unseen="allow")
        for table, schema in zip((*tables, apart), schemas, strict=True)
    ]
    frames = (samples[0].frame, real, shuffled)
    repairs = [_repaired(frame, rules, schema) for frame, schema in zip(frames, schemas, strict=True)]
    bounds = [_boundaries(found) for found in repairs]
    before = {} if report is None else {rule["name"]: _share(rule["broken"], report) for rule in report["rules"]}
    shares = [[rule.violations / max(found.rows, 1) for rule in found.rules] for found in checks]
    scored = [
        RuleScore(
            rule.name,
            rule.mode,
            Score(*broken),
            before.get(rule.name),
            Score(*(bound[rule.name] for bound in bounds)) if rule.name in bounds[0] else None,
        )
        for rule, *broken in zip(rules, *shares, strict=True)
    ]
    moves = _reported(report) if report is not None else _needed(checks[0], repairs[0])
    return RulesFigures(
        checks[0].rows,
        checks[0].violating_rows,
        Score(*(found.violating_rows / max(found.rows, 1) for found in checks)),
        None if report is None else report["broken_share"],
        scored,
        moves,
    )


def _repaired(frame: pd.DataFrame, rules: RuleSet, schema: Any) -> RepairReport | None:
    hard = binding(rules)
    return repair(frame, hard, schema, coerce=True, unseen="allow")[1] if len(hard) else None


def _boundaries(found: RepairReport | None) -> dict[str, float]:
    """Share of the rows that obey a rule without slack, by hard rule."""
    if found is None:
        return {}
    return {rule.name: rule.boundary_before / found.rows for rule in found.rules if rule.boundary_before is not None}


def _needed(found: CheckReport, repaired: RepairReport | None) -> Moves | None:
    """What a repair would move, if there is anything to repair."""
    if found.clean or repaired is None:
        return None
    columns = {name: dict(vars(moves)) for name, moves in repaired.columns.items()}
    return Moves("none yet", repaired.rows, repaired.moved_rows, columns=columns)


def _reported(report: dict[str, Any]) -> Moves:
    if "drawn" in report:
        return Moves("synthesis", report["rows"], report["repaired_rows"], report["redrawn_rows"])
    return Moves("repair", report["rows"], report["moved_rows"], columns=report["columns"])


def _share(broken: float, report: dict[str, Any]) -> float:
    """A synthesis reports shares, a repair counts."""
    return float(broken if "drawn" in report else broken / max(report["rows"], 1))


def read_report(source: Any) -> dict[str, Any]:
    """What was done to make or repair the synthetic rows.

    Args:
        source: A file that ``graftable synthesize`` or ``repair`` wrote with ``--report``, or the report itself.

    Returns:
        Its figures, and the share of rows that broke a rule as ``broken_share`` (None where it is not known).

    Raises:
        DataError: If it is none.
    """
    named = source if isinstance(source, str | Path) else "the report"
    try:
        text = Path(source).read_text(encoding="utf-8") if isinstance(source, str | Path) else source.to_json()
        found: dict[str, Any] = json.loads(text)
        found["broken_share"] = found["broken_rows"] / max(found["rows"], 1) if "drawn" in found else None
        if "drawn" not in found and found["rows"]:  # rows in quarantine broke a rule, too
            found["broken_share"] = (found["moved_rows"] + found["quarantined_rows"]) / found["rows"]
        for rule in found["rules"]:
            _share(rule["broken"], found)
        _reported(found)
    except OSError as error:
        raise DataError(f"{named}: cannot be read ({error.strerror}); check the path.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{named}: is no report of a synthesis or a repair; give a file that `graftable synthesize` or "
            "`graftable repair` wrote with --report."
        ) from error
    return found
