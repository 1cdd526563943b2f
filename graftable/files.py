"""Files that are either whole or absent: write to a temporary name beside the target, flush, fsync, rename."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from graftable.errors import DataError

__all__ = ["atomic_path", "remove_stale_parts", "require_writable", "write_bytes", "write_text"]

PART_SUFFIX = ".part"


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``; on success it is fsynced and renamed over ``target``.

    A crash at any moment leaves the old file, or the new one, never a mixture. If the block raises,
    the temporary file is removed and ``target`` is as it was.

    Args:
        target: The file to create or replace. Its folder is created if it is absent.

    Raises:
        DataError: If the folder cannot be created or written, or writing fails, for instance on a full disk. An
            ``OSError`` of the block that names another file passes as it is.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with atomic_path(Path(folder) / "a.txt") as part:
        ...     _ = part.write_text("whole")
        >>> (Path(folder) / "a.txt").read_text()
        'whole'
    """
    target = Path(target)
    part = target.parent / f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}"
    try:  # from before the file exists, so that an interrupt at any moment removes it
        _create(part, target)
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, target)
        fsync_folder(target.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            part.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(part), part):
            reason = " ".join((error.strerror or str(error) or type(error).__name__).split())
            raise DataError(f"{target}: cannot be written ({reason}); make room, or choose another place.") from error
        raise


def _create(part: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.touch(exist_ok=False)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror}); choose a folder that you may write to."
        ) from error


def fsync_folder(folder: Path) -> None:
    """Make a rename durable; a no-op where folders cannot be opened (Windows)."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(target: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(target) as part:
        part.write_bytes(content)


def write_text(target: str | os.PathLike[str], content: str) -> None:
    """Write a whole UTF-8 text file atomically."""
    write_bytes(target, content.encode("utf-8"))


class _OnlyProbing(Exception):
    """Leaves `atomic_path` without a file."""


def require_writable(target: str | os.PathLike[str]) -> None:
    """Refuse a file that cannot be written before minutes of work, not after.

    Raises:
        DataError: If its folder cannot be created or written.
    """
    with contextlib.suppress(_OnlyProbing), atomic_path(target):
        raise _OnlyProbing


def remove_stale_parts(folder: str | os.PathLike[str]) -> list[Path]:
    """Delete temporary files that a killed process left in ``folder``; returns what was deleted."""
    stale = sorted(Path(folder).glob(f".*{PART_SUFFIX}"))
    for part in stale:
        part.unlink(missing_ok=True)
    return stale
