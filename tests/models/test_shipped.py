"""The weights that ship: small, readable offline, exact in size, and better than chance at following a prompt."""

import networkx as nx
import pytest

from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conditions import Condition
from graftable.graphs.conversion import to_networkx
from graftable.graphs.corpus import DOMAINS
from graftable.graphs.prompts import parse_prompt
from graftable.models import LGGM
from graftable.models.pretrained import load_pretrained, pretrained_names


@pytest.fixture(scope="module")
def shipped():
    return load_pretrained(LGGM, "lggm")


def test_the_shipped_model_knows_every_domain_of_the_corpus(shipped):
    assert "lggm" in pretrained_names()
    assert shipped.domains == list(DOMAINS)


def test_every_domain_and_size_is_a_simple_graph_of_exactly_that_size(shipped):
    sizes = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89] * 3
    conditions = [Condition(domain=name, num_nodes=n) for name, n in zip([*DOMAINS] * 2, sizes, strict=False)]
    for graph, condition in zip(shipped.generate(conditions, seed=3), conditions, strict=True):
        drawn = to_networkx(graph)
        assert drawn.number_of_nodes() == condition.num_nodes
        assert 2 * drawn.number_of_edges() == graph.num_edges
        assert nx.number_of_selfloops(drawn) == 0


def test_a_size_beyond_any_training_graph_is_exact(shipped):
    (graph,) = shipped.generate([Condition(domain="road", num_nodes=700)], seed=0)
    assert graph.num_nodes == 700


def test_levels_in_words_order_the_graphs(shipped):
    def mean(prompt, attribute):
        graphs = shipped.generate([parse_prompt(prompt)] * 12, seed=1)
        return sum(graph_attributes(graph)[attribute] for graph in graphs) / len(graphs)

    for attribute, words in (("clustering", "clustering"), ("mean_degree", "average degree")):
        low, high = (mean(f"a graph of 40 nodes with {level} {words}", attribute) for level in ("low", "high"))
        assert high > 1.5 * low


def test_trees_are_nearly_always_trees_without_a_mask(shipped):
    graphs = shipped.generate([parse_prompt("a random tree with 40 nodes")] * 20, seed=2)
    assert sum(nx.is_tree(to_networkx(graph)) for graph in graphs) >= 14


def test_the_tree_mask_gives_trees_always(shipped):
    conditions = [Condition(num_nodes=30)] * 10
    graphs = shipped.generate(conditions, seed=2, connected=True, acyclic=True)
    assert all(nx.is_tree(to_networkx(graph)) for graph in graphs)
