"""One epoch of graph classification with our encoder and with the same encoder of PyG's layers, on a CPU.

    python benchmarks/encoders.py                         # everything: about ten minutes on one core
    python benchmarks/encoders.py --sets NCI1 --models GIN
    python benchmarks/encoders.py --check                 # are outputs and gradients equal? Needs no data

The encoder is the one that every method for graphs under shift is trained on, at its defaults: three layers of width
64, batch norm, the mean of each graph; GIN has a network of two layers, PNA four aggregators and three scalers. The
weights, batches and their order are the same in both; Adam. Beside it stand the layers alone, without batch norm and
with GIN's network half as wide, as in `layers.py`: there, less of the time is matrix products that both libraries leave
to the same code. Times are processor time of one thread, the libraries in turn, so that what else the machine does
stretches neither. Batches are collated beforehand, and building the `Adjacency` counts as our time. The same epoch
without edges tells how many times PyG's time no kernel for edges could pass.

NCI1 in batches of 128 graphs; of COLLAB, where a graph has 2,457 edges on average, the first 640 in batches of 64; of
HIV 2,000 graphs of the scaffold split's training part in batches of 128, with its 46 atom and 13 bond features, which
the layers of both libraries read. Set GRAFTABLE_DATA, or give the folder of the archives.
"""

import argparse
import copy
import itertools
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import layers
import torch
import torch_geometric.nn as pyg_nn
from _common import GRAPH_SETS, figure, write_figures
from _measure import KEPT, names_of
from torch import nn
from torch.nn.functional import cross_entropy
from torch_geometric.data import Batch as PygBatch
from torch_geometric.data import Data

import graftable.graphs.nn as graftable_nn
from graftable.graphs.nn import GraphEncoder
from graftable.graphs.ops import Adjacency
from graftable.graphs.shift import load_shift_set

WIDTH, LAYERS, MOLECULES, BATCH = 64, 3, 2000, 128
SETS = ("COLLAB", "NCI1", "HIV")
#: set -> how many times as long PyG should take at least
TARGETS = {"COLLAB": 2.0, "NCI1": 1.5, "HIV": 1.5}
MODELS, LIBRARIES = ("GIN", "PNA"), ("graftable", "PyG")


@dataclass
class Graphs:
    """Graphs side by side."""

    x: torch.Tensor
    edge_index: torch.Tensor
    ptr: torch.Tensor
    batch: torch.Tensor
    y: torch.Tensor
    edge_attr: torch.Tensor | None = None

    @property
    def edge_width(self):
        """Width of the edge features, or None."""
        return None if self.edge_attr is None else self.edge_attr.shape[1]

    def without_edges(self):
        """The nodes alone."""
        edges = None if self.edge_attr is None else self.edge_attr[:0]
        return replace(self, edge_index=self.edge_index[:, :0], edge_attr=edges)

    def sparse(self):
        """The `Adjacency`, made anew, and the edge features in its order."""
        adjacency = Adjacency.from_edge_index(self.edge_index, len(self.x))
        return adjacency, None if self.edge_attr is None else adjacency.to_slots(self.edge_attr)


class Stack(nn.Module):
    """A linear map, three layers of one library and the mean of each graph; parameters have the names of ours."""

    def __init__(self, library, kind, features, edges, degrees, normed):
        super().__init__()
        self.library = library
        self.input = nn.Linear(features, WIDTH)
        self.layers = nn.ModuleList(_layer(library, kind, edges, degrees, normed) for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.BatchNorm1d(WIDTH) if normed else nn.Identity() for _ in range(LAYERS))

    def forward(self, graphs):
        """One vector per graph."""
        ours = self.library is graftable_nn
        structure, edges = graphs.sparse() if ours else (graphs.edge_index, graphs.edge_attr)
        x = self.input(graphs.x)
        for depth, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = norm(layer(x, structure) if edges is None else layer(x, structure, edges))
            x = x.relu() if depth < LAYERS - 1 else x
        return (
            graftable_nn.MeanReadout()(x, graphs.ptr)
            if ours
            else pyg_nn.global_mean_pool(x, graphs.batch, len(graphs.y))
        )


def _layer(library, kind, edges, degrees, normed):
    if kind == "PNA":
        aggregators, scalers = ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"]
        return library.PNAConv(WIDTH, WIDTH, aggregators, scalers, degrees, edge_dim=edges)
    hidden = 2 * WIDTH if normed else WIDTH
    norm = [nn.BatchNorm1d(hidden)] if normed else []
    network = nn.Sequential(nn.Linear(WIDTH, hidden), *norm, nn.ReLU(), nn.Linear(hidden, WIDTH))
    if edges is None:
        return library.GINConv(network, train_eps=True)
    return library.GINEConv(network, train_eps=True, edge_dim=edges)


class Encoder(nn.Module):
    """The encoder that methods are trained on, from the same batches."""

    def __init__(self, kind, features, edges):
        super().__init__()
        self.encoder = GraphEncoder(kind.lower(), features, WIDTH, LAYERS, edge_features=edges)

    def forward(self, graphs):
        """One vector per graph."""
        adjacency, edges = graphs.sparse()
        return self.encoder(graphs.x, adjacency, graphs.ptr, edges)


