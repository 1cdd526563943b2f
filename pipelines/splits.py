"""Training, validation and test sets: of graphs, such that they share none, and of rows."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch_geometric.data import Data

from graftable.errors import ConfigError, DataError
from graftable.graphs.corpus import SPLITS
from graftable.graphs.subgraphs import structure_hash

__all__ = ["assign_splits", "require_fractions", "require_splits", "split_rows"]


def require_fractions(fractions: Sequence[float]) -> None:
    """Check shares of train, val and test.

    Raises:
        ConfigError: If they are not three numbers of at least 0 that sum to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(
            f"split_fractions is {list(fractions)}, expected three shares that sum to 1, as 0.8, 0.1, 0.1."
        )


def require_splits(given: Sequence[str | None]) -> None:
    """Check the splits that records name.

    Raises:
        DataError: If one is none of the three.
    """
    unknown = sorted({str(split) for split in given if split is not None} - set(SPLITS))
    if unknown:
        raise DataError(f"a record is in split {unknown[0]!r}, expected train, val or test; correct the records.")


def split_rows(
    given: Sequence[str | None], fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> dict[str, NDArray[np.int64]]:
    """Choose a split at random for every row of a table that has none.

    Args:
        given: The split of each row, or None.
        fractions: Shares of train, val and test among the rows without a split; val and test are rounded down.
        seed: Of the choice, at least 0.

    Returns:
        The places of the rows of each split, in order.

    Example:
        >>> {name: len(rows) for name, rows in split_rows([None] * 25).items()}
        {'train': 21, 'val': 2, 'test': 2}
    """
    require_fractions(fractions)
    require_splits(given)
    chosen = np.array(given, object)
    free = np.flatnonzero([split is None for split in given])
    free = np.random.default_rng([seed, len(given)]).permutation(free)
    counts = [math.floor(share * len(free) + 1e-9) for share in fractions[1:]]
    chosen[free] = "train"
    for name, rows in zip(SPLITS[1:], np.split(free, np.cumsum(counts))[:2], strict=True):
        chosen[rows] = name
    return {name: np.flatnonzero(chosen == name) for name in SPLITS}


def assign_splits(graphs: Sequence[Data], fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0) -> list[str]:
    """Choose a split for every graph that has none, so that no two copies of a graph are parted.

    Graphs of equal structure (see ``structure_hash``: all isomorphic graphs, and a few others) form a group. Groups
    stand in the order of a hash of the seed and their structure; the line is cut where the fractions of all graphs
    fall. A graph whose structure has a split already, somewhere in the set, gets that split.

    Args:
        graphs: The whole set.
        fractions: Shares of train, val and test; they sum to 1.
        seed: Chooses among the possible splits.

    Returns:
        ``train``, ``val`` or ``test`` for every graph, in order; that of ``graph.split`` where it is set.

    Raises:
        ConfigError: If the fractions are not three numbers of at least 0 that sum to 1.
        DataError: If a graph carries another split.
    """
    require_fractions(fractions)
    given = [graph.get("split") for graph in graphs]
    require_splits(given)
    if None not in given:
        return [str(split) for split in given]
    hashes = [structure_hash(graph) for graph in graphs]
    known = {key: split for key, split in zip(hashes, given, strict=True) if split is not None}
    open_groups = Counter(key for key in hashes if key not in known)
    total, before = sum(open_groups.values()), 0
    for key in sorted(open_groups, key=lambda key: hashlib.sha256(f"{seed}/{key}".encode()).digest()):
        middle = (before + open_groups[key] / 2) / total
        known[key] = "train" if middle < fractions[0] else "val" if middle < fractions[0] + fractions[1] else "test"
        before += open_groups[key]
    return [split or known[key] for split, key in zip(given, hashes, strict=True)]
