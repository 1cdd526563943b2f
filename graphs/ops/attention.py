"""Softmax over the edges of a node, and attention along edges."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from graftable.errors import ConfigError

from . import operators
from .adjacency import Adjacency
from .checks import check_rows, check_shape

__all__ = ["graph_attention", "segment_softmax"]


def segment_softmax(adjacency: Adjacency, scores: Float[Tensor, "edges *heads"]) -> Float[Tensor, "edges *heads"]:
    r"""Normalise edge scores over the edges that enter each node.

    .. math:: p_e = \exp(s_e - m_i) / \sum_{e' \to i} \exp(s_{e'} - m_i), \qquad m_i = \max_{e' \to i} s_{e'}

    Args:
        adjacency: The pattern; slot ``e`` enters node ``i = adjacency.row[e]``.
        scores: One score for each edge (and head), in slot order. Any real number; ``-inf`` masks an edge.

    Returns:
        Weights in [0, 1] that sum to 1 over the edges of each node with an unmasked edge; 0 elsewhere.

    Raises:
        ShapeError: If ``scores`` does not have one row per edge.

    References:
        Velickovic et al., "Graph Attention Networks", 2018, equation 3.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1, 2], [2, 2, 0]]), num_nodes=3)
        >>> segment_softmax(adjacency, adjacency.to_slots(torch.tensor([0.0, 0.0, 5.0])))
        tensor([1.0000, 0.5000, 0.5000])
    """
    check_rows(adjacency, "scores", scores, adjacency.num_edges, "edges", dims=(1, 2))
    result: Tensor = operators.segment_softmax(adjacency, scores)
    return result


def graph_attention(
    adjacency: Adjacency,
    q: Float[Tensor, "destinations heads width"],
    k: Float[Tensor, "sources heads width"],
    v: Float[Tensor, "sources heads value_width"],
    bias: Float[Tensor, "edges heads"] | None = None,
    *,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "destinations heads value_width"]:
    r"""Scaled dot-product attention in which each destination sees its own sources alone.

    .. math:: s_e = \tau \langle q_i, k_j \rangle + b_e, \qquad p = \mathrm{softmax}_{e \to i}(s), \qquad
        o_i = \sum_{e = (i, j)} p_e v_j

    On segments (:meth:`Adjacency.from_ptr`) each row attends to its own consecutive entries, say a node to its text.

    Args:
        adjacency: The pattern; an edge given twice is seen twice.
        q: One query for each destination and head.
        k: One key for each source and head.
        v: One value for each source and head.
        bias: :math:`b`, one number for each edge and head, in slot order; ``-inf`` removes an edge.
        scale: :math:`\tau`; ``1 / sqrt(width)`` if absent.
        dropout: The probability with which a weight is set to 0, in [0, 1); the others grow by ``1 / (1 - dropout)``.
            Give 0 outside training.

    Returns:
        One vector for each destination and head; 0 where no edge enters or all are masked. First derivatives only.

    Raises:
        ShapeError: If a shape or a device does not fit.
        ConfigError: If ``dropout`` is not in [0, 1).

    References:
        Shi et al., "Masked Label Prediction", 2021, equation 3. The softmax is computed as by Dao et al.,
        "FlashAttention", 2022, section 3.1.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 1]]), num_nodes=2)
        >>> values = torch.tensor([[[2.0]], [[4.0]]])
        >>> graph_attention(adjacency, torch.zeros(2, 1, 8), torch.zeros(2, 1, 8), values).flatten()
        tensor([0., 3.])
    """
    check_rows(adjacency, "q", q, adjacency.num_dst, "destinations", dims=(3,))
    (sources, heads), like = (adjacency.num_src, q.shape[1]), ("q", q)
    check_shape(adjacency, "k", k, (sources, *q.shape[1:]), "one row for each source, each shaped as q's", like)
    check_rows(adjacency, "v", v, sources, "sources", dims=(3,))
    check_shape(adjacency, "v", v, (sources, heads, v.shape[2]), "one row for each source, with q's heads", like)
    if bias is not None:
        check_shape(adjacency, "bias", bias, (adjacency.num_edges, heads), "one number for each edge and head", like)
    if not 0.0 <= dropout < 1.0:
        raise ConfigError(f"dropout is {dropout}; expected a probability in [0, 1).")
    seed = torch.randint(2**62, (1,), device=q.device) if dropout else None
    scale = 1 / math.sqrt(max(q.shape[2], 1)) if scale is None else float(scale)
    result: Tensor = operators.graph_attention(adjacency, q, k, v, bias, scale, float(dropout), seed)[0]
    return result
