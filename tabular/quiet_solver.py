"""Keep what compiled solvers print off the standard output, where it would stand among tables and JSON."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from threading import RLock

__all__ = ["quiet_solver"]

_STDOUT = 1
_lock = RLock()
_inside = 0
_kept: int | None = None


@contextlib.contextmanager
def quiet_solver() -> Iterator[None]:
    """Lead the file descriptor of the standard output nowhere while the block runs.

    Solvers print through C, past ``sys.stdout``. The descriptor belongs to the whole process: what other threads print
    meanwhile is lost too. Blocks may overlap or be nested; the last to end brings the output back.

    Example:
        >>> with quiet_solver():
        ...     _ = os.write(1, b"heard by nobody")
    """
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _kept
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        _flush()
        try:
            _kept = os.dup(_STDOUT)
        except OSError:  # closed: nothing can be printed there
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)


def _leave() -> None:
    global _inside, _kept
    with _lock:
        _inside -= 1
        if _inside or _kept is None:
            return
        _flush()
        os.dup2(_kept, _STDOUT)
        os.close(_kept)
        _kept = None


def _flush() -> None:
    """Empty the buffers of Python and of C; the latter would else be written once the output is back."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no output, or none that can be written to
        sys.stdout.flush()
    with contextlib.suppress(AttributeError, OSError, TypeError):  # Windows has no library by the name None
        ctypes.CDLL(None).fflush(None)
