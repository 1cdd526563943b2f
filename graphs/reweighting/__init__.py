"""Weights of samples that make groups of variables independent: for graphs, images and tables alike."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clusters import StableVariableClusterer
    from .dependence import dependence_matrix
    from .distributed import gathered
    from .environments import infer_environments
    from .features import RandomFourierFeatures
    from .losses import ReweightedLoss
    from .memory import Rows, SampleMemory
    from .refit import LastLayerRefit
    from .report import WeightReport
    from .weighter import DecorrelationWeighter

__all__ = [
    "DecorrelationWeighter",
    "LastLayerRefit",
    "RandomFourierFeatures",
    "ReweightedLoss",
    "Rows",
    "SampleMemory",
    "StableVariableClusterer",
    "WeightReport",
    "dependence_matrix",
    "gathered",
    "infer_environments",
]

_MODULES = {
    "DecorrelationWeighter": "weighter",
    "LastLayerRefit": "refit",
    "RandomFourierFeatures": "features",
    "ReweightedLoss": "losses",
    "Rows": "memory",
    "SampleMemory": "memory",
    "StableVariableClusterer": "clusters",
    "WeightReport": "report",
    "dependence_matrix": "dependence",
    "gathered": "distributed",
    "infer_environments": "environments",
}


def __getattr__(name: str) -> Any:
    """Import a part when it is first named."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
