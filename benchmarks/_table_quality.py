"""How like the real rows synthetic rows are: shapes, trends, C2ST with boosted trees, utility, and memory of the rows.

Shape and trend are those of SDMetrics' quality report, which cannot be installed beside pandas 3; C2ST is its detection
metric, 1 - max(0, 2 AUC - 1) over three folds, with XGBoost at its defaults in the place of the classifier.
"""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd

from graftable.tabular import Schema
from graftable.tabular.finishing import snap


class Views:
    """Real and synthetic rows in the two forms that metrics need: floats, and codes of categories (null is one)."""

    def __init__(self, schema, continuous):
        self.schema = schema
        self.numeric = [name for name in schema.names if name in continuous]
        self.discrete = [name for name in schema.names if name not in continuous]

    def __call__(self, frame):
        numbers = pd.DataFrame({name: self._floats(frame[name], name) for name in self.numeric}, dtype=float)
        texts = pd.DataFrame({name: self._texts(frame[name]) for name in self.discrete}, dtype=object)
        return numbers.reset_index(drop=True), texts.reset_index(drop=True)

    def _floats(self, series, name):
        if self.schema[name].kind == "datetime" and not pd.api.types.is_numeric_dtype(series.dtype):
            return (pd.to_datetime(series) - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
        return pd.to_numeric(series, errors="coerce").astype(float)

    @staticmethod
    def _texts(series):
        if pd.api.types.is_float_dtype(series.dtype):
            return series.map(lambda cell: "null" if cell != cell else f"{cell:g}")
        return series.astype(object).map(lambda cell: "null" if cell is None or cell != cell else str(cell).lower())


def shape_score(real, synthetic):
    """Mean over columns: 1 - Kolmogorov-Smirnov distance, or 1 - total variation for categories."""
    from scipy.stats import ks_2samp

    scores = [
        1 - ks_2samp(real[0][name].dropna(), synthetic[0][name].dropna(), method="asymp").statistic
        for name in real[0]
        if real[0][name].notna().any()
    ]
    for name in real[1]:
        both = [part[1][name].value_counts(normalize=True) for part in (real, synthetic)]
        scores.append(1 - both[0].sub(both[1], fill_value=0).abs().sum() / 2)
    return float(np.mean(scores))


def trend_score(real, synthetic):
    """Mean over pairs: 1 - half the difference of Pearson correlations, or 1 - total variation of the joint table."""
    scores = []
    first, second = (part[0].corr().to_numpy() for part in (real, synthetic))
    upper = np.triu_indices(len(first), 1)
    scores += list((1 - np.abs(first - second)[upper] / 2)[~np.isnan((first - second)[upper])])
    bins = {name: np.histogram_bin_edges(real[0][name].dropna()) for name in real[0]}
    cut = [
        pd.concat(
            [
                pd.DataFrame({name: np.digitize(part[0][name], bins[name]) for name in bins}, index=part[1].index),
                part[1],
            ],
            axis=1,
        )
        for part in (real, synthetic)
    ]
    for one, other in itertools.combinations(cut[0].columns, 2):
        if one in bins and other in bins:
            continue
        both = [part.groupby([one, other]).size() / len(part) for part in cut]
        scores.append(1 - both[0].sub(both[1], fill_value=0).abs().sum() / 2)
    return float(np.mean(scores))


def features(parts):
    """Numbers and one column a category, over all parts."""
    texts = pd.concat([part[1] for part in parts])
    dense = [pd.concat([part[0] for part in parts]).to_numpy(np.float32)]
    for name in texts:
        codes, kinds = pd.factorize(texts[name])
        if len(kinds) > 200:
            dense.append(codes[:, None].astype(np.float32))
        else:
            dense.append(np.eye(len(kinds), dtype=np.float32)[codes])
    ends = np.cumsum([len(part[1]) for part in parts])[:-1]
    return np.split(np.concatenate(dense, 1), ends)


def c2st_score(real, synthetic, seed=0):
    """1 where XGBoost cannot tell real from synthetic, 0 where it always can."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from xgboost import XGBClassifier

    x = np.concatenate(features([real, synthetic]))
    y = np.repeat([1, 0], [len(real[1]), len(synthetic[1])])
    scores = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=seed).split(x, y):
        model = XGBClassifier(n_jobs=1, random_state=seed).fit(x[train], y[train])
        scores.append(max(0.5, roc_auc_score(y[test], model.predict_proba(x[test])[:, 1])) * 2 - 1)
    return float(1 - np.mean(scores))


def utility_score(train, test, target, seed=0):
    """AUC on real rows (R2 for a number) of XGBoost trained on ``train``."""
    from sklearn.metrics import r2_score, roc_auc_score
    from xgboost import XGBClassifier, XGBRegressor

    is_number = target in train[0]
    column = 0 if is_number else 1
    y, y_test = train[column][target], test[column][target]
    x, x_test = features([tuple(p.drop(columns=target, errors="ignore") for p in part) for part in (train, test)])
    if is_number:
        keep, keep_test = y.notna().to_numpy(), y_test.notna().to_numpy()
        model = XGBRegressor(n_jobs=1, random_state=seed).fit(x[keep], y[keep])
        return float(r2_score(y_test[keep_test], model.predict(x_test[keep_test])))
    codes = {text: code for code, text in enumerate(sorted(set(y)))}
    known = y_test.isin(list(codes)).to_numpy()
    if len(codes) != 2:
        return float("nan")
    model = XGBClassifier(n_jobs=1, random_state=seed).fit(x, y.map(codes))
    return float(roc_auc_score(y_test[known].map(codes), model.predict_proba(x_test[known])[:, 1]))


def nearest_distances(rows, others, scale, block=1000):
    """Distance of each row to the closest of the others: L1 over numbers by ``scale``, plus one an unequal category."""
    from scipy.spatial.distance import cdist

    ranks = [np.nan_to_num((part[0] / scale).to_numpy(float)) for part in (rows, others)]
    codes = np.zeros((len(rows[1]) + len(others[1]), 0))
    if len(rows[1].columns):
        codes = pd.concat([rows[1], others[1]]).apply(lambda column: pd.factorize(column)[0]).to_numpy(np.float64)
    n, found = len(rows[1]), []
    for start in range(0, n, block):
        part = slice(start, start + block)
        distance = cdist(ranks[0][part], ranks[1], "cityblock") if ranks[0].shape[1] else 0
        if codes.shape[1]:
            distance = distance + codes.shape[1] * cdist(codes[:n][part], codes[n:], "hamming")
        found.append(distance.min(1))
    return np.concatenate(found)


def memory_scores(synthetic, train, holdout):
    """Share nearer to a training row than to a row of an equal holdout (ties count half); shares of exact copies."""
    size = min(len(train[1]), len(holdout[1]))
    numbers = pd.concat([train[0], holdout[0]])
    scale = (numbers.max() - numbers.min()).replace(0, 1)
    near, far = (nearest_distances(synthetic, [kind[:size] for kind in part], scale) for part in (train, holdout))
    known, drawn, held = ([*_rows(part)] for part in (train, synthetic, holdout))
    keys = set(known)
    return {
        "nearer_train": float(np.mean(near < far) + np.mean(near == far) / 2),
        "copies": float(np.mean([row in keys for row in drawn])),
        "copies_holdout": float(np.mean([row in keys for row in held])),
    }


def _rows(part):
    return map(tuple, pd.concat([part[0].round(6), part[1]], axis=1).fillna("null").itertuples(index=False))


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
    view = Views(schema, continuous)
    real, held, made = view(train), view(holdout), view(snap(synthetic, schema))
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
