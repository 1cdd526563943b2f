"""Splits a prompt into tokens with a meaning: numbers, nouns that are counted, attributes, levels, domain words.

Phrases are matched longest first on word stems, so that "high school" is not a high anything, "power grid" is not a
grid, and "no more than" is not a negation.
"""

import math
import re
from enum import Enum, auto
from functools import cache
from typing import NamedTuple

from .prompt_words import DOMAIN_WORDS, FAMILIES, GENERIC_WORDS

__all__ = ["HINT", "NAME", "NOUN", "Kind", "Token", "tokenize"]

NAME, HINT, NOUN = 9, 3, 1
"""How much a word says about the domain: names it, suggests it, is counted in it."""


class Kind(Enum):
    """What a token is for."""

    NUMBER = auto()  # value: float
    NODES = auto()  # a noun that nodes are counted in
    EDGES = auto()
    COMPONENTS = auto()
    GROUPS = auto()  # communities: counted, but not an attribute of the request
    SIZE = auto()  # "size 64", "n = 64", "number of nodes": value "num_nodes" or "num_edges"
    ATTRIBUTE = auto()  # value: its name
    THINGS = auto()  # triangles, hubs: many or few of them are a level of the attribute in value
    ADJECTIVE = auto()  # dense, clustered: value (attribute, level)
    LEVEL = auto()  # value: "low", "medium", "high"
    CONNECTED = auto()
    NOT = auto()
    BOUND = auto()  # value: "least", "most", "more", "fewer"
    LINK = auto()  # of, is, =: joins an attribute with its number
    NEAR = auto()  # about, roughly: changes nothing
    BETWEEN = auto()
    AND = auto()
    PER = auto()
    TIMES = auto()
    STOP = auto()  # punctuation, and words that end a phrase
    WORD = auto()


class Token(NamedTuple):
    """One word or phrase; ``domains`` are the domains it speaks for, ``weight`` how clearly."""

    kind: Kind
    text: str
    value: object = None
    domains: tuple[str, ...] = ()
    weight: int = 0


PHRASES: dict[Kind, dict[object, str]] = {
    Kind.ATTRIBUTE: {
        "mean_degree": "mean degree|average degree|avg degree|avg. degree|average node degree|mean node degree|"
        "average vertex degree|node degree|vertex degree|degree on average|degree|connectivity|mean_degree",
        "clustering": "clustering|clustering coefficient|average clustering|average clustering coefficient|"
        "mean clustering|mean clustering coefficient|local clustering|avg clustering|degree of clustering|"
        "level of clustering|local clustering coefficient|avg clustering coefficient",
        "transitivity": "transitivity|global clustering|global clustering coefficient|triangle density",
        "degree_gini": "degree gini|degree gini coefficient|gini|gini coefficient|degree inequality|degree_gini|"
        "degree heterogeneity|gini coefficient of the degrees|gini of the degrees|gini index",
        "assortativity": "assortativity|degree assortativity|degree correlation|assortativity coefficient|"
        "degree assortativity coefficient",
        "modularity": "modularity|community structure|modular structure|division into communities|level of modularity",
        "components": "number of components|number of connected components|component count",
        "diameter": "diameter|largest distance|longest shortest path|graph diameter",
        "density": "density|edge density|link density|density of edges|graph density|level of density",
    },
    Kind.THINGS: {
        "clustering": "triangles|closed triangles|cliques",
        "degree_gini": "hubs|hub nodes",
        "mean_degree": "neighbours|neighbors|connections per node|neighbours on average|neighbors on average",
    },
    Kind.GROUPS: {"modularity": "communities|clusters|modules|blocks|community|planted communities"},
    Kind.ADJECTIVE: {
        ("density", "high"): "dense|densely connected|dense graph|densely linked|densely",
        ("density", "low"): "sparse|sparsely connected|loosely connected|sparsely linked|sparsely",
        ("clustering", "high"): "clustered|tightly knit|tight-knit|close-knit|cliquish|triangle-rich",
        ("clustering", "low"): "triangle-free|unclustered",
        ("modularity", "high"): "modular|community-structured",
        ("mean_degree", "high"): "highly connected|well connected|richly connected|strongly connected",
        ("mean_degree", "low"): "poorly connected|weakly connected",
        ("degree_gini", "high"): "hub-dominated|hub-like|hub-and-spoke",
        ("assortativity", "high"): "assortative",
        ("assortativity", "low"): "disassortative",
        ("components", "high"): "disconnected|fragmented|unconnected",
    },
    Kind.LEVEL: {
        "low": "low|lower|small|weak|weakly|little|poor|few|slight|slightly|minimal|tiny|short|lightly|barely|only a few",
        "medium": "medium|moderate|moderately|intermediate|mid|middling|modest|modestly|somewhat|mid-level",
        "high": "high|higher|highly|large|strong|strongly|great|big|many|heavy|heavily|rich|much|pronounced|"
        "lots of|long|plenty of|a lot of|numerous|elevated|marked|tightly",
    },
    Kind.SIZE: {
        "num_nodes": "number of nodes|number of vertices|node count|vertex count|size|graph size|num nodes|num_nodes|"
        "nodes count",
        "num_edges": "number of edges|number of links|edge count|link count|num edges|num_edges|edges count",
    },
    Kind.CONNECTED: {None: "connected|in one piece|single connected component|fully connected|single component"},
    Kind.COMPONENTS: {None: "components|connected components|component|connected component|separate parts|pieces"},
    Kind.NOT: {None: "not|no|without|never|isn't|non|lacking|lacks|free of|unlike|rather than|instead of|absence of"},
    Kind.BOUND: {
        "least": "at least|no fewer than|no less than|not fewer than|not less than|minimum of|minimum|>=|≥|min|or more",
        "most": "at most|no more than|not more than|up to|maximum of|maximum|<=|≤|max|or fewer|or less",
        "more": "more than|over|above|greater than|larger than|>|exceeding",
        "fewer": "fewer than|less than|under|below|smaller than|<",
    },
    Kind.LINK: {None: "of|is|are|=|:|equals|equal|to|at|being|that is|which is|value|should be|must be|set to|has|be"},
    Kind.NEAR: {None: "about|around|roughly|approximately|approx|approx.|near|nearly|some|circa|ca.|~|≈|exactly|almost|"
                "precisely|close to|just|very|quite|rather|relatively|fairly|really|so|too|a|an|the|total|total of"},
    Kind.BETWEEN: {None: "between|from"},
    Kind.AND: {None: "and|&|or|-|–|plus|but"},
    Kind.PER: {None: "per|each|for each|for every|every|apiece|on average per"},
    Kind.TIMES: {None: "x|×|by|times"},
    Kind.STOP: {None: ",|;|.|!|?|(|)|with|that|whose|in|which|where|while|joined|linked|on|together"},
    # Phrases whose words would mislead one by one.
    Kind.WORD: {None: "connected to|connected by|connected with|connected through|connected via|high quality|high voltage|"
                "low voltage|large scale|small scale|medium sized|large|small graph|small network|large graph|"
                "large network|big graph|big network|high school|in order to|long range|short range"},
}  # fmt: skip

