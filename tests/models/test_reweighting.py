"""Any module that shows its embedding and losses is trained on weights, and left alone otherwise."""

import copy

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from graftable.errors import ConfigError
from graftable.models.reweighting import ReweightCallback


class Shortcut(Dataset):
    def __init__(self, rows=96, environments=True):
        draw = torch.Generator().manual_seed(0)
        label = torch.randint(0, 2, (rows,), generator=draw)
        environment = torch.arange(rows) % 3
        rate = torch.tensor([0.95, 0.8, 0.5])[environment]
        attribute = torch.where(torch.rand(rows, generator=draw) < rate, label, 1 - label)
        signal = torch.stack([label, label, attribute, attribute], 1) * 3.0
        self.x = signal + torch.randn(rows, 4, generator=draw)
        self.y, self.environment, self.environments = label, environment, environments

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        extra = {"environment": self.environment[row]} if self.environments else {}
        return {"x": self.x[row], "y": self.y[row], "sample_id": torch.tensor(row), **extra}


class Plain(LightningModule):
    def __init__(self, show=True, detached=False):
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.show, self.detached = show, detached

    def training_step(self, batch, batch_idx):
        z = self.encoder(batch["x"])
        losses = F.cross_entropy(self.head(z), batch["y"], reduction="none")
        if self.show:
            self.last_embedding, self.per_sample_loss = z, losses
        if self.detached:
            self.per_sample_loss = losses * 1
        return losses.mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class Awkward(Plain):
    """Shows what is hard to weigh, by name."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def training_step(self, batch, batch_idx):
        if self.kind == "one class":
            batch["y"] = torch.zeros_like(batch["y"])
        loss = super().training_step(batch, batch_idx)
        if self.kind == "constant":
            self.last_embedding = torch.ones_like(self.last_embedding)
        elif self.kind == "not finite":
            self.last_embedding = self.last_embedding * float("nan")
        elif self.kind == "unknown labels":
            self.last_label = torch.where(batch["sample_id"] % 2 == 0, float("nan"), batch["y"].float())
        elif self.kind == "environments of one member":
            self.last_environment = batch["sample_id"]
        return loss


class Recorder(Callback):
    def __init__(self):
        self.losses, self.gradients = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))

    def on_after_backward(self, trainer, pl_module):
        self.gradients.append(copy.deepcopy(pl_module.head.weight.grad))


def train(callback, tmp_path, epochs=3, module=None, resume=None, batch_size=32, **data):
    recorder = Recorder()
    module = module or Plain()
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=[recorder, *([callback] if callback else [])],
        accelerator="cpu",
        default_root_dir=tmp_path,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(Shortcut(**data), batch_size=batch_size)
    trainer.fit(module, loader, ckpt_path=resume, weights_only=True)
    return trainer, module, recorder


def test_the_gradient_is_that_of_the_weighted_mean(tmp_path):
    callback = ReweightCallback(0.5, warmup_epochs=0)
    module = Plain()
    first = copy.deepcopy(module)
    _, _, recorder = train(callback, tmp_path, 1, module, rows=32, environments=False)
    data = Shortcut(32)
    losses = F.cross_entropy(first.head(first.encoder(data.x)), data.y, reduction="none")
    assert float(callback.last_weights.std()) > 0.1
    (losses * callback.last_weights).mean().backward()
    torch.testing.assert_close(recorder.gradients[0], first.head.weight.grad)


def test_rho_of_one_and_warm_up_train_as_without_to_the_bit(tmp_path):
    _, plain, without = train(None, tmp_path)
    for callback in (ReweightCallback(1.0, warmup_epochs=0), ReweightCallback(0.3, warmup_epochs=9)):
        _, module, recorder = train(callback, tmp_path)
        assert recorder.losses == without.losses
        assert torch.equal(module.head.weight, plain.head.weight)


def test_clusters_come_from_the_environments_after_an_epoch(tmp_path):
    callback = ReweightCallback(0.5, warmup_epochs=0, num_clusters=2)
    trainer, _, _ = train(callback, tmp_path, epochs=2, rows=320)
    assert callback.last_report.clusters.max() == 1
    assert callback.last_report.dependence_after < callback.last_report.dependence_before
    assert float(trainer.callback_metrics["reweight/ess_share"]) >= 0.499


@pytest.mark.parametrize("settings", [{}, {"memory": 64, "smoothing": 0.9}, {"every": 2, "balance": "class"}])
def test_a_resumed_run_continues_exactly(settings, tmp_path):
    def callback():
        return ReweightCallback(0.5, num_clusters=2, **settings)

    _, whole_module, whole = train(callback(), tmp_path, 6, rows=224)
    trainer, _, first = train(callback(), tmp_path, 3, rows=224)
    trainer.save_checkpoint(tmp_path / "middle.ckpt")
    _, module, second = train(callback(), tmp_path, 6, resume=tmp_path / "middle.ckpt", rows=224)
    assert len(second.losses) == 21
    assert first.losses + second.losses == whole.losses
    assert torch.equal(module.head.weight, whole_module.head.weight)
    plain = train(None, tmp_path, 6, rows=224)[2]
    assert plain.losses != whole.losses


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("constant", "a representation that is constant"),
        ("not finite", "numbers that are not finite"),
        ("batches of one row", "fewer rows than clusters"),
        ("environments of one member", None),
        ("unknown labels", None),
        ("one class", None),
    ],
)
@pytest.mark.filterwarnings("ignore:the weights are uniform", "ignore:of 32 environments")
def test_what_cannot_be_weighed_trains_on_finite_weights_and_is_counted(kind, reason, tmp_path):
    callback = ReweightCallback(0.5, warmup_epochs=0, balance="class")
    batch_size = 1 if kind == "batches of one row" else 32
    _, module, recorder = train(
        callback, tmp_path, 2, Awkward(kind), rows=32, environments=False, batch_size=batch_size
    )
    assert torch.isfinite(torch.tensor(recorder.losses)).all()
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())
    assert float(callback.last_weights.mean()) == pytest.approx(1, abs=1e-5)
    uniform = bool((callback.last_weights == 1).all())
    assert uniform == (reason is not None or kind == "environments of one member")
    if reason is not None:
        assert callback.weighter.fallbacks[reason] == 2 * 32 / batch_size
    if kind == "environments of one member":
        assert callback.weighter.clusterer.fallbacks == 2


def test_a_module_that_shows_nothing_is_told_what_to_set(tmp_path):
    with pytest.raises(ConfigError, match=r"Plain shows no embedding or losses.*set self\.last_embedding"):
        train(ReweightCallback(), tmp_path, module=Plain(show=False))


def test_losses_that_the_loss_is_not_made_of_are_noticed(tmp_path):
    with pytest.raises(ConfigError, match="the loss was not computed from per_sample_loss"):
        train(ReweightCallback(warmup_epochs=0), tmp_path, module=Plain(detached=True), environments=False)


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="every is 0"):
        ReweightCallback(every=0)
    with pytest.raises(ConfigError, match="rho is 0"):
        ReweightCallback(0)
