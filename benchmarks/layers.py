"""One epoch of graph classification with our layers and with PyG's, on a CPU: the same models, weights and batches.

    python benchmarks/layers.py                                   # everything: a few minutes on two cores
    python benchmarks/layers.py --sets NCI1 --models GIN,PNA --modes kept
    python benchmarks/layers.py --check                           # are the outputs equal? A few seconds, needs no data

Three layers of width 64 (4 heads of 16) behind a linear encoder, the mean of each graph, Adam. Batches are collated
beforehand, with edges as PyG's `coalesce` leaves them; building the `Adjacency` counts as our time. NCI1 in batches of
128 graphs; of COLLAB, where a graph has 2,457 edges on average, the first 640 in batches of 64. Set GRAFTABLE_DATA, or
give the folder that holds tu_NCI1.npz and tu_COLLAB.npz.
"""

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch_geometric.nn as pyg_nn
from _common import GRAPH_SETS, figure, write_figures
from _measure import THREADS, common_options, in_each_mode, interleave, names_of, refuse_when_busy
from torch import nn
from torch.nn.functional import cross_entropy

import graftable.graphs.nn as graftable_nn
from graftable.graphs.ops import Adjacency

WIDTH, HEADS, LAYERS = 64, 4, 3
SETS = {"NCI1": (128, None), "COLLAB": (64, 640)}  # graphs in a batch, graphs in all
AGGREGATORS, SCALERS = ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"]
#: set -> model -> how many times as long PyG should take at least
TARGETS = {
    "NCI1": {"GIN": 1.5, "GAT": 1.1, "GATv2": 1.1, "PNA": 1.5, "TransformerConv": 1.1},
    "COLLAB": dict.fromkeys(("GIN", "GAT", "GATv2", "PNA", "TransformerConv"), 2.0),
}


@dataclass
class Batch:
    """Graphs side by side."""

    x: torch.Tensor
    edge_index: torch.Tensor
    ptr: torch.Tensor
    batch: torch.Tensor
    y: torch.Tensor

    @property
    def degrees(self):
        """How many edges enter each node."""
        return torch.bincount(self.edge_index[1], minlength=len(self.x))


class Model(nn.Module):
    """A graph classifier out of the layers of one library, whose names and arguments both libraries share."""

    def __init__(self, library, kind, features, classes, histogram):
        super().__init__()
        self.encoder = nn.Linear(features, WIDTH)
        self.layers = nn.ModuleList(_layer(library, kind, histogram) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, classes)

    def forward(self, x, structure, read):
        """Class scores; ``structure`` is what the layers take besides ``x``, ``read`` averages over each graph."""
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x, structure).relu()
        return self.head(read(x))


