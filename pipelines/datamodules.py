"""Graphs for training, validation, test and prediction, as batches under a budget.

Three choices carry it: splits never part two copies of a graph; a batch is filled to a number of nodes, not of graphs;
and which graphs come when depends on (seed, epoch, rank) alone, so that a resumed run sees exactly what an unbroken one
would have seen.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import networkx as nx
import torch
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import Batch, Data

from graftable.errors import ConfigError, DataError
from graftable.graphs.attributes import ATTRIBUTES, graph_attributes
from graftable.graphs.conversion import from_networkx, from_pyg
from graftable.graphs.corpus import SPLITS, corpus_path

from .batching import BudgetBatchSampler
from .readers import read_graphs
from .resumable import ResumableDataModule
from .splits import assign_splits

__all__ = ["GraphDataModule"]

TEXT_FIELDS: Final = ("graph_id", "domain", "source", "text")


class GraphDataModule(ResumableDataModule):
    """Graphs from records or graph files, split, filtered and batched under a budget of nodes.

    A batch is a ``torch_geometric.data.Batch``. Besides ``edge_index``, ``batch`` and ``ptr`` it holds ``attributes``,
    a float32 tensor of shape (graphs, attributes) in the order of ``graftable.graphs.attributes.ATTRIBUTES``, and the
    lists ``graph_id``, ``domain``, ``source``, ``text`` (empty text where unknown) and ``name`` (of each graph the
    node names, or an empty list). Prediction goes over the test graphs, whose descriptions a model takes as requests.

    Args:
        records: ``corpus`` for the bundled graphs, or a graph file or folder (see ``graftable convert``).
        nodes_per_batch: A batch is closed before it would hold more nodes; a larger graph forms a batch by itself.
        edges_per_batch: The same for edges; null for no limit.
        domains: Domains to keep; null for all.
        min_nodes: Graphs with fewer nodes are left out.
        max_nodes: Graphs with more nodes are left out; null for no limit.
        max_edges: Graphs with more edges are left out; null for no limit.
        split_fractions: Shares of train, val and test among graphs whose records name no split. Equal graphs are
            never parted.
        balance: A domain of N graphs is drawn in proportion to N to this power, in each epoch anew: 1 takes every
            graph once, 0 every domain alike.
        undirected: Read directed, weighted or multi-graphs by dropping what makes them so.
        seed: Of the splits and of the order, at least 0.
        num_workers: Processes that collate batches, at least 0; 0 does it in the training process.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: In ``setup``, if the records cannot be read or no training graph is left; in test and prediction,
            if no test graph is left.

    Example:
        >>> data = GraphDataModule.from_graphs([nx.path_graph(n) for n in range(2, 12)], nodes_per_batch=32)
        >>> data.setup()
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch.attributes.shape[1] == len(ATTRIBUTES)
        True
    """

    def __init__(
        self,
        records: str = "corpus",
        nodes_per_batch: int = 4096,
        edges_per_batch: int | None = None,
        domains: list[str] | None = None,
        min_nodes: int = 1,
        max_nodes: int | None = None,
        max_edges: int | None = None,
        split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        balance: float = 0.5,
        undirected: bool = False,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        self.records, self.undirected = records, undirected
        self.nodes_per_batch, self.edges_per_batch = nodes_per_batch, edges_per_batch
        self.domains, self.min_nodes, self.max_nodes, self.max_edges = domains, min_nodes, max_nodes, max_edges
        self.split_fractions, self.balance = split_fractions, balance
        self.given: list[Data] | None = None
        #: Graphs by split once ``setup`` was called, with ``attributes`` as a dictionary.
        self.graphs: dict[str, list[Data]] = {}

    @classmethod
    def from_graphs(cls, graphs: "Iterable[Data | nx.Graph[Any]]", **settings: Any) -> "GraphDataModule":
        """Make a datamodule of graphs in memory instead of records.

        Args:
            graphs: PyG or networkx graphs; they are not changed.
            **settings: Constructor arguments other than ``records``.

        Raises:
            DataError: If a graph is not simple and undirected, and ``undirected`` is not set.
        """
        module = cls(records="memory", **settings)
        module.given = [
            (from_pyg if isinstance(graph, Data) else from_networkx)(graph, undirected=module.undirected)
            for graph in graphs
        ]
        return module

    def setup(self, stage: str | None = None) -> None:
        """Read, split and filter the graphs, once, and measure those whose records have no attributes."""
        super().setup(stage)
        if self.graphs:
            return
        graphs = self.given if self.given is not None else self._read()
        found = {graph.get("domain") or "" for graph in graphs}
        unknown = sorted(set(self.domains or ()) - found)
        if unknown:
            raise ConfigError(f"domains: no graph is of {unknown[0]!r}, expected one of {', '.join(sorted(found))}.")
        # split before the filters: a graph stays in its split whatever else is left out
        splits = assign_splits(graphs, self.split_fractions, self.seed)
        by_split: dict[str, list[Data]] = {split: [] for split in SPLITS}
        for graph, split in zip(graphs, splits, strict=True):
            if self._keeps(graph):
                by_split[split].append(_complete(graph, split))
        if not by_split["train"]:
            raise DataError(
                f"{self.records}: none of {len(graphs)} graphs is left for training, expected at least one; loosen "
                "domains, min_nodes, max_nodes, max_edges or split_fractions."
            )
        self.graphs = by_split

    def _facts(self) -> object:
        sizes = [(*_sizes(graph), graph.domain) for graph in self.graphs.get("train", [])]
        return self.seed, self.balance, self.nodes_per_batch, self.edges_per_batch, sizes

    def _read(self) -> list[Data]:
        path = corpus_path() if self.records == "corpus" else self.records
        return read_graphs(path, undirected=self.undirected)

    def _keeps(self, graph: Data) -> bool:
        nodes, edges = _sizes(graph)
        return (
            (self.domains is None or graph.get("domain") in self.domains)
            and nodes >= self.min_nodes
            and (self.max_nodes is None or nodes <= self.max_nodes)
            and (self.max_edges is None or edges <= self.max_edges)
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of training graphs in random order; a resumed epoch continues where the checkpoint was saved."""
        sampler = self._at_place(self._sampler("train", shuffle=True, balance=self.balance))
        return self._part("train", sampler)

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Batches of validation graphs by size; none where the split is empty."""
        return self._part("val", self._sampler("val")) if self.graphs["val"] else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """Batches of test graphs by size.

        Raises:
            DataError: If there is none: what was asked for would be done on nothing.
        """
        if not self.graphs["test"]:
            raise DataError(
                f"{self.records}: no test graphs, expected at least one; set split_fractions to give the test split a "
                "share, loosen the filters, or name a split in the records."
            )
        return self._part("test", self._sampler("test"))

    def predict_dataloader(self) -> DataLoader[Batch]:
        """Batches of test graphs, whose descriptions are the requests."""
        return self.test_dataloader()

    def _sampler(self, split: str, *, shuffle: bool = False, balance: float = 1.0) -> BudgetBatchSampler:
        sizes = [_sizes(graph) for graph in self.graphs[split]]
        rank, world_size = self._share()
        return BudgetBatchSampler(
            [nodes for nodes, _ in sizes],
            [edges for _, edges in sizes],
            nodes_per_batch=self.nodes_per_batch,
            edges_per_batch=self.edges_per_batch,
            domains=[graph.domain for graph in self.graphs[split]],
            balance=balance,
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )

    def _part(self, split: str, sampler: BudgetBatchSampler) -> DataLoader[Batch]:
        return self._loader(_GraphLists(self.graphs[split]), sampler, Batch.from_data_list)


def _sizes(graph: Data) -> tuple[int, int]:
    return int(graph.num_nodes or 0), graph.num_edges // 2


def _complete(graph: Data, split: str) -> Data:
    """Give a graph every field that a batch holds."""
    graph.split = split
    attributes = graph.get("attributes") or {}
    if any(name not in attributes for name in ATTRIBUTES):
        attributes = {**graph_attributes(graph), **attributes}
    graph.attributes = attributes
    for field in TEXT_FIELDS:
        graph[field] = graph.get(field) or ""
    graph.name = graph.get("name") or []
    return graph


class _GraphLists(Dataset[list[Data]]):
    """Looks up the graphs of a batch, in the form in which they are batched."""

    def __init__(self, graphs: Sequence[Data]) -> None:
        self.graphs = [
            Data(
                edge_index=graph.edge_index,
                num_nodes=graph.num_nodes,
                attributes=torch.tensor([[graph.attributes[name] for name in ATTRIBUTES]], dtype=torch.float32),
                name=graph.name,
                **{field: graph[field] for field in TEXT_FIELDS},
            )
            for graph in graphs
        ]

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, indices: Sequence[int]) -> list[Data]:
        return [self.graphs[index] for index in indices]
