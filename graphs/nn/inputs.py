"""What layers are given: node features, alone or as a pair, and edge features, checked before they are used."""

from __future__ import annotations

from torch import Tensor

from graftable.errors import ShapeError
from graftable.graphs.ops import Adjacency

__all__ = ["Nodes", "edge_matrix", "must_be_square", "optional_edge_matrix", "source_and_destination", "widths"]

#: Features of all nodes, or of sources and destinations apart; destinations may have none.
Nodes = Tensor | tuple[Tensor, Tensor | None]


def source_and_destination(x: Nodes) -> tuple[Tensor, Tensor | None]:
    """Read one table of nodes as both ends of every edge."""
    return (x, x) if isinstance(x, Tensor) else (x[0], x[1])


def widths(in_channels: int | tuple[int, int]) -> tuple[int, int]:
    """Widths of sources and destinations."""
    return (in_channels, in_channels) if isinstance(in_channels, int) else (in_channels[0], in_channels[1])


def optional_edge_matrix(
    edge_features: Tensor | None, adjacency: Adjacency, edge_dim: int | None, layer: str
) -> Tensor | None:
    """As :func:`edge_matrix`, but None where a layer was made without ``edge_dim``.

    Raises:
        ShapeError: If they are missing, not expected, or not one row of ``edge_dim`` numbers per edge.
    """
    if edge_dim is not None:
        return edge_matrix(edge_features, adjacency, edge_dim, layer)
    if edge_features is not None:
        raise ShapeError(f"{layer} was made without edge_dim but is given edge_features; set it to their width.")
    return None


def edge_matrix(edge_features: Tensor | None, adjacency: Adjacency, edge_dim: int, layer: str) -> Tensor:
    """Edge features as ``(edges, edge_dim)``; a vector counts as one column.

    Raises:
        ShapeError: If they are missing, or not one row of ``edge_dim`` numbers per edge.
    """
    if edge_features is None:
        raise ShapeError(f"{layer} was made with edge_dim={edge_dim} but is given no edge_features.")
    if edge_features.dim() == 1:
        edge_features = edge_features.unsqueeze(1)
    if edge_features.shape != (adjacency.num_edges, edge_dim):
        raise ShapeError(
            f"edge_features of {layer} has shape {tuple(edge_features.shape)}; expected one row per edge, "
            f"({adjacency.num_edges}, {edge_dim}), in slot order."
        )
    return edge_features


def must_be_square(adjacency: Adjacency, layer: str) -> None:
    """Refuse a pattern between two kinds of node.

    Raises:
        ShapeError: If there are not as many sources as destinations.
    """
    if adjacency.num_dst != adjacency.num_src:
        raise ShapeError(
            f"{layer} joins nodes of one kind, but the adjacency has {adjacency.num_dst} destinations "
            f"and {adjacency.num_src} sources; expected as many of each."
        )
