"""The numbers by which a user describes a graph: degree, clustering, communities, reach."""

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph
from torch_geometric.data import Data

from graftable.graphs.edge_lists import edge_array, unique_edges

__all__ = ["ATTRIBUTES", "graph_attributes"]

#: The attributes that a condition may ask for; ``graph_attributes`` returns these and ``density``.
ATTRIBUTES = (
    "mean_degree",
    "clustering",
    "transitivity",
    "degree_gini",
    "assortativity",
    "modularity",
    "components",
    "diameter",
)


def graph_attributes(graph: Data | nx.Graph) -> dict[str, float]:
    r"""Measure a graph; every value is finite, and 0 where it is undefined (no edges, equal degrees, one node).

    With degrees :math:`d_i` in ascending order, :math:`t_i` triangles at node i, n nodes and m edges:

    - mean_degree :math:`2m/n` and density :math:`2m/n(n-1)`;
    - clustering: mean of :math:`2t_i / d_i(d_i-1)`; transitivity: :math:`\sum 2t_i / \sum d_i(d_i-1)`;
    - degree_gini: :math:`\sum_i (2i-n-1) d_i / n \sum_i d_i`, 0 when all degrees are equal;
    - assortativity: the correlation of the degrees at the two ends of an edge;
    - modularity: of the communities that Louvain's method finds (seed 0);
    - components: their number; diameter: that of the largest one, in edges.

    Args:
        graph: Any graph; directions, weights and self-loops are ignored.

    Returns:
        The names in ``ATTRIBUTES``, and ``density``, to values.

    References:
        Newman, "Networks", 2018, chapters 7 and 10. Blondel et al., "Fast unfolding of communities", 2008.

    Example:
        >>> graph_attributes(nx.complete_graph(4))["clustering"]
        1.0
    """
    num_nodes, edges = _nodes_and_edges(graph)
    if num_nodes == 0:
        return dict.fromkeys((*ATTRIBUTES, "density"), 0.0)
    adjacency = sparse_adjacency(num_nodes, edges)
    degrees = np.diff(adjacency.indptr).astype(np.float64)
    components, labels = csgraph.connected_components(adjacency, directed=False)
    clustering, transitivity = clustering_coefficients(adjacency, degrees)
    return {
        "mean_degree": 2 * len(edges) / num_nodes,
        "clustering": clustering,
        "transitivity": transitivity,
        "degree_gini": _gini(degrees),
        "assortativity": _assortativity(degrees, edges),
        "modularity": _modularity(num_nodes, edges),
        "components": float(components),
        "diameter": _largest_diameter(adjacency, labels),
        "density": 2 * len(edges) / (num_nodes * (num_nodes - 1)) if num_nodes > 1 else 0.0,
    }


def _nodes_and_edges(graph: Data | nx.Graph) -> tuple[int, npt.NDArray[np.int64]]:
    if isinstance(graph, Data):
        return int(graph.num_nodes or 0), edge_array(graph)
    index = {node: position for position, node in enumerate(graph)}
    return len(index), unique_edges(len(index), [(index[u], index[v]) for u, v in graph.edges()])


def sparse_adjacency(num_nodes: int, edges: npt.NDArray[np.int64]) -> sparse.csr_array:
    """The symmetric 0/1 matrix of a list of undirected edges."""
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    return sparse.csr_array((np.ones(len(rows), dtype=np.float64), (rows, columns)), shape=(num_nodes, num_nodes))


def clustering_coefficients(adjacency: sparse.csr_array, degrees: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean local clustering and transitivity; twice the triangles at i is row i of (A A) * A."""
    closed = np.asarray((adjacency @ adjacency).multiply(adjacency).sum(axis=1)).ravel()
    wedges = degrees * (degrees - 1)
    local = np.divide(closed, wedges, out=np.zeros_like(closed), where=wedges > 0)
    return float(local.mean()), float(closed.sum() / wedges.sum()) if wedges.sum() else 0.0


def _gini(degrees: npt.NDArray[np.float64]) -> float:
    if not degrees.sum():
        return 0.0
    weights = 2 * np.arange(1, len(degrees) + 1) - len(degrees) - 1
    return float(weights @ np.sort(degrees) / (len(degrees) * degrees.sum()))


def _assortativity(degrees: npt.NDArray[np.float64], edges: npt.NDArray[np.int64]) -> float:
    if not len(edges):
        return 0.0
    both = degrees[edges]
    mean = both.mean()
    variance = ((both - mean) ** 2).mean()
    # regular graphs have no variance up to rounding, and a correlation of noise is not a zero
    if variance <= 1e-12 * mean**2:
        return 0.0
    return float(np.clip(((both[:, 0] - mean) * (both[:, 1] - mean)).mean() / variance, -1.0, 1.0))


def _modularity(num_nodes: int, edges: npt.NDArray[np.int64]) -> float:
    if not len(edges):
        return 0.0
    graph: nx.Graph = nx.empty_graph(num_nodes)
    graph.add_edges_from(edges.tolist())
    return float(nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=0)))


def _largest_diameter(adjacency: sparse.csr_array, labels: npt.NDArray[np.int32]) -> float:
    """The diameter of the largest component; of equally large ones, the widest, so that node order has no say."""
    sizes = np.bincount(labels)
    return max(_diameter(adjacency, np.flatnonzero(labels == c)) for c in np.flatnonzero(sizes == sizes.max()))


def _diameter(adjacency: sparse.csr_array, nodes: npt.NDArray[np.int64]) -> float:
    """Exact diameter from few searches: each one bounds all other eccentricities from both sides.

    References:
        Takes and Kosters, "Determining the diameter of small world networks", 2011.
    """
    if len(nodes) == 1:
        return 0.0
    part = adjacency[nodes][:, nodes]
    lower, upper = np.zeros(len(nodes)), np.full(len(nodes), np.inf)
    open_nodes, take_high = np.arange(len(nodes)), True
    while len(open_nodes):
        pick = open_nodes[np.argmax(upper[open_nodes]) if take_high else np.argmin(lower[open_nodes])]
        distances = csgraph.dijkstra(part, directed=True, indices=pick, unweighted=True)
        lower = np.maximum(lower, np.maximum(distances, distances.max() - distances))
        upper = np.minimum(upper, distances.max() + distances)
        upper[pick] = lower[pick] = distances.max()
        open_nodes = open_nodes[upper[open_nodes] > lower.max()]
        take_high = not take_high
    return float(lower.max())
