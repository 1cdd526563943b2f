"""What a model must beat: the best constant, and a forest that sees no more than shares of labels and degrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from torch_geometric.data import Data

from graftable.errors import DataError

from .scores import Floats, evaluate_predictions
from .shift_set import PARTS, ShiftSet

__all__ = ["BaselineRow", "cheap_baselines", "graph_features", "targets_of"]

DEGREES = 20
"""Degrees that have a bin of their own; sets whose degrees are mostly above use shares of the graph's size."""
SHARES = 10


@dataclass(frozen=True)
class BaselineRow:
    """A row of a table.

    Attributes:
        method: What was scored.
        scores: Of each part that has graphs, every score of the task.
    """

    method: str
    scores: dict[str, dict[str, float]]


def cheap_baselines(shift: ShiftSet, seed: int = 0, *, trees: int = 200) -> list[BaselineRow]:
    """Score the constants and the forests on each part; the forests learn from ``train`` alone.

    The first constant is the commonest class (for regression: the mean) of training; the second that of the very part
    it is scored on, the best that a constant can do. The second forest weighs the classes equally.

    Args:
        shift: Any shift set.
        seed: Of the forests.
        trees: In each forest.

    Returns:
        Rows ``constant (training)``, ``constant (best)``, ``random forest`` and, where there are classes, ``balanced
        forest``.

    References:
        Errica et al., "A Fair Comparison of Graph Neural Networks for Graph Classification", 2020, on why such rows
        belong into every table.

    Example:
        >>> from graftable.graphs.shift import load_shift_set
        >>> rows = cheap_baselines(load_shift_set("wheel_star", size=40), trees=5)
        >>> rows[1].method, rows[1].scores["ood_test"]["accuracy"]
        ('constant (best)', 0.5)
    """
    parts = {part: graphs for part, graphs in shift.parts.items() if graphs}
    truths = {part: targets_of(graphs, shift) for part, graphs in parts.items()}
    train = truths["train"]
    scored = [part for part in parts if part != "train"]

    def row(method: str, predictions: dict[str, Floats]) -> BaselineRow:
        return BaselineRow(
            method, {part: evaluate_predictions(predictions[part], truths[part], shift.task) for part in scored}
        )

    rows = [
        row("constant (training)", {part: _constant(train, len(truths[part]), shift) for part in scored}),
        row("constant (best)", {part: _constant(truths[part], len(truths[part]), shift) for part in scored}),
    ]
    relative = _degrees_are_large(parts["train"])
    features = {part: graph_features(graphs, relative=relative) for part, graphs in parts.items()}
    weights = {"random forest": None} | ({} if shift.task == "regression" else {"balanced forest": "balanced"})
    for method, weight in weights.items():
        rows.append(row(method, _forest(features, train, scored, shift, (seed, trees, weight))))
    return rows


def graph_features(graphs: Sequence[Data], *, relative: bool = False) -> npt.NDArray[np.float32]:
    """Means of the node features, shares of each degree, mean and standard deviation of the degree; no sizes.

    Args:
        graphs: With ``x``; one without nodes gets zeros.
        relative: Degrees as shares of the other nodes, in ten bins, rather than 0, 1, ... 20 and above.

    Shapes:
        Returned: (graphs, columns of ``x`` + bins + 2).

    Raises:
        DataError: If there are no graphs.
    """
    if not graphs:
        raise DataError("there are no graphs to describe; expected at least one.")
    counts = np.array([graph.num_nodes for graph in graphs], dtype=np.int64)
    owner = np.repeat(np.arange(len(graphs)), counts)
    starts = np.cumsum(counts) - counts
    edges = [graph.edge_index[0].numpy() + start for graph, start in zip(graphs, starts.tolist(), strict=True)]
    degree = np.bincount(np.concatenate(edges), minlength=len(owner)).astype(np.float64)
    if relative:
        degree = degree / np.maximum(counts[owner] - 1, 1)
        bins, width = np.minimum((degree * SHARES).astype(np.int64), SHARES - 1), SHARES
    else:
        bins, width = np.minimum(degree.astype(np.int64), DEGREES), DEGREES + 1
    safe = np.maximum(counts, 1)
    histogram = np.bincount(owner * width + bins, minlength=len(graphs) * width).reshape(-1, width) / safe[:, None]
    mean = np.bincount(owner, weights=degree, minlength=len(graphs)) / safe
    square = np.bincount(owner, weights=(degree - mean[owner]) ** 2, minlength=len(graphs)) / safe
    x = torch.cat([graph.x for graph in graphs]).double().numpy()
    shares = np.zeros((len(graphs), x.shape[1]))
    filled = counts > 0
    shares[filled] = np.add.reduceat(x, starts[filled]) / counts[filled, None]
    return np.column_stack([shares, histogram, mean, np.sqrt(square)]).astype(np.float32)


def targets_of(graphs: Sequence[Data], shift: ShiftSet) -> Floats:
    """Labels as (graphs, tasks), NaN where unknown."""
    return torch.cat([graph.y for graph in graphs]).double().numpy().reshape(-1, shift.num_tasks)


def _degrees_are_large(graphs: Sequence[Data]) -> bool:
    mean = [graph.num_edges / max(int(graph.num_nodes or 0), 1) for graph in graphs]
    return float(np.median(mean)) > DEGREES / 2


def _constant(truth: Floats, rows: int, shift: ShiftSet) -> Floats:
    """Predict the commonest class, or the mean, of these labels."""
    if shift.task == "regression":
        return np.full((rows, shift.num_tasks), np.nanmean(truth, axis=0))
    if shift.task == "multitask":
        return np.zeros((rows, shift.num_tasks))  # a constant ranks nothing
    counts = np.bincount(truth[np.isfinite(truth)].astype(np.int64), minlength=shift.num_classes)
    return np.tile(np.eye(shift.num_classes)[counts.argmax()], (rows, 1))


def _forest(
    features: dict[str, npt.NDArray[np.float32]],
    train: Floats,
    scored: list[str],
    shift: ShiftSet,
    options: tuple[int, int, str | None],
) -> dict[str, Floats]:
    """One forest per task, on the rows whose label is known."""
    seed, trees, weight = options
    columns: dict[str, list[Floats]] = {part: [] for part in PARTS}
    for task in range(shift.num_tasks):
        known = np.isfinite(train[:, task])
        if shift.task == "regression":
            forest: Any = RandomForestRegressor(trees, random_state=seed)
            forest.fit(features["train"][known], train[known, task])
        else:
            forest = RandomForestClassifier(trees, random_state=seed, class_weight=weight)
            forest.fit(features["train"][known], train[known, task].astype(np.int64))
        for part in scored:
            columns[part].append(_predict(forest, features[part], shift))
    return {part: np.concatenate(columns[part], axis=1) for part in scored}


def _predict(forest: Any, features: npt.NDArray[np.float32], shift: ShiftSet) -> Floats:
    if shift.task == "regression":
        return np.asarray(forest.predict(features), dtype=np.float64)[:, None]
    shares: Floats = np.zeros((len(features), shift.num_classes))
    shares[:, forest.classes_] = forest.predict_proba(features)  # training may lack a class
    return shares[:, 1:2] - shares[:, 0:1] if shift.task == "multitask" else shares
