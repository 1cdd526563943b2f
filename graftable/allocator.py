"""Whether memory that was freed stays in the process. On a CPU that decides the speed of every large sparse operator.

By default glibc returns a large buffer to the system when it is freed. The next buffer of that size is made of fresh
pages again, each of them cleared by the kernel at its first touch, which takes longer than most of what is then
computed into it. Kept, the same pages serve again. The price: the process stays as large as it once was.
"""

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Mapping

from graftable.errors import ConfigError

__all__ = ["chosen_settings", "glibc_version", "keep_freed_memory", "keeps_in_training", "milliseconds_of_a_buffer"]

#: Set to ``default``, it leaves the allocator as it was; ``kept`` is what the training verbs do without it.
SWITCH = "GRAFTABLE_MALLOC"
VARIABLES = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # at 1, torch asks for pages of 2 MB, which are fewer to clear

# from malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
LARGEST = 2**31 - 1  # mallopt takes an int
MADV_HUGEPAGE = 14
TOP_PAD = 256 * 2**20
BUFFER = 64 * 2**20  # glibc learns to keep buffers of up to 32 MB by itself
REPEATS = 5


def glibc_version() -> str | None:
    """The version of the C library, such as ``2.36``; None where it is not glibc.

    Example:
        >>> version = glibc_version()
        >>> version is None or version[0].isdigit()
        True
    """
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (AttributeError, OSError, ValueError):  # Windows, musl, macOS
        return None
    return version if name == "glibc" else None


def chosen_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the user chose for the allocator, by the variables of the environment that choose it.

    Example:
        >>> chosen_settings({"MALLOC_TOP_PAD_": "1048576", "GLIBC_TUNABLES": "glibc.pthread.rseq=0", "HOME": "/"})
        {'MALLOC_TOP_PAD_': '1048576'}
    """
    chosen = {name: environment[name] for name in (*VARIABLES, HUGE_PAGES) if environment.get(name)}
    # these two serve many purposes; jemalloc, tcmalloc and mimalloc all end alike
    for name, mark in (("GLIBC_TUNABLES", "glibc.malloc."), ("LD_PRELOAD", "malloc")):
        if mark in environment.get(name, ""):
            chosen[name] = environment[name]
    return chosen


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, from now on; buffers that exist already are freed as before.

    Works before and after torch is imported. Forked workers inherit it, spawned ones do not. At most 2 GB of free
    memory in one piece stay; what exceeds that goes back to the system.

    Returns:
        Whether it was done: False where the C library is not glibc.

    Example:
        >>> keep_freed_memory() == (glibc_version() is not None)
        True
    """
    if glibc_version() is None:
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # before 2.35 glibc refuses a threshold above 32 MB, but takes "never map"
    mapped = mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_MAX, 0)
    return bool(mapped and mallopt(M_TRIM_THRESHOLD, LARGEST) and mallopt(M_TOP_PAD, TOP_PAD))


def keeps_in_training() -> bool:
    """Whether the training verbs keep freed memory on a CPU: unless the user has set up the allocator otherwise.

    Raises:
        ConfigError: If ``GRAFTABLE_MALLOC`` is neither ``default`` nor ``kept``.
    """
    switch = os.environ.get(SWITCH, "")
    if switch not in ("", "default", "kept"):
        raise ConfigError(f"{SWITCH} is {switch!r}; expected default or kept.")
    return glibc_version() is not None and (switch == "kept" or not (switch or chosen_settings()))


def milliseconds_of_a_buffer() -> tuple[float, float] | None:
    """What it costs to take, fill and free 64 MB, as the environment has it and with freed memory kept.

    Measured in a process of its own within half a second, so that this one stays as it is.

    Returns:
        Both times, or None where the C library is not glibc.
    """
    if glibc_version() is None:
        return None
    program = "from graftable.allocator import _measure; _measure()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    present, kept = done.stdout.split()
    return float(present), float(kept)


def _measure() -> None:
    present = _best_milliseconds()
    keep_freed_memory()
    print(present, _best_milliseconds())


def _best_milliseconds() -> float:
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        buffer = libc.malloc(BUFFER)
        if os.environ.get(HUGE_PAGES) == "1":  # as torch does
            padding = -buffer % 2**21
            libc.madvise(buffer + padding, BUFFER - padding, MADV_HUGEPAGE)
        ctypes.memset(buffer, 0, BUFFER)
        libc.free(buffer)
        times.append(time.perf_counter() - start)
    return 1000 * min(times)
