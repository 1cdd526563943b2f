import contextlib
import doctest
import importlib
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftable.errors import PromptError
from graftable.graphs import prompt_templates
from graftable.graphs.conditions import LEVELS, MAX_NODES, Condition, Terciles
from graftable.graphs.corpus import DOMAINS
from graftable.graphs.prompt_templates import HELD_OUT_PAIRS, LEVEL_PHRASES
from graftable.graphs.prompt_words import DOMAIN_WORDS
from graftable.graphs.prompts import PROMPT_TEMPLATES, held_out_prompts, paraphrases, parse_prompt, write_prompt

TERCILES = Terciles(
    {"mean_degree": (2.8, 4.9), "clustering": (0.1, 0.5), "density": (0.08, 0.2), "modularity": (0.36, 0.55)}
)


def read(text, domains=None):
    """What is asked for, as plainly as it can be written."""
    asked = parse_prompt(text, domains).to_dict()
    assert asked.pop("text") == text
    flat = {**asked, **asked.pop("attributes", {}), **asked.pop("levels", {})}
    return {
        {"num_nodes": "n", "num_edges": "m", "num_nodes_range": "range"}.get(name, name): value
        for name, value in flat.items()
        if name not in ("attributes", "levels")
    }


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("a power grid of 300 buses", {"domain": "power", "n": 300}),
        ("The power-1138-bus graph represents a network of buses in a power distribution system.",
         {"domain": "power", "n": 1138}),
        ("The graph has a low average degree, suitable for modeling social media interactions.",
         {"domain": "soc", "mean_degree": "low"}),
        ("a road network with roughly 1,500 intersections", {"domain": "road", "n": 1500}),
        ("about 200 substations and 250 lines", {"domain": "power", "n": 200, "m": 250}),
        ("molecule with 24 atoms, 26 bonds, connected", {"domain": "chem", "n": 24, "m": 26, "components": 1}),
        ("n=64 m=100", {"n": 64, "m": 100}),
        ("N: 64, M: 100", {"n": 64, "m": 100}),
        ("nodes: 30; edges: 60", {"n": 30, "m": 60}),
        ("100 nodes/200 links", {"n": 100, "m": 200}),
        ("a 64-node planar graph", {"domain": "planar", "n": 64}),
        ("a graph of size 64", {"n": 64}),
        ("number of vertices = 64", {"n": 64}),
        ("300 interconnected electric buses", {"domain": "power", "n": 300}),
        ("10 000 nodes", {"n": 10000}),
        ("1.5k nodes", {"n": 1500}),
        ("1e3 nodes", {"n": 1000}),
        ("a dozen nodes", {"n": 12}),
        ("3-regular graph with 20 nodes", {"n": 20, "m": 30, "mean_degree": 3}),
        ("100 stations, average of 4 links per station", {"domain": "infra", "n": 100, "m": 200, "mean_degree": 4}),
        ("each node has 4 neighbours", {"mean_degree": 4}),
        ("every bus has about 3 lines", {"domain": "power", "mean_degree": 3}),
        ("5 communities of 20 people", {"domain": "soc", "n": 100}),
        ("20 nodes each in 3 components", {"n": 60, "components": 3}),
        ("60 nodes in 3 components", {"n": 60, "components": 3}),
        ("20 nodes per community", {"domain": "sbm"}),
        ("20 nodes per community, 3 communities", {"domain": "sbm", "n": 60}),
        ("eight molecules with 12 atoms each", {"domain": "chem", "n": 12}),
        ("a community of 40 dolphins", {"domain": "asn", "n": 40}),
        ("4 cliques of 5 nodes", {"domain": "sbm", "n": 20}),
        ("I want 20 graphs of 50 nodes", {"n": 50}),
        ("100 nodes on average", {"n": 100}),
        ("a 10 by 12 grid", {"domain": "grid", "n": 120}),
        ("4x4x4 lattice", {"domain": "grid", "n": 64}),
        ("a social network of 50 people in 3 towns", {"domain": "soc", "n": 50}),
        ("a complete graph of 10 nodes", {"n": 10, "m": 45, "density": 1}),
        ("no edges, 5 nodes", {"n": 5, "m": 0}),
        ("450 edges and mean degree 3", {"n": 300, "m": 450, "mean_degree": 3}),
    ],
)  # fmt: skip
def test_numbers_are_read_exactly(text, asked):
    assert read(text) == asked


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("between 50 and 80 nodes", {"range": [50, 80]}),
        ("between 50 nodes and 80 nodes", {"range": [50, 80]}),
        ("from 20 to 30 atoms", {"domain": "chem", "range": [20, 30]}),
        ("50-80 nodes", {"range": [50, 80]}),
        ("50–80 nodes", {"range": [50, 80]}),  # noqa: RUF001
        ("at least 100 nodes", {"range": [100, 200]}),
        ("more than 100 nodes", {"range": [101, 200]}),
        ("100 nodes or more", {"range": [100, 200]}),
        ("100 nodes at least", {"range": [100, 200]}),
        ("200 or fewer nodes", {"range": [100, 200]}),
        ("no more than 40 atoms", {"domain": "chem", "range": [20, 40]}),
        ("fewer than 10 nodes", {"range": [5, 9]}),
        ("at least 40,000 nodes", {"range": [40000, MAX_NODES]}),
        ("n >= 50", {"range": [50, 100]}),
        ("20 < n < 40", {"range": [20, 39]}),
        ("at least 20 and at most 40 nodes", {"range": [20, 40]}),
        ("less than 10% density", {"density": 0.1}),
        ("clustering above 0.4", {"clustering": 0.4}),
        ("more than 2 components", {"components": 3}),
        ("a diameter below 5", {"diameter": 4}),
        ("fewer than 30 edges", {"m": 29}),
        ("a few hundred users", {"domain": "soc", "range": [200, 900]}),
        ("between 100 and 151 edges", {"m": 125}),
        ("at least 30 edges", {"m": 30}),
        ("clustering between 0.2 and 0.4", {"clustering": 0.3}),
        ("a diameter of 5 to 8", {"diameter": 6}),
    ],
)
def test_ranges_and_bounds_are_read(text, asked):
    assert read(text) == asked


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("mean degree of 4.2", {"mean_degree": 4.2}),
        ("average degree 4.2, clustering coefficient of 0.3, modularity 0.6",
         {"mean_degree": 4.2, "clustering": 0.3, "modularity": 0.6}),
        ("a 4.2 average degree", {"mean_degree": 4.2}),
        ("clustering 0,3", {"clustering": 0.3}),
        ("clustering of 30 %", {"clustering": 0.3}),
        ("edge density = 7%", {"density": 0.07}),
        ("assortativity of −0.2", {"assortativity": -0.2}),  # noqa: RUF001
        ("a diameter equal to 12", {"diameter": 12}),
        ("degree Gini coefficient 0.4", {"degree_gini": 0.4}),
        ("global clustering .25", {"transitivity": 0.25}),
        ("mean_degree=3", {"mean_degree": 3}),
        ("a low clustering of 0.1", {"clustering": 0.1}),
        ("maximum degree 10", {}),
        ("no clustering", {"clustering": 0}),
        ("without triangles", {"clustering": 0}),
        ("a network in one piece", {"components": 1}),
        ("not connected", {"components": "high"}),
        ("substations connected by lines", {"domain": "power"}),
        ("the 2nd largest component", {}),
        ("any two nodes are joined if they are near", {}),
        ("64 of them", {}),
    ],
)  # fmt: skip
def test_attributes_are_read(text, asked):
    assert read(text) == asked


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("low clustering", {"clustering": "low"}),
        ("clustering is rather low", {"clustering": "low"}),
        ("clustering: high", {"clustering": "high"}),
        ("an average degree that is very high", {"mean_degree": "high"}),
        ("highly clustered", {"clustering": "high"}),
        ("weakly clustered", {"clustering": "low"}),
        ("a sparse graph", {"mean_degree": "low"}),
        ("densely connected", {"mean_degree": "high"}),
        ("moderately dense", {"mean_degree": "medium"}),
        ("low density", {"density": "low"}),
        ("strong communities", {"modularity": "high"}),
        ("moderately strong community structure", {"modularity": "medium"}),
        ("low average degree and clustering", {"mean_degree": "low", "clustering": "low"}),
        ("high clustering but low modularity", {"clustering": "high", "modularity": "low"}),
        ("low-to-moderate clustering", {"clustering": "medium"}),
        ("many links per node", {"mean_degree": "high"}),
        ("many hubs", {"degree_gini": "high"}),
        ("disassortative", {"assortativity": "low"}),
        ("a large diameter", {"diameter": "high"}),
        ("not dense", {"mean_degree": "low"}),
        ("not sparse", {"mean_degree": "high"}),
        ("neither dense nor sparse", {"mean_degree": "medium"}),
        ("not very clustered", {"clustering": "medium"}),
        ("without high clustering", {"clustering": "low"}),
        ("no communities", {"modularity": "low"}),
        ("a large graph with strong ties in high school", {"domain": "contact"}),
    ],
)
def test_levels_are_read(text, asked):
    assert read(text) == asked


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("friendships at a college on Facebook", "socfb"),
        ("a friendship network of students at a college", "socfb"),
        ("a social network of dolphins", "asn"),
        ("a social network of email users", "email"),
        ("papers that cite each other", "citation"),
        ("who wrote papers with whom: a co-authorship network", "col"),
        ("a food web in a lake", "eco"),
        ("web pages and their hyperlinks", "web"),
        ("airports and flights", "infra"),
        ("internet routers", "tech"),
        ("pupils in face-to-face contact", "contact"),
        ("a protein contact network", "bio"),
        ("a trade network of 50 countries", "econ"),
        ("a grid of 300 buses", "power"),
        ("a grid of 300 nodes", "grid"),
        ("a planar road network", "road"),
        ("a small-world graph of 30 people", "ws"),
        ("Barabási–Albert", "ba"),  # noqa: RUF001
        ("three communities", "sbm"),
        ("caveman graph", "community"),
        ("sensors in a random geometric graph", "rgg"),
        ("not a power grid but a road network", "road"),
        ("non-planar", None),
        ("a graph rather than a tree", None),
        ("some graph that I cannot describe", None),
    ],
)
def test_domains_are_recognised(text, domain):
    assert parse_prompt(text).domain == domain


