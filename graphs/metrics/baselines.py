"""Generators that know almost nothing, as yardsticks: a model must beat the first two and must not be the third."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.edge_lists import graph_from_edges

from .sparse import GraphLike, IntArray, degrees, to_csr

__all__ = ["BASELINES", "chung_lu", "copy_of_train", "erdos_renyi"]


def erdos_renyi(train: Sequence[GraphLike], count: int, rng: np.random.Generator) -> list[Data]:
    """Draw graphs with the node and edge numbers of random training graphs and edges anywhere.

    Args:
        train: Training graphs.
        count: How many graphs to draw.
        rng: Source of randomness.

    References:
        Erdos and Renyi, "On random graphs I", 1959.

    Example:
        >>> import networkx as nx
        >>> erdos_renyi([nx.cycle_graph(5)], 1, np.random.default_rng(0))
        [Data(edge_index=[2, 10], num_nodes=5)]
    """
    graphs = []
    for adjacency in _drawn(train, count, rng):
        nodes = adjacency.shape[0]
        pairs = rng.choice(nodes * (nodes - 1) // 2, size=adjacency.nnz // 2, replace=False, shuffle=False)
        graphs.append(graph_from_edges(nodes, _unrank(pairs)))
    return graphs


def chung_lu(train: Sequence[GraphLike], count: int, rng: np.random.Generator) -> list[Data]:
    r"""Draw graphs whose expected degrees are those of random training graphs.

    .. math:: P(i \sim j) = \min(1, d_i d_j / 2m)

    Args:
        train: Training graphs.
        count: How many graphs to draw, each O(n^2).
        rng: Source of randomness.

    References:
        Chung and Lu, "Connected components in random graphs with given expected degree sequences", 2002.

    Example:
        >>> import networkx as nx
        >>> chung_lu([nx.star_graph(4)], 1, np.random.default_rng(0))[0].num_nodes
        5
    """
    graphs = []
    for adjacency in _drawn(train, count, rng):
        degree = degrees(adjacency)
        total = max(int(degree.sum()), 1)
        linked = [
            node + 1 + np.flatnonzero(rng.random(len(degree) - node - 1) * total < degree[node] * degree[node + 1 :])
            for node in range(len(degree))
        ]
        edges = [(node, other) for node, others in enumerate(linked) for other in others.tolist()]
        graphs.append(graph_from_edges(len(degree), edges))
    return graphs


def copy_of_train(train: Sequence[GraphLike], count: int, rng: np.random.Generator) -> list[Data]:
    """Return training graphs in random order, each as often as the others: perfect distances, no novelty.

    Args:
        train: Training graphs.
        count: How many graphs to return.
        rng: Source of randomness.

    Example:
        >>> import networkx as nx
        >>> copy_of_train([nx.path_graph(3)], 2, np.random.default_rng(0))
        [Data(edge_index=[2, 4], num_nodes=3), Data(edge_index=[2, 4], num_nodes=3)]
    """
    matrices = _drawn(train, count, rng, replace=False)
    return [graph_from_edges(matrix.shape[0], np.stack(matrix.nonzero(), axis=1)) for matrix in matrices]


BASELINES = {"erdos_renyi": erdos_renyi, "chung_lu": chung_lu, "copy_of_train": copy_of_train}


def _drawn(
    train: Sequence[GraphLike], count: int, rng: np.random.Generator, replace: bool = True
) -> list[sparse.csr_array]:
    if len(train) == 0:
        raise DataError("a baseline was given no training graphs; expected at least one.")
    if replace:
        picks = rng.integers(len(train), size=count)
    else:  # whole shuffles of the set one after another
        rounds = -(-count // len(train))
        picks = np.concatenate([rng.permutation(len(train)) for _ in range(rounds)] or [np.empty(0, int)])[:count]
    return [to_csr(train[pick]) for pick in picks.tolist()]


def _unrank(pairs: IntArray) -> IntArray:
    """Return the k-th pair (i, j), i < j, in the order (0, 1), (0, 2), (1, 2), (0, 3), ...; shape ``(pairs, 2)``."""
    upper = ((1 + np.sqrt(1 + 8 * pairs.astype(np.float64))) // 2).astype(np.int64)
    return np.stack([pairs - upper * (upper - 1) // 2, upper], axis=1)
