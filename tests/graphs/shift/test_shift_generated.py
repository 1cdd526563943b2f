"""Generated sets obey their published laws: sizes, ties between label and nuisance, label noise."""

from collections import Counter

import networkx as nx
import numpy as np
import pytest
import torch
from networkx.algorithms.isomorphism import GraphMatcher
from torch_geometric.utils import to_networkx

from graftable.errors import ConfigError
from graftable.graphs.shift import load_shift_set
from graftable.graphs.shift.motifs import MOTIFS


def network(graph):
    return to_networkx(graph, to_undirected=True)


def template(name):
    return nx.Graph(MOTIFS[name][1].tolist())


def holds(graph, motif):
    return GraphMatcher(network(graph), motif).subgraph_is_monomorphic()


def column(graphs, name):
    return np.array([int(getattr(graph, name)) for graph in graphs])


@pytest.fixture(scope="module")
def triangles():
    return load_shift_set("triangles", seed=111, size=12_000)


def test_triangles_have_the_published_sizes(triangles):
    def moments(graphs):
        nodes, edges = [g.num_nodes for g in graphs], [g.num_edges / 2 for g in graphs]
        degree = torch.cat([g.x.argmax(dim=1) for g in graphs]).double()
        return np.mean(nodes), np.std(nodes), np.mean(edges), np.std(edges), degree.mean().item(), degree.std().item()

    train, test = triangles.train, triangles.id_test + triangles.ood_test
    assert moments(train) == pytest.approx((15.61, 5.78, 24.63, 10.32, 3.16, 1.60), abs=0.3)
    assert moments(test)[0] == pytest.approx(39.40, abs=1.0)  # 4,000 graphs of spread 28: one standard error is .45
    assert moments(test)[2] == pytest.approx(61.49, abs=1.6)
    assert (min(g.num_nodes for g in train), max(g.num_nodes for g in train)) == (4, 25)
    assert max(g.num_nodes for g in test) == 100
    assert np.corrcoef(column(train, "y"), [g.num_nodes for g in train])[0, 1] == pytest.approx(0.11, abs=0.03)
    means = [np.mean([g.num_nodes for g in train if g.y == label]) for label in (0, 9)]
    assert means == pytest.approx([14.63, 17.06], abs=0.5)


def test_labels_of_triangles_are_their_number_and_balanced(triangles):
    for graphs in (triangles.train, triangles.id_val, triangles.id_test, triangles.ood_test):
        assert len(set(Counter(column(graphs, "y").tolist()).values())) == 1
        for graph in graphs[:60]:
            assert sum(nx.triangles(network(graph)).values()) // 3 == int(graph.y) + 1
    assert triangles.train[0].x.shape[1] == 14


def test_no_two_graphs_of_triangles_are_the_same(triangles):
    graphs = triangles.train + triangles.id_val + triangles.id_test
    keys = {(graph.num_nodes, graph.edge_index.numpy().tobytes()) for graph in graphs}
    assert len(keys) == len(graphs)


