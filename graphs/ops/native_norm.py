"""Batch norm over rows with the ReLU after it, in C++; :func:`.native.supports` says whether there is a kernel."""

import torch
from torch import Tensor

from .native_library import loaded, threads_for

__all__ = ["norm", "norm_backward"]


def norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    relu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give y = (x - mean) / sqrt(variance + eps) * weight + bias, rectified or not, and the mean and the inverse root.

    The running moments are moved in place. Shapes: x [N, F], contiguous, with N > 1; all others [F].
    """
    y, mean, inverse = torch.empty_like(x), torch.empty_like(running_mean), torch.empty_like(running_mean)
    loaded(x.dtype, torch.int32).norm(
        x.data_ptr(), *x.shape, weight.data_ptr(), bias.data_ptr(), eps, momentum, running_mean.data_ptr(),
        running_var.data_ptr(), mean.data_ptr(), inverse.data_ptr(), y.data_ptr(), relu, threads_for(x.numel()),
    )  # fmt: skip
    return y, mean, inverse


def norm_backward(
    g: Tensor, x: Tensor, mean: Tensor, inverse: Tensor, weight: Tensor, bias: Tensor, relu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to x, weight and bias."""
    gx, gweight, gbias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)
    loaded(x.dtype, torch.int32).norm_backward(
        g.data_ptr(), x.data_ptr(), *x.shape, mean.data_ptr(), inverse.data_ptr(), weight.data_ptr(), bias.data_ptr(),
        gx.data_ptr(), gweight.data_ptr(), gbias.data_ptr(), relu, threads_for(x.numel()),
    )  # fmt: skip
    return gx, gweight, gbias
