"""Patterns made from a pattern, each once."""

from __future__ import annotations

import torch

from graftable.graphs.ops import Adjacency

__all__ = ["incidence"]


def incidence(adjacency: Adjacency) -> Adjacency:
    """Edges as sources of the nodes they enter: what aggregates over neighbours then aggregates over edges.

    Example:
        >>> incidence(Adjacency.from_edge_index(torch.tensor([[0, 1], [2, 2]]), num_nodes=3))
        Adjacency(3 x 2, 2 edges, int32, cpu)
    """
    return adjacency.cached("incidence", lambda: _build(adjacency))


def _build(adjacency: Adjacency) -> Adjacency:
    ends = torch.arange(adjacency.num_edges + 1, device=adjacency.device, dtype=adjacency.col.dtype)
    slots, row = ends[:-1], adjacency.row
    return Adjacency(adjacency.rowptr, slots, row, ends, row, slots)
