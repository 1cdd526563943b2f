"""The constraint layer against pishield 1.0.0 and against the reference layer, on one thread.

    python benchmarks/table_layer.py                          # everything: two minutes
    python benchmarks/table_layer.py --sets heloc_linear,url_drl --modes kept   # a part, measured again

100,000 rows forward without gradients, and 10,000 forward and backward: real rows with noise of their spread, float32;
wids, of which there is no table, is normal. pishield has no layer for choices. Set GRAFTABLE_DATA, or give the folder
that holds the tables and rule files.
"""

import contextlib
import json
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _common import GRAPH_SETS, figure, write_figures
from _measure import common_options, in_each_mode, interleave, names_of, refuse_when_busy
from _reference_layer import ReferenceLayer

from graftable.tabular.constraint_layer import ConstraintLayer
from graftable.tabular.rule_files import load_rules, parse_rules
from graftable.tabular.schema import Schema

FORWARD, BOTH = 100_000, 10_000
#: set -> milliseconds at most: forward, forward and backward
SETS = {
    "heloc_linear": (5, 10),
    "url_linear": (20, 10),
    "wids_linear": (50, 20),
    "url_drl": (200, 10),
    "heloc_drl": (200, 10),
}
FASTER = 20  # times pishield on the linear sets, and the reference on those with choices
SECONDS_ONCE = 2.0  # a peer that takes longer is called once: seconds need no repeats to stand out against milliseconds


def read(name, folder):
    """Our layer, the peers by name, and rows."""
    table, kind = name.split("_")
    path = folder / f"{table}.{kind}.txt"
    generator = torch.Generator().manual_seed(0)
    if table == "wids":
        frame = pd.DataFrame(np.random.default_rng(0).normal(size=(2_000, 109)).round(2)).add_prefix("y_")
        rules = parse_rules("\n".join(path.read_text().splitlines()[1:]), list(frame.columns))
    else:
        frame = pd.read_csv(folder / f"{table}.csv.gz").drop(columns="split", errors="ignore")
        rules = load_rules(folder / f"{table}.{kind}.rules.txt", list(frame.columns))
    real = torch.from_numpy(np.ascontiguousarray(frame.to_numpy(np.float32)))
    x = real[torch.randint(len(real), (FORWARD,), generator=generator)]
    x = x + real.std(0) * torch.randn(x.shape, generator=generator)
    layers = {"graftable": ConstraintLayer(rules, Schema.detect(frame), list(frame.columns))}
    layers["reference"] = ReferenceLayer(path)
    if kind == "linear":
        from pishield.shield_layer import build_shield_layer

        with contextlib.redirect_stdout(sys.stderr):  # it prints the rules
            layers["pishield"] = build_shield_layer(x.shape[1], str(path), requirements_type="linear")
    return layers, x


def forward(layer, x):
    with torch.no_grad():
        return layer(x)


def both(layer, x):
    x = x.clone().requires_grad_()
    layer(x).sum().backward()
    return x.grad


def measure(arguments, mode):
    torch.set_num_threads(1)
    for name in arguments.sets:
        print(f"{mode}: {name}", file=sys.stderr)
        layers, x = read(name, arguments.data)
        for what, call, rows in (("forward", forward, FORWARD), ("both", both, BOTH)):
            calls = {layer_name: partial(call, layer, x[:rows]) for layer_name, layer in layers.items()}
            yield [name, what, timed(calls, arguments.quick)]


def timed(calls, quick):
    """What `interleave` finds, but of a peer of seconds that which its first call took."""
    once = {}
    for name in [name for name in calls if name != "graftable"]:
        start = time.perf_counter()
        calls[name]()
        taken = time.perf_counter() - start
        if taken > SECONDS_ONCE:
            once[name] = {"ms": 1000 * taken, "median": 1000 * taken, "peak": None}
    return interleave({name: call for name, call in calls.items() if name not in once}, quick=quick) | once


def report(rows):
    """Print the table; returns the figures."""
    figures = []
    print(f"{'set':<14}{'what':<9}{'memory':<11}{'ours, ms':>9}{'target':>9}{'pishield':>10}{'reference':>11}   ratios")
    for mode, of_mode in rows.items():
        for name, what, results in of_mode:
            times = {peer: found["ms"] for peer, found in results.items()}
            mine, most = times["graftable"], SETS[name][what == "both"]
            ratios = {peer: round(taken / mine, 1) for peer, taken in times.items() if peer != "graftable"}
            peer = "pishield" if "pishield" in times else "reference"
            missed = ["ms"] * (mine > most) + [peer] * (ratios[peer] < FASTER)
            print(
                f"{name:<14}{what:<9}{mode:<11}{mine:>9.2f}{most:>9}{times.get('pishield', 0):>10.1f}"
                f"{times['reference']:>11.1f}   {ratios} {'missed: ' + ', '.join(missed) if missed else ''}"
            )
            more = {"ratios": ratios, "at_most": most, "at_least": {peer: FASTER}, "missed": missed}
            packages = ("graftable", "torch", "pishield")
            figures.append(
                figure(
                    f"{name}/{what}/{mode}", mine, "ms", peer=peer, peer_value=times[peer], packages=packages, **more
                )
            )
    missed = sum(bool(one["missed"]) for one in figures)
    print(f"{len(figures) - missed} of {len(figures)} figures within their targets")
    return figures


def run():
    """Parse the command line, measure in one process per mode, print, and write the figures."""
    parser = common_options(__doc__, ("default", "kept"))
    parser.set_defaults(modes=["default", "kept"])
    parser.add_argument("--sets", type=names_of(SETS), default=list(SETS))
    parser.add_argument("--data", type=Path, default=GRAPH_SETS.parent / "tabular")
    arguments = parser.parse_args()
    if arguments.child:
        for row in measure(arguments, arguments.child):
            print(json.dumps({"row": row}), flush=True)
        return 0
    refuse_when_busy(arguments.force)
    found = in_each_mode(__file__, arguments.modes)
    figures = report({mode: [row["row"] for row in rows] for mode, rows in found.items()})
    if arguments.quick:
        print("a quick run: benchmarks/results/table_layer.jsonl stays as it was")
    else:
        write_figures("table_layer", figures, show=False, update=True)
    return 0


if __name__ == "__main__":
    sys.exit(run())
