"""Whether boosted trees can tell synthetic rows from real ones."""

from __future__ import annotations

import numpy as np

from .views import View, features

__all__ = ["c2st_score"]

FOLDS = 3


def c2st_score(real: View, synthetic: View, seed: int = 0) -> float:
    r"""The classifier two-sample test: 1 where XGBoost cannot tell real from synthetic rows, 0 where it always can.

    .. math:: 1 - \frac13 \sum_{k=1}^{3} \max(0, 2\,\mathrm{AUC}_k - 1)

    over three folds, with XGBoost at its defaults: SDMetrics' detection score with another classifier. A linear one, as
    is often used, is fooled by independent columns.

    Args:
        real: Real rows, best as many as there are synthetic ones.
        synthetic: Rows with the same columns; at least three of each.
        seed: Of the folds.

    References:
        Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, ICLR 2017.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold
    from xgboost import XGBClassifier

    x = np.concatenate(features([real, synthetic]))
    y = np.repeat([1, 0], [real.rows, synthetic.rows])
    scores = []
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y):
        model = XGBClassifier(n_jobs=1, random_state=seed).fit(x[train], y[train])
        scores.append(max(0.5, roc_auc_score(y[test], model.predict_proba(x[test])[:, 1])) * 2 - 1)
    return float(1 - np.mean(scores))
