"""L2R in two stages, the default: train plainly, then fit the last layer on graphs weighted against dependence."""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import torch
from torch import Tensor
from torch.nn import functional

from graftable.errors import ConfigError
from graftable.graphs.reweighting import (
    DecorrelationWeighter,
    LastLayerRefit,
    StableVariableClusterer,
    infer_environments,
)

from .method import ERM
from .parts import Task

__all__ = ["L2R", "SecondStage"]

CONTROLS: Final = ("none", "uniform", "permuted", "random_clusters")
RANDOM_CLUSTERS: Final = 4  # where environments gave none to shuffle
FEWEST: Final = 30  # graphs of an environment, for it to be left out and predicted
MOST: Final = 8  # environments that are left out one after another; of more, several are left out at a time
ENOUGH: Final = 1024  # graphs, to find out whether weights help; of more, so many are drawn
QUICK: Final = 30  # steps of the fits that this takes
HARMFUL: Final = 2.0  # standard errors


@dataclass(frozen=True)
class SecondStage:
    """A last layer, and the weights that it was fitted under.

    Attributes:
        weight: ``(outputs, width)``.
        bias: ``(outputs,)``.
        plain: Weight and bias of the last layer fitted alike without weights: what the second stage does by itself.
        sample_weights: ``(graphs,)``, of mean 1.
        numbers: What the weighter reports: effective size, largest weight, dependence before and after, clusters; and
            ``left_out_harm``, where it was found out.
        controls: Weights and biases of last layers fitted under other weights, by name, where they were asked for.
    """

    weight: Tensor
    bias: Tensor
    plain: tuple[Tensor, Tensor]
    sample_weights: Tensor
    numbers: dict[str, float]
    controls: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class L2R(ERM):
    r"""Plain training of encoder and head; then the head is fitted again, on weighted graphs.

    .. math:: \min_{W, b} \frac{\sum_n w_n \ell(W z_n + b, y_n)}{\sum_n w_n} + \frac{\lambda}{2} \lVert W \rVert^2

    on standardised embeddings of all training graphs, with the weights of
    :class:`~graftable.graphs.reweighting.DecorrelationWeighter`. The problem is convex, so that what changes between
    weights and none is due to the weights alone.

    Weights cannot make up what no training graph shows, and are paid for in graphs. Environments tell which it is:
    each is left out in turn, and its errors are compared under a last layer that was fitted with weights on the
    others, and one without. If weights are worse by two standard errors anywhere, all graphs weigh alike.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        rho: Share of the graphs that the weights must leave as an effective sample, in (0, 1].
        clusters: Groups of variables between which dependence is removed: ``auto`` finds them from the environments
            (where these show no instability, or there is one, every variable is a group), ``all`` makes every
            variable a group, a number asks for so many.
        leave_out: Compare environments as said above; otherwise the weights are always used.
        environments: ``given``, or ``loss``: graphs are parted into those that the first stage finds easy and hard,
            within each class.
        balance: ``class`` keeps the share of every class, ``equal`` makes the classes equal, ``none`` does neither:
            weights may then leave a class with a seventh of its share, and a perfect last layer is lost.
        features: In which dependence is measured: ``rff``, ``rbf`` or ``linear``.
        num_features: Random functions per variable with ``rff``.
        alpha: Weight of the penalty on shifts of the mean.
        ridge: :math:`\lambda`. What causes a label is often a faint direction of an embedding that a shortcut fills;
            a larger one suppresses it.
        control: ``none``; ``uniform`` weights; ``permuted``, the weights shuffled over graphs; ``random_clusters``,
            the members of clusters shuffled over variables.
        beside: Fit the last layers of the last two controls as well, in the same run: they cost no training. Where
            environments are compared, also one with every variable as a group, whatever they show (``all_pairs``).
        seed: Of the random functions and the shuffles.

    Raises:
        ConfigError: If a setting is out of range.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024; the second stage as in
        Kirichenko et al., "Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations", 2023.
    """

    refits: ClassVar[bool] = True

    def __init__(
        self,
        task: Task,
        width: int,
        rho: float = 0.8,
        clusters: int | str = "auto",
        leave_out: bool = True,
        environments: str = "given",
        balance: str = "class",
        features: str = "rff",
        num_features: int = 5,
        alpha: float = 0.0,
        ridge: float = 1e-4,
        control: str = "none",
        beside: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(task, width)
        if control not in CONTROLS:
            raise ConfigError(f"control is {control!r}; expected one of {', '.join(CONTROLS)}.")
        if environments not in ("given", "loss"):
            raise ConfigError(f"environments is {environments!r}; expected given or loss.")
        self.clusters, self.environments, self.control, self.seed = clusters, environments, control, seed
        self.leave_out, self.beside = leave_out, beside
        kind: Any = "multiclass" if task.one_class else {"multitask": "binary"}.get(task.kind, task.kind)
        self.solver = LastLayerRefit(task=kind, l2=ridge)
        self.quick_solver = LastLayerRefit(task=kind, l2=ridge, iterations=QUICK)
        self.weighter = make_weighter(
            task,
            rho=1.0 if control == "uniform" else rho,
            clusters=clusters,
            balance=balance,
            features=features,
            num_features=num_features,
            alpha=alpha,
            seed=seed,
        )
        self.even_weighter = make_weighter(task, rho=1.0, clusters=clusters, balance=balance)

    def refit(self, z: Tensor, y: Tensor, environment: Tensor, losses: Tensor) -> SecondStage:
        """Weigh all training graphs and fit the last layer.

        Shapes:
            z: (graphs, width); y: labels of the task; environment: (graphs,); losses: (graphs,), of the first stage.

        Raises:
            DataError: If the embeddings are not finite, or no graph has a label.
        """
        labels = class_of(self.task, y)
        if self.environments == "loss":
            environment = infer_environments(losses, "loss", num_environments=2, label=labels)
        clusters = self._clusters(z, environment)
        chosen = self._shuffled_clusters(clusters, z) if self.control == "random_clusters" else clusters
        weights, numbers = self._weigh(z, labels, chosen)
        if self._leaves_out(environment):
            harm, place = self._harm(z, y, labels, environment, clusters)
            numbers["left_out_harm"] = harm
            if harm > HARMFUL:
                warnings.warn(
                    f"the weights are uniform: fitted without environment {place}, a last layer under weights is worse "
                    f"on it than one without by {harm:.1f} standard errors; leave_out: false keeps the weights.",
                    stacklevel=2,
                )
                weights, even = self.even_weighter(z, label=labels)
                numbers |= {name: even.numbers()[name] for name in ("ess", "max_weight")}
                numbers["dependence_after"] = numbers["dependence_before"]
        weights = self._shuffled(weights) if self.control == "permuted" else weights
        plain = self._fit(z, y, torch.ones_like(weights))
        controls = {}
        if self.beside:
            others: dict[str, Tensor | None] = {"random_clusters": self._shuffled_clusters(clusters, z)}
            others |= {"all_pairs": None} if self._compares(environment) else {}
            controls = {
                f"l2r_{name}": self._fit(z, y, self._weigh(z, labels, each)[0]) for name, each in others.items()
            }
            controls["l2r_permuted"] = self._fit(z, y, self._shuffled(weights))
        weight, bias = self._fit(z, y, weights)
        return SecondStage(weight, bias, plain, weights, numbers, controls)

    def _weigh(self, z: Tensor, labels: Tensor | None, clusters: Tensor | None) -> tuple[Tensor, dict[str, float]]:
        """The weights, and what the weighter reports of them."""
        weights, report = self.weighter(z, clusters=clusters, label=labels)
        found = report.clusters
        count = 0.0 if found is None else float(len(found[found >= 0].unique()))
        return weights, report.numbers() | {"clusters": count}

    def _leaves_out(self, environment: Tensor) -> bool:
        weighs = self.control in ("none", "permuted") and self.weighter.rho < 1
        return weighs and self.leave_out and self.environments == "given" and len(environment.unique()) > 1

    def _harm(
        self, z: Tensor, y: Tensor, labels: Tensor | None, environment: Tensor, clusters: Tensor | None
    ) -> tuple[float, int]:
        """By how many standard errors weights are worse on an environment that was left out, and on which, at worst."""
        if len(z) > ENOUGH:
            some = self._order(len(z))[:ENOUGH].to(z.device)
            z, y, environment = z[some], y[some], environment[some]
            labels = None if labels is None else labels[some]
        folds = torch.unique(environment, return_inverse=True)[1] % MOST
        known = self.task.losses(z.new_zeros(len(y), self.task.outputs), y)[1]
        worst, place = 0.0, -1
        for fold in folds.unique():
            out, rest = folds == fold, folds != fold
            if int((out & known).sum()) < FEWEST or not (rest & known).any():
                continue
            given = None if labels is None else labels[rest]
            uneven, even = self._weigh(z[rest], given, clusters)[0], self.even_weighter(z[rest], label=given)[0]
            weighted, plain = (
                self._errors(self._fit(z[rest], y[rest], each, quick=True), z[out & known], y[out & known])
                for each in (uneven, even)
            )
            more = (weighted - plain).double()
            spread = float(more.std()) / math.sqrt(len(more))
            harm = float(more.mean()) / spread if spread > 0 else 0.0
            if harm > worst:
                worst, place = harm, int(environment[out][0])
        return worst, place

    def _errors(self, layer: tuple[Tensor, Tensor], z: Tensor, y: Tensor) -> Tensor:
        """Of each graph: is its class wrong; or, where it has none, the loss."""
        logits = functional.linear(z, *layer)
        if self.task.one_class:
            return (logits.argmax(1) != y.flatten()).float()
        return self.task.losses(logits, y)[0]

    def _order(self, count: int) -> Tensor:
        return torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))

    def _shuffled(self, weights: Tensor) -> Tensor:
        return weights[self._order(len(weights)).to(weights.device)]

    def _fit(self, z: Tensor, y: Tensor, weights: Tensor, *, quick: bool = False) -> tuple[Tensor, Tensor]:
        solver = self.quick_solver if quick else self.solver
        head, _ = solver.fit(z, y, weights, num_classes=self.task.outputs)
        return head.weight.detach(), head.bias.detach()

    def _compares(self, environment: Tensor) -> bool:
        return self.clusters != "all" and len(environment.unique()) > 1

    def _clusters(self, z: Tensor, environment: Tensor) -> Tensor | None:
        """As the environments tell them; none where they tell nothing."""
        if not self._compares(environment):
            return None
        clusterer = copy.deepcopy(self.weighter.clusterer)  # which holds on to what it found before
        groups = clusterer.update(z, environment)
        return groups if len(groups.unique()) > 1 else None

    def _shuffled_clusters(self, clusters: Tensor | None, z: Tensor) -> Tensor:
        found = torch.arange(z.shape[1]) % RANDOM_CLUSTERS if clusters is None else clusters.cpu()
        return found[self._order(len(found))].to(z.device)


def make_weighter(task: Task, *, clusters: int | str, balance: str, **settings: Any) -> DecorrelationWeighter:
    """A weighter, with the clusterer that ``clusters`` asks for.

    Raises:
        ConfigError: If ``clusters`` is neither a number of at least 1 nor ``auto`` nor ``all``.
    """
    if not (clusters in ("auto", "all") or (isinstance(clusters, int) and clusters >= 1)):
        raise ConfigError(f"clusters is {clusters!r}; expected auto, all, or a number of at least 1.")
    kind: Any = "auto" if clusters == "all" else clusters
    kept: Any = balance if task.one_class or balance not in ("class", "equal") else "none"
    return DecorrelationWeighter(balance=kept, clusterer=StableVariableClusterer(kind), **settings)


def class_of(task: Task, y: Tensor) -> Tensor | None:
    """The class of each graph as a float, NaN where unknown; None where the task has no single class."""
    if not task.one_class:
        return None
    labels = y.flatten().double()
    return torch.where(labels < 0, torch.nan, labels)
