"""What synthetic rows are worth to a model that learns from them and predicts real ones (TSTR)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .views import NULL, View, features

__all__ = ["Learner", "utility_score"]

Learner = Literal["xgboost", "linear"]


def utility_score(train: View, test: View, target: str, seed: int = 0, learner: Learner = "xgboost") -> float:
    r"""How well a model that was trained on some rows predicts a column of others.

    Args:
        train: Rows to learn from. Those whose target is null are left out, here as in ``test``.
        test: Real rows.
        target: The column to predict from all others.
        seed: Of the model.
        learner: XGBoost at its defaults, or a linear model: logistic regression, ridge regression for numbers.

    Returns:
        The area under the ROC curve, for more than two classes the mean over those in ``test`` of each against the
        rest, where a class that ``train`` lacks has 0.5; for numbers :math:`R^2`. 0.5 (0 for numbers) if ``train``
        holds a single value and nothing can be learnt. NaN if ``test`` has fewer than two classes, or no two numbers
        that differ.
    """
    parts = [View(*(part.drop(columns=target, errors="ignore") for part in view)) for view in (train, test)]
    x, x_test = features(parts)
    if target in train.numbers:
        return _regression(x, train.numbers[target], x_test, test.numbers[target], seed, learner)
    return _classes(x, train.texts[target], x_test, test.texts[target], seed, learner)


def _regression(x: Any, y: Any, x_test: Any, y_test: Any, seed: int, learner: Learner) -> float:
    from sklearn.metrics import r2_score

    keep, keep_test = y.notna().to_numpy(), y_test.notna().to_numpy()
    y, y_test = y[keep], y_test[keep_test]
    if y_test.nunique() < 2:
        return float("nan")
    if y.nunique() < 2:
        return 0.0
    model = _regressor(learner, seed).fit(x[keep], y)
    return float(r2_score(y_test, model.predict(x_test[keep_test])))


def _classes(x: Any, y: Any, x_test: Any, y_test: Any, seed: int, learner: Learner) -> float:
    from sklearn.metrics import roc_auc_score

    codes = {text: code for code, text in enumerate(sorted(set(y) - {NULL}))}
    keep, keep_test = y.isin(list(codes)).to_numpy(), (y_test != NULL).to_numpy()
    truth = y_test[keep_test].to_numpy()
    kinds = sorted(set(truth))
    if len(kinds) < 2:
        return float("nan")
    if len(codes) < 2:
        return 0.5
    model = _classifier(learner, seed).fit(x[keep], y[keep].map(codes).to_numpy(np.int64))
    shares: NDArray[np.float64] = model.predict_proba(x_test[keep_test])
    if len(codes) == 2 and set(kinds) == set(codes):
        return float(roc_auc_score(truth == kinds[1], shares[:, 1]))
    never = np.zeros(len(shares))  # the share of a class that was not learnt
    found = (shares[:, codes[kind]] if kind in codes else never for kind in kinds)
    return float(np.mean([roc_auc_score(truth == kind, share) for kind, share in zip(kinds, found, strict=True)]))


def _classifier(learner: Learner, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from xgboost import XGBClassifier

    return XGBClassifier(n_jobs=1, random_state=seed) if learner == "xgboost" else _scaled(LogisticRegression())


def _regressor(learner: Learner, seed: int) -> Any:
    from sklearn.linear_model import Ridge
    from xgboost import XGBRegressor

    return XGBRegressor(n_jobs=1, random_state=seed) if learner == "xgboost" else _scaled(Ridge())


def _scaled(model: Any) -> Any:
    """A linear model behind what it needs: no gaps (each marked by a column), and features of one size."""
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    gaps = SimpleImputer(add_indicator=True, keep_empty_features=True)
    return make_pipeline(gaps, StandardScaler(), model)
