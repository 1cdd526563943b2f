"""What a comparison is to run: a config of sets, methods and seeds becomes a list of runs, each with an id of its own.

The id of a run is a digest of everything that its result depends on, so that a finished run is found again in any file
of runs, whatever else was asked for beside it.
"""

import functools
import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from graftable.complaints import did_you_mean
from graftable.config_files import find_config, read_config
from graftable.errors import ConfigError
from graftable.graphs.shift import SHIFT_SETS
from graftable.graphs.shift_methods import CONTROLS, METHODS, method_settings
from graftable.models import L2RGNN
from graftable.pipelines.shift_records import SETTINGS as RECORD_SETTINGS
from graftable.pipelines.shift_records import records_digest

__all__ = ["CHEAP", "RUN_VERSION", "Method", "Plan", "Run", "Set", "make_run", "read_plan", "shared", "stage_of"]

RUN_VERSION = 2
"""Part of every id: a change of what a run does makes earlier runs another thing."""
CHEAP = "cheap"
"""The run that trains nothing: constants and forests."""
_MODEL = ("encoder", "width", "layers", "readout", "dropout", "heads", "learning_rate", "weight_decay")
_DEFAULTS: dict[str, Any] = {
    **{name: inspect.signature(L2RGNN).parameters[name].default for name in _MODEL},
    "epochs": 20,
    "batch_size": 64,
}
_KEYS = ("config_version", "sets", "methods", "seeds", "training", "tuning")
_SET_KEYS = ("set", "size", "settings", "data_seed", "training")
_TUNING_KEYS = ("sets", "seed", "trials")


@dataclass(frozen=True)
class Set:
    """A set of graphs, as a config names it.

    Attributes:
        name: Its row in the tables.
        source: ``set``, ``size``, ``settings`` and ``data_seed``, or ``records`` and how to read them.
        training: How every method is trained on it.
    """

    name: str
    source: Mapping[str, Any]
    training: Mapping[str, Any]

    @property
    def needs_folder(self) -> bool:
        """Whether the set is read from the folder of archives."""
        return "set" in self.source and "root" in inspect.signature(SHIFT_SETS[self.source["set"]]).parameters

    @property
    def identity(self) -> dict[str, Any]:
        """What the graphs depend on: records by their content, not by where they lie."""
        if "records" not in self.source:
            return dict(self.source)
        kept = {name: value for name, value in self.source.items() if name != "records"}
        return kept | {"digest": records_digest(self.source["records"])}

    def data_seed(self, seed: int) -> int:
        """The seed of the graphs and the splits in a run: fixed where graphs are generated, else that of the run."""
        fixed = self.source.get("data_seed", None if self.needs_folder or "records" in self.source else 0)
        return seed if fixed is None else int(fixed)


@dataclass(frozen=True)
class Method:
    """A method with the settings that it has in a run, those of the training and its own."""

    name: str
    training: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One training, or the cheap rows, on one set with one seed."""

    set: Set
    method: str
    seed: int
    training: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def facts(self) -> dict[str, Any]:
        """All that the result depends on."""
        return {
            "version": RUN_VERSION,
            "source": self.set.identity | {"data_seed": self.set.data_seed(self.seed)},
            "method": self.method,
            "seed": self.seed,
            "training": dict(self.training),
            "settings": {**_defaults_of(self.method), **self.settings},
        }

    @property
    def id(self) -> str:
        """A digest of ``facts``."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Plan:
    """What one config asks for.

    Attributes:
        name: Of the config.
        sets: The sets.
        methods: The methods, ``erm`` always among them.
        seeds: Of the runs.
        trials: By method the configurations to choose from; a method without any keeps its defaults.
        tuning_sets: Where they are tried.
        tuning_seed: With which seed.
    """

    name: str
    sets: tuple[Set, ...]
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]
    trials: Mapping[str, tuple[Method, ...]] = field(default_factory=dict)
    tuning_sets: tuple[Set, ...] = ()
    tuning_seed: int = 0

    def tuning_runs(self) -> list[Run]:
        """The runs that settle the configurations."""
        tried = [trial for method in self.methods for trial in self.trials.get(method.name, ())]
        return shared([make_run(place, trial, self.tuning_seed) for place in self.tuning_sets for trial in tried])

    def runs(self, chosen: Mapping[str, Method], seed: int) -> list[Run]:
        """The runs of one seed, by the configurations that were chosen."""
        methods = [chosen.get(method.name, method) for method in self.methods]
        runs = []
        for place in self.sets:
            runs.append(Run(place, CHEAP, seed, {}, {}))
            runs += shared([make_run(place, method, seed) for method in methods])
        return runs


