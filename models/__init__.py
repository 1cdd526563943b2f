"""One LightningModule per system, one file each; `pretrained/` holds the weights that ship."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cdgm import CDGM
    from .l2r_gnn import L2RGNN
    from .lggm import LGGM

__all__ = ["CDGM", "L2RGNN", "LGGM"]

_MODULES = {
    "CDGM": "graftable.models.cdgm",
    "L2RGNN": "graftable.models.l2r_gnn",
    "LGGM": "graftable.models.lggm",
}


def __getattr__(name: str) -> Any:
    """Import a system when it is first named."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
