"""Between the two shapes of a simple undirected graph: a list of node pairs and a PyG ``Data``."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch_geometric.data import Data

from graftable.errors import DataError

__all__ = ["edge_array", "graph_from_edges", "unique_edges"]


def unique_edges(num_nodes: int, edges: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Bring node pairs to the one canonical form: ``u < v``, sorted, each pair once, no self-loops.

    Args:
        num_nodes: Number of nodes, at least 0.
        edges: Node pairs in [0, num_nodes), in either or both orders.

    Shapes:
        edges: (pairs, 2); returned: (edges, 2).

    Raises:
        DataError: If a node id lies outside the graph.

    Example:
        >>> unique_edges(3, [[2, 0], [0, 2], [1, 1]]).tolist()
        [[0, 2]]
    """
    pairs = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
    if len(pairs) and (pairs.min() < 0 or pairs.max() >= num_nodes):
        raise DataError(
            f"an edge names node {pairs.min() if pairs.min() < 0 else pairs.max()}, expected ids from 0 to "
            f"{num_nodes - 1}; correct the edge or give a larger number of nodes."
        )
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    keys = np.unique((low * num_nodes + high)[low < high])
    return np.stack([keys // max(num_nodes, 1), keys % max(num_nodes, 1)], axis=1)


def graph_from_edges(num_nodes: int, edges: npt.ArrayLike, **fields: Any) -> Data:
    """Build the platform's graph: both directions of every edge, coalesced and sorted.

    Args:
        num_nodes: Number of nodes, at least 0; nodes without an edge are kept.
        edges: Node pairs in [0, num_nodes), in either or both orders.
        **fields: Further fields of the graph, such as ``domain="power"``; those that are ``None`` are left out.

    Shapes:
        edges: (pairs, 2).

    Raises:
        DataError: If a node id lies outside the graph.

    Example:
        >>> graph_from_edges(3, [[2, 1]]).edge_index.tolist()
        [[1, 2], [2, 1]]
    """
    pairs = unique_edges(num_nodes, edges)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    order = np.lexsort((both[:, 1], both[:, 0]))
    edge_index = torch.from_numpy(np.ascontiguousarray(both[order].T))
    return Data(
        edge_index=edge_index,
        num_nodes=int(num_nodes),
        **{key: value for key, value in fields.items() if value is not None},
    )


def edge_array(graph: Data) -> npt.NDArray[np.int64]:
    """Return the edges of ``graph`` once each, as sorted pairs ``u < v`` of shape (edges, 2).

    Example:
        >>> edge_array(graph_from_edges(3, [[2, 1], [1, 0]])).tolist()
        [[0, 1], [1, 2]]
    """
    return unique_edges(int(graph.num_nodes or 0), graph.edge_index.cpu().numpy().T)
