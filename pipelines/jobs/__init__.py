"""Batch jobs: many files made in parts that survive a kill, in a folder that says what it holds.

The names below are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import Job as Job
    from .job import Made as Made
    from .job import Part as Part
    from .running import JobReport as JobReport
    from .running import run_job as run_job
    from .tables import RepairJob as RepairJob
    from .tables import SynthesizeJob as SynthesizeJob

__all__ = ["Job", "JobReport", "Made", "Part", "RepairJob", "SynthesizeJob", "run_job"]

_MODULES = {
    "Job": "job",
    "JobReport": "running",
    "Made": "job",
    "Part": "job",
    "RepairJob": "tables",
    "SynthesizeJob": "tables",
    "run_job": "running",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
