"""How GOOD orders and cuts the HIV molecules: by scaffold or size, with or without a tie to the label."""

from __future__ import annotations

import numpy as np

from .assembly import Array, GraphPack, IntArray
from .shift_set import random_cut

__all__ = ["good_hiv_parts", "scaffold_atoms", "scaffold_order"]

ENVIRONMENTS = 10
ALIGNED = (0.95, 0.05, 0.9, 0.85, 0.5)
"""Share of the molecules of each group that lie in the half of the order that their label is tied to."""
HELD_OUT = (0.1, 0.2)
"""Share of all molecules in the validation and the test group of concept shift."""
DOUBLE = 1
LETTERS = (6, 7, 8, 15, 16)  # C N O P S: the order of their letters


def good_hiv_parts(
    arrays: dict[str, Array], pack: GraphPack, domain: str, shift: str, rng: np.random.Generator
) -> tuple[dict[str, IntArray], IntArray, tuple[str, ...]]:
    """Parts, environments and notes.

    Under concept shift the order is halved. A molecule is aligned if it inhibits and lies in the first half, or does
    not and lies in the second. Of five groups, three train, one validates and one tests; .95, .05, .9, .85 and .5 of
    their molecules are aligned, of those that inhibit as of the others. Half of the aligned ones must not be left over,
    which fixes the sizes: validation has 10 % of the molecules, the test 20 %, and the second group balances the first
    and the third.

    Returns:
        Molecules of each part, the environment of each molecule, and what a reader must know.
    """
    if domain == "size":
        key = -pack.node_counts
        order = np.argsort(key, kind="stable")
        note = "Domains are sizes, from large to small: training has the large molecules."
    else:
        key = scaffold_order(arrays, pack)
        order = np.argsort(key, kind="stable")
        note = (
            "Domains are scaffolds. The published order is that of their SMILES text, which the file does not hold; "
            "that here follows what decides its first letters: two thirds of the test molecules are the published ones."
        )
    if shift == "covariate":
        parts, environment = _covariate(key, order, rng)
    else:
        parts, environment = _concept(arrays["y"][:, 0] > 0.5, order, rng)
    return parts, environment, (note,)


