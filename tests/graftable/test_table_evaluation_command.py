"""``graftable evaluate-table``: a page that loads nothing, JSON of its figures, one sentence for every mistake."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graftable
from graftable.cli import main
from graftable.pages import inline
from graftable.table_charts import draw_marginals, draw_pairs, draw_trends, score_chart, shown_pairs
from graftable.table_report import render_table_report
from graftable.tabular.quality.figures import WORDS, Score

RULES = "end >= start\nif kind == 'gold' then fee >= 25\n"
STRANGE = '<b>$x_1$ & "y"</b>'


def loans(rows=120, seed=0):
    rng = np.random.default_rng(seed)
    start, fee = rng.integers(0, 100, rows), rng.integers(0, 50, rows)
    frame = {"start": start, "end": start + rng.integers(0, 30, rows), "fee": fee}
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D")
    return pd.DataFrame(frame | {"kind": np.where(fee >= 25, "gold", "base"), "day": days.strftime("%d.%m.%Y")})


@pytest.fixture(scope="module")
def found():
    """An evaluation of columns with strange names, of which two are null or constant."""
    parts = [loans(seed=seed).rename(columns={"kind": STRANGE}).assign(none=None, one=1.0) for seed in range(2)]
    parts[0].loc[0, STRANGE] = "<script>alert(1)</script>"
    return graftable.evaluate_table(*parts, "end >= start", target="fee")


@pytest.fixture(scope="module")
def page(found):
    return render_table_report(found)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loans().to_csv("real.csv", index=False)
    loans(seed=1).to_csv("made.csv", index=False)
    loans(seed=1).assign(end=-1).to_csv("wrong.csv", index=False)
    Path("r.rules").write_text(RULES)
    return tmp_path


def run(capsys, *arguments):
    code = main(["evaluate-table", *map(str, arguments)])
    return code, *capsys.readouterr()


class Page(HTMLParser):
    """What a page would load, and its words."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.words, self.tags = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_loads_nothing_and_has_no_scripts(page):
    read = Page(page)
    assert len(read.loaded) == 3
    assert all(address.startswith("data:image/") for address in read.loaded)
    assert not {"script", "link", "iframe"} & set(read.tags)


def test_names_and_cells_are_text_and_not_markup(page):
    assert STRANGE in "".join(Page(page).words)
    assert STRANGE not in page


def test_every_figure_of_the_page_is_that_of_the_evaluation(found, page):
    words = [word.strip() for word in Page(page).words]
    for name, score in found.scores.items():
        at = words.index(WORDS[name], words.index("score"))
        shown = [word for word in words[at + 1 :] if word][:3]
        wanted = [f"{100 * value:.2f}".rstrip("0").rstrip(".") + " %" for value in score]
        assert shown == (wanted if name == "copies" else [f"{value:.3f}" for value in score])


def test_the_same_evaluation_makes_the_same_page(found, page):
    assert render_table_report(found) == page


def test_pictures_are_drawn_for_any_columns(found):
    pairs = shown_pairs(found)
    assert len(pairs) == len(set(pairs)) == 4
    for picture in (draw_marginals, draw_trends):
        assert inline(picture(found)).startswith("data:image/svg+xml")
    assert inline(draw_pairs(found, pairs)).startswith("data:image/png")


def test_dots_lie_where_their_scores_are():
    nan = float("nan")
    chart = score_chart({"shape": Score(1.0, 0.0, 0.5), "utility": Score(-3.0, nan, 2.0), "copies": Score(0, 0, 0)})
    ticks = {tick["label"]: tick["x"] for tick in chart["ticks"]}
    shape, utility = chart["rows"]
    assert {dot["kind"]: dot["x"] for dot in shape["dots"]}["synthetic"] == ticks["1"]
    assert {dot["kind"]: dot["x"] for dot in shape["dots"]}["real"] == ticks["0"]
    assert {dot["kind"]: dot["x"] for dot in utility["dots"]} == {"independent": ticks["1"], "synthetic": ticks["0"]}


