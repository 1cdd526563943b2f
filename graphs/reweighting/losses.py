"""A loss per sample, weighted, for labels of which some are missing."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from graftable.errors import ShapeError

__all__ = ["ReweightedLoss"]

#: The class that torch's losses take as missing.
IGNORED = -100


class ReweightedLoss(nn.Module):
    r"""The weighted mean over samples of a loss, each sample's own the mean over those of its tasks that have a label.

    .. math:: L = \frac{1}{|\{n : T_n \ne \emptyset\}|} \sum_n w_n \frac{1}{|T_n|} \sum_{t \in T_n} \ell(x_{nt}, y_{nt})

    Weights of 1 give exactly the loss without weights.

    Args:
        base_loss: Takes predictions, labels and ``reduction="none"``, as ``torch.nn.functional.cross_entropy``,
            ``binary_cross_entropy_with_logits`` and ``mse_loss`` do.

    Shapes:
        prediction: (rows, classes) with labels (rows,) of integers, -100 for none; or (rows,) or (rows, tasks) with
        labels alike, NaN for none; weights: (rows,); returns a scalar, 0 if no sample has a label.

    Raises:
        ShapeError: If there is not one loss or weight per sample.

    Example:
        >>> loss = ReweightedLoss(torch.nn.functional.mse_loss)
        >>> loss(torch.zeros(2, 2), torch.tensor([[1.0, float("nan")], [2.0, 0.0]]), torch.tensor([0.5, 1.5]))
        tensor(1.7500)
    """

    def __init__(self, base_loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.base_loss = base_loss

    def forward(self, prediction: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Average over the samples that have a label."""
        losses, known = self.per_sample(prediction, target)
        if weights is not None:
            if weights.shape != losses.shape:
                raise ShapeError(
                    f"weights has shape {tuple(weights.shape)}; expected one per sample, ({len(losses)},)."
                )
            losses = losses * weights.detach()
        return losses[known].mean() if known.any() else losses.sum() * 0

    def per_sample(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Loss of each sample, (rows,), 0 where it has no label, and whether it has one."""
        known = target != IGNORED if not target.is_floating_point() else ~target.isnan()
        if target.is_floating_point():  # a NaN would pass through the gradient even if its loss is masked
            target = torch.where(known, target, 0.0)
            prediction = prediction.squeeze(1) if target.dim() == 1 and prediction.dim() == 2 else prediction
        losses = self.base_loss(prediction, target, reduction="none")
        if losses.shape != known.shape:
            raise ShapeError(
                f"base_loss gave {tuple(losses.shape)} for labels {tuple(known.shape)}; expected one loss per label."
            )
        if losses.dim() == 1:
            return torch.where(known, losses, 0.0), known
        counts = known.sum(1)
        return torch.where(known, losses, 0.0).sum(1) / counts.clamp(min=1), counts > 0
