"""One plain form for every graph that is measured: the 0/1 matrix of a simple undirected graph."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from graftable.errors import DataError

if TYPE_CHECKING:
    from torch_geometric.data import Data

__all__ = ["GraphLike", "IntArray", "degrees", "row_blocks", "to_csr"]

IntArray: TypeAlias = NDArray[np.int64]
GraphLike: TypeAlias = "Data | nx.Graph[str] | nx.Graph[int] | sparse.csr_array"


def to_csr(graph: GraphLike) -> sparse.csr_array:
    """Return the symmetric 0/1 adjacency matrix of a graph, without direction, weight, multiplicity and self-loops.

    Args:
        graph: A PyG ``Data``, a networkx graph of any kind, or a square scipy sparse matrix.

    Returns:
        An ``int64`` matrix in CSR form with sorted indices, as many rows as the graph has nodes (0 is allowed).

    Raises:
        DataError: If ``graph`` is of another type, or an edge names a node that does not exist.

    Example:
        >>> to_csr(nx.path_graph(3)).toarray().tolist()
        [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    if isinstance(graph, nx.Graph):
        position = {node: index for index, node in enumerate(graph)}
        ends = np.array([(position[u], position[v]) for u, v in graph.edges()], dtype=np.int64).reshape(-1, 2)
        return _simple(ends[:, 0], ends[:, 1], len(position))
    if sparse.issparse(graph):
        entries = sparse.coo_array(graph)
        kept = entries.data != 0
        return _simple(entries.row[kept], entries.col[kept], graph.shape[0])
    if hasattr(graph, "edge_index"):
        if graph.edge_index is None:
            return _simple(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), graph.num_nodes or 0)
        rows, columns = graph.edge_index.detach().cpu().numpy()
        return _simple(rows, columns, graph.num_nodes or 0)
    raise DataError(
        f"a graph to measure is a {type(graph).__name__}; expected a torch_geometric Data or a networkx Graph."
    )


def _simple(rows: NDArray[np.generic], columns: NDArray[np.generic], nodes: int) -> sparse.csr_array:
    ends = np.concatenate([rows, columns])
    if len(ends) and (ends.min() < 0 or ends.max() >= nodes):
        raise DataError(f"an edge ends outside the {nodes} nodes of its graph; set num_nodes to cover every node id.")
    proper = rows != columns
    rows, columns = rows[proper], columns[proper]
    both = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    matrix = sparse.csr_array((np.ones(len(both[0]), dtype=np.int64), both), shape=(nodes, nodes))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def degrees(adjacency: sparse.csr_array) -> IntArray:
    """Return the number of neighbours of every node, shape ``(nodes,)``."""
    count: IntArray = np.diff(adjacency.indptr).astype(np.int64)
    return count


def row_blocks(cost: IntArray, limit: int) -> Iterator[slice]:
    """Cut rows into consecutive blocks that cost about ``limit`` each (one row may cost more), to bound memory.

    Example:
        >>> list(row_blocks(np.array([3, 3, 3, 9]), limit=6))
        [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None)]
    """
    steps = np.cumsum(cost) // limit
    cuts = [0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(cost)]
    for start, stop in itertools.pairwise(cuts):
        if stop > start:
            yield slice(start, stop)
