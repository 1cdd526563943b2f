"""Quality of the table generators on halves of real tables, beside a real half and independent columns.

    python benchmarks/table_generators.py                                   # the circuit and the copula, all tables
    python benchmarks/table_generators.py --engines circuit --tables adult,magic --seeds 3

Each engine learns one half (at most 10,000 rows) and is compared with the other. Times are CPU seconds of one thread.
"""

import argparse
import time

import numpy as np
import pandas as pd
import torch
from _common import GRAPH_SETS, figure, write_figures
from _table_quality import halves, quality

from graftable.tabular.generators import engine_class

TABLES = GRAPH_SETS.parent / "tabular"
PACKAGES = ("graftable", "torch", "numpy", "pandas", "xgboost-cpu")


def drawn_rows(engine, train, schema, seed):
    """Rows of an engine or a baseline, and the CPU seconds of its fit and of its draw."""
    if engine == "real":
        return train, 0.0, 0.0
    if engine == "independent":
        rng = np.random.default_rng(seed)
        return pd.DataFrame({name: rng.permutation(train[name].to_numpy()) for name in train}), 0.0, 0.0
    started = time.process_time()
    model = engine_class(engine)().fit(train, schema, seed=seed)
    fitted = time.process_time()
    rows = model.sample(len(train), seed=seed)
    return rows, fitted - started, time.process_time() - fitted


def measure(table, engine, seed):
    """All figures of one engine on one table."""
    train, holdout, schema, continuous, target = halves(TABLES / f"{table}.csv.gz", seed=seed)
    rows, fit, draw = drawn_rows(engine, train, schema, seed)
    scores = quality(train, holdout, rows, schema, continuous, target, seed=seed)
    scores |= {"fit_seconds": fit, "sample_seconds": draw}
    return [
        figure(f"{table}.{engine}.{name}.seed{seed}", value, "s" if name.endswith("seconds") else "", packages=PACKAGES)
        for name, value in scores.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", default="adult,default,shoppers,magic,beijing")
    parser.add_argument("--engines", default="real,independent,copula,circuit")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for table in args.tables.split(","):
        for engine in args.engines.split(","):
            found = [one for seed in range(args.seeds) for one in measure(table, engine, seed)]
            write_figures("table_generators", found, update=True)


if __name__ == "__main__":
    main()
