"""graftable: machine learning on structure, from graphs and tables to documents and the models that read them.

The names below are loaded when they are first used, so that ``import graftable`` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graftable.comparing import compare as compare
    from graftable.errors import GraftableError as GraftableError
    from graftable.generation import fit_graphs as fit_graphs
    from graftable.generation import generate as generate
    from graftable.graphs.conversion import from_networkx as from_networkx
    from graftable.graphs.conversion import to_networkx as to_networkx
    from graftable.models.lggm import LGGM as LGGM
    from graftable.pipelines.datamodules import GraphDataModule as GraphDataModule
    from graftable.pipelines.readers import read_graphs as read_graphs
    from graftable.tabular.imputation import impute as impute
    from graftable.tabular.quality.evaluation import evaluate_table as evaluate_table
    from graftable.tabular.synthesis import synthesize as synthesize

__version__ = "0.1.0"

_HOMES = {
    "LGGM": "graftable.models.lggm",
    "GraftableError": "graftable.errors",
    "GraphDataModule": "graftable.pipelines.datamodules",
    "compare": "graftable.comparing",
    "evaluate_table": "graftable.tabular.quality.evaluation",
    "fit_graphs": "graftable.generation",
    "from_networkx": "graftable.graphs.conversion",
    "generate": "graftable.generation",
    "impute": "graftable.tabular.imputation",
    "read_graphs": "graftable.pipelines.readers",
    "synthesize": "graftable.tabular.synthesis",
    "to_networkx": "graftable.graphs.conversion",
}

__all__ = [
    "LGGM",
    "GraftableError",
    "GraphDataModule",
    "__version__",
    "compare",
    "evaluate_table",
    "fit_graphs",
    "from_networkx",
    "generate",
    "impute",
    "read_graphs",
    "synthesize",
    "to_networkx",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'graftable' has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
