"""The folder of a job: locked by one run at a time, with a manifest of its parts and a mark once it is complete.

| file | is |
|---|---|
| ``_job.json`` | the settings, and checksums of what the job reads |
| ``_shared/`` | what all parts share, such as a fitted model, with its checksums |
| ``_manifest.jsonl`` | a line per part: its files with their checksums, its rows |
| ``_quarantine.jsonl`` | a line per part that failed: its name and the reason |
| ``_done.json`` | the totals; written last |

Readers of Parquet folders skip names that begin with an underscore. Nothing here depends on when or how often the job
was run: all files are equal, byte for byte, to those of a run that was never stopped.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from graftable.errors import ConfigError, DataError
from graftable.files import fsync_folder, remove_stale_parts, write_text

try:
    import fcntl
except ImportError:  # no such locks on Windows: there, the user must not start a job twice
    fcntl = None  # type: ignore[assignment]

__all__ = ["SHARED", "Entry", "JobFolder", "digest"]

Entry = dict[str, Any]
"""A line of the manifest: ``part``, ``name``, ``rows``, ``figures``, ``files`` (checksums); ``reason`` if it failed."""

KEYS = {"part", "name", "rows", "quarantined", "figures", "files"}
VERSION = 1
JOB, MANIFEST, DONE, QUARANTINE, SHARED, LOCK = (
    "_job.json",
    "_manifest.jsonl",
    "_done.json",
    "_quarantine.jsonl",
    "_shared",
    ".lock",
)
CHECKSUMS = "checksums.json"
SHARED_SOON = ".shared.new"


class JobFolder:
    """The files of a job but for its parts.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other run out while the block runs; the system lifts the lock of a process that was killed.

        A folder that is new and still empty at the end is removed.

        Raises:
            ConfigError: If another run has it, or it holds something that is no job.
            DataError: If it cannot be written.
        """
        new = not self.path.exists()
        self._require_job_or_nothing()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = self._lock()
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error.strerror}); choose a folder that you may write to."
            ) from error
        try:
            self._sweep()
            yield
        finally:
            with contextlib.suppress(OSError):
                self._sweep()
                (self.path / LOCK).unlink()  # while it is held: see `_lock`
            os.close(handle)
            if new:
                with contextlib.suppress(OSError):
                    self.path.rmdir()

    def _require_job_or_nothing(self) -> None:
        if self.path.is_file():
            raise ConfigError(f"--out {self.path} is a file; give the name of a folder.")
        if not self.path.is_dir() or (self.path / JOB).is_file():
            return
        ours = SHARED if (self.path / SHARED / CHECKSUMS).is_file() else ""
        strange = sorted(p.name for p in self.path.iterdir() if not p.name.startswith(".") and p.name != ours)
        if strange:
            raise ConfigError(
                f"--out {self.path}: holds {strange[0]}, and no job was begun there; give an empty or new folder."
            )

    def _lock(self) -> int:
        path = self.path / LOCK
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                if fcntl is not None:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.read(handle, 200).decode(errors="replace").strip() or "another process"
                os.close(handle)
                raise ConfigError(
                    f"{self.path}: {holder} is at work on this job; wait until it is done, or stop it first."
                ) from error
            with contextlib.suppress(FileNotFoundError):  # a run that ended meanwhile may have removed the file
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
                    return handle
            os.close(handle)

    def begun(self, kind: str, settings: Mapping[str, Any], sources: Mapping[str, Path], names: Sequence[str]) -> Entry:
        """What is to be written to ``_job.json``; refused if the folder was begun as another job.

        Args:
            kind: The class of the job.
            settings: Its arguments.
            sources: What every part depends on.
            names: The files that its parts become.

        Raises:
            ConfigError: If any of it is not as it was.
            DataError: If a source cannot be read.
        """
        said = {
            "version": VERSION,
            "graftable": version("graftable"),
            "job": kind,
            "settings": json.loads(json.dumps(settings)),
            "sources": {name: digest(path) for name, path in sources.items()},
            "parts": len(names),
            "names": hashlib.sha256("\n".join(names).encode()).hexdigest(),
        }
        said["digest"] = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        if not (self.path / JOB).is_file():
            self._discard_shared()  # of a run that was killed before it had written what it was
            return said
        before = _read_json(self.path / JOB)
        if before is None:
            raise ConfigError(f"{self.path / JOB}: cannot be read; remove the folder, or give another --out.")
        if what := _difference(before, said, sources):
            raise ConfigError(f"{self.path}: {what}; go on with that, give another --out, or remove the folder.")
        return said

    def write_job(self, said: Entry) -> None:
        """Write ``_job.json``, with which the job counts as begun.

        Raises:
            ConfigError: If what the parts share had to be made anew, and is not what it was.
        """
        shared = self.path / SHARED / CHECKSUMS
        said = said | {"shared": digest(shared) if shared.is_file() else None}
        before = _read_json(self.path / JOB)
        if before is not None and before.get("shared") != said["shared"]:
            raise ConfigError(
                f"{self.path / SHARED}: was damaged, and is another when made anew, as on another machine; remove "
                f"{self.path}, or give another --out."
            )
        self._write(JOB, json.dumps(said, indent=1, ensure_ascii=False) + "\n")

    @contextlib.contextmanager
    def sharing(self) -> Iterator[Path | None]:
        """A folder to fill with what all parts share, which appears whole; None if that is there, undamaged."""
        known = _read_json(self.path / SHARED / CHECKSUMS)
        if known is not None and known == _checksums(self.path / SHARED):
            yield None
            return
        self._discard_shared()
        aside = self.path / SHARED_SOON
        aside.mkdir()
        yield aside
        if any(aside.iterdir()):
            write_text(aside / CHECKSUMS, json.dumps(_checksums(aside), indent=1) + "\n")
            os.replace(aside, self.path / SHARED)
            fsync_folder(self.path)
        else:
            aside.rmdir()

    def entries(self) -> dict[int, Entry]:
        """The manifest by part; lines that a kill tore are left out, and all of one that is not as it was sealed."""
        try:
            text = (self.path / MANIFEST).read_bytes()
        except FileNotFoundError:
            return {}
        seal = _read_json(self.path / DONE)
        if isinstance(seal, dict) and seal.get("manifest") != hashlib.sha256(text).hexdigest():
            return {}
        found = {}
        for line in text.splitlines():
            entry = _parsed(line)
            if isinstance(entry, dict) and entry.keys() >= KEYS and isinstance(entry["files"], dict):
                found[entry["part"]] = entry
        return found

    def is_intact(self, entry: Entry, name: str, source: Path | None) -> bool:
        """Whether the files of a part are as they were written, from a source that is as it was."""
        try:
            known = entry["name"] == name and (source is None or digest(source) == entry["source"])
            return known and all(digest(self.path / file) == mark for file, mark in entry["files"].items())
        except (DataError, KeyError):
            return False

    def discard(self, entry: Entry) -> None:
        """Remove the files of a part that is to be made again."""
        (self.path / DONE).unlink(missing_ok=True)
        for name in entry["files"]:
            if Path(name).name == name:  # in this folder, whatever was written into the manifest
                (self.path / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def appending(self, kept: Iterable[Entry]) -> Iterator[Any]:
        """A function that adds a line to the manifest and returns once it is on the disk; begins with what is kept."""
        (self.path / DONE).unlink(missing_ok=True)
        self._write(MANIFEST, _lines(kept))
        with open(self.path / MANIFEST, "ab") as file:

            def add(entry: Entry) -> None:
                file.write(_lines([entry]).encode())
                file.flush()
                os.fsync(file.fileno())

            yield add

    def finish(self, entries: Sequence[Entry], totals: Mapping[str, Any]) -> None:
        """Put the manifest in the order of the parts, list what failed, and mark the job as complete."""
        manifest = _lines(entries)
        failed = [{"name": entry["name"], "reason": entry["reason"]} for entry in entries if "reason" in entry]
        self._write(MANIFEST, manifest)
        if failed:
            self._write(QUARANTINE, _lines(failed))
        else:
            (self.path / QUARANTINE).unlink(missing_ok=True)
        seal = {"version": VERSION, **totals, "manifest": hashlib.sha256(manifest.encode()).hexdigest()}
        self._write(DONE, json.dumps(seal, indent=1) + "\n")

    def _write(self, name: str, text: str) -> None:
        """Write a file, unless it says that already."""
        path = self.path / name
        if not path.is_file() or path.read_bytes() != text.encode():
            write_text(path, text)

    def _discard_shared(self) -> None:
        """Move it aside in one step, so that a kill leaves no half of it."""
        with contextlib.suppress(FileNotFoundError):
            os.replace(self.path / SHARED, self.path / SHARED_SOON)
        self._sweep()

    def _sweep(self) -> None:
        """Delete what a run that was killed had half-made."""
        shutil.rmtree(self.path / SHARED_SOON, ignore_errors=True)
        remove_stale_parts(self.path)


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of the files in a folder.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        if path.is_dir():
            return hashlib.sha256(json.dumps(_checksums(path)).encode()).hexdigest()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path.") from error


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CHECKSUMS)
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def _difference(before: Any, now: Entry, sources: Mapping[str, Path]) -> str:
    """What has changed since a job was begun, in words."""
    if not isinstance(before, dict) or before.get("version") != VERSION:
        return f"was begun as a job of another format than {VERSION}, which this graftable writes"
    if before["job"] != now["job"]:
        return f"was begun as a {before['job']}, and this is a {now['job']}"
    for name in {**before["settings"], **now["settings"]}:
        old, new = before["settings"].get(name), now["settings"].get(name)
        if old != new:
            return f"was begun with {name} = {json.dumps(old)}, and the config now says {json.dumps(new)}"
    for name, path in sources.items():
        if before["sources"].get(name) != now["sources"][name]:
            return f"was begun with another content of {path} ({name}) than it has now"
    if before["names"] != now["names"]:
        return f"was begun with {before['parts']} parts, and there are {now['parts']} now, or others"
    if before["graftable"] != now["graftable"]:
        return (
            f"was begun by graftable {before['graftable']}, and this is {now['graftable']}, which may make other rows"
        )
    return ""


def _lines(entries: Iterable[Entry]) -> str:
    return "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)


def _read_json(path: Path) -> Any:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return None


def _parsed(text: bytes) -> Any:
    """A text as JSON; None if it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return None
