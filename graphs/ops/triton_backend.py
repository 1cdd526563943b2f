"""The operators in Triton, the choice on CUDA: sums in a fixed order, no atomics, nothing of edges times width.

Imported only when chosen. On a machine without a GPU, ``TRITON_INTERPRET=1`` in the environment before Python starts
runs the same kernels in numpy, slowly, which is how they are tested.
"""

try:
    import triton  # noqa: F401
except ImportError as error:
    from graftable.errors import MissingExtraError

    raise MissingExtraError(
        'the triton backend needs the package triton; install it with pip install "graftable[triton]".'
    ) from error

from .triton_aggregate import multi_aggregate, multi_aggregate_backward
from .triton_attention import graph_attention, graph_attention_backward
from .triton_edges import gatv2_score, gatv2_score_backward, sddmm
from .triton_softmax import segment_softmax
from .triton_sums import edge_gather, edge_sum, spmm, spmm_typed, typed_outer

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
