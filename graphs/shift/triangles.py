"""TRIANGLES: how many triangles has a graph? Trained on graphs of at most 25 nodes, tested on up to 100."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from graftable.errors import DataError

from .assembly import GraphPack, IntArray
from .shift_set import ShiftSet, divide, part_sizes

__all__ = ["count_triangles", "random_gnm", "triangles"]

LABELS = 10
DEGREES = 14  # columns of the one-hot degree; the largest degree of the published set is 13
CHUNK = 20_000
PUBLISHED = {"train": 30_000, "id_val": 5_000, "id_test": 5_000, "ood_test": 5_000}


def triangles(seed: int = 0, size: int | None = None) -> ShiftSet:
    """Ten classes of random graphs, by the number of their triangles, 1 to 10 (class ``y`` has ``y + 1``).

    A graph has N ~ U{4..25} nodes (large: U{26..100}) and floor((1 + u) N) edges anywhere, u ~ U(0, 1). Graphs are
    drawn until each class is full; no two kept ones have the same adjacency matrix. ``x`` is the one-hot degree.

    Args:
        seed: Of the generator.
        size: Training graphs, a multiple of 10; the other parts keep their proportion. Published: 30,000.

    Raises:
        DataError: If a class cannot be filled.

    References:
        Knyazev et al., "Understanding Attention and Generalization in Graph Neural Networks", 2019.
    """
    sizes = part_sizes(size, PUBLISHED, multiple=LABELS)
    rng = np.random.default_rng(seed)
    small_parts = {part: count for part, count in sizes.items() if part != "ood_test"}
    small, small_labels = _balanced(sum(small_parts.values()), 4, 25, rng)
    large, large_labels = _balanced(sizes["ood_test"], 26, 100, rng)
    order = _stratified(small_labels, small_parts, rng)
    small, small_labels = small.select(order), small_labels[order]
    graphs = [
        graph
        for place, (pack, labels) in enumerate(((small, small_labels), (large, large_labels)))
        for graph in pack.to_data(
            nodes={"x": np.eye(DEGREES)[np.minimum(pack.degrees(), DEGREES - 1)]},
            graphs={"y": labels - 1, "environment": np.full(len(pack), place)},
        )
    ]
    return ShiftSet(
        "triangles",
        **divide(graphs, sizes),
        task="multiclass",
        num_classes=LABELS,
        metric="accuracy",
        notes=("Training graphs have at most 25 nodes, those of the out-of-distribution test 26 to 100.",),
    )


def random_gnm(sizes: IntArray, edge_counts: IntArray, rng: np.random.Generator) -> GraphPack:
    """Uniform random graphs G(N, M).

    Args:
        sizes: Nodes of each graph.
        edge_counts: Edges of each graph; no more than it has room for.
        rng: Source of randomness.

    Example:
        >>> random_gnm(np.array([3]), np.array([3]), np.random.default_rng(0)).edges.tolist()
        [[0, 1], [0, 2], [1, 2]]
    """
    rooms = sizes * (sizes - 1) // 2
    ranks = [
        np.sort(rng.choice(room, count, replace=False, shuffle=False))
        for room, count in zip(rooms.tolist(), edge_counts.tolist(), strict=True)
    ]
    rank = np.concatenate(ranks) if ranks else np.zeros(0, dtype=np.int64)
    # the k-th pair (u, v) in the order (0, 1), (0, 2), (1, 2), (0, 3), ...
    v = ((1 + np.sqrt(1 + 8 * rank.astype(np.float64))) // 2).astype(np.int64)
    return GraphPack(sizes, edge_counts, np.stack([rank - v * (v - 1) // 2, v], axis=1))


def count_triangles(pack: GraphPack) -> IntArray:
    r"""Triangles of each graph, :math:`\operatorname{tr}(A^3) / 6`.

    Example:
        >>> count_triangles(random_gnm(np.array([4]), np.array([6]), np.random.default_rng(0))).tolist()
        [4]
    """
    size = int(pack.node_counts.sum())
    # each edge once and upwards: a triangle u < v < w is the one wedge u -> v -> w that the edge u -> w closes
    u, v = (np.sort(pack.edges, axis=1) + pack.node_starts[pack.edge_graph, None]).T
    upper = sparse.coo_array((np.ones(len(u), dtype=np.int32), (u, v)), shape=(size, size)).tocsr()
    closed = (upper @ upper).multiply(upper).sum(axis=1)
    owner = np.repeat(np.arange(len(pack)), pack.node_counts)
    return np.bincount(owner, weights=closed, minlength=len(pack)).astype(np.int64)


def _balanced(total: int, low: int, high: int, rng: np.random.Generator) -> tuple[GraphPack, IntArray]:
    """Draw until each label has ``total / LABELS`` different graphs; the first are kept, as in one long draw."""
    wanted = total // LABELS
    missing = np.full(LABELS + 1, wanted)
    missing[0] = 0
    seen: set[tuple[int, bytes]] = set()
    packs, labels = [], []
    for _ in range(100 + 100 * total // CHUNK):
        sizes = rng.integers(low, high + 1, size=min(CHUNK, 10 * total))
        edges = ((1 + rng.random(len(sizes))) * sizes).astype(np.int64)
        pack = random_gnm(sizes, np.minimum(edges, sizes * (sizes - 1) // 2), rng)
        label = count_triangles(pack)
        candidates = np.flatnonzero((label > 0) & (label <= LABELS))
        ends = np.cumsum(pack.edge_counts)
        kept = []
        for graph in candidates.tolist():
            if missing[label[graph]]:
                key = (int(sizes[graph]), pack.edges[ends[graph] - pack.edge_counts[graph] : ends[graph]].tobytes())
                if key not in seen:
                    seen.add(key)
                    missing[label[graph]] -= 1
                    kept.append(graph)
        packs.append(pack.select(np.array(kept, dtype=np.int64)))
        labels.append(label[kept])
        if not missing.any():
            break
    else:
        raise DataError(f"a class of TRIANGLES stayed short of {wanted} different graphs; ask for a smaller size.")
    whole = GraphPack(
        *(np.concatenate([getattr(p, name) for p in packs]) for name in ("node_counts", "edge_counts", "edges"))
    )
    return whole, np.concatenate(labels)


def _stratified(labels: IntArray, parts: dict[str, int], rng: np.random.Generator) -> IntArray:
    """An order in which each part, cut in turn, holds as many graphs of each label."""
    pools = {label: rng.permutation(np.flatnonzero(labels == label)) for label in range(1, LABELS + 1)}
    order, start = [], 0
    for count in parts.values():
        each = count // LABELS
        order.append(rng.permutation(np.concatenate([pool[start : start + each] for pool in pools.values()])))
        start += each
    return np.concatenate(order)
