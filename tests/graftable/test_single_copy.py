"""Each file is loaded as one module: a second copy would register its operators twice."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = """
import importlib, json, pkgutil, sys
import graftable
for info in pkgutil.walk_packages(graftable.__path__, "graftable."):
    if not info.name.endswith("__main__"):
        importlib.import_module(info.name)
print(json.dumps({name: module.__file__ for name, module in sys.modules.items() if getattr(module, "__file__", None)}))
"""


def test_each_file_is_loaded_under_one_name_even_from_the_root_of_the_checkout():
    run = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    files = json.loads(run.stdout.splitlines()[-1])
    paths = {name: Path(file).resolve() for name, file in files.items() if Path(file).is_absolute()}
    ours = {
        name: path for name, path in paths.items() if path.is_relative_to(ROOT) and "site-packages" not in path.parts
    }
    assert not {name: file for name, file in ours.items() if not f"{name}.".startswith("graftable.")}
    assert len(set(ours.values())) == len(ours)
