"""Who makes the parts of a job. An engine takes a task and the parts that are wanted, and yields manifest lines.

It may yield them in any order, and must not yield a line before the files of its part are on the disk. Parts are
pure functions of their number, so that an engine need not remember anything.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from typing import Any

from graftable.errors import GraftableError

from .folder import Entry
from .job import Part, Task

__all__ = ["ENGINES", "Engine", "local"]

Engine = Callable[[Task, Sequence[Part], int], Generator[Entry, None, None]]
"""Called with a task, the parts that are wanted in their order, and how many to make at once; may be closed early."""


def local(task: Task, parts: Sequence[Part], workers: int) -> Generator[Entry, None, None]:
    """Make parts in this process, or in several processes of this machine.

    Raises:
        GraftableError: If a part fails, or a process is killed from outside.
    """
    if min(workers, len(parts)) > 1:
        yield from _in_processes(task, parts, min(workers, len(parts)))
    elif parts:
        yield from map(task.opened(), parts)


ENGINES: dict[str, Engine] = {"local": local}


def _in_processes(task: Task, parts: Sequence[Part], count: int) -> Iterator[Entry]:
    """Make parts in several processes, each one after another.

    Those of `concurrent.futures` outlive a parent that is killed, and `multiprocessing.Pool` waits for ever for one
    that the system has killed. These end with their parent, and their own end is noticed.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads of this process hold
    workers: dict[Any, Any] = {}
    waiting = iter(parts)
    busy: dict[Any, Part] = {}
    try:
        for part in islice(waiting, count):
            here, there = context.Pipe()
            workers[here] = context.Process(target=_work, args=(there, task), daemon=True)
            workers[here].start()
            there.close()  # so that the end of the process ends the connection
            here.send(part)
            busy[here] = part
        while busy:
            for connection in wait(list(busy)):
                entry = _answer(connection, workers[connection], busy.pop(connection))
                if (following := next(waiting, None)) is not None:
                    connection.send(following)  # type: ignore[union-attr, arg-type]
                    busy[connection] = following
                yield entry
    finally:
        for connection, process in workers.items():
            if process.pid is not None:
                process.kill()
                process.join()
            connection.close()


def _answer(connection: Any, process: Any, part: Part) -> Entry:
    try:
        answer = connection.recv()
    except (EOFError, ConnectionError) as error:
        process.join()
        raise GraftableError(
            f"a worker ended with exit code {process.exitcode} while it made {part.name}, as happens when memory runs "
            "out; take fewer workers or smaller parts, and run again: what is done is kept."
        ) from error
    if isinstance(answer, Exception):
        raise answer
    found: Entry = answer
    return found


def _work(connection: Connection, task: Task) -> None:
    """Make parts until the parent ends; it alone hears Ctrl-C and SIGTERM, and kills this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        make = task.opened()
        while True:
            connection.send(make(connection.recv()))
    except EOFError:
        return
    except GraftableError as error:  # as the plain error that it is one of: some cannot be pickled
        kind = next(kind for kind in type(error).__mro__ if kind.__module__ == GraftableError.__module__)
        connection.send(kind(str(error)))
    except Exception as error:
        connection.send(RuntimeError("".join(traceback.format_exception(error))))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
