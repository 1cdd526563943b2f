"""Splits a prompt into tokens with a meaning: numbers, nouns that are counted, attributes, levels, domain words.

Phrases are matched longest first on word stems, so that "high school" is not a high anything, "power grid" is not a
grid, and "no more than" is not a negation. The words are in :mod:`~graftable.graphs.prompt_lexicon`.
"""

import math
import re
import unicodedata
from functools import cache
from typing import NamedTuple

from .corpus import FAMILIES
from .prompt_lexicon import NUMBER_WORDS, PHRASES, SCALE_WORDS, Kind
from .prompt_words import DOMAIN_WORDS, GENERIC_WORDS, VAGUE_DOMAINS

__all__ = ["HINT", "NAME", "NOUN", "VAGUE", "Token", "tokenize"]

NAME, HINT, VAGUE, NOUN = 9, 3, 2, 1
"""How clearly a word speaks for a domain: it names it, suggests it, may name it, is counted in it."""


class Token(NamedTuple):
    """One number, word or phrase, and what it says."""

    kind: Kind
    text: str
    value: object = None  # of a number a float; of others see Kind
    evidence: tuple[tuple[str, int], ...] = ()  # domains, and how clearly they are meant


class _Word(NamedTuple):
    stem: str
    number: float | None = None


_Phrase = tuple[tuple[str, ...], Token]

# Signs that people paste from typeset text, by code point.
_PLAIN_SIGNS = {0x2010: "-", 0x2011: "-", 0x2012: "-", 0x2013: "-", 0x2014: "-", 0x2212: "-", 0x2019: "'"} | {
    0xD7: "x", 0x2248: "~", 0x2264: "<=", 0x2265: ">=", 0xA0: " ", 0x202F: " "
}  # fmt: skip
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\d)\s?-\s?(?=\d)", " to "),  # 50-80
        (r"(?<=\d)\s?x\s?(?=\d)", " x "),  # 4x4
        (r"(?<=[^\W_])[-_](?=[^\W_])", " "),  # small-world, mean_degree, 64-node
        (r"\b(approx|avg|ca)\.", r"\1"),
        (r"/", " , "),
        (r"(?<=\d)(?: 000)+\b", lambda zeros: zeros[0].replace(" ", "")),  # 10 000
    )
)
_WORD = re.compile(
    r"(?P<base>\d+)\s?\^\s?(?P<exponent>\d+)"
    r"|(?P<ordinal>\d+(?:st|nd|rd|th|d)\b)"
    r"|(?P<number>(?:(?<![\w)])[-+](?=[.\d]))?"
    r"(?:\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+,\d{1,2}(?![\d,])|\d+(?:\.\d+)?(?:e[-+]?\d+)?|\.\d+))"
    r"(?:(?P<kilo>k)\b|\s?(?P<percent>%|percent\b))?"
    r"|(?P<word>[^\W\d_]\w*(?:'\w+)*)|(?P<sign>>=|<=|[^\w\s])"
)


def tokenize(text: str) -> list[Token]:
    """The tokens of a prompt.

    Example:
        >>> [(token.kind.name, token.text) for token in tokenize("a power grid of 1,200 buses")]
        [('FILLER', 'a'), ('WORD', 'power grid'), ('LINK', 'of'), ('NUMBER', '1,200'), ('NODES', 'buses')]
    """
    words = _words(text)
    phrases = _phrases()
    tokens: list[Token] = []
    place = 0
    while place < len(words):
        word = words[place]
        token, length = Token(Kind.WORD, word.stem), 1
        if word.number is not None:
            token = Token(Kind.NUMBER, word.stem, word.number)
        else:
            for stems, phrase in phrases.get(word.stem, ()):
                if stems == tuple(next_word.stem for next_word in words[place : place + len(stems)]):
                    token, length = phrase, len(stems)
                    break
        tokens.append(token)
        place += length
    return tokens


def stem(word: str) -> str:
    """The word without the ending of the plural; rough, but the same for prompts and lexicon.

    Example:
        >>> [stem(word) for word in ("buses", "bus", "species", "nodes", "branches")]
        ['bus', 'bus', 'specy', 'node', 'branch']
    """
    if len(word) <= 3 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("uses", "sses", "xes", "ches", "shes")) else word[:-1]


def _words(text: str) -> list[_Word]:
    """Stems, signs and numbers in order, with spoken numbers put together."""
    plain = unicodedata.normalize("NFD", text.lower().translate(_PLAIN_SIGNS))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    for pattern, replacement in _REWRITES:
        plain = pattern.sub(replacement, plain)
    return _join_spoken_numbers([_read_word(match) for match in _WORD.finditer(plain)])


