"""Choices side by side in one row of a network: softmax, draws and cross entropy for all columns at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Blocks"]


class Blocks(nn.Module):
    r"""Some choices, the options of each in a block of neighbouring places of a row.

    Args:
        sizes: How many options each choice has, at least 1.

    Shapes:
        A row of all blocks: ``(rows, width)`` with ``width = sum(sizes)``; one number a choice: ``(rows, choices)``.

    Example:
        >>> blocks = Blocks([2, 3])
        >>> blocks.one_hot(torch.tensor([[1, 0]])).tolist()
        [[0.0, 1.0, 1.0, 0.0, 0.0]]
        >>> blocks.softmax(torch.tensor([[0.0, 0.0, 9.0, 9.0, -99.0]])).tolist()
        [[0.5, 0.5, 0.5, 0.5, 0.0]]
    """

    block: Tensor
    first: Tensor
    sums: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes, self.width = tuple(sizes), sum(sizes)
        counts = torch.tensor(self.sizes, dtype=torch.int64)
        block = torch.repeat_interleave(torch.arange(len(counts)), counts)
        self.register_buffer("block", block, persistent=False)
        self.register_buffer("first", counts.cumsum(0) - counts, persistent=False)
        self.register_buffer("sums", nn.functional.one_hot(block, max(len(counts), 1)).float(), persistent=False)

    def __len__(self) -> int:
        return len(self.sizes)

    def slice(self, choice: int) -> slice:
        """The places of one choice."""
        start = sum(self.sizes[:choice])
        return slice(start, start + self.sizes[choice])

    def split(self, row: Tensor) -> tuple[Tensor, ...]:
        """The blocks of a row, ``(rows, options)`` each."""
        return row.split(self.sizes, 1) if self.sizes else ()

    def one_hot(self, codes: Tensor) -> Tensor:
        """``(rows, choices)`` of codes as ``(rows, width)`` of zeros and ones; a code below 0 leaves its block at 0."""
        row = torch.zeros(len(codes), self.width, device=codes.device)
        return row.scatter_(1, codes.clamp(min=0) + self.first, (codes >= 0).float())

    def log_softmax(self, logits: Tensor) -> Tensor:
        """Logarithms of the probabilities of all options."""
        if not self.width:
            return logits
        centered = logits - self._highest(logits.detach())[:, self.block]
        return centered - (centered.exp() @ self.sums.to(logits.dtype)).log()[:, self.block]

    def softmax(self, logits: Tensor) -> Tensor:
        """The probabilities of all options."""
        return self.log_softmax(logits).exp()

    def argmax(self, row: Tensor) -> Tensor:
        """``(rows, choices)``: the option with the largest entry, the first of several."""
        if not self.width:
            return row.new_zeros(len(row), 0, dtype=torch.int64)
        place = torch.arange(self.width, device=row.device).expand_as(row)
        place = place.masked_fill(row < self._highest(row)[:, self.block], self.width)
        least = place.new_full((len(row), len(self)), self.width)
        least = least.scatter_reduce(1, self.block.expand_as(row), place, "amin")
        return least - self.first

    def gumbel(self, logits: Tensor, temperature: float) -> Tensor:
        r"""Draw an option of each choice, as zeros and ones with the gradient of a softmax.

        .. math:: p = \mathrm{softmax}((\ell + g) / \tau), \qquad g \sim \mathrm{Gumbel}(0, 1)

        References:
            Jang et al., "Categorical Reparameterization with Gumbel-Softmax", 2017, the straight-through estimator.
        """
        soft = self.softmax((logits + _gumbel_like(logits)) / temperature)
        return self.harden(soft)

    def harden(self, soft: Tensor) -> Tensor:
        """Zeros and ones in place of probabilities, whose gradient they keep."""
        return self.one_hot(self.argmax(soft.detach())) + (soft - soft.detach())

    def draw(self, logits: Tensor) -> Tensor:
        """``(rows, choices)``: codes drawn with the probabilities of a softmax."""
        return self.argmax(logits + _gumbel_like(logits))

    def cross_entropy(self, logits: Tensor, codes: Tensor) -> Tensor:
        """``(rows, choices)``: minus the log-probability of each code, 0 where the code is below 0."""
        chosen = self.log_softmax(logits).gather(1, codes.clamp(min=0) + self.first)
        return -chosen.masked_fill(codes < 0, 0.0)

    def _highest(self, row: Tensor) -> Tensor:
        start = row.new_full((len(row), len(self)), -torch.inf)
        return start.scatter_reduce(1, self.block.expand_as(row), row, "amax")


def _gumbel_like(logits: Tensor) -> Tensor:
    uniform = torch.rand_like(logits).clamp(min=torch.finfo(logits.dtype).tiny, max=1 - 1e-7)
    return -(-uniform.log()).log()
