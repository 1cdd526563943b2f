"""Patterns with one loop per node, against lists of edges and PyG's utilities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torch_geometric.utils import add_remaining_self_loops, add_self_loops, remove_self_loops

from graftable.graphs.nn import GATConv, GCNConv, with_self_loops
from graftable.graphs.nn.patterns import incidence
from graftable.graphs.ops import Adjacency


@st.composite
def patterns(draw, square=False):
    num_dst = draw(st.integers(1, 6))
    num_src = num_dst if square else draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(st.integers(0, num_src - 1), st.integers(0, num_dst - 1)), max_size=14))
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).T, (num_dst, num_src)


def assert_is_a_pattern(adjacency):
    """What a constructor would make of the same edges, but for the order within the transposed rows."""
    rebuilt = Adjacency.from_ptr(adjacency.rowptr, adjacency.col, adjacency.num_src)
    assert torch.equal(adjacency.row, rebuilt.row)
    assert torch.equal(adjacency.rowptr_t, rebuilt.rowptr_t)
    assert torch.equal(adjacency.slot_t.sort().values.long(), torch.arange(adjacency.num_edges))
    assert torch.equal(adjacency.row[adjacency.slot_t.long()], adjacency.col_t)
    assert torch.equal(adjacency.col[adjacency.slot_t.long()], rebuilt.col[rebuilt.slot_t.long()])
    assert len({part.dtype for part in adjacency.pattern}) == 1


@given(patterns())
def test_every_node_has_one_loop_and_keeps_its_other_edges(drawn):
    edge_index, (num_dst, num_src) = drawn
    adjacency = Adjacency.from_edge_index(edge_index, (num_dst, num_src))
    loops = with_self_loops(adjacency)
    for pattern in (loops.adjacency, loops.others, incidence(loops.others)):
        assert_is_a_pattern(pattern)
    others = [pair for pair in edge_index.T.tolist() if pair[0] != pair[1]]
    pairs = torch.stack([loops.adjacency.col, loops.adjacency.row], dim=1)
    assert sorted(pairs.tolist()) == sorted(others + [[node, node] for node in range(min(num_dst, num_src))])
    assert sorted(torch.stack([loops.others.col, loops.others.row], dim=1).tolist()) == sorted(others)
    names = adjacency.to_slots(torch.arange(edge_index.shape[1]))
    named = loops.fill(names, -1.0)
    assert all(
        edge_index[:, name].tolist() == pair.tolist() for name, pair in zip(named, pairs, strict=True) if name >= 0
    )
    assert (named < 0).sum() == min(num_dst, num_src)


@pytest.mark.parametrize("fill_value", ["mean", "sum", "max", "min", 2.0, torch.tensor([1.0, -1.0])])
@settings(max_examples=30)
@given(drawn=patterns(square=True))
def test_values_of_new_loops_are_those_of_pyg(fill_value, drawn):
    edge_index, (num_nodes, _) = drawn
    adjacency, values = Adjacency.from_edge_index(edge_index, num_nodes), torch.randn(edge_index.shape[1], 2)
    loops = with_self_loops(adjacency)
    got = loops.fill(adjacency.to_slots(values), fill_value)
    want_index, want = add_self_loops(*remove_self_loops(edge_index, values), fill_value, num_nodes)
    assert_close(got, Adjacency.from_edge_index(want_index, num_nodes).to_slots(want))


@given(patterns(square=True))
def test_a_loop_that_was_there_keeps_its_weight(drawn):
    edge_index, (num_nodes, _) = drawn
    adjacency, weight = Adjacency.from_edge_index(edge_index, num_nodes), torch.rand(edge_index.shape[1])
    got = with_self_loops(adjacency).fill(adjacency.to_slots(weight), 1.0, keep_own=True)
    want_index, want = add_remaining_self_loops(edge_index, weight, 1.0, num_nodes)
    assert_close(got, Adjacency.from_edge_index(want_index, num_nodes).to_slots(want))


def test_the_self_loops_of_a_batch_are_made_once(graph):
    adjacency = Adjacency.from_edge_index(*graph)
    assert with_self_loops(adjacency) is with_self_loops(adjacency)
    GCNConv(6, 6)(GATConv(6, 6)(torch.randn(graph[1], 6), adjacency), adjacency)
    assert [key for key in adjacency._cache if "loops" in key] == ["self loops"]


def test_the_transpose_of_a_pattern_with_loops_turns_every_edge(graph):
    adjacency = with_self_loops(Adjacency.from_edge_index(*graph)).adjacency
    assert_is_a_pattern(adjacency.T)
    turned = sorted(zip(adjacency.T.row.tolist(), adjacency.T.col.tolist(), strict=True))
    assert turned == sorted(zip(adjacency.col.tolist(), adjacency.row.tolist(), strict=True))
