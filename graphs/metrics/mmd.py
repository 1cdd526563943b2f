"""How far one set of graphs is from another: maximum mean discrepancy with kernels, ratios and bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from graftable.errors import ConfigError

from .descriptors import STATISTICS, Descriptors, FloatArray, describe_graphs
from .sparse import GraphLike

__all__ = ["KERNELS", "Interval", "Report", "evaluate_graphs", "kernel_matrix", "mmd"]

KERNELS = ("gaussian_tv", "gaussian_emd", "rbf")
BANDWIDTH = {"degree": 1.0, "clustering": 0.1, "orbit": 30.0, "spectral": 1.0, "wavelet": 1.0}
# earth mover's distance is counted in bins; for clustering it is brought back to the unit interval
BINS_PER_UNIT = {"degree": 1.0, "clustering": 100.0, "spectral": 1.0}
NEGLIGIBLE = 5e-5  # prints as .0000 in the published tables, which leave such a statistic out of the ratio


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval; the ends are ``None`` where no resampling was asked for."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Report:
    """The distances of generated graphs from reference graphs.

    Attributes:
        kernel: The kernel that all figures share; figures of different kernels must not be compared.
        generated: Number of generated graphs.
        reference: Number of reference graphs.
        statistics: Per statistic the squared maximum mean discrepancy; 0 is best.
        train: The same distances between the training graphs and the reference graphs, if these were given.
        ratio: The mean of distance over training distance; 1 is as good as real graphs.
        ratio_over: The statistics in that mean.
    """

    kernel: str
    generated: int
    reference: int
    statistics: dict[str, Interval]
    train: dict[str, float] | None = None
    ratio: Interval | None = None
    ratio_over: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and numbers, ready for ``json.dumps``."""
        return asdict(self)


def kernel_matrix(x: FloatArray, y: FloatArray, statistic: str, kernel: str = "gaussian_tv") -> FloatArray:
    r"""Compare every vector of one set with every vector of another.

    .. math:: k(x, y) = e^{-d(x, y)^2 / 2 \sigma^2}

    where :math:`d` is half the L1 distance (``gaussian_tv``), the earth mover's distance between histograms
    (``gaussian_emd``; the L2 distance for orbits) or the L2 distance (``rbf``, the only one of the three that is
    positive definite for every input). Histograms are divided by their sum plus 1e-6 first, orbit vectors are not.

    Args:
        x: Shape ``(m, features)``, as :func:`describe_graphs` returns.
        y: Shape ``(n, features)``; a shorter one is continued with zeros.
        statistic: Sets the bandwidth: 1 for degree, spectral and wavelet, 0.1 for clustering, 30 for orbit.
        kernel: One of :data:`KERNELS`.

    Returns:
        Shape ``(m, n)``, values in [0, 1].

    Raises:
        ConfigError: If the kernel is unknown, or is ``gaussian_emd`` for wavelets, whose bins have no order.

    References:
        Liao et al., "Efficient graph generation with graph recurrent attention networks", 2019 (total variation);
        You et al., "GraphRNN", 2018 (earth mover); O'Bray et al., "Evaluation metrics for graph generative models:
        problems, pitfalls, and practical solutions", 2022 (why to report ``rbf`` too).
    """
    if kernel not in KERNELS:
        raise ConfigError(f"kernel: {kernel!r} is not one of {', '.join(KERNELS)}.")
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(vectors, ((0, 0), (0, width - vectors.shape[1]))) for vectors in (x, y))
    if statistic != "orbit":
        x, y = (vectors / (vectors.sum(axis=1, keepdims=True) + 1e-6) for vectors in (x, y))
    if kernel == "gaussian_tv":
        distance = cdist(x, y, "cityblock") / 2
    elif kernel == "rbf" or statistic == "orbit":
        distance = cdist(x, y, "euclidean")
    elif statistic in BINS_PER_UNIT:
        # on a line, moving earth costs the area between the cumulative histograms
        distance = cdist(x.cumsum(axis=1), y.cumsum(axis=1), "cityblock") / BINS_PER_UNIT[statistic]
    else:
        raise ConfigError(f"gaussian_emd is not defined for {statistic}; leave it out, or use gaussian_tv or rbf.")
    similarity: FloatArray = np.exp(-(distance**2) / (2 * BANDWIDTH[statistic] ** 2))
    return similarity


def mmd(x: FloatArray, y: FloatArray, statistic: str, kernel: str = "gaussian_tv") -> float:
    r"""Return the squared maximum mean discrepancy of two sets of vectors, biased (equal items count), at least 0.

    .. math:: \mathrm{MMD}^2 = \overline{k(x, x')} + \overline{k(y, y')} - 2\, \overline{k(x, y)}

    References:
        Gretton et al., "A kernel two-sample test", 2012, equation 5.

    Example:
        >>> mmd(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]), "degree")
        0.0
    """
    within_x, within_y = (kernel_matrix(vectors, vectors, statistic, kernel).mean() for vectors in (x, y))
    return max(0.0, float(within_x + within_y - 2 * kernel_matrix(x, y, statistic, kernel).mean()))