def models(kind, batches, normed):
    """{library: encoder and head}, all of the same weights; the encoder's layers alone unless ``normed``."""
    torch.manual_seed(0)
    degrees = [torch.bincount(graphs.edge_index[1], minlength=len(graphs.x)) for graphs in batches]
    degrees = torch.bincount(torch.cat(degrees))
    features, edges = batches[0].x.shape[1], batches[0].edge_width
    theirs = Stack(pyg_nn, kind, features, edges, degrees, normed)
    if normed:
        ours = Encoder(kind, features, edges)
        ours.encoder.load_state_dict(theirs.state_dict())
    else:
        ours = Stack(graftable_nn, kind, features, edges, degrees, normed)
        ours.load_state_dict(theirs.state_dict())
    head = nn.Linear(WIDTH, int(max(graphs.y.max() for graphs in batches)) + 1)
    return {"graftable": nn.Sequential(ours, head), "PyG": nn.Sequential(theirs, copy.deepcopy(head))}


def epoch(model, optimizer, batches):
    """Train on each batch once."""
    for graphs in batches:
        optimizer.zero_grad()
        cross_entropy(model(graphs), graphs.y).backward()
        optimizer.step()


def read(name, folder):
    """The batches of a set."""
    if name != "HIV":
        found = layers.read(folder / f"tu_{name}.npz", *layers.SETS[name])
        return [Graphs(one.x, one.edge_index, one.ptr, one.batch, one.y) for one in found]
    graphs = load_shift_set("hiv", root=str(folder), size=MOLECULES).train
    parts = [graphs[start : start + BATCH] for start in range(0, len(graphs), BATCH)]
    return [
        _joined([Data(x=g.x, edge_index=g.edge_index, edge_attr=g.edge_attr, y=g.y) for g in part]) for part in parts
    ]


def _joined(graphs):
    one = PygBatch.from_data_list(graphs)
    edges = None if one.get("edge_attr") is None else one.edge_attr.float()
    return Graphs(one.x.float(), one.edge_index, one.ptr, one.batch, one.y.flatten().long(), edges)


def paired(calls, rounds):
    """Processor seconds of each call, {name: [seconds]}, in turn; the first round only warms up."""
    times = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn:
                times[name].append(time.process_time() - start)
    return times


def measure(arguments):
    """Time an epoch of every model; gives figures."""
    for name in arguments.sets:
        batches = read(name, arguments.data)
        for kind, normed in itertools.product(arguments.models, (True, False)):
            made = models(kind, batches, normed)
            calls = {
                library: partial(epoch, model, torch.optim.Adam(model.parameters()), batches)
                for library, model in made.items()
            }
            edgeless = [graphs.without_edges() for graphs in batches]
            model = models(kind, batches, normed)["graftable"]
            calls["no edges"] = partial(epoch, model, torch.optim.Adam(model.parameters()), edgeless)
            name_of = f"{name}/{kind}/{'encoder' if normed else 'layers'}"
            yield _figure(name_of, paired(calls, arguments.rounds), TARGETS[name])


def _figure(name, times, least):
    mine, theirs = (min(times[library]) for library in LIBRARIES)
    ratios = [theirs / mine for mine, theirs in zip(*(times[library] for library in LIBRARIES), strict=True)]
    ratio = statistics.median(ratios)
    most = theirs / min(times["no edges"])
    print(
        f"{name:<22}{mine:>9.3f} s{theirs:>9.3f} s{ratio:>8.2f} {'>=' if ratio >= least else '<'} {least:g}"
        f"{most:>8.2f} without edges",
        flush=True,
    )
    return figure(
        name,
        mine,
        "s",
        peer="PyG",
        peer_value=round(theirs, 6),
        packages=("graftable", "torch", "torch-geometric"),
        times=round(ratio, 3),
        times_range=[round(min(ratios), 3), round(max(ratios), 3)],
        most_possible=round(most, 3),
        threads=1,
        missed=[] if ratio >= least else [f"{least:g} times"],
    )


def check(arguments):
    """Compare outputs and gradients of both libraries on small random graphs; raises where they disagree."""
    draw = torch.Generator().manual_seed(0)
    for width in (None, 3):
        graphs = []
        for label in range(8):
            ends = torch.combinations(torch.arange(10))[torch.randperm(45, generator=draw)[:15]].T
            edges = None if width is None else torch.randn(15, width, generator=draw).repeat(2, 1)
            x, both = torch.randn(10, 5, generator=draw), torch.cat([ends, ends.flip(0)], 1)
            graphs.append(Data(x=x, edge_index=both, edge_attr=edges, y=torch.tensor([label % 3])))
        batch = _joined(graphs)
        for kind, normed in itertools.product(arguments.models, (True, False)):
            results = []
            for model in models(kind, [batch], normed).values():
                logits = model(batch)
                results.append([logits, *torch.autograd.grad(cross_entropy(logits, batch.y), list(model.parameters()))])
            for one, other in zip(*results, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
            print(f"{kind}{' encoder' if normed else ' layers'}{' with edge features' if width else ''}: both agree")


def run():
    """Parse the command line, measure, print, and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=names_of(SETS), default=list(SETS))
    parser.add_argument("--models", type=names_of(MODELS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5, help="epochs of each library that count")
    parser.add_argument("--data", type=Path, default=GRAPH_SETS.parent / "ood")
    parser.add_argument("--check", action="store_true", help="compare the results of both libraries, not their times")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.check:
        check(arguments)
    elif any(os.environ.get(name) != value for name, value in KEPT.items()):
        # what graftable's commands set for themselves, for PyG, too: freed memory stays in the process
        return subprocess.run([sys.executable, *sys.argv], env=os.environ | KEPT, check=False).returncode
    else:
        for one in measure(arguments):
            write_figures("encoders", [one], show=False, update=True)
    return 0


if __name__ == "__main__":
    sys.exit(run())
