"""The only file that touches DGL: graphs to and from ``dgl.DGLGraph``.

DGL 1.1.3, the last release that imports beside current PyTorch, asks for ``setuptools.extern.packaging``, which
setuptools no longer ships. The ordinary ``packaging`` stands in for it.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.data import Data

from graftable.errors import DataError, MissingExtraError

from .conversion import SIMPLIFY, symmetric_graph

if TYPE_CHECKING:
    from dgl import DGLGraph

__all__ = ["from_dgl", "load_dgl", "to_dgl"]

STAND_IN = "setuptools.extern.packaging"


def load_dgl() -> Any:
    """DGL itself, with its stand-in.

    Raises:
        MissingExtraError: If it cannot be imported.
    """
    if "dgl" not in sys.modules:
        os.environ.setdefault("DGLBACKEND", "pytorch")  # otherwise DGL prints a notice and writes to the home folder
        packaging = importlib.import_module("packaging")
        importlib.import_module("packaging.version")  # what DGL reads from the stand-in
        sys.modules.setdefault(STAND_IN, packaging)
    try:
        return importlib.import_module("dgl")
    except (ImportError, OSError) as error:  # OSError: its shared library does not load
        raise MissingExtraError(
            f"DGL cannot be imported ({error}); it needs Python 3.11: pip install 'graftable[dgl]'."
        ) from error


def to_dgl(graph: Data) -> "DGLGraph":
    """Turn a graph into a DGL graph with both directions of every edge, in sorted order.

    DGL holds tensors only, so ``name``, ``domain`` and the other descriptions stay behind; isolated nodes do not.

    Raises:
        MissingExtraError: If DGL is not installed.
    """
    sources, targets = graph.edge_index.cpu()
    return load_dgl().graph((sources, targets), num_nodes=int(graph.num_nodes or 0), idtype=torch.int64)


def from_dgl(graph: "DGLGraph", *, undirected: bool = False) -> Data:
    """Turn a DGL graph into a graph; DGL writes an undirected edge as two directed ones, so both must be there.

    Args:
        graph: A homogeneous graph.
        undirected: Accept edges in one direction, repeats, self-loops and edge data ``weight``, and drop what is too
            much.

    Raises:
        DataError: If the graph has several node or edge types, or is not simple and undirected.
    """
    if not graph.is_homogeneous:
        raise DataError("the DGL graph has several node or edge types, expected one; apply dgl.to_homogeneous first.")
    if not undirected and "weight" in graph.edata and bool((graph.edata["weight"] != 1).any()):
        raise DataError(f"the DGL graph has edge weights other than 1, expected none; {SIMPLIFY}.")
    return symmetric_graph(graph.num_nodes(), torch.stack(graph.edges(), dim=1), undirected=undirected)
