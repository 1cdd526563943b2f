"""Batches under a budget of nodes and edges, in an order that is a function of (seed, epoch, rank) alone.

A fixed number of graphs per batch wastes memory on small graphs and overflows on large ones. Here a batch is filled to
a budget with graphs of similar size, so that little is lost to padding. Three laws make training exact across kills,
resumes and several devices:

- the batches of an epoch depend on nothing but the seed, the epoch and the sizes of the graphs;
- every epoch has the same number of batches, and every rank gets the same share of whole batches;
- with ``balance=1``, the ranks together see every graph exactly once per epoch.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from torch.utils.data import DistributedSampler

from graftable.errors import ConfigError, DataError

__all__ = ["BudgetBatchSampler", "FixedBatchSampler", "draw_epoch", "pack"]

Ints = npt.NDArray[np.int64]

PADDING_RATIO: Final = 2.0  # the largest graph of a batch is at most so many times the smallest ...
SMALL: Final = 32  # ... where graphs below this size (nodes + edges) count as equal
JITTERS: Final = (0.1, 0.05, 0.02, 0.0)  # how far, in log size, graphs may stray from the order of sizes
REFERENCE_DRAWS: Final = 3


def pack(
    order: Sequence[int], nodes: Ints, edges: Ints, nodes_per_batch: int, edges_per_batch: int | None = None
) -> list[list[int]]:
    """Cut an order into batches: one closes when the next graph would exceed a budget or differ too much in size.

    A graph larger than a budget forms a batch by itself.

    Args:
        order: Indices of graphs.
        nodes: Nodes of every graph.
        edges: Edges of every graph.
        nodes_per_batch: Budget of nodes.
        edges_per_batch: Budget of edges; ``None`` for no limit.

    Example:
        >>> pack([0, 1, 2], np.array([5, 5, 5]), np.array([4, 4, 4]), nodes_per_batch=10)
        [[0, 1], [2]]
    """
    batches: list[list[int]] = []
    edge_budget = float("inf") if edges_per_batch is None else edges_per_batch
    used_nodes = used_edges = smallest = largest = 0
    for index in order:
        n, m = int(nodes[index]), int(edges[index])
        size = max(n + m, SMALL)
        smallest, largest = min(smallest, size), max(largest, size)
        used_nodes, used_edges = used_nodes + n, used_edges + m
        over = used_nodes > nodes_per_batch or used_edges > edge_budget or largest > PADDING_RATIO * smallest
        if over or not batches:
            batches.append([])
            used_nodes, used_edges, smallest, largest = n, m, size, size
        batches[-1].append(int(index))
    return batches


def draw_epoch(domains: Sequence[str], balance: float, rng: np.random.Generator) -> Ints:
    r"""Draw the graphs of one epoch, as many as there are, where domain d of N_d graphs has the share p_d.

    .. math:: p_d = N_d^{\,b} / \sum_{d'} N_{d'}^{\,b}, \qquad b = balance

    Within a domain no graph comes a (k+1)-th time before all others came k times.

    Args:
        domains: Domain of every graph.
        balance: 1 gives every graph once; 0 gives every domain the same share.
        rng: Source of the draw.

    Returns:
        Indices of graphs, in ascending order.

    Example:
        >>> draw_epoch(["road", "web", "road"], 1.0, np.random.default_rng(0)).tolist()
        [0, 1, 2]
    """
    if balance == 1:
        return np.arange(len(domains))
    _, member, sizes = np.unique(np.asarray(domains), return_inverse=True, return_counts=True)
    shares = sizes**balance * (len(domains) / (sizes**balance).sum())
    # systematic rounding: every quota is the share rounded up or down, and the quotas sum to the number of graphs
    stops = np.floor(np.round(np.cumsum(shares), 9) + rng.random()).astype(np.int64)
    stops[-1] = len(domains)
    drawn = []
    for domain, quota in enumerate(np.diff(stops, prepend=0)):
        members = np.flatnonzero(member == domain)
        rounds, rest = divmod(int(quota), len(members))
        drawn += [members] * rounds + [rng.choice(members, rest, replace=False)]
    return np.sort(np.concatenate(drawn))


class _EpochSampler(DistributedSampler[list[int]]):
    """A sampler that can go on inside an epoch.

    It is a ``DistributedSampler`` as a mark only, so that Lightning does not share its batches out a second time; that
    class's own constructor, which deals out single items of a dataset, is not called.
    """

    epoch: int
    served: int

    def set_epoch(self, epoch: int) -> None:
        """Move to the beginning of an epoch; within the epoch that was resumed, change nothing."""
        if epoch != self.epoch:
            self.resume(epoch, 0)

    def resume(self, epoch: int, served: int) -> None:
        """Continue within an epoch, after this rank's first ``served`` batches."""
        self.epoch, self.served = epoch, served


