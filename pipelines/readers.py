"""Graph files in and out: records, GraphML, edge lists, sets of graphs in ``.npz``, and folders of them.

| ending | holds | isolated nodes |
|---|---|---|
| ``.parquet`` | graph records (see ``graftable.pipelines.records``) | kept |
| ``.graphml``, ``.graphml.gz`` | one or more graphs | kept |
| ``.npz`` | a set of graphs: arrays ``n``, ``m``, ``src``, ``dst``, optional ``split`` and ``meta`` | kept |
| ``.txt``, ``.edges``, ``.edgelist``, ``.csv``, ``.tsv``, each also with ``.gz`` | one graph, an edge a line | lost |

A list of edges cannot name isolated nodes, so it is read but not written.
"""

import gzip
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.files import write_text
from graftable.graphs.conversion import finite_attributes, from_graphml, simple_graph, to_graphml

from .edge_list_text import described, json_object, parse_edge_list
from .records import GRAPH, iterate_records, record_to_graph, write_records

__all__ = ["convert_graphs", "read_graphs", "write_graphs"]

StrPath = str | os.PathLike[str]

MAX_BYTES: Final = 1 << 31  # of one text file once decompressed: a small .gz can hold terabytes
SPLIT_NAMES: Final = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_graphs(path: StrPath, *, undirected: bool = False) -> list[Data]:
    r"""Read every graph of a file or folder.

    A folder gives the graphs of all readable files in it, by name; its subfolders are not entered. Where a folder
    holds graph records (``.parquet``) only these are read, since GraphML files beside them show the same graphs.
    A graph that carries no id is named after its file, with its position where the file holds several.

    Args:
        path: A file with one of the endings listed at the head of this module, or a folder.
        undirected: Read directed, weighted or multi-graphs, and self-loops, by dropping what makes them so.

    Returns:
        At least one graph.

    Raises:
        DataError: If there is nothing to read, a file is damaged or of another kind, or a graph is not simple and
            undirected. The message names the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "triangle.txt").write_text("a b\nb c\nc a\n")
        ...     [graph.graph_id for graph in read_graphs(folder)]
        ['triangle']
    """
    path = Path(path)
    files = _readable_files(path) if path.is_dir() else [path]
    graphs: list[Data] = []
    for file in files:
        found = _read_file(file, undirected)
        width = len(str(len(found) - 1))
        for index, graph in enumerate(found):
            if not graph.get("graph_id"):
                graph.graph_id = _stem(file) if len(found) == 1 else f"{_stem(file)}-{index:0{width}}"
        graphs += found
    return graphs


def _ending(file: Path) -> str | None:
    return next((ending for ending in READERS if file.name.lower().endswith(ending)), None)


def _stem(file: Path) -> str:
    return file.name[: -len(_ending(file) or "") or None]


def _readable_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file() and _ending(file) and file.name[0] != ".")
    if not files:
        raise DataError(f"{folder}: no graph file in this folder, expected files ending in {', '.join(READERS)}.")
    return [file for file in files if file.suffix.lower() == ".parquet"] or files


def _read_file(file: Path, undirected: bool) -> list[Data]:
    ending = _ending(file)
    if not file.exists():
        raise DataError(f"{file}: no such file or folder; check the path.")
    if ending is None:
        raise DataError(f"{file}: unknown kind of file, expected one ending in {', '.join(READERS)}.")
    try:
        graphs = READERS[ending](file, undirected)
    except DataError as error:
        raise DataError(f"{file}: {_one_line(error).removeprefix(f'{file}: ')}") from error
    except Exception as error:  # the libraries that decode a damaged file fail in every way there is
        raise DataError(
            f"{file}: damaged, or not what its ending says ({_one_line(error)}); make the file again."
        ) from error
    if not graphs:
        raise DataError(f"{file}: holds no graphs, expected at least one.")
    return graphs


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _read_parquet(file: Path, undirected: bool) -> list[Data]:
    graphs = [record_to_graph(record, undirected=undirected) for record in iterate_records(file)]
    for graph in graphs:
        finite_attributes(graph.get("attributes") or {})
    return graphs


