"""Signals as exceptions, so that a command that is told to stop leaves no half-written file; none of them is lost."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["PREEMPTED", "signals_held", "stopped_by_sigterm"]

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


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back until the block has ended.

    For calls into C that call back into Python: an exception that a signal raises there is printed and forgotten, and
    the command would go on as if nobody had stopped it.

    Example:
        >>> try:
        ...     with signals_held():
        ...         signal.raise_signal(signal.SIGINT)
        ...         print("finished")
        ... except KeyboardInterrupt:
        ...     print("stopped")
        finished
        stopped
    """
    if threading.current_thread() is not threading.main_thread():  # only there do handlers run
        yield
        return
    came: list[int] = []
    known = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in known.items() if handler is not None}  # None: set by C, not ours
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)
