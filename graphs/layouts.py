r"""Where to draw the nodes of a graph: distances on the page follow distances in the graph.

Each component is laid out by stress majorization,

.. math:: \min_x \sum_{i<j} w_{ij} (\lVert x_i - x_j \rVert - d_{ij})^2, \qquad w_{ij} = d_{ij}^{-2},

over all pairs of nodes in small graphs. In large ones the sum goes over edges, pairs two steps apart and distances to a
few pivots; in large small-world graphs all nodes repel each other in place of pivots. Their cost grows with n + m. The
components are packed side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from .metrics.sparse import to_csr

if TYPE_CHECKING:
    from .metrics.sparse import GraphLike

__all__ = ["layout_graph"]

FloatArray: TypeAlias = NDArray[np.float64]

ALL_PAIRS_UP_TO = 400
PIVOTS = 50
TWO_STEP_PAIRS = 8
"""Pairs two steps apart that a large graph draws for each node; without them the leaves of a star coincide."""
ROUNDS = 80
SOLVER_STEPS = 4
SAMPLED = 200
MARGIN = 1.6
"""Between components, in edge lengths."""


def layout_graph(graph: GraphLike, *, seed: int = 0) -> FloatArray:
    """Return a position for each node; an edge is about 1 long, and the drawing is about as wide as it is high.

    Args:
        graph: A PyG or networkx graph of any size, with isolated nodes and several components.
        seed: The same seed gives the same layout.

    Shapes:
        returned: (nodes, 2).

    References:
        Gansner, Koren and North, "Graph drawing by stress majorization", 2004; Brandes and Pich, "Eigensolver methods
        for progressive multidimensional scaling of large data", 2006; Ortmann, Klimenta and Brandes, "A sparse stress
        model", 2017; Gansner, Hu and North, "A maxent-stress model for graph layout", 2013.

    Example:
        >>> import networkx as nx
        >>> left, middle, right = layout_graph(nx.path_graph(3))
        >>> bool(abs(left - right).max() > abs(left - middle).max())
        True
    """
    adjacency = to_csr(graph).astype(np.float64)
    count, labels = csgraph.connected_components(adjacency, directed=False)
    groups = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels, minlength=count))[:-1])
    parts = [_component(adjacency[nodes][:, nodes], seed) if len(nodes) > 1 else np.zeros((1, 2)) for nodes in groups]
    position = np.zeros((adjacency.shape[0], 2))
    for nodes, part in zip(groups, _packed(parts), strict=True):
        position[nodes] = part
    return position


def _component(adjacency: sparse.csr_array, seed: int) -> FloatArray:
    """Lay out a connected graph of at least two nodes around the origin, its longest axis horizontal."""
    rng = np.random.default_rng(seed)
    nodes = adjacency.shape[0]
    repels = False
    if nodes <= ALL_PAIRS_UP_TO:
        known = csgraph.shortest_path(adjacency, unweighted=True, directed=False)
        wanted = sparse.csr_array(known)
    else:
        known = _pivot_distances(adjacency)
        # in a small world all pivots are about equally far, and would pull everything else into one point
        repels = bool(known.max() < 3 * np.log2(nodes))
        wanted = _sparse_pairs(adjacency, None if repels else known, rng)
    is_tree = adjacency.nnz == 2 * (nodes - 1)
    start = _radial(adjacency) if is_tree else _pivot_scaling(known)
    start += 0.05 * rng.standard_normal(start.shape)  # twins have equal distances to all others: part them
    return _upright(_majorized(start, wanted, rng if repels else None))


def _pivot_distances(adjacency: sparse.csr_array) -> FloatArray:
    """Distances from pivots that lie far apart, shape (nodes, PIVOTS)."""
    columns: list[FloatArray] = []
    nearest = np.full(adjacency.shape[0], np.inf)
    pick = int(np.argmax(np.diff(adjacency.indptr)))
    for _ in range(PIVOTS):
        columns.append(csgraph.dijkstra(adjacency, directed=True, unweighted=True, indices=pick))
        nearest = np.minimum(nearest, columns[-1])
        pick = int(np.argmax(nearest))
    return np.stack(columns, axis=1)


def _sparse_pairs(adjacency: sparse.csr_array, pivots: FloatArray | None, rng: np.random.Generator) -> sparse.csr_array:
    """Wanted distances of few pairs: 1 along edges, 2 across a common neighbour, and those from nodes to pivots."""
    nodes = adjacency.shape[0]
    edges = adjacency.tocoo()
    start = np.repeat(np.arange(nodes), TWO_STEP_PAIRS)
    end = _random_neighbours(adjacency, _random_neighbours(adjacency, start, rng), rng)
    rows, columns = np.concatenate([[edges.row, edges.col], [start, end]], axis=1).astype(np.int64)
    value = np.concatenate([edges.data, np.full(len(start), 2.0)])
    if pivots is not None:
        rows = np.concatenate([rows, np.repeat(np.arange(nodes), PIVOTS)])
        columns = np.concatenate([columns, np.tile(pivots.argmin(axis=0), nodes)])
        value = np.concatenate([value, pivots.ravel()])
    # where several parts speak of the same pair, the shortest distance is the true one
    key = np.minimum(rows, columns) * nodes + np.maximum(rows, columns)
    order = np.lexsort((value, key))
    key, value = key[order], value[order]
    kept = np.append(True, key[1:] != key[:-1]) & (key // nodes != key % nodes)
    low, high, value = key[kept] // nodes, key[kept] % nodes, value[kept]
    half = sparse.coo_array((value, (low, high)), shape=(nodes, nodes))
    return sparse.csr_array(half + half.T)


def _random_neighbours(
    adjacency: sparse.csr_array, nodes: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    degree = np.diff(adjacency.indptr)
    step = (rng.random(len(nodes)) * degree[nodes]).astype(np.int64)
    found: NDArray[np.int64] = adjacency.indices[adjacency.indptr[nodes] + step].astype(np.int64)
    return found


def _pivot_scaling(distance: FloatArray) -> FloatArray:
    """The two main axes of doubly centred squared distances (all columns of a small graph, or those of the pivots)."""
    squared = distance**2
    centred = -(squared - squared.mean(axis=0) - squared.mean(axis=1, keepdims=True) + squared.mean()) / 2
    _, axes = np.linalg.eigh(centred.T @ centred)
    start = centred @ axes[:, -2:]
    # in proportion to the distances that it stands for
    size = np.abs(start).max()
    scaled: FloatArray = start * (distance.max() / 2 / size) if size > 0 else start
    return scaled


def _radial(adjacency: sparse.csr_array) -> FloatArray:
    """Lay out a tree without crossings: rings around its centre, to each branch an angle by its leaves."""
    nodes = adjacency.shape[0]
    far = int(np.argmax(csgraph.dijkstra(adjacency, unweighted=True, indices=0)))
    path, parents = csgraph.breadth_first_order(adjacency, far, directed=True)
    spine = [int(path[-1])]
    while parents[spine[-1]] >= 0:
        spine.append(int(parents[spine[-1]]))
    order, parents = csgraph.breadth_first_order(adjacency, spine[len(spine) // 2], directed=True)
    leaves = np.where(np.diff(adjacency.indptr) == 1, 1.0, 0.0)
    leaves[order[0]] = 0.0
    for node in order[:0:-1].tolist():
        leaves[parents[node]] += leaves[node]
    depth, begin, taken = np.zeros(nodes), np.zeros(nodes), np.zeros(nodes)
    turn = 2 * np.pi / max(leaves[order[0]], 1.0)
    for node in order[1:].tolist():
        parent = parents[node]
        depth[node] = depth[parent] + 1
        begin[node] = begin[parent] + taken[parent]
        taken[parent] += turn * leaves[node]
    angle = begin + turn * leaves / 2
    return np.stack([depth * np.cos(angle), depth * np.sin(angle)], axis=1)


def _majorized(position: FloatArray, wanted: sparse.csr_array, rng: np.random.Generator | None) -> FloatArray:
    """Lower the stress round by round; each round solves a Laplacian system by a few conjugate-gradient steps.

    With ``rng`` all nodes also repel each other, less and less, estimated on ``SAMPLED`` of them.
    """
    ends = wanted.tocoo()
    weight = wanted.data**-2.0
    total = np.bincount(ends.row, weight, minlength=len(position)).astype(np.float64)[:, None]
    pull = sparse.csr_array((weight, wanted.indices, wanted.indptr), shape=wanted.shape)
    push = pull.copy()
    for round_ in range(ROUNDS):
        apart = position[ends.row] - position[ends.col]
        length = np.maximum(np.sqrt(np.einsum("ij,ij->i", apart, apart)), 1e-9)
        push.data = weight * wanted.data / length
        goal = np.bincount(ends.row, push.data, minlength=len(position))[:, None] * position - push @ position
        if rng is not None:
            goal += 0.3 ** (5 * round_ / ROUNDS) * _repulsion(position, rng)
        moved = _solved(pull, total, goal, position)
        change = np.abs(moved - position).max()
        position = moved
        if change < 1e-3:
            break
    return position


def _repulsion(position: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The sum over all nodes j of (x_i - x_j) / |x_i - x_j|^2, from a sample of them."""
    sample = position[rng.choice(len(position), SAMPLED, replace=False)]
    squared = (position**2).sum(axis=1)[:, None] - 2 * position @ sample.T + (sample**2).sum(axis=1)
    closeness = len(position) / SAMPLED / np.maximum(squared, 0.25)
    force: FloatArray = closeness.sum(axis=1, keepdims=True) * position - closeness @ sample
    return force


