"""One quadratic form is the sum of all squared covariances across clusters."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from graftable.errors import ConfigError, ShapeError
from graftable.graphs.reweighting import RandomFourierFeatures, dependence_matrix, objective
from graftable.graphs.reweighting.dependence import CosineForm, KernelForm, dependence_form
from graftable.graphs.reweighting.objective import Objective

problems = st.builds(
    lambda rows, variables, width, clusters, seed: (rows, variables, width, clusters, seed),
    st.integers(1, 150),  # more than one strip of the matrix
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**32 - 1),
)


def drawn(problem):
    rows, variables, width, clusters, seed = problem
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, variables, width, generator=draw, dtype=torch.float64)
    labels = torch.randint(0, clusters, (variables,), generator=draw)
    weights = torch.rand(rows, generator=draw, dtype=torch.float64)
    return features, labels, weights / weights.sum()


def looped(features, labels, weights, centre):
    """The sum of the definition, pair by pair."""
    centred = features - torch.einsum("n,niq->iq", centre, features)
    total = 0.0
    for i in range(features.shape[1]):
        for j in range(i):
            if labels[i] != labels[j]:
                total += float((centred[:, i].T @ (weights.unsqueeze(1) * centred[:, j])).square().sum())
    return total


@settings(max_examples=60, derandomize=True)
@given(problems)
def test_the_form_is_the_sum_of_squared_covariances_across_clusters(problem):
    features, labels, weights = drawn(problem)
    centre = torch.full_like(weights, 1 / len(weights))
    expected = looped(features, labels, weights, centre)
    form = CosineForm(features, labels)
    matrix, total = form.matrix(centre)
    assert math.isclose(float(weights @ matrix @ weights), expected, rel_tol=1e-9, abs_tol=1e-12)
    product = form.product(form.centred(centre), weights)
    assert_close(product, matrix @ weights)
    assert math.isclose(form.value(weights), looped(features, labels, weights, weights), rel_tol=1e-9, abs_tol=1e-12)
    single, _ = CosineForm(features.float(), labels).matrix(centre)
    rounding = 1e-6 * max(float(total.square().max()), 1.0)  # one cluster: a difference of equal squares
    assert math.isclose(float(weights.float() @ single @ weights.float()), expected, rel_tol=1e-5, abs_tol=rounding)


@settings(max_examples=30, derandomize=True)
@given(problems)
def test_the_form_is_positive_semidefinite_and_knows_its_diagonal(problem):
    features, labels, weights = drawn(problem)
    form = CosineForm(features, labels)
    matrix, total = form.matrix(weights)
    assert_close(matrix, matrix.T, rtol=1e-12, atol=1e-12 * max(float(total.square().max()), 1.0))
    assert float(torch.linalg.eigvalsh(matrix)[0]) > -1e-6
    assert_close(form.diagonal(form.centred(weights)), (matrix.diagonal(), total.diagonal()), rtol=1e-9, atol=1e-9)


@settings(max_examples=20, derandomize=True)
@given(problems)
def test_centring_anew_is_building_anew(problem):
    features, labels, weights = drawn(problem)
    first = torch.full_like(weights, 1 / len(weights))
    form = CosineForm(features, labels)
    left, right = form.shift(form.centred(first), weights)
    half = left @ right.T
    (old, total), (new, _) = form.matrix(first), form.matrix(weights)
    assert_close(old + half + half.T, new, rtol=1e-9, atol=1e-9 * max(float(total.square().max()), 1.0))


@pytest.mark.parametrize("few_rows", [0, 1000], ids=["factors", "matrix"])
@pytest.mark.parametrize("alpha", [0.0, 0.7])
@settings(max_examples=20, derandomize=True)
@given(problems)
def test_an_objective_is_the_scaled_form_at_every_centre(alpha, few_rows, problem):
    features, labels, weights = drawn(problem)
    form = CosineForm(features, labels)
    one = Objective(form, alpha)
    for centre in (torch.full_like(weights, 1 / len(weights)), weights, weights.square() / weights.square().sum()):
        matrix, total = form.matrix(centre)
        mean, shift = (float(part.diagonal().mean().clamp(min=1e-30)) for part in (matrix, total))
        expected = matrix / mean + alpha * total / shift + 1e-3 * torch.eye(len(matrix))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(objective, "FEW_ROWS", few_rows)
            product, diagonal = one.at(centre)
        if mean > 1e-9:  # else one cluster, whose form is 0
            assert_close(product(weights), expected @ weights, rtol=1e-7, atol=1e-7)
            assert_close(diagonal, expected.diagonal(), rtol=1e-7, atol=1e-9)


def test_one_cluster_has_nothing_across_it():
    features, _, weights = drawn((40, 5, 3, 1, 0))
    matrix, _ = CosineForm(features, torch.zeros(5, dtype=torch.long)).matrix(weights)
    assert float(matrix.abs().max()) < 1e-12 * float(features.square().sum()) ** 2


@pytest.mark.parametrize("features", ["rff", "rbf", "linear"])
def test_clusters_of_one_variable_are_all_pairs_of_the_dependence_matrix(features):
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(60, 4, generator=draw).cumsum(1)
    weights = torch.rand(60, generator=draw)
    values = (z - z.mean(0)) / z.std(0, correction=0)
    form = dependence_form(values.double(), torch.arange(4), features)
    pairs = dependence_matrix(z, weights, features=features)
    assert_close(pairs, pairs.T)
    expected = form.value(weights.double() / weights.double().sum())
    assert float(pairs.triu(1).sum()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("features", ["rff", "rbf", "linear"])
def test_constant_variables_depend_on_nothing(features):
    varied = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    matrix = dependence_matrix(torch.cat([torch.ones(20, 1), varied], 1), features=features)
    assert matrix[0].tolist() == [0.0, 0.0, 0.0]
    assert_close(matrix[1:, 1:], dependence_matrix(varied, features=features))
    assert not dependence_matrix(torch.ones(20, 3), features=features).any()


def test_many_cosines_tend_to_the_kernel():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(50, 4, generator=draw).cumsum(1)
    values = (values - values.mean(0)) / values.std(0, correction=0)
    labels, weights = torch.tensor([0, 1, 0, 1]), torch.full((50,), 0.02)
    exact = KernelForm(values, labels).value(weights)
    many = CosineForm(RandomFourierFeatures(4, 400)(values), labels).value(weights)
    assert many == pytest.approx(exact, rel=0.15)


def test_the_dependence_matrix_sees_what_a_correlation_does_not():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 2000, generator=draw)
    table = torch.stack([x, x.square(), y, torch.ones_like(x)], 1)
    linear, any_kind = dependence_matrix(table, features="linear"), dependence_matrix(table)
    assert float(linear[0, 1]) < 0.02
    assert float(any_kind[0, 1]) > 10 * float(any_kind[0, 2])
    assert float(any_kind[3].abs().sum()) == 0  # the constant column


def test_the_cosines_are_a_function_of_the_seed():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert_close(RandomFourierFeatures(3, seed=1)(x), RandomFourierFeatures(3, seed=1)(x), rtol=0, atol=0)
    assert not torch.equal(RandomFourierFeatures(3, seed=1)(x), RandomFourierFeatures(3, seed=2)(x))


def test_what_cannot_be_read_is_refused():
    with pytest.raises(ConfigError, match="at least 1"):
        RandomFourierFeatures(0)
    with pytest.raises(ShapeError, match=r"expected \(rows, 3\)"):
        RandomFourierFeatures(3)(torch.zeros(2, 4))
    with pytest.raises(ConfigError, match="expected one of rff, rbf, linear"):
        dependence_matrix(torch.eye(4), features="cosine")
    with pytest.raises(ShapeError, match="one weight per row"):
        dependence_matrix(torch.zeros(4, 2), torch.ones(3))
