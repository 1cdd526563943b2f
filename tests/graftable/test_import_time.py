"""The face costs nothing: help and import answer at once and load no torch."""

import os
import subprocess
import sys

import pytest

BUDGET_SECONDS, STARTS = 0.3, 10  # on a slow machine, so many times what Python takes to start
HEAVY = ("torch", "lightning", "transformers", "numpy", "pandas", "networkx", "jsonargparse")


def processor_seconds(arguments):
    """Processor time of the quickest of three runs: unlike the clock, it does not see what else the machine does."""
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(times)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import graftable"],
        ["-m", "graftable", "--help"],
        ["-m", "graftable", "generate", "--help"],
        ["-m", "graftable", "configs", "list"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_the_face_answers_within_its_budget(arguments):
    assert processor_seconds(arguments) <= max(BUDGET_SECONDS, STARTS * processor_seconds(["-c", "pass"]))


def test_neither_import_nor_help_nor_a_refusal_loads_anything_heavy():
    program = (
        "import sys, graftable\n"
        "from graftable.cli import main\n"
        "for arguments in (['--help'], ['fit', '--config', 'no_such'], ['fit', '--model', 'foreign.Model']):\n"
        "    main(arguments)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
