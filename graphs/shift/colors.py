"""COLORS: how many nodes of a graph are green? Trained on at most 25 nodes, tested on up to 200."""

from __future__ import annotations

from typing import Literal

import numpy as np

from graftable.errors import ConfigError

from .assembly import GraphPack, IntArray, ragged_arange
from .shift_set import ShiftSet, divide, part_sizes
from .triangles import random_gnm

__all__ = ["colors"]

GREENS = 10
RED, GREEN, BLUE, UNSEEN = range(4)
PUBLISHED = {"train": 500, "id_val": 2_500, "id_test": 2_500, "ood_test": 2_500}


def colors(seed: int = 0, size: int | None = None, test: Literal["large", "large_c"] = "large") -> ShiftSet:
    """Eleven classes: the number of green nodes, 0 to 10, among red and blue ones.

    A graph has N nodes and floor((1 + u) N) edges anywhere, u ~ U(0, 1); N is uniform up to 25 (large: from 26 to 200)
    and from 4, or from the number of green nodes. ``x`` has four columns: red, green, blue, and one that training never
    uses.

    Args:
        seed: Of the generator.
        size: Training graphs, at least 11; the other parts keep their proportion. Published: 500.
        test: ``large`` has the colours of training; in ``large_c`` nodes that are not green may have any of the
            channels red, blue and the unseen one at once.

    Raises:
        ConfigError: If ``test`` is unknown.

    References:
        Knyazev et al., "Understanding Attention and Generalization in Graph Neural Networks", 2019.
    """
    if test not in ("large", "large_c"):
        raise ConfigError(f"test is {test!r}; expected large or large_c.")
    sizes = part_sizes(size, PUBLISHED, multiple=1 if size is None else GREENS + 1)
    rng = np.random.default_rng(seed)
    graphs = []
    for part, count in sizes.items():
        large = part == "ood_test"
        greens = rng.permutation(np.arange(count) % (GREENS + 1))
        low, high = (26, 200) if large else (4, 25)
        nodes = rng.integers(np.maximum(low, greens), high + 1)
        edges = np.minimum(((1 + rng.random(count)) * nodes).astype(np.int64), nodes * (nodes - 1) // 2)
        pack = random_gnm(nodes, edges, rng)
        graphs += pack.to_data(
            nodes={"x": _paint(pack, greens, large and test == "large_c", rng)},
            graphs={"y": greens, "environment": np.full(count, int(large))},
        )
    return ShiftSet(
        "colors",
        **divide(graphs, sizes),
        task="multiclass",
        num_classes=GREENS + 1,
        metric="accuracy",
        notes=("Training graphs have at most 25 nodes, those of the out-of-distribution test 26 to 200.",),
    )


def _paint(pack: GraphPack, greens: IntArray, unseen: bool, rng: np.random.Generator) -> np.ndarray:
    """One row of channels per node; the green nodes of each graph are a uniform choice."""
    total = int(pack.node_counts.sum())
    owner = np.repeat(np.arange(len(pack)), pack.node_counts)
    # a random order inside each graph, of which the first are green
    order = np.lexsort((rng.random(total), owner))
    x = np.zeros((total, 4), dtype=np.float32)
    x[np.arange(total), np.where(rng.random(total) < 0.5, RED, BLUE)] = 1
    if unseen:
        mixed = rng.random((total, 3)) < 0.5
        mixed[~mixed.any(axis=1), 2] = True  # black is no colour: it becomes the unseen one
        x[:, [RED, BLUE, UNSEEN]] = mixed
    green = order[ragged_arange(pack.node_starts, greens)]
    x[green] = np.eye(4, dtype=np.float32)[GREEN]
    return x
