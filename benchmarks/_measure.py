"""How the benchmarks take time and memory: on a quiet machine, one process per allocator setting, peers in turn."""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from graftable import allocator

THREADS = 2
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**28),
}
#: What the environment holds before the process starts, for peers too: freed memory goes back to the system (default)
#: or stays in the process (kept); or it stays, and there is no C++ compiler (uncompiled).
MODES = {"default": {}, "kept": KEPT, "uncompiled": KEPT | {"GRAFTABLE_NATIVE": "0"}}
BUSY_SHARE = 0.15
SECONDS_A_BURST = (
    0.002  # calls of microseconds are timed many at once: one alone pays for caches that the clock left cold
)
SECONDS_A_CALL = 0.1  # repeat short calls until about this long has been measured


def common_options(description, modes):
    """The options that every timing benchmark has; ``modes`` are run if none is chosen."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--modes", type=names_of(MODES), default=list(MODES), help="default, kept, or both: default,kept"
    )
    parser.add_argument("--quick", action="store_true", help="a few repeats only, to see that all works")
    parser.add_argument("--force", action="store_true", help="measure even though the machine is busy")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def names_of(known):
    """Split a list with commas into names that are known, for an option."""

    def split(text):
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"found {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
        return names

    return split


def refuse_when_busy(force):
    """Stop with one sentence if other processes are at work: they can stretch three milliseconds to a second."""
    share = _busy_share()
    if share > BUSY_SHARE and not force:
        sys.exit(
            f"other processes keep {share:.0%} of this machine busy, and the times would mean nothing; "
            "wait for them to end, or add --force."
        )


def _busy_share(seconds=1.0):
    try:
        before = _jiffies()
        time.sleep(seconds)
        busy, total = (late - early for late, early in zip(_jiffies(), before, strict=True))
    except OSError:  # not Linux
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    return busy / max(total, 1)


def _jiffies():
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)  # all but idle, and waiting for a disk


def in_each_mode(script, modes):
    """Run the script again for each allocator setting, and return {mode: the rows that it printed}."""
    chosen = (*allocator.VARIABLES, allocator.HUGE_PAGES, "GLIBC_TUNABLES", "LD_PRELOAD", "GRAFTABLE_NATIVE")
    clean = {key: value for key, value in os.environ.items() if key not in chosen}
    threads = {name: str(THREADS) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")}
    rows = {}
    for mode in modes:
        command = [sys.executable, script, *sys.argv[1:], "--child", mode]
        done = subprocess.run(command, env=clean | threads | MODES[mode], stdout=subprocess.PIPE, text=True, check=True)
        rows[mode] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return rows


def interleave(calls, *, quick=False, peaks=False, clock=time.perf_counter):
    """Time each call in turn, round after round, so that whatever the machine does meets all of them.

    At least six calls of each, the first to warm up; three of a call that takes over half a second. With ``peaks``, the
    second round also reads how far the resident memory rose: that means something only where freed memory goes back to
    the system. With ``time.process_time`` as the clock, on one thread, a busy machine stretches nothing.

    Returns:
        {name: {"ms": the least, "median": milliseconds, "peak": MB or None}}
    """
    for call in calls.values():
        call()
    times, rises = {name: [_seconds(call, clock)] for name, call in calls.items()}, {}
    rounds = {name: _rounds(first, quick) for name, (first,) in times.items()}
    bursts = {name: max(int(SECONDS_A_BURST / first), 1) for name, (first,) in times.items()}
    for turn in range(1, max(rounds.values())):
        for name, call in calls.items():
            if turn < rounds[name]:
                with _rise(rises, name) if peaks and turn == 1 else contextlib.nullcontext():
                    times[name].append(_seconds(call, clock, bursts[name]))
    return {
        name: {"ms": 1000 * min(taken), "median": 1000 * statistics.median(taken), "peak": rises.get(name)}
        for name, taken in times.items()
    }


def _rounds(seconds, quick):
    if quick or seconds > 0.5:
        return 3
    return int(min(max(SECONDS_A_CALL / seconds, 6), 100))


def _seconds(call, clock, burst=1):
    kept = None  # results are freed after the clock has stopped, or each would pay for the one before
    start = clock()
    for _ in range(burst):
        kept = call()
    taken = (clock() - start) / burst
    del kept
    return taken


@contextlib.contextmanager
def _rise(rises, name):
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak becomes what is resident now
    before = _status("VmRSS")
    yield
    rises[name] = (_status("VmHWM") - before) / 1024


def _status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))