def _read_word(match: re.Match[str]) -> _Word:
    if match["base"]:
        return _Word(match[0], float(match["base"]) ** min(int(match["exponent"][:3]), 9))
    if match["number"]:
        digits = match["number"]
        # "1,200" is a thousand and more, "0,3" has a decimal comma.
        value = float(digits.replace(",", "." if re.fullmatch(r"[-+]?\d+,\d{1,2}", digits) else ""))
        # Rounded to the digits that were written: 0.3 k is 300 and 7 % is 0.07, without binary noise.
        return _Word(
            match[0], round(value * 1000, 6) if match["kilo"] else round(value / 100, 12) if match["percent"] else value
        )
    if match["word"] in ("nan", "inf", "infinity"):
        return _Word(match[0], math.nan if match[0] == "nan" else math.inf)
    return _Word(stem(match["word"]) if match["word"] else match[0])


def _join_spoken_numbers(words: list[_Word]) -> list[_Word]:
    """Replace "two hundred and fifty" by 250 and "2 thousand" by 2000."""
    joined: list[_Word] = []
    place = 0
    while place < len(words):
        number, length = _spoken_number(words, place)
        if length:
            joined.append(_Word(" ".join(word.stem for word in words[place : place + length]), number))
        else:
            joined.append(words[place])
        place += max(length, 1)
    return joined


def _spoken_number(words: list[_Word], start: int) -> tuple[float, int]:
    """The number that is spoken from ``start`` on, and in how many words; none if it is not a spoken number."""
    total, group, place = 0.0, 0.0, start
    while place < len(words):
        word, spoken = words[place].stem, place > start
        scaled = spoken and words[place - 1].stem in SCALE_WORDS
        if words[place].number is not None and not spoken:
            group = float(words[place].number or 0)
        elif word in NUMBER_WORDS and (not spoken or _fits(group, NUMBER_WORDS[word], words[place - 1], scaled)):
            group += NUMBER_WORDS[word]
        elif word in SCALE_WORDS and (not spoken or group or scaled):
            group = (group or 1) * SCALE_WORDS[word]
            if SCALE_WORDS[word] >= 1000:
                total, group = total + group, 0.0
        elif word != "and" or not scaled or place + 1 == len(words) or words[place + 1].stem not in NUMBER_WORDS:
            break
        place += 1
    return total + group, place - start


def _fits(group: float, value: int, before: _Word, scaled: bool) -> bool:
    """Whether a number word goes on with the number so far: "twenty" with "five", "hundred" with "ten"."""
    if before.number is not None or not (group or scaled or before.stem == "and"):
        return False
    return group % 100 == 0 if value >= 10 else group % 10 == 0 and group % 100 != 10


@cache
def _phrases() -> dict[str, tuple[_Phrase, ...]]:
    """All phrases by their first stem, the longest first."""
    tokens: dict[tuple[str, ...], Token] = {}
    evidence: dict[tuple[str, ...], dict[str, int]] = {}

    def add(phrases: tuple[str, ...], kind: Kind, value: object = None, domain: str = "", weight: int = 0) -> None:
        for phrase in phrases:
            stems = tuple(word.stem for word in _words(phrase))
            tokens.setdefault(stems, Token(kind, phrase, value))  # the first meaning of a word stays
            known = evidence.setdefault(stems, {})
            if domain:
                known[domain] = max(weight, known.get(domain, 0))

    for kind, meanings in PHRASES.items():
        for value, phrases in meanings.items():
            add(tuple(phrases.split("|")), kind, value)
    add(GENERIC_WORDS.nodes, Kind.NODES)
    add(GENERIC_WORDS.edges, Kind.EDGES)
    for domain, words in DOMAIN_WORDS.items():
        add(words.nodes, Kind.NODES, None, domain, NOUN)
        add(words.edges, Kind.EDGES)  # "interactions" and "links" are said of everything
    for domain, words in DOMAIN_WORDS.items():
        vague = domain in VAGUE_DOMAINS
        add(words.hints, Kind.WORD, None, domain, VAGUE if vague else HINT)
        add(words.names, Kind.WORD, None, domain, VAGUE if vague else NAME)
        add(words.definitions, Kind.WORD, None, domain, NAME)
    for family in FAMILIES:
        add((f"{family} graph",), Kind.WORD, None, family, NAME)
    by_first: dict[str, list[_Phrase]] = {}
    for stems, token in tokens.items():
        full = token._replace(evidence=tuple(evidence[stems].items()))
        by_first.setdefault(stems[0], []).append((stems, full))
    return {first: tuple(sorted(group, key=lambda phrase: -len(phrase[0]))) for first, group in by_first.items()}
