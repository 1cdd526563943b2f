"""Which implementation answers: the reference in float64, torch's own CPU primitives, or Triton on CUDA."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import Tensor

from graftable.errors import ConfigError

__all__ = ["BACKENDS", "backend_for", "is_natural", "is_tiny", "use_backend"]

BACKENDS = {"reference": "reference", "torch": "torch_backend", "triton": "triton_backend"}
TINY = 1024  # edges
#: The backend of each kind of device, and under "forced" the one that answers for all; for every thread alike, since
#: gradients on a GPU are computed in threads of autograd's own.
_chosen: dict[str, ModuleType | None] = {"forced": None, "cpu": None, "cuda": None}


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Have every operator in the block answered by one backend, whatever the device.

    Args:
        name: ``reference`` (float64 inside, slow, obviously right), ``torch`` or ``triton``.

    Raises:
        ConfigError: If there is no such backend.
        MissingExtraError: If it needs a package that is not installed.

    Example:
        >>> from graftable.graphs.ops import Adjacency, spmm
        >>> adjacency = Adjacency.from_ptr(torch.tensor([0, 2, 3]))
        >>> with use_backend("reference"):
        ...     spmm(adjacency, torch.tensor([[1.0], [2.0], [5.0]]))
        tensor([[3.],
                [5.]])
    """
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend {name!r}; expected one of {', '.join(BACKENDS)}.")
    before = _chosen["forced"]
    _chosen["forced"] = importlib.import_module(f".{BACKENDS[name]}", __package__)
    try:
        yield
    finally:
        _chosen["forced"] = before


def backend_for(tensor: Tensor) -> ModuleType:
    """The module whose functions answer for tensors that lie where this one does."""
    device = "cuda" if tensor.is_cuda else "cpu"
    chosen = _chosen["forced"] or _chosen[device]
    if chosen is None:
        name = "triton_backend" if tensor.is_cuda else "torch_backend"
        chosen = _chosen[device] = importlib.import_module(f".{name}", __package__)
    return chosen


def is_natural() -> bool:
    """Whether tensors on the CPU are answered for by its own backend, and not by another that was forced."""
    forced = _chosen["forced"]
    return forced is None or forced.__name__.endswith(".torch_backend")


def is_tiny(num_edges: int, x: Tensor) -> bool:
    """Whether the work is done before a function of Python's is recorded, on the CPU and its own backend."""
    return is_natural() and x.is_cpu and num_edges <= TINY and x.numel() <= 16 * TINY
