"""SDV metadata JSON, versions V1 and V2, single table or several, read and written without importing SDV."""

import json
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from graftable.errors import DataError

from .lattice import format_dates, parse_dates
from .schema import ColumnSchema, Kind, Schema, did_you_mean

__all__ = ["from_sdv", "to_sdv"]

_KINDS: dict[str, Kind] = {
    "numerical": "decimal",
    "ordinal": "integer",  # V2: whole numbers of few values
    "categorical": "categorical",
    "boolean": "boolean",
    "datetime": "datetime",
}
_WHOLE = re.compile(r"U?Int(8|16|32|64)")


def from_sdv(text: str, file: str = "the metadata", table: str | None = None) -> Schema:
    """Read a schema from SDV metadata.

    Ids, names, addresses and what SDV does not know become ``text``. V1 says nothing of values, so that categories and
    decimals come from the data: ``Schema.from_sdv(text).refined_by(Schema.detect(table))``.

    Args:
        text: The JSON.
        file: What errors call it.
        table: The table, where the metadata has several.

    Raises:
        DataError: If it is not such JSON, or has several tables and ``table`` is none of them.

    Example:
        >>> metadata = '{"METADATA_SPEC_VERSION": "SINGLE_TABLE_V1", "columns": {"age": {"sdtype": "numerical"}}}'
        >>> from_sdv(metadata)["age"].kind
        'decimal'
    """
    try:
        found = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: this is not JSON ({error.msg}).") from error
    version = found.get("METADATA_SPEC_VERSION") if isinstance(found, dict) else None
    if version not in ("V1", "V2", "SINGLE_TABLE_V1", "SINGLE_TABLE_V2", "MULTI_TABLE_V1"):
        raise DataError(f"{file}: found METADATA_SPEC_VERSION {version!r}, expected SDV metadata of V1 or V2.")
    content = _one_table(found, file, table)
    return Schema(tuple(_column(name, entry, f"{file}, column `{name}`") for name, entry in content.items()))


def _one_table(found: dict[str, Any], file: str, table: str | None) -> dict[str, Any]:
    tables = found.get("tables", {table or "": found})
    if table is None and len(tables) != 1:
        raise DataError(f"{file}: holds the tables {', '.join(tables) or '(none)'}; name one of them.")
    name = table if table is not None else next(iter(tables))
    if name not in tables:
        raise DataError(f"{file}: there is no table `{name}`.{did_you_mean(name, list(tables))}")
    columns = tables[name].get("columns", {})
    if not isinstance(columns, dict):
        raise DataError(f'{file}: expected "columns" as a mapping of column names.')
    return columns


def _column(name: str, entry: dict[str, Any], place: str) -> ColumnSchema:
    kind = _KINDS.get(entry.get("sdtype", ""), "text")
    decimals = int(entry.get("decimal_places", 0))
    if kind == "decimal" and (
        _WHOLE.fullmatch(entry.get("computer_representation", "")) or entry.get("decimal_places") == 0
    ):
        kind = "integer"
    date_format = (entry.get("datetime_format") or "%Y-%m-%d") if kind == "datetime" else None
    values = tuple(str(value) for value in entry.get("range_values", ()))
    return ColumnSchema(
        name,
        kind,
        decimals=6 if date_format and "%f" in date_format else decimals,
        categories=values if kind in ("categorical", "boolean") else (),
        nullable=bool(entry.get("range_is_nullable", True)),
        minimum=_bound(entry.get("range_min"), date_format, place),
        maximum=_bound(entry.get("range_max"), date_format, place),
        date_format=date_format,
    )


def _bound(value: Any, date_format: str | None, place: str) -> Fraction | None:
    if value is None:
        return None
    if date_format is None:
        return Fraction(value)
    cells = parse_dates(pa.array([str(value)]), date_format, 6 if "%f" in date_format else 0)
    if cells.unreadable[0]:
        raise DataError(f"{place}: found {value!r}, expected a date like {date_format}.")
    return Fraction(int(cells.numbers[0]), cells.scale)


def to_sdv(schema: Schema, version: Literal["V1", "V2"] = "V1", table: str | None = None) -> str:
    """Write a schema as SDV metadata.

    Args:
        schema: The columns.
        version: ``V1`` names kinds; ``V2`` also ranges, decimals and categories.
        table: The name of the table; without it the single-table form is written.

    Example:
        >>> print(to_sdv(Schema((ColumnSchema("age", "integer", nullable=True),)), "V2"))
        {
          "METADATA_SPEC_VERSION": "SINGLE_TABLE_V2",
          "columns": {
            "age": {
              "sdtype": "numerical",
              "range_is_nullable": true,
              "decimal_places": 0
            }
          }
        }
    """
    columns = {column.name: _entry(column, version) for column in schema.columns}
    if table is None:
        content: dict[str, Any] = {"METADATA_SPEC_VERSION": f"SINGLE_TABLE_{version}", "columns": columns}
    else:
        content = {"METADATA_SPEC_VERSION": version, "tables": {table: {"columns": columns}}, "relationships": []}
    return json.dumps(content, indent=2, ensure_ascii=False)


def _entry(column: ColumnSchema, version: str) -> dict[str, Any]:
    sdtype = {"integer": "numerical", "decimal": "numerical", "text": "unknown"}.get(column.kind, column.kind)
    entry: dict[str, Any] = {"sdtype": sdtype}
    if column.kind == "text":
        entry["pii"] = False
    if column.kind == "datetime":
        entry["datetime_format"] = column.date_format
    if version == "V1":
        return entry | ({"computer_representation": "Int64"} if column.kind == "integer" else {})
    entry["range_is_nullable"] = column.nullable
    if column.kind in ("integer", "decimal"):
        entry["decimal_places"] = column.decimals
    if column.is_numeric:
        bounds = {"range_min": column.minimum, "range_max": column.maximum}
        entry |= {key: _bound_value(bound, column) for key, bound in bounds.items() if bound is not None}
    if column.categories:
        entry["range_values"] = list(column.categories)
    return entry


def _bound_value(bound: Fraction, column: ColumnSchema) -> int | float | str:
    if column.kind == "datetime":
        return format_dates(np.array([int(bound * column.scale)]), column.date_format or "%Y-%m-%d", column.decimals)[0]
    return int(bound) if bound.denominator == 1 else float(bound)
