"""Molecules under scaffold shift, and HIV inhibitors under the four shifts of GOOD."""

from __future__ import annotations

import os
from typing import Final, Literal

import numpy as np

from graftable.errors import ConfigError, DataError

from .archive import open_archive, read_pack
from .assembly import Array, GraphPack, IntArray, ragged_arange
from .good_hiv import good_hiv_parts
from .shift_set import ShiftSet, Task, divide, random_cut

__all__ = ["MOLECULE_SETS", "atom_features", "bond_features", "good_hiv", "scaffold_split"]

#: set -> task, metric
MOLECULE_SETS: Final[dict[str, tuple[Task, str]]] = {
    "bace": ("binary", "roc_auc"),
    "bbbp": ("binary", "roc_auc"),
    "hiv": ("binary", "roc_auc"),
    "clintox": ("multitask", "roc_auc"),
    "sider": ("multitask", "roc_auc"),
    "tox21": ("multitask", "roc_auc"),
    "esol": ("regression", "rmse"),
    "freesolv": ("regression", "rmse"),
    "lipo": ("regression", "rmse"),
}
ARRAYS = ("node_ptr", "edge_ptr", "edge_u", "edge_v", "atom_feat", "bond_feat", "y", "scaffold_id", "scaffold_split")
ELEMENTS = np.array([5, 6, 7, 8, 9, 11, 14, 15, 16, 17, 34, 35, 53])  # B C N O F Na Si P S Cl Se Br I
Features = Literal["onehot", "codes"]


def scaffold_split(
    name: str,
    root: str | os.PathLike[str] | None,
    seed: int = 0,
    size: int | None = None,
    *,
    id_share: float = 0.1,
    environments: int = 5,
    features: Features = "onehot",
) -> ShiftSet:
    """Molecules whose test scaffolds are rarer than those of training: 80 / 10 / 10 %, the largest groups first.

    The usual validation and test parts are ``ood_val`` and ``ood_test``: their scaffolds are not those of training. A
    share of the training molecules is set aside for ``id_val``, and as much for ``id_test``.

    Args:
        name: One of ``MOLECULE_SETS``.
        root: Folder with ``mol_<name>.npz``.
        seed: Of the cut.
        size: At most so many training molecules, chosen at random.
        id_share: Share of the training molecules for each of ``id_val`` and ``id_test``; 0 leaves all to training.
        environments: At most so many in training: runs of scaffolds, from frequent to rare, of about equal size.
        features: ``onehot`` codes, or the raw ``codes`` as numbers, for embedding tables.

    Raises:
        ConfigError: If no folder is given, or a setting is out of its range.
        DataError: If the file is missing or damaged.

    References:
        Wu et al., "MoleculeNet: A Benchmark for Molecular Machine Learning", 2018.
    """
    if not 0 <= id_share < 0.5 or environments < 1:
        raise ConfigError(
            f"got id_share {id_share!r}, environments {environments!r}; expected a share below 0.5, and at least 1."
        )
    arrays, pack = _read(name, root, name)
    scaffold = arrays["scaffold_id"].astype(np.int64)
    train, val, test = (np.flatnonzero(arrays["scaffold_split"] == part) for part in range(3))
    environment = np.zeros(len(pack), dtype=np.int64)
    environment[train] = _runs(scaffold[train], environments)
    environment[val] = environment[train].max(initial=-1) + 1
    environment[test] = environment[train].max(initial=-1) + 2
    rng = np.random.default_rng(seed)
    cuts = random_cut(train, id_share, len(train), rng)
    parts = dict(zip(("train", "id_val", "id_test"), cuts, strict=True)) | {"ood_val": val, "ood_test": test}
    notes = [f"{int((arrays['scaffold_split'] == 0).sum())} / {len(val)} / {len(test)} molecules by scaffold."]
    if id_share:
        notes.append(f"{len(cuts[1])} molecules each of the first part validate and test the training law.")
    return _assemble(name, name, (arrays, pack), _fewer(parts, size, rng), environment, features, tuple(notes))


def good_hiv(
    root: str | os.PathLike[str] | None,
    seed: int = 0,
    size: int | None = None,
    domain: Literal["scaffold", "size"] = "scaffold",
    shift: Literal["covariate", "concept"] = "covariate",
    *,
    features: Features = "onehot",
) -> ShiftSet:
    """Which molecules inhibit HIV? Split by scaffold or size, so that molecules, or their tie to the label, move.

    Covariate: molecules in the order of their scaffold, or from large to small, are cut 80 / 10 / 10 % where one domain
    ends; the first part makes ten environments. Concept: see :func:`graftable.graphs.shift.good_hiv.good_hiv_parts`.

    Args:
        root: Folder with ``mol_hiv.npz``.
        seed: Of the random cuts.
        size: At most so many training molecules, chosen at random.
        domain: What the molecules are ordered by.
        shift: ``covariate`` or ``concept``.
        features: ``onehot`` codes, or the raw ``codes`` as numbers, for embedding tables.

    Raises:
        ConfigError: If no folder is given, or a setting is unknown.
        DataError: If the file is missing or damaged.

    References:
        Gui et al., "GOOD: A Graph Out-of-Distribution Benchmark", 2022.
    """
    if domain not in ("scaffold", "size") or shift not in ("covariate", "concept"):
        raise ConfigError(f"got domain {domain!r}, shift {shift!r}; expected scaffold or size, covariate or concept.")
    name = f"good_hiv_{domain}_{shift}"
    arrays, pack = _read("hiv", root, name)
    rng = np.random.default_rng(seed)
    parts, environment, notes = good_hiv_parts(arrays, pack, domain, shift, rng)
    return _assemble(name, "hiv", (arrays, pack), _fewer(parts, size, rng), environment, features, notes)


