"""The pattern under the operators: what it holds, and that sorting, joining, turning and moving lose nothing."""

import copy
import io
import itertools
import pickle
import threading

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_laws import Case, cases, index_of
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data

from graftable.graphs.ops import Adjacency, native_library
from graftable.graphs.ops import adjacency as module

FIELDS = ("rowptr", "col", "row", "rowptr_t", "col_t", "slot_t")
drawn = given(case=cases(smallest=0), index=st.sampled_from([torch.int32, torch.int64]))
few = settings(max_examples=25, database=None)


def same(one, other):
    """Equal in every tensor, the order of the caller's edges included."""
    assert all(getattr(one, name).equal(getattr(other, name)) for name in FIELDS)
    assert one._edge_id().equal(other._edge_id())


@few
@drawn
def test_the_halves_list_the_given_edges_by_destination_and_by_source_in_the_given_order(case, index):
    with index_of(index):
        adjacency = (
            case.adjacency
            if index == torch.int32
            else Adjacency.from_edge_index(case.edge_index, (case.num_dst, case.num_src))
        )
    assert {getattr(adjacency, name).dtype for name in FIELDS} == {index}
    assert (adjacency.num_dst, adjacency.num_src, adjacency.num_edges) == (case.num_dst, case.num_src, len(case.edges))
    by_destination = sorted(range(len(case.edges)), key=lambda e: case.edges[e][1])  # Python's sort is stable
    assert adjacency._edge_id().tolist() == by_destination
    assert list(zip(adjacency.col.tolist(), adjacency.row.tolist(), strict=True)) == [
        case.edges[e] for e in by_destination
    ]
    by_source = sorted(range(len(case.edges)), key=lambda slot: adjacency.col[slot].item())
    assert adjacency.slot_t.tolist() == by_source
    assert adjacency.col_t.tolist() == [adjacency.row[slot].item() for slot in by_source]
    for pointers, ends in ((adjacency.rowptr, adjacency.row), (adjacency.rowptr_t, adjacency.col)):
        counts = torch.bincount(ends, minlength=len(pointers) - 1).tolist()
        assert pointers.tolist() == [0, *itertools.accumulate(counts)]


