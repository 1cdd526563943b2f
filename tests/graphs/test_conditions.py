import json
import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftable.errors import PromptError
from graftable.graphs.condition_checks import MAX_EDGES
from graftable.graphs.conditions import ATTRIBUTE_RANGES, LEVELS, MAX_NODES, Condition, Terciles

LEVELLED = st.dictionaries(st.sampled_from(sorted(ATTRIBUTE_RANGES)), st.sampled_from(LEVELS), max_size=3)


@st.composite
def graphs(draw):
    nodes = draw(st.integers(1, 12))
    pairs = [(u, v) for u in range(nodes) for v in range(u)]
    graph = nx.empty_graph(nodes)
    graph.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return graph


@st.composite
def true_conditions(draw):
    """Any part of what is true of some graph."""
    graph = draw(graphs())
    nodes, edges = graph.number_of_nodes(), graph.number_of_edges()
    facts = {
        "mean_degree": 2 * edges / nodes,
        "density": nx.density(graph),
        "clustering": nx.average_clustering(graph),
        "components": float(nx.number_connected_components(graph)),
        "diameter": float(max(nx.diameter(graph.subgraph(part)) for part in nx.connected_components(graph))),
    }
    said = draw(st.sets(st.sampled_from([*facts, "num_nodes", "num_edges"])))
    if "num_edges" in said and "mean_degree" in said:
        said.add("num_nodes")
    return nodes, edges, Condition(
        text=draw(st.none() | st.text(max_size=5)),
        domain=draw(st.none() | st.sampled_from(["power", "tree"])),
        num_nodes=nodes if "num_nodes" in said else None,
        num_edges=edges if "num_edges" in said else None,
        attributes={name: value for name, value in facts.items() if name in said},
        levels=draw(LEVELLED),
    )  # fmt: skip


@given(true_conditions())
def test_what_is_true_of_a_graph_may_be_asked_for(drawn):
    nodes, edges, condition = drawn
    assert condition.num_nodes in (None, nodes)
    assert condition.num_edges in (None, edges)


@given(true_conditions())
def test_json_round_trip_is_the_identity(drawn):
    condition = drawn[2]
    assert Condition.from_dict(json.loads(json.dumps(condition.to_dict()))) == condition


@given(true_conditions())
def test_merging_with_nothing_or_itself_changes_nothing(drawn):
    condition = drawn[2]
    assert condition.merged(Condition()) == Condition().merged(condition) == condition.merged(condition) == condition


@given(true_conditions(), true_conditions())
def test_merging_keeps_every_request_or_is_refused(one, two):
    try:
        merged = one[2].merged(two[2])
    except PromptError:
        return
    for part in (one[2], two[2]):
        for name in ("domain", "num_nodes", "num_edges"):
            assert getattr(part, name) in (None, getattr(merged, name))
        assert part.attributes.items() <= merged.attributes.items()
        assert part.levels.items() <= merged.levels.items()


def test_conditions_do_not_share_their_dictionaries():
    attributes = {"clustering": 0.2}
    condition = Condition(attributes=attributes)
    attributes["clustering"] = 0.9
    assert condition.attributes == {"clustering": 0.2}


@pytest.mark.parametrize(
    ("asked", "edges"),
    [
        ({"num_nodes": 300, "attributes": {"mean_degree": 4.2}}, 630),
        ({"num_nodes": 5, "attributes": {"mean_degree": 1.0}}, 3),  # 2.5 goes up
        ({"num_nodes": 20, "attributes": {"density": 0.5}}, 95),
        ({"num_nodes": 20, "num_edges": 41, "attributes": {"mean_degree": 4.1}}, 41),
        ({"num_nodes": 1, "attributes": {"density": 1.0}}, 0),
        ({"attributes": {"mean_degree": 4.2}}, None),
    ],
)
def test_mean_degree_and_density_imply_the_edges(asked, edges):
    assert Condition(**asked).num_edges == edges


def test_edges_and_mean_degree_imply_the_nodes():
    assert Condition(num_edges=450, attributes={"mean_degree": 3.0}).num_nodes == 300


@pytest.mark.parametrize("edges", range(30, 70))
@pytest.mark.parametrize("degree", [2.0, 3.7, 5.5])
def test_inferred_nodes_are_consistent_with_what_implied_them(edges, degree):
    condition = Condition(num_edges=edges, attributes={"mean_degree": degree})
    assert abs(2 * edges / condition.num_nodes - degree) <= degree / condition.num_nodes
    assert Condition.from_dict(condition.to_dict()) == condition


