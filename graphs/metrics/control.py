"""Did the graphs come out as the request said? Attributes, levels, domains and paraphrases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier

from graftable.errors import DataError
from graftable.graphs.conditions import LEVELS

from .descriptors import FloatArray, describe_graphs
from .mmd import Interval, mmd
from .sparse import GraphLike, degrees, to_csr
from .validity import share_interval

__all__ = ["attribute_error", "domain_accuracy", "graph_features", "level_accuracy", "paraphrase_consistency"]

Labelled: TypeAlias = tuple[Sequence[GraphLike], Sequence[str]]


def attribute_error(requested: ArrayLike, achieved: ArrayLike) -> dict[str, float]:
    r"""Compare requested values of one attribute with those that the graphs have.

    .. math:: \mathrm{MAE} = \overline{|a - r|}, \qquad \mathrm{SMAPE} = \overline{2 |a - r| / (|a| + |r|)}

    Args:
        requested: One value per graph, for example 9 targets repeated 20 times.
        achieved: The value of each graph, in the same order.

    Returns:
        ``mae``; ``smape`` in [0, 2] (0 where both are 0); ``spearman``, the rank correlation in [-1, 1], 0 where either
        side is constant; ``coverage``, the share of the requested range that the achieved range overlaps (1 if a
        single value was requested).

    Raises:
        DataError: If the two differ in length, are empty or hold a value that is not finite.

    Example:
        >>> attribute_error([1.0, 2.0, 4.0], [1.0, 2.0, 3.0])["spearman"]
        1.0
    """
    wanted, got = np.asarray(requested, dtype=np.float64), np.asarray(achieved, dtype=np.float64)
    if wanted.shape != got.shape or wanted.ndim != 1 or len(wanted) == 0:
        raise DataError(f"attribute values of shapes {wanted.shape} and {got.shape}; expected two equally long lists.")
    if not (np.isfinite(wanted).all() and np.isfinite(got).all()):
        raise DataError("attribute values hold a NaN or an infinity; leave graphs out whose attribute is undefined.")
    error, size = np.abs(got - wanted), np.abs(got) + np.abs(wanted)
    span = float(np.ptp(wanted))
    overlap = min(got.max(), wanted.max()) - max(got.min(), wanted.min())
    return {
        "mae": float(error.mean()),
        "smape": float(np.divide(2 * error, size, out=np.zeros_like(error), where=size > 0).mean()),
        "spearman": _rank_correlation(wanted, got),
        "coverage": float(max(0.0, overlap) / span) if span > 0 else 1.0,
    }


def _rank_correlation(x: FloatArray, y: FloatArray) -> float:
    first, second = (ranks - ranks.mean() for ranks in (rankdata(x), rankdata(y)))
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    return float(np.clip((first * second).sum() / scale, -1, 1)) if scale > 0 else 0.0


def level_accuracy(requested: Sequence[str], achieved: ArrayLike, cut_points: tuple[float, float]) -> Interval:
    """Return the share of graphs whose attribute falls in the tercile that was asked for; a third is chance.

    Args:
        requested: ``low``, ``medium`` or ``high`` for each graph.
        achieved: The attribute of each graph.
        cut_points: The lower and the upper cut. A value on a cut belongs to the level below it:
            ``low <= lower < medium <= upper < high``.

    Returns:
        The share with its 95 % interval.

    Raises:
        DataError: If lengths differ, nothing is given, a level is unknown or the cuts are out of order.

    Example:
        >>> level_accuracy(["low", "high"], [1.0, 2.0], (1.5, 2.5)).value
        0.5
    """
    values = np.asarray(achieved, dtype=np.float64)
    if len(requested) != len(values) or len(values) == 0:
        raise DataError(f"{len(requested)} requested levels for {len(values)} graphs; expected one per graph.")
    if unknown := sorted(set(requested) - set(LEVELS)):
        raise DataError(f"level {unknown[0]!r} is not one of {', '.join(LEVELS)}.")
    if not cut_points[0] <= cut_points[1]:
        raise DataError(f"cut points {cut_points}: the first must not exceed the second.")
    found = np.searchsorted(np.asarray(cut_points), values, side="left")
    return share_interval(found == np.array([LEVELS.index(level) for level in requested]))


def graph_features(graphs: Sequence[GraphLike]) -> FloatArray:
    """Describe graphs by 43 numbers for a classifier: sizes, degrees, clustering, orbits and spectrum.

    Returns:
        Shape ``(graphs, 43)``, finite for every graph.
    """
    found = describe_graphs(graphs, ("clustering", "orbit", "spectral"))
    sizes = []
    for graph in graphs:
        degree = degrees(to_csr(graph))
        spread = degree if len(degree) else np.zeros(1)
        quartiles = np.quantile(spread, [0.25, 0.5, 0.75, 1.0])
        sizes.append([np.log1p(len(degree)), np.log1p(degree.sum()), spread.mean(), spread.std(), *quartiles])
    # ten bins each of clustering and of the spectrum: enough to tell domains apart, few enough for small sets
    shares = [
        vectors.reshape(len(vectors), 10, -1).sum(axis=2) / np.maximum(vectors.sum(axis=1, keepdims=True), 1)
        for vectors in (found.vectors["clustering"], found.vectors["spectral"])
    ]
    return np.concatenate([np.array(sizes), *shares, np.log1p(found.vectors["orbit"])], axis=1)


def domain_accuracy(
    train: Labelled, generated: Labelled, real: Labelled | None = None, *, seed: int = 0
) -> dict[str, Interval]:
    """Ask a random forest, taught on real training graphs, which domain each generated graph belongs to.

    Args:
        train: Real graphs and their domains.
        generated: Generated graphs and the domains that were asked for.
        real: Real test graphs and their domains: what the forest can tell at best.
        seed: Seed of the forest.

    Returns:
        Shares of right answers with 95 % intervals under ``generated`` and, if given, ``real``.

    Raises:
        DataError: If graphs and domains differ in number, or a set is empty.

    References:
        Breiman, "Random forests", 2001.
    """
    sets = {"train": train, "generated": generated} | ({"real": real} if real is not None else {})
    for name, (graphs, domains) in sets.items():
        if len(graphs) != len(domains):
            raise DataError(f"{name}: {len(graphs)} graphs and {len(domains)} domains; expected one domain per graph.")
    forest = RandomForestClassifier(n_estimators=200, class_weight="balanced", random_state=seed)
    forest.fit(graph_features(train[0]), np.array(train[1]))
    return {
        name: share_interval(forest.predict(graph_features(graphs)) == np.array(domains))
        for name, (graphs, domains) in sets.items()
        if name != "train"
    }


def paraphrase_consistency(
    samples: Mapping[str, Sequence[GraphLike]],
    *,
    statistics: Sequence[str] = ("degree", "clustering", "orbit"),
    repeats: int = 20,
    seed: int = 0,
) -> float:
    r"""Return how far apart different wordings of one request are, over how far apart one wording is from itself.

    Each wording's graphs are split at random into halves; distances between halves of two wordings are divided by
    distances between the halves of one, averaged over pairs, splits and statistics. All sets have equal size, so the
    bias of the discrepancy cancels.

    Args:
        samples: Graphs per wording: at least two wordings of at least two graphs.
        statistics: Names out of :data:`~graftable.graphs.metrics.STATISTICS`.
        repeats: Number of random splits.
        seed: Seed of the splits.

    Returns:
        About 1 if wording does not matter, more if it does; exactly 1 if all graphs look alike.

    Raises:
        DataError: If there are fewer than two wordings or a wording has fewer than two graphs.
    """
    if len(samples) < 2 or min(len(graphs) for graphs in samples.values()) < 2:
        raise DataError("paraphrase consistency needs at least two wordings with at least two graphs each.")
    described = [describe_graphs(graphs, statistics) for graphs in samples.values()]
    half = min(found.count for found in described) // 2
    rng = np.random.default_rng(seed)
    within, between = [], []
    for _ in range(repeats):
        picks = [rng.permutation(found.count)[: 2 * half].reshape(2, half) for found in described]
        for name in statistics:
            halves = [found.vectors[name][pick] for found, pick in zip(described, picks, strict=True)]
            within += [mmd(first, second, name) for first, second in halves]
            between += [mmd(a[0], b[1], name) for i, a in enumerate(halves) for j, b in enumerate(halves) if i != j]
    inside, across = float(np.mean(within)), float(np.mean(between))
    return (across + 1e-8) / (inside + 1e-8)
