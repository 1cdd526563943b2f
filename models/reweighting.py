"""Reweighting for anyone's LightningModule: it shows its embedding and its losses, and is otherwise left as it is."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from graftable.errors import ConfigError
from graftable.graphs.reweighting import (
    DecorrelationWeighter,
    Rows,
    SampleMemory,
    StableVariableClusterer,
    WeightReport,
    gathered,
)

__all__ = ["ReweightCallback"]


class ReweightCallback(Callback):
    r"""Trains a model on samples that are weighted so that its representation's variables become independent.

    The module sets two attributes in its ``training_step``: ``last_embedding``, one row per sample, and
    ``per_sample_loss``, from which its loss is computed. Before the backward pass the weights are found, and the
    gradient that arrives at ``per_sample_loss`` is multiplied by them: a mean of losses becomes their weighted mean,
    while penalties beside it stay as they are. The loss that the module returns and logs is the one without weights.

    Where there are also ``last_environment``, ``last_label`` or ``last_sample_id`` on the module, or ``environment``,
    ``y`` or ``sample_id`` in the batch (as attributes or keys), these are used: environments to find which variables
    belong together, anew after each epoch; labels for ``balance``; sample ids to start from a sample's last weight and
    to smooth it. With environments nothing is weighted until the first clusters are known, and nothing at all if no
    relation between variables is found to vary.

    With several processes all solve the same problem, over the rows of all of them. All state is in the checkpoint, so
    that a resumed run continues exactly.

    Args:
        rho: Smallest effective sample size as a share of the rows, in (0, 1]; 1 changes nothing, to the bit.
        alpha: Penalty of a shifted mean of the features.
        features: "rff", "rbf" or "linear".
        num_features: Cosines for each variable, with "rff".
        balance: "none", "class" or "equal".
        memory: Earlier rows to solve with; 0 takes the batch alone.
        num_clusters: How many clusters of variables, or "auto"; of effect only with environments.
        cluster_rows: Last rows of an epoch from which clusters are found.
        warmup_epochs: Epochs without weights, while the representation takes shape.
        every: Find weights every so many batches; others take the last weight of each sample, by its id.
        smoothing: Share of a sample's earlier weight in its new one, in [0, 1).
        max_weight: Weights are cut at this value.
        seed: Seed of the cosines and of the shuffles that tell whether instability is real.

    Raises:
        ConfigError: If a setting is out of its range; in training, if the module does not show what is needed.

    Example:
        >>> callback = ReweightCallback(rho=0.5, warmup_epochs=2)
        >>> trainer = Trainer(callbacks=[callback], logger=False, enable_checkpointing=False, accelerator="cpu")
    """

    def __init__(
        self,
        rho: float = 0.5,
        *,
        alpha: float = 0.0,
        features: Literal["rff", "rbf", "linear"] = "rff",
        num_features: int = 5,
        balance: Literal["none", "class", "equal"] = "none",
        memory: int = 0,
        num_clusters: int | Literal["auto"] = "auto",
        cluster_rows: int = 2048,
        warmup_epochs: int = 1,
        every: int = 1,
        smoothing: float = 0.0,
        max_weight: float | None = 10.0,
        seed: int = 0,
    ) -> None:
        if every < 1 or warmup_epochs < 0:
            raise ConfigError(
                f"every is {every} and warmup_epochs {warmup_epochs}; expected at least 1, and at least 0."
            )
        self.warmup_epochs, self.every, self.balance, self.max_weight = warmup_epochs, every, balance, max_weight
        self.weighter = DecorrelationWeighter(
            rho,
            alpha,
            features,
            num_features=num_features,
            balance=balance,
            memory=memory,
            clusterer=StableVariableClusterer(num_clusters, momentum=0.5, seed=seed),
            smoothing=smoothing,
            max_weight=max_weight,
            seed=seed,
        )
        #: Weights of the last batch, and the report of the last solve.
        self.last_weights: Tensor | None = None
        self.last_report: WeightReport | None = None
        self._seen = SampleMemory(cluster_rows, drift=None)
        self._clusters: Tensor | None = None
        self._steps = 0
        self._batch: Any = None
        self._unused = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch within reach, for what the module does not show."""
        self._batch = batch

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Find the weights of this batch, and let them scale the gradient of its losses."""
        embedding, losses = _shown(pl_module)
        own = Rows(embedding.detach().float(), *(self._column(pl_module, name) for name in Rows._fields[1:]))
        if own.environment is not None:
            rows, _ = gathered(Rows(own.z, environment=own.environment))
            self._seen.push(rows)
        if trainer.current_epoch < self.warmup_epochs:
            return
        weights = self._weights(own)
        self.last_weights = weights
        if bool((weights == 1).all()):
            return
        self._unused = True

        def scaled(gradient: Tensor) -> Tensor:
            self._unused = False
            return gradient * weights.to(gradient)

        losses.register_hook(scaled)
        self._log(pl_module, losses.detach(), weights)

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make sure that the weights took effect."""
        if self._unused:
            raise ConfigError(
                "the loss was not computed from per_sample_loss, so weights have no effect; set "
                "self.per_sample_loss to the very tensor whose mean is returned, outside of what is compiled."
            )

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let go of the batch and of what the module showed, which would keep its graph alive."""
        self._batch = None
        pl_module.last_embedding = pl_module.per_sample_loss = None  # type: ignore[assignment]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Cluster the variables anew, from the rows that were seen last."""
        rows = self._seen.rows
        if rows is not None and rows.environment is not None:
            self._clusters = self.weighter.clusterer.update(rows.z, rows.environment)
            self._seen.clear()

    def _column(self, module: LightningModule, name: str) -> Tensor | None:
        """What the module shows, or the batch has, of this name; labels only where they are needed."""
        if name == "label" and self.balance == "none":
            return None
        found = getattr(module, f"last_{name}", None)
        if found is None:
            key = "y" if name == "label" else name
            found = self._batch.get(key) if isinstance(self._batch, dict) else getattr(self._batch, key, None)
        return found.detach().flatten() if isinstance(found, Tensor) else None

    def _weights(self, own: Rows) -> Tensor:
        turn, self._steps = self._steps, self._steps + 1
        if turn % self.every:
            if own.sample_id is None:
                raise ConfigError(
                    f"every is {self.every}, which keeps weights by sample, but there are no sample ids; set "
                    "self.last_sample_id in the training step, or every=1."
                )
            return self.weighter.store.get(own.sample_id, default=1.0).clamp(max=self.max_weight or float("inf"))
        if own.environment is not None and self._clusters is None:
            return torch.ones(len(own.z), device=own.z.device)
        rows, part = gathered(own)
        clusters = None if own.environment is None else self._clusters
        weights, self.last_report = self.weighter(rows.z, clusters, rows.label, None, rows.sample_id)
        return weights[part]

    def _log(self, module: LightningModule, losses: Tensor, weights: Tensor) -> None:
        figures = {"reweight/loss": (losses * weights.to(losses)).mean(), "reweight/max_weight": weights.max()}
        if self.last_report is not None:
            report = self.last_report
            figures["reweight/ess_share"] = torch.tensor(report.ess / max(report.num_rows, 1))
            figures["reweight/dependence_before"] = torch.tensor(report.dependence_before)
            figures["reweight/dependence_after"] = torch.tensor(report.dependence_after)
        module.log_dict(figures, on_step=False, on_epoch=True, batch_size=len(weights))

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on."""
        return {
            "weighter": self.weighter.state_dict(),
            "seen": self._seen.state_dict(),
            "clusters": self._clusters,
            "steps": self._steps,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.weighter.load_state_dict(state_dict["weighter"])
        self._seen.load_state_dict(state_dict["seen"])
        self._clusters, self._steps = state_dict["clusters"], state_dict["steps"]


def _shown(module: LightningModule) -> tuple[Tensor, Tensor]:
    """Embedding and losses of the last step."""
    name = type(module).__name__
    embedding, losses = getattr(module, "last_embedding", None), getattr(module, "per_sample_loss", None)
    if not isinstance(embedding, Tensor) or not isinstance(losses, Tensor):
        raise ConfigError(
            f"{name} shows no embedding or losses; in training_step, set self.last_embedding to (rows, width) and "
            "self.per_sample_loss to the (rows,) losses whose mean it returns."
        )
    if losses.dim() != 1 or embedding.dim() != 2 or len(losses) != len(embedding) or not losses.requires_grad:
        raise ConfigError(
            f"{name} shows an embedding of shape {tuple(embedding.shape)} and losses of shape {tuple(losses.shape)}, "
            f"with{'' if losses.requires_grad else 'out'} a gradient; expected (rows, width) and (rows,), with one."
        )
    return embedding, losses
