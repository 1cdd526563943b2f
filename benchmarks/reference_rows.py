"""Reproduce published metric rows and score published samples; one JSON line per figure.

    OMP_NUM_THREADS=1 python benchmarks/reference_rows.py [--data FOLDER]

FOLDER (default: the environment variable GRAFTABLE_DATA, else ``../shared/data/graphs``) holds ``bench/*.npz`` and
``peers/*.npz``. The lines are printed and written to ``benchmarks/results/reference_rows.jsonl``. About a minute on one
core.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import torch_geometric.data as pyg
from _common import GRAPH_SETS

from graftable.files import write_text
from graftable.graphs.metrics import (
    BASELINES,
    STATISTICS,
    Descriptors,
    Interval,
    describe_graphs,
    evaluate_graphs,
    orbit_counts,
    vun,
)
from graftable.pipelines.readers import read_graphs

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = {name: version(name) for name in ("numpy", "scipy", "networkx")}
Graphs = list[pyg.Data]
Figure = dict[str, Any]

TRAIN_ROWS = {
    "planar": (0.0002, 0.0310, 0.0005, 0.0038, 0.0012),
    "sbm": (0.0008, 0.0332, 0.0255, 0.0027, 0.0007),
    "tree": (0.0001, 0.0, 0.0, 0.0075, 0.0030),
}
# the five distances, their ratio and V.U.N. of the 40 samples that DiGress's authors released
DIGRESS_ROWS = {
    "planar": (0.0006, 0.0563, 0.0098, 0.0062, 0.0024, 5.35, 0.85),
    "sbm": (0.0023, 0.0505, 0.0568, 0.0052, 0.0057, 3.26, 0.60),
}
# degree and clustering of training against test graphs, and of the diffusion model GDSS against test graphs
SMALL_ROWS = {
    "community_small": ((0.0034, 0.0092), (0.0470, 0.1215)),
    "ego_small": ((0.0142, 0.0273), (0.0663, 0.0935)),
}


def figure(
    name: str, value: Interval | float, unit: str, peer: str | None = None, peer_value: float | None = None
) -> Figure:
    """Return one line of the results; intervals come with their ends."""
    known = value if isinstance(value, Interval) else Interval(value)
    return {
        "name": name,
        "value": round(known.value, 6),
        "low": None if known.low is None else round(known.low, 6),
        "high": None if known.high is None else round(known.high, 6),
        "unit": unit,
        "peer": peer,
        "peer_value": None if peer_value is None else round(peer_value, 6),
        "ratio": round(known.value / peer_value, 4) if peer_value else None,
        "device": f"{platform.machine()} CPU",
        "versions": VERSIONS,
    }


def part(graphs: Graphs, split: str) -> Graphs:
    return [graph for graph in graphs if graph.split == split]


def published_rows(folder: Path) -> Iterator[Figure]:
    for name, published in TRAIN_ROWS.items():
        graphs = read_graphs(folder / "bench" / f"{name}.npz")
        train, test = (describe_graphs(part(graphs, split), clip_spectrum=False) for split in ("train", "test"))
        report = evaluate_graphs(train, test, bootstrap=0)
        for statistic, expected in zip(STATISTICS, published, strict=True):
            found = report.statistics[statistic]
            yield figure(f"{name}/train/{statistic}", found, "MMD^2", "published training row", expected)
        if name == "tree":
            clipped = [describe_graphs(part(graphs, split), ["spectral"]) for split in ("train", "test")]
            found = evaluate_graphs(*clipped, statistics=["spectral"]).statistics["spectral"]
            yield figure("tree/train/spectral, clipped", found, "MMD^2", "published training row", published[3])


def published_samples(folder: Path) -> Iterator[Figure]:
    for name, expected in DIGRESS_ROWS.items():
        graphs = read_graphs(folder / "bench" / f"{name}.npz")
        train, test = part(graphs, "train"), part(graphs, "test")
        against = describe_graphs(test), describe_graphs(train)
        samples = read_graphs(folder / "peers" / f"digress_{name}_samples.npz")
        yield from scores(f"{name}/DiGress", samples, train, against, name, expected)
        for baseline, draw in BASELINES.items():
            drawn = draw(train, 128, np.random.default_rng(0))
            yield from scores(f"{name}/{baseline}", drawn, train, against, name)


def scores(
    label: str,
    samples: Graphs,
    train: Graphs,
    against: tuple[Descriptors, Descriptors],
    family: str,
    expected: tuple[float | None, ...] = (None,) * 7,
) -> Iterator[Figure]:
    """Yield the five distances, their ratio and V.U.N. of some samples, each with its interval."""
    report, judged = evaluate_graphs(samples, *against), vun(samples, train, family)
    found = [(name, "MMD^2", report.statistics[name]) for name in STATISTICS]
    found += [("ratio", "", report.ratio or Interval(0.0)), ("V.U.N.", "share", judged.vun)]
    for (name, unit, figures), known in zip(found, expected, strict=True):
        peer = None if known is None else "recorded score of these samples"
        yield figure(f"{label}/{name}", figures, unit, peer, known)


def small_sets(folder: Path) -> Iterator[Figure]:
    """Score with the earth mover kernel on GDSS's split: the first 20 % of the file are the test graphs."""
    for name, (row, gdss) in SMALL_ROWS.items():
        graphs = read_graphs(folder / "bench" / f"{name}.npz")
        test, train = graphs[: len(graphs) // 5], graphs[len(graphs) // 5 :]
        sets = {"train": train} | {key: draw(train, 256, np.random.default_rng(0)) for key, draw in BASELINES.items()}
        for who, samples in sets.items():
            report = evaluate_graphs(samples, test, kernel="gaussian_emd", statistics=["degree", "clustering"])
            for statistic, own, peer in zip(report.statistics, row, gdss, strict=True):
                other = ("recorded training row", own) if who == "train" else ("GDSS, 24 samples", peer)
                found = report.statistics[statistic]
                yield figure(f"{name}/{who}/{statistic}", found, "MMD^2, earth mover kernel", *other)


def timings(folder: Path) -> Iterator[Figure]:
    try:
        from orca import orca_nodes
    except ImportError:
        orca_nodes = None
    for nodes, edges in ((100, 500), (500, 2500), (500, 12500), (2000, 10000)):
        graph = nx.gnm_random_graph(nodes, edges, seed=0)
        own, peer = cpu_seconds(partial(orbit_counts, graph)), None
        if orca_nodes is not None:
            peer = cpu_seconds(partial(orca_nodes, np.array(graph.edges(), dtype=np.int32), nodes, 4)) * 1e3
        label = f"orbit counts, {nodes} nodes, {edges} edges"
        yield figure(label, own * 1e3, "CPU ms", "orca-graphlets, compiled" if peer else None, peer)
    graphs = read_graphs(folder / "bench" / "planar.npz")
    spent = cpu_seconds(partial(evaluate_graphs, part(graphs, "train"), part(graphs, "test")))
    yield figure("planar, 128 against 40 graphs, 5 statistics, 1000 resamples", spent, "CPU s")


def cpu_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the least processor time of some calls, which other work on the machine does not lengthen."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GRAPH_SETS, help="holds bench/*.npz and peers/*.npz")
    folder = parser.parse_args().data
    if not (folder / "bench" / "planar.npz").exists():
        print(f"reference_rows: skipped, {folder} holds no bench/planar.npz; name the folder of graph sets.")
        return
    lines = []
    for section in (published_rows, published_samples, small_sets, timings):
        for line in section(folder):
            lines.append(json.dumps(line))
            print(lines[-1], flush=True)
    write_text(ROOT / "benchmarks" / "results" / "reference_rows.jsonl", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
