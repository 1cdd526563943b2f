"""Records: the four Parquet schemas that every pipeline reads and writes, and the graph record in both directions.

A record file is a Parquet file whose schema metadata names the record kind and its version. A path may also be a
folder of such files, read in the order of their names. Metadata that describes a whole file goes to a JSON file
beside it.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.files import atomic_path, write_text
from graftable.graphs.conversion import simple_graph
from graftable.graphs.edge_lists import edge_array

__all__ = [
    "DOCUMENT",
    "GRAPH",
    "ROW",
    "TEXT",
    "graph_to_record",
    "iterate_records",
    "read_records",
    "record_to_graph",
    "write_records",
]

RECORD_VERSION = 1
RECORDS_PER_GROUP = 1024
DELTA = "DELTA_BINARY_PACKED"


def _schema(kind: str, *fields: pa.Field) -> pa.Schema:
    """A record schema that carries its kind and version in the file."""
    return pa.schema(fields, metadata={"graftable.record": kind, "graftable.version": str(RECORD_VERSION)})


#: One simple undirected graph: edge ``i`` joins ``source_nodes[i] < target_nodes[i]``; ids run from 0.
GRAPH = _schema(
    "graph",
    pa.field("graph_id", pa.string(), nullable=False),
    pa.field("num_nodes", pa.int64(), nullable=False),
    pa.field("source_nodes", pa.list_(pa.int32()), nullable=False),
    pa.field("target_nodes", pa.list_(pa.int32()), nullable=False),
    pa.field("node_names", pa.list_(pa.string())),
    pa.field("domain", pa.string()),
    pa.field("origin", pa.string()),
    pa.field("split", pa.string()),
    pa.field("text", pa.string()),
    pa.field("attributes", pa.map_(pa.string(), pa.float64())),
)

#: One row of a table whose columns are not known beforehand: numbers and categories by column name, gaps left out.
ROW = _schema(
    "row",
    pa.field("row_id", pa.string(), nullable=False),
    pa.field("table", pa.string()),
    pa.field("split", pa.string()),
    pa.field("numbers", pa.map_(pa.string(), pa.float64())),
    pa.field("categories", pa.map_(pa.string(), pa.string())),
)

#: One parsed document: the ``DoclingDocument`` as JSON, and its Markdown for a quick look.
DOCUMENT = _schema(
    "document",
    pa.field("document_id", pa.string(), nullable=False),
    pa.field("origin", pa.string()),
    pa.field("split", pa.string()),
    pa.field("num_pages", pa.int64()),
    pa.field("document", pa.string(), nullable=False),
    pa.field("markdown", pa.string()),
)

#: One piece of text, with the answer wanted from a model and the graphs that it speaks of, where there are any.
TEXT = _schema(
    "text",
    pa.field("text_id", pa.string(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("answer", pa.string()),
    pa.field("graph_ids", pa.list_(pa.string())),
    pa.field("domain", pa.string()),
    pa.field("origin", pa.string()),
    pa.field("split", pa.string()),
)


def graph_to_record(graph: Data) -> dict[str, Any]:
    """Turn a graph into a graph record (the columns of ``GRAPH``).

    Args:
        graph: A simple undirected graph. The optional fields ``graph_id``, ``name`` (node names), ``domain``,
            ``source``, ``split``, ``text`` and ``attributes`` are kept; a missing id is made from the content.

    Raises:
        DataError: If the graph has a self-loop or an edge in one direction only.

    Example:
        >>> graph_to_record(simple_graph(3, [[0, 2]], domain="road"))["target_nodes"].tolist()
        [2]
    """
    edges = edge_array(graph)
    directed = np.unique(graph.edge_index.cpu().numpy(), axis=1) if graph.num_edges else graph.edge_index
    if directed.shape[1] != 2 * len(edges):
        raise DataError(
            f"the graph has {directed.shape[1]} directed edges and {len(edges)} undirected ones, expected both "
            "directions of every edge and no self-loop; apply torch_geometric.utils.remove_self_loops and "
            "to_undirected first."
        )
    num_nodes = int(graph.num_nodes or 0)
    return {
        "graph_id": graph.get("graph_id") or _content_id(num_nodes, edges),
        "num_nodes": num_nodes,
        "source_nodes": edges[:, 0].astype(np.int32),
        "target_nodes": edges[:, 1].astype(np.int32),
        "node_names": graph.get("name"),
        "domain": graph.get("domain"),
        "origin": graph.get("source"),
        "split": graph.get("split"),
        "text": graph.get("text"),
        "attributes": graph.get("attributes"),
    }


def _content_id(num_nodes: int, edges: np.ndarray) -> str:
    digest = hashlib.sha256(num_nodes.to_bytes(8, "little") + edges.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def record_to_graph(record: Mapping[str, Any], *, undirected: bool = False) -> Data:
    """Turn a graph record back into a graph; columns that are null become no field.

    Args:
        record: The columns of ``GRAPH`` by name; those that may be null may also be absent.
        undirected: Drop repeated edges and self-loops, instead of refusing them.

    Raises:
        DataError: If a column is missing, there are no nodes, the two ends of the edges or the nodes and their names
            differ in number, a node id is out of range, an edge repeats, or a node is joined to itself. The message
            names the record.

    Example:
        >>> record_to_graph({"num_nodes": 2, "source_nodes": [0], "target_nodes": [1]}).num_edges
        2
    """
    label = f"graph record {record.get('graph_id')}"
    missing = [name for name in ("num_nodes", "source_nodes", "target_nodes") if record.get(name) is None]
    if missing:
        raise DataError(f"{label}: no {missing[0]}; expected the columns of GRAPH.")
    sources, targets = np.asarray(record["source_nodes"]), np.asarray(record["target_nodes"])
    if sources.shape != targets.shape:
        raise DataError(
            f"{label}: {len(sources)} source nodes and {len(targets)} target nodes, expected one pair per edge; write "
            "the record again."
        )
    num_nodes, names, attributes = int(record["num_nodes"]), record.get("node_names"), record.get("attributes")
    if names is not None and len(names) != num_nodes:
        raise DataError(f"{label}: {num_nodes} nodes and {len(names)} node names, expected a name per node or none.")
    try:
        return simple_graph(
            num_nodes,
            np.stack([sources, targets], axis=1),
            undirected=undirected,
            graph_id=record.get("graph_id"),
            name=names,
            domain=record.get("domain"),
            source=record.get("origin"),
            split=record.get("split"),
            text=record.get("text"),
            attributes=None if attributes is None else dict(attributes),
        )
    except DataError as error:
        raise DataError(f"{label}: {error}") from error


def write_records(
    path: str | os.PathLike[str],
    records: Iterable[Data | Mapping[str, Any]],
    schema: pa.Schema = GRAPH,
    *,
    metadata: Mapping[str, Any] | None = None,
) -> int:
    """Write records to one Parquet file, atomically and in constant memory.

    Args:
        path: The file to create or replace.
        records: Records as mappings by column name (absent columns become null), or graphs for ``GRAPH``.
        schema: One of ``GRAPH``, ``ROW``, ``DOCUMENT``, ``TEXT``.
        metadata: What describes the whole file; written as JSON beside it, to ``<name>.json``.

    Returns:
        The number of records written.

    Raises:
        DataError: If a record does not fit the schema, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_records(f"{folder}/a.parquet", [simple_graph(2, [[0, 1]])])
        1
    """
    # node ids are sorted or nearly so: stored as differences they take a third of the space
    deltas = {f"{name}.list.element": DELTA for name in ("source_nodes", "target_nodes") if name in schema.names}
    dictionary = [f.name for f in schema if pa.types.is_string(f.type)] + ["attributes.key_value.key"]
    stream, written = iter(records), 0
    with (
        atomic_path(path) as part,
        pq.ParquetWriter(
            part, schema, compression="zstd", compression_level=15, column_encoding=deltas, use_dictionary=dictionary
        ) as writer,
    ):
        while chunk := list(islice(stream, RECORDS_PER_GROUP)):
            writer.write_batch(_to_batch(chunk, schema, written))
            written += len(chunk)
    if metadata is not None:
        write_text(Path(path).with_suffix(".json"), json.dumps(metadata, indent=2) + "\n")
    return written


def _to_batch(chunk: list[Data | Mapping[str, Any]], schema: pa.Schema, first: int) -> pa.RecordBatch:
    rows = [graph_to_record(record) if isinstance(record, Data) else record for record in chunk]
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise DataError(f"records have a column {min(unknown)!r}, expected only {', '.join(schema.names)}; drop it.")
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        if not field.nullable and any(value is None for value in values):
            index = first + next(i for i, value in enumerate(values) if value is None)
            raise DataError(f"record {index} has no {field.name}; expected a {field.type}, so give it one.")
        if pa.types.is_map(field.type):
            values = [None if value is None else list(dict(value).items()) for value in values]
        try:
            columns.append(pa.array(values, type=field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"records {first} to {first + len(rows) - 1}, column {field.name!r}: {error}; expected {field.type}."
            ) from error
    return pa.record_batch(columns, schema=schema)


def read_records(path: str | os.PathLike[str], schema: pa.Schema | None = GRAPH) -> list[dict[str, Any]]:
    """Read all records of a file or folder; see ``iterate_records``."""
    return list(iterate_records(path, schema))


def iterate_records(path: str | os.PathLike[str], schema: pa.Schema | None = GRAPH) -> Iterator[dict[str, Any]]:
    """Read records one by one, from a Parquet file or from all Parquet files of a folder by name.

    Number lists come as NumPy arrays and maps as dictionaries.

    Args:
        path: A record file, or a folder of them.
        schema: The kind that is expected; ``None`` accepts any kind.

    Raises:
        DataError: If there is no such file, or it is not a record file of this kind and version.
    """
    path = Path(path)
    files = sorted(p for p in path.glob("*.parquet") if not p.name.startswith(".")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: the folder holds no .parquet file; expected graftable records.")
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{file}: cannot be read as Parquet ({error}); expected graftable records.") from error
        with parquet:
            _check_schema(file, parquet.schema_arrow, schema)
            for batch in parquet.iter_batches(batch_size=RECORDS_PER_GROUP):
                columns = {name: _column(batch.column(name)) for name in batch.schema.names}
                for values in zip(*columns.values(), strict=True):
                    yield dict(zip(columns, values, strict=True))


def _check_schema(file: Path, found: pa.Schema, expected: pa.Schema | None) -> None:
    marks = {key.decode(): value.decode() for key, value in (found.metadata or {}).items()}
    kind = marks.get("graftable.record")
    if kind is None:
        raise DataError(f"{file}: a Parquet file without graftable's record mark; write it with write_records.")
    if marks.get("graftable.version") != str(RECORD_VERSION):
        raise DataError(
            f"{file}: record version {marks.get('graftable.version')}, expected {RECORD_VERSION}; "
            "read it with the graftable release that wrote it and write it again."
        )
    wanted = kind if expected is None else expected.metadata[b"graftable.record"].decode()
    if kind != wanted:
        raise DataError(f"{file}: holds {kind} records, expected {wanted} records; give a file of that kind.")


def _column(array: pa.Array) -> list[Any]:
    """The values of one column; number lists are cut out of one flat array, since a corpus has millions of them."""
    if pa.types.is_map(array.type):
        return [None if value is None else dict(value) for value in array.to_pylist()]
    if pa.types.is_list(array.type) and pa.types.is_integer(array.type.value_type):
        offsets, flat = array.offsets.to_numpy(), array.values.to_numpy()
        return [flat[start:stop] for start, stop in pairwise(offsets)]
    values: list[Any] = array.to_pylist()
    return values
