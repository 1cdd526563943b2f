"""Environments where none are recorded: bins of size, degree or density, scaffolds, or how well a first model did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from graftable.errors import ConfigError, DataError

__all__ = ["RULES", "infer_environments"]

#: What environments are inferred from.
RULES = ("size", "degree", "density", "scaffold", "loss", "random")


def infer_environments(
    data: Sequence[Any] | Tensor,
    rule: Literal["size", "degree", "density", "scaffold", "loss", "random"] = "size",
    *,
    num_environments: int = 3,
    label: Tensor | None = None,
    min_rows: int = 8,
    seed: int = 0,
) -> Tensor:
    r"""Give every sample an environment.

    Args:
        data: For "size", "degree" (edges over nodes) and "density" (edges over possible ones), graphs with
            ``num_nodes`` and ``num_edges``, or the quantity itself. For "scaffold", one key per molecule, texts or
            numbers, or graphs with ``scaffold``. For "loss", the loss of each sample under a first model that was
            trained for a short time: it is low where a shortcut holds. For "random", anything with a length: a control.
        rule: Which of these. Numbers are cut at their quantiles; equal ones stay together. Scaffolds are taken in
            their order and joined into environments of about the same size, none of them split.
        num_environments: How many at most; fewer where values are tied or rows are few.
        label: With "loss", the class of each sample: losses are cut within each class, or environments would be
            classes.
        min_rows: Environments with fewer rows are joined to a neighbour, as no correlation can be told from them.
        seed: Seed of the random ones.

    Shapes:
        data: (rows,); label: (rows,); returns (rows,) integers from 0.

    Raises:
        ConfigError: If the rule is not known, or no environment is asked for.
        DataError: If a number is not finite, or a graph lacks what the rule needs.

    References:
        Creager et al., "Environment Inference for Invariant Learning", 2021, for losses; Chen et al., "Does Invariant
        Graph Learning via Environment Augmentation Learn Invariance?", 2023, for right and wrong within classes.

    Example:
        >>> infer_environments(torch.tensor([3.0, 40.0, 4.0, 50.0]), num_environments=2, min_rows=1)
        tensor([0, 1, 0, 1])
    """
    if rule not in RULES:
        raise ConfigError(f"rule is {rule!r}; expected one of {', '.join(RULES)}.")
    if num_environments < 1:
        raise ConfigError(f"num_environments is {num_environments}; expected at least 1.")
    if rule == "random":
        draw = torch.Generator().manual_seed(seed)
        return torch.randperm(len(data), generator=draw) % num_environments
    if rule == "scaffold":
        return _joined(_bins(_ranks(data), num_environments, whole=True), min_rows)
    values = _quantity(data, rule)
    if rule == "loss" and label is not None:
        result = torch.zeros(len(values), dtype=torch.long, device=values.device)
        for value in label.unique():
            rows = label == value
            result[rows] = _bins(values[rows], num_environments)
        return _joined(result, min_rows)
    return _joined(_bins(values, num_environments), min_rows)


def _quantity(data: Sequence[Any] | Tensor, rule: str) -> Tensor:
    if isinstance(data, Tensor):
        values = data.detach().flatten().double()
    elif len(data) and hasattr(data[0], "num_nodes"):
        nodes = torch.tensor([graph.num_nodes for graph in data], dtype=torch.float64)
        edges = torch.tensor([graph.num_edges for graph in data], dtype=torch.float64)
        scale = {"size": None, "degree": nodes, "density": nodes * (nodes - 1)}
        if rule not in scale:
            raise DataError(f"found graphs, from which {rule!r} cannot be read; pass the {rule} of each sample.")
        per = scale[rule]
        values = nodes if per is None else edges / per.clamp(min=1)
    else:
        values = torch.tensor([float(value) for value in data], dtype=torch.float64)
    if not values.isfinite().all():
        raise DataError(f"{int((~values.isfinite()).sum())} of {len(values)} values are not finite; expected numbers.")
    return values


def _ranks(data: Sequence[Any] | Tensor) -> Tensor:
    """Replace scaffolds by their places in sorted order."""
    keys = data.tolist() if isinstance(data, Tensor) else [getattr(item, "scaffold", item) for item in data]
    keys = [key.item() if isinstance(key, Tensor) else key for key in keys]
    try:
        places = {key: place for place, key in enumerate(sorted(set(keys)))}
    except TypeError:
        raise DataError(
            f"found {type(keys[0]).__name__} where a scaffold was expected; pass one text or number per sample, or "
            "graphs with an attribute scaffold."
        ) from None
    return torch.tensor([places[key] for key in keys], dtype=torch.float64)


def _bins(values: Tensor, count: int, *, whole: bool = False) -> Tensor:
    """Cut into bins of about the same number of rows; equal values share one.

    A value belongs where the middle of its rows lies. With ``whole``, where its first row lies, so that a large group
    does not draw small ones behind it along.
    """
    unique, back, sizes = torch.unique(values, return_inverse=True, return_counts=True)
    before = sizes.cumsum(0) - sizes
    middle = before.double() if whole else before + (sizes - 1) / 2
    bins = (middle * count / max(len(values), 1)).long().clamp(max=count - 1)
    return bins[back] if len(unique) else torch.zeros(0, dtype=torch.long, device=values.device)


def _joined(bins: Tensor, min_rows: int) -> Tensor:
    """Join bins that are too small to the bin before them, the first to the one after, and number them from 0."""
    result = bins.clone()
    values, sizes = bins.unique(return_counts=True)
    current, filled = 0, 0
    for value, size in zip(values.tolist(), sizes.tolist(), strict=True):
        if filled >= min_rows and size >= min_rows:
            current, filled = current + 1, 0
        result[bins == value] = current
        filled += size
    return result
