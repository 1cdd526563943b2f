"""Well-formedness, exact size, novelty and speed of the shipped generator.

    python benchmarks/lggm_scale.py                     # everything: about 20 minutes on two cores
    python benchmarks/lggm_scale.py --part many         # 10,000 graphs over all domains, n log-uniform in 1..512
    python benchmarks/lggm_scale.py --part speed        # 64-node graphs a second; seconds and memory up to 5,000 nodes

Peers' figures are published ones on an H100 (DiGress 2.8 s, AutoGraph 0.01 s a planar graph of 64 nodes); they stand
beside ours for orientation, not as a race.
"""

import argparse
import math
import resource
import subprocess
import sys
import time

import numpy as np
from _common import figure, share_figure, write_figures

from graftable.graphs.conditions import Condition
from graftable.graphs.corpus import DOMAINS, corpus_path
from graftable.graphs.metrics import GraphIndex, vun
from graftable.models.lggm import LGGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.readers import read_graphs

SIZES = (50, 100, 200, 500, 1000, 2000, 5000)
SCALE_DOMAINS = ("power", "planar", "soc")


def many(model: LGGM, count: int) -> list[dict]:
    """Draw graphs of every domain and size, and check each of them as a user would."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(0, math.log(513), count)).astype(int).clip(1, 512)
    names = list(DOMAINS)
    conditions = [Condition(domain=names[i % len(names)], num_nodes=int(n)) for i, n in enumerate(sizes)]
    start = time.perf_counter()
    graphs = model.generate(conditions, seed=0)
    seconds = time.perf_counter() - start
    exact = sum(graph.num_nodes == n for graph, n in zip(graphs, sizes, strict=True))
    formed = sum(_well_formed(graph) for graph in graphs)
    train = GraphIndex(read_graphs(corpus_path() / "train.parquet"))
    large = [graph for graph in graphs if graph.num_nodes >= 16]
    shares, all_shares = vun(large, train), vun(graphs, train)
    return [
        figure("many/well_formed", 100 * formed / count, "%", samples=count),
        figure("many/exact_nodes", 100 * exact / count, "%", samples=count),
        *_shares("many/n_at_least_16", shares, len(large)),
        *_shares("many/all_sizes", all_shares, count),
        figure("many/seconds", seconds, "s", samples=count),
    ]


def _shares(name: str, shares, count: int) -> list[dict]:
    pairs = (("unique", shares.unique), ("novel", shares.novel))
    return [share_figure(f"{name}/{share}", value, samples=count) for share, value in pairs]


def _well_formed(graph) -> bool:
    """Simple and undirected: both directions of every edge once, no self-loop, nodes in range."""
    source, target = graph.edge_index.tolist()
    edges = set(zip(source, target, strict=True))
    in_range = all(0 <= node < graph.num_nodes for node in source)
    return in_range and len(edges) == len(source) and all(u != v and (v, u) in edges for u, v in edges)


def speed(model: LGGM, name: str) -> list[dict]:
    """Graphs of 64 nodes a second in one batch, over all domains; then the cost of one graph against its size."""
    conditions = [Condition(domain=name, num_nodes=64) for name in DOMAINS] * 4
    model.generate(conditions[:8], seed=1)
    seconds = []
    for seed in range(3):
        start = time.perf_counter()
        model.generate(conditions, seed=seed, batch_size=len(conditions))
        seconds.append(time.perf_counter() - start)
    figures = [
        figure(
            "speed/graphs_of_64_nodes_per_second",
            len(conditions) / np.median(seconds),
            "1/s",
            peer="target",
            peer_value=10,
        )
    ]
    for domain in SCALE_DOMAINS:
        points = [_one_graph(name, domain, size) for size in SIZES]
        for size, (edges, wall, memory) in zip(SIZES, points, strict=True):
            figures.append(figure(f"scale/{domain}/{size}", wall, "s", edges=edges, peak_gib=round(memory, 3)))
        tail = [
            (math.log(edges), math.log(wall))
            for size, (edges, wall, _) in zip(SIZES, points, strict=True)
            if size >= 500
        ]
        slope = np.polyfit(*zip(*tail, strict=True), 1)[0]
        figures.append(figure(f"scale/{domain}/log_log_slope_in_edges", slope, "", peer="target", peer_value=1.15))
    return figures


def _one_graph(model: str, domain: str, size: int) -> tuple[int, float, float]:
    """Edges, seconds and peak memory (GiB) of one graph, in a process of its own."""
    command = [sys.executable, __file__, "--model", model, "--one", domain, str(size)]
    edges, wall, memory = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-3:]
    return int(edges), float(wall), float(memory)


def one(model: LGGM, domain: str, size: int) -> None:
    """Draw one graph and print edges, seconds and peak memory."""
    model.generate([Condition(domain=domain, num_nodes=16)], seed=0)
    start = time.perf_counter()
    (graph,) = model.generate([Condition(domain=domain, num_nodes=size)], seed=0)
    wall = time.perf_counter() - start
    print(graph.num_edges // 2, wall, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def run() -> int:
    """Parse the command line and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("many", "speed"))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--model", default="lggm")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = load_pretrained(LGGM, arguments.model)
    if arguments.one:
        one(model, arguments.one[0], int(arguments.one[1]))
        return 0
    if arguments.part != "speed":
        write_figures("lggm_many", many(model, arguments.count))
    if arguments.part != "many":
        write_figures("lggm_speed", speed(model, arguments.model))
    return 0


if __name__ == "__main__":
    sys.exit(run())
