r"""A graph as a trail: the sequence that the LGGM trail engine learns to write.

A depth-first walk visits the nodes and is written with five kinds of token:

====== ==================================================================================
ROOT   a new node without links to earlier ones: the first of its component
CHILD  a new node, linked to the node before it
BRANCH a new node, linked to an ancestor of the node before it; its first LINK names that ancestor
LINK p a further edge from the current node back to the earlier node p
END    the graph is complete
====== ==================================================================================

In a depth-first walk of an undirected graph every edge joins a node with one of its ancestors, so LINK only ever
points into the current chain of ancestors, and links are written deepest first. That gives a grammar under which
*every* graph has a trail, *every* legal trail is a simple graph, isolated nodes and further components survive, and
the sequence has n - #CHILD + m + 1 tokens: about one an edge, where bracketed neighbour lists take 1.4 to 2.4.

References:
    Chen et al., "AutoGraph: Flatten Graphs as Sequences", 2025 (segmented trails with neighbour brackets; ours differ
    in the depth-first order, which restricts back-references to ancestors).
"""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graftable.errors import DataError

__all__ = [
    "BRANCH",
    "CHILD",
    "END",
    "FEATURES",
    "LINK",
    "ROOT",
    "PointerRows",
    "TrailState",
    "TrailToken",
    "draw_trail",
    "trail_edges",
]

ROOT, CHILD, BRANCH, LINK, END = range(5)

CLUSTERING_STEPS = 20
"""The running mean clustering coefficient is given to the model in steps of 1 / 20."""


class TrailToken(NamedTuple):
    """One token of a trail; ``target`` is the earlier node of a LINK and -1 otherwise."""

    kind: int
    target: int = -1


class TrailFeatures(NamedTuple):
    """What a reader of the trail can know after a token, as small integers that the model embeds.

    Everything is a function of the tokens so far and of the requested size, so that training (all positions at
    once) and sampling (one at a time) see the same numbers.
    """

    kind: int
    nodes_left: int
    edges_left: int  # -1: the number of edges is not requested
    degree: int  # of the current node, so far
    depth: int  # number of ancestors of the current node
    link_span: int  # current node minus target, 0 without a link
    link_rank: int  # how many candidates lie above the target in the chain, 0 without a link
    link_common: int  # neighbours that the link's two ends shared before it was added
    target_degree: int
    clustering: int  # running mean local clustering, in steps of 1 / CLUSTERING_STEPS
    components: int
    node: int  # index of the current node in order of visit
    target: int  # index of the node that the token's edge goes to, -1 if it has none
    anchor: int  # the candidates for the next LINK are the strict ancestors of this node; -1: none
    anchor_depth: int


FEATURES = TrailFeatures._fields


def draw_trail(neighbours: Sequence[Sequence[int]], rng: Random) -> list[TrailToken]:
    """Write a graph as a uniformly started, randomly branching depth-first trail.

    Args:
        neighbours: For each node the nodes it is linked to; symmetric, without self loops or repeats.
        rng: Source of the order. The same state gives the same trail.

    Returns:
        Tokens that begin with ROOT and end with END; targets count nodes in order of visit.

    Example:
        >>> triangle = [[1, 2], [0, 2], [0, 1]]
        >>> [tuple(token) for token in draw_trail(triangle, Random(0))]
        [(0, -1), (1, -1), (1, -1), (3, 0), (4, -1)]
    """
    count = len(neighbours)
    visit = [-1] * count  # order of visit of each node
    tokens: list[TrailToken] = []
    visited = 0
    starts = list(range(count))
    rng.shuffle(starts)
    for start in starts:
        if visit[start] >= 0:
            continue
        visit[start] = visited
        visited += 1
        tokens.append(TrailToken(ROOT))
        chain = [(start, _shuffled(neighbours[start], rng))]
        while chain:
            parent, untried = chain[-1]
            while untried and visit[untried[-1]] >= 0:
                untried.pop()
            if not untried:
                chain.pop()
                continue
            node = untried.pop()
            links = sorted((visit[other] for other in neighbours[node] if visit[other] >= 0), reverse=True)
            if visit[parent] == visited - 1:
                tokens.append(TrailToken(CHILD))
                links = links[1:]  # the deepest link is the parent, which CHILD already says
            else:
                tokens.append(TrailToken(BRANCH))
            tokens.extend(TrailToken(LINK, link) for link in links)
            visit[node] = visited
            visited += 1
            chain.append((node, _shuffled(neighbours[node], rng)))
    tokens.append(TrailToken(END))
    return tokens


