"""SDV and graftable: any single-table synthesizer of SDV draws, and its rows are finished so that none breaks a rule.

SDV is source-available under the Business Source License 1.1 (BUSL-1.1), which is not an open-source licence: read what
it allows before you use it. It is the extra ``graftable[sdv]`` and wants pandas below 3; nothing here imports it unless
a synthesizer is to be made. Whatever has ``sample(num_rows=...)`` will do for `SDVGenerator`.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from graftable.errors import ConfigError, DataError, MissingExtraError

from .checking import read_rules
from .finishing import snap
from .io import open_table
from .repair_report import RepairReport
from .repairing import repair
from .schema import Schema, did_you_mean

__all__ = ["SDVGenerator", "read_metadata", "write_metadata"]

ROUNDS = 20  # how often rows that cannot be repaired are drawn anew


class SDVGenerator:
    """A synthesizer of SDV, of which no row breaks a rule.

    Args:
        synthesizer: A fitted single-table synthesizer: ``sample(num_rows=n)`` gives a data frame.
        rules: A rule file, the text of rules, a list of rules, or a `RuleSet`.
        table: The real rows: from them come decimals, categories and ranges, which SDV metadata seldom name.
        schema: What the columns are, in place of ``table``; by default both come from the synthesizer's metadata.

    Raises:
        ConfigError: If it cannot sample, or nothing says what the columns are.
        RuleError: If a rule is wrong, or rules contradict each other.

    Example:
        >>> class Careless:
        ...     def sample(self, num_rows):
        ...         return pd.DataFrame({"low": [3.2, 1.0] * num_rows, "high": [1.1, 2.0] * num_rows})[:num_rows]
        >>> real = pd.DataFrame({"low": [1.5, 2.5], "high": [2.5, 3.0]})
        >>> rows, report = SDVGenerator(Careless(), "low <= high", table=real).sample(4)
        >>> bool((rows["low"] <= rows["high"]).all()), report.moved_rows
        (True, 2)
    """

    def __init__(
        self, synthesizer: Any, rules: Any, *, table: pd.DataFrame | None = None, schema: Schema | None = None
    ) -> None:
        if not callable(getattr(synthesizer, "sample", None)):
            raise ConfigError(
                f"found a {type(synthesizer).__name__}, expected a synthesizer of SDV (it has no `sample`)."
            )
        self.synthesizer = synthesizer
        if schema is None:
            metadata = getattr(synthesizer, "metadata", None)
            described = read_metadata(metadata) if hasattr(metadata, "to_dict") else None
            detected = None if table is None else Schema.detect(table)
            schema = described.refined_by(detected) if described and detected else described or detected
        if schema is None:
            raise ConfigError("nothing says what the columns are; give `table`, the real rows, or `schema`.")
        self.schema = schema
        empty = pd.DataFrame({name: [None] for name in schema.names})
        self.rules, _ = read_rules(rules, open_table(empty), schema, "allow")

    @classmethod
    def fit(cls, name: str, table: pd.DataFrame, rules: Any, *, metadata: Any = None, **settings: Any) -> Self:
        """Make a synthesizer of SDV by its name, fit it, and wrap it.

        Args:
            name: Such as ``GaussianCopulaSynthesizer`` or ``CTGANSynthesizer``.
            table: The real rows.
            rules: See the class.
            metadata: SDV's own; by default what `graftable.tabular.Schema` finds.
            **settings: Arguments of the synthesizer.

        Raises:
            MissingExtraError: If SDV is not installed.
            ConfigError: If it has no synthesizer of this name.
        """
        module = _sdv("sdv.single_table")
        if not hasattr(module, name):
            known = [found for found in dir(module) if found.endswith("Synthesizer")]
            raise ConfigError(f"SDV has no synthesizer `{name}`.{did_you_mean(name, known)} It has {', '.join(known)}.")
        schema = Schema.detect(table)
        metadata = metadata if metadata is not None else _metadata(schema)
        synthesizer = getattr(module, name)(metadata, **settings)
        synthesizer.fit({next(iter(metadata.tables)): table})
        return cls(synthesizer, rules, schema=read_metadata(metadata).refined_by(schema))

    def sample(self, n: int) -> tuple[pd.DataFrame, RepairReport]:
        """Draw rows and finish them.

        Args:
            n: How many, at least 1.

        Returns:
            Rows of which none breaks a rule, and what had to move in what SDV drew.

        Raises:
            ConfigError: If ``n`` is below 1.
            DataError: If SDV gives too few rows, or other columns, or rows that obey are not found.
        """
        if n < 1:
            raise ConfigError(f"n is {n}; expected at least 1 row.")
        rows, report = repair(self._drawn(n), self.rules, self.schema, coerce=True)
        lost = np.array(sorted({one.row for one in report.quarantine}), int)
        for _ in range(ROUNDS if len(lost) else 0):
            fresh, again = repair(self._drawn(n), self.rules, self.schema, coerce=True)
            good = np.setdiff1d(np.arange(n), [one.row for one in again.quarantine])[: len(lost)]
            kept = rows.drop(index=lost[: len(good)])
            rows = pd.concat([kept, fresh.iloc[good].set_axis(lost[: len(good)])]).sort_index()
            lost = lost[len(good) :]
            if not len(lost):
                break
        if len(lost):
            raise DataError(f"{len(lost)} of {n} rows that SDV drew cannot be brought to obey the rules; relax them.")
        if report.quarantined_rows:
            report.quarantined_rows, report.quarantine = 0, []
        return rows, report

    def _drawn(self, n: int) -> pd.DataFrame:
        """Rows of SDV on the lattice of the schema."""
        frame = self.synthesizer.sample(num_rows=n)
        if isinstance(frame, Mapping) and len(frame) == 1:  # from SDV 2.0 on, tables come by name
            frame = next(iter(frame.values()))
        if not isinstance(frame, pd.DataFrame):
            raise DataError(f"a {type(frame).__name__} came from SDV, expected a data frame of one table.")
        if len(frame) != n:
            raise DataError(f"{n} rows were asked of SDV and {len(frame)} came; relax its own constraints.")
        Schema.detect(frame).require(self.schema.names, "the rows of SDV")
        columns = {}
        for column in self.schema:
            cells = frame[column.name].reset_index(drop=True)
            if pd.api.types.is_datetime64_any_dtype(cells.dtype):
                utc = cells.dt.tz_convert(None) if cells.dt.tz is not None else cells
                cells = (utc - pd.Timestamp(0)) / pd.Timedelta(days=1)
            columns[column.name] = cells
        return snap(pd.DataFrame(columns), self.schema)


def read_metadata(source: Any, table: str | None = None) -> Schema:
    """The schema that SDV metadata say.

    Args:
        source: A file, or an object of SDV (whatever has ``to_dict``).
        table: The table, where the metadata have several.

    Raises:
        DataError: If they cannot be read.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if not path.is_file():
            raise DataError(f"{path}: there is no such file; check the path.")
        return Schema.from_sdv(path.read_text(encoding="utf-8"), str(path), table)
    if not hasattr(source, "to_dict"):
        raise DataError(f"found a {type(source).__name__}, expected a file or metadata of SDV.")
    return Schema.from_sdv(json.dumps(source.to_dict(), default=str), "the metadata", table)


def write_metadata(schema: Schema, target: str | Path) -> None:
    """Write a schema as SDV metadata of one table, for ``Metadata.load_from_json``."""
    from graftable.files import write_text

    write_text(target, schema.to_sdv("V2", "table") + "\n")


def _metadata(schema: Schema) -> Any:
    """The schema as an object of SDV."""
    content: Mapping[str, Any] = json.loads(schema.to_sdv("V2", "table"))
    return _sdv("sdv.metadata").Metadata.load_from_dict(content)


def _sdv(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"SDV cannot be imported ({error}); it is an extra: pip install 'graftable[sdv]' (its licence is BUSL-1.1)."
        ) from error
