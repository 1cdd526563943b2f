"""Finds the numbers and levels in the tokens of a prompt; :mod:`~graftable.graphs.prompts` says what it decides.

A number belongs to a name before it ("mean degree of 4", "n = 64") or to a noun after it ("64 nodes"). A level belongs
to a noun ("low clustering", "clustering is low") or stands in an adjective ("dense", "not very clustered").
"""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple, cast

from graftable.errors import PromptError

from .condition_checks import MAX_NODES, WHOLE_ATTRIBUTES, Level, checked_num_nodes, spoken
from .prompt_lexer import Token
from .prompt_lexicon import Kind

__all__ = ["PromptReader", "contradiction"]

_OPPOSITE: dict[Level, Level] = {"low": "high", "medium": "medium", "high": "low"}
_HEDGES = ("moderately", "modestly", "somewhat")
_QUANTITIES = (
    *("few", "a few", "only a few", "hardly any", "many", "numerous", "lots of", "plenty of", "a lot of"),
    *(f"a {size} number of" for size in ("small", "moderate", "large", "high")),
)
_STRENGTHS = (
    *("weak", "weakly", "slight", "moderate", "moderately", "strong", "strongly", "pronounced", "marked"),
    *("clear", "distinct", "tight", "well separated"),
)
# Nouns with which only some levels make sense: "many links" is a level, "strong links" is not.
_FITTING = {Kind.EDGES: _QUANTITIES, Kind.COMPONENTS: _QUANTITIES, Kind.GROUPS: _STRENGTHS}
_COPULAS = ("is", "are", "=", ":", "equals", "should be", "must be", "being", "be", "of", "stays", "remains")
_MODIFIERS = (Kind.WORD, Kind.FACT, Kind.ADJECTIVE, Kind.LEVEL)
_NOUNS = (Kind.NODES, Kind.EDGES, Kind.COMPONENTS, Kind.GROUPS, Kind.THINGS)


class _Span(NamedTuple):
    """A number of nodes, or a range, and the noun that was counted."""

    low: float
    high: float
    noun: Token
    each: bool = False  # of every part, if the prompt says how many parts there are
    per_part: bool = False  # "20 nodes per community": says nothing without the number of communities


