"""L2RGNN: two models from one run, the right epoch served, and one sentence for what cannot be."""

import copy

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch_geometric.data import Data

from graftable.errors import ConfigError
from graftable.graphs.shift import ShiftSet, load_shift_set
from graftable.graphs.shift_methods.parts import GraphBatch
from graftable.models import L2RGNN
from graftable.models.pretrained import load_pretrained
from graftable.pipelines import ShiftDataModule
from graftable.pipelines.randomness import CounterRandomness

pytestmark = pytest.mark.filterwarnings(
    "ignore:the weights are uniform", "ignore:of 1 environments", "ignore:Checkpoint"
)
SMALL = {"width": 8, "layers": 2}


def trainer(folder, epochs=2, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    return Trainer(
        **{"accelerator": "cpu", "max_epochs": epochs, "enable_checkpointing": False} | quiet | settings,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[CounterRandomness(0)],
    )


def wheel(size=40, mu=(0.9, 0.7)):
    return ShiftDataModule("wheel_star", size=size, settings={"mu": list(mu)}, batch_size=16)


def fitted(folder, data, epochs=2, **settings):
    seed_everything(0, verbose=False)
    model = L2RGNN(**SMALL | settings)
    trainer(folder, epochs).fit(model, datamodule=data)
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("l2r"), wheel()
    seed_everything(0, verbose=False)
    model, fit = L2RGNN(**SMALL), trainer(folder, epochs=3, enable_checkpointing=True)
    fit.fit(model, datamodule=data)
    fit.save_checkpoint(folder / "after.ckpt", weights_only=False)
    return model, data, folder, next(folder.rglob("epoch=*.ckpt"))


def test_plain_training_and_l2r_are_scored_side_by_side(run, capsys):
    model, _, _, _ = run
    rows = {(row["model"], row["selected_by"]) for row in model.results}
    names = ("erm", "erm_refit", "l2r")
    assert rows == {(name, column) for name in names for column in ("id_val", "ood_val")}
    for row in model.results:
        assert all(0 <= row[part]["accuracy"] <= 1 for part in ("id_val", "ood_val", "id_test", "ood_test"))
    assert [line.split()[0] for line in model.table().splitlines()] == ["accuracy", *names, *names]


def test_the_worst_group_is_that_with_and_without_a_star_where_the_score_is_lower(run):
    model, data, _, _ = run
    model.eval()
    shift, row = (
        data.loaded,
        next(row for row in model.results if (row["model"], row["selected_by"]) == ("l2r", "id_val")),
    )
    right = {0: [], 1: []}
    with torch.no_grad():
        for batch in data.part_dataloader("ood_test"):
            answers = model.answers(GraphBatch.from_pyg(batch))["l2r"].argmax(1)
            for number, correct in zip(batch.graph_number.tolist(), (answers == batch.y).tolist(), strict=True):
                right[int(shift.ood_test[number].group)].append(correct)
    shares = [sum(each) / len(each) for each in right.values()]
    assert row["ood_test"]["worst_group"] == pytest.approx(min(shares))
    assert row["ood_test"]["accuracy"] > min(shares)


def test_every_column_is_scored_on_what_it_kept(tmp_path):
    data = wheel()
    seed_everything(0, verbose=False)
    model = L2RGNN(**SMALL, learning_rate=0.01)
    # validated after every batch, the columns keep two states of one epoch: two steps with this seed
    trainer(tmp_path, epochs=1, val_check_interval=1).fit(model, datamodule=data)
    model.eval()
    for column, kept in model.selection.best.items():
        model.load_state_dict(kept["state"])
        expected = {row["model"]: row for row in model.results if row["selected_by"] == column}
        for row in model._results(column, kept["epoch"]):
            assert row == expected[row["model"]]


def test_plain_training_beside_l2r_is_plain_training(run, tmp_path):
    model, data, _, _ = run
    alone = fitted(tmp_path, data, epochs=3, method="erm")
    expected = {row["selected_by"]: row for row in model.results if row["model"] == "erm"}
    assert {row["selected_by"]: row for row in alone.results} == expected


def test_the_checkpoint_serves_the_selected_epoch_and_resumes_the_last(run):
    model, data, folder, checkpoint = run
    served = load_pretrained(L2RGNN, str(checkpoint))
    assert bool(served.refitted)
    for name, value in served.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    trained = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert not bool(trained["refitted"])
    (validated,) = trainer(folder).test(model, datamodule=data, verbose=False)[:1]
    row = next(row for row in model.results if (row["model"], row["selected_by"]) == ("l2r", "id_val"))
    assert validated["id_test/l2r_accuracy"] == pytest.approx(row["id_test"]["accuracy"])


def test_a_run_of_more_epochs_goes_on_as_if_it_had_not_stopped(run, tmp_path):
    _, data, _, checkpoint = run
    seed_everything(0, verbose=False)
    resumed = L2RGNN(**SMALL)
    trainer(tmp_path, epochs=5).fit(resumed, datamodule=data, ckpt_path=checkpoint)
    unbroken = fitted(tmp_path, data, epochs=5)
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert resumed.results == unbroken.results


@pytest.mark.parametrize("encoder", ["gcn", "gat", "pna", "transformer"])
def test_every_encoder_is_fitted_saved_and_loaded(encoder, tmp_path):
    model = fitted(tmp_path, wheel(), epochs=1, encoder=encoder, method="gsat", readout="mean+max", heads=2)
    model.save_pretrained(tmp_path / "saved")
    loaded = load_pretrained(L2RGNN, str(tmp_path / "saved"))
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name


@pytest.mark.parametrize("method", ["group_dro", "l2r_joint", "l2r_literal", "stablenet"])
def test_what_a_method_keeps_between_steps_is_resumed(method, tmp_path):
    settings = {"l2r_joint": {"warmup": 0, "every": 2, "memory": 16}, "l2r_literal": {"warmup": 0, "steps": 2}}
    data, given = wheel(), {"method": method, "method_settings": settings.get(method)}
    seed_everything(0, verbose=False)
    first = trainer(tmp_path, epochs=1)
    first.fit(model := L2RGNN(**SMALL, **given, select="last"), datamodule=data)
    first.save_checkpoint(tmp_path / "first.ckpt")
    seed_everything(0, verbose=False)
    resumed = L2RGNN(**SMALL, **given, select="last")
    trainer(tmp_path, epochs=2).fit(resumed, datamodule=data, ckpt_path=tmp_path / "first.ckpt")
    unbroken = fitted(tmp_path, data, epochs=2, **given, select="last")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert model.hparams["method"] == method


def odd_set(task, metric, labels, outputs, edges=True):
    """Twelve small graphs, the same in every part."""
    draw = torch.Generator().manual_seed(0)
    graphs = []
    for number in range(12):
        edge_index = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]) if edges else torch.zeros(2, 0, dtype=torch.long)
        x = torch.randn(3, 2, generator=draw)
        graphs.append(Data(x=x, edge_index=edge_index, y=labels[number : number + 1], environment=number))
    parts = {part: copy.deepcopy(graphs) for part in ("train", "id_val", "id_test", "ood_test")}
    classes = outputs if task == "multiclass" else 2
    tasks = labels.shape[1] if labels.dim() > 1 else 1
    return ShiftSet(name="odd", **parts, ood_val=[], task=task, num_classes=classes, metric=metric, num_tasks=tasks)


