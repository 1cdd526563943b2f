r"""Mode-specific normalisation: a number becomes the mode of its column that it belongs to, and its place in that mode.

Numbers of a table have several peaks, and a network with a bounded output meets them badly. So each column is
described by a mixture of at most ten Gaussians, and a value :math:`x` is written as a drawn mode :math:`k` and

.. math:: \alpha = (x - \mu_k) / (4 \sigma_k), \qquad x = \mu_k + 4 \sigma_k \alpha .

Two things differ from the paper. The mixture is fitted to a few hundred groups of sorted values, not to the rows, and
drops the Gaussians that it does not need by a penalty on their number; a column takes hundredths of a second. And a
value that many rows share, such as the zeros of an amount, is a mode of its own that is narrower than a lattice step:
it comes back exactly.

The way back is differentiable in :math:`\alpha` and in the (soft or hard) choice of the mode, so that a constraint
layer can stand behind it. What that returns is written in the same modes again, or in others where these do not reach.

References:
    Xu et al., "Modeling Tabular Data using Conditional GAN", 2019, section 4.2.
    Figueiredo and Jain, "Unsupervised Learning of Finite Mixture Models", 2002, equation 15 (the penalty).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .blocks import Blocks

__all__ = ["EDGE", "ModeNormalization", "Modes", "fit_modes"]

EDGE = 0.99
"""The largest magnitude of a normalised value: ``tanh`` reaches it."""

GROUPS = 512  # of sorted values, on which a mixture is fitted
ATOM_SHARE = 0.05  # of the rows; a value with more is a mode of its own
ROUNDS, TOLERANCE = 200, 1e-6


@dataclass(frozen=True)
class Modes:
    """The modes of a column.

    Attributes:
        centers: ``(modes,)`` in the units of the table.
        widths: ``(modes,)``, four standard deviations; of an atom, half a lattice step.
        weights: ``(modes,)``, shares of the rows; they add up to 1.
        atoms: How many of the modes, the first ones, are single values.
    """

    centers: NDArray[np.float64]
    widths: NDArray[np.float64]
    weights: NDArray[np.float64]
    atoms: int = 0

    def __len__(self) -> int:
        return len(self.centers)

    def assign(
        self, values: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Draw the mode of each value from its posterior.

        Args:
            values: ``(rows,)`` without NaN.
            rng: Where the draws come from.

        Returns:
            The normalised values in [-EDGE, EDGE], and the modes, both ``(rows,)``.
        """
        distinct, place = np.unique(values, return_inverse=True)
        gaussian = slice(self.atoms, None)
        scores = _log_scores(distinct, self.centers[gaussian], self.widths[gaussian] / 4, self.weights[gaussian])
        posterior = np.zeros((len(distinct), len(self)))
        if scores.shape[1]:
            posterior[:, gaussian] = np.exp(scores - scores.max(1, keepdims=True))
        is_atom = np.abs(distinct[:, None] - self.centers[: self.atoms]) <= self.widths[: self.atoms]
        posterior[is_atom.any(1)] = 0.0
        posterior[:, : self.atoms] = is_atom
        lost = posterior.sum(1) == 0  # only atoms, and none of them: the nearest
        posterior[lost, np.abs(distinct[lost, None] - self.centers).argmin(1)] = 1.0
        edges = posterior.cumsum(1)[place]
        mode = (rng.random(len(values))[:, None] * edges[:, -1:] >= edges).sum(1).clip(max=len(self) - 1)
        alpha = (values - self.centers[mode]) / self.widths[mode]
        return alpha.clip(-EDGE, EDGE), mode


