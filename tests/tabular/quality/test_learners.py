"""What boosted trees tell of synthetic rows: C2ST and TSTR against models that are fitted here, and on hand cases."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import cross_val_score
from view_worlds import people
from xgboost import XGBClassifier, XGBRegressor

from graftable.tabular.quality import View, c2st_score, independent, utility_score
from graftable.tabular.quality import views as module
from graftable.tabular.quality.views import features, taken

SEED = 3


def dense(view):
    return pd.concat([view.numbers, pd.get_dummies(view.texts, dtype=float)], axis=1)


def test_c2st_is_the_cross_validated_auc():
    from sklearn.model_selection import StratifiedKFold

    real, other = people(300), independent(people(300, seed=1), np.random.default_rng(0))
    x, y = np.concatenate(features([real, other])), np.repeat([1, 0], 300)
    folds = StratifiedKFold(3, shuffle=True, random_state=SEED)
    areas = cross_val_score(XGBClassifier(n_jobs=1), x, y, cv=folds, scoring="roc_auc")
    assert c2st_score(real, other, SEED) == pytest.approx(1 - np.mean([max(0, 2 * area - 1) for area in areas]))


def test_c2st_tells_fresh_rows_from_strange_ones():
    real = people(1000)
    assert c2st_score(real, people(1000, seed=1)) > 0.9
    assert c2st_score(real, independent(real, np.random.default_rng(0))) < 0.3
    assert c2st_score(real, View(real.numbers + 100, real.texts)) < 0.01


def test_utility_is_the_score_of_the_model_on_real_rows():
    train, test = people(400), people(300, seed=1)
    x, x_test = dense(train).drop(columns=["rich_no", "rich_yes"]), dense(test).drop(columns=["rich_no", "rich_yes"])
    model = XGBClassifier(n_jobs=1, random_state=0).fit(x, train.texts["rich"] == "yes")
    area = roc_auc_score(test.texts["rich"] == "yes", model.predict_proba(x_test)[:, 1])
    assert utility_score(train, test, "rich") == pytest.approx(area, abs=0.01)
    x, x_test = dense(train).drop(columns="pay"), dense(test).drop(columns="pay")
    fitted = XGBRegressor(n_jobs=1, random_state=0).fit(x, train.numbers["pay"])
    assert utility_score(train, test, "pay") == pytest.approx(
        r2_score(test.numbers["pay"], fitted.predict(x_test)), abs=0.01
    )


@pytest.mark.parametrize("learner", ["xgboost", "linear"])
def test_what_is_learnt_from_real_rows_is_worth_more_than_from_independent_columns(learner):
    train, test = people(800), people(800, seed=1)
    apart = independent(train, np.random.default_rng(0))
    for target, floor in (("rich", 0.65), ("pay", 0.2), ("kind", 0.6)):
        assert utility_score(train, test, target, learner=learner) > utility_score(apart, test, target, learner=learner)
        assert utility_score(apart, test, target, learner=learner) < floor
    assert utility_score(train, test, "pay", learner=learner) > 0.9
    assert utility_score(train, test, "kind", learner=learner) > 0.7


@pytest.mark.parametrize("learner", ["xgboost", "linear"])
def test_gaps_in_cells_and_in_the_target_are_lived_with(learner):
    train, test = people(400), people(400, seed=1)
    for view in (train, test):
        view.numbers.loc[::5, "age"] = math.nan
        view.numbers.loc[1::7, "pay"] = math.nan
        view.texts.loc[::9, "rich"] = "null"
    assert utility_score(train, test, "pay", learner=learner) > 0.6
    assert utility_score(train, test, "rich", learner=learner) > 0.8


def test_a_single_class_teaches_nothing_and_a_class_that_is_not_tested_has_no_score():
    rows = people(100)
    one = View(rows.numbers, rows.texts.assign(rich="yes"))
    assert utility_score(one, rows, "rich") == 0.5
    assert math.isnan(utility_score(rows, one, "rich"))
    flat = View(rows.numbers.assign(pay=1.0), rows.texts)
    assert utility_score(flat, rows, "pay") == 0.0
    assert math.isnan(utility_score(rows, flat, "pay"))


@pytest.mark.parametrize("learner", ["xgboost", "linear"])
def test_a_class_that_was_never_drawn_counts_as_one_that_cannot_be_told(learner):
    train, test = people(600), people(600, seed=1)
    whole = utility_score(train, test, "kind", learner=learner)
    lacking = taken(train, np.flatnonzero(train.texts["kind"] != "x"))
    parts = [test, taken(test, np.flatnonzero(test.texts["kind"] != "x"))]
    with_it, without = (utility_score(lacking, part, "kind", learner=learner) for part in parts)
    assert with_it < whole - 0.1  # x is the class that the numbers tell
    assert 0.4 < with_it < 0.6
    assert 0.4 < without < 0.6


def test_many_categories_become_one_column_that_does_not_say_where_a_row_comes_from(monkeypatch):
    monkeypatch.setattr(module, "MOST_KINDS", 2)
    real, other = people(50), people(50, seed=1)
    (ours, theirs), (turned, _) = features([real, other]), features([taken(real, np.arange(50)[::-1]), other])
    assert ours.shape == (50, 2 + 1 + 2)  # three kinds are too many, two classes are not
    kinds = {kind: place for place, kind in enumerate("xyz")}
    assert np.array_equal(ours[:, 2], real.texts["kind"].map(kinds))
    assert np.array_equal(theirs[:, 2], other.texts["kind"].map(kinds))
    assert np.array_equal(turned[::-1, 2], ours[:, 2])
