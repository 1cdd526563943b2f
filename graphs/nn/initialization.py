"""How weights begin: as in PyG, so that training from scratch behaves alike."""

import math

from torch import Tensor, nn

__all__ = ["glorot_", "glorot_linear", "reset"]


def glorot_(weight: Tensor) -> Tensor:
    r"""Draw a matrix from :math:`U(-b, b)`, :math:`b = \sqrt{6 / (rows + columns)}`, in place.

    References:
        Glorot and Bengio, "Understanding the Difficulty of Training Deep Feedforward Networks", 2010, equation 16.
    """
    bound = math.sqrt(6 / (weight.shape[-2] + weight.shape[-1]))
    return nn.init.uniform_(weight, -bound, bound)


def glorot_linear(in_features: int, out_features: int, bias: bool = False) -> nn.Linear:
    """A linear map that :func:`reset` leaves to its layer, drawn by :func:`glorot_`."""
    linear = nn.Linear(in_features, out_features, bias=bias)
    glorot_(linear.weight)
    return linear


def reset(module: nn.Module) -> None:
    """Draw the parameters of everything below ``module`` anew."""
    for child in module.children():
        draw = getattr(child, "reset_parameters", None)
        if callable(draw):
            draw()
        else:
            reset(child)
