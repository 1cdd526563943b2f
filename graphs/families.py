"""Procedural families: random graphs of known law, one function per family.

Every function takes the number of nodes and a NumPy generator, and returns a graph. ``draw_graph`` draws sizes as
well, so that ``draw_graph(name, rng)`` is all that a corpus or a test needs.
"""

from collections.abc import Callable
from typing import Final

import networkx as nx
import numpy as np
from scipy.spatial import Delaunay, cKDTree
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.edge_lists import graph_from_edges

__all__ = ["FAMILIES", "ba", "community", "draw_graph", "grid", "lobster", "planar", "rgg", "sbm", "tree", "ws"]


def planar(num_nodes: int, rng: np.random.Generator) -> Data:
    """Delaunay triangulation of uniform points in the unit square: planar and connected.

    Args:
        num_nodes: Number of points, at least 3.
        rng: Source of randomness.

    References:
        Martinkus et al., "SPECTRE", 2022 (with 64 points, the planar benchmark).

    Example:
        >>> planar(16, np.random.default_rng(0)).num_nodes
        16
    """
    corners = Delaunay(rng.random((num_nodes, 2))).simplices
    return graph_from_edges(num_nodes, np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [0, 2]]]))


def sbm(num_nodes: int, rng: np.random.Generator, *, inside: float = 0.3, between: float = 0.005) -> Data:
    """Stochastic block model with 2 to 5 blocks of 20 to 40 nodes.

    Args:
        num_nodes: From 40 to 200.
        rng: Source of randomness.
        inside: Probability of an edge inside a block.
        between: Probability of an edge between two blocks.

    References:
        Martinkus et al., "SPECTRE", 2022 (the SBM benchmark).
    """
    blocks = int(rng.integers(max(2, -(-num_nodes // 40)), min(5, num_nodes // 20) + 1))
    sizes = np.full(blocks, 20)
    for _ in range(num_nodes - 20 * blocks):  # the nodes above the least sizes go to random blocks that have room
        sizes[rng.choice(np.flatnonzero(sizes < 40))] += 1
    return _blocks(np.repeat(np.arange(blocks), sizes), inside, between, rng)


def community(num_nodes: int, rng: np.random.Generator) -> Data:
    """Dense communities of 6 to 20 nodes, joined by few edges; with probability 1 inside it is a relaxed caveman graph.

    Args:
        num_nodes: At least 8.
        rng: Source of randomness; also draws the edge probability inside, from U(0.5, 1), and the mean number of
            edges that each community sends out, from U(1, 4).
    """
    blocks = max(2, round(num_nodes / rng.uniform(6, 20)))
    member = np.sort(np.arange(num_nodes) % blocks)
    pairs_between = (num_nodes**2 - (np.bincount(member) ** 2).sum()) / 2
    return _blocks(member, rng.uniform(0.5, 1.0), min(1.0, blocks * rng.uniform(1, 4) / 2 / pairs_between), rng)


def _blocks(member: np.ndarray, inside: float, between: float, rng: np.random.Generator) -> Data:
    """An edge between each two nodes with a probability that depends only on whether they share a block."""
    rows, columns = np.triu_indices(len(member), k=1)
    probability = np.where(member[rows] == member[columns], inside, between)
    kept = rng.random(len(rows)) < probability
    return graph_from_edges(len(member), np.stack([rows[kept], columns[kept]], axis=1))


def tree(num_nodes: int, rng: np.random.Generator) -> Data:
    """Uniform random labelled tree, by its Pruefer sequence.

    Args:
        num_nodes: At least 2.
        rng: Source of randomness.
    """
    return _from_networkx(nx.from_prufer_sequence(rng.integers(num_nodes, size=num_nodes - 2).tolist()))


def lobster(num_nodes: int, rng: np.random.Generator, *, leg: float = 0.7, claw: float = 0.7) -> Data:
    """Lobster: a tree that becomes a path when its leaves are removed twice.

    Along a spine, each node grows legs while a coin of probability ``leg`` says so, and each leg grows claws while
    one of probability ``claw`` does; growth stops at ``num_nodes``.

    Args:
        num_nodes: At least 1.
        rng: Source of randomness.
        leg: In [0, 1).
        claw: In [0, 1).
    """
    edges: list[tuple[int, int]] = []
    spine, size = 0, 1
    while size < num_nodes:
        while size < num_nodes and rng.random() < leg:
            joint, size = size, size + 1
            edges.append((spine, joint))
            while size < num_nodes and rng.random() < claw:
                edges.append((joint, size))
                size += 1
        if size < num_nodes:
            edges.append((spine, size))
            spine, size = size, size + 1
    return graph_from_edges(num_nodes, edges)


def grid(num_nodes: int, rng: np.random.Generator) -> Data:
    """Rectangular grid of about ``num_nodes`` nodes; the shorter side is uniform from 2 to the square root.

    Args:
        num_nodes: At least 4.
        rng: Source of randomness.
    """
    rows = int(rng.integers(2, int(np.sqrt(num_nodes)) + 1))
    return _from_networkx(nx.grid_2d_graph(rows, round(num_nodes / rows)))


def ba(num_nodes: int, rng: np.random.Generator) -> Data:
    """Barabasi-Albert graph: new nodes prefer nodes of high degree; each brings 1 to 4 edges.

    Args:
        num_nodes: At least 5.
        rng: Source of randomness.
    """
    return _from_networkx(nx.barabasi_albert_graph(num_nodes, int(rng.integers(1, 5)), seed=_seed(rng)))


def ws(num_nodes: int, rng: np.random.Generator) -> Data:
    """Watts-Strogatz small world: a ring of degree 2, 4 or 6, kept connected, rewired with probability U(0.01, 0.5).

    Args:
        num_nodes: At least 7.
        rng: Source of randomness.
    """
    degree, rewired = int(rng.choice([2, 4, 6])), rng.uniform(0.01, 0.5)
    return _from_networkx(nx.connected_watts_strogatz_graph(num_nodes, degree, rewired, tries=1000, seed=_seed(rng)))


def rgg(num_nodes: int, rng: np.random.Generator) -> Data:
    """Random geometric graph in the unit square, with a radius for a mean degree of about U(3, 9).

    Args:
        num_nodes: At least 2.
        rng: Source of randomness.
    """
    radius = np.sqrt(rng.uniform(3, 9) / (np.pi * num_nodes))
    return graph_from_edges(num_nodes, cKDTree(rng.random((num_nodes, 2))).query_pairs(radius, output_type="ndarray"))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


def _from_networkx(graph: nx.Graph) -> Data:
    index = {node: position for position, node in enumerate(graph)}
    return graph_from_edges(len(index), [(index[u], index[v]) for u, v in graph.edges()])


#: Family name to its function.
FAMILIES: Final[dict[str, Callable[[int, np.random.Generator], Data]]] = {
    "planar": planar,
    "sbm": sbm,
    "tree": tree,
    "lobster": lobster,
    "grid": grid,
    "ba": ba,
    "ws": ws,
    "rgg": rgg,
    "community": community,
}
MIN_NODES = {"sbm": 40}


def draw_graph(
    name: str, rng: np.random.Generator, *, min_nodes: int = 8, max_nodes: int = 200, max_edges: int = 512
) -> Data:
    """Draw a graph of a family, its number of nodes log-uniform, until it fits the edge budget.

    Args:
        name: A name in ``FAMILIES``.
        rng: Source of randomness.
        min_nodes: Fewest nodes (sbm has 40 at the least).
        max_nodes: Most nodes, for sbm at most 200.
        max_edges: Most edges.

    Raises:
        DataError: If there is no such family, or 1,000 draws gave no graph within the budget.

    Example:
        >>> draw_graph("tree", np.random.default_rng(0)).num_nodes
        62
    """
    if name not in FAMILIES:
        raise DataError(f"no family {name!r}, expected one of {', '.join(FAMILIES)}.")
    low = max(min_nodes, MIN_NODES.get(name, min_nodes))
    for _ in range(1000):
        graph = FAMILIES[name](int(np.exp(rng.uniform(np.log(low), np.log(max_nodes + 1)))), rng)
        if graph.num_edges // 2 <= max_edges:
            return graph
    raise DataError(f"no {name} graph of {low} to {max_nodes} nodes has at most {max_edges} edges; allow more.")