def test_domains_that_are_not_allowed_are_not_asked_for():
    assert parse_prompt("a power grid", domains=["road"]).domain is None
    assert parse_prompt("a power grid and a road network", domains=["road"]).domain == "road"


def test_a_domain_of_the_user_is_recognised_by_its_name():
    assert parse_prompt("a Knitting pattern of 30 stitches", domains=["knitting", "power"]).domain == "knitting"
    text, condition = write_prompt("knitting", 30, 40, {}, None, Random(1))
    assert parse_prompt(text, domains=["knitting"]).domain == condition.domain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["empty", "a power grid of 300 buses"]),
        (" \n\t", ["empty"]),
        ("0 nodes", ["0 nodes", "1 to 50,000"]),
        ("zero nodes", ["0 nodes"]),
        ("10^7 nodes", ["10,000,000 nodes"]),
        ("one million nodes", ["1,000,000 nodes"]),
        ("-5 nodes", ["-5 nodes"]),
        ("3.5 nodes", ["3.5 nodes", "whole"]),
        ("2.3 edges", ["2.3 edges", "whole"]),
        ("clustering NaN", ["clustering nan"]),
        ("clustering of 1.5", ["clustering 1.5"]),
        ("low clustering and high clustering", ["low clustering", "high clustering"]),
        ("sparse with a high average degree", ["low mean degree", "high mean degree"]),
        ("dense but not dense", ["high mean degree", "not high mean degree"]),
        ("300 buses, 200 nodes", ["300 nodes", "200 nodes"]),
        ("between 20 and 30 nodes, 50 nodes", ["20 to 30 nodes", "50 nodes"]),
        ("20 edges, 30 links", ["20 edges", "30 edges"]),
        ("clustering 0.1 and clustering 0.2", ["clustering 0.1", "clustering 0.2"]),
        ("connected, with 3 components", ["components 3", "components 1"]),
        ("a power grid and a molecule", ["power grid", "molecule"]),
        ("20 nodes and 500 edges", ["500 edges", "20 nodes"]),
        ("a connected graph with 100 nodes and 50 edges", ["50 edges", "at least 99"]),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_sentence(text, words):
    with pytest.raises(PromptError) as refusal:
        parse_prompt(text)
    message = str(refusal.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(PromptError):
        assert parse_prompt(text).text == text


PIECES = (
    "a of 3 0.5 nodes buses degree clustering low high not no and between to : = is per communities at least x grid"
)


@given(st.lists(st.sampled_from(PIECES.split())))
def test_any_order_of_known_words_is_read_or_refused(words):
    with contextlib.suppress(PromptError):
        parse_prompt(" ".join(words))


ONES = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen"""
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def spelled(number):
    """The number in English words."""
    if number < 20:
        return ONES.split()[number]
    if number < 100:
        return TENS.split()[number // 10 - 2] + (f"-{spelled(number % 10)}" if number % 10 else "")
    size, name = (1000, "thousand") if number >= 1000 else (100, "hundred")
    rest = number % size
    joint = " and " if size == 100 else " "
    return f"{spelled(number // size)} {name}" + (joint + spelled(rest) if rest else "")


@given(
    st.integers(1, MAX_NODES), st.sampled_from(["{} nodes", "a graph with {} buses, low clustering", "{}-node graph"])
)
def test_a_number_of_nodes_is_the_same_in_digits_groups_and_words(number, text):
    for written in (str(number), f"{number:,}", spelled(number)):
        assert parse_prompt(text.format(written)).num_nodes == number


def test_reading_takes_work_in_proportion_to_the_text():
    def calls(text):
        """How many functions, of Python and of C, reading the text calls: unlike seconds, the same on any machine."""
        counted = Counter()
        sys.setprofile(lambda frame, event, argument: counted.update([event]))
        try:
            parse_prompt(text)
        finally:
            sys.setprofile(None)
        return counted["call"] + counted["c_call"]

    phrase = "a sparse network of friendly people that is not very clustered, "
    calls(phrase)
    assert calls(phrase * 400) < 5 * calls(phrase * 100)


def test_reading_prompts_loads_no_torch():
    code = "import sys, graftable.graphs.prompts; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@st.composite
def written_prompts(draw):
    """A graph's record, and a prompt for it."""
    nodes = draw(st.integers(1, 400))
    edges = draw(st.integers(0, min(nodes * (nodes - 1) // 2, 900)))
    unit = st.floats(0, 1)
    record = {
        "mean_degree": 2 * edges / nodes,
        "density": 2 * edges / max(nodes * (nodes - 1), 1),
        **{name: draw(unit) for name in ("clustering", "transitivity", "degree_gini", "modularity", "assortativity")},
        "components": float(max(1, nodes - edges)),
        "diameter": float(draw(st.integers(0, nodes - 1))),
    }
    domain = draw(st.none() | st.sampled_from(sorted(DOMAINS)))
    held_out = draw(st.booleans())
    text, condition = write_prompt(domain, nodes, edges, record, TERCILES, Random(draw(st.integers())), held_out)
    return domain, nodes, edges, record, text, condition


@given(written_prompts())
def test_what_is_written_is_read_back(written):
    *_, text, condition = written
    assert parse_prompt(text) == condition


@given(written_prompts())
def test_prompts_say_only_what_is_true(written):
    domain, nodes, edges, record, text, condition = written
    assert condition.text == text
    assert condition.domain in (None, domain)
    assert condition.num_nodes in (None, nodes)
    assert condition.num_edges in (None, edges)
    for name, value in condition.attributes.items():
        assert abs(value - record[name]) <= 0.00501
    for name, level in condition.levels.items():
        assert TERCILES.level_of(name, record[name]) == level


@given(written_prompts())
def test_every_prompt_asks_for_something(written):
    condition = written[-1]
    assert condition != Condition(text=condition.text)


RECORD = {"mean_degree": 2.8, "clustering": 0.3, "density": 2.8 / 299, "modularity": 0.5, "diameter": 9.0}


def prompts_written(count, held_out=False):
    rng = Random(0)
    return [write_prompt("power", 300, 420, RECORD, TERCILES, rng, held_out) for _ in range(count)]


@pytest.mark.parametrize("held_out", [False, True])
def test_each_side_of_the_split_writes_without_the_other(held_out, monkeypatch):
    own = {key: texts for key, texts in prompt_templates._POOLS.items() if key[1] == held_out}
    monkeypatch.setattr(prompt_templates, "_POOLS", own)
    assert len({text for text, _ in prompts_written(500, held_out)}) > 200


def test_a_fifth_of_the_templates_of_each_kind_is_held_out():
    kinds = {template.kind for template in PROMPT_TEMPLATES}
    assert {"domain", "level", "numeric", "mixture", "level:clustering", "number:num_nodes"} <= kinds
    for kind in kinds:
        held_out = [template.held_out for template in PROMPT_TEMPLATES if template.kind == kind]
        assert sum(held_out) == len(held_out) // 5 >= 1


def test_no_template_is_on_both_sides_of_the_split():
    sides = {}
    for template in PROMPT_TEMPLATES:
        sides.setdefault((template.kind, template.text), set()).add(template.held_out)
    assert all(len(side) == 1 for side in sides.values())


def test_held_out_pairs_of_levels_are_never_asked_for_together_in_training():
    both = {"clustering": 0.9, "mean_degree": 2.0}
    rng = Random(0)

    def pairs(held_out):
        written = [write_prompt(None, 9, 9, both, TERCILES, rng, held_out)[1].levels for _ in range(400)]
        return {tuple(sorted(levels.items())) for levels in written}

    assert not pairs(held_out=False) & HELD_OUT_PAIRS
    assert pairs(held_out=True) & HELD_OUT_PAIRS


def test_all_kinds_of_request_are_written():
    conditions = [condition for _, condition in prompts_written(400)]
    assert any(c.domain and not c.num_nodes and not c.levels and not c.attributes for c in conditions)
    assert any(c.levels and not c.domain for c in conditions)
    assert any(c.num_nodes and not c.domain for c in conditions)
    assert any(c.num_nodes and c.domain and c.levels for c in conditions)
    assert {level for c in conditions for level in c.levels} == set(LEVEL_PHRASES)


def test_prompts_are_a_function_of_the_random_state():
    assert prompts_written(50) == prompts_written(50)


def test_every_domain_of_the_corpus_has_words():
    assert set(DOMAIN_WORDS) == set(DOMAINS)
    for words in DOMAIN_WORDS.values():
        assert len(words.names) >= 3
        assert len(words.definitions) >= 2


@pytest.mark.parametrize("domain", sorted(DOMAINS))
def test_paraphrases_of_a_domain_differ_and_ask_for_it_alone(domain):
    texts = paraphrases(domain=domain)
    assert len(texts) == len(set(texts)) >= 10
    assert all(parse_prompt(text) == Condition(text=text, domain=domain) for text in texts)
    for name in DOMAIN_WORDS[domain].names:
        assert parse_prompt(f"an {name}").domain == domain


def test_paraphrases_of_levels_ask_for_them():
    levels = {"clustering": "high", "mean_degree": "low"}
    for domain in (None, "road"):
        texts = paraphrases(domain=domain, levels=levels)
        assert len(texts) >= 10
        assert all(parse_prompt(text) == Condition(text=text, domain=domain, levels=levels) for text in texts)
    assert not set(paraphrases(levels=levels, held_out=True)) & set(paraphrases(levels=levels, held_out=False))


def test_held_out_prompts_cover_every_level_and_mean_what_they_say():
    pairs = list(held_out_prompts(attributes=tuple(LEVEL_PHRASES), domains=("power", "tree")))
    assert all(parse_prompt(text) == condition for text, condition in pairs)
    asked = {item for _, condition in pairs for item in condition.levels.items()}
    assert asked == {(name, level) for name in LEVEL_PHRASES for level in LEVELS}
    assert {condition.domain for _, condition in pairs} == {None, "power", "tree"}


@pytest.mark.parametrize("name", ["conditions", "prompt_lexer", "prompt_templates", "prompt_words", "prompts"])
def test_the_examples_in_the_docstrings_hold(name):
    results = doctest.testmod(importlib.import_module(f"graftable.graphs.{name}"))
    assert results.attempted > 0
    assert results.failed == 0
