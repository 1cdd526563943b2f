"""Spurious-Motif: a motif decides the class, and in training the base beneath it nearly does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch_geometric.data import Data

from graftable.errors import ConfigError

from .assembly import Array, GraphPack, IntArray, Template, attach, copies, with_random_edges
from .motifs import MOTIFS, ladder, tree, wheel
from .shift_set import ShiftSet, divide, part_sizes, probabilities

__all__ = ["spurious_motif"]

PUBLISHED = {"train": 3_000, "id_val": 900, "id_test": 900, "ood_val": 3_000, "ood_test": 6_000}
BASE_NAMES = ("tree", "ladder", "wheel")
#: least and largest height, number of rungs and number of nodes: the same for all classes
SMALL = ((tree, 0, 2), (ladder, 8, 11), (wheel, 15, 19))
LARGE = ((tree, 3, 5), (ladder, 30, 49), (wheel, 60, 79))


def spurious_motif(
    seed: int = 0,
    size: int | None = None,
    bias: float | Sequence[float] = 0.9,
    *,
    crane: Literal["varcycle", "crane"] = "varcycle",
    features: Literal["uniform", "constant"] = "uniform",
    noise_edges: float = 0.0,
) -> ShiftSet:
    """Three classes, cycle, house and crane, whose bases in training are tree, ladder and wheel with probability b.

    The other two bases share 1 - b. Validation and test of the training law draw alike; ``ood_val`` takes every base
    equally often, and ``ood_test`` does so with large bases. Base sizes depend on the base alone: in one published
    generator they also depend on the class, so that size gives the label away.

    Args:
        seed: Of the generator.
        size: Training graphs, a multiple of 3; the other parts keep their proportion. Default 3,000.
        bias: b, in [1/3, 1]; several make one environment each, of equal size.
        crane: The third motif: ``varcycle`` is what the published generator draws under that name.
        features: ``x`` has four columns: uniform in [0, 1], or all ones.
        noise_edges: Random new edges with an end in the base, as a share of the edges.

    Raises:
        ConfigError: If a setting is out of its range.

    References:
        Wu et al., "Discovering Invariant Rationales for Graph Neural Networks", 2022.
    """
    _check(crane, features, noise_edges)
    biases = probabilities(bias, "bias", low=0.33)
    sizes = part_sizes(size, PUBLISHED, multiple=3)
    rng = np.random.default_rng(seed)
    motifs = [MOTIFS["dircycle"], MOTIFS["house"], MOTIFS[crane]]
    graphs: list[Data] = []
    for part, count in sizes.items():
        labels = rng.permutation(np.arange(count) % 3)
        # the last of the environments are those of the unbiased parts
        place = {"ood_val": len(biases), "ood_test": len(biases) + 1}.get(part)
        environment = rng.permutation(np.arange(count) % len(biases)) if place is None else np.full(count, place)
        own = np.append(biases, [1 / 3, 1 / 3])[environment]
        other = (labels + rng.integers(1, 3, size=count)) % 3
        bases = np.where(rng.random(count) < own, labels, other)
        pack = _build(bases, labels, motifs, LARGE if part == "ood_test" else SMALL, noise_edges, rng)
        fields = {"y": labels, "environment": environment, "group": bases}
        graphs += pack.to_data(nodes={"x": _features(features, pack, rng)}, graphs=fields)
    shown = ", ".join(f"{value:.2f}" for value in biases)
    return ShiftSet(
        "spurious_motif",
        **divide(graphs, sizes),
        task="multiclass",
        num_classes=3,
        metric="accuracy",
        notes=(
            f"In training the base is the one paired with the class with probability {shown}; in ood_val and ood_test "
            "every base is equally likely, and in ood_test it is large.",
            "group is the base: " + ", ".join(f"{number} {name}" for number, name in enumerate(BASE_NAMES)) + ".",
        ),
    )


def _check(crane: str, features: str, noise_edges: float) -> None:
    if crane not in ("varcycle", "crane"):
        raise ConfigError(f"crane is {crane!r}; expected varcycle or crane.")
    if features not in ("uniform", "constant"):
        raise ConfigError(f"features is {features!r}; expected uniform or constant.")
    if not 0 <= noise_edges < 1:
        raise ConfigError(f"noise_edges is {noise_edges!r}; expected a share in [0, 1).")


def _build(
    bases: IntArray,
    labels: IntArray,
    motifs: list[Template],
    laws: tuple[tuple[object, int, int], ...],
    noise_edges: float,
    rng: np.random.Generator,
) -> GraphPack:
    """Bases of random size, each with its motif at a random node."""
    templates: list[Template] = []
    first, span = [], []
    for shape, low, high in laws:
        first.append(len(templates))
        span.append(high - low + 1)
        templates += [shape(width) for width in range(low, high + 1)]  # type: ignore[operator]
    base = copies(templates, np.array(first)[bases] + rng.integers(0, np.array(span)[bases]))
    motif = copies(motifs, labels)
    pack = attach(base, motif, rng.integers(0, base.node_counts), np.zeros_like(labels))
    return with_random_edges(pack, noise_edges, base.node_counts, rng) if noise_edges else pack


def _features(features: str, pack: GraphPack, rng: np.random.Generator) -> Array:
    shape = (int(pack.node_counts.sum()), 4)
    return rng.random(shape, dtype=np.float32) if features == "uniform" else np.ones(shape, dtype=np.float32)
