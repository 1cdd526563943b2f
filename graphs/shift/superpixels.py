"""Handwritten digits as graphs of superpixels: shared arrays for the coloured and the noisy sets."""

from __future__ import annotations

import os

import numpy as np
from scipy.spatial import cKDTree
from sklearn.datasets import load_digits

from graftable.errors import DataError

from .archive import open_archive
from .assembly import Array, GraphPack, IntArray, copies
from .motifs import grid

__all__ = ["Superpixels", "digit_grids", "nearest_neighbours", "read_superpixels"]

FILE = "mnist75sp_t10k.npz"
SIDE = 28 * 8  # centroids are stored in eighths of a pixel
NEIGHBOURS = 8

Superpixels = tuple[GraphPack, Array, Array, IntArray]
"""Graphs, intensity of each node in [0, 1], its (row, column) in [0, 1], and the digit of each graph."""


def read_superpixels(root: str | os.PathLike[str] | None, used_by: str) -> Superpixels:
    """Images as at most 75 superpixels, each joined to its 8 nearest.

    Args:
        root: Folder with ``mnist75sp_t10k.npz``; without one, the small digits of scikit-learn stand in.
        used_by: Name of the set, for messages.

    Raises:
        DataError: If the file is missing or damaged.
    """
    if root is None:
        return digit_grids()
    arrays = open_archive(root, FILE, ("node_ptr", "intensity", "centroid_rc", "y"), used_by)
    counts = np.diff(arrays["node_ptr"].astype(np.int64)).astype(np.int64)
    if len(counts) != len(arrays["y"]) or counts.sum() != len(arrays["intensity"]) or (counts < 1).any():
        raise DataError(f"{used_by}: node_ptr of {FILE} does not belong to its other arrays; get the file anew.")
    place = arrays["centroid_rc"].astype(np.float32) / SIDE
    pack = nearest_neighbours(place, counts, NEIGHBOURS)
    return pack, arrays["intensity"].astype(np.float32) / 255, place, arrays["y"].astype(np.int64)


def digit_grids() -> Superpixels:
    """The 1,797 digits of scikit-learn: 64 pixels on a grid, each joined to the next."""
    digits = load_digits()
    count = len(digits.target)
    pack = copies([grid(8, 8)], np.zeros(count, dtype=np.int64))
    place = np.stack(np.divmod(np.arange(64), 8), axis=1).astype(np.float32) / 7
    return pack, digits.data.ravel().astype(np.float32) / 16, np.tile(place, (count, 1)), digits.target.astype(np.int64)


def nearest_neighbours(points: Array, counts: IntArray, neighbours: int) -> GraphPack:
    """Join each point to its nearest ones in the same graph; an edge holds in both directions.

    Args:
        points: Points in the unit square, graph after graph.
        counts: Points of each graph.
        neighbours: How many; points of a graph that has no more than that are joined to all others.

    Shapes:
        points: (nodes, 2); counts: (graphs,).
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    # one tree for all: as a third coordinate the graph lies further away than any point of the own graph
    lifted = np.column_stack([points, 2.0 * owner])
    _, found = cKDTree(lifted).query(lifted, k=neighbours + 1)
    source = np.repeat(np.arange(len(points)), neighbours + 1)
    target = found.ravel()
    inside = (target < len(points)) & (source != target)
    source, target = source[inside], target[inside]
    inside = owner[source] == owner[target]
    low, high = np.minimum(source, target)[inside], np.maximum(source, target)[inside]
    keys = np.unique(low * len(points) + high)
    low, high = keys // len(points), keys % len(points)
    starts = (np.cumsum(counts) - counts)[owner[low]]
    edge_counts = np.bincount(owner[low], minlength=len(counts)).astype(np.int64)
    return GraphPack(counts.astype(np.int64), edge_counts, np.stack([low - starts, high - starts], axis=1))
