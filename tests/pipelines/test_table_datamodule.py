"""Laws of the table datamodule: a budget of cells, every row once an epoch, orders by seed, and exact resumes."""

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback

from graftable.errors import ConfigError, DataError, RuleError
from graftable.pipelines.records import ROW, read_records, write_records
from graftable.pipelines.splits import split_rows
from graftable.pipelines.tables import TableDataModule, frame_to_records, records_to_frame
from graftable.tabular import Schema, check


def table(rows=60, columns=3):
    return pd.DataFrame({f"c{place}": np.arange(rows) * (place + 1) for place in range(columns)})


def ready(frame=None, **options):
    data = TableDataModule.from_table(table() if frame is None else frame, **options)
    data.setup()
    return data


@settings(max_examples=40)
@given(rows=st.integers(1, 60), columns=st.integers(1, 5), cells=st.integers(1, 80), seed=st.integers(0, 3))
def test_a_batch_keeps_the_budget_and_an_epoch_holds_every_row_once(rows, columns, cells, seed):
    data = ready(table(rows, columns), cells_per_batch=cells, seed=seed)
    batches = list(data.train_dataloader())
    assert all(batch.size <= max(cells, columns) for batch in batches)
    assert sorted(place for batch in batches for place in batch.index) == list(range(len(data.frames["train"])))
    for batch in batches:
        pd.testing.assert_frame_equal(batch, data.frames["train"].loc[batch.index])


def test_the_order_is_that_of_the_seed_and_the_epoch():
    def order(seed, epoch):
        data = ready(cells_per_batch=12, seed=seed, split_fractions=(1.0, 0.0, 0.0))
        data.position = (epoch, 0)
        return [tuple(batch.index) for batch in data.train_dataloader()]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@settings(max_examples=30)
@given(rows=st.integers(1, 80), seed=st.integers(0, 5))
def test_splits_part_all_rows_and_meet_their_fractions(rows, seed):
    parts = split_rows([None] * rows, (0.6, 0.3, 0.1), seed)
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(rows))
    assert abs(len(parts["val"]) - 0.3 * rows) < 1
    assert abs(len(parts["test"]) - 0.1 * rows) < 1
    assert len(parts["train"]) >= 1


def test_splits_of_records_are_kept():
    parts = split_rows(["test", None, "val", None], (1.0, 0.0, 0.0))
    assert {name: rows.tolist() for name, rows in parts.items()} == {"train": [1, 3], "val": [2], "test": [0]}


