"""Pictures of graphs: one grid of small drawings, the same for the same graphs."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import networkx as nx
import numpy as np
from matplotlib import colors, rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from scipy import sparse

from graftable.errors import ConfigError, DataError
from graftable.files import write_bytes

from .layouts import layout_graph
from .metrics.sparse import to_csr

if TYPE_CHECKING:
    from .metrics.sparse import GraphLike

__all__ = ["FORMATS", "draw_gallery", "render_gallery"]

FORMATS = ("png", "svg", "pdf")

INK, MUTED, EDGE = "#1f2933", "#616e7c", "#7b8794"
# muted hues of like lightness, in an order that keeps neighbours apart; told apart by colour-blind readers too
PALETTE = ("#3b6ea8", "#d98a3d", "#4a9b8e", "#b5566d", "#7d6bb0", "#8a9a3b", "#c9a227", "#5fa0c8", "#a0705a", "#6b7f8c")
LONE = "#a3aebb"
DEGREE_RAMP = colors.LinearSegmentedColormap.from_list("degree", ["#b8d0e4", "#3b6ea8", "#1b2f5b"])
MARGIN, HEADING, GROUP, CAPTION, LINE = 0.25, 0.42, 0.36, 0.3, 0.15
"""Inches of the page around the drawings."""
LETTERS = 15
"""Of a caption, on an inch."""
FILLED = 0.88
"""Share of a cell's width that its drawing fills."""
COMMUNITIES_UP_TO = 2_000
"""Nodes up to which "auto" looks for communities; larger graphs are coloured by degree."""

Colouring = Literal["auto", "community", "degree"]


def draw_gallery(
    graphs: Sequence[GraphLike] | Mapping[str, Sequence[GraphLike]],
    path: str | os.PathLike[str],
    *,
    titles: Sequence[str] | None = None,
    heading: str | None = None,
    columns: int | None = None,
    colour: Colouring = "auto",
    cell: float = 2.4,
    seed: int = 0,
) -> Path:
    """Draw graphs side by side into one file: nodes sized by degree, coloured by community.

    Args:
        graphs: Graphs of any size; or, under the heading of each group, its graphs, each group in rows of its own.
        path: A file that ends in ``.png``, ``.svg`` or ``.pdf``. It is written whole or not at all.
        titles: A few words under each drawing, in order; default: how many nodes and edges it has.
        heading: A line above all.
        columns: Drawings in a row; by default as many as make the picture a little wider than high.
        colour: By ``community``, by ``degree``, or ``auto``: by community up to 2,000 nodes.
        cell: Width of a drawing in inches.
        seed: Of the layouts.

    Returns:
        The path.

    Raises:
        DataError: If there is nothing to draw, or the file cannot be written.
        ConfigError: If the ending is unknown, or the titles are not as many as the graphs.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_gallery([nx.path_graph(3), nx.star_graph(5)], f"{folder}/two.png").stat().st_size > 1000
        True
    """
    target = Path(path)
    content = render_gallery(
        graphs,
        target.suffix.lower().lstrip("."),
        titles=titles,
        heading=heading,
        columns=columns,
        colour=colour,
        cell=cell,
        seed=seed,
    )
    write_bytes(target, content)
    return target


def render_gallery(
    graphs: Sequence[GraphLike] | Mapping[str, Sequence[GraphLike]],
    kind: str = "png",
    *,
    titles: Sequence[str] | None = None,
    heading: str | None = None,
    columns: int | None = None,
    colour: Colouring = "auto",
    cell: float = 2.4,
    seed: int = 0,
) -> bytes:
    """Return what ``draw_gallery`` writes; ``kind`` is one of ``FORMATS``.

    Raises:
        DataError: If there is nothing to draw.
        ConfigError: If the kind is unknown, or the titles are not as many as the graphs.
    """
    if kind not in FORMATS:
        raise ConfigError(
            f"a picture was to be written as {kind or 'a file without ending'}; expected one of {', '.join(FORMATS)}."
        )
    groups = dict(graphs) if isinstance(graphs, Mapping) else {"": list(graphs)}
    count = sum(len(group) for group in groups.values())
    if not count:
        raise DataError("there are no graphs to draw; expected at least one.")
    if titles is not None and len(titles) != count:
        raise ConfigError(f"{len(titles)} titles for {count} graphs; give one for each.")
    largest = max(len(group) for group in groups.values())
    columns = min(columns or math.ceil(math.sqrt(1.3 * largest)), largest)
    figure = _figure(groups, titles, heading, columns, cell, colour, seed)
    stream = io.BytesIO()
    # no date and no random ids in the file: the same graphs make the same bytes
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with rc_context({"svg.hashsalt": "graftable"}):
        figure.savefig(stream, format=kind, dpi=200, metadata=metadata, facecolor="white")
    return stream.getvalue()


