"""CDGM: rows like those of a table, none of which breaks a rule; five engines behind one model.

Stoian et al., "How Realistic Is Your Synthetic Data? Constraining Deep Generative Models for Tabular Data", ICLR 2024,
add a layer to GANs and autoencoders that moves rows to where linear rules hold. Three choices differ from the paper:

1. A rule holds in exact arithmetic on the file that is read back, not on a tensor within a tolerance: rows are drawn,
   drawn again where they break a rule, repaired on the lattice of their columns, and checked; with any engine.
2. The default engine is a probabilistic circuit, which is learnt in closed form and draws from exact conditionals, so
   that few rows have to be moved and none piles up on a bound. The paper's engines (CTGAN, TVAE) stand beside it, and a
   flow, each in the paper's three versions: ``constrain`` is ``none`` (U), ``training`` (C) or ``sampling`` (P).
3. What is drawn from is an average of the weights over steps, at the moment when held out rows were likeliest.

A fit ends with a folder ``synthesizer`` beside the checkpoints, for ``graftable synthesize --model FOLDER``.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import lightning
import numpy as np
import pandas as pd
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from graftable.errors import ConfigError, ModelFileError
from graftable.models.pretrained import PretrainedFolder
from graftable.pipelines.tables import TableDataModule, frame_to_records
from graftable.tabular.generators.interface import engine_class
from graftable.tabular.generators.neural import Average, Best, valid_constrain
from graftable.tabular.generators.neural_engine import NeuralEngine, Rows, taken
from graftable.tabular.quality import frame_view, shape_score
from graftable.tabular.schema import Schema
from graftable.tabular.synthesis import SynthesisReport, Synthesizer

__all__ = ["CDGM"]

SHOWN = 2_000  # rows whose columns are compared with as many that are drawn


def shape_gap(model: Synthesizer, rows: pd.DataFrame, seed: int) -> float:
    """How far the columns of drawn rows are from those of real ones: 0 for alike, 1 for nothing in common.

    One minus the mean over columns of `graftable.tabular.quality.column_shapes`, of at most 2,000 rows.
    """
    schema = cast(Schema, model.schema)
    rows = rows[:SHOWN]
    drawn, _ = model.sample(len(rows), seed=seed)
    numeric = [column.name for column in schema if column.is_numeric]
    score = shape_score(*(frame_view(frame, schema, numeric) for frame in (rows, drawn)))
    return 1 - score if score == score else 0.0  # a table of nulls only is met by nulls


class CDGM(
    lightning.LightningModule,
    PretrainedFolder,
    library_name="graftable",
    license="apache-2.0",
    tags=["tabular", "synthetic-data"],
):
    """A generator of rows under rules, learnt from a `graftable.pipelines.TableDataModule`.

    ``circuit`` and ``copula`` are learnt from the whole table in one step; the others step by step.

    Args:
        engine: ``circuit``, ``copula``, ``ctgan``, ``tvae`` or ``flow``.
        constrain: Where rules act inside the networks of ``ctgan``, ``tvae`` and ``flow``: ``none``, ``training`` (and
            when rows are drawn) or ``sampling`` (only there). Whatever it says, no row that comes out breaks a rule.
        settings: Other settings of the engine by name; see `graftable.tabular.generators`.

    References:
        Stoian et al., "How Realistic Is Your Synthetic Data?", 2024.
    """

    record_kind = "row"

    def __init__(
        self, engine: str = "circuit", constrain: str = "none", settings: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.synthesizer = Synthesizer(engine, settings=_settings(engine, constrain, settings or {}))
        #: Learnt in one step, without a gradient.
        self.closed_form = self._engine is None
        self.automatic_optimization = not self.closed_form
        self.seed = torch.initial_seed() % 2**31
        self.networks = nn.ModuleDict()
        self.average: nn.Module = nn.Identity()
        self.solved = False
        self._averager: Average | None = None
        self._average_steps = 0
        self._best = Best(0)
        self._encoded: dict[str, Rows] = {}
        self._seen: list[pd.DataFrame] = []

    @property
    def _engine(self) -> NeuralEngine | None:
        generator = self.synthesizer.generator
        return generator if isinstance(generator, NeuralEngine) else None

    @property
    def ready(self) -> bool:
        """Whether a table was learnt; for networks, whether there are any yet."""
        return self.solved if self._engine is None else len(self.networks) > 0

    # Training

    def setup(self, stage: str) -> None:
        """Take over the columns and the rules of the data; make the networks."""
        data = self._data
        self._encoded = {}
        if self.ready:
            self._require_columns(self.synthesizer)
        if stage != "fit":
            return
        if self.trainer.strategy.root_device.type != "cpu":
            raise ConfigError(
                "CDGM learns on the CPU, where its small networks are at home; set trainer.accelerator to cpu."
            )
        if self.trainer.world_size > 1:
            self._require_ranks()
        engine, self.solved, self._average_steps = self._engine, False, 0
        if engine is None:
            self.synthesizer.schema, self.synthesizer.rules = data.schema, data.rule_set
            return
        self._best = Best(engine.patience)
        if not self.networks:
            self.synthesizer.schema, self.synthesizer.rules = data.schema, data.rule_set
            frame, schema, rules = self.synthesizer.prepare(data.frames["train"])
            engine.prepare(frame, schema, rules, self.seed)
            self._take(self.synthesizer)

    def _require_ranks(self) -> None:
        """Refuse several processes where they would only be in each other's way."""
        engine = self._engine
        if engine is None:
            raise ConfigError(
                f"the engine {self.hparams['engine']} is learnt by one process; set trainer.devices to 1."
            )
        ddp: Any = getattr(self.trainer.strategy, "_ddp_kwargs", {})
        if len(engine.turns) > 1 and not ddp.get("find_unused_parameters"):
            raise ConfigError(
                f"the networks of the engine {engine.engine} take turns, which several processes have to be told; set "
                "trainer.strategy to ddp_find_unused_parameters_true, or trainer.devices to 1."
            )

    @property
    def _data(self) -> TableDataModule:
        data = cast(Any, self.trainer).datamodule
        if not isinstance(data, TableDataModule):
            raise ConfigError("CDGM learns a table; set data.class_path to graftable.pipelines.TableDataModule.")
        return data

    def _require_columns(self, model: Synthesizer) -> None:
        """Refuse a table with other columns than those that were learnt."""
        cast(Schema, model.schema).require_same(self._data.schema, f"data.table: {self._data.table}")

    def _take(self, model: Synthesizer) -> None:
        """Make a prepared or fitted model this one's own."""
        self.synthesizer, self._encoded = model, {}
        engine = self._engine
        if engine is None:
            self.solved = True
            return
        self.networks = nn.ModuleDict(engine.networks()).requires_grad_(True).train()
        self.average = Average(engine.drawn_by, engine.decay).module.train()  # `_serving` turns it to drawing

    def on_fit_start(self) -> None:
        """Encode the rows once; a model that is learnt already has nothing left to do."""
        engine = self._engine
        if engine is None:
            self.trainer.should_stop = self.solved
            return
        self._averager = Average(self.average, engine.decay)
        self._averager.module, self._averager.steps = self.average, self._average_steps
        engine.look_over(self._rows("train"))

    def on_train_batch_start(self, batch: pd.DataFrame, batch_index: int) -> int | None:
        """Skip what comes after the one step of an engine in closed form."""
        return -1 if self.solved else None

    def training_step(self, batch: pd.DataFrame, batch_index: int) -> Tensor:
        """Learn the whole table in one step, or give the loss of the networks whose turn it is."""
        engine = self._engine
        if engine is None:
            return self._solve()
        turn = self.global_step % len(engine.turns)
        loss = engine.step_loss(self._chosen("train", batch), turn)
        self.log(f"train/{engine.turns[turn]}", loss, prog_bar=True, batch_size=len(batch))
        return loss

    def _solve(self) -> Tensor:
        train = self._data.frames["train"]
        self.synthesizer.fit(train, seed=self.seed)
        self.solved = self.trainer.should_stop = True
        gap = shape_gap(self.synthesizer, train, self.seed)
        self.log("train/shape_gap", gap, prog_bar=True, batch_size=len(train))
        return torch.tensor(gap)

    def _rows(self, part: str) -> Rows:
        """The rows of a part as the engine sees them."""
        engine = cast(NeuralEngine, self._engine)
        if part not in self._encoded:
            self._encoded[part] = engine.encode(self._data.frames[part][list(engine.schema.names)], self.seed)
        return self._encoded[part]

    def _chosen(self, part: str, batch: pd.DataFrame) -> Rows:
        return taken(self._rows(part), torch.tensor(batch.index.to_numpy(np.int64)))

    def configure_optimizers(self) -> Any:
        """The engine's own; its schedule is laid over the steps that the trainer knows of."""
        engine = self._engine
        if engine is None:
            return []
        steps = self.trainer.estimated_stepping_batches
        planned = int(steps) if steps != float("inf") else engine.plan(len(self._data.frames["train"]))[0]
        optimizer = engine.optimizer()
        schedule = engine.schedule(optimizer, planned)
        if schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any | None) -> None:
        """Stay at the end of the schedule in a run that was made longer."""
        if scheduler.last_epoch + 1 < getattr(scheduler, "total_steps", float("inf")):
            scheduler.step()

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """The trainer's, or else the engine's own."""
        own = cast(NeuralEngine, self._engine).clip
        self.clip_gradients(
            optimizer,
            gradient_clip_val=own if gradient_clip_val is None else gradient_clip_val,
            gradient_clip_algorithm=gradient_clip_algorithm,
        )

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step, and once all have had their turn, the new weights into the average."""
        engine, turn = cast(NeuralEngine, self._engine), self.global_step
        super().optimizer_step(*args, **kwargs)
        if (turn + 1) % len(engine.turns) == 0:
            averager = cast(Average, self._averager)
            averager.update(engine.drawn_by)
            self._average_steps = averager.steps

    def on_train_end(self) -> None:
        """Keep the best weights, and write the model as a folder beside the checkpoints."""
        if self._best.weights:
            self.average.load_state_dict(self._best.weights)
        saver: Any = self.trainer.checkpoint_callback
        if not self.ready or not getattr(saver, "dirpath", None) or not self.trainer.is_global_zero:
            return
        checkpoints = Path(saver.dirpath)
        folder = (checkpoints.parent if checkpoints.name == "checkpoints" else checkpoints) / "synthesizer"
        self.save_synthesizer(folder)
        shown = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
        print(f"wrote {shown}; next: graftable synthesize --model {shown} -n 1000 --out rows.csv")

    # Validation and test

    def on_validation_start(self) -> None:
        """Refuse to judge a model that has learnt nothing; while one is fitted, there may be nothing to judge yet."""
        self._seen = []
        if self.trainer.state.fn != "fit":
            self._require_ready()

    def validation_step(self, batch: pd.DataFrame, batch_index: int) -> None:
        """Collect rows for the score at the end of the epoch."""
        self._seen.append(batch)

    def on_validation_epoch_end(self) -> None:
        """Log how badly the model does on held out rows; in a fit, keep the weights if they are the best so far."""
        if not self._seen or not self.ready or self.trainer.sanity_checking:
            return
        score = self._score("val")
        if self.trainer.state.fn == "fit" and not self.closed_form and self._best.update(score, self.average):
            self.trainer.should_stop = True

    def on_test_start(self) -> None:
        """Refuse to judge a model that has learnt nothing."""
        self._seen = []
        self._require_ready()

    def test_step(self, batch: pd.DataFrame, batch_index: int) -> None:
        """Collect rows for the scores at the end."""
        self._seen.append(batch)

    def on_test_epoch_end(self) -> None:
        """Log the engine's own score, and how like the test rows' the columns of drawn rows are."""
        rows = pd.concat(self._seen)
        if self._engine is not None:
            self._score("test")
        with self._serving() as model:
            gap = self._mean(shape_gap(model, rows, self.seed))
        self.log("test/shape_gap", gap, sync_dist=True)

    def _score(self, part: str) -> float:
        """Of the rows that were collected: the engine's score, or how far the columns of drawn rows are."""
        engine, seen = self._engine, pd.concat(self._seen)
        if engine is None:
            name, score = "shape_gap", shape_gap(self.synthesizer, seen, self.seed)
        else:
            rows = self._chosen(part, seen[: engine.held_rows])
            name, score = engine.measure, engine.score(self.average, rows, self.seed)
        score = self._mean(score)
        self.log(f"{part}/{name}", score, prog_bar=True, sync_dist=True)
        return score

    def _mean(self, score: float) -> float:
        """Over all ranks."""
        return float(self.trainer.strategy.reduce(torch.tensor(score, dtype=torch.float64), reduce_op="mean"))

    # Rows

    def sample(
        self, n: int, *, where: str | Mapping[str, Any] | None = None, seed: int = 0
    ) -> tuple[pd.DataFrame, SynthesisReport]:
        """Make rows; see `graftable.tabular.Synthesizer.sample`.

        Raises:
            ConfigError: If the model has learnt no table.
        """
        with self._serving() as model:
            return model.sample(n, where=where, seed=seed)

    def save_synthesizer(self, folder: str | Path) -> None:
        """Write the model as a folder that `graftable.tabular.Synthesizer.load` and ``graftable synthesize`` read.

        Raises:
            ConfigError: If the model has learnt no table.
            DataError: If the folder cannot be written.
        """
        with self._serving() as model:
            model.save(folder)

    def on_predict_start(self) -> None:
        """Refuse to draw from a model that has learnt nothing."""
        self._require_ready()

    def predict_step(self, batch: pd.DataFrame, batch_index: int) -> list[dict[str, Any]]:
        """As many new rows as the batch has, as row records."""
        rows, _ = self.sample(len(batch), seed=int(torch.randint(2**31, ()).item()))
        return frame_to_records(rows.set_index(batch.index), cast(Schema, self.synthesizer.schema), table="synthetic")

    def _require_ready(self) -> None:
        if not self.ready:
            raise ConfigError(
                "the model has learnt no table yet; fit it, or give the checkpoint of a fit as --ckpt_path."
            )

    @contextlib.contextmanager
    def _serving(self) -> Iterator[Synthesizer]:
        """The model as a synthesizer, with the averaged weights in the place of those that are trained."""
        self._require_ready()
        engine = self._engine
        if engine is None:
            yield self.synthesizer
            return
        trained, was_training = engine.drawn_by, self.average.training
        setattr(engine, engine.drawing, self.average.eval())
        try:
            yield self.synthesizer
        finally:
            setattr(engine, engine.drawing, trained)
            self.average.train(was_training)

    # Checkpoints and folders

    def get_extra_state(self) -> Tensor:
        """The files of the synthesizer as bytes: what the weights alone do not say, and checkpoints have to."""
        if not self.ready:
            return torch.zeros(0, dtype=torch.uint8)
        with self._serving() as model:
            files = {
                name: torch.frombuffer(bytearray(content), dtype=torch.uint8) for name, content in model.files().items()
            }
        return torch.frombuffer(bytearray(save(files)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take what `get_extra_state` gave; settings that were changed since apply.

        Raises:
            ModelFileError: If it is of another engine.
            DataError: If it is of another table than the data of this run.
        """
        if not len(state):
            return
        files = {name: content.numpy().tobytes() for name, content in load(state.cpu().numpy().tobytes()).items()}
        config = json.loads(files["config.json"])
        if config["engine"] != self.hparams["engine"]:
            raise ModelFileError(
                f"the checkpoint holds the engine {config['engine']}, expected {self.hparams['engine']}; use the "
                "config.yaml that was written beside it."
            )
        config["settings"] = self.synthesizer.generator.settings()
        model = Synthesizer.from_files(files | {"config.json": json.dumps(config).encode()}, "the checkpoint")
        if self._trainer is not None:
            self._require_columns(model)
        self._take(model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed fit needs: how far the average is, and the best weights."""
        best = {"score": self._best.score, "since": self._best.since, "weights": self._best.weights}
        checkpoint["cdgm"] = {"average_steps": self._average_steps, "best": best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resume a fit where it stood; for any other use, take the best weights.

        Raises:
            ModelFileError: If it is of another kind of model.
        """
        if "cdgm" not in checkpoint:
            raise ModelFileError("the checkpoint holds no CDGM; use the config.yaml that was written beside it.")
        kept = checkpoint["cdgm"]
        if self._trainer is not None and self.trainer.state.fn == "fit":
            self._average_steps = kept["average_steps"]
            self._best.score, self._best.since = kept["best"]["score"], kept["best"]["since"]
            self._best.weights = kept["best"]["weights"]
        else:
            checkpoint["state_dict"] |= {f"average.{name}": value for name, value in kept["best"]["weights"].items()}


def _settings(engine: str, constrain: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an engine, with where rules act.

    Raises:
        ConfigError: If there is no such engine, or a setting is another's to say.
    """
    kind, where = engine_class(engine), valid_constrain(constrain)
    if not issubclass(kind, NeuralEngine):
        if where == "training":
            raise ConfigError(
                f'constrain is "training", but the engine {engine} has no training for rules to act in; its rows obey '
                'when they are drawn. Set it to "none", or engine to ctgan, tvae or flow.'
            )
        return dict(given)
    if "constrain" in given:
        raise ConfigError("settings.constrain: say it as the model's own setting constrain.")
    for name in kind.ruled:
        if name in given:
            raise ConfigError(
                f"settings.{name}: a fit goes on as long as trainer.max_epochs or trainer.max_steps says, with batches "
                "of data.init_args.cells_per_batch; set these."
            )
    return {**given, "constrain": where}
