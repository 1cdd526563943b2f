r"""Groups of variables whose relations hold in every environment, found from how much correlations vary between them.

Variables that a mechanism ties together correlate alike wherever they are seen. A spurious tie changes with the
environment, so what lies across it should be decorrelated, and what lies within a group left alone.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from graftable.errors import ConfigError, ShapeError

from .features import standardise

__all__ = ["StableVariableClusterer", "instability"]

#: Correlations are kept this far from 1 before Fisher's transform: copies of a variable have an infinite one.
EDGE = 1e-6
#: Fisher's variance is 1 / (n - 3): an environment needs more rows than this.
FEWEST = 3
#: So many shuffles with as large an instability show that it is nothing uncommon.
COMMON = 10


def instability(z: Tensor, environment: Tensor) -> Tensor:
    r"""How much the correlation of every pair varies between environments, beyond what their sizes explain.

    .. math:: V_{ij} = \mathrm{Var}_e \operatorname{artanh} R_e(i, j) - \operatorname{mean}_e \frac{1}{n_e - 3}

    Not cut at 0, so that its mean is 0 where nothing varies. (The variance of correlations over random batches, which
    has been used in its place, tends to :math:`(1 - r^2)^2 / (B - 1)` for any data, and so tells only their size.)

    Args:
        z: Standardised variables, finite.
        environment: The environment of each row; those with 3 rows or fewer are left out.

    Shapes:
        z: (rows, d); environment: (rows,); returns (d, d) in float64, 0 on the diagonal.

    Raises:
        ShapeError: If fewer than two environments have more than 3 rows.

    Example:
        >>> z = torch.randn(100, 2, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
        >>> instability(z, torch.arange(200) // 100)[0, 1] < 0
        tensor(True)
    """
    transforms, noise = fisher_transforms(z, environment)
    return variance_between(torch.stack(list(transforms.values())), torch.tensor(list(noise.values())))


def fisher_transforms(z: Tensor, environment: Tensor) -> tuple[dict[int, Tensor], dict[int, float]]:
    """Fisher's transform of the correlations in each environment that is large enough, and its sampling variance."""
    transforms, noise = {}, {}
    for value, size in zip(*(part.tolist() for part in environment.unique(return_counts=True)), strict=True):
        if size > FEWEST:
            rows = z[environment == value].double()
            rows = rows - rows.mean(0)
            # a variable may be constant here and vary elsewhere: it correlates with nothing
            rows = rows / rows.norm(dim=0).clamp(min=1e-6 * size**0.5)
            correlation = (rows.T @ rows).clamp(-1 + EDGE, 1 - EDGE).fill_diagonal_(0)
            transforms[int(value)] = correlation.atanh()
            noise[int(value)] = 1 / (size - FEWEST)
    return transforms, noise


def variance_between(transforms: Tensor, noise: Tensor) -> Tensor:
    """Variance over environments less the mean sampling variance; (environments, d, d) gives (d, d)."""
    if len(transforms) < 2:
        raise ShapeError(
            f"{len(transforms)} environments have more than {FEWEST} rows; expected 2, to compare correlations between."
        )
    return (transforms.var(0, correction=1) - noise.to(transforms).mean()).fill_diagonal_(0)


class StableVariableClusterer:
    r"""Clusters variables so that relations within a cluster hold in every environment.

    Two variables are far apart if their own correlation varies between environments
    (:math:`\sqrt{V_{ij}}`, see :func:`instability`), and if it varies with other partners (the cosine distance of
    rows i and j of :math:`\sqrt V`). The second term places variables with a weak tie to their group, whose
    correlations are small and so vary little with anything. Both are scaled to mean 1 and added; average linkage and
    the silhouette do the rest.

    With ``"auto"``, clusters are made only if the correlations vary more than under random environments: the mean
    square of V is compared with that after shuffling the environments. Else there is one cluster, which switches
    reweighting off.

    Args:
        num_clusters: How many, or "auto".
        candidates: Numbers that "auto" chooses from, if there is instability.
        momentum: Share of the old transforms that :meth:`update` keeps, in [0, 1).
        permutations: How often environments are shuffled.
        significance: Chance of clusters where there is no instability.
        patience: Old clusters stay unless the silhouette rises by this share.
        seed: Seed of the shuffles.

    Raises:
        ConfigError: If a setting is out of its range.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024, section 3.2, with
        environments in place of batches.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> clusterer = StableVariableClusterer("auto")
        >>> clusterer.update(torch.randn(300, 6, generator=draw), torch.arange(300) % 3).tolist()
        [0, 0, 0, 0, 0, 0]
    """

    def __init__(
        self,
        num_clusters: int | Literal["auto"] = "auto",
        *,
        candidates: tuple[int, ...] = (2, 3, 4, 6, 8),
        momentum: float = 0.0,
        permutations: int = 99,
        significance: float = 0.02,
        patience: float = 0.05,
        seed: int = 0,
    ) -> None:
        if num_clusters != "auto" and (not isinstance(num_clusters, int) or num_clusters < 1):
            raise ConfigError(f'num_clusters is {num_clusters!r}; expected "auto" or a number of at least 1.')
        if not 0 <= momentum < 1:
            raise ConfigError(f"momentum is {momentum}; expected a share in [0, 1).")
        if permutations < 1 / significance - 1:
            raise ConfigError(
                f"{permutations} permutations cannot show a significance of {significance}; "
                f"expected at least {1 / significance - 1:.0f}."
            )
        self.num_clusters, self.candidates, self.momentum = num_clusters, candidates, momentum
        self.permutations, self.significance, self.patience, self.seed = permutations, significance, patience, seed
        #: How often there were no two environments to compare.
        self.fallbacks = 0
        #: Chance of an instability as large as the last one if environments meant nothing.
        self.p_value = 1.0
        self._labels: Tensor | None = None
        self._transforms: dict[int, Tensor] = {}
        self._noise: dict[int, float] = {}

    @property
    def labels(self) -> Tensor:
        """The cluster of each variable, (d,), numbered from 0 in the order of their first variables.

        Raises:
            ShapeError: If no rows have been seen.
        """
        if self._labels is None:
            raise ShapeError("the clusterer has seen no rows; call update(z, environment) first.")
        return self._labels

    @property
    def instability(self) -> Tensor:
        """Instability of every pair, (d, d), cut at 0, from all updates."""
        if len(self._transforms) < 2:
            return torch.zeros(len(self.labels), len(self.labels), dtype=torch.float64)
        return variance_between(
            torch.stack(list(self._transforms.values())), torch.tensor(list(self._noise.values()))
        ).clamp(min=0)

    @torch.no_grad()
    def update(self, z: Tensor, environment: Tensor) -> Tensor:
        """Take in rows, and cluster anew.

        Args:
            z: Representations; rows that are not finite are left out, columns that do not vary stay with cluster 0.
            environment: The environment of each row, an integer.

        Shapes:
            z: (rows, d); environment: (rows,); returns (d,).

        Raises:
            ShapeError: If there is not one environment per row.
        """
        if z.dim() != 2 or environment.shape != z.shape[:1]:
            raise ShapeError(
                f"z has shape {tuple(z.shape)} and environment {tuple(environment.shape)}; "
                "expected (rows, d) and (rows,)."
            )
        finite = z.isfinite().all(1)
        z, environment = z[finite].detach(), environment[finite]
        if self._labels is None or len(self._labels) != z.shape[1]:
            self._labels = torch.zeros(z.shape[1], dtype=torch.long, device=z.device)
            self._transforms, self._noise = {}, {}
        self._labels = self._labels.to(z.device)
        sizes = environment.unique(return_counts=True)[1]
        if int((sizes > FEWEST).sum()) < 2 or z.shape[1] < 2:
            self._fall_back(len(sizes))
            return self._labels
        values = torch.zeros_like(z, dtype=torch.float64)
        standard, varies = standardise(z)
        values[:, varies] = standard
        self._absorb(*fisher_transforms(values, environment))
        self._labels = self._cluster(values, environment, varies)
        return self._labels

    def _absorb(self, transforms: dict[int, Tensor], noise: dict[int, float]) -> None:
        keep = self.momentum
        for value, new in transforms.items():
            old = self._transforms.get(value)
            self._transforms[value] = new if old is None else keep * old.to(new) + (1 - keep) * new
            # an average over updates of other rows varies less than one of them; of the same rows, as much
            self._noise[value] = noise[value] if old is None else keep * self._noise[value] + (1 - keep) * noise[value]

    def _fall_back(self, environments: int) -> None:
        self.fallbacks += 1
        if self.fallbacks == 1:
            warnings.warn(
                f"of {environments} environments, fewer than two have more than {FEWEST} rows, so no relation can be "
                "told to be unstable; the clusters stay as they are, one at first. Merge small environments.",
                stacklevel=3,
            )

    def _cluster(self, values: Tensor, environment: Tensor, varies: Tensor) -> Tensor:
        wanted: tuple[int, ...] = self.candidates if self.num_clusters == "auto" else (self.num_clusters,)
        if self.num_clusters == "auto":
            self.p_value = self._chance(values, environment)
            if self.p_value > self.significance:
                return torch.zeros_like(self.labels)
        places = torch.nonzero(varies).squeeze(1).to(self.labels.device)
        kept = places.cpu()
        distance = _distance(self.instability.cpu()[kept][:, kept].sqrt())
        old = self.labels[places].cpu().numpy()
        choices = [_average_linkage(distance, count) for count in wanted if count <= len(kept)]
        if not choices:
            return torch.zeros_like(self.labels)
        scores = [silhouette(distance, labels) for labels in choices]
        best = int(np.argmax(scores))
        # within `patience` of the old ones, a new cut is more likely noise than news
        settled = len(np.unique(old)) in wanted and silhouette(distance, old) >= scores[best] * (1 - self.patience)
        if settled and len(np.unique(old)) > 1:
            return self.labels
        labels = torch.zeros_like(self.labels)
        labels[places] = torch.as_tensor(choices[best], device=labels.device)
        return labels

    def _chance(self, values: Tensor, environment: Tensor) -> float:
        """Chance of as large an instability under shuffled environments.

        Ends early once ``COMMON`` shuffles are as large, with a p-value that is as valid (Besag and Clifford,
        "Sequential Monte Carlo p-values", 1991).
        """
        draw = torch.Generator().manual_seed(self.seed)
        found = _strength(values, environment)
        larger = 0
        for done in range(1, self.permutations + 1):
            shuffled = environment[torch.randperm(len(environment), generator=draw).to(environment.device)]
            larger += _strength(values, shuffled) >= found
            if larger == COMMON:
                return COMMON / done
        return (1 + larger) / (1 + self.permutations)

    def state_dict(self) -> dict[str, Any]:
        """What was seen and found, for a checkpoint."""
        return {
            "labels": self._labels,
            "transforms": dict(self._transforms),
            "noise": dict(self._noise),
            "p_value": self.p_value,
            "fallbacks": self.fallbacks,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self._labels, self.p_value, self.fallbacks = state["labels"], state["p_value"], state["fallbacks"]
        self._transforms, self._noise = dict(state["transforms"]), dict(state["noise"])


def _strength(values: Tensor, environment: Tensor) -> float:
    """Mean square instability: a few pairs that vary much count more than noise in all of them."""
    return float(instability(values, environment).clamp(min=0).square().mean())


def _distance(root: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Direct instability plus the difference of profiles, each scaled to mean 1."""
    direct = root.numpy()
    norms = np.square(direct).sum(1)
    # rows i and j are compared on other variables than i and j
    scale = np.maximum(norms[:, None] - np.square(direct), 1e-12) * np.maximum(norms - np.square(direct), 1e-12)
    profile = np.clip(1 - direct @ direct / np.sqrt(scale), 0, 1)
    np.fill_diagonal(profile, 0)
    total = direct / max(float(direct.mean()), 1e-12) + profile / max(float(profile.mean()), 1e-12)
    return np.asarray((total + total.T) / 2, dtype=np.float64)


def _average_linkage(distance: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """Merge the closest clusters, by the mean distance of their members, until `count` are left."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if count == 1 or len(distance) < 2:
        return np.zeros(len(distance), dtype=np.int64)
    labels = fcluster(linkage(squareform(distance, checks=False), "average"), count, "maxclust")
    _, first, back = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[back], dtype=np.int64)


def silhouette(distance: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    r"""Mean of (b - a) / max(a, b), a the mean distance within the own cluster and b to the nearest other one.

    0 for members of clusters of one, and for a single cluster.
    """
    _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return 0.0
    member = np.eye(len(sizes))[codes]
    means = distance @ member / np.maximum(sizes - member, 1)
    own = (means * member).sum(1)
    other = np.where(member > 0, np.inf, means).min(1)
    scores = (other - own) / np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where(sizes[codes] == 1, 0.0, scores).mean())
