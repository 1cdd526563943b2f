"""Prompts of our own for training and evaluation: sentences, and phrases for what they ask.

A prompt is a sentence with slots that noun phrases fill ("{a_name} with {traits}" and "low clustering"). Every fifth
sentence and phrase of each kind is held out: training never sees it, evaluation uses nothing else.

The kinds of prompt, as in the text-to-graph setting of LGGM: a name and definition of the domain; one or two levels;
numbers; and mixtures of these.

References:
    Wang et al., "Large Generative Graph Models", 2024, section on text-to-graph generation. The wording is ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random
from typing import NamedTuple

from .conditions import LEVELS, Condition, Level, Terciles
from .prompt_words import words_of

__all__ = ["HELD_OUT_PAIRS", "PROMPT_TEMPLATES", "Template", "held_out_prompts", "paraphrases", "write_prompt"]


class Template(NamedTuple):
    """One sentence or phrase with slots; ``kind`` says what it serves for."""

    kind: str
    text: str
    held_out: bool


SENTENCES = {
    "domain": (
        "{a_name}", "A {kind} of the kind: {name}.", "Draw {a_name}.", "The graph is {a_name}.",
        "Generate {a_name}.", "This network represents {definition}.", "{a_name}: {definition}",
        "A {kind} of {definition}.", "I need {a_name} that looks real.", "The {kind} shows {definition}.",
        "Create a realistic {name}.", "Nodes and edges describe {definition}.", "An example of {a_name}, that is, {definition}.",
        "Make {a_name}.", "Please give me {a_name}.", "A synthetic {name}", "Topology of {a_name}.",
        "{definition}, drawn as a {kind}", "The {kind} comes from {a_name}.", "Sample {a_name} for me.",
    ),
    "level": (
        "A {kind} with {traits}.", "The graph has {traits}.", "{traits}", "Generate a {kind} that has {traits}.",
        "Create a {kind} showing {traits}.", "This network shows {traits}.", "Draw a {kind} of {traits}.",
        "I want {traits} in the {kind}.", "Random {kind} with {traits}", "Make a {kind} whose structure has {traits}.",
        "Its structure has {traits}.", "The {kind} should have {traits}.", "Nodes and edges arranged with {traits}.",
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
        "{a_name} of {traits}", "{a_name} with {traits}.", "Draw {a_name} with {traits}.", "The graph is {a_name}; it has {traits}.",
        "I need {a_name} that has {traits}.", "{name}, {traits}", "Generate {a_name} of {traits}.",
        "This network represents {definition} and has {traits}.", "Create a realistic {name} with {traits}.",
        "Give me {a_name} showing {traits}.", "Make {a_name} having {traits}.", "{traits}: {a_name}",
        "A {kind} of {definition}, with {traits}.", "The {name} should have {traits}.", "Please build {a_name} from {traits}.",
        "A synthetic {name} with {traits}", "{a_name}: {definition}; {traits}.", "Simulate {a_name} of {traits}.",
        "Sample {a_name} with {traits}.", "What could {a_name} with {traits} look like?",
    ),
}  # fmt: skip

LEVEL_PHRASES = {
    "mean_degree": (
        "{a_level} average degree", "{a_level} mean degree", "{level} average degree", "an average degree that is {level}",
        "{level} node degrees", "{a_level} average node degree", "{level} mean degree", "{a_level} degree on average",
        "a mean degree that is {level}", "{level} degrees",
    ),
    "clustering": (
        "{level} clustering", "{a_level} clustering coefficient", "{a_level} average clustering coefficient",
        "clustering that is {level}", "{a_level} level of clustering", "{level} average clustering",
        "{a_level} degree of clustering", "a clustering coefficient that is {level}", "{level} local clustering",
        "{a_level} mean clustering coefficient",
    ),
    "density": (
        "{level} density", "{a_level} edge density", "{a_level} density", "a density that is {level}",
        "{a_level} link density", "an edge density that is {level}", "{level} edge density", "{level} overall density",
        "{a_level} density of edges", "{a_level} level of density",
    ),
    "modularity": (
        "{level} modularity", "{a_level} modularity", "{strength} community structure", "a modularity that is {level}",
        "{a_strength} division into communities", "{a_strength} community structure", "{strength} communities",
        "{strength} modular structure", "{level} overall modularity", "{a_level} level of modularity",
    ),
}  # fmt: skip

NUMBER_PHRASES = {
    "num_nodes": (
        "{x} {nodes}", "{x} nodes", "{x} {nodes}", "exactly {x} {nodes}", "a total of {x} nodes", "{x} vertices",
        "n = {x}", "about {x} {nodes}", "{x} {nodes}", "size {x}",
    ),
    "num_edges": (
        "{x} {edges}", "{x} edges", "{x} links", "m = {x}", "a total of {x} edges", "exactly {x} {edges}",
    ),
    "mean_degree": (
        "mean degree {x}", "a mean degree of {x}", "an average degree of {x}", "average degree {x}",
        "a mean degree equal to {x}", "average degree of about {x}", "an average node degree of {x}",
    ),
    "clustering": (
        "clustering {x}", "a clustering coefficient of {x}", "an average clustering of {x}", "clustering coefficient {x}",
        "a clustering coefficient near {x}", "average clustering around {x}",
    ),
    "modularity": ("modularity {x}", "a modularity of {x}", "modularity around {x}", "modularity = {x}", "a modularity near {x}"),
    "density": ("density {x}", "a density of {x}", "an edge density of {x}", "density = {x}", "a density near {x}"),
    "transitivity": ("transitivity {x}", "a transitivity of {x}", "transitivity around {x}", "transitivity = {x}", "a transitivity near {x}"),
    "assortativity": ("assortativity {x}", "an assortativity of {x}", "assortativity around {x}", "assortativity = {x}", "a degree assortativity near {x}"),
    "degree_gini": ("degree Gini {x}", "a degree Gini coefficient of {x}", "degree inequality of {x}", "degree Gini = {x}", "a degree inequality near {x}"),
    "diameter": ("diameter {x}", "a diameter of {x}", "diameter = {x}", "a diameter equal to {x}", "a largest distance of {x}"),
    "components": ("{x} components", "{x} connected components", "a total of {x} components", "exactly {x} components", "number of components = {x}"),
}  # fmt: skip

LEVEL_WORDS: dict[Level, tuple[str, ...]] = {
    "low": ("low", "small", "rather low"),
    "medium": ("medium", "moderate", "intermediate"),
    "high": ("high", "large", "very high"),
}
STRENGTH_WORDS: dict[Level, tuple[str, ...]] = {
    "low": ("weak", "slight", "very weak"),
    "medium": ("moderate", "moderate", "moderately strong"),
    "high": ("strong", "pronounced", "very strong"),
}

HELD_OUT_PAIRS = frozenset(
    {
        (("clustering", "high"), ("mean_degree", "low")),
        (("clustering", "low"), ("density", "high")),
        (("mean_degree", "high"), ("modularity", "medium")),
    }
)
"""Pairs of levels (names in alphabetical order) that training prompts never ask for together."""


def _templates(table: Mapping[str, Sequence[str]], prefix: str = "") -> dict[str, tuple[Template, ...]]:
    # Every fifth in its list: a line appended later leaves the fate of the earlier ones unchanged.
    return {k: tuple(Template(prefix + k, text, i % 5 == 4) for i, text in enumerate(texts)) for k, texts in table.items()}


_SENTENCES = _templates(SENTENCES)
_LEVEL_PHRASES = _templates(LEVEL_PHRASES, "level:")
_NUMBER_PHRASES = _templates(NUMBER_PHRASES, "number:")

PROMPT_TEMPLATES: tuple[Template, ...] = tuple(
    template for table in (_SENTENCES, _LEVEL_PHRASES, _NUMBER_PHRASES) for group in table.values() for template in group
)

_POOLS = {
    (template.kind, held_out): tuple(t.text for t in PROMPT_TEMPLATES if t.kind == template.kind and t.held_out == held_out)
    for template in PROMPT_TEMPLATES
    for held_out in (False, True)
}

_KINDS = ("domain", "level", "numeric", "mixture", "mixture")
_NUMBERS = ("num_nodes", "num_nodes", "num_edges", "mean_degree", "mean_degree", "clustering", "clustering", "any")
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
        The text, and the condition with this text that :func:`graftable.graphs.prompts.parse_prompt` reads from it.
        Numbers in it are as written (a clustering of 0.31, not 0.30871), except that a stated mean degree or density
        gets as many digits as it takes to imply the true number of edges.

    Example:
        >>> text, condition = write_prompt("power", 300, 420, {"mean_degree": 2.8}, None, Random(4))
        >>> text, condition.num_nodes
        ('Give me a power network showing size 300 and mean degree 2.8.', 300)
    """
    graph = _Graph(domain, num_nodes, num_edges, attributes)
    writer = _Writer(rng, held_out)
    kind = rng.choice(_KINDS)
    levels = writer.draw_levels(graph, terciles) if kind in ("level", "mixture") else {}
    numbers: dict[str, float] = {}
    if kind == "numeric" or (kind == "mixture" and (not levels or rng.random() < 0.6)):
        numbers = writer.draw_numbers(graph, taken=levels)
    if (kind == "domain" and domain is None) or (kind == "level" and not levels):
        kind, numbers = "numeric", writer.draw_numbers(graph, taken={})
    if kind == "mixture" and domain is None:
        kind = "numeric" if numbers else "level"
    spoken = domain if kind in ("domain", "mixture") else None
    text = _fill(rng.choice(_POOLS[kind, held_out]), spoken, writer.traits(spoken, numbers, levels), rng)
    return text, _condition(text, spoken, numbers, levels)


