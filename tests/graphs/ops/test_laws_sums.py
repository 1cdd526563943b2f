"""Sums of neighbours and inner products along edges: linear, dual to each other, and smooth to every order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_laws import F64, HUB, OPS, Case, close, edge_types, every_op, law, using

from graftable.graphs.ops import (
    Adjacency,
    edge_gather,
    edge_sum,
    gin_sum,
    sddmm,
    segment_expand,
    segment_reduce,
    spmm,
    spmm_edge,
)

mean_or_sum = pytest.mark.parametrize("reduce", ["sum", "mean"])


@mean_or_sum
@law()
def test_linear_in_the_vectors_and_in_the_weights(case, reduce):
    adjacency, edges = case.adjacency, len(case.edges)
    x, y = case.values(case.num_src, 3, salt=1), case.values(case.num_src, 3, salt=2)
    w, u = case.values(edges, salt=3), case.values(edges, salt=4)
    parts = spmm(adjacency, x, w, reduce) + 2 * spmm(adjacency, y, w, reduce)
    close(spmm(adjacency, x + 2 * y, w, reduce), parts, factor=HUB)
    parts = spmm(adjacency, x, w, reduce) - 3 * spmm(adjacency, x, u, reduce)
    close(spmm(adjacency, x, w - 3 * u, reduce), parts, factor=HUB)


def along(case, *width):
    """Weights and values, in slot order of the pattern and of its transpose."""
    adjacency = case.adjacency
    weight = case.values(len(case.edges), *width, salt=3)
    return adjacency, adjacency.to_slots(weight), adjacency.T.to_slots(weight)


@law()
def test_the_transpose_is_the_adjoint(case):
    adjacency, weight, weight_t = along(case)
    x, y = case.values(case.num_src, 3, salt=1), case.values(case.num_dst, 3, salt=2)
    there, back = spmm(adjacency, x, weight) * y, x * spmm(adjacency.T, y, weight_t)
    close(there.sum(), back.sum(), factor=10 * HUB)


@law()
def test_the_transpose_of_a_product_along_edges_swaps_its_factors(case):
    adjacency = case.adjacency
    a, b = case.values(case.num_dst, 2, 3, salt=1), case.values(case.num_src, 2, 3, salt=2)
    close(adjacency.to_edges(sddmm(adjacency, a, b)), adjacency.T.to_edges(sddmm(adjacency.T, b, a)))


@law()
def test_the_gradient_of_weights_is_the_product_along_edges(case):
    adjacency, weight, _ = along(case)
    x, g = case.values(case.num_src, 3, salt=1), case.values(case.num_dst, 3, salt=2)
    weight.requires_grad_()
    (found,) = torch.autograd.grad(spmm(adjacency, x, weight), weight, g)
    close(found, sddmm(adjacency, g, x))


@law()
def test_gathering_onto_edges_is_the_adjoint_of_summing_them(case):
    adjacency = case.adjacency
    for side, count in (("destination", case.num_dst), ("source", case.num_src)):
        x, s = case.values(count, 3, salt=1), case.values(len(case.edges), 3, salt=2)
        there, back = edge_gather(adjacency, x, side) * s, x * edge_sum(adjacency, s, side)
        close(there.sum(), back.sum(), factor=10 * HUB)


@law()
def test_a_table_of_edges_gives_what_a_vector_for_each_gives_and_a_node_counts_once_more(case):
    if case.num_dst != case.num_src:
        return
    adjacency, types = case.adjacency, edge_types(case.adjacency)
    x, table, epsilon = case.values(case.num_src, 3, salt=1), case.values(3, 3, salt=2), case.values(1, salt=3)
    rectified = (edge_gather(adjacency, x) + table[types]).relu()
    wanted = edge_sum(adjacency, rectified) + (1 + epsilon) * x
    close(gin_sum(adjacency, x, epsilon, table, types), wanted, factor=HUB)
    close(gin_sum(adjacency, x, epsilon, table[types]), wanted, factor=HUB)
    close(gin_sum(adjacency, x, epsilon), spmm(adjacency, x) + (1 + epsilon) * x, factor=HUB)
    frozen = gin_sum(adjacency, x.requires_grad_(), epsilon)
    learnt = gin_sum(adjacency, x, epsilon.requires_grad_())
    (one,), (other, product) = (
        torch.autograd.grad(each.sum(), leaves) for each, leaves in ((frozen, [x]), (learnt, [x, epsilon]))
    )
    close(one, other)
    close(product, x.detach().sum().reshape(1), factor=HUB)


@law()
def test_a_product_with_one_is_a_sum_and_a_sum_over_edges_of_gathered_rows_too(case):
    adjacency, x = case.adjacency, case.values(case.num_src, 3)
    wanted = spmm(adjacency, x)
    close(spmm(adjacency, x, torch.ones(len(case.edges), dtype=case.dtype)), wanted)
    close(spmm_edge(adjacency, x, torch.ones(len(case.edges), 3, dtype=case.dtype)), wanted)
    close(edge_sum(adjacency, edge_gather(adjacency, x)), wanted)


@law()
def test_a_table_of_types_is_its_rows_given_to_each_edge(case):
    adjacency, x, table = case.adjacency, case.values(case.num_src, 3), case.values(3, 3, salt=1)
    types = edge_types(adjacency)
    close(spmm_edge(adjacency, x, table, types), spmm_edge(adjacency, x, table[types]), factor=HUB)
    for narrow in (torch.int32, torch.uint8):
        assert spmm_edge(adjacency, x, table, types.to(narrow)).equal(spmm_edge(adjacency, x, table, types))


@law()
def test_an_edge_given_twice_has_twice_the_weight_and_counts_twice(case):
    adjacency, x = case.adjacency, case.values(case.num_src, 3)
    twice = Case(case.edges * 2, case.num_dst, case.num_src, index=case.index).adjacency
    doubled = torch.full((len(case.edges),), 2.0, dtype=case.dtype)
    close(spmm(twice, x), spmm(adjacency, x, doubled), factor=HUB)
    close(spmm(twice, x, reduce="mean"), spmm(adjacency, x, reduce="mean"))
    weighted = spmm(twice, x, torch.ones(2 * len(case.edges), dtype=case.dtype), "mean")
    close(weighted, spmm(adjacency, x, reduce="mean"))


@law()
def test_the_mean_of_equal_vectors_is_that_vector(case):
    row = case.values(3)
    found = spmm(case.adjacency, row.expand(case.num_src, 3), reduce="mean")
    reached = case.adjacency.rowptr.diff() > 0
    close(found[reached], row.expand(case.num_dst, 3)[reached])
    assert not found[~reached].any()


@law()
def test_a_weight_of_nan_or_zero_times_infinity_is_kept(case):
    adjacency, edges = case.adjacency, len(case.edges)
    if not edges:
        return
    weight = torch.zeros(edges, dtype=case.dtype)
    x = torch.full((case.num_src, 2), torch.inf, dtype=case.dtype)
    reached = adjacency.rowptr.diff() > 0
    assert spmm(adjacency, x, weight).isnan().all(1).equal(reached)
    weight[0] = torch.nan
    found = spmm(adjacency, torch.ones_like(x), weight).isnan().any(1)
    assert found.nonzero().flatten().tolist() == [int(adjacency.row[0])]


TWENTY = Case(
    tuple((int(a), int(b)) for a, b in torch.randint(19, (60, 2), generator=torch.Generator().manual_seed(1))), 20, 20
)
CLOSED = [name for name, op in OPS.items() if op.kind == "sum"] + [
    "edge_add",
    "gin_sum",
    "gin_sum_typed",
    "segment_softmax",
]


def _at_twenty_nodes(name):
    case = Case(TWENTY.edges, 20, 20, dtype=F64)
    adjacency, inputs = case.adjacency, [each.requires_grad_() for each in case.inputs(OPS[name])]
    return lambda *leaves: OPS[name].call(adjacency, *leaves), inputs


@every_op
@pytest.mark.parametrize("backend", ["reference", "torch", "plain"])
def test_first_derivatives_are_those_of_finite_differences(backend, name):
    call, inputs = _at_twenty_nodes(name)
    with using(backend):
        assert torch.autograd.gradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("backend", ["reference", "torch", "plain"])
def test_second_derivatives_are_those_of_finite_differences(backend, name):
    call, inputs = _at_twenty_nodes(name)
    with using(backend):
        assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("name", sorted(set(OPS) - set(CLOSED)))
@pytest.mark.parametrize("backend", ["reference", "torch", "plain"])
def test_a_second_derivative_that_is_not_there_raises_only_when_it_is_asked(backend, name):
    call, inputs = _at_twenty_nodes(name)
    with using(backend):
        (first, *_) = torch.autograd.grad(call(*inputs).square().sum(), inputs, create_graph=True)
        with pytest.raises(NotImplementedError, match="only first derivatives pass"):
            first.sum().backward()


@pytest.mark.parametrize("backend", ["reference", "torch", "plain", "triton"])
@settings(max_examples=6, database=None)
@given(lengths=st.lists(st.integers(0, 5), max_size=6), reduce=st.sampled_from(["sum", "mean", "max", "min", "std"]))
def test_segments_are_reduced_one_by_one_and_expanded_back(backend, lengths, reduce):
    ptr = torch.tensor([0, *lengths]).cumsum(0)
    x = torch.randn(sum(lengths), 2, generator=torch.Generator().manual_seed(len(lengths)))
    pieces = [part.double() for part in x.split(lengths)] if lengths else []
    one = {
        "sum": lambda part: part.sum(0),
        "mean": lambda part: part.mean(0),
        "max": lambda part: part.amax(0),
        "min": lambda part: part.amin(0),
        "std": lambda part: part.var(0, correction=0).clamp(min=1e-6).sqrt() * (len(part) > 1),
    }[reduce]
    wanted = torch.stack([one(part) if len(part) else torch.zeros(2, dtype=F64) for part in pieces] or [torch.zeros(2)])
    with using(backend):
        for segments in (ptr, Adjacency.from_ptr(ptr)):
            found = segment_reduce(segments, x, reduce)
            close(found, wanted[: len(lengths)])
            close(segment_reduce(segments, x[:, 0], reduce), found[:, 0])
            close(segment_reduce(segments, x.unsqueeze(1), reduce), found.unsqueeze(1))
            spread = segment_expand(segments, found)
            assert spread.equal(found.repeat_interleave(torch.tensor(lengths, dtype=torch.int64), 0))
