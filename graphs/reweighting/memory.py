"""What reweighting keeps between batches: recent rows, and the last weight of each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graftable.errors import ConfigError

__all__ = ["Rows", "SampleMemory", "WeightStore"]


class Rows(NamedTuple):
    """Samples as columns: their representations, and what else is known of them."""

    z: Tensor
    label: Tensor | None = None
    environment: Tensor | None = None
    sample_id: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """Apply a function to every column that is there."""
        rest = (None if column is None else function(column) for column in self[1:])
        return Rows(function(self.z), *rest)

    def take(self, index: Tensor) -> Rows:
        """Choose rows by their places or by a mask."""
        return self.map(lambda column: column[index])

    def join(self, other: Rows) -> Rows:
        """Add the rows of another with the same columns."""
        below = iter([column for column in other if column is not None])
        return self.map(lambda column: torch.cat([column, next(below)]))

    def is_like(self, other: Rows) -> bool:
        """Whether both have the same columns, and representations of the same width."""
        same = all((a is None) == (b is None) for a, b in zip(self, other, strict=True))
        return same and self.z.shape[1:] == other.z.shape[1:]


class SampleMemory:
    """The last rows that were seen, detached, so that a small batch is reweighted among many.

    Rows of a sample that comes again are replaced. All rows are dropped when the encoder has moved: when the mean of a
    new batch lies further from the mean of the memory than ``drift`` standard deviations of the memory (root mean
    square over variables). The cosine of the two means would be noise wherever means are near 0.

    Args:
        size: Most rows; at least 1.
        drift: Standard deviations between means beyond which the memory is cleared; None never clears it.

    Raises:
        ConfigError: If the size is below 1.

    Example:
        >>> memory = SampleMemory(3, drift=None)
        >>> memory.push(Rows(torch.tensor([[1.0], [2.0]])))
        >>> memory.push(Rows(torch.tensor([[8.0], [9.0]])))
        >>> memory.beside(Rows(torch.tensor([[5.0]]))).z.flatten().tolist()
        [5.0, 2.0, 8.0, 9.0]
    """

    def __init__(self, size: int, *, drift: float | None = 1.0) -> None:
        if size < 1:
            raise ConfigError(f"the size of a sample memory is {size}; expected at least 1 row.")
        self.size, self.drift = size, drift
        #: What is remembered, the oldest first; None at first.
        self.rows: Rows | None = None

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows.z)

    def clear(self) -> None:
        """Forget all rows."""
        self.rows = None

    def beside(self, batch: Rows) -> Rows:
        """Put remembered rows of other samples below a batch; forget them if they do not go with it."""
        if self.rows is not None and self.rows.z.device != batch.z.device:  # after loading a checkpoint
            self.rows = self.rows.map(lambda column: column.to(batch.z.device))
        if self.rows is not None and not self._goes_with(batch):
            self.rows = None
        if self.rows is None:
            return batch
        known = self.rows
        if batch.sample_id is not None and known.sample_id is not None:
            known = known.take(~torch.isin(known.sample_id, batch.sample_id))
        return batch.join(known)

    def push(self, batch: Rows) -> None:
        """Remember a batch, in float32, and drop the oldest rows."""
        batch = batch.map(lambda column: column.detach().clone())
        batch = batch._replace(z=batch.z.float())
        joined = self.beside(batch)
        older = torch.arange(len(batch.z), len(joined.z), device=batch.z.device)
        order = torch.cat([older, torch.arange(len(batch.z), device=batch.z.device)])
        self.rows = joined.take(order[-self.size :])

    def _goes_with(self, batch: Rows) -> bool:
        if self.rows is None or not self.rows.is_like(batch):
            return False
        if self.drift is None or len(batch.z) == 0:
            return True
        spread = self.rows.z.var(0, correction=0).mean().sqrt()
        moved = (batch.z.float().mean(0) - self.rows.z.mean(0)).square().mean().sqrt()
        return bool(moved <= self.drift * spread)

    def state_dict(self) -> dict[str, Any]:
        """All rows, for a checkpoint."""
        return {"rows": None if self.rows is None else self.rows._asdict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.rows = None if state["rows"] is None else Rows(**state["rows"])


class WeightStore:
    """The last weight of each sample, by its id: where a solve begins, and what it is smoothed with.

    Example:
        >>> store = WeightStore()
        >>> store.put(torch.tensor([7, 3]), torch.tensor([0.5, 1.5]))
        >>> store.get(torch.tensor([3, 4]), default=1.0)
        tensor([1.5000, 1.0000])
    """

    def __init__(self) -> None:
        self.ids = torch.empty(0, dtype=torch.long)
        self.values = torch.empty(0)

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, ids: Tensor, default: float) -> Tensor:
        """Weights of these samples, (rows,), the default where a sample is new."""
        places, known = self._find(ids)
        found = torch.full(ids.shape, default, device=ids.device)
        found[known] = self.values[places[known]]
        return found

    def put(self, ids: Tensor, values: Tensor) -> None:
        """Keep the weights of these samples; of an id given twice, the mean."""
        self._move(ids.device)
        unique, back = torch.unique(ids, return_inverse=True)
        sums = torch.zeros(len(unique), device=ids.device).index_add_(0, back, values.float())
        means = sums / torch.bincount(back, minlength=len(unique))
        others = ~torch.isin(self.ids, unique)
        joined = torch.cat([self.ids[others], unique])
        order = torch.argsort(joined)
        self.ids, self.values = joined[order], torch.cat([self.values[others], means])[order]

    def _find(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        self._move(ids.device)
        if len(self.ids) == 0:
            return torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
        places = torch.searchsorted(self.ids, ids).clamp(max=len(self.ids) - 1)
        return places, self.ids[places] == ids

    def _move(self, device: torch.device) -> None:
        self.ids, self.values = self.ids.to(device), self.values.to(device)

    def state_dict(self) -> dict[str, Any]:
        """All weights, for a checkpoint."""
        return {"ids": self.ids, "values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.ids, self.values = state["ids"], state["values"]
