"""The last layer anew, on weighted representations of a finished encoder: convex, exact, and a matter of seconds."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graftable.errors import ConfigError, DataError, ShapeError

from .features import standardise
from .losses import ReweightedLoss
from .report import WeightReport
from .weighter import DecorrelationWeighter

__all__ = ["LastLayerRefit"]


class LastLayerRefit:
    r"""Fits a linear head to weighted representations.

    .. math:: \min_{W, b} \sum_n \frac{w_n}{N} \ell(W x_n + b, y_n) + \frac{\lambda}{2} \lVert W \rVert_F^2

    with x the standardised representations, and the scale folded back into W afterwards, so that the layer reads z.
    The encoder is not touched: what changes against its own head is the weights alone. All rows are weighed in one
    problem; beyond 4096 of them the weighter needs no rows x rows storage.

    Args:
        weighter: Finds the weights where none are given; by default :class:`DecorrelationWeighter` with its defaults.
        task: "multiclass" (labels are integers), "binary" (one or more columns of 0, 1 and NaN for unknown) or
            "regression" (one or more columns, NaN for unknown); "auto" tells them from the labels.
        l2: :math:`\lambda`, above 0: the problem then has one solution, and separable classes a finite one.
        iterations: Most steps of L-BFGS.

    Raises:
        ConfigError: If a setting is out of its range.

    References:
        Kirichenko et al., "Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations", 2023.

    Example:
        >>> z = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> head, report = LastLayerRefit(DecorrelationWeighter(rho=1.0)).fit(z, (z[:, 0] > 0).long())
        >>> head
        Linear(in_features=4, out_features=2, bias=True)
        >>> bool(((head(z).argmax(1) == (z[:, 0] > 0)).float().mean()) > 0.95)
        True
    """

    def __init__(
        self,
        weighter: DecorrelationWeighter | None = None,
        *,
        task: Literal["auto", "multiclass", "binary", "regression"] = "auto",
        l2: float = 1e-4,
        iterations: int = 200,
    ) -> None:
        if task not in ("auto", "multiclass", "binary", "regression"):
            raise ConfigError(f"task is {task!r}; expected auto, multiclass, binary or regression.")
        if not l2 > 0:
            raise ConfigError(f"l2 is {l2}; expected a number above 0.")
        self.weighter = DecorrelationWeighter() if weighter is None else weighter
        self.task, self.l2, self.iterations = task, l2, iterations

    def fit(
        self,
        z: Tensor,
        target: Tensor,
        weights: Tensor | None = None,
        *,
        num_classes: int | None = None,
        clusters: Tensor | None = None,
        environment: Tensor | None = None,
        sample_id: Tensor | None = None,
    ) -> tuple[nn.Linear, WeightReport | None]:
        """Find the weights, unless they are given, and the head.

        Args:
            z: Representations of all training samples, finite.
            target: Labels.
            weights: Weights of mean 1, if they are known already.
            num_classes: Width of a multiclass head; by default the largest label plus 1.
            clusters: As for the weighter.
            environment: As for the weighter.
            sample_id: As for the weighter.

        Shapes:
            z: (rows, d); target: (rows,) or (rows, tasks); weights, environment, sample_id: (rows,); clusters: (d,).

        Returns:
            The layer, in the precision and on the device of z, and the report of the weights if they were found here.

        Raises:
            DataError: If z is not finite, or no row has a label.
            ShapeError: If rows and labels differ in number.
        """
        if z.dim() != 2 or target.shape[:1] != z.shape[:1]:
            raise ShapeError(f"z has shape {tuple(z.shape)} and target {tuple(target.shape)}; expected as many rows.")
        if not z.isfinite().all():
            raise DataError("z holds numbers that are not finite; expected representations of a trained encoder.")
        task = self._task(target)
        labels = target.long().flatten() if task == "multiclass" else target.double().reshape(len(z), -1)
        report = None
        if weights is None:
            label = target.reshape(len(z), -1)[:, 0]
            weights, report = self.weighter(
                z, clusters, None if task == "regression" else label, environment, sample_id
            )
        with torch.enable_grad():
            return self._head(z.detach(), labels, weights.double(), task, num_classes), report

    def _task(self, target: Tensor) -> str:
        if self.task != "auto":
            return self.task
        if not target.is_floating_point():
            return "multiclass" if target.dim() == 1 or target.shape[1] == 1 else "binary"
        known = target[~target.isnan()]
        return "binary" if bool(((known == 0) | (known == 1)).all()) else "regression"

    def _head(self, z: Tensor, labels: Tensor, weights: Tensor, task: str, num_classes: int | None) -> nn.Linear:
        values, varies = standardise(z)
        known = labels >= 0 if task == "multiclass" else (~labels.isnan()).any(1)
        if not known.any():
            raise DataError("no row has a label; expected at least one.")
        values, labels, weights = values[known], labels[known], weights[known]
        if task == "regression":
            matrix, bias = self._ridge(values, labels, weights)
        else:
            width = num_classes or int(labels.max()) + 1 if task == "multiclass" else labels.shape[1]
            matrix, bias = self._logistic(values, labels, weights, width)
        # back from standardised columns to z: those that do not vary keep a weight of 0
        mean, spread = z.double().mean(0)[varies], z.double().std(0, correction=0)[varies]
        slope = torch.zeros(len(matrix), z.shape[1], dtype=torch.float64, device=z.device)
        slope[:, varies] = matrix / spread
        layer = nn.Linear(z.shape[1], len(matrix), device=z.device, dtype=z.dtype)
        with torch.no_grad():
            layer.weight.copy_(slope)
            layer.bias.copy_(bias - (matrix / spread) @ mean)
        return layer

    def _logistic(self, x: Tensor, labels: Tensor, weights: Tensor, width: int) -> tuple[Tensor, Tensor]:
        """Softmax for one label per row, a sigmoid per column for several; L-BFGS on the whole set."""
        # steps are taken in the coordinates in which the problem is round at the start: embeddings' columns resemble
        # each other so much that on themselves it takes ten times as many
        second = x.T @ (weights.unsqueeze(1) * x) / (4 * len(x))
        second.diagonal().add_(self.l2)
        unit = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        back = torch.linalg.solve_triangular(torch.linalg.cholesky(second), unit, upper=False)
        x = x @ back.T
        round_matrix = x.new_zeros(width, x.shape[1], requires_grad=True)
        bias = x.new_zeros(width, requires_grad=True)
        loss = ReweightedLoss(F.cross_entropy if labels.dim() == 1 else F.binary_cross_entropy_with_logits)
        optimiser = torch.optim.LBFGS(
            [round_matrix, bias],
            max_iter=self.iterations,
            tolerance_grad=1e-8,
            tolerance_change=1e-12,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            scores, penalty = F.linear(x, round_matrix, bias), (round_matrix @ back).square().sum()
            value: Tensor = loss(scores, labels, weights) + self.l2 / 2 * penalty
            value.backward()
            return value

        optimiser.step(closure)
        return (round_matrix @ back).detach(), bias.detach()

    def _ridge(self, x: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Solve the normal equations of each column over the rows that know it; the bias is not penalised."""
        matrix, bias = x.new_zeros(labels.shape[1], x.shape[1]), x.new_zeros(labels.shape[1])
        for task, label in enumerate(labels.T):
            known = ~label.isnan()
            if known.any():
                share = weights[known] / weights[known].sum().clamp(min=1e-30)
                rows, values = x[known], label[known]
                middle, height = share @ rows, share @ values
                rows, values = rows - middle, values - height
                normal = rows.T @ (share.unsqueeze(1) * rows)
                normal.diagonal().add_(self.l2)
                matrix[task] = torch.linalg.solve(normal, rows.T @ (share * values))
                bias[task] = height - matrix[task] @ middle
        return matrix, bias
