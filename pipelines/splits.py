"""Training, validation and test sets that share no graph."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from torch_geometric.data import Data

from graftable.errors import ConfigError, DataError
from graftable.graphs.corpus import SPLITS
from graftable.graphs.subgraphs import structure_hash

__all__ = ["assign_splits"]


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
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ConfigError(
            f"split_fractions is {list(fractions)}, expected three shares that sum to 1, as 0.8, 0.1, 0.1."
        )
    given = [graph.get("split") for graph in graphs]
    unknown = sorted({str(split) for split in given if split is not None} - set(SPLITS))
    if unknown:
        raise DataError(f"a graph is in split {unknown[0]!r}, expected train, val or test; correct the records.")
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
