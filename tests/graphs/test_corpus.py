import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from graftable.graphs.attributes import ATTRIBUTES, graph_attributes
from graftable.graphs.corpus import DOMAINS, FAMILIES, REAL_DOMAINS, SPLITS, corpus_metadata, corpus_path
from graftable.graphs.subgraphs import structure_hash
from graftable.pipelines.records import read_records, record_to_graph


@pytest.fixture(scope="module")
def corpus():
    return {
        split: [record_to_graph(record) for record in read_records(corpus_path() / f"{split}.parquet")]
        for split in SPLITS
    }


def test_no_structure_is_in_two_splits_or_twice_in_one(corpus):
    hashes = [structure_hash(graph) for split in SPLITS for graph in corpus[split]]
    assert len(set(hashes)) == len(hashes)


def test_every_graph_is_within_the_limits(corpus):
    for graph in (graph for graphs in corpus.values() for graph in graphs):
        assert 4 <= graph.num_nodes <= 400
        assert 1 <= graph.num_edges // 2 <= 512


def test_every_graph_says_what_it_is(corpus):
    ids = [graph.graph_id for graphs in corpus.values() for graph in graphs]
    assert len(set(ids)) == len(ids)
    for split, graphs in corpus.items():
        for graph in graphs:
            assert graph.split == split
            assert graph.domain in DOMAINS
            assert set(graph.attributes) == {*ATTRIBUTES, "density"}


def test_stored_attributes_are_those_of_the_graph(corpus):
    for graph in corpus["train"][::200]:
        found = graph_attributes(graph)
        assert found == pytest.approx(graph.attributes, abs=1e-5)


def test_counts_in_the_metadata_are_those_of_the_files(corpus):
    counts = corpus_metadata()["counts"]
    for split in SPLITS:
        found = Counter(graph.domain for graph in corpus[split])
        assert {domain: counts[domain][split] for domain in DOMAINS} == dict(found)


def test_every_real_domain_can_be_tested(corpus):
    for split, least in (("train", 150), ("val", 40), ("test", 40)):
        found = Counter(graph.domain for graph in corpus[split])
        assert all(found[domain] >= least for domain in REAL_DOMAINS)


def test_terciles_cut_the_training_graphs_into_thirds(corpus):
    for name, (low, high) in corpus_metadata()["terciles"].items():
        values = np.array([graph.attributes[name] for graph in corpus["train"]])
        assert (values < low).mean() <= 1 / 3 + 0.01 <= (values <= low + 1e-6).mean() + 0.02
        assert low <= high


def test_every_network_has_its_origin_and_citation_in_the_readme(corpus):
    readme = (corpus_path() / "README.md").read_text(encoding="utf-8")
    origins = {graph.source for graphs in corpus.values() for graph in graphs} - {"procedural"}
    assert origins == set(corpus_metadata()["origins"])
    assert all(f"`{origin}`" in readme for origin in origins)


def test_data_under_a_copyleft_licence_stays_out(corpus):
    assert all("GPL" not in origin["licence"] for origin in corpus_metadata()["origins"].values())


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in corpus_path().glob("*.parquet")) < 4e6


def test_domains_are_real_ones_and_families():
    assert set(DOMAINS) == {*REAL_DOMAINS, *FAMILIES}
    assert not set(REAL_DOMAINS) & set(FAMILIES)


def test_domain_sentences_load_without_torch():
    code = "import sys, graftable.graphs.corpus as c; assert c.DOMAINS and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