def _solved(pull: sparse.csr_array, total: FloatArray, goal: FloatArray, start: FloatArray) -> FloatArray:
    """Conjugate gradients for (diag(total) - pull) x = goal, from ``start``, both columns side by side."""
    x = start
    residual = goal - (total * x - pull @ x)
    scaled = residual / total
    direction, size = scaled, (residual * scaled).sum(axis=0)
    solved = 1e-20 * (goal**2 / total).sum()
    for _ in range(SOLVER_STEPS):
        if size.max() <= solved:  # what is left is rounding, which further steps would blow up
            break
        image = total * direction - pull @ direction
        step = size / np.maximum((direction * image).sum(axis=0), 1e-300)
        x, residual = x + step * direction, residual - step * image
        scaled = residual / total
        size, before = (residual * scaled).sum(axis=0), size
        direction = scaled + size / np.maximum(before, 1e-300) * direction
    return x


def _upright(position: FloatArray) -> FloatArray:
    """Turn the longest axis into the horizontal one, with the longer tails to the right and to the top."""
    position = position - position.mean(axis=0)
    _, axes = np.linalg.eigh(position.T @ position)
    turned = position @ axes[:, ::-1]
    flipped: FloatArray = turned * np.where((turned**3).sum(axis=0) < -1e-6, -1.0, 1.0)
    return flipped


def _packed(parts: list[FloatArray]) -> list[FloatArray]:
    """Move components to shelves, the highest first, and centre the whole."""
    if len(parts) == 1:
        return [parts[0] - (parts[0].min(axis=0) + parts[0].max(axis=0)) / 2]
    boxes = np.array([np.ptp(part, axis=0) for part in parts]) + MARGIN
    width = max(boxes[:, 0].max(), 1.15 * np.sqrt(boxes.prod(axis=1).sum()))
    corner, shelf, placed = np.zeros(2), 0.0, list(parts)
    for index in np.lexsort((-boxes[:, 0], -boxes[:, 1])).tolist():
        if corner[0] and corner[0] + boxes[index, 0] > width + 1e-9:
            corner, shelf = np.array([0.0, corner[1] - shelf]), 0.0
        shelf = max(shelf, boxes[index, 1])
        low, high = parts[index].min(axis=0), parts[index].max(axis=0)
        placed[index] = parts[index] + corner - np.array([low[0], high[1]])
        corner = corner + np.array([boxes[index, 0], 0.0])
    ends = np.concatenate(placed)
    middle = (ends.min(axis=0) + ends.max(axis=0)) / 2
    return [part - middle for part in placed]
