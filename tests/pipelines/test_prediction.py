import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from graftable.errors import ConfigError, DataError
from graftable.pipelines.prediction import RecordWriter
from graftable.pipelines.records import read_records


class Paths(LightningModule):
    """Predicts a path graph of as many nodes as each number says; a negative number is a failure."""

    def predict_step(self, batch):
        if batch.min() < 0:
            raise RuntimeError("a step failed")
        return [
            {
                "graph_id": f"path-{n}",
                "num_nodes": n,
                "source_nodes": list(range(n - 1)),
                "target_nodes": list(range(1, n)),
            }
            for n in batch.tolist()
        ]


class Numbers(Paths):
    def predict_step(self, batch):
        return batch


def predict(model, numbers, path):
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[RecordWriter(str(path))],
    )
    trainer.predict(model, DataLoader(torch.tensor(numbers), batch_size=2), return_predictions=False)


def test_predictions_are_written_as_records_in_order(tmp_path, capsys):
    path = tmp_path / "new" / "a.parquet"
    predict(Paths(), [3, 1, 5], path)
    assert [record["num_nodes"] for record in read_records(path)] == [3, 1, 5]
    assert f"wrote 3 graph records to {path}" in capsys.readouterr().out


def test_a_failed_prediction_leaves_the_earlier_file_as_it_was(tmp_path):
    path = tmp_path / "a.parquet"
    predict(Paths(), [3], path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="a step failed"):
        predict(Paths(), [4, 4, -1], path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["a.parquet"]


def test_a_step_that_returns_no_records_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Numbers\.predict_step returned Tensor, expected a list of records"):
        predict(Numbers(), [1], tmp_path / "a.parquet")


def test_a_record_that_does_not_fit_the_schema_writes_nothing(tmp_path):
    class Wrong(Paths):
        def predict_step(self, batch):
            return [{"graph_id": "a", "colour": "red"}]

    with pytest.raises(DataError, match="colour"):
        predict(Wrong(), [1], tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="found 'picture', expected one of graph, row, document, text"):
        RecordWriter("a.parquet", kind="picture")
