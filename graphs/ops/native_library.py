"""The compiled functions by name, typed for ctypes, and how tensors are handed to them."""

import ctypes
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .native_build import load

__all__ = ["SMALL", "VALUES", "address", "available", "library", "loaded", "threads_for"]

VALUES = {torch.float32: "float", torch.float64: "double"}
INDICES = {torch.int32: "int32_t", torch.int64: "int64_t"}
SIGNATURES = {  # p: pointer, n: 64-bit integer, d: double, i: int
    "aggregate": "pppnnnndppppppi",
    "winners": "pppppnnnpii",
    "slopes": "ppppppnndpi",
    "spread": "pppppnnnnpi",
    "sum": "ppppppnnnnniipi",
    "typed": "pppppnnnpi",
    "sddmm": "ppppnnnnpi",
    "gatv2": "ppppppnnnndpi",
    "gatv2_backward": "ppppppppnnnndpppi",
    "softmax": "ppnnppi",
    "softmax_backward": "pppnnpi",
    "take": "pnpnpi",
    "sort": "pnnpp",
    "take_columns": "pnnnpnppi",
    "put_columns": "pnnnnpnppi",
    "clamp_columns": "ppppnpppnpnipi",
    "clamp_columns_backward": "pnpppnppppni",
    "nearest_row": "pnnpi",
    "gin_sum": "ppppppnnnpi",
    "gin_sum_backward": "ppppppppnnnnpppi",
    "distinct": "pnnnpp",
    "norm": "pnnppddpppppii",
    "norm_backward": "ppnnpppppppii",
}
ANSWERS = frozenset({"take_columns", "distinct"})
SMALL = 2**16  # numbers read, up to which a second thread takes longer to wake than the work does
C_TYPES: dict[str, Any] = {"p": ctypes.c_void_p, "n": ctypes.c_int64, "d": ctypes.c_double, "i": ctypes.c_int}


_kernels: dict[tuple[torch.dtype, torch.dtype], SimpleNamespace | None] = {}


def available() -> bool:
    """Whether there are compiled kernels in this process; the first call may compile them, which takes seconds."""
    return library(torch.float32, torch.int32) is not None


def library(value: torch.dtype, index: torch.dtype) -> SimpleNamespace | None:
    """The compiled functions for a type of numbers and one of indices; None where there are none."""
    try:
        return _kernels[value, index]
    except KeyError:
        library = load(VALUES[value], INDICES[index])
        kernels = None
        if library is not None:
            kernels = SimpleNamespace(**{name: _typed(library, name) for name in SIGNATURES})
        return _kernels.setdefault((value, index), kernels)


def _typed(library: ctypes.CDLL, name: str) -> Any:
    function = library[name]
    function.argtypes = [C_TYPES[letter] for letter in SIGNATURES[name]]
    function.restype = ctypes.c_int if name in ANSWERS else None
    return function


def loaded(value: torch.dtype, index: torch.dtype) -> SimpleNamespace:
    """The same where it is known that there are some."""
    kernels = library(value, index)
    assert kernels is not None, "ask supports() or available() first"
    return kernels


def threads_for(numbers: int) -> int:
    """How many threads are worth waking to read so many numbers."""
    return 1 if numbers <= SMALL else torch.get_num_threads()


def address(tensor: Tensor | None) -> int | None:
    """Where the numbers of a tensor stand; the tensor must outlive the call."""
    return None if tensor is None else tensor.data_ptr()
