"""Build the bundled corpus from a folder of network files: ``python -m graftable.pipelines.corpus FOLDER``.

Every network is cut into regions that share no node, and every collection is split by graph, before anything is
drawn. Test graphs are drawn first, then validation, then training, and a structure that was drawn once is never
drawn again: no training graph is isomorphic to a test graph.
"""

import argparse
import gzip
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csgraph, csr_array
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.files import write_text
from graftable.graphs.attributes import graph_attributes
from graftable.graphs.corpus import FAMILIES, SPLITS, corpus_path
from graftable.graphs.edge_lists import edge_array, graph_from_edges
from graftable.graphs.families import draw_graph
from graftable.graphs.subgraphs import SPLIT_FRACTIONS, partition_regions, sample_subgraphs, structure_hash
from graftable.pipelines.records import GRAPH, write_records

__all__ = ["SOURCES", "Source", "build_corpus", "corpus_graphs", "read_source", "split_groups"]

#: Files by domain. Left out: animal networks under a licence that does not fit, and ca-netscience, which
#: netscience-full contains.
SOURCES: dict[str, tuple[str, ...]] = {
    "asn": ("asn_dolphins", "asn_mammalia-voles-plj"),
    "bio": (
        *("bio_bio-celegans", "bio_bio-diseasome", "bio_bio-dmela", "bio_bio-yeast", "bio_ppi-homo-sapiens"),
        *("bio_proteins", "bio_wormnet-bench", "bio_yeast-y2h"),
    ),
    "chem": ("chem_enzymes", "chem_mutag", "chem_nci1", "chem_ptc"),
    "citation": ("citation_cit-dblp", "citation_citeseer", "citation_cora"),
    "col": (
        *("col_ca-csphd", "col_ca-erdos992", "col_ca-grqc"),
        *("col_imdbbinary", "col_imdbmulti", "col_netscience-full"),
    ),
    "eco": ("eco_foodwebs",),
    "econ": ("econ_mahindas",),
    "email": ("email_email-univ", "email_eu-core"),
    "power": ("power_1138-bus", "power_bips98-606", "power_inf-power"),
    "road": ("road_inf-euroroad",),
    "soc": ("soc_football", "soc_polbooks", "soc_soc-hamsterster"),
    "socfb": (
        *("socfb_facebook_ego", "socfb_socfb-bowdoin47", "socfb_socfb-hamilton46"),
        *("socfb_socfb-haverford76", "socfb_socfb-swarthmore42"),
    ),
    "web": ("web_eurosis", "web_polblogs", "web_web-california", "web_web-edu", "web_web-epa"),
    "tech": ("tech_as20graph", "tech_router"),
    "infra": ("infra_usair",),
    "contact": ("contact_highschool2013", "contact_primaryschool_day1"),
}

REAL_QUOTA = {"train": 400, "val": 50, "test": 50}
FAMILY_QUOTA = {"train": 150, "val": 20, "test": 20}
VERSION = 1
MIN_NODES, MAX_NODES, MAX_EDGES = 4, 400, 512
SMALLEST_PARTITIONED = 200  # below, a test region has under 30 nodes; such a network is for training only
COVERAGE = 20  # a region gives subgraphs until its nodes were used so many times on average
CUTS_PER_MEMBER = 10
TRAIN_ONLY = {"socfb_facebook_ego"}  # ego networks of one crawl share people


@dataclass(frozen=True)
class Source:
    """One file: a network (one graph) or a collection, with the group of each graph.

    Attributes:
        name: The file's name without its ending.
        graphs: The graphs; a single network is restricted to its largest component.
        groups: By graph, the study that it comes from; a study is never split. Empty for a single network.
        facts: Domain, source and licence as the file states them.
    """

    name: str
    graphs: Sequence[Data]
    groups: Sequence[str]
    facts: Mapping[str, str]


def read_source(folder: Path, name: str) -> Source:
    """Read ``<name>.npz`` (a collection) or ``<name>.txt.gz`` (a network).

    Raises:
        DataError: If the folder has neither.
    """
    if (folder / f"{name}.npz").is_file():
        return _read_collection(folder / f"{name}.npz", name)
    path = folder / f"{name}.txt.gz"
    if not path.is_file():
        raise DataError(f"{folder}: no {name}.npz or {name}.txt.gz; give the folder that holds the network files.")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        header = json.loads(file.readline().lstrip("# "))
        pairs = np.loadtxt(file, dtype=np.int64, ndmin=2)
    network = _largest_component(graph_from_edges(int(pairs.max()) + 1, pairs))
    return Source(name, [network], [], {key: str(header[key]) for key in ("source", "licence")})