def test_one_column_has_no_pairs_and_no_utility():
    frame = pd.DataFrame({"x": np.arange(60) % 7})
    found = graftable.evaluate_table(frame, frame)
    assert (found.pairs, found.target) == ({}, None)
    assert "Pair by pair" not in render_table_report(found)


def test_a_page_and_json_are_written_and_a_table_is_printed(folder, capsys):
    code, out, err = run(capsys, "real.csv", "made.csv", "--rules", "r.rules", "--json", "f.json", "--target", "kind")
    assert (code, err) == (0, "")
    assert "wrote table_quality.html and f.json" in out
    said = json.loads(Path("f.json").read_text())
    assert said["scores"]["shape"]["synthetic"] == pytest.approx(
        float(re.search(r"shapes of columns +(\S+)", out)[1]), abs=1e-4
    )
    assert said["rules"]["violating_rows"] == 0
    assert "<b>0 of 120</b>" in Path("table_quality.html").read_text()


def test_broken_rules_are_exit_code_1_as_in_check(folder, capsys):
    code, out, _ = run(capsys, "real.csv", "wrong.csv", "--rules", "r.rules", "--json", "--out", "p.html")
    said = json.loads(out)
    assert (code, said["rules"]["violating_rows"]) == (1, 120)
    assert "A repair would move 120 of the 120 rows" in Path("p.html").read_text()


def test_what_was_before_comes_from_a_report(folder, capsys):
    assert main(["repair", "wrong.csv", "r.rules", "--out", "mended.csv", "--report", "r.json"]) == 0
    capsys.readouterr()
    code, out, _ = run(capsys, "real.csv", "mended.csv", "--rules", "r.rules", "--before", "r.json")
    assert code == 0
    assert "As drawn, 100.00% did." in out
    assert "A repair moved 120 of 120 rows" in Path("table_quality.html").read_text()


def test_a_holdout_adds_the_share_that_is_nearer_to_what_was_learnt(folder, capsys):
    loans(seed=2).to_parquet("held.parquet")
    _, out, _ = run(capsys, "real.csv", "real.csv", "--holdout", "held.parquet", "--seed", "3", "--rows", "100")
    assert float(re.search(r"nearer to train than to holdout +(\S+)", out)[1]) > 0.6
    assert "100 rows of each part were taken at random" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("real.csv", "none.csv"), "none.csv: there is no such file"),
        (("real.csv", "empty.csv"), "empty.csv: is empty"),
        (("real.csv", "head.csv"), "has column names but no rows"),
        (("real.csv", "one.csv"), "one.csv: has 1 row, too few to compare"),
        (("real.csv", "other.csv"), "other.csv: has no column `start`, which real.csv has. Did you mean `star`?"),
        (("real.csv", "made.csv", "--target", "fees"), "has no column `fees`. Did you mean `fee`?"),
        (("real.csv", "made.csv", "--rules", "none.rules"), "none.rules"),
        (("real.csv", "made.csv", "--before", "r.rules"), "r.rules: is no report of a synthesis or a repair"),
        (("real.csv", "made.csv", "--out", "p.pdf"), "expected a name that ends in .html"),
        (("real.csv", "made.csv", "--json", "made.csv"), "--json and the synthetic table are one file"),
        (("real.csv", "made.csv", "--json", "table_quality.html"), "--json and --out are one file"),
        (("real.csv", "made.csv", "--out", "real.csv/p.html"), "cannot be written"),
        (("real.csv", "made.csv", "--rows", "5"), "expected a whole number of at least 20"),
        (("real.csv", "made.csv", "--rows", "50", "--holdout", "one.csv"), "one.csv: has 1 row"),
        (("real.csv", "made.csv", "--holdout", "./real.csv"), "--holdout ./real.csv is the real table itself"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(folder, capsys, arguments, words):
    Path("empty.csv").write_text("")
    Path("head.csv").write_text("start,end,fee,kind,day\n")
    loans(1).to_csv("one.csv", index=False)
    loans().rename(columns={"start": "star"}).to_csv("other.csv", index=False)
    before = set(Path().rglob("*"))
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert set(Path().rglob("*")) == before