def test_a_range_of_one_is_a_number():
    assert Condition(num_nodes_range=(7, 7)) == Condition(num_nodes=7)


def test_ranges_are_intersected_and_settled_by_a_number():
    wide = Condition(num_nodes_range=(50, 80))
    assert wide.merged(Condition(num_nodes_range=(70, 100))).num_nodes_range == (70, 80)
    assert wide.merged(Condition(num_nodes=60)) == Condition(num_nodes=60)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_nodes": 0}, ["0 nodes", "1 to 50,000"]),
        ({"num_nodes": 10**7}, ["10,000,000 nodes", "1 to 50,000"]),
        ({"num_nodes": -3}, ["-3 nodes"]),
        ({"num_nodes": 3.5}, ["3.5 nodes", "whole number"]),
        ({"num_nodes": math.nan}, ["nan nodes"]),
        ({"num_nodes": True}, ["True nodes"]),
        ({"num_nodes": "many"}, ["'many' nodes"]),
        ({"num_edges": -1}, ["-1 edges"]),
        ({"num_edges": math.inf}, ["inf edges"]),
        ({"attributes": {"clustering": math.nan}}, ["clustering nan", "0 to 1"]),
        ({"attributes": {"clustering": 1.2}}, ["clustering 1.2", "0 to 1"]),
        ({"attributes": {"mean_degree": -1}}, ["mean degree -1"]),
        ({"attributes": {"mean_degree": math.inf}}, ["mean degree inf"]),
        ({"attributes": {"assortativity": "high"}}, ["assortativity 'high'"]),
        ({"attributes": {"components": 1.5}}, ["components 1.5", "whole number"]),
        ({"attributes": {"clusterin": 0.1}}, ['"clusterin"', 'did you mean "clustering"']),
        ({"attributes": {"colour": 0.1}}, ['"colour"', "mean_degree"]),
        ({"levels": {"clustering": "lots"}}, ["'lots'", "low, medium or high"]),
        ({"levels": {"clusterin": "low"}}, ['did you mean "clustering"']),
        ({"num_nodes": 20, "num_edges": 191}, ["191 edges", "20 nodes", "at most 190"]),
        ({"num_nodes": 20, "attributes": {"mean_degree": 19.5}}, ["19.5", "20 nodes", "at most 19"]),
        ({"num_nodes": 20, "attributes": {"diameter": 20}}, ["diameter 20", "at most 19"]),
        ({"num_nodes": 20, "attributes": {"components": 21}}, ["components 21", "at most 20"]),
        ({"num_nodes": 20, "num_edges": 18, "attributes": {"components": 1}}, ["18 edges", "at least 19"]),
        ({"num_nodes": 20, "num_edges": 172, "attributes": {"components": 2}}, ["172 edges", "at most 171"]),
        ({"num_nodes": 300, "num_edges": 900, "attributes": {"mean_degree": 4}}, ["600 edges", "900"]),
        ({"num_nodes": 20, "num_edges": 190, "attributes": {"density": 0.5}}, ["95 edges", "190"]),
        ({"num_nodes_range": (80, 50)}, ["80 and 50", "smaller number first"]),
        ({"num_nodes_range": (0, 50)}, ["0 nodes"]),
        ({"num_nodes_range": (5, 10), "num_nodes": 20}, ["5 to 10 nodes", "20 nodes"]),
        ({"num_nodes_range": (5, 10), "num_edges": 46}, ["46 edges", "10 nodes", "at most 45"]),
    ],
)  # fmt: skip
def test_the_impossible_is_refused_in_one_sentence_that_says_what_and_why(asked, words):
    with pytest.raises(PromptError) as refusal:
        Condition(**asked)
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert message.endswith((".", "?"))


