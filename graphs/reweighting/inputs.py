"""What a weighter is given: shapes checked, classes by number, and why some rows cannot be weighed."""

from __future__ import annotations

import torch
from torch import Tensor

from graftable.errors import ShapeError

from .memory import Rows

__all__ = ["checked", "class_groups", "class_masses", "obstacle"]


def checked(rows: Rows, clusters: Tensor | None, balance: str) -> Rows:
    """Check all shapes; a label column of width 1 is taken as a vector."""
    z, label = rows.z, rows.label
    if z.dim() != 2 or not z.is_floating_point():
        raise ShapeError(f"z has shape {tuple(z.shape)} of {z.dtype}; expected a matrix of real numbers, (rows, d).")
    if clusters is not None and clusters.shape != z.shape[1:]:
        raise ShapeError(f"clusters has shape {tuple(clusters.shape)}; expected one per variable, ({z.shape[1]},).")
    if label is not None and label.dim() == 2 and label.shape[1] == 1:
        label = label.squeeze(1)
    if balance == "none":
        label = None
    elif label is None:
        raise ShapeError(f"balance is {balance!r} but no label is given; pass the class of each row.")
    for name, column in zip(Rows._fields[1:], (label, *rows[2:]), strict=True):
        if column is not None and column.shape != z.shape[:1]:
            raise ShapeError(f"{name} has shape {tuple(column.shape)}; expected one per row, ({len(z)},).")
    return rows._replace(label=label)


def class_groups(label: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Classes by value, and the class of each row; NaN labels are one class, the last."""
    if label is None:
        return torch.empty(0), None
    values = label.double()
    missing = values.isnan()
    classes, groups = torch.unique(values[~missing], return_inverse=True)
    result = torch.full_like(missing, len(classes), dtype=torch.long)
    result[~missing] = groups
    return (torch.cat([classes, values[missing][:1]]) if missing.any() else classes), result


def class_masses(classes: Tensor, groups: Tensor | None, share: Tensor) -> dict[float, float]:
    """Sum the shares of each class, by its value; none without classes."""
    if groups is None:
        return {}
    masses = torch.zeros_like(classes).index_add_(0, groups, share)
    return dict(zip(classes.tolist(), masses.tolist(), strict=True))


def obstacle(rows: int, varies: Tensor, clusters: Tensor) -> str | None:
    """Why these rows cannot be weighed, or None."""
    count = len(clusters.unique())
    if rows < max(count, 2):
        return "fewer rows than clusters"
    if int(varies.sum()) < min(2, len(varies)):
        return "a representation that is constant"
    if count < 2:
        return "one cluster"
    return None
