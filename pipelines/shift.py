"""Sets of graphs whose law changes between training and test, as batches for any method.

Batches are drawn at random and not by size, since batch norm and methods that compare environments want each batch to
be a fair sample of the set. As everywhere, which graphs come when is a function of (seed, epoch, rank) alone.
"""

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torch_geometric.data import Batch, Data

from graftable.errors import ConfigError
from graftable.graphs.shift import ShiftSet, load_shift_set

__all__ = ["FixedBatchSampler", "ShiftDataModule"]

#: Parts that are validated on in training, then those that are tested on.
VALIDATED, TESTED = ("id_val", "ood_val"), ("id_test", "ood_test")


class ShiftDataModule(pl.LightningDataModule):
    """A set with a shift: training graphs, and validation and test graphs from inside and outside of their law.

    A batch is a ``torch_geometric.data.Batch`` with ``x``, ``y``, ``environment``, and ``graph_number``, the number
    of each graph in its part. Validation goes over ``id_val`` and ``ood_val``, test over ``id_test`` and ``ood_test``
    (a part that is empty is left out), prediction over ``ood_test``.

    Args:
        name: Name of the set, as ``wheel_star``; see ``graftable.graphs.shift.load_shift_set``.
        root: Folder with the data files of sets that are read and not generated.
        size: Training graphs; the other parts shrink alike. Null for the published number.
        settings: What else the set takes, as ``{"mu": 0.9}``.
        batch_size: Graphs per batch.
        data_seed: Of generation and random splits, at least 0; null takes ``seed``.
        seed: Of the order, at least 0.
        num_workers: Processes that collate batches, at least 0; 0 does it in the training process.

    Raises:
        ConfigError: If a setting is out of range, or the set is not known.

    Example:
        >>> data = ShiftDataModule("wheel_star", size=20, settings={"mu": 0.9}, batch_size=8)
        >>> data.setup()
        >>> next(iter(data.train_dataloader())).num_graphs
        7
    """

    def __init__(
        self,
        name: str = "wheel_star",
        root: str | None = None,
        size: int | None = None,
        settings: dict[str, Any] | None = None,
        batch_size: int = 64,
        data_seed: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        least = (("batch_size", batch_size, 1), ("seed", seed, 0), ("num_workers", num_workers, 0))
        for setting, value, low in (*least, ("data_seed", seed if data_seed is None else data_seed, 0)):
            if value < low:
                raise ConfigError(f"{setting}: found {value}, expected a whole number of at least {low}.")
        self.set_name, self.root, self.size, self.settings = name, root, size, dict(settings or {})
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.data_seed = seed if data_seed is None else data_seed
        self.shift_set: ShiftSet | None = None
        self.position = (0, 0)  # epoch and batches of this rank in it, from a checkpoint

    @classmethod
    def from_set(cls, shift_set: ShiftSet, **settings: Any) -> "ShiftDataModule":
        """Make a datamodule of a set in memory.

        Args:
            shift_set: The set.
            **settings: Constructor arguments other than those that say how to load it.
        """
        module = cls(name=shift_set.name, **settings)
        module.shift_set = shift_set
        return module

    def setup(self, stage: str | None = None) -> None:
        """Load the set, once."""
        if stage == "fit":
            self.position = (0, 0)
        if self.shift_set is None:
            self.shift_set = load_shift_set(
                self.set_name, root=self.root, seed=self.data_seed, size=self.size, **self.settings
            )

    @property
    def loaded(self) -> ShiftSet:
        """The set, after ``setup``."""
        if self.shift_set is None:
            self.setup()
        assert self.shift_set is not None  # setup loads it or raises
        return self.shift_set

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of training graphs in random order; a resumed epoch continues where the checkpoint was saved."""
        sampler = self._sampler("train", shuffle=True)
        epochs: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer is not None else None
        epoch, served = self.position
        if epochs is not None and epochs.processed > epoch:
            epoch, served = epochs.processed, 0
        sampler.resume(epoch, served)
        return self._loader("train", sampler)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per part of ``validated``."""
        return [self.part_dataloader(part) for part in self.present(VALIDATED)]

    def test_dataloader(self) -> list[DataLoader[Batch]]:
        """One loader per part of ``tested``."""
        return [self.part_dataloader(part) for part in self.present(TESTED)]

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches of the shifted test graphs."""
        return self.part_dataloader("ood_test")

    def part_dataloader(self, part: str, *, everything: bool = False) -> DataLoader[Batch]:
        """Graphs of a part in their order: this rank's share of the batches, or ``everything``."""
        sampler = self._sampler(part)
        if everything:
            sampler.rank, sampler.world_size = 0, 1
        return self._loader(part, sampler)

    def present(self, parts: Sequence[str] = (*VALIDATED, *TESTED)) -> list[str]:
        """Those of these parts that hold graphs."""
        return [part for part in parts if self.loaded.parts[part]]

    def _sampler(self, part: str, *, shuffle: bool = False) -> "FixedBatchSampler":
        rank, world_size = self._share()
        count = len(self.loaded.parts[part])
        return FixedBatchSampler(
            count, self.batch_size, shuffle=shuffle, seed=self.seed, rank=rank, world_size=world_size
        )

    def _share(self) -> tuple[int, int]:
        """Rank and number of ranks that see different data."""
        share = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return (int(share["rank"]), int(share["num_replicas"])) if share else (0, 1)

    def _loader(self, part: str, sampler: "FixedBatchSampler") -> "_ResumableLoader":
        return _ResumableLoader(
            _PartGraphs(self.loaded.parts[part], part),
            batch_size=None,
            sampler=sampler,
            collate_fn=Batch.from_data_list,
            num_workers=self.num_workers,
            # of its own: to begin an epoch must not draw from the global generator
            generator=torch.Generator().manual_seed(self.seed),
        )

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: the epoch, and how many batches of it this rank has *trained on*."""
        if self.trainer is None:
            epoch, served = self.position
        else:
            epochs: Any = self.trainer.fit_loop.epoch_progress.current
            batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress
            within = epochs.started > epochs.processed
            epoch, served = epochs.processed, batches.current.processed if within else 0
            if within and batches.is_last_batch:
                epoch, served = epoch + 1, 0
        return {"epoch": epoch, "batches": served, "order": self._order()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken; in another order of batches, from the start of that epoch."""
        served = state_dict["batches"]
        if served and state_dict["order"] != self._order():
            served = 0
            warnings.warn(
                "the checkpoint was saved with another set, settings or devices: its epoch is drawn anew.",
                stacklevel=2,
            )
        self.position = (state_dict["epoch"], served)

    def _order(self) -> str:
        """A mark of everything that the order of batches depends on."""
        facts = (self.set_name, sorted(self.settings.items()), self.seed, self.data_seed, self.batch_size)
        mark = hashlib.sha256(repr((facts, len(self.loaded.train))).encode()).hexdigest()[:16]
        return f"{mark}/{self._share()[1]}"


class FixedBatchSampler(DistributedSampler[list[int]]):
    """Yields lists of ``batch_size`` indices; the order of an epoch is a function of (seed, epoch).

    What is left over is spread, so that no batch is of a single graph where there are more: the batches of an epoch
    differ by one graph at most. Every rank gets the same number of batches; where they do not divide, some come twice.

    Args:
        count: How many graphs there are, at least 1.
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
    ) -> None:  # the base class is a mark only, so that Lightning does not share the batches out a second time
        self.count, self.num_batches = count, -(-count // batch_size)
        self.shuffle, self.seed, self.rank, self.world_size = shuffle, seed, rank, world_size
        self.epoch = self.served = 0

    def set_epoch(self, epoch: int) -> None:
        """Move to the beginning of an epoch; within the epoch that was resumed, change nothing."""
        if epoch != self.epoch:
            self.resume(epoch, 0)

    def resume(self, epoch: int, served: int) -> None:
        """Continue within an epoch, after this rank's first ``served`` batches."""
        self.epoch, self.served = epoch, served

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


class _PartGraphs(Dataset[list[Data]]):
    """Looks up the graphs of a batch, in the form in which they are batched."""

    def __init__(self, graphs: Sequence[Data], part: str) -> None:
        self.graphs = [self._batched(graph, index) for index, graph in enumerate(graphs)]
        self.part = part

    @staticmethod
    def _batched(graph: Data, index: int) -> Data:
        kept = Data(x=graph.x, edge_index=graph.edge_index, y=graph.y, environment=int(graph.environment))
        if graph.edge_attr is not None:
            kept.edge_attr = graph.edge_attr
        kept.graph_number = index  # PyG would shift a name with "index" in it by the number of nodes
        return kept

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, indices: Sequence[int]) -> list[Data]:
        return [self.graphs[index] for index in indices]


class _ResumableLoader(DataLoader[Batch]):
    """A loader that tells Lightning it can resume; where it resumes is kept by the datamodule."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
