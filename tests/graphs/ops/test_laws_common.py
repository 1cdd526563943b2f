"""What every operator keeps: permutations, batches, emptiness, layouts, bits, and the reach of a bad number."""

import math
import warnings
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from ops_laws import (
    BF16,
    F32,
    F64,
    OPS,
    SMALL,
    TYPED,
    Case,
    Dense,
    close,
    close_spread,
    edge_types,
    every_op,
    gradients,
    index_of,
    law,
    using,
)

from graftable.graphs.ops import Adjacency

BACKENDS = ["reference", "torch", "plain", "triton"]


def slotted(op, adjacency, inputs):
    """The inputs, with those of edges brought from the order of the list into that of the slots."""
    return [
        adjacency.to_slots(each) if side == "edge" else each for each, (side, *_) in zip(inputs, op.inputs, strict=True)
    ]


def in_order_of_edges(op, adjacency, inputs):
    result = op.call(adjacency, *slotted(op, adjacency, inputs))
    return adjacency.to_edges(result) if op.output == "edge" else result


@every_op
@law(examples=3)
def test_renamed_nodes_and_shuffled_edges_permute_the_result(case, name):
    op, inputs = OPS[name], case.inputs(OPS[name])
    generator = torch.Generator().manual_seed(case.seed)
    counts = {"source": case.num_src, "destination": case.num_dst, "edge": len(case.edges)}
    order = {side: torch.randperm(count, generator=generator) for side, count in counts.items()}
    if name in TYPED:  # there the types depend on the names
        order |= {side: torch.arange(counts[side]) for side in ("source", "destination")}
    source, destination = (order[side].argsort().tolist() for side in ("source", "destination"))
    edges = [(source[j], destination[i]) for j, i in (case.edges[at] for at in order["edge"].tolist())]
    moved = [each[order[side]] if side in order else each for each, (side, *_) in zip(inputs, op.inputs, strict=True)]
    found = in_order_of_edges(op, replace(case, edges=tuple(edges)).adjacency, moved)
    wanted = in_order_of_edges(op, case.adjacency, inputs)[order[op.output]]
    if op.kind == "exact":
        assert found.equal(wanted)
    else:
        close_spread(found, wanted, factor=10) if name in ("std", "multi_aggregate") else close(found, wanted)


@every_op
@law(examples=3)
def test_a_batch_gives_the_bits_of_its_members(case, name):
    op = OPS[name]
    turned = replace(
        case, edges=tuple((i, j) for j, i in case.edges), num_dst=case.num_src, num_src=case.num_dst, seed=7
    )
    members = [
        case,
        replace(case, edges=(), num_dst=0, num_src=0),
        turned,
        replace(case, edges=(), num_dst=2, num_src=1),
    ]
    with index_of(case.index):
        batch = Adjacency.cat([member.adjacency for member in members])
    shared = case.inputs(op)
    apart = [
        [
            one if side == "shared" else own
            for one, own, (side, *_) in zip(shared, member.inputs(op), op.inputs, strict=True)
        ]
        for member in members
    ]
    together = [
        one if side == "shared" else torch.cat(parts)
        for one, parts, (side, *_) in zip(shared, zip(*apart, strict=True), op.inputs, strict=True)
    ]
    if name in TYPED:
        types = torch.cat([edge_types(member.adjacency) for member in members])
        call = lambda *leaves: TYPED[name](batch, *leaves, types)  # noqa: E731
    else:
        call = lambda *leaves: op.call(batch, *leaves)  # noqa: E731
    found, found_gradients = gradients(call, together, torch.ones_like(call(*together)))
    wanted, wanted_gradients = [], []
    for member, inputs in zip(members, apart, strict=True):
        own = member.adjacency
        one, parts = gradients(
            lambda *leaves, own=own: op.call(own, *leaves), inputs, torch.ones_like(op.call(own, *inputs))
        )
        wanted.append(one)
        wanted_gradients.append(parts)
    pairs = [(found, torch.cat(wanted))]
    for one, parts, (side, *_) in zip(found_gradients, zip(*wanted_gradients, strict=True), op.inputs, strict=True):
        if side != "shared":
            pairs.append((one, torch.cat(parts)))
    for at, (one, other) in enumerate(pairs):
        if name in ("std", "multi_aggregate"):  # squares are summed about the mean of the whole batch
            close(one, other, factor=100) if at else close_spread(one, other, factor=10)
        elif name in ("weighted_sum", "weighted_mean", "sddmm"):  # a library's inner product turns on where rows begin
            close(one, other)
        else:
            assert one.equal(other)


@contextmanager
def always_warning():
    """torch says most things once a process; here, as often as they are true."""
    torch.set_warn_always(True)
    try:
        yield
    finally:
        torch.set_warn_always(False)


