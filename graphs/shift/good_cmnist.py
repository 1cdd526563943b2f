"""Coloured digits (GOOD-CMNIST) and noisy ones (MNIST-75SP): superpixel graphs whose pixels move, not their shapes."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np

from graftable.errors import ConfigError

from .assembly import Array, GraphPack, IntArray, ragged_arange
from .good_motif import concept_choice, good_cuts
from .shift_set import ShiftSet, divide, gather, part_sizes
from .superpixels import Superpixels, read_superpixels

__all__ = ["COLOURS", "good_cmnist", "mnist75sp"]

#: the ten colours of concept shift, RGB, in the order of the digits
COLOURS = np.array(
    [
        (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1),
        (1, 0, 1), (1, 0.5, 0.5), (0.5, 1, 0.5), (0.5, 0.5, 1), (1, 1, 0.5),
    ],
    dtype=np.float32,
)  # fmt: skip
#: colour of each environment under covariate shift: five train, one validates, one tests
ENVIRONMENT_COLOURS = np.array([0, 1, 2, 3, 4, 6, 5])
CONCEPTS = np.array([0.95, 0.9, 0.85, 0.8, 0.75, 0.3, 0.0])
TRAINING = 5
DARK = 0.001
FALLBACK = "No folder was given: these are the 1,797 digits of 8 by 8 pixels of scikit-learn, not MNIST."


def good_cmnist(
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    size: int | None = None,
    domain: Literal["color", "background"] = "color",
    shift: Literal["covariate", "concept"] = "covariate",
) -> ShiftSet:
    """Ten digits in colour: ``x`` is the intensity of a superpixel times the colour of its image.

    Covariate shift: five colours in training, another in validation, another in the test. Concept shift: the colour is
    the digit's own of ten with probability .95, .9, .85, .8 and .75 in the training environments, .3 in validation and
    0 in the test, and uniform otherwise.

    Args:
        root: Folder with ``mnist75sp_t10k.npz``; without one, the small digits of scikit-learn stand in.
        seed: Of the generator.
        size: Training graphs; the other parts keep their proportion. All images by default.
        domain: ``color`` paints the digit; ``background`` paints nodes whose intensity is below .001, and leaves the
            others gray.
        shift: ``covariate`` or ``concept``.

    Raises:
        ConfigError: If a setting is out of its range.
        DataError: If the file is missing or damaged.

    References:
        Gui et al., "GOOD: A Graph Out-of-Distribution Benchmark", 2022.
    """
    if domain not in ("color", "background") or shift not in ("covariate", "concept"):
        raise ConfigError(
            f"got domain {domain!r}, shift {shift!r}; expected color or background, covariate or concept."
        )
    name = f"good_cmnist_{domain}_{shift}"
    images = read_superpixels(root, name)
    rng = np.random.default_rng(seed)
    environment, parts = good_cuts(size, len(images[0]), shift, TRAINING, rng)
    _enough(name, len(environment), len(images[0]))
    chosen = rng.permutation(len(images[0]))[: len(environment)]
    pack, intensity, place, digit = _select(images, chosen)
    if shift == "covariate":
        colour = ENVIRONMENT_COLOURS[environment]
    else:
        colour = concept_choice(digit, CONCEPTS[environment], len(COLOURS), rng)
    painted = COLOURS[np.repeat(colour, pack.node_counts)]
    if domain == "color":
        x = intensity[:, None] * painted
    else:
        x = np.where(intensity[:, None] < DARK, painted, intensity[:, None])
    graphs = pack.to_data(
        nodes={"x": x, "pos": place}, graphs={"y": digit, "environment": environment, "group": colour}
    )
    return ShiftSet(
        name,
        **gather(graphs, parts),
        task="multiclass",
        num_classes=10,
        metric="accuracy",
        notes=("group is the colour.", *([FALLBACK] if root is None else [])),
    )


def mnist75sp(
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    size: int | None = None,
    noise: Literal["gray", "color"] = "gray",
) -> ShiftSet:
    """Ten digits in gray whose test images are noisy; ``x`` is the intensity on three channels, and row and column.

    ``x`` is standardised by the training graphs; then the test of the shifted law gets N(0, .4^2), the same on the
    three channels, or N(0, .6^2) on each of its own.

    Args:
        root: Folder with ``mnist75sp_t10k.npz``; without one, the small digits of scikit-learn stand in.
        seed: Of the generator.
        size: Training graphs; the other parts keep their proportion. Default: 60 % of all images, 10 % for
            validation and 30 % for the test, once clean and once noisy.
        noise: ``gray`` or ``color``.

    Raises:
        ConfigError: If a setting is out of its range.
        DataError: If the file is missing or damaged.

    References:
        Knyazev et al., "Understanding Attention and Generalization in Graph Neural Networks", 2019.
    """
    if noise not in ("gray", "color"):
        raise ConfigError(f"noise is {noise!r}; expected gray or color.")
    images = read_superpixels(root, "mnist75sp")
    total = len(images[0])
    shares = {"train": 0.6, "id_val": 0.1, "id_test": 0.3}
    sizes = part_sizes(size, {part: int(share * total) for part, share in shares.items()})
    _enough("mnist75sp", sum(sizes.values()), total)
    rng = np.random.default_rng(seed)
    pack, intensity, place, digit = _select(images, rng.permutation(total)[: sum(sizes.values())])
    x = np.column_stack([intensity, intensity, intensity, place]).astype(np.float32)
    train = int(pack.node_counts[: sizes["train"]].sum())
    x = (x - x[:train].mean(axis=0)) / np.maximum(x[:train].std(axis=0), 1e-6)
    tested = np.arange(len(digit) - sizes["id_test"], len(digit))
    noisy = x[-int(pack.node_counts[tested].sum()) :].copy()
    noisy[:, :3] += rng.normal(0, 0.4, (len(noisy), 1)) if noise == "gray" else rng.normal(0, 0.6, (len(noisy), 3))
    graphs = pack.to_data(nodes={"x": x, "pos": place}, graphs={"y": digit, "environment": np.zeros_like(digit)})
    shifted = pack.select(tested).to_data(
        nodes={"x": noisy, "pos": place[-len(noisy) :]},
        graphs={"y": digit[tested], "environment": np.ones_like(tested)},
    )
    return ShiftSet(
        "mnist75sp",
        **divide([*graphs, *shifted], sizes | {"ood_val": 0, "ood_test": len(tested)}),
        task="multiclass",
        num_classes=10,
        metric="accuracy",
        notes=(
            f"ood_test holds the images of id_test again, with {noise} noise after standardisation.",
            *([FALLBACK] if root is None else []),
        ),
    )


def _enough(name: str, wanted: int, available: int) -> None:
    if wanted > available:
        raise ConfigError(f"{name}: {wanted} graphs in all were wanted, and there are {available} images; lower size.")


def _select(images: Superpixels, chosen: IntArray) -> tuple[GraphPack, Array, Array, IntArray]:
    pack, intensity, place, digit = images
    rows = ragged_arange(pack.node_starts[chosen], pack.node_counts[chosen])
    return pack.select(chosen), intensity[rows], place[rows], digit[chosen]
