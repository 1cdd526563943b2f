"""Shapes and trends by SDMetrics, in an environment of its own: it cannot be installed beside pandas 3.

    PYTHON_OF_SDMETRICS benchmarks/_sdmetrics_scores.py real.parquet synthetic.parquet kinds.json out.json

``kinds.json`` holds the SDV type of each column. Pairs are scored twice by functions of the quality report: as it
does, and with a synthetic column of numbers in the bins of the real one.
"""

import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from sdmetrics.reports.single_table import QualityReport
from sdmetrics.reports.single_table._properties import ColumnPairTrends


class RealBins(ColumnPairTrends):
    """The property with the real column's bins for both columns."""

    edges = None

    def _get_processed_data(self, data, metadata):
        known, self.edges, found = self.edges or {}, {}, {}
        data = self._convert_datetime_columns_to_numeric(data.copy(), metadata)
        for name, column in metadata["columns"].items():
            if column["sdtype"] in ("numerical", "datetime"):
                found[name], self.edges[name] = self._discretize_column(name, data[name], known.get(name))
        return data, pd.DataFrame(found, index=data.index)


def pair_scores(kind, real, synthetic, metadata):
    """The score of each pair, however weak."""
    trends = kind()
    trends.num_rows_subsample = None
    trends.real_correlation_threshold = trends.real_association_threshold = 0
    trends.get_score(real.copy(), synthetic.copy(), metadata)
    rows = trends.details[["Column 1", "Column 2", "Score"]].to_numpy()
    return [[one, other, None if score != score else score] for one, other, score in rows]


def main():
    real, synthetic, kinds, out = sys.argv[1:]
    warnings.simplefilter("ignore")
    frames = pd.read_parquet(real), pd.read_parquet(synthetic)
    said = json.loads(Path(kinds).read_text(encoding="utf-8"))
    metadata = {"columns": {name: {"sdtype": kind} for name, kind in said.items()}}
    report = QualityReport()
    report.generate(frames[0].copy(), frames[1].copy(), metadata, verbose=False)
    shapes = report.get_details("Column Shapes")[["Column", "Score"]].to_numpy()
    properties = report.get_properties().set_index("Property")["Score"]
    found = {
        "shapes": {name: None if score != score else score for name, score in shapes},
        "trends": pair_scores(RealBins, *frames, metadata),
        "trends_own_bins": pair_scores(ColumnPairTrends, *frames, metadata),
        "report_shape": properties["Column Shapes"],
        "report_trend": properties["Column Pair Trends"],
        "versions": {package: version(package) for package in ("sdmetrics", "pandas", "numpy", "scipy")},
    }
    Path(out).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
