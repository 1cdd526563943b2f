"""Laws of the pictures: any graph can be drawn, the same graphs give the same bytes, and a file is whole or absent."""

import sys

import networkx as nx
import pytest

from graftable.errors import ConfigError, DataError
from graftable.graphs.drawing import COMMUNITIES_UP_TO, FORMATS, LONE, PALETTE, draw_gallery, render_gallery
from graftable.graphs.drawing import _colours as colours
from graftable.graphs.edge_lists import graph_from_edges
from graftable.graphs.metrics import to_csr

KARATE = nx.karate_club_graph()
SIGNATURE = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_graphs_make_the_same_bytes(kind):
    first, second = (render_gallery([KARATE, nx.path_graph(4)], kind, heading="two") for _ in range(2))
    assert first == second
    assert first.startswith(SIGNATURE[kind])


@pytest.mark.parametrize(
    "graph",
    [nx.empty_graph(1), nx.empty_graph(9), graph_from_edges(3, [[0, 1]]), nx.complete_graph(12), nx.empty_graph(0)],
    ids=["one node", "no edges", "a Data", "complete", "no nodes"],
)
def test_any_graph_can_be_drawn(graph, tmp_path):
    assert draw_gallery([graph], tmp_path / "a.png").stat().st_size > 1000


def test_five_thousand_nodes_can_be_drawn(tmp_path):
    assert draw_gallery([nx.random_labeled_tree(5000, seed=0)], tmp_path / "a.png").stat().st_size > 10_000


def test_groups_start_on_rows_of_their_own(tmp_path):
    from PIL import Image

    alone = draw_gallery([KARATE] * 2, tmp_path / "alone.png", columns=2)
    groups = draw_gallery({"one": [KARATE] * 2, "two": [KARATE]}, tmp_path / "groups.png", columns=2)
    with Image.open(alone) as one, Image.open(groups) as two:
        assert one.width == two.width
        assert two.height > 1.9 * one.height


def test_words_are_shown_as_they_are_and_not_read_as_mathematics():
    render_gallery([KARATE], titles=["costs $5_000 and $\\frac{"], heading="${")


def test_long_titles_are_wrapped_and_make_room(tmp_path):
    from PIL import Image

    short = draw_gallery([KARATE], tmp_path / "short.png", titles=["friends"])
    long = draw_gallery([KARATE], tmp_path / "long.png", titles=["friends of a club " * 8])
    with Image.open(short) as one, Image.open(long) as two:
        assert one.width == two.width
        assert one.height < two.height < 2 * one.height


def test_pyplot_is_left_alone():
    render_gallery([KARATE])
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_community_has_one_colour_and_lone_nodes_are_grey():
    two_cliques = nx.disjoint_union_all([nx.complete_graph(5), nx.complete_graph(4), nx.empty_graph(1)])
    found = colours(to_csr(two_cliques), "community")
    assert found == [PALETTE[0]] * 5 + [PALETTE[1]] * 4 + [LONE]


def test_by_degree_equal_degrees_have_equal_colours():
    found = colours(to_csr(nx.star_graph(6)), "degree")
    assert len(set(found[1:])) == 1
    assert found[0] != found[1]


def test_large_graphs_are_coloured_by_degree():
    large = to_csr(nx.cycle_graph(COMMUNITIES_UP_TO + 1))
    assert colours(large, "auto") == colours(large, "degree")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([], "a.png"), "no graphs to draw"),
        (({"empty": []}, "a.png"), "no graphs to draw"),
        (([KARATE], "a.gif"), "expected one of png, svg, pdf"),
        (([KARATE], "a"), "a file without ending"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_nothing_is_written(arguments, told, tmp_path):
    graphs, name = arguments
    with pytest.raises((DataError, ConfigError), match=told):
        draw_gallery(graphs, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_titles_must_be_as_many_as_graphs(tmp_path):
    with pytest.raises(ConfigError, match="1 titles for 2 graphs"):
        draw_gallery([KARATE, KARATE], tmp_path / "a.png", titles=["one"])


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        draw_gallery([KARATE], tmp_path / "file" / "a.png")
