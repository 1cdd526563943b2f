"""Reads what a prompt asks for, by rules: numbers and levels are exact, everything else stays in the text.

"a sparse power grid of 300 buses" asks for the domain power, 300 nodes and a low density. What the rules do not
know is no error: the text encoder of the model reads the whole text.

What the rules decide where English leaves it open: "about 200" is 200; "between 0.2 and 0.4" of an attribute is the
middle; "at least 100 nodes" draws from 100 to 200 and "at most 100" from 50 to 100; "sparse" and "dense" are levels of
the density; "three links per node" is a mean degree of 3; "connected" is one component; a real domain outweighs a
family ("a planar road network" is a road network).
"""

import math
from collections.abc import Collection, Sequence
from typing import cast

from graftable.errors import PromptError

from .conditions import MAX_NODES, WHOLE_ATTRIBUTES, Condition, Level, checked_num_nodes
from .prompt_lexer import NAME, Kind, Token, tokenize
from .prompt_templates import PROMPT_TEMPLATES, held_out_prompts, paraphrases, write_prompt
from .prompt_words import FAMILIES

__all__ = ["PROMPT_TEMPLATES", "held_out_prompts", "paraphrases", "parse_prompt", "write_prompt"]

_OPPOSITE: dict[Level, Level] = {"low": "high", "medium": "medium", "high": "low"}
_COUNT_WORDS = ("few", "only a few", "many", "numerous", "lots of", "plenty of", "a lot of")
_STRENGTH_WORDS = "strong strongly weak weakly moderate pronounced marked clear distinct slight".split()
_COPULAS = ("is", "are", "=", ":", "equals", "that is", "which is", "should be", "must be", "being", "be", "of")
_FILLERS = (Kind.WORD, Kind.CONNECTED, Kind.ADJECTIVE, Kind.LEVEL)


def parse_prompt(text: str, domains: Collection[str] | None = None) -> Condition:
    """What a prompt asks for.

    Args:
        text: The words of the user.
        domains: The domains that may be asked for, or None for all that are known. A domain without words of its own
            is recognised by its name.

    Raises:
        PromptError: If the prompt is blank, contradicts itself, or asks for what no graph can be.

    Example:
        >>> parse_prompt("a power grid of 300 buses with low clustering").to_dict()  # doctest: +NORMALIZE_WHITESPACE
        {'text': 'a power grid of 300 buses with low clustering', 'domain': 'power', 'num_nodes': 300,
         'levels': {'clustering': 'low'}}
    """
    if not text.strip():
        raise PromptError('the prompt is empty; describe a graph, for example "a power grid of 300 buses".')
    reading = _Reading(tokenize(text))
    reading.read_numbers()
    reading.read_levels()
    domain = reading.read_domain(text, domains)
    span = reading.node_span(domain)
    return Condition(
        text=text,
        domain=domain,
        num_edges=reading.num_edges,
        attributes=reading.attributes,
        levels=reading.levels,
        num_nodes_range=span,
    )