def fit_modes(values: NDArray[np.float64], *, step: float, most: int = 10) -> Modes:
    """Describe the numbers of a column by atoms and Gaussians.

    Args:
        values: ``(rows,)`` without NaN; may be empty.
        step: The distance of neighbouring lattice points, above 0.
        most: The most Gaussians; as many atoms may come on top.

    Returns:
        The modes; none where there are no values.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> modes = fit_modes(np.append(rng.normal(50, 5, 900).round(2), np.zeros(400)), step=0.01)
        >>> modes.atoms, float(modes.centers[0])
        (1, 0.0)
    """
    distinct, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    taken = order if len(distinct) <= most else order[counts[order] >= ATOM_SHARE * len(values)]
    free = np.ones(len(distinct), bool)
    free[taken] = False
    atoms, atom_counts = distinct[taken], counts[taken]
    centers, deviations, weights = _mixture(distinct[free], counts[free], step, most)
    total = max(len(values), 1)
    return Modes(
        np.concatenate([atoms, centers]),
        np.concatenate([np.full(len(atoms), step / 2), 4 * deviations]),
        np.concatenate([atom_counts / total, weights * counts[free].sum() / total]),
        len(atoms),
    )


def _mixture(
    distinct: NDArray[np.float64], counts: NDArray[np.int64], step: float, most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means, deviations and weights of Gaussians for sorted values with their counts."""
    if not len(distinct):
        return np.empty(0), np.empty(0), np.empty(0)
    mean, variance, mass = _groups(distinct, counts.astype(np.float64))
    shift, scale = mean.mean(), max(float(distinct[-1] - distinct[0]), step)
    mean, variance, floor = (mean - shift) / scale, variance / scale**2, (step / scale) ** 2 / 12
    share = mass.cumsum() / mass.sum()
    centers = np.interp((np.arange(most) + 0.5) / most, share, mean)
    variances = np.full(most, max(np.average((mean - np.average(mean, weights=mass)) ** 2, weights=mass), floor) / most)
    weights, before = np.full(most, 1 / most), -np.inf
    for _ in range(ROUNDS):
        scores = _log_scores(mean, centers, np.sqrt(variances), weights) - variance[:, None] / (2 * variances)
        top = scores.max(1, keepdims=True)
        held = np.exp(scores - top)
        likelihood = float(mass @ (top[:, 0] + np.log(held.sum(1)))) / mass.sum()
        held *= (mass / held.sum(1))[:, None]
        weights = np.maximum(held.sum(0) - 1.0, 0.0)  # two numbers describe a Gaussian: it must pay for them
        kept = weights > 0 if (weights > 0).any() else held.sum(0) == held.sum(0).max()
        held, weights = held[:, kept], np.maximum(weights[kept], 1e-12)
        weights /= weights.sum()
        rows = held.sum(0)
        centers = mean @ held / rows
        variances = (((mean[:, None] - centers) ** 2 + variance[:, None]) * held).sum(0) / rows + floor + 1e-10
        if likelihood - before < TOLERANCE and len(kept) == len(weights):
            break
        before = likelihood
    centers, variances, weights = _apart(centers, variances, weights)
    return centers * scale + shift, np.sqrt(variances) * scale, weights


def _apart(
    centers: NDArray[np.float64], variances: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Gaussians in the order of their centers, those on top of each other made one."""
    order = np.argsort(centers, kind="stable")
    centers, variances, weights = centers[order], variances[order], weights[order]
    near = np.diff(centers) < 0.1 * np.sqrt(np.minimum(variances[1:], variances[:-1]))
    group = np.append(0, np.cumsum(~near))
    total = np.bincount(group, weights).astype(np.float64)
    middle = np.bincount(group, weights * centers) / total
    spread = np.bincount(group, weights * (variances + (centers - middle[group]) ** 2)) / total
    return middle, spread, total


def _groups(
    distinct: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Means, variances and masses of at most `GROUPS` groups of neighbours with about the same mass."""
    middle = (counts.cumsum() - counts / 2) / counts.sum()
    _, group = np.unique((middle * GROUPS).astype(np.int64), return_inverse=True)
    mass = np.bincount(group, counts).astype(np.float64)
    mean = np.bincount(group, counts * distinct) / mass
    return mean, np.bincount(group, counts * (distinct - mean[group]) ** 2) / mass, mass


def _log_scores(
    values: NDArray[np.float64],
    centers: NDArray[np.float64],
    deviations: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """``(values, modes)``: the logarithms of weighted Gaussian densities, up to a constant."""
    distance = (values[:, None] - centers) / deviations
    return np.asarray(np.log(weights) - np.log(deviations) - distance**2 / 2)


class ModeNormalization(nn.Module):
    r"""The way from normalised values and modes to the numbers of a table, and back into the same modes.

    For all numeric columns at once: with :math:`P` the (hard or soft) choices of the modes, side by side,

    .. math:: X = P C + A \odot (P W), \qquad A' = (X' - P C) \oslash (P W),

    where column :math:`j` of :math:`C` and :math:`W` holds the centers and widths of the modes of column :math:`j`, and
    0 for those of others. A column may have more choices than modes: the last ones say that there is no number (it is
    null, or a special code), and stand for NaN.

    Args:
        columns: The modes of each column.
        empty: How many choices of each column say that there is no number; as many entries as ``columns``.

    Shapes:
        ``alpha``: ``(rows, columns)``; ``choices``: ``(rows, modes and empty choices of all columns)``.

    Example:
        >>> modes = Modes(np.array([0.0, 50.0]), np.array([0.5, 8.0]), np.array([0.4, 0.6]), atoms=1)
        >>> normalization = ModeNormalization([modes], [1])
        >>> normalization.inverse(torch.tensor([[0.25]]), torch.tensor([[0.0, 1.0, 0.0]]))
        tensor([[52.]], dtype=torch.float64)
    """

    centers: Tensor
    widths: Tensor
    nothing: Tensor

    def __init__(self, columns: Sequence[Modes], empty: Sequence[int]) -> None:
        super().__init__()
        sizes = [len(modes) + more for modes, more in zip(columns, empty, strict=True)]
        centers, widths, nothing = (np.zeros((sum(sizes), len(sizes))) for _ in range(3))
        first = 0
        for place, (modes, size) in enumerate(zip(columns, sizes, strict=True)):
            end = first + len(modes)
            centers[first:end, place], widths[first:end, place] = modes.centers, modes.widths
            nothing[end : first + size, place] = 1.0
            first += size
        self.sizes = tuple(sizes)
        self.blocks = Blocks(sizes)
        self.register_buffer("centers", torch.from_numpy(centers), persistent=False)
        self.register_buffer("widths", torch.from_numpy(widths), persistent=False)
        self.register_buffer("nothing", torch.from_numpy(nothing), persistent=False)

    def inverse(self, alpha: Tensor, choices: Tensor) -> Tensor:
        """Numbers in the units of the table, float64; NaN where an empty choice has the most mass."""
        choices = choices.double()
        x = choices @ self.centers + alpha.double() * (choices @ self.widths)
        return x.masked_fill(choices.detach() @ self.nothing > 0.5, torch.nan)

    def forward(self, x: Tensor, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Write other numbers in the modes that were chosen, or in the nearest modes where these do not reach so far.

        Args:
            x: ``(rows, columns)`` in the units of the table.
            choices: Hard choices.

        Returns:
            Normalised values, float32, 0 where the number is NaN; and the choices, those that changed with the gradient
            of the old ones.
        """
        alpha = self._in_modes(x, choices)
        far = alpha.detach().abs() > 1.0
        if bool(far.any()):
            choices = self._nearest(x.detach(), choices, far)
            alpha = torch.where(far, self._in_modes(x, choices.detach()), alpha)
        return alpha.clamp(-EDGE, EDGE).float(), choices

    def _in_modes(self, x: Tensor, choices: Tensor) -> Tensor:
        choices, missing = choices.double(), x.isnan()
        width = (choices @ self.widths).masked_fill(missing, 1.0)
        offset = (x.masked_fill(missing, 0.0) - choices @ self.centers).masked_fill(missing, 0.0)
        return offset / width.clamp(min=torch.finfo(torch.float64).tiny)

    def _nearest(self, x: Tensor, choices: Tensor, far: Tensor) -> Tensor:
        """The choices with the nearest mode, in widths, where the number is far from that which was chosen."""
        owner = self.blocks.block
        center, width = self.centers.sum(1), self.widths.sum(1)
        distance = (x[:, owner] - center).abs() / width.clamp(min=torch.finfo(torch.float64).tiny)
        distance = distance.masked_fill(self.nothing.sum(1) > 0, torch.inf)
        near = self.blocks.one_hot(self.blocks.argmax(-distance))
        return torch.where(far[:, owner], near + (choices - choices.detach()), choices)
