"""Running a job: what is missing or damaged is made, what is there is kept, and the end is marked."""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from graftable.errors import ConfigError

from .engines import ENGINES
from .folder import Entry, JobFolder
from .job import Job, Part, Task

__all__ = ["JobReport", "Progress", "run_job"]

Progress = Callable[[str, float, float], None]
"""Called now and then with what is being done, how much of it is done, and how much there is."""


@dataclass
class JobReport:
    """What a job has made.

    Attributes:
        folder: Where it is.
        parts: How many parts it has.
        made: How many of them this run made; the others were there.
        rows: Rows of all parts.
        quarantined_parts: Parts that failed.
        quarantined_rows: Rows that were set aside.
        figures: What else was counted, over all parts.
        reasons: Why parts failed, by name; the first few.
        seconds: How long this run took.
    """

    folder: str
    parts: int = 0
    made: int = 0
    rows: int = 0
    quarantined_parts: int = 0
    quarantined_rows: int = 0
    figures: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def to_json(self) -> str:
        """The report as JSON."""
        return json.dumps({"version": 1, **asdict(self)}, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        """The report in a few lines."""
        what = f"{self.parts:,} part{'s' if self.parts != 1 else ''}, {self.rows:,} rows"
        if not self.made:
            lines = [f"{self.folder}: is complete ({what}); nothing was left to do."]
        else:
            kept = f"; {self.parts - self.made:,} parts were there already" if self.made < self.parts else ""
            lines = [f"{self.folder}: {what}{kept}."]
        shown = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in self.figures.items())
        lines += [f"  {shown}"] if shown else []
        if self.quarantined_rows:
            lines.append(f"  {self.quarantined_rows:,} rows are in quarantine")
        if self.quarantined_parts:
            lines.append(f"  {self.quarantined_parts:,} parts are in quarantine, such as")
            lines += [f"    {name}: {reason}" for name, reason in self.reasons.items()]
        return "\n".join(lines)


def run_job(
    job: Job,
    out: str | Path,
    *,
    engine: str = "local",
    workers: int = 1,
    progress: Progress | None = None,
) -> JobReport:
    """Make the parts of a job that a folder lacks.

    A part that is there is compared with its checksum, and made again if it is damaged. The files of the folder are
    equal, byte for byte, to those of one unbroken run, however often a run was killed, for any number of workers.

    Args:
        job: The job.
        out: Its folder, new or of an earlier run of the same job.
        engine: Who makes the parts: ``local``.
        workers: How many parts are made at once, each by a process of its own if there are several. A script must
            then call this under ``if __name__ == "__main__":``.
        progress: See `Progress`.

    Returns:
        What was made.

    Raises:
        ConfigError: If a setting is wrong, the folder is in use, or it was begun as another job.
        GraftableError: If the job or one of its parts fails; what was made is kept.

    Example:
        >>> import pandas as pd, tempfile
        >>> from graftable.pipelines.jobs import SynthesizeJob
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pd.DataFrame({"low": [1, 2, 3] * 9, "high": [2, 2, 5] * 9}).to_csv(f"{folder}/t.csv", index=False)
        ...     job = SynthesizeJob(f"{folder}/t.csv", rules="low <= high", engine="copula", rows=70, rows_per_part=30)
        ...     report = run_job(job, f"{folder}/made")
        ...     report.parts, report.rows, run_job(job, f"{folder}/made").made
        (3, 70, 0)
    """
    started = time.perf_counter()
    if engine not in ENGINES:
        raise ConfigError(f"there is no engine `{engine}`; expected one of {', '.join(ENGINES)}.")
    if workers < 1:
        raise ConfigError(f"workers is {workers}; expected at least 1.")
    parts, folder = job.parts(), JobFolder(Path(out))
    with folder.locked():
        sources = job.sources()
        said = folder.begun(type(job).__name__, job.arguments(), sources, [part.name for part in parts])
        with folder.sharing() as shared:
            if shared is not None:
                job.prepare(shared, progress and (lambda share, word: progress(word, share, 1.0)))
        folder.write_job(said)
        found = _kept(folder, job, parts, progress)
        wanted = [part for part in parts if part.index not in found]
        if wanted:
            made = ENGINES[engine](Task(job, folder.path), wanted, workers)
            with folder.appending(found.values()) as add, contextlib.closing(made):
                for entry in made:
                    add(entry)
                    found[entry["part"]] = entry
                    if progress is not None:
                        progress("making parts", len(found), len(parts))
        report = _report(str(out), [found[part.index] for part in parts], len(wanted))
        totals = {name: getattr(report, name) for name in ("parts", "rows", "quarantined_parts", "quarantined_rows")}
        folder.finish([found[part.index] for part in parts], {**totals, "figures": report.figures})
    report.seconds = time.perf_counter() - started
    return report


def _kept(folder: JobFolder, job: Job, parts: Sequence[Part], progress: Progress | None) -> dict[int, Entry]:
    """The manifest lines of the parts that are there and undamaged, in the order of the parts."""
    entries, kept = folder.entries(), {}
    for part in parts if entries else ():
        entry = entries.get(part.index)
        if entry is not None and folder.is_intact(entry, part.name, job.source(part)):
            kept[part.index] = entry
        elif entry is not None:
            folder.discard(entry)
        if progress is not None:
            progress("comparing checksums", part.index + 1, len(parts))
    return kept


def _report(folder: str, entries: Sequence[Entry], made: int) -> JobReport:
    figures: Counter[str] = Counter()
    for entry in entries:
        figures.update(entry["figures"])
    failed = [entry for entry in entries if "reason" in entry]
    return JobReport(
        folder,
        parts=len(entries),
        made=made,
        rows=sum(entry["rows"] for entry in entries),
        quarantined_parts=len(failed),
        quarantined_rows=sum(entry["quarantined"] for entry in entries),
        figures=dict(figures),
        reasons={entry["name"]: entry["reason"] for entry in failed[:3]},
    )
