"""What sampling tables costs: with rules against without, a column of 300,000 categories, and rare conditions.

    python benchmarks/table_sampling.py
    python benchmarks/table_sampling.py --parts memory,condition

Times are CPU seconds of one thread, the least of three; the peak of memory is that of a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import torch
from _common import GRAPH_SETS, figure, write_figures
from _targets import SAMPLING_TARGETS

from graftable.tabular.expressions import RuleSet
from graftable.tabular.synthesis import Synthesizer

TABLES = GRAPH_SETS.parent / "tabular"
RULES = {"adult": "adult.own", "heloc": "heloc.linear", "url": "url.linear"}
RARE = "age >= 70 and `capital-loss` > 0"
PACKAGES = ("graftable", "torch", "numpy", "xgboost-cpu")
ROWS, REPEATS, KINDS = 100_000, 3, 300_000


def real_rows(table):
    """At most 10,000 rows of a table."""
    frame = pd.read_csv(TABLES / f"{table}.csv.gz").drop(columns=["split"], errors="ignore")
    return frame.sample(frac=1, random_state=0)[:10_000].reset_index(drop=True)


def least_seconds(draw):
    """The least CPU seconds of a call, and what it returned last."""
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        found = draw()
        seconds.append(time.process_time() - started)
    return min(seconds), found


def rules_part():
    """Rows with rules against rows without, from one generator."""
    for table, rules in RULES.items():
        model = Synthesizer(rules=str(TABLES / f"{rules}.rules.txt")).fit(real_rows(table))
        ours, (_, report) = least_seconds(lambda model=model: model.sample(ROWS))
        model.rule_set = RuleSet(())
        without, _ = least_seconds(lambda model=model: model.sample(ROWS))
        yield from (
            figure(f"{table}.with_rules", ours, "s", peer="without rules", peer_value=without, **more("with_rules")),
            figure(f"{table}.broken_as_drawn", 100 * report.broken_rows / ROWS, "%", **more("")),
            figure(f"{table}.violating", report.violating_rows, "rows", **more("violating")),
        )


def memory_part():
    """The peak of fitting a table with 300,000 categories, and of drawing from it."""
    out = subprocess.run([sys.executable, __file__, "--parts", "many"], check=True, capture_output=True, text=True)
    found = json.loads(out.stdout.splitlines()[-1])
    yield figure("categories_300k.peak", found["peak"], "GB", **more("peak"))
    yield figure("categories_300k.fit", found["fit"], "s", **more(""))
    yield figure("categories_300k.drawn_kinds", found["kinds"], "kinds", **more(""))


def many():
    """Fit and draw in this process, and print what it took."""
    rng = np.random.default_rng(0)
    kinds = np.concatenate([np.arange(KINDS), (KINDS * rng.random(KINDS) ** 3).astype(int)])
    frame = pd.DataFrame({"kind": [f"kind {kind}" for kind in kinds], "number": rng.normal(size=len(kinds)).round(3)})
    frame["group"] = np.where(kinds < 1000, "many", "few")
    started = time.process_time()
    model = Synthesizer().fit(frame)
    fit = time.process_time() - started
    rows, _ = model.sample(10_000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"peak": peak, "fit": fit, "kinds": rows["kind"].nunique()}))


def condition_part():
    """A thousand rows that meet a rare condition."""
    frame = real_rows("adult")
    share = len(frame.query(RARE)) / len(frame)
    model = Synthesizer(rules=str(TABLES / "adult.own.rules.txt")).fit(frame)
    seconds, (rows, report) = least_seconds(lambda: model.sample(1000, where=RARE))
    yield figure("adult.rare_condition", seconds, "s", share_of_real=share, rows=len(rows), **more("rare_condition"))
    yield figure("adult.rare_condition.drawn", report.drawn, "rows", **more(""))


def more(name):
    """What every figure carries."""
    return {"packages": PACKAGES, "target": SAMPLING_TARGETS.get(name)}


PARTS = {"rules": rules_part, "memory": memory_part, "condition": condition_part}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.parts == "many":
        many()
        return
    for part in args.parts.split(","):
        write_figures("table_sampling", list(PARTS[part]()), update=True)


if __name__ == "__main__":
    main()
