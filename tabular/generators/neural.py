"""What the networks among the generators share: exact seeds, averaged weights, stopping, and weights as arrays."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from graftable.errors import ConfigError

from ..schema import did_you_mean

__all__ = [
    "Average",
    "Best",
    "Constrain",
    "holdout",
    "linear",
    "seeded",
    "to_arrays",
    "to_module",
    "valid_constrain",
]

Constrain = Literal["none", "training", "sampling"]
"""Where rules act: nowhere; inside the training graph and when rows are drawn; only when rows are drawn."""


def valid_constrain(constrain: str) -> Constrain:
    """Check a setting.

    Raises:
        ConfigError: If it is none of the three.
    """
    known = get_args(Constrain)
    for value in known:
        if value == constrain:
            return value  # type: ignore[no-any-return]
    raise ConfigError(f"constrain is {constrain!r}.{did_you_mean(constrain, known, quote='')}")


@contextlib.contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Within the block, torch's draws on the CPU are a function of the key alone; outside, they go on undisturbed.

    Example:
        >>> with seeded(0, 7):
        ...     first = torch.rand(3)
        >>> with seeded(0, 7):
        ...     torch.equal(first, torch.rand(3))
        True
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1)))
        yield


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A layer that may have no inputs or no outputs, which torch warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")
        return nn.Linear(inputs, outputs)


def holdout(rows: int, share: float, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Split rows at random into those to train on and those to validate on; tiny tables are validated on all rows.

    Returns:
        Row numbers, ``(rows - held,)`` and ``(held,)``.
    """
    with seeded(seed, 1):
        order = torch.randperm(rows)
    held = min(math.floor(share * rows), most)
    return (order[held:], order[:held]) if held >= 20 else (order, order)


class Average:
    r"""The exponential moving average of a module's weights: :math:`\bar w \leftarrow d \bar w + (1 - d) w`.

    The decay grows from .1 to its final value, so that the average forgets the first weights.

    Args:
        module: Whose weights to follow.
        decay: In [0, 1).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Take in the present weights."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        old: list[Tensor] = list(self.module.parameters())
        new: list[Tensor] = list(module.parameters())
        torch._foreach_lerp_(old, new, 1 - decay)
        for kept, value in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(value)


class Best:
    """Keeps the weights with the lowest score, and says when it is time to stop.

    Args:
        patience: How many scores in a row may be no better before `update` says stop; 0 for never.
    """

    def __init__(self, patience: int) -> None:
        self.patience, self.since, self.score = patience, 0, math.inf
        self.weights: dict[str, Tensor] = {}

    def update(self, score: float, module: nn.Module) -> bool:
        """Whether to stop; a score that is no number is no better than any."""
        if score < self.score or not self.weights:
            self.score, self.since = score if score == score else math.inf, 0
            self.weights = {name: value.clone() for name, value in module.state_dict().items()}
            return False
        self.since += 1
        return 0 < self.patience <= self.since


def to_arrays(module: nn.Module, prefix: str = "") -> dict[str, Any]:
    """The weights of a module as arrays by name."""
    return {prefix + name: value.detach().cpu().numpy() for name, value in module.state_dict().items()}


def to_module(module: nn.Module, arrays: Mapping[str, Any], prefix: str = "") -> None:
    """Give a module the weights that `to_arrays` took."""
    named = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in named.items()})