@pytest.mark.parametrize("method", ["l2r", "vrex", "coral", "dir"])
@pytest.mark.parametrize("kind", ["regression", "multitask", "one class"])
@pytest.mark.parametrize("edges", [True, False], ids=["edges", "no edges"])
@pytest.mark.filterwarnings("ignore:.*classes:UserWarning", "ignore:of 12 environments", "ignore:.*single label")
def test_an_odd_set_gives_finite_scores(method, kind, edges, tmp_path):
    gaps = torch.arange(36).view(12, 3).remainder(2).float()
    gaps[:, 2] = gaps[0, 0] = float("nan")
    made = {
        "regression": lambda: odd_set("regression", "rmse", torch.linspace(0, 1, 12).view(-1, 1), 1, edges),
        "multitask": lambda: odd_set("multitask", "roc_auc", gaps, 3, edges),
        "one class": lambda: odd_set("multiclass", "accuracy", torch.zeros(12, dtype=torch.long), 3, edges),
    }[kind]()
    data = ShiftDataModule.from_set(made, batch_size=5)
    model = fitted(tmp_path, data, epochs=1, method=method)
    for row in model.results:
        assert np.isfinite(row["ood_test"][made.metric])
    for value in model.state_dict().values():
        assert torch.isfinite(value.float()).all()


def test_predictions_hold_both_models(run, tmp_path):
    model, data, _, _ = run
    records = [record for batch in trainer(tmp_path).predict(model, datamodule=data) for record in batch]
    assert len(records) == len(data.loaded.ood_test)
    for record in records:
        assert set(record["categories"]) == {"erm_class", "l2r_class"}
        for name in ("erm", "l2r"):
            assert record["numbers"][f"{name}_probability_0"] + record["numbers"][f"{name}_probability_1"] == (
                pytest.approx(1, abs=1e-5)
            )


class TestRefusals:
    def test_a_method_of_environments_needs_two(self, tmp_path):
        with pytest.raises(ConfigError, match="vrex compares environments, but the training graphs of wheel_star"):
            fitted(tmp_path, wheel(mu=(0.9,)), method="vrex")

    def test_another_shape_of_data_is_refused(self, run, tmp_path):
        model = run[0]
        other = load_shift_set("spurious_motif", size=30)
        with pytest.raises(ConfigError, match=r"of the model is .*, but the set spurious_motif has"):
            trainer(tmp_path).test(model, datamodule=ShiftDataModule.from_set(other), verbose=False)

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"method": "l3r"}, "method is 'l3r'"),
            ({"encoder": "mlp"}, "encoder is 'mlp'"),
            ({"rho": 2.0}, "rho is 2.0"),
            ({"method": "gsat", "rho": 0.5}, "gsat has no setting 'rho'"),
            ({"select": "ood_test"}, "select is 'ood_test'"),
        ],
    )
    def test_a_bad_setting_is_refused_before_any_data(self, settings, said):
        with pytest.raises(ConfigError, match=said):
            L2RGNN(**settings)

    def test_a_model_without_a_shape_says_so(self):
        with pytest.raises(ConfigError, match="the model has no shape yet"):
            L2RGNN()._network  # noqa: B018
