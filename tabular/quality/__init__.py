"""How good synthetic rows are: fidelity by columns, pairs and rows, use for learning, memory of what was learnt, rules.

Measures take rows as a `View`, made by `frame_view`; `evaluate_table` takes tables and computes them all, with what
real rows and independent columns score beside each. The names below are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .detection import c2st_score as c2st_score
    from .evaluation import evaluate_table as evaluate_table
    from .figures import TableEvaluation as TableEvaluation
    from .nearness import copied as copied
    from .nearness import memory_scores as memory_scores
    from .nearness import nearer_share as nearer_share
    from .nearness import nearest_distances as nearest_distances
    from .shapes_trends import column_shapes as column_shapes
    from .shapes_trends import pair_trends as pair_trends
    from .shapes_trends import shape_score as shape_score
    from .shapes_trends import trend_score as trend_score
    from .support import SupportScores as SupportScores
    from .support import support_scores as support_scores
    from .utility import utility_score as utility_score
    from .views import View as View
    from .views import frame_view as frame_view
    from .views import independent as independent

_HOMES = {
    "SupportScores": "support",
    "TableEvaluation": "figures",
    "View": "views",
    "c2st_score": "detection",
    "column_shapes": "shapes_trends",
    "copied": "nearness",
    "evaluate_table": "evaluation",
    "frame_view": "views",
    "independent": "views",
    "memory_scores": "nearness",
    "nearer_share": "nearness",
    "nearest_distances": "nearness",
    "pair_trends": "shapes_trends",
    "shape_score": "shapes_trends",
    "support_scores": "support",
    "trend_score": "shapes_trends",
    "utility_score": "utility",
}

__all__ = [
    "SupportScores",
    "TableEvaluation",
    "View",
    "c2st_score",
    "column_shapes",
    "copied",
    "evaluate_table",
    "frame_view",
    "independent",
    "memory_scores",
    "nearer_share",
    "nearest_distances",
    "pair_trends",
    "shape_score",
    "support_scores",
    "trend_score",
    "utility_score",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(_HOMES))}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
