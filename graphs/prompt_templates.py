"""Prompts of our own for training and evaluation: sentences, and phrases for what they ask.

A prompt is a sentence with slots that noun phrases fill ("{a_name} with {traits}" and "low clustering"). Every fifth
sentence and phrase of each kind is held out: training never sees it, evaluation uses nothing else. Some pairs of levels
are held out as well (:data:`HELD_OUT_PAIRS`).

There are four kinds of prompt: the name or definition of a domain; one or two levels; numbers; and mixtures of these.

References:
    Wang et al., "Large Generative Graph Models", 2024, section on text-to-graph generation. The wording is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from random import Random
from typing import NamedTuple

from .condition_checks import LEVELS, Level, implied_edges
from .conditions import Condition, Terciles
from .prompt_words import words_of

__all__ = ["HELD_OUT_PAIRS", "PROMPT_TEMPLATES", "Template", "held_out_prompts", "paraphrases", "write_prompt"]

SENTENCES = {
    "domain": (
        "{a_name}", "A {kind} of the kind: {name}.", "Draw {a_name}.", "The graph is {a_name}.", "Generate {a_name}.",
        "This network represents {definition}.", "{a_name}: {definition}", "A {kind} of {definition}.",
        "I need {a_name} that looks real.", "The {kind} shows {definition}.", "Create a realistic {name}.",
        "Nodes and edges describe {definition}.", "An example of {a_name}, that is, {definition}.", "Make {a_name}.",
        "Please give me {a_name}.", "A synthetic {name}", "Topology of {a_name}.", "{definition}, drawn as a {kind}",
        "The {kind} comes from {a_name}.", "Sample {a_name} for me.",
    ),
    "level": (
        "A {kind} with {traits}.", "The graph has {traits}.", "{traits}", "Generate a {kind} that has {traits}.",
        "Create a {kind} showing {traits}.", "This network shows {traits}.", "Draw a {kind} of {traits}.",
        "I want {traits} in the {kind}.", "Random {kind} with {traits}", "Make a {kind} that is drawn with {traits}.",
        "It has {traits}.", "The {kind} should have {traits}.", "Nodes and edges arranged with {traits}.",
        "Sample a {kind} having {traits}.", "Please give me a {kind} that exhibits {traits}.",
    ),
    "numeric": (
        "A {kind} with {traits}.", "The graph has {traits}.", "{traits}", "Generate a {kind} that has {traits}.",
        "Create a {kind}: {traits}.", "This network counts {traits}.", "Draw a {kind} of {traits}.",
        "I want a {kind} with exactly {traits}.", "Random {kind}, {traits}", "Make a {kind} that consists of {traits}.",
        "A graph on {traits}.", "The {kind} should have {traits}.", "Build a {kind} from {traits}.",
        "Sample a {kind} having {traits}.", "Please give me a {kind} comprising {traits}.",
    ),
    "mixture": (
        "{a_name} of {traits}", "{a_name} with {traits}.", "Draw {a_name} with {traits}.",
        "The graph is {a_name}; it has {traits}.", "I need {a_name} that has {traits}.", "{name}, {traits}",
        "Generate {a_name} of {traits}.", "This network represents {definition} and has {traits}.",
        "Create a realistic {name} with {traits}.", "Give me {a_name} showing {traits}.",
        "Make {a_name} having {traits}.", "{traits}: {a_name}", "A {kind} of {definition}, with {traits}.",
        "The {name} should have {traits}.", "Please build {a_name} from {traits}.", "A synthetic {name} with {traits}",
        "{a_name}: {definition}; {traits}.", "Simulate {a_name} of {traits}.", "Sample {a_name} with {traits}.",
        "What could {a_name} with {traits} look like?",
    ),
}  # fmt: skip

LEVEL_PHRASES = {
    "mean_degree": (
        "{a_level} average degree", "{a_level} mean degree", "{level} average degree", "{quantity} links per node",
        "{level} node degrees", "{a_level} average node degree", "{a_adjective} structure",
        "an average degree that is {level}", "{a_level} degree on average", "a mean degree that is {level}",
        "{level} degrees", "{quantity} edges per node",
    ),
    "clustering": (
        "{level} clustering", "{a_level} clustering coefficient", "{a_level} average clustering coefficient",
        "clustering that is {level}", "{a_level} level of clustering", "{level} average clustering",
        "{a_adjective} structure", "{strength} clustering", "a clustering coefficient that is {level}",
        "{a_level} mean clustering coefficient", "{level} local clustering",
    ),
    "density": (
        "{level} density", "{a_level} edge density", "{a_level} density", "a density that is {level}",
        "{a_level} link density", "an edge density that is {level}", "{level} edge density", "{level} overall density",
        "{a_level} density of edges", "{a_level} level of density",
    ),
    "modularity": (
        "{level} modularity", "{a_level} modularity", "{strength} community structure",
        "{a_strength} division into communities", "a modularity that is {level}", "{a_strength} community structure",
        "{strength} communities", "{a_adjective} structure", "{strength} modular structure",
        "{a_level} level of modularity", "{level} overall modularity",
    ),
}  # fmt: skip

NUMBER_PHRASES = {
    "num_nodes": (
        "{x} {nodes}", "{x} nodes", "{x} {nodes}", "exactly {x} {nodes}", "a total of {x} nodes", "{x} vertices",
        "n = {x}", "about {x} {nodes}", "{x} {nodes}", "size {x}",
    ),
    "num_edges": ("{x} {edges}", "{x} edges", "{x} links", "m = {x}", "a total of {x} edges", "exactly {x} {edges}"),
    "mean_degree": (
        "mean degree {x}", "a mean degree of {x}", "an average degree of {x}", "average degree {x}",
        "a mean degree equal to {x}", "average degree of about {x}", "an average node degree of {x}",
    ),
    "clustering": (
        "clustering {x}", "a clustering coefficient of {x}", "an average clustering of {x}",
        "clustering coefficient {x}", "a clustering coefficient near {x}", "average clustering around {x}",
    ),
    "components": (
        "{x} components", "{x} connected components", "exactly {x} components", "{x} separate parts",
        "a total of {x} components",
    ),
    "one component": (
        "one connected component", "a single component", "1 component", "one component", "a single connected component",
    ),
    "diameter": (
        "diameter {x}", "a diameter of {x}", "diameter = {x}", "a largest distance of {x}", "a diameter equal to {x}",
    ),
}  # fmt: skip
for _name, _word in {
    "modularity": "modularity", "density": "density", "transitivity": "transitivity", "assortativity": "assortativity",
    "degree_gini": "degree inequality",
}.items():  # fmt: skip
    _article = "an" if _word[0] in "aeiou" else "a"
    NUMBER_PHRASES[_name] = (
        f"{_word} {{x}}", f"{_article} {_word} of {{x}}", f"{_word} around {{x}}", f"{_word} = {{x}}",
        f"{_article} {_word} near {{x}}",
    )  # fmt: skip

_Wording = dict[str, tuple[str, ...]]
LEVEL_WORDS: dict[Level, _Wording] = {
    "low": {
        "level": ("low", "small", "rather low"),
        "strength": ("weak", "slight", "very weak"),
        "quantity": ("few", "only a few"),
        "mean_degree": ("sparse",),
        "clustering": ("weakly clustered",),
        "modularity": ("weakly modular",),
    },
    "medium": {
        "level": ("medium", "moderate", "intermediate"),
        "strength": ("moderate", "moderately strong"),
        "quantity": ("a moderate number of",),
        "mean_degree": ("moderately dense",),
        "clustering": ("moderately clustered",),
        "modularity": ("moderately modular",),
    },
    "high": {
        "level": ("high", "large", "very high"),
        "strength": ("strong", "pronounced", "very strong"),
        "quantity": ("many", "a large number of"),
        "mean_degree": ("dense",),
        "clustering": ("highly clustered",),
        "modularity": ("strongly modular",),
    },
}
"""Words for the levels: before a noun, before "communities", before things that are counted, and as an adjective."""

HELD_OUT_PAIRS = frozenset(
    {
        (("clustering", "high"), ("mean_degree", "low")),
        (("clustering", "low"), ("density", "high")),
        (("mean_degree", "high"), ("modularity", "medium")),
    }
)
"""Pairs of levels (names in alphabetical order) that training prompts never ask for together."""


class Template(NamedTuple):
    """One sentence or phrase with slots; ``kind`` says what it serves for."""

    kind: str
    text: str
    held_out: bool


def _templates(table: Mapping[str, Sequence[str]], prefix: str = "") -> tuple[Template, ...]:
    # Every fifth of its list, so that a line appended later leaves the fate of the earlier ones unchanged.
    return tuple(
        Template(prefix + kind, text, index % 5 == 4)
        for kind, texts in table.items()
        for index, text in enumerate(texts)
    )


PROMPT_TEMPLATES = (
    *_templates(SENTENCES),
    *_templates(LEVEL_PHRASES, "level:"),
    *_templates(NUMBER_PHRASES, "number:"),
)

_POOLS: dict[tuple[str, bool], tuple[str, ...]] = {}
for _template in PROMPT_TEMPLATES:
    _key = (_template.kind, _template.held_out)
    _POOLS[_key] = (*_POOLS.get(_key, ()), _template.text)

# What prompts speak of, as often as it stands here.
_KINDS = ("domain", "level", "numeric", "mixture", "mixture")
_NUMBERS = ("num_nodes", "num_nodes", "num_edges", "mean_degree", "mean_degree", "clustering", "clustering", "other")
_OTHER_NUMBERS = ("modularity", "density", "transitivity", "assortativity", "degree_gini", "diameter", "components")


def write_prompt(
    domain: str | None,
    num_nodes: int,
    num_edges: int,
    attributes: Mapping[str, float],
    terciles: Terciles | None,
    rng: Random,
    held_out: bool = False,
) -> tuple[str, Condition]:
    """A prompt that is true of a graph, and the condition that it states.

    Args:
        domain: Domain of the graph, or None.
        num_nodes: Its number of nodes.
        num_edges: Its number of edges.
        attributes: Its attributes, as from :func:`graftable.graphs.attributes.graph_attributes`.
        terciles: What the levels mean; None writes no levels.
        rng: Source of the draw; the prompt is a function of its state.
        held_out: Whether to write with the held-out templates, and with those only.

    Returns:
        The text, and the condition that :func:`graftable.graphs.prompts.parse_prompt` reads from it. Its numbers are
        as written (a clustering of 0.31, not 0.30871), except that a mean degree or density beside a number of nodes
        gets as many digits as it takes to imply the true number of edges.

    Example:
        >>> text, condition = write_prompt("power", 300, 420, {"mean_degree": 2.8}, None, Random(0))
        >>> text, condition.num_edges
        ('Sample a transmission grid with about 300 buses and an average degree of 2.8.', 420)
    """
    record = {**attributes, "num_nodes": num_nodes, "num_edges": num_edges}
    kind = rng.choice(_KINDS)
    if kind == "domain" and domain is not None:
        return _finished(kind, domain, {}, {}, rng, held_out)
    levels = _draw_levels(attributes, terciles, rng, held_out) if kind in ("level", "mixture") else {}
    with_numbers = not levels or (kind == "mixture" and rng.random() < 0.6)
    numbers = _draw_numbers(record, levels, rng) if with_numbers else {}
    if kind == "mixture" and domain is not None:
        return _finished(kind, domain, numbers, levels, rng, held_out)
    return _finished("numeric" if numbers else "level", None, numbers, levels, rng, held_out)


def paraphrases(
    domain: str | None = None, levels: Mapping[str, Level] | None = None, held_out: bool | None = None
) -> list[str]:
    """Prompts that all ask for the same: a domain, or levels, or both; one for each sentence.

    Args:
        domain: The domain that each prompt names.
        levels: The levels that each prompt asks for.
        held_out: True and False keep one side of the split, None both.

    Example:
        >>> paraphrases(levels={"clustering": "low"})[:2]
        ['A network with weak clustering.', 'The graph has a clustering coefficient that is small.']
    """
    kind = "mixture" if domain and levels else "domain" if domain else "level"
    rng = Random(0)
    sides = (False, True) if held_out is None else (held_out,)
    texts = [
        _fill(sentence, domain, _traits(domain, {}, levels or {}, rng, side), rng)
        for side in sides
        for sentence in _POOLS[kind, side]
    ]
    return list(dict.fromkeys(texts))


def held_out_prompts(
    attributes: Sequence[str] = ("mean_degree", "clustering"), domains: Sequence[str] = ()
) -> Iterator[tuple[str, Condition]]:
    """All held-out prompts for each level of each attribute, and for each domain, with what they ask for.

    Example:
        >>> text, condition = next(held_out_prompts())
        >>> text, condition.levels
        ('Create a network showing low node degrees.', {'mean_degree': 'low'})
    """
    for name, level in product(attributes, LEVELS):
        for sentence, phrase in product(_POOLS["level", True], _POOLS[f"level:{name}", True]):
            text = _fill(sentence, None, [phrase.format(**_level_slots(name, level, None))], Random(0))
            yield text, Condition(text=text, levels={name: level})
    for domain in domains:
        for text in paraphrases(domain=domain, held_out=True):
            yield text, Condition(text=text, domain=domain)


def _draw_levels(
    attributes: Mapping[str, float], terciles: Terciles | None, rng: Random, held_out: bool
) -> dict[str, Level]:
    known = [name for name in LEVEL_PHRASES if terciles is not None and name in terciles.cuts and name in attributes]
    if not known or terciles is None:
        return {}
    names = rng.sample(known, min(len(known), 1 + (rng.random() < 0.5)))
    levels = {name: terciles.level_of(name, attributes[name]) for name in names}
    if not held_out and tuple(sorted(levels.items())) in HELD_OUT_PAIRS:
        del levels[names[1]]
    return levels


def _draw_numbers(record: Mapping[str, float], levels: Mapping[str, Level], rng: Random) -> dict[str, float]:
    """One to three numbers of the graph, as people write them."""
    names: dict[str, None] = {}
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(_NUMBERS)
        names[rng.choice(_OTHER_NUMBERS) if name == "other" else name] = None
    chosen = [name for name in names if name in record and name not in levels]
    # Edges with a mean degree imply the number of nodes, so it is said too.
    if not chosen or ("num_edges" in chosen and not {"mean_degree", "density"}.isdisjoint(chosen)):
        chosen = list(dict.fromkeys(["num_nodes", *chosen]))
    sized = "num_nodes" in chosen
    return {name: _rounded(name, record, sized) for name in chosen}


def _rounded(name: str, record: Mapping[str, float], sized: bool) -> float:
    """Two digits after the point, or more where the true number of edges needs them."""
    value = record[name]
    if name not in ("mean_degree", "density"):
        return value if name in ("num_nodes", "num_edges") else round(value, 2)
    nodes, edges = int(record["num_nodes"]), record["num_edges"]
    for digits in range(2, 10):
        rounded = round(value, digits)
        if (rounded or not value) and not (sized and int(implied_edges(nodes, name, rounded) + 0.5) != edges):
            return rounded
    return value


def _finished(
    kind: str,
    domain: str | None,
    numbers: dict[str, float],
    levels: dict[str, Level],
    rng: Random,
    held_out: bool,
) -> tuple[str, Condition]:
    """The filled sentence with its condition."""
    text = _fill(rng.choice(_POOLS[kind, held_out]), domain, _traits(domain, numbers, levels, rng, held_out), rng)
    nodes, edges = numbers.pop("num_nodes", None), numbers.pop("num_edges", None)
    return text, Condition(
        text=text,
        domain=domain,
        num_nodes=None if nodes is None else int(nodes),
        num_edges=None if edges is None else int(edges),
        attributes=numbers,
        levels=levels,
    )


def _traits(
    domain: str | None, numbers: Mapping[str, float], levels: Mapping[str, Level], rng: Random, held_out: bool
) -> list[str]:
    """A phrase for each number and each level."""
    words, generic = words_of(domain), words_of(None)
    nodes, edges = (words.nodes or generic.nodes)[0], (words.edges or generic.edges)[0]
    phrases = []
    for name, value in numbers.items():
        kind = "one component" if name == "components" and value == 1 else name
        phrase = rng.choice(_POOLS[f"number:{kind}", held_out])
        if value == 1:  # one node, one edge
            phrase = phrase.replace("{nodes}", "node").replace("{edges}", "edge")
            phrase = phrase.replace("nodes", "node").replace("edges", "edge").replace("links", "link")
        phrases.append(phrase.format(x=_shown(value), nodes=nodes, edges=edges))
    for name, level in levels.items():
        phrases.append(rng.choice(_POOLS[f"level:{name}", held_out]).format(**_level_slots(name, level, rng)))
    return phrases


def _level_slots(name: str, level: Level, rng: Random | None) -> dict[str, str]:
    """Words for a level, drawn, or the most usual ones where nothing is drawn."""
    wording = LEVEL_WORDS[level]
    slots = {}
    for slot, words in (("level", wording["level"]), ("strength", wording["strength"]),
                        ("quantity", wording["quantity"]), ("adjective", wording.get(name, ("",)))):  # fmt: skip
        word = words[0] if rng is None else rng.choice(words)
        slots[slot], slots[f"a_{slot}"] = word, _with_article(word)
    return slots


def _fill(sentence: str, domain: str | None, traits: Sequence[str], rng: Random) -> str:
    words = words_of(domain)
    name = rng.choice(words.names)
    text = sentence.format(
        name=name,
        a_name=_with_article(name),
        definition=rng.choice(words.definitions) if words.definitions else "",
        traits=_joined(traits),
        kind=rng.choice(("graph", "network")),
    )
    return text[:1].upper() + text[1:]


def _shown(value: float) -> str:
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _with_article(words: str) -> str:
    vowel = words[:1].lower() in ("a", "e", "i", "o") or words.startswith("SBM")
    return f"an {words}" if vowel else f"a {words}"


def _joined(traits: Sequence[str]) -> str:
    return " and ".join([", ".join(traits[:-1]), traits[-1]] if len(traits) > 1 else traits)
