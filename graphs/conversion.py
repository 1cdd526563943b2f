"""Between PyG graphs, networkx graphs and GraphML text, without losing isolated nodes or string node ids.

The platform's graph is simple and undirected. What is not (directions, weights, parallel edges, self-loops) is refused
with a sentence that says so, or dropped on request: a model must never train on a graph that was silently changed.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError

import networkx as nx
import numpy as np
import numpy.typing as npt
import torch
from defusedxml import DefusedXmlException, ElementTree
from networkx.readwrite.graphml import GraphMLReader
from torch_geometric.data import Data

from graftable.errors import DataError

from .edge_lists import edge_array, graph_from_edges, unique_edges

__all__ = [
    "SIMPLIFY",
    "finite_attributes",
    "from_graphml",
    "from_networkx",
    "from_pyg",
    "label_nodes",
    "simple_graph",
    "symmetric_graph",
    "to_graphml",
    "to_networkx",
]

#: Text that describes a whole graph and survives every conversion.
TEXT_FIELDS: Final = ("graph_id", "domain", "source", "split", "text")
SIMPLIFY: Final = "use --undirected (undirected=True in Python) to drop directions, weights, repeats and self-loops"
ATTRIBUTE: Final = "attribute."  # GraphML has no nested values, so the attribute clustering is "attribute.clustering"
NAMESPACE: Final = "{http://graphml.graphdrawing.org/xmlns}"


def simple_graph(num_nodes: int, pairs: npt.ArrayLike, *, undirected: bool = False, **fields: Any) -> Data:
    """Build a graph from node pairs, and refuse those that a simple graph cannot hold.

    Args:
        num_nodes: Number of nodes, at least 1.
        pairs: One row per edge, in either order.
        undirected: Drop self-loops and repeats instead of refusing them.
        **fields: Further fields of the graph; those that are ``None`` are left out.

    Shapes:
        pairs: (edges, 2).

    Raises:
        DataError: If there is no node, an id lies outside the graph, an edge repeats, or a node is joined to itself.

    Example:
        >>> simple_graph(3, [[0, 1], [1, 0]], undirected=True).num_edges
        2
    """
    if num_nodes < 1:
        raise DataError("the graph has no nodes, expected at least one; leave it out.")
    rows = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    edges = unique_edges(num_nodes, rows)
    if not undirected and len(edges) != len(rows):
        names = fields.get("name") or range(num_nodes)
        seen: set[tuple[int, int]] = set()
        for u, v in np.sort(rows, axis=1).tolist():
            if u == v:
                raise DataError(f"node {names[u]} is joined to itself, expected no self-loops; {SIMPLIFY}.")
            if (u, v) in seen:
                raise DataError(
                    f"the edge between {names[u]} and {names[v]} is listed more than once, expected each edge once, "
                    f"in one direction; {SIMPLIFY}."
                )
            seen.add((u, v))
    return graph_from_edges(num_nodes, edges, **fields)


def from_pyg(graph: Data, *, undirected: bool = False) -> Data:
    """Bring any PyG graph to the platform's form: both directions of every edge, sorted, without features.

    Args:
        graph: A graph whose ``edge_index`` holds both directions of every edge once.
        undirected: Accept edges in one direction, repeats, self-loops and ``edge_weight``, and drop what makes them so.

    Raises:
        DataError: If the graph is not simple and undirected.

    Example:
        >>> from_pyg(Data(edge_index=torch.tensor([[1, 0], [0, 1]]), num_nodes=2, domain="road")).domain
        'road'
    """
    weight = graph.get("edge_weight")
    if not undirected and weight is not None and bool((weight != 1).any()):
        raise DataError(f"the graph has edge weights other than 1, expected none; {SIMPLIFY}.")
    fields = {key: graph.get(key) for key in (*TEXT_FIELDS, "name")}
    attributes = finite_attributes(graph.get("attributes") or {}) or None
    return symmetric_graph(
        int(graph.num_nodes or 0), graph.edge_index.t(), undirected=undirected, attributes=attributes, **fields
    )


def symmetric_graph(num_nodes: int, edges: torch.Tensor, *, undirected: bool = False, **fields: Any) -> Data:
    """Build a graph from directed edges that should hold both directions of every edge once; see ``simple_graph``.

    Shapes:
        edges: (directed edges, 2).

    Raises:
        DataError: If an edge is there in one direction only, or as in ``simple_graph``.
    """
    pairs = edges.cpu().numpy().astype(np.int64).reshape(-1, 2)
    if not undirected:
        forward, backward = pairs[pairs[:, 0] <= pairs[:, 1]], pairs[pairs[:, 0] > pairs[:, 1]][:, ::-1]
        loops = forward[:, 0] == forward[:, 1]
        if not np.array_equal(_sorted_rows(forward[~loops]), _sorted_rows(backward)):
            raise DataError(f"the graph has edges in one direction only, expected both directions of each; {SIMPLIFY}.")
        pairs = forward  # with repeats and self-loops, for simple_graph to name
    return simple_graph(num_nodes, pairs, undirected=undirected, **fields)


def _sorted_rows(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def label_nodes(labels: Iterable[Any]) -> tuple[list[Any], list[str] | None]:
    """Put node labels in the order of node ids, and say what to keep of them as ``name``.

    Labels that are the numbers 0 to n - 1, as numbers or text, are node ids already: they give the order, and no name
    is kept. Whole numbers with gaps are sorted; anything else keeps its order.

    Returns:
        The labels in order, and their text, or ``None`` where text adds nothing.

    Raises:
        DataError: If two labels have the same text.

    Example:
        >>> label_nodes(["2", "0", "1"])
        (['0', '1', '2'], None)
        >>> label_nodes(["b", "a"])
        (['b', 'a'], ['b', 'a'])
    """
    order = list(labels)
    by_text = {str(label): label for label in order}
    if len(by_text) != len(order):
        raise DataError("two nodes have the same id once written as text, expected distinct ids; rename one of them.")
    if all(text.isdecimal() and text.isascii() and str(int(text)) == text for text in by_text):
        order = [by_text[text] for text in sorted(by_text, key=int)]
    names = [str(label) for label in order]
    return order, None if names == [str(i) for i in range(len(names))] else names


def from_networkx(graph: "nx.Graph[Any]", *, undirected: bool = False) -> Data:
    """Turn a networkx graph into a PyG graph.

    Node labels become ``name`` (see ``label_nodes``). Of the graph's own data, ``graph_id``, ``domain``, ``source``,
    ``split``, ``text`` and ``attributes`` (names to numbers) are kept; data of nodes and edges is not.

    Args:
        graph: A simple undirected graph with at least one node; isolated nodes are kept.
        undirected: Accept a directed, weighted or multi-graph, or self-loops, and drop what makes it so.

    Raises:
        DataError: If the graph is not simple and undirected (an edge ``weight`` other than 1 counts as weighted), or
            a number in its data is NaN or infinite.

    Example:
        >>> from_networkx(nx.path_graph(["a", "b"])).name
        ['a', 'b']
    """
    if not undirected:
        if graph.is_directed():
            raise DataError(f"the graph is directed, expected an undirected graph; {SIMPLIFY}.")
        for u, v, weight in graph.edges(data="weight"):
            if weight is not None and weight != 1:
                raise DataError(f"the edge between {u} and {v} has weight {weight}, expected no weights; {SIMPLIFY}.")
    _check_numbers(graph)
    order, names = label_nodes(graph)
    index = {label: position for position, label in enumerate(order)}
    return simple_graph(
        len(order),
        [(index[u], index[v]) for u, v in graph.edges()],
        undirected=undirected,
        name=names,
        attributes=_attributes(graph.graph),
        **{key: str(graph.graph[key]) for key in TEXT_FIELDS if graph.graph.get(key) is not None},
    )


def _check_numbers(graph: "nx.Graph[Any]") -> None:
    holders = [("the graph", graph.graph)]
    holders += [(f"node {node}", data) for node, data in graph.nodes(data=True)]
    holders += [(f"the edge between {u} and {v}", data) for u, v, data in graph.edges(data=True)]
    for place, data in holders:
        for key, value in data.items():
            if isinstance(value, int | float | np.number) and not np.isfinite(value):
                raise DataError(f"{place} has {key} = {value}, expected a finite number; correct or remove it.")


def _attributes(data: Mapping[str, Any]) -> dict[str, float] | None:
    flat = {key.removeprefix(ATTRIBUTE): value for key, value in data.items() if str(key).startswith(ATTRIBUTE)}
    return finite_attributes({**(data.get("attributes") or {}), **flat}) or None


def finite_attributes(attributes: Mapping[str, Any]) -> dict[str, float]:
    """Return attributes as floats.

    Raises:
        DataError: If one of them is no number, or NaN, or infinite.
    """
    for key, value in attributes.items():
        if not isinstance(value, int | float | np.number) or not math.isfinite(value):
            raise DataError(f"attribute {key} is {value!r}, expected a finite number; correct or remove it.")
    return {key: float(value) for key, value in attributes.items()}


def to_networkx(graph: Data, *, names: bool = True) -> "nx.Graph[Any]":
    """Turn a PyG graph into a networkx graph that carries the same description in ``graph.graph``.

    Args:
        graph: A simple undirected graph.
        names: Label nodes by ``graph.name`` where the graph has it; otherwise by 0 to n - 1.

    Raises:
        DataError: If there is not one distinct name per node.

    Example:
        >>> list(to_networkx(graph_from_edges(3, [[0, 2]])).edges())
        [(0, 2)]
    """
    num_nodes = int(graph.num_nodes or 0)
    labels: list[Any] = list(range(num_nodes))
    if names and graph.get("name"):
        labels = list(graph.name)
        if len(labels) != num_nodes or len(set(labels)) != num_nodes:
            raise DataError(
                f"{len(set(labels))} distinct names for {num_nodes} nodes, expected one name each; pass names=False."
            )
    fields = {key: graph[key] for key in (*TEXT_FIELDS, "attributes") if graph.get(key) is not None}
    result: nx.Graph[Any] = nx.Graph(**fields)
    result.add_nodes_from(labels)
    result.add_edges_from((labels[u], labels[v]) for u, v in edge_array(graph).tolist())
    return result


def to_graphml(graph: Data) -> str:
    """Write a graph as GraphML text; ``from_graphml`` gives the same graph back, isolated nodes and names included.

    Raises:
        DataError: If a name or a description holds a control character, which XML cannot carry.

    Example:
        >>> from_graphml(to_graphml(graph_from_edges(3, [[0, 2]], domain="road")))[0].domain
        'road'
    """
    network = to_networkx(graph)
    network.graph.update({ATTRIBUTE + key: float(v) for key, v in network.graph.pop("attributes", {}).items()})
    text = '<?xml version="1.0" encoding="UTF-8"?>\n' + "\n".join(nx.generate_graphml(network)) + "\n"
    bad = next((char for char in text if _forbidden(char)), None)
    if bad is not None:
        raise DataError(f"a name or description holds {bad!r}, which GraphML cannot carry; remove that character.")
    return text


def _forbidden(char: str) -> bool:
    """Whether XML 1.0 has no way to hold this character."""
    return (char < " " and char not in "\t\n\r") or "\ud800" <= char <= "\udfff" or char in "\ufffe\uffff"


def from_graphml(content: str | bytes, *, undirected: bool = False) -> list[Data]:
    """Read every graph of a GraphML document; documents from strangers are safe to read.

    Args:
        content: The document, as text or as the bytes of a file.
        undirected: As in ``from_networkx``.

    Raises:
        DataError: If this is not GraphML, it declares XML entities, an edge names a node that is not there, or a
            graph is not simple and undirected.
    """
    try:
        root = ElementTree.fromstring(content)
    except DefusedXmlException as error:
        raise DataError(
            "the document declares XML entities, expected plain GraphML; remove the declarations."
        ) from error
    except (ParseError, ValueError, LookupError) as error:
        raise DataError(f"not an XML document ({error}), expected GraphML; export the graph again.") from error
    if root.tag.rpartition("}")[2] != "graphml":
        raise DataError(f"the document's root is <{root.tag}>, expected <graphml>; export the graph as GraphML.")
    _adopt_namespace(root)
    elements = root.findall(f"{NAMESPACE}graph")
    if not elements:
        raise DataError("the document holds no <graph>, expected at least one; export the graph again.")
    return [from_networkx(_read_element(root, element, undirected), undirected=undirected) for element in elements]


def _adopt_namespace(root: Element) -> None:
    """Give the standard namespace to tags that lack one or carry that of an older draft."""
    for element in root.iter():
        prefix, _, tag = element.tag.rpartition("}")
        if not prefix or "graphml" in prefix:
            element.tag = NAMESPACE + tag


def _read_element(root: Element, element: Element, undirected: bool) -> "nx.Graph[Any]":
    nodes = [node.get("id") for node in element.iter(f"{NAMESPACE}node")]
    known = set(nodes)
    if len(known) != len(nodes) or None in known:
        raise DataError("a <node> has no id or the id of another, expected distinct ids; export the graph again.")
    for edge in element.iter(f"{NAMESPACE}edge"):
        for end in ("source", "target"):
            if edge.get(end) not in known:
                raise DataError(
                    f"an edge names node {edge.get(end)}, which the document does not declare; add the node."
                )
        if undirected:  # a mixture of directed and undirected edges is fine once directions are dropped
            edge.attrib.pop("directed", None)
    reader = GraphMLReader()
    try:
        return reader.make_graph(element, *reader.find_graphml_keys(root))
    except (nx.NetworkXError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"not readable as GraphML ({error}); export the graph again.") from error
