"""Size shift on graph classification sets: learn from the small graphs, be tested on the large ones."""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from graftable.errors import ConfigError, DataError

from .archive import open_archive, read_pack
from .assembly import Array, GraphPack, IntArray
from .shift_set import ShiftSet, gather, random_cut

__all__ = ["THRESHOLDS", "TU_SETS", "extreme_sizes", "node_features", "size_split"]

#: set -> file, and the largest number of nodes of a graph that counts as small
THRESHOLDS: Final = {
    "proteins25": ("PROTEINS", 25),
    "dd200": ("DD", 200),
    "dd300": ("DD", 300),
    "collab35": ("COLLAB", 35),
}
TU_SETS: Final = ("PROTEINS", "DD", "NCI1", "NCI109", "COLLAB", "ENZYMES", "MUTAG", "PTC", "IMDB-BINARY", "IMDB-MULTI")
ARRAYS = ("node_ptr", "edge_ptr", "edge_u", "edge_v", "node_label", "y")
TRAINING, MANY = 500, 1_000
FOLDS = 5


def size_split(
    name: str, root: str | os.PathLike[str] | None, seed: int = 0, size: int | None = None, *, fold: int = 0
) -> ShiftSet:
    """500 random small graphs to train and validate on; the other small ones and all larger ones are the test.

    The 500 (1,000 where more than 1,000 are small; all where fewer are) make five folds, of which one validates.
    ``id_test`` holds the small graphs of the test again; ``environment`` is 0 for small graphs and 1 for larger ones.

    Args:
        name: ``proteins25``, ``dd200``, ``dd300`` or ``collab35``: the number is the largest size that counts as small.
        root: Folder with ``tu_PROTEINS.npz``, ``tu_DD.npz``, ``tu_COLLAB.npz``.
        seed: Of the permutation.
        size: Training and validation graphs together, where not all 500 are wanted; the test stays as it is.
        fold: Which fifth validates, 0 to 4.

    Raises:
        ConfigError: If no folder is given, or a setting is out of its range.
        DataError: If the file is missing or damaged.

    References:
        Knyazev et al., "Understanding Attention and Generalization in Graph Neural Networks", 2019.
    """
    file, threshold = THRESHOLDS[name]
    if fold not in range(FOLDS):
        raise ConfigError(f"fold is {fold!r}; expected 0 to {FOLDS - 1}.")
    if size is not None and size < FOLDS:
        raise ConfigError(f"size is {size!r}; expected {FOLDS} or more graphs, one for each fold.")
    pack, x, y = _read(file, root, name)
    small = np.random.default_rng(seed).permutation(np.flatnonzero(pack.node_counts <= threshold))
    learn = small[: MANY if len(small) > MANY else TRAINING]
    rest = small[len(learn) :]
    learn = learn[:size]
    held_out = np.arange(len(learn)) * FOLDS // len(learn) == fold
    larger = np.flatnonzero(pack.node_counts > threshold)
    parts = {
        "train": learn[~held_out],
        "id_val": learn[held_out],
        "id_test": np.sort(rest),
        "ood_test": np.sort(np.concatenate([rest, larger])),
    }
    environment = (pack.node_counts > threshold).astype(np.int64)
    return _assemble(
        name,
        (pack, x, y),
        parts,
        environment,
        "accuracy",
        (
            f"Small graphs have at most {threshold} nodes; id_test holds the small ones among those of ood_test.",
            "Class shares differ between small and large graphs: read balanced accuracy and MCC beside accuracy.",
        ),
    )


def extreme_sizes(file: str, root: str | os.PathLike[str] | None, seed: int = 0, size: int | None = None) -> ShiftSet:
    """Train on the smallest 50 % of the graphs of each class, test on the largest 10 %; the others are left out.

    A tenth of the small ones each validates and tests the training law.

    Args:
        file: One of ``TU_SETS``.
        root: Folder with ``tu_<file>.npz``.
        seed: Of the cut, and of the order of graphs of equal size.
        size: At most so many of the small graphs, chosen at random.

    Raises:
        ConfigError: If no folder is given, or ``size`` is too small.
        DataError: If the file is missing or damaged.

    References:
        Bevilacqua et al., "Size-Invariant Graph Representations for Graph Classification Extrapolations", 2021.
    """
    name = f"{file.lower().replace('-', '_')}_extremes"
    if size is not None and size < 10:
        raise ConfigError(f"size is {size!r}; expected 10 or more of the small graphs.")
    pack, x, y = _read(file, root, name)
    rng = np.random.default_rng(seed)
    small, large = [], []
    for label in np.unique(y).tolist():
        members = rng.permutation(np.flatnonzero(y == label))
        members = members[np.argsort(pack.node_counts[members], kind="stable")]
        small.append(members[: len(members) // 2])
        large.append(members[len(members) - max(1, len(members) // 10) :])
    chosen = rng.permutation(np.concatenate(small))[:size]
    train, id_val, id_test = random_cut(chosen, 0.1, len(chosen), rng)
    parts = {"train": train, "id_val": id_val, "id_test": id_test, "ood_test": np.sort(np.concatenate(large))}
    environment = np.zeros(len(pack), dtype=np.int64)
    environment[parts["ood_test"]] = 1
    notes = ("Per class, training has the smallest half of the graphs and ood_test the largest tenth.",)
    return _assemble(name, (pack, x, y), parts, environment, "mcc", notes)


def node_features(pack: GraphPack, node_label: IntArray) -> Array:
    """One-hot node labels; where a set has none, one-hot degree in bins [1, 2), [2, 4), [4, 8), ... and 0.

    Degrees of the large graphs reach ten times those of training: a bin per degree would leave most bins untrained.
    """
    if node_label.max(initial=0):
        used, codes = np.unique(node_label, return_inverse=True)
        return np.eye(len(used), dtype=np.float32)[codes]
    degree = pack.degrees()
    bins = np.where(degree > 0, np.floor(np.log2(np.maximum(degree, 1))).astype(np.int64) + 1, 0)
    return np.eye(int(bins.max(initial=0)) + 1, dtype=np.float32)[bins]


def _read(file: str, root: str | os.PathLike[str] | None, used_by: str) -> tuple[GraphPack, IntArray, IntArray]:
    arrays = open_archive(root, f"tu_{file}.npz", ARRAYS, used_by)
    pack = read_pack(arrays, used_by)
    node_label, y = arrays["node_label"].astype(np.int64), arrays["y"].astype(np.int64)
    if len(y) != len(pack) or len(node_label) != pack.node_counts.sum():
        raise DataError(f"{used_by}: tu_{file}.npz has not one y per graph and one node_label per node; get it anew.")
    return pack, node_label, y


def _assemble(
    name: str,
    content: tuple[GraphPack, IntArray, IntArray],
    parts: dict[str, IntArray],
    environment: IntArray,
    metric: str,
    notes: tuple[str, ...],
) -> ShiftSet:
    pack, node_label, y = content
    x = node_features(pack, node_label)
    graphs = pack.to_data(nodes={"x": x}, graphs={"y": y, "environment": environment})
    classes = int(y.max()) + 1
    return ShiftSet(
        name,
        **gather(graphs, parts),
        task="binary" if classes == 2 else "multiclass",
        num_classes=classes,
        metric=metric,
        notes=notes,
    )
