"""Weights that ship with the package, one folder per model (safetensors, config.json, model card)."""

import contextlib
import io
from pathlib import Path
from typing import Any, TypeVar, cast

from graftable.errors import ModelFileError

__all__ = ["load_pretrained", "pretrained_names"]

Model = TypeVar("Model")


def pretrained_names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/model.safetensors"))


def load_pretrained(model_class: type[Model], name: str) -> Model:
    """Load a shipped model by its name, a folder that ``save_pretrained`` wrote, or a checkpoint of ``fit``.

    Args:
        model_class: The class that reads it.
        name: ``lggm``, or the path of a folder or ``.ckpt`` file.

    Returns:
        The model in evaluation mode.

    Raises:
        ModelFileError: If there is no such model, or its files are incomplete, corrupt or of another version.
    """
    shipped = Path(__file__).parent / name
    path = shipped if shipped.is_dir() else Path(name)
    if path.is_dir():
        for file in ("config.json", "model.safetensors"):
            if not (path / file).is_file():
                raise ModelFileError(f"{path}: {file} is missing; expected a folder written by save_pretrained.")
    elif not path.is_file():
        raise ModelFileError(
            f"{name}: no such model; expected one of {', '.join(pretrained_names()) or '(none shipped)'}, a folder "
            "written by save_pretrained, or a checkpoint of fit."
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the hub prints a line that would precede our JSON
            model = _load(model_class, path)
    except Exception as error:  # the readers of these files raise errors of many libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{path}: cannot be loaded ({reason}); the file is corrupt or of another version, write it again."
        ) from error
    model.eval()
    return cast(Model, model)


def _load(model_class: Any, path: Path) -> Any:
    if path.is_dir():
        return model_class.from_pretrained(str(path), strict=True)
    return model_class.load_from_checkpoint(path, map_location="cpu", weights_only=True)
