"""The bundled corpus: subgraphs of real networks and procedural families as graph records, with metadata beside them.

``README.md`` in this folder names the origin, licence and citation of every network.
"""

import json
from pathlib import Path
from typing import Any, Final

__all__ = ["DOMAINS", "FAMILIES", "REAL_DOMAINS", "SPLITS", "corpus_metadata", "corpus_path"]

SPLITS: Final = ("train", "val", "test")

#: Domain id to what its graphs are, in one plain sentence.
DOMAINS: Final[dict[str, str]] = {
    "asn": "animal social networks; nodes are animals, edges are associations or contacts between them",
    "bio": "biological networks; nodes are proteins, genes, metabolites or diseases, edges are interactions",
    "chem": "molecules and enzymes; nodes are atoms or structure elements, edges are bonds or contacts",
    "citation": "citation networks; nodes are scientific papers, edges are citations",
    "col": "collaboration networks; nodes are authors or actors, edges are joint works",
    "eco": "ecological networks; nodes are species, edges are feeding, parasitism, pollination or seed dispersal",
    "econ": "economic networks; nodes are sectors, edges are flows between them",
    "email": "email networks; nodes are people of one institution, edges are exchanged emails",
    "power": "electric power grids; nodes are buses, edges are lines",
    "road": "road networks; nodes are cities or junctions, edges are roads",
    "soc": "social networks; nodes are people, teams or books, edges are friendships, games or joint purchases",
    "socfb": "Facebook friendship networks; nodes are people, edges are friendships",
    "web": "web graphs; nodes are web pages or sites, edges are hyperlinks",
    "tech": "internet topologies; nodes are routers or autonomous systems, edges are connections",
    "infra": "air traffic networks; nodes are airports, edges are direct flights",
    "contact": "face-to-face contact networks; nodes are pupils and teachers, edges are close encounters",
    "planar": "planar graphs; Delaunay triangulations of random points",
    "sbm": "stochastic block models; two to five blocks that are dense inside and sparse between",
    "tree": "random trees; connected graphs without a cycle",
    "lobster": "lobster graphs; trees whose nodes are all within two steps of one path",
    "grid": "rectangular grids; nodes are crossings of rows and columns",
    "ba": "scale-free graphs; new nodes prefer to join well connected ones (Barabasi-Albert)",
    "ws": "small-world graphs; rings with some edges rewired at random (Watts-Strogatz)",
    "rgg": "random geometric graphs; points in a square are joined when they are close",
    "community": "community graphs; small dense groups joined by few edges (caveman graphs)",
}

#: Domains whose graphs come from measured networks.
REAL_DOMAINS: Final = (
    *("asn", "bio", "chem", "citation", "col", "eco", "econ", "email", "power", "road", "soc", "socfb", "web"),
    *("tech", "infra", "contact"),
)

#: Domains whose graphs are drawn from a random-graph law (see ``graftable.graphs.families``).
FAMILIES: Final = tuple(name for name in DOMAINS if name not in REAL_DOMAINS)


def corpus_path() -> Path:
    """The folder that holds ``train.parquet``, ``val.parquet``, ``test.parquet`` and ``metadata.json``."""
    return Path(__file__).resolve().parent


def corpus_metadata() -> dict[str, Any]:
    """What is true of the whole corpus.

    Returns:
        ``version``, ``seed``, ``counts`` (graphs by domain and split), ``terciles`` (two cut points by attribute,
        over the training graphs) and ``origins`` (source file, licence and size by network).

    Example:
        >>> sorted(corpus_metadata()["counts"]["power"])
        ['test', 'train', 'val']
    """
    content: dict[str, Any] = json.loads((corpus_path() / "metadata.json").read_text(encoding="utf-8"))
    return content
