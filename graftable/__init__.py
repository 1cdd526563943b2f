"""graftable: machine learning on structure, from graphs and tables to documents and the models that read them.

The names below are loaded when they are first used, so that ``import graftable`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graftable.errors import GraftableError as GraftableError
    from graftable.graphs.conversion import from_networkx as from_networkx
    from graftable.graphs.conversion import to_networkx as to_networkx
    from graftable.pipelines.readers import read_graphs as read_graphs

__version__ = "0.1.0"

_HOMES = {
    "GraftableError": "graftable.errors",
    "from_networkx": "graftable.graphs.conversion",
    "read_graphs": "graftable.pipelines.readers",
    "to_networkx": "graftable.graphs.conversion",
}

__all__ = ["GraftableError", "__version__", "from_networkx", "read_graphs", "to_networkx"]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'graftable' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
