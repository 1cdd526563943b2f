"""The runs of a comparison: one training after another, each a line of JSON in a file that later calls go on from."""

import contextlib
import functools
import io
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from graftable.comparison_plan import CHEAP, Run, Set
from graftable.errors import ConfigError, DataError, GraftableError
from graftable.graphs.reweighting import dependence_matrix, infer_environments
from graftable.graphs.shift import ShiftSet, cheap_baselines, load_shift_set
from graftable.graphs.shift.archive import AbsentArchiveError
from graftable.graphs.shift_methods import method_class
from graftable.graphs.shift_methods.parts import GraphBatch
from graftable.models import L2RGNN
from graftable.pipelines.randomness import CounterRandomness
from graftable.pipelines.shift import ShiftDataModule
from graftable.pipelines.shift_records import shift_set_from_records
from graftable.training import quieten_lightning

__all__ = ["HISTOGRAM", "RunFile", "absence", "do_run", "load_set", "one_thread"]

ENVIRONMENTS = 3
"""Bins of size that stand for environments where a set has one and a method compares some."""
ORACLE_GRAPHS = 256
"""Graphs of the shifted test, evenly spaced, by which the oracle chooses an epoch."""
HISTOGRAM = [0.0, *np.geomspace(0.05, 12.8, 17).round(4).tolist()]
"""Edges of the bins in which weights of mean 1 are counted; the last bin is open."""
DIGITS = 5


class RunFile:
    """Finished runs, a line of JSON each.

    A line is written by one call and flushed to the disk. A process that is killed leaves at most the last line torn;
    it is not read, and cut off before the next is written.

    Args:
        path: The file; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read(self) -> dict[str, dict[str, Any]]:
        """Every finished run by its id.

        Raises:
            DataError: If a line before the last is no run.
        """
        if not self.path.is_file():
            return {}
        found = {}
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                record = json.loads(line)
                found[record["id"]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{self.path}, line {number}: is no finished run ({error}); take it out, or name another file."
                ) from error
        return found

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a finished run.

        Raises:
            DataError: If the file cannot be written.
        """
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                self._cut_torn_line(handle)
                os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror}); choose another place.") from error

    def _cut_torn_line(self, handle: int) -> None:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            os.ftruncate(handle, os.pread(handle, size, 0).rfind(b"\n") + 1)


def absence(place: Set, folder: str | None) -> str | None:
    """Why the data of a set cannot be read here, with where they would be; ``None`` if they can."""
    if place.needs_folder and folder is None:
        return f"{place.name}: left out; it is read from archives, name their folder with --data or GRAFTABLE_OOD_DATA"
    records = place.source.get("records")
    if records is not None and not Path(records).exists():
        return f"{place.name}: left out; there are no records at {records}"
    try:
        load_set(place, 0, folder)
    except AbsentArchiveError as error:
        return f"{place.name}: left out; {str(error).partition(';')[0]}"
    return None


def load_set(place: Set, seed: int, folder: str | None) -> ShiftSet:
    """The graphs of a run with this seed.

    Raises:
        GraftableError: If a setting is wrong, or a file is damaged.
    """
    return _load(json.dumps(dict(place.source), sort_keys=True), place.data_seed(seed), folder)


@functools.lru_cache(maxsize=16)
def _load(source: str, data_seed: int, folder: str | None) -> ShiftSet:
    given: dict[str, Any] = json.loads(source)
    given.pop("data_seed", None)
    if "records" in given:
        return shift_set_from_records(**given, seed=data_seed)
    settings = given.get("settings") or {}
    return load_shift_set(given["set"], root=folder, seed=data_seed, size=given.get("size"), **settings)


def do_run(run: Run, folder: str | None, *, matrices: bool = False) -> dict[str, Any]:
    """Do a run.

    Args:
        run: What to do.
        folder: That of the archives.
        matrices: Keep the dependence of every pair of variables, before and after, of a run of ``l2r``.

    Returns:
        The record: what was run, scores by model and column of selection, seconds of processor time. A method that
        cannot run on the set, or diverges, leaves the sentence that says so under ``error``.
    """
    begun, clock = time.process_time(), time.monotonic()
    shift = load_set(run.set, run.seed, folder)
    record = {"id": run.id, "set": run.set.name, "facts": run.facts, "metric": shift.metric, "data": _described(shift)}
    try:
        record |= _cheap(shift, run.seed) if run.method == CHEAP else _train(run, shift, matrices)
    except GraftableError as error:
        record["error"] = " ".join(str(error).split())
    return record | {
        "torch": torch.__version__,
        "seconds": round(time.process_time() - begun, 2),
        "clock": round(time.monotonic() - clock, 2),
    }


def _described(shift: ShiftSet) -> dict[str, Any]:
    """Numbers of graphs, and the range of their nodes, by part."""
    found = {}
    for part, graphs in shift.parts.items():
        if graphs:
            sizes = [int(graph.num_nodes or 0) for graph in graphs]
            found[part] = [len(graphs), min(sizes), max(sizes)]
    return {"task": shift.task, "ceiling": shift.ceiling, "notes": list(shift.notes), "parts": found}


