"""Is a generated graph of the family that was asked for, is it new, and is it unlike the others?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from graftable.errors import ConfigError, DataError

from .isomorphism import BUDGET, GraphIndex
from .mmd import Interval
from .sbm import is_sbm
from .sparse import GraphLike, degrees, to_csr

__all__ = ["VALIDITY", "VUN", "is_lobster", "is_planar_connected", "is_sbm", "is_tree", "share_interval", "vun"]


def is_planar_connected(graph: GraphLike) -> bool:
    """Tell whether a graph is in one piece and can be drawn without crossings.

    Example:
        >>> is_planar_connected(nx.complete_graph(4)), is_planar_connected(nx.complete_graph(5))
        (True, False)
    """
    adjacency = to_csr(graph)
    if not _is_connected(adjacency):
        return False
    planar, _ = nx.check_planarity(nx.Graph(np.stack(adjacency.nonzero(), axis=1).tolist()))
    return bool(planar)


def is_tree(graph: GraphLike) -> bool:
    """Tell whether a graph is in one piece and has no cycle; a single node is a tree, no node is not.

    Example:
        >>> is_tree(nx.star_graph(5)), is_tree(nx.cycle_graph(5))
        (True, False)
    """
    adjacency = to_csr(graph)
    return bool(adjacency.nnz // 2 == adjacency.shape[0] - 1) and _is_connected(adjacency)


def is_lobster(graph: GraphLike) -> bool:
    """Tell whether a graph is a tree that is a path, or nothing, once its leaves have been cut off twice.

    Example:
        >>> is_lobster(nx.balanced_tree(3, 2)), is_lobster(nx.balanced_tree(3, 4))
        (True, False)
    """
    adjacency = to_csr(graph)
    if not is_tree(adjacency):
        return False
    for _ in range(2):
        kept = np.flatnonzero(degrees(adjacency) > 1)
        adjacency = adjacency[kept][:, kept]
    return bool(degrees(adjacency).max(initial=0) <= 2)


def _is_connected(adjacency: sparse.csr_array) -> bool:
    return bool(connected_components(adjacency, directed=False, return_labels=False) == 1)


VALIDITY: dict[str, Callable[[GraphLike], bool]] = {
    "planar": is_planar_connected,
    "tree": is_tree,
    "lobster": is_lobster,
    "sbm": is_sbm,
}


@dataclass(frozen=True)
class VUN:
    """Shares of generated graphs, each in [0, 1] with a 95 % interval.

    Attributes:
        count: Number of generated graphs.
        unique: Distinct graphs up to isomorphism.
        novel: Not isomorphic to a training graph.
        valid: Members of the family; ``None`` if no family was named.
        vun: Valid (where asked), first of their isomorphism class, and novel.
        undecided: Comparisons whose search ran out of budget; such pairs were counted as equal.
    """

    count: int
    unique: Interval
    novel: Interval
    valid: Interval | None
    vun: Interval
    undecided: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries and numbers, ready for ``json.dumps``."""
        return asdict(self)


def vun(
    generated: Sequence[GraphLike],
    train: Sequence[GraphLike] | GraphIndex,
    valid: str | Callable[[GraphLike], bool] | None = None,
    *,
    budget: int = BUDGET,
) -> VUN:
    """Count valid, unique and novel graphs.

    Pairs with equal Weisfeiler-Leman hashes are compared exactly. The search is bounded by ``budget`` colourings, about
    a second at 500 nodes; a pair left open counts as equal, so the shares are never flattered.

    Args:
        generated: The graphs to judge; at least one.
        train: The graphs that must not be copied, or a :class:`GraphIndex` of them.
        valid: A name out of :data:`VALIDITY`, a function, or ``None`` to judge uniqueness and novelty only.
        budget: Passed to :func:`~graftable.graphs.metrics.are_isomorphic`.

    Raises:
        DataError: If ``generated`` is empty.
        ConfigError: If the family is unknown.

    Example:
        >>> vun([nx.path_graph(4), nx.path_graph(4), nx.cycle_graph(4)], [nx.star_graph(3)], "tree").vun.value
        0.3333333333333333
    """
    if len(generated) == 0:
        raise DataError("the set of generated graphs is empty; expected at least one graph.")
    if isinstance(valid, str) and valid not in VALIDITY:
        raise ConfigError(f"valid: {valid!r} is not one of {', '.join(VALIDITY)}.")
    check = VALIDITY[valid] if isinstance(valid, str) else valid
    known = train if isinstance(train, GraphIndex) else GraphIndex(train, budget)
    seen, earlier = GraphIndex(budget=budget), known.undecided
    matrices = [to_csr(graph) for graph in generated]
    first = np.array([seen.add(matrix) for matrix in matrices])
    novel = np.array([matrix not in known for matrix in matrices])
    right = np.array([check is None or check(matrix) for matrix in matrices])
    return VUN(
        count=len(matrices),
        unique=share_interval(first),
        novel=share_interval(novel),
        valid=None if check is None else share_interval(right),
        vun=share_interval(first & novel & right),
        undecided=seen.undecided + known.undecided - earlier,
    )


def share_interval(hits: np.ndarray[Any, np.dtype[np.bool_]]) -> Interval:
    r"""Return the share of hits and its 95 % Wilson score interval, which stays inside [0, 1] and is never empty.

    .. math:: \frac{p + z^2 / 2n \pm z \sqrt{p (1 - p) / n + z^2 / 4 n^2}}{1 + z^2 / n}, \qquad z = 1.96

    Example:
        >>> share_interval(np.array([True] * 40)).low > 0.9
        True
    """
    count, share, z = len(hits), float(np.mean(hits)), 1.959964
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return Interval(share, max(0.0, float(centre - reach)), min(1.0, float(centre + reach)))
