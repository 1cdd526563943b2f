"""Every kernel made of torch's CPU primitives answers as the reference does, by every path that it may take."""

import contextlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graftable.graphs.ops import (
    reference,
    torch_aggregate,
    torch_attention,
    torch_backend,
    torch_primitives,
    torch_sums,
)
from graftable.graphs.ops.adjacency import Adjacency

PATHS = {
    "as shipped": {},
    "public names only": {"PRIVATE": False},
    "many chunks": {"SLOTS": 3, "TINY": 0},
    "public names, many chunks": {"PRIVATE": False, "SLOTS": 3, "TINY": 0},
    "tiled columns": {"WIDE": 0, "TILE": 2, "TINY": 0},
}
DTYPES = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 1.6e-2}
EPS = 1e-6


@contextlib.contextmanager
def path(name):
    before = {key: getattr(torch_primitives, key) for key in PATHS[name]}
    try:
        for key, value in PATHS[name].items():
            setattr(torch_primitives, key, value)
        yield
    finally:
        for key, value in before.items():
            setattr(torch_primitives, key, value)


@st.composite
def graphs(draw):
    """Multigraphs between two kinds of node: empty rows, repeated edges and a hub that takes every second edge."""
    num_dst, num_src = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    edges = draw(st.lists(st.tuples(st.integers(0, num_src - 1), st.integers(0, num_dst - 1)), max_size=24))
    if draw(st.booleans()):
        edges = [(source, 0 if place % 2 else to) for place, (source, to) in enumerate(edges)]
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
    return Adjacency.from_edge_index(edge_index, (num_dst, num_src))


