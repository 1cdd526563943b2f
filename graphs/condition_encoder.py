"""What a condition says to the network: one vector for sampling, and one space for texts and graph descriptors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .condition_table import VALUES

__all__ = ["TEXT_WIDTH", "ConditionEncoder", "TextAlignment"]

TEXT_WIDTH = 128
ALIGNED_WIDTH = 64


class ConditionEncoder(nn.Module):
    """One vector for a condition, any part of which may be absent.

    Shapes:
        - domain (batch,) int64, -1 if unknown; values (batch, len(VALUES)), standardised; present (batch, len(VALUES))
          bool; text (batch, TEXT_WIDTH), zeros if there is none.
        - output (batch, width).
    """

    def __init__(self, width: int, num_domains: int) -> None:
        super().__init__()
        self.domain = nn.Embedding(num_domains + 1, width)
        self.values = nn.Linear(2 * len(VALUES), width)
        self.text = nn.Linear(TEXT_WIDTH, width, bias=False)
        self.mix = nn.Sequential(nn.RMSNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, domain: Tensor, values: Tensor, present: Tensor, text: Tensor) -> Tensor:
        """Encode conditions; see the shapes above."""
        known = torch.cat([values.clamp(-4, 4) * present, present.to(values.dtype)], dim=-1)
        x = self.domain(domain + 1) + self.values(known) + self.text(text)
        mixed: Tensor = self.mix(x)
        return mixed


class TextAlignment(nn.Module):
    r"""Texts and graph descriptors in one space: :math:`p(\text{graph} \mid \text{text}) \propto e^{s\,u \cdot v}`.

    Trained by InfoNCE: each prompt must find the graph that it was written for among the others.
    """

    def __init__(self, num_domains: int) -> None:
        super().__init__()
        self.domain = nn.Embedding(num_domains + 1, TEXT_WIDTH)
        self.values = nn.Linear(len(VALUES), TEXT_WIDTH)
        self.graph = nn.Sequential(
            nn.SiLU(), nn.Linear(TEXT_WIDTH, TEXT_WIDTH), nn.SiLU(), nn.Linear(TEXT_WIDTH, ALIGNED_WIDTH)
        )
        self.text = nn.Linear(TEXT_WIDTH, ALIGNED_WIDTH)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, text: Tensor, domain: Tensor, values: Tensor) -> Tensor:
        """Scores (texts, graphs): log p(graph | text) up to a constant for each text."""
        graphs = self.graph(self.domain(domain + 1) + self.values(values.clamp(-4, 4)))
        return self.log_scale.exp() * F.normalize(self.text(text), dim=-1) @ F.normalize(graphs, dim=-1).T
