"""Graph sets whose law changes between training and test: generators, splits, scores and cheap baselines."""

from .cheap_baselines import BaselineRow, cheap_baselines, graph_features
from .paired import PairedDifference, bootstrap_interval, holm, paired_difference
from .scores import evaluate_predictions, noise_corrected_accuracy, worst_environment
from .sets import SHIFT_SETS, load_shift_set
from .shift_set import PARTS, ShiftSet

__all__ = [
    "PARTS",
    "SHIFT_SETS",
    "BaselineRow",
    "PairedDifference",
    "ShiftSet",
    "bootstrap_interval",
    "cheap_baselines",
    "evaluate_predictions",
    "graph_features",
    "holm",
    "load_shift_set",
    "noise_corrected_accuracy",
    "paired_difference",
    "worst_environment",
]
