"""Every sparse operator against PyG, DGL, torch.sparse and dense padding, on a CPU: time and memory.

    python benchmarks/kernels.py                                  # everything: about 12 minutes on two cores
    python benchmarks/kernels.py --operators sum,mean --shapes B --widths 64 --modes kept
    python benchmarks/kernels.py --check                          # do all compute the same? A few seconds

Shapes: U, 100,000 nodes and 1.6 million edges drawn alike; P, as many by a power law, with hubs and equal edges; B, a
batch of 512 small graphs; T, 32 nodes and 100 edges. Edges come in random order, as users have them. Times are the
least of several, in milliseconds; f is the forward pass, fb forward and backward to every input. All libraries run in
one process under one allocator setting: the default of glibc, and once more with freed memory kept (see
graftable/allocator.py); a third process shows what is left without a C++ compiler. Peaks are MB above what was resident
before the call.
"""

import json
import sys
from functools import partial

import torch
from _common import figure, write_figures
from _measure import MODES, THREADS, common_options, in_each_mode, interleave, names_of, refuse_when_busy
from _operators import HEADS, LIBRARIES, inputs, libraries_for, pack, unpack
from _patterns import PATTERNS, pattern
from _targets import memory_limit, target

NARROW_TO_WIDE, SMALL = (16, 64, 128, 256), (64, 128)
#: operator -> widths on U, on P, and on B and T; narrow on U and P where values are edges x width by nature
GRID = {
    "sum": (NARROW_TO_WIDE, (128,), NARROW_TO_WIDE),
    "mean": (NARROW_TO_WIDE, (128,), NARROW_TO_WIDE),
    "max": ((16, 64, 128), (128,), NARROW_TO_WIDE),
    "min": ((64,), (64,), (64,)),
    "std": ((64,), (64,), NARROW_TO_WIDE),
    "multi_aggregate": ((64, 128), (64,), NARROW_TO_WIDE),
    "spmm_edge": ((16, 64), (16,), (16, 64, 128)),
    "spmm_edge_type": ((64,), (64,), (16, 64, 128)),
    "sddmm": ((16, 64, 128), (128,), NARROW_TO_WIDE),
    "edge_add": ((HEADS,), (HEADS,), (HEADS,)),
    "gatv2_score": ((128,), (128,), SMALL),
    "segment_softmax": ((HEADS,), (HEADS,), (HEADS,)),
    "graph_attention": (SMALL, (128,), (64, 128, 256)),
    "edge_gather": ((16,), (16,), (16, 64)),
    "edge_sum": ((16,), (16,), (16, 64)),
    "segment_sum": ((), (), SMALL),
    "segment_mean": ((), (), SMALL),
    "segment_max": ((), (), SMALL),
    "segment_expand": ((), (), SMALL),
    "construction": ((0,), (0,), (0,)),
}
UNCOMPILED = ("sum", "mean", "max", "multi_aggregate", "gatv2_score", "graph_attention")
TOLERANCE = {"std": 3e-3, "multi_aggregate": 3e-3}  # the libraries differ in what they call no spread at all


def cases(arguments, mode):
    """(operator, shape, width), one shape after the other; without a compiler, a part of them."""
    for shape in arguments.shapes:
        for operator in arguments.operators:
            for width in GRID[operator][{"U": 0, "P": 1}.get(shape, 2)]:
                asked = arguments.widths is None or width in arguments.widths
                if asked and (mode != "uncompiled" or (operator in UNCOMPILED and shape in "UB" and width in SMALL)):
                    yield operator, shape, width


def measure(arguments, mode):
    """Time every case in this process; one row for each direction."""
    torch.set_num_threads(THREADS)
    graph = pattern("T")
    for operator in arguments.operators:  # compiles what is compiled at first use
        prepare("graftable", operator, graph, inputs(operator, graph, 16), "f")()
    for operator, shape, width in cases(arguments, mode):
        graph = graph if graph.name == shape else pattern(shape)
        made = inputs(operator, graph, width)
        for direction in ("f",) if operator == "construction" else ("f", "fb"):
            print(f"{mode}: {operator} {shape} {width} {direction}", file=sys.stderr)
            with torch.set_grad_enabled(direction == "fb"):
                calls = {
                    library: prepare(library, operator, graph, made, direction)
                    for library in libraries_for(operator, graph, direction == "f")
                }
                results = interleave(calls, quick=arguments.quick, peaks=mode == "default" and shape != "T")
            limit = memory_limit(operator, direction, graph.num_nodes, graph.num_edges, width)
            yield [operator, shape, width, direction, results, limit]


def prepare(library, operator, graph, made, direction):
    """A call of one operator in one library, without arguments."""
    leaves = {name: pack(library, graph, name, tensor).detach() for name, tensor in made.items()}
    call = partial(LIBRARIES[library][operator], graph, **leaves)
    if direction == "f":
        return call
    learnt = [leaf.requires_grad_() for leaf in leaves.values() if leaf.is_floating_point()]
    incoming = [torch.randn_like(output) for output in _tuple(call())]
    # whole tensors from everybody: a gradient that is a view of one row would be written by whoever reads it
    return lambda: [each.contiguous() for each in torch.autograd.grad(_tuple(call()), learnt, incoming)]


