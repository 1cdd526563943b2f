"""Whether rows obey a rule, exactly: trees on integer columns, with Python integers where int64 is too short."""

import math
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from graftable.errors import DataError

from .arrow_tables import ArrowChunk
from .expressions import (
    And,
    Comparison,
    Constant,
    Expression,
    IsNull,
    Member,
    NonlinearComparison,
    Not,
    Operator,
    Or,
    Rule,
    atoms,
    columns_of,
    negation_normal_form,
)
from .io import Chunk
from .lattice import SAFE, LatticeCells, largest
from .schema import ColumnSchema, Schema

__all__ = ["ChunkCells", "obeys", "obeys_form"]

Mask = NDArray[np.bool_]

_COMPARE: Mapping[Operator, Any] = {
    "<=": np.less_equal,
    "<": np.less,
    ">=": np.greater_equal,
    ">": np.greater,
    "==": np.equal,
    "!=": np.not_equal,
}


class ChunkCells:
    """The cells of a chunk as rules see them, each column parsed once.

    Args:
        chunk: The rows.
        schema: What the columns are; special codes count as null.
        decimal: The decimal mark of the texts.
        source: The table, as errors name it.
    """

    def __init__(self, chunk: Chunk, schema: Schema, decimal: str = ".", source: str = "the table") -> None:
        self.chunk, self.schema, self.decimal, self.source = chunk, schema, decimal, source
        self._texts: dict[str, pa.Array] = {}
        self._numbers: dict[str, LatticeCells] = {}

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return self.chunk.num_rows

    def texts(self, column: str) -> pa.Array:
        """Texts, null where the cell is null or holds a special code."""
        if column not in self._texts:
            texts, known = self.chunk.texts(column), self.schema[column]
            self._texts[column] = known.without_special(texts) if known.special else texts
        return self._texts[column]

    def numbers(self, column: str) -> LatticeCells:
        """Exact integers.

        Raises:
            DataError: If a cell is no number (no date); the message names its line.
        """
        if column not in self._numbers:
            cells = self._integers(column) or self.schema[column].parse(self.texts(column), self.decimal)
            if cells.unreadable.any():
                raise self._unreadable(column, int(np.flatnonzero(cells.unreadable)[0]))
            self._numbers[column] = cells
        return self._numbers[column]

    def _integers(self, column: str) -> LatticeCells | None:
        """The cells of a column that holds integers already, without their texts; None where only those will do."""
        known, cells = self.schema[column], None
        if isinstance(self.chunk, ArrowChunk) and known.kind != "datetime":
            cells = self.chunk.integers(column)
        if cells is None or pa.types.is_uint64(cells.type):
            return None
        numbers = np.array(cells.fill_null(0).cast(pa.int64()))
        missing = np.array(pc.is_null(cells))
        codes = [int(text) for text in known.special if re.fullmatch("0|-?[1-9][0-9]{0,17}", text)]
        missing |= np.isin(numbers, codes)
        numbers[missing] = 0
        none = np.zeros(len(numbers), bool)
        return LatticeCells(numbers, 1, missing, none, none) if largest(numbers) < SAFE else None

    def missing(self, column: str) -> Mask:
        """Which cells are null."""
        if self.schema[column].is_numeric:  # NaN in any spelling is null there
            return self.numbers(column).missing
        return np.asarray(pc.is_null(self.texts(column)))

    def _unreadable(self, column: str, row: int) -> DataError:
        text, known = self.texts(column)[row].as_py(), self.schema[column]
        return DataError(
            f"{self.source}, {self.chunk.place(row)}, column `{column}`: {_complaint(text, known, self.decimal)}"
        )


def _complaint(text: str, column: ColumnSchema, decimal: str) -> str:
    if column.kind == "datetime":
        return f"found {text!r}, expected a date like {column.date_format}."
    other = "," if decimal == "." else "."
    digits = text.strip().lstrip("+-").replace(other, "", 1)
    if other in text and digits.isdigit():
        name = "commas" if other == "," else "points"
        return f"found {text!r}, expected a number. Decimal {name} are read with --decimal {other!r}."
    return f"found {text!r}, expected a number. If it means that there is none, name it with --null {text!r}."


