"""What was done to make synthetic rows, in figures and in a few lines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

__all__ = ["RuleFigures", "SynthesisReport"]


@dataclass
class RuleFigures:
    """What a rule had to do with the rows.

    Attributes:
        name: The rule.
        broken: Share of the rows, as first drawn, that broke it.
        boundary_real: Share of the real rows that obey it without slack; None if it is only checked.
        boundary: The same of the rows that were made.
    """

    name: str
    broken: float
    boundary_real: float | None = None
    boundary: float | None = None


@dataclass
class SynthesisReport:
    """What was done.

    Attributes:
        rows: Rows made.
        drawn: Rows drawn for that.
        broken_rows: Rows, as first drawn, that broke a rule.
        redrawn_rows: Rows that were replaced by another draw.
        repaired_rows: Rows that were repaired.
        loosened_cells: Numbers that the repair had moved and that were drawn again between their bounds.
        violating_rows: Rows made that break a rule: 0.
        rules: By rule.
        seconds: Wall time of drawing, and of all the rest.
    """

    rows: int = 0
    drawn: int = 0
    broken_rows: int = 0
    redrawn_rows: int = 0
    repaired_rows: int = 0
    loosened_cells: int = 0
    violating_rows: int = 0
    rules: list[RuleFigures] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def summary(self) -> str:
        """The report in a few lines."""
        lines = [
            f"{self.rows:,} row{'s' * (self.rows != 1)}, {self.violating_rows} of them break a rule.",
            f"As drawn, {self.broken_rows:,} did: {self.redrawn_rows:,} were drawn again, "
            f"{self.repaired_rows:,} repaired ({self.loosened_cells:,} cells freed from their bounds).",
        ]
        for rule in self.rules:
            where = ""
            if rule.boundary is not None and rule.boundary_real is not None:
                where = f"; on its bound: real {rule.boundary_real:.1%}, made {rule.boundary:.1%}"
            lines.append(f"  {rule.broken:>7.2%} broke {rule.name}{where}")
        return "\n".join(lines)
