"""What the weights minimise: the dependence in units of its own, at any centre, with or without a stored matrix."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from graftable.errors import ConfigError

from .dependence import CosineForm, DependenceForm

__all__ = ["Objective"]

#: Added to the diagonal, whose mean is 1: of weights that decorrelate alike, those of the largest effective size.
RIDGE = 1e-3
#: Up to this many rows the (rows, rows) matrix is stored, 64 MB at most.
DENSE_ROWS = 4096
#: Up to this many rows one product of the narrow factors is sooner made than two for each step of a solver.
FEW_ROWS = 768


class Objective:
    r"""The quadratic form that the solver is given, for features centred where it has got to.

    .. math:: B = \frac{A}{\operatorname{mean} A_{nn}} + \alpha \frac{S}{\operatorname{mean} S_{nn}} + 10^{-3} I

    so that no setting depends on units. Of cosines the matrix A is built once, at the first centre; what further
    centres add has narrow factors (:meth:`.CosineForm.shift`). Of more than 4096 rows it is not built at all.

    Args:
        form: The dependence.
        alpha: Weight of the mean's shift, 0 or more.
    """

    def __init__(self, form: DependenceForm, alpha: float) -> None:
        self.form, self.alpha = form, alpha
        self._built: tuple[Tensor, Tensor] | None = None

    def at(self, centre: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """The product of B with weights, and the diagonal of B, with features centred at these weights.

        Shapes:
            centre: (rows,); the product takes and returns (rows,); the diagonal is (rows,).

        Raises:
            ConfigError: If the form needs a matrix of too many rows.
        """
        if not isinstance(self.form, CosineForm):
            return self._stored(centre)
        features, alpha = self.form.centred(centre), self.alpha
        diagonal, total = self.form.diagonal(features)
        scale, shift = diagonal.mean().clamp(min=1e-30), total.mean().clamp(min=1e-30)
        dependence = self._dependence(self.form, features, centre)

        def product(weights: Tensor) -> Tensor:
            weights = weights.to(features)
            result = dependence(weights).div_(scale).add_(weights, alpha=RIDGE)
            return result.add_((features @ (weights @ features)) * (alpha / shift)) if alpha else result

        return product, diagonal / scale + alpha * total / shift + RIDGE

    def _dependence(self, form: CosineForm, features: Tensor, centre: Tensor) -> Callable[[Tensor], Tensor]:
        """The product of A with weights."""
        if len(centre) > DENSE_ROWS:
            return lambda weights: form.product(features, weights)
        if self._built is None:
            matrix = form.matrix(centre)[0]
            self._built = features, matrix
            return lambda weights: matrix @ weights
        old, first = self._built
        left, right = form.shift(old, centre)
        if len(centre) > FEW_ROWS:
            return lambda weights: first @ weights + left @ (weights @ right) + right @ (weights @ left)
        half = left @ right.T
        moved = (first + half).add_(half.T)
        return lambda weights: moved @ weights

    def _stored(self, centre: Tensor) -> tuple[Callable[[Tensor], Tensor], Tensor]:
        """For a form of which only matrices are known: build it anew."""
        rows = len(centre)
        if rows > DENSE_ROWS:
            raise ConfigError(
                f'features="rbf" stores rows x rows numbers; found {rows} rows, expected {DENSE_ROWS}; use "rff".'
            )
        matrix, total = self.form.matrix(centre)
        matrix.div_(matrix.diagonal().mean().clamp(min=1e-30))
        if self.alpha:
            matrix.add_(total, alpha=self.alpha / max(float(total.diagonal().mean()), 1e-30))
        matrix.diagonal().add_(RIDGE)
        return (lambda weights: matrix @ weights.to(matrix)), matrix.diagonal().clone()
