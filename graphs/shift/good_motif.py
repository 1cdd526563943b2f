"""GOOD-Motif: a motif decides the class; its base, or the size of its base, is what moves."""

from __future__ import annotations

from typing import Literal

import numpy as np

from graftable.errors import ConfigError

from .assembly import GraphPack, IntArray, attach, copies, with_random_edges
from .motifs import BASES, MOTIFS, base
from .shift_set import ShiftSet, gather, random_cut

__all__ = ["concept_choice", "good_cuts", "good_motif"]

PUBLISHED = 30_000
CONCEPTS = (0.99, 0.97, 0.95, 0.3, 0.0)  # three training environments, validation, test
CENTRES = {"covariate": (6, 10, 15, 30, 70), "concept": (10, 40, 70)}
SPREAD = 5
WIDEST = 75


def good_motif(
    seed: int = 0,
    size: int | None = None,
    domain: Literal["basis", "size"] = "basis",
    shift: Literal["covariate", "concept"] = "covariate",
    *,
    label_noise: float = 0.1,
    noise_edges: float = 0.05,
) -> ShiftSet:
    """Three classes, house, dircycle and crane, on one of five bases.

    Covariate shift changes the base (training wheel, tree and ladder; validation star; test path) or its width (6, 10,
    15; 30; 70; each +-5) and leaves the label alone. Concept shift ties the base (wheel, tree, ladder) or the width
    (10, 40, 70) to the motif with probability .99, .97 or .95 in the training environments, .3 in validation and 0
    in the test; otherwise it is uniform over the three.

    Args:
        seed: Of the generator.
        size: Training graphs; the other parts keep their proportion. Published: 18,000 of 30,000 under covariate
            shift, 12,600 under concept shift.
        domain: What moves: the ``basis`` or its ``size``.
        shift: ``covariate`` or ``concept``.
        label_noise: Probability that the label is drawn anew, from all three classes, in every part.
        noise_edges: Random new edges with an end in the base, as a share of the edges.

    Raises:
        ConfigError: If a setting is out of its range.

    References:
        Gui et al., "GOOD: A Graph Out-of-Distribution Benchmark", 2022.
    """
    if domain not in ("basis", "size") or shift not in CENTRES:
        raise ConfigError(f"got domain {domain!r}, shift {shift!r}; expected basis or size, covariate or concept.")
    if not (0 <= label_noise <= 1 and 0 <= noise_edges < 1):
        raise ConfigError(
            f"got label_noise {label_noise!r}, noise_edges {noise_edges!r}; expected a probability and a share below 1."
        )
    rng = np.random.default_rng(seed)
    environment, parts = good_cuts(size, PUBLISHED, shift, 3, rng)
    count = len(environment)
    motif = rng.integers(0, 3, size=count)
    bases, widths = _law(domain, shift, motif, environment, rng)
    group = bases if domain == "basis" else _nearest(widths, CENTRES[shift])
    pack = _build(bases, widths, motif, noise_edges, rng)
    label = np.where(rng.random(count) < label_noise, rng.integers(0, 3, size=count), motif)
    graphs = pack.to_data(
        nodes={"x": np.ones((int(pack.node_counts.sum()), 1), dtype=np.float32)},
        graphs={"y": label, "environment": environment, "group": group, "motif": motif},
    )
    ceiling = 1 - label_noise * 2 / 3
    return ShiftSet(
        f"good_motif_{domain}_{shift}",
        **gather(graphs, parts),
        task="multiclass",
        num_classes=3,
        metric="accuracy",
        ceiling=ceiling,
        notes=(
            f"{100 * label_noise * 2 / 3:.1f} % of the labels are wrong by design, in every part: no model can expect "
            f"more than {100 * ceiling:.2f} %; motif is the label without that noise.",
            "group is the base: " + ", ".join(f"{number} {name}" for number, name in enumerate(BASES)) + "."
            if domain == "basis"
            else "group is the size of the base, from small to large.",
        ),
    )


def good_cuts(
    size: int | None, published: int, shift: str, environments: int, rng: np.random.Generator
) -> tuple[IntArray, dict[str, IntArray]]:
    """Environments and parts as GOOD cuts them, over graphs that have no order of their own.

    Covariate: 80 / 10 / 10 % for training, validation and test, and 10 % of all from the first for each part of the
    training law. Concept: 60 / 20 / 20 %, and 15 % of the first. Training environments are of equal size.

    Args:
        size: Training graphs wanted; ``None`` divides ``published`` graphs.
        published: All graphs.
        shift: ``covariate`` or ``concept``.
        environments: Of the training; validation and test are the two that follow.
        rng: Source of randomness.

    Returns:
        The environment of each graph, and the graphs of each part.

    Raises:
        ConfigError: If ``size`` is less than the environments.
    """
    first, second, cut = (0.8, 0.1, 0.1) if shift == "covariate" else (0.6, 0.2, 0.09)
    if size is not None and (isinstance(size, bool) or size != int(size) or size < max(environments, 3)):
        raise ConfigError(
            f"size is {size!r}; expected the number of training graphs, {max(environments, 3)} or more: one for each "
            "environment and class."
        )
    total = published if size is None else round(size / (first - 2 * cut))
    train, val = round(first * total), round(second * total)
    environment = np.concatenate(
        [
            np.arange(train) * environments // train,
            np.full(val, environments),
            np.full(total - train - val, environments + 1),
        ]
    )
    parts = dict(zip(("train", "id_val", "id_test"), random_cut(np.arange(train), cut, total, rng), strict=True))
    parts |= {"ood_val": np.arange(train, train + val), "ood_test": np.arange(train + val, total)}
    return environment, parts


def concept_choice(own: IntArray, rates: np.ndarray, choices: int, rng: np.random.Generator) -> IntArray:
    """The own choice with the given probability, else a uniform one of all ``choices``."""
    return np.where(rng.random(len(own)) < rates, own, rng.integers(0, choices, size=len(own)))


def _law(
    domain: str, shift: str, motif: IntArray, environment: IntArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Base and width of each graph."""
    count = len(motif)
    jitter = rng.integers(-SPREAD, SPREAD + 1, size=count)
    tied = concept_choice(motif, np.array(CONCEPTS)[environment], 3, rng)
    moved = environment if shift == "covariate" else tied
    if domain == "basis":
        return moved, 10 + jitter
    return rng.integers(0, len(BASES), size=count), np.array(CENTRES[shift])[moved] + jitter


def _nearest(widths: IntArray, centres: tuple[int, ...]) -> IntArray:
    nearest: IntArray = np.abs(widths[:, None] - np.array(centres)).argmin(axis=1)
    return nearest


def _build(
    bases: IntArray, widths: IntArray, motif: IntArray, noise_edges: float, rng: np.random.Generator
) -> GraphPack:
    templates = [base(kind, width) for kind in BASES for width in range(1, WIDEST + 1)]
    below = copies(templates, bases * WIDEST + widths - 1)
    above = copies([MOTIFS["house"], MOTIFS["dircycle"], MOTIFS["crane"]], motif)
    pack = attach(below, above, rng.integers(0, below.node_counts), np.zeros_like(motif))
    return with_random_edges(pack, noise_edges, below.node_counts, rng)
