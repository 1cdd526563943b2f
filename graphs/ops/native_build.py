"""Compiles the C++ kernels at first use and keeps the result in the user's cache folder.

A compiler is an extra, never a requirement: without one, or with ``GRAFTABLE_NATIVE=0``, :func:`load` answers None and
torch's own primitives do the work. The library is linked against the OpenMP runtime that torch has already loaded: a
second one would keep threads spinning beside torch's.
"""

import contextlib
import ctypes
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

__all__ = ["load"]

SOURCES = (
    "native_aggregate.cpp",
    "native_sums.cpp",
    "native_edges.cpp",
    "native_order.cpp",
    "native_columns.cpp",
    "native_gin.cpp",
    "native_norm.cpp",
)
HEADER = "native_rows.h"
COMPILERS = ("g++", "c++", "clang++")
FLAGS = ("-std=c++20", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-fopenmp")
SECONDS = 300  # a compiler that takes longer hangs
DIGEST = hashlib.sha256().digest_size

log = logging.getLogger(__name__)
_lock = threading.Lock()
_loaded: dict[tuple[str, str], ctypes.CDLL | None] = {}


def load(value: str, index: str) -> ctypes.CDLL | None:
    """The kernels for a type of numbers and one of indices, or None; what came out is remembered for the process.

    Args:
        value: ``float`` or ``double``.
        index: ``int32_t`` or ``int64_t``.
    """
    with _lock:
        if (value, index) not in _loaded:
            try:
                _loaded[value, index] = _load(value, index)
            except (OSError, subprocess.SubprocessError) as error:
                log.info("the native kernels for %s and %s are not used: %s", value, index, _reason(error))
                _loaded[value, index] = None
        return _loaded[value, index]


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None)  # what the compiler said
    return f"{error}\n{said}" if said else str(error)


def _load(value: str, index: str) -> ctypes.CDLL | None:
    if os.environ.get("GRAFTABLE_NATIVE", "1") == "0":
        log.info("the native kernels are switched off by GRAFTABLE_NATIVE=0")
        return None
    compiler, runtime = _compiler(), _openmp_runtime()
    if compiler is None or runtime is None:
        log.info("the native kernels are not used: there is no %s", "OpenMP in torch" if compiler else "C++ compiler")
        return None
    path = _cache_folder() / f"kernels-{_fingerprint(compiler, runtime, value, index)}.so"
    with contextlib.suppress(OSError):  # absent, or damaged: made again
        return _open(path)
    log.info("compiling the native kernels for %s and %s", value, index)
    with tempfile.TemporaryDirectory(prefix="graftable-") as folder:
        library = _compile(Path(folder), compiler, runtime, value, index)
        try:
            _install(library, path)
        except OSError:  # no cache folder: the library lives as long as the process
            return ctypes.CDLL(str(library))
    return _open(path)


@cache
def _compiler() -> str | None:
    return next(filter(None, map(shutil.which, COMPILERS)), None)


def _openmp_runtime() -> str | None:
    """The file of the OpenMP runtime that torch brought into the process."""
    import torch  # noqa: F401, the runtime comes with it

    with contextlib.suppress(OSError):
        return _runtime_in(Path("/proc/self/maps").read_text())
    return None


def _runtime_in(maps: str) -> str | None:
    """The file of an OpenMP runtime, torch's rather than another, among those that a process has mapped.

    Example:
        >>> _runtime_in("7f00-7f08 r-xp 00000000 08:01 77    /home/my work/torch/lib/libgomp.so.1")
        '/home/my work/torch/lib/libgomp.so.1'
    """
    found = re.findall(r"(?m)^(?:\S+ +){5}(/.*/lib[gi]?omp\d*\b[^/\n]*)$", maps)  # a path may hold blanks
    return min(found, key=lambda path: "torch" not in path, default=None)


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / "graftable"


def _fingerprint(compiler: str, runtime: str, value: str, index: str) -> str:
    """Names everything that the library depends on: a home folder may be shared by machines of several kinds."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=SECONDS).stdout
    processor = platform.processor()
    with contextlib.suppress(OSError):
        processor = next(
            iter(re.findall(r"(?m)^(?:flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text())), processor
        )
    digest = hashlib.sha256(version)
    for part in (compiler, runtime, value, index, platform.machine(), processor, *FLAGS):
        digest.update(part.encode() + b"\0")
    for name in (HEADER, *SOURCES):
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:32]


def _compile(folder: Path, compiler: str, runtime: str, value: str, index: str) -> Path:
    here, objects, running = Path(__file__).parent, [], []
    for name in SOURCES:  # side by side: it is the user who waits
        objects.append(str(folder / f"{name}.o"))
        command = [compiler, *FLAGS, f"-DVALUE={value}", f"-DINDEX={index}", "-c", str(here / name), "-o", objects[-1]]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
    for each in running:
        _, said = each.communicate(timeout=SECONDS)
        if each.returncode:
            raise subprocess.CalledProcessError(each.returncode, each.args, stderr=said)
    library = folder / "kernels.so"
    link = [compiler, "-shared", *objects, runtime, "-o", str(library)]
    subprocess.run(link, check=True, capture_output=True, text=True, timeout=SECONDS)
    return library


def _install(library: Path, path: Path) -> None:
    """Writes under a temporary name and renames, so that another process sees a whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = library.read_bytes()
    descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content + hashlib.sha256(content).digest())  # a loader ignores what follows the sections
    os.replace(name, path)


def _open(path: Path) -> ctypes.CDLL:
    content = path.read_bytes()
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise OSError(f"{path} is damaged")
    return ctypes.CDLL(str(path))
