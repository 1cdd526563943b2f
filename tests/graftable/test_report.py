"""Laws of the report: it loads nothing, escapes what users wrote, and says what was measured."""

import base64
from html.parser import HTMLParser

import networkx as nx
import numpy as np
import pytest

from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conditions import Condition, Terciles
from graftable.graphs.conversion import from_networkx
from graftable.graphs.corpus import corpus_metadata
from graftable.graphs.metrics import Interval, evaluate_graphs, vun
from graftable.report import Answer, Score, attribute_rows, render_report
from graftable.report_charts import Curve, loss_chart, ratio_chart

NASTY = """a <script>alert("x")</script> tree & "quotes" of 'seven' {{ nodes }}"""
VOID = {"meta", "img", "br", "hr", "input", "link", "line", "circle", "polyline"}
LOADING = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background", "xlink:href"}
TERCILES = Terciles.from_dict(corpus_metadata()["terciles"])


class Page(HTMLParser):
    """Collects what a page would load, its text, and whether its tags are balanced."""

    def __init__(self, html):
        super().__init__()
        self.loads, self.tags, self.words, self.open = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in LOADING]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def drawn(seed, **requested):
    graph = from_networkx(nx.random_labeled_tree(7, seed=seed))
    graph.requested = {"domain": "tree", "num_nodes": 7, "num_edges": 6.0, **requested}
    return graph


@pytest.fixture(scope="module")
def answer():
    graphs, real = [drawn(seed) for seed in range(2)], [from_networkx(nx.star_graph(n)) for n in (5, 6, 7)]
    report = evaluate_graphs(graphs, real, [from_networkx(nx.path_graph(n)) for n in (5, 6)], bootstrap=20)
    score = Score("the model", "ours", report, vun(graphs, real))
    return Answer(NASTY, Condition(text=NASTY, domain="tree", num_nodes=7), graphs, real, [score])


@pytest.fixture(scope="module")
def html(answer):
    return render_report(
        [answer],
        title=f"Title of {NASTY}",
        lede="What it shows.",
        terciles=TERCILES,
        curve=Curve("Trained.", [1, 2, 3], [3.0, 2.0, 1.5], [3], [1.6]),
        small=[drawn(5)],
        next_steps=[("Then:", 'graftable generate "<b>"')],
        footer="The end.",
    )


def test_the_page_loads_nothing(html):
    page = Page(html)
    assert page.loads
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.loads)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    assert "url(" not in html
    assert "@import" not in html
    assert "http" not in html


def test_the_pictures_load_nothing_either(html):
    for source in Page(html).loads:
        svg = base64.b64decode(source.partition(",")[2]).decode()
        assert "<image" not in svg
        assert "url(http" not in svg
        assert 'href="http' not in svg
        assert "<script" not in svg


def test_tags_are_balanced(html):
    assert Page(html).open == []


def test_what_users_wrote_is_text_and_not_markup(html):
    assert "<script" not in html
    assert Page(html).text.count(" ".join(NASTY.split())) >= 2
    assert 'graftable generate "<b>"' in Page(html).text


def test_every_picture_has_words_for_those_who_cannot_see_it(html):
    assert html.count("<figure>") == html.count('alt="Drawing of a graph with') == 6


def test_a_report_of_nothing_but_drawings_can_be_written():
    bare = Answer("a tree", Condition(text="a tree"), [drawn(0)])
    page = Page(render_report([bare], title="t", lede="l", terciles=TERCILES))
    assert "Requested and achieved" in page.text
    assert "How close" not in page.text


def test_achieved_values_are_those_of_the_graphs():
    graphs = [drawn(seed) for seed in range(3)]
    request = Condition(domain="tree", num_nodes=7, levels={"clustering": "low"}, attributes={"assortativity": -0.9})
    rows = {row["name"]: row for row in attribute_rows(graphs, request, TERCILES)}
    assert (rows["nodes"]["asked"], rows["nodes"]["mean"], rows["nodes"]["met"]) == ("7", "7", "3 of 3")
    assert rows["edges"]["asked"] == ""
    assert rows["edges"]["planned"] == "6"
    assert rows["clustering"]["asked"].startswith("low: up to ")
    assert rows["clustering"]["met"] == "3 of 3"
    mean = np.mean([graph_attributes(graph)["assortativity"] for graph in graphs])
    assert rows["assortativity"]["mean"] == f"{mean:.2f}"


@pytest.mark.parametrize(("asked", "met"), [(2 * 6 / 7, "1 of 1"), (2 * 6 / 7 * 1.09, "1 of 1"), (2.5, "0 of 1")])
def test_a_number_is_met_within_a_tenth(asked, met):
    (row,) = (
        r for r in attribute_rows([drawn(0)], Condition(attributes={"mean_degree": asked}), TERCILES) if r["asked"]
    )
    assert row["met"] == met


def test_smaller_ratios_are_farther_left_and_one_is_where_the_line_is():
    ratios = [Interval(0.4, 0.2, 0.8), Interval(1.0, 0.9, 1.1), Interval(30.0, 20.0, 50.0), Interval(0.0, 0.0, 0.1)]
    chart = ratio_chart({"trees": [(f"row {index}", "ours", ratio) for index, ratio in enumerate(ratios)]})
    dots = chart["groups"][0]["dots"]
    assert dots[3]["x"] <= dots[0]["x"] < dots[1]["x"] < dots[2]["x"]
    assert dots[1]["x"] == chart["one"]
    assert all(chart["left"] <= dot["low"] <= dot["x"] <= dot["high"] <= chart["width"] for dot in dots)
    assert all(0 < dot["y"] < chart["height"] for dot in dots)


def test_the_curve_falls_where_the_loss_falls_and_stays_on_the_page():
    losses = (3 * np.exp(-np.arange(50) / 10) + 1).tolist()
    chart = loss_chart(Curve("", list(range(1, 51)), losses, [50], [1.1]))
    points = np.array([point.split(",") for point in chart["raw"].split()], dtype=float)
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) >= 0).all()  # down the page
    assert points.min() >= 0
    assert points[:, 0].max() <= chart["width"]
    assert points[:, 1].max() <= chart["height"]


@pytest.mark.parametrize("steps", [1, 2])
def test_a_curve_of_few_steps_can_be_drawn(steps):
    assert loss_chart(Curve("", list(range(1, steps + 1)), [2.0] * steps))["smooth"]
