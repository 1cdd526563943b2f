"""Descriptors against networkx, PyGSP and the definition; every graph, however small, has finite ones."""

import types

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import ConfigError, DataError
from graftable.graphs.edge_lists import graph_from_edges
from graftable.graphs.metrics import STATISTICS, describe_graphs, to_csr
from graftable.graphs.metrics.descriptors import local_clustering, normalized_laplacian, spline_filters

random_graphs = st.builds(nx.gnp_random_graph, st.integers(0, 12), st.floats(0, 1), seed=st.integers(0, 10**6))


def one(graph, name, **options):
    return describe_graphs([graph], [name], **options).vectors[name][0]


@given(random_graphs.filter(len))
@settings(max_examples=40, deadline=None)
def test_degree_clustering_and_laplacian_are_those_of_networkx(graph):
    assert one(graph, "degree").tolist() == nx.degree_histogram(graph)
    np.testing.assert_allclose(local_clustering(to_csr(graph)), list(nx.clustering(graph).values()))
    np.testing.assert_allclose(
        normalized_laplacian(to_csr(graph)), nx.normalized_laplacian_matrix(graph).toarray(), atol=1e-12
    )


def test_filters_are_those_of_pygsp():
    pygsp = pytest.importorskip("pygsp", reason="PyGSP is not installed: no oracle for the filter bank")
    points = np.linspace(0, 2, 501)
    bank = pygsp.filters.Abspline(types.SimpleNamespace(lmax=2), 12)
    np.testing.assert_allclose(spline_filters(points), bank.evaluate(points), atol=1e-7)


def test_wavelet_histograms_hold_the_row_norms_of_each_filter():
    graph = nx.random_labeled_tree(20, seed=3)
    values, basis = np.linalg.eigh(normalized_laplacian(to_csr(graph)))
    top = spline_filters(np.arange(0, 2, 0.01)).max()
    for gains, found in zip(spline_filters(values), one(graph, "wavelet").reshape(12, 100), strict=True):
        operator = basis @ np.diag(gains) @ basis.T
        expected = np.histogram((operator**2).sum(axis=1), bins=100, range=(0, top))[0]
        assert np.abs(np.cumsum(found - expected)).max() <= 1  # a value on the edge of a bin may round to either side


@given(random_graphs.filter(len), st.randoms())
@settings(max_examples=40, deadline=None)
def test_numbering_of_nodes_does_not_matter(graph, random):
    order = list(graph)
    random.shuffle(order)
    moved = nx.Graph()
    moved.add_nodes_from(order)
    moved.add_edges_from(graph.edges())
    for name in ("degree", "clustering", "orbit", "spectral"):
        np.testing.assert_array_equal(one(moved, name), one(graph, name))


@given(st.integers(2, 40), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_the_spectrum_of_a_tree_keeps_its_largest_eigenvalue(nodes, seed):
    spectrum = one(nx.random_labeled_tree(nodes, seed=seed), "spectral")
    assert spectrum.sum() == nodes
    assert spectrum[-1] >= 1


@given(st.lists(random_graphs, min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_descriptors_are_finite_and_one_row_per_graph(graphs):
    found = describe_graphs(graphs)
    assert set(found.vectors) == set(STATISTICS)
    for vectors in found.vectors.values():
        assert len(vectors) == found.count == len(graphs)
        assert np.isfinite(vectors).all()


def test_small_graphs_have_the_documented_descriptors():
    assert not any(one(nx.empty_graph(0), name).any() for name in STATISTICS)
    for nodes in (1, 4):
        graph = graph_from_edges(nodes, [])
        for name in ("degree", "clustering", "spectral"):
            assert one(graph, name)[0] == one(graph, name).sum() == nodes
        assert not one(graph, "orbit").any()


@pytest.mark.parametrize(
    ("graphs", "statistics", "error", "hint"),
    [
        ([], ["degree"], DataError, "empty"),
        ([nx.path_graph(2)], ["girth"], ConfigError, "'girth' is not one of degree, clustering"),
        (["a.graphml"], ["degree"], DataError, "str; expected a torch_geometric Data or a networkx Graph"),
    ],
)
def test_bad_input_is_named(graphs, statistics, error, hint):
    with pytest.raises(error, match=hint):
        describe_graphs(graphs, statistics)