@dataclass(frozen=True)
class _Graph:
    domain: str | None
    num_nodes: int
    num_edges: int
    attributes: Mapping[str, float]

    def value(self, name: str) -> float | None:
        if name == "num_nodes":
            return self.num_nodes
        if name == "num_edges":
            return self.num_edges
        return self.attributes.get(name)


@dataclass(frozen=True)
class _Writer:
    """Draws what to say, and fills the templates of one side of the split."""

    rng: Random
    held_out: bool

    def draw_levels(self, graph: _Graph, terciles: Terciles | None) -> dict[str, Level]:
        known = [name for name in LEVEL_PHRASES if terciles and name in terciles.cuts and name in graph.attributes]
        if not known or terciles is None:
            return {}
        names = self.rng.sample(known, min(len(known), 1 + (self.rng.random() < 0.5)))
        levels = {name: terciles.level_of(name, graph.attributes[name]) for name in names}
        if not self.held_out and tuple(sorted(levels.items())) in HELD_OUT_PAIRS:
            del levels[names[1]]
        return levels

    def draw_numbers(self, graph: _Graph, taken: Mapping[str, Level]) -> dict[str, float]:
        numbers: dict[str, float] = {}
        for _ in range(self.rng.randint(1, 3)):
            name = self.rng.choice(_NUMBERS)
            name = self.rng.choice(_OTHER_NUMBERS) if name == "any" else name
            value = graph.value(name)
            if value is not None and name not in taken:
                numbers[name] = value
        # Edges with a mean degree imply the number of nodes, so say it exactly.
        if not numbers or ("num_edges" in numbers and {"mean_degree", "density"} & set(numbers)):
            numbers = {"num_nodes": graph.num_nodes, **numbers}
        nodes = graph.num_nodes if "num_nodes" in numbers else None
        return {name: _rounded(name, value, nodes, graph.num_edges) for name, value in numbers.items()}

    def traits(self, domain: str | None, numbers: Mapping[str, float], levels: Mapping[str, Level]) -> list[str]:
        words, generic = words_of(domain), words_of(None)
        nodes, edges = (words.nodes or generic.nodes)[0], (words.edges or generic.edges)[0]
        phrases = [
            self._pick(f"number:{name}").format(x=_shown(value), nodes=nodes, edges=edges)
            for name, value in numbers.items()
        ]
        return phrases + [self._level_phrase(name, level) for name, level in levels.items()]

    def _level_phrase(self, name: str, level: Level) -> str:
        word, strength = self.rng.choice(LEVEL_WORDS[level]), self.rng.choice(STRENGTH_WORDS[level])
        return self._pick(f"level:{name}").format(
            level=word, a_level=_with_article(word), strength=strength, a_strength=_with_article(strength)
        )

    def _pick(self, kind: str) -> str:
        return self.rng.choice(_POOLS[kind, self.held_out])


