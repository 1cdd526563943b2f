"""Laws of the DGL adapter, tried with DGL itself where it is installed."""

import builtins
import importlib
import importlib.util
import itertools
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import DataError, MissingExtraError
from graftable.graphs.dgl_adapter import from_dgl, to_dgl
from graftable.graphs.edge_lists import graph_from_edges

needs_dgl = pytest.mark.skipif(importlib.util.find_spec("dgl") is None, reason="DGL is not installed")


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 8))
    pairs = list(itertools.combinations(range(n), 2))
    return graph_from_edges(n, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])


@pytest.fixture
def dgl():
    to_dgl(graph_from_edges(1, []))  # imports DGL with the stand-in that it needs
    return importlib.import_module("dgl")


@needs_dgl
@settings(deadline=None, max_examples=50)
@given(graphs())
def test_dgl_round_trip_is_the_identity(graph):
    found = from_dgl(to_dgl(graph))
    assert found.num_nodes == graph.num_nodes
    assert torch.equal(found.edge_index, graph.edge_index)


@needs_dgl
def test_messages_pass_in_dgl_along_the_edges_of_the_graph(dgl):
    graph = to_dgl(graph_from_edges(4, [[0, 1], [1, 2]]))
    graph.ndata["x"] = torch.eye(4)
    graph.update_all(dgl.function.copy_u("x", "m"), dgl.function.sum("m", "y"))
    assert graph.ndata["y"].tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


@needs_dgl
@pytest.mark.parametrize(
    ("sources", "targets", "reason"),
    [
        ([0, 1], [1, 2], "one direction"),
        ([0, 1, 2, 1], [1, 2, 1, 2], "one direction"),
        ([0, 0, 1], [0, 1, 0], "itself"),
        ([0, 0, 1, 1], [1, 1, 0, 0], "more than once"),
    ],
)
def test_dgl_graphs_that_are_not_simple_are_refused_and_simplified_on_request(dgl, sources, targets, reason):
    graph = dgl.graph((torch.tensor(sources), torch.tensor(targets)), num_nodes=3)
    with pytest.raises(DataError, match=f"{reason}.*--undirected"):
        from_dgl(graph)
    expected = graph_from_edges(3, list(zip(sources, targets, strict=True)))
    assert torch.equal(from_dgl(graph, undirected=True).edge_index, expected.edge_index)


@needs_dgl
def test_dgl_weights_and_types_are_refused(dgl):
    weighted = dgl.graph((torch.tensor([0, 1]), torch.tensor([1, 0])))
    weighted.edata["weight"] = torch.tensor([2.0, 2.0])
    with pytest.raises(DataError, match="weights"):
        from_dgl(weighted)
    typed = dgl.heterograph({("user", "likes", "item"): (torch.tensor([0]), torch.tensor([0]))})
    with pytest.raises(DataError, match="several node or edge types"):
        from_dgl(typed)


def test_without_dgl_the_sentence_names_the_extra(monkeypatch):
    imported = builtins.__import__

    def refuse(name, *rest):
        if name == "dgl":
            raise ImportError("No module named 'dgl'")
        return imported(name, *rest)

    monkeypatch.setattr(importlib, "import_module", lambda name: refuse(name))
    monkeypatch.delitem(sys.modules, "dgl", raising=False)
    with pytest.raises(MissingExtraError, match=r"graftable\[dgl\]"):
        to_dgl(graph_from_edges(1, []))
