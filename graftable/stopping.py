"""SIGTERM as an exception, so that a command that is told to stop leaves no half-written file."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["PREEMPTED", "stopped_by_sigterm"]

PREEMPTED = 143


@contextlib.contextmanager
def stopped_by_sigterm(advice: str = "") -> Iterator[None]:
    """Within the block, SIGTERM raises ``SystemExit(143)``, as Ctrl-C raises ``KeyboardInterrupt``.

    Args:
        advice: What to do now, printed after ``graftable: preempted.``
    """
    if threading.current_thread() is not threading.main_thread():  # only there may a handler be set
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is being cleared away is cleared away whole
        print(f"graftable: preempted.{' ' + advice if advice else ''}", file=sys.stderr)
        raise SystemExit(PREEMPTED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
