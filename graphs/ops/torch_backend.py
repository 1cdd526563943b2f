"""The operators on CPU from torch's own primitives: the whole contract of a backend, gathered from its parts."""

from .torch_aggregate import multi_aggregate, multi_aggregate_backward
from .torch_attention import (
    gatv2_score,
    gatv2_score_backward,
    graph_attention,
    graph_attention_backward,
    segment_softmax,
)
from .torch_sums import edge_gather, edge_sum, sddmm, spmm, spmm_typed, typed_outer

__all__ = [
    "edge_gather",
    "edge_sum",
    "gatv2_score",
    "gatv2_score_backward",
    "graph_attention",
    "graph_attention_backward",
    "multi_aggregate",
    "multi_aggregate_backward",
    "sddmm",
    "segment_softmax",
    "spmm",
    "spmm_typed",
    "typed_outer",
]