def _read_collection(path: Path, name: str) -> Source:
    with np.load(path, allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta"]))
        stops = np.cumsum(arrays["m"])[:-1]
        pairs = np.split(np.stack([arrays["src"], arrays["dst"]], axis=1), stops)
        graphs = [graph_from_edges(int(n), edges) for n, edges in zip(arrays["n"], pairs, strict=True)]
        names = [str(x) for x in arrays["name"]] if "name" in arrays else [str(i) for i in range(len(graphs))]
    return Source(name, graphs, [_study(x) for x in names], {key: str(meta[key]) for key in ("source", "licence")})


def _study(name: str) -> str:
    """The study of a food web by its name: one stream survey, one bay at several sites, one numbered publication."""
    for stem in ("foodweb_nzstream", "foodweb_pajek_Ches", "foodweb_pajek_Crystal"):
        if name.startswith(stem):
            return stem
    return re.sub(r"^(weboflife_[A-Z]+_[A-Z]+_\d+)_\d+$", r"\1", name)


def _largest_component(graph: Data) -> Data:
    edges, size = edge_array(graph), int(graph.num_nodes or 0)
    matrix = csr_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(size, size))
    _, labels = csgraph.connected_components(matrix, directed=False)
    kept = labels == np.argmax(np.bincount(labels))
    position = np.cumsum(kept) - 1
    return graph_from_edges(int(kept.sum()), position[edges[kept[edges[:, 0]]]])


def split_groups(groups: Sequence[str], fractions: Mapping[str, float], seed: int) -> list[str]:
    """Give each graph a split, whole groups at a time, such that the shares of graphs come near ``fractions``.

    Groups come in random order, the large ones first; each goes to the split that lacks most, relative to its share.

    Example:
        >>> split_groups(["a", "a", "b", "c"], {"train": 0.5, "test": 0.5}, seed=0)
        ['train', 'train', 'test', 'test']
    """
    sizes = Counter(groups)
    order = np.random.default_rng(seed).permutation(sorted(sizes)).tolist()
    filled = dict.fromkeys(fractions, 0)
    chosen: dict[str, str] = {}
    for group in sorted(order, key=lambda name: -sizes[name]):
        split = min(fractions, key=lambda name: (filled[name] + sizes[group]) / fractions[name])
        chosen[group] = split
        filled[split] += sizes[group]
    return [chosen[group] for group in groups]


def corpus_graphs(
    sources: Mapping[str, Sequence[Source]],
    *,
    seed: int = 0,
    real_quota: Mapping[str, int] = REAL_QUOTA,
    families: Iterable[str] = FAMILIES,
    family_quota: Mapping[str, int] = FAMILY_QUOTA,
) -> dict[str, list[Data]]:
    """Draw the corpus: a function of its arguments.

    Args:
        sources: Sources by domain.
        seed: Seed of everything that is drawn.
        real_quota: Graphs wanted per domain of ``sources``, by split; the sources of a domain take turns.
        families: Names of procedural families.
        family_quota: Graphs wanted per family, by split.

    Returns:
        By split, graphs with ``graph_id``, ``domain``, ``source``, ``split`` and ``attributes``.
    """
    seen: set[str] = set()
    regions = {source.name: _assign(source, seed) for group in sources.values() for source in group}
    corpus: dict[str, list[Data]] = {split: [] for split in SPLITS}
    for split in ("test", "val", "train"):
        for domain, members in sources.items():
            streams = {source.name: _stream(source, regions[source.name], split, seed, seen) for source in members}
            _collect(corpus[split], _take_turns(streams), domain, split, real_quota[split])
        for family in families:
            drawn = _draw_family(family, _derived_seed(seed, family, split), seen)
            _collect(corpus[split], (("procedural", graph) for graph in drawn), family, split, family_quota[split])
    return corpus


def _derived_seed(seed: int, *words: str) -> int:
    """A seed for one part, so that adding a source does not change what the others give."""
    return zlib.crc32("/".join((str(seed), *words)).encode())


def _assign(source: Source, seed: int) -> dict[str, Any]:
    """What belongs to each split: node ids of a network, graph positions of a collection."""
    everything: dict[str, Any] = {split: np.empty(0, dtype=np.int64) for split in SPLITS}
    own_seed = _derived_seed(seed, source.name)
    if not source.groups:
        network = source.graphs[0]
        if int(network.num_nodes or 0) >= SMALLEST_PARTITIONED:
            return dict(partition_regions(network, SPLIT_FRACTIONS, seed=own_seed))
        return everything | {"train": np.arange(network.num_nodes)}
    if source.name in TRAIN_ONLY:
        return everything | {"train": np.arange(len(source.graphs))}
    splits = np.array(split_groups(source.groups, SPLIT_FRACTIONS, own_seed))
    return {split: np.flatnonzero(splits == split) for split in SPLITS}


def _stream(source: Source, assigned: Mapping[str, Any], split: str, seed: int, seen: set[str]) -> Iterator[Data]:
    own_seed = _derived_seed(seed, source.name, split)
    if source.groups:
        yield from _members(source, assigned[split], own_seed, seen)
        return
    budget = COVERAGE * len(assigned[split])
    limits = {"max_nodes": MAX_NODES, "max_edges": MAX_EDGES}
    for graph in sample_subgraphs(source.graphs[0], seed=own_seed, nodes=assigned[split], seen=seen, **limits):
        budget -= int(graph.num_nodes or 0)
        if budget < 0:
            return
        yield graph


