"""A user's own graph records as a set with a shift: what is predicted, and where training ends and the test begins."""

import functools
import hashlib
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from graftable.errors import ConfigError, DataError
from graftable.graphs.shift import ShiftSet
from graftable.graphs.shift.assembly import GraphPack
from graftable.graphs.shift.shift_set import gather, random_cut
from graftable.graphs.shift.splits import node_features

from .records import iterate_records

__all__ = ["SETTINGS", "records_digest", "shift_set_from_records"]

#: What may be said of records beside their path.
SETTINGS: Final = ("records", "label", "environment", "task")
#: What a record's ``split`` may say, and the part that it then belongs to.
_SPLITS: Final = {
    "train": "train",
    "id_val": "id_val",
    "val": "id_val",
    "validation": "id_val",
    "id_test": "id_test",
    "ood_val": "ood_val",
    "ood_test": "ood_test",
    "test": "ood_test",
}
_SMALL, _MIDDLE = 0.6, 0.2  # shares of the graphs, from the smallest on, that are trained and validated on
_MOST_CLASSES = 50


def shift_set_from_records(
    records: str | os.PathLike[str],
    label: str,
    environment: str | None = None,
    task: str | None = None,
    seed: int = 0,
) -> ShiftSet:
    """Read graph records into the five parts of a set.

    A record's ``split`` says where it belongs: ``train``, ``id_val`` (or ``val``), ``id_test``, ``ood_val`` and
    ``ood_test`` (or ``test``). Where records have none, the smallest 60 % are trained on, the largest 20 % are the test
    and those between validate. Where there is no ``id_val`` or ``id_test``, a tenth of the training graphs each takes
    their place. Nodes are described by their degree, in bins of powers of two.

    Args:
        records: A file or folder of graph records, as ``graftable convert`` writes them.
        label: The attribute that is predicted, or ``domain``: whole numbers from 0 and texts are classes, other
            numbers are values.
        environment: The attribute that tells environments apart, or ``domain``; absent, all graphs are of one.
        task: ``binary``, ``multiclass`` or ``regression``, where the labels do not tell.
        seed: Of random cuts.

    Raises:
        DataError: If the records cannot be read, a label is missing, or a part that is needed is empty.
        ConfigError: If the task is not one of these, or does not fit the labels.
    """
    rows = list(iterate_records(Path(records)))
    if not rows:
        raise DataError(f"{records}: holds no graphs; expected records as `graftable convert` writes them.")
    y, kind, classes = _labels(_column(rows, label, records), task, label)
    places = _codes(_column(rows, environment, records)) if environment else np.zeros(len(rows), dtype=np.int64)
    pack = _pack(rows)
    parts = _parts(rows, pack, seed, records)
    zeros = np.zeros(int(pack.node_counts.sum()), dtype=np.int64)
    graphs = pack.to_data(nodes={"x": node_features(pack, zeros)}, graphs={"y": y, "environment": places})
    return ShiftSet(
        Path(records).stem,
        **gather(graphs, parts),
        task=kind,
        num_classes=classes,
        metric="rmse" if kind == "regression" else "accuracy",
        notes=("Nodes are described by their degree.",),
    )


@functools.cache
def records_digest(records: str | os.PathLike[str]) -> str:
    """A digest of the bytes of a file of records, or of all in a folder.

    Raises:
        DataError: If there are none.
    """
    path = Path(records)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise DataError(f"{records}: no such records; give a .parquet file or a folder of them.")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _column(rows: list[dict[str, Any]], name: str, records: str | os.PathLike[str]) -> list[Any]:
    if name == "domain":
        values = [row.get("domain") for row in rows]
    else:
        values = [dict(row.get("attributes") or {}).get(name) for row in rows]
    missing = sum(value is None for value in values)
    if missing:
        there = sorted({key for row in rows for key in dict(row.get("attributes") or {})})
        raise DataError(
            f"{records}: {missing} of {len(rows)} records have no `{name}`; expected one of each. "
            f"The attributes are {', '.join(there) or 'none'}; domain is the other choice."
        )
    return values


def _labels(values: list[Any], task: str | None, name: str) -> tuple[np.ndarray, Any, int]:
    """Labels, task and number of classes."""
    if task not in (None, "binary", "multiclass", "regression"):
        raise ConfigError(f"task is {task!r}; expected binary, multiclass or regression.")
    texts = any(isinstance(value, str) for value in values)
    numbers = _codes(values) if texts else np.array(values, dtype=np.float64)
    whole = bool((numbers == np.round(numbers)).all() and numbers.min() >= 0 and numbers.max() < _MOST_CLASSES)
    if task == "regression" or (task is None and not whole):
        return numbers.astype(np.float32), "regression", 0
    if not whole:
        raise ConfigError(f"`{name}` holds {numbers.max():g}; expected classes from 0 to below {_MOST_CLASSES}.")
    classes = max(int(numbers.max()) + 1, 2)
    if task == "binary" and classes > 2:
        raise ConfigError(f"`{name}` has {classes} classes, but the task is binary; choose multiclass.")
    return numbers.astype(np.int64), "binary" if classes == 2 else "multiclass", classes


def _codes(values: list[Any]) -> np.ndarray:
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return np.array([places[value] for value in values], dtype=np.int64)


def _pack(rows: list[dict[str, Any]]) -> GraphPack:
    pairs = [
        np.stack([np.asarray(row[end], dtype=np.int64) for end in ("source_nodes", "target_nodes")], 1) for row in rows
    ]
    nodes = np.array([row["num_nodes"] for row in rows], dtype=np.int64)
    return GraphPack(nodes, np.array([len(each) for each in pairs], dtype=np.int64), np.concatenate(pairs))


def _parts(
    rows: list[dict[str, Any]], pack: GraphPack, seed: int, records: str | os.PathLike[str]
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    splits = [row.get("split") for row in rows]
    if any(splits):
        odd = next((split for split in splits if split not in _SPLITS), None)
        if odd is not None or None in splits:
            raise DataError(f"{records}: a record's split is {odd!r}; expected one of {', '.join(_SPLITS)}.")
        named = np.array([_SPLITS[str(split)] for split in splits])
        parts = {part: np.flatnonzero(named == part) for part in dict.fromkeys(_SPLITS.values())}
    else:
        order = np.lexsort((rng.random(len(pack)), pack.node_counts))
        first, second = int(_SMALL * len(order)), int((_SMALL + _MIDDLE) * len(order))
        parts = {"train": order[:first], "ood_val": order[first:second], "ood_test": order[second:]}
    for part in ("id_val", "id_test"):
        if not len(parts.get(part, [])):
            parts["train"], parts[part], rest = random_cut(parts["train"], 0.1, len(parts["train"]), rng)
            parts["train"] = np.sort(np.concatenate([parts["train"], rest]))
    for part in ("train", "id_val", "ood_test"):
        if not len(parts[part]):
            raise DataError(f"{records}: no graph is for {part}; expected some, or no splits at all.")
    return parts
