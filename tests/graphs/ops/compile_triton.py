"""Compile every kernel, as the operators launch it, for a GPU that need not be there; print the kernels' names."""

import sys

import torch

from graftable.graphs.ops import Adjacency

if "triton" in sys.modules:
    raise SystemExit("importing the operators has imported triton")

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from graftable.graphs.ops import (
    triton_aggregate,
    triton_attention,
    triton_backend,
    triton_edges,
    triton_launch,
    triton_softmax,
    triton_sums,
)

AMPERE = GPUTarget("cuda", 80, 32)
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32", torch.int64: "*i64"}
done = set()


def compile_launch(kernel, programs, like, *args, num_warps, **constants):
    """Stand in for a launch: compile for the types of its arguments."""
    fixed = {each.name for each in kernel.params if each.is_constexpr}
    values = dict(zip(kernel.arg_names, args, strict=False)) | constants
    assert set(values) == set(kernel.arg_names), kernel.__name__
    signature, constexprs = {}, {}
    for name in kernel.arg_names:
        value = values[name]
        if name in fixed or value is None or (type(value) is int and value == 1):
            signature[name] = "constexpr"
            constexprs[(kernel.arg_names.index(name),)] = value
        else:
            signature[name] = POINTERS[value.dtype] if isinstance(value, torch.Tensor) else "i32"
        if name.endswith("_arg"):
            value.zero_()  # nothing ran, and an index is read
    key = kernel.__name__, tuple(each for each in constants.values() if isinstance(each, (bool, str)))
    if key in done:
        return
    triton.compile(ASTSource(kernel, signature, constexprs), target=AMPERE, options={"num_warps": num_warps})
    done.add(key)


for module in (triton_aggregate, triton_attention, triton_edges, triton_softmax, triton_sums):
    module.launch = compile_launch
triton_launch.SPLIT = 4

pattern = Adjacency.from_edge_index(torch.tensor([[0] * 6 + [1], [1] * 6 + [0]]), (2, 3))
q, k = torch.ones(2, 2, 5, dtype=torch.bfloat16), torch.ones(3, 2, 5, dtype=torch.bfloat16)
edge, seed = torch.ones(7, 2, dtype=torch.bfloat16), torch.tensor([1])
triton_backend.spmm(pattern, k, edge, False, True)
stats = triton_backend.multi_aggregate(pattern, k.flatten(1), "mean,max,min,std", 1e-6)
g = q.flatten(1)
triton_backend.multi_aggregate_backward(pattern, g, g, g, g, k.flatten(1), stats[0], *stats[3:], 1e-6)
triton_backend.sddmm(pattern, q, k)
triton_backend.gatv2_score(pattern, q, k, q[0], None, 0.2)
triton_backend.gatv2_score_backward(pattern, edge, q, k, q[0], None, 0.2)
triton_backend.segment_softmax(pattern, edge)
o, lse, weights = triton_backend.graph_attention(pattern, q, k, k, edge, 1.0, 0.5, seed)
triton_backend.graph_attention_backward(pattern, q, q, k, k, edge, o, lse, weights, 1.0, 0.5, seed)
print(*sorted({name for name, _ in done}))
