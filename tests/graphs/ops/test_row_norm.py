"""Batch norm over rows is torch's, with the ReLU after it, in one call: values, gradients, and running moments."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from graftable.graphs.ops import native_library, norm_rows, use_backend

TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-10}
both = pytest.mark.parametrize("relu", [False, True], ids=["plain", "relu"])


def numbers(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def made(columns, dtype=torch.float64):
    norm = nn.BatchNorm1d(columns, dtype=dtype)
    with torch.no_grad():
        norm.weight.copy_(numbers(columns, seed=1))
        norm.bias.copy_(numbers(columns, seed=2))
    return norm


def ours(norm, x, relu, **options):
    return norm_rows(x, norm.weight, norm.bias, norm.running_mean, norm.running_var, relu=relu, **options)


@both
@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (64, 1), (65, 16), (200, 17), (129, 100), (300, 128)])
def test_values_gradients_and_running_moments_are_those_of_torch(rows, columns, dtype, backend, relu):
    theirs, mine = made(columns), made(columns, dtype)
    x = 3 * numbers(rows, columns, seed=3) + 50  # far from zero: the variance must not cancel
    g, found = numbers(rows, columns, seed=4), x.to(dtype).requires_grad_()
    x = found.detach().double().requires_grad_()
    wanted = theirs(x).relu() if relu else theirs(x)
    gradients = torch.autograd.grad(wanted, [x, theirs.weight, theirs.bias], g)
    with use_backend(backend):
        out = ours(mine, found, relu)
        got = torch.autograd.grad(out, [found, mine.weight, mine.bias], g.to(dtype))
    tolerance = {"rtol": TOLERANCES[dtype], "atol": 10 * TOLERANCES[dtype]}
    moments = [(mine.running_mean, theirs.running_mean), (mine.running_var, theirs.running_var)]
    for one, other in [(out, wanted), *zip(got, gradients, strict=True), *moments]:
        assert_close(one.double(), other, **tolerance)


@both
def test_second_derivatives_are_right(relu):
    norm, x, g = made(3), numbers(5, 3, seed=3).requires_grad_(), numbers(5, 3, seed=4).requires_grad_()

    def call(x, weight, bias):
        return norm_rows(x, weight, bias, torch.zeros(3).double(), torch.ones(3).double(), relu=relu)

    inputs = (x, norm.weight, norm.bias)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs, g)


@both
def test_an_offset_moves_the_running_mean_alone(relu):
    x, offset = numbers(70, 5, seed=3), numbers(5, seed=4).requires_grad_()
    added, left = made(5), made(5)
    wanted, found = ours(added, x + offset.detach(), relu), ours(left, x, relu, offset=offset)
    assert_close(found, wanted)
    assert_close(left.running_mean, added.running_mean)
    assert_close(left.running_var, added.running_var)
    (gradient,) = torch.autograd.grad(found.square().sum(), offset)
    assert_close(gradient, torch.zeros(5).double())


@both
def test_a_nan_reaches_its_own_column_and_no_other(relu):
    norm, x = made(40, torch.float32), numbers(80, 40, dtype=torch.float32, seed=3)
    clean = ours(made(40, torch.float32), x, relu)
    x[7, 21] = torch.nan
    x.requires_grad_()
    out = ours(norm, x, relu)
    others = torch.arange(40) != 21
    assert torch.equal(out[:, others], clean[:, others])
    assert bool(out[:, 21].isnan().all())
    out.sum().backward()
    assert bool(x.grad[:, others].isfinite().all())
    assert bool(x.grad[:, 21].isnan().all())


def test_a_single_row_and_another_width_are_refused():
    norm = made(5)
    with pytest.raises(ValueError, match="more than 1 value"):
        ours(norm, numbers(1, 5), False)
    with pytest.raises(RuntimeError, match="contain 6 elements"):
        ours(norm, numbers(4, 6), False)


@pytest.mark.skipif(not native_library.available(), reason="no C++ compiler here")
def test_results_do_not_depend_on_the_number_of_threads():
    x, before, answers = numbers(3000, 72, dtype=torch.float32, seed=3).requires_grad_(), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            norm = made(72, torch.float32)
            out = ours(norm, x, True)
            gradients = torch.autograd.grad(out.square().sum(), [x, norm.weight, norm.bias])
            answers.append([out, *gradients, norm.running_mean, norm.running_var])
    finally:
        torch.set_num_threads(before)
    for first, *others in zip(*answers, strict=True):
        assert all(torch.equal(first, other) for other in others)
