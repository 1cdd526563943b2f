"""Many rows at once: columns of lattice integers, and exact sums over them.

Sums run in int64 while the magnitudes say that they cannot overflow. At the first sum that could, the whole batch turns
into Python integers, which are slower and have no limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elimination import Bound
from .lattice import SAFE, largest
from .normal_form import AllOf, Among, AnyOf, Formula, Row

__all__ = ["Batch", "Integers", "Mask"]

Integers = NDArray[Any]
"""int64, or Python integers in an object array."""
Mask = NDArray[np.bool_]


class Batch:
    """Some rows, by column.

    Args:
        numbers: Lattice integers by column.
        codes: Category codes by column: the place in the program's list, -1 for a text that it does not list.
        categories: The program's lists.
        nulls: Null cells by column, for those with some. A leaf that needs a null cell counts as satisfied.

    Example:
        >>> batch = Batch({"x": np.array([1, 5])}, {"kind": np.array([0, -1])}, {"kind": ("a", "b")})
        >>> batch.holds(Row((("x", 2),), 4)), batch.holds(Among("kind", frozenset({"b", None})))
        (array([False,  True]), array([False,  True]))
        >>> Batch({"x": np.array([1 << 61])}, {}, {}).total((("x", 8),), 1)
        array([18446744073709551617], dtype=object)
    """

    def __init__(
        self,
        numbers: Mapping[str, Integers],
        codes: Mapping[str, NDArray[np.int64]],
        categories: Mapping[str, Sequence[str]],
        nulls: Mapping[str, Mask] | None = None,
    ) -> None:
        self.numbers = dict(numbers)
        self.codes = dict(codes)
        self.categories = categories
        self.nulls = {column: mask for column, mask in (nulls or {}).items() if mask.any()}
        self.size = len(next(iter((*numbers.values(), *codes.values(), *(nulls or {}).values())), ()))
        self._peaks: dict[str, int] = {}
        self._wide = any(values.dtype == object for values in self.numbers.values())
        if self._wide:
            peaks = [self.peak(column) for column in self.numbers]
            narrow = max(peaks, default=0) < SAFE
            self.numbers = {
                column: values.astype(np.int64 if narrow else object) for column, values in self.numbers.items()
            }
            self._wide = not narrow

    def take(self, rows: NDArray[np.intp]) -> Batch:
        """Copies of some rows."""
        numbers = {column: values[rows] for column, values in self.numbers.items()}
        codes = {column: values[rows] for column, values in self.codes.items()}
        part = Batch(numbers, codes, self.categories, {column: mask[rows] for column, mask in self.nulls.items()})
        part._peaks = dict(self._peaks)  # still bounds, if loose ones
        return part

    def set(self, column: str, values: Integers) -> None:
        """Replace a column of numbers."""
        self.numbers[column] = values
        self._peaks.pop(column, None)
        if self._wide != (values.dtype == object):  # all columns or none hold Python integers
            self._widen()

    def total(self, terms: Sequence[tuple[str, int]], constant: int) -> Integers:
        """``constant + sum of coefficient * column``, exact."""
        reach = abs(constant)
        for column, a in terms:
            reach += abs(a) * self.peak(column)
        if reach >= SAFE and not self._wide:
            self._widen()
        if not terms:
            return np.full(self.size, constant, object if self._wide else np.int64)
        result: Integers | None = None
        for column, a in terms:
            values = self.numbers[column]
            if result is None:
                result = values + constant if a == 1 else constant - values if a == -1 else a * values + constant
            elif a == 1:
                result += values
            elif a == -1:
                result -= values
            else:
                result += a * values
        assert result is not None
        return result

    def tightest(self, bounds: Sequence[Bound], idle: Integers, *, lower: bool) -> Integers:
        """The largest lower bound per row, rounded up, or the smallest upper bound, rounded down.

        Args:
            bounds: One or more bounds.
            idle: What a bound over null cells counts as.
            lower: Which side.
        """
        tightest: Integers | None = None
        for bound in bounds:
            value = self.total(bound.terms, bound.constant)
            if bound.coefficient > 1:
                value = -(-value // bound.coefficient) if lower else value // bound.coefficient
            if (missing := self.missing(bound.terms)) is not None:
                value = np.where(missing, idle, value)
            if tightest is None:
                tightest = value
            else:
                tightest = np.maximum(tightest, value) if lower else np.minimum(tightest, value)
        assert tightest is not None
        return tightest

    def missing(self, terms: Sequence[tuple[str, int]]) -> Mask | None:
        """Where a sum has a null cell; None if it has none anywhere."""
        masks = [self.nulls[column] for column, _ in terms if column in self.nulls] if self.nulls else []
        return np.logical_or.reduce(masks) if masks else None

    def any_null(self) -> Mask:
        """Which rows have a null cell."""
        return np.asarray(np.logical_or.reduce([np.zeros(self.size, bool), *self.nulls.values()]))

    def holds(self, formula: Formula) -> Mask:
        """Which rows obey a formula."""
        match formula:
            case bool():
                return np.full(self.size, formula)
            case Row(terms, bound):
                held, missing = np.asarray(self.total(terms, -bound) >= 0, dtype=bool), self.missing(terms)
                return held if missing is None else held | missing
            case Among(column, values):
                return self.among(column, values)
            case AllOf(items) | AnyOf(items):
                union = isinstance(formula, AnyOf)
                result = np.full(self.size, not union)
                for item in items:
                    (np.logical_or if union else np.logical_and)(result, self.holds(item), out=result)
                return result
        raise TypeError(f"not a formula: {formula!r}")

    def among(self, column: str, values: frozenset[str | None] | Sequence[str | None]) -> Mask:
        """Which rows have one of these categories; an unlisted text is ``None``."""
        # the code of an unlisted text is -1, which indexes the last place
        allowed = np.array([value in values for value in (*self.categories[column], None)])
        chosen = np.asarray(allowed[self.codes[column]])
        return chosen | self.nulls[column] if column in self.nulls else chosen

    def moved(self, column: str, original: Batch) -> NDArray[np.float64]:
        """How far a column lies from where it was, in lattice points."""
        after, before = self.numbers[column], original.numbers[column]
        if self.peak(column) + original.peak(column) >= 2 * SAFE:
            after = after.astype(object)
        return np.asarray(np.abs(after - before), dtype=np.float64)

    def _widen(self) -> None:
        self._wide = True
        self.numbers = {column: values.astype(object) for column, values in self.numbers.items()}

    def peak(self, column: str) -> int:
        """A bound of the magnitudes in a column."""
        if column not in self._peaks:
            self._peaks[column] = largest(self.numbers[column])
        return self._peaks[column]
