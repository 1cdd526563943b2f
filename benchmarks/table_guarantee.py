"""Rows that break a rule in files of synthetic rows, judged by a checker that shares no code with graftable: 0.

    python benchmarks/table_guarantee.py                                       # seven tables, five engines
    python benchmarks/table_guarantee.py --tables bike --engines circuit --rows 10000

Each engine learns ``--rows`` rows by ``graftable synthesize``, which writes as many to a CSV and, from the saved model,
to a Parquet file; ``tests/tabular/independent_checker.py`` reads both back. Networks are trained shortly: the guarantee
does not depend on what was learnt, and rows of a bad model break more rules on their way.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from _common import GRAPH_SETS, figure, write_figures

from graftable.cli import main as graftable

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "tabular"))
import independent_checker

TABLES = GRAPH_SETS.parent / "tabular"
RULES = {
    "adult": ("own",),
    "heloc": ("linear", "drl"),
    "url": ("linear", "drl"),
    "default": ("own",),
    "shoppers": ("own",),
    "beijing": ("own",),
    "bike": ("own",),
}
SETTINGS = {
    "circuit": (),
    "copula": (),
    "flow": ("steps=100",),
    "ctgan": ("epochs=3",),
    "tvae": ("epochs=3",),
}
PACKAGES = ("graftable", "torch", "numpy", "pandas")


def real_rows(table, rows, folder):
    """The first rows of a table without its split, as a CSV."""
    frame = pd.read_csv(TABLES / f"{table}.csv.gz", dtype=str, keep_default_na=False, nrows=rows)
    frame.drop(columns="split", errors="ignore").to_csv(folder / "real.csv", index=False)
    return folder / "real.csv"


def run(*arguments):
    """A command that has to succeed."""
    with contextlib.redirect_stdout(io.StringIO()):
        code = graftable([str(argument) for argument in arguments])
    if code:
        raise SystemExit(f"graftable {arguments[0]} exited with {code}")


def measure(table, kind, engine, rows, folder):
    """Violating rows in the CSV and the Parquet file of one engine."""
    rules = TABLES / f"{table}.{kind}.rules.txt"
    source, report = real_rows(table, rows, folder), folder / "report.json"
    common = ("--allow-unseen", "-n", rows, "--report", report, "--json")
    settings = [word for text in SETTINGS[engine] for word in ("--set", text)]
    model = folder / f"{table}.{kind}.{engine}"
    started = time.process_time()
    fitting = ("--data", source, "--rules", rules, "--engine", engine, *settings, "--save-model", model)
    run("synthesize", *fitting, "--out", folder / "made.csv", *common)
    seconds = time.process_time() - started
    broken = json.loads(report.read_text())["broken_rows"]
    run("synthesize", "--model", model, "--out", folder / "made.parquet", "--seed", 1, *common)
    texts = [line for line in rules.read_text().splitlines() if line.partition("#")[0].strip()]
    found = {ending: independent_checker.judge(folder / f"made.{ending}", texts) for ending in ("csv", "parquet")}
    name = f"{table}.{kind}.{engine}"
    more = {"rows": rows, "settings": list(SETTINGS[engine]), "packages": PACKAGES}
    figures = [
        figure(f"{name}.{ending}.violating_rows", len(verdict.broken_rows), "rows", judged=verdict.rows, **more)
        for ending, verdict in found.items()
    ]
    return [
        *figures,
        figure(f"{name}.drawn_that_broke", 100 * broken / rows, "%", **more),
        figure(f"{name}.seconds", seconds, "s", **more),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", default=",".join(RULES))
    parser.add_argument("--engines", default=",".join(SETTINGS))
    parser.add_argument("--rows", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    worst = 0.0
    for engine in args.engines.split(","):
        for table in args.tables.split(","):
            if not (TABLES / f"{table}.csv.gz").is_file():
                print(
                    f"skipped {table}: there is no {TABLES / f'{table}.csv.gz'}; set GRAFTABLE_DATA.", file=sys.stderr
                )
                continue
            for kind in RULES[table]:
                with tempfile.TemporaryDirectory() as folder:
                    found = measure(table, kind, engine, args.rows, Path(folder))
                write_figures("table_guarantee", found, update=True)
                worst = max(worst, *(one["value"] for one in found if one["name"].endswith("violating_rows")))
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
