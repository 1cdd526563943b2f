"""What the columns of a table are: kinds, decimals, categories, nulls, special codes and ranges; as JSON and back."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import pyarrow as pa
import pyarrow.compute as pc

from graftable.errors import DataError
from graftable.files import write_text

from .lattice import LatticeCells, format_dates, number_text, parse_dates, parse_numbers, units_per_day

__all__ = ["ColumnSchema", "Kind", "Schema", "did_you_mean"]

SCHEMA_VERSION = 1

Kind = Literal["integer", "decimal", "categorical", "boolean", "datetime", "text"]


@dataclass(frozen=True)
class ColumnSchema:
    """One column.

    Attributes:
        name: Its name in the header.
        kind: What its texts are.
        decimals: Digits after the point that its values need (of a second, for a datetime).
        categories: Its texts, the most frequent first; for ``categorical`` and ``boolean`` columns.
        nullable: Whether a cell may be null.
        special: Texts that are codes for "no value" (such as ``-7``); rules take them as null.
        minimum: The smallest value; days since 1970-01-01 for a datetime.
        maximum: The largest value.
        date_format: As `datetime.strptime` has it.
        fill: A text for cells that need one: the median, or the most frequent category.
        spread: A typical distance between values, above 0, in which moves are measured.
        shown_decimals: Digits after the point that every text shows, zeros or not.
    """

    name: str
    kind: Kind
    decimals: int = 0
    categories: tuple[str, ...] = ()
    nullable: bool = False
    special: tuple[str, ...] = ()
    minimum: Fraction | None = None
    maximum: Fraction | None = None
    date_format: str | None = None
    fill: str = ""
    spread: Fraction = Fraction(1)
    shown_decimals: int = 0

    @property
    def is_numeric(self) -> bool:
        """Whether rules may calculate with the column."""
        return self.kind in ("integer", "decimal", "datetime")

    @property
    def reach(self) -> Fraction:
        """The largest magnitude of its values, 0 where that is not known."""
        return max(abs(self.minimum or Fraction(0)), abs(self.maximum or Fraction(0)))

    @property
    def is_long(self) -> bool:
        """Whether its whole numbers are too long to be told apart as floats, as those of many keys are."""
        return self.kind == "integer" and self.reach > 1 << 53

    @property
    def scale(self) -> int:
        """Lattice units per 1, or per day: a value is an integer over this.

        Example:
            >>> ColumnSchema("price", "decimal", decimals=2).scale
            100
            >>> ColumnSchema("seen", "datetime", date_format="%Y-%m-%d %H:%M:%S").scale
            86400
        """
        if self.kind == "datetime":
            return units_per_day(self.date_format or "%Y-%m-%d", self.decimals)
        return int(10**self.decimals)

    def parse(self, texts: pa.Array, decimal: str = ".") -> LatticeCells:
        """Cells of a numeric column as exact integers; special codes count as missing."""
        if self.special:
            texts = self.without_special(texts)
        if self.kind == "datetime":
            return parse_dates(texts, self.date_format or "%Y-%m-%d", self.decimals)
        return parse_numbers(texts, decimal)

    def without_special(self, texts: pa.Array) -> pa.Array:
        """The texts with null in the place of special codes."""
        return pc.if_else(pc.is_in(texts, pa.array(self.special, pa.string())), pa.scalar(None, pa.string()), texts)

    def text(self, number: int, decimal: str = ".") -> str:
        """The canonical text of the lattice value ``number``.

        Example:
            >>> ColumnSchema("price", "decimal", decimals=2, shown_decimals=2).text(1250)
            '12.50'
        """
        if self.kind == "datetime":
            return format_dates([number], self.date_format or "%Y-%m-%d", self.decimals)[0]
        return number_text(number, self.scale, self.shown_decimals, decimal)


@dataclass(frozen=True)
class Schema:
    """The columns of a table in their order.

    Example:
        >>> schema = Schema((ColumnSchema("age", "integer"), ColumnSchema("sex", "categorical", categories=("F", "M"))))
        >>> Schema.from_json(schema.to_json()) == schema
        True
        >>> schema["age"].kind
        'integer'
    """

    columns: tuple[ColumnSchema, ...]

    @classmethod
    def detect(cls, source: Any, columns: Sequence[str] | None = None, options: Any = None) -> Schema:
        """Find out what the columns of a table are; see `graftable.tabular.detection`.

        Args:
            source: A path, a data frame, an Arrow table, or an open `graftable.tabular.io.Table`.
            columns: Only these; by default all.
            options: `graftable.tabular.io.ReadOptions`.
        """
        from .detection import detect

        return detect(source, columns, options)

    @property
    def version(self) -> int:
        """The version of the JSON form."""
        return SCHEMA_VERSION

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def _by_name(self) -> Mapping[str, ColumnSchema]:
        return {column.name: column for column in self.columns}

    def __getitem__(self, name: str) -> ColumnSchema:
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[ColumnSchema]:
        return iter(self.columns)

    def require(self, names: Sequence[str], source: str) -> None:
        """Check that a table has these columns.

        Raises:
            DataError: If it lacks one; the message names the nearest column.
        """
        for name in names:
            if name not in self:
                raise DataError(f"{source}: there is no column `{name}`.{did_you_mean(name, self.names)}")

    def require_same(self, other: Schema, source: str) -> None:
        """Check that another table still has the columns and kinds of this schema.

        Raises:
            DataError: If a column is missing or of another kind.
        """
        other.require(self.names, source)
        for column in self.columns:
            found = other[column.name]
            if found.kind != column.kind and {found.kind, column.kind} != {"integer", "decimal"}:
                raise DataError(
                    f"{source}, column `{column.name}`: found {found.kind} cells, expected {column.kind} ones as in "
                    "the schema; give the table that the schema was made for, or detect the schema again."
                )

    @cached_property
    def hash(self) -> str:
        """A fingerprint of all that the schema says."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The schema as JSON text, one column a line."""
        lines = ",\n".join("  " + json.dumps(_plain(column), ensure_ascii=False) for column in self.columns)
        return f'{{"schema_version": {SCHEMA_VERSION}, "columns": [\n{lines}\n]}}\n'

    @classmethod
    def from_json(cls, text: str, file: str = "the schema") -> Schema:
        """Read what `to_json` wrote.

        Raises:
            DataError: If it is not JSON, of another version, or has an unknown key or kind.
        """
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{file}, line {error.lineno}: this is not JSON ({error.msg}).") from error
        if not isinstance(found, dict) or "columns" not in found:
            raise DataError(f'{file}: expected a mapping with "schema_version" and "columns".')
        if found.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"{file}: found schema version {found.get('schema_version')}, but this graftable reads version "
                f"{SCHEMA_VERSION}; detect the schema again."
            )
        return cls(tuple(_column(entry, file) for entry in found["columns"]))

    def save(self, path: str | Path) -> None:
        """Write the JSON form to a file."""
        write_text(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read a file that `save` wrote, or SDV metadata."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read ({error}); give a schema as JSON.") from error
        if "METADATA_SPEC_VERSION" in text:
            return cls.from_sdv(text, str(path))
        return cls.from_json(text, str(path))

    def to_sdv(self, version: Literal["V1", "V2"] = "V1", table: str | None = None) -> str:
        """The schema as SDV metadata JSON; see `graftable.tabular.sdv_metadata`."""
        from .sdv_metadata import to_sdv

        return to_sdv(self, version, table)

    @classmethod
    def from_sdv(cls, text: str, file: str = "the metadata", table: str | None = None) -> Schema:
        """Read SDV metadata JSON; see `graftable.tabular.sdv_metadata`."""
        from .sdv_metadata import from_sdv

        return from_sdv(text, file, table)

    def refined_by(self, detected: Schema) -> Schema:
        """This schema's kinds with the ranges, categories and formats that another found in data.

        SDV metadata names kinds but seldom values; where a kind fits the detected one, the detected details are taken.
        """
        return Schema(tuple(_refined(column, detected) for column in self.columns))


