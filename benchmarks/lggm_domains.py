"""The shipped generator on the region-disjoint test graphs of each domain, beside its baselines.

    python benchmarks/lggm_domains.py                   # about 30 minutes on two cores

For each domain: the MMD ratio (mean over the statistics of MMD(generated, test) / MMD(train, test)) with a 95 %
bootstrap interval, of graphs drawn for "a graph of this domain", of Erdos-Renyi graphs (n, m of a training graph), of
Chung-Lu graphs (degrees of a training graph) and of training graphs themselves.
"""

import argparse
import sys

import numpy as np
from _common import figure, write_figures

from graftable.graphs.conditions import Condition
from graftable.graphs.corpus import REAL_DOMAINS, corpus_path
from graftable.graphs.metrics import chung_lu, copy_of_train, describe_graphs, erdos_renyi, evaluate_graphs, vun
from graftable.models.lggm import LGGM
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.readers import read_graphs


def measure(model: LGGM, domain: str, train: list, test: list, samples: int) -> list[dict]:
    """Ratio, statistics and novelty of each method in one domain."""
    rng = np.random.default_rng(0)
    methods = {
        "lggm": model.generate([Condition(domain=domain)] * samples, seed=0),
        "erdos_renyi": erdos_renyi(train, samples, rng),
        "chung_lu": chung_lu(train, samples, rng),
        "copy_of_train": copy_of_train(train, samples, rng),
    }
    test_described, train_described = describe_graphs(test), describe_graphs(train)
    figures = []
    for method, graphs in methods.items():
        report = evaluate_graphs(graphs, test_described, train=train_described)
        figures.append(
            figure(
                f"{domain}/{method}/ratio",
                report.ratio.value,
                "mmd ratio",
                low=report.ratio.low,
                high=report.ratio.high,
                statistics={name: round(one.value, 5) for name, one in report.statistics.items()},
                samples=samples,
            )
        )
    shares = vun(methods["lggm"], train)
    figures.append(figure(f"{domain}/lggm/novel", 100 * shares.novel.value, "%", samples=samples))
    return figures


def run() -> int:
    """Measure every domain of measured networks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lggm")
    parser.add_argument("--samples", type=int, default=256)
    arguments = parser.parse_args()
    model = load_pretrained(LGGM, arguments.model)
    splits = {split: read_graphs(corpus_path() / f"{split}.parquet") for split in ("train", "test")}
    figures = []
    wins = {"erdos_renyi": 0, "chung_lu": 0}
    for domain in REAL_DOMAINS:
        train, test = ([graph for graph in splits[split] if graph.domain == domain] for split in ("train", "test"))
        figures += (new := measure(model, domain, train, test, arguments.samples))
        ratios = {one["name"].split("/")[1]: one["value"] for one in new if one["name"].endswith("/ratio")}
        print(domain, len(train), len(test), ratios, file=sys.stderr, flush=True)
        for baseline in wins:
            wins[baseline] += ratios["lggm"] < ratios[baseline]
    figures += [
        figure(f"domains_below_{baseline}", count, f"of {len(REAL_DOMAINS)} domains", peer="target", peer_value=8)
        for baseline, count in wins.items()
    ]
    write_figures("lggm_domains", figures)
    return 0


if __name__ == "__main__":
    sys.exit(run())