def atom_features(codes: Array, features: Features = "onehot") -> Array:
    """Atoms as numbers: element, chirality, degree, charge, hydrogens, radical, hybridisation, aromatic, in a ring.

    Args:
        codes: The columns of ``atom_feat``: atomic number, chirality, degree, charge + 5, hydrogens, radical electrons,
            hybridisation, aromatic, in a ring.
        features: ``onehot``, with rare values in a last column of their own; or the ``codes`` as they are.

    Shapes:
        codes: (atoms, 9); returned: (atoms, 46) or (atoms, 9).
    """
    if features == "codes":
        return codes.astype(np.float32)
    if features != "onehot":
        raise ConfigError(f"features is {features!r}; expected onehot or codes.")
    place = np.minimum(np.searchsorted(ELEMENTS, codes[:, 0]), len(ELEMENTS) - 1)
    element = np.where(ELEMENTS[place] == codes[:, 0], place, len(ELEMENTS))
    charge = np.clip(codes[:, 3].astype(np.int64) - 3, 0, 4)  # -2 or less, -1, 0, 1, 2 or more
    columns = [
        (element, len(ELEMENTS) + 1),
        (codes[:, 1], 4),
        (codes[:, 2], 7),
        (charge, 5),
        (codes[:, 4], 5),
        (codes[:, 5], 3),
        (codes[:, 6], 6),
    ]
    return np.concatenate([*(_one_hot(values, width) for values, width in columns), codes[:, 7:9] > 0], axis=1).astype(
        np.float32
    )


def bond_features(codes: Array, features: Features = "onehot") -> Array:
    """Bonds as numbers: single, double, triple, aromatic, other; stereo; conjugated.

    Shapes:
        codes: (bonds, 3); returned: (bonds, 13) or (bonds, 3).
    """
    if features == "codes":
        return codes.astype(np.float32)
    return np.concatenate([_one_hot(codes[:, 0], 5), _one_hot(codes[:, 1], 7), codes[:, 2:3] > 0], axis=1).astype(
        np.float32
    )


def _one_hot(values: Array, width: int) -> Array:
    """Values from ``width - 1`` on share the last column."""
    return np.eye(width, dtype=np.float32)[np.minimum(values, width - 1)]


def _runs(scaffold: IntArray, environments: int) -> IntArray:
    """Environment of each molecule: whole scaffolds in their order, about as many molecules in each."""
    order = np.argsort(scaffold, kind="stable")
    first = np.searchsorted(scaffold[order], scaffold)  # molecules of earlier scaffolds
    # a frequent scaffold may fill more than one: numbers stay without gaps
    _, run = np.unique(first * environments // max(len(scaffold), 1), return_inverse=True)
    return run.astype(np.int64)


def _fewer(parts: dict[str, IntArray], size: int | None, rng: np.random.Generator) -> dict[str, IntArray]:
    if size is None or size >= len(parts["train"]):
        return parts
    if size < 1:
        raise ConfigError(f"size is {size!r}; expected at least 1 training molecule.")
    return parts | {"train": np.sort(rng.permutation(parts["train"])[:size])}


def _read(file: str, root: str | os.PathLike[str] | None, used_by: str) -> tuple[dict[str, Array], GraphPack]:
    arrays = open_archive(root, f"mol_{file}.npz", ARRAYS, used_by)
    pack = read_pack(arrays, used_by)
    rows = {
        "y": len(pack),
        "scaffold_id": len(pack),
        "scaffold_split": len(pack),
        "atom_feat": int(pack.node_counts.sum()),
        "bond_feat": len(pack.edges),
    }
    for name, count in rows.items():
        if len(arrays[name]) != count:
            raise DataError(
                f"{used_by}: {name} has {len(arrays[name])} rows, expected {count}; get mol_{file}.npz anew."
            )
    return arrays, pack


def _assemble(
    name: str,
    file: str,
    content: tuple[dict[str, Array], GraphPack],
    parts: dict[str, IntArray],
    environment: IntArray,
    features: Features,
    notes: tuple[str, ...],
) -> ShiftSet:
    arrays, pack = content
    task, metric = MOLECULE_SETS[file]
    y = arrays["y"]
    if task != "multitask" and not np.isfinite(y).all():
        raise DataError(
            f"{name}: a label of mol_{file}.npz is missing, expected all of a set with one task; get it anew."
        )
    if task == "binary":
        y = y[:, 0].astype(np.int64)
    elif task == "regression":
        y = y[:, 0]
    order = np.concatenate(list(parts.values()))
    picked = pack.select(order)
    atoms, bonds = _rows(pack.node_counts, order), _rows(pack.edge_counts, order)
    graphs = picked.to_data(
        nodes={"x": atom_features(arrays["atom_feat"][atoms], features)},
        edges={"edge_attr": bond_features(arrays["bond_feat"][bonds], features)},
        graphs={"y": y[order], "environment": environment[order], "scaffold": arrays["scaffold_id"][order]},
    )
    return ShiftSet(
        name,
        **divide(graphs, {part: len(chosen) for part, chosen in parts.items()}),
        task=task,
        num_classes=0 if task == "regression" else 2,
        num_tasks=int(arrays["y"].shape[1]),
        metric=metric,
        notes=notes,
    )


def _rows(counts: IntArray, order: IntArray) -> IntArray:
    """Rows of the chosen graphs in an array that has ``counts`` rows for each graph."""
    return ragged_arange((np.cumsum(counts) - counts)[order], counts[order])