@pytest.mark.parametrize("test", ["large", "large_c"])
def test_labels_of_colors_are_the_green_nodes(test):
    shift = load_shift_set("colors", size=110, test=test)
    green = torch.tensor([0.0, 1.0, 0.0, 0.0])
    for graphs in (shift.train, shift.id_test, shift.ood_test):
        assert Counter(column(graphs, "y").tolist()) == dict.fromkeys(range(11), len(graphs) // 11)
        assert all(int((g.x == green).all(dim=1).sum()) == int(g.y) for g in graphs)
        assert all(bool(g.x.any(dim=1).all()) for g in graphs)
    assert not any(bool(g.x[:, 3].any()) for g in shift.train)
    assert any(bool(g.x[:, 3].any()) for g in shift.ood_test) is (test == "large_c")
    assert max(g.num_nodes for g in shift.train) <= 25 < min(g.num_nodes for g in shift.ood_test)


@pytest.fixture(scope="module", params=[0.6, 0.9])
def biased(request):
    return request.param, load_shift_set("spurious_motif", size=6_000, bias=request.param)


def test_spurious_motif_ties_the_base_to_the_class_at_the_rate_asked_for(biased):
    bias, shift = biased
    for graphs, rate in ((shift.train, bias), (shift.id_val + shift.id_test, bias), (shift.ood_test, 1 / 3)):
        tied = np.mean(column(graphs, "y") == column(graphs, "group"))
        assert tied == pytest.approx(rate, abs=0.01 if len(graphs) >= 6_000 else 0.02)
        assert set(Counter(column(graphs, "y").tolist()).values()) == {len(graphs) // 3}


def test_the_size_of_a_spurious_base_says_nothing_about_the_class(biased):
    _, shift = biased
    sizes = {"train": {0: (1, 7), 1: (16, 22), 2: (15, 19)}, "ood_test": {0: (15, 63), 1: (60, 98), 2: (60, 79)}}
    for part, bounds in sizes.items():
        graphs = shift.parts[part]
        nodes = np.array([graph.num_nodes - 5 for graph in graphs])
        label, base = column(graphs, "y"), column(graphs, "group")
        for kind, (low, high) in bounds.items():
            assert (nodes[base == kind].min(), nodes[base == kind].max()) == (low, high)
            mean = [nodes[(base == kind) & (label == klass)].mean() for klass in range(3)]
            spread = [nodes[(base == kind) & (label == klass)].std() for klass in range(3)]
            count = [((base == kind) & (label == klass)).sum() for klass in range(3)]
            assert np.ptp(mean) < 5 * np.max(np.array(spread) / np.sqrt(count))


def test_spurious_motif_holds_its_motif_joined_by_one_edge():
    shift = load_shift_set("spurious_motif", size=30)
    shapes = [template(name) for name in ("dircycle", "house", "varcycle")]
    for graph in shift.train + shift.ood_test[:30]:
        whole = network(graph)
        last = range(graph.num_nodes - 5, graph.num_nodes)
        assert nx.is_isomorphic(whole.subgraph(last), shapes[int(graph.y)])
        assert len(list(nx.edge_boundary(whole, last))) == 1
        assert nx.is_connected(whole)


def test_several_biases_make_an_environment_each():
    shift = load_shift_set("spurious_motif", size=3_000, bias=(0.9, 0.5))
    environment, tied = column(shift.train, "environment"), column(shift.train, "y") == column(shift.train, "group")
    assert Counter(environment.tolist()) == {0: 1_500, 1: 1_500}
    assert [tied[environment == e].mean() for e in (0, 1)] == pytest.approx([0.9, 0.5], abs=0.03)


@pytest.fixture(scope="module")
def basis_covariate():
    return load_shift_set("good_motif")


def test_good_motif_has_the_published_parts_and_sizes(basis_covariate):
    shift = basis_covariate
    assert [len(graphs) for graphs in shift.parts.values()] == [18_000, 3_000, 3_000, 3_000, 3_000]
    for part, bases in {"train": {0, 1, 2}, "id_test": {0, 1, 2}, "ood_val": {3}, "ood_test": {4}}.items():
        graphs = shift.parts[part]
        assert set(column(graphs, "group").tolist()) == bases
        assert (column(graphs, "group") == column(graphs, "environment")).all()
    # stars of 5 to 15 leaves and paths of 5 to 15 nodes, and the motif
    assert {g.num_nodes for g in shift.ood_val} == set(range(11, 22))
    assert {g.num_nodes for g in shift.ood_test} == set(range(10, 21))


def test_one_label_in_fifteen_is_wrong(basis_covariate):
    for graphs in (basis_covariate.train, [g for part in basis_covariate.parts.values() for g in part]):
        wrong = np.mean(column(graphs, "y") != column(graphs, "motif"))
        assert wrong == pytest.approx(0.1 * 2 / 3, abs=0.005)
    assert basis_covariate.ceiling == pytest.approx(0.9333, abs=1e-4)


def test_good_motif_holds_its_motif_untouched(basis_covariate):
    names = ("house", "dircycle", "crane")
    graphs = basis_covariate.train[::600] + basis_covariate.ood_test[::100]
    for graph in graphs:
        last = range(graph.num_nodes - 5, graph.num_nodes)
        assert nx.is_isomorphic(network(graph).subgraph(last), template(names[graph.motif]))
    extra = [g.num_edges / 2 - len(MOTIFS[names[g.motif]][1]) - (g.num_nodes - 6) - 1 for g in basis_covariate.ood_test]
    assert set(extra) <= {0, 1}  # paths of at most 14 edges, 7 of the motif and the joint: one attempt from 20 on
    assert any(extra)


@pytest.mark.parametrize("domain", ["basis", "size"])
def test_good_motif_concepts_hold_at_the_published_rates(domain):
    shift = load_shift_set("good_motif", domain=domain, shift="concept")
    assert [len(graphs) for graphs in shift.parts.values()] == [12_600, 2_700, 2_700, 6_000, 6_000]
    inside = shift.train + shift.id_val + shift.id_test
    environment = column(inside, "environment")
    tied = column(inside, "motif") == column(inside, "group")
    for e, rate in enumerate((0.99, 0.97, 0.95)):
        assert tied[environment == e].mean() == pytest.approx(rate + (1 - rate) / 3, abs=0.01)
    for graphs, rate in ((shift.ood_val, 0.3), (shift.ood_test, 0.0)):
        found = np.mean(column(graphs, "motif") == column(graphs, "group"))
        assert found == pytest.approx(rate + (1 - rate) / 3, abs=0.02)  # three standard errors of 6,000


def test_good_motif_sizes_grow_from_training_to_test():
    shift = load_shift_set("good_motif", domain="size", size=1_800)
    assert shift.num_environments == 3
    widest = [max(g.num_nodes for g in graphs) for graphs in (shift.train, shift.ood_val, shift.ood_test)]
    assert widest == [45, 75, 155]  # ladders of 20, 35 and 75 rungs, and the motif
    assert set(column(shift.ood_test, "group").tolist()) == {4}


def test_wheels_are_in_positive_graphs_alone():
    shift = load_shift_set("wheel_star", size=60)
    wheel = nx.wheel_graph(6)
    assert [holds(graph, wheel) for graph in shift.train] == [bool(graph.y) for graph in shift.train]


@pytest.mark.parametrize("mu", [0.6, 0.9])
def test_stars_are_tied_to_the_wheel_in_training_and_not_in_the_test(mu):
    shift = load_shift_set("wheel_star", size=12_000, mu=mu)
    for graphs, rate in ((shift.train, mu + (1 - mu) / 4), (shift.ood_val + shift.ood_test, 7 / 16)):
        star, label = column(graphs, "group"), column(graphs, "y")
        assert star[label == 1].mean() == pytest.approx(rate, abs=0.02)
        assert star[label == 0].mean() == pytest.approx(7 / 16, abs=0.02)
        assert label.mean() == 0.5
    x = torch.cat([graph.x for graph in shift.train])
    assert x.shape[1] == 4
    assert x.mean().item() == pytest.approx(0.5, abs=0.01)
    assert all(nx.is_connected(network(graph)) for graph in shift.train[:50])


def test_coloured_digits_have_the_colours_of_their_environment():
    shift = load_shift_set("good_cmnist")  # the digits of scikit-learn
    assert sum(len(graphs) for graphs in shift.parts.values()) == 1_797
    assert any("scikit-learn" in note for note in shift.notes)
    colours = {part: set(column(graphs, "group").tolist()) for part, graphs in shift.parts.items()}
    assert (colours["train"], colours["ood_val"], colours["ood_test"]) == ({0, 1, 2, 3, 4}, {6}, {5})
    assert all(graph.num_nodes == 64 and graph.num_edges == 2 * 112 for graph in shift.ood_test)
    magenta = torch.cat([graph.x for graph in shift.ood_test])
    assert not magenta[:, 1].any()
    assert torch.equal(magenta[:, 0], magenta[:, 2])


@pytest.mark.parametrize("domain", ["color", "background"])
def test_digit_colours_are_tied_to_the_digit_as_published(domain):
    rates = (0.95, 0.9, 0.85, 0.8, 0.75, 0.3, 0.0)
    hits, counts = np.zeros(7), np.zeros(7)
    for seed in range(3):
        shift = load_shift_set("good_cmnist", seed=seed, domain=domain, shift="concept")
        for graphs in shift.parts.values():
            for graph in graphs:
                hits[graph.environment] += graph.group == int(graph.y)
                counts[graph.environment] += 1
    expected = np.array([rate + (1 - rate) / 10 for rate in rates])
    assert np.abs(hits / counts - expected).max() < 0.05
    if domain == "background":
        bright = torch.cat([graph.x for graph in shift.train])
        gray = (bright[:, 0] == bright[:, 1]) & (bright[:, 1] == bright[:, 2])
        assert 0.4 < gray.float().mean() < 0.7  # what is painted is what was black


@pytest.mark.parametrize(("noise", "spread"), [("gray", 0.4), ("color", 0.6)])
def test_noisy_digits_are_the_clean_ones_and_noise_of_the_stated_size(noise, spread):
    shift = load_shift_set("mnist75sp", noise=noise)
    clean, noisy = (torch.cat([graph.x for graph in graphs]) for graphs in (shift.id_test, shift.ood_test))
    difference = noisy - clean
    assert difference[:, :3].std().item() == pytest.approx(spread, rel=0.02)
    assert not difference[:, 3:].any()
    same = torch.allclose(difference[:, 0], difference[:, 1], atol=1e-6)
    assert same is (noise == "gray")
    train = torch.cat([graph.x for graph in shift.train])
    assert train.mean(dim=0).tolist() == pytest.approx([0] * 5, abs=1e-4)
    assert train.std(dim=0).tolist() == pytest.approx([1] * 5, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("wheel_star", {"mu": 1.2}),
        ("wheel_star", {"mu": []}),
        ("wheel_star", {"mu": "high"}),
        ("spurious_motif", {"bias": 0.2}),
        ("spurious_motif", {"crane": "bird"}),
        ("spurious_motif", {"features": "random"}),
        ("spurious_motif", {"noise_edges": 1.0}),
        ("spurious_motif", {"size": 2}),
        ("good_motif", {"domain": "colour"}),
        ("good_motif", {"shift": "none"}),
        ("good_motif", {"label_noise": -0.1}),
        ("good_motif", {"size": 1}),
        ("colors", {"test": "huge"}),
        ("colors", {"size": 5}),
        ("triangles", {"size": 9}),
        ("good_cmnist", {"domain": "ink"}),
        ("good_cmnist", {"size": 100_000}),
        ("mnist75sp", {"noise": "blue"}),
        ("mnist75sp", {"size": 100_000}),
    ],
)
def test_a_setting_out_of_range_is_refused_in_one_sentence(name, settings):
    with pytest.raises(ConfigError, match=r"expected|lower size"):
        load_shift_set(name, **settings)