class _Reading:
    """What has been read so far from the tokens of one prompt."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.used: set[int] = set()  # places of nouns that have their number or level
        self.spans: list[tuple[float, float, Token]] = []  # least and most nodes, and the noun that they count
        self.num_edges: int | None = None
        self.attributes: dict[str, float] = {}
        self.levels: dict[str, Level] = {}
        self.groups: float | None = None  # how many communities or components, for "20 nodes each"
        self.hints: list[str] = []  # domains that follow from a construction, such as "10 x 12"

    def kind(self, place: int) -> Kind:
        return self.tokens[place].kind if 0 <= place < len(self.tokens) else Kind.STOP

    def text(self, place: int) -> str:
        return self.tokens[place].text if 0 <= place < len(self.tokens) else ""

    def skip(self, place: int, step: int, kinds: Collection[Kind], most: int = 9) -> int:
        """The first place from here, in steps of 1 or -1, that is of another kind, after at most so many steps."""
        while most and self.kind(place) in kinds and 0 <= place < len(self.tokens):
            place, most = place + step, most - 1
        return place

    # Numbers

    def read_numbers(self) -> None:
        place = 0
        while place < len(self.tokens):
            if self.kind(place) is Kind.NUMBER:
                place = self.read_number(place)
            place += 1

    def read_number(self, start: int) -> int:
        """Read the number or range that starts here; returns the place of its last token."""
        low, high, end = self.span_from(start)
        left = self.skip(start - 1, -1, (Kind.LINK, Kind.NEAR, Kind.BOUND, Kind.BETWEEN))
        links = [self.text(place) for place in range(left + 1, start) if self.kind(place) is Kind.LINK]
        right = self.noun_after(end)
        bound = next((self.tokens[k].value for k in range(left + 1, start) if self.kind(k) is Kind.BOUND), None)
        for after in (end + 1, right + 1):
            if self.kind(after) is Kind.BOUND and self.kind(after + 1) is not Kind.NUMBER:
                bound = self.tokens[after].value
        if bound:
            low, high = _bounded(low, bound)
        if self.names_number(left, links) and (links or right == end):
            self.assign(left, low, high, bound)
        elif right > end:
            self.assign(right, low, high, bound)
        return end

    def span_from(self, start: int) -> tuple[float, float, int]:
        """The least and most of "50", "50 to 80", "between 50 and 80" and "10 x 12"."""
        low = _value(self.tokens[start])
        middle = start + 1
        between = self.text(start - 1) == "between"
        if between and self.kind(middle) in (Kind.NODES, Kind.EDGES):
            middle += 1
        if self.kind(middle + 1) is not Kind.NUMBER:
            if self.text(start - 1) in ("few", "several", "a few") and low in (100, 1000):
                return 2 * low, 9 * low, start
            return low, low, start
        second = _value(self.tokens[middle + 1])
        if self.text(middle) == "to" or (between and self.kind(middle) is Kind.AND):
            return low, second, middle + 1
        if self.kind(middle) is Kind.TIMES and any("grid" in t.domains for t in self.tokens):
            self.hints.append("grid")
            self.add_nodes(low * second, low * second, self.tokens[start])
            return low * second, low * second, middle + 1
        return low, low, start

    def noun_after(self, end: int) -> int:
        """The place of the noun that a number ending here counts, or ``end``."""
        if self.kind(end + 1) is Kind.ATTRIBUTE:
            return end + 1
        right = self.skip(end + 1, 1, (*_FILLERS, Kind.ATTRIBUTE), most=3)
        counted = self.kind(right) in (Kind.NODES, Kind.EDGES, Kind.COMPONENTS, Kind.GROUPS, Kind.THINGS)
        return right if counted else end

    def names_number(self, place: int, links: Sequence[str]) -> bool:
        """Whether the token before a number says what the number is: "mean degree 4", "n = 64", "nodes: 30"."""
        if place < 0 or place in self.used:
            return False
        if self.kind(place) in (Kind.ATTRIBUTE, Kind.SIZE):
            return True
        equals = any(link in ("=", ":", "is", "equals") for link in links)
        return equals and (self.kind(place) in (Kind.NODES, Kind.EDGES, Kind.COMPONENTS) or self.text(place) in "nm")

    def assign(self, place: int, low: float, high: float, bound: object) -> None:
        """Give a number to the noun at this place."""
        noun = self.tokens[place]
        self.used.add(place)
        per = self.kind(place + 1) is Kind.PER
        if noun.kind is Kind.ATTRIBUTE:
            self.set_attribute(str(noun.value), low, high)
        elif (noun.kind is Kind.THINGS and noun.value == "mean_degree") or (noun.kind is Kind.EDGES and per):
            self.set_attribute("mean_degree", low, high)
        elif noun.kind is Kind.COMPONENTS:
            self.groups = low
            self.set_attribute("components", low, high)
        elif noun.kind is Kind.GROUPS:
            self.groups = low
        elif noun.kind is Kind.NODES or noun.value == "num_nodes" or noun.text == "n":
            times = self.groups if self.groups and (per or self.is_part(place)) else 1
            if times > 1 or not per:
                self.add_nodes(times * low, times * high, noun)
        elif noun.kind is Kind.EDGES or noun.value == "num_edges" or noun.text == "m":
            self.set_edges(low if bound in ("least", "more") else high if bound else (low + high) / 2)

    def is_part(self, place: int) -> bool:
        """Whether a counted noun is a part, as in "3 communities of 20 people"."""
        before = self.skip(place - 1, -1, (*_FILLERS, Kind.NUMBER, Kind.NEAR))
        return self.text(before) == "of" and self.kind(before - 1) in (Kind.GROUPS, Kind.COMPONENTS)

    def add_nodes(self, low: float, high: float, noun: Token) -> None:
        self.spans.append((low, high, noun))

    def set_edges(self, value: float) -> None:
        if not math.isfinite(value) or (value != int(value) and value * 2 != int(value * 2)):
            raise PromptError(f"{value:g} edges were asked for; ask for a whole number.")
        edges = int(value)
        if self.num_edges not in (None, edges):
            raise _contradiction(f"{self.num_edges:,} edges", f"{edges:,} edges")
        self.num_edges = edges

    def set_attribute(self, name: str, low: float, high: float) -> None:
        middle = low if low == high else round((low + high) / 2, 9)
        value = float(math.floor(middle)) if name in WHOLE_ATTRIBUTES and low != high else middle
        if self.attributes.setdefault(name, value) != value:
            raise _contradiction(f"{name} {self.attributes[name]:g}", f"{name} {value:g}")

    # Levels

    def read_levels(self) -> None:
        for place, token in enumerate(self.tokens):
            if token.kind is Kind.ADJECTIVE:
                self.read_adjective(place, token)
            elif token.kind is Kind.CONNECTED:
                self.read_connected(place)
            elif place not in self.used and token.kind in (
                Kind.ATTRIBUTE, Kind.THINGS, Kind.GROUPS, Kind.EDGES, Kind.COMPONENTS
            ):  # fmt: skip
                self.read_noun_level(place, token)

    def read_noun_level(self, place: int, token: Token) -> None:
        name = {Kind.EDGES: "mean_degree", Kind.COMPONENTS: "components"}.get(token.kind, token.value)
        before = self.skip(place - 1, -1, (Kind.WORD, Kind.NEAR), most=2)
        level = self.level_at(before, token.kind) or self.level_after(place, token.kind)
        if level is None and self.text(place - 1) in ("and", "&") and place - 2 in self.used:
            level = self.levels.get(str(self.tokens[place - 2].value))  # "low degree and clustering"
        if level is not None:
            self.used.add(place)
            self.set_level(str(name), level)
        elif self.kind(before) is Kind.NOT:
            self.read_absence(place, token)

    def level_at(self, place: int, noun: Kind) -> Level | None:
        """The level that is spoken here, turned round by a "not" before it; None where it does not fit the noun."""
        token = self.tokens[place] if 0 <= place < len(self.tokens) else None
        if token is None or token.kind is not Kind.LEVEL:
            return None
        fitting = {Kind.EDGES: _COUNT_WORDS, Kind.COMPONENTS: _COUNT_WORDS, Kind.GROUPS: _STRENGTH_WORDS}.get(noun)
        if fitting is not None and token.text not in fitting:
            return None
        hedged = self.text(place - 1) in ("moderately", "modestly", "somewhat")
        return "medium" if hedged else self.unless_negated(place, cast(Level, token.value))

    def level_after(self, place: int, noun: Kind) -> Level | None:
        """The level in "clustering is low" and "clustering low,"."""
        after = place + 1
        if self.kind(after) is Kind.LINK and self.text(after) in _COPULAS:
            after = self.skip(after, 1, (Kind.LINK, Kind.NEAR, Kind.NOT, Kind.STOP), most=4)
            return self.level_at(after, noun)
        if self.kind(after) is Kind.STOP and self.text(after) == "that":
            after = self.skip(after, 1, (Kind.STOP, Kind.LINK, Kind.NEAR, Kind.NOT), most=4)
            return self.level_at(after, noun)
        return self.level_at(after, noun) if self.kind(after + 1) in (Kind.STOP, Kind.AND) else None

    def read_adjective(self, place: int, token: Token) -> None:
        name, level = cast(tuple[str, Level], token.value)
        before = self.skip(place - 1, -1, (Kind.NEAR,), most=1)
        if self.kind(before) is Kind.LEVEL:  # "highly clustered", "weakly clustered", "moderately dense"
            degree, place = self.tokens[before].value, before
            level = "medium" if degree == "medium" else level if degree == "high" else _OPPOSITE[level]
        self.set_level(name, self.unless_negated(place, level))

    def read_connected(self, place: int) -> None:
        before = self.skip(place - 1, -1, (Kind.NEAR,), most=1)
        if self.kind(before) is Kind.LEVEL:
            self.set_level("mean_degree", cast(Level, self.tokens[before].value))
        elif self.kind(before) is Kind.NOT:
            self.set_level("components", "high")
        else:
            self.set_attribute("components", 1.0, 1.0)

    def read_absence(self, place: int, token: Token) -> None:
        """Read "no clustering" as a clustering of 0, "no communities" as a low modularity, "no edges" as 0 edges."""
        if token.value == "clustering":
            self.set_attribute("clustering", 0.0, 0.0)
        elif token.kind is Kind.EDGES and self.kind(place - 1) is Kind.NOT and self.kind(place + 1) is Kind.STOP:
            self.set_edges(0)
        elif token.kind in (Kind.GROUPS, Kind.THINGS) or token.value == "modularity":
            self.used.add(place)
            self.set_level(str(token.value), "low")

    def unless_negated(self, place: int, level: Level) -> Level:
        before = self.skip(place - 1, -1, (Kind.NEAR,), most=2)
        if self.kind(before) is not Kind.NOT:
            return level
        hedged = any(self.text(k) in ("very", "too", "so") for k in range(before + 1, place))
        return "medium" if hedged else _OPPOSITE[level]

    def set_level(self, name: str, level: Level) -> None:
        if self.levels.setdefault(name, level) != level:
            raise _contradiction(f"{self.levels[name]} {name}", f"{level} {name}")

    # Domain and nodes

    def read_domain(self, text: str, domains: Collection[str] | None) -> str | None:
        """The domain that the words speak for most; real networks before families, earlier before later."""
        scores: dict[str, int] = dict.fromkeys(self.hints, NAME)
        named: dict[str, str] = {}
        for place, token in enumerate(self.tokens):
            before = self.skip(place - 1, -1, (Kind.NEAR,), most=1)
            if self.kind(before) is Kind.NOT and token.weight > 1:
                continue
            if token.kind is Kind.GROUPS and place not in self.used:
                scores["sbm"] = scores.get("sbm", 0) + 1
            for domain in token.domains:
                scores[domain] = scores.get(domain, 0) + token.weight
                if token.weight == NAME and domain not in FAMILIES:
                    named.setdefault(domain, token.text)
        words = set(text.lower().split())
        scores |= {domain: 2 * NAME for domain in domains or () if domain not in scores and domain.lower() in words}
        allowed = [domain for domain in scores if domains is None or domain in domains]
        named = {domain: phrase for domain, phrase in named.items() if domain in allowed}
        if len(named) > 1:
            (one, first), (two, second) = list(named.items())[:2]
            raise _contradiction(f'"{first}" (domain {one})', f'"{second}" (domain {two})')
        clear = [domain for domain in allowed if domain not in FAMILIES and scores[domain] > 1]
        families = [domain for domain in allowed if domain in FAMILIES]
        return max(clear or families or allowed, key=lambda domain: scores[domain], default=None)

    def node_span(self, domain: str | None) -> tuple[int, int] | None:
        """The least and most nodes; "50 people in 3 towns" are 50 nodes of a social network."""
        fitting = [span for span in self.spans if not span[2].domains or domain in span[2].domains] or self.spans
        if not fitting:
            return None
        low, high, _ = fitting[0]
        for other in fitting[1:]:
            if other[:2] != (low, high):
                raise _contradiction(_say_nodes(low, high), _say_nodes(*other[:2]))
        return checked_num_nodes(low), checked_num_nodes(high)


def _value(token: Token) -> float:
    assert isinstance(token.value, float)
    return token.value


def _bounded(value: float, bound: object) -> tuple[float, float]:
    """A closed range for a bound: up to twice, or down to half of it."""
    if bound in ("least", "more"):
        low = value + (bound == "more")
        return low, max(low, min(2 * value, MAX_NODES)) if value > 1 else 2 * low
    high = value - (bound == "fewer")
    return min(high, math.ceil(value / 2)), high


def _say_nodes(low: float, high: float) -> str:
    return f"{low:,.10g} nodes" if low == high else f"{low:,.10g} to {high:,.10g} nodes"


def _contradiction(first: str, second: str) -> PromptError:
    return PromptError(f"the prompt asks for {first} and also for {second}; keep one of them.")