def _layer(library, kind, histogram):
    if kind == "GIN":
        return library.GINConv(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)))
    if kind == "PNA":
        return library.PNAConv(WIDTH, WIDTH, AGGREGATORS, SCALERS, histogram)
    name = {"GAT": "GATConv", "GATv2": "GATv2Conv"}.get(kind, kind)
    return getattr(library, name)(WIDTH, WIDTH // HEADS, heads=HEADS)


def ours(model, batch):
    adjacency = Adjacency.from_edge_index(batch.edge_index, len(batch.x))
    return model(batch.x, adjacency, lambda x: graftable_nn.MeanReadout()(x, batch.ptr))


def pyg(model, batch):
    return model(batch.x, batch.edge_index, lambda x: pyg_nn.global_mean_pool(x, batch.batch, len(batch.y)))


LIBRARIES = {"graftable": (graftable_nn, ours), "PyG": (pyg_nn, pyg)}


def models(kind, batches):
    """{library: (model, forward)}, all of the same weights."""
    torch.manual_seed(0)
    histogram = torch.bincount(torch.cat([batch.degrees for batch in batches]))
    size = batches[0].x.shape[1], int(max(batch.y.max() for batch in batches)) + 1
    made = {name: Model(library, kind, *size, histogram) for name, (library, _) in LIBRARIES.items()}
    for model in made.values():
        model.load_state_dict(made["PyG"].state_dict())
    return {name: (model, LIBRARIES[name][1]) for name, model in made.items()}


def epoch(model, forward, optimizer, batches):
    """Train on each batch once."""
    for batch in batches:
        optimizer.zero_grad()
        cross_entropy(forward(model, batch), batch.y).backward()
        optimizer.step()


def measure(arguments, mode):
    """Time an epoch of every model in this process."""
    torch.set_num_threads(THREADS)
    for name in arguments.sets:
        batches = read(arguments.data / f"tu_{name}.npz", *SETS[name])
        for kind in arguments.models:
            print(f"{mode}: {name} {kind}", file=sys.stderr)
            calls = {
                library: partial(epoch, model, forward, torch.optim.Adam(model.parameters()), batches)
                for library, (model, forward) in models(kind, batches).items()
            }
            yield [name, kind, interleave(calls, quick=arguments.quick, peaks=mode == "default")]


def read(path, batch_size, count):
    """The batches of a file: labels as one-hot features, or the degree where there are none."""
    with np.load(path, allow_pickle=False) as arrays:
        node_ptr, edge_ptr, labels = (arrays[name].astype(np.int64) for name in ("node_ptr", "edge_ptr", "node_label"))
        ends, y = np.stack([arrays["edge_u"], arrays["edge_v"]]).astype(np.int64), arrays["y"].astype(np.int64)
    ends += np.repeat(node_ptr[:-1], np.diff(edge_ptr))
    count = count or len(y)
    starts = range(0, count, batch_size)
    return [
        collate(node_ptr, edge_ptr, labels, ends, y, slice(start, min(start + batch_size, count))) for start in starts
    ]


def collate(node_ptr, edge_ptr, labels, ends, y, part):
    ptr = node_ptr[part.start : part.stop + 1]
    u, v = ends[:, edge_ptr[part.start] : edge_ptr[part.stop]] - ptr[0]
    edges = np.stack([np.concatenate([u, v]), np.concatenate([v, u])])
    edges = edges[:, np.lexsort(edges[::-1])]
    nodes = ptr[-1] - ptr[0]
    if labels.max() > 0:
        x = np.eye(labels.max() + 1, dtype=np.float32)[labels[ptr[0] : ptr[-1]]]
    else:
        x = np.log1p(np.bincount(edges[0], minlength=nodes)).astype(np.float32)[:, None]
    graph = np.repeat(np.arange(len(ptr) - 1), np.diff(ptr))
    return Batch(*(torch.from_numpy(array) for array in (x, edges, ptr - ptr[0], graph, y[part])))


def check(arguments):
    """Compare outputs and gradients of both libraries on small random graphs; raises where they disagree."""
    rng = np.random.default_rng(0)
    node_ptr, edge_ptr = np.arange(0, 81, 10), np.arange(0, 121, 15)
    pairs = np.stack(np.triu_indices(10, 1))
    ends = np.concatenate([pairs[:, rng.permutation(45)[:15]] + start for start in node_ptr[:-1]], axis=1)
    batch = collate(node_ptr, edge_ptr, rng.integers(0, 5, 80), ends, rng.integers(0, 3, 8), slice(0, 8))
    for kind in arguments.models:
        results = []
        for model, forward in models(kind, [batch]).values():
            logits = forward(model, batch)
            gradients = torch.autograd.grad(cross_entropy(logits, batch.y), list(model.parameters()))
            results.append([logits, *gradients])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        print(f"{kind}: {' and '.join(LIBRARIES)} agree")


def report(rows):
    """Print the table; returns the figures."""
    figures = []
    print(f"{'set':<8}{'model':<17}{'memory':<12}{'ours, s':>9}{'PyG, s':>9}{'ratio':>8}  target   peak MB: ours, PyG")
    for mode, of_mode in rows.items():
        for name, kind, results in of_mode:
            mine, theirs = (results[library]["ms"] / 1000 for library in LIBRARIES)
            ratio, least = theirs / mine, TARGETS[name][kind]
            peaks = [results[library]["peak"] for library in LIBRARIES]
            print(
                f"{name:<8}{kind:<17}{mode:<12}{mine:>9.3f}{theirs:>9.3f}{ratio:>8.2f}"
                f"  {'>=' if ratio >= least else '<'} {least:<6g}" + "".join(f"{peak:>9.1f}" for peak in peaks if peak)
            )
            figures.append(
                figure(
                    f"{name}/{kind}/{mode}",
                    mine,
                    "s",
                    peer="PyG",
                    peer_value=round(theirs, 6),
                    packages=("graftable", "torch", "torch-geometric"),
                    median_s={library: round(results[library]["median"] / 1000, 4) for library in LIBRARIES},
                    peak_mb={library: round(results[library]["peak"], 1) for library in LIBRARIES}
                    if all(peaks)
                    else {},
                    at_least={"PyG": least},
                    missed=["PyG"] * (ratio < least),
                )
            )
    missed = sum(len(one["missed"]) for one in figures)
    print(f"{len(figures) - missed} of {len(figures)} targets met")
    return figures


def run():
    """Parse the command line, measure in one process per mode, print, and write the figures of a full run."""
    parser = common_options(__doc__, ("default", "kept"))
    parser.add_argument("--sets", type=names_of(SETS), default=list(SETS))
    parser.add_argument("--models", type=names_of(TARGETS["NCI1"]), default=list(TARGETS["NCI1"]))
    parser.add_argument("--data", type=Path, default=GRAPH_SETS.parent / "ood")
    parser.add_argument("--check", action="store_true", help="compare the results of both libraries, not their times")
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments)
    elif arguments.child:
        for row in measure(arguments, arguments.child):
            print(json.dumps({"row": row}), flush=True)
    else:
        refuse_when_busy(arguments.force)
        rows = {mode: [row["row"] for row in found] for mode, found in in_each_mode(__file__, arguments.modes).items()}
        figures = report(rows)
        if arguments == parser.parse_args(["--force"] * arguments.force):
            write_figures("layers", figures, show=False)
        else:
            print("a part of the benchmark: benchmarks/results/layers.jsonl stays as it was")
    return 0


if __name__ == "__main__":
    sys.exit(run())
