"""The projection and the solver against slow solvers that share no code with them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, NonlinearConstraint, minimize
from torch.testing import assert_close

from graftable.errors import ConfigError, ShapeError
from graftable.graphs.reweighting.simplex import WeightSet, largest_eigenvalue, minimise

seeds = st.integers(0, 2**32 - 1)


def a_set(seed, blocks):
    draw = torch.Generator().manual_seed(seed)
    rows = int(torch.randint(max(blocks, 2), 30, (1,), generator=draw))
    rho = float(torch.rand((), generator=draw)) * 0.98 + 0.01
    groups = torch.cat([torch.arange(blocks), torch.randint(0, blocks, (rows - blocks,), generator=draw)])
    masses = torch.rand(blocks, generator=draw, dtype=torch.float64) + 0.1
    y = torch.randn(rows, generator=draw, dtype=torch.float64) * 10 ** float(4 * torch.rand((), generator=draw) - 3)
    return WeightSet(rows, rho, groups=groups, masses=masses / masses.sum()), y


def bisected(allowed, y):
    """The nearest point by nested bisection on its form: thresholds within, one scale without."""
    y, groups, masses = y.numpy(), allowed.groups.numpy(), allowed.masses.numpy()

    def at(scale):
        p = np.zeros_like(y)
        for group, mass in enumerate(masses):
            rows = groups == group
            low, high = y[rows].min() - mass * scale, y[rows].max()
            for _ in range(90):
                middle = (low + high) / 2
                low, high = (middle, high) if np.maximum(y[rows] - middle, 0).sum() > mass * scale else (low, middle)
            p[rows] = np.maximum(y[rows] - high, 0) / scale
        return p

    low, high = 1.0, 1.0
    while (at(high) ** 2).sum() > allowed.budget * (1 + 1e-12):
        low, high = high, 2 * high
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if (at(middle) ** 2).sum() > allowed.budget else (low, middle)
    return at(high)


@pytest.mark.parametrize("blocks", [1, 2, 4])
@settings(max_examples=15, derandomize=True)
@given(seed=seeds)
def test_the_projection_is_the_nearest_allowed_point(blocks, seed):
    allowed, y = a_set(seed, blocks)
    found = allowed.project(y)
    assert float(found.min()) >= 0
    assert_close(torch.zeros(blocks, dtype=torch.float64).index_add_(0, allowed.groups, found), allowed.masses)
    assert float(found.square().sum()) <= allowed.budget * (1 + 1e-9)
    assert_close(found, torch.from_numpy(bisected(allowed, y)), rtol=1e-6, atol=1e-8)
    assert_close(allowed.project(found), found, rtol=1e-7, atol=1e-9)  # idempotent


@pytest.mark.parametrize("y", [[0.0] * 6, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [1e12] * 6, [-5.0, 9e9, 0.0, 0.0, 1.0, 1.0]])
@pytest.mark.parametrize("rho", [1e-6, 0.5, 1.0])
def test_ties_and_large_numbers_leave_an_allowed_point(y, rho):
    for groups in (None, torch.tensor([0, 1, 0, 1, 0, 2])):
        allowed = WeightSet(6, rho, groups=groups)
        found = allowed.project(torch.tensor(y))
        assert float(found.sum()) == pytest.approx(1)
        assert float(found.square().sum()) <= allowed.budget * (1 + 1e-6)


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("rho", [0.2, 0.5, 0.9])
def test_the_solver_finds_the_least_value_that_a_general_solver_finds(blocks, rho):
    draw = torch.Generator().manual_seed(blocks)
    rows = 12
    factor = torch.randn(rows, 5, generator=draw, dtype=torch.float64)
    matrix = factor @ factor.T + 0.05 * torch.eye(rows)
    allowed = WeightSet(rows, rho, groups=torch.arange(rows) % blocks)

    def product(p):
        return matrix @ p

    largest, _ = largest_eigenvalue(product, matrix.diagonal())
    assert largest >= float(torch.linalg.eigvalsh(matrix)[-1])
    ours = minimise(product, allowed, allowed.uniform, largest, iterations=5000, tolerance=1e-9)
    member = torch.nn.functional.one_hot(allowed.groups).T.double().numpy()
    theirs = minimize(
        lambda p: p @ matrix.numpy() @ p,
        allowed.uniform.numpy(),
        jac=lambda p: 2 * matrix.numpy() @ p,
        bounds=[(0, 1)] * rows,
        constraints=[
            LinearConstraint(member, allowed.masses.numpy(), allowed.masses.numpy()),
            NonlinearConstraint(lambda p: p @ p, -np.inf, allowed.budget, jac=lambda p: 2 * p),
        ],
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-13},
    )
    assert theirs.success
    assert float(ours.weights @ matrix @ ours.weights) == pytest.approx(theirs.fun, rel=1e-6)
    assert_close(ours.weights, torch.from_numpy(theirs.x), rtol=0, atol=1e-4)


def test_the_penalty_gives_the_same_point_without_the_bound():
    draw = torch.Generator().manual_seed(0)
    factor = torch.randn(40, 6, generator=draw, dtype=torch.float64)
    matrix = factor @ factor.T
    bound, free = WeightSet(40, 0.95), WeightSet(40, 1e-9)
    largest = 1.1 * float(torch.linalg.eigvalsh(matrix)[-1])
    found = minimise(lambda p: matrix @ p, bound, bound.uniform, largest, iterations=20000, tolerance=1e-12)
    assert found.penalty > 0
    raised = matrix + found.penalty * torch.eye(40)
    again = minimise(
        lambda p: raised @ p, free, free.uniform, largest + found.penalty, iterations=20000, tolerance=1e-12
    )
    assert_close(again.weights, found.weights, rtol=0, atol=1e-7)
    assert again.penalty == 0


@pytest.mark.parametrize("rho", [0.0, -1.0, 1.5, float("nan")])
def test_rho_outside_its_range_is_refused(rho):
    with pytest.raises(ConfigError, match=r"rho is .*; expected a share of the rows in \(0, 1\]"):
        WeightSet(4, rho)


def test_groups_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"expected one class per row, \(4,\)"):
        WeightSet(4, 0.5, groups=torch.zeros(3, dtype=torch.long))
