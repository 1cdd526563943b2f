"""Generators of tables behind one interface; see `graftable.tabular.generators.interface`.

The names below are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .encoding import Encoded as Encoded
    from .encoding import TableEncoder as TableEncoder
    from .interface import ENGINES as ENGINES
    from .interface import Allowed as Allowed
    from .interface import Conditions as Conditions
    from .interface import Generator as Generator
    from .interface import engine_class as engine_class

_HOMES = {
    "ENGINES": "interface",
    "Allowed": "interface",
    "Conditions": "interface",
    "Encoded": "encoding",
    "Generator": "interface",
    "TableEncoder": "encoding",
    "engine_class": "interface",
}

__all__ = ["ENGINES", "Allowed", "Conditions", "Encoded", "Generator", "TableEncoder", "engine_class"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
