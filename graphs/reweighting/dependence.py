r"""Dependence between groups of variables under weights, as one quadratic form in the weights.

With centred features :math:`F_i` of variable i and p on the simplex,

.. math:: \sum_{i < j,\ c(i) \ne c(j)} \lVert F_i^\top \mathrm{diag}(p) F_j \rVert_F^2 = p^\top A p, \qquad
    A = \tfrac12 \Bigl( S \circ S - \sum_c S_c \circ S_c \Bigr), \quad S_c = \sum_{i \in c} F_i F_i^\top, \quad
    S = \sum_c S_c

A is positive semidefinite by the Schur product theorem, so the weights that decorrelate are a convex problem. The
features are centred at fixed weights; centring anew at the solution and solving again makes it a true covariance.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from graftable.errors import ConfigError, ShapeError

from .features import RandomFourierFeatures, standardise

__all__ = ["FEATURES", "CosineForm", "DependenceForm", "KernelForm", "dependence_form", "dependence_matrix"]

#: What dependence is measured in.
FEATURES = ("rff", "rbf", "linear")
#: Rows of a Gram matrix that are built at a time.
STRIP = 128


class DependenceForm:
    """The form p'Ap for one table of variables and their clusters.

    Args:
        clusters: The cluster of each variable, (variables,).
    """

    def __init__(self, clusters: Tensor) -> None:
        self.clusters = clusters

    def grams(self, centre: Tensor) -> Iterator[Tensor]:
        """Give the Gram matrix of each cluster, (rows, rows), its features centred at weights (rows,)."""
        raise NotImplementedError

    def matrix(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Build A and S, both (rows, rows)."""
        total, within = None, None
        for gram in self.grams(centre):
            if total is None or within is None:
                total, within = gram.clone(), gram.square()
            else:
                total.add_(gram)
                within.addcmul_(gram, gram)
        if total is None or within is None:
            raise ShapeError("a dependence needs at least one variable.")
        return torch.mul(total, total).sub_(within).mul_(0.5), total

    def value(self, weights: Tensor) -> float:
        """Sum the squared weighted covariances across clusters, centred at the weights themselves."""
        matrix, _ = self.matrix(weights)
        share = weights.to(matrix)
        return max(float(share @ (matrix @ share)), 0.0)


