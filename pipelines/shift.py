"""Sets of graphs whose law changes between training and test, as batches for any method.

Batches are drawn at random and not by size, since batch norm and methods that compare environments want each batch to
be a fair sample of the set. As everywhere, which graphs come when is a function of (seed, epoch, rank) alone.
"""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data

from graftable.graphs.shift import ShiftSet, load_shift_set

from .batching import FixedBatchSampler
from .resumable import ResumableDataModule, require_whole

__all__ = ["ShiftDataModule"]

#: Parts that are validated on in training, then those that are tested on.
VALIDATED, TESTED = ("id_val", "ood_val"), ("id_test", "ood_test")


class ShiftDataModule(ResumableDataModule):
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
        super().__init__(seed=seed, num_workers=num_workers)
        self.data_seed = seed if data_seed is None else data_seed
        require_whole(batch_size=(batch_size, 1), data_seed=(self.data_seed, 0))
        self.set_name, self.root, self.size, self.settings = name, root, size, dict(settings or {})
        self.batch_size = batch_size
        self.shift_set: ShiftSet | None = None
        self._graphs: dict[str, _PartGraphs] = {}

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
        super().setup(stage)
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
        return self._part("train", self._at_place(self._sampler("train", shuffle=True)))

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
        return self._part(part, sampler)

    def present(self, parts: Sequence[str] = (*VALIDATED, *TESTED)) -> list[str]:
        """Those of these parts that hold graphs."""
        return [part for part in parts if self.loaded.parts[part]]

    def _sampler(self, part: str, *, shuffle: bool = False) -> FixedBatchSampler:
        rank, world_size = self._share()
        count = len(self.loaded.parts[part])
        return FixedBatchSampler(
            count, self.batch_size, shuffle=shuffle, seed=self.seed, rank=rank, world_size=world_size
        )

    def _part(self, part: str, sampler: FixedBatchSampler) -> DataLoader[Batch]:
        if part not in self._graphs:
            self._graphs[part] = _PartGraphs(self.loaded.parts[part], part)
        return self._loader(self._graphs[part], sampler, Batch.from_data_list)

    def _facts(self) -> object:
        facts = (self.set_name, sorted(self.settings.items()), self.seed, self.data_seed, self.batch_size)
        return facts, len(self.loaded.train)


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
