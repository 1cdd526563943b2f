"""Rows taken by an index, and the stable sort of edges by their ends, in C++: what a pattern itself is made with."""

import torch
from torch import Tensor

from .native_library import SMALL, loaded

__all__ = ["counting_sort", "take_rows"]


def counting_sort(keys: Tensor, num_keys: int) -> tuple[Tensor, Tensor]:
    """Where each key begins, and the stable order of the keys, all of them in [0, num_keys)."""
    keys = keys.contiguous()
    ptr, order = torch.empty(num_keys + 1, dtype=keys.dtype), torch.empty_like(keys)
    kernels = loaded(torch.float32, keys.dtype)
    kernels.sort(keys.data_ptr(), keys.shape[0], num_keys, ptr.data_ptr(), order.data_ptr())
    return ptr, order


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """The rows of x, or its entries, that an index names; every index must have a row."""
    x, count, width = x.contiguous(), index.shape[0], x.shape[1:].numel()
    out = torch.empty((count, *x.shape[1:]), dtype=x.dtype)
    kernels = loaded(torch.float32, index.dtype)
    kernels.take(
        index.data_ptr(), count, x.data_ptr(), width * x.element_size(), out.data_ptr(),
        1 if count * width <= SMALL else torch.get_num_threads(),
    )  # fmt: skip
    return out
