r"""Learn a tree of hidden states: its shape from mutual information, its tables by stepwise expectation-maximisation.

The shape is the maximum spanning tree of the mutual information between columns (Chow and Liu, 1968), over coarse
symbols and less the bias of plug-in estimates. The tables start at some rows of the data, smeared, and follow a running
average of expected counts over minibatches,

.. math:: s \leftarrow (1 - \gamma_t) s + \gamma_t \, \tfrac{n}{b} \, \mathbb{E}[\text{counts of the batch}],

from which they are read off with pseudo-counts. Counts of neighbouring intervals are blended, as the rows of a table
are too few to know 128 states in 128 intervals each.

References:
    Cappé and Moulines, "On-line expectation-maximization algorithm for latent data models", 2009.
    Silverman et al., "A smoothed EM approach to indirect estimation problems", 1990.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree
from torch import Tensor

from .latent_tree import LatentTree

__all__ = ["TreeSettings", "fit_tree", "tree_parents"]

Symbols = NDArray[np.int64]

COARSE = 24  # symbols of a column from which the shape is found
SHAPE_ROWS = 20_000  # rows from which it is found
TINY = 1e-30


@dataclass(frozen=True)
class TreeSettings:
    """How a tree is learnt; see `graftable.tabular.generators.circuit.CircuitGenerator` for what they do.

    Attributes:
        states: Values of a hidden state.
        epochs: Passes over the rows.
        edge_prior: Pseudo-rows of each state that follow the child's overall states.
        leaf_prior: Pseudo-rows of each state that follow the column's overall symbols.
        blend: The width, in intervals, over which counts are blended.
        shake: How much the mutual information is disturbed, so that several trees differ in shape.
    """

    states: int
    epochs: int
    edge_prior: float
    leaf_prior: float
    blend: float
    shake: float


def tree_parents(symbols: Symbols, sizes: list[int], rng: np.random.Generator, shake: float) -> NDArray[np.int64]:
    """The parent of each column in the tree of greatest mutual information, rooted at its middle; -1 for the root."""
    information = _mutual_information(symbols[:SHAPE_ROWS], sizes)
    noise = np.tril(rng.normal(size=information.shape), -1)
    information = np.maximum(information, 1e-9) * np.exp(shake * (noise + noise.T))
    information += 1  # scipy takes what is nearly zero for no edge; the order of the edges stays
    np.fill_diagonal(information, 0)
    tree = minimum_spanning_tree(-information).toarray()
    tree = tree + tree.T
    shallowest = None
    for root in range(len(sizes)):
        order, before = breadth_first_order(tree, root, directed=False)
        depths = np.zeros(len(sizes))
        for column in order[1:]:
            depths[column] = depths[before[column]] + 1
        if shallowest is None or depths.max() < shallowest[0]:
            shallowest = depths.max(), np.where(before < 0, -1, before)
    assert shallowest is not None  # for the type checker: there is a column
    return np.asarray(shallowest[1], np.int64)


def _mutual_information(symbols: Symbols, sizes: list[int]) -> NDArray[np.float64]:
    """Between all pairs of columns, in nats, less the first-order bias of the estimate."""
    rows, most = len(symbols), COARSE if len(sizes) <= 200 else 8
    parts = []
    for column, size in enumerate(sizes):
        counts = np.bincount(symbols[:, column], minlength=size)
        coarse = np.arange(size)
        if size > most:
            coarse = np.minimum((np.cumsum(counts) - counts / 2) / rows * most, most - 1).astype(np.int64)
        parts.append(np.eye(int(coarse.max()) + 1, dtype=np.float32)[coarse[symbols[:, column]]])
    starts = np.cumsum([0, *(part.shape[1] for part in parts)])
    flat = np.concatenate(parts, 1)
    joint = (flat.T @ flat).astype(np.float64) / rows
    single = np.diag(joint)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log(joint / (single[:, None] * single)), 0.0)
    information = np.add.reduceat(np.add.reduceat(terms, starts[:-1], 0), starts[:-1], 1)
    used = np.add.reduceat(np.add.reduceat((joint > 0) * 1.0, starts[:-1], 0), starts[:-1], 1)
    alone = np.add.reduceat((single > 0) * 1.0, starts[:-1])
    return np.asarray(information - (used - alone[:, None] - alone + 1) / (2 * rows))


def fit_tree(
    symbols: Symbols,
    sizes: list[int],
    ordered: list[int],
    settings: TreeSettings,
    seed: int,
    progress: Callable[[float], None],
) -> LatentTree:
    """Learn a tree.

    Args:
        symbols: The rows ``(rows, columns)``.
        sizes: How many symbols each column has.
        ordered: How many of them, the first, have an order.
        settings: See `TreeSettings`.
        seed: Of the first tables and of the order of the rows.
        progress: Is told the share that is done.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(symbols))
    parents = tree_parents(symbols[order], sizes, rng, settings.shake)
    learner = _Learner(symbols, sizes, ordered, parents, settings, rng)
    rows = len(symbols)
    batch = max(1, min(4096, max(64, rows // 10)))
    # many rows need fewer passes: what counts is the number of steps
    epochs = max(3, min(settings.epochs, math.ceil(settings.epochs * 40_000 / rows)))
    batches = math.ceil(rows / batch)
    data = torch.from_numpy(symbols)
    for step in range(epochs * batches):
        if step % batches == 0:
            order = rng.permutation(rows)
        chosen = torch.from_numpy(order[step % batches * batch :][:batch])
        share = step / (epochs * batches)
        learner.step(data.index_select(0, chosen), 0.02 + 0.14 * (1 + math.cos(math.pi * share)))
        progress(share)
    return learner.result()


class _Learner:
    """Tables and running counts."""

    def __init__(
        self,
        symbols: Symbols,
        sizes: list[int],
        ordered: list[int],
        parents: NDArray[np.int64],
        settings: TreeSettings,
        rng: np.random.Generator,
    ) -> None:
        self.parents, self.settings, self.rows = parents, settings, len(symbols)
        states = settings.states
        empty = np.zeros((0,), np.float32)
        self.order = LatentTree(parents, empty, empty, ()).order
        self.children = {column: np.flatnonzero(parents == column).tolist() for column in self.order}
        counts = [np.bincount(symbols[:, column], minlength=size) for column, size in enumerate(sizes)]
        self.overall = [_float32((count + 0.1) / (count + 0.1).sum()) for count in counts]
        self.blends = [_blend(count, part, settings.blend) for count, part in zip(counts, ordered, strict=True)]
        prototypes = symbols[rng.choice(self.rows, states, replace=self.rows < states)]
        share = self.rows / states
        self.leaf_counts = [
            share * _around(prototypes[:, column], overall, ordered[column])
            for column, overall in enumerate(self.overall)
        ]
        loose = _float32(rng.random((len(sizes), states, states)))
        loose = loose / loose.sum(2, keepdim=True)
        self.edge_counts = share * (0.5 * torch.eye(states) + 0.5 * loose)
        self.prior_counts = torch.full((states,), share)
        self._read_off()

    def _read_off(self) -> None:
        """Tables from counts and pseudo-counts."""
        self.prior = self.prior_counts + self.settings.edge_prior
        self.prior = self.prior / self.prior.sum()
        common = self.edge_counts.sum(1, keepdim=True) / self.rows
        edges = self.edge_counts + self.settings.edge_prior * common
        self.edges = edges / edges.sum(2, keepdim=True).clamp_min(TINY)
        self.leaves = []
        for counts, overall in zip(self.leaf_counts, self.overall, strict=True):
            leaf = counts + self.settings.leaf_prior * overall[:, None]
            self.leaves.append(leaf / leaf.sum(0))

    def step(self, batch: Tensor, rate: float) -> None:
        """One step of expectation and maximisation on some rows ``(batch, columns)``."""
        messages, incoming, total = self._upward(batch)
        root = self.order[0]
        outer = {root: self.prior / total[:, None]}
        factor = rate * self.rows / len(batch)
        for column in self.order:
            posterior = messages[column] * outer[column]  # (batch, states), rows sum to 1
            fresh = torch.zeros_like(self.leaf_counts[column]).index_add_(0, batch[:, column], posterior)
            blend = self.blends[column]
            self._follow(self.leaf_counts[column], fresh if blend is None else blend @ fresh, rate, factor)
            if column == root:
                self._follow(self.prior_counts, posterior.sum(0), rate, factor)
            for child in self.children[column]:
                without = posterior / incoming[child].clamp_min(TINY)
                fresh = self.edges[child] * (without.t() @ messages[child])
                outer[child] = without @ self.edges[child]
                self._follow(self.edge_counts[child], fresh, rate, factor)
        self._read_off()

    @staticmethod
    def _follow(counts: Tensor, fresh: Tensor, rate: float, factor: float) -> None:
        counts.mul_(1 - rate).add_(fresh, alpha=factor)

    def _upward(self, batch: Tensor) -> tuple[dict[int, Tensor], dict[int, Tensor], Tensor]:
        messages: dict[int, Tensor] = {}
        incoming: dict[int, Tensor] = {}
        for column in reversed(self.order):
            message = self.leaves[column].index_select(0, batch[:, column])
            for child in self.children[column]:
                message = message * incoming[child]
            message = message / message.amax(1, keepdim=True).clamp_min(TINY)
            messages[column] = message
            if self.parents[column] >= 0:
                incoming[column] = message @ self.edges[column].t()
        return messages, incoming, messages[self.order[0]] @ self.prior

    def result(self) -> LatentTree:
        """The tree."""
        leaves = [leaf.numpy() for leaf in self.leaves]
        return LatentTree(self.parents, self.prior.numpy(), self.edges.numpy(), leaves)


def _float32(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32))


def _around(prototypes: Symbols, overall: Tensor, ordered: int) -> Tensor:
    """Leaves of states that stand each for a row and its neighbourhood ``(size, states)``."""
    size, states = len(overall), len(prototypes)
    leaf = torch.zeros(size, states)
    leaf[torch.from_numpy(prototypes), torch.arange(states)] = 1
    if ordered > 20:
        place = torch.arange(ordered)
        near = torch.exp(-0.5 * ((place[:, None] - place) / (ordered / 20)) ** 2) * overall[:ordered, None]
        leaf[:ordered] = (near / near.sum(0)) @ leaf[:ordered]
    return 0.7 * leaf + 0.3 * overall[:, None]


def _blend(counts: NDArray[np.int64], ordered: int, width: float) -> Tensor | None:
    """What spreads the count of an interval over its neighbours ``(size, size)``; atoms of many rows stay alone."""
    if ordered <= 64 or width <= 0:
        return None
    place = np.arange(ordered)
    near = np.exp(-0.5 * ((place[:, None] - place) / width) ** 2)
    alone = counts[:ordered] > 0.01 * counts.sum()
    near[alone], near[:, alone] = 0, 0
    near[alone, alone] = 1
    near *= np.maximum(counts[:ordered, None], 0.5)  # so that the overall shares are kept
    blend = np.eye(len(counts))
    blend[:ordered, :ordered] = near / near.sum(0)
    return _float32(blend)
