import gzip
import json
from collections import defaultdict

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import DataError
from graftable.graphs.subgraphs import structure_hash
from graftable.pipelines.corpus import build_corpus, main, read_source, split_groups
from graftable.pipelines.records import read_records, record_to_graph

NAMES = {"power": ("power_ring", "power_small"), "eco": ("eco_webs",)}
QUOTAS = {
    "real_quota": {"train": 30, "val": 5, "test": 5},
    "family_quota": {"train": 3, "val": 2, "test": 2},
    "names": NAMES,
}


def write_network(path, network):
    header = {"name": path.name, "source": "nowhere", "licence": "CC0"}
    lines = [f"# {json.dumps(header)}", *(f"{u} {v}" for u, v in network.edges())]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture
def folder(tmp_path):
    real = tmp_path / "real"
    real.mkdir()
    ring = nx.connected_watts_strogatz_graph(300, 4, 0.1, seed=0)
    ring.add_edge(900, 901)  # a second component, which is left out
    write_network(real / "power_ring.txt.gz", ring)
    write_network(real / "power_small.txt.gz", nx.connected_watts_strogatz_graph(80, 4, 0.3, seed=0))
    webs = [nx.gnp_random_graph(20 + i, 0.2, seed=i) for i in range(20)] + [nx.gnp_random_graph(90, 0.3, seed=0)]
    edges = [np.array(sorted(map(sorted, web.edges()))) for web in webs]
    names = [f"weboflife_M_PL_{60 + i // 4:03d}_{i % 4:02d}" for i in range(20)] + ["foodweb_pajek_Big"]
    np.savez(
        real / "eco_webs.npz",
        n=[len(web) for web in webs],
        m=[len(pairs) for pairs in edges],
        src=np.concatenate(edges)[:, 0],
        dst=np.concatenate(edges)[:, 1],
        name=names,
        meta=json.dumps({"source": "nowhere", "licence": "CC0"}),
    )
    return tmp_path


def graphs_of(out):
    return [record_to_graph(r) for s in ("train", "val", "test") for r in read_records(out / f"{s}.parquet")]


def test_the_same_seed_builds_the_same_bytes(folder):
    for name in ("one", "two"):
        build_corpus(folder, folder / name, seed=4, **QUOTAS)
    for file in ("train.parquet", "val.parquet", "test.parquet", "metadata.json"):
        assert (folder / "one" / file).read_bytes() == (folder / "two" / file).read_bytes()


def test_another_seed_builds_other_graphs(folder):
    for seed in (0, 1):
        build_corpus(folder, folder / str(seed), seed=seed, **QUOTAS)
    first, other = ({structure_hash(g) for g in graphs_of(folder / name)} for name in ("0", "1"))
    assert first != other


def test_sources_take_turns_and_quotas_hold(folder):
    metadata = build_corpus(folder, folder / "out", **QUOTAS)
    assert metadata["counts"]["power"] == {"train": 30, "val": 5, "test": 5}
    assert metadata["counts"]["lobster"] == {"train": 3, "val": 2, "test": 2}
    trained = [graph.source for graph in graphs_of(folder / "out") if (graph.domain, graph.split) == ("power", "train")]
    assert trained.count("power_ring") == trained.count("power_small") == 15


def test_a_network_too_small_for_regions_is_for_training_only(folder):
    build_corpus(folder, folder / "out", **QUOTAS)
    assert {g.split for g in graphs_of(folder / "out") if g.source == "power_small"} == {"train"}


def test_a_network_is_its_largest_component(folder):
    assert read_source(folder / "real", "power_ring").graphs[0].num_nodes == 300


def test_graphs_of_one_study_have_one_split(folder):
    source = read_source(folder / "real", "eco_webs")
    splits = split_groups(source.groups, {"train": 0.7, "val": 0.15, "test": 0.15}, seed=0)
    by_study = defaultdict(set)
    for study, split in zip(source.groups, splits, strict=True):
        by_study[study].add(split)
    assert len(by_study) == 6  # five publications and one web
    assert all(len(found) == 1 for found in by_study.values())


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60), st.integers(0, 99))
def test_a_group_is_never_split(groups, seed):
    splits = split_groups(groups, {"train": 0.7, "test": 0.3}, seed)
    assert len(set(zip(groups, splits, strict=True))) == len(set(groups))


def test_shares_of_equal_groups_are_the_fractions():
    splits = split_groups([str(i) for i in range(200)], {"train": 0.7, "val": 0.15, "test": 0.15}, seed=0)
    assert [splits.count(name) for name in ("train", "val", "test")] == [140, 30, 30]


def test_a_missing_source_is_named(tmp_path):
    (tmp_path / "real").mkdir()
    with pytest.raises(DataError, match="asn_dolphins"):
        main([str(tmp_path), "--out", str(tmp_path)])
