"""Weights of samples that make groups of variables independent, with a bound on how few samples they leave."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from graftable.errors import ConfigError

from .clusters import StableVariableClusterer
from .dependence import FEATURES, DependenceForm, dependence_form
from .features import standardise
from .inputs import checked, class_groups, class_masses, obstacle
from .memory import Rows, SampleMemory, WeightStore
from .objective import Objective
from .report import WeightReport
from .simplex import Solution, WeightSet, largest_eigenvalue, minimise

__all__ = ["DecorrelationWeighter"]

#: Reasons for uniform weights that are no trouble.
AS_ASKED = ("rho is 1", "one cluster")


class DecorrelationWeighter:
    r"""Weighs samples so that variables of different clusters become independent.

    .. math:: \min_p\ p^\top A p + \alpha\, p^\top S p \quad \text{subject to} \quad p \ge 0,\ \textstyle\sum p = 1,\
        1 / \lVert p \rVert^2 \ge \rho n

    :math:`p^\top A p` is the sum of squared weighted covariances across clusters (:mod:`.dependence`), a convex form;
    ``rho``, the least effective sample size as a share of the rows, is the one setting that matters. ``rho=1`` gives
    weights of exactly 1. The features are centred at the weights found so far, ``rounds`` times. Nothing here knows of
    graphs: a row may stand for a graph, an image or a line of a table.

    Args:
        rho: Smallest effective sample size over that of uniform weights, in (0, 1].
        alpha: Also penalises a shift of the features' mean, relative to the dependence; 0 or more.
        features: "rff" (random cosines), "rbf" (the kernel that they approximate, on up to 4096 rows) or "linear".
        num_features: Cosines for each variable, with "rff".
        balance: "none"; "class" keeps the mass of every class at its share of the rows; "equal" gives every class the
            same mass, and ``rho`` is then relative to the largest effective size that allows. Rows whose label is NaN
            count as a class that keeps its share.
        memory: Rows of earlier calls to solve with, a number or a :class:`SampleMemory`; 0 keeps none.
        clusterer: Finds clusters where only environments are given; by default a
            :class:`StableVariableClusterer` that can answer that nothing is unstable.
        rounds: How often the features are centred anew.
        iterations: Most steps of the solver in the last round; a third of that in the others.
        tolerance: The solver stops when no weight moves by more in a step.
        smoothing: Share of a sample's earlier weight in its new one, by sample id; in [0, 1).
        max_weight: Weights are cut at this value and raised to mean 1 again; None leaves them.
        seed: Seed of the cosines.

    Raises:
        ConfigError: If a setting is out of its range.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024; Zhang et al., "Deep Stable
        Learning for Out-Of-Distribution Generalization", 2021.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> weights, report = DecorrelationWeighter(rho=0.6, features="linear")(z)
        >>> [round(weight, 1) for weight in weights.tolist()]
        [0.9, 0.9, 0.9, 1.3, 1.3, 0.6]
        >>> report.dependence_after < 1e-3 < report.dependence_before
        True
    """

    def __init__(
        self,
        rho: float = 0.5,
        alpha: float = 0.0,
        features: Literal["rff", "rbf", "linear"] = "rff",
        *,
        num_features: int = 5,
        balance: Literal["none", "class", "equal"] = "none",
        memory: int | SampleMemory = 0,
        clusterer: StableVariableClusterer | None = None,
        rounds: int = 5,
        iterations: int = 40,
        tolerance: float = 1e-5,
        smoothing: float = 0.0,
        max_weight: float | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 < rho <= 1:
            raise ConfigError(f"rho is {rho}; expected a share of the rows in (0, 1], for instance 0.5.")
        if features not in FEATURES:
            raise ConfigError(f"features is {features!r}; expected one of {', '.join(FEATURES)}.")
        if balance not in ("none", "class", "equal"):
            raise ConfigError(f"balance is {balance!r}; expected none, class or equal.")
        if not (alpha >= 0 and 0 <= smoothing < 1 and min(rounds, iterations, num_features) >= 1):
            raise ConfigError(
                f"alpha is {alpha}, smoothing {smoothing}, rounds {rounds}, iterations {iterations}, num_features "
                f"{num_features}; expected alpha >= 0, smoothing in [0, 1), and at least 1 of the others."
            )
        if max_weight is not None and not max_weight > 1:
            raise ConfigError(f"max_weight is {max_weight}; expected more than 1, the weight of uniform samples.")
        self.rho, self.alpha, self.features, self.num_features, self.balance = (
            rho,
            alpha,
            features,
            num_features,
            balance,
        )
        self.rounds, self.iterations, self.tolerance = rounds, iterations, tolerance
        self.smoothing, self.max_weight, self.seed = smoothing, max_weight, seed
        self.memory = memory if isinstance(memory, SampleMemory) else SampleMemory(memory) if memory else None
        self.clusterer = StableVariableClusterer() if clusterer is None else clusterer
        self.store = WeightStore()
        #: How often the weights were uniform, by reason.
        self.fallbacks: Counter[str] = Counter()

    @torch.no_grad()
    def __call__(
        self,
        z: Tensor,
        clusters: Tensor | None = None,
        label: Tensor | None = None,
        environment: Tensor | None = None,
        sample_id: Tensor | None = None,
    ) -> tuple[Tensor, WeightReport]:
        """Weigh the rows of a batch.

        Args:
            z: Representations, one row per sample. Shifting or scaling a column changes nothing.
            clusters: The cluster of each variable; absent, they are found from the environments, and without these
                every variable is a cluster of its own.
            label: Class of each row, for ``balance``.
            environment: Where each row comes from, an integer.
            sample_id: A number for each sample, by which its last weight is found again.

        Shapes:
            z: (rows, d); clusters: (d,); label, environment, sample_id: (rows,); returns (rows,) in float32.

        Returns:
            Detached weights of mean 1, and the report. Where no weights can be found they are uniform, the reason is
            in the report, and it is counted.

        Raises:
            ShapeError: If a shape is not as above.
            ConfigError: If features="rbf" is asked for with more than 4096 rows.
        """
        rows = Rows(z.detach(), label, environment, sample_id)
        rows = checked(rows, clusters, self.balance)
        with torch.autocast(z.device.type, enabled=False):
            if rows.sample_id is None:
                return self._weigh(rows, clusters)
            # in the order of the samples, rounding is the same however a batch was put together
            order = torch.argsort(rows.sample_id, stable=True)
            ordered, report = self._weigh(rows.take(order), clusters)
            weights = torch.empty_like(ordered)
            weights[order] = ordered
            return weights, report

    def _weigh(self, batch: Rows, clusters: Tensor | None) -> tuple[Tensor, WeightReport]:
        if len(batch.z) == 0 or not batch.z.isfinite().all():
            return self._uniform(batch, None, "no rows" if len(batch.z) == 0 else "numbers that are not finite")
        rows = batch
        if self.memory is not None:
            rows = self.memory.beside(batch)
            self.memory.push(batch)
        classes, groups = class_groups(rows.label if self.balance != "none" else None)
        allowed = self._allowed(len(rows.z), classes, groups, batch.z.device)
        if self.rho == 1:
            return self._uniform(batch, allowed, "rho is 1")
        values, varies = standardise(rows.z)
        found = self._found_clusters(rows, clusters)[varies]
        if reason := obstacle(len(rows.z), varies, found):
            return self._uniform(batch, allowed, reason)
        form = dependence_form(values.float(), found, self.features, num_features=self.num_features, seed=self.seed)
        solved = self._solve(form, allowed, self._start(rows, allowed))
        share = solved.weights
        if not share.isfinite().all() or abs(float(share.sum()) - 1) > 1e-5:
            return self._uniform(batch, allowed, "a solver that failed")
        weights = self._finished(share[: len(batch.z)], batch.sample_id)
        report = WeightReport(
            ess=float(1 / share.square().sum()),
            num_rows=len(share),
            max_weight=float(weights.max()),
            dependence_before=form.value(allowed.uniform),
            dependence_after=form.value(share),
            class_mass=class_masses(classes, groups, share),
            penalty=solved.penalty,
            num_iters=solved.iterations,
            clusters=torch.full_like(varies, -1, dtype=torch.long).masked_scatter_(varies, found),
        )
        return weights, report

    def _allowed(self, rows: int, classes: Tensor, groups: Tensor | None, device: torch.device) -> WeightSet:
        masses = None
        if self.balance == "equal" and groups is not None:
            shares = torch.bincount(groups).double() / rows
            labelled = ~classes.isnan()
            masses = torch.where(labelled, shares[labelled].sum() / labelled.sum().clamp(min=1), shares)
        return WeightSet(rows, self.rho, groups=groups, masses=masses, device=device)

    def _found_clusters(self, rows: Rows, clusters: Tensor | None) -> Tensor:
        if clusters is not None:
            codes: Tensor = torch.unique(clusters.to(rows.z.device), return_inverse=True)[1]
            return codes
        if rows.environment is not None:
            return self.clusterer.update(rows.z, rows.environment)
        return torch.arange(rows.z.shape[1], device=rows.z.device)

    def _start(self, rows: Rows, allowed: WeightSet) -> Tensor:
        """Start from the last weights of the same samples, remembered ones among them, and uniform ones of others."""
        if rows.sample_id is None:
            return allowed.uniform
        return allowed.project(allowed.uniform * self.store.get(rows.sample_id, default=1.0))

    def _solve(self, form: DependenceForm, allowed: WeightSet, start: Tensor) -> Solution:
        objective, solution = Objective(form, self.alpha), Solution(start, 0.0, 0)
        steps, leading = 0, None
        for left in reversed(range(self.rounds)):
            product, diagonal = objective.at(solution.weights)
            largest, leading = (
                largest_eigenvalue(product, diagonal) if leading is None else largest_eigenvalue(product, leading, 5)
            )
            solution = minimise(
                product,
                allowed,
                solution.weights,
                largest,
                iterations=max(self.iterations // 3, 1) if left else self.iterations,
                tolerance=self.tolerance,
            )
            steps += solution.iterations
        return replace(solution, iterations=steps)

    def _finished(self, share: Tensor, sample_id: Tensor | None) -> Tensor:
        """Scale to mean 1 in the batch, smooth by sample, and cut; in float32."""
        weights = (share / share.mean().clamp(min=1e-30)).float()
        if sample_id is not None:
            if self.smoothing > 0 and len(self.store):
                old = self.store.get(sample_id, default=float("nan"))
                weights = torch.where(old.isnan(), weights, self.smoothing * old + (1 - self.smoothing) * weights)
            self.store.put(sample_id, weights)
        if self.max_weight is not None:
            weights = weights.clamp(max=self.max_weight)
        return weights / weights.mean().clamp(min=1e-30)

    def _uniform(self, batch: Rows, allowed: WeightSet | None, reason: str) -> tuple[Tensor, WeightReport]:
        """Weigh all rows of a class alike, and count why."""
        rows = len(batch.z)
        if reason not in AS_ASKED:
            self.fallbacks[reason] += 1
            if self.fallbacks[reason] == 1:
                warnings.warn(
                    f"the weights are uniform because of {reason}; further times are only counted.", stacklevel=4
                )
        weights = torch.ones(rows, device=batch.z.device)
        ess = float(rows)
        if allowed is not None and self.balance == "equal":
            share = allowed.uniform[:rows]
            weights, ess = (share / share.mean()).float(), float(1 / allowed.uniform.square().sum())
        largest = float(weights.max()) if rows else 1.0
        return weights, WeightReport(ess=ess, num_rows=rows, max_weight=largest, fallback=reason)

    def state_dict(self) -> dict[str, Any]:
        """All that the next call depends on, in tensors and plain numbers, for a checkpoint."""
        return {
            "memory": None if self.memory is None else self.memory.state_dict(),
            "clusterer": self.clusterer.state_dict(),
            "store": self.store.state_dict(),
            "fallbacks": dict(self.fallbacks),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        if self.memory is not None and state["memory"] is not None:
            self.memory.load_state_dict(state["memory"])
        self.clusterer.load_state_dict(state["clusterer"])
        self.store.load_state_dict(state["store"])
        self.fallbacks = Counter(state["fallbacks"])
