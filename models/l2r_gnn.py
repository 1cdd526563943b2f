"""L2R-GNN: graph models that hold up when the world shifts, with plain training beside them in the same run.

Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", AAAI 2024, weigh training graphs so that
groups of variables of the embedding become independent. Three choices differ from the paper:

1. Weights are the solution of a convex problem with one knob, the share of the sample that they must leave (``rho``),
   in place of gradient steps on weights that nothing bounds.
2. They act on the last layer alone, fitted once the encoder is trained. So the model without weights is the first
   stage of the same run, and both are scored on the same epochs, beside a last layer that was fitted again without
   weights (``erm_refit``): only what L2R gains over that is due to weights. ``l2r_joint`` weighs the whole training.
3. Which variables belong together is read from environments, not from mini-batches of one law, which carry no such
   information; and where a layer under weights is worse on an environment that was left out, weights are switched off.

The published algorithm (``l2r_literal``) and its rivals run on the same encoder: ``method`` chooses.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any, cast

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Batch

from graftable.errors import ConfigError
from graftable.graphs.nn import GraphEncoder, degree_histogram
from graftable.graphs.ops import Adjacency
from graftable.graphs.shift import evaluate_predictions, worst_environment
from graftable.graphs.shift_methods import make_method
from graftable.graphs.shift_methods.parts import GraphBatch, GraphNetwork, Moment, Task, mean_over
from graftable.graphs.shift_methods.selection import Selection
from graftable.graphs.shift_methods.two_stage import L2R
from graftable.models.pretrained import PretrainedFolder
from graftable.pipelines.shift import TESTED, VALIDATED

__all__ = ["L2RGNN"]

SHAPE = ("in_features", "edge_features", "task", "outputs", "metric")
"""Constructor arguments that the data settle."""


class L2RGNN(
    lightning.LightningModule,
    PretrainedFolder,
    library_name="graftable",
    license="apache-2.0",
    tags=["graph-ml", "out-of-distribution"],
):
    """Graph classification and regression under shift: one encoder, one of many training rules.

    Args:
        method: ``l2r`` (plain training, then a last layer on weighted graphs), ``l2r_joint``, ``l2r_literal`` (as
            published), or a rival: ``erm``, ``irm``, ``vrex``, ``group_dro``, ``coral``, ``mixup``, ``gsat``, ``dir``,
            ``ciga``, ``stablenet``, ``ood_gnn``; ``l2r_uniform``, ``l2r_permuted`` and ``l2r_random_clusters`` are
            controls.
        encoder: ``gin``, ``gcn``, ``gat``, ``pna`` or ``transformer``.
        width: Width of the encoder.
        layers: Layers of the encoder.
        readout: ``sum``, ``mean``, ``max``, ``attention``, or several joined by ``+``.
        dropout: In the encoder.
        heads: Attention heads of ``gat`` and ``transformer``.
        rho: Share of the training graphs that L2R's weights must leave as an effective sample, in (0, 1]; 1 weighs
            all alike. Null keeps the method's default.
        method_settings: Other settings of the method by name; see ``graftable.graphs.shift_methods``.
        learning_rate: Adam's.
        weight_decay: Adam's.
        select: Whose best epoch is kept: ``id_val``, ``ood_val`` (where the set has one) or ``last``.
        in_features: Width of node features; taken from the data in a fit.
        edge_features: Width of edge features, null for none; taken from the data in a fit.
        task: ``binary``, ``multiclass``, ``multitask`` or ``regression``; taken from the data in a fit.
        outputs: Classes or tasks; taken from the data in a fit.
        metric: What epochs are compared by; taken from the data in a fit.

    References:
        Chen et al., "Learning to Reweight for Generalizable Graph Neural Network", 2024.
    """

    record_kind = "row"

    def __init__(
        self,
        method: str = "l2r",
        encoder: str = "gin",
        width: int = 64,
        layers: int = 3,
        readout: str = "mean",
        dropout: float = 0.0,
        heads: int = 4,
        rho: float | None = None,
        method_settings: dict[str, Any] | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        select: str = "id_val",
        in_features: int | None = None,
        edge_features: int | None = None,
        task: str | None = None,
        outputs: int | None = None,
        metric: str | None = None,
    ) -> None:
        super().__init__()
        if select not in ("id_val", "ood_val", "last"):
            raise ConfigError(f"select is {select!r}; expected id_val, ood_val or last.")
        self.save_hyperparameters()
        self.settings = dict(method_settings or {}) | ({} if rho is None else {"rho": rho})
        self.selection = Selection(metric or "accuracy")
        self.results: list[dict[str, Any]] = []
        self._seen: dict[str, list[dict[str, Tensor]]] = {}
        self._finished = False
        #: While results are made, last layers that were fitted without weights, or under those of controls, by name.
        self._beside: dict[str, tuple[Tensor, Tensor]] = {}
        self.network: GraphNetwork | None = None
        if in_features is not None:
            self._build()
        else:  # what the data do not settle is refused at once
            GraphEncoder(encoder, 1, width, layers, readout=readout, dropout=dropout, heads=heads)
            make_method(method, Task("binary", 2), width, self.settings)

    def _build(self) -> None:
        """Make the network once its shape is known; equal for all methods under one seed."""
        given = self.hparams
        self.task = Task(given["task"], given["outputs"])
        self.selection = Selection(given["metric"])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch.initial_seed())  # not what loading the data has left of the generator
            encoder = GraphEncoder(
                given["encoder"],
                given["in_features"],
                given["width"],
                given["layers"],
                readout=given["readout"],
                dropout=given["dropout"],
                edge_features=given["edge_features"],
                heads=given["heads"],
            )
            self.network = GraphNetwork(encoder, given["outputs"])
            self.rule = make_method(given["method"], self.task, given["width"], self.settings)
        #: The last layer that a second stage fits, and whether it has.
        self.refitted_head = nn.Linear(given["width"], given["outputs"]).requires_grad_(False)
        self.refitted_head.load_state_dict(self.network.head.state_dict())
        self.refitted = nn.Buffer(torch.tensor(False))

    # Training

    def setup(self, stage: str) -> None:
        """Take the shape of the data over, or check that it fits."""
        data: Any = cast(Any, self.trainer).datamodule
        if not hasattr(data, "shift_set"):
            raise ConfigError("L2RGNN trains on a ShiftDataModule; set data.class_path to it.")
        found = data.loaded
        edges = found.num_edge_features or None
        shape = dict(zip(SHAPE, (found.num_features, edges, found.task, found.num_outputs, found.metric), strict=True))
        if self.network is None:
            self.hparams.update(shape)
            cast(Any, self)._hub_mixin_config = {**(cast(Any, self)._hub_mixin_config or {}), **shape}
            self._build()
        for name, value in shape.items():
            if name != "metric" and self.hparams[name] != value:
                raise ConfigError(
                    f"{name} of the model is {self.hparams[name]}, but the set {found.name} has {value}; "
                    "give a set like that of the fit, or leave it out to start anew."
                )
        if stage != "fit":
            return
        if self.rule.needs_environments and found.num_environments < 2:
            raise ConfigError(
                f"{self.hparams['method']} compares environments, but the training graphs of {found.name} are of one; "
                "choose another method or set."
            )
        self.selection, self.results, self._finished = Selection(found.metric), [], False
        self.refitted.fill_(False)
        if self.hparams["encoder"] == "pna":
            graphs = data.part_dataloader("train", everything=True)
            self._network.encoder.fit_degrees(degree_histogram(Adjacency.from_pyg(batch) for batch in graphs))

    @property
    def _network(self) -> GraphNetwork:
        if self.network is None:
            raise ConfigError("the model has no shape yet; fit it, load it, or give in_features, task and outputs.")
        return self.network

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """The method's loss."""
        graphs = GraphBatch.from_pyg(batch)
        loss, extras = self.rule.loss(self._network, graphs, Moment(self.current_epoch, self.global_step))
        self.log("train/loss", loss, prog_bar=True, batch_size=graphs.num_graphs)
        for name, value in extras.items():
            self.log(f"train/{name}", value, batch_size=graphs.num_graphs)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at a constant rate, as the field's comparisons have it."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=self.hparams["learning_rate"], weight_decay=self.hparams["weight_decay"])

    # Validation and test

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Collect predictions for the scores at the end of the epoch."""
        self._collect("val", batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """As in validation, on the test graphs."""
        self._collect("test", batch, dataloader_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the scores; in a fit, keep the network if it is the best so far."""
        scores = self._log_scores("val")
        if self.trainer.sanity_checking or self.trainer.state.fn != "fit":
            return
        for part, by_model in scores.items():
            first = next(iter(by_model.values()))
            self.offer(part, first[self.selection.metric], first["loss"])

    def offer(self, column: str, score: float, loss: float) -> None:
        """Keep the network as it is now under a column of selection, if it is the best so far."""
        if self.selection.offer(column, score, loss, self.current_epoch, self.state_dict()):
            self.selection.best[column]["step"] = self.global_step

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("test")

    def answers(self, graphs: GraphBatch) -> dict[str, Tensor]:
        """The numbers of every model there is: the method's, and plain training's where that is its first stage.

        Shapes:
            Each (graphs, outputs).
        """
        network, name = self._network, self.hparams["method"]
        z = self.rule.embed(network, graphs)
        if not self.rule.refits:
            return {name: network.head(z)}
        found = {"erm": network.head(z)}
        found |= {beside: functional.linear(z, *layer) for beside, layer in self._beside.items()}
        return found | {name: self.refitted_head(z)} if bool(self.refitted) else found

    def _collect(self, kind: str, batch: Batch, dataloader_idx: int) -> None:
        parts = VALIDATED if kind == "val" else TESTED
        part = cast(Any, self.trainer).datamodule.present(parts)[dataloader_idx]
        graphs = GraphBatch.from_pyg(batch)
        row = {"index": graphs.index, "y": graphs.y, **self.answers(graphs)}
        self._seen.setdefault(part, []).append({name: value.detach().cpu() for name, value in row.items()})

    def _log_scores(self, kind: str) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        metric = self.selection.metric
        for part, rows in self._seen.items():
            found[part] = self._scores(_every_rank(rows, self.trainer.world_size))
            for model, scores in found[part].items():
                for name in ("loss", metric):
                    if not math.isnan(scores[name]):  # as of an area under the curve where one class is missing
                        self.log(f"{part}/{model}_{name}", scores[name], prog_bar=name == metric, rank_zero_only=True)
        self._seen = {}
        return found

    def _scores(self, rows: list[dict[str, Tensor]]) -> dict[str, dict[str, float]]:
        """Loss and scores of every model, each graph counted once."""
        y, answers = self._joined(rows)
        return {model: self._score(logits, y) for model, logits in answers.items()}

    def _joined(self, rows: list[dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Labels and every model's numbers, in the order of the part, each graph once."""
        table = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        first = np.unique(table.pop("index").numpy(), return_index=True)[1]
        return table.pop("y")[first], {model: logits[first] for model, logits in table.items()}

    def _score(self, logits: Tensor, y: Tensor) -> dict[str, float]:
        loss = float(mean_over(*self.task.losses(logits, y)))
        return {"loss": loss} | evaluate_predictions(logits, y, cast(Any, self.task.kind))

    # The second stage

    def on_train_epoch_end(self) -> None:
        """After the last epoch, before it is saved: fit the last layer and score what is kept."""
        trainer = self.trainer
        epochs_done = trainer.max_epochs is not None and 0 < trainer.max_epochs <= self.current_epoch + 1
        if epochs_done or 0 < trainer.max_steps <= self.global_step:
            self._finish()

    def on_train_end(self) -> None:
        """The model becomes the one that was selected; say how it and its rivals score."""
        self._finish()
        self.load_state_dict(self._served()["state"])
        if self.trainer.is_global_zero:
            print(self.table())

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished, training = True, self.training
        now = copy.deepcopy(self.state_dict())
        if not self.selection.best or self.hparams["select"] == "last":
            self.selection.best["last"] = {"epoch": self.current_epoch, "step": self.global_step, "state": now}
        self.eval()
        self.results = []
        done: dict[int, str] = {}
        for column, kept in self.selection.best.items():
            if kept["step"] in done:  # two columns often keep the same epoch
                twin = self.selection.best[done[kept["step"]]]
                kept |= {name: value for name, value in twin.items() if name not in ("score", "loss")}
                rows = [row for row in self.results if row["selected_by"] == done[kept["step"]]]
                self.results += [{**row, "selected_by": column} for row in rows]
                continue
            done[kept["step"]] = column
            self.load_state_dict(kept["state"])
            if self.rule.refits:
                kept |= self._refit()
                kept["state"] = {name: value.detach().cpu().clone() for name, value in self.state_dict().items()}
            self.results += self._results(column, kept["epoch"])
        self._beside = {}
        self.load_state_dict(now)
        self.train(training)

    @torch.no_grad()
    def _refit(self) -> dict[str, Any]:
        """Fit the last layer on the weighted embeddings of all training graphs."""
        parts = []
        for batch in self._part("train"):
            graphs = GraphBatch.from_pyg(batch)
            z = self.rule.embed(self._network, graphs)
            losses, _ = self.task.losses(self._network.head(z), graphs.y)
            parts.append((z, graphs.y, graphs.environment, losses))
        stage = cast(L2R, self.rule).refit(*(torch.cat(column) for column in zip(*parts, strict=True)))
        self.refitted_head.weight.copy_(stage.weight)
        self.refitted_head.bias.copy_(stage.bias)
        self.refitted.fill_(True)
        self._beside = {"erm_refit": stage.plain, **stage.controls}
        return {"weights": stage.sample_weights.cpu(), "report": stage.numbers}

    @torch.no_grad()
    def _results(self, column: str, epoch: int) -> list[dict[str, Any]]:
        """One row per model: its scores on every part at a selected epoch."""
        rows: dict[str, dict[str, Any]] = {}
        for part in cast(Any, self.trainer).datamodule.present():
            seen = []
            for batch in self._part(part):
                graphs = GraphBatch.from_pyg(batch)
                row = {"index": graphs.index, "y": graphs.y, **self.answers(graphs)}
                seen.append({name: value.cpu() for name, value in row.items()})
            y, answers = self._joined(seen)
            groups = self._groups(part)
            for model, logits in answers.items():
                scores = self._score(logits, y)
                if groups is not None:
                    metric = self.selection.metric
                    scores["worst_group"] = worst_environment(logits, y, cast(Any, self.task.kind), groups, metric)[0]
                rows.setdefault(model, {"model": model, "selected_by": column, "epoch": epoch})[part] = scores
        return list(rows.values())

    def _groups(self, part: str) -> list[int] | None:
        """What is spuriously tied to the label, graph by graph, where a set says so and it differs."""
        graphs = cast(Any, self.trainer).datamodule.loaded.parts[part]
        groups = [int(graph.group) for graph in graphs if "group" in graph]
        return groups if len(groups) == len(graphs) and len(set(groups)) > 1 else None

    def _part(self, part: str) -> Iterator[Any]:
        """All batches of a part, on the model's device, on every rank."""
        for batch in cast(Any, self.trainer).datamodule.part_dataloader(part, everything=True):
            yield batch.to(self.device)

    def _served(self) -> dict[str, Any]:
        """What was kept by the column that the user chose, or by the first that there is."""
        best = self.selection.best
        return best[self.hparams["select"]] if self.hparams["select"] in best else next(iter(best.values()))

    def table(self) -> str:
        """The results of the fit, as text."""
        metric = self.selection.metric
        parts = [part for part in (*VALIDATED, *TESTED) if self.results and part in self.results[0]]
        lines = [f"{metric:<20}{'selected by':<13}{'epoch':>6}" + "".join(f"{p:>10}" for p in parts)]
        for row in self.results:
            scores = "".join(f"{row[part][metric]:>10.4f}" for part in parts)
            lines.append(f"{row['model']:<20}{row['selected_by']:<13}{row['epoch']:>6}{scores}")
        return "\n".join(lines)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed fit needs, and what was selected."""
        checkpoint["l2r_gnn"] = {
            "rule": self.rule.training_state(),
            "best": self.selection.best,
            "results": self.results,
            "finished": self._finished,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resume a fit where it stood; for any other use, take the weights that were selected."""
        kept = checkpoint["l2r_gnn"]
        self.selection.best = {name: value for name, value in kept["best"].items() if name != "last"}
        if self._trainer is not None and self.trainer.state.fn == "fit":
            self.rule.load_training_state(kept["rule"])
            return
        self.results = kept["results"]
        if kept["finished"]:
            self.selection.best = kept["best"]
            checkpoint["state_dict"] = self._served()["state"]

    # Prediction

    def predict_step(self, batch: Batch, batch_index: int) -> list[dict[str, Any]]:
        """A row record for each graph: probabilities and classes, or values, of every model that there is."""
        graphs = GraphBatch.from_pyg(batch)
        answers = {model: logits.cpu() for model, logits in self.answers(graphs).items()}
        name = cast(Any, self.trainer).datamodule.loaded.name
        return [
            {"row_id": f"ood_test/{index}", "table": name, "split": "ood_test"} | self._record(answers, place)
            for place, index in enumerate(graphs.index.tolist())
        ]

    def _record(self, answers: dict[str, Tensor], place: int) -> dict[str, Any]:
        numbers: dict[str, float] = {}
        categories: dict[str, str] = {}
        for model, logits in answers.items():
            row = logits[place].float()
            if self.task.one_class:
                categories[f"{model}_class"] = str(int(row.argmax()))
                values, kind = row.softmax(0), "probability"
            else:
                values, kind = (row.sigmoid(), "probability") if self.task.kind == "multitask" else (row, "value")
            numbers |= {f"{model}_{kind}_{k}": value for k, value in enumerate(values.tolist())}
        return {"numbers": numbers, "categories": categories}


def _every_rank(rows: list[dict[str, Tensor]], world_size: int) -> list[dict[str, Tensor]]:
    """The rows of all ranks, in order of rank."""
    if world_size == 1:
        return rows
    gathered: list[Any] = [None] * world_size
    torch.distributed.all_gather_object(gathered, rows)
    return [row for part in gathered for row in part]
