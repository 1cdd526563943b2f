"""What a model is trained on and tested on when the world moves in between: five lists of graphs and their task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
from torch_geometric.data import Data

from graftable.errors import ConfigError, DataError

from .assembly import IntArray

__all__ = ["PARTS", "Parts", "ShiftSet", "Task", "divide", "gather", "part_sizes", "probabilities", "random_cut"]

Task = Literal["binary", "multiclass", "multitask", "regression"]
PARTS = ("train", "id_val", "id_test", "ood_val", "ood_test")


class Parts(TypedDict):
    """The five lists of a :class:`ShiftSet`."""

    train: list[Data]
    id_val: list[Data]
    id_test: list[Data]
    ood_val: list[Data]
    ood_test: list[Data]


@dataclass(frozen=True)
class ShiftSet:
    """Graphs whose law changes between training and test.

    Each graph has ``x`` (float32), ``edge_index``, ``y`` with one row, and ``environment`` (an int); molecules have
    ``edge_attr`` and ``scaffold`` too. Generated graphs have ``group``, the value of what is spuriously tied to the
    label: for scores by group, not for training.

    Attributes:
        name: As in :func:`load_shift_set`.
        train: What a model learns from.
        id_val: Graphs of the training law, to choose a model by.
        id_test: Graphs of the training law: the price of being robust shows here.
        ood_val: Graphs of a law that is neither that of the training nor that of the test; empty where none is
            published.
        ood_test: Graphs of the shifted law: the headline.
        task: ``binary`` and ``multiclass``: ``y`` is int64, (1,). ``regression``: float32, (1,). ``multitask``:
            float32 (1, tasks), 0 or 1 or NaN where it was not measured.
        num_classes: 2 for ``binary`` and ``multitask``, 0 for ``regression``.
        metric: The field's measure: ``accuracy``, ``mcc``, ``roc_auc`` or ``rmse``.
        num_tasks: Labels of a graph.
        ceiling: The best expected value of the metric, where labels are noisy by design.
        notes: What a reader of a table must know, in sentences.
    """

    name: str
    train: list[Data]
    id_val: list[Data]
    id_test: list[Data]
    ood_val: list[Data]
    ood_test: list[Data]
    task: Task
    num_classes: int
    metric: str
    num_tasks: int = 1
    ceiling: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def num_features(self) -> int:
        """Columns of ``x``."""
        return int(self.train[0].x.shape[1])

    @property
    def num_edge_features(self) -> int:
        """Columns of ``edge_attr``; 0 where edges have none."""
        attributes = self.train[0].edge_attr
        return 0 if attributes is None else int(attributes.shape[1])

    @property
    def num_outputs(self) -> int:
        """How many numbers a model's head gives for a graph: one per class, or one per task."""
        return self.num_classes if self.task in ("binary", "multiclass") else self.num_tasks

    @property
    def num_environments(self) -> int:
        """Environments of the training graphs."""
        return len({int(graph.environment) for graph in self.train})

    @property
    def parts(self) -> dict[str, list[Data]]:
        """The five lists by name."""
        return {part: getattr(self, part) for part in PARTS}

    def summary(self) -> str:
        """One line: sizes of the parts and of their graphs."""
        sizes = [
            f"{part} {len(graphs):,} (nodes {min(g.num_nodes for g in graphs)}-{max(g.num_nodes for g in graphs)})"
            for part, graphs in self.parts.items()
            if graphs
        ]
        environments = Counter(int(graph.environment) for graph in self.train)
        return f"{self.name}, {self.task}, {self.metric}: {', '.join(sizes)}; environments {dict(environments)}"


def part_sizes(size: int | None, published: Mapping[str, int], *, multiple: int = 1) -> dict[str, int]:
    """Scale the published sizes of the parts so that training has ``size`` graphs.

    Args:
        size: Training graphs wanted, rounded down to the multiple; ``None`` keeps the published sizes.
        published: Size of each part; ``train`` is one of them.
        multiple: Each part is a multiple of this, and at least it: the classes of a balanced set.

    Raises:
        ConfigError: If ``size`` is below ``multiple``.
    """
    if size is None:
        return dict(published)
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < multiple:
        raise ConfigError(f"size is {size!r}; expected the number of training graphs, {multiple} or more.")
    scaled = {part: count * int(size) // published["train"] for part, count in published.items()}
    return {part: max(multiple, count // multiple * multiple) for part, count in scaled.items()}


def probabilities(value: float | Sequence[float], name: str, low: float = 0.0) -> list[float]:
    """Read one number or several, one for each training environment.

    Raises:
        ConfigError: If one is no number from ``low`` to 1, or there is none.
    """
    found = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    numbers = [v for v in found if isinstance(v, int | float | np.number) and low <= v <= 1]
    if not found or len(numbers) < len(found):
        raise ConfigError(f"{name} is {value!r}; expected one or several numbers from {low:.3g} to 1.")
    return [float(number) for number in numbers]


def divide(graphs: Sequence[Data], sizes: Mapping[str, int]) -> Parts:
    """Cut consecutive runs of these sizes; parts that are not named are empty."""
    ends = np.cumsum([0, *sizes.values()])
    return gather(graphs, {part: np.arange(ends[i], ends[i + 1]) for i, part in enumerate(sizes)})


def gather(graphs: Sequence[Data], chosen: Mapping[str, IntArray]) -> Parts:
    """Pick the graphs of each part; parts that are not named are empty."""
    lists = {part: [graphs[g] for g in chosen[part].tolist()] if part in chosen else [] for part in PARTS}
    return Parts(
        train=lists["train"],
        id_val=lists["id_val"],
        id_test=lists["id_test"],
        ood_val=lists["ood_val"],
        ood_test=lists["ood_test"],
    )


def random_cut(chosen: IntArray, share: float, total: int, rng: np.random.Generator) -> tuple[IntArray, ...]:
    """Cut ``int(share * total)`` each for validation and test at random from ``chosen``.

    Returns:
        Training, validation and test indices, each in rising order.

    Raises:
        DataError: If nothing is left to train on.
    """
    count = int(share * total)
    if 2 * count >= len(chosen):
        raise DataError(
            f"{len(chosen)} graphs of the training law cannot give {count} for validation, {count} for a test and the "
            "rest for training; ask for a smaller share or a larger set."
        )
    order = rng.permutation(chosen)
    return np.sort(order[2 * count :]), np.sort(order[:count]), np.sort(order[count : 2 * count])
