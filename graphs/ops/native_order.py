"""Rows taken by an index or told apart, and the stable sort of edges by their ends, in C++."""

import torch
from torch import Tensor

from .native_library import loaded, threads_for

__all__ = ["counting_sort", "distinct_rows", "take_rows"]


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
        threads_for(count * width),
    )  # fmt: skip
    return out


def distinct_rows(x: Tensor, most: int) -> tuple[Tensor, Tensor] | None:
    """The first row of each kind [K] and the kind of each row [R], by their bits; None for more kinds than ``most``.

    Shapes: x [R, F], of 32 or 64 bits; ``most`` is at most 128.
    """
    x, rows = x.contiguous(), x.shape[0]
    first, kind = torch.empty(most, dtype=torch.int32), torch.empty(rows, dtype=torch.int32)
    words = x.shape[1] * x.element_size() // 4
    kernels = loaded(torch.float32, torch.int32)
    found = kernels.distinct(x.data_ptr(), rows, words, most, first.data_ptr(), kind.data_ptr())
    return None if found < 0 else (first[:found], kind)