class CosineForm(DependenceForm):
    r"""The form for features that can be written down, which needs no (rows, rows) storage.

    .. math:: (A p)_n = \tfrac12 F_n^\top \tilde M F_n, \qquad M = F^\top \mathrm{diag}(p) F

    with :math:`\tilde M` the matrix M without its blocks on the diagonal.

    Args:
        features: (rows, variables, Q); the form works in their precision.
        clusters: (variables,).
    """

    def __init__(self, features: Tensor, clusters: Tensor) -> None:
        order = torch.argsort(clusters, stable=True)
        super().__init__(clusters[order])
        self.width = features.shape[2]
        self.features = features[:, order].flatten(1)
        sizes = torch.unique_consecutive(self.clusters, return_counts=True)[1]
        self._columns = (sizes * self.width).tolist()
        owner = torch.repeat_interleave(torch.arange(len(sizes), device=clusters.device), sizes * self.width)
        self._across = (owner.unsqueeze(0) != owner.unsqueeze(1)).to(features)
        self._owner, self._member = owner, torch.nn.functional.one_hot(owner, len(sizes)).to(features)

    def centred(self, centre: Tensor) -> Tensor:
        """Features less their mean under the weights, (rows, variables x Q), those of a cluster side by side."""
        return self.features - centre.to(self.features) @ self.features

    def grams(self, centre: Tensor) -> Iterator[Tensor]:
        """Give the Gram matrix of each cluster, (rows, rows)."""
        for part in self.centred(centre).split(self._columns, dim=1):
            yield part @ part.T

    def matrix(self, centre: Tensor) -> tuple[Tensor, Tensor]:
        """Build A and S, both (rows, rows)."""
        total, within = self._built(self.centred(centre))
        return within.addcmul_(total, total, value=-1).mul_(-0.5), total

    def _built(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """S and the sum of squares of all S_c: the lower halves in strips, as they are symmetric, then the upper."""
        rows = len(features)
        total, within = features.new_empty(rows, rows), features.new_empty(rows, rows)
        for top in range(0, rows, STRIP):
            bottom = min(top + STRIP, rows)
            strip, squares = total[top:bottom, :bottom], within[top:bottom, :bottom]
            first, *others = features[:bottom].split(self._columns, dim=1)
            torch.mm(first[top:], first.T, out=strip)
            torch.mul(strip, strip, out=squares)
            for part in others:
                gram = part[top:] @ part.T
                strip.add_(gram)
                squares.addcmul_(gram, gram)
            total[:top, top:bottom] = total[top:bottom, :top].T
            within[:top, top:bottom] = within[top:bottom, :top].T
        return total, within

    def shift(self, old: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
        r"""What centring anew adds to A, as two narrow factors: it becomes :math:`A + G H^\top + H G^\top`.

        With m the mean of the old features under the new weights, :math:`a_c = F_c m_c - |m_c|^2 / 2` and a their sum
        over clusters, a cluster's Gram matrix becomes :math:`S_c - a_c 1^\top - 1 a_c^\top`, and so

        .. math:: G = (-L, \tfrac12 u, \tfrac12 a, -\tfrac12 a_c), \quad H = (F, 1, a, a_c), \qquad
            L_{nk} = F_{nk} (a - a_{c(k)})_n, \quad u = a^2 - \sum_c a_c^2

        Args:
            old: Features as they are centred in A, (rows, variables x Q).
            centre: The new weights, (rows,).

        Returns:
            G and H, (rows, variables x Q + clusters + 2).
        """
        mean = centre.to(self.features) @ old
        along = (old * mean) @ self._member - (mean.square() @ self._member) / 2
        total = along.sum(1, keepdim=True)
        both = total.square() - along.square().sum(1, keepdim=True)
        left = torch.cat([old * (along - total)[:, self._owner], both / 2, total / 2, -along / 2], 1)
        return left, torch.cat([old, torch.ones_like(total), total, along], 1)

    def diagonal(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Diagonals of A and of S, (rows,) each, from centred features."""
        parts = features.square() @ self._member
        total = parts.sum(1)
        return 0.5 * (total.square() - parts.square().sum(1)), total

    def product(self, features: Tensor, weights: Tensor) -> Tensor:
        """A times weights, (rows,), from centred features."""
        moments = features.T @ (weights.unsqueeze(1) * features)
        return 0.5 * (features * (features @ moments.mul_(self._across))).sum(1)

    def value(self, weights: Tensor) -> float:
        """Sum the squared weighted covariances across clusters, centred at the weights themselves."""
        features = self.centred(weights)
        moments = features.T @ (weights.to(features).unsqueeze(1) * features)
        return 0.5 * float(moments.mul_(self._across).square_().sum())


class KernelForm(DependenceForm):
    r"""The form with the exact kernel :math:`\exp(-(x - y)^2 / 2)` of each variable in place of a few cosines.

    p'Ap is then the Hilbert-Schmidt independence criterion, summed over pairs of variables in different clusters.

    Args:
        values: Standardised variables, (rows, variables).
        clusters: (variables,).
    """

    def __init__(self, values: Tensor, clusters: Tensor) -> None:
        super().__init__(clusters)
        self.values = values

    def grams(self, centre: Tensor) -> Iterator[Tensor]:
        """Give the centred kernel matrix of each cluster."""
        for cluster in torch.unique(self.clusters):
            gram = torch.zeros(len(self.values), len(self.values)).to(self.values)
            for column in self.values[:, self.clusters == cluster].T:
                gram += (column.unsqueeze(0) - column.unsqueeze(1)).square_().mul_(-0.5).exp_()
            mean = gram @ centre.to(gram)
            yield gram - mean.unsqueeze(0) - mean.unsqueeze(1) + centre.to(gram) @ mean


def dependence_form(
    values: Tensor, clusters: Tensor, features: str, *, num_features: int = 5, seed: int = 0
) -> DependenceForm:
    """Make the form of standardised variables.

    Args:
        values: Standardised variables; the form works in their precision.
        clusters: The cluster of each variable.
        features: "rff", "rbf" or "linear".
        num_features: Cosines for each variable, with "rff".
        seed: Seed of the cosines.

    Shapes:
        values: (rows, variables); clusters: (variables,).

    Raises:
        ConfigError: If the features are not known.
    """
    if features not in FEATURES:
        raise ConfigError(f"features is {features!r}; expected one of {', '.join(FEATURES)}.")
    if features == "rbf":
        return KernelForm(values, clusters)
    if features == "linear":
        return CosineForm(values.unsqueeze(2), clusters)
    return CosineForm(RandomFourierFeatures(values.shape[1], num_features, seed)(values), clusters)


def dependence_matrix(
    z: Tensor, weights: Tensor | None = None, *, features: str = "rff", num_features: int = 5, seed: int = 0
) -> Tensor:
    r"""Squared weighted covariance of every pair of variables, for a picture before and after reweighting.

    .. math:: D_{ij} = \lVert F_i^\top (\mathrm{diag}(p) - p p^\top) F_j \rVert_F^2, \qquad p = w / \textstyle\sum_n w_n

    Args:
        z: Representations, finite. They are standardised first; a constant column depends on nothing and reads 0.
        weights: One per row, not negative, of any sum; absent, all the same.
        features: "rff", "rbf" (for which this is the HSIC of each pair) or "linear" (squared correlations, where the
            weights are uniform).
        num_features: Cosines for each variable, with "rff".
        seed: Seed of the cosines.

    Shapes:
        z: (rows, d); weights: (rows,); returns (d, d), symmetric, in float32.

    Raises:
        ConfigError: If the features are not known.
        ShapeError: If z is not a matrix, or there is not one weight per row.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024, equation 1, with weights on
        the products and not on the features.

    Example:
        >>> z = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
        >>> dependence_matrix(z, torch.tensor([1.0, 1.0, 0.0, 0.0]), features="linear")
        tensor([[1., 1.],
                [1., 1.]])
    """
    if z.dim() != 2 or (weights is not None and weights.shape != z.shape[:1]):
        shape = None if weights is None else tuple(weights.shape)
        raise ShapeError(
            f"z has shape {tuple(z.shape)} and weights {shape}; expected (rows, d) and one weight per row."
        )
    values, varies = standardise(z.detach())
    result = z.new_zeros(z.shape[1], z.shape[1], dtype=torch.float32)
    if not varies.any():
        return result
    share = torch.ones_like(z[:, 0]) if weights is None else weights.detach()
    share = share.double() / share.double().sum()
    form = dependence_form(
        values, torch.arange(values.shape[1], device=z.device), features, num_features=num_features, seed=seed
    )
    if isinstance(form, CosineForm):
        centred = form.centred(share)
        moments = centred.T @ (share.unsqueeze(1) * centred)
        kept = values.shape[1]
        pairs = moments.square().view(kept, form.width, kept, form.width).sum((1, 3))
    else:
        root = share.sqrt().unsqueeze(1)
        scaled = torch.stack([(root * gram * root.T).flatten() for gram in form.grams(share)])
        pairs = scaled @ scaled.T
    places = torch.nonzero(varies).squeeze(1)
    result[places.unsqueeze(1), places.unsqueeze(0)] = pairs.float()
    return result
