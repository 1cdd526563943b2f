"""What a generator is fitted to, from files: a table, its schema and its rules; and models as they were saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from graftable.errors import DataError, GraftableError, ModelFileError

from .arrow_tables import ParquetTable
from .checking import read_rules
from .expressions import RuleSet
from .generators.interface import MODEL_FILES
from .io import ReadOptions, Table, open_table
from .rule_parser import Unseen
from .schema import Schema
from .synthesis import Synthesizer

__all__ = ["MODEL_FILES", "TableSource", "load_model", "schema_of_file"]


@dataclass(frozen=True)
class TableSource:
    """A table to learn, what its columns are, and the rules for its rows.

    Example:
        >>> source = TableSource.read(pa.table({"low": [1, 2], "high": [2, 2]}), "low <= high")
        >>> source.schema.names, len(source.rules), source.types
        (('low', 'high'), 1, None)
    """

    table: Table
    schema: Schema
    rules: RuleSet

    @classmethod
    def read(
        cls,
        data: Any,
        rules: Any = None,
        schema: str | Path | None = None,
        *,
        options: ReadOptions | None = None,
        unseen: Unseen = "refuse",
    ) -> TableSource:
        """Open a table and read its rules against it.

        Args:
            data: See `open_table`.
            rules: A rule file, the text of rules, a list of rules, or a `RuleSet`; None for none.
            schema: A file that says what the columns are: ours, or SDV metadata. Found out by default.
            options: How to read texts.
            unseen: Whether a category that the table never holds is an error.

        Raises:
            DataError: If a file cannot be read, or is of another table.
            RuleError: If a rule is wrong.
        """
        table = open_table(data, options)
        known = None if schema is None else schema_of_file(schema, table)
        found = known
        rule_set = RuleSet(())
        if rules:
            rule_set, found = read_rules(rules, table, known, unseen)
        if known is None:  # read_rules describes no more than the columns that rules speak of
            columns = {column.name: column for column in Schema.detect(table)}
            spoken = {column.name: column for column in found or () if column.name in rule_set.columns}
            found = Schema(tuple((columns | spoken)[name] for name in table.names))
        return cls(table, cast("Schema", found), rule_set)

    @property
    def types(self) -> pa.Schema | None:
        """The types of the columns of a Parquet file, which rows that are made should have; None for a CSV."""
        return self.table.schema if isinstance(self.table, ParquetTable) else None


def schema_of_file(path: str | Path, table: Table) -> Schema:
    """A schema that was written down, held against the first rows of its table.

    Raises:
        DataError: If it cannot be read, or no text of a column is among those that it lists.
    """
    schema = Schema.load(path)
    if all(column.minimum is None and not column.categories for column in schema):  # SDV metadata says kinds only
        return schema.refined_by(Schema.detect(table))
    first = next(iter(table.chunks()))
    for column in schema:
        if not column.categories or column.name not in table.names:
            continue
        texts = first.texts(column.name).drop_null()
        if len(texts) and not pc.any(pc.is_in(texts, pa.array(column.categories, pa.string()))).as_py():
            raise DataError(
                f"{table.source}, column `{column.name}`: found {texts[0].as_py()!r}, and no text that "
                f"{path} lists, such as {column.categories[0]!r}; give the schema of this table."
            )
    return schema


def load_model(folder: str | Path) -> Synthesizer:
    """A model as `Synthesizer.save` wrote it.

    Raises:
        ModelFileError: If the folder is absent, lacks a file, or holds one that is damaged.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ModelFileError(f"{folder}: there is no such folder; a model is one that --save-model wrote.")
    missing = sorted(name for name in MODEL_FILES if not (place / name).is_file())
    if missing:
        raise ModelFileError(f"{folder}: lacks {missing[0]}; a model is a folder that --save-model wrote.")
    try:
        return Synthesizer.load(place)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        if isinstance(error, GraftableError):
            raise
        raise ModelFileError(f"{folder}: holds no model that can be read ({error}); fit it again.") from error
