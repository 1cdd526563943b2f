"""Maxima, minima, spread, and all of them in one call: which slot wins, who gets the gradient, what cancels."""

import itertools

import pytest
import torch
from ops_laws import BF16, EPS, F32, F64, Case, Dense, close, close_spread, gradients, law, using

from graftable.graphs.ops import Adjacency, multi_aggregate, spmm

ALL = ("sum", "mean", "max", "min", "std")
backends = pytest.mark.parametrize("backend", ["reference", "torch", "plain", "triton"])
fast_backends = pytest.mark.parametrize("backend", ["reference", "torch", "plain"])


@law(half=True)
def test_the_least_is_the_greatest_of_the_negated(case):
    x = case.values(case.num_src, 3)
    assert spmm(case.adjacency, x, reduce="min").equal(-spmm(case.adjacency, -x, reduce="max"))


@law(half=True)
def test_an_edge_given_twice_leaves_extremes_and_spread_and_doubles_no_gradient(case):
    x = case.values(case.num_src, 3).double().mul(64).round().div(64).to(case.dtype)  # rounded: ties occur
    once, twice = (Case(case.edges * n, case.num_dst, case.num_src, index=case.index).adjacency for n in (1, 2))
    g = case.values(case.num_dst, 3, salt=1)
    for reduce in ("max", "min"):
        value, (found,) = gradients(lambda leaf, how=reduce: spmm(twice, leaf, reduce=how), [x], g)
        other, (wanted,) = gradients(lambda leaf, how=reduce: spmm(once, leaf, reduce=how), [x], g)
        assert value.equal(other)
        close(found, wanted)
    several = once.rowptr.diff() > 1
    close_spread(spmm(twice, x, reduce="std")[several], spmm(once, x, reduce="std")[several], factor=10)


@law(half=True)
def test_a_gradient_goes_whole_to_the_first_of_the_equal_winners(case):
    adjacency = case.adjacency
    x = case.values(case.num_src, 3).sign()  # few values: every row has ties
    g = case.values(case.num_dst, 3, salt=1)
    for reduce, sign in (("max", 1), ("min", -1)):
        _, (found,) = gradients(lambda leaf, how=reduce: spmm(adjacency, leaf, reduce=how), [x], g)
        wanted = torch.zeros(case.num_src, 3, dtype=F64)
        for i, (start, stop) in enumerate(itertools.pairwise(adjacency.rowptr.tolist())):
            sources = adjacency.col[start:stop].tolist()
            for column in range(3 if sources else 0):
                winner = max(sources, key=lambda j: sign * x[j, column])  # of equals, Python's max gives the first
                wanted[winner, column] += g[i, column].double()
        close(found, wanted)


@law(half=True)
def test_one_call_for_several_gives_what_each_gives_alone_in_the_order_asked(case):
    adjacency, x = case.adjacency, case.values(case.num_src, 2, 3)
    order = [ALL[(case.seed * step + 1) % 5] for step in (1, 2, 3)]  # names may repeat
    for name, found in zip(order, multi_aggregate(adjacency, x, order), strict=True):
        wanted = spmm(adjacency, x, reduce=name)
        assert found.dtype == wanted.dtype
        close_spread(found, wanted, factor=10)
    everything = multi_aggregate(adjacency, x, ALL)
    assert all(each.shape == (case.num_dst, 2, 3) for each in everything)


@law(examples=3)
def test_gradients_of_several_are_the_sum_of_the_gradients_of_each(case):
    adjacency, x = case.adjacency, case.values(case.num_src, 3)
    _, (found,) = gradients(
        lambda leaf: sum(multi_aggregate(adjacency, leaf, ALL)), [x], g := case.values(case.num_dst, 3, salt=1)
    )
    wanted = sum(gradients(lambda leaf, how=how: spmm(adjacency, leaf, reduce=how), [x], g)[1][0] for how in ALL)
    close(found, wanted, factor=100)