@pytest.mark.parametrize("index", [torch.int32, torch.int64])
@pytest.mark.parametrize("num_edges", [0, 1, 70_000])
def test_patterns_are_sorted_by_compiled_code_into_the_same_as_by_scipy(index, num_edges, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(3000, (num_edges, 2), generator=generator).T  # not contiguous
    with index_of(index):
        fast = Adjacency.from_edge_index(edge_index, (3001, 3000))
        monkeypatch.setattr(native_library, "available", lambda: False)
        same(fast, Adjacency.from_edge_index(edge_index, (3001, 3000)))


@few
@drawn
def test_a_batch_is_the_pattern_of_the_joined_edge_lists(case, index):
    members = [case, Case(tuple((i, j) for j, i in case.edges), case.num_src, case.num_dst), Case((), 0, 2), case]
    offsets = [np.cumsum([0, *(getattr(m, side) for m in members)]).tolist() for side in ("num_src", "num_dst")]
    edges = [
        (j + a, i + b)
        for member, a, b in zip(members, *(each[:-1] for each in offsets), strict=True)
        for j, i in member.edges
    ]
    with index_of(index):
        batch = Adjacency.cat([member.adjacency for member in members])
        whole = Adjacency.from_edge_index(
            torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T, (offsets[1][-1], offsets[0][-1])
        )
    same(batch, whole)


@few
@drawn
def test_the_transpose_is_the_pattern_of_the_turned_edges_and_its_transpose_is_the_pattern(case, index):
    with index_of(index):
        adjacency = case.adjacency
        turned = Adjacency.from_edge_index(case.edge_index.flip(0), (case.num_src, case.num_dst))
    assert adjacency.T.T is adjacency
    assert adjacency.T is adjacency.T
    for name in ("rowptr", "rowptr_t"):
        assert getattr(adjacency.T, name).equal(getattr(turned, name))
    values = torch.randn(len(case.edges), 2)
    assert adjacency.T.to_edges(adjacency.T.to_slots(values)).equal(values)
    inside = adjacency.T
    assert inside.row[inside.slot_t.long()].equal(inside.col_t)
    assert inside.col[inside.slot_t.long()].equal(inside.col[inside.slot_t.long()].sort().values)
    ends = torch.stack([inside.col, inside.row])
    assert inside.to_edges(ends.T.double()).T.long().equal(case.edge_index.flip(0))


@few
@drawn
def test_slots_and_edges_are_each_others_inverse_and_adjoint(case, index):
    with index_of(index):
        adjacency = case.adjacency
    x = torch.randn(len(case.edges), 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(len(case.edges), 3, dtype=torch.float64)
    assert adjacency.to_edges(adjacency.to_slots(x)).equal(x)
    assert adjacency.to_slots(adjacency.to_edges(x)).equal(x)
    (gradient,) = torch.autograd.grad(adjacency.to_slots(x), x, y)
    assert gradient.equal(adjacency.to_edges(y))
    assert adjacency.to_slots(torch.tensor(case.edges, dtype=torch.long).reshape(-1, 2)).T.equal(
        torch.stack([adjacency.col, adjacency.row]).long()
    )


def test_values_brought_to_slots_differentiate_twice():
    adjacency = Case(((0, 1), (2, 0), (1, 1)), 2, 3).adjacency
    x = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda values: adjacency.to_slots(values).pow(3), [x])


@few
@drawn
def test_pickles_and_copies_are_equal_and_leave_caches_behind(case, index):
    with index_of(index):
        adjacency = case.adjacency
    adjacency.cached("large", lambda: torch.zeros(1000))
    _ = adjacency.T
    buffer = io.BytesIO()
    torch.save(adjacency, buffer)
    buffer.seek(0)
    unpickled = pickle.loads(pickle.dumps(adjacency))  # noqa: S301
    for other in (unpickled, copy.deepcopy(adjacency), torch.load(buffer, weights_only=False)):
        same(other, adjacency)
        assert other._cache == {}
        assert repr(other) == repr(adjacency)


@few
@drawn
def test_scipy_and_torch_hold_the_matrix(case, index):
    with index_of(index):
        adjacency = case.adjacency
    weight = torch.randn(len(case.edges))
    dense = np.zeros((case.num_dst, case.num_src))
    np.add.at(dense, (adjacency.row.numpy(), adjacency.col.numpy()), weight.numpy())
    np.testing.assert_allclose(adjacency.to_scipy(weight).toarray(), dense, rtol=1e-5, atol=1e-5)
    assert adjacency.to_scipy().sum() == len(case.edges)
    matrix = adjacency.to_torch_csr(weight)
    found = torch.zeros(case.num_dst, case.num_src)
    found.index_put_((adjacency.row.long(), matrix.col_indices().long()), matrix.values(), accumulate=True)
    np.testing.assert_allclose(found.numpy(), dense, rtol=1e-5, atol=1e-5)
    back = Adjacency.from_ptr(adjacency.rowptr, adjacency.col, case.num_src)
    assert all(getattr(back, name).equal(getattr(adjacency, name).to(back.col.dtype)) for name in FIELDS)


def test_compressed_rows_without_columns_are_segments():
    segments = Adjacency.from_ptr(torch.tensor([0, 2, 2, 3]))
    assert segments.col.tolist() == segments.slot_t.tolist() == [0, 1, 2]
    assert segments.row.tolist() == segments.col_t.tolist() == [0, 0, 2]
    assert segments.rowptr_t.tolist() == [0, 1, 2, 3]
    assert Adjacency.from_ptr(torch.tensor([0, 2]), num_src=4).rowptr_t.tolist() == [0, 1, 2, 2, 2]
    assert Adjacency.from_ptr(torch.tensor([0])).pattern[0].tolist() == [0]
    same(segments, Adjacency.from_ptr(torch.tensor([0, 2, 2, 3]), torch.arange(3), num_src=3))


def test_a_pattern_keeps_nothing_of_the_tensors_it_was_made_from():
    edge_index, ptr = torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 1, 2], dtype=torch.int32)
    one, two = Adjacency.from_edge_index(edge_index.int(), 2), Adjacency.from_ptr(ptr)
    edge_index.zero_()
    ptr.zero_()
    assert one.col.tolist() == [1, 0]
    assert two.rowptr.tolist() == [0, 1, 2]


def test_a_pattern_cannot_be_changed():
    adjacency = Adjacency.from_ptr(torch.tensor([0, 1]))
    with pytest.raises(AttributeError):
        adjacency.col = torch.zeros(1)
    with pytest.raises((AttributeError, TypeError)):
        adjacency.other = 1


