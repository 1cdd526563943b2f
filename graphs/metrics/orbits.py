r"""How often every node sits in every position of the connected graphs on two to four nodes.

There are 15 such positions, the node orbits of the graphlets. They are counted without visiting four-node subsets:
first the *not necessarily induced* copies of each small graph, which have closed forms in degrees, triangles, common
neighbours and 4-cliques, then a triangular system turns them into induced counts. Everything is a sparse product, so
the cost is that of listing triangles and common neighbours: 2 ms at 100 nodes and 500 edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from .sparse import GraphLike, IntArray, degrees, row_blocks, to_csr

__all__ = ["ORBITS", "orbit_counts", "triangle_counts"]

ORBITS = (
    "edge end", "path-3 end", "path-3 middle", "triangle", "path-4 end", "path-4 middle", "star leaf", "star centre",
    "cycle-4", "paw tail", "paw far corner", "paw joint", "diamond tip", "diamond hub", "clique-4",
)  # fmt: skip
BLOCK = 4_000_000  # entries of an intermediate product held at once: about 50 MB


class Triangles(NamedTuple):
    """Every triangle once: its corners, and the edge opposite each corner."""

    corners: IntArray  # (triangles, 3)
    opposite: IntArray  # (triangles, 3), positions in the list of edges
    edges: IntArray  # (edges, 2)
    outgoing: sparse.csr_array  # each edge once, from the end of lower degree


def orbit_counts(graph: GraphLike) -> IntArray:
    r"""Count the 15 node orbits of the graphlets on two to four nodes, in the order of :data:`ORBITS`.

    With degree :math:`d_i`, triangles :math:`t_i` at a node and :math:`t_{ij}` on an edge, and common neighbours
    :math:`c_{ik}`, the copies that need not be induced are, for example,

    .. math:: \text{cycle}_i = \sum_{k \ne i} \binom{c_{ik}}{2}, \qquad
              \text{hub}_i = \sum_{j \sim i} \binom{t_{ij}}{2}, \qquad
              \text{far corner}_i = \sum_{j \sim i} t_{ij} (d_j - 2),

    and an induced count is such a count minus the copies inside denser graphlets.

    Args:
        graph: Any graph that :func:`~graftable.graphs.metrics.to_csr` reads.

    Returns:
        Counts of shape ``(nodes, 15)``; all zeros where there is no edge, no row where there is no node.

    References:
        Przulj, "Biological network comparison using graphlet degree distribution", 2007, figure 1 (the numbering);
        Hocevar and Demsar, "A combinatorial approach to graphlet counting", 2014 (the idea of solving for the counts).

    Example:
        >>> import networkx as nx
        >>> orbit_counts(nx.star_graph(3))[0].tolist()
        [3, 0, 3, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    """
    adjacency = to_csr(graph)
    if adjacency.nnz == 0:
        return np.zeros((adjacency.shape[0], len(ORBITS)), dtype=np.int64)
    return _induced(_copies(adjacency))


def triangle_counts(adjacency: sparse.csr_array) -> IntArray:
    """Return the number of triangles at every node, shape ``(nodes,)``."""
    corners = _triangles(adjacency).corners
    return np.bincount(corners.ravel(), minlength=adjacency.shape[0])


def _triangles(adjacency: sparse.csr_array) -> Triangles:
    """List triangles by intersecting the out-neighbours of both ends of each edge, low degree to high."""
    nodes, degree = adjacency.shape[0], degrees(adjacency)
    rank = np.empty(nodes, dtype=np.int64)
    rank[np.argsort(degree, kind="stable")] = np.arange(nodes)
    tail, head = np.repeat(np.arange(nodes), degree), adjacency.indices.astype(np.int64)
    forward = rank[tail] < rank[head]
    edges = np.stack([tail[forward], head[forward]], axis=1)
    # rows of `outgoing` keep the order of `edges`, so entry e of its data can name edge e (from 1: 0 means absent)
    names = sparse.csr_array((np.arange(1, len(edges) + 1), (edges[:, 0], edges[:, 1])), shape=adjacency.shape)
    outgoing = sparse.csr_array((np.ones(len(edges), dtype=np.int64), names.indices, names.indptr), shape=names.shape)
    corners, opposite = [np.empty((0, 3), dtype=np.int64)], [np.empty((0, 3), dtype=np.int64)]
    for block in row_blocks(degrees(outgoing)[edges].sum(axis=1), BLOCK):
        u, v = edges[block].T
        far = names[u].multiply(outgoing[v]).tocsr()  # entry (e, w) names the edge u-w
        near = outgoing[u].multiply(names[v]).tocsr()  # and here v-w, in the same pattern
        local = np.repeat(np.arange(len(u)), np.diff(far.indptr))
        corners.append(np.stack([u[local], v[local], far.indices], axis=1))
        opposite.append(np.stack([near.data - 1, far.data - 1, local + block.start], axis=1))
    return Triangles(np.concatenate(corners), np.concatenate(opposite), edges, outgoing)


def _four_cliques(triangles: Triangles) -> IntArray:
    """Count 4-cliques at every node: a triangle u, v, w whose corners share a fourth out-neighbour."""
    out, nodes = triangles.outgoing, triangles.outgoing.shape[0]
    total = np.zeros(nodes, dtype=np.int64)
    for block in row_blocks(degrees(out)[triangles.corners].sum(axis=1), BLOCK):
        u, v, w = triangles.corners[block].T
        fourth = out[u].multiply(out[v]).multiply(out[w]).tocsr()
        found = np.diff(fourth.indptr)
        for corner in (u, v, w):
            total += np.bincount(corner, weights=found, minlength=nodes).astype(np.int64)
        total += np.bincount(fourth.indices, minlength=nodes)
    return total


def _four_cycles(adjacency: sparse.csr_array, degree: IntArray) -> IntArray:
    """Count 4-cycles, chords allowed, at every node: two common neighbours with any other node."""
    total = np.empty(len(degree), dtype=np.int64)
    for block in row_blocks(adjacency @ degree, BLOCK):
        common = adjacency[block] @ adjacency
        common.data = _pairs(common.data)
        total[block] = common.sum(axis=1)
    return total - _pairs(degree)  # a node has all its neighbours in common with itself


def _pairs(count: IntArray) -> IntArray:
    return count * (count - 1) // 2


def _copies(adjacency: sparse.csr_array) -> IntArray:
    """Count copies that need not be induced, one row per orbit, shape ``(15, nodes)``."""
    nodes, degree = adjacency.shape[0], degrees(adjacency)
    found = _triangles(adjacency)
    per_edge = np.bincount(found.opposite.ravel(), minlength=len(found.edges))
    per_node = np.bincount(found.corners.ravel(), minlength=nodes)

    def over_edges(from_first: IntArray, from_second: IntArray) -> IntArray:
        """Sum, at each node, what every edge brings it from its other end."""
        at_first = np.bincount(found.edges[:, 0], weights=from_second, minlength=nodes)
        at_second = np.bincount(found.edges[:, 1], weights=from_first, minlength=nodes)
        total: IntArray = np.rint(at_first + at_second).astype(np.int64)
        return total

    first, second = found.edges.T
    others = degree - 1
    facing = np.bincount(found.corners.ravel(), weights=(per_edge[found.opposite] - 1).ravel(), minlength=nodes)
    walks = adjacency @ others  # ways to step to a neighbour and on to another of its neighbours
    return np.stack([
        degree,
        walks,
        _pairs(degree),
        per_node,
        adjacency @ walks - degree * others - 2 * per_node,
        walks * others - 2 * per_node,
        adjacency @ _pairs(others),
        degree * others * (degree - 2) // 6,
        _four_cycles(adjacency, degree),
        over_edges(per_node[first] - per_edge, per_node[second] - per_edge),
        over_edges(per_edge * (degree[first] - 2), per_edge * (degree[second] - 2)),
        per_node * (degree - 2),
        facing.astype(np.int64),
        over_edges(_pairs(per_edge), _pairs(per_edge)),
        _four_cliques(found),
    ])  # fmt: skip


def _induced(copies: IntArray) -> IntArray:
    """Subtract from each count its copies inside denser graphlets, densest first, shape ``(nodes, 15)``."""
    o = copies.copy()
    o[1] -= 2 * o[3]
    o[2] -= o[3]
    o[13] -= 3 * o[14]
    o[12] -= 3 * o[14]
    o[11] -= 2 * o[13] + 3 * o[14]
    o[10] -= 2 * o[12] + 2 * o[13] + 6 * o[14]
    o[9] -= 2 * o[12] + 3 * o[14]
    o[8] -= o[12] + o[13] + 3 * o[14]
    o[7] -= o[11] + o[13] + o[14]
    o[6] -= o[9] + o[10] + 2 * o[12] + o[13] + 3 * o[14]
    o[5] -= 2 * o[8] + o[10] + 2 * o[11] + 2 * o[12] + 4 * o[13] + 6 * o[14]
    o[4] -= 2 * o[8] + 2 * o[9] + o[10] + 4 * o[12] + 2 * o[13] + 6 * o[14]
    return np.ascontiguousarray(o.T)
