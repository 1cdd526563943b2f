"""Every operator in every library: one line each, the same mathematics.

Node tensors are the same for all. Edge tensors go to graftable in slot order, to the others in the order of the edge
list, and to dense algebra as matrices: no library is charged for the conversion, which happens once a batch.
"""

import math

import torch
from torch.nn.functional import leaky_relu, scaled_dot_product_attention
from torch_geometric.nn.aggr import StdAggregation
from torch_geometric.nn.aggr.fused import FusedAggregation
from torch_geometric.utils import scatter, softmax

from graftable.errors import MissingExtraError
from graftable.graphs import ops
from graftable.graphs.dgl_adapter import load_dgl

HEADS = 4
EDGE_TYPES = 16
ALL_KINDS = ("mean", "max", "std")

try:
    dgl_ops = load_dgl().ops
except MissingExtraError:  # Python 3.12
    dgl_ops = None

# --- what each operator takes

EDGE_INPUTS = {"weight", "features", "scores", "values", "edge_type"}
EDGE_OUTPUTS = {"sddmm", "edge_add", "gatv2_score", "segment_softmax", "edge_gather"}


def inputs(operator, graph, width):
    """Fresh inputs of an operator, edge tensors in the order of the edge list."""
    n, e, head = graph.num_nodes, graph.num_edges, (HEADS, max(width // HEADS, 1))
    shapes = {
        "sum": {"x": (n, width), "weight": (e,)},
        "spmm_edge": {"x": (n, width), "features": (e, width)},
        "spmm_edge_type": {"x": (n, width), "table": (EDGE_TYPES, width)},
        "sddmm": {"a": (n, width), "b": (n, width)},
        "edge_add": {"a": (n, HEADS), "b": (n, HEADS)},
        "gatv2_score": {"q": (n, *head), "k": (n, *head), "att": head},
        "segment_softmax": {"scores": (e, HEADS)},
        "graph_attention": {"q": (n, *head), "k": (n, *head), "v": (n, *head)},
        "edge_sum": {"values": (e, width)},
        "segment_expand": {"rows": (len(graph.ptr) - 1, width)},
        "construction": {},
    }
    made = {name: torch.randn(shape) for name, shape in shapes.get(operator, {"x": (n, width)}).items()}
    if operator == "spmm_edge_type":
        made["edge_type"] = torch.randint(EDGE_TYPES, (e,))
    return made


def _convolution(kind):
    return lambda g, x: ops.spmm(g.adjacency, x, reduce=kind)


GRAFTABLE = {
    "sum": lambda g, x, weight: ops.spmm(g.adjacency, x, weight),
    "mean": _convolution("mean"),
    "max": _convolution("max"),
    "min": _convolution("min"),
    "std": _convolution("std"),
    "multi_aggregate": lambda g, x: ops.multi_aggregate(g.adjacency, x, ALL_KINDS),
    "spmm_edge": lambda g, x, features: ops.spmm_edge(g.adjacency, x, features),
    "spmm_edge_type": lambda g, x, table, edge_type: ops.spmm_edge(g.adjacency, x, table, edge_type),
    "sddmm": lambda g, a, b: ops.sddmm(g.adjacency, a, b),
    "edge_add": lambda g, a, b: ops.edge_add(g.adjacency, a, b),
    "gatv2_score": lambda g, q, k, att: ops.gatv2_score(g.adjacency, q, k, att),
    "segment_softmax": lambda g, scores: ops.segment_softmax(g.adjacency, scores),
    "graph_attention": lambda g, q, k, v: ops.graph_attention(g.adjacency, q, k, v),
    "edge_gather": lambda g, x: ops.edge_gather(g.adjacency, x),
    "edge_sum": lambda g, values: ops.edge_sum(g.adjacency, values),
    "segment_sum": lambda g, x: ops.segment_reduce(g.segments, x, "sum"),
    "segment_mean": lambda g, x: ops.segment_reduce(g.segments, x, "mean"),
    "segment_max": lambda g, x: ops.segment_reduce(g.segments, x, "max"),
    "segment_expand": lambda g, rows: ops.segment_expand(g.segments, rows),
    "construction": lambda g: ops.Adjacency.from_edge_index(g.edge_index, g.num_nodes),
}

# --- PyG's default path, as its layers write it: gather the messages, then scatter them


def _scattered(kind):
    return lambda g, x: scatter(x.index_select(0, g.source), g.target, 0, g.num_nodes, reduce=kind)


def _pooled(kind):
    return lambda g, x: scatter(x, g.batch, 0, len(g.ptr) - 1, reduce=kind)


def _transformer_conv(g, q, k, v):
    scores = (q.index_select(0, g.target) * k.index_select(0, g.source)).sum(-1) / math.sqrt(q.shape[-1])
    weights = softmax(scores, g.target, num_nodes=g.num_nodes)
    messages = v.index_select(0, g.source) * weights.unsqueeze(-1)
    return scatter(messages, g.target, 0, g.num_nodes, reduce="sum")


def _gatv2_score(g, q, k, att):
    return (leaky_relu(q.index_select(0, g.target) + k.index_select(0, g.source), 0.2) * att).sum(-1)


_std, _fused = StdAggregation(), FusedAggregation(list(ALL_KINDS))

PYG = {
    "sum": lambda g, x, weight: scatter(
        x.index_select(0, g.source) * weight.unsqueeze(1), g.target, 0, g.num_nodes, reduce="sum"
    ),
    "mean": _scattered("mean"),
    "max": _scattered("max"),
    "min": _scattered("min"),
    "std": lambda g, x: _std(x.index_select(0, g.source), g.target, dim_size=g.num_nodes),
    "multi_aggregate": lambda g, x: _fused(x.index_select(0, g.source), g.target, dim_size=g.num_nodes),
    "spmm_edge": lambda g, x, features: scatter(
        x.index_select(0, g.source) * features, g.target, 0, g.num_nodes, reduce="sum"
    ),
    "spmm_edge_type": lambda g, x, table, edge_type: scatter(
        x.index_select(0, g.source) * table.index_select(0, edge_type), g.target, 0, g.num_nodes, reduce="sum"
    ),
    "sddmm": lambda g, a, b: (a.index_select(0, g.target) * b.index_select(0, g.source)).sum(1),
    "edge_add": lambda g, a, b: leaky_relu(a.index_select(0, g.target) + b.index_select(0, g.source), 0.2),
    "gatv2_score": _gatv2_score,
    "segment_softmax": lambda g, scores: softmax(scores, g.target, num_nodes=g.num_nodes),
    "graph_attention": _transformer_conv,
    "edge_gather": lambda g, x: x.index_select(0, g.source),
    "edge_sum": lambda g, values: scatter(values, g.target, 0, g.num_nodes, reduce="sum"),
    "segment_sum": _pooled("sum"),
    "segment_mean": _pooled("mean"),
    "segment_max": _pooled("max"),
    "segment_expand": lambda g, rows: rows.index_select(0, g.batch),
}

# --- DGL; its maximum over nothing is -inf, and its standard deviation is composed


def _dgl_std(g, x):
    return (dgl_ops.copy_u_mean(g.dgl, x * x) - dgl_ops.copy_u_mean(g.dgl, x).square()).clamp(min=1e-6).sqrt()


def _dgl_attention(g, q, k, v):
    scores = dgl_ops.u_dot_v(g.dgl, k, q) / math.sqrt(q.shape[-1])
    return dgl_ops.u_mul_e_sum(g.dgl, v, dgl_ops.edge_softmax(g.dgl, scores))


DGL = {
    "sum": lambda g, x, weight: dgl_ops.u_mul_e_sum(g.dgl, x, weight.unsqueeze(1)),
    "mean": lambda g, x: dgl_ops.copy_u_mean(g.dgl, x),
    "max": lambda g, x: dgl_ops.copy_u_max(g.dgl, x),
    "min": lambda g, x: dgl_ops.copy_u_min(g.dgl, x),
    "std": _dgl_std,
    "multi_aggregate": lambda g, x: (
        dgl_ops.copy_u_mean(g.dgl, x),
        dgl_ops.copy_u_max(g.dgl, x),
        _dgl_std(g, x),
    ),
    "spmm_edge": lambda g, x, features: dgl_ops.u_mul_e_sum(g.dgl, x, features),
    "spmm_edge_type": lambda g, x, table, edge_type: dgl_ops.u_mul_e_sum(g.dgl, x, table.index_select(0, edge_type)),
    "sddmm": lambda g, a, b: dgl_ops.u_dot_v(g.dgl, b, a).squeeze(1),
    "edge_add": lambda g, a, b: leaky_relu(dgl_ops.u_add_v(g.dgl, b, a), 0.2),
    "gatv2_score": lambda g, q, k, att: (leaky_relu(dgl_ops.u_add_v(g.dgl, k, q), 0.2) * att).sum(-1),
    "segment_softmax": lambda g, scores: dgl_ops.edge_softmax(g.dgl, scores),
    "graph_attention": _dgl_attention,
    "edge_gather": lambda g, x: dgl_ops.copy_u(g.dgl, x),
    "edge_sum": lambda g, values: dgl_ops.copy_e_sum(g.dgl, values),
    "segment_sum": lambda g, x: dgl_ops.segment_reduce(g.ptr.diff(), x, "sum"),
    "segment_mean": lambda g, x: dgl_ops.segment_reduce(g.ptr.diff(), x, "mean"),
    "segment_max": lambda g, x: dgl_ops.segment_reduce(g.ptr.diff(), x, "max"),
    "construction": lambda g: (
        load_dgl().graph((g.source, g.target), num_nodes=g.num_nodes).int().formats(["csr", "csc"]).create_formats_()
    ),
}

# --- torch.sparse; it has no gradient to the values of a CSR tensor

TORCH_SPARSE = {
    "sum": lambda g, x, weight: g.adjacency.to_torch_csr(weight) @ x,
    "mean": lambda g, x: torch.sparse.mm(g.csr, x, "mean"),
    "max": lambda g, x: torch.sparse.mm(g.csr, x, "amax"),
    "min": lambda g, x: torch.sparse.mm(g.csr, x, "amin"),
}
FORWARD_ONLY = {("torch.sparse", "sum")}

# --- dense algebra on padded graphs, for graphs that are small enough


def _dense_attention(g, q, k, v):
    q, k, v = (each.transpose(1, 2) for each in (q, k, v))
    return scaled_dot_product_attention(q, k, v, attn_mask=g.log_counts).transpose(1, 2)


DENSE = {
    "sum": lambda g, x, weight: torch.bmm(weight, x),
    "mean": lambda g, x: torch.bmm(g.averaging, x),
    "sddmm": lambda g, a, b: torch.bmm(a, b.transpose(1, 2)),
    "graph_attention": _dense_attention,
    "segment_sum": lambda g, x: x.sum(1),
}

# --- what the targets name besides the libraries

INDEX_ADD = {
    "sum": lambda g, x, weight: x.new_zeros(g.num_nodes, x.shape[1]).index_add(
        0, g.target, x.index_select(0, g.source) * weight.unsqueeze(1)
    ),
}


def _three_sums(g):
    x = g.columns(128)
    return [ops.spmm(g.adjacency, x) for _ in range(3)]


THREE_SUMS = {"construction": _three_sums}

LIBRARIES = {
    "graftable": GRAFTABLE,
    "PyG": PYG,
    "DGL": DGL if dgl_ops else {},
    "torch.sparse": TORCH_SPARSE,
    "dense padded": DENSE,
    "index_add": INDEX_ADD,
    "three sums": THREE_SUMS,
}
ONLY_ON = {"dense padded": "BT", "index_add": "T", "three sums": "UP"}


def pack(library, graph, name, tensor):
    """An input as a library takes it."""
    if name in EDGE_INPUTS and library in ("graftable", "torch.sparse"):
        return graph.adjacency.to_slots(tensor)
    if library == "dense padded":
        return graph.dense(tensor) if name in EDGE_INPUTS else graph.padded(tensor)
    return tensor


def unpack(library, operator, graph, output):
    """An output in the order that all are compared in."""
    if library == "dense padded" and operator in EDGE_OUTPUTS:
        return output[graph.batch[graph.target], graph.position[graph.target], graph.position[graph.source]]
    if library == "dense padded" and not operator.startswith("segment"):
        return output[graph.batch, graph.position]
    if library == "graftable" and operator in EDGE_OUTPUTS:
        return graph.adjacency.to_edges(output)
    return output


def libraries_for(operator, graph, forward_only):
    """Which libraries have the operator on a graph; torch.sparse has not every gradient."""
    return [
        library
        for library, implementations in LIBRARIES.items()
        if operator in implementations
        and graph.name in ONLY_ON.get(library, graph.name)
        and (forward_only or (library, operator) not in FORWARD_ONLY)
    ]
