"""Lets the tests of the operators share `ops_laws`: importlib mode leaves their folder off the path."""

import sys
from pathlib import Path

import jaxtyping
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def as_users_call():
    """Without the checks of shapes that tests put around every function."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