def _cheap(shift: ShiftSet, seed: int) -> dict[str, Any]:
    rows = cheap_baselines(shift, seed, trees=100)
    return {"rows": [{"model": row.method, "selected_by": None} | _rounded(row.scores, shift.metric) for row in rows]}


def _train(run: Run, shift: ShiftSet, matrices: bool) -> dict[str, Any]:
    """Train, and score every model that the training yields at every selected epoch."""
    training, settings = dict(run.training), dict(run.settings)
    epochs, batch_size = training.pop("epochs"), training.pop("batch_size")
    if run.method == "l2r":
        settings |= {"beside": True}
    data = ShiftDataModule.from_set(_with_environments(shift, run.method), batch_size=batch_size, seed=run.seed)
    with _quiet():
        seed_everything(run.seed, verbose=False)
        model = L2RGNN(method=run.method, method_settings=settings, **training)
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            callbacks=[CounterRandomness(run.seed), _Oracle(shift)],
        )
        trainer.fit(model, datamodule=data)
    rows = [_rounded(row, shift.metric) for row in model.results]
    return {"rows": rows} | (_weights(model, data, matrices) if run.method == "l2r" else {})


def _with_environments(shift: ShiftSet, method: str) -> ShiftSet:
    """Bins of size as environments of the training graphs, if the method compares some and the set has one."""
    if not method_class(method).needs_environments or shift.num_environments > 1:
        return shift
    places = infer_environments(shift.train, "size", num_environments=ENVIRONMENTS).tolist()
    train = []
    for graph, place in zip(shift.train, places, strict=True):
        graph = graph.clone()
        graph.environment = place
        train.append(graph)
    return replace(shift, train=train)


class _Oracle(Callback):
    """Offers every epoch by its score on graphs of the shifted test: a bound on what selection could give."""

    def __init__(self, shift: ShiftSet) -> None:
        graphs = shift.ood_test
        chosen = np.unique(np.linspace(0, len(graphs) - 1, min(ORACLE_GRAPHS, len(graphs))).astype(int))
        self.data = ShiftDataModule.from_set(replace(shift, ood_test=[graphs[place] for place in chosen]))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        model: Any = pl_module
        seen = [GraphBatch.from_pyg(batch) for batch in self.data.part_dataloader("ood_test")]
        logits = torch.cat([next(iter(model.answers(graphs).values())) for graphs in seen])
        scores = model._score(logits, torch.cat([graphs.y for graphs in seen]))
        model.offer("oracle", scores[model.selection.metric], scores["loss"])


def _weights(model: L2RGNN, data: ShiftDataModule, matrices: bool) -> dict[str, Any]:
    """What the weights of the epoch that ``id_val`` chose look like."""
    kept = model.selection.best["id_val"]
    weights: torch.Tensor = kept["weights"]
    counts = np.histogram(weights.clamp(max=HISTOGRAM[-1]).numpy(), bins=HISTOGRAM)[0].tolist()
    found = {"histogram": counts, "report": {name: _number(value) for name, value in kept["report"].items()}}
    if matrices:
        model.eval()
        with torch.no_grad():
            batches = data.part_dataloader("train", everything=True)
            z = torch.cat([model.rule.embed(model._network, GraphBatch.from_pyg(batch)) for batch in batches])
            pairs = (dependence_matrix(z), dependence_matrix(z, weights))
            before, after = ([[float(f"{value:.3g}") for value in row] for row in pair.tolist()] for pair in pairs)
            found |= {"before": before, "after": after}
    return {"weights": found}


def _rounded(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Scores without what nobody reads: of validation the metric and the loss, of tests all but the loss."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if not isinstance(value, Mapping):
            found[name] = value
        elif name.endswith("_val"):
            found[name] = {key: _number(value[key]) for key in (metric, "loss") if key in value}
        else:
            found[name] = {key: _number(each) for key, each in value.items() if key != "loss"}
    return found


def _number(value: float) -> float | None:
    return round(float(value), DIGITS) if np.isfinite(value) else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No table, log or warning of a single fit: there are hundreds."""
    quieten_lightning()
    logger = logging.getLogger("lightning.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """The matrices are small, and results must not depend on how many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def refuse_unusable(run: Run) -> None:
    """Refuse a setting that no set can run with, before any run is done.

    Raises:
        ConfigError: If there is one.
    """
    training = {name: value for name, value in run.training.items() if name not in ("epochs", "batch_size")}
    for name in ("epochs", "batch_size"):
        if not isinstance(run.training[name], int) or run.training[name] < 1:
            raise ConfigError(f"{name} of {run.set.name} is {run.training[name]!r}; expected at least 1.")
    try:
        L2RGNN(method=run.method, method_settings=dict(run.settings), **training)
    except TypeError as error:
        raise ConfigError(f"{run.method} on {run.set.name}: {error}; check its settings.") from error
