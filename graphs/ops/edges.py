"""From nodes to their edges, and from edges to their nodes."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import leaky_relu

from graftable.errors import ConfigError

from . import operators
from .adjacency import Adjacency
from .checks import check_rows, check_shape

__all__ = ["edge_add", "edge_gather", "edge_sum", "gatv2_score", "sddmm"]

Side = Literal["destination", "source"]


def sddmm(
    adjacency: Adjacency, a: Float[Tensor, "destinations *features"], b: Float[Tensor, "sources *features"]
) -> Float[Tensor, "edges *heads"]:
    r"""The inner product of the two ends of each edge: a dense product, sampled where the pattern has edges.

    .. math:: s_e = \langle a_i, b_j \rangle, \qquad e = (i, j)

    Args:
        adjacency: The pattern.
        a: One vector for each destination; or one for each destination and head.
        b: The same for each source.

    Shapes:
        a ``(num_dst, F)`` and b ``(num_src, F)`` give ``(E,)``; ``(num_dst, H, D)`` and ``(num_src, H, D)`` ``(E, H)``.

    Returns:
        One number for each edge (and head), in slot order.

    Raises:
        ShapeError: If a shape or a device does not fit.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> sddmm(adjacency, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0, 3.0], [4.0, 5.0]]))
        tensor([4., 3.])
    """
    check_rows(adjacency, "a", a, adjacency.num_dst, "destinations")
    shape = (adjacency.num_src, *a.shape[1:])
    check_shape(adjacency, "b", b, shape, "one row for each source, each shaped as a's", ("a", a))
    result: Tensor = operators.sddmm(adjacency, a, b)
    return result


def edge_add(
    adjacency: Adjacency,
    a: Float[Tensor, "destinations heads"],
    c: Float[Tensor, "sources heads"],
    negative_slope: float = 0.2,
) -> Float[Tensor, "edges heads"]:
    r"""GAT's score: a number of the destination plus one of the source, through a leaky ReLU.

    .. math:: s_e = \mathrm{LeakyReLU}(a_i + c_j), \qquad e = (i, j)

    Args:
        adjacency: The pattern.
        a: One number for each destination and head.
        c: One number for each source and head.
        negative_slope: Of the leaky ReLU; 1 leaves the plain sum.

    Returns:
        One number for each edge and head, in slot order.

    Raises:
        ShapeError: If a shape or a device does not fit.

    References:
        Velickovic et al., "Graph Attention Networks", 2018, equation 3.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> edge_add(adjacency, torch.tensor([[1.0], [0.0]]), torch.tensor([[-5.0], [2.0]])).T
        tensor([[ 3., -1.]])
    """
    check_rows(adjacency, "a", a, adjacency.num_dst, "destinations", dims=(2,))
    check_shape(adjacency, "c", c, (adjacency.num_src, a.shape[1]), "one number for each source and head", ("a", a))
    total: Tensor = operators.edge_gather(adjacency, a, False) + operators.edge_gather(adjacency, c, True)
    return total if negative_slope == 1.0 else leaky_relu(total, negative_slope, inplace=negative_slope > 0)


def gatv2_score(
    adjacency: Adjacency,
    q: Float[Tensor, "destinations heads width"],
    k: Float[Tensor, "sources heads width"],
    att: Float[Tensor, "heads width"],
    edge: Float[Tensor, "edges heads width"] | None = None,
    negative_slope: float = 0.2,
) -> Float[Tensor, "edges heads"]:
    r"""GATv2's score, without storing a vector for each edge.

    .. math:: s_e = \langle att, \mathrm{LeakyReLU}(q_i + k_j + u_e) \rangle, \qquad e = (i, j)

    Args:
        adjacency: The pattern.
        q: One vector for each destination and head.
        k: One vector for each source and head.
        att: One vector for each head.
        edge: :math:`u`, one vector for each edge and head, in slot order; absent, 0.
        negative_slope: Of the leaky ReLU.

    Returns:
        One number for each edge and head, in slot order. First derivatives only.

    Raises:
        ShapeError: If a shape or a device does not fit.

    References:
        Brody et al., "How Attentive are Graph Attention Networks?", 2022, equation 7.

    Example:
        >>> adjacency = Adjacency.from_ptr(torch.tensor([0, 2]))
        >>> q, k = torch.tensor([[[1.0, 1.0]]]), torch.tensor([[[1.0, -2.0]], [[0.0, 0.0]]])
        >>> gatv2_score(adjacency, q, k, att=torch.tensor([[1.0, 10.0]])).T
        tensor([[ 0., 11.]])
    """
    check_rows(adjacency, "q", q, adjacency.num_dst, "destinations", dims=(3,))
    shape, like = tuple(q.shape[1:]), ("q", q)
    check_shape(adjacency, "k", k, (adjacency.num_src, *shape), "one row for each source, each shaped as q's", like)
    check_shape(adjacency, "att", att, shape, "one vector for each head", like)
    if edge is not None:
        check_shape(adjacency, "edge", edge, (adjacency.num_edges, *shape), "one row for each edge, as q's", like)
    result: Tensor = operators.gatv2_score(adjacency, q, k, att, edge, float(negative_slope))
    return result


def edge_gather(
    adjacency: Adjacency, x: Float[Tensor, "nodes *features"], side: Side = "source"
) -> Float[Tensor, "edges *features"]:
    r"""Copy each node's value to its edges: :math:`s_e = x_j` or, from the other side, :math:`x_i`. Edge-sized.

    Args:
        adjacency: The pattern.
        x: One value or vector for each node of that side.
        side: ``source`` or ``destination``.

    Returns:
        One row for each edge, in slot order.

    Raises:
        ShapeError: If ``x`` does not have one row for each node of that side.
        ConfigError: If there is no such side.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 1]]), num_nodes=2)
        >>> edge_gather(adjacency, torch.tensor([3.0, 4.0]))
        tensor([3., 4.])
    """
    rows = _rows(adjacency, side)
    check_rows(adjacency, "x", x, rows, f"{side}s", dims=(1, 2, 3))
    result: Tensor = operators.edge_gather(adjacency, x, side == "source")
    return result


def edge_sum(
    adjacency: Adjacency, values: Float[Tensor, "edges *features"], side: Side = "destination"
) -> Float[Tensor, "nodes *features"]:
    r"""Add up the values of a node's edges: :math:`y_i = \sum_{e = (i, j)} s_e`; the adjoint of :func:`edge_gather`.

    Args:
        adjacency: The pattern.
        values: One value or vector for each edge, in slot order.
        side: Sum over the edges that enter a ``destination``, or over those that leave a ``source``.

    Returns:
        One row for each node of that side; 0 for a node without edges.

    Raises:
        ShapeError: If ``values`` does not have one row for each edge.
        ConfigError: If there is no such side.

    Example:
        >>> adjacency = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 1]]), num_nodes=2)
        >>> edge_sum(adjacency, torch.tensor([3.0, 4.0]))
        tensor([0., 7.])
    """
    _rows(adjacency, side)
    check_rows(adjacency, "values", values, adjacency.num_edges, "edges", dims=(1, 2, 3))
    result: Tensor = operators.edge_sum(adjacency, values, side == "source")
    return result


def _rows(adjacency: Adjacency, side: Side) -> int:
    if side not in ("destination", "source"):
        raise ConfigError(f"side is {side!r}; expected destination or source.")
    return adjacency.num_dst if side == "destination" else adjacency.num_src