def _read_bytes(file: Path) -> bytes:
    with gzip.open(file) if file.suffix.lower() == ".gz" else open(file, "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DataError(f"more than {MAX_BYTES >> 30} GiB of text; convert it to graph records piece by piece.")
    return content


def _read_graphml(file: Path, undirected: bool) -> list[Data]:
    return from_graphml(_read_bytes(file), undirected=undirected)


def _read_edge_list(file: Path, undirected: bool) -> list[Data]:
    return [parse_edge_list(_read_bytes(file).decode("utf-8"), undirected=undirected)]


def _read_npz(file: Path, undirected: bool) -> list[Data]:
    loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, np.lib.npyio.NpzFile):
        raise DataError("a single array, expected a set of arrays n, m, src and dst; save it with numpy.savez.")
    with loaded:
        arrays = {name: loaded[name] for name in ("n", "m", "src", "dst", "split", "meta") if name in loaded.files}
    for name in ("n", "m", "src", "dst"):
        if name not in arrays or arrays[name].ndim != 1 or arrays[name].dtype.kind not in "iu":
            raise DataError(f"no list of whole numbers named {name!r}, expected arrays n, m, src and dst.")
    sizes, counts = arrays["n"].astype(np.int64), arrays["m"].astype(np.int64)
    pairs = [arrays[end].astype(np.int64) for end in ("src", "dst")]
    if len(sizes) != len(counts) or (counts < 0).any() or {len(end) for end in pairs} != {int(counts.sum())}:
        raise DataError(
            f"{len(sizes)} graphs by n, {len(counts)} by m with {counts.sum()} edges in all, {len(pairs[0])} in src "
            f"and {len(pairs[1])} in dst, expected them to agree; make the file again."
        )
    splits = _splits(arrays.get("split"), len(sizes))
    about = described(json_object(str(arrays["meta"]))) if "meta" in arrays else {}
    graphs = []
    for index, edges in enumerate(np.split(np.stack(pairs, axis=1), np.cumsum(counts)[:-1])[: len(sizes)]):
        try:
            graphs.append(simple_graph(int(sizes[index]), edges, undirected=undirected, split=splits[index], **about))
        except DataError as error:
            raise DataError(f"graph {index}: {error}") from error
    return graphs


def _splits(array: Any, count: int) -> Sequence[str | None]:
    if array is None:
        return [None] * count
    names = [str(name) for name in np.atleast_1d(array)]
    unknown = set(names) - set(SPLIT_NAMES)
    if unknown or len(names) != count:
        raise DataError(
            f"split has {len(names)} entries{f', one of them {min(unknown)!r}' if unknown else ''}, "
            f"expected train, val or test for each of {count} graphs."
        )
    return [SPLIT_NAMES[name] for name in names]


TABLES: Final = (".txt", ".edges", ".edgelist", ".csv", ".tsv")

#: How to read a file, by how its name ends.
READERS: Final[dict[str, Callable[[Path, bool], list[Data]]]] = {
    ".parquet": _read_parquet,
    ".graphml": _read_graphml,
    ".graphml.gz": _read_graphml,
    ".npz": _read_npz,
    **{ending + gz: _read_edge_list for ending in TABLES for gz in ("", ".gz")},
}


def write_graphs(graphs: Iterable[Data], output: StrPath) -> Path:
    """Write graphs as records, or one graph as GraphML; isolated nodes, names and descriptions are kept.

    Args:
        graphs: At least one graph.
        output: A ``.parquet`` file, a ``.graphml`` file (for one graph), or a folder, which gets ``graphs.parquet``.

    Returns:
        The file written.

    Raises:
        DataError: If ``output`` has another ending or cannot be written, or there are several graphs for one
            GraphML file.
    """
    path, chosen = Path(output), list(graphs)
    ending = _ending(path)
    if ending == ".graphml":
        if len(chosen) != 1:
            raise DataError(f"{path}: {len(chosen)} graphs for one GraphML file, expected one; name a .parquet file.")
        write_text(path, to_graphml(chosen[0]))
        return path
    if ending not in (None, ".parquet"):
        raise DataError(f"{path}: cannot write {ending}, expected a .parquet or .graphml file, or a folder.")
    path = path if ending else path / "graphs.parquet"
    write_records(path, chosen, GRAPH)
    return path


def convert_graphs(
    inputs: StrPath | Sequence[StrPath], output: StrPath, *, undirected: bool = False, domain: str | None = None
) -> tuple[Path, list[Data]]:
    """Turn graph files of any readable kind into records; nothing is written unless everything could be read.

    Args:
        inputs: One or several files or folders; see ``read_graphs``.
        output: As in ``write_graphs``.
        undirected: As in ``read_graphs``.
        domain: Domain to give to every graph; by default each keeps its own.

    Returns:
        The file written, and the graphs in it.

    Raises:
        DataError: As ``read_graphs`` and ``write_graphs`` do.
    """
    paths = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    graphs = [graph for path in paths for graph in read_graphs(path, undirected=undirected)]
    if domain is not None:
        for graph in graphs:
            graph.domain = domain
    return write_graphs(graphs, output), graphs