def _figure(
    groups: Mapping[str, Sequence[GraphLike]],
    titles: Sequence[str] | None,
    heading: str | None,
    columns: int,
    cell: float,
    colour: Colouring,
    seed: int,
) -> Figure:
    """Place every drawing; all lengths are inches from the top left corner."""
    captioned = titles is None or any(titles)
    margin = MARGIN if captioned or heading or any(groups) else 0.0  # nothing but drawings: the page has a margin
    lines = [textwrap.wrap(title, int(LETTERS * cell)) for title in titles or ()]
    step = cell + (CAPTION + LINE * (max(map(len, lines), default=1) - 1) if captioned else 0)
    top = margin + (HEADING if heading else 0)
    height = (
        top + sum(math.ceil(len(g) / columns) * step + (GROUP if name else 0) for name, g in groups.items()) + margin
    )
    width = columns * cell + 2 * margin
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    words: dict[str, Any] = {"ha": "left", "va": "top", "parse_math": False}
    if heading:
        figure.text(margin / width, 1 - margin / height, heading, size=13, weight="bold", color=INK, **words)
    index = 0
    for name, group in groups.items():
        if name:
            figure.text(margin / width, 1 - (top + 0.08) / height, name, size=10.5, color=INK, weight="bold", **words)
            top += GROUP
        for place, graph in enumerate(group):
            left, upper = margin + place % columns * cell, top + place // columns * step
            area = (left / width, 1 - (upper + cell) / height, cell / width, cell / height)
            adjacency = to_csr(graph)
            _paint(figure.add_axes(area), adjacency, cell, colour, seed)
            caption = _size_of(adjacency) if titles is None else "\n".join(lines[index])
            middle = ((left + cell / 2) / width, 1 - (upper + cell + 0.02) / height)
            figure.text(*middle, caption, size=8.5, color=MUTED, **{**words, "ha": "center"})
            index += 1
        top += math.ceil(len(group) / columns) * step
    return figure


def _size_of(adjacency: sparse.csr_array) -> str:
    nodes, edges = adjacency.shape[0], adjacency.nnz // 2
    return f"{nodes:,} node{'s' * (nodes != 1)}, {edges:,} edge{'s' * (edges != 1)}"


def _paint(axes: Axes, adjacency: sparse.csr_array, cell: float, colour: Colouring, seed: int) -> None:
    """Draw one graph: thin edges below, nodes above, the most connected last."""
    axes.set_axis_off()
    position = layout_graph(adjacency, seed=seed)
    degree = np.diff(adjacency.indptr)
    half = max(np.abs(position).max(initial=0.0), 1.0)
    points = 72 * cell * FILLED / (2 * half)  # on the page for one unit of the layout
    axes.set_xlim(-half / FILLED, half / FILLED)
    axes.set_ylim(-half / FILLED, half / FILLED)
    room = 72 * cell * FILLED / math.sqrt(max(len(degree), 1))  # for each node, were they spread evenly
    diameter = float(np.clip(0.42 * points, min(2.6, 0.4 * room), min(8.0, max(0.45 * room, 1.3))))
    upper = sparse.triu(adjacency).tocoo()
    # many edges share the ink of few, so that a dense graph does not turn into a blot
    edges = LineCollection(
        np.stack([position[upper.row], position[upper.col]], axis=1).tolist() if upper.nnz else [],
        colors=EDGE,
        linewidths=float(np.clip(0.15 * diameter, 0.3, 0.9)),
        alpha=float(np.clip(10 / np.sqrt(max(upper.nnz, 1)), 0.1, 0.8)),
        capstyle="round",
        zorder=1,
    )
    axes.add_collection(edges, autolim=False)
    order = np.argsort(degree, kind="stable")
    sizes = (diameter * (0.65 + 0.75 * np.sqrt(degree / max(degree.max(initial=1), 1)))) ** 2
    axes.scatter(
        position[order, 0],
        position[order, 1],
        s=sizes[order],
        c=np.array(_colours(adjacency, colour))[order],
        linewidths=float(np.clip(0.09 * diameter, 0.0, 0.6)),
        edgecolors="white",
        zorder=2,
        clip_on=False,
    )


def _colours(adjacency: sparse.csr_array, colour: Colouring) -> list[str]:
    """A colour for each node."""
    nodes = adjacency.shape[0]
    if colour == "degree" or (colour == "auto" and nodes > COMMUNITIES_UP_TO):
        share = np.sqrt(np.diff(adjacency.indptr) / max(np.diff(adjacency.indptr).max(initial=1), 1))
        return [colors.to_hex(rgb) for rgb in DEGREE_RAMP(0.15 + 0.85 * share)]
    graph: nx.Graph[int] = nx.empty_graph(nodes)
    graph.add_edges_from(np.stack(sparse.triu(adjacency).nonzero(), axis=1).tolist())
    groups = nx.community.louvain_communities(graph, seed=0) if graph.size() else [{node} for node in graph]
    found = [PALETTE[0]] * nodes
    large = [group for group in sorted(groups, key=lambda group: (-len(group), min(group))) if len(group) > 1]
    for rank, group in enumerate(large):
        for node in group:
            found[node] = PALETTE[rank % len(PALETTE)]
    for group in groups:
        if len(group) == 1:
            found[next(iter(group))] = LONE
    return found