@functools.cache
def _defaults_of(method: str) -> Mapping[str, Any]:
    """What a method's settings are where nothing is said: a default that changes makes another run."""
    known = {} if method == CHEAP else method_settings(method)
    return {name: value for name, value in known.items() if name not in ("control", "beside")}


def make_run(place: Set, method: Method, seed: int) -> Run:
    """The run of a method on a set: settings of the method win over those of the set."""
    return Run(place, method.name, seed, {**place.training, **method.training}, dict(method.settings))


def shared(runs: Iterable[Run]) -> list[Run]:
    """Drop runs that come twice, and those of ``erm`` where an ``l2r`` run trains alike: its first stage is that."""
    unique = list({run.id: run for run in runs}.values())
    trained = {_stage(run) for run in unique if run.method == "l2r"}
    return [run for run in unique if run.method != "erm" or _stage(run) not in trained]


def _stage(run: Run) -> str:
    return stage_of(run.facts)


def stage_of(facts: Mapping[str, Any]) -> str:
    """What plain training depends on: equal in runs of ``erm`` and of ``l2r`` of which one holds the other's result."""
    return json.dumps([facts[name] for name in ("version", "source", "seed", "training")], sort_keys=True)


def read_plan(config: str | Path | Mapping[str, Any], name: str = "comparison") -> Plan:
    """Read and check a config.

    Args:
        config: A path, the name of a bundled config, or what such a file holds.
        name: Of the plan, where a mapping is given.

    Raises:
        ConfigError: If the file cannot be read, or a key, set, method or setting is not known.
    """
    if isinstance(config, Mapping):
        return _Reader(name).plan(config)
    path = find_config(str(config))
    read_config(path)  # syntax and version
    return _Reader(str(path)).plan(yaml.safe_load(path.read_text(encoding="utf-8")), path.stem)


