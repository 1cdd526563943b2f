"""What a few paired runs say: the mean difference with an interval, a rank test, and Holm's correction over tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from graftable.errors import DataError

__all__ = ["PairedDifference", "bootstrap_interval", "holm", "paired_difference"]

RESAMPLES = 10_000
EXACT_UP_TO = 50
"""Pairs; of more, the rank sum is as good as normal."""
FEWEST = 5
"""Seeds below which an interval is too short to rely on."""
STEP = 2_000_000
"""Numbers that are drawn at a time."""


@dataclass(frozen=True)
class PairedDifference:
    """How far one method is from another over the same seeds; above 0 is better.

    Attributes:
        mean: Of the differences.
        low: Lower end of the 95 % bootstrap interval of the mean; ``None`` with one seed.
        high: Upper end.
        p_value: Of Wilcoxon's signed-rank test, two-sided; ``None`` with one seed.
        wins: Seeds with a difference above 0.
        ties: Seeds without one.
        losses: Seeds with a difference below 0.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    wins: int
    ties: int
    losses: int

    @property
    def seeds(self) -> int:
        """How many pairs there are."""
        return self.wins + self.ties + self.losses

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of 0, over five seeds or more: less than that is no claim."""
        enough = self.seeds >= FEWEST and self.low is not None and self.high is not None
        return enough and bool((self.low or 0) > 0 or (self.high or 0) < 0)


def paired_difference(
    scores: npt.ArrayLike, reference: npt.ArrayLike, *, higher_is_better: bool = True, seed: int = 0
) -> PairedDifference:
    """Compare two methods that were run with the same seeds.

    Args:
        scores: One per seed.
        reference: Those of the other method, in the same order.
        higher_is_better: Of the score; an error's differences change their sign.
        seed: Of the bootstrap.

    Shapes:
        scores, reference: (seeds,). Pairs of which one is NaN are left out.

    Raises:
        DataError: If there is no pair, or the two differ in length.

    References:
        Wilcoxon, "Individual Comparisons by Ranking Methods", 1945; ties with 0 are left out, as there.

    Example:
        >>> found = paired_difference([0.8, 0.9, 0.7], [0.7, 0.7, 0.7])
        >>> round(found.mean, 6), found.wins, found.ties, found.losses
        (0.1, 2, 1, 0)
    """
    first, second = np.asarray(scores, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise DataError(f"scores have shapes {first.shape} and {second.shape}; expected one per seed of both.")
    differences = (first - second) * (1 if higher_is_better else -1)
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        raise DataError("there is no seed with a score of both methods; expected at least one.")
    differences = np.where(np.abs(differences) < 1e-9, 0.0, differences)  # what rounding leaves of equal scores
    low, high = bootstrap_interval(differences, seed=seed)
    return PairedDifference(
        mean=float(differences.mean()),
        low=low,
        high=high,
        p_value=_wilcoxon(differences),
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
    )


def bootstrap_interval(
    values: npt.ArrayLike, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float | None, float | None]:
    """Ends of the percentile bootstrap interval of the mean; none for a single value.

    Args:
        values: One per seed, finite.
        level: Chance that the interval is meant to cover the mean. With few values the percentile interval is short:
            of ten it covers about nine times in ten.
        resamples: Drawn with replacement.
        seed: Of the draws.

    References:
        Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979.

    Example:
        >>> bootstrap_interval([0.5])
        (None, None)
        >>> bootstrap_interval([0.5, 0.5])
        (0.5, 0.5)
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return None, None
    draw = np.random.default_rng(seed)
    rows = max(STEP // len(found), 1)
    means = [
        found[draw.integers(0, len(found), size=(min(rows, resamples - start), len(found)))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    r"""Adjust p values of several tests so that the chance of any false claim keeps its bound.

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1) p_{(j)})

    Args:
        p_values: One per test; ``None`` is no test, and does not count.

    References:
        Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    tests = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tests):
        highest = max(highest, min(1.0, (len(tests) - rank) * p))
        adjusted[place] = highest
    return adjusted


def _wilcoxon(differences: npt.NDArray[np.float64]) -> float | None:
    """Two-sided p of the rank sum, exact with ties too: over all signs, that many steps of a convolution."""
    if len(differences) < 2:
        return None
    kept = differences[differences != 0]
    if not len(kept):
        return 1.0
    if len(kept) > EXACT_UP_TO:
        return float(stats.wilcoxon(kept, method="asymptotic").pvalue)
    # ties share the mean of their ranks: twice that is a whole number
    ranks = np.rint(2 * stats.rankdata(np.abs(np.round(kept, 12)))).astype(np.int64)
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks.tolist():
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    found = int(ranks[kept > 0].sum())
    return min(1.0, 2 * float(min(chances[: found + 1].sum(), chances[found:].sum())))
