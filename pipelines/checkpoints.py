"""Training checkpoints that are whole or absent, carry their own checksum, and are read without running any code.

Lightning writes a checkpoint to the system's temporary folder and moves it: across file systems that is a copy, and a
kill in the middle destroys the previous good file. Here the new file is written beside the old one, fsynced and
renamed over it, so that a crash at any moment leaves one of the two.

The checksum travels inside the file: a ``torch.save`` archive is a zip file, and a zip file may end in a comment, which
every reader skips. A second file beside it could not be renamed in the same instant.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from graftable.errors import DataError, ModelFileError
from graftable.files import atomic_path, remove_stale_parts

__all__ = ["AtomicCheckpointIO", "load_checkpoint", "save_checkpoint"]

END_OF_ARCHIVE = b"PK\x05\x06"
END_SIZE = 22  # bytes of the end record with no comment; its last two are the comment's length
BLOCK = 1 << 20


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's way to write and read checkpoints, made atomic and checked.

    Give it to a trainer as a plugin; ``graftable fit`` does so by itself.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(plugins=[AtomicCheckpointIO()], accelerator="cpu", logger=False)
    """

    def __init__(self) -> None:
        self._swept: set[Path] = set()

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint atomically; before the first one in a folder, remove what killed runs left there.

        Raises:
            ModelFileError: If the file cannot be written, for instance on a full disk or in a read-only folder.
        """
        folder = Path(path).parent
        if folder not in self._swept:
            remove_stale_parts(folder)
            self._swept.add(folder)
        save_checkpoint(checkpoint, path)

    def load_checkpoint(  # weights_only is Lightning's argument and is not obeyed: it is always true here
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = "cpu",
        weights_only: bool | None = True,
    ) -> dict[str, Any]:
        """Read a checkpoint; see ``load_checkpoint``."""
        return load_checkpoint(path, map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete a checkpoint that is no longer wanted."""
        Path(path).unlink(missing_ok=True)


def save_checkpoint(checkpoint: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a checkpoint so that a crash at any moment leaves the previous file or the new one, never a mixture.

    Args:
        checkpoint: Tensors, numbers, strings, and lists and dictionaries of them.
        path: The file to create or replace.

    Raises:
        ModelFileError: If the file cannot be written; the previous one is then as it was.
    """
    try:
        with atomic_path(path) as part:
            with open(part, "wb") as file:
                torch.save(checkpoint, file)
            with open(part, "rb+") as file:
                _seal(file)
    except (DataError, RuntimeError) as error:  # torch may report a full disk as a RuntimeError of its own
        reason = _reason(error.__cause__ or error)
        raise ModelFileError(
            f"{path}: the checkpoint cannot be written ({reason}); an earlier one is as it was. "
            "Free some space, or choose another folder with --trainer.default_root_dir."
        ) from error


def load_checkpoint(path: str | os.PathLike[str], map_location: Any | None = "cpu") -> dict[str, Any]:
    """Read a checkpoint, check it against its own checksum, and run no code that it may contain.

    Args:
        path: A file of ``save_checkpoint``, or any ``torch.save`` archive of plain tensors and values (which has no
            checksum to compare).
        map_location: The device to read tensors to, as ``torch.load`` understands it.

    Raises:
        ModelFileError: If the file is missing, damaged, or holds anything but tensors and plain values.
    """
    try:
        with open(path, "rb") as file:
            damage = _damage(file)
        if damage is None:
            checkpoint: dict[str, Any] = torch.load(path, map_location=map_location, weights_only=True)
            return checkpoint
    except FileNotFoundError as error:
        raise ModelFileError(f"{path}: there is no such checkpoint; give --ckpt_path a file that exists.") from error
    except Exception as error:  # bytes that are no checkpoint can fail in any way inside the reader
        if type(error).__name__ == "UnpicklingError":
            raise ModelFileError(
                f"{path}: holds objects other than tensors and plain values, which are not loaded because they can "
                "run code; save it again with graftable."
            ) from error
        damage = _reason(error)
    raise ModelFileError(f"{path}: the checkpoint is damaged ({damage}); resume from an earlier one.")


def _seal(file: BinaryIO) -> None:
    """Append the archive's size and SHA-256 as its zip comment."""
    size = file.seek(0, os.SEEK_END)
    record = json.dumps({"size": size, "sha256": _digest(file, size)}).encode()
    file.seek(-2, os.SEEK_END)
    file.write(len(record).to_bytes(2, "little") + record)


def _damage(file: BinaryIO) -> str | None:
    """What is wrong with a sealed archive; ``None`` if it is as written, or carries no seal to compare with."""
    total = file.seek(0, os.SEEK_END)
    file.seek(max(0, total - END_SIZE - 0xFFFF))
    tail = file.read()
    end = tail.rfind(END_OF_ARCHIVE)
    if end < 0:
        return "its end is missing"
    try:
        seal = json.loads(tail[end + END_SIZE :])
        size, expected = int(seal["size"]), str(seal["sha256"])
    except (ValueError, KeyError, TypeError):
        return "its checksum cannot be read" if tail[end + END_SIZE :] else None
    if size != total - (len(tail) - end - END_SIZE):
        return f"it holds {total} bytes, but {size} were written"
    return None if _digest(file, size) == expected else "its checksum does not match"


def _digest(file: BinaryIO, size: int) -> str:
    """SHA-256 of the first ``size`` bytes, with the comment's length (the last two) taken as zero."""
    digest, left = hashlib.sha256(), size - 2
    file.seek(0)
    while left > 0 and (block := file.read(min(BLOCK, left))):
        digest.update(block)
        left -= len(block)
    digest.update(b"\0\0")
    return digest.hexdigest()


def _reason(error: BaseException) -> str:
    """The first line of an error's message."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.strip().split("\n")[0] or type(error).__name__
