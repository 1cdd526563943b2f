"""Correct rows with null cells: by their pattern of nulls where a rule asks for that, else all at once.

A rule that tests for null, or that counts as violated where a cell is missing, says different things to rows with
different nulls: these rows are grouped by their nulls in the columns of such rules, and each group has its own program.
In the columns of all other rules a null cell only lifts rules, and one program serves every pattern. Where no row with
the nulls of a group can obey, the fewest cells are emptied or filled first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .batch import Batch, Integers, Mask
from .compiler import Compiled, formulas_of
from .correction import SEARCHED, Correction, correct
from .expressions import RuleSet
from .lattice import SAFE, largest
from .normal_form import all_of

__all__ = ["RowsCorrection", "correct_rows", "parts_of"]


@dataclass
class RowsCorrection:
    """What `correct_rows` did; every array has one entry per row.

    Attributes:
        numbers: Corrected lattice integers by column; what stands in a null cell means nothing.
        codes: Corrected category codes by column.
        nulls: Null cells by column, some of them emptied or filled.
        cost: The sum of moves over spreads, 1 per flipped category, and 1 per cell emptied or filled.
        solved: Rows that obey all hard rules now; the others are as they were.
        moved: Rows that were changed.
        searched: Those of them for which a walk of the program did not do; see `graftable.tabular.correction.SEARCHED`.
    """

    numbers: dict[str, Integers]
    codes: dict[str, NDArray[np.int64]]
    nulls: dict[str, Mask]
    cost: NDArray[np.float64]
    solved: Mask
    moved: Mask
    searched: Mask


def correct_rows(
    compiled: Compiled,
    numbers: Mapping[str, Integers],
    codes: Mapping[str, NDArray[np.int64]],
    nulls: Mapping[str, Mask],
    *,
    search: bool = True,
) -> RowsCorrection:
    """Correct rows of any nulls.

    Args:
        compiled: Rules, schema and pinned columns.
        numbers: Lattice integers, for every column in ``compiled.lattice.scales``; anything in null cells.
        codes: Category codes, for every column in ``compiled.lattice.categories``; -1 for an unlisted text.
        nulls: Null cells, for the columns of the rules that have some.
        search: See `graftable.tabular.correction.correct`.

    Returns:
        The corrected columns; the arguments are left alone.

    Example:
        >>> from graftable.tabular.rule_files import parse_rules
        >>> from graftable.tabular.schema import ColumnSchema, Schema
        >>> schema = Schema((ColumnSchema("low", "integer"), ColumnSchema("high", "integer", nullable=True)))
        >>> compiled = Compiled(parse_rules("high >= low", schema), schema)
        >>> rows = {"low": np.array([5, 5]), "high": np.array([3, 0])}
        >>> correct_rows(compiled, rows, {}, {"high": np.array([False, True])}).numbers["high"].tolist()
        [5, 0]
    """
    size = len(next(iter((*numbers.values(), *codes.values(), *nulls.values())), ()))
    used = compiled.columns
    result = RowsCorrection(
        {column: values.copy() for column, values in numbers.items()},
        {column: values.copy() for column, values in codes.items()},
        {column: nulls.get(column, np.zeros(size, bool)).copy() for column in used.union(nulls)},
        np.zeros(size),
        np.ones(size, bool),
        np.zeros(size, bool),
        np.zeros(size, bool),
    )
    for rows, pattern in _groups(result.nulls, compiled.null_columns, np.arange(size)):
        rows = _correct_group(compiled, result, rows, pattern, search, lifting=True)
        for part, exact in _groups(result.nulls, used, rows):
            _correct_group(compiled, result, part, exact, search, lifting=False)
    _restore(result, numbers, codes, nulls)
    return result


def _correct_group(
    compiled: Compiled,
    result: RowsCorrection,
    rows: NDArray[np.intp],
    pattern: frozenset[str],
    search: bool,
    lifting: bool,
) -> NDArray[np.intp]:
    """Correct rows that share their nulls, or, if other nulls lift rules, those that matter.

    Returns:
        The rows that the program for all their nulls may still solve.
    """
    near = compiled.nearest_nulls(pattern)
    if near != pattern and lifting:  # no row can obey, but for those in which other nulls lift rules
        rows = rows[~_obeys(compiled, result, rows, pattern)]
    if near is None:
        result.solved[rows] = False
        return rows
    for column in sorted(pattern ^ near):
        result.nulls[column][rows] = column in near
        if column not in near:
            _fill(compiled, result, rows, column)
    result.cost[rows] += len(pattern ^ near)
    result.moved[rows] |= bool(pattern ^ near)
    program, (numbers, codes) = compiled.program(near), _columns(result, rows)
    masks = {column: null[rows] & lifting for column, null in result.nulls.items()}
    found = correct(program, numbers, codes, masks, search=search)
    _write(result, rows, found)
    used = [masks[column] for column in (*program.columns, *program.categorical)]
    lifted = np.logical_or.reduce([np.zeros(len(rows), bool), *used])
    return np.asarray(rows[~found.solved & lifted])


def _groups(
    nulls: Mapping[str, Mask], columns: Iterable[str], rows: NDArray[np.intp]
) -> list[tuple[NDArray[np.intp], frozenset[str]]]:
    """The rows by which of some columns are null in them."""
    some = [column for column in sorted(columns) if nulls[column][rows].any()]
    if not len(rows):
        return []
    if not some:
        return [(rows, frozenset())]
    patterns, group = np.unique(np.array([nulls[column][rows] for column in some]).T, axis=0, return_inverse=True)
    return [
        (rows[group.ravel() == place], frozenset(name for name, null in zip(some, pattern, strict=True) if null))
        for place, pattern in enumerate(patterns)
    ]


def _obeys(compiled: Compiled, result: RowsCorrection, rows: NDArray[np.intp], pattern: frozenset[str]) -> Mask:
    numbers, codes = _columns(result, rows)
    masks = {column: null[rows] for column, null in result.nulls.items()}
    formula = all_of(formulas_of(compiled.rules, compiled.lattice, pattern))
    return Batch(numbers, codes, compiled.lattice.categories, masks).holds(formula)


def _columns(
    result: RowsCorrection, rows: NDArray[np.intp]
) -> tuple[dict[str, Integers], dict[str, NDArray[np.int64]]]:
    return (
        {column: values[rows] for column, values in result.numbers.items()},
        {column: code[rows] for column, code in result.codes.items()},
    )


def _write(result: RowsCorrection, rows: NDArray[np.intp], found: Correction) -> None:
    for column, values in found.numbers.items():
        if values.dtype == object and result.numbers[column].dtype != object and largest(values) >= SAFE:
            result.numbers[column] = result.numbers[column].astype(object)
        result.numbers[column][rows] = values
    for column, code in found.codes.items():
        result.codes[column][rows] = code
    result.cost[rows] += found.cost
    result.moved[rows] |= found.moved
    result.searched[rows] |= (found.cells == SEARCHED).any(axis=0)
    result.solved[rows] = found.solved


def _restore(
    result: RowsCorrection,
    numbers: Mapping[str, Integers],
    codes: Mapping[str, NDArray[np.int64]],
    nulls: Mapping[str, Mask],
) -> None:
    """Leave the rows that stay unsolved as they were."""
    rows = np.flatnonzero(~result.solved)
    if not len(rows):
        return
    for column, values in numbers.items():
        result.numbers[column][rows] = values[rows]
    for column, code in codes.items():
        result.codes[column][rows] = code[rows]
    for column, null in result.nulls.items():
        null[rows] = nulls[column][rows] if column in nulls else False
    result.cost[rows], result.moved[rows], result.searched[rows] = 0.0, False, False


def _fill(compiled: Compiled, result: RowsCorrection, rows: NDArray[np.intp], column: str) -> None:
    """Put the usual value into empty cells."""
    described, lattice = compiled.schema[column], compiled.lattice
    if column in lattice.scales:
        # the text is in the manner of the table that the schema was found out from, and may be finer than the lattice
        cells = described.parse(pa.array([described.fill], pa.string()), "," if "," in described.fill else ".")
        number = (2 * int(cells.numbers[0]) * lattice.scales[column] + cells.scale) // (2 * cells.scale)
        if abs(number) >= SAFE:
            result.numbers[column] = result.numbers[column].astype(object)
        result.numbers[column][rows] = number
    elif column in lattice.categories:
        listed = lattice.categories[column]
        result.codes[column][rows] = listed.index(described.fill) if described.fill in listed else 0


def parts_of(compiled: Compiled) -> list[Compiled]:
    r"""The hard rules in groups that share no column, so that the nulls of one group do not matter to another.

    Example:
        >>> from graftable.tabular.rule_files import parse_rules
        >>> from graftable.tabular.schema import ColumnSchema, Schema
        >>> schema = Schema(tuple(ColumnSchema(name, "integer") for name in "abcd"))
        >>> compiled = Compiled(parse_rules("c >= 0\na <= b\nd == 1 - b", schema), schema)
        >>> [len(part.rules) for part in parts_of(compiled)]
        [1, 2]
    """
    limits = compiled.pinned, compiled.max_cells, compiled.max_rows
    return [Compiled(rules, compiled.schema, *limits) for rules in _apart(compiled.rules.hard)]


def _apart(rules: RuleSet) -> list[RuleSet]:
    """The rules in groups that share no column, each in the order of the file."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, rule in enumerate(rules):
        touching = [group for group in groups if group[0].intersection(rule.columns)]
        groups = [group for group in groups if group not in touching]
        columns = set(rule.columns).union(*(group[0] for group in touching))
        groups.append((columns, [*(place for group in touching for place in group[1]), index]))
    return [RuleSet(tuple(rules.rules[place] for place in sorted(places)), rules.file) for _, places in groups]
