"""``graftable evaluate-graphs``: how far one set of graphs is from another, and whether it is new."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch_geometric.data import Data

from graftable.graphs.attributes import graph_attributes
from graftable.graphs.metrics import STATISTICS, VUN, GraphIndex, Interval, Report, evaluate_graphs, vun
from graftable.pipelines.readers import read_graphs

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Comparison", "compare_sets", "run"]

SPECTRUM_UP_TO = 3_000
"""Nodes up to which the spectral statistics are computed: their cost is cubic, some 20 s at this size."""
FEW = 40
"""Below so many graphs the intervals are wide; the command says so."""


@dataclass(frozen=True)
class Comparison:
    """What was measured of one set of graphs against another.

    Attributes:
        distances: How far the two are apart.
        shares: How many graphs are unique and, where training graphs were given, novel.
        attributes: By name the means of both sets.
        left_out: Statistics that would have been too costly for the largest graph.
    """

    distances: Report
    shares: VUN
    attributes: dict[str, tuple[float, float]]
    left_out: tuple[str, ...]


def compare_sets(
    generated: Sequence[Data], reference: Sequence[Data], train: Sequence[Data] | None = None, *, seed: int = 0
) -> Comparison:
    """Measure one set of graphs against another.

    Args:
        generated: The graphs to judge.
        reference: The graphs to judge them against, best real ones that no model was trained on.
        train: Training graphs: they add the MMD ratio and the novelty, and the distance that real graphs have.
        seed: Of the bootstrap.

    Raises:
        DataError: If a set is empty.

    Example:
        >>> from graftable.graphs.edge_lists import graph_from_edges
        >>> paths = [graph_from_edges(n, [[i, i + 1] for i in range(n - 1)]) for n in (3, 4, 5)]
        >>> compare_sets(paths, paths).distances.statistics["degree"].value
        0.0
    """
    largest = max(int(graph.num_nodes or 0) for graph in (*generated, *reference, *(train or ())))
    left_out = ("spectral", "wavelet") if largest > SPECTRUM_UP_TO else ()
    statistics = [name for name in STATISTICS if name not in left_out]
    distances = evaluate_graphs(generated, reference, train, statistics=statistics, seed=seed)
    ours, theirs = _means(generated), _means(reference)
    means = {name: (ours[name], theirs[name]) for name in ours}
    return Comparison(distances, vun(generated, GraphIndex(train or [])), means, left_out)


def _means(graphs: Sequence[Data]) -> dict[str, float]:
    sizes = [{"num_nodes": float(graph.num_nodes or 0), "num_edges": graph.num_edges / 2} for graph in graphs]
    measured = [{**size, **graph_attributes(graph)} for size, graph in zip(sizes, graphs, strict=True)]
    return {name: sum(values[name] for values in measured) / len(measured) for name in measured[0]}


def run(namespace: argparse.Namespace) -> int:
    """Print the comparison as tables or JSON.

    Args:
        namespace: ``generated``, ``reference``, ``train``, ``undirected`` and ``json`` of the command line.

    Returns:
        0.

    Raises:
        DataError: If a file cannot be read, or holds a graph that is not simple and undirected.
    """
    names = [namespace.generated, namespace.reference, *([namespace.train] if namespace.train else [])]
    # read all first: a mistake in the last file is told before minutes of measuring
    sets = [read_graphs(name, undirected=namespace.undirected) for name in names]
    found = compare_sets(*sets)
    if namespace.json:
        print(json.dumps(_as_json(found, names), indent=2))
        return 0
    _print_tables(found, names, [len(graphs) for graphs in sets])
    return 0


def _as_json(found: Comparison, names: list[str]) -> dict[str, Any]:
    shares = found.shares.to_dict()
    if len(names) < 3:
        shares = {name: shares[name] for name in ("count", "unique", "undecided")}
    return {
        "generated": names[0],
        "reference": names[1],
        "train": names[2] if len(names) > 2 else None,
        "distances": found.distances.to_dict(),
        "shares": shares,
        "mean_attributes": {
            name: {"generated": ours, "reference": theirs} for name, (ours, theirs) in found.attributes.items()
        },
        "left_out": list(found.left_out),
    }


def _print_tables(found: Comparison, names: list[str], counts: list[int]) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False)  # file names may hold what markup would read as tags
    console.print(f"{names[0]} ({counts[0]:,} graphs) against {names[1]} ({counts[1]:,} graphs)\n", soft_wrap=True)
    console.print(_distance_table(found.distances))
    console.print()
    console.print(_attribute_table(found.attributes))
    for sentence in _sentences(found.distances, found.shares, found.left_out, counts):
        console.print(sentence, soft_wrap=True)


def _distance_table(report: Report) -> "Table":
    table = _table("squared MMD, 0 is best", "distance", "95 % interval", *(["real graphs"] if report.train else []))
    for name, interval in report.statistics.items():
        cells = [name, f"{interval.value:.4f}", _ends(interval, 4)]
        table.add_row(*cells, *([f"{report.train[name]:.4f}"] if report.train else []))
    if report.ratio:
        table.add_row("ratio to real graphs", f"{report.ratio.value:.2f}", _ends(report.ratio, 2), "1.00", style="bold")
    return table


def _attribute_table(attributes: dict[str, tuple[float, float]]) -> "Table":
    table = _table("means", "judged", "reference")
    for name, (ours, theirs) in attributes.items():
        table.add_row(name.replace("num_", "").replace("_", " "), f"{ours:.4g}", f"{theirs:.4g}")
    return table


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _ends(interval: Interval, digits: int) -> str:
    return f"{interval.low:.{digits}f} to {interval.high:.{digits}f}" if interval.low is not None else ""


def _sentences(report: Report, shares: VUN, left_out: tuple[str, ...], counts: list[int]) -> list[str]:
    told = [f"\nunique: {_percent(shares.unique)}"]
    if report.train:
        told.append(f"novel: {_percent(shares.novel)} (not isomorphic to a training graph)")
    else:
        told.append("add --train FILE for the ratio to real graphs and for novelty")
    if left_out:
        told.append(f"left out above {SPECTRUM_UP_TO:,} nodes, where they cost minutes a graph: {', '.join(left_out)}")
    if min(counts[:2]) < FEW:
        told.append(f"{min(counts[:2])} graphs are few: differences within the intervals mean nothing")
    return told


def _percent(share: Interval) -> str:
    return f"{share.value:.1%}" + (f" ({share.low:.1%} to {share.high:.1%})" if share.low is not None else "")