def evaluate_graphs(
    generated: Sequence[GraphLike] | Descriptors,
    reference: Sequence[GraphLike] | Descriptors,
    train: Sequence[GraphLike] | Descriptors | None = None,
    *,
    kernel: str = "gaussian_tv",
    statistics: Sequence[str] | None = None,
    bootstrap: int = 1000,
    resample_reference: bool = False,
    seed: int = 0,
) -> Report:
    r"""Measure how far generated graphs are from reference graphs, with 95 % intervals.

    Per statistic the figure is :func:`mmd`. The ratio is the mean over statistics of
    :math:`\mathrm{MMD}^2(\text{generated}) / (\mathrm{MMD}^2(\text{train}) + 10^{-8})`; statistics in which training
    and reference graphs agree to four decimals (below 5e-5) are left out of it.

    The intervals tell what another sample of as many generated graphs might have scored: generated graphs are
    resampled with replacement, reference and training graphs held fixed. Resampling alone raises a biased discrepancy,
    because an item meets its own copy; that rise is known in closed form and subtracted.
    Each graph is described once; a resample only reweights kernel matrices.

    Args:
        generated: Graphs to judge, or what :func:`describe_graphs` made of them.
        reference: Graphs not seen in training, likewise.
        train: Training graphs, likewise; without them there is no ratio.
        kernel: One of :data:`KERNELS`.
        statistics: Which statistics; by default all that the kernel is defined for.
        bootstrap: Number of resamples; 0 for none.
        resample_reference: Whether to resample the reference graphs too. Intervals then hold for another test set as
            well, and are wide where that set is small: use it to compare with figures from other test sets.
        seed: Seed of the resamples.

    Raises:
        DataError: If a set is empty.
        ConfigError: If a kernel or a statistic is unknown, or was left out of ready-made descriptors.

    Example:
        >>> import networkx as nx
        >>> rings, paths = [nx.cycle_graph(n) for n in range(3, 9)], [nx.path_graph(n) for n in range(3, 9)]
        >>> report = evaluate_graphs(paths, rings, bootstrap=0)
        >>> report.statistics["degree"].value > 0.1
        True
    """
    if bootstrap < 0:
        raise ConfigError(f"bootstrap: got {bootstrap}, expected 0 or a number of resamples such as 1000.")
    if statistics is None:
        statistics = [name for name in STATISTICS if kernel != "gaussian_emd" or name != "wavelet"]
    ours, theirs = _described(generated, statistics), _described(reference, statistics)
    yardstick = None if train is None else _described(train, statistics)
    rng = np.random.default_rng(seed)
    weights = _resamples(ours.count, bootstrap, rng), np.full((bootstrap, theirs.count), 1 / theirs.count)
    if resample_reference:
        weights = weights[0], _resamples(theirs.count, bootstrap, rng)
    values, resampled = {}, {}
    for name in statistics:
        values[name], resampled[name] = _estimate(ours.vectors[name], theirs.vectors[name], name, kernel, weights)
    intervals = {name: _interval(values[name], resampled[name]) for name in statistics}
    if yardstick is None:
        return Report(kernel, ours.count, theirs.count, intervals)
    base = {name: mmd(yardstick.vectors[name], theirs.vectors[name], name, kernel) for name in statistics}
    kept = [name for name in statistics if base[name] >= NEGLIGIBLE]
    if not kept:
        return Report(kernel, ours.count, theirs.count, intervals, base)
    ratio = float(np.mean([values[name] / (base[name] + 1e-8) for name in kept]))
    ratios = np.mean([resampled[name] / (base[name] + 1e-8) for name in kept], axis=0)
    return Report(kernel, ours.count, theirs.count, intervals, base, _interval(ratio, ratios), tuple(kept))


def _described(graphs: Sequence[GraphLike] | Descriptors, statistics: Sequence[str]) -> Descriptors:
    if not isinstance(graphs, Descriptors):
        return describe_graphs(graphs, statistics)
    if absent := [name for name in statistics if name not in graphs.vectors]:
        raise ConfigError(f"statistics: {absent[0]} is not among the descriptors; pass it to describe_graphs too.")
    return graphs


def _resamples(count: int, times: int, rng: np.random.Generator) -> FloatArray:
    """Draw how large a share of each resample every item has, shape ``(times, count)``."""
    return rng.multinomial(count, np.full(count, 1 / count), size=times) / count


def _estimate(
    x: FloatArray, y: FloatArray, statistic: str, kernel: str, weights: tuple[FloatArray, FloatArray]
) -> tuple[float, FloatArray]:
    """Return the discrepancy and its value in each resample, shape ``(times,)``."""
    across = kernel_matrix(x, y, statistic, kernel)
    value, resampled = -2 * across.mean(), -2 * np.sum((weights[0] @ across) * weights[1], axis=1)
    for vectors, weight in zip((x, y), weights, strict=True):
        within = kernel_matrix(vectors, vectors, statistic, kernel)
        value += within.mean()
        resampled += np.sum((weight @ within) * weight, axis=1)
        if (
            weight.size and np.ptp(weight) > 0
        ):  # resampled: an item met its own copy in one of `count` cases more than it should
            resampled -= (within.diagonal().mean() - within.mean()) / len(within)
    return max(0.0, float(value)), np.maximum(resampled, 0.0)


def _interval(value: float, resampled: FloatArray) -> Interval:
    if len(resampled) == 0:
        return Interval(value)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Interval(value, float(low), float(high))
