"""The words for graphs that prompts are written in and read by: names, nouns and definitions of each domain.

One table serves both directions, so that what :mod:`~graftable.graphs.prompt_templates` writes,
:mod:`~graftable.graphs.prompts` reads. The words are plain text; singular and plural are matched alike.
"""

from typing import NamedTuple

__all__ = ["DOMAIN_WORDS", "GENERIC_WORDS", "VAGUE_DOMAINS", "DomainWords", "words_of"]


class DomainWords(NamedTuple):
    """How people speak of the graphs of one domain; every sequence starts with the most usual word."""

    names: tuple[str, ...]  # each names the domain beyond doubt
    nodes: tuple[str, ...]  # what a number of nodes may be counted in
    edges: tuple[str, ...]
    definitions: tuple[str, ...]  # noun phrases that say what is joined to what
    hints: tuple[str, ...] = ()  # words that suggest the domain unless something clearer is said


DOMAIN_WORDS: dict[str, DomainWords] = {
    "asn": DomainWords(
        ("animal social network", "animal network", "dolphin network", "network of animals"),
        ("animals", "dolphins", "voles", "birds", "sheep", "monkeys", "elephants"),
        ("associations", "encounters", "interactions"),
        ("animals and the associations among them", "which animals of a group are seen together"),
        ("animal", "dolphin", "vole", "wildlife", "herd", "flock", "asn"),
    ),
    "bio": DomainWords(
        ("protein interaction network", "biological network", "protein-protein interaction network", "gene network",
         "PPI network", "metabolic network"),
        ("proteins", "genes", "neurons", "residues", "amino acids"),
        ("interactions", "contacts", "bindings"),
        ("proteins and the interactions between them", "genes or proteins that act on each other in a cell"),
        ("protein interaction", "protein contact", "biological", "protein", "gene", "neural", "disease", "yeast",
         "cell", "brain", "bio"),
    ),
    "chem": DomainWords(
        ("molecule", "molecular graph", "chemical compound", "chemical graph", "molecular structure"),
        ("atoms",),
        ("bonds",),
        ("atoms held together by chemical bonds", "the atoms of a compound and their bonds"),
        ("chemical", "chemistry", "compound", "drug", "molecular", "enzyme", "bond", "chem"),
    ),
    "citation": DomainWords(
        ("citation network", "citation graph", "network of citations", "bibliographic network"),
        ("papers", "articles", "publications", "documents"),
        ("citations", "references"),
        ("papers and the citations between them", "scientific articles that cite one another"),
        ("citation", "cite", "cites", "bibliography"),
    ),
    "col": DomainWords(
        ("collaboration network", "co-authorship network", "coauthorship network", "network of co-authors",
         "co-author network"),
        ("authors", "scientists", "researchers", "actors", "co-authors", "collaborators"),
        ("collaborations", "co-authorships"),
        ("authors who wrote papers together", "scientists joined by their joint work"),
        ("collaboration", "co-authorship", "coauthorship", "col"),
    ),
    "eco": DomainWords(
        ("food web", "ecological network", "trophic network", "network of predators and prey"),
        ("species", "organisms", "predators"),
        ("feeding links", "predations"),
        ("species and who feeds on whom", "the species of a habitat and how they live off each other"),
        ("ecosystem", "ecology", "ecological", "predator", "prey", "habitat", "trophic", "eco"),
    ),
    "econ": DomainWords(
        ("economic network", "trade network", "network of trade", "input-output network"),
        ("sectors", "industries", "firms", "companies", "countries", "banks"),
        ("transactions", "flows", "trades"),
        ("the sectors of an economy and the flows between them", "industries that supply one another"),
        ("economy", "economic", "trade", "financial", "econ"),
    ),
    "email": DomainWords(
        ("email network", "e-mail network", "email graph", "network of emails"),
        ("employees", "accounts", "correspondents", "mailboxes"),
        ("messages", "emails"),
        ("people of one institution who send each other email", "who writes email to whom"),
        ("email", "e-mail", "mail"),
    ),
    "power": DomainWords(
        ("power grid", "power network", "electric grid", "electrical grid", "electricity grid",
         "electric power network", "power distribution system", "transmission grid"),
        ("buses", "substations", "generators", "power stations", "power plants", "transformers"),
        ("lines", "power lines", "transmission lines", "branches"),
        ("buses in a power distribution system", "substations joined by transmission lines"),
        ("power", "electric", "electrical", "electricity", "high-voltage", "voltage"),
    ),
    "road": DomainWords(
        ("road network", "street network", "road map", "network of roads", "road system", "highway network"),
        ("intersections", "junctions", "crossings", "towns", "cities"),
        ("roads", "streets", "road segments"),
        ("intersections joined by roads", "towns and the roads between them"),
        ("road", "street", "highway"),
    ),
    "soc": DomainWords(
        ("social network", "friendship network", "online social network", "network of friends"),
        ("people", "persons", "users", "members", "individuals", "friends", "teams", "books"),
        ("friendships", "ties", "relations", "relationships"),
        ("people and the ties between them", "members of a community and who knows whom"),
        ("social", "friendship", "friend", "acquaintance", "soc"),
    ),
    "socfb": DomainWords(
        ("Facebook network", "Facebook graph", "college friendship network", "campus social network"),
        ("students", "profiles", "Facebook users"),
        ("Facebook friendships", "friendships"),
        ("friendships at a college on Facebook", "the students of a college and their Facebook friendships"),
        ("facebook", "college", "campus", "socfb"),
    ),
    "web": DomainWords(
        ("web graph", "hyperlink network", "network of web pages", "website network", "hyperlink graph"),
        ("web pages", "pages", "websites", "sites", "blogs"),
        ("hyperlinks",),
        ("web pages and the hyperlinks between them", "sites of the world wide web that link to each other"),
        ("web", "web page", "hyperlink", "website", "blog", "webpage", "world wide web"),
    ),
    "tech": DomainWords(
        ("internet topology", "router network", "computer network", "internet graph", "network of routers",
         "autonomous system network"),
        ("routers", "autonomous systems", "computers", "hosts", "servers", "devices"),
        ("connections", "cables"),
        ("internet routers and the connections between them", "autonomous systems that exchange traffic"),
        ("internet", "router", "technological", "autonomous system", "tech"),
    ),
    "infra": DomainWords(
        ("airport network", "flight network", "air traffic network", "airline network", "network of flights"),
        ("airports", "stations", "stops"),
        ("flights", "routes", "air routes"),
        ("airports and the flights between them", "airports joined by regular air routes"),
        ("airport", "flight", "airline", "aviation", "infrastructure", "transport", "infra"),
    ),
    "contact": DomainWords(
        ("contact network", "face-to-face contact network", "face-to-face network", "proximity network"),
        ("pupils", "participants", "attendees", "patients"),
        ("contacts", "face-to-face contacts", "meetings"),
        ("pupils of a school and their face-to-face contacts", "who met whom face to face"),
        ("face-to-face", "face-to-face contact", "proximity", "contact", "high school", "primary school"),
    ),
    "planar": DomainWords(
        ("planar graph", "planar network", "planar triangulation"),
        (), (),
        ("points of the plane joined without crossings", "a graph that can be drawn without crossing edges"),
        ("planar", "delaunay"),
    ),
    "sbm": DomainWords(
        ("stochastic block model", "stochastic block model graph", "block model graph", "SBM graph"),
        (), (),
        ("blocks of nodes that are dense inside and sparse between", "a random graph with planted communities"),
        ("sbm", "block model", "planted partition"),
    ),
    "tree": DomainWords(
        ("random tree", "tree", "tree graph"),
        (), (),
        ("a connected graph without cycles", "nodes that branch and never close a cycle"),
        ("acyclic",),
    ),
    "lobster": DomainWords(
        ("lobster graph", "lobster", "lobster tree"),
        (), (),
        ("a backbone path with twigs at most two edges long", "a tree that is a path once its leaves are cut twice"),
    ),
    "grid": DomainWords(
        ("grid graph", "lattice", "square lattice", "lattice graph", "rectangular grid"),
        (), (),
        ("nodes in rows and columns joined to their neighbours", "a rectangular mesh"),
        ("grid", "mesh"),
    ),
    "ba": DomainWords(
        ("scale-free network", "Barabasi-Albert graph", "preferential attachment graph", "scale-free graph"),
        (), (),
        ("nodes that join one by one and prefer popular nodes", "a network grown by preferential attachment"),
        ("scale-free", "barabasi", "preferential attachment", "power law", "ba"),
    ),
    "ws": DomainWords(
        ("small-world network", "Watts-Strogatz graph", "small-world graph"),
        (), (),
        ("a ring of nodes with a few random shortcuts", "a rewired ring lattice"),
        ("small world", "watts strogatz", "ws"),
    ),
    "rgg": DomainWords(
        ("random geometric graph", "geometric graph", "unit disk graph"),
        ("sensors",), (),
        ("points in a square, joined when they are near each other", "nodes joined to all others within a radius"),
        ("geometric", "rgg", "sensor"),
    ),
    "community": DomainWords(
        ("community graph", "caveman graph", "relaxed caveman graph", "connected caveman graph"),
        (), (),
        ("small cliques in a ring, loosely linked", "small dense groups joined by few edges"),
        ("caveman",),
    ),
}  # fmt: skip

GENERIC_WORDS = DomainWords(
    ("graph", "network"), ("nodes", "vertices", "vertex", "points", "entities"), ("edges", "links"), ()
)

VAGUE_DOMAINS = ("soc",)
"""Domains whose names also describe others: a social network of dolphins, a friendship network on Facebook."""


def words_of(domain: str | None) -> DomainWords:
    """The words for a domain; a domain that is not in the table is spoken of by its own name.

    Example:
        >>> words_of("power").nodes[0], words_of("knitting").names[0], words_of(None).names[0]
        ('buses', 'knitting network', 'graph')
    """
    if domain is None:
        return GENERIC_WORDS
    if domain in DOMAIN_WORDS:
        return DOMAIN_WORDS[domain]
    definition = (f"a graph of the domain {domain}",)
    return DomainWords((f"{domain} network", f"{domain} graph"), (), (), definition, (domain,))
