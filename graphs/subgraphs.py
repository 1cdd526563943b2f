"""Many small graphs from one large network, such that no node of a test graph was ever seen in training.

A network is first cut into regions that share no node; subgraphs are then drawn inside one region. Drawing first and
splitting afterwards, which is common, puts almost the same neighbourhood into training and test.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.attributes import clustering_coefficients, sparse_adjacency
from graftable.graphs.edge_lists import edge_array, graph_from_edges

__all__ = ["SPLIT_FRACTIONS", "partition_regions", "sample_subgraphs", "structure_hash"]

Nodes = npt.NDArray[np.int64]

SPLIT_FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}
PIECE_FRACTION = 0.05  # no piece of a region holds more of the network, so that fractions are met within 5 %
RESTART = 0.15
STEPS_PER_NODE = 40
ATTEMPTS = 200
CANDIDATES = 16


def partition_regions(
    graph: Data, fractions: Mapping[str, float] = SPLIT_FRACTIONS, *, seed: int = 0
) -> dict[str, Nodes]:
    """Cut a network into regions that share no node and follow its communities.

    Louvain communities, the large ones cut along a breadth-first order, are the pieces. Each region but the largest
    starts at a random piece and absorbs the piece to which it has the most edges until it has its share of nodes;
    the largest region is what remains. So regions are as compact as the network allows. Of 16 partitions grown so,
    the one is kept whose regions are in one piece and most alike in mean degree and transitivity: a region that is
    one dense core would make a test set of another kind than the training set.

    Args:
        graph: The network.
        fractions: Share of the nodes by region name; positive, with sum 1.
        seed: The regions are a function of the graph and this seed.

    Returns:
        Sorted node ids by region name; every node is in exactly one region.

    Raises:
        DataError: If the fractions are not positive or do not sum to 1, or the network is too small for them.

    References:
        Blondel et al., "Fast unfolding of communities in large networks", 2008.

    Example:
        >>> path = graph_from_edges(40, [[i, i + 1] for i in range(39)])
        >>> {name: len(nodes) for name, nodes in partition_regions(path).items()}
        {'train': 28, 'val': 6, 'test': 6}
    """
    if min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6:
        raise DataError(f"fractions are {dict(fractions)}, expected positive numbers with sum 1; correct them.")
    rng = np.random.default_rng(seed)
    num_nodes, network = int(graph.num_nodes or 0), _networkx(graph)
    pieces = _pieces(network, max(2, int(PIECE_FRACTION * num_nodes)), seed)
    if len(pieces) < len(fractions):
        raise DataError(f"a network of {num_nodes} nodes is too small for {len(fractions)} regions; keep it whole.")
    links = _piece_links(network, pieces)
    adjacency = sparse_adjacency(num_nodes, edge_array(graph))
    candidates = [_grow_regions(pieces, links, fractions, num_nodes, rng) for _ in range(CANDIDATES)]
    return min(candidates, key=lambda regions: _unlikeness(adjacency, regions))


def _networkx(graph: Data) -> nx.Graph:
    network: nx.Graph = nx.empty_graph(int(graph.num_nodes or 0))
    network.add_edges_from(edge_array(graph).tolist())
    return network


def _pieces(network: nx.Graph, limit: int, seed: int) -> list[list[int]]:
    """Louvain communities; one above ``limit`` is cut into runs of its breadth-first order."""
    pieces = []
    for community in nx.community.louvain_communities(network, seed=seed):
        inside, order = network.subgraph(community), []
        unseen = dict.fromkeys(sorted(community))
        while unseen:
            reached = list(nx.bfs_tree(inside, next(iter(unseen))))
            order.extend(reached)
            for node in reached:
                del unseen[node]
        parts = -(-len(order) // limit)
        pieces.extend([part.tolist() for part in np.array_split(np.array(order), parts)])
    return sorted(pieces)


def _piece_links(network: nx.Graph, pieces: list[list[int]]) -> nx.Graph:
    """The pieces as nodes, weighted by the number of edges between two of them."""
    piece_of = {node: index for index, piece in enumerate(pieces) for node in piece}
    weights = Counter((min(p), max(p)) for p in ((piece_of[u], piece_of[v]) for u, v in network.edges()))
    links: nx.Graph = nx.empty_graph(len(pieces))
    links.add_weighted_edges_from((a, b, weight) for (a, b), weight in weights.items() if a != b)
    return links


def _grow_regions(
    pieces: list[list[int]], links: nx.Graph, fractions: Mapping[str, float], num_nodes: int, rng: np.random.Generator
) -> dict[str, Nodes]:
    free = set(range(len(pieces)))
    largest = max(fractions, key=lambda name: fractions[name])
    chosen: dict[str, set[int]] = {}
    for position, name in enumerate(name for name in fractions if name != largest):
        later = len(fractions) - position - 1
        wanted = fractions[name] * num_nodes
        chosen[name] = _grow_region([len(p) for p in pieces], links, free, wanted, later, rng)
        free -= chosen[name]
    chosen[largest] = free
    return {
        name: np.array(sorted(node for index in chosen[name] for node in pieces[index]), dtype=np.int64)
        for name in fractions
    }


def _grow_region(
    sizes: list[int], links: nx.Graph, free: set[int], wanted: float, reserved: int, rng: np.random.Generator
) -> set[int]:
    """Absorb free pieces, best connected first, while that brings the size nearer to ``wanted`` and leaves enough."""
    start = int(rng.choice(sorted(free)))
    chosen, size = {start}, sizes[start]
    pull: Counter[int] = Counter({piece: links[start][piece]["weight"] for piece in links[start]})
    while len(rest := sorted(free - chosen)) > reserved:
        best = max(rest, key=lambda piece: (pull[piece], -sizes[piece]))
        if abs(size + sizes[best] - wanted) >= abs(size - wanted):
            break
        chosen.add(best)
        size += sizes[best]
        pull.update({piece: links[best][piece]["weight"] for piece in links[best]})
    return chosen


def _unlikeness(adjacency: sparse.csr_array, regions: Mapping[str, Nodes]) -> float:
    """Spread over the regions of mean degree (relative) and transitivity, and how far they are from one piece each."""
    degrees, closed, scattered = [], [], []
    for nodes in regions.values():
        part = adjacency[nodes][:, nodes]
        own = np.diff(part.indptr).astype(np.float64)
        _, labels = csgraph.connected_components(part, directed=False)
        degrees.append(own.mean())
        closed.append(clustering_coefficients(part, own)[1])
        scattered.append(1 - np.bincount(labels).max() / len(nodes))
    return float(np.ptp(degrees) / max(*degrees, 1e-9) + np.ptp(closed) + max(scattered))


def sample_subgraphs(
    graph: Data,
    *,
    seed: int,
    nodes: npt.ArrayLike | None = None,
    min_nodes: int = 8,
    max_nodes: int = 400,
    max_edges: int = 512,
    seen: set[str] | None = None,
) -> Iterator[Data]:
    r"""Draw connected induced subgraphs of different structure from one region of a network, until none is new.

    Each draw picks a seed node uniformly, then visits nodes by a random walk with restart (probability 0.15) or by a
    breadth-first search that follows a random 2 to 16 neighbours of each node, with equal chance. Every prefix of the
    visit is connected. The longest prefix within ``max_nodes`` and ``max_edges`` has k nodes, and the subgraph is the
    prefix of :math:`n = \exp U(\log n_{min}, \log k)` nodes. So dense networks give small graphs, and none fails.

    Args:
        graph: The network.
        seed: The sequence of subgraphs is a function of the arguments and this seed.
        nodes: The region; nothing outside it is touched. All nodes by default.
        min_nodes: Fewest nodes of a subgraph, at least 2.
        max_nodes: Most nodes.
        max_edges: Most edges: the budget of a model that reads edge by edge.
        seen: Structure hashes that must not appear again; each new one is added. Pass one set to several calls to
            keep their graphs apart.

    Yields:
        Graphs with the field ``nodes``, the ids of their nodes in the network. Ends after 200 draws in a row
        that gave nothing new.

    References:
        Leskovec and Faloutsos, "Sampling from large graphs", 2006.

    Example:
        >>> ring = graph_from_edges(30, [[i, (i + 1) % 30] for i in range(30)])
        >>> bool(next(sample_subgraphs(ring, seed=0, nodes=range(10))).nodes.max() < 10)
        True
    """
    rng = np.random.default_rng(seed)
    region = np.arange(graph.num_nodes) if nodes is None else np.unique(np.asarray(nodes, dtype=np.int64))
    neighbours = _neighbours(graph, region)
    reach = _component_sizes(graph, region)
    seen = set() if seen is None else seen
    failures = 0
    while failures < ATTEMPTS and len(region) >= min_nodes:
        start = int(rng.choice(region))
        if rng.random() < 0.5:
            order = _random_walk(neighbours, start, min(max_nodes, reach[start]), STEPS_PER_NODE * max_nodes, rng)
        else:
            order = _capped_search(neighbours, start, max_nodes, rng)
        order = _prefix_within(order, neighbours, max_edges)
        failures += 1
        if len(order) < min_nodes:
            continue
        size = int(np.exp(rng.uniform(np.log(min_nodes), np.log(len(order) + 1))))
        subgraph = _induced(order[: min(size, len(order))], neighbours)
        mark = structure_hash(subgraph)
        if mark not in seen:
            seen.add(mark)
            failures = 0
            yield subgraph


def _neighbours(graph: Data, region: Nodes) -> dict[int, Nodes]:
    """Neighbours inside the region, by node: what lies outside cannot be reached."""
    edges = edge_array(graph)
    edges = edges[np.isin(edges, region).all(axis=1)]
    both = np.concatenate([edges, edges[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    starts = np.searchsorted(both[:, 0], region)
    stops = np.searchsorted(both[:, 0], region, side="right")
    return {int(node): both[a:b, 1] for node, a, b in zip(region, starts, stops, strict=True)}


def _component_sizes(graph: Data, region: Nodes) -> dict[int, int]:
    """By node of the region, how many nodes a walk inside the region can reach."""
    part = sparse_adjacency(int(graph.num_nodes or 0), edge_array(graph))[region][:, region]
    _, labels = csgraph.connected_components(part, directed=False)
    return dict(zip(region.tolist(), np.bincount(labels)[labels].tolist(), strict=True))


def _random_walk(
    neighbours: Mapping[int, Nodes], start: int, size: int, steps: int, rng: np.random.Generator
) -> list[int]:
    """Nodes in the order in which a random walk with restart first visits them."""
    if not len(neighbours[start]):
        return [start]
    visited, here = {start: None}, start
    for jump, turn in zip(rng.random(steps) < RESTART, rng.random(steps), strict=True):
        around = neighbours[start if jump else here]
        here = int(around[int(turn * len(around))])
        visited.setdefault(here)
        if len(visited) == size:
            break
    return list(visited)


def _capped_search(neighbours: Mapping[int, Nodes], start: int, size: int, rng: np.random.Generator) -> list[int]:
    """Nodes in breadth-first order, where each node shows only some random neighbours."""
    cap = int(rng.integers(2, 17))
    visited, queue = {start: None}, deque([start])
    while queue and len(visited) < size:
        around = neighbours[queue.popleft()]
        for node in rng.permutation(around)[:cap].tolist():
            if node not in visited and len(visited) < size:
                visited[node] = None
                queue.append(node)
    return list(visited)


def _prefix_within(order: list[int], neighbours: Mapping[int, Nodes], max_edges: int) -> list[int]:
    """The longest prefix that induces at most ``max_edges`` edges."""
    inside: set[int] = set()
    edges = 0
    for position, node in enumerate(order):
        edges += sum(other in inside for other in neighbours[node].tolist())
        if edges > max_edges:
            return order[:position]
        inside.add(node)
    return order


def _induced(order: list[int], neighbours: Mapping[int, Nodes]) -> Data:
    index = {node: position for position, node in enumerate(order)}
    edges = [(index[u], index[v]) for u in order for v in neighbours[u].tolist() if u < v and v in index]
    return graph_from_edges(len(order), edges, nodes=np.array(order, dtype=np.int64))


def structure_hash(graph: Data, rounds: int = 4) -> str:
    r"""Hash a graph such that isomorphic graphs always agree and others almost always differ.

    Weisfeiler-Leman colours :math:`c_i \leftarrow h(3 h(c_i) + \sum_{j \sim i} h(c_j))` modulo :math:`2^{64}`, starting
    from degrees; the hash is the sum of the last colours with the numbers of nodes and edges. It cannot tell apart
    what Weisfeiler-Leman cannot, such as two regular graphs of one degree.

    Args:
        graph: Any graph.
        rounds: Radius in edges that a colour sees.

    References:
        Shervashidze et al., "Weisfeiler-Lehman graph kernels", 2011.

    Example:
        >>> one, same = graph_from_edges(3, [[0, 1], [1, 2]]), graph_from_edges(3, [[2, 0], [0, 1]])
        >>> structure_hash(one) == structure_hash(same)
        True
    """
    num_nodes, edges = int(graph.num_nodes or 0), edge_array(graph)
    colours = np.bincount(edges.ravel(), minlength=num_nodes).astype(np.uint64)
    for _ in range(rounds):
        mixed = _mix(colours)
        around = np.zeros(num_nodes, dtype=np.uint64)
        np.add.at(around, edges[:, 0], mixed[edges[:, 1]])
        np.add.at(around, edges[:, 1], mixed[edges[:, 0]])
        colours = _mix(np.uint64(3) * mixed + around)
    return f"{num_nodes}-{len(edges)}-{int(_mix(colours).sum(dtype=np.uint64)):016x}"


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: a bijection whose output bits look independent of one another."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
