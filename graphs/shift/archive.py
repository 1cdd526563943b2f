"""Graph archives: plain ``.npz`` files of many graphs end to end, read and checked."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np

from graftable.errors import ConfigError, DataError

from .assembly import Array, GraphPack, IntArray

__all__ = ["AbsentArchiveError", "open_archive", "read_pack"]


class AbsentArchiveError(DataError):
    """The folder does not hold the file: where sets are many, this one may be left out."""


def open_archive(
    root: str | os.PathLike[str] | None, file: str, needed: tuple[str, ...], used_by: str
) -> dict[str, Array]:
    """Read the named arrays of ``root/file``.

    Args:
        root: The folder that holds the file.
        file: Its name.
        needed: Arrays that must be there; all arrays are returned.
        used_by: Name of the set, for messages.

    Raises:
        ConfigError: If no folder is given.
        AbsentArchiveError: If the file is not there.
        DataError: If it is no archive of plain arrays, or lacks one of them.
    """
    if root is None:
        raise ConfigError(
            f"{used_by} is read from {file}, and no folder was given; pass root=, the folder that holds it."
        )
    path = Path(root) / file
    if not path.is_file():
        raise AbsentArchiveError(
            f"{used_by} is read from {file}, and {Path(root)} holds no such file; pass the folder that does."
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read as an archive of plain arrays ({error}); get the file anew.") from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise DataError(f"{path} has no array {missing[0]}; expected {', '.join(needed)}.")
    return arrays


def read_pack(arrays: dict[str, Array], used_by: str) -> GraphPack:
    """Check and convert ``node_ptr``, ``edge_ptr``, ``edge_u`` and ``edge_v``: local ids, each undirected edge once.

    Raises:
        DataError: If the offsets do not fit the arrays, or an edge leaves its graph, is a loop, or comes twice.
    """
    nodes, edges = (np.diff(_offsets(arrays[name], name, used_by)) for name in ("node_ptr", "edge_ptr"))
    pairs = np.stack([arrays["edge_u"], arrays["edge_v"]], axis=1).astype(np.int64)
    if len(nodes) != len(edges) or edges.sum() != len(pairs):
        raise DataError(f"{used_by}: node_ptr, edge_ptr and the edges do not belong together; get the file anew.")
    pack = GraphPack(nodes, edges, pairs)
    owner = pack.edge_graph
    wrong = (pairs[:, 0] >= pairs[:, 1]) | (pairs[:, 1] >= nodes[owner])
    if wrong.any():
        graph = int(owner[np.argmax(wrong)])
        raise DataError(f"{used_by}: graph {graph} has an edge that is not u < v < {nodes[graph]}; get the file anew.")
    keys = (pairs[:, 0] + pack.node_starts[owner]) * (int(nodes.max(initial=0)) + 1) + pairs[:, 1]
    if (np.diff(keys) <= 0).any() and len(np.unique(keys)) < len(keys):  # sorted files need no second look
        raise DataError(f"{used_by}: an edge comes twice; get the file anew.")
    return pack


def _offsets(values: Array, name: str, used_by: str) -> IntArray:
    offsets: IntArray = values.astype(np.int64)
    if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise DataError(f"{used_by}: {name} is no list of rising offsets from 0; get the file anew.")
    return offsets
