"""Weights that ship with the package, one folder per model, and the folders that ``save_pretrained`` writes."""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar, cast

from huggingface_hub import PyTorchModelHubMixin

from graftable.errors import ModelFileError
from graftable.files import atomic_path
from graftable.pipelines.checkpoints import load_checkpoint

__all__ = ["FOLDER_VERSION", "PretrainedFolder", "load_pretrained", "pretrained_names"]

FOLDER_VERSION = 1
"""Format of the folder; kept in its config.json as ``config_version``."""

Model = TypeVar("Model")


class PretrainedFolder(PyTorchModelHubMixin):
    """``save_pretrained`` and ``from_pretrained``: config.json, model.safetensors and a model card in a folder.

    Each file is written whole or not at all, the weights first, and the config says which format it has.
    """

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write the folder; see ``PyTorchModelHubMixin.save_pretrained``.

        Raises:
            DataError: If the folder cannot be written.
        """
        target = Path(save_directory)
        with tempfile.TemporaryDirectory() as scratch:
            result: str | None = super().save_pretrained(scratch, **kwargs)
            config = Path(scratch) / "config.json"
            settings = json.loads(config.read_text(encoding="utf-8")) | {"config_version": FOLDER_VERSION}
            config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            for file in sorted(Path(scratch).iterdir(), key=lambda file: file.suffix != ".safetensors"):
                if file.name == "README.md" and (target / file.name).exists():
                    continue  # a model card is the user's once it is there
                with atomic_path(target / file.name) as part:
                    part.write_bytes(file.read_bytes())
        return result


def pretrained_names() -> list[str]:
    """Names of the shipped models."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/model.safetensors"))


def load_pretrained(model_class: type[Model], name: str) -> Model:
    """Load a shipped model by its name, a folder that ``save_pretrained`` wrote, or a checkpoint of ``fit``.

    Args:
        model_class: The class that reads it.
        name: ``lggm``, or the path of a folder or ``.ckpt`` file; ``./lggm`` is a folder of yours.

    Returns:
        The model in evaluation mode.

    Raises:
        ModelFileError: If there is no such model, or its files are incomplete, corrupt or of another version.
    """
    path = Path(__file__).parent / name if name in pretrained_names() else Path(name)
    if path.is_dir():
        _check_folder(model_class, path)
    elif not path.is_file():
        raise ModelFileError(
            f"{name}: no such model; expected one of {', '.join(pretrained_names()) or '(none shipped)'}, a folder "
            "written by save_pretrained, or a checkpoint of fit."
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the hub prints a line that would precede our JSON
            model = _load(model_class, path)
    except ModelFileError:
        raise
    except Exception as error:  # the readers of these files raise errors of many libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelFileError(
            f"{path}: cannot be loaded ({reason}); the file is corrupt or of another version, write it again."
        ) from error
    model.eval()
    return cast(Model, model)


def _check_folder(model_class: Any, folder: Path) -> None:
    """Refuse a folder that lacks a file, is of another format, or has settings that the model does not know."""
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            raise ModelFileError(f"{folder}: {file} is missing; expected a folder written by save_pretrained.")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        version = config.pop("config_version", None)
    except (ValueError, AttributeError) as error:
        raise ModelFileError(f"{folder}/config.json: not a JSON object ({error}); write the folder again.") from error
    if version != FOLDER_VERSION:
        raise ModelFileError(
            f"{folder}/config.json: config_version is {version}, expected {FOLDER_VERSION}; write the folder again "
            "with this version of graftable."
        )
    unknown = sorted(config.keys() - model_class._hub_mixin_init_parameters.keys())
    if unknown:
        raise ModelFileError(
            f"{folder}/config.json: {model_class.__name__} has no setting {unknown[0]!r}; the folder is of another "
            "version, write it again."
        )


def _load(model_class: Any, path: Path) -> Any:
    if path.is_dir():
        return model_class.from_pretrained(os.fspath(path), strict=True)
    load_checkpoint(path)  # its size and checksum, before Lightning reads it
    return model_class.load_from_checkpoint(path, map_location="cpu", weights_only=True)
