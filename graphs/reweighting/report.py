"""What weights cost and what they bought."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

__all__ = ["WeightReport"]


@dataclass(frozen=True)
class WeightReport:
    r"""What the weights cost and what they bought.

    Attributes:
        ess: Effective sample size :math:`1 / \sum p^2`, of all rows that were solved for, with those of the memory.
        num_rows: How many rows these are.
        max_weight: The largest weight that was returned; uniform weights are 1.
        dependence_before: Sum of squared covariances across clusters under uniform weights.
        dependence_after: The same under the weights.
        class_mass: Mass of each class, by its label; empty without labels or balance.
        penalty: Multiplier of the effective size; 0 where the bound on it is not active.
        num_iters: Steps of the solver.
        clusters: The cluster of each variable, (d,); -1 for those that do not vary.
        fallback: Why the weights are uniform, or None.
    """

    ess: float
    num_rows: int
    max_weight: float = 1.0
    dependence_before: float = 0.0
    dependence_after: float = 0.0
    class_mass: dict[float, float] | None = None
    penalty: float = 0.0
    num_iters: int = 0
    clusters: Tensor | None = None
    fallback: str | None = None

    def numbers(self) -> dict[str, float]:
        """Only the numbers, for a logger."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, int | float)}
