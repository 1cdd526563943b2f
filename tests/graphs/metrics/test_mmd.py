"""Kernels and discrepancies against transport solvers and the definition; intervals against their law."""

import json

import networkx as nx
import numpy as np
import ot
import pytest
from scipy.stats import wasserstein_distance

from graftable.errors import ConfigError, DataError
from graftable.graphs.metrics import KERNELS, Descriptors, describe_graphs, evaluate_graphs, kernel_matrix, mmd


@pytest.fixture(scope="module")
def trees():
    return describe_graphs([nx.random_labeled_tree(16, seed=seed) for seed in range(30)])


@pytest.fixture(scope="module")
def rings():
    return describe_graphs([nx.watts_strogatz_graph(16, 4, 0.2, seed=seed) for seed in range(20)])


@pytest.mark.parametrize(("statistic", "sigma", "scaling"), [("degree", 1.0, 1.0), ("clustering", 0.1, 100.0)])
def test_earth_mover_kernel_equals_transport_solvers(statistic, sigma, scaling):
    rng = np.random.default_rng(0)
    x, y = rng.random((2, 3, 8))
    found = kernel_matrix(x, y, statistic, "gaussian_emd")
    bins = np.arange(8.0)
    cost = np.abs(bins[:, None] - bins) / scaling
    for i in range(3):
        for j in range(3):
            a, b = x[i] / x[i].sum(), y[j] / y[j].sum()
            distance = ot.emd2(a, b, cost)
            assert distance == pytest.approx(wasserstein_distance(bins, bins, a, b) / scaling)
            assert found[i, j] == pytest.approx(np.exp(-(distance**2) / (2 * sigma**2)), abs=1e-5)


def test_total_variation_kernel_is_the_definition():
    x, y = np.array([[2.0, 2.0, 0.0]]), np.array([[0.0, 1.0, 3.0]])
    assert kernel_matrix(x, y, "degree")[0, 0] == pytest.approx(np.exp(-(0.75**2) / 2), abs=1e-5)
    x, y = np.array([[20.0, 0.0]]), np.array([[0.0, 20.0]])
    assert kernel_matrix(x, y, "orbit")[0, 0] == pytest.approx(np.exp(-(20**2) / (2 * 30**2)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_symmetric_and_one_on_equals(kernel, trees, rings):
    for name in ("degree", "clustering", "orbit", "spectral"):
        x, y = trees.vectors[name], rings.vectors[name]
        np.testing.assert_allclose(kernel_matrix(x, y, name, kernel), kernel_matrix(y, x, name, kernel).T)
        np.testing.assert_allclose(np.diag(kernel_matrix(x, x, name, kernel)), 1)


def test_rbf_is_positive_definite(trees, rings):
    for name in trees.vectors:
        both = describe_both(trees, rings, name)
        assert np.linalg.eigvalsh(kernel_matrix(both, both, name, "rbf")).min() > -1e-9


def describe_both(first, second, name):
    x, y = first.vectors[name], second.vectors[name]
    width = max(x.shape[1], y.shape[1])
    return np.concatenate([np.pad(v, ((0, 0), (0, width - v.shape[1]))) for v in (x, y)])


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_set_is_at_no_distance_from_itself_and_some_from_another(kernel, trees, rings):
    for name in ("degree", "clustering", "spectral"):
        assert mmd(trees.vectors[name], trees.vectors[name], name, kernel) == pytest.approx(0, abs=1e-12)
        assert mmd(trees.vectors[name], rings.vectors[name], name, kernel) > 0.01


def test_trailing_zeros_do_not_matter(trees, rings):
    x, y = trees.vectors["degree"], rings.vectors["degree"]
    assert mmd(np.pad(x, ((0, 0), (0, 5))), y, "degree") == pytest.approx(mmd(x, y, "degree"))


def test_resampling_weights_equal_repeating_graphs(trees, rings):
    report = evaluate_graphs(trees, rings, statistics=["degree"], bootstrap=1, seed=4)
    counts = np.random.default_rng(4).multinomial(30, np.full(30, 1 / 30))
    repeated = trees.vectors["degree"].repeat(counts, axis=0)
    within = kernel_matrix(trees.vectors["degree"], trees.vectors["degree"], "degree")
    expected = mmd(repeated, rings.vectors["degree"], "degree") - (1 - within.mean()) / 30
    assert report.statistics["degree"].low == report.statistics["degree"].high == pytest.approx(expected)


@pytest.mark.parametrize("resample_reference", [False, True])
def test_resamples_average_to_the_figure(trees, rings, resample_reference):
    report = evaluate_graphs(trees, rings, rings, resample_reference=resample_reference, bootstrap=4000)
    for figure in report.statistics.values():
        assert figure.low <= figure.value + 1e-12
        assert figure.high >= figure.value - 1e-12
        assert (figure.low + figure.high) / 2 == pytest.approx(figure.value, rel=0.2)


def test_resampling_the_reference_widens_the_interval(trees, rings):
    fixed, both = (
        evaluate_graphs(trees, rings, statistics=["spectral"], resample_reference=choice).statistics["spectral"]
        for choice in (False, True)
    )
    assert both.high - both.low > fixed.high - fixed.low


def test_ratio_is_one_for_the_training_set_and_grows_with_distance(trees, rings):
    other = describe_graphs([nx.random_labeled_tree(16, seed=seed) for seed in range(100, 120)])
    report = evaluate_graphs(other, trees, other)
    assert report.ratio.value == pytest.approx(1, abs=1e-3)
    assert "clustering" not in report.ratio_over  # no tree has a triangle: nothing to divide by
    assert evaluate_graphs(rings, trees, other).ratio.value > 10


def test_reports_are_json_and_repeat_with_the_seed(trees, rings):
    first, again = (evaluate_graphs(trees, rings, trees, seed=3) for _ in range(2))
    assert json.loads(json.dumps(first.to_dict(), allow_nan=False)) == json.loads(json.dumps(again.to_dict()))
    assert first.generated == 30
    assert first.reference == 20


def test_graphs_and_their_descriptors_are_interchangeable(trees, rings):
    graphs = [nx.random_labeled_tree(16, seed=seed) for seed in range(30)]
    assert evaluate_graphs(graphs, rings) == evaluate_graphs(trees, rings)


def test_without_resamples_there_is_no_interval(trees, rings):
    figure = evaluate_graphs(trees, rings, bootstrap=0).statistics["orbit"]
    assert figure.value > 0
    assert figure.low is figure.high is None


def test_empty_single_and_edgeless_graphs_have_finite_distances():
    small = [nx.empty_graph(0), nx.empty_graph(1), nx.empty_graph(6)]
    for kernel in KERNELS:
        report = evaluate_graphs(small, [nx.path_graph(4)], small, kernel=kernel, bootstrap=10)
        json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("options", "error", "hint"),
    [
        ({"kernel": "linear"}, ConfigError, "'linear' is not one of gaussian_tv"),
        ({"statistics": ["girth"]}, ConfigError, "girth"),
        ({"bootstrap": -1}, ConfigError, "bootstrap: got -1"),
        ({"kernel": "gaussian_emd", "statistics": ["wavelet"]}, ConfigError, "not defined for wavelet"),
        ({"generated": []}, DataError, "empty"),
        ({"reference": Descriptors(1, {"orbit": np.zeros((1, 15))})}, ConfigError, "describe_graphs"),
    ],
)
def test_bad_requests_are_named(options, error, hint):
    sets = {"generated": [nx.path_graph(3)], "reference": [nx.path_graph(3)]}
    with pytest.raises(error, match=hint):
        evaluate_graphs(**{**sets, **options})
