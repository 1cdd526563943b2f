"""Are two graphs the same up to a renumbering of nodes? Exact, with a bound on the work.

Colours of nodes are refined by the colours of their neighbours until they no longer split (Weisfeiler and Leman). Equal
graphs get equal colour counts, so differing counts settle most pairs, and sorted colours serve as a hash. Where the
counts agree, a search fixes one node at a time and refines again; an answer "same" always rests on a comparison of all
edges. Refinement alone decides forests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from .sparse import GraphLike, degrees, to_csr

__all__ = ["GraphIndex", "are_isomorphic", "wl_hash"]

Colours: TypeAlias = NDArray[np.uint64]
Places: TypeAlias = NDArray[np.intp]
BUDGET = 2000
FIXED = np.uint64(0x9E3779B97F4A7C15)


def wl_hash(graph: GraphLike) -> str:
    """Return a hash that equal graphs share and that differing graphs seldom share; stable across runs and machines.

    References:
        Shervashidze et al., "Weisfeiler-Lehman graph kernels", 2011.

    Example:
        >>> import networkx as nx
        >>> wl_hash(nx.path_graph([0, 1, 2, 3])) == wl_hash(nx.path_graph([2, 0, 3, 1]))
        True
    """
    adjacency = to_csr(graph)
    colours = np.sort(_refine(adjacency.astype(np.uint64), np.zeros(adjacency.shape[0], dtype=np.uint64)))
    return hashlib.blake2b(colours.astype("<u8").tobytes(), digest_size=16).hexdigest()


def are_isomorphic(first: GraphLike, second: GraphLike, budget: int = BUDGET) -> bool | None:
    """Decide whether some renumbering of nodes turns one graph into the other.

    Args:
        first: Any graph.
        second: Any graph.
        budget: Colourings to try at most, each O(edges) per round. A handful suffices unless a graph is both
            large and highly regular.

    Returns:
        True or False, both proved; ``None`` where the budget ended first.

    Example:
        >>> import networkx as nx
        >>> are_isomorphic(nx.cycle_graph(6), nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)))
        False
    """
    first, second = to_csr(first), to_csr(second)
    nodes = first.shape[0]
    if first.shape != second.shape or not np.array_equal(np.sort(degrees(first)), np.sort(degrees(second))):
        return False
    if nodes == 0:
        return True
    both = sparse.csr_array(sparse.block_diag([first, second], dtype=np.uint64))
    to_try = [np.zeros(2 * nodes, dtype=np.uint64)]
    for _ in range(budget):
        if not to_try:
            return False
        colours = _refine(both, to_try.pop())
        order, partner = np.argsort(colours[:nodes], kind="stable"), np.argsort(colours[nodes:], kind="stable")
        if not np.array_equal(colours[:nodes][order], colours[nodes:][partner]):
            continue
        if _is_forest(first) or _maps(first, second, order, partner):
            return True
        to_try.extend(_fix_one_node(colours, order, partner))
    return None if to_try else False


def _refine(adjacency: sparse.csr_array, colours: Colours) -> Colours:
    """Give every node the hash of its own colour and of its neighbours', until no further colours appear."""
    distinct = 0
    while (found := len(np.unique(colours))) > distinct:
        distinct = found
        # a sum does not depend on the order of neighbours; mixing before it keeps sums of different colours apart
        colours = _mix(colours * np.uint64(3) + adjacency @ _mix(colours))
    return colours


def _mix(x: Colours) -> Colours:
    """Scramble 64-bit integers one to one (the finaliser of the splitmix64 generator)."""
    x = x + FIXED
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _is_forest(adjacency: sparse.csr_array) -> bool:
    components = connected_components(adjacency, directed=False, return_labels=False)
    return bool(adjacency.nnz // 2 == adjacency.shape[0] - components)


def _maps(first: sparse.csr_array, second: sparse.csr_array, order: Places, partner: Places) -> bool:
    """Tell whether sending ``order[i]`` to ``partner[i]`` carries every edge of one graph to an edge of the other."""
    image = np.empty_like(order)
    image[order] = partner
    ends = first.nonzero()
    moved = sparse.csr_array((first.data, (image[ends[0]], image[ends[1]])), shape=first.shape)
    return bool((moved != second).nnz == 0)


def _fix_one_node(colours: Colours, order: Places, partner: Places) -> Iterable[Colours]:
    """Pair the first node of the smallest shared colour with each node of that colour in the other graph."""
    nodes = len(order)
    _, starts, counts = np.unique(colours[:nodes][order], return_index=True, return_counts=True)
    smallest = int(np.argmin(np.where(counts > 1, counts, nodes + 1)))
    start, size = int(starts[smallest]), int(counts[smallest])
    if size == 1:
        return  # every node was paired, and the pairing did not carry the edges over
    node = order[start]
    for other in partner[start : start + size]:
        fixed = colours.copy()
        fixed[[node, nodes + other]] = FIXED
        yield fixed


class GraphIndex:
    """A set of graphs up to isomorphism.

    A pair that the budget of :func:`are_isomorphic` leaves open counts as equal, so uniqueness and novelty are never
    flattered; ``undecided`` says how often that happened.

    Args:
        graphs: Graphs to start with.
        budget: Passed to :func:`are_isomorphic`.

    Example:
        >>> import networkx as nx
        >>> index = GraphIndex([nx.path_graph(4)])
        >>> nx.path_graph(4) in index, nx.star_graph(3) in index
        (True, False)
    """

    def __init__(self, graphs: Iterable[GraphLike] = (), budget: int = BUDGET) -> None:
        self.budget = budget
        self.undecided = 0
        self._classes: dict[str, list[sparse.csr_array]] = {}
        for graph in graphs:
            self.add(graph)

    def __len__(self) -> int:
        return sum(len(members) for members in self._classes.values())

    def __contains__(self, graph: GraphLike) -> bool:
        adjacency = to_csr(graph)
        return self._find(adjacency, wl_hash(adjacency))

    def add(self, graph: GraphLike) -> bool:
        """Add a graph; tell whether it is new."""
        adjacency = to_csr(graph)
        key = wl_hash(adjacency)
        if self._find(adjacency, key):
            return False
        self._classes.setdefault(key, []).append(adjacency)
        return True

    def _find(self, adjacency: sparse.csr_array, key: str) -> bool:
        for member in self._classes.get(key, []):
            same = are_isomorphic(member, adjacency, self.budget)
            self.undecided += same is None
            if same is not False:
                return True
        return False
