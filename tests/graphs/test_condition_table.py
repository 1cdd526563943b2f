import numpy as np
import pytest
import torch

from graftable.errors import PromptError
from graftable.graphs.condition_table import VALUES, ConditionTable
from graftable.graphs.conditions import Condition

DOMAINS = ["tree", "social"]


def row(nodes, edges, clustering, components=1.0):
    named = dict.fromkeys(VALUES, 0.0) | {"num_nodes": nodes, "num_edges": edges, "mean_degree": 2 * edges / nodes}
    return [*(named | {"clustering": clustering, "components": components, "diameter": 4.0}).values()]


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    trees = [row(n, n - 1, 0.0) for n in random.integers(5, 80, 60)]
    social = [row(n, 4 * n, c) for n, c in zip(random.integers(20, 90, 60), random.uniform(0.2, 0.9, 60), strict=True)]
    table = ConditionTable()
    table.fill(torch.tensor([0] * 60 + [1] * 60), torch.tensor(trees + social))
    return table


def draws(table, condition, count=60):
    return [table.draw(condition, DOMAINS, np.random.default_rng(seed)) for seed in range(count)]


def test_what_is_asked_for_is_exact(table):
    wanted = Condition(num_nodes=37, num_edges=60, attributes={"clustering": 0.25})
    for drawn in draws(table, wanted, 10):
        assert (drawn.values["num_nodes"], drawn.values["num_edges"], drawn.values["clustering"]) == (37, 60, 0.25)


def test_open_sizes_come_from_the_rows_of_the_domain(table):
    assert all(drawn.domain == 0 for drawn in draws(table, Condition(domain="tree")))
    for drawn in draws(table, Condition(domain="tree")):
        assert drawn.values["num_edges"] == drawn.values["num_nodes"] - 1


@pytest.mark.parametrize("nodes", [1, 2, 7, 64, 500, 5000])
def test_a_tree_stays_a_tree_at_every_size(table, nodes):
    for drawn in draws(table, Condition(domain="tree", num_nodes=nodes), 5):
        assert drawn.values["num_edges"] == nodes - 1


def test_levels_choose_rows_of_their_third(table):
    terciles = table.terciles()
    for level in ("low", "medium", "high"):
        for drawn in draws(table, Condition(levels={"clustering": level})):
            assert terciles.level_of("clustering", drawn.values["clustering"]) == level


def test_a_range_of_sizes_is_kept(table):
    assert all(200 <= d.values["num_nodes"] <= 210 for d in draws(table, Condition(num_nodes_range=(200, 210))))


def test_text_scores_choose_among_rows(table):
    score = torch.full((120,), -50.0)
    score[60:] = 0.0
    drawn = [table.draw(Condition(), DOMAINS, np.random.default_rng(seed), score) for seed in range(40)]
    assert all(one.domain == 1 for one in drawn)


def test_edges_alone_give_enough_nodes(table):
    for drawn in draws(table, Condition(num_edges=300), 20):
        nodes = drawn.values["num_nodes"]
        assert drawn.values["num_edges"] == 300 <= nodes * (nodes - 1) / 2


def test_an_unknown_domain_is_named(table):
    with pytest.raises(PromptError, match='no domain "roads"'):
        table.draw(Condition(domain="roads"), DOMAINS, np.random.default_rng(0))


def test_a_table_loads_whatever_its_length(table):
    other = ConditionTable()
    other.load_state_dict(table.state_dict())
    assert torch.equal(other.values, table.values)


@pytest.mark.parametrize("nodes", [20, 60, 500])
@pytest.mark.parametrize("attribute", ["density", "mean_degree"])
@pytest.mark.parametrize("level", ["low", "medium", "high"])
def test_a_level_of_edges_holds_at_every_size(table, nodes, attribute, level):
    for drawn in draws(table, Condition(num_nodes=nodes, levels={attribute: level}), 8):
        edges = drawn.values["num_edges"]
        value = 2 * edges / nodes if attribute == "mean_degree" else 2 * edges / (nodes * (nodes - 1))
        assert table.terciles().level_of(attribute, value) == level


@pytest.mark.parametrize(
    "condition",
    [
        Condition(num_nodes_range=(10, 1000), num_edges=5000),
        Condition(num_edges=300, attributes={"density": 0.1}),
        Condition(domain="tree", num_nodes=20, attributes={"components": 3}),
    ],
)
def test_drawn_sizes_agree_with_each_other_and_the_request(table, condition):
    for drawn in draws(table, condition, 20):
        nodes, edges = drawn.values["num_nodes"], drawn.values["num_edges"]
        assert edges <= nodes * (nodes - 1) / 2
        if "density" in condition.attributes:
            assert 2 * edges / (nodes * (nodes - 1)) == pytest.approx(0.1, rel=0.05)
        if "components" in condition.attributes:
            assert edges == nodes - 3


def test_a_known_domain_without_graphs_is_said(table):
    table.fill(table.domain[:60], table.values[:60])
    with pytest.raises(PromptError, match='no graph of the domain "social"'):
        table.draw(Condition(domain="social"), DOMAINS, np.random.default_rng(0))


def test_one_graph_is_enough(table):
    table.fill(table.domain[:1], table.values[:1])
    assert torch.isfinite(table.standardised(table.values)).all()
    assert table.draw(Condition(attributes={"clustering": 0.3}), DOMAINS, np.random.default_rng(0)).domain == 0