@fast_backends
@pytest.mark.parametrize("used", [names for size in (1, 2) for names in itertools.combinations(range(4), size)])
def test_results_that_nothing_uses_take_no_part_in_the_gradient(backend, used):
    case = Case(((0, 0), (1, 0), (2, 0), (2, 1), (1, 1)), 3, 3, seed=2, dtype=F64)
    names = ("mean", "max", "min", "std")
    with using(backend):
        call = lambda leaf: sum(multi_aggregate(case.adjacency, leaf, names)[at] for at in used)  # noqa: E731
        few = lambda leaf: sum(multi_aggregate(case.adjacency, leaf, [names[at] for at in used]))  # noqa: E731
        x, g = case.values(3, 2), case.values(3, 2, salt=1)
        close(gradients(call, [x], g)[1][0], gradients(few, [x], g)[1][0])


@backends
@pytest.mark.parametrize("dtype", [F32, F64, BF16])
def test_a_single_number_has_no_spread_and_no_gradient(backend, dtype):
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 1], [0, 1, 2]]), 4)
    x = torch.tensor([[1e3, 2.5], [0.1, -7.0], [5.0, 5.0], [0.0, 0.0]], dtype=dtype)
    with using(backend):
        value, (found,) = gradients(
            lambda leaf: spmm(adjacency, leaf, reduce="std"), [x], torch.ones(4, 2, dtype=dtype)
        )
    assert not value.any()
    assert not found.any()


@backends
@pytest.mark.parametrize("dtype", [F32, F64, BF16])
def test_the_spread_of_equal_numbers_is_the_floor_and_has_no_gradient(backend, dtype):
    adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1]]), 2)
    x = torch.full((2, 3), 0.7, dtype=dtype)
    with using(backend):
        value, (found,) = gradients(
            lambda leaf: spmm(adjacency, leaf, reduce="std"), [x], torch.ones(2, 3, dtype=dtype)
        )
        (wide,) = multi_aggregate(adjacency, x, ["std"], eps=0.25)
    close(value, torch.full((2, 3), EPS**0.5, dtype=F64))
    assert not found.any()
    close(wide, torch.full((2, 3), 0.5))


@backends
def test_the_spread_of_numbers_far_from_zero_keeps_its_digits(backend):
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.stack([torch.randint(30, (120,), generator=generator), torch.arange(120) % 4])
    adjacency = Adjacency.from_edge_index(edge_index, (4, 30))
    x = torch.randn(30, 5, generator=generator) + 100
    with using(backend):
        found = spmm(adjacency, x, reduce="std")
    wanted = Dense(adjacency).std(Dense(adjacency).source(x.double()))
    assert (found - wanted).abs().max() < 1e-5


@backends
def test_infinities_and_nan_order_as_numbers_do(backend):
    inf, nan = torch.inf, torch.nan
    columns = [[1.0, nan, 2.0], [-inf, -inf, -inf], [inf, 0.0, nan], [-inf, 3.0, inf], [-0.0, 0.0, -0.0]]
    x = torch.tensor(columns).T.contiguous()
    adjacency = Adjacency.from_ptr(torch.tensor([0, 3, 3]))
    with using(backend):
        largest, (found,) = gradients(lambda leaf: spmm(adjacency, leaf, reduce="max"), [x], torch.ones(2, 5))
        smallest = spmm(adjacency, x, reduce="min")
    torch.testing.assert_close(largest, torch.tensor([[nan, -inf, nan, inf, 0.0], [0.0] * 5]), equal_nan=True)
    torch.testing.assert_close(smallest, torch.tensor([[nan, -inf, nan, -inf, 0.0], [0.0] * 5]), equal_nan=True)
    assert found.T.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1], [1, 0, 0]]


@fast_backends
def test_the_extremes_of_nothing_are_zero_and_take_no_gradient(backend):
    adjacency = Adjacency.from_edge_index(torch.tensor([[3], [1]]), 4)
    x = torch.full((4, 2), -5.0)
    with using(backend):
        value, (found,) = gradients(lambda leaf: spmm(adjacency, leaf, reduce="max"), [x], torch.ones(4, 2))
    assert value.tolist() == [[0, 0], [-5, -5], [0, 0], [0, 0]]
    assert found.tolist() == [[0, 0], [0, 0], [0, 0], [1, 1]]
