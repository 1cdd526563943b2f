"""Laws of the graph datamodule: splits without leaks, batches with every field, and resumes that miss nothing."""

import json
import subprocess
import sys
import warnings
from collections import defaultdict
from itertools import chain

import lightning.pytorch as pl
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch_geometric.data import Data

from graftable.errors import ConfigError, DataError
from graftable.graphs.attributes import ATTRIBUTES, graph_attributes
from graftable.graphs.edge_lists import edge_array, graph_from_edges
from graftable.pipelines import datamodules
from graftable.pipelines.datamodules import GraphDataModule
from graftable.pipelines.records import write_records
from graftable.pipelines.splits import assign_splits

KNOWN = dict.fromkeys(ATTRIBUTES, 0.5)  # given attributes spare the tests their computation


def trees(count, **fields):
    """Distinct trees of 4 to 20 nodes with known attributes."""
    found = [nx.random_labeled_tree(4 + i % 17, seed=i) for i in range(count)]
    return [
        graph_from_edges(len(t), list(t.edges), graph_id=f"g{i}", domain="ab"[i % 3 == 0], attributes=KNOWN, **fields)
        for i, t in enumerate(found)
    ]


def shuffled(graph, seed):
    order = np.random.default_rng(seed).permutation(graph.num_nodes)
    return graph_from_edges(graph.num_nodes, order[edge_array(graph)])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 25), min_size=1, max_size=40), st.integers(0, 9))
def test_copies_of_a_graph_are_never_parted(picks, seed):
    originals = trees(26)
    graphs = [shuffled(originals[pick], i) for i, pick in enumerate(picks)]
    where = defaultdict(set)
    for pick, split in zip(picks, assign_splits(graphs, seed=seed), strict=True):
        where[structure(originals[pick])].add(split)
    assert all(len(splits) == 1 for splits in where.values())


def structure(graph):
    return nx.weisfeiler_lehman_graph_hash(nx.Graph(edge_array(graph).tolist()), iterations=8)


def test_splits_meet_their_fractions_and_depend_on_structure_and_seed_alone():
    graphs = [nx.gnp_random_graph(30, 0.2, seed=i) for i in range(100)]
    graphs = [graph_from_edges(30, list(graph.edges)) for graph in graphs]
    splits = assign_splits(graphs, (0.7, 0.2, 0.1))
    assert [splits.count(split) for split in ("train", "val", "test")] == [70, 20, 10]
    assert assign_splits([shuffled(g, 0) for g in graphs[::-1]], (0.7, 0.2, 0.1)) == splits[::-1]
    assert assign_splits(graphs, (0.7, 0.2, 0.1), seed=1) != splits


def test_one_graph_is_for_training():
    assert assign_splits([graph_from_edges(2, [[0, 1]])]) == ["train"]


def test_given_splits_are_kept_and_copies_follow_them():
    held_out, free = trees(1, split="test")[0], trees(60)
    splits = assign_splits([*free[1:], shuffled(held_out, 3), held_out])
    assert splits[-2:] == ["test", "test"]


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.5, -0.5, 0.0)])
def test_bad_fractions_are_refused(fractions):
    with pytest.raises(ConfigError, match="sum to 1"):
        assign_splits(trees(3), fractions)


def test_unknown_splits_are_refused():
    with pytest.raises(DataError, match="'later'"):
        assign_splits(trees(3, split="later"))


def test_a_batch_holds_every_field_of_every_graph():
    named = graph_from_edges(2, [[0, 1]], domain="road", text="a road", name=["a", "b"], split="train")
    plain = graph_from_edges(3, [[0, 1]], split="train")
    data = GraphDataModule.from_graphs([named, plain])
    data.setup()
    (batch,) = data.train_dataloader()
    first, second = sorted(batch.to_data_list(), key=lambda graph: graph.num_nodes)
    assert (first.domain, first.text, first.name, second.domain, second.name) == ("road", "a road", ["a", "b"], "", [])
    measured = graph_attributes(named)
    torch.testing.assert_close(first.attributes, torch.tensor([[measured[name] for name in ATTRIBUTES]]))
    assert batch.attributes.shape == (2, len(ATTRIBUTES))
    assert batch.attributes.dtype == torch.float32
    assert sorted(batch.domain) == ["", "road"]
    assert (batch.num_nodes, batch.ptr.tolist()[-1], batch.num_graphs) == (5, 5, 2)


