"""Lists of edges as text: the plainest graph file there is, in its many dialects."""

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.conversion import SIMPLIFY, label_nodes, simple_graph

__all__ = ["described", "json_object", "parse_edge_list"]

Row = tuple[int, str, str, str]  # number of the line, two node ids, and what follows them

#: First lines that name columns, in small letters without spaces and marks.
HEADINGS: Final = {
    *(("source", "target"), ("from", "to"), ("src", "dst"), ("u", "v"), ("start", "end"), ("head", "tail")),
    *(("sourceid", "targetid"), ("fromid", "toid"), ("srcid", "dstid"), ("startid", "endid")),
    *(("sourcenode", "targetnode"), ("fromnode", "tonode"), ("fromnodeid", "tonodeid"), ("startnode", "endnode")),
    *(("node1", "node2"), ("id1", "id2"), ("nodea", "nodeb"), ("nodeid1", "nodeid2"), ("vertex1", "vertex2")),
}
DIGITS: Final = "0123456789"
WORD: Final = re.compile(r'"[^"]*"(?!\S)|\S+')
UNMARKED: Final = re.compile(r'"[^"]*"|\{.*')  # a comma in quotes or in a dictionary of edge data separates no columns


def parse_edge_list(text: str, *, undirected: bool = False) -> Data:
    r"""Read one graph from text with an edge per line: two node ids, apart by white space, a comma or a tab.

    Lines that begin with ``#`` or ``%`` are comments; a comment ``# {"nodes": 62, "domain": "asn", ...}`` fixes the
    number of nodes, whose ids then run from 0. Otherwise ids may be any text and become ``name``. A third column is
    a weight. Ids may stand in double quotes, which are dropped. A first line that names columns is skipped: a usual
    pair such as ``source,target``, or words above lines of whole numbers. **A list of edges cannot name isolated
    nodes**: use GraphML or records where they matter.

    Raises:
        DataError: If a line is not an edge, an id is out of range, or the graph is weighted or lists an edge twice
            (in both directions, too).

    Example:
        >>> parse_edge_list("berlin paris\nparis rome").name
        ['berlin', 'paris', 'rome']
    """
    header: Mapping[str, Any] = {}
    rows: list[Row] = []
    separator: str | None = None
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        content = line.strip()
        if not content or content[0] in "#%":
            header = header or json_object(content[1:])
            continue
        if not rows:
            separator = next((mark for mark in ",\t;" if mark in UNMARKED.sub("", content)), None)
        rows.append(_row(content, separator, number))
    if rows and _is_heading(rows):
        del rows[0]
    if not rows:
        raise DataError("no edges, expected two node ids per line.")
    for number, _, _, data in rows:
        _check_edge_data(data, undirected, number)
    pairs = [(u, v) for _, u, v, _ in rows]
    about = described(header)
    if "nodes" in header:
        return simple_graph(int(header["nodes"]), _numbered(pairs), undirected=undirected, **about)
    order, names = label_nodes(dict.fromkeys(label for pair in pairs for label in pair))
    index = {label: position for position, label in enumerate(order)}
    return simple_graph(
        len(order), [(index[u], index[v]) for u, v in pairs], undirected=undirected, name=names, **about
    )


def _row(content: str, separator: str | None, number: int) -> Row:
    """Split a line into columns, without the quotes around them."""
    try:
        if separator is None:
            parts = [word[1:-1] if word[0] == word[-1] == '"' and word[1:] else word for word in WORD.findall(content)]
        else:
            parts = next(csv.reader([content], delimiter=separator, skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise DataError(f"line {number}: found {content[:60]!r} ({error}), expected two node ids.") from error
    parts = [part.strip() for part in parts]
    if len(parts) < 2 or not parts[0] or not parts[1]:
        raise DataError(f"line {number}: found {content[:60]!r}, expected two node ids.")
    return number, parts[0], parts[1], (separator or " ").join(parts[2:])


def _is_heading(rows: Sequence[Row]) -> bool:
    """Whether the first line names columns: usual words that are no node later, or words above whole numbers alone."""
    (_, u, v, _), ids = rows[0], {label for row in rows[1:] for label in row[1:3]}
    if ids and all(map(_is_whole, ids)):
        return not (_is_whole(u) or _is_whole(v))
    taken = {label.rstrip(DIGITS) for label in ids}  # node1 and node2 above node3 are nodes, too
    numbered = u.rstrip(DIGITS) == v.rstrip(DIGITS)
    words = tuple(re.sub(r"[\W_]", "", label.lower()) for label in (u, v))
    return words in HEADINGS and not (u.rstrip(DIGITS) in taken if numbered else ids & {u, v})


def _is_whole(label: str) -> bool:
    return label.removeprefix("-").isdecimal()


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