def test_networkx_agrees_about_who_is_next_to_whom():
    graph = nx.gnm_random_graph(12, 30, seed=1, directed=True)
    adjacency = Adjacency.from_edge_index(torch.tensor(list(graph.edges)).T, 12)
    for node in graph:
        start, stop = adjacency.rowptr[node : node + 2].tolist()
        assert sorted(adjacency.col[start:stop].tolist()) == sorted(graph.predecessors(node))
        start, stop = adjacency.rowptr_t[node : node + 2].tolist()
        assert sorted(adjacency.col_t[start:stop].tolist()) == sorted(graph.successors(node))


def test_pyg_batches_and_edge_indices_give_the_pattern_of_their_edges():
    graphs = [
        Data(edge_index=torch.tensor([[0, 1, 2], [2, 2, 0]]), num_nodes=4),
        Data(edge_index=torch.tensor([[0], [0]]), num_nodes=1),
    ]
    apart = [Adjacency.from_pyg(graph) for graph in graphs]
    same(Adjacency.from_pyg(Batch.from_data_list(graphs)), Adjacency.cat(apart))
    pairs = EdgeIndex([[0, 1, 1, 4], [2, 0, 1, 1]], sparse_size=(5, 3))  # rows are sources
    for edges in (pairs, pairs.sort_by("row").values, pairs.sort_by("col").values):
        adjacency = Adjacency.from_pyg(edges)
        assert (adjacency.num_src, adjacency.num_dst) == (5, 3)
        same(adjacency, Adjacency.from_edge_index(edges.as_tensor(), (3, 5)))
    same(
        Adjacency.from_pyg(Data(edge_index=EdgeIndex([[0, 1], [1, 1]], sparse_size=(2, 2)))),
        Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 1]]), 2),
    )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_every_integer_type_of_index_is_taken(dtype):
    edge_index = torch.tensor([[0, 1, 1], [1, 1, 0]], dtype=dtype)
    same(Adjacency.from_edge_index(edge_index, 2), Adjacency.from_edge_index(edge_index.long(), 2))
    ptr = torch.tensor([0, 1, 3], dtype=dtype)
    same(Adjacency.from_ptr(ptr, edge_index[0]), Adjacency.from_ptr(ptr.long(), edge_index[0].long()))


@pytest.mark.parametrize("over", [0, 1])
def test_indices_are_64_bits_wide_exactly_where_32_do_not_hold_them(over, monkeypatch):
    wanted = torch.int64 if over else torch.int32
    limit = 2**31 - 1 + over
    for sizes in ((limit - 1, 1, 1), (1, limit, 1), (1, 1, limit)):
        assert module.index_dtype(*sizes) == wanted
    monkeypatch.setattr(module, "INT32_LIMIT", 8 - over)  # the same rule at sizes that fit in memory
    edges = torch.zeros(2, 7, dtype=torch.long)
    made = [
        Adjacency.from_edge_index(edges, 3),
        Adjacency.from_ptr(torch.tensor([0, 7])),
        Adjacency.from_edge_index(edges[:, :0], (6, 2)),
    ]
    halves = [Adjacency.from_edge_index(edges[:, :3], 2), Adjacency.from_edge_index(edges[:, :4], 2)]
    assert all(half.col.dtype == torch.int32 for half in halves)
    made.append(Adjacency.cat(halves))
    for adjacency in made:
        assert {getattr(adjacency, name).dtype for name in FIELDS} == {wanted}


def test_threads_that_come_at_once_share_one_result():
    adjacency = Case(((0, 1), (1, 0)), 2, 2).adjacency
    barrier, results, transposes = threading.Barrier(8), [], []

    def work():
        barrier.wait()
        results.append(
            adjacency.cached("slow", lambda: (barrier.wait(), torch.zeros(1))[1])
        )  # all build before any stores
        transposes.append(adjacency.T)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in results}) == len({id(each) for each in transposes}) == 1
    assert adjacency.T.T is adjacency


def test_a_move_to_the_same_device_is_nothing_and_to_another_takes_every_tensor():
    adjacency = Case(((0, 1), (1, 0)), 2, 2).adjacency
    assert adjacency.to("cpu") is adjacency
    moved = adjacency.to("meta")
    assert {getattr(moved, name).device.type for name in (*FIELDS, "edge_id")} == {"meta"}
    assert (moved.num_dst, moved.num_src, moved.num_edges) == (2, 2, 2)
