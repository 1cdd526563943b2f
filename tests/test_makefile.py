"""What make would do, without doing it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or not (ROOT / "Makefile").is_file(), reason="needs make and the checkout"
)
CPU = "https://download.pytorch.org/whl/cpu"


def make(*arguments):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TORCH", "MAKE", "PYTHON"))}
    return subprocess.run(["make", "-C", str(ROOT), *arguments], env=environment, capture_output=True, text=True)


def torch_of(stamp, *given):
    """How `make setup` would install torch over an environment with this stamp; None if it would do nothing."""
    done = make("-n", "setup", f"VENV={stamp.parent}", f"PYTHON={sys.executable}", *given)
    assert done.returncode == 0, done.stderr
    return next((line.partition(" install ")[2].strip() for line in done.stdout.splitlines() if '"torch' in line), None)


@pytest.fixture
def stamp(tmp_path):
    path = tmp_path / ".ready"
    path.touch()
    return path


def test_a_set_up_is_done_once(stamp):
    assert torch_of(stamp) is None


def test_another_torch_or_index_sets_up_again(stamp):
    assert torch_of(stamp, "TORCH=torch==2.12.1") == '"torch==2.12.1"'
    assert torch_of(stamp, f"TORCH_INDEX={CPU}").startswith(f'--index-url {CPU} "torch==')


def test_a_choice_is_remembered_and_can_be_changed(stamp):
    stamp.write_text(f"torch==2.12.1 {CPU}\n")
    assert torch_of(stamp) is None
    assert torch_of(stamp, "TORCH=torch==2.12.1") is None
    assert torch_of(stamp, "TORCH_INDEX=") == '"torch==2.12.1"'
    os.utime(stamp, (0, 0))  # the requirements have changed since
    assert torch_of(stamp) == f'--index-url {CPU} "torch==2.12.1"'


def test_a_python_that_cannot_make_environments_is_one_sentence(tmp_path):
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\ncase $2 in *ensurepip*) exit 1;; esac\n")
    python.chmod(0o755)
    done = make("setup", f"VENV={tmp_path / 'venv'}", f"PYTHON={python}")
    assert done.returncode == 2
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("make: no")]
    assert "python3-venv" in sentence
    assert not (tmp_path / "venv").exists()
