"""What the distances compare: one vector per graph and statistic, computed once and then reused for every resample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from graftable.errors import ConfigError, DataError

from .orbits import orbit_counts, triangle_counts
from .sparse import GraphLike, degrees, to_csr

__all__ = ["STATISTICS", "Descriptors", "describe_graphs", "spline_filters"]

FloatArray: TypeAlias = NDArray[np.float64]

STATISTICS = ("degree", "clustering", "orbit", "spectral", "wavelet")
CLUSTERING_BINS = 100
SPECTRAL_BINS = 200
WAVELET_BINS = 100
WAVELET_FILTERS = 12
WAVELET_SCALES = np.geomspace(20.0, 0.5, WAVELET_FILTERS - 1)  # from 2 / (lmax / 20) to 1 / lmax, with lmax = 2
SPLINE_PEAK = 2 - 1 / np.sqrt(3)  # where the cubic piece of the wavelet is largest


@dataclass(frozen=True)
class Descriptors:
    """The vectors of a set of graphs: per statistic an array of shape ``(graphs, features)``, one row per graph."""

    count: int
    vectors: dict[str, FloatArray]


def describe_graphs(
    graphs: Sequence[GraphLike], statistics: Sequence[str] = STATISTICS, *, clip_spectrum: bool = True
) -> Descriptors:
    r"""Compute the vectors that the maximum mean discrepancies compare.

    ========== =====================================================================================================
    degree     how many nodes have degree 0, 1, 2, ...
    clustering how many nodes have a local coefficient :math:`2 t_i / (d_i (d_i - 1))` in each of 100 bins on [0, 1]
    orbit      the 15 node-orbit counts, summed over the nodes and divided by their number
    spectral   how many eigenvalues of :math:`L = I - D^{-1/2} A D^{-1/2}` lie in each of 200 bins on [-1e-5, 2]
    wavelet    for each of 12 filters :math:`g`, the histogram over nodes of :math:`\sum_j (U g(\Lambda) U^T)_{ij}^2`
    ========== =====================================================================================================

    Spectral and wavelet share one dense eigendecomposition per graph, O(n^3): 1 ms at 64 nodes, some 5 s at 2,000.
    For graphs of many thousand nodes leave both out.

    Args:
        graphs: PyG or networkx graphs. Any size counts: a graph without edges is all in the bins of degree 0,
            clustering 0 and eigenvalue 0, and a graph without nodes has all-zero vectors.
        statistics: Names out of :data:`STATISTICS`.
        clip_spectrum: Whether eigenvalues that rounding carries past 2 are counted as 2. A bipartite graph has that
            eigenvalue exactly, and the published code loses it in about every third tree, depending on the numbering
            of nodes and on LAPACK. False does the same, to compare with published tables (trees: .0075 against .0074).

    Raises:
        DataError: If there is no graph.
        ConfigError: If a statistic is unknown.

    Example:
        >>> import networkx as nx
        >>> describe_graphs([nx.path_graph(3)], ["degree"]).vectors["degree"].tolist()
        [[0.0, 2.0, 1.0]]
    """
    if len(graphs) == 0:
        raise DataError("a set of graphs to measure is empty; expected at least one graph.")
    if unknown := [name for name in statistics if name not in STATISTICS]:
        raise ConfigError(f"statistics: {unknown[0]!r} is not one of {', '.join(STATISTICS)}.")
    rows = [_describe(to_csr(graph), statistics, clip_spectrum) for graph in graphs]
    return Descriptors(len(rows), {name: _stack([row[name] for row in rows]) for name in statistics})


def _describe(adjacency: sparse.csr_array, statistics: Sequence[str], clip_spectrum: bool) -> dict[str, FloatArray]:
    vectors: dict[str, FloatArray] = {}
    if "degree" in statistics:
        vectors["degree"] = np.bincount(degrees(adjacency), minlength=1).astype(np.float64)
    if "clustering" in statistics:
        vectors["clustering"] = _histogram(local_clustering(adjacency), CLUSTERING_BINS, (0.0, 1.0))
    if "orbit" in statistics:
        vectors["orbit"] = orbit_counts(adjacency).sum(axis=0) / max(adjacency.shape[0], 1)
    if "spectral" in statistics or "wavelet" in statistics:
        vectors |= _spectral(normalized_laplacian(adjacency), "wavelet" in statistics, clip_spectrum)
    return {name: vectors[name] for name in statistics}


def _spectral(laplacian: FloatArray, wavelet: bool, clip: bool) -> dict[str, FloatArray]:
    """Return the histograms of eigenvalues and, if wanted, of wavelet energies from one decomposition."""
    if len(laplacian) == 0:
        return {"spectral": np.zeros(SPECTRAL_BINS), "wavelet": np.zeros(WAVELET_FILTERS * WAVELET_BINS)}
    vectors: dict[str, FloatArray] = {}
    if wavelet:
        values, basis = np.linalg.eigh(laplacian)
        vectors["wavelet"] = _wavelet_histogram(values, basis)
    else:
        values = np.linalg.eigvalsh(laplacian)
    # without the clip, ask the routine that the published code asked: others round differently
    counted = np.clip(values, 0.0, 2.0) if clip else linalg.eigvalsh(laplacian)
    vectors["spectral"] = _histogram(counted, SPECTRAL_BINS, (-1e-5, 2.0))
    return vectors


def local_clustering(adjacency: sparse.csr_array) -> FloatArray:
    """Return the share of linked pairs among each node's neighbours, 0 below two neighbours; shape ``(nodes,)``."""
    degree = degrees(adjacency)
    pairs = degree * (degree - 1)
    share: FloatArray = np.divide(2 * triangle_counts(adjacency), pairs, out=np.zeros(len(degree)), where=pairs > 0)
    return share


