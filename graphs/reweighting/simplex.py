"""Weights as a convex set, the exact projection onto it, and the least value of a quadratic form over it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from graftable.errors import ConfigError, ShapeError

__all__ = ["Solution", "WeightSet", "minimise"]

#: Share by which the estimate of the largest eigenvalue is raised: power iterations approach it from below.
MARGIN = 1.1
POWER_ITERATIONS = 15


class WeightSet:
    r"""All weights that are allowed: fixed mass in every class, and an effective sample size that is large enough.

    .. math:: \{p \ge 0 : \textstyle\sum_{n \in k} p_n = \pi_k \ \forall k, \quad 1 / \lVert p \rVert^2 \ge \rho N\}

    where :math:`N = 1 / \sum_k \pi_k^2 / n_k` is the largest effective size that the masses leave, the number of rows
    if each class has the mass of its share. As both parts are convex, there is one nearest point to any :math:`y`, of
    the form :math:`p_n = (y_n - \theta_k)_+ / t` with one scale :math:`t \ge 1` for all. The squared norm along
    :math:`t` is :math:`\sum_k V_k / t^2 + \pi_k^2 / m_k` with :math:`V_k` the scatter of the :math:`m_k` rows that are
    positive; it changes its form only at known breakpoints, so sorting finds :math:`t` and :math:`\theta` exactly,
    where a search for a multiplier would solve the whole problem ten times.

    Args:
        num_rows: How many weights there are; at least 1.
        rho: Smallest effective sample size as a share of the largest; in (0, 1].
        groups: Class of each row, 0 to K - 1, none of them empty; absent, all are of one class.
        masses: Mass of each class, positive, in all 1; absent, each class has its share of the rows.
        device: Where the weights live; that of ``groups`` if these are given.

    Shapes:
        groups: (rows,) integers; masses: (K,); :meth:`project` takes and returns (rows,) in float64.

    Raises:
        ConfigError: If rho lies outside (0, 1].
        ShapeError: If there is not one group per row.

    Example:
        >>> WeightSet(4, rho=0.5).project(torch.tensor([9.0, 0.0, 0.0, 0.0])).tolist()
        [0.6830127018922193, 0.10566243270259357, 0.10566243270259357, 0.10566243270259357]
    """

    def __init__(
        self,
        num_rows: int,
        rho: float,
        *,
        groups: Tensor | None = None,
        masses: Tensor | None = None,
        device: torch.device | None = None,
    ) -> None:
        if not 0 < rho <= 1:
            raise ConfigError(f"rho is {rho}; expected a share of the rows in (0, 1], for instance 0.5.")
        if groups is None:
            groups = torch.zeros(num_rows, dtype=torch.long, device=device)
        if groups.shape != (num_rows,):
            raise ShapeError(f"groups has shape {tuple(groups.shape)}; expected one class per row, ({num_rows},).")
        sizes = torch.bincount(groups)
        self.groups = groups
        self.masses = (sizes / num_rows if masses is None else masses.to(sizes.device)).double()
        self.uniform = (self.masses / sizes)[groups]
        self.budget = float(self.uniform.square().sum()) / rho
        # the layout after sorting, the same for every point: class by class, the largest first
        self._single = len(sizes) == 1
        self._starts = sizes.cumsum(0) - sizes
        self._slot_group = torch.repeat_interleave(torch.arange(len(sizes), device=groups.device), sizes)
        places = torch.arange(num_rows, device=groups.device)
        self._rank = (places - self._starts[self._slot_group] + 1).double()
        self._places = places
        self._mass = self.masses[self._slot_group]
        # squared norm that m rows of one class have at least, pi^2 / m: itself, or the step from m - 1 rows to m
        below = torch.where(self._rank > 1, 1 / (self._rank - 1).clamp(min=1), 0.0)
        self._shares = self._mass.square() * (1 / self._rank - (0.0 if self._single else below))

    def project(self, y: Tensor) -> Tensor:
        """Find the nearest point of the set."""
        return self.project_with_scale(y)[0]

    def project_with_scale(self, y: Tensor) -> tuple[Tensor, float]:
        """Find the nearest point, and the scale t of its formula, which exceeds 1 where the effective size binds."""
        y = self._lowered(y.double())
        ordered = torch.sort(y, descending=True)[0] if self._single else self._sorted_by_class(y)
        first, second = self._running(ordered), self._running(ordered.square())
        scatter = torch.addcdiv(second, first.square(), self._rank, value=-1).clamp_(min=0)
        entry = torch.addcmul(first, self._rank, ordered, value=-1)  # the scale that lets a row in
        if not self._single:
            entry.div_(self._mass)
        scale = max(self._scale(entry, scatter), 1.0)
        inside = entry < scale
        if self._single:
            count = int(inside.sum())
            threshold: Tensor = (first[count - 1] - scale) / count
        else:
            counts = torch.zeros_like(self.masses).index_add_(0, self._slot_group, inside.double())
            last = self._starts + counts.long() - 1
            threshold = ((first[last] - self.masses * scale) / counts)[self.groups]
        return (y - threshold).clamp_(min=0).div_(scale), scale

    def _lowered(self, y: Tensor) -> Tensor:
        """Shift each class to a maximum of 0, which moves no projection and keeps the digits of the differences."""
        if self._single:
            return y - y.amax()
        largest = torch.full_like(self.masses, -math.inf).scatter_reduce_(0, self.groups, y, "amax")
        return y - largest[self.groups]

    def _sorted_by_class(self, y: Tensor) -> Tensor:
        order = torch.argsort(y, descending=True, stable=True)
        return y[order[torch.argsort(self.groups[order], stable=True)]]

    def _running(self, values: Tensor) -> Tensor:
        sums = values.cumsum(0)
        return sums if self._single else sums - (sums - values)[self._starts][self._slot_group]

    def _scale(self, entry: Tensor, scatter: Tensor) -> float:
        """Find t at which the squared norm, a decreasing function of t, meets the budget; 0 where it never exceeds."""
        shares = self._shares
        if not self._single:  # the classes' steps in the order in which they come as t grows
            along = torch.argsort(entry, stable=True)
            steps = torch.where(self._rank > 1, scatter - scatter.roll(1), 0.0)
            entry, scatter, shares = entry[along], steps[along].cumsum(0).clamp(min=0), shares[along].cumsum(0)
        above = torch.addcdiv(shares, scatter, entry.clamp(min=1e-100).square_()) > self.budget
        piece = int(above.sum()) - 1 if self._single else int(torch.where(above, self._places, -1).amax())
        if piece < 0:
            return 0.0
        return math.sqrt(float(scatter[piece]) / max(self.budget - float(shares[piece]), 1e-14 * self.budget))


@dataclass(frozen=True)
class Solution:
    """The least point, the multiplier of its effective size (0 where that does not bind), and the steps it took."""

    weights: Tensor
    penalty: float
    iterations: int


def minimise(
    product: Callable[[Tensor], Tensor],
    allowed: WeightSet,
    start: Tensor,
    largest: float,
    *,
    iterations: int = 100,
    tolerance: float = 1e-5,
) -> Solution:
    r"""Find the weights with the least :math:`p^\top B p`, by accelerated projected gradients with restarts.

    .. math:: p_{i+1} = P(q_i - B q_i / L), \qquad q_{i+1} = p_{i+1} + \beta_i (p_{i+1} - p_i)

    Momentum is dropped whenever it points uphill, which makes the rate that of the better conditioned problem.

    Args:
        product: Multiplies (rows,) by B, symmetric and positive semidefinite, in its own precision.
        allowed: The set of weights.
        start: Where to begin, (rows,).
        largest: L, an upper bound of the largest eigenvalue of B (:func:`largest_eigenvalue`).
        iterations: Most steps.
        tolerance: Stop when no weight moves by more than this share of 1 / rows in a step.

    Returns:
        The solution in float64. Its penalty is the multiplier :math:`\lambda` for which it also minimises
        :math:`p^\top B p + \lambda \lVert p \rVert^2` without a bound on the effective size.

    References:
        Beck and Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm", 2009, with the gradient restart of
        O'Donoghue and Candes, "Adaptive Restart for Accelerated Gradient Schemes", 2015.

    Example:
        >>> B = torch.diag(torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64))
        >>> minimise(lambda p: B @ p, WeightSet(3, rho=0.1), torch.ones(3) / 3, 2.0).weights
        tensor([0.5000, 0.2500, 0.2500], dtype=torch.float64)
    """
    weights, scale = allowed.project_with_scale(start)
    ahead, momentum, steps = weights, 1.0, 0
    if largest > 0:
        for _ in range(iterations):
            new, scale = allowed.project_with_scale(torch.sub(ahead, product(ahead), alpha=1 / largest))
            steps += 1
            change = new - weights
            if float(torch.dot(ahead - new, change)) > 0:
                momentum = 1.0
            following = (1 + math.sqrt(1 + 4 * momentum * momentum)) / 2
            ahead = torch.add(new, change, alpha=(momentum - 1) / following)
            weights, momentum = new, following
            if float(torch.linalg.vector_norm(change, math.inf)) <= tolerance / len(weights):
                break
    return Solution(weights, largest * (scale - 1), steps)


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, iterations: int = POWER_ITERATIONS
) -> tuple[float, Tensor]:
    """Bound the largest eigenvalue of a positive semidefinite matrix from above, by power iterations and a margin.

    The start must not be orthogonal to the leading vector: the diagonal of the matrix is a good one, and is permuted
    when the rows are. The vector that is returned is a better one for a matrix that is nearly the same.
    """
    vector = start / start.norm().clamp(min=1e-30)
    size = start.new_zeros(())
    for _ in range(iterations):
        vector = product(vector)
        size = vector.norm()
        vector = vector / size.clamp(min=1e-30)
    return MARGIN * float(size), vector
