"""Sparse operators on one validated structure, each with a reference, a torch and a Triton implementation."""

from .adjacency import Adjacency
from .aggregation import multi_aggregate, spmm, spmm_edge
from .attention import graph_attention, segment_softmax
from .backends import use_backend
from .edges import edge_add, edge_gather, edge_sum, gatv2_score, sddmm
from .gin import edge_kinds, gin_sum
from .row_norm import norm_rows
from .segments import segment_expand, segment_reduce

__all__ = [
    "Adjacency",
    "edge_add",
    "edge_gather",
    "edge_kinds",
    "edge_sum",
    "gatv2_score",
    "gin_sum",
    "graph_attention",
    "multi_aggregate",
    "norm_rows",
    "sddmm",
    "segment_expand",
    "segment_reduce",
    "segment_softmax",
    "spmm",
    "spmm_edge",
    "use_backend",
]
