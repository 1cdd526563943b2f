"""Steps that C++ takes in one pass, where it may: with eager, plain tensors on the CPU.

Everywhere else, as under a compiler, on a GPU or where a tangent is wanted, the same steps are taken one by one.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from . import native
from .adjacency import Adjacency
from .backends import is_natural

__all__ = ["may_fuse", "second_derivative"]


def may_fuse(*tensors: Tensor | None, adjacency: Adjacency | None = None) -> bool:
    """Whether a kernel may read these tensors, all of them numbers of one type, and nobody else wants to see them."""
    if torch.compiler.is_compiling() or torch._C._is_any_autocast_enabled() or not is_natural():
        return False
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    given = [each for each in tensors if each is not None]
    dtype, plain = given[0].dtype, (Tensor, nn.Parameter)
    if adjacency is not None and type(adjacency.col) is not Tensor:
        return False
    if any(type(each) not in plain or each.dtype is not dtype or not each.is_contiguous() for each in given):
        return False
    return native.supports(given[0], adjacency)


def second_derivative(
    formula: Callable[..., Tensor], inputs: Sequence[Tensor | None], wanted: Sequence[bool], g: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of a formula of torch's, themselves differentiable: for a backward pass that is recorded."""
    own = [None if each is None else each.view_as(each) for each in inputs]  # not by way of one another
    leaves = [each for each, asked in zip(own, wanted, strict=True) if each is not None and asked]
    found = iter(torch.autograd.grad(formula(*own), leaves, g, create_graph=True))
    return tuple(next(found) if each is not None and asked else None for each, asked in zip(own, wanted, strict=True))