def _refined(column: ColumnSchema, detected: Schema) -> ColumnSchema:
    if column.name not in detected:
        return column
    found = detected[column.name]
    numeric = {"integer", "decimal"}
    if found.kind == column.kind or {found.kind, column.kind} <= numeric:
        kind = column.kind if found.decimals == 0 else found.kind
        return replace(found, kind=kind, special=column.special or found.special)
    return replace(column, nullable=found.nullable)


def did_you_mean(name: str, known: Sequence[str], quote: str = "`") -> str:
    """Advice on a name that is not known, to stand after the sentence that says so: the nearest, or what there is.

    Example:
        >>> did_you_mean("aeg", ["age", "sex"])
        ' Did you mean `age`?'
        >>> did_you_mean("income", ["age", "sex"])
        ' There is `age`, `sex`.'
    """
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    if near:
        return f" Did you mean {quote}{folded[near[0]]}{quote}?"
    some = ", ".join(f"{quote}{other}{quote}" for other in known[:4])
    return f" There is {some}{', ...' if len(known) > 4 else ''}." if known else ""


def _plain(column: ColumnSchema) -> dict[str, Any]:
    """A column as JSON values, defaults left out."""
    default = ColumnSchema(column.name, column.kind)
    values = {key: value for key, value in asdict(column).items() if value != getattr(default, key)}
    plain = {key: str(value) if isinstance(value, Fraction) else value for key, value in values.items()}
    return {"name": column.name, "kind": column.kind, **plain}


def _column(entry: Any, file: str) -> ColumnSchema:
    known = [field.name for field in fields(ColumnSchema)]
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise DataError(f'{file}: expected each column as a mapping with "name" and "kind", found {entry!r:.60}.')
    place = f"{file}, column `{entry['name']}`"
    for key in entry:
        if key not in known:
            raise DataError(f"{place}: there is no setting `{key}`.{did_you_mean(key, known)}")
    if entry.get("kind") not in get_args(Kind):
        raise DataError(f"{place}: found kind {entry.get('kind')!r}, expected one of {', '.join(get_args(Kind))}.")
    values = dict(entry)
    try:
        values |= {
            key: Fraction(values[key]) for key in ("minimum", "maximum", "spread") if values.get(key) is not None
        }
        values |= {key: tuple(map(str, values[key])) for key in ("categories", "special") if key in values}
        return ColumnSchema(**cast("dict[str, Any]", values))
    except (ValueError, TypeError, ZeroDivisionError) as error:
        raise DataError(f"{place}: has a value that cannot be read ({error}).") from error
