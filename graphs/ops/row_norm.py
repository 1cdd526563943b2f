"""Batch norm over the rows of a matrix, together with the ReLU that follows it."""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import native_norm
from .fused import may_fuse, second_derivative

__all__ = ["norm_rows"]


def norm_rows(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    relu: bool = False,
    offset: Tensor | None = None,
) -> Tensor:
    r"""Normalise each column of a batch of rows, as torch's ``batch_norm`` in training, and rectify the result.

    .. math:: y_{if} = \operatorname{ReLU}\Big(w_f \frac{x_{if} - \mu_f}{\sqrt{\sigma_f^2 + \epsilon}} + b_f\Big)

    On a CPU with a C++ compiler in two passes over memory, and two for the gradient, without a mask.

    Args:
        x: At least two rows.
        weight: One factor for each column.
        bias: One shift for each column.
        running_mean: Moved in place towards the mean by ``momentum``.
        running_var: The same for the variance, unbiased.
        momentum: From 0 to 1.
        eps: Added to the variance.
        relu: Rectify; else :math:`y` is the argument of the ReLU.
        offset: What the rows still lack, such as the bias of the map that made them. The mean takes it out again, so
            that it moves the running mean alone and its gradient is 0: to add it first would be a pass for nothing.

    Shapes:
        x: (rows, columns); all others: (columns,); returns (rows, columns).

    Raises:
        ValueError: If there is one row only, by torch.
        RuntimeError: If there is not one number for each column, by torch.

    References:
        Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 1.

    Example:
        >>> zeros, ones = torch.zeros(1), torch.ones(1)
        >>> norm_rows(torch.tensor([[1.0], [3.0], [5.0]]), ones, zeros, zeros.clone(), ones.clone(), relu=True).T
        tensor([[0.0000, 0.0000, 1.2247]])
    """
    columns = [each for each in (weight, bias, running_mean, running_var, offset) if each is not None]
    fits = x.dim() == 2 and len(x) > 1 and all(each.shape == x.shape[1:] for each in columns)  # else torch says why not
    if fits and may_fuse(x, *columns):
        moments = (running_mean, running_var, momentum, eps, relu)
        normed: Tensor = _Norm.apply(x, weight, bias, offset, moments)  # type: ignore[no-untyped-call]
        return normed
    x = x if offset is None else x + offset
    out = functional.batch_norm(x, running_mean, running_var, weight, bias, True, momentum, eps)
    return out.relu_() if relu else out


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, offset: Tensor | None, moments: tuple[Any, ...]
    ) -> Tensor:
        y, ctx.mean, ctx.inverse = native_norm.norm(x, weight, bias, *moments)
        running_mean, _, momentum, ctx.eps, ctx.relu = moments
        if offset is not None:
            running_mean.add_(offset, alpha=momentum)
        ctx.save_for_backward(x, weight, bias)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        found: tuple[Tensor | None, ...]
        if torch.is_grad_enabled():
            formula = partial(_formula, eps=ctx.eps, relu=ctx.relu)
            found = second_derivative(formula, (x, weight, bias), ctx.needs_input_grad[:3], g)
        else:
            found = native_norm.norm_backward(g.contiguous(), x, ctx.mean, ctx.inverse, weight, bias, ctx.relu)
        return (*found, torch.zeros_like(bias) if ctx.needs_input_grad[3] else None, None)


def _formula(x: Tensor, weight: Tensor, bias: Tensor, eps: float, relu: bool) -> Tensor:
    out = functional.batch_norm(x, None, None, weight, bias, True, 0.0, eps)
    return out.relu() if relu else out