def _covariate(key: IntArray, order: IntArray, rng: np.random.Generator) -> tuple[dict[str, IntArray], IntArray]:
    """80 / 10 / 10 %, each cut moved to where the next domain starts; ten runs of whole domains in training."""
    total, ranked = len(order), key[order]
    cuts = [int(np.searchsorted(ranked, ranked[share * total // 10], side="right")) for share in (8, 9)]
    environment = np.empty(total, dtype=np.int64)
    first = np.searchsorted(ranked, ranked[: cuts[0]])
    environment[order] = np.concatenate(
        [
            first * ENVIRONMENTS // cuts[0],
            np.full(cuts[1] - cuts[0], ENVIRONMENTS),
            np.full(total - cuts[1], ENVIRONMENTS + 1),
        ]
    )
    inside = random_cut(order[: cuts[0]], 0.1, total, rng)
    parts = dict(zip(("train", "id_val", "id_test"), inside, strict=True))
    return parts | {"ood_val": order[cuts[0] : cuts[1]], "ood_test": order[cuts[1] :]}, environment


def _concept(active: np.ndarray, order: IntArray, rng: np.random.Generator) -> tuple[dict[str, IntArray], IntArray]:
    early = np.zeros(len(order), dtype=bool)
    early[order[: len(order) // 2]] = True
    aligned = active == early
    environment = np.full(len(order), -1)
    for label in (False, True):
        pools = {side: rng.permutation(np.flatnonzero((active == label) & (aligned == side))) for side in (False, True)}
        start = {False: 0, True: 0}
        for group, (share, size) in enumerate(zip(ALIGNED, _group_sizes(pools), strict=True)):
            for side, count in ((True, round(share * size)), (False, round((1 - share) * size))):
                environment[pools[side][start[side] : start[side] + count]] = group
                start[side] += count
    inside = random_cut(np.flatnonzero((environment >= 0) & (environment < 3)), 0.15, int((environment < 3).sum()), rng)
    parts = dict(zip(("train", "id_val", "id_test"), inside, strict=True))
    parts |= {"ood_val": np.flatnonzero(environment == 3), "ood_test": np.flatnonzero(environment == 4)}
    return parts, environment


def _group_sizes(pools: dict[bool, IntArray]) -> list[float]:
    """Sizes of the five groups: the two unknown ones, of group 0 (and 2) and of group 1, use up both pools."""
    total = len(pools[True]) + len(pools[False])
    val, test = (share * total for share in HELD_OUT)
    rest = total - val - test
    wanted = len(pools[True]) - ALIGNED[3] * val - ALIGNED[4] * test
    outer = (wanted - ALIGNED[1] * rest) / (ALIGNED[0] + ALIGNED[2] - 2 * ALIGNED[1])
    outer = float(np.clip(outer, 0.0, rest / 2))  # a pool that is too small leaves some molecules of the other out
    return [outer, rest - 2 * outer, outer, val, test]


def scaffold_atoms(arrays: dict[str, Array], pack: GraphPack) -> tuple[Array, IntArray]:
    """Atoms of the Bemis-Murcko scaffold: rings, what links them, and what hangs on these by a double bond.

    Returns:
        A flag for each atom, and its degree inside the scaffold.
    """
    edges = pack.edges + pack.node_starts[pack.edge_graph, None]
    core = np.ones(int(pack.node_counts.sum()), dtype=bool)
    while True:  # leaves fall until rings and their links are left
        alive = edges[core[edges].all(axis=1)]
        degree = np.bincount(alive.ravel(), minlength=len(core))
        leaves = core & (degree < 2)
        if not leaves.any():
            break
        core &= ~leaves
    double = edges[arrays["bond_feat"][:, 0] == DOUBLE]
    hanging = double[core[double].any(axis=1)].ravel()
    kept = core.copy()
    kept[hanging] = True
    inside = edges[kept[edges].all(axis=1)]
    return kept, np.bincount(inside.ravel(), minlength=len(core))


def scaffold_order(arrays: dict[str, Array], pack: GraphPack) -> IntArray:
    """A rank for each scaffold, equal for the molecules that share one, near the order of canonical SMILES texts.

    A text starts at an atom that hangs by a double bond (``C=``, ``N=``, ``O=``, ``S=``) if there is one, else in an
    aliphatic ring (``C1``) if no carbon is aromatic, else in an aromatic one. Of the last, scaffolds with a phenyl end
    (``c1ccc(``) come before fused rings (``c1ccc2``), and these before single ones (``c1ccccc1``). What has no ring
    comes first of all.
    """
    kept, degree = scaffold_atoms(arrays, pack)
    owner = np.repeat(np.arange(len(pack)), pack.node_counts)
    element, aromatic = arrays["atom_feat"][:, 0], arrays["atom_feat"][:, 7] > 0
    letter = np.full(len(kept), len(LETTERS))
    for place, number in enumerate(LETTERS):
        letter[element == number] = place
    start = np.full(len(pack), len(LETTERS))
    ends = kept & (degree == 1)
    np.minimum.at(start, owner[ends], letter[ends])
    size, carbons, phenyls = (
        np.bincount(owner[chosen], minlength=len(pack))
        for chosen in (
            kept,
            kept & aromatic & (element == 6),
            _phenyl_ends(kept & aromatic & (element == 6), degree, pack),
        )
    )
    single = (size == 6) & (start == len(LETTERS))
    classes = [size == 0, start < len(LETTERS), carbons == 0, ~single & (phenyls > 0), ~single]
    group = np.select(classes, [0, 2 + start, 1, 10, 11], 12)
    # a scaffold stands where its first molecule does: no scaffold is in two places
    _, first, scaffold = np.unique(arrays["scaffold_id"], return_index=True, return_inverse=True)
    order = np.argsort(group[first], kind="stable")
    return np.argsort(order)[scaffold].astype(np.int64)


def _phenyl_ends(carbon: Array, degree: IntArray, pack: GraphPack) -> Array:
    """Aromatic carbons that stand in the middle of five whose only neighbours are in the ring."""
    edges = pack.edges + pack.node_starts[pack.edge_graph, None]
    found: Array = carbon & (degree == 2)
    for _ in range(2):
        inner = edges[found[edges].all(axis=1)]
        found = found & (np.bincount(inner.ravel(), minlength=len(found)) == 2)
    return found