class PromptReader:
    """What the tokens of one prompt ask for: ``num_edges``, ``attributes``, ``levels`` and :meth:`node_span`.

    Raises:
        PromptError: If the prompt asks for two things that exclude each other.
    """

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self.used: set[int] = set()  # places of nouns that have their number or level
        self._spans: list[_Span] = []
        self.num_edges: int | None = None
        self.attributes: dict[str, float] = {}
        self.levels: dict[str, Level] = {}
        self._excluded: dict[str, set[Level]] = {}  # "not dense" leaves the other levels
        self._parts: float = 1  # how many communities or components, for "20 nodes each"
        self.lattice = False  # "10 x 12 grid"
        self._read_numbers()
        self._read_levels()
        self._settle_levels()

    def _kind(self, place: int) -> Kind:
        return self._tokens[place].kind if 0 <= place < len(self._tokens) else Kind.STOP

    def _text(self, place: int) -> str:
        return self._tokens[place].text if 0 <= place < len(self._tokens) else ""

    def _skip(self, place: int, step: int, kinds: Collection[Kind], most: int = 9) -> int:
        """The first place from here on, forwards or backwards, that is of another kind or ``most`` places away."""
        while most and 0 <= place < len(self._tokens) and self._tokens[place].kind in kinds:
            place, most = place + step, most - 1
        return place

    # Numbers: each belongs to a name before it ("mean degree of 4", "n = 64") or to a noun after it ("64 nodes").

    def _read_numbers(self) -> None:
        place = 0
        while place < len(self._tokens):
            if self._kind(place) is Kind.NUMBER:
                place = self._read_number(place)
            place += 1

    def _read_number(self, start: int) -> int:
        """Read the number or range that starts here; returns the place of its last token."""
        low, high, end = self._span_from(start)
        name = self._skip(start - 1, -1, (Kind.LINK, Kind.FILLER, Kind.BOUND, Kind.BETWEEN))
        links = [self._text(place) for place in range(name + 1, start) if self._kind(place) in (Kind.LINK, Kind.BOUND)]
        noun = self._noun_after(end)
        bounds = [place for place in range(name + 1, start) if self._kind(place) is Kind.BOUND]
        bounds += [place for place in (end + 1, noun + 1) if self._is_late_bound(place)]
        bound = str(self._tokens[bounds[0]].value) if bounds and low == high else None
        if self._is_named(name, links) and (links or noun == end):
            self._assign(name, low, high, bound)
        elif noun > end and not self._is_general(start):
            self._assign(noun, low, high, bound)
        return end

    def _is_late_bound(self, place: int) -> bool:
        """Whether a bound for what stands before it stands here: "100 nodes or more", "100 nodes at least"."""
        alone = self._ends_phrase(place + 1) or self._text(place).startswith("or ")
        return self._kind(place) is Kind.BOUND and alone

    def _span_from(self, start: int) -> tuple[float, float, int]:
        """The least and most, and the last place, of "50", "50 to 80", "between 50 and 80" and "10 x 12"."""
        low = high = cast(float, self._tokens[start].value)
        between = self._text(start - 1) == "between"
        end = start
        while self._kind(end + 1) is Kind.TIMES and self._kind(end + 2) is Kind.NUMBER:
            low, end = low * cast(float, self._tokens[end + 2].value), end + 2
        if end > start:
            if any(domain == "grid" for token in self._tokens for domain, _ in token.evidence):
                self.lattice = True
                self._spans.append(_Span(low, low, self._tokens[start]))
            return low, low, end
        middle = start + 1 + (between and self._kind(start + 1) in (Kind.NODES, Kind.EDGES))
        joined = self._text(middle) == "to" or (between and self._kind(middle) is Kind.AND)
        if joined and self._kind(middle + 1) is Kind.NUMBER:
            return low, cast(float, self._tokens[middle + 1].value), middle + 1
        if self._text(start - 1) in ("few", "a few", "several") and low in (100, 1000):
            return 2 * low, 9 * low, start
        return low, high, start

    def _noun_after(self, end: int) -> int:
        """The place of the noun that a number ending here counts, or ``end``."""
        first = end + 1 + (self._kind(end + 1) is Kind.BOUND)  # "200 or fewer nodes"
        if self._kind(first) in (Kind.ATTRIBUTE, Kind.REGULAR):
            return first
        noun = self._skip(first, 1, (*_MODIFIERS, Kind.ATTRIBUTE), most=4)
        return noun if self._kind(noun) in _NOUNS else end

    def _ends_phrase(self, place: int) -> bool:
        return self._kind(place) in (Kind.STOP, Kind.AND)

    def _is_named(self, place: int, links: Sequence[str]) -> bool:
        """Whether the token before a number says what the number is: "mean degree 4", "n = 64", "nodes: 30"."""
        if place < 0 or place in self.used:
            return False
        if self._kind(place) in (Kind.ATTRIBUTE, Kind.SIZE):
            return True
        equals = any(link in ("=", ":", "is", "are", "equals", "<", ">", "<=", ">=") for link in links)
        counted = self._kind(place) in (Kind.NODES, Kind.EDGES, Kind.COMPONENTS)
        return equals and (counted or self._text(place) in ("n", "m"))

    def _is_general(self, start: int) -> bool:
        """Whether "two nodes" are any two nodes, as in "any two nodes are joined if"."""
        before = self._text(start - 1)
        return before in ("any", "if", "when", "whenever", "between", "every", "of") and self._text(start) == "two"

    def _assign(self, place: int, low: float, high: float, bound: str | None) -> None:
        """Give a number to what stands at this place."""
        noun = self._tokens[place]
        if noun.kind is not Kind.GROUPS:  # "four communities" may still be strong, or say that the graph has blocks
            self.used.add(place)
        degrees = noun.kind is Kind.REGULAR or (noun.kind is Kind.EDGES and self._is_each(place))
        step = {"more": 1, "fewer": -1}.get(bound or "", 0)  # more than 2 components are at least 3
        if noun.kind is Kind.ATTRIBUTE:
            step *= noun.value in WHOLE_ATTRIBUTES
            self._set_attribute(str(noun.value), low + step, high + step)
        elif degrees or noun.value == "mean_degree":
            self._set_attribute("mean_degree", low, high)
        elif noun.kind is Kind.COMPONENTS:
            self._parts = low
            self._set_attribute("components", low + step, high + step)
        elif noun.kind is Kind.GROUPS:
            self._parts = low
        elif noun.kind is Kind.NODES or noun.value == "num_nodes" or noun.text == "n":
            self._add_nodes(place, *(_bounded(low, bound) if bound else (low, high)))
        elif noun.kind is Kind.EDGES or noun.value == "num_edges" or noun.text == "m":
            self._set_edges((low + high) / 2 + step)

    def _add_nodes(self, place: int, low: float, high: float) -> None:
        each = self._kind(place + 1) is Kind.PER and self._text(place + 1) != "on average"
        per_part = each and self._kind(place + 2) in (Kind.GROUPS, Kind.COMPONENTS)
        self._spans.append(_Span(low, high, self._tokens[place], each or self._is_part(place), per_part))

    def _is_each(self, place: int) -> bool:
        """Whether edges are counted for each node: "3 links per node", "each bus has 3 lines"."""
        if self._kind(place + 1) is Kind.PER:
            return True
        before = self._skip(place - 1, -1, (*_MODIFIERS, Kind.NUMBER, Kind.FILLER, Kind.BOUND, Kind.LINK, Kind.STOP))
        return self._kind(before) is Kind.NODES and self._kind(before - 1) is Kind.PER

    def _is_part(self, place: int) -> bool:
        """Whether the counted nodes are those of a part: "3 communities of 20 people"."""
        before = self._skip(place - 1, -1, (*_MODIFIERS, Kind.NUMBER, Kind.FILLER))
        return self._text(before) == "of" and self._kind(before - 1) in (Kind.GROUPS, Kind.COMPONENTS)

    def _set_edges(self, value: float) -> None:
        if not math.isfinite(value) or not (2 * value).is_integer():
            raise PromptError(f"{value:g} edges were asked for; ask for a whole number.")
        edges = math.floor(value)
        if self.num_edges not in (None, edges):
            raise contradiction(f"{self.num_edges:,} edges", f"{edges:,} edges")
        self.num_edges = edges

    def _set_attribute(self, name: str, low: float, high: float) -> None:
        value = low if low == high or not low < high else round((low + high) / 2, 9)
        value = float(math.floor(value)) if name in WHOLE_ATTRIBUTES and low < high else value
        known = self.attributes.setdefault(name, value)
        if known != value and value == value:
            raise contradiction(f"{spoken(name)} {known:g}", f"{spoken(name)} {value:g}")

    def node_span(self, domain: str | None) -> tuple[int, int] | None:
        """The least and most nodes; "50 people in 3 towns" are 50 nodes of a social network."""
        spans = [self._whole(span) for span in self._spans if self._parts > 1 or not span.per_part]
        spans = [span for span in spans if not span.noun.evidence or domain in dict(span.noun.evidence)] or spans
        if not spans:
            return None
        low, high = spans[0][:2]
        for other in spans[1:]:
            if other[:2] != (low, high):
                raise contradiction(_say_nodes(low, high), _say_nodes(other.low, other.high))
        return checked_num_nodes(low), checked_num_nodes(high)

    def _whole(self, span: _Span) -> _Span:
        """The number of nodes of all parts together."""
        return span._replace(low=span.low * self._parts, high=span.high * self._parts) if span.each else span

    # Levels: of a noun ("low clustering", "clustering is low") or in an adjective ("dense", "not very clustered").

    def _read_levels(self) -> None:
        for place, token in enumerate(self._tokens):
            if token.kind is Kind.ADJECTIVE:
                self._read_adjective(place, token)
            elif token.kind is Kind.FACT:
                self._read_fact(place, token)
            elif token.kind in (*_NOUNS, Kind.ATTRIBUTE) and token.kind is not Kind.NODES and place not in self.used:
                self._read_noun_level(place, token)

    def _read_noun_level(self, place: int, token: Token) -> None:
        name = {Kind.EDGES: "mean_degree", Kind.COMPONENTS: "components"}.get(token.kind, str(token.value))
        before = self._skip(place - 1, -1, (Kind.WORD, Kind.FILLER), most=2)
        spoken = [at for at in (before, self._place_after(place)) if self._is_level(at, token)]
        if spoken:
            self.used.add(place)
            self._request(name, cast(Level, self._tokens[spoken[0]].value), spoken[0])
        elif self._text(place - 1) == "and" and place - 2 in self.used and token.kind is Kind.ATTRIBUTE:
            self._share_level(name, str(self._tokens[place - 2].value))
        elif self._kind(before) is Kind.NOT and not self._tokens[before].evidence:
            self._read_absence(place, token)

    def _is_level(self, place: int, noun: Token) -> bool:
        """Whether a level stands at this place that goes with the noun."""
        return self._kind(place) is Kind.LEVEL and self._text(place) in _FITTING.get(noun.kind, (self._text(place),))

    def _place_after(self, place: int) -> int:
        """Where a level stands in "clustering is rather low", "clustering that is low" and "clustering low,"."""
        after = place + 1
        if self._text(after) in ("that", "which") or self._text(after) in _COPULAS:
            first = after + (self._kind(after) is Kind.STOP)
            return self._skip(first, 1, (Kind.LINK, Kind.FILLER, Kind.NOT), most=4)
        return after if self._ends_phrase(after + 1) else -1

    def _share_level(self, name: str, other: str) -> None:
        if other in self.levels:  # "low degree and clustering"
            self._set_level(name, self.levels[other])

    def _read_adjective(self, place: int, token: Token) -> None:
        name, level = cast(tuple[str, Level], token.value)
        before = self._skip(place - 1, -1, (Kind.FILLER,), most=1)
        if self._kind(before) is Kind.LEVEL:  # "highly clustered", "weakly clustered", "moderately dense"
            degree, place = self._tokens[before].value, before
            level = "medium" if degree == "medium" else level if degree == "high" else _OPPOSITE[level]
        self._request(name, level, place)

    def _read_fact(self, place: int, token: Token) -> None:
        name, value = cast(tuple[str, float], token.value)
        before = self._skip(place - 1, -1, (Kind.FILLER,), most=1)
        if self._kind(before) is not Kind.NOT:
            self._set_attribute(name, value, value)
        elif name == "components":
            self._set_level("components", "high")

    def _read_absence(self, place: int, token: Token) -> None:
        """Read "no clustering" as a clustering of 0, "no communities" as a low modularity, "no edges" as 0 edges."""
        if token.value == "clustering":
            self._set_attribute("clustering", 0.0, 0.0)
        elif token.kind is Kind.EDGES and self._kind(place - 1) is Kind.NOT and self._ends_phrase(place + 1):
            self._set_edges(0.0)
        elif token.kind in (Kind.GROUPS, Kind.THINGS) or token.value == "modularity":
            self.used.add(place)
            self._set_level(str(token.value), "low")

    def _request(self, name: str, level: Level, place: int) -> None:
        """Ask for a level that is spoken at this place, or for the others if there is a "not" before it."""
        if self._text(place - 1) in _HEDGES:
            level = "medium"
        before = self._skip(place - 1, -1, (Kind.FILLER,), most=2)
        if self._kind(before) is not Kind.NOT:
            self._set_level(name, level)
        elif any(self._text(k) in ("very", "too", "so") for k in range(before + 1, place)):
            self._set_level(name, "medium")
        else:
            self._excluded.setdefault(name, set()).add(level)

    def _set_level(self, name: str, level: Level) -> None:
        if self.levels.setdefault(name, level) != level:
            raise contradiction(f"{self.levels[name]} {spoken(name)}", f"{level} {spoken(name)}")

    def _settle_levels(self) -> None:
        """Keep the levels that are left: not high is low, not low is high, neither is medium."""
        for name, levels in self._excluded.items():
            if self.levels.get(name) in levels:
                raise contradiction(f"{self.levels[name]} {spoken(name)}", f"not {self.levels[name]} {spoken(name)}")
            ends = levels - {"medium"}
            if name not in self.levels and ends:
                self.levels[name] = "medium" if len(ends) == 2 else _OPPOSITE[ends.pop()]
        self.levels = {name: level for name, level in self.levels.items() if name not in self.attributes}

    def is_denied(self, place: int) -> bool:
        """Whether the word at this place is preceded by a "not": "not a tree"."""
        before = self._skip(place - 1, -1, (Kind.FILLER,), most=1)
        return self._kind(before) is Kind.NOT and self._kind(place) is Kind.WORD


def _bounded(value: float, bound: str) -> tuple[float, float]:
    """A closed range for a bound: up to the double, or down to the half."""
    if bound in ("least", "more"):
        low = value + (bound == "more")
        return low, max(low, min(2 * value, MAX_NODES))
    high = value - (bound == "fewer")
    return min(high, math.ceil(value / 2)), high


def _say_nodes(low: float, high: float) -> str:
    return f"{low:,.10g} nodes" if low == high else f"{low:,.10g} to {high:,.10g} nodes"


def contradiction(first: str, second: str) -> PromptError:
    """The error for two things that cannot both be asked for."""
    return PromptError(f"the prompt asks for {first} and also for {second}; keep one of them.")