def test_given_graphs_are_not_changed():
    graph = graph_from_edges(2, [[0, 1]])
    GraphDataModule.from_graphs([graph]).setup()
    assert set(graph.keys()) == {"edge_index", "num_nodes"}


def test_attributes_are_measured_only_where_the_record_lacks_them(monkeypatch):
    measured = []
    monkeypatch.setattr(datamodules, "graph_attributes", lambda g: measured.append(g) or dict.fromkeys(ATTRIBUTES, 1.0))
    lacking = graph_from_edges(2, [[0, 1]], attributes={"clustering": 0.25}, split="train")
    data = GraphDataModule.from_graphs([*trees(3, split="train"), lacking])
    data.setup()
    assert len(measured) == 1
    assert data.graphs["train"][-1].attributes == {**dict.fromkeys(ATTRIBUTES, 1.0), "clustering": 0.25}


def test_filters_keep_what_they_say_and_leave_splits_alone():
    graphs = trees(90)
    everything = GraphDataModule.from_graphs(graphs)
    chosen = GraphDataModule.from_graphs(graphs, domains=["a"], min_nodes=6, max_nodes=12, max_edges=10)
    everything.setup()
    chosen.setup()
    for split in ("train", "val", "test"):
        expected = [
            g.graph_id
            for g in everything.graphs[split]
            if g.domain == "a" and 6 <= g.num_nodes <= 12 and g.num_edges <= 20
        ]
        assert [g.graph_id for g in chosen.graphs[split]] == expected


@pytest.mark.parametrize(
    ("options", "error", "reason"),
    [
        ({"min_nodes": 1000}, DataError, "none of 9 graphs is left"),
        ({"domains": ["powr"]}, ConfigError, "'powr', expected one of a, b"),
        ({"split_fractions": (0.0, 0.0, 1.0)}, DataError, "none of 9 graphs is left"),
    ],
)
def test_settings_that_leave_nothing_are_refused(options, error, reason):
    with pytest.raises(error, match=reason):
        GraphDataModule.from_graphs(trees(9), **options).setup()


def test_networkx_graphs_are_taken_and_simplified_only_on_request():
    with pytest.raises(DataError, match="directed"):
        GraphDataModule.from_graphs([nx.DiGraph([(0, 1)])])
    data = GraphDataModule.from_graphs([nx.DiGraph([(0, 1)]), nx.path_graph(3)], undirected=True)
    data.setup()
    assert sum(map(len, data.graphs.values())) == 2


def test_records_are_read_from_a_folder(tmp_path):
    write_records(tmp_path / "graphs.parquet", trees(20))
    data = GraphDataModule(records=str(tmp_path), nodes_per_batch=64, balance=1.0)
    data.setup()
    seen = [name for batch in data.train_dataloader() for name in batch.graph_id]
    assert sorted(seen) == sorted(graph.graph_id for graph in data.graphs["train"])


def test_the_bundled_corpus_is_ready_for_training_and_its_splits_share_no_graph():
    data = GraphDataModule(domains=["road", "tree"], max_nodes=200)
    data.setup()
    assert {graph.domain for graph in data.graphs["train"]} == {"road", "tree"}
    assert all(data.graphs.values())
    assert not {g.graph_id for g in data.graphs["train"]} & {g.graph_id for g in data.graphs["test"]}
    assert next(iter(data.train_dataloader())).num_nodes <= 4096