AMBIGUOUS_NOUNS = {"node", "nodes", "vertex", "vertices"}

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
    )
} | {word: 10 * k for k, word in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)}
SCALE_WORDS = {"hundred": 100, "thousand": 1000, "million": 10**6, "dozen": 12, "k": 1000}

_TOKEN = re.compile(
    r"(?P<power>\d+\s?\^\s?\d+)|(?P<number>(?:(?<![\w)])[-+](?=[.\d]))?(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+,\d{1,2}(?![\d,])|"
    r"\d+(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+))(?:(?P<kilo>k)\b|\s?(?P<percent>%|percent\b))?"
    r"|(?P<word>[^\W\d]+(?:'[^\W\d]+)*\.?(?=\s|$)|[^\W\d]+)|(?P<sign>>=|<=|[^\w\s])"
)
_HYPHEN = re.compile(r"(?<=\w)[-‐‑](?=\w)|(?<=\w)_(?=\w)|/")
_DIGIT_RANGE = re.compile(r"(?<=\d)\s?[-–—]\s?(?=\d)")


def tokenize(text: str) -> list[Token]:
    """The tokens of a prompt.

    Example:
        >>> [(t.kind.name, t.value) for t in tokenize("a power grid of 1,200 buses")]
        [('NEAR', None), ('WORD', None), ('LINK', None), ('NUMBER', 1200.0), ('NODES', None)]
    """
    raw = _words(text)
    lexicon = _lexicon()
    tokens: list[Token] = []
    place = 0
    while place < len(raw):
        word, number = raw[place]
        if number is not None:
            tokens.append(Token(Kind.NUMBER, word, number))
            place += 1
            continue
        for length, phrase, token in lexicon.get(word, ()):
            if all(raw[place + k][0] == phrase[k] for k in range(length)) if place + length <= len(raw) else False:
                tokens.append(token)
                place += length
                break
        else:
            tokens.append(Token(Kind.WORD, word))
            place += 1
    return tokens


def stem(word: str) -> str:
    """The word without the ending of the plural; good enough when both sides go through it."""
    if len(word) <= 3 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("uses", "sses", "xes", "ches", "shes")) else word[:-1]


def _words(text: str) -> list[tuple[str, float | None]]:
    """Stems and numbers in order; number words are put together into numbers."""
    text = _DIGIT_RANGE.sub(" to ", text.lower().replace("’", "'").replace("−", "-"))
    text = _HYPHEN.sub(" ", text)
    words: list[tuple[str, float | None]] = []
    for match in _TOKEN.finditer(text):
        if match["number"] is not None or match["power"] is not None:
            words.append((match[0], _number(match)))
        elif match["word"] is not None:
            word = match["word"]
            dotted = word.endswith(".") and word not in ("approx.", "ca.", "avg.")
            words.append((stem(word.rstrip(".")), None))
            if dotted:
                words.append((".", None))
        else:
            words.append((match["sign"], None))
    return _join_number_words(words)


