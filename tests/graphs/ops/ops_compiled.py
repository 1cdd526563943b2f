"""Run by test_registration: every operator compiled as one graph, with gradients, for patterns of several sizes."""

import os

import torch
import torch._dynamo
from ops_laws import OPS, Case, close, gradients
from torch._dynamo.testing import CompileCounterWithBackend

from graftable.graphs.ops import graph_attention, spmm


def pattern(nodes, edges):
    generator = torch.Generator().manual_seed(nodes)
    pairs = torch.randint(nodes - 1, (edges, 2), generator=generator).tolist()  # the last node has no edge
    return Case(tuple(map(tuple, pairs)), nodes, nodes + 2, seed=nodes)


def equals_eager(name, op):
    """Eager and compiled agree for three sizes, and the third makes no new program."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(op.call, fullgraph=True, backend=counter)
    for count, case in enumerate((pattern(6, 17), pattern(9, 40), pattern(13, 77))):
        adjacency, inputs = case.adjacency, case.inputs(op)
        g = torch.ones_like(op.call(adjacency, *inputs))
        wanted, wanted_gradients = gradients(lambda *leaves: op.call(adjacency, *leaves), inputs, g)  # noqa: B023
        found, found_gradients = gradients(lambda *leaves: compiled(adjacency, *leaves), inputs, g)  # noqa: B023
        for one, other in zip((found, *found_gradients), (wanted, *wanted_gradients), strict=True):
            close(one, other, factor=10)
        assert counter.frame_count <= min(count + 1, 2), f"{name}: {counter.frame_count} programs for {count + 1} sizes"


def in_a_program(adjacency, x, w, q):
    """What a layer does, with dropout and a change of order, in one function."""
    h = spmm(adjacency, x, adjacency.to_slots(w), "mean").relu()
    return graph_attention(adjacency, q, h[: adjacency.num_src].unsqueeze(1), x.unsqueeze(1), dropout=0.3).sum()


def main():
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    for name, op in OPS.items():
        equals_eager(name, op)
    square = pattern(8, 30)
    case = Case(square.edges, 10, 10)
    compiled = torch.compile(in_a_program, fullgraph=True, backend="aot_eager")
    x = case.values(10, 4).requires_grad_()
    w, q = case.values(30, salt=1).requires_grad_(), case.values(10, 1, 4, salt=2)
    compiled(case.adjacency, x, w, q).backward()
    assert w.grad.isfinite().all()
    print(f"{len(OPS)} operators compiled")


if __name__ == "__main__":
    main()
