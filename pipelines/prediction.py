"""Predictions as records: what a model's ``predict_step`` returns becomes one Parquet file."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from graftable.errors import ConfigError, DataError

from .records import DOCUMENT, GRAPH, ROW, TEXT, write_records

__all__ = ["RecordWriter"]

SCHEMAS = {"graph": GRAPH, "row": ROW, "document": DOCUMENT, "text": TEXT}


class RecordWriter(Callback):
    """Writes the records that ``predict_step`` returns to one Parquet file, when the last batch is done.

    The file appears whole or not at all: a prediction that is killed leaves none. Records are kept in memory until
    then; for more than fit there, run a batch job. With several processes each writes its own file, the rank before
    the suffix.

    Args:
        path: The file to write, ``.parquet``.
        kind: The record schema: ``graph``, ``row``, ``document`` or ``text``; ``None`` takes what the model names
            in its attribute ``record_kind``, or graphs.

    Raises:
        ConfigError: If there is no such kind.
    """

    def __init__(self, path: str = "predictions.parquet", kind: str | None = None) -> None:
        if kind is not None and kind not in SCHEMAS:
            raise ConfigError(f"kind: found {kind!r}, expected one of {', '.join(SCHEMAS)}.")
        self.path, self.kind = path, kind
        self._records: list[dict[str, Any]] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with no records, and fail before the work if the folder cannot be made."""
        self._records = []
        folder = Path(self.path).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror}); choose another folder.") from error

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take the records of one batch."""
        if not isinstance(outputs, list) or not all(isinstance(record, dict) for record in outputs):
            raise DataError(
                f"{type(pl_module).__name__}.predict_step returned {type(outputs).__name__}, expected a list of "
                "records (dictionaries by column name)."
            )
        self._records.extend(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file and say so."""
        path = Path(self.path)
        if trainer.world_size > 1:
            path = path.with_name(f"{path.stem}-{trainer.global_rank:05d}{path.suffix}")
        kind = self.kind or str(getattr(pl_module, "record_kind", "graph"))
        count = write_records(path, self._records, SCHEMAS[kind])
        self._records = []
        print(f"wrote {count} {kind} record{'' if count == 1 else 's'} to {path}")