def paraphrases(
    domain: str | None = None, levels: Mapping[str, Level] | None = None, held_out: bool | None = None
) -> list[str]:
    """Prompts that all ask for the same: a domain, or levels, or both.

    Args:
        domain: The domain that each prompt names.
        levels: The levels that each prompt asks for.
        held_out: True and False keep one side of the split, None both.

    Example:
        >>> paraphrases(levels={"clustering": "low"})[:2]
        ['A network with a small clustering coefficient.', 'The graph has a rather low average clustering coefficient.']
    """
    levels = levels or {}
    kind = "mixture" if domain and levels else "domain" if domain else "level"
    texts: dict[str, None] = {}
    rng = Random(0)
    for template in _SENTENCES[kind]:
        if held_out in (None, template.held_out):
            writer = _Writer(rng, template.held_out)
            phrases = writer.traits(domain, {}, levels)
            texts[_fill(template.text, domain, phrases, rng)] = None
    return list(texts)


def held_out_prompts(
    attributes: Sequence[str] = ("mean_degree", "clustering"), domains: Sequence[str] = ()
) -> Iterator[tuple[str, Condition]]:
    """All held-out prompts for each level of each attribute, and for each domain, with what they ask for.

    Example:
        >>> text, condition = next(held_out_prompts())
        >>> text, condition.levels
        ('Create a graph showing low node degrees.', {'mean_degree': 'low'})
    """
    for name, level in product(attributes, LEVELS):
        words = {"level": LEVEL_WORDS[level][0], "strength": STRENGTH_WORDS[level][0]}
        words |= {f"a_{slot}": _with_article(word) for slot, word in words.items()}
        for sentence, phrase in product(_POOLS["level", True], _POOLS[f"level:{name}", True]):
            text = _fill(sentence, None, [phrase.format(**words)], Random(0))
            yield text, Condition(text=text, levels={name: level})
    for domain in domains:
        for text in paraphrases(domain=domain, held_out=True):
            yield text, Condition(text=text, domain=domain)


