"""LGGM on community_small, ego_small and trees, beside published and copy-of-train rows, with intervals.

    python benchmarks/small_sets.py --data FOLDER                           # train all three, then measure
    python benchmarks/small_sets.py --data FOLDER --only tree --measure

FOLDER (default: the environment variable GRAFTABLE_DATA, else ``../shared/data/graphs``) holds
``bench/community_small.npz``, ``bench/ego_small.npz`` and ``bench/tree.npz``.

The files of community_small and ego_small name no split: the first fifth is the test set and the rest is trained on,
as GDSS does. Trees carry the 128 / 32 / 40 split of Bergmeister et al.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from _common import GRAPH_SETS, figure, share_figure, write_figures

from graftable.cli import main
from graftable.graphs.conditions import Condition
from graftable.graphs.metrics import Interval, chung_lu, copy_of_train, erdos_renyi, evaluate_graphs, vun
from graftable.models.lggm import LGGM
from graftable.pipelines.readers import read_graphs, write_graphs

RUNS = Path("runs/small_sets")
# GDSS's own checkpoints, sampled and scored side by side with the same metric; trees: DiGress and HSpectre as published
PEERS = {
    "community_small": {"degree": ("GDSS", 0.0470), "clustering": ("GDSS", 0.1215)},
    "ego_small": {"degree": ("GDSS", 0.0663), "clustering": ("GDSS", 0.0935)},
    "tree": {"vun": ("DeFoG 96.5, HSpectre 100, DiGress 90.0", 96.5)},
}
KERNEL = {"community_small": "gaussian_emd", "ego_small": "gaussian_emd", "tree": "gaussian_tv"}


def load(name, folder):
    """Training and test graphs; writes the records that the config reads."""
    graphs = read_graphs(folder / "bench" / f"{name}.npz")
    if name != "tree":
        for index, graph in enumerate(graphs):
            graph.split = "test" if index < len(graphs) // 5 else "train"
    for graph in graphs:
        graph.domain = name
    write_graphs(graphs, RUNS / f"{name}.parquet")
    return [[graph for graph in graphs if graph.split == split] for split in ("train", "test")]


def measure(name, train, test, samples, checkpoint):
    """Figures of one set: ours, the baselines, and the copy of the training set."""
    model = LGGM.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
    rng = np.random.default_rng(0)
    generated = {
        "lggm": model.generate([Condition()] * samples, seed=1),
        "copy_of_train": copy_of_train(train, samples, rng),
        "erdos_renyi": erdos_renyi(train, samples, rng),
        "chung_lu": chung_lu(train, samples, rng),
    }
    figures = []
    for method, graphs in generated.items():
        report = evaluate_graphs(graphs, test, train=train, kernel=KERNEL[name])
        for statistic, interval in {**report.statistics, "ratio": report.ratio}.items():
            peer, peer_value = PEERS[name].get(statistic, (None, None))
            more = {"low": interval.low, "high": interval.high, "samples": samples}
            unit = "ratio" if statistic == "ratio" else "mmd2"
            label = f"{name}/{method}/{statistic}"
            figures.append(figure(label, interval.value, unit, peer=peer, peer_value=peer_value, **more))
        shares = vun(graphs, train, valid="tree" if name == "tree" else None)
        for share, interval in vars(shares).items():
            if isinstance(interval, Interval):
                peer, peer_value = PEERS[name].get(share, (None, None))
                label = f"{name}/{method}/{share}"
                figures.append(share_figure(label, interval, peer=peer, peer_value=peer_value, samples=samples))
    return figures


def run():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=GRAPH_SETS, help="holds bench/*.npz")
    parser.add_argument("--only", choices=tuple(PEERS))
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--measure", action="store_true", help="do not train; read the checkpoints of an earlier run")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: {arguments.data} is absent; it holds bench/community_small.npz and its siblings")
        return 0
    for name in [arguments.only] if arguments.only else PEERS:
        train, test = load(name, arguments.data)
        folder = RUNS / name
        if not arguments.measure:
            options = {
                "trainer.logger": "lightning.pytorch.loggers.CSVLogger",
                "trainer.logger.save_dir": folder,
                "trainer.logger.name": "fit",
                "trainer.logger.version": "last",
            }
            code = main(["fit", "--config", f"lggm_{name}", *(f"--{key}={value}" for key, value in options.items())])
            if code:
                return code
        figures = measure(name, train, test, arguments.samples, folder / "fit" / "last" / "checkpoints" / "last.ckpt")
        write_figures(f"small_sets_{name}", figures)
    return 0


if __name__ == "__main__":
    sys.exit(run())
