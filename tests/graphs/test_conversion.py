"""Laws of the conversions between PyG, networkx and GraphML: nothing is lost that a simple graph can hold."""

import itertools
import math

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.conversion import from_graphml, from_networkx, from_pyg, label_nodes, to_graphml, to_networkx
from graftable.graphs.edge_lists import graph_from_edges

XML_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn"]), min_size=1, max_size=8)
FIELDS = ("graph_id", "domain", "source", "split", "text")


@st.composite
def described_graphs(draw):
    """Graphs of 1 to 8 nodes, isolated ones among them, some with names, text and attributes."""
    n = draw(st.integers(1, 8))
    pairs = list(itertools.combinations(range(n), 2))
    edges = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    graph = graph_from_edges(n, edges)
    if draw(st.booleans()):
        graph.name = draw(st.lists(XML_TEXT.map(lambda x: "n" + x), min_size=n, max_size=n, unique=True))
    for field in draw(st.sets(st.sampled_from(FIELDS))):
        graph[field] = draw(XML_TEXT)
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    if attributes := draw(st.dictionaries(st.sampled_from(["clustering", "diameter"]), numbers)):
        graph.attributes = attributes
    return graph


def assert_same(one, two):
    assert one.num_nodes == two.num_nodes
    assert torch.equal(one.edge_index, two.edge_index)
    for field in (*FIELDS, "name", "attributes"):
        assert one.get(field) == two.get(field), field


@settings(deadline=None, max_examples=50)
@given(described_graphs())
def test_networkx_round_trip_is_the_identity(graph):
    assert_same(from_networkx(to_networkx(graph)), graph)


@settings(deadline=None, max_examples=50)
@given(described_graphs())
def test_graphml_round_trip_is_the_identity(graph):
    (found,) = from_graphml(to_graphml(graph))
    assert_same(found, graph)


@settings(deadline=None, max_examples=50)
@given(described_graphs())
def test_graphml_is_read_by_networkx_as_it_is_read_here(graph):
    theirs = nx.parse_graphml(to_graphml(graph))
    assert_same(from_networkx(theirs), graph)


@settings(deadline=None, max_examples=50)
@given(described_graphs())
def test_from_pyg_leaves_the_platform_form_as_it_is(graph):
    assert_same(from_pyg(graph), graph)


def test_labels_that_are_node_ids_give_the_order_and_no_name():
    graph = from_networkx(nx.Graph([(2, 1), (1, 0)]))
    assert graph.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert "name" not in graph


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["7", "10", "8"], ["7", "8", "10"]),
        (["b", "a"], ["b", "a"]),
        (["01", "1"], ["01", "1"]),
        ([(0, 1), (0, 0)], ["(0, 1)", "(0, 0)"]),
        ([1, 0], None),
    ],
)
def test_labels_that_are_no_node_ids_become_names(labels, names):
    assert label_nodes(labels)[1] == names


def test_names_that_are_node_ids_of_other_nodes_survive_as_nodes():
    graph = graph_from_edges(2, [[0, 1]], name=["1", "0"])
    assert from_networkx(to_networkx(graph)).num_edges == 2


def test_one_node_is_a_graph():
    assert from_networkx(nx.empty_graph(1)).num_nodes == 1


def test_names_false_numbers_the_nodes():
    assert list(to_networkx(graph_from_edges(2, [], name=["a", "b"]), names=False)) == [0, 1]


WEIGHTED = nx.Graph()
WEIGHTED.add_edge("a", "b", weight=2.5)
NOT_SIMPLE = {
    "directed": nx.DiGraph([(0, 1)]),
    "weight": WEIGHTED,
    "more than once": nx.MultiGraph([(0, 1), (1, 0)]),
    "itself": nx.Graph([(0, 0), (0, 1)]),
}


@pytest.mark.parametrize("reason", NOT_SIMPLE)
def test_what_is_not_simple_is_refused_and_the_sentence_says_how_to_drop_it(reason):
    with pytest.raises(DataError, match=f"{reason}.*--undirected"):
        from_networkx(NOT_SIMPLE[reason])


