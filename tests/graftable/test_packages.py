"""The packaging: what the tree holds is what the wheel will hold."""

import re
import tomllib
from pathlib import Path

import pytest

import graftable

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("graphs", "tabular", "fusion", "models", "pipelines", "configs")


def test_the_list_of_packages_is_the_tree():
    tree = {"graftable"}
    for folder in FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            tree.add(".".join(("graftable", *init.parent.relative_to(ROOT).parts)))
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == tree


def test_every_data_file_beside_the_source_is_in_the_wheel():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for package, globs in patterns.items()
        for pattern in globs
        for path in (
            ROOT / ("graftable" if package == "graftable" else package.partition(".")[2].replace(".", "/"))
        ).glob(pattern)
    }
    folders = [ROOT / folder for folder in FOLDERS] + [ROOT / "graftable" / "templates"]
    data = {path for folder in folders for path in folder.rglob("[!.]*") if path.is_file()}
    assert {path for path in data if path.suffix not in (".py", ".pyc") and ".mypy_cache" not in path.parts} <= packed


def test_every_folder_with_source_is_a_package():
    without = [
        path.parent
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert not without


def test_the_facade_links_to_every_mapped_folder():
    mapped = PROJECT["tool"]["setuptools"]["package-dir"]
    assert mapped == {f"graftable.{folder}": folder for folder in FOLDERS}
    for folder in FOLDERS:
        assert (ROOT / "graftable" / folder).samefile(ROOT / folder)


def test_neither_the_root_nor_the_tests_are_packages():
    assert not (ROOT / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_test_files_have_different_names():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_the_version_is_written_twice_and_equal():
    assert PROJECT["project"]["version"] == graftable.__version__
    assert f"## {graftable.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_make_installs_a_torch_within_the_declared_bounds():
    default = re.search(r"^USUAL := torch==([\d.]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    low, high = re.search(r"torch>=([\d.]+),<([\d.]+)", " ".join(PROJECT["project"]["dependencies"])).groups()
    version, lowest, bound = (tuple(int(p) for p in text.split(".")) for text in (default[1], low, high))
    assert lowest <= version[: len(lowest)] < bound


def test_every_public_name_can_be_loaded():
    for name in graftable.__all__:
        assert getattr(graftable, name) is not None
    assert set(graftable.__all__) <= set(dir(graftable))


def test_a_name_that_does_not_exist_is_an_attribute_error_with_the_names_that_do():
    with pytest.raises(AttributeError, match=r"it has .*read_graphs"):
        graftable.raed_graphs  # noqa: B018