class BudgetBatchSampler(_EpochSampler):
    """Yields lists of graph indices, one list per batch.

    Give it to a ``DataLoader`` as ``sampler`` with ``batch_size=None``, not as ``batch_sampler``: the loader then
    passes each list on as it is, and Lightning calls ``set_epoch`` and keeps the sampler for prediction.

    Graphs are sorted by size with random jitter, packed, and the batches are shuffled. The number of batches is that
    of the packing without jitter; a draw that needs fewer has its fullest batches halved, and the jitter is lowered
    until no draw needs more. Only where domains are drawn with ``balance != 1`` can the surplus be left out.

    Args:
        nodes: Nodes of every graph.
        edges: Edges of every graph.
        nodes_per_batch: Budget of nodes, at least 1; a larger graph forms a batch by itself.
        edges_per_batch: Budget of edges; ``None`` for no limit.
        domains: Domain of every graph, for ``balance``.
        balance: Exponent of ``draw_epoch``, at least 0.
        shuffle: Whether the order is random and differs between epochs; otherwise it is by size.
        seed: Of the order; at least 0.
        rank: Which share of the batches is yielded, from 0.
        world_size: Number of shares. Should there be fewer graphs than shares, some come twice.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: If there is no graph.

    Example:
        >>> sampler = BudgetBatchSampler([4, 4, 4], [3, 3, 3], nodes_per_batch=8)
        >>> sorted(len(batch) for batch in sampler)
        [1, 2]
    """

    def __init__(
        self,
        nodes: Sequence[int],
        edges: Sequence[int],
        *,
        nodes_per_batch: int,
        edges_per_batch: int | None = None,
        domains: Sequence[str] | None = None,
        balance: float = 1.0,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        for name, value in (("nodes_per_batch", nodes_per_batch), ("edges_per_batch", edges_per_batch)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}, expected at least 1.")
        if not 0 <= balance < float("inf"):
            raise ConfigError(
                f"balance is {balance}, expected a number from 0 (every domain alike) to 1 (as they come)."
            )
        if not len(nodes):
            raise DataError("no graphs to make batches of, expected at least one.")
        self.nodes, self.edges = np.asarray(nodes, dtype=np.int64), np.asarray(edges, dtype=np.int64)
        self.budgets = (nodes_per_batch, edges_per_batch)
        self.domains = list(domains) if domains is not None else [""] * len(self.nodes)
        self.balance, self.shuffle, self.seed = balance, shuffle, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = self.served = 0
        draws = [draw_epoch(self.domains, balance, self._rng(draw)) for draw in range(REFERENCE_DRAWS)]
        self.count = max(len(self._packed(draw, 0.0, self._rng(0))) for draw in draws)

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch, also where part of it was served already, as Lightning counts them."""
        return -(-self.count // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches(self.epoch)[self.rank :: self.world_size][self.served :])

    def batches(self, epoch: int) -> list[list[int]]:
        """All batches of an epoch; rank r is served those at r, r + world_size, r + 2 world_size, ..."""
        rng = self._rng(epoch if self.shuffle else 0)
        drawn = draw_epoch(self.domains, self.balance, rng)
        for jitter in JITTERS if self.shuffle else (0.0,):
            packed = self._packed(drawn, jitter, rng)
            if len(packed) <= self.count:
                break
        packed = _split_to(packed, self.count)
        if self.shuffle:
            packed = [packed[i] for i in rng.permutation(len(packed))[: self.count]]
        total = len(self) * self.world_size
        packed = _split_to(packed, total)
        return packed + [packed[i % len(packed)] for i in range(total - len(packed))]

    def _rng(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch])

    def _packed(self, drawn: Ints, jitter: float, rng: np.random.Generator) -> list[list[int]]:
        nodes, edges = self.nodes[drawn], self.edges[drawn]
        key = np.log1p(nodes + edges) + jitter * rng.uniform(-1, 1, len(drawn))
        ties = rng.random(len(drawn)) if self.shuffle else np.arange(len(drawn))
        # equal sizes are told apart by nodes before chance, so that without jitter the number of batches never varies
        order = drawn[np.lexsort((ties, nodes, key))]
        return pack(order.tolist(), self.nodes, self.edges, *self.budgets)


class FixedBatchSampler(_EpochSampler):
    """Yields lists of ``batch_size`` indices; the order of an epoch is a function of (seed, epoch).

    What is left over is spread, so that no batch is of a single item where there are more: the batches of an epoch
    differ by one item at most. Every rank gets the same number of batches; where they do not divide, some come twice.

    Args:
        count: How many items there are, at least 1.
        batch_size: The most in one batch, at least 1.
        shuffle: Whether the order is random and differs between epochs.
        seed: Of the order.
        rank: Which share of the batches is yielded, from 0.
        world_size: Number of shares.

    Example:
        >>> [len(batch) for batch in FixedBatchSampler(9, 4)]
        [3, 3, 3]
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.count, self.num_batches = count, -(-count // batch_size)
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.epoch = self.served = 0

    def __len__(self) -> int:
        """Batches of this rank in a whole epoch, also where part of it was served already."""
        return -(-self.num_batches // self.world_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.count)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count)
        batches = [part.tolist() for part in np.array_split(order, self.num_batches)]
        total = len(self) * self.world_size
        batches += [batches[i % len(batches)] for i in range(total - len(batches))]
        return iter(batches[self.rank : total : self.world_size][self.served :])


def _split_to(batches: list[list[int]], count: int) -> list[list[int]]:
    """Halve the batches with most graphs until there are ``count``, as far as there are graphs to part."""
    batches = list(batches)
    while len(batches) < count:
        largest = max(range(len(batches)), key=lambda i: len(batches[i]))
        batch = batches[largest]
        if len(batch) < 2:
            break
        batches[largest : largest + 1] = [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
    return batches