@pytest.mark.parametrize("reason", NOT_SIMPLE)
def test_undirected_drops_what_is_not_simple(reason):
    assert from_networkx(NOT_SIMPLE[reason], undirected=True).num_edges == 2


def test_a_multigraph_without_parallel_edges_and_a_weight_of_one_are_simple():
    graph = nx.MultiGraph()
    graph.add_edge(0, 1, weight=1.0)
    assert from_networkx(graph).num_edges == 2


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused_wherever_they_are(number):
    graph = nx.path_graph(2, create_using=nx.Graph)
    on_graph, on_node, on_edge, nested = (graph.copy() for _ in range(4))
    on_graph.graph["mass"] = number
    on_node.nodes[0]["mass"] = number
    on_edge.edges[0, 1]["mass"] = number
    nested.graph["attributes"] = {"mass": number}
    for bad in (on_graph, on_node, on_edge, nested):
        with pytest.raises(DataError, match=r"mass.*finite"):
            from_networkx(bad, undirected=True)


@pytest.mark.parametrize("graph", [nx.Graph(), nx.Graph([(1, "1")])], ids=["no nodes", "ids equal as text"])
def test_graphs_without_distinct_nodes_are_refused(graph):
    with pytest.raises(DataError):
        from_networkx(graph)


def test_names_must_be_one_per_node_and_distinct():
    for names in (["a"], ["a", "a"]):
        with pytest.raises(DataError, match="one name each"):
            to_networkx(graph_from_edges(2, [], name=names))


def test_pyg_graphs_with_one_direction_or_weights_are_refused_and_made_simple_on_request():
    one_way = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3)
    weighted = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.tensor([2.0, 2.0]), num_nodes=2)
    with pytest.raises(DataError, match="one direction"):
        from_pyg(one_way)
    with pytest.raises(DataError, match="weights"):
        from_pyg(weighted)
    assert from_pyg(one_way, undirected=True).num_edges == from_pyg(weighted, undirected=True).num_edges == 2


def graphml(body, default="undirected"):
    graph = f'<graph edgedefault="{default}">{body}</graph>'
    return f'<graphml xmlns="http://graphml.graphdrawing.org/xmlns">{graph}</graphml>'


NODES = '<node id="a"/><node id="b"/>'
EDGE = '<edge source="a" target="b"/>'
BOMB = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><graphml>&b;</graphml>'
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><graphml>&a;</graphml>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "entities"),
        (OUTSIDE, "entities"),
        ("a b", "not an XML"),
        (b"\xff\xfe\x00", "not an XML"),
        ("<svg/>", "<svg>"),
        ("<graphml/>", "no <graph>"),
        (graphml('<node id="a"/>' + EDGE), "node b"),
        (graphml(NODES + '<node id="a"/>'), "distinct"),
        (graphml("<node/>"), "distinct"),
        (graphml('<node id="a"><data key="k">1</data></node>'), "no key k"),
        (graphml(NODES + "<hyperedge/>"), "hyperedges"),
        (graphml(NODES + EDGE, "directed"), "directed"),
        (graphml(NODES + EDGE + EDGE), "more than once"),
        (graphml(""), "no nodes"),
    ],
)
def test_bad_graphml_is_refused_in_one_sentence(content, reason):
    with pytest.raises(DataError, match=reason) as caught:
        from_graphml(content)
    assert "\n" not in str(caught.value)


def test_undirected_reads_directed_and_mixed_graphml():
    mixed = graphml(NODES + '<edge source="a" target="b" directed="true"/><edge source="b" target="a"/>')
    for content in (graphml(NODES + EDGE, "directed"), mixed):
        assert from_graphml(content, undirected=True)[0].num_edges == 2


def test_every_graph_of_a_document_is_read_with_or_without_a_namespace():
    graph = f'<graph edgedefault="undirected">{NODES}{EDGE}</graph>'
    assert [g.name for g in from_graphml(f"<graphml>{graph}{graph}</graphml>")] == [["a", "b"]] * 2


def test_control_characters_are_refused_before_a_file_is_made_that_nobody_can_read():
    with pytest.raises(DataError, match="GraphML cannot carry"):
        to_graphml(graph_from_edges(1, [], text="a\x00b"))
