"""Scores of predictions under shift: several views of one prediction, since accuracy hides a moved class share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn import metrics

from graftable.errors import ConfigError, DataError, ShapeError

from .shift_set import Task

__all__ = ["HIGHER_IS_BETTER", "evaluate_predictions", "noise_corrected_accuracy", "worst_environment"]

Floats = npt.NDArray[np.float64]
HIGHER_IS_BETTER: Final = {
    "accuracy": True,
    "balanced_accuracy": True,
    "mcc": True,
    "roc_auc": True,
    "average_precision": True,
    "rmse": False,
    "mae": False,
}


def evaluate_predictions(predictions: npt.ArrayLike, targets: npt.ArrayLike, task: Task) -> dict[str, float]:
    """Every score of the task.

    ``binary``: accuracy, balanced accuracy, Matthews' correlation, area under the ROC curve, average precision.
    ``multiclass``: the first three. ``multitask``: the last two, means over the tasks that have both classes.
    ``regression``: root mean square and mean absolute error.

    Args:
        predictions: Scores of any scale, such as logits: the class with the largest is predicted, their order ranks.
        targets: ``y``; NaN where it is unknown, which leaves the entry out.
        task: As in :class:`ShiftSet`.

    Shapes:
        predictions: (graphs, classes), for ``binary`` also (graphs,) with 0 as the threshold; ``multitask`` (graphs,
        tasks); ``regression`` (graphs,) or (graphs, 1). targets: (graphs,), (graphs, 1) or (graphs, tasks).

    Returns:
        Scores by name. A score that the targets leave undefined, such as the area with one class only, is NaN.

    Raises:
        ShapeError: If predictions and targets do not have as many rows, or columns.
        DataError: If a prediction is not finite, or no target is known.
        ConfigError: If the task is unknown.

    Example:
        >>> evaluate_predictions([[2.0, 0.0], [0.0, 1.0]], [0, 1], "multiclass")["accuracy"]
        1.0
    """
    if task not in _SCORES:
        raise ConfigError(f"the task is {task!r}; expected {', '.join(_SCORES)}.")
    found, known = _table(predictions), _table(targets)
    if len(found) != len(known):
        raise ShapeError(f"{len(found)} predictions for {len(known)} targets; give one for each graph.")
    if not np.isfinite(found).all():
        raise DataError("a prediction is not a finite number; the model diverged, so lower its learning rate.")
    if not np.isfinite(known).any():
        raise DataError("no target is known; expected at least one that is not NaN.")
    return _SCORES[task](found, known)


def worst_environment(
    predictions: npt.ArrayLike, targets: npt.ArrayLike, task: Task, environments: npt.ArrayLike, metric: str
) -> tuple[float, int]:
    """The score of the environment where it is worst, and which one that is.

    Environments where the score is undefined are passed over; if it is so in all, the score is NaN and the environment
    -1.

    Args:
        predictions: As for :func:`evaluate_predictions`.
        targets: As there.
        task: As there.
        environments: One whole number per graph: ``environment``, or ``group`` of generated sets.
        metric: A score of the task.

    Raises:
        ConfigError: If the task has no such score.
        ShapeError: If there is not one environment per prediction.

    Example:
        >>> worst_environment([[2.0, 0.0], [0.0, 1.0]], [0, 0], "multiclass", [4, 5], "accuracy")
        (0.0, 5)
    """
    found, known, place = _table(predictions), _table(targets), np.asarray(environments).reshape(-1)
    if not len(found) == len(known) == len(place):
        raise ShapeError(f"{len(place)} environments for {len(found)} predictions; give one for each graph.")
    whole = evaluate_predictions(found, known, task)
    if metric not in whole:
        raise ConfigError(f"the task {task} has no score {metric!r}; expected one of {', '.join(whole)}.")
    worst, where = float("nan"), -1
    for environment in np.unique(place).tolist():
        inside = place == environment
        if not np.isfinite(known[inside]).any():
            continue
        value = evaluate_predictions(found[inside], known[inside], task)[metric]
        worse = value < worst if HIGHER_IS_BETTER[metric] else value > worst
        if np.isfinite(value) and (where < 0 or worse):
            worst, where = value, int(environment)
    return worst, where


def noise_corrected_accuracy(accuracy: float, noise: float, num_classes: int) -> float:
    r"""Accuracy on true labels, from that on labels of which a share ``noise`` was drawn anew from all classes.

    .. math:: a = (1 - p) a^* + p / k \quad\Longrightarrow\quad a^* = (a - p / k) / (1 - p)

    Args:
        accuracy: In [0, 1], on the noisy labels.
        noise: p, in [0, 1).
        num_classes: k.

    Raises:
        ConfigError: If ``noise`` is out of range.

    Example:
        >>> round(noise_corrected_accuracy(1 - 0.1 * 2 / 3, 0.1, 3), 6)
        1.0
    """
    if not 0 <= noise < 1:
        raise ConfigError(f"noise is {noise!r}; expected a probability below 1.")
    return (accuracy - noise / num_classes) / (1 - noise)


def _table(values: npt.ArrayLike) -> Floats:
    """Two dimensions, float64; tensors may need gradients or lie on another device."""
    tensor: Any = values
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().double().numpy()
    array: Floats = np.asarray(tensor, dtype=np.float64)
    return array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)


def _classes(found: Floats, known: Floats) -> dict[str, float]:
    if known.shape[1] != 1 or found.shape[1] < 2:
        raise ShapeError(
            f"got {found.shape[1]} scores and {known.shape[1]} labels per graph; expected one per class, and 1."
        )
    rows = np.isfinite(known[:, 0])
    truth, guess = known[rows, 0].astype(np.int64), found[rows].argmax(axis=1)
    return {
        "accuracy": float(metrics.accuracy_score(truth, guess)),
        # the mean recall over the classes that are there
        "balanced_accuracy": float(
            metrics.recall_score(truth, guess, labels=np.unique(truth), average="macro", zero_division=0.0)
        ),
        "mcc": float(metrics.matthews_corrcoef(truth, guess)),
    }


def _binary(found: Floats, known: Floats) -> dict[str, float]:
    if found.shape[1] == 1:
        found = np.concatenate([np.zeros_like(found), found], axis=1)
    if found.shape[1] != 2:
        raise ShapeError(f"got {found.shape[1]} scores per graph for two classes; expected 1 or 2.")
    return _classes(found, known) | _ranking((found[:, 1:] - found[:, :1]), known)


def _ranking(found: Floats, known: Floats) -> dict[str, float]:
    if found.shape[1] != known.shape[1]:
        raise ShapeError(f"got {found.shape[1]} predictions per graph for {known.shape[1]} tasks; expected one each.")
    areas, precisions = [], []
    for score, truth in zip(found.T, known.T, strict=True):
        rows = np.isfinite(truth)
        if len(np.unique(truth[rows])) == 2:
            areas.append(metrics.roc_auc_score(truth[rows], score[rows]))
            precisions.append(metrics.average_precision_score(truth[rows], score[rows]))
    undefined = float("nan")
    return {
        "roc_auc": float(np.mean(areas)) if areas else undefined,
        "average_precision": float(np.mean(precisions)) if precisions else undefined,
    }


def _regression(found: Floats, known: Floats) -> dict[str, float]:
    if found.shape[1] != known.shape[1]:
        raise ShapeError(f"got {found.shape[1]} predictions per graph for {known.shape[1]} targets; expected one each.")
    rows = np.isfinite(known)
    return {
        "rmse": float(metrics.root_mean_squared_error(known[rows], found[rows])),
        "mae": float(metrics.mean_absolute_error(known[rows], found[rows])),
    }


_SCORES: Final[dict[str, Callable[[Floats, Floats], dict[str, float]]]] = {
    "binary": _binary,
    "multiclass": _classes,
    "multitask": _ranking,
    "regression": _regression,
}
