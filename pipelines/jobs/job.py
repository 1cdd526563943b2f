"""What a batch job is: ordered parts, each of them files that depend on the settings, the inputs and the part alone."""

import contextlib
import errno
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from graftable.errors import GraftableError
from graftable.stopping import signals_held

from .folder import SHARED, Entry, digest

__all__ = ["Fitting", "Job", "Made", "Make", "Part", "Task"]

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # the folder that is written is at fault, not what is read


@dataclass(frozen=True)
class Part:
    """One part of a job: its place in the order, from 0, and the name of the file that it becomes."""

    index: int
    name: str


@dataclass(frozen=True)
class Made:
    """What a part has become.

    Attributes:
        rows: How many rows.
        figures: What else is counted; summed over the parts.
        beside: Names of files that were written beside the part's own.
        quarantined: How many rows were set aside.
    """

    rows: int
    figures: Mapping[str, int] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    quarantined: int = 0


Make = Callable[[Part, Path], Made]
"""Writes the file of a part, whole or not at all, to the path that it is given."""

Fitting = Callable[[float, str], None]
"""Called now and then with the share of the preparation that is done, from 0 to 1, and a word on what is done."""


class Job(ABC):
    """Ordered parts that become files.

    A subclass takes flat arguments that JSON can hold, keeps each as an attribute of the same name, and can be pickled.
    What a part becomes must be a function of the arguments, the content of the sources, and the part: then a job that
    was killed ends with the same bytes as one that was not, whoever made which part.
    """

    quarantine: bool = False
    """Whether a part that fails is set aside with its reason, instead of ending the job."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """All parts in their order.

        Raises:
            GraftableError: If the arguments or the sources are wrong.
        """

    @abstractmethod
    def open(self, shared: Path) -> Make:
        """What makes parts; each worker opens its own.

        Args:
            shared: The folder that `prepare` filled.
        """

    def sources(self) -> dict[str, Path]:
        """The files and folders that every part depends on, by the argument that names them."""
        return {}

    def source(self, part: Part) -> Path | None:
        """The file that this part alone depends on."""
        return None

    def prepare(self, shared: Path, progress: Fitting | None = None) -> None:
        """Do once what all parts share, and refuse what cannot be done; what is written to ``shared`` is kept.

        Raises:
            GraftableError: If the arguments or the sources are wrong.
        """
        return

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}


@dataclass(frozen=True)
class Task:
    """A job and the folder that it fills: what an engine hands to its workers."""

    job: Job
    folder: Path

    def opened(self) -> Callable[[Part], Entry]:
        """What makes a part and says what the manifest has to say of it."""
        make = self.job.open(self.folder / SHARED)
        return lambda part: self._make(make, part)

    def _make(self, make: Make, part: Part) -> Entry:
        target, source = self.folder / part.name, self.job.source(part)
        entry: Entry = {"part": part.index, "name": part.name}
        try:
            if source is not None:
                entry["source"] = digest(source)
            with one_thread():
                made = make(part, target)
        except GraftableError as error:
            if not self.job.quarantine or _is_full(error):
                raise
            target.unlink(missing_ok=True)
            reason = " ".join(str(error).split())
            return entry | {"reason": reason, "rows": 0, "quarantined": 0, "figures": {}, "files": {}}
        files = {name: digest(self.folder / name) for name in (part.name, *made.beside)}
        return {
            **entry,
            "rows": made.rows,
            "quarantined": made.quarantined,
            "figures": {**made.figures},
            "files": files,
        }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums of floats must not depend on how many cores a machine has."""
    torch: Any = sys.modules.get("torch")
    with contextlib.ExitStack() as limits:
        if torch:
            limits.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        with signals_held():  # it lists the libraries by a callback from C
            limits.enter_context(threadpool_limits(1))
        yield


def _is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a full or read-only disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False
