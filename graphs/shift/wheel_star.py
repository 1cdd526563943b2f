"""Wheel and star: a wheel decides the class, and in training a star beside it nearly does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .assembly import GraphPack, IntArray, attach, copies
from .motifs import cycle, grid, octahedron, star, wheel
from .shift_set import ShiftSet, divide, part_sizes, probabilities

__all__ = ["barabasi_albert_trees", "wheel_star"]

PUBLISHED = {"train": 2_000, "id_val": 500, "id_test": 500, "ood_val": 500, "ood_test": 1_000}
UNBIASED = 0.25
WHEEL, STAR = 4, 0
SMALLEST, LARGEST = 15, 25


def wheel_star(seed: int = 0, size: int | None = None, mu: float | Sequence[float] = 0.9) -> ShiftSet:
    """Two classes: a random tree with a wheel, or with one of star, circle, grid and diamond in its place.

    A share mu of the graphs with a wheel gets a star too; every other graph gets one of the four, drawn uniformly. With
    mu = 1/4 a star is found in as many graphs of either class (7/16): the law of ``ood_val`` and ``ood_test``.
    The tree is a Barabasi-Albert one of U{15..25} nodes; wheel, star and circle have 6 nodes, the grid is 3 by 3, the
    diamond is a ring of four with two apexes. ``x`` is uniform in [0, 1]^4.

    Args:
        seed: Of the generator.
        size: Training graphs; the other parts keep their proportion. Default 2,000.
        mu: In [0, 1]; several make one environment each, of equal size.

    Raises:
        ConfigError: If ``mu`` is out of range.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024, which leaves the sizes open.
    """
    shares = probabilities(mu, "mu")
    sizes = part_sizes(size, PUBLISHED, multiple=2)
    rng = np.random.default_rng(seed)
    graphs = []
    for part, count in sizes.items():
        shifted = part.startswith("ood")
        label = rng.permutation(np.arange(count) % 2)
        environment = np.full(count, len(shares)) if shifted else rng.permutation(np.arange(count) % len(shares))
        tied = (label == 1) & (rng.random(count) < np.append(shares, UNBIASED)[environment])
        first = np.where(label == 1, WHEEL, rng.integers(0, 4, size=count))
        second = np.where(tied, STAR, rng.integers(0, 4, size=count))
        pack = _build(first, second, rng)
        x = rng.random((int(pack.node_counts.sum()), 4), dtype=np.float32)
        group = (first == STAR) | (second == STAR)
        graphs += pack.to_data(
            nodes={"x": x}, graphs={"y": label, "environment": environment, "group": group.astype(np.int64)}
        )
    return ShiftSet(
        "wheel_star",
        **divide(graphs, sizes),
        task="binary",
        num_classes=2,
        metric="accuracy",
        notes=(
            f"In training a share of {', '.join(f'{share:.2f}' for share in shares)} of the graphs with a wheel gets a "
            "star; in ood_val and ood_test stars are as frequent in both classes.",
            "group is 1 where the graph has a star.",
        ),
    )


def barabasi_albert_trees(sizes: IntArray, rng: np.random.Generator) -> GraphPack:
    """Trees that grow by one node at a time, each joined to an older one with probability in proportion to its degree.

    Args:
        sizes: Nodes of each tree, at least 2.
        rng: Source of randomness.

    References:
        Barabasi and Albert, "Emergence of Scaling in Random Networks", 1999, with m = 1.
    """
    count, largest = len(sizes), int(sizes.max(initial=2))
    parent = np.zeros((count, largest), dtype=np.int64)
    ends = np.zeros((count, 2 * largest), dtype=np.int64)  # both ends of each edge so far: uniform in these
    ends[:, 1] = 1
    rows = np.arange(count)
    for node in range(2, largest):
        parent[:, node] = ends[rows, rng.integers(0, 2 * (node - 1), size=count)]
        ends[:, 2 * (node - 1)], ends[:, 2 * node - 1] = parent[:, node], node
    tree, child = np.nonzero((np.arange(largest) < sizes[:, None]) & (np.arange(largest) > 0))
    return GraphPack(sizes, sizes - 1, np.stack([parent[tree, child], child], axis=1))


def _build(first: IntArray, second: IntArray, rng: np.random.Generator) -> GraphPack:
    """A tree with two motifs, each joined by one edge from a random node of its own to a random node of the tree."""
    motifs = [star(5), cycle(6), grid(3, 3), octahedron(), wheel(6)]
    tree = barabasi_albert_trees(rng.integers(SMALLEST, LARGEST + 1, size=len(first)), rng)
    pack = tree
    for chosen in (first, second):
        motif = copies(motifs, chosen)
        pack = attach(pack, motif, rng.integers(0, tree.node_counts), rng.integers(0, motif.node_counts))
    return pack
