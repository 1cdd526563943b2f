"""The network of the flow, and how rows of scores and tokens get noisy: pure functions and one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .blocks import Blocks
from .neural import linear

__all__ = ["FlowNetwork", "noisy_scores", "noisy_tokens"]

FREQUENCIES = 16


def noisy_scores(scores: Tensor, noise: Tensor, time: Tensor, known: Tensor) -> Tensor:
    r""":math:`x_t = (1 - t)\, x_0 + t\, x_1` of noise :math:`x_0` and data :math:`x_1`; known entries are data.

    Shapes:
        ``(rows, P)`` but ``time``: ``(rows, 1)``.
    """
    return torch.where(known, scores, (1 - time) * noise + time * scores)


def noisy_tokens(tokens: Tensor, time: Tensor, known: Tensor) -> Tensor:
    """Tokens with -1 in place of each with probability ``1 - time``; known ones stay."""
    masked = (torch.rand(tokens.shape) >= time) & ~known
    return tokens.masked_fill(masked, -1)


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, h: Tensor, time: Tensor) -> Tensor:
        """One residual step; the time is added to what the step reads."""
        step: Tensor = self.out(nn.functional.silu(self.into(self.norm(h) + time)))
        return h + step


class FlowNetwork(nn.Module):
    r"""From a noisy row to the velocity of its scores and the logits of its tokens.

    .. math:: h_0 = W [x_t, k] + \sum_j E_j[c_j] + \tau(t), \qquad h_{l+1} = h_l + f_l(h_l, \tau(t))

    with :math:`k` marking entries that are known, and a vector of :math:`E_j` for a masked token.

    Args:
        scores: How many scores a row has.
        blocks: Its tokens.
        width: Of the hidden layers.
        depth: How many residual steps.

    Shapes:
        ``x``, ``known``: ``(rows, P)``; ``tokens``: ``(rows, Q)``, -1 for masked; ``time``: ``(rows, 1)``. Returns
        ``(rows, P)`` and ``(rows, blocks.width)``.
    """

    def __init__(self, scores: int, blocks: Blocks, width: int, depth: int) -> None:
        super().__init__()
        self.blocks = blocks
        self.scores = linear(2 * scores, width)
        self.tokens = nn.EmbeddingBag(max(blocks.width + len(blocks), 1), width, mode="sum")
        nn.init.normal_(self.tokens.weight, std=(max(len(blocks), 1)) ** -0.5)
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.body = nn.ModuleList(_Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.velocity, self.logits = linear(width, scores), linear(width, blocks.width)
        with torch.no_grad():
            self.velocity.weight.mul_(0.1)
            self.logits.weight.mul_(0.1)

    def forward(self, x: Tensor, tokens: Tensor, time: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Velocity and logits."""
        angle = time * torch.exp2(torch.arange(FREQUENCIES, device=x.device) / 2) * torch.pi
        when = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        h = self.scores(torch.cat([x, known.to(x.dtype)], 1)) + when
        if len(self.blocks):
            mask = self.blocks.width + torch.arange(len(self.blocks), device=x.device)
            h = h + self.tokens(torch.where(tokens < 0, mask, tokens + self.blocks.first))
        for block in self.body:
            h = block(h, when)
        h = self.norm(h)
        return self.velocity(h), self.logits(h)
