"""Tables as data: schema, rule language, compiler, constraint layer, finisher, generators, reports.

The names below are loaded when they are first used; only `ConstraintLayer` and generators load torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import CheckReport as CheckReport
    from .checking import check as check
    from .compiler import Compiled as Compiled
    from .compiler import compile_rules as compile_rules
    from .constraint_layer import ConstraintLayer as ConstraintLayer
    from .explanation import explain as explain
    from .finishing import Finisher as Finisher
    from .io import ReadOptions as ReadOptions
    from .repair_report import RepairReport as RepairReport
    from .repairing import repair as repair
    from .repairing import repair_file as repair_file
    from .rule_files import load_rules as load_rules
    from .rule_files import parse_rules as parse_rules
    from .schema import ColumnSchema as ColumnSchema
    from .schema import Schema as Schema
    from .synthesis import SynthesisReport as SynthesisReport
    from .synthesis import Synthesizer as Synthesizer
    from .synthesis import synthesize as synthesize

_HOMES = {
    "CheckReport": "checking",
    "ColumnSchema": "schema",
    "Compiled": "compiler",
    "ConstraintLayer": "constraint_layer",
    "Finisher": "finishing",
    "ReadOptions": "io",
    "RepairReport": "repair_report",
    "Schema": "schema",
    "SynthesisReport": "synthesis",
    "Synthesizer": "synthesis",
    "check": "checking",
    "compile_rules": "compiler",
    "explain": "explanation",
    "load_rules": "rule_files",
    "parse_rules": "rule_files",
    "repair": "repairing",
    "repair_file": "repairing",
    "synthesize": "synthesis",
}

__all__ = [
    "CheckReport",
    "ColumnSchema",
    "Compiled",
    "ConstraintLayer",
    "Finisher",
    "ReadOptions",
    "RepairReport",
    "Schema",
    "SynthesisReport",
    "Synthesizer",
    "check",
    "compile_rules",
    "explain",
    "load_rules",
    "parse_rules",
    "repair",
    "repair_file",
    "synthesize",
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