@st.composite
def problems(draw, dtypes=tuple(DTYPES)):
    """A graph, a source of numbers for it, and the path to take."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    dtype, strided = draw(st.sampled_from(dtypes)), draw(st.booleans())

    def numbers(*shape):
        if strided and len(shape) > 1:  # columns of a wider tensor, in another order of the axes
            wide = torch.randn(*reversed(shape), 2, generator=generator, dtype=torch.float64)
            return wide.to(dtype)[..., 0].permute(*reversed(range(len(shape))))
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    return draw(graphs()), numbers, DTYPES[dtype], draw(st.sampled_from(sorted(PATHS)))


def law(test):
    return settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])(given(problems())(test))


def assert_same(got, wanted, tolerance):
    if wanted is None:
        assert got is None
        return
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    assert got.is_contiguous()
    scale = wanted[wanted.isfinite()].abs().max().clamp(min=1).item() if wanted.isfinite().any() else 1
    torch.testing.assert_close(got, wanted, rtol=0, atol=8 * tolerance * scale, equal_nan=True)


def compare(module, name, problem, *arguments):
    """Both modules on the same arguments, which stay as they were."""
    adjacency, _, tolerance, way = problem
    before = [each.clone() if isinstance(each, torch.Tensor) else each for each in arguments]
    with path(way):
        got = getattr(module, name)(adjacency, *arguments)
    wanted = getattr(reference, name)(adjacency, *arguments)
    for each, kept in zip(arguments, before, strict=True):
        if isinstance(each, torch.Tensor):
            assert torch.equal(each.nan_to_num(), kept.nan_to_num())
    if not isinstance(got, tuple):
        got, wanted = (got,), (wanted,)
    compared = 6 if name == "multi_aggregate" else len(wanted)  # each backend has its own centre
    for ours, theirs in zip(got[:compared], wanted[:compared], strict=True):
        assert_same(ours, theirs, tolerance)
    return got


def kinds(adjacency):
    return [(False, adjacency.num_src, adjacency.num_dst), (True, adjacency.num_dst, adjacency.num_src)]


@law
def test_spmm_equals_the_reference(problem):
    adjacency, numbers, *_ = problem
    edges = adjacency.num_edges
    for transposed, n_in, _ in kinds(adjacency):
        for mean in (False, True):
            x = numbers(n_in, 5)
            compare(torch_sums, "spmm", problem, x, None, transposed, mean)
            compare(torch_sums, "spmm", problem, x, numbers(edges), transposed, mean)
            for features in (1, 3, 8):
                x = numbers(n_in, 3, features)
                compare(torch_sums, "spmm", problem, x, None, transposed, mean)
                compare(torch_sums, "spmm", problem, x, numbers(edges, 3), transposed, mean)


@law
def test_sddmm_equals_the_reference(problem):
    adjacency, numbers, *_ = problem
    n, m = adjacency.num_dst, adjacency.num_src
    compare(torch_sums, "sddmm", problem, numbers(n, 5), numbers(m, 5))
    for features in (1, 3, 8):
        compare(torch_sums, "sddmm", problem, numbers(n, 3, features), numbers(m, 3, features))


@law
def test_edge_gather_and_edge_sum_equal_the_reference(problem):
    adjacency, numbers, *_ = problem
    for transposed, _, n_out in kinds(adjacency):
        for tail in ((), (3,), (2, 3)):
            compare(torch_sums, "edge_gather", problem, numbers(n_out, *tail), transposed)
            compare(torch_sums, "edge_sum", problem, numbers(adjacency.num_edges, *tail), transposed)


@law
def test_typed_sums_equal_the_reference(problem):
    adjacency, numbers, *_ = problem
    edge_type = torch.arange(adjacency.num_edges) % 3
    for transposed, n_in, _ in kinds(adjacency):
        compare(torch_sums, "spmm_typed", problem, numbers(n_in, 5), numbers(4, 5), edge_type, transposed)
    a, b = numbers(adjacency.num_dst, 5), numbers(adjacency.num_src, 5)
    compare(torch_sums, "typed_outer", problem, a, b, edge_type, 4)


@law
def test_multi_aggregate_equals_the_reference(problem):
    adjacency, numbers, *_ = problem
    x = numbers(adjacency.num_src, 4)
    x = torch.where(x > 1, x.new_tensor(1), x)  # ties
    for asked in ("mean", "max", "min", "std", "mean,max,min,std"):
        mean, _, _, std, argmax, argmin, center = compare(torch_aggregate, "multi_aggregate", problem, x, asked, EPS)
        g = [numbers(adjacency.num_dst, 4) if kind in asked else None for kind in ("mean", "max", "min", "std")]
        known = (x, mean, std, argmax, argmin, center)
        if "std" in asked:  # the derivative divides by it, and the reference finds its own
            adjacency, numbers, tolerance, way = problem
            steep = (adjacency, numbers, tolerance / (std[std > 0].min().item() if (std > 0).any() else 1), way)
            compare(torch_aggregate, "multi_aggregate_backward", steep, *g, *known, EPS)
        else:
            empty = x.new_empty(0)
            compare(torch_aggregate, "multi_aggregate_backward", problem, *g, empty, empty, empty, *known[3:], EPS)


@law
def test_nan_wins_and_reaches_only_those_who_see_it(problem):
    adjacency, numbers, *_ = problem
    x = numbers(adjacency.num_src, 3).clone()
    x[0, 0] = x[-1, 0] = torch.nan
    compare(torch_aggregate, "multi_aggregate", problem, x, "mean,max,min,std", EPS)


@law
def test_segment_softmax_equals_the_reference(problem):
    adjacency, numbers, *_ = problem
    for scores in (numbers(adjacency.num_edges), 1e4 * numbers(adjacency.num_edges, 3)):
        scores = scores.masked_fill(scores.abs() % 1 < 0.3, -torch.inf)
        compare(torch_attention, "segment_softmax", problem, scores)


@law
def test_graph_attention_equals_the_reference(problem):
    adjacency, numbers, *_ = problem
    n, m, edges = adjacency.num_dst, adjacency.num_src, adjacency.num_edges
    seed = torch.tensor([11])
    for features, bias, dropout in ((8, None, 0.0), (3, numbers(edges, 2), 0.4)):
        if bias is not None:
            bias = bias.masked_fill(bias > 1, -torch.inf)
        q, k, v = numbers(n, 2, features), numbers(m, 2, features), numbers(m, 2, features)
        options = (0.5, dropout, seed if dropout else None)
        compare(torch_attention, "graph_attention", problem, q, k, v, bias, *options)
        known = reference.graph_attention(adjacency, q, k, v, bias, *options)
        g = numbers(n, 2, features)
        compare(torch_attention, "graph_attention_backward", problem, g, q, k, v, bias, *known, *options)


@law
def test_gatv2_equals_the_reference(problem):
    adjacency, numbers, *_ = problem
    n, m, edges = adjacency.num_dst, adjacency.num_src, adjacency.num_edges
    for edge in (None, numbers(edges, 2, 3)):
        inputs = (numbers(n, 2, 3), numbers(m, 2, 3), numbers(2, 3), edge)
        compare(torch_attention, "gatv2_score", problem, *inputs, 0.2)
        compare(torch_attention, "gatv2_score_backward", problem, numbers(edges, 2), *inputs, 0.2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(0, 0), (3, 0), (0, 3), (2, 3)])
def test_no_edges_give_zeros(size, dtype):
    adjacency = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.long), size)
    n, m = size
    none = torch.zeros(0, 2, dtype=dtype)
    q, k = torch.ones(n, 2, 8, dtype=dtype), torch.ones(m, 2, 8, dtype=dtype)
    for sums in (
        torch_sums.spmm(adjacency, k, none, False, True),
        torch_sums.spmm(adjacency, k, None, False, True),
        torch_sums.spmm_typed(adjacency, k[:, 0], none.new_ones(2, 8), torch.zeros(0, dtype=torch.int32), False),
        torch_attention.graph_attention(adjacency, q, k, k, None, 1.0, 0.0, None)[0],
        torch_aggregate.multi_aggregate(adjacency, k[:, 0], "max,std", EPS)[1],
        torch_aggregate.multi_aggregate(adjacency, k[:, 0], "max,std", EPS)[3],
    ):
        assert sums.shape[0] == n
        assert not sums.any()
    assert torch_sums.sddmm(adjacency, q, k).shape == (0, 2)
    assert torch_sums.sddmm(adjacency, q[:, 0], k[:, 0]).shape == (0,)
    assert torch_sums.spmm(adjacency, q, none, True, False).shape == (m, 2, 8)


def test_infinite_and_nan_messages_are_not_weighted_away():
    adjacency = Adjacency.from_ptr(torch.tensor([0, 1, 2]))
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[torch.inf, 1], [2, torch.nan]], dtype=dtype)
        y = torch_sums.spmm(adjacency, x, torch.zeros(2, dtype=dtype), False, False)
        torch.testing.assert_close(y, torch.tensor([[torch.nan, 0], [0, torch.nan]], dtype=dtype), equal_nan=True)


@pytest.mark.parametrize("way", PATHS)
def test_results_do_not_depend_on_the_number_of_threads(way):
    generator = torch.Generator().manual_seed(0)
    adjacency = Adjacency.from_edge_index(torch.randint(0, 60, (2, 600), generator=generator), 60)
    q, k, v = (torch.randn(60, 4, 16, generator=generator) for _ in range(3))
    x = q.flatten(1)

    def everything():
        with path(way):
            o, lse, weights = torch_attention.graph_attention(adjacency, q, k, v, None, 0.25, 0.0, None)
            arguments = (adjacency, o, q, k, v, None, o, lse, weights, 0.25, 0.0, None)
            score = torch_attention.gatv2_score(adjacency, q, k, v[0], None, 0.2)
            known = torch_aggregate.multi_aggregate(adjacency, x, "mean,max,std", EPS)
            mean, largest, _, std, argmax, argmin, center = known
            return (
                o,
                *torch_attention.graph_attention_backward(*arguments)[:3],
                *torch_attention.gatv2_score_backward(adjacency, score, q, k, v[0], None, 0.2)[:3],
                *known[:2],
                torch_aggregate.multi_aggregate_backward(
                    adjacency, mean, largest, None, std, x, mean, std, argmax, argmin, center, EPS
                ),
                torch_sums.sddmm(adjacency, x, x),
            )

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything()
        torch.set_num_threads(2)
        assert all(map(torch.equal, alone, everything()))
    finally:
        torch.set_num_threads(before)


def test_the_backend_has_every_operator_of_the_reference():
    assert torch_backend.__all__ == reference.__all__
    assert all(callable(getattr(torch_backend, name)) for name in reference.__all__)


@law
def test_compiled_code_is_chosen_for_numbers_of_one_type_only(problem):
    adjacency, numbers, *_ = problem
    x = numbers(adjacency.num_src, 2, 3).float()
    weight = numbers(adjacency.num_edges, 2).double()
    y = torch_backend.spmm(adjacency, x, weight, False, False)
    assert_same(y, reference.spmm(adjacency, x, weight, False, False), 2e-6)
    table, edge_type = numbers(2, 3).double(), torch.arange(adjacency.num_edges) % 2
    y = torch_backend.spmm_typed(adjacency, x[:, 0], table, edge_type, False)
    assert_same(y, reference.spmm_typed(adjacency, x[:, 0], table, edge_type, False), 2e-6)


@law
def test_compiled_and_composed_kernels_agree(problem):
    adjacency, numbers, *_ = problem
    n, m = adjacency.num_dst, adjacency.num_src
    q, k, v = numbers(n, 2, 3), numbers(m, 2, 3), numbers(m, 2, 3)
    compare(torch_backend, "graph_attention", problem, q, k, v, None, 0.5, 0.0, None)
    compare(torch_backend, "sddmm", problem, q, k)
    compare(torch_backend, "spmm", problem, k, numbers(adjacency.num_edges, 2), False, True)
    weight = numbers(adjacency.num_edges)
    flat = compare(torch_backend, "spmm", problem, k.flatten(1), weight, False, False)[0]
    assert torch.equal(torch_backend.spmm(adjacency, k, weight, False, False), flat.view(n, 2, 3))
