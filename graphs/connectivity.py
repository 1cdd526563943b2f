"""Making a generated graph connected, for users who need it; the engine itself may draw several components."""

from random import Random

import torch
from scipy.sparse.csgraph import connected_components
from torch_geometric.data import Data
from torch_geometric.utils import to_scipy_sparse_matrix

from .edge_lists import edge_array, graph_from_edges

__all__ = ["components", "join_components", "largest_component"]


def components(graph: Data) -> list[list[int]]:
    """The nodes of each connected component, the largest first.

    Example:
        >>> components(graph_from_edges(4, [[1, 3]]))
        [[1, 3], [0], [2]]
    """
    matrix = to_scipy_sparse_matrix(graph.edge_index, num_nodes=graph.num_nodes)
    count, labels = connected_components(matrix, directed=False)
    groups: list[list[int]] = [[] for _ in range(count)]
    for node, label in enumerate(labels.tolist()):
        groups[label].append(node)
    return sorted(groups, key=len, reverse=True)


def largest_component(graph: Data) -> Data:
    """The induced subgraph on the largest component; other fields of the graph are kept.

    Example:
        >>> int(largest_component(graph_from_edges(4, [[1, 3]])).num_nodes)
        2
    """
    keep = components(graph)[0]
    place = {node: index for index, node in enumerate(keep)}
    edges = [(place[u], place[v]) for u, v in edge_array(graph).tolist() if u in place]
    return _replaced(graph, len(keep), edges)


def join_components(graph: Data, rng: Random) -> Data:
    """Add one edge for each component beyond the largest, to a node of it drawn in proportion to degree.

    The number of nodes is kept and the number of added edges is the least that connects the graph.

    Args:
        graph: Any graph.
        rng: Source of the draws.

    Example:
        >>> joined = join_components(graph_from_edges(4, [[1, 3]]), Random(0))
        >>> len(components(joined)), joined.num_edges // 2
        (1, 3)
    """
    first, *others = components(graph)
    degree = torch.bincount(graph.edge_index[0], minlength=int(graph.num_nodes or 0)).tolist()
    weights = [degree[node] + 1 for node in first]
    added = [(rng.choice(other), rng.choices(first, weights)[0]) for other in others]
    return _replaced(graph, int(graph.num_nodes or 0), edge_array(graph).tolist() + added)


def _replaced(graph: Data, num_nodes: int, edges: list[tuple[int, int]]) -> Data:
    new = graph_from_edges(num_nodes, edges)
    for key, value in graph.to_dict().items():
        if key not in ("edge_index", "num_nodes", "name"):
            new[key] = value
    return new