def _tuple(outputs):
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def check(arguments):
    """Compare outputs and gradients of all libraries on the tiny graph; raises where two disagree."""
    graph = pattern("T")
    for operator in arguments.operators:
        if operator == "construction":
            continue
        made = inputs(operator, graph, 16)
        learnt = [tensor.requires_grad_() for tensor in made.values() if tensor.is_floating_point()]
        results = {}
        for library in libraries_for(operator, graph, False):
            packed = {name: pack(library, graph, name, tensor) for name, tensor in made.items()}
            outputs = _tuple(LIBRARIES[library][operator](graph, **packed))
            outputs = [unpack(library, operator, graph, output) for output in outputs]
            outputs = [output.reshape(len(output), -1) for output in outputs]
            waves = [torch.linspace(-3, 3, output.numel()).sin().view_as(output) for output in outputs]
            results[library] = [*outputs, *torch.autograd.grad(outputs, learnt, waves)]
        for library, found in results.items():
            for one, other in zip(found, results["PyG"], strict=True):
                close = {"rtol": 1e-4, "atol": TOLERANCE.get(operator, 1e-4)}
                torch.testing.assert_close(
                    one, other, **close, msg=lambda text, who=f"{operator}, {library} against PyG": f"{who}: {text}"
                )
        print(f"{operator}: {', '.join(results)} agree")


def report(rows):
    """Print the table of each mode and the targets that were missed; returns the figures."""
    figures, missed, tested = [], [], 0
    for mode, of_mode in rows.items():
        peers = [
            name for name in LIBRARIES if name != "graftable" and any(name in results for *_, results, _ in of_mode)
        ]
        print(f"\n{mode}: ours in milliseconds; others as multiples of ours, beside the least that they should be")
        print("operator         shape width       ours" + "".join(peer.rjust(15) for peer in peers) + PEAKS.rjust(40))
        for *case, results, limit in of_mode:
            verdicts = judge(*case, mode, results, limit)
            name = "/".join(map(str, (*case, mode)))
            figures.append(_figure(name, results, verdicts, limit))
            missed += [
                f"{name}: {verdicts[peer][0]:.2f} of {verdicts[peer][1]:g}, {peer}" for peer in figures[-1]["missed"]
            ]
            tested += sum(least is not None for _, least in verdicts.values())
            print(_line(case, results, verdicts, limit, peers))
    print(f"\n{tested - len(missed)} of {tested} targets met" + "".join(f"\n  missed: {line}" for line in missed))
    return figures


PEAKS = "peak MB: ours, PyG, DGL, limit"


def judge(operator, shape, width, direction, mode, results, limit):
    """{what ours is held against: (how many times as much it takes, how many it should at least)}."""
    ours = results["graftable"]
    verdicts = {
        peer: (result["ms"] / ours["ms"], target(operator, shape, width, direction, mode, peer))
        for peer, result in results.items()
        if peer != "graftable"
    }
    if limit and ours["peak"] is not None:
        verdicts["memory"] = (limit / max(ours["peak"], 0.01), 1.0)
    return verdicts


def _line(case, results, verdicts, limit, peers):
    operator, shape, width, direction = case
    line = f"{operator:<16} {shape:<2} {width:>4} {direction:<3} {results['graftable']['ms']:>11.3f}"
    line += "".join(_cell(verdicts.get(peer)) for peer in peers)
    peaks = [results[library]["peak"] for library in ("graftable", "PyG", "DGL") if library in results]
    if None in peaks:
        return line
    return line + "    " + " ".join(f"{peak:8.1f}" for peak in [*peaks, *([limit] if limit else [])])


def _cell(verdict):
    if verdict is None:
        return " " * 15
    ratio, least = verdict
    return (f"{ratio:.2f}" if least is None else f"{ratio:.2f} {'>=' if ratio >= least else '<'} {least:g}").rjust(15)


def _figure(name, results, verdicts, limit):
    """The peer of a line is the quickest of all."""
    peers = {library: result["ms"] for library, result in results.items() if library != "graftable"}
    quickest = min(peers, key=peers.get, default=None)
    return figure(
        name,
        results["graftable"]["ms"],
        "ms",
        peer=quickest,
        peer_value=quickest and round(peers[quickest], 6),
        packages=("graftable", "torch", "torch-geometric", "dgl"),
        ms={library: round(result["ms"], 5) for library, result in results.items()},
        median_ms={library: round(result["median"], 5) for library, result in results.items()},
        peak_mb={
            library: round(result["peak"], 1) for library, result in results.items() if result["peak"] is not None
        },
        peak_limit_mb=limit and round(limit, 1),
        at_least={peer: least for peer, (_, least) in verdicts.items() if least is not None},
        missed=[peer for peer, (ratio, least) in verdicts.items() if least and ratio < least],
    )


def run():
    """Parse the command line, measure in one process per mode, print, and write the figures of a full run."""
    parser = common_options(__doc__, MODES)
    parser.add_argument("--operators", type=names_of(GRID), default=list(GRID))
    parser.add_argument("--shapes", type=names_of(PATTERNS), default=list(PATTERNS))
    parser.add_argument("--widths", type=lambda text: [int(width) for width in text.split(",")])
    parser.add_argument(
        "--check", action="store_true", help="compare the results of all libraries instead of their times"
    )
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
        write_figures("kernels", figures, show=False, update=True)
    return 0


if __name__ == "__main__":
    sys.exit(run())
