"""Which part of the house may import which: an import points down only."""

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("graphs", "tabular", "fusion", "pipelines", "models")
FACE = 7
# the longest prefix decides
FLOORS = {
    "graftable.errors": 0,
    "graftable.files": 0,
    "graftable.stopping": 0,
    "graftable.graphs.ops": 1,
    "graftable.graphs.nn": 2,
    "graftable.graphs.reweighting": 2,
    "graftable.graphs": 3,
    "graftable.tabular": 3,
    "graftable.fusion": 3,
    "graftable.configs": 3,
    "graftable.pipelines": 4,
    "graftable.models": 5,
    "graftable.pipelines.jobs": 6,
    "graftable": FACE,
}
STRANGERS = {"graftable.graphs", "graftable.tabular", "graftable.fusion"}


def sources():
    for path in sorted(ROOT.glob("graftable/*.py")):
        yield path, f"graftable.{path.stem}".removesuffix(".__init__")
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield path, ".".join(("graftable", *parts)).removesuffix(".__init__")


def imported(path, module):
    """Every module that a file imports, at the top or inside a function, with relative names made absolute."""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module) if part)
            names = [f"{name}.{alias.name}" for alias in node.names]
            known = [full for full in names if full in MODULES]
            yield from ((full, node.lineno) for full in known or [name])


MODULES = {module for _, module in sources()}
IMPORTS = [(path, module, *found) for path, module in sources() for found in imported(path, module)]


def floor(module):
    prefix = max((p for p in FLOORS if f"{module}.".startswith(f"{p}.")), key=len)
    return FLOORS[prefix], prefix


def test_an_import_points_down_only():
    wrong = []
    for path, module, target, line in IMPORTS:
        if not f"{target}.".startswith("graftable."):
            continue
        (here, own), (there, other) = floor(module), floor(target)
        strangers = own != other and own in STRANGERS and other in STRANGERS
        if there > here or strangers:
            wrong.append(f"{path.relative_to(ROOT)}:{line} imports {target}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", ["errors", "files"])
def test_the_lowest_floor_needs_no_third_party(name):
    names = {target for _, module, target, _ in IMPORTS if module == f"graftable.{name}"}
    roots = {name.partition(".")[0] for name in names}
    assert roots <= {*sys.stdlib_module_names, "graftable"}


@pytest.mark.parametrize("name", ["__init__", "__main__", "arguments", "cli", "config_files"])
def test_the_front_door_imports_nothing_heavy_at_the_top(name):
    path = ROOT / "graftable" / f"{name}.py"
    top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    roots = {alias.name.partition(".")[0] for node in top if isinstance(node, ast.Import) for alias in node.names}
    roots |= {(node.module or "").partition(".")[0] for node in top if isinstance(node, ast.ImportFrom)}
    assert roots <= {*sys.stdlib_module_names, "graftable", "yaml"}


def test_every_folder_is_imported_by_its_full_name():
    wrong = [f"{path.relative_to(ROOT)}:{line}" for path, _, target, line in IMPORTS if target.split(".")[0] in FOLDERS]
    assert not wrong


def test_every_third_party_import_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {
        "".join(c if c.isalnum() else "_" for c in r.split("[")[0].split(";")[0].split("==")[0].split(">")[0].strip())
        for r in required
    }
    names = {name.lower().strip("_") for name in names}
    alias = {"sklearn": "scikit_learn", "yaml": "pyyaml", "ot": "pot", "lightning_sdk": "lightning"}
    roots = {target.partition(".")[0] for _, _, target, _ in IMPORTS} - {*sys.stdlib_module_names, "graftable", ""}
    undeclared = {root for root in roots if alias.get(root, root).lower() not in names}
    assert not undeclared
