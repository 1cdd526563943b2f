"""What all datamodules share: an epoch that a resumed run continues with the very batch that was next.

Which rows or graphs come when is a function of (seed, epoch, rank) alone, so all that a checkpoint needs is the epoch
and how many of its batches were trained on.
"""

import hashlib
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset

from graftable.errors import ConfigError

__all__ = ["EpochSampler", "ResumableDataModule", "require_whole"]


class EpochSampler(Protocol):
    """Yields the indices of one batch after the other; see `graftable.pipelines.batching`."""

    def resume(self, epoch: int, served: int) -> None:
        """Continue within an epoch, after this rank's first ``served`` batches."""


Sampler = TypeVar("Sampler", bound=EpochSampler)


def require_whole(**settings: tuple[int, int]) -> None:
    """Check whole numbers among the settings: each is given with the least that it may be.

    Raises:
        ConfigError: If one is smaller.

    Example:
        >>> require_whole(seed=(0, 0), batch_size=(0, 1))
        Traceback (most recent call last):
            ...
        graftable.errors.ConfigError: batch_size: found 0, expected a whole number of at least 1.
    """
    for name, (value, least) in settings.items():
        if value < least:
            raise ConfigError(f"{name}: found {value}, expected a whole number of at least {least}.")


class ResumableDataModule(pl.LightningDataModule):
    """A datamodule that keeps the place inside an epoch.

    A subclass makes its loaders by `_loader`, its training loader with a sampler of `_at_place`, and says in `_facts`
    what the order of its batches depends on.

    Args:
        seed: Of the order, at least 0.
        num_workers: Processes that collate batches, at least 0; 0 does it in the training process.

    Raises:
        ConfigError: If a setting is out of range.
    """

    def __init__(self, *, seed: int, num_workers: int) -> None:
        super().__init__()
        require_whole(seed=(seed, 0), num_workers=(num_workers, 0))
        self.seed, self.num_workers = seed, num_workers
        self.position = (0, 0)  # epoch and batches of this rank in it, from a checkpoint

    def setup(self, stage: str | None = None) -> None:
        """Begin a fit at its first epoch; a checkpoint, if there is one, is read after this."""
        if stage == "fit":
            self.position = (0, 0)

    @abstractmethod
    def _facts(self) -> object:
        """All that the order of batches depends on besides the ranks, with a ``repr`` that says it."""

    def _share(self) -> tuple[int, int]:
        """Rank and number of ranks that see different data; ranks that share a model's layers see the same."""
        share = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return (int(share["rank"]), int(share["num_replicas"])) if share else (0, 1)

    def _at_place(self, sampler: Sampler) -> Sampler:
        """A sampler of training batches, moved to where training stands."""
        epochs: Any = self.trainer.fit_loop.epoch_progress.current if self.trainer is not None else None
        epoch, served = self.position
        if epochs is not None and epochs.processed > epoch:
            epoch, served = epochs.processed, 0
        sampler.resume(epoch, served)
        return sampler

    def _loader(
        self, dataset: Dataset[Any], sampler: Iterable[Any], collate: Callable[[Any], Any]
    ) -> "DataLoader[Any]":
        """Batches of a dataset that looks up lists of indices."""
        return _ResumableLoader(
            dataset,
            batch_size=None,
            sampler=sampler,
            collate_fn=collate,
            num_workers=self.num_workers,
            # of its own: to begin an epoch must not draw from the global generator
            generator=torch.Generator().manual_seed(self.seed),
        )

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: the epoch, and how many batches of it this rank has *trained on*.

        The trainer is asked, not the loader, since worker processes fetch ahead of training.
        """
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
                "the checkpoint was saved with other data, settings or devices: its epoch is drawn anew.",
                stacklevel=2,
            )
        self.position = (state_dict["epoch"], served)

    def _order(self) -> str:
        """A mark of everything that the order of batches depends on."""
        mark = hashlib.sha256(repr(self._facts()).encode()).hexdigest()[:16]
        return f"{mark}/{self._share()[1]}"


class _ResumableLoader(DataLoader[Any]):
    """A loader that tells Lightning it can resume; where it resumes is kept by the datamodule."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        pass
