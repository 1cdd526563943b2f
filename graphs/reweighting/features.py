"""Functions of single variables in which dependence is measured: random Fourier features after standardisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from graftable.errors import ConfigError, ShapeError

__all__ = ["RandomFourierFeatures", "standardise"]

#: A variable whose spread is below this share of its magnitude holds only rounding, and is taken as constant.
CONSTANT = 1e-6


class RandomFourierFeatures(nn.Module):
    r"""A few random cosines of each variable; their covariances tell dependence of any kind, not only the linear one.

    .. math:: f_{iq}(x) = \sqrt{2 / Q} \cos(\omega_{iq} x + \varphi_{iq}), \qquad \omega \sim N(0, 1), \quad
        \varphi \sim U(0, 2 \pi)

    As :math:`Q` grows, :math:`f_i(x) \cdot f_i(y)` tends to the kernel :math:`\exp(-(x - y)^2 / 2)`. Every variable has
    frequencies of its own, drawn once from the seed.

    Args:
        num_vars: How many variables there are.
        num_features: :math:`Q`, cosines for each; at least 1.
        seed: Seed of the draw; the same seed and sizes give the same functions on every device.

    Shapes:
        x: (rows, num_vars), standardised; returns (rows, num_vars, num_features).

    Raises:
        ConfigError: If a size is below 1.

    References:
        Rahimi and Recht, "Random Features for Large-Scale Kernel Machines", 2007; for weights: Zhang et al., "Deep
        Stable Learning for Out-Of-Distribution Generalization", 2021, equation 5.

    Example:
        >>> RandomFourierFeatures(3, 5)(torch.zeros(2, 3)).shape
        torch.Size([2, 3, 5])
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, num_vars: int, num_features: int = 5, seed: int = 0) -> None:
        super().__init__()
        if min(num_vars, num_features) < 1:
            raise ConfigError(f"num_vars is {num_vars} and num_features {num_features}; expected at least 1 of each.")
        draw = torch.Generator().manual_seed(seed)
        self.register_buffer("frequency", torch.randn(num_vars, num_features, generator=draw))
        self.register_buffer("phase", 2 * math.pi * torch.rand(num_vars, num_features, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        """Read each variable through its own cosines."""
        if x.dim() != 2 or x.shape[1] != len(self.frequency):
            raise ShapeError(f"x has shape {tuple(x.shape)}; expected (rows, {len(self.frequency)}).")
        frequency, phase = self.frequency.to(x), self.phase.to(x)
        return torch.addcmul(phase, x.unsqueeze(2), frequency).cos_().mul_(math.sqrt(2 / frequency.shape[1]))


def standardise(z: Tensor) -> tuple[Tensor, Tensor]:
    r"""Shift and scale every column to mean 0 and variance 1, leaving out those that do not vary.

    In float64, so that neither a large mean nor a small unit costs digits.

    Args:
        z: Finite numbers.

    Shapes:
        z: (rows, d); returns (rows, kept) in float64 and a mask (d,) of the columns kept.

    Example:
        >>> standardise(torch.tensor([[1.0, 7.0], [3.0, 7.0]]))
        (tensor([[-1.0000],
                [ 1.0000]], dtype=torch.float64), tensor([ True, False]))
    """
    largest = z.abs().amax(0).double()
    unit = torch.where(largest > 0, largest, 1.0)
    scaled = z.double() / unit  # squares of very large or very small numbers would leave the range
    centred = scaled - scaled.mean(0)
    spread = centred.square().mean(0).sqrt()
    varies = spread > CONSTANT
    return centred[:, varies] / spread[varies], varies
