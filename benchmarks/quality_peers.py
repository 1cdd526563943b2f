"""Shapes and trends beside those of SDMetrics, column by column and pair by pair.

    python benchmarks/quality_peers.py --peer PYTHON     # a Python that has sdmetrics (and with it pandas below 3)
    python benchmarks/quality_peers.py --peer PYTHON --fixture tests/data/sdmetrics_scores.json

Half of each table is compared with rows of the copula that learnt the other half. ``bike`` has dates and gets holes:
every seventh cell of some columns is null. The figures are the largest differences over columns and pairs, and means.

``shape``           null is a category here; SDMetrics leaves null out
``shape_known``     without the null cells of categories: the same number
``trend``           by SDMetrics' functions with the bins of the real column for both: the same number
``trend_own_bins``  as in its quality report, which bins a synthetic column between the ends of that column
``report_trend``    the report's own mean, which is over strongly tied pairs only
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from _common import GRAPH_SETS, figure, write_figures
from _table_quality import halves

from graftable.files import write_text
from graftable.tabular import Schema
from graftable.tabular.finishing import snap
from graftable.tabular.generators import engine_class
from graftable.tabular.quality import View, column_shapes, frame_view, pair_trends
from graftable.tabular.quality.shapes_trends import mean_score

TABLES = GRAPH_SETS.parent / "tabular"
ROWS = Path(__file__).parents[1] / "tests" / "data" / "tabular"
HOLES = {"bike": ("dateday", "temp", "season", "count")}
KINDS = {True: "numerical", False: "categorical"}


def compared(table):
    """The real half and the made rows of a table as views, and the SDV type of each column."""
    train, holdout, schema, continuous, _ = halves(TABLES / f"{table}.csv.gz", rows=5000)
    made = engine_class("copula")().fit(train, schema, seed=0).sample(len(train), seed=0)
    views = [frame_view(rows, schema, continuous) for rows in (holdout, snap(made, schema))]
    for place, name in enumerate(HOLES.get(table, ())):
        for view in views:
            part, null = (view.numbers, np.nan) if name in continuous else (view.texts, "null")
            part.loc[place::7, name] = null
    return *views, {name: KINDS[name in continuous] for name in views[0].columns}


def peer_scores(python, real, synthetic, kinds):
    """What SDMetrics finds."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("real.parquet", "synthetic.parquet", "kinds.json", "out.json")]
        for view, path in zip((real, synthetic), paths, strict=False):
            texts = view.texts.mask(view.texts == "null", None)
            view.numbers.join(texts)[list(kinds)].to_parquet(path, index=False)
        paths[2].write_text(json.dumps(kinds))
        subprocess.run([python, Path(__file__).with_name("_sdmetrics_scores.py"), *paths], check=True)
        return json.loads(paths[3].read_text())


def known_shapes(real, synthetic):
    """Shapes of categories without their null cells."""
    scores = {}
    for name in real.texts:
        parts = [view.texts.loc[view.texts[name] != "null", [name]] for view in (real, synthetic)]
        scores |= column_shapes(*(View(pd.DataFrame(index=part.index), part) for part in parts))
    return scores


def largest(ours, theirs):
    """The largest difference of two families of scores, infinite where only one of them is defined."""
    worst = 0.0
    for key, score in theirs.items():
        if (score is None) != np.isnan(ours[key]):
            return float("inf")
        worst = max(worst, 0.0 if score is None else abs(score - ours[key]))
    return worst


def measure(table, python):
    """All figures of a table."""
    real, synthetic, kinds = compared(table)
    found = peer_scores(python, real, synthetic, kinds)
    shapes, trends = column_shapes(real, synthetic), pair_trends(real, synthetic)
    pairs = {name: {(one, other): score for one, other, score in found[name]} for name in ("trends", "trends_own_bins")}
    known = shapes | known_shapes(real, synthetic)
    more = {"peer": "sdmetrics", "packages": ("graftable", "numpy", "pandas"), "peer_versions": found["versions"]}
    yield figure(f"{table}.shape.largest_difference", largest(shapes, found["shapes"]), "", **more)
    yield figure(f"{table}.shape_known.largest_difference", largest(known, found["shapes"]), "", **more)
    yield figure(f"{table}.trend.largest_difference", largest(trends, pairs["trends"]), "", **more)
    own = largest(trends, pairs["trends_own_bins"])
    yield figure(f"{table}.trend_own_bins.largest_difference", own, "", **more)
    means = {"shape": (mean_score(shapes), found["report_shape"])}
    defined = {name: np.mean([s for s in scores.values() if s is not None]) for name, scores in pairs.items()}
    means |= {"trend": (mean_score(trends), defined["trends"])}
    means |= {"trend_own_bins": (mean_score(trends), defined["trends_own_bins"])}
    means |= {"report_trend": (mean_score(trends), found["report_trend"])}
    for name, (ours, theirs) in means.items():
        yield figure(f"{table}.{name}.mean", ours, "", peer_value=float(theirs), **more)


def fixture(python, path):
    """Scores of the odd rows of the tables of the tests against the even ones, for a test without SDMetrics."""
    found = {}
    for table in ("adult", "bike"):
        frame = pd.read_csv(ROWS / f"{table}.csv")
        schema = Schema.detect(frame)
        continuous = {column.name for column in schema if column.is_numeric}
        real, synthetic = (frame_view(frame[place::2], schema, continuous) for place in range(2))
        found[table] = peer_scores(python, real, synthetic, {name: KINDS[name in continuous] for name in real.columns})
        del found[table]["trends_own_bins"]
    write_text(path, json.dumps(found) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tables", default="adult,shoppers,bike")
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="a Python that has sdmetrics")
    parser.add_argument("--fixture", metavar="FILE", help="write scores for the tests, and nothing else")
    args = parser.parse_args()
    if args.fixture:
        return fixture(args.peer, args.fixture)
    for table in args.tables.split(","):
        write_figures("quality_peers", list(measure(table, args.peer)), update=True)


if __name__ == "__main__":
    main()