def _members(source: Source, positions: np.ndarray, seed: int, seen: set[str]) -> Iterator[Data]:
    """The graphs of a collection in random order; those above the limits give subgraphs instead."""
    rng = np.random.default_rng(seed)
    for position in rng.permutation(positions):
        graph = source.graphs[position]
        nodes, edges = int(graph.num_nodes or 0), graph.num_edges // 2
        if nodes > MAX_NODES or edges > MAX_EDGES:
            limits = {"max_nodes": MAX_NODES, "max_edges": MAX_EDGES, "seed": int(rng.integers(2**32))}
            yield from islice(sample_subgraphs(graph, seen=seen, **limits), CUTS_PER_MEMBER)
        elif nodes >= MIN_NODES and edges and (mark := structure_hash(graph)) not in seen:
            seen.add(mark)
            yield graph


def _draw_family(name: str, seed: int, seen: set[str]) -> Iterator[Data]:
    rng = np.random.default_rng(seed)
    for _ in range(10_000):  # a family of few small members, such as grids, may run dry
        graph = draw_graph(name, rng, max_edges=MAX_EDGES)
        if (mark := structure_hash(graph)) not in seen:
            seen.add(mark)
            yield graph


def _take_turns(streams: Mapping[str, Iterator[Data]]) -> Iterator[tuple[str, Data]]:
    """One graph of each source in turn, so that a large source cannot crowd out a small one."""
    waiting = dict(streams)
    while waiting:
        for name in list(waiting):
            graph = next(waiting[name], None)
            if graph is None:
                del waiting[name]
            else:
                yield name, graph


def _collect(corpus: list[Data], drawn: Iterator[tuple[str, Data]], domain: str, split: str, quota: int) -> None:
    for index, (origin, graph) in enumerate(islice(drawn, quota)):
        attributes = {name: round(value, 6) for name, value in graph_attributes(graph).items()}
        corpus.append(
            Data(
                edge_index=graph.edge_index,
                num_nodes=graph.num_nodes,
                graph_id=f"{domain}-{split}-{index:04d}",
                domain=domain,
                source=origin,
                split=split,
                attributes=attributes,
            )
        )


def build_corpus(
    folder: Path,
    out: Path,
    *,
    seed: int = 0,
    names: Mapping[str, Sequence[str]] = SOURCES,
    real_quota: Mapping[str, int] = REAL_QUOTA,
    family_quota: Mapping[str, int] = FAMILY_QUOTA,
) -> dict[str, Any]:
    """Read the sources below ``folder/real``, draw the corpus, and write it with its metadata to ``out``.

    Args:
        folder: Holds ``real/<name>.npz`` (collections) and ``real/<name>.txt.gz`` (networks).
        out: Folder for ``train.parquet``, ``val.parquet``, ``test.parquet`` and ``metadata.json``.
        seed: The files are a function of the sources and this seed.
        names: Source files by domain.
        real_quota: Graphs wanted per domain, by split.
        family_quota: Graphs wanted per procedural family, by split.

    Returns:
        The metadata, as in ``metadata.json``.

    Raises:
        DataError: If a source file is missing.
    """
    sources = {domain: [read_source(folder / "real", name) for name in members] for domain, members in names.items()}
    corpus = corpus_graphs(sources, seed=seed, real_quota=real_quota, family_quota=family_quota)
    for split, graphs in corpus.items():
        write_records(out / f"{split}.parquet", graphs, GRAPH)
    metadata = _describe(corpus, sources, seed)
    write_text(out / "metadata.json", json.dumps(metadata, indent=1) + "\n")
    return metadata


def _describe(
    corpus: Mapping[str, Sequence[Data]], sources: Mapping[str, Sequence[Source]], seed: int
) -> dict[str, Any]:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(SPLITS, 0))
    per_origin: Counter[str] = Counter()
    for split, graphs in corpus.items():
        for graph in graphs:
            counts[graph.domain][split] += 1
            per_origin[graph.source] += 1
    origins = {
        source.name: {"domain": domain, **source.facts, "graphs": per_origin[source.name]}
        for domain, members in sources.items()
        for source in members
    }
    values = {name: [g.attributes[name] for g in corpus["train"]] for name in corpus["train"][0].attributes}
    terciles = {name: [round(float(q), 6) for q in np.quantile(v, [1 / 3, 2 / 3])] for name, v in values.items()}
    return {"version": VERSION, "seed": seed, "counts": dict(counts), "terciles": terciles, "origins": origins}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the build and print the number of graphs by domain and split."""
    parser = argparse.ArgumentParser(description="Build the bundled graph corpus.")
    parser.add_argument("folder", type=Path, help="folder with real/*.npz and real/*.txt.gz")
    parser.add_argument("--out", type=Path, default=corpus_path(), help="where to write; the package's own folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    metadata = build_corpus(options.folder, options.out, seed=options.seed)
    for domain, counts in metadata["counts"].items():
        print(f"{domain:10} " + "  ".join(f"{split} {counts[split]:4}" for split in SPLITS))


if __name__ == "__main__":
    main()