def _fill(sentence: str, domain: str | None, traits: list[str], rng: Random) -> str:
    words = words_of(domain)
    name = rng.choice(words.names)
    return _capitalised(
        sentence.format(
            name=name,
            a_name=_with_article(name),
            definition=rng.choice(words.definitions) if words.definitions else "",
            traits=_joined(traits),
            kind=rng.choice(("graph", "network")),
        )
    )


def _condition(text: str, domain: str | None, numbers: Mapping[str, float], levels: Mapping[str, Level]) -> Condition:
    nodes, edges = numbers.get("num_nodes"), numbers.get("num_edges")
    return Condition(
        text=text,
        domain=domain,
        num_nodes=None if nodes is None else int(nodes),
        num_edges=None if edges is None else int(edges),
        attributes={name: value for name, value in numbers.items() if name not in ("num_nodes", "num_edges")},
        levels=levels,
    )


def _rounded(name: str, value: float, num_nodes: int | None, num_edges: int) -> float:
    """The value as people write it: two digits after the point, more where the true number of edges needs them."""
    if name not in ("mean_degree", "density"):
        return round(value, 2)
    scale = 1.0 if num_nodes is None else num_nodes / 2 * (num_nodes - 1 if name == "density" else 1)
    for digits in range(2, 9):
        if (rounded := round(value, digits)) and (num_nodes is None or int(rounded * scale + 0.5) == num_edges):
            return rounded
    return value


def _shown(value: float) -> str:
    return f"{value:.8f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _with_article(words: str) -> str:
    return ("an " if words[0].lower() in "aeio" else "a ") + words


def _joined(traits: Sequence[str]) -> str:
    return " and ".join([", ".join(traits[:-1]), traits[-1]] if len(traits) > 1 else traits)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