class Witness(pl.LightningModule):
    """Notes which rows it was trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.trained = []

    def training_step(self, batch, batch_idx):
        self.trained.append((self.trainer.current_epoch, tuple(batch.index)))
        return self.weight * len(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class Save(Callback):
    def __init__(self, path, after):
        self.path, self.after = path, after

    def on_train_batch_end(self, trainer, *_):
        if trainer.fit_loop.total_batch_idx + 1 == self.after:
            trainer.save_checkpoint(self.path)


def trained(data, *callbacks, resume=None):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    witness = Witness()
    trainer = pl.Trainer(max_epochs=2, callbacks=list(callbacks), enable_checkpointing=False, **quiet)
    trainer.fit(witness, data, ckpt_path=resume)
    return witness.trained


def test_a_resumed_fit_sees_exactly_the_batches_that_were_left(tmp_path):
    whole = trained(TableDataModule.from_table(table(), cells_per_batch=24))
    for after in (2, len(whole) // 2, len(whole) // 2 + 1):
        trained(TableDataModule.from_table(table(), cells_per_batch=24), Save(tmp_path / "last.ckpt", after))
        rest = trained(TableDataModule.from_table(table(), cells_per_batch=24), resume=tmp_path / "last.ckpt")
        assert rest == whole[after:]


def test_a_resume_with_other_rows_warns_and_draws_the_epoch_anew(tmp_path):
    trained(TableDataModule.from_table(table(), cells_per_batch=24), Save(tmp_path / "last.ckpt", 2))
    with pytest.warns(UserWarning, match="its epoch is drawn anew"):
        trained(TableDataModule.from_table(table() + 1, cells_per_batch=24), resume=tmp_path / "last.ckpt")


def test_rows_that_break_a_rule_are_left_out_unless_most_do():
    frame = pd.DataFrame({"low": range(40), "high": [5] * 3 + list(range(3, 40))})
    data = ready(frame.assign(low=frame["low"] + 3), rules="low <= high + 3")
    assert data.left_out == 0
    data = ready(frame, rules="high <= low")
    assert data.left_out == 3
    assert all((part["high"] <= part["low"]).all() for part in data.frames.values())
    assert ready(frame, rules="high < low").left_out == 0  # no row obeys: then they are learnt as they are


def test_the_bundled_table_obeys_its_rules():
    data = TableDataModule("bike", "bike")
    data.setup()
    assert data.left_out == 0
    assert sum(map(len, data.frames.values())) == 2483
    assert check(pd.concat(data.frames.values()), data.rule_set, data.schema).violating_rows == 0


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_files_are_read_as_tables(name, tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})
    frame.to_csv(tmp_path / name, index=False) if name.endswith("csv") else frame.to_parquet(tmp_path / name)
    data = TableDataModule(str(tmp_path / name), split_fractions=(1.0, 0.0, 0.0), columns=["b", "a"])
    data.setup()
    assert data.frames["train"].fillna("-").to_dict("list") == {"b": ["x", "-", "z"], "a": [1, 2, 3]}
    assert data.val_dataloader() == []


def test_row_records_are_a_table_and_a_table_is_row_records(tmp_path):
    frame = pd.DataFrame(
        {"n": [1.5, None, -2.0], "day": ["2011-01-01", "2011-02-01", None], "yes": [True, False, True], "t": ["a"] * 3}
    )
    schema = Schema.detect(frame)
    records = frame_to_records(frame, schema, table="t", split="train")
    write_records(tmp_path / "rows.parquet", records, ROW)
    back, splits = records_to_frame(read_records(tmp_path / "rows.parquet", ROW))
    assert splits == ["train"] * 3
    texts = frame.assign(yes=["true", "false", "true"])
    assert back[list(frame)].astype(object).fillna("-").to_dict("list") == texts.astype(object).fillna("-").to_dict(
        "list"
    )
    data = TableDataModule(str(tmp_path), columns=list(frame))
    data.setup()
    assert len(data.frames["train"]) == 3
    assert [column.kind for column in data.schema] == [column.kind for column in schema]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"cells_per_batch": 0}, ConfigError, "cells_per_batch: found 0, expected a whole number of at least 1"),
        ({"seed": -1}, ConfigError, "seed: found -1"),
        ({"split_fractions": (0.5, 0.1, 0.1)}, ConfigError, "sum to 1"),
        ({"split_fractions": (0.0, 1.0, 0.0)}, DataError, "none of 60 rows is left to train on"),
        ({"columns": ["c0", "c9"]}, DataError, r"there is no column `c9`\. There is `c0`, `c1`, `c2`\."),
        ({"columns": ["c0"], "rules": "c1 >= 0"}, ConfigError, "leaves out `c1`, which the rules speak of"),
        ({"rules": "c1 >= c8"}, RuleError, "c8"),
        ({"separator": "||"}, DataError, "expected one ASCII character"),
    ],
)
def test_a_mistake_is_named(options, error, said):
    with pytest.raises(error, match=said):
        ready(**options)


def test_tables_that_are_no_tables_are_named(tmp_path):
    (tmp_path / "empty.csv").write_text("a,b\n")
    for name, said in [("bikes", "expected a file or one of the tables that ship: bike"), ("no.csv", "no such file")]:
        with pytest.raises(DataError, match=said):
            TableDataModule(name).setup()
    with pytest.raises(DataError, match="no rows"):
        TableDataModule(str(tmp_path / "empty.csv")).setup()
    with pytest.raises(DataError, match="no rows"):
        ready(pa.table({"a": pa.array([], pa.int64())}))
    with pytest.raises(DataError, match=r"no \.parquet file"):
        TableDataModule(str(tmp_path)).setup()
    data = ready(table(1))
    assert len(data.frames["train"]) == 1
    for load in (data.test_dataloader, data.predict_dataloader):
        with pytest.raises(DataError, match="no test rows, expected at least one; set split_fractions"):
            load()
