"""Which implementation answers: the reference in float64, torch's own CPU primitives, or Triton on CUDA."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType

import torch

from graftable.errors import ConfigError

__all__ = ["BACKENDS", "use_backend"]

BACKENDS = {"reference": "reference", "torch": "torch_backend", "triton": "triton_backend"}
_forced: ContextVar[ModuleType | None] = ContextVar("graftable_backend", default=None)
_by_device: dict[str, ModuleType] = {}


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
    token = _forced.set(importlib.import_module(f".{BACKENDS[name]}", __package__))
    try:
        yield
    finally:
        _forced.reset(token)


def backend_for(device: torch.device) -> ModuleType:
    """The module whose functions answer for tensors on a device."""
    forced = _forced.get()
    if forced is not None:
        return forced
    chosen = _by_device.get(device.type)
    if chosen is None:
        name = "triton_backend" if device.type == "cuda" else "torch_backend"
        chosen = _by_device[device.type] = importlib.import_module(f".{name}", __package__)
    return chosen
