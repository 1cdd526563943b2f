"""Kill `graftable run` fifty times at random moments: its folder ends equal, byte for byte, to that of an unbroken run.

    python benchmarks/job_kills.py                       # 50 kills, each of the real command with one or two workers
    python benchmarks/job_kills.py --kills 5 --rows 4000

A kill is SIGKILL to the command after a random time within that of an unbroken run, start-up included. When a job is
done before it is killed, its folder is compared and another is begun.
"""

import argparse
import hashlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from _common import figure, write_figures

PACKAGES = ("graftable", "numpy", "pandas", "pyarrow")


def command(out, args, workers):
    """The real command as a process of its own."""
    settings = ["--job.rows", args.rows, "--job.rows_per_part", args.rows_per_part, "--job.engine", args.engine]
    words = ["run", "synthesize_job_debug", "--out", out, "--workers", workers, *settings]
    program = [sys.executable, "-m", "graftable", *map(str, words)]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(out, args, workers):
    """Run the command to its end; returns its time in seconds."""
    started = time.perf_counter()
    process = command(out, args, workers)
    said = process.communicate()[1]
    if process.returncode:
        raise SystemExit(f"graftable run exited with {process.returncode}: {said}")
    return time.perf_counter() - started


def content(folder):
    """The checksum of every file of a folder, hidden ones included."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def state(folder):
    """How far a job had come when it was killed."""
    if not (folder / "_job.json").is_file():
        return "before a part" if folder.is_dir() else "before the folder"
    return "at the end" if (folder / "_done.json").is_file() else "among the parts"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rows-per-part", type=int, default=500)
    parser.add_argument("--engine", default="copula")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chosen = random.Random(args.seed)
    kills, jobs, different, states = 0, 0, 0, Counter()
    with tempfile.TemporaryDirectory() as place:
        whole_folder, folder = Path(place) / "whole", Path(place) / "killed-0"
        longest = max(finish(whole_folder, args, 1), finish(Path(place) / "two", args, 2))
        whole = content(whole_folder)
        different += content(Path(place) / "two") != whole
        while kills < args.kills:
            process = command(folder, args, chosen.choice([1, 2]))
            try:
                process.communicate(timeout=chosen.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                states[state(folder)] += 1
                if kills < args.kills:
                    continue
            finish(folder, args, 1)
            jobs, different = jobs + 1, different + (content(folder) != whole)
            folder = folder.with_name(f"killed-{jobs}")
        parts = len(list(whole_folder.glob("rows-*.parquet")))
    more = {"kills": kills, "jobs": jobs, "parts": parts, "rows": args.rows, "engine": args.engine}
    more |= {"killed": dict(sorted(states.items())), "packages": PACKAGES}
    found = [
        figure("job_kills.folders_that_differ", different, "folders", **more),
        figure("job_kills.unbroken_seconds", longest, "s", **more),
    ]
    write_figures("job_kills", found)
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
