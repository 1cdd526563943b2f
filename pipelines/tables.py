"""Rows of a table for training, validation and test, as batches under a budget; and rows as records.

A table is read whole: a generator of tables looks at all rows before its first step, for ranges, modes and levels. Its
batches are data frames whose index says which rows of their part they are, so that a model may encode the rows once.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import DataLoader, Dataset

from graftable.errors import ConfigError, DataError
from graftable.tabular.bundled import bundled_rules, bundled_table, bundled_tables
from graftable.tabular.io import ReadOptions
from graftable.tabular.schema import Schema
from graftable.tabular.sources import TableSource
from graftable.tabular.synthesis import left_out
from graftable.tabular.table_frames import read_frame

from .batching import FixedBatchSampler
from .records import ROW, iterate_records
from .resumable import ResumableDataModule, require_whole
from .splits import require_fractions, split_rows

__all__ = ["TableDataModule", "frame_to_records", "records_to_frame"]


class TableDataModule(ResumableDataModule):
    """A table under rules, split, and batched under a budget of cells.

    A batch is a `pandas.DataFrame`: numbers as floats (as integers where none is null), all else as texts; its index is
    the place of each row in its part. Rows that break a hard rule are left out, unless most do. Prediction goes over
    the test rows.

    Args:
        table: A CSV or Parquet file, a file or folder of row records, or the name of a table that ships: ``bike``.
        rules: A rule file, the text of rules or a list of them, or the name of a table that ships; null for none.
        schema: A file that says what the columns are, ours or SDV metadata; found out by default.
        columns: The columns to keep, in this order; null for all.
        cells_per_batch: A batch holds as many rows as fit: rows times columns; at least one row.
        split_fractions: Shares of train, val and test among rows whose records name no split.
        separator: Between the cells of a CSV.
        decimal: The decimal mark of a CSV.
        allow_unseen: Whether rules may name a category that the table never holds.
        seed: Of the splits and of the order, at least 0.
        num_workers: Processes that collate batches, at least 0; 0 does it in the training process.

    Raises:
        ConfigError: If a setting is out of range.
        DataError: In ``setup``, if the table cannot be read or no row is left to train on.
        RuleError: In ``setup``, if a rule is wrong.

    Example:
        >>> data = TableDataModule("bike", "bike", cells_per_batch=1600)
        >>> data.setup()
        >>> [next(iter(loader)).shape for loader in (data.train_dataloader(), data.val_dataloader())]
        [(100, 16), (83, 16)]
    """

    parts: ClassVar[tuple[str, ...]] = ("train", "val", "test")

    def __init__(
        self,
        table: str = "bike",
        rules: str | list[str] | None = None,
        schema: str | None = None,
        columns: list[str] | None = None,
        cells_per_batch: int = 8192,
        split_fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
        separator: str = ",",
        decimal: str = ".",
        allow_unseen: bool = False,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(seed=seed, num_workers=num_workers)
        require_whole(cells_per_batch=(cells_per_batch, 1))
        require_fractions(split_fractions)
        self.table, self.rules, self.schema_file, self.columns = table, rules, schema, columns
        self.cells_per_batch, self.split_fractions = cells_per_batch, split_fractions
        self.options = ReadOptions(separator=separator, decimal=decimal)
        self.allow_unseen = allow_unseen
        self.given: Any = None
        #: The rows by part once ``setup`` was called; it also sets ``schema`` and ``rule_set``.
        self.frames: dict[str, pd.DataFrame] = {}
        #: How many rows were left out.
        self.left_out = 0
        self._content = 0  # a mark of the training rows

    @classmethod
    def from_table(cls, table: Any, **settings: Any) -> "TableDataModule":
        """Make a datamodule of a data frame or Arrow table in memory.

        Args:
            table: The rows; they are not changed.
            **settings: Constructor arguments other than ``table``.
        """
        module = cls(table="memory", **settings)
        module.given = table
        return module

    def setup(self, stage: str | None = None) -> None:
        """Read and split the table, once."""
        super().setup(stage)
        if self.frames:
            return
        data, splits = self._read()
        rules = bundled_rules(self.rules) or self.rules if isinstance(self.rules, str) else self.rules
        source = TableSource.read(
            data, rules, self.schema_file, options=self.options, unseen="allow" if self.allow_unseen else "refuse"
        )
        self.schema, self.rule_set = self._kept(source), source.rules
        frame = read_frame(source.table, self.schema)
        if not len(frame):
            raise DataError(f"{self.table}: has no rows, expected at least one.")
        obeying = ~left_out(frame, self.rule_set, self.schema)
        self.left_out = int(len(frame) - obeying.sum())
        parts = split_rows(splits or [None] * len(frame), self.split_fractions, self.seed)
        frames = {name: frame.iloc[rows[obeying[rows]]].reset_index(drop=True) for name, rows in parts.items()}
        if not len(frames["train"]):
            raise DataError(
                f"{self.table}: none of {len(frame)} rows is left to train on, expected at least one; give "
                "split_fractions a larger first share."
            )
        self.frames = frames
        self._content = int(pd.util.hash_pandas_object(frames["train"], index=False).sum())

    def _read(self) -> tuple[Any, list[str | None] | None]:
        """What `open_table` takes, and the splits that records name."""
        if self.given is not None:
            return self.given, None
        path = bundled_table(self.table) or Path(self.table)
        if _holds_records(path):
            return records_to_frame(iterate_records(path, ROW))
        if not path.exists() and path.parent == Path() and not path.suffix:
            raise DataError(
                f"table: found {self.table!r}, expected a file or one of the tables that ship: "
                f"{', '.join(bundled_tables())}."
            )
        return path, None

    def _kept(self, source: TableSource) -> Schema:
        """The schema of the columns that are kept."""
        if self.columns is None:
            return source.schema
        source.schema.require(self.columns, f"columns: {self.table}")
        for name in source.rules.columns:
            if name not in self.columns:
                raise ConfigError(
                    f"columns: leaves out `{name}`, which the rules speak of; keep it, or take the rule out."
                )
        return Schema(tuple(source.schema[name] for name in self.columns))

    def train_dataloader(self) -> DataLoader[pd.DataFrame]:
        """Batches of training rows in random order; a resumed epoch continues where the checkpoint was saved."""
        return self._part("train", self._at_place(self._sampler("train", shuffle=True)))

    def val_dataloader(self) -> DataLoader[pd.DataFrame] | list[Any]:
        """Batches of validation rows; none where the part is empty."""
        return self._part("val", self._sampler("val")) if len(self.frames["val"]) else []

    def test_dataloader(self) -> DataLoader[pd.DataFrame]:
        """Batches of test rows.

        Raises:
            DataError: If there is none: what was asked for would be done on nothing.
        """
        if not len(self.frames["test"]):
            raise DataError(
                f"{self.table}: no test rows, expected at least one; set split_fractions to give the test part a share."
            )
        return self._part("test", self._sampler("test"))

    def predict_dataloader(self) -> DataLoader[pd.DataFrame]:
        """Batches of test rows: a model makes as many."""
        return self.test_dataloader()

    def _sampler(self, part: str, *, shuffle: bool = False) -> FixedBatchSampler:
        rank, world_size = self._share()
        rows = max(self.cells_per_batch // max(len(self.schema.names), 1), 1)
        return FixedBatchSampler(
            len(self.frames[part]), rows, shuffle=shuffle, seed=self.seed, rank=rank, world_size=world_size
        )

    def _part(self, part: str, sampler: FixedBatchSampler) -> DataLoader[pd.DataFrame]:
        return self._loader(_FrameRows(self.frames[part]), sampler, _unchanged)

    def _facts(self) -> object:
        train = self.frames.get("train", pd.DataFrame())
        return self.seed, self.cells_per_batch, tuple(train.columns), len(train), self._content


def _unchanged(batch: pd.DataFrame) -> pd.DataFrame:
    """Batches are made by the look-up."""
    return batch


class _FrameRows(Dataset[pd.DataFrame]):
    """Looks up the rows of a batch."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    def __getitem__(self, places: Sequence[int]) -> pd.DataFrame:
        return self.frame.iloc[places]


