"""The verbs fit, validate, test and predict: LightningCLI with house defaults and errors of one sentence.

Importing this module loads torch and lightning; `graftable.cli` does so only once a training verb is given.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins import CheckpointIO

from graftable import complaints, models, pipelines
from graftable.allocator import keep_freed_memory, keeps_in_training
from graftable.config_files import CONFIG_VERSION, Request, restrict_imports
from graftable.errors import ConfigError, GraftableError, ModelFileError
from graftable.files import write_text
from graftable.pipelines.checkpoints import AtomicCheckpointIO, load_checkpoint
from graftable.pipelines.prediction import RecordWriter
from graftable.pipelines.preemption import Preemption
from graftable.pipelines.randomness import CounterRandomness

__all__ = ["TrainingCLI", "quieten_lightning", "register_classes", "restrict_imports", "run"]

RUNS_FOLDER = "runs"
LARGEST_SEED = 2**32 - 1  # of numpy


class SentenceParser(LightningArgumentParser):
    """A parser that raises its complaint instead of printing the usage of some two hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ``message`` as a `ParserProblem`; the parsers of single classes report to this one in their own way."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ex if isinstance(ex, GraftableError) else complaints.ParserProblem(message)


class SaveConfig(SaveConfigCallback):
    """Writes the config beside the log of the run, whole or not at all.

    Args:
        *args: What `SaveConfigCallback` takes.
        folder: Where to write if the run has no folder of its own. Without a logger Lightning would write to the
            working directory, over a ``config.yaml`` of the user's.
        **kwargs: What `SaveConfigCallback` takes.
    """

    def __init__(self, *args: Any, folder: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.folder = Path(folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write it, once."""
        if self.already_saved:
            return
        log_folder = trainer.log_dir  # asked on every rank: it is broadcast
        if trainer.loggers and log_folder is not None and Path(log_folder).resolve() != Path.cwd():
            self.folder = Path(log_folder)
        if trainer.is_global_zero:
            write_text(self.folder / self.config_filename, self.parser.dump(self.config, skip_none=False))
        self.already_saved = True


class TrainingCLI(LightningCLI):
    """LightningCLI whose config is the only source of truth and whose runs survive what clusters do to them."""

    preemption: type[Preemption] = Preemption

    def __init__(self, request: Request) -> None:
        self.request = request
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            parser_class=SentenceParser,
            parser_kwargs={"prog": "graftable", "allow_abbrev": False},
            save_config_callback=SaveConfig,
            save_config_kwargs={"folder": f"{RUNS_FOLDER}/{request.run_name}"},
            seed_everything_default=0,
            auto_configure_optimizers=False,
            trainer_defaults={
                "logger": {
                    "class_path": "lightning.pytorch.loggers.CSVLogger",
                    "init_args": {"save_dir": RUNS_FOLDER, "name": request.run_name},
                },
                # the order of our data is a function of (seed, rank, step): Lightning must not replace the sampler
                "use_distributed_sampler": False,
            },
            args=request.arguments,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the version of the config format."""
        parser.add_argument(
            "--config_version",
            type=int,
            default=CONFIG_VERSION,
            help="Format of the config; other versions are refused.",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; a complaint becomes one sentence with the file, the key and the nearest valid key."""
        try:
            self.config = parser.parse_args(args)
        except complaints.ParserProblem as problem:
            known = [key for verb in self._subcommand_parsers.values() for key, _ in verb.get_defaults().items()]
            known = [key for key in known if ".init_args." not in key and not key.endswith(".class_path")]
            raise ConfigError(complaints.explain(str(problem), self.request.settings, known)) from None
        self._check_values()

    def _check_values(self) -> None:
        """Check what the parser takes for any whole number, wherever it was written."""
        config = self.config[self.config.subcommand]
        version, seed = config["config_version"], config["seed_everything"]
        if version != CONFIG_VERSION:
            raise ConfigError(
                f"{self._place('config_version')}: found version {version}, but this graftable reads version "
                f"{CONFIG_VERSION}; compare the config with `graftable configs show NAME`."
            )
        if not 0 <= seed <= LARGEST_SEED:
            raise ConfigError(
                f"{self._place('seed_everything')}: found {seed}, expected a whole number from 0 to {LARGEST_SEED}."
            )

    def _place(self, key: str) -> str:
        return next((s.place for s in reversed(self.request.settings) if s.key == key), f"--{key}")

    def _parse_ckpt_path(self) -> None:
        # LightningCLI lets the hyper-parameters inside a checkpoint overrule config and command line in silence.
        # Here what the user wrote is what runs, and weights that do not fit are reported as such.
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path is not None and path not in ("best", "last", "hpc"):
            load_checkpoint(path, map_location="meta")  # refuses a damaged file before anything is written

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; what a constructor refuses is said in one sentence."""
        try:
            super().instantiate_classes()
        except (MisconfigurationException, ValueError) as error:
            if isinstance(error, GraftableError):
                raise
            raise ConfigError(complaints.refusal(error)) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer with the callbacks and the checkpoint writer that every run has."""
        settings, verb = self._get(self.config_init, "trainer"), self.subcommand
        saves = verb == "fit" and settings["enable_checkpointing"] is not False and not settings["fast_dev_run"]
        callbacks, plugins = _as_list(settings.get("callbacks")), _as_list(settings.get("plugins"))
        defaults: list[Callback] = [CounterRandomness(), self.preemption()]
        if verb == "predict":
            defaults.append(RecordWriter(f"{RUNS_FOLDER}/{self.request.run_name}/predictions.parquet"))
        if saves:
            defaults.append(ModelCheckpoint(save_last=True))
        elif not _has_kind(callbacks, Checkpoint):
            kwargs["enable_checkpointing"] = False  # else Lightning adds a checkpoint callback that has nothing to do
        trainer: Trainer = super().instantiate_trainer(
            callbacks=[*callbacks, *(new for new in defaults if not _has_kind(callbacks, type(new)))],
            plugins=plugins if _has_kind(plugins, CheckpointIO) else [*plugins, AtomicCheckpointIO()],
            **kwargs,
        )
        if keeps_in_training() and isinstance(trainer.accelerator, CPUAccelerator):
            keep_freed_memory()
        return trainer

    def after_fit(self) -> None:
        """Say what was written where, and what to do next."""
        folders = [part.folder for part in vars(self.trainer)["callbacks"] if isinstance(part, SaveConfig)]
        saver = self.trainer.checkpoint_callback
        checkpoint = getattr(saver, "last_model_path", "") or getattr(saver, "best_model_path", "")
        if not self.trainer.is_global_zero or not folders or not checkpoint:
            return
        folder, saved = _relative(folders[0]), _relative(checkpoint)
        files = "config.yaml, metrics.csv" if self.trainer.loggers else "config.yaml"
        print(f"wrote {folder} ({files}) and {saved}")
        print(f"next: graftable validate --config {folder}/config.yaml --ckpt_path {saved}")


def run(request: Request) -> int:
    """Run one training verb.

    Args:
        request: The command line with its configs read and checked, from `graftable.config_files.prepare`.

    Returns:
        0. A run that is stopped or preempted leaves by `SystemExit` with its own code.

    Raises:
        GraftableError: If the user made a mistake.
    """
    restrict_imports(request.extra_roots)
    quieten_lightning()
    register_classes()
    try:
        TrainingCLI(request)
    except MisconfigurationException as error:
        raise ConfigError(complaints.one_line(str(error))) from error
    except RuntimeError as error:
        if "Error(s) in loading state_dict" in str(error):
            raise ModelFileError(
                "the checkpoint's weights do not fit the model that the config describes; "
                "use the config.yaml that was written beside the checkpoint."
            ) from error
        if "conditioned on metric" in str(error):  # EarlyStopping on a metric that the model does not log
            raise ConfigError(complaints.one_line(str(error))) from error
        raise
    return 0


def register_classes() -> None:
    """Import our models and datamodules, so that a config may name them without their modules: ``model: LGGM``."""
    for package in (models, pipelines):
        for name in getattr(package, "__all__", []):
            getattr(package, name)


def quieten_lightning() -> None:
    """Drop Lightning's tips to install its cloud products, and warnings that a user cannot act on."""
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated")
    # validate, test and predict need no ModelCheckpoint
    warnings.filterwarnings("ignore", message=".*callbacks used to create the checkpoint need to be provided")


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip: For seamless" not in record.getMessage()


def _has_kind(parts: Sequence[Any], kind: type) -> bool:
    return any(isinstance(part, kind) for part in parts)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _relative(path: str | Path) -> Path:
    path = Path(path)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
