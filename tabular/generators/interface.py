"""What every generator of tables can do: learn a table, draw rows, fill gaps, weigh rows, and be saved without pickle.

A generator works between two frames of *data space*. It reads any frame whose cells fit the schema, and it draws frames
with the columns of the schema in their order: numbers as float64 in the units of the table, dates as float64 days since
1970-01-01, everything else as the schema's texts; NaN and None are null. What it draws need not lie on the lattice of
a column and need not obey a rule: `graftable.tabular.Finisher` comes after it.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from graftable.errors import ConfigError, ModelFileError
from graftable.files import write_bytes

from ..schema import Schema, did_you_mean

if TYPE_CHECKING:
    from ..compiler import Compiled

__all__ = [
    "ENGINES",
    "MODEL_FILES",
    "Allowed",
    "Arrays",
    "Conditions",
    "Generator",
    "Progress",
    "engine_class",
    "read_files",
    "require_settings",
    "within",
]

FORMAT = 1
"""Version of the folder that `Generator.save` writes."""

MODEL_FILES = ("model.safetensors", "schema.json", "config.json", "table.schema.json", "synthesizer.json")
"""What the folder of a `graftable.tabular.Synthesizer` holds; a generator by itself writes the first three."""

ENGINES = {
    "circuit": "graftable.tabular.generators.circuit:CircuitGenerator",
    "copula": "graftable.tabular.generators.copula:CopulaGenerator",
    "ctgan": "graftable.tabular.generators.ctgan:CTGANGenerator",
    "flow": "graftable.tabular.generators.flow:FlowGenerator",
    "tvae": "graftable.tabular.generators.tvae:TVAEGenerator",
}
"""The home of each engine, as ``module:class``."""

Arrays = dict[str, NDArray[Any]]

Progress = Callable[[float, str], None]
"""Called now and then during `Generator.fit` with the share that is done, from 0 to 1, and a word on what is done."""


@dataclass(frozen=True)
class Allowed:
    """What one column may be in the rows that are asked for.

    Attributes:
        low: The smallest number, or day since 1970-01-01; one for all rows, or an array with one a row.
        high: The greatest.
        texts: The texts that a column without numbers may have; None for any.
        null: Whether a cell may be null.
    """

    low: float | NDArray[np.float64] = -np.inf
    high: float | NDArray[np.float64] = np.inf
    texts: frozenset[str] | None = None
    null: bool = False


@dataclass(frozen=True)
class Conditions:
    """What the rows that are asked for have in common, column by column.

    Attributes:
        columns: What is allowed, by column; a column that is not named is free.

    Example:
        >>> Conditions({"age": Allowed(low=65), "sex": Allowed(texts=frozenset({"F"}))}).columns["age"].high
        inf
    """

    columns: Mapping[str, Allowed] = field(default_factory=dict)


class Generator(ABC):
    """Learns a table and draws rows like those of it.

    A subclass takes flat arguments that JSON can hold and keeps each as an attribute of the same name; whatever it
    learns goes through `state` and `restore`. `fit` sets ``schema``.

    Attributes:
        engine: Its name in `ENGINES`.
        schema: The columns; there once the generator is fitted.
    """

    engine: ClassVar[str]
    schema: Schema

    @abstractmethod
    def fit(
        self,
        table: pd.DataFrame,
        schema: Schema,
        *,
        rules: Compiled | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Learn a table.

        Args:
            table: At least one row, with the columns of ``schema``.
            schema: What the columns are.
            rules: Rules that the rows are to obey, for engines that learn with them; others take no notice.
            seed: The same seed and table give the same generator on one machine.
            progress: Is told how far the fit has come.

        Raises:
            DataError: If the table has no rows, or its cells do not fit the schema.
        """

    @abstractmethod
    def sample(self, n: int, *, conditions: Conditions | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw rows.

        Args:
            n: How many.
            conditions: What they have in common; engines with conditionals obey them exactly.
            seed: The same seed gives the same rows.

        Returns:
            ``n`` rows in data space (see the top of this module), before the finisher.

        Raises:
            ConfigError: If no row that the generator can draw meets the conditions.
        """

    def impute(self, table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Fill the null cells of some rows with a draw given the other cells of the row.

        Raises:
            ConfigError: If the engine cannot.
        """
        raise ConfigError(f"the engine `{self.engine}` cannot fill gaps; fit `circuit` or `flow`, which can.")

    def redraw(
        self, table: pd.DataFrame, column: str, allowed: Allowed, *, seed: int = 0
    ) -> NDArray[np.float64] | None:
        """Draw the numbers of one column again, given the other cells of each row.

        Args:
            table: Some rows.
            column: A numeric column.
            allowed: Where the numbers may lie; bounds may differ by row.
            seed: The same seed gives the same numbers.

        Returns:
            Numbers ``(rows,)``, NaN where none is possible; None if the engine has no conditionals.
        """
        return None

    def log_prob(self, table: pd.DataFrame) -> NDArray[np.float64]:
        """The natural logarithm of the probability of each row, on the lattice of the schema ``(rows,)``.

        Raises:
            ConfigError: If the engine has no density.
        """
        raise ConfigError(f"the engine `{self.engine}` has no density; fit `circuit`, which has one.")

    @abstractmethod
    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that was learnt: arrays by name, and what JSON can hold."""

    @abstractmethod
    def restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `state` gave; ``schema`` is set already."""

    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def files(self) -> dict[str, bytes]:
        """What `save` writes: ``model.safetensors``, ``schema.json`` and ``config.json``.

        Raises:
            ConfigError: If the generator was not fitted.
        """
        schema = self.fitted_schema()
        arrays, extra = self.state()
        config = {"format": FORMAT, "engine": self.engine, "settings": self.settings(), "state": extra}
        plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        return {
            "model.safetensors": save(plain),
            "schema.json": schema.to_json().encode(),
            "config.json": (json.dumps(config, ensure_ascii=False, indent=1) + "\n").encode(),
        }

    def save(self, folder: str | Path) -> None:
        """Write the files of the generator into a folder, ``config.json`` last.

        Raises:
            ConfigError: If the generator was not fitted.
            DataError: If the folder cannot be written.
        """
        for name, content in self.files().items():
            write_bytes(Path(folder) / name, content)

    @staticmethod
    def load(folder: str | Path) -> Generator:
        """Read what `save` wrote, whatever the engine.

        Raises:
            ModelFileError: If the folder holds no generator, or one of another version.
        """
        return Generator.from_files(read_files(folder), str(folder))

    @staticmethod
    def from_files(files: Mapping[str, bytes], source: str) -> Generator:
        """Read what `files` gave; ``source`` is what errors call it.

        Raises:
            ModelFileError: If it is no generator, or one of another version.
        """
        try:
            config = json.loads(files["config.json"])
            arrays = load(files["model.safetensors"])
            schema = Schema.from_json(files["schema.json"].decode())
        except (KeyError, ValueError, SafetensorError) as error:
            reason = f"there is no {error.args[0]}" if isinstance(error, KeyError) else error
            raise ModelFileError(
                f"{source}: holds no table generator ({reason}); give a folder that a generator was saved to."
            ) from error
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            found = config.get("format") if isinstance(config, dict) else None
            raise ModelFileError(f"{source}: found format {found}, but this graftable reads {FORMAT}; fit it again.")
        model = engine_class(config["engine"])(**config["settings"])
        model.schema = schema
        model.restore(arrays, config["state"])
        return model

    def fitted_schema(self) -> Schema:
        """The schema.

        Raises:
            ConfigError: If the generator was not fitted.
        """
        if not hasattr(self, "schema"):
            raise ConfigError(f"the engine `{self.engine}` has learnt no table yet; call fit first.")
        return self.schema


def within(**settings: tuple[float, ...]) -> None:
    """Check numbers among the arguments of an engine, each given with its least value and its largest, if any.

    Raises:
        ConfigError: If one is out of range, or is no finite number.

    Example:
        >>> within(epochs=(3, 1), leak=(1.5, 0, 1))
        Traceback (most recent call last):
            ...
        graftable.errors.ConfigError: leak is 1.5; expected 0 to 1.
    """
    for name, (value, least, *most) in settings.items():
        if not least <= value <= (most[0] if most else sys.float_info.max):
            expected = f"{least:g} to {most[0]:g}" if most else f"at least {least:g}"
            raise ConfigError(f"{name} is {value}; expected {expected}.")


def require_settings(kind: type[Generator], settings: Mapping[str, Any]) -> None:
    """Check the names of settings of an engine, and that each is of the kind of its default.

    Raises:
        ConfigError: If one is not.
    """
    known = inspect.signature(kind).parameters
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(f"the engine `{kind.engine}` has no setting `{name}`.{did_you_mean(name, tuple(known))}")
        default = known[name].default
        whole = isinstance(value, int) and not isinstance(value, bool)
        right, wanted = {
            bool: (isinstance(value, bool), "true or false"),
            int: (whole, "a whole number"),
            float: (whole or isinstance(value, float), "a number"),
            str: (isinstance(value, str), "a text"),
        }.get(type(default), (True, ""))
        if not right:
            raise ConfigError(
                f"the setting `{name}` of the engine `{kind.engine}` is {value!r}; expected {wanted} such as {default}."
            )


def read_files(folder: str | Path) -> dict[str, bytes]:
    """The files of a model's folder, by name; those that cannot be read are left out."""
    found = {}
    for name in MODEL_FILES:
        with contextlib.suppress(OSError):
            found[name] = (Path(folder) / name).read_bytes()
    return found


def engine_class(name: str) -> type[Generator]:
    """The class of an engine.

    Raises:
        ConfigError: If there is no engine of this name.

    Example:
        >>> engine_class("circiut")
        Traceback (most recent call last):
            ...
        graftable.errors.ConfigError: there is no engine `circiut`. Did you mean `circuit`?
    """
    if name not in ENGINES:
        raise ConfigError(f"there is no engine `{name}`.{did_you_mean(name, tuple(ENGINES))}")
    module, _, attribute = ENGINES[name].partition(":")
    return cast("type[Generator]", getattr(importlib.import_module(module), attribute))
