"""What the public functions ask of their arguments; one sentence says what was got and what was expected."""

import torch
from torch import Tensor

from graftable.errors import DataError, ShapeError

from .adjacency import Adjacency

__all__ = ["check_edge_type", "check_rows", "check_shape"]


def check_rows(
    adjacency: Adjacency, name: str, x: Tensor, rows: int, kind: str, dims: tuple[int, ...] = (2, 3)
) -> None:
    """One row for each node or edge, on the pattern's device.

    Raises:
        ShapeError: If the number of rows or of dimensions, or the device, is another.
        DataError: If the values are not real floating-point numbers.
    """
    if x.dim() not in dims or x.shape[0] != rows:
        wanted = " or ".join(("one value", "one vector", "one vector for each head")[dim - 1] for dim in dims)
        raise ShapeError(f"{name} has shape {tuple(x.shape)}; expected {wanted} for each of the {rows} {kind}.")
    if x.device != adjacency.device:
        raise ShapeError(f"{name} lies on {x.device}, the adjacency on {adjacency.device}; move one with .to.")
    if not x.is_floating_point():
        raise DataError(f"{name} holds {str(x.dtype).removeprefix('torch.')}; expected real floating-point numbers.")


def check_shape(
    adjacency: Adjacency,
    name: str,
    x: Tensor,
    shape: tuple[int, ...],
    meaning: str,
    like: tuple[str, Tensor] | None = None,
) -> None:
    """Exactly this shape, on the pattern's device; ``like`` another argument, of its type.

    Raises:
        ShapeError: If it has another shape or device.
        DataError: If the type is another. Autocast, which casts them all, lets them differ.
    """
    if x.shape != shape:
        raise ShapeError(f"{name} has shape {tuple(x.shape)}; expected {tuple(shape)}, {meaning}.")
    if x.device != adjacency.device:
        raise ShapeError(f"{name} lies on {x.device}, the adjacency on {adjacency.device}; move one with .to.")
    if like is None or x.dtype == like[1].dtype:
        return
    dtype, other = (str(each.dtype).removeprefix("torch.") for each in (x, like[1]))
    if not x.is_floating_point():
        raise DataError(f"{name} holds {dtype}; expected real floating-point numbers.")
    if not torch.is_autocast_enabled(x.device.type):
        raise DataError(f"{name} holds {dtype}, {like[0]} {other}; expected one type.")


def check_edge_type(adjacency: Adjacency, edge_type: Tensor, num_types: int) -> None:
    """One type for each edge, each a row of the table. A pass over the edges; a compiler is spared it.

    Raises:
        ShapeError: If there are more or fewer.
        DataError: If they are not integers, or have no row.
    """
    check_shape(adjacency, "edge_type", edge_type, (adjacency.num_edges,), "one type for each edge, in slot order")
    if edge_type.is_floating_point() or edge_type.is_complex():
        raise DataError(f"edge_type holds {str(edge_type.dtype).removeprefix('torch.')}; expected integers.")
    if torch.compiler.is_compiling() or edge_type.device.type != "cpu" or edge_type.numel() == 0:
        return
    low, high = torch.aminmax(edge_type)
    if low < 0 or high >= num_types:
        wrong = int(low if low < 0 else high)
        span = f"0 to {num_types - 1}" if num_types else "which has none"
        raise DataError(f"edge_type holds {wrong}; expected a row of the table of {num_types}, {span}.")