@pytest.mark.parametrize(
    ("one", "two", "words"),
    [
        ({"num_nodes": 300}, {"num_nodes": 200}, ["300 nodes (the prompt)", "200 nodes (--num-nodes)"]),
        ({"domain": "power"}, {"domain": "road"}, ['"power"', '"road"']),
        ({"levels": {"mean_degree": "low"}}, {"levels": {"mean_degree": "high"}}, ["low mean deg", "high mean deg"]),
        ({"attributes": {"clustering": 0.1}}, {"attributes": {"clustering": 0.2}}, ["ing 0.1", "ing 0.2"]),
        ({"num_nodes_range": (50, 80)}, {"num_nodes": 100}, ["50 to 80 nodes", "100 nodes"]),
        ({"num_nodes_range": (50, 80)}, {"num_nodes_range": (90, 99)}, ["50 to 80 nodes", "90 to 99 nodes"]),
        ({"num_edges": 30}, {"num_edges": 31}, ["30 edges", "31 edges"]),
        ({"num_nodes": 9, "attributes": {"mean_degree": 2}}, {"attributes": {"mean_degree": 4}}, ["ee 2", "ee 4"]),
    ],
)  # fmt: skip
def test_a_conflict_names_both_sides(one, two, words):
    with pytest.raises(PromptError) as refusal:
        Condition(**one).merged(Condition(**two), ("the prompt", "--num-nodes"))
    assert all(word in str(refusal.value) for word in words), refusal.value


def test_numbers_that_only_together_are_impossible_are_refused_when_merged():
    with pytest.raises(PromptError, match="at most 45"):
        Condition(num_nodes=10).merged(Condition(num_edges=46))


def test_an_unknown_field_is_refused_by_name():
    with pytest.raises(PromptError, match='no field "nodes"'):
        Condition.from_dict({"nodes": 3})


def test_the_largest_graph_may_be_asked_for():
    assert Condition(num_nodes=MAX_NODES, num_edges=MAX_EDGES).num_edges == MAX_EDGES


def test_more_edges_than_can_be_drawn_are_refused():
    with pytest.raises(PromptError, match="at most 1,000,000"):
        Condition(num_nodes=MAX_NODES, attributes={"density": 1.0})


FINITE = st.floats(0, 1)


@given(st.lists(FINITE, min_size=1), FINITE)
def test_a_value_lies_within_the_bounds_of_its_level(values, value):
    terciles = Terciles.from_values({"clustering": values})
    low, high = terciles.bounds("clustering", terciles.level_of("clustering", value))
    assert low <= value <= high


@given(st.lists(FINITE, min_size=3, unique_by=lambda value: round(value, 5)))
def test_each_level_holds_a_third_of_the_values(values):
    terciles = Terciles.from_values({"clustering": values})
    found = [terciles.level_of("clustering", value) for value in values]
    for level in LEVELS:
        assert abs(found.count(level) - len(values) / 3) <= 1


def test_a_value_that_fills_the_first_third_is_low_as_a_whole():
    terciles = Terciles.from_values({"clustering": [0.0] * 9 + [0.5]})
    assert terciles.level_of("clustering", 0.0) == "low"
    assert terciles.level_of("clustering", 0.5) == "high"


def test_levels_cover_the_range_of_the_attribute_without_gaps():
    terciles = Terciles.from_values({"assortativity": np.linspace(-0.5, 0.5, 30)})
    bounds = [terciles.bounds("assortativity", level) for level in LEVELS]
    assert [bounds[0][0], bounds[2][1]] == [-1, 1]
    assert bounds[0][1] == bounds[1][0]
    assert bounds[1][1] == bounds[2][0]


def test_terciles_survive_json():
    terciles = Terciles.from_values({"clustering": [0.1, 0.2, 0.4], "diameter": [2, 3, 9], "density": []})
    assert set(terciles.cuts) == {"clustering", "diameter"}
    assert Terciles.from_dict(json.loads(json.dumps(terciles.to_dict()))) == terciles


def test_a_number_outside_its_level_is_refused():
    terciles = Terciles({"clustering": (0.1, 0.4)})
    terciles.check(Condition(levels={"clustering": "low"}, attributes={"clustering": 0.05}))
    terciles.check(Condition(levels={"diameter": "low"}, attributes={"diameter": 30}))  # no cut points, no verdict
    with pytest.raises(PromptError, match=r"low clustering \(0 to 0.1 here\) and clustering 0.9"):
        terciles.check(Condition(levels={"clustering": "low"}, attributes={"clustering": 0.9}))


@pytest.mark.parametrize("cuts", [{"clustering": (0.5, 0.1)}, {"clustering": (math.nan, 0.1)}, {"colour": (0, 1)}])
def test_bad_cut_points_are_refused(cuts):
    with pytest.raises(PromptError):
        Terciles(cuts)


def test_a_level_without_cut_points_is_refused():
    with pytest.raises(PromptError, match='no levels are known for "diameter"; they are known for clustering'):
        Terciles({"clustering": (0.1, 0.4)}).level_of("diameter", 3)
