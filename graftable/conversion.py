"""``graftable convert``: graph files of any readable kind into records, which ``graftable fit`` reads."""

import argparse
from pathlib import Path

from graftable.errors import DataError
from graftable.pipelines.readers import convert_graphs

__all__ = ["run"]


def run(namespace: argparse.Namespace) -> int:
    """Read everything, then write everything.

    Args:
        namespace: ``source``, ``target``, ``undirected`` and ``domain`` of the command line.

    Returns:
        0.

    Raises:
        DataError: If a file cannot be read, is no simple undirected graph, or the target cannot be written; then
            nothing is written.
    """
    domain = namespace.domain
    if domain is not None and not domain.strip():
        raise DataError("--domain is empty; give a name such as power, or leave the option out.")
    path, graphs = convert_graphs(
        namespace.source, namespace.target, undirected=namespace.undirected, domain=domain and domain.strip()
    )
    sizes = [int(graph.num_nodes or 0) for graph in graphs]
    edges = sum(graph.num_edges // 2 for graph in graphs)
    span = f"{min(sizes):,}" if min(sizes) == max(sizes) else f"{min(sizes):,} to {max(sizes):,}"
    count = f"{len(graphs):,} graph{'s' * (len(graphs) > 1)}"
    print(f"wrote {path}: {count} of {span} nodes, {edges:,} edges in all")
    if path.suffix == ".parquet":
        records = path.parent if Path(namespace.target) == path.parent else path
        print(f"next: graftable fit --config lggm --data.init_args.records {records} --model.init_args.pretrained lggm")
    return 0