def normalized_laplacian(adjacency: sparse.csr_array) -> FloatArray:
    """Return D^-1/2 (D - A) D^-1/2 as a dense matrix; the row of an isolated node is zero."""
    degree = degrees(adjacency)
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(len(degree)), where=degree > 0)
    laplacian: FloatArray = scale[:, None] * ((np.diag(degree) - adjacency.toarray()) * scale)
    return laplacian


def spline_filters(eigenvalues: FloatArray) -> FloatArray:
    r"""Evaluate a low-pass filter and 11 cubic-spline wavelets on eigenvalues in [0, 2].

    .. math:: g_0(x) = \gamma e^{-(x / 0.06)^4}, \qquad g_s(x) = w(s x), \qquad
              w(x) = \begin{cases} x^2 & x \le 1 \\ -5 + 11 x - 6 x^2 + x^3 & 1 < x < 2 \\ 4 x^{-2} & x \ge 2\end{cases}

    with scales :math:`s` spaced evenly in the logarithm from 20 to 0.5 and :math:`\gamma = \max w`.

    Args:
        eigenvalues: Any shape ``(values,)``.

    Returns:
        Shape ``(12, values)``.

    References:
        Hammond, Vandergheynst and Gribonval, "Wavelets on graphs via spectral graph theory", 2011, section 8.1.
    """
    lowpass = _spline(np.array([SPLINE_PEAK])) * np.exp(-((eigenvalues / 0.06) ** 4))
    return np.concatenate([lowpass[None], _spline(WAVELET_SCALES[:, None] * eigenvalues)])


def _spline(x: FloatArray) -> FloatArray:
    middle = -5 + x * (11 + x * (x - 6))
    return np.where(x <= 1, x**2, np.where(x < 2, middle, 4 / np.maximum(x, 1) ** 2))


WAVELET_MAXIMUM = float(spline_filters(np.arange(0, 2, 0.01)).max())  # on the grid that the published figures used


def _wavelet_histogram(values: FloatArray, basis: FloatArray) -> FloatArray:
    # rows of U g U^T have squared norm sum_k U_ik^2 g_k^2, since U is orthogonal: no n x n matrix per filter
    energy = spline_filters(values) ** 2 @ (basis**2).T
    return np.concatenate([_histogram(row, WAVELET_BINS, (0.0, WAVELET_MAXIMUM)) for row in energy])


def _histogram(values: FloatArray, bins: int, span: tuple[float, float]) -> FloatArray:
    return np.histogram(values, bins=bins, range=span)[0].astype(np.float64)


def _stack(rows: Sequence[FloatArray]) -> FloatArray:
    """Stack vectors, zeros after the end of the shorter ones (degree histograms differ in length)."""
    stacked = np.zeros((len(rows), max(len(row) for row in rows)))
    for index, row in enumerate(rows):
        stacked[index, : len(row)] = row
    return stacked
