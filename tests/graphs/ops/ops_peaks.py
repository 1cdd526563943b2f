"""Run by test_memory: prints for each operator the bytes above what was there, forward and with its backward pass."""

import sys
from functools import partial
from pathlib import Path

import torch

from graftable.graphs import ops
from graftable.graphs.ops import Adjacency


def status(key):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def peak_above(call):
    """How far memory rose while the call ran, what it returned included."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what is held now
    before = status("VmRSS")
    kept = call()
    after = status("VmHWM")
    del kept
    return after - before


def main(nodes, edges, width, heads):
    generator = torch.Generator().manual_seed(0)
    adjacency = Adjacency.from_edge_index(torch.randint(nodes, (2, edges), generator=generator), nodes)
    x, g = (torch.randn(nodes, width, generator=generator) for _ in range(2))
    by_head = [each.view(nodes, heads, -1) for each in (x, g)]
    weight, types = torch.rand(edges), torch.randint(7, (edges,), generator=generator, dtype=torch.int32)
    table, att = torch.randn(7, width), torch.randn(heads, width // heads)
    calls = {
        "sum": (lambda x: ops.spmm(adjacency, x), [x]),
        "weighted_sum": (lambda x, w: ops.spmm(adjacency, x, w), [x, weight]),
        "mean": (lambda x: ops.spmm(adjacency, x, reduce="mean"), [x]),
        "max": (lambda x: ops.spmm(adjacency, x, reduce="max"), [x]),
        "std": (lambda x: ops.spmm(adjacency, x, reduce="std"), [x]),
        "multi_aggregate": (lambda x: ops.multi_aggregate(adjacency, x), [x]),
        "spmm_edge_typed": (lambda x, table: ops.spmm_edge(adjacency, x, table, types), [x, table]),
        "sddmm": (lambda a, b: ops.sddmm(adjacency, a, b), [x, g]),
        "gatv2_score": (lambda q, k, att: ops.gatv2_score(adjacency, q, k, att), [*by_head, att]),
        "graph_attention": (lambda q, k, v: ops.graph_attention(adjacency, q, k, v), [*by_head, by_head[0]]),
    }
    shapes = (x.shape, by_head[0].shape, (edges,), (edges, heads))
    ones = {shape: torch.ones(shape) for shape in shapes}

    def whole(call, leaves):
        result = call(*leaves)
        results = result if isinstance(result, tuple) else (result,)
        return results, torch.autograd.grad(results, leaves, [ones[each.shape] for each in results])

    for name, (call, inputs) in calls.items():
        leaves = [each.detach().requires_grad_() for each in inputs]
        with torch.no_grad():
            forward = peak_above(partial(call, *inputs))
        print(name, forward, peak_above(partial(whole, call, leaves)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
