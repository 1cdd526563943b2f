"""``graftable compare``: methods for graphs under shift, on several sets and seeds, with plain training beside them."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from graftable import __version__
from graftable.comparison_plan import Plan, Run, read_plan
from graftable.comparison_report import render_comparison
from graftable.comparison_runs import RunFile, absence, do_run, one_thread, refuse_unusable
from graftable.comparison_tables import Found, Table, choose, tables, text_of, tuning_text
from graftable.complaints import did_you_mean
from graftable.errors import ConfigError, DataError
from graftable.files import atomic_path, write_text
from graftable.stopping import stopped_by_sigterm

__all__ = ["Comparison", "compare", "run"]

FOLDER_VARIABLE = "GRAFTABLE_OOD_DATA"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        tables: One for each set that has a finished run.
        left_out: A sentence for each set whose data are not here.
        runs: Finished runs that the tables are from, and how many were asked for.
        report: The HTML file.
        results: The JSON file.
    """

    tables: list[Table]
    left_out: list[str]
    runs: tuple[int, int]
    report: Path
    results: Path

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "version": __version__,
            "finished": self.runs[0],
            "planned": self.runs[1],
            "left_out": self.left_out,
            "tables": [table.to_dict() for table in self.tables],
        }

    def __str__(self) -> str:
        done, planned = self.runs
        lines = [text_of(table) + "\n" for table in self.tables]
        lines += [*tuning_text(self.tables), *self.left_out]
        if done < planned:
            lines.append(f"{done} of {planned} runs are finished; the same command goes on.")
        return "\n".join(lines)


def compare(
    configs: str | Path | Mapping[str, Any] | Sequence[str | Path | Mapping[str, Any]],
    out: str | Path = "comparison",
    *,
    data: str | Path | None = None,
    sets: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | None = None,
    runs: str | Path | None = None,
    train: bool = True,
    say: Say | None = None,
) -> Comparison:
    """Run every method on every set with every seed, and write a report; what is finished already is not run again.

    Runs of one seed come before those of the next, so that a comparison that was stopped is balanced.

    Args:
        configs: Paths, names of bundled configs, or what such a file holds; one or several.
        out: Folder for ``runs.jsonl``, ``comparison.json`` and ``report.html``.
        data: Folder of the archives of sets that are read; default: the variable ``GRAFTABLE_OOD_DATA``. Sets whose
            files are not there are left out.
        sets: Only these.
        methods: Only these; ``erm`` is never left out.
        seeds: Only the first so many.
        runs: Another file of runs.
        train: Whether to run what is not finished; if not, only the report is made.
        say: Is told of every finished run.

    Returns:
        Tables, with the files that were written.

    Raises:
        ConfigError: If a config, set, method or setting is wrong; before anything is run.
        DataError: If records cannot be read or results not be written, or every set is left out.

    Example:
        >>> import tempfile
        >>> config = {"sets": {"wheel_star": {"size": 40}}, "methods": ["erm"], "seeds": 2,
        ...           "training": {"width": 8, "layers": 1, "epochs": 1}}
        >>> found = compare(config, tempfile.mkdtemp())
        >>> found.tables[0].row("erm").seeds
        2
    """
    many = [configs] if isinstance(configs, str | Path | Mapping) else list(configs)
    plans = [read_plan(config) for config in many]
    _check_names(plans, sets, methods)
    plans = [_narrowed(plan, sets, methods, seeds) for plan in plans]
    folder = str(data) if data is not None else os.environ.get(FOLDER_VARIABLE)
    for plan in plans:
        for one in [*plan.tuning_runs(), *_planned(plan, {}, plan.seeds)]:
            if one.training:
                refuse_unusable(one)
    file, target = RunFile(runs or Path(out) / "runs.jsonl"), Path(out)
    _probe(target)
    # a report needs no graphs
    plans, left_out = _present(plans, folder) if train else (plans, [])
    speak = say or (lambda text: None)
    for sentence in left_out:
        speak(sentence)
    if not any(plan.sets for plan in plans):
        raise DataError(f"no set is left: {'; '.join(left_out)}.")
    if train:
        with one_thread():
            _run_all(plans, file, folder, speak)
    return _write(plans, file, target, left_out)


def _narrowed(plan: Plan, sets: Sequence[str], methods: Sequence[str], seeds: int | None) -> Plan:
    kept = [method for method in plan.methods if not methods or method.name in methods or method.name == "erm"]
    return replace(
        plan,
        sets=tuple(place for place in plan.sets if not sets or place.name in sets),
        methods=tuple(kept),
        seeds=plan.seeds[:seeds],
        trials={name: each for name, each in plan.trials.items() if name in [method.name for method in kept]},
    )