def _shuffled(items: Sequence[int], rng: Random) -> list[int]:
    shuffled = list(items)
    rng.shuffle(shuffled)
    return shuffled


def trail_edges(tokens: Sequence[TrailToken]) -> tuple[int, list[tuple[int, int]]]:
    """Read a trail back: the number of nodes and the edges (later node, earlier node).

    Raises:
        DataError: If a token is not legal where it stands.

    Example:
        >>> trail_edges([TrailToken(ROOT), TrailToken(CHILD), TrailToken(CHILD), TrailToken(LINK, 0), TrailToken(END)])
        (3, [(1, 0), (2, 1), (2, 0)])
    """
    count = sum(token.kind in (ROOT, CHILD, BRANCH) for token in tokens)
    state = TrailState(count)
    for position, token in enumerate(tokens):
        if not state.allows(token):
            raise DataError(
                f"trail token {position} ({token.kind}, {token.target}) is not legal there: expected one of kinds "
                f"{[kind for kind in range(5) if state.allowed_kinds()[kind]]}; the sequence is not a trail."
            )
        state.apply(token)
    if not state.complete:
        raise DataError("the trail ends without END: expected a whole trail; it was cut.")
    return count, state.edges


class TrailState:
    """The graph that a trail has written so far, what may come next, and the features of the last token.

    Args:
        num_nodes: Exactly how many nodes the graph will have.
        num_edges: How many edges are asked for, a wish that only enters the features; ``None`` if any number will do.
        rows: Where to keep the arrays that the pointer reads (``common``, ``degree``, ``depth``: int; ``chain``:
            bool; each of length at least ``num_nodes``). A batched sampler passes rows of its own matrices.
            Without them the arrays are not kept, which makes reading a trail several times faster.
    """

    def __init__(self, num_nodes: int, num_edges: int | None = None, rows: "PointerRows | None" = None) -> None:
        self.num_nodes = num_nodes
        self.num_edges = num_edges
        self.rows = rows
        self.node = -1
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.edges: list[tuple[int, int]] = []
        self.neighbours: list[set[int]] = []
        self.complete = False
        self.components = 0
        self._kind = END  # kind of the last token; END also stands for "nothing yet"
        self._anchor = -1
        self._triangles: list[int] = []
        self._clustering_sum = 0.0
        if rows is not None:
            rows.clear()

    @property
    def anchor(self) -> int:
        """The strict ancestors of this node may be linked next; -1 if none may."""
        return self._anchor

    @property
    def last_kind(self) -> int:
        """Kind of the last token; END before the first one."""
        return self._kind

    def allowed_kinds(self) -> tuple[bool, bool, bool, bool, bool]:
        """Whether a (ROOT, CHILD, BRANCH, LINK, END) token may come next."""
        if self.complete:
            return (False, False, False, False, False)
        if self.node < 0:
            return (True, False, False, False, False)
        link = self._anchor >= 0 and self.depths[self._anchor] > 0
        if self._kind == BRANCH:  # it has no parent yet
            return (False, False, False, True, False)
        more = self.node + 1 < self.num_nodes
        return (more, more, more and self.depths[self.node] > 0, link, not more)

    def allows(self, token: TrailToken) -> bool:
        """Whether this token may come next."""
        if not self.allowed_kinds()[token.kind]:
            return False
        if token.kind != LINK:
            return token.target == -1
        ancestor = self.parents[self._anchor]
        while ancestor > token.target:
            ancestor = self.parents[ancestor]
        return ancestor == token.target >= 0

    def apply(self, token: TrailToken) -> TrailFeatures:
        """Add a legal token and return what is known after it."""
        kind, target = token
        span = rank = common = target_degree = 0
        if kind == END:
            self.complete = True
        elif kind == LINK:
            span, target_degree = self.node - target, len(self.neighbours[target])
            rank = self.depths[self._anchor] - self.depths[target]
            if self._kind == BRANCH:
                self._set_parent(target)
            common = self._add_edge(target)
            self._anchor = target
        else:
            target = self._add_node(kind)
        self._kind = kind
        node, anchor = self.node, self._anchor
        return TrailFeatures(
            kind=kind,
            nodes_left=self.num_nodes - node - 1,
            edges_left=-1 if self.num_edges is None else max(self.num_edges - len(self.edges), 0),
            degree=len(self.neighbours[node]),
            depth=self.depths[node],
            link_span=span,
            link_rank=rank,
            link_common=common,
            target_degree=target_degree,
            clustering=round(CLUSTERING_STEPS * self._clustering_sum / (node + 1)),
            components=self.components,
            node=node,
            target=target,
            anchor=anchor,
            anchor_depth=self.depths[anchor] if anchor >= 0 else 0,
        )

    def _add_node(self, kind: int) -> int:
        """Open the block of a new node; returns the target of the edge that its token implies, or -1."""
        previous = self.node
        self.node += 1
        self.neighbours.append(set())
        self._triangles.append(0)
        self.parents.append(-1)
        self.depths.append(0)
        if self.rows is not None:
            self.rows.common.fill(0)
        if kind == ROOT:
            self.components += 1
            self._anchor = -1
            if self.rows is not None:
                self.rows.chain.fill(False)
            return -1
        self._anchor = previous
        if kind == BRANCH:
            self.depths[self.node] = self.depths[previous]  # a placeholder until its first LINK
            return -1
        if self.rows is not None:
            self.rows.chain[previous] = True
        self._set_parent(previous)
        self._add_edge(previous)
        return previous

    def _set_parent(self, parent: int) -> None:
        self.parents[self.node] = parent
        self.depths[self.node] = self.depths[parent] + 1
        if self.rows is not None:
            self.rows.depth[self.node] = self.depths[self.node]
            self.rows.chain[parent + 1 :] = False

    def _add_edge(self, target: int) -> int:
        """Link the current node to ``target``, keep the mean clustering; returns how many neighbours they shared."""
        node, neighbours, triangles = self.node, self.neighbours, self._triangles
        shared = neighbours[node] & neighbours[target]
        for other in shared:
            triangles[other] += 1
            degree = len(neighbours[other])
            self._clustering_sum += 2 / (degree * (degree - 1))
        for end, other in ((node, target), (target, node)):
            degree = len(neighbours[end])
            before = 2 * triangles[end] / (degree * (degree - 1)) if degree > 1 else 0.0
            triangles[end] += len(shared)
            after = 2 * triangles[end] / ((degree + 1) * degree) if degree > 0 else 0.0
            self._clustering_sum += after - before
            neighbours[end].add(other)
        self.edges.append((node, target))
        if self.rows is not None:
            self.rows.degree[node] += 1
            self.rows.degree[target] += 1
            self.rows.common[list(neighbours[target])] += 1
        return len(shared)


class PointerRows(NamedTuple):
    """Views into a sampler's matrices: what the pointer head reads about each earlier node."""

    common: NDArray[np.int64]  # neighbours that the current node shares with it
    degree: NDArray[np.int64]
    depth: NDArray[np.int64]
    chain: NDArray[np.bool_]  # whether it is an ancestor of the current node

    def clear(self) -> None:
        """Make the rows those of an empty graph."""
        for row in (self.common, self.degree, self.depth):
            row.fill(0)
        self.chain.fill(False)