def obeys(rule: Rule, cells: ChunkCells) -> Mask:
    """Which rows obey a rule.

    An unknown outcome, where a needed cell is null, counts as ``rule.when_missing`` says. An infinity is no number: a
    row with one in a column that the rule calculates with does not obey.

    Example:
        >>> from .io import open_table
        >>> from .rule_parser import parse_rule
        >>> table = pa.table({"x": ["0.1", "0.3", None], "y": ["0.1", "0.2", "5"]})
        >>> schema = Schema.detect(table)
        >>> (chunk,) = open_table(table).chunks()
        >>> obeys(parse_rule("x <= y", schema), ChunkCells(chunk, schema)).tolist()
        [True, False, True]
    """
    return obeys_form(negation_normal_form(rule.expression), cells, rule.when_missing == "satisfied")


def obeys_form(form: Expression, cells: ChunkCells, unknown: bool) -> Mask:
    """Which rows obey a rule in negation normal form, with every unknown leaf counted as ``unknown``; see `obeys`."""
    obeying = _holds(form, cells, unknown)
    for column in {name for atom in atoms(form) if not isinstance(atom, Member | IsNull) for name in columns_of(atom)}:
        infinite = cells.numbers(column).infinite
        obeying = obeying & ~infinite if infinite.any() else obeying
    return obeying


def _holds(form: Expression, cells: ChunkCells, unknown: bool) -> Mask:
    """Which rows satisfy a normal form with every unknown leaf counted as ``unknown``."""
    if isinstance(form, And | Or):
        masks = (_holds(item, cells, unknown) for item in form.items)
        merge = np.logical_and if isinstance(form, And) else np.logical_or
        total = next(masks).copy()
        for mask in masks:
            merge(total, mask, out=total)
        return total
    if isinstance(form, Constant):
        return np.full(cells.num_rows, form.value)
    if isinstance(form, Comparison):
        terms = [((column,), factor) for column, factor in form.linear.terms]
        return _comparison(terms, form.linear.constant, form.operator, cells, unknown)
    if isinstance(form, NonlinearComparison):
        monomials = [(monomial, factor) for monomial, factor in form.terms if monomial]
        return _comparison(monomials, dict(form.terms).get((), Fraction(0)), form.operator, cells, unknown)
    negated, atom = (True, form.item) if isinstance(form, Not) else (False, form)
    if isinstance(atom, IsNull):
        missing: Mask = cells.missing(atom.column) != negated
        return missing
    if not isinstance(atom, Member):
        raise TypeError(f"found {type(atom).__name__} under a negation, expected a negation normal form")
    texts = cells.texts(atom.column)
    found = np.asarray(pc.is_in(texts, pa.array(atom.values, pa.string()))) != negated
    return np.where(np.asarray(pc.is_null(texts)), unknown, found)


def _comparison(
    terms: Sequence[tuple[tuple[str, ...], Fraction]],
    constant: Fraction,
    operator: Operator,
    cells: ChunkCells,
    unknown: bool,
) -> Mask:
    r"""Compare :math:`\sum_j a_j \prod_k m_{jk} / s_{jk} + c` with 0, all multiplied by a common denominator."""
    columns = {column: cells.numbers(column) for monomial, _ in terms for column in monomial}
    factors = [factor / math.prod(columns[column].scale for column in monomial) for monomial, factor in terms]
    whole = math.lcm(constant.denominator, *(factor.denominator for factor in factors))
    coefficients = [int(factor * whole) for factor in factors]
    sizes = [math.prod(largest(columns[column].numbers) or 1 for column in monomial) for monomial, _ in terms]
    reach = abs(int(constant * whole)) + sum(abs(a) * size for a, size in zip(coefficients, sizes, strict=True))
    kind: Any = np.int64 if reach < SAFE else object
    total = np.full(cells.num_rows, int(constant * whole), kind)
    for (monomial, _), coefficient in zip(terms, coefficients, strict=True):
        product: Any = coefficient if kind is object else np.int64(coefficient)
        for column in monomial:
            product = columns[column].numbers.astype(kind, copy=False) * product
        total = total + product
    result: Mask = _COMPARE[operator](total, 0).astype(bool)
    for column_cells in columns.values():
        if column_cells.missing.any():
            result = np.where(column_cells.missing, unknown, result)
    return result
