"""A benchmark compares times of the same mathematics, under the same conditions, or none at all."""

import argparse
import importlib
import importlib.util
import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the checkout")


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.mark.skipif(importlib.util.find_spec("dgl") is None, reason="DGL is not installed")
def test_every_operator_is_the_same_in_every_library(benchmark, capsys):
    kernels = benchmark("kernels")
    kernels.check(argparse.Namespace(operators=list(kernels.GRID)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(kernels.GRID) - 1  # construction has nothing to compare
    assert all("graftable, PyG" in line for line in lines)


def test_every_model_is_the_same_in_both_libraries(benchmark, capsys):
    layers = benchmark("layers")
    layers.check(argparse.Namespace(models=list(layers.TARGETS["NCI1"])))
    assert capsys.readouterr().out.count("graftable and PyG agree") == 5


def test_a_busy_machine_is_refused_in_one_sentence(benchmark, monkeypatch):
    measure = benchmark("_measure")
    monkeypatch.setattr(measure, "_busy_share", lambda: 0.8)
    with pytest.raises(SystemExit, match=r"other processes keep 80% of this machine busy.*--force"):
        measure.refuse_when_busy(force=False)
    measure.refuse_when_busy(force=True)


def test_every_mode_begins_from_the_same_clean_environment(benchmark, monkeypatch, tmp_path):
    measure = benchmark("_measure")
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os\n"
        "print(json.dumps({k: v for k, v in os.environ.items() if k.startswith(('MALLOC', 'GRAFTABLE_N', 'OMP'))}))"
    )
    monkeypatch.setattr(measure.sys, "argv", [str(script)])
    monkeypatch.setenv("MALLOC_TOP_PAD_", "1")
    monkeypatch.setenv("GRAFTABLE_NATIVE", "0")
    found = {mode: rows[0] for mode, rows in measure.in_each_mode(str(script), ["default", "kept"]).items()}
    assert found["default"] == {"OMP_NUM_THREADS": "2"}
    assert found["kept"] == {"OMP_NUM_THREADS": "2", **measure.KEPT}
    assert os.environ["MALLOC_TOP_PAD_"] == "1"


def test_a_target_that_is_missed_is_named(benchmark, capsys):
    kernels = benchmark("kernels")
    times = {"graftable": 1.0, "PyG": 9.0, "DGL": 4.0}
    results = {name: {"ms": ms, "median": ms, "peak": 50.0} for name, ms in times.items()}
    (figure,) = kernels.report({"default": [["sum", "U", 64, "f", results, 40.0]]})
    assert figure["missed"] == ["DGL", "memory"]
    assert (figure["peer"], figure["peer_value"], figure["ratio"]) == ("DGL", 4.0, 0.25)
    out = capsys.readouterr().out
    assert "9.00 >= 5" in out
    assert "4.00 < 5" in out
    assert "missed: sum/U/64/f/default: 4.00 of 5, DGL" in out