def _number(match: re.Match[str]) -> float:
    if match["power"] is not None:
        base, exponent = (int(part) for part in match["power"].split("^"))
        return float(base) ** min(exponent, 18)
    digits = match["number"]
    # "1,200" is a thousand, "0,3" is a decimal comma.
    value = float(digits.replace(",", "." if re.fullmatch(r"[-+]?\d+,\d{1,2}", digits) else ""))
    if match["kilo"]:
        # 0.3 k is 300, without the noise of binary fractions.
        value = round(value * 1000, 6)
    return round(value / 100, 12) if match["percent"] else value


def _join_number_words(words: list[tuple[str, float | None]]) -> list[tuple[str, float | None]]:
    """Replace "two hundred and fifty" with 250 and "2 thousand" with 2000."""
    joined: list[tuple[str, float | None]] = []
    place = 0
    while place < len(words):
        value, length = _spoken_number(words, place)
        if length:
            joined.append((" ".join(word for word, _ in words[place : place + length]), value))
        elif words[place][0] in ("nan", "inf", "infinity"):
            joined.append((words[place][0], math.nan if words[place][0] == "nan" else math.inf))
            length = 1
        else:
            joined.append(words[place])
            length = 1
        place += length
    return joined


def _spoken_number(words: list[tuple[str, float | None]], start: int) -> tuple[float, int]:
    """The number that is spoken from ``start`` on, and in how many words; no words if there is none."""
    total, current, place, last = 0.0, None, start, 0
    while place < len(words):
        word, digits = words[place]
        if digits is not None and place == start:
            current = digits
        elif word in NUMBER_WORDS and (current is None or (NUMBER_WORDS[word] < 10 and current % 100 >= 20 and
                                       current % 10 == 0) or (current % 100 == 0 and current > 0 and words[place - 1][0] != "and") or
                                       (words[place - 1][0] == "and" and current % 100 == 0 and current > 0)):  # fmt: skip
            current = (current or 0) + NUMBER_WORDS[word]
        elif word in SCALE_WORDS and (current is not None or (place == start and word != "k")):
            current = (1 if current is None else current) * SCALE_WORDS[word]
            if SCALE_WORDS[word] >= 1000:
                total, current = total + current, 0.0
        elif word == "and" and place > start and current is not None and words[place - 1][0] in ("hundred", "thousand"):
            place += 1
            continue
        else:
            break
        place += 1
        last = place
    if last == start or last == 0:
        return 0.0, 0
    return total + (current or 0.0), last - start


@cache
def _lexicon() -> dict[str, tuple[tuple[int, tuple[str, ...], Token], ...]]:
    """All phrases by their first stem, longest first."""
    entries: dict[tuple[str, ...], Token] = {}

    def add(phrase: str, token: Token) -> None:
        key = tuple(word for word, _ in _words(phrase))
        known = entries.get(key)
        if known is None or (known.weight < token.weight and known.kind is Kind.WORD):
            entries[key] = token._replace(text=phrase)
        elif token.domains and token.weight == known.weight:  # "interactions" speak for several domains
            entries[key] = known._replace(domains=tuple(dict.fromkeys(known.domains + token.domains)))
        elif (token.domains and not known.domains) or token.weight > known.weight:
            entries[key] = known._replace(domains=token.domains, weight=token.weight)

    for kind, meanings in PHRASES.items():
        for value, phrases in meanings.items():
            for phrase in phrases.split("|"):
                add(phrase, Token(kind, phrase, value))
    for noun in GENERIC_WORDS.nodes:
        add(noun, Token(Kind.NODES, noun))
    for noun in GENERIC_WORDS.edges:
        add(noun, Token(Kind.EDGES, noun))
    for domain, words in DOMAIN_WORDS.items():
        for noun in words.nodes:
            add(noun, Token(Kind.NODES, noun, None, (domain,), NOUN))
        for noun in words.edges:
            add(noun, Token(Kind.EDGES, noun, None, (domain,), NOUN))
    for domain, words in DOMAIN_WORDS.items():
        for phrase in words.hints:
            add(phrase, Token(Kind.WORD, phrase, None, (domain,), HINT))
        for phrase in (*words.names, *words.definitions):
            add(phrase, Token(Kind.WORD, phrase, None, (domain,), NAME))
    for family in FAMILIES:
        add(f"{family} graph", Token(Kind.WORD, family, None, (family,), NAME))
    by_first: dict[str, list[tuple[int, tuple[str, ...], Token]]] = {}
    for key, token in entries.items():
        by_first.setdefault(key[0], []).append((len(key), key, token))
    return {first: tuple(sorted(group, key=lambda e: -e[0])) for first, group in by_first.items()}
