"""The conditions that CTGAN trains on: one level of one column of texts, drawn so that rare levels come up."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .row_layout import RowLayout

__all__ = ["ConditionalVector"]


class ConditionalVector:
    r"""One level of one column, as ones and zeros over all levels of all columns of texts.

    In training a column is drawn evenly, and its level :math:`l` with :math:`p_l \propto \log(1 + n_l)`; a row of the
    table that has it comes along. In sampling :math:`p_l \propto n_l`, so that the marginals come out as they are.

    Args:
        layout: The rows.
        counts: Training rows by level, of all columns of texts side by side, ``(width,)``.

    References:
        Xu et al., "Modeling Tabular Data using Conditional GAN", 2019, section 4.3.
    """

    def __init__(self, layout: RowLayout, counts: Tensor) -> None:
        self.layout, self.counts = layout, counts
        self.offset = len(layout.numeric)
        self.sizes = layout.blocks.sizes[self.offset :]
        self.width = sum(self.sizes)
        starts = torch.tensor([0, *self.sizes]).cumsum(0)[:-1]
        self._column = torch.repeat_interleave(
            torch.arange(len(self.sizes)), torch.tensor(self.sizes, dtype=torch.int64)
        )
        self._starts = starts
        self._rows = torch.zeros(0, dtype=torch.int64)
        self._first = torch.zeros(self.width, dtype=torch.int64)
        self.total = 0

    @classmethod
    def fit(cls, layout: RowLayout, codes: Tensor) -> ConditionalVector:
        """Count the levels of some rows, ``(rows, choices)``, and remember which rows have which."""
        made = cls(layout, torch.zeros(0))
        own = codes[:, made.offset :]
        flat = (own + made._starts).t().reshape(-1)
        present = (own >= 0).t().reshape(-1)
        place = torch.arange(len(codes)).repeat(len(made.sizes))[present]
        made.counts = torch.bincount(flat[present], minlength=made.width)
        made._rows = place[flat[present].argsort(stable=True)]
        made._first = made.counts.cumsum(0) - made.counts
        made.total = len(codes)
        return made

    def draw(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Conditions for training.

        Returns:
            The conditions ``(n, width)``, the codes that they ask for ``(n, choices)``, -1 for none, and rows that have
            them ``(n,)``.
        """
        if not self.width:
            return torch.zeros(n, 0), self._none(n), torch.randint(self.total, (n,))
        level = self._level((self.counts + 1.0).log(), n)
        within = (torch.rand(n) * self.counts[level]).long().minimum(self.counts[level] - 1)
        targets = self._none(n)
        column = self._column[level]
        targets[torch.arange(n), self.offset + column] = level - self._starts[column]
        return self._one_hot(level), targets, self._rows[self._first[level] + within]

    def draw_as_seen(self, n: int, fixed: Mapping[str, Tensor]) -> Tensor:
        """Conditions for sampling, as often as they were seen.

        Args:
            n: How many.
            fixed: The share of each level that is allowed, by column; if it names any, one of these is the condition.
        """
        if not self.width:
            return torch.zeros(n, 0)
        weights = self.counts.double()
        columns = None
        if fixed:
            places = [self.layout.categorical.index(name) for name in fixed]
            columns = torch.tensor(places)
            for place, name in zip(places, fixed, strict=True):
                own = slice(int(self._starts[place]), int(self._starts[place]) + self.sizes[place])
                weights[own] = weights[own] * fixed[name]
        return self._one_hot(self._level(weights, n, columns))

    def followed(self, condition: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Conditions of rows that were changed: where the level of the asked column moved, that which it has now.

        Args:
            condition: ``(rows, width)``.
            before: Rows of the layout with hard choices, ``(rows, layout.width)``.
            after: The same rows, changed.
        """
        if not self.width:
            return condition
        asked = self._column == self._column[condition.argmax(1)][:, None]
        old, new = (torch.where(asked, row[:, -self.width :], 0.0) for row in (before, after))
        moved = (old.argmax(1) != new.argmax(1))[:, None]
        return torch.where(moved, nn.functional.one_hot(new.argmax(1), self.width).to(condition.dtype), condition)

    def _level(self, weights: Tensor, n: int, columns: Tensor | None = None) -> Tensor:
        """Levels drawn by weight inside columns that are drawn evenly."""
        totals = torch.zeros(len(self.sizes), dtype=torch.float64).index_add_(0, self._column, weights.double())
        shares = weights.double() / totals.clamp(min=1e-300)[self._column]
        if columns is not None:
            kept = torch.zeros(len(self.sizes), dtype=torch.float64).index_fill_(0, columns, 1.0)
            shares = shares * kept[self._column]
        return torch.multinomial(shares, n, replacement=True)

    def _one_hot(self, level: Tensor) -> Tensor:
        return torch.zeros(len(level), self.width).scatter_(1, level[:, None], 1.0)

    def _none(self, n: int) -> Tensor:
        return torch.full((n, len(self.layout.blocks)), -1)
