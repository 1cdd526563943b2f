"""Patterns made from a pattern, each once."""

from __future__ import annotations

from graftable.graphs.ops import Adjacency

__all__ = ["incidence"]


def incidence(adjacency: Adjacency) -> Adjacency:
    """Edges as sources of the nodes they enter: what aggregates over neighbours then aggregates over edges.

    Example:
        >>> import torch
        >>> incidence(Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3))
        Adjacency(3 x 2, 2 edges, int32, cpu)
    """
    return adjacency.cached("incidence", lambda: Adjacency.from_ptr(adjacency.rowptr))
