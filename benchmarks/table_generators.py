"""Quality of the table generators on halves of real tables, beside a real half, independent columns, and SDV.

    python benchmarks/table_generators.py                                   # the circuit and the copula, all tables
    python benchmarks/table_generators.py --engines circuit --tables adult,magic --seeds 3
    python benchmarks/table_generators.py --peers PYTHON --peer-rows FOLDER   # SDV's copula and CTGAN, one seed
    python benchmarks/table_generators.py --summary                         # the means of what is in the results

Each engine learns one half (at most 10,000 rows) and is compared with the other. Times are CPU seconds of one thread.
What is in the results already is not measured again without ``--force``. Rows of the peers, which need a Python with
SDV in it, are kept in a folder.
"""

import argparse
import collections
import json
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from _common import GRAPH_SETS, RESULTS, figure, write_figures
from _table_quality import halves, quality
from _targets import table_target

from graftable.tabular.generators import engine_class

TABLES = GRAPH_SETS.parent / "tabular"
PACKAGES = ("graftable", "torch", "numpy", "xgboost-cpu")
SUMMARY = (
    "shape",
    "trend",
    "c2st",
    "utility",
    "utility_real",
    "nearer_train",
    "copies",
    "copies_holdout",
    "fit_seconds",
)
PEERS = {"sdv_gaussian_copula": "gaussian_copula", "sdv_ctgan": "ctgan"}


def drawn_rows(engine, train, schema, seed):
    """Rows of an engine or a baseline, and the CPU seconds of its fit and of its draw."""
    if engine == "real":
        return train, {}
    if engine == "independent":
        rng = np.random.default_rng(seed)
        return pd.DataFrame({name: rng.permutation(train[name].to_numpy()) for name in train}), {}
    started = time.process_time()
    model = engine_class(engine)().fit(train, schema, seed=seed)
    fitted = time.process_time()
    rows = model.sample(len(train), seed=seed)
    return rows, {"fit_seconds": fitted - started, "sample_seconds": time.process_time() - fitted}


def peer_rows(python, folder, table, peer, train, continuous, seed):
    """Rows of a synthesizer of SDV, what it took, and its versions."""
    folder.mkdir(parents=True, exist_ok=True)
    learnt, kinds = folder / f"{table}.train.parquet", folder / f"{table}.kinds.json"
    out = folder / f"{table}.{PEERS[peer]}.parquet"
    if not out.exists():
        train.to_parquet(learnt, index=False)
        said = {name: "numerical" if name in continuous else "categorical" for name in train}
        kinds.write_text(json.dumps(said))
        script = Path(__file__).with_name("_sdv_rows.py")
        subprocess.run([python, script, PEERS[peer], learnt, kinds, str(seed), out], check=True)
    made = json.loads(pq.read_schema(out).metadata[b"made"])
    return pd.read_parquet(out), made["seconds"], made["versions"]


def measure(table, engine, seed, peers):
    """All figures of one engine on one table."""
    train, holdout, schema, continuous, target = halves(TABLES / f"{table}.csv.gz", seed=seed)
    versions = {}
    if engine in PEERS:
        rows, seconds, versions = peer_rows(*peers, table, engine, train, continuous, seed)
    else:
        rows, seconds = drawn_rows(engine, train, schema, seed)
    scores = quality(train, holdout, rows, schema, continuous, target, seed=seed) | seconds
    for name, value in scores.items():
        unit = "s" if name.endswith("seconds") else ""
        more = {"target": table_target(table, name)} if engine == "circuit" else {}
        more |= {"peer_versions": versions} if versions else {}
        yield figure(f"{table}.{engine}.{name}.seed{seed}", value, unit, packages=PACKAGES, **more)


def known():
    """The names of the figures in the results."""
    path = RESULTS / "table_generators.jsonl"
    return {json.loads(line)["name"] for line in path.read_text().splitlines()} if path.exists() else set()


def summary():
    """The results as a table, means over seeds."""
    found = collections.defaultdict(list)
    for line in (RESULTS / "table_generators.jsonl").read_text().splitlines():
        row = json.loads(line)
        found[tuple(row["name"].split(".")[:3])].append(row["value"])
    for table in dict.fromkeys(key[0] for key in found):
        yield "| " + " | ".join([table, *SUMMARY]) + " |"
        yield "|---" * (len(SUMMARY) + 1) + "|"
        for engine in dict.fromkeys(key[1] for key in found if key[0] == table):
            values = [found.get((table, engine, score)) for score in SUMMARY]
            cells = [
                "" if not some else f"{np.mean(some):.{1 if 'seconds' in name else 3}f}"
                for name, some in zip(SUMMARY, values, strict=True)
            ]
            yield "| " + " | ".join([f"{engine} ({len(values[0])})", *cells]) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", default="adult,default,shoppers,magic,beijing")
    parser.add_argument("--engines", default="real,independent,copula,circuit")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--peers", metavar="PYTHON", help="a Python that has SDV; adds its synthesizers, with one seed")
    parser.add_argument("--peer-rows", type=Path, default=Path("runs/sdv"), help="where rows of the peers are kept")
    parser.add_argument("--force", action="store_true", help="measure again what is in the results")
    parser.add_argument("--summary", action="store_true", help="measure nothing; print means over seeds (their number)")
    args = parser.parse_args()
    if args.summary:
        print(*summary(), sep="\n")
        return
    torch.set_num_threads(1)
    runs = [(engine, seed) for engine in filter(None, args.engines.split(",")) for seed in range(args.seeds)]
    runs += [(peer, 0) for peer in PEERS if args.peers]
    for engine, seed in runs:
        for table in args.tables.split(","):
            if args.force or f"{table}.{engine}.shape.seed{seed}" not in known():
                found = list(measure(table, engine, seed, (args.peers, args.peer_rows)))
                write_figures("table_generators", found, update=True)


if __name__ == "__main__":
    main()
