"""Shared by all tests: laws are checked however slow the machine is, and a training leaves the allocator alone.

Hypothesis draws the same examples in every run, so that what fails is what was changed; to look for others, run
`pytest --hypothesis-profile=search`, with `--hypothesis-seed=N` to have the same ones again.
"""

import atexit
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings

os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton, which reads it once
os.environ.setdefault("GRAFTABLE_MALLOC", "default")  # else peaks of memory would depend on which test came before
cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
if not os.access(next(folder for folder in (cache, *cache.parents) if folder.is_dir()), os.W_OK):
    # where nothing can be kept, every process that the tests start would compile the kernels anew
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="graftable-tests-")
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
no_clock = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True, "database": None}
settings.register_profile("graftable", derandomize=True, **no_clock)
settings.register_profile("search", derandomize=False, **no_clock)
settings.load_profile("graftable")
# a shell lets its background jobs ignore Ctrl-C, and the commands under test would inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup():
    """Let no test draw what depends on those before it, or on the moment: NumPy seeds its own from the system."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