def _check_names(plans: Sequence[Plan], sets: Sequence[str], methods: Sequence[str]) -> None:
    """Refuse a name on the command line that no config has, and a set that two configs have."""
    places = [place.name for plan in plans for place in plan.sets]
    known = {"set": (sets, places), "method": (methods, [method.name for plan in plans for method in plan.methods])}
    for word, (asked, there) in known.items():
        for name in asked:
            if name not in there:
                hint = did_you_mean(name, there) or f" There are {', '.join(dict.fromkeys(there)) or 'none'}."
                raise ConfigError(f"the configs have no {word} `{name}`.{hint}")
    twice = next((name for name in places if places.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two configs have a set `{twice}`; give one of them another name.")


def _present(plans: Sequence[Plan], folder: str | None) -> tuple[list[Plan], list[str]]:
    """Plans without the sets whose data are not here, and why these are left out."""
    found, left_out = [], []
    for plan in plans:
        why = {place.name: absence(place, folder) for place in (*plan.sets, *plan.tuning_sets)}
        left_out += [reason for reason in why.values() if reason]
        found.append(
            replace(
                plan,
                sets=tuple(place for place in plan.sets if not why[place.name]),
                tuning_sets=tuple(place for place in plan.tuning_sets if not why[place.name]),
            )
        )
    return found, left_out


def _planned(plan: Plan, chosen: Mapping[str, Any], seeds: Sequence[int]) -> list[Run]:
    return [one for seed in seeds for one in plan.runs(chosen, seed)]


def _run_all(plans: Sequence[Plan], file: RunFile, folder: str | None, say: Say) -> None:
    """First what settles the configurations, then seed by seed."""
    records = file.read()
    queue = [one for plan in plans for one in plan.tuning_runs()]
    _run(queue, records, file, folder, say, "tuning ")
    chosen = {plan.name: choose(plan, records) for plan in plans}
    longest = max(len(plan.seeds) for plan in plans)
    queue = [
        one
        for place in range(longest)
        for plan in plans
        for one in _planned(plan, chosen[plan.name], plan.seeds[place : place + 1])
    ]
    _run(queue, records, file, folder, say, "", keep={plan.seeds[0] for plan in plans})


def _run(
    queue: Sequence[Run],
    records: dict[str, dict[str, Any]],
    file: RunFile,
    folder: str | None,
    say: Say,
    words: str,
    keep: frozenset[int] | set[int] = frozenset(),
) -> None:
    """Do those runs of the queue that are not finished."""
    found = Found(records)
    waiting = [one for one in queue if found.get(one) is None]
    begun, total = time.monotonic(), len(queue)
    for number, one in enumerate(waiting, start=1):
        record = do_run(one, folder, matrices=one.seed in keep)
        file.append(record)
        records[record["id"]] = record
        left = (time.monotonic() - begun) / number * (len(waiting) - number)
        place = total - len(waiting) + number
        where = f"{words}{place}/{total}  {one.set.name}, seed {one.seed}, {one.method}"
        say(f"{where}: {_result(record)}; {_time(left)} left")


def _result(record: Mapping[str, Any]) -> str:
    if "error" in record:
        return str(record["error"])
    method = record["facts"]["method"]
    metric = record["metric"]
    shown = [
        f"{row['ood_test'][metric]:.3f}" if row["ood_test"].get(metric) is not None else "undefined"
        for row in record["rows"]
        if row["selected_by"] == "id_val" and row["model"] == method
    ]
    return f"{metric} {shown[0]} in {record['seconds']:.1f} s" if shown else f"{record['seconds']:.1f} s"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _write(plans: Sequence[Plan], file: RunFile, out: Path, left_out: list[str]) -> Comparison:
    records = file.read()
    found = Found(records)
    queue = [one for plan in plans for one in _planned(plan, choose(plan, records), plan.seeds)]
    done = sum(found.get(one) is not None for one in queue)
    made = tables(plans, records)
    if not made:
        raise DataError(f"{file.path}: holds no run of these sets yet; run `graftable compare` without --report-only.")
    result = Comparison(made, left_out, (done, len(queue)), out / "report.html", out / "comparison.json")
    write_text(result.results, json.dumps(result.to_dict(), indent=1) + "\n")
    write_text(result.report, render_comparison(made, left_out, result.runs))
    return result


def _probe(out: Path) -> None:
    """Refuse a folder that cannot be written before hours of work, not after."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file, expected a folder to write to; choose another name with --out.")
    with atomic_path(out / ".probe"):
        pass
    (out / ".probe").unlink()


def run(namespace: argparse.Namespace) -> int:
    """Compare, and print the tables.

    Args:
        namespace: The command line of ``compare``.

    Returns:
        0.

    Raises:
        GraftableError: If a config, a set or a file is wrong.
    """
    advice = "Finished runs are kept; the same command goes on."
    printed = sys.stderr if namespace.json else sys.stdout

    def say(text: str) -> None:
        print(text, file=printed, flush=True)

    try:
        with stopped_by_sigterm(advice):
            found = compare(
                namespace.configs,
                namespace.out,
                data=namespace.data,
                sets=namespace.sets or (),
                methods=namespace.methods or (),
                seeds=namespace.seeds,
                runs=namespace.runs,
                train=not namespace.report_only,
                say=say,
            )
    except BaseException as error:
        # Lightning makes a Ctrl-C in a fit an exit of 1
        if isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt):
            print(f"graftable: {advice}", file=sys.stderr)
        raise
    if namespace.json:
        print(json.dumps(found.to_dict()))
    else:
        print(f"\n{found}\nwrote {found.report} and {found.results}")
    return 0
