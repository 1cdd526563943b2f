"""Reads what a prompt asks for, by rules: numbers and levels are exact, everything else stays in the text.

"a sparse power grid of 300 buses" asks for the domain power, 300 nodes and a low mean degree. What the rules do not
know is no error: the text encoder of the model reads the whole text.

What the rules decide where English leaves it open:

- "about 200" is 200; "between 0.2 and 0.4" of an attribute is the middle; of nodes it is a range.
- "at least 100 nodes" allows 100 to 200 and "at most 100" allows 50 to 100; of anything else the bound is aimed at.
- "sparse" and "dense" are levels of the mean degree, which unlike the density mean the same at every size.
- "three links per node", "three neighbours" and "3-regular" are a mean degree of 3; "connected" is one component.
- A number outweighs a level of the same attribute: "a low clustering of 0.1" is 0.1.
- A real domain outweighs a family: "a planar road network" is a road network.
"""

from collections.abc import Collection, Sequence

from graftable.errors import PromptError

from .conditions import Condition
from .corpus import FAMILIES
from .prompt_lexer import NAME, VAGUE, Token, tokenize
from .prompt_lexicon import Kind
from .prompt_reader import PromptReader, contradiction
from .prompt_templates import PROMPT_TEMPLATES, held_out_prompts, paraphrases, write_prompt

__all__ = ["PROMPT_TEMPLATES", "held_out_prompts", "paraphrases", "parse_prompt", "write_prompt"]


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
    tokens = tokenize(text)
    reader = PromptReader(tokens)
    domain = _domain_of(text, tokens, reader, domains)
    return Condition(
        text=text,
        domain=domain,
        num_edges=reader.num_edges,
        attributes=reader.attributes,
        levels=reader.levels,
        num_nodes_range=reader.node_span(domain),
    )


def _domain_of(text: str, tokens: Sequence[Token], reader: PromptReader, domains: Collection[str] | None) -> str | None:
    """The domain that the words speak for most clearly; real ones before families, earlier before later."""
    weights: dict[str, list[int]] = {"grid": [NAME]} if reader.lattice else {}
    named: dict[str, str] = {}
    for place, token in enumerate(tokens):
        if token.kind is Kind.GROUPS and place not in reader.used:  # "4 communities", not "strong communities"
            weights.setdefault("sbm", []).append(1)
        for domain, weight in () if reader.is_denied(place) else token.evidence:
            weights.setdefault(domain, []).append(weight)
            if weight == NAME and domain not in FAMILIES:
                named.setdefault(domain, token.text)
    words = set(text.lower().split())
    for domain in domains or ():  # those of the user's own have no words but their name
        if domain.lower() in words:
            weights.setdefault(domain, [NAME])
    weights = {domain: values for domain, values in weights.items() if domains is None or domain in domains}
    rivals = [f'"{phrase}" (domain {domain})' for domain, phrase in named.items() if domain in weights]
    if len(rivals) > 1:
        raise contradiction(rivals[0], rivals[1])
    real = [domain for domain in weights if domain not in FAMILIES]
    clear = [domain for domain in real if sum(weights[domain]) >= VAGUE]
    family = [domain for domain in weights if domain in FAMILIES and max(weights[domain]) == NAME]
    candidates = clear or family or real or list(weights)
    return max(candidates, key=lambda domain: (max(weights[domain]), sum(weights[domain])), default=None)
