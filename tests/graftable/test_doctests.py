"""What the documentation shows is what happens."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import graftable

MODULES = [
    info.name
    for info in pkgutil.walk_packages(graftable.__path__, "graftable.")
    if not info.ispkg and not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_every_example_in_a_docstring_is_true(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    # a class that is re-exported keeps its examples at home, so each is run once
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    results = doctest.testmod(module, extraglobs={"torch": torch}, optionflags=flags)
    assert results.failed == 0
