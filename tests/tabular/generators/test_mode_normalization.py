"""A number becomes a mode and a place in it, and comes back; what moves out of its mode finds another."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.tabular.generators.blocks import Blocks
from graftable.tabular.generators.mode_normalization import EDGE, ModeNormalization, Modes, fit_modes

seeds = st.integers(0, 2**32 - 1)


def numbers(seed):
    """Peaks, repeated values and tails."""
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal() * 100, rng.exponential() * 10, rng.integers(1, 400)) for _ in range(3)]
    parts.append(np.repeat(rng.normal(size=3) * 50, rng.integers(1, 200, 3)))
    return np.concatenate(parts).round(2)


@settings(max_examples=25, derandomize=True)
@given(seeds)
def test_what_is_normalised_comes_back(seed):
    values = numbers(seed)
    modes = fit_modes(values, step=0.01)
    alpha, mode = modes.assign(values, np.random.default_rng(0))
    back = modes.centers[mode] + modes.widths[mode] * alpha
    inside = np.abs(alpha) < EDGE
    assert np.abs(alpha).max() <= EDGE
    assert inside.mean() > 0.99
    np.testing.assert_allclose(back[inside], values[inside], atol=1e-8)


@settings(max_examples=25, derandomize=True)
@given(seeds)
def test_modes_describe_all_rows_and_are_few(seed):
    values = numbers(seed)
    modes = fit_modes(values, step=0.01, most=6)
    assert len(modes) - modes.atoms <= 6
    assert (modes.widths > 0).all()
    assert modes.weights.sum() == pytest.approx(1)
    mean = (modes.weights * modes.centers).sum()
    assert mean == pytest.approx(values.mean(), abs=0.02 * values.std() + 0.01)


def test_values_that_repeat_are_modes_of_their_own():
    rng = np.random.default_rng(0)
    modes = fit_modes(np.append(np.zeros(600), rng.exponential(1000, 400).round()), step=1.0)
    alpha, mode = modes.assign(np.zeros(5), rng)
    assert modes.atoms == 1
    assert (mode == 0).all()
    assert (alpha == 0).all()
    assert modes.widths[0] <= 0.5


def test_two_peaks_are_two_modes():
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(-5, 1, 3000), rng.normal(20, 2, 1000))
    modes = fit_modes(values, step=1e-6, most=2)
    np.testing.assert_allclose(modes.centers, [-5, 20], atol=0.2)
    np.testing.assert_allclose(modes.widths / 4, [1, 2], rtol=0.1)


def test_no_values_one_value_and_huge_values_have_modes():
    assert len(fit_modes(np.empty(0), step=1.0)) == 0
    one = fit_modes(np.array([7.0]), step=1.0)
    assert (one.centers.tolist(), one.atoms) == ([7.0], 1)
    huge = fit_modes(np.linspace(-1e15, 1e15, 999), step=1.0)
    assert np.isfinite(huge.centers).all()
    assert np.isfinite(huge.widths).all()


def two_columns():
    wide = Modes(np.array([0.0, 50.0]), np.array([0.5, 8.0]), np.array([0.4, 0.6]), atoms=1)
    many = Modes(np.array([-3.0, 0.0, 9.0]), np.array([2.0, 2.0, 4.0]), np.ones(3) / 3)
    return ModeNormalization([wide, many], [1, 0])


def drawn(normalization, rows=200):
    torch.manual_seed(0)
    blocks = Blocks(normalization.sizes)
    alpha = torch.rand(rows, 2, dtype=torch.float64) * 1.8 - 0.9
    return alpha, blocks.one_hot(blocks.draw(torch.zeros(rows, blocks.width)))


def test_the_way_back_and_forth_changes_nothing():
    normalization = two_columns()
    alpha, choices = drawn(normalization)
    x = normalization.inverse(alpha, choices)
    again, same = normalization(x, choices)
    assert torch.equal(same, choices)
    torch.testing.assert_close(again, torch.where(x.isnan(), 0.0, alpha).float())


def test_a_number_out_of_reach_takes_the_nearest_mode():
    normalization = two_columns()
    choices = Blocks(normalization.sizes).one_hot(torch.tensor([[0, 0]])).requires_grad_()
    alpha, moved = normalization(torch.tensor([[51.0, 10.0]], dtype=torch.float64), choices)
    assert Blocks(normalization.sizes).argmax(moved).tolist() == [[1, 2]]
    torch.testing.assert_close(alpha, torch.tensor([[1 / 8, 1 / 4]]))
    moved[0, 1].backward()
    assert choices.grad.abs().sum() == 1


def test_the_inverse_is_differentiable_in_values_and_choices():
    normalization = two_columns()
    alpha, choices = drawn(normalization, 5)
    choices = choices.double().clamp(0.1, 0.4)
    assert torch.autograd.gradcheck(normalization.inverse, (alpha.requires_grad_(), choices.requires_grad_()))


@settings(max_examples=15, derandomize=True)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), seeds)
def test_blocks_do_what_a_loop_over_columns_does(sizes, seed):
    blocks = Blocks(sizes)
    torch.manual_seed(seed % 2**31)
    logits = 30 * torch.randn(7, blocks.width)
    parts = logits.split(sizes, 1)
    codes = torch.stack([torch.randint(size, (7,)) for size in sizes], 1)
    torch.testing.assert_close(blocks.softmax(logits), torch.cat([part.softmax(1) for part in parts], 1))
    assert torch.equal(blocks.argmax(logits), torch.stack([part.argmax(1) for part in parts], 1))
    expected = [
        torch.nn.functional.cross_entropy(part, code, reduction="none")
        for part, code in zip(parts, codes.T, strict=True)
    ]
    torch.testing.assert_close(blocks.cross_entropy(logits, codes), torch.stack(expected, 1), rtol=1e-4, atol=1e-4)
    assert torch.equal(blocks.argmax(blocks.one_hot(codes)), codes)


def test_hard_choices_have_one_option_and_pass_gradients():
    blocks = Blocks([3, 1, 4])
    logits = torch.randn(50, 8, requires_grad=True)
    row = blocks.gumbel(logits, 0.5)
    assert torch.equal(row.detach() @ blocks.sums, torch.ones(50, 3))
    (row * torch.randn(8)).sum().backward()
    assert (logits.grad[:, [0, 1, 2, 4, 5, 6, 7]].abs().sum(0) > 0).all()


def test_draws_have_the_probabilities_of_the_softmax():
    blocks = Blocks([3])
    torch.manual_seed(0)
    shares = torch.tensor([0.7, 0.1, 0.2])
    codes = blocks.draw(shares.log().expand(20_000, 3))
    torch.testing.assert_close(codes[:, 0].bincount(minlength=3) / 20_000, shares, atol=0.02, rtol=0)
