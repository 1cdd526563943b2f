"""The data layer: records, readers, datamodules, batch jobs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datamodules import GraphDataModule

__all__ = ["GraphDataModule"]


def __getattr__(name: str) -> Any:
    """Import a datamodule when it is first named: reading records must not load Lightning."""
    if name in __all__:
        return getattr(importlib.import_module("graftable.pipelines.datamodules"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
