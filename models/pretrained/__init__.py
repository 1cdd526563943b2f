"""Weights that ship with the package, one folder per model (safetensors, config.json, model card)."""

import contextlib
import io
from pathlib import Path
from typing import Any, TypeVar

from graftable.errors import ModelFileError

__all__ = ["load_pretrained", "pretrained_names"]

Model = TypeVar("Model", bound=Any)


def pretrained_names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/model.safetensors"))


def load_pretrained(model_class: type[Model], name: str) -> Model:
    """Load a shipped model by its name, or any folder that ``save_pretrained`` wrote.

    Args:
        model_class: The class that reads the folder.
        name: ``lggm``, or the path of a folder.

    Raises:
        ModelFileError: If there is no such folder, or its files are incomplete, corrupt or of another version.
    """
    shipped = Path(__file__).parent / name
    folder = shipped if shipped.is_dir() else Path(name)
    if not folder.is_dir():
        raise ModelFileError(
            f"{name}: no such model; expected one of {', '.join(pretrained_names()) or '(none shipped)'} or a folder "
            "written by save_pretrained."
        )
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise ModelFileError(f"{folder}: {file} is missing; expected a folder written by save_pretrained.")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the hub prints a line that would precede our JSON
            model: Model = model_class.from_pretrained(str(folder), strict=True).eval()
    except Exception as error:  # the readers of both files raise errors of many libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{folder}: cannot be loaded ({reason}); the files are corrupt or of another version, write them again "
            "with save_pretrained."
        ) from error
    return model
