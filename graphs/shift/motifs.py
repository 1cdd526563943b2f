"""The building blocks of synthetic shift sets: bases of a chosen width, and small motifs of fixed shape."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from .assembly import IntArray, Template

__all__ = ["BASES", "MOTIFS", "base", "cycle", "grid", "ladder", "octahedron", "path", "star", "tree", "wheel"]


def _template(size: int, pairs: list[tuple[int, int]]) -> Template:
    return size, np.array(pairs, dtype=np.int64).reshape(-1, 2)


def path(nodes: int) -> Template:
    """A path of ``nodes`` nodes, at least 1."""
    return _template(nodes, list(pairwise(range(nodes))))


def cycle(nodes: int) -> Template:
    """A ring of ``nodes`` nodes, at least 3."""
    return _template(nodes, [*pairwise(range(nodes)), (0, nodes - 1)])


def star(leaves: int) -> Template:
    """Node 0 and ``leaves`` leaves."""
    return _template(leaves + 1, [(0, leaf) for leaf in range(1, leaves + 1)])


def wheel(nodes: int) -> Template:
    """Node 0 joined to all nodes of a ring, ``nodes`` in all; below 4 nodes the ring is a path."""
    rim = list(pairwise(range(1, nodes))) + ([(1, nodes - 1)] if nodes > 3 else [])
    return _template(nodes, [(0, node) for node in range(1, nodes)] + rim)


def ladder(rungs: int) -> Template:
    """Two paths of ``rungs`` nodes, joined node by node."""
    rails = [(a + side, b + side) for side in (0, rungs) for a, b in pairwise(range(rungs))]
    return _template(2 * rungs, rails + [(node, node + rungs) for node in range(rungs)])


def tree(height: int) -> Template:
    """The full binary tree of this height: 2^(height + 1) - 1 nodes."""
    size = 2 ** (height + 1) - 1
    return _template(size, [((node - 1) // 2, node) for node in range(1, size)])


def grid(rows: int, columns: int) -> Template:
    """A rectangular grid."""
    ids: IntArray = np.arange(rows * columns).reshape(rows, columns)
    pairs = np.concatenate(
        [np.stack([ids[:, :-1], ids[:, 1:]], -1).reshape(-1, 2), np.stack([ids[:-1], ids[1:]], -1).reshape(-1, 2)]
    )
    return rows * columns, pairs


def octahedron() -> Template:
    """A ring of four (nodes 0 to 3) and two apexes, each joined to the whole ring: 12 edges."""
    return _template(6, [(0, 1), (1, 2), (2, 3), (0, 3), *((ring, apex) for apex in (4, 5) for ring in range(4))])


MOTIFS: Final[dict[str, Template]] = {
    "house": _template(5, [(1, 2), (2, 3), (3, 4), (1, 4), (0, 1), (0, 4)]),
    "dircycle": cycle(5),
    "crane": _template(5, [(1, 2), (2, 3), (3, 4), (1, 4), (0, 1), (0, 3)]),
    "varcycle": _template(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (0, 2), (0, 3)]),
}
"""The four five-node motifs of the literature; node 0 is where they are attached."""

BASES: Final = ("wheel", "tree", "ladder", "star", "path")
"""The bases of GOOD-Motif, in its order."""


def base(kind: str, width: int) -> Template:
    """A base of GOOD-Motif: ``width`` nodes, rungs or leaves; a tree has height max(1, floor(log2 width) - 1)."""
    if kind == "tree":
        return tree(max(1, int(np.log2(width)) - 1))
    return {"wheel": wheel, "ladder": ladder, "star": star, "path": path}[kind](width)
