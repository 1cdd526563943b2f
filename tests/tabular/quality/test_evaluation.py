"""An evaluation puts every figure between other real rows and independent columns, and tells what it left out."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from graftable.errors import DataError, GraftableError
from graftable.tabular import Schema, repair, synthesize
from graftable.tabular.io import open_table
from graftable.tabular.quality import c2st_score, evaluate_table, shape_score
from graftable.tabular.quality.evaluation import ROWS
from graftable.tabular.quality.figures import WORDS
from graftable.tabular.quality.rule_scores import read_report
from graftable.tabular.quality.sampling import names_rows, sampled

RULES = "end >= start\nif kind == 'gold' then fee >= 25\nfee <= 40 ; mode: soft\n"


def loans(rows=600, seed=0):
    rng = np.random.default_rng(seed)
    start, fee = rng.integers(0, 100, rows), rng.integers(0, 50, rows)
    frame = {"id": np.arange(100, 100 + rows), "start": start, "end": start + rng.integers(0, 30, rows), "fee": fee}
    frame["name"] = [f"N{number:05d}" for number in rng.permutation(rows)]
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(start * 5 + rng.integers(0, 9, rows), unit="D")
    frame |= {"kind": np.where(fee >= 25, "gold", "base"), "day": days.strftime("%d.%m.%Y")}
    return pd.DataFrame(frame)


@pytest.fixture(scope="module")
def found():
    made = loans(300, seed=5)
    made.loc[:29, "end"] = made.loc[:29, "start"] - 1
    return evaluate_table(loans(), made, RULES, target="kind", holdout=loans(400, seed=1))


def test_real_rows_score_high_and_independent_columns_low(found):
    for name in ("trend", "c2st", "recall", "utility", "utility_linear"):
        score = found.scores[name]
        assert score.independent < score.synthetic - 0.1, name
        assert score.real == pytest.approx(score.synthetic, abs=0.2), name
    assert found.scores["shape"].independent == found.scores["shape"].real
    assert found.scores["nearer_train"].real == pytest.approx(0.5, abs=0.1)
    assert list(found.scores) == list(WORDS)
    assert found.compared == 300


def test_a_number_of_two_values_is_a_class(found):
    coded = [frame.assign(kind=(frame["kind"] == "gold") * 1) for frame in (loans(), loans(300, seed=5))]
    numbers = evaluate_table(*coded, target="kind")
    texts = evaluate_table(loans(), loans(300, seed=5), target="kind")
    assert (found.measure, numbers.measure) == ("AUC", "AUC")
    for name in ("utility", "utility_linear"):
        assert numbers.scores[name][:2] == pytest.approx(texts.scores[name][:2])
    assert evaluate_table(loans(), loans(), target="end").measure == "R2"


def test_copies_are_told(found):
    learnt = loans()
    copies = evaluate_table(learnt, learnt, target="kind")
    assert copies.scores["copies"].synthetic == pytest.approx(0.5, abs=0.07)  # half of the rows stand for the learnt
    assert copies.scores["closest_low"].synthetic == 0
    assert copies.scores["copies"].real < 0.05
    assert found.scores["copies"].synthetic < 0.05
    same = evaluate_table(learnt, learnt, target="kind", holdout=loans(seed=1))
    assert same.scores["copies"].synthetic == 1
    assert same.scores["nearer_train"].synthetic > 0.9


def test_columns_that_name_rows_are_left_out_and_said(found):
    assert list(found.columns) == ["start", "end", "fee", "kind", "day"]
    assert found.columns["day"].kind == "datetime"
    assert any("cells differ: id, name." in note for note in found.notes)


def test_rules_are_counted_on_all_rows_by_hand(found):
    rules = {rule.name: rule for rule in found.rules.rules}
    assert found.rules.violating_rows == 30
    assert rules["end >= start"].broken.synthetic == 0.1
    assert rules["end >= start"].broken.real == 0
    assert rules["end >= start"].broken.independent > 0.2
    soft = rules["fee <= 40"]
    assert soft.broken.real == pytest.approx((loans()["fee"] > 40).mean())
    assert soft.boundary is None
    made = loans(300, seed=5)
    on_bound = (made["end"] == made["start"]).to_numpy()[30:].mean() * 0.9
    assert rules["end >= start"].boundary.synthetic == pytest.approx(on_bound)
    assert found.rules.before is None
    assert (found.rules.moves.source, found.rules.moves.moved) == ("none yet", 30)
    assert set(found.rules.moves.columns) <= {"start", "end"}


def test_what_a_synthesis_or_a_repair_reports_is_what_was_before():
    real = loans()
    rows, report = synthesize(real, rules=RULES, n=200, engine="copula")
    found = evaluate_table(real, rows, RULES, before=report, target="kind")
    assert found.rules.violating_rows == 0
    assert found.rules.before == report.broken_rows / 200
    before = {rule.name: rule.broken for rule in report.rules}
    assert {rule.name: rule.before for rule in found.rules.rules if rule.before is not None} == before
    assert (found.rules.moves.source, found.rules.moves.redrawn) == ("synthesis", report.redrawn_rows)
    broken = loans(200, seed=2)
    broken["end"] = broken["start"] - 3
    mended, repaired = repair(broken, RULES)
    found = evaluate_table(real, mended, RULES, before=repaired, target="kind")
    assert (found.rules.violating_rows, found.rules.before) == (0, 1.0)
    assert found.rules.moves.moved == 200
    assert found.rules.rules[0].before == 1.0


def test_the_same_seed_gives_the_same_figures(found):
    made = loans(300, seed=5)
    made.loc[:29, "end"] = made.loc[:29, "start"] - 1
    again = evaluate_table(loans(), made, RULES, target="kind", holdout=loans(400, seed=1))
    first, second = found.to_dict(), again.to_dict()
    del first["seconds"], second["seconds"]
    assert first == second
    assert json.loads(found.to_json())["scores"] == first["scores"]


def test_figures_are_those_of_the_measures(found):
    fresh, made = found.views["real"], found.views["synthetic"]
    assert found.scores["shape"].synthetic == shape_score(fresh, made)
    assert found.scores["c2st"].synthetic == c2st_score(fresh, made, 0)


def test_a_sample_has_each_row_once_and_all_where_there_is_room():
    frame = loans(500)
    table, schema = open_table(frame), Schema.detect(frame)
    part, whole = (sampled(table, schema, most, (1, 2)) for most in (100, 10_000))
    assert (part.total, len(part.frame), part.frame["id"].nunique()) == (500, 100, 100)
    assert sorted(whole.frame["id"]) == sorted(frame["id"])
    assert whole.frame["id"].tolist() != sorted(frame["id"])
    pairs = set(zip(frame["id"], frame["name"], strict=True))
    assert set(zip(part.frame["id"], part.frame["name"], strict=True)) <= pairs
    assert names_rows(whole) == ["id", "name"]


def test_more_rows_than_are_wanted_are_sampled_and_the_number_is_said():
    found = evaluate_table(loans(200), loans(200, seed=1), target="kind", rows=50)
    assert found.compared == 50
    assert any(note.startswith("50 rows of each part were taken at random") for note in found.notes)
    assert ROWS == 10_000


def test_dates_in_another_format_and_cells_of_parquet_are_the_same_rows(tmp_path):
    real, made = loans(), loans(300, seed=5)
    typed = made.assign(day=pd.to_datetime(made["day"], format="%d.%m.%Y"))
    typed.to_parquet(tmp_path / "made.parquet")
    ours = evaluate_table(real, made, "day >= '2020-01-02'", target="kind").to_dict()
    theirs = evaluate_table(real, str(tmp_path / "made.parquet"), "day >= '2020-01-02'", target="kind").to_dict()
    assert ours["scores"] == theirs["scores"]
    assert ours["rules"] == theirs["rules"]


def test_nulls_and_empty_and_constant_columns_are_lived_with():
    real, made = loans(200), loans(200, seed=1)
    for frame in (real, made):
        frame["none"], frame["one"] = None, 7
        frame.loc[::3, "fee"] = np.nan
        frame.loc[::4, "kind"] = None
    made["kind"] = None
    found = evaluate_table(real, made)
    assert found.columns["kind"].null.synthetic == 1
    assert found.columns["fee"].null.synthetic == pytest.approx(0.34, abs=0.1)
    assert found.target == "kind"
    json.loads(found.to_json())
    str(found)


def test_numbers_of_any_size_score_as_small_ones():
    parts = loans(200), loans(200, seed=1)
    small = evaluate_table(*parts, target="kind").to_dict()
    huge = evaluate_table(*(part.assign(end=part["end"] * 1e300) for part in parts), target="kind").to_dict()
    assert "end is measured in units of 1e302." in huge["notes"]
    for name, score in small["scores"].items():
        assert huge["scores"][name] == pytest.approx(score, abs=0.01), name


@pytest.mark.parametrize(
    ("real", "synthetic", "more", "words"),
    [
        (
            loans(),
            loans().drop(columns="fee"),
            {},
            "the synthetic table: has no column `fee`, which the real table has",
        ),
        (loans(), loans(1), {}, "the synthetic table: has 1 row, too few to compare; expected at least 20"),
        (loans(1), loans(), {}, "the real table: has 1 row, too few"),
        (loans(), loans()[:0], {}, "no rows"),
        (loans(), loans().astype({"fee": str}).assign(fee="much"), {}, "found 'much', expected a number"),
        (loans(), loans(), {"target": "kin"}, "has no column `kin`. Did you mean `kind`?"),
        (loans(), loans(), {"target": "id"}, "the column names the rows"),
        (loans().assign(one=1), loans().assign(one=1), {"target": "one"}, "has a single value"),
        (loans(), loans(), {"rows": 3}, "rows is 3; expected at least 20"),
        (loans(), loans(), {"rules": "fe >= 1"}, "fee"),
        (loans(), loans(), {"before": 7}, "is no report"),
        (loans()[["id", "name"]], loans()[["id", "name"]], {}, "every column names its rows"),
    ],
)
def test_a_mistake_is_one_sentence(real, synthetic, more, words):
    with pytest.raises(GraftableError, match=re.escape(words)):
        evaluate_table(real, synthetic, **more)


def test_a_file_that_is_no_report_is_refused(tmp_path):
    (tmp_path / "r.json").write_text('{"rows": 3}')
    for name in ("r.json", "none.json"):
        with pytest.raises(DataError, match=name):
            read_report(str(tmp_path / name))
