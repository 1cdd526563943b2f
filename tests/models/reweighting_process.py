"""A fit with `ReweightCallback`, alone or as one of several: `python reweighting_process.py OUT RANK WORLD PORT`.

A test runs it, on batches of 32 rows, of which each process has its share, and keeps a store at the port.
"""

import os
import sys

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from graftable.models.reweighting import ReweightCallback

ROWS, BATCH = 64, 32


def shortcut():
    """Two variables that follow the label, two that follow an attribute which agrees with it nine times in ten."""
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (ROWS,), generator=draw)
    attribute = torch.where(torch.rand(ROWS, generator=draw) < 0.9, label, 1 - label)
    x = torch.stack([label, label, attribute, attribute], 1) * 3.0 + torch.randn(ROWS, 4, generator=draw)
    return TensorDataset(x, label, torch.arange(ROWS))


class Classifier(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.encoder, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def training_step(self, batch, batch_idx):
        x, label, self.last_sample_id = batch
        self.last_embedding = self.encoder(x)
        self.per_sample_loss = functional.cross_entropy(self.head(self.last_embedding), label, reduction="none")
        return self.per_sample_loss.mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Recorder(Callback):
    """Keeps the weight of every sample of every step."""

    def __init__(self, reweight):
        self.reweight, self.steps = reweight, []

    def on_after_backward(self, trainer, pl_module):
        self.steps.append((pl_module.last_sample_id.clone(), self.reweight.last_weights.clone()))


def main(out, rank=0, world=1, port=None):
    strategy, batch = "auto", BATCH // world
    if world > 1:
        names = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK")
        os.environ |= dict(zip(names, ("127.0.0.1", port, str(world), "0", str(rank)), strict=True))
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"  # rank 0 opens none: by then the port could be another's
        strategy = DDPStrategy(process_group_backend="gloo")
    reweight = ReweightCallback(0.5, warmup_epochs=0)
    recorder, model = Recorder(reweight), Classifier()
    trainer = Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        max_steps=2,
        callbacks=[reweight, recorder],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    # every second row of a batch: rank 0 has the even ones
    sampler = DistributedSampler(shortcut(), world, rank, shuffle=False)
    trainer.fit(model, DataLoader(shortcut(), batch, sampler=sampler))
    torch.save({"steps": recorder.steps, "model": model.state_dict()}, out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], *(int(number) for number in sys.argv[2:4]), *sys.argv[4:])
