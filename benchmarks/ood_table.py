r"""Methods under shift beside plain training: tables of the runs in ``results/ood_runs.jsonl``, and what was aimed at.

    python benchmarks/ood_table.py                   # the tables; trains nothing
    python benchmarks/ood_table.py --out ood         # also the report with its pictures, ood/report.html
    graftable compare ood_motifs ood_molecules ood_sizes ood_others --data FOLDER \
        --runs benchmarks/results/ood_runs.jsonl     # goes on with the runs that are not there

Every row of every set is printed. A gain is a paired difference to ``erm`` whose 95 % interval lies above 0; ``l2r`` is
also held against ``erm_refit``, the same last layer without weights.
"""

import argparse
import json
from pathlib import Path

from _common import RESULTS

from graftable.comparing import compare
from graftable.comparison_plan import read_plan
from graftable.comparison_runs import RunFile
from graftable.comparison_tables import tables, text_of, tuning_text

CONFIGS = ("ood_motifs", "ood_molecules", "ood_sizes", "ood_others")
GAINS = ("wheel_7", "wheel_9", "spurious_6", "spurious_9", "motif_concept")
"""Sets where L2R aims at a gain; on the others at no more than one standard deviation of ERM below it."""
FEW = 5
"""Seeds below which nothing is said."""
RUNS = RESULTS / "ood_runs.jsonl"


def verdict(table):
    """One line on the aim for L2R on this set, or none where it was not run."""
    l2r, erm = table.row("l2r"), table.row("erm")
    if l2r is None or l2r.difference is None:
        return None
    gain, weights = l2r.difference, l2r.to_refit
    if l2r.seeds < FEW:
        return f"{table.name:<16} too early to say: {words(gain)}; {l2r.seeds} seeds"
    spread = erm.columns["id_val"]["sd"] or 0.0
    if table.name in GAINS:
        met = gain["low"] is not None and gain["low"] > 0
        aim = "a gain over erm"
    else:
        met = gain["mean"] >= -spread
        aim = f"no more than {spread:.3f} below erm"
    return (
        f"{table.name:<16} {'met   ' if met else 'missed'} {aim}: {words(gain)}; "
        f"by its weights {words(weights)}; {l2r.seeds} seeds"
    )


def words(difference):
    ends = "" if difference["low"] is None else f" ({difference['low']:+.3f} to {difference['high']:+.3f})"
    return f"{difference['mean']:+.3f}{ends}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=RUNS, help="file of finished runs")
    parser.add_argument("--out", help="folder for the report, where one is wanted")
    parser.add_argument("--json", action="store_true", help="print the tables as JSON lines")
    options = parser.parse_args()
    records = RunFile(options.runs).read()
    found = tables([read_plan(name) for name in CONFIGS], records)
    if options.json:
        print("\n".join(json.dumps(table.to_dict()) for table in found))
        return
    for table in found:
        print(text_of(table), "\n")
    print("\n".join(tuning_text(found)), "\n")
    print("What was aimed at for l2r, in two stages as by default")
    print("\n".join(line for table in found if (line := verdict(table))))
    seconds = sum(record["seconds"] for record in records.values())
    print(f"{len(records)} runs, {seconds / 3600:.1f} hours of one core")
    if options.out:
        print(f"wrote {compare(CONFIGS, options.out, runs=options.runs, train=False).report}")


if __name__ == "__main__":
    main()
