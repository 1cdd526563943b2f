"""Small tables of numbers, dates and categories with nulls, as views."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from graftable.tabular.quality import View

NUMBERS = st.sampled_from([-2.5, 0.0, 1.0, 1.5, 7.0, float("nan")])
TEXTS = st.sampled_from(["a", "b", "c", "null"])


@st.composite
def view_pairs(draw, least=1, most=12):
    """Two views with the same columns, any of their numbers of rows."""
    numeric, discrete = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    discrete = max(discrete, 1 - numeric)
    views = []
    for _ in range(2):
        rows = draw(st.integers(least, most))
        numbers = {f"n{i}": draw(st.lists(NUMBERS, min_size=rows, max_size=rows)) for i in range(numeric)}
        texts = {f"c{i}": draw(st.lists(TEXTS, min_size=rows, max_size=rows)) for i in range(discrete)}
        index = pd.RangeIndex(rows)
        views.append(View(pd.DataFrame(numbers, index, dtype=float), pd.DataFrame(texts, index, dtype=object)))
    return tuple(views)


def people(rows, seed=0):
    """Rows in which one column follows from the others: two numbers, a category, a class."""
    rng = np.random.default_rng(seed)
    age, kind = rng.uniform(20, 70, rows), rng.choice(["x", "y", "z"], rows)
    pay = 3 * age + np.where(kind == "x", 60, 0) + rng.normal(0, 5, rows)
    rich = np.where(pay + rng.normal(0, 20, rows) > 165, "yes", "no")
    return View(pd.DataFrame({"age": age, "pay": pay}), pd.DataFrame({"kind": kind, "rich": rich}, dtype=object))