@every_op
@pytest.mark.parametrize("sizes", [(0, 0), (3, 0), (0, 2), (3, 2)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_without_edges_results_and_gradients_are_zero_and_nothing_warns(backend, sizes, name):
    op, case = OPS[name], Case((), *sizes)
    inputs = case.inputs(op)
    with using(backend), warnings.catch_warnings(), always_warning():
        warnings.simplefilter("error")
        # said once, while the backend loads; torch 2.11 says the second even where checks are declined
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
        g = torch.ones_like(op.call(case.adjacency, *inputs))
        result, found = gradients(lambda *leaves: op.call(case.adjacency, *leaves), inputs, g)
    assert result.shape == case.shape(op.output, *result.shape[1:])
    assert not result.any()
    assert not any(each.any() for each in found)


@every_op
@pytest.mark.parametrize("backend", BACKENDS)
def test_vectors_without_entries_pass_through(backend, name):
    op, case = OPS[name], SMALL[0]
    shapes = [(*case.shape(*each)[:-1], 0) if each[-1] in (3, 4) else case.shape(*each) for each in op.inputs]
    with using(backend):
        result = op.call(case.adjacency, *(torch.zeros(shape, requires_grad=True) for shape in shapes))
        result.sum().backward()
    assert result.shape[0] == case.shape(op.output)[0]


@every_op
@law(examples=3)
def test_a_nan_reaches_exactly_those_that_see_it(case, name):
    op, adjacency = OPS[name], case.adjacency
    hit = case.seed % case.num_src
    for at, (side, *_) in enumerate(op.inputs):
        if side != "source":
            continue
        for bad in (math.nan, math.inf) if op.kind == "sum" or name == "std" else (math.nan,):
            inputs = case.inputs(op)
            inputs[at][hit] = bad
            result = op.call(adjacency, *inputs)
            sees = Dense(adjacency).source(torch.arange(case.num_src, dtype=F64)) == hit
            if op.output == "destination":
                sees = Dense(adjacency).sum(sees.double()) > 0
            spoilt = ~result.flatten(1).isfinite().all(1) if result.dim() > 1 else ~result.isfinite()
            if name == "std":  # of a single number it is 0, whatever the number
                sees &= Dense(adjacency).degree > 1
            assert spoilt.equal(sees)


def layouts(x):
    """The same numbers, laid out in other ways."""
    yield x.movedim(0, -1).contiguous().movedim(-1, 0)
    wider = torch.full((*x.shape[:-1], 2 * x.shape[-1] + 1), math.nan, dtype=x.dtype)
    wider[..., 1::2] = x
    yield wider[..., 1::2]
    wider = torch.full((*x.shape[:-1], x.shape[-1] + 2), math.nan, dtype=x.dtype)
    wider[..., 1:-1] = x
    yield wider[..., 1:-1]
    yield torch.cat([x.flip(0), x])[x.shape[0] :]  # an offset into a storage


@every_op
@law(half=True, examples=3)
def test_strides_do_not_matter(case, name):
    op, adjacency, inputs = OPS[name], case.adjacency, case.inputs(OPS[name])
    g = case.values(*op.call(adjacency, *inputs).shape, salt=9)
    wanted, wanted_gradients = gradients(lambda *leaves: op.call(adjacency, *leaves), inputs, g)
    for *others, strided in zip(*map(layouts, (*inputs, g)), strict=True):
        leaves = [each.requires_grad_() for each in others]
        found = op.call(adjacency, *leaves)
        for one, other in zip(torch.autograd.grad(found, leaves, strided), wanted_gradients, strict=True):
            close(one, other)
        if op.kind == "exact":
            assert found.equal(wanted)
        else:  # a library may add up in another order where rows begin elsewhere in memory
            close(found, wanted)


@every_op
@law(half=True, examples=3)
def test_a_row_expanded_is_that_row_repeated(case, name):
    op, adjacency = OPS[name], case.adjacency
    rows = [
        case.values(1, *case.shape(*each)[1:], salt=at).expand(case.shape(*each)) for at, each in enumerate(op.inputs)
    ]
    found = op.call(adjacency, *rows)
    close(found, op.call(adjacency, *(each.contiguous() for each in rows)))
    leaves = [each.requires_grad_() for each in rows]
    expanded = torch.autograd.grad(op.call(adjacency, *leaves).sum(), leaves)  # the gradient of a sum is expanded, too
    _, wanted = gradients(lambda *leaves: op.call(adjacency, *leaves), rows, torch.ones_like(found))
    for one, other in zip(expanded, wanted, strict=True):
        close(one, other)


def wide(name, nodes, edges, dtype):
    """An operator's call and inputs, wide enough that threads share the work; a tenth of the edges enter one node."""
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(nodes, (2, edges), generator=generator)
    edge_index[1, : edges // 10] = 1
    adjacency = Adjacency.from_edge_index(edge_index, nodes)
    case = Case(tuple(map(tuple, edge_index.T.tolist())), nodes, nodes, dtype=dtype)
    shapes = [(*shape[:-1], 8 * shape[-1]) if shape[-1] in (3, 4) else shape for shape in OPS[name].inputs]
    inputs = [case.values(*case.shape(*shape), salt=at) for at, shape in enumerate(shapes)]
    return lambda *leaves: OPS[name].call(adjacency, *leaves), inputs


@every_op
@pytest.mark.parametrize(
    ("backend", "dtype", "nodes", "edges"),
    [("torch", F32, 1500, 40_000), ("torch", BF16, 300, 6_000), ("reference", F64, 60, 900)],
)
def test_bits_are_the_same_in_every_run_and_for_every_number_of_threads(backend, dtype, nodes, edges, name):
    call, inputs = wide(name, nodes, edges, dtype)
    before = torch.get_num_threads()
    try:
        with using(backend):
            runs = []
            for threads in (1, 2, 2):
                torch.set_num_threads(threads)
                result, found = gradients(call, inputs, torch.ones_like(call(*inputs)))
                runs.append([result, *found])
    finally:
        torch.set_num_threads(before)
    for one, *others in zip(*runs, strict=True):
        assert all(one.equal(other) for other in others)
