"""Thousands of small graphs as a few flat arrays: draw them all at once, cut them into ``Data`` at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch_geometric.data import Data

__all__ = ["GraphPack", "IntArray", "Template", "attach", "copies", "ragged_arange", "with_random_edges"]

IntArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Template = tuple[int, IntArray]
"""Number of nodes, and edges of shape (edges, 2), each once."""


def ragged_arange(starts: IntArray, counts: IntArray) -> IntArray:
    """Return ``start, start + 1, ...`` for each count, end to end.

    Shapes:
        starts, counts: (runs,); returned: (sum of counts,).

    Example:
        >>> ragged_arange(np.array([5, 0]), np.array([2, 3])).tolist()
        [5, 6, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    found: IntArray = np.arange(counts.sum()) + np.repeat(starts - (ends - counts), counts)
    return found


@dataclass(frozen=True)
class GraphPack:
    """Simple undirected graphs end to end.

    Attributes:
        node_counts: Nodes of each graph.
        edge_counts: Edges of each graph.
        edges: Pairs of local node ids, each undirected edge once and none twice, in the order of the graphs.

    Shapes:
        node_counts, edge_counts: (graphs,); edges: (edges, 2).
    """

    node_counts: IntArray
    edge_counts: IntArray
    edges: IntArray

    def __len__(self) -> int:
        return len(self.node_counts)

    @property
    def node_starts(self) -> IntArray:
        """Global id of the first node of each graph."""
        return np.cumsum(self.node_counts) - self.node_counts

    @property
    def edge_graph(self) -> IntArray:
        """The graph of each edge."""
        return np.repeat(np.arange(len(self)), self.edge_counts)

    def select(self, chosen: IntArray) -> GraphPack:
        """The graphs at these places, in this order."""
        starts = np.cumsum(self.edge_counts) - self.edge_counts
        rows = ragged_arange(starts[chosen], self.edge_counts[chosen])
        return GraphPack(self.node_counts[chosen], self.edge_counts[chosen], self.edges[rows])

    def degrees(self) -> IntArray:
        """Degree of each node, end to end."""
        ends = (self.edges + self.node_starts[self.edge_graph, None]).ravel()
        return np.bincount(ends, minlength=int(self.node_counts.sum()))

    def to_csr(self) -> tuple[sparse.csr_array, IntArray]:
        """All graphs as one block-diagonal matrix whose entries are edge numbers plus one; and its row pointers.

        Both directions come out sorted by row and column in linear time: the sum of two sorted matrices is sorted.
        """
        size = int(self.node_counts.sum())
        rows, columns = (np.sort(self.edges, axis=1) + self.node_starts[self.edge_graph, None]).T
        numbers = np.arange(1, len(rows) + 1, dtype=np.int32)
        upper = sparse.coo_array((numbers, (rows, columns)), shape=(size, size)).tocsr()
        upper.sort_indices()
        both = (upper + upper.T.tocsr()).tocsr()
        return both, both.indptr.astype(np.int64)

    def to_data(
        self,
        *,
        nodes: Mapping[str, Array],
        graphs: Mapping[str, Array],
        edges: Mapping[str, Array] | None = None,
    ) -> list[Data]:
        """Cut the arrays into one ``Data`` per graph; each owns its memory, so that a copy of one copies no others.

        Args:
            nodes: Fields with one row per node; floats become float32.
            graphs: Fields with one row per graph. ``y`` becomes a tensor with one row, as batches need; a field of one
                dimension becomes a Python number, which batches collate into a tensor.
            edges: Fields with one row per undirected edge, repeated for both directions.

        Returns:
            Graphs with ``edge_index`` sorted by source.
        """
        matrix, pointers = self.to_csr()
        starts = self.node_starts
        ends = starts + self.node_counts
        first, last = pointers[starts], pointers[ends]
        shift = np.repeat(starts, last - first)
        source = np.repeat(np.arange(matrix.shape[0]), np.diff(pointers)) - shift
        edge_index = np.stack([source, matrix.indices - shift])
        per_node = {name: _floats(value) for name, value in nodes.items()}
        per_edge = {name: _floats(value)[matrix.data - 1] for name, value in (edges or {}).items()}
        numbers = {name: value.tolist() for name, value in graphs.items() if name != "y"}
        labels = _floats(graphs["y"])
        found = []
        for g, (low, high, a, b) in enumerate(
            zip(starts.tolist(), ends.tolist(), first.tolist(), last.tolist(), strict=True)
        ):
            fields: dict[str, Any] = {name: torch.from_numpy(v[low:high].copy()) for name, v in per_node.items()}
            fields["edge_index"] = torch.from_numpy(edge_index[:, a:b].copy())
            fields |= {name: torch.from_numpy(v[a:b].copy()) for name, v in per_edge.items()}
            fields["y"] = torch.from_numpy(labels[g : g + 1].copy())
            found.append(Data(**fields, **{name: values[g] for name, values in numbers.items()}))
        return found


def _floats(values: Array) -> Array:
    """Floats as float32 and whole numbers as int64: what losses and layers expect."""
    return values.astype(np.float32 if values.dtype.kind == "f" else np.int64, copy=False)


def copies(templates: Sequence[Template], which: IntArray) -> GraphPack:
    """A graph for each number in ``which``, equal to the template of that number."""
    nodes = np.array([size for size, _ in templates], dtype=np.int64)
    edges = np.array([len(pairs) for _, pairs in templates], dtype=np.int64)
    pool = np.concatenate([pairs.reshape(-1, 2) for _, pairs in templates])
    return GraphPack(nodes, edges, pool).select(which)


def attach(base: GraphPack, motif: GraphPack, base_node: IntArray, motif_node: IntArray) -> GraphPack:
    """Put one motif beside each base and join the two by one edge; nodes of the motif come after those of the base.

    Args:
        base: The graphs that come first.
        motif: As many graphs.
        base_node: Of each base, the node that the edge leaves.
        motif_node: Of each motif, the node that it enters.
    """
    moved = motif.edges + base.node_counts[motif.edge_graph, None]
    joins = np.stack([base_node, base.node_counts + motif_node], axis=1)
    edges = np.concatenate([base.edges, moved, joins])
    owner = np.concatenate([base.edge_graph, motif.edge_graph, np.arange(len(base))])
    order = np.argsort(owner, kind="stable")
    return GraphPack(base.node_counts + motif.node_counts, base.edge_counts + motif.edge_counts + 1, edges[order])


def with_random_edges(pack: GraphPack, share: float, base_counts: IntArray, rng: np.random.Generator) -> GraphPack:
    """Try ``int(share |E|)`` new edges in each graph; those with both ends outside of the base are dropped.

    Args:
        pack: Graphs whose first ``base_counts`` nodes are the base.
        share: Attempts as a share of the edges, in [0, 1).
        base_counts: Nodes of each base.
        rng: Source of randomness.
    """
    attempts = (share * pack.edge_counts).astype(np.int64)
    # a graph that is nearly complete has no room for them
    attempts = np.minimum(attempts, pack.node_counts * (pack.node_counts - 1) // 2 - pack.edge_counts)
    owner = np.repeat(np.arange(len(pack)), attempts)
    width = int(pack.node_counts.max(initial=1))
    taken = np.sort(_keys(pack.edge_graph, pack.edges, width))
    pairs = np.zeros((len(owner), 2), dtype=np.int64)  # loops, so that all are drawn in the first round
    while True:
        keys = _keys(owner, pairs, width)
        place = np.minimum(np.searchsorted(taken, keys), max(len(taken) - 1, 0))
        first = np.zeros(len(keys), dtype=bool)
        first[np.unique(keys, return_index=True)[1]] = True
        bad = (pairs[:, 0] == pairs[:, 1]) | ~first | (taken[place] == keys if len(taken) else False)
        if not bad.any():
            break
        pairs[bad] = rng.integers(pack.node_counts[owner[bad], None], size=(int(bad.sum()), 2))
    kept = (pairs < base_counts[owner, None]).any(axis=1)
    owners = np.concatenate([pack.edge_graph, owner[kept]])
    order = np.argsort(owners, kind="stable")
    edges = np.concatenate([pack.edges, pairs[kept]])[order]
    return GraphPack(pack.node_counts, np.bincount(owners, minlength=len(pack)).astype(np.int64), edges)


def _keys(owner: IntArray, pairs: IntArray, width: int) -> IntArray:
    """One number for each graph and unordered pair."""
    keys: IntArray = (owner * width + pairs.min(axis=1)) * width + pairs.max(axis=1)
    return keys
