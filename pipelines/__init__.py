"""The data layer: records, readers, datamodules, batch jobs."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datamodules import GraphDataModule
    from .shift import ShiftDataModule
    from .tables import TableDataModule

__all__ = ["GraphDataModule", "ShiftDataModule", "TableDataModule"]

_MODULES = {"GraphDataModule": "datamodules", "ShiftDataModule": "shift", "TableDataModule": "tables"}


def __getattr__(name: str) -> Any:
    """Import a datamodule when it is first named: reading records must not load Lightning."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"graftable.pipelines.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