class _Reader:
    """Checks a config, and says where in it a mistake is."""

    def __init__(self, place: str) -> None:
        self.place = place

    def plan(self, config: Mapping[str, Any], name: str | None = None) -> Plan:
        if "model" in config and "sets" not in config:
            raise ConfigError(f"{self.place}: is a config for `graftable fit`; expected one with sets and methods.")
        self.known(config, _KEYS, "")
        training = self.training(config.get("training") or {}, "training")
        sets = tuple(self.set(key, value, training) for key, value in self.mapping(config, "sets").items())
        methods = self.methods(config)
        trials, tuning_sets, tuning_seed = self.tuning(config.get("tuning") or {}, sets, methods)
        return Plan(name or self.place, sets, methods, self.seeds(config), trials, tuning_sets, tuning_seed)

    def fail(self, key: str, text: str) -> ConfigError:
        return ConfigError(f"{self.place}, {key}: {text}" if key else f"{self.place}: {text}")

    def known(self, given: Any, names: Sequence[str], key: str) -> Mapping[str, Any]:
        if not isinstance(given, Mapping):
            raise self.fail(key, f"found {given!r}, expected settings by name.")
        for word in given:
            if word not in names:
                hint = did_you_mean(str(word), names) or f" There are {', '.join(names)}."
                raise self.fail(f"{key}.{word}" if key else str(word), f"no such setting.{hint}")
        return given

    def mapping(self, config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        found = config.get(key)
        if isinstance(found, Sequence) and not isinstance(found, str):
            found = {str(name): None for name in found}
        if not isinstance(found, Mapping) or not found:
            raise self.fail(key, f"found {found!r}, expected names, each with its settings or none.")
        return {str(name): value for name, value in found.items()}

    def training(self, given: Any, key: str) -> dict[str, Any]:
        return {**_DEFAULTS, **self.known(given, tuple(_DEFAULTS), key)}

    def set(self, name: str, given: Any, training: Mapping[str, Any]) -> Set:
        key, given = f"sets.{name}", given or {}
        own = {**training, **self.known(given.get("training") or {}, tuple(_DEFAULTS), f"{key}.training")}
        if "records" in given:
            self.known(given, (*RECORD_SETTINGS, "data_seed", "training"), key)
            if "label" not in given:
                raise self.fail(key, "has no label; name the attribute of the records that is to be predicted.")
            return Set(name, {k: v for k, v in given.items() if k != "training"}, own)
        self.known(given, _SET_KEYS, key)
        source = {"set": given.get("set", name)} | {
            k: given[k] for k in ("size", "settings", "data_seed") if k in given
        }
        if source["set"] not in SHIFT_SETS:
            hint = did_you_mean(source["set"], SHIFT_SETS) or f" The sets are {', '.join(SHIFT_SETS)}."
            raise self.fail(key, f"there is no set `{source['set']}`.{hint}")
        return Set(name, source, own)

    def methods(self, config: Mapping[str, Any]) -> tuple[Method, ...]:
        found = [self.method(name, given, "methods") for name, given in self.mapping(config, "methods").items()]
        names = [method.name for method in found]
        return tuple(found if "erm" in names else [Method("erm"), *found])  # what all are compared with

    def method(self, name: str, given: Any, key: str) -> Method:
        if name not in METHODS:
            hint = did_you_mean(name, METHODS) or f" The methods are {', '.join(METHODS)}."
            raise self.fail(key, f"there is no method `{name}`.{hint}")
        if name in CONTROLS:
            raise self.fail(key, f"`{name}` comes with l2r, from the same training; leave it out.")
        own = method_settings(name)
        given = self.known(given or {}, (*_DEFAULTS, *own), f"{key}.{name}")
        training = {k: v for k, v in given.items() if k in _DEFAULTS}
        return Method(name, training, {k: v for k, v in given.items() if k not in _DEFAULTS})

    def seeds(self, config: Mapping[str, Any]) -> tuple[int, ...]:
        given = config.get("seeds", 10)
        seeds = list(range(given)) if isinstance(given, int) and not isinstance(given, bool) else given
        if not isinstance(seeds, list) or not seeds or not all(isinstance(s, int) and s >= 0 for s in seeds):
            raise self.fail("seeds", f"found {given!r}, expected how many, or a list of whole numbers of at least 0.")
        return tuple(dict.fromkeys(seeds))

    def tuning(
        self, given: Any, sets: Sequence[Set], methods: Sequence[Method]
    ) -> tuple[dict[str, tuple[Method, ...]], tuple[Set, ...], int]:
        if not given:
            return {}, (), 0
        self.known(given, _TUNING_KEYS, "tuning")
        by_name = {place.name: place for place in sets}
        for name in self.known(given.get("trials") or {}, METHODS, "tuning.trials"):
            if name not in [method.name for method in methods]:
                raise self.fail(f"tuning.trials.{name}", "is not among the methods; add it there.")
        trials = {name: tuple(self.trials(name, each)) for name, each in given["trials"].items()}
        counts = {name: len(each) for name, each in trials.items()}
        missing = [method.name for method in methods if method.name not in counts]
        if missing or len(set(counts.values())) > 1:
            wrong = f"{missing[0]} has none" if missing else ", ".join(f"{k} has {v}" for k, v in counts.items())
            raise self.fail("tuning.trials", f"{wrong}; expected as many for every method, erm among them.")
        places = dict.fromkeys(given.get("sets") or by_name)
        self.known(places, tuple(by_name), "tuning.sets")
        return trials, tuple(by_name[name] for name in places), int(given.get("seed", 1000))

    def trials(self, name: str, given: Any) -> Iterator[Method]:
        if not isinstance(given, list) or not given:
            raise self.fail(f"tuning.trials.{name}", f"found {given!r}, expected a list of settings.")
        yield from (self.method(name, each, "tuning.trials") for each in given)
