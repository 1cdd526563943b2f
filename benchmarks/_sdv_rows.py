"""Rows of a peer of SDV, in an environment of its own: SDV cannot be installed beside pandas 3.

    PYTHON_OF_SDV benchmarks/_sdv_rows.py gaussian_copula train.parquet kinds.json 0 out.parquet

``kinds.json`` holds the SDV type of each column. The file that is written holds as many rows as were learnt, and in its
metadata what versions made it and the CPU seconds of the fit and of the draw.
"""

import json
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sdv.metadata import Metadata
from sdv.single_table import CTGANSynthesizer, GaussianCopulaSynthesizer

ENGINES = {"gaussian_copula": GaussianCopulaSynthesizer, "ctgan": CTGANSynthesizer}


def main():
    engine, train, kinds, seed, out = sys.argv[1:]
    torch.set_num_threads(1)
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    frame = pd.read_parquet(train)
    columns = json.loads(Path(kinds).read_text(encoding="utf-8"))
    metadata = Metadata.load_from_dict(
        {"tables": {"table": {"columns": {name: {"sdtype": kind} for name, kind in columns.items()}}}}
    )
    started = time.process_time()
    model = ENGINES[engine](metadata)
    model.fit({"table": frame})
    fitted = time.process_time()
    rows = model.sample(num_rows=len(frame))["table"]
    seconds = {"fit_seconds": fitted - started, "sample_seconds": time.process_time() - fitted}
    packages = ("sdv", "ctgan", "copulas", "rdt", "torch", "pandas", "numpy")
    made = {"seconds": seconds, "versions": {package: version(package) for package in packages}}
    table = pa.Table.from_pandas(rows, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({b"made": json.dumps(made).encode()}), out)


if __name__ == "__main__":
    main()