def _holds_records(path: Path) -> bool:
    """Whether a path is a folder, or a Parquet file with the mark of records."""
    if path.is_dir():
        return True
    if path.suffix not in (".parquet", ".pq") or not path.is_file():
        return False
    try:
        return b"graftable.record" in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False  # the reader of tables says what is wrong with it


def frame_to_records(
    frame: pd.DataFrame, schema: Schema, *, table: str | None = None, split: str | None = None
) -> list[dict[str, Any]]:
    """Rows as row records: numbers by column, everything else as texts, null cells left out.

    Args:
        frame: Rows with the columns of the schema; the index names them.
        schema: What the columns are.
        table: The name of the table.
        split: The split of the rows.

    Example:
        >>> frame = pd.DataFrame({"age": [39.0, np.nan], "sex": ["F", None]})
        >>> [record["numbers"] for record in frame_to_records(frame, Schema.detect(frame))]
        [{'age': 39.0}, {}]
    """
    records: list[dict[str, Any]] = [
        {"row_id": str(name), "table": table, "split": split, "numbers": {}, "categories": {}} for name in frame.index
    ]
    for column in schema:
        numeric = column.kind in ("integer", "decimal")
        kind, cell = ("numbers", float) if numeric else ("categories", _text)
        cells = frame[column.name]
        for record, value, missing in zip(records, cells, cells.isna(), strict=True):
            if not missing:
                record[kind][column.name] = cell(value)
    return records


def _text(cell: Any) -> str:
    return ("true" if cell else "false") if isinstance(cell, bool | np.bool_) else str(cell)


def records_to_frame(records: Iterable[Mapping[str, Any]]) -> tuple[pd.DataFrame, list[str | None]]:
    """Rows of row records, with the columns in the order in which they come up, and the split of each.

    Raises:
        DataError: If there is no record, or a column holds numbers here and texts there.

    Example:
        >>> frame, splits = records_to_frame([{"numbers": {"age": 39.0}, "categories": {"sex": "F"}, "split": "val"}])
        >>> frame.to_dict("records"), splits
        ([{'age': 39.0, 'sex': 'F'}], ['val'])
    """
    found = list(records)
    if not found:
        raise DataError("the row records hold no row, expected at least one.")
    kinds: dict[str, str] = {}
    for record in found:
        for kind in ("numbers", "categories"):
            for name in record.get(kind) or {}:
                if kinds.setdefault(name, kind) != kind:
                    raise DataError(
                        f"row record {record.get('row_id')}, column `{name}`: holds numbers in some rows and texts in "
                        "others; write the records again."
                    )
    columns = {name: [(record.get(kind) or {}).get(name) for record in found] for name, kind in kinds.items()}
    return pd.DataFrame(columns), [record.get("split") for record in found]