class Witness(pl.LightningModule):
    """Notes which graphs it was trained on, and may die in the middle of a step."""

    def __init__(self, dies_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.trained, self.predicted, self.dies_at = [], [], dies_at

    def training_step(self, batch, batch_idx):
        if self.dies_at is not None and self.trainer.fit_loop.total_batch_idx == self.dies_at:
            raise KeyboardInterrupt
        self.trained.append((self.trainer.current_epoch, tuple(batch.graph_id)))
        return self.weight * batch.num_nodes

    def validation_step(self, batch, batch_idx):
        pass

    def predict_step(self, batch, batch_idx):
        self.predicted += batch.graph_id

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


class Save(Callback):
    """Saves a checkpoint after a number of batches, at the hook where checkpoints are saved, or when a step dies."""

    def __init__(self, path, after=None):
        self.path, self.after = path, after

    def on_exception(self, trainer, *_):
        trainer.save_checkpoint(self.path)

    def on_train_batch_end(self, trainer, *_):
        if trainer.fit_loop.total_batch_idx + 1 == self.after:
            trainer.save_checkpoint(self.path)


def trainer(*callbacks, epochs=3, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": any(isinstance(c, ModelCheckpoint) for c in callbacks)}
    return pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), **quiet, **options)


def datamodule(**options):
    return GraphDataModule.from_graphs(trees(40), **{"nodes_per_batch": 60, **options})


@pytest.fixture(scope="module")
def unbroken():
    witness = Witness()
    trainer().fit(witness, datamodule())
    return witness.trained


def test_every_epoch_of_a_fit_has_its_own_order(unbroken):
    epochs = [[ids for epoch, ids in unbroken if epoch == e] for e in range(3)]
    assert len({len(epoch) for epoch in epochs}) == 1
    assert epochs[0] != epochs[1] != epochs[2]


def kill_points(unbroken):
    """Steps in the middle of epochs, at their last batch, and at their first."""
    per_epoch = len(unbroken) // 3
    return [1, per_epoch - 1, per_epoch, per_epoch + 1, 2 * per_epoch - 2, 2 * per_epoch - 1]


# worker processes fetch ahead of training; they are slow to start, so they are tried at the end of an epoch only
@pytest.mark.parametrize(("point", "num_workers"), [*((point, 0) for point in range(6)), (1, 1), (2, 1)])
def test_a_resumed_fit_sees_exactly_the_batches_that_were_left(unbroken, tmp_path, point, num_workers):
    after = kill_points(unbroken)[point]
    trainer(Save(tmp_path / "last.ckpt", after)).fit(Witness(), datamodule())
    witness = Witness()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(epochs=2).fit(witness, datamodule(num_workers=num_workers), ckpt_path=tmp_path / "last.ckpt")
    assert witness.trained == [(epoch, ids) for epoch, ids in unbroken[after:] if epoch < 2]
    assert not [warning for warning in caught if "not resumable" in str(warning.message)]


@pytest.mark.parametrize(("dies_at", "num_workers"), [(0, 0), (3, 0), (8, 0), (3, 1)])
def test_a_fit_that_died_inside_a_step_repeats_that_step(unbroken, tmp_path, dies_at, num_workers):
    broken, witness = Witness(dies_at), Witness()
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trainer(Save(tmp_path / "died.ckpt")).fit(broken, datamodule(num_workers=num_workers))
    trainer().fit(witness, datamodule(), ckpt_path=tmp_path / "died.ckpt")
    assert broken.trained + witness.trained == unbroken


@pytest.mark.parametrize("options", [{"save_on_train_epoch_end": True}, {"save_on_train_epoch_end": False}])
def test_a_checkpoint_from_the_end_of_an_epoch_begins_the_next(unbroken, tmp_path, options):
    trainer(ModelCheckpoint(tmp_path, filename="end", **options), epochs=1).fit(Witness(), datamodule())
    witness = Witness()
    trainer().fit(witness, datamodule(num_workers=1), ckpt_path=tmp_path / "end.ckpt")
    assert witness.trained == [(epoch, ids) for epoch, ids in unbroken if epoch > 0]


