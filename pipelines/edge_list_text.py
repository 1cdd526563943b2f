"""Lists of edges as text: the plainest graph file there is, in its many dialects."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.conversion import SIMPLIFY, label_nodes, simple_graph

__all__ = ["described", "json_object", "parse_edge_list"]

HEADINGS: Final = {("source", "target"), ("from", "to"), ("src", "dst"), ("u", "v")}


def parse_edge_list(text: str, *, undirected: bool = False) -> Data:
    r"""Read one graph from text with an edge per line: two node ids, apart by white space, a comma or a tab.

    Lines that begin with ``#`` or ``%`` are comments; a comment ``# {"nodes": 62, "domain": "asn", ...}`` fixes the
    number of nodes, whose ids then run from 0. Otherwise ids may be any text and become ``name``. A third column is
    a weight. **A list of edges cannot name isolated nodes**: use GraphML or records where they matter.

    Raises:
        DataError: If a line is not an edge, an id is out of range, or the graph is weighted or lists an edge twice
            (in both directions, too).

    Example:
        >>> parse_edge_list("berlin paris\nparis rome").name
        ['berlin', 'paris', 'rome']
    """
    header: Mapping[str, Any] = {}
    pairs: list[tuple[str, str]] = []
    separator: str | None = None
    first = True
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        content = line.strip()
        if not content or content[0] in "#%":
            header = header or json_object(content[1:])
            continue
        if first:
            separator = next((mark for mark in ",\t;" if mark in content), None)
        u, v, data = _columns(content, separator, number)
        if not (first and (u.lower(), v.lower()) in HEADINGS):
            _check_edge_data(data, undirected, number)
            pairs.append((u, v))
        first = False
    if not pairs:
        raise DataError("no edges, expected two node ids per line.")
    about = described(header)
    if "nodes" in header:
        return simple_graph(int(header["nodes"]), _numbered(pairs), undirected=undirected, **about)
    order, names = label_nodes(dict.fromkeys(label for pair in pairs for label in pair))
    index = {label: position for position, label in enumerate(order)}
    return simple_graph(
        len(order), [(index[u], index[v]) for u, v in pairs], undirected=undirected, name=names, **about
    )


def _columns(content: str, separator: str | None, number: int) -> tuple[str, str, str]:
    parts = [part.strip() for part in content.split(separator, 2)]
    if len(parts) < 2 or not parts[0] or not parts[1]:
        raise DataError(f"line {number}: found {content[:60]!r}, expected two node ids.")
    return parts[0], parts[1], parts[2] if len(parts) == 3 else ""


def _check_edge_data(data: str, undirected: bool, number: int) -> None:
    """Allow no third column, a weight of 1, or the empty dictionary that networkx writes."""
    if data in ("", "{}"):
        return
    try:
        weight: float | None = float(data)
    except ValueError:
        weight = None
    if weight is not None and not math.isfinite(weight):
        raise DataError(f"line {number}: weight {data}, expected a finite number; correct or remove it.")
    if weight != 1 and not undirected:
        raise DataError(f"line {number}: edge data {data[:60]!r}, expected two node ids and no weight; {SIMPLIFY}.")


def _numbered(pairs: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    try:
        return [(int(u), int(v)) for u, v in pairs]
    except ValueError as error:
        raise DataError(
            f"{error}, expected node ids from 0, since the first line gives the number of nodes."
        ) from error


def json_object(text: str) -> Mapping[str, Any]:
    """Return the JSON object that ``text`` holds; empty where it holds none."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, Mapping) else {}


def described(header: Mapping[str, Any]) -> dict[str, str]:
    """Take domain and source out of a header; of ``col (ego nets)`` the domain is ``col``."""
    about = {key: str(header[key]) for key in ("domain", "source") if header.get(key)}
    if "domain" in about:
        about["domain"] = about["domain"].partition(" (")[0]
    return about
