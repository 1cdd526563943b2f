"""Sets from archives keep the published splits; the archives are checked before they are believed.

Most tests write small archives of their own. Those that hold the published figures read the folder that
GRAFTABLE_OOD_DATA names, which must have tu_*.npz, mol_*.npz and mnist75sp_t10k.npz.
"""

import os
from collections import Counter
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch

from graftable.errors import ConfigError, DataError
from graftable.graphs.shift import cheap_baselines, load_shift_set
from graftable.graphs.shift.archive import open_archive, read_pack
from graftable.graphs.shift.good_hiv import ALIGNED, good_hiv_parts, scaffold_atoms, scaffold_order
from graftable.graphs.shift.molecules import atom_features, bond_features
from graftable.graphs.shift.superpixels import nearest_neighbours
from graftable.graphs.shift.triangles import random_gnm

ROOT = Path(os.environ.get("GRAFTABLE_OOD_DATA", Path(__file__).parents[3] / "../shared/data/ood"))
published = pytest.mark.skipif(
    not (ROOT / "tu_DD.npz").exists(),
    reason=f"{ROOT} holds no tu_DD.npz; set GRAFTABLE_OOD_DATA to the folder of the archives",
)


def tu_arrays(sizes, rng, classes=2, labels=3):
    sizes = np.array(sizes)
    pack = random_gnm(sizes, np.minimum(2 * sizes, sizes * (sizes - 1) // 2), rng)
    low, high = np.sort(pack.edges, axis=1).T
    return {
        "node_ptr": np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        "edge_ptr": np.concatenate([[0], np.cumsum(pack.edge_counts)]).astype(np.int32),
        "edge_u": low.astype(np.uint16),
        "edge_v": high.astype(np.uint16),
        "node_label": (rng.integers(0, labels, sizes.sum()) * 2).astype(np.int16),
        "y": (np.arange(len(sizes)) % classes).astype(np.int16),
    }


def molecule_arrays(count, rng, y):
    arrays = tu_arrays(rng.integers(5, 20, count), rng)
    del arrays["node_label"]
    nodes, edges = int(arrays["node_ptr"][-1]), int(arrays["edge_ptr"][-1])
    return arrays | {
        "atom_feat": np.column_stack([rng.choice([6, 7, 8, 99], nodes), rng.integers(0, 2, (nodes, 8))]).astype("u1"),
        "bond_feat": np.column_stack([rng.integers(0, 4, edges), np.zeros((edges, 2))]).astype("u1"),
        "y": y.astype(np.float32),
        "scaffold_id": np.sort(rng.integers(0, count // 3, count)).astype(np.int32),
        "scaffold_split": np.repeat([0, 1, 2], [count - 2 * (count // 10), count // 10, count // 10]).astype("i1"),
    }


def identity(graph):
    return graph.num_nodes, graph.edge_index.numpy().tobytes(), graph.x.numpy().tobytes()


def environments(graphs):
    return {graph.environment for graph in graphs}


@pytest.fixture
def proteins(tmp_path):
    sizes = np.concatenate([np.full(600, 10), np.full(300, 40)])
    arrays = tu_arrays(np.random.default_rng(1).permutation(sizes), np.random.default_rng(0))
    np.savez(tmp_path / "tu_PROTEINS.npz", **arrays)
    return tmp_path


def test_a_size_split_learns_from_500_small_graphs_and_tests_on_all_others(proteins):
    shift = load_shift_set("proteins25", proteins)
    assert [len(graphs) for graphs in shift.parts.values()] == [400, 100, 100, 0, 400]
    assert max(graph.num_nodes for graph in shift.train + shift.id_val + shift.id_test) == 10
    assert Counter(graph.environment for graph in shift.ood_test) == {0: 100, 1: 300}
    assert all(graph.environment == (graph.num_nodes > 25) for graph in shift.ood_test)
    assert shift.num_features == 3  # labels 0, 2 and 4: no column for those that are not there


def test_the_folds_of_a_size_split_validate_each_graph_once(proteins):
    folds = [load_shift_set("proteins25", proteins, fold=fold) for fold in range(5)]
    held_out = [identity(graph) for shift in folds for graph in shift.id_val]
    assert len(held_out) == 500
    assert set(held_out) == {identity(graph) for shift in folds for graph in shift.train}
    assert len({tuple(map(identity, shift.ood_test)) for shift in folds}) == 1


def test_a_smaller_size_takes_fewer_to_learn_from_and_leaves_the_test(proteins):
    shift = load_shift_set("proteins25", proteins, size=50)
    assert [len(graphs) for graphs in shift.parts.values()] == [40, 10, 100, 0, 400]


def test_extremes_are_the_smallest_half_and_the_largest_tenth_of_each_class(tmp_path):
    np.savez(tmp_path / "tu_NCI1.npz", **tu_arrays(range(5, 105), np.random.default_rng(0)))
    shift = load_shift_set("nci1_extremes", tmp_path)
    small = shift.train + shift.id_val + shift.id_test
    assert sorted(graph.num_nodes for graph in small) == list(range(5, 55))
    assert sorted(graph.num_nodes for graph in shift.ood_test) == list(range(95, 105))
    assert (len(shift.id_val), len(shift.id_test), shift.metric) == (5, 5, "mcc")


def test_sets_without_labels_get_degrees_in_bins_that_double(tmp_path):
    arrays = tu_arrays([33] * 40 + [60] * 10, np.random.default_rng(0), classes=3, labels=1)
    np.savez(tmp_path / "tu_COLLAB.npz", **arrays)
    graph = load_shift_set("collab35", tmp_path).ood_test[0]
    degree = np.bincount(graph.edge_index[0], minlength=graph.num_nodes)
    expected = [0 if d == 0 else int(np.log2(d)) + 1 for d in degree]
    assert graph.x.argmax(dim=1).tolist() == expected
    assert graph.x.sum(dim=1).tolist() == [1.0] * graph.num_nodes


def test_a_scaffold_split_is_the_stored_one_with_a_cut_for_the_training_law(tmp_path):
    rng = np.random.default_rng(0)
    arrays = molecule_arrays(200, rng, rng.integers(0, 2, (200, 1)))
    np.savez(tmp_path / "mol_bace.npz", **arrays)
    shift = load_shift_set("bace", tmp_path)
    assert [len(graphs) for graphs in shift.parts.values()] == [128, 16, 16, 20, 20]
    whole = load_shift_set("bace", tmp_path, id_share=0)
    assert [len(graphs) for graphs in whole.parts.values()] == [160, 0, 0, 20, 20]
    assert [graph.scaffold for graph in whole.train] == arrays["scaffold_id"][:160].tolist()
    by_scaffold = {(graph.scaffold, graph.environment) for graph in whole.train}
    assert len(by_scaffold) == len({scaffold for scaffold, _ in by_scaffold})  # no scaffold in two environments
    assert environments(whole.train) == set(range(5))
    assert (environments(whole.ood_val), environments(whole.ood_test)) == ({5}, {6})
    assert (whole.num_features, whole.num_edge_features) == (46, 13)
    assert len(load_shift_set("bace", tmp_path, size=30).train) == 30


def test_molecules_keep_their_atoms_bonds_and_missing_labels(tmp_path):
    rng = np.random.default_rng(0)
    y = np.where(rng.random((60, 12)) < 0.3, np.nan, rng.integers(0, 2, (60, 12)))
    arrays = molecule_arrays(60, rng, y)
    np.savez(tmp_path / "mol_tox21.npz", **arrays)
    shift = load_shift_set("tox21", tmp_path, id_share=0, features="codes")
    assert (shift.task, shift.num_tasks, shift.num_outputs, shift.num_classes) == ("multitask", 12, 12, 2)
    graphs = shift.train + shift.ood_val + shift.ood_test
    assert np.array_equal(torch.cat([graph.y for graph in graphs]).numpy(), y.astype(np.float32), equal_nan=True)
    for g in (0, 31, 59):
        atoms = slice(*arrays["node_ptr"][g : g + 2])
        bonds = slice(*arrays["edge_ptr"][g : g + 2])
        assert graphs[g].x.tolist() == arrays["atom_feat"][atoms].tolist()
        pairs = zip(arrays["edge_u"][bonds].tolist(), arrays["edge_v"][bonds].tolist(), strict=True)
        own = dict(zip(map(frozenset, pairs), arrays["bond_feat"][bonds].tolist(), strict=True))
        assert graphs[g].edge_attr.tolist() == [own[frozenset(pair)] for pair in graphs[g].edge_index.T.tolist()]


def test_codes_that_are_rare_share_a_column():
    atoms = np.array([[6, 0, 4, 5, 3, 0, 2, 1, 1], [92, 3, 9, 11, 9, 7, 5, 0, 0]], dtype=np.uint8)
    found = atom_features(atoms)
    assert found.sum(axis=1).tolist() == [9, 7]  # one for each of seven codes, and the flags
    assert np.flatnonzero(found[0]).tolist() == [1, 14, 22, 27, 33, 35, 40, 44, 45]
    assert np.flatnonzero(found[1]).tolist() == [13, 17, 24, 29, 34, 37, 43]
    assert np.flatnonzero(bond_features(np.array([[3, 1, 1]], dtype=np.uint8))[0]).tolist() == [3, 6, 12]
    with pytest.raises(ConfigError, match="expected onehot or codes"):
        atom_features(atoms, "smiles")


def test_regression_and_its_missing_label(tmp_path):
    rng = np.random.default_rng(0)
    arrays = molecule_arrays(50, rng, rng.normal(size=(50, 1)))
    np.savez(tmp_path / "mol_esol.npz", **arrays)
    shift = load_shift_set("esol", tmp_path)
    assert (shift.task, shift.metric, shift.num_outputs) == ("regression", "rmse", 1)
    assert (shift.train[0].y.dtype, shift.train[0].y.shape) == (torch.float32, (1,))
    arrays["y"][3] = np.nan
    np.savez(tmp_path / "mol_esol.npz", **arrays)
    with pytest.raises(DataError, match=r"a label of .*is missing"):
        load_shift_set("esol", tmp_path)


def scaffold_of(atoms, bonds):
    """Murcko's rule on one networkx graph: prune leaves, then give back what hangs on by a double bond."""
    graph = nx.Graph()
    graph.add_nodes_from(range(atoms))
    graph.add_edges_from((u, v, {"kind": kind}) for u, v, kind in bonds)
    core = graph.copy()
    while leaves := [node for node, degree in core.degree if degree < 2]:
        core.remove_nodes_from(leaves)
    hanging = {v for node in core for v in graph[node] if graph.edges[node, v]["kind"] == 1}
    return set(core) | hanging


def test_the_scaffold_is_rings_links_and_double_bonded_neighbours():
    rng = np.random.default_rng(0)
    arrays = molecule_arrays(40, rng, np.zeros((40, 1)))
    pack = read_pack(arrays, "test")
    kept, degree = scaffold_atoms(arrays, pack)
    for g in range(40):
        low, high = arrays["node_ptr"][g : g + 2]
        bonds = slice(*arrays["edge_ptr"][g : g + 2])
        pairs = list(zip(arrays["edge_u"][bonds].tolist(), arrays["edge_v"][bonds].tolist(), strict=True))
        kinds = arrays["bond_feat"][bonds, 0].tolist()
        expected = scaffold_of(high - low, [(u, v, kind) for (u, v), kind in zip(pairs, kinds, strict=True)])
        assert set(np.flatnonzero(kept[low:high]).tolist()) == expected
        inside = nx.Graph([(u, v) for u, v in pairs if {u, v} <= expected])
        assert all(degree[low + node] == inside.degree[node] for node in inside)


@pytest.fixture(scope="module")
def hiv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hiv")
    rng = np.random.default_rng(0)
    arrays = molecule_arrays(3_000, rng, rng.random((3_000, 1)) < 0.2)
    np.savez(folder / "mol_hiv.npz", **arrays)
    return folder, arrays


def test_hiv_sizes_fall_from_training_to_test_with_no_size_in_two_parts(hiv):
    shift = load_shift_set("good_hiv", hiv[0], domain="size")
    sizes = {part: {graph.num_nodes for graph in graphs} for part, graphs in shift.parts.items()}
    assert min(sizes["train"]) > max(sizes["ood_val"]) >= min(sizes["ood_val"]) > max(sizes["ood_test"])
    assert sum(len(graphs) for graphs in shift.parts.values()) == 3_000
    assert len(shift.id_val) == len(shift.id_test) == 300


def test_hiv_scaffolds_are_in_one_part_and_one_environment(hiv):
    shift = load_shift_set("good_hiv", hiv[0])
    inside = shift.train + shift.id_val + shift.id_test
    groups = [{graph.scaffold for graph in graphs} for graphs in (inside, shift.ood_val, shift.ood_test)]
    assert not groups[0] & groups[1]
    assert not groups[1] & groups[2]
    assert not groups[0] & groups[2]
    pairs = {(graph.scaffold, graph.environment) for graph in inside}
    assert len(pairs) == len(groups[0])
    assert environments(inside) == set(range(10))
    counts = Counter(graph.environment for graph in inside)
    assert max(counts.values()) < 1.2 * min(counts.values())


@pytest.mark.parametrize("domain", ["scaffold", "size"])
def test_hiv_concepts_align_label_and_half_at_the_stated_rates(hiv, domain):
    folder, arrays = hiv
    shift = load_shift_set("good_hiv", folder, domain=domain, shift="concept", features="codes")
    pack = read_pack(arrays, "test")
    key = -pack.node_counts if domain == "size" else scaffold_order(arrays, pack)
    early = np.zeros(3_000, dtype=bool)
    early[np.argsort(key, kind="stable")[:1_500]] = True
    place = {}
    for g in range(3_000):
        atoms = slice(*arrays["node_ptr"][g : g + 2])
        place[arrays["atom_feat"][atoms].astype(np.float32).tobytes()] = early[g]
    hits, counts = np.zeros((5, 2)), np.zeros((5, 2))
    graphs = [graph for graphs in shift.parts.values() for graph in graphs]
    for graph in graphs:
        label = int(graph.y)
        hits[graph.environment, label] += bool(label) == place[graph.x.numpy().tobytes()]
        counts[graph.environment, label] += 1
    assert np.abs(hits / counts - np.array(ALIGNED)[:, None]).max() < 0.02
    assert len(graphs) > 2_990  # rounding leaves a few out
    assert [environments(part) for part in (shift.train, shift.ood_val, shift.ood_test)] == [{0, 1, 2}, {3}, {4}]


def test_neighbours_are_the_nearest_of_the_same_image():
    rng = np.random.default_rng(0)
    counts = np.array([12, 3, 20])
    points = rng.random((35, 2))
    pack = nearest_neighbours(points, counts, 4)
    start = 0
    for g, count in enumerate(counts):
        own = points[start : start + count]
        distance = np.linalg.norm(own[:, None] - own[None], axis=2) + np.diag(np.full(count, np.inf))
        expected = {frozenset((i, int(j))) for i in range(count) for j in np.argsort(distance[i])[: min(4, count - 1)]}
        assert set(map(frozenset, pack.edges[pack.edge_graph == g].tolist())) == expected
        start += count


def test_digits_are_read_from_their_folder(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 30, 200)
    arrays = {
        "node_ptr": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        "intensity": rng.integers(0, 256, counts.sum()).astype(np.uint8),
        "centroid_rc": rng.integers(0, 224, (counts.sum(), 2)).astype(np.uint8),
        "y": rng.integers(0, 10, 200).astype(np.uint8),
    }
    np.savez(tmp_path / "mnist75sp_t10k.npz", **arrays)
    shift = load_shift_set("good_cmnist", tmp_path)
    assert sum(len(graphs) for graphs in shift.parts.values()) == 200
    assert not any("scikit-learn" in note for note in shift.notes)
    assert all(graph.x.min() >= 0 and graph.x.max() <= 1 and graph.pos.max() <= 1 for graph in shift.train)
    np.savez(tmp_path / "mnist75sp_t10k.npz", **(arrays | {"y": arrays["y"][1:]}))
    with pytest.raises(DataError, match="node_ptr"):
        load_shift_set("good_cmnist", tmp_path)


def without(name):
    return lambda arrays: arrays.pop(name)


def put(name, place, value):
    return lambda arrays: arrays[name].__setitem__(place, value)


def shorter(name):
    return lambda arrays: arrays.__setitem__(name, arrays[name][:-1])


def twice(arrays):
    arrays["edge_u"][1], arrays["edge_v"][1] = arrays["edge_u"][0], arrays["edge_v"][0]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without("edge_v"), "has no array edge_v"),
        (put("edge_v", 0, 60_000), "graph 0 has an edge that is not u < v"),
        (put("edge_u", 0, 60_000), "graph 0 has an edge that is not u < v"),
        (put("node_ptr", 0, 1), "node_ptr is no list of rising offsets"),
        (put("edge_ptr", 1, -4), "edge_ptr is no list of rising offsets"),
        (shorter("edge_ptr"), "do not belong together"),
        (shorter("node_label"), "one node_label per node"),
        (twice, "an edge comes twice"),
    ],
)
def test_a_damaged_archive_is_refused_in_one_sentence(tmp_path, damage, message):
    arrays = tu_arrays([10] * 30 + [40] * 10, np.random.default_rng(0))
    damage(arrays)
    np.savez(tmp_path / "tu_PROTEINS.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_shift_set("proteins25", tmp_path)


def test_molecules_with_rows_missing_are_refused(tmp_path):
    arrays = molecule_arrays(50, np.random.default_rng(0), np.zeros((50, 1)))
    np.savez(tmp_path / "mol_bbbp.npz", **(arrays | {"bond_feat": arrays["bond_feat"][1:]}))
    with pytest.raises(DataError, match=r"bond_feat has .* rows, expected"):
        load_shift_set("bbbp", tmp_path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "tu_DD.npz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an archive"):
        load_shift_set("dd300", tmp_path)


def test_pickles_are_not_opened(tmp_path):
    np.savez(tmp_path / "some.npz", y=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="plain arrays"):
        open_archive(tmp_path, "some.npz", ("y",), "test")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("proteins25", {"fold": 5}),
        ("proteins25", {"size": 3}),
        ("nci1_extremes", {"size": 3}),
        ("bace", {"id_share": 0.5}),
        ("bace", {"environments": 0}),
        ("good_hiv", {"domain": "colour"}),
        ("good_hiv", {"shift": "none"}),
    ],
)
def test_a_setting_of_a_split_out_of_range_is_refused(name, settings, tmp_path):
    with pytest.raises(ConfigError, match="expected"):
        load_shift_set(name, tmp_path, **settings)


@published
@pytest.mark.parametrize(
    ("name", "sizes", "constant"),
    [
        ("proteins25", (500, 613), 74.4),
        ("dd200", (462, 716), 78.6),
        ("dd300", (500, 678), 69.6),
        ("collab35", (500, 4_500), 52.7),
    ],
)
def test_size_splits_have_the_published_sizes_and_best_constants(name, sizes, constant):
    shift = load_shift_set(name, ROOT)
    assert (len(shift.train) + len(shift.id_val), len(shift.ood_test)) == sizes
    (best,) = (row for row in cheap_baselines(shift, trees=1) if row.method == "constant (best)")
    assert 100 * best.scores["ood_test"]["accuracy"] == pytest.approx(constant, abs=1)
    assert best.scores["ood_test"]["balanced_accuracy"] == pytest.approx(1 / shift.num_classes)


@published
@pytest.mark.parametrize(
    ("name", "sizes"), [("bace", (1_210, 151, 152)), ("bbbp", (1_631, 204, 204)), ("esol", (902, 113, 113))]
)
def test_scaffold_splits_have_the_published_sizes(name, sizes):
    shift = load_shift_set(name, ROOT, id_share=0)
    assert (len(shift.train), len(shift.ood_val), len(shift.ood_test)) == sizes


@published
def test_hiv_by_size_has_the_published_parts():
    arrays = open_archive(ROOT, "mol_hiv.npz", (), "test")
    parts, _, _ = good_hiv_parts(arrays, read_pack(arrays, "test"), "size", "covariate", np.random.default_rng(0))
    expected = [26_169, 4_112, 4_112, 2_773, 3_961]  # of 41,127; the archive has seven fewer
    assert [len(part) for part in parts.values()] == pytest.approx(expected, abs=7)
