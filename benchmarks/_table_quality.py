"""How like the real rows synthetic rows are, by `graftable.tabular.quality`, on halves of the bundled tables."""

import json
from pathlib import Path

import pandas as pd

from graftable.tabular import Schema
from graftable.tabular.finishing import snap
from graftable.tabular.quality import c2st_score, frame_view, memory_scores, shape_score, trend_score, utility_score


def halves(path, *, rows=10_000, seed=0):
    """Equal training and holdout halves of at most ``rows`` each, the schema, numeric columns and the target."""
    path = Path(path)
    frame = pd.read_csv(path)
    frame = frame.drop(columns=["split"], errors="ignore")
    said = json.loads((path.parent / f"{path.name.partition('.')[0]}.columns.json").read_text())
    frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    size = min(rows, len(frame) // 2)
    continuous = {name for name, kind in said["columns"].items() if kind.strip("?") in ("integer", "float", "datetime")}
    train, holdout = frame[:size].reset_index(drop=True), frame[size : 2 * size].reset_index(drop=True)
    return train, holdout, Schema.detect(frame), continuous, said["target"]


def quality(train, holdout, synthetic, schema, continuous, target, *, seed=0, parts=("fidelity", "utility", "memory")):
    """All scores of synthetic rows against a holdout of real ones."""
    real, held, made = (frame_view(rows, schema, continuous) for rows in (train, holdout, snap(synthetic, schema)))
    scores = {}
    if "fidelity" in parts:
        scores = {
            "shape": shape_score(held, made),
            "trend": trend_score(held, made),
            "c2st": c2st_score(held, made, seed),
        }
    if "utility" in parts:
        scores |= {
            "utility": utility_score(made, held, target, seed),
            "utility_real": utility_score(real, held, target),
        }
    if "memory" in parts:
        scores |= memory_scores(made, real, held)
    return scores