def test_loaders_made_anew_each_epoch_keep_the_order(unbroken):
    witness = Witness()
    trainer(reload_dataloaders_every_n_epochs=1).fit(witness, datamodule())
    assert witness.trained == unbroken


def test_a_second_fit_of_the_same_datamodule_starts_at_the_beginning(unbroken, tmp_path):
    data = datamodule()
    trainer(Save(tmp_path / "last.ckpt", 2)).fit(Witness(), datamodule())
    trainer().fit(Witness(), data, ckpt_path=tmp_path / "last.ckpt")
    witness = Witness()
    trainer().fit(witness, data)
    assert witness.trained == unbroken


def test_resuming_with_another_budget_warns_and_draws_the_epoch_anew(tmp_path):
    trainer(Save(tmp_path / "last.ckpt", 2)).fit(Witness(), datamodule())
    witness = Witness()
    with pytest.warns(UserWarning, match="its epoch is drawn anew"):
        trainer(epochs=1).fit(witness, datamodule(nodes_per_batch=100), ckpt_path=tmp_path / "last.ckpt")
    other = datamodule(nodes_per_batch=100)
    other.setup()
    assert witness.trained[0][1] == tuple(next(iter(other.train_dataloader())).graph_id)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_prediction_covers_every_test_graph_once(num_workers):
    data, witness = datamodule(num_workers=num_workers), Witness()
    trainer().predict(witness, data)
    assert sorted(witness.predicted) == sorted(graph.graph_id for graph in data.graphs["test"])


def test_a_fit_works_without_validation_graphs():
    witness = Witness()
    trainer(epochs=1).fit(witness, datamodule(split_fractions=(1.0, 0.0, 0.0)))
    assert sum(len(ids) for _, ids in witness.trained) == 40


def test_making_and_reading_a_loader_leaves_the_global_generator_alone():
    data = datamodule()
    data.setup()
    before = torch.get_rng_state()
    list(data.train_dataloader())
    assert torch.equal(torch.get_rng_state(), before)


TWO_RANKS = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("cases", sys.argv[1])
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)

class Report(cases.Callback):
    def on_train_end(self, trainer, module):
        with open(f"{sys.argv[2]}/{trainer.global_rank}.json", "w") as file:
            json.dump([ids for _, ids in module.trained], file)

# Lightning's own sharding is on by default: it must not share the batches out a second time
trainer = cases.trainer(Report(), epochs=1, devices=2, strategy="ddp_fork", use_distributed_sampler=True)
trainer.fit(cases.Witness(), cases.datamodule(balance=1.0))
"""


def test_two_processes_share_the_graphs_of_one(tmp_path):
    data = datamodule(balance=1.0)
    data.setup()
    subprocess.run([sys.executable, "-c", TWO_RANKS, __file__, str(tmp_path)], check=True)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert len(first) == len(second)
    assert sorted(chain(*first, *second)) == sorted(graph.graph_id for graph in data.graphs["train"])


def test_pyg_graphs_with_one_direction_are_refused():
    with pytest.raises(DataError, match="one direction"):
        GraphDataModule.from_graphs([Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2)])


@pytest.mark.parametrize("setting", ["seed", "num_workers"])
def test_a_number_below_zero_is_refused_at_once(setting):
    with pytest.raises(ConfigError, match=f"{setting}: found -1"):
        GraphDataModule(**{setting: -1})


def test_test_and_prediction_on_nothing_are_refused_but_validation_may_be_empty():
    data = GraphDataModule.from_graphs(trees(20), split_fractions=(1.0, 0.0, 0.0))
    data.setup()
    assert list(data.val_dataloader()) == []
    for load in (data.test_dataloader, data.predict_dataloader):
        with pytest.raises(DataError, match="no test graphs, expected at least one; set split_fractions"):
            load()
