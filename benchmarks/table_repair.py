"""Repair of tables: whether the guarantee holds on adversarial rows, how far rows move, the time, and the memory.

    python benchmarks/table_repair.py                        # all; about fifteen minutes on two cores
    python benchmarks/table_repair.py --parts contract       # 100,000 adversarial rows for every rule file; goes on
                                                             # after a stop with those that its results lack
    python benchmarks/table_repair.py --rows 5000 --parts contract,distance

The tables and rule files are read from ``$GRAFTABLE_DATA/tabular`` (default ``../shared/data/tabular``). Adversarial
rows are uniform in ten times the range of each column, with nulls, infinities, huge numbers and categories that the
column never had. Who judges is ``tests/tabular/independent_checker.py``, which shares no code with graftable.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from _common import GRAPH_SETS, RESULTS, figure, write_figures

from graftable.tabular.checking import check, read_rules
from graftable.tabular.io import open_table
from graftable.tabular.repairing import repair_file
from graftable.tabular.schema import Schema

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tabular"))
import independent_checker

TABLES = GRAPH_SETS.parent / "tabular"
PACKAGES = ("graftable", "numpy", "pandas", "pyarrow", "scipy")
PARTS = ("contract", "distance", "time", "memory")


def rule_files():
    """Every rule file with a table: (table, file); the y_i form and its translation to names say the same twice."""
    for path in sorted(TABLES.glob("*.txt")):
        table = path.name.partition(".")[0]
        if (TABLES / f"{table}.csv.gz").is_file():
            yield table, path


@cache
def real_table(table):
    return pd.read_csv(TABLES / f"{table}.csv.gz", dtype=str, keep_default_na=False)


@cache
def real_schema(table):
    return Schema.detect(TABLES / f"{table}.csv.gz")


def adversarial(table, rows, seed=0):
    """Rows that no model would draw."""
    rng = np.random.default_rng(seed)
    schema = real_schema(table)
    return pd.DataFrame({column.name: _adversarial_column(column, rows, rng) for column in schema})


def _adversarial_column(column, rows, rng):
    if column.kind == "datetime":
        low, high = float(column.minimum), float(column.maximum)
        days = rng.integers(int(low - 5 * (high - low)), int(high + 5 * (high - low)), rows)
        stamps = np.datetime64("1970-01-01", "s") + days.astype("timedelta64[D]")
        return pd.Series(stamps).mask(rng.random(rows) < 0.01)
    if not column.is_numeric:
        texts = np.array([*column.categories[:50], "never seen", "semi;colon", 'quo"te'], object)
        return pd.Series(rng.choice(texts, rows)).mask(rng.random(rows) < 0.02)
    low, high = float(column.minimum), float(column.maximum)
    width = max(high - low, 1.0)
    values = rng.uniform(low - 10 * width, high + 10 * width, rows)
    if column.kind == "integer":
        values = np.rint(values)
    inside = rng.random(rows) < 0.3
    values[inside] = rng.uniform(low, high, int(inside.sum()))
    for share, extreme in ((0.004, np.inf), (0.004, -np.inf), (0.004, 1e300), (0.004, -1e19), (0.004, 1e-300)):
        values[rng.random(rows) < share] = extreme
    values[rng.random(rows) < 0.02] = np.nan
    return pd.Series(values)


def known_figures(rows):
    """The names of the contract figures that are there already, if they are of as many rows."""
    path = RESULTS / "table_repair_contract.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {one["name"] for one in map(json.loads, lines) if one["rows"] == rows}


def contract(rows, folder, only, known):
    """0 rows that break a rule, in the CSV and in the Parquet file, by the second judge; without the figures known."""
    for (table, rules), suffix in product(rule_files(), ("csv", "parquet")):
        name = f"rows that break a rule after repair, {rules.name}, {suffix}"
        if name in known or only not in rules.name:
            continue
        source, out, again = (folder / f"{table}.{place}.{suffix}" for place in ("in", "out", "again"))
        frame = adversarial(table, rows)
        frame.to_csv(source, index=False) if suffix == "csv" else frame.to_parquet(source, index=False)
        started = time.process_time()
        report = repair_file(source, rules, out, real_schema(table), coerce=True)
        seconds = time.process_time() - started
        verdict = independent_checker.judge(out, rules)
        repair_file(out, rules, again, real_schema(table))
        yield figure(
            name,
            len(verdict.broken_rows),
            "rows",
            packages=PACKAGES,
            rows=verdict.rows,
            moved=report.moved_rows,
            searched=report.searched_rows,
            quarantined=report.quarantined_rows,
            cpu_seconds=round(seconds, 2),
            repaired_twice_is_the_same=out.read_bytes() == again.read_bytes(),
        )


def distance(rows, only):
    """The moves of repaired rows against the least possible, by one mixed-integer program per row."""
    from _table_optimum import least_move

    for table, rules in rule_files():
        if only and only not in rules.name:
            continue
        frame = perturbed(table, 20 * rows)
        rule_set, schema = read_rules(rules, open_table(frame), real_schema(table))
        ratios = least_move(frame, rule_set, schema, rows)
        if len(ratios):
            yield figure(
                f"scaled L1 move over the optimum, median, {rules.name}",
                np.median(ratios),
                "ratio",
                packages=PACKAGES,
                rows=len(ratios),
                mean=round(float(ratios.mean()), 4),
                p95=round(float(np.quantile(ratios, 0.95)), 4),
            )


def perturbed(table, rows, seed=0):
    """Real rows with a third of their numbers moved by about two spreads, and some categories drawn anew."""
    rng = np.random.default_rng(seed)
    schema, real = real_schema(table), real_table(table)
    frame = real.iloc[rng.integers(0, len(real), rows)].reset_index(drop=True)
    for column in schema:
        chosen = rng.random(rows) < 1 / 3
        if column.is_numeric and column.kind != "datetime":
            values = pd.to_numeric(frame[column.name])
            moved = np.where(chosen, values + 2 * float(column.spread) * rng.standard_normal(rows), values)
            frame[column.name] = np.round(moved, column.decimals)
        elif column.kind == "categorical":
            frame[column.name] = np.where(chosen, rng.choice(np.array(column.categories), rows), frame[column.name])
    return frame.replace("", None)


def timing(rows, folder):
    """A CSV of heloc rows, with reading, finding out the schema, checking what was written: CPU seconds, best of 3."""
    source = folder / "heloc.csv"
    perturbed("heloc", rows).to_csv(source, index=False)
    for rules in (TABLES / "heloc.linear.rules.txt", TABLES / "heloc.drl.rules.txt"):
        for what, run in (
            ("repair", partial(repair_file, source, rules, folder / "heloc.out.csv")),
            ("check", partial(check, source, rules)),
        ):
            spent, wall = min(timed(run) for _ in range(3))
            name = f"{what} of {rows:,} heloc rows, {rules.name}"
            yield figure(name, spent, "CPU s", packages=PACKAGES, wall_seconds=round(wall, 2))


def timed(run):
    """CPU and wall seconds of a call."""
    spent, wall = time.process_time(), time.perf_counter()
    run()
    return time.process_time() - spent, time.perf_counter() - wall


def memory(folder):
    """The peak of a process that repairs a million rows, against one that repairs a tenth of them."""
    peaks = {}
    frame = perturbed("heloc", 100_000)
    for suffix in ("csv", "parquet"):
        for rows in (100_000, 1_000_000):
            source = folder / f"heloc.{rows}.{suffix}"
            table = pd.concat([frame] * (rows // 100_000), ignore_index=True)
            table.to_csv(source, index=False) if suffix == "csv" else table.to_parquet(source, index=False)
            command = [sys.executable, __file__, "--child", str(source), str(folder / f"out.{suffix}")]
            peaks[rows] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024
        ratio = peaks[1_000_000] / peaks[100_000]
        name = f"peak memory at 1,000,000 rows over that at 100,000, {suffix}"
        yield figure(name, ratio, "ratio", packages=PACKAGES, megabytes=round(peaks[1_000_000], 1))


def child(source, out):
    # what the process that started this one held would count otherwise
    Path("/proc/self/clear_refs").write_text("5")
    repair_file(source, TABLES / "heloc.linear.rules.txt", out)
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="some of " + ", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=100_000, help="adversarial rows, and rows of the timing")
    parser.add_argument("--only", default="", help="only rule files whose name holds this text")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {
            "contract": lambda: contract(options.rows, folder, options.only, known_figures(options.rows)),
            "distance": lambda: distance(min(options.rows, 1_000), options.only),
            "time": lambda: timing(options.rows, folder),
            "memory": lambda: memory(folder),
        }
        for part in options.parts.split(","):
            for one in parts[part]():
                print(
                    {key: value for key, value in one.items() if key not in ("versions", "peer", "peer_value")},
                    flush=True,
                )
                if options.rows == 100_000:  # after each, as all of them take long
                    write_figures(f"table_repair_{part}", [one], show=False, update=True)


if __name__ == "__main__":
    main()
