r"""A tree of hidden states over the columns of a table: a probabilistic circuit whose every conditional is exact.

Column :math:`d` has a hidden state :math:`z_d` of :math:`K` values, the states form a tree, and a column hangs on its
own state alone:

.. math:: P(x) = \sum_{z} \pi_{z_r} \prod_{d \ne r} A^d_{z_{p(d)}, z_d} \prod_d B^d_{x_d, z_d}.

What is known of a column, one symbol or a weight for each, is a vector over its states, :math:`\lambda_d(k) = \sum_s
w_s B^d_{s,k}`; one pass from the leaves to the root sums everything else out,

.. math:: m_d = \lambda_d \odot \prod_{c \in \text{children}(d)} A^c m_c,

and a pass back draws states and symbols from the exact conditional distribution.

References:
    Liu and Van den Broeck, "Tractable Regularization of Probabilistic Circuits", 2021: hidden Chow-Liu trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Evidence", "LatentTree", "Messages"]

Floats = NDArray[np.float64]
Symbols = NDArray[np.int64]


@dataclass(frozen=True)
class Evidence:
    """What is known of one column.

    Attributes:
        weights: How far each symbol is allowed, from 0 to 1: ``(size,)`` for all rows, or ``(rows, size)``.
        symbols: The symbol of each row, -1 where only ``weights`` are known ``(rows,)``; None where it is no row's.
    """

    weights: Floats
    symbols: Symbols | None = None


@dataclass(frozen=True)
class Messages:
    """The pass from the leaves to the root.

    Attributes:
        values: By column, ``(rows, states)``, or ``(1, states)`` where all rows share it; up to a factor a row.
        log_evidence: The logarithm of the probability of what is known ``(rows,)`` or ``(1,)``.
    """

    values: list[Floats]
    log_evidence: Floats

    def rows(self, chosen: NDArray[np.intp]) -> Messages:
        """Those of some rows."""
        values = [value if len(value) == 1 else value[chosen] for value in self.values]
        return Messages(values, self.log_evidence if len(self.log_evidence) == 1 else self.log_evidence[chosen])


@dataclass(frozen=True)
class LatentTree:
    """The parameters, in float32 as they are saved.

    Attributes:
        parents: The parent of each column, -1 for the root ``(columns,)``.
        prior: The root's state ``(states,)``.
        edges: ``edges[d][j, k]`` is proportional to the probability of state ``k`` of column ``d`` given state ``j`` of
            its parent ``(columns, states, states)``; the root's entry is not used.
        leaves: ``leaves[d][s, k]`` is proportional to the probability of symbol ``s`` given state ``k``.
    """

    parents: NDArray[np.int64]
    prior: NDArray[np.float32]
    edges: NDArray[np.float32]
    leaves: Sequence[NDArray[np.float32]]

    @cached_property
    def order(self) -> list[int]:
        """The columns, parents before children."""
        order = [int(np.flatnonzero(self.parents < 0)[0])]
        for column in order:
            order += np.flatnonzero(self.parents == column).tolist()
        return order

    @cached_property
    def _prior(self) -> Floats:
        return np.asarray(_normalised(self.prior[None])[0])

    @cached_property
    def _edges(self) -> list[Floats]:
        return [_normalised(edge) for edge in self.edges]

    @cached_property
    def _leaves(self) -> list[Floats]:
        return [_normalised(leaf.T) for leaf in self.leaves]

    def upward(self, evidence: Sequence[Evidence | None]) -> Messages:
        """Sum out everything that is not known.

        Args:
            evidence: By column; None where nothing is known.
        """
        states = len(self.prior)
        values: list[Floats] = [np.ones((1, states))] * len(evidence)
        log_evidence = np.zeros(1)
        for column in reversed(self.order):
            value = values[column]
            known = evidence[column]
            if known is not None:
                value = value * self._likelihood(column, known)
            peak = value.max(1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                log_evidence = log_evidence + np.log(peak[:, 0])
                value = np.where(peak > 0, value / peak, 0.0)
            values[column] = value
            if self.parents[column] >= 0:
                parent = int(self.parents[column])
                values[parent] = values[parent] * (value @ self._edges[column].T)
        with np.errstate(divide="ignore"):
            return Messages(values, np.asarray(log_evidence + np.log(values[self.order[0]] @ self._prior)))

    def _likelihood(self, column: int, known: Evidence) -> Floats:
        leaf = self._leaves[column]  # (states, size)
        soft = known.weights @ leaf.T if known.weights.ndim == 2 else (leaf @ known.weights)[None]
        if known.symbols is None:
            return np.asarray(soft)
        hard = leaf.T[np.maximum(known.symbols, 0)]
        return np.asarray(np.where(known.symbols[:, None] >= 0, hard, soft))

    def draw(
        self, rows: int, messages: Messages, evidence: Sequence[Evidence | None], rng: np.random.Generator
    ) -> Symbols:
        """Draw symbols from the conditional distribution ``(rows, columns)``."""
        drawn = np.zeros((rows, len(evidence)), np.int64)
        states: dict[int, Symbols] = {}
        for column in self.order:
            message = messages.values[column]
            if self.parents[column] < 0:
                table, given = self._prior[None], np.zeros(rows, np.int64)
            else:
                table, given = self._edges[column], states[int(self.parents[column])]
            states[column] = _draw(table, given, message, rng)
            known = evidence[column]
            weights = np.ones((1, 1)) if known is None else np.atleast_2d(known.weights)
            symbols = _draw(self._leaves[column], states[column], weights, rng)
            if known is not None and known.symbols is not None:
                symbols = np.where(known.symbols >= 0, known.symbols, symbols)
            drawn[:, column] = symbols
        return drawn


def _normalised(table: NDArray[np.float32]) -> Floats:
    """Rows that sum to one."""
    exact = table.astype(np.float64)
    return np.asarray(exact / exact.sum(1, keepdims=True))


def _draw(table: Floats, given: Symbols, weights: Floats, rng: np.random.Generator) -> Symbols:
    """Draw from the rows ``given`` of a table, weighted by one row of weights, or by one for each draw."""
    uniform = np.minimum(rng.random(len(given)), 1 - 1e-12)
    if len(weights) == 1:
        # all rows of the table on one line, so that one search serves all draws
        below = np.cumsum(table * weights, 1)
        below /= np.maximum(below[:, -1:], 1e-300)
        line = (below + np.arange(len(table))[:, None]).ravel()
        found = np.searchsorted(line, given + uniform, side="right") - given * below.shape[1]
        return np.asarray(np.minimum(found, below.shape[1] - 1), np.int64)
    found = np.empty(len(given), np.int64)
    for start in range(0, len(given), 4096):
        part = slice(start, start + 4096)
        below = np.cumsum(table[given[part]] * weights[part], 1)
        found[part] = (below <= uniform[part, None] * below[:, -1:]).sum(1)
    return np.asarray(np.minimum(found, weights.shape[1] - 1), np.int64)
