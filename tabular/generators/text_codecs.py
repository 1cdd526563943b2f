"""Columns that are not numbers to learn as symbols: texts by their frequency, constants, and names of rows."""

from __future__ import annotations

import itertools
import math
import string
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..schema import ColumnSchema
from .cells import pack_texts, read_numbers, read_texts, unpack_texts
from .interface import Allowed, Arrays

__all__ = ["CategoryCodec", "ConstantCodec", "IdentifierCodec", "form_of"]

Symbols = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CategoryCodec:
    """A column of texts, or of numbers too long for floats, as levels, then null; past a limit, bands of rare texts.

    Attributes:
        column: The column.
        texts: The texts, the most frequent first.
        counts: Training rows by text ``(texts,)``.
        levels: The symbol of each text ``(texts,)``, ascending.
        null_count: Training rows that are null.
    """

    kind: ClassVar[str] = "category"
    column: ColumnSchema
    texts: list[str]
    counts: Floats
    levels: Symbols
    null_count: int

    BANDS: ClassVar[int] = 20

    @classmethod
    def fit(cls, series: pd.Series, column: ColumnSchema, most: int) -> CategoryCodec:
        """Count the texts of a column; with more than ``most``, the rare ones share `BANDS` symbols."""
        cells = read_texts(series)
        counted = cells.drop_null().value_counts()
        texts, shares = (part.to_pylist() for part in counted.flatten())
        ranked = sorted(zip(texts, shares, strict=True), key=lambda item: (-item[1], item[0]))
        counts = np.array([count for _, count in ranked], np.float64)
        levels = np.arange(len(ranked))
        if len(ranked) > most:
            alone = most - cls.BANDS
            share = np.cumsum(counts[alone:]) / counts[alone:].sum()
            bands = np.minimum((share * cls.BANDS * (1 - 1e-12)).astype(np.int64), cls.BANDS - 1)
            levels[alone:] = alone + np.unique(bands, return_inverse=True)[1]
        return cls(column, [text for text, _ in ranked], counts, levels, cells.null_count)

    @property
    def nulls(self) -> bool:
        """Whether the last symbol is null."""
        return self.null_count > 0

    @property
    def size(self) -> int:
        """How many symbols there are."""
        return int(self.levels[-1] + 1 if len(self.levels) else 0) + self.nulls

    @property
    def ordered(self) -> int:
        """None of them have an order."""
        return 0

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(np.array(self.texts, object))

    @cached_property
    def _level_counts(self) -> Floats:
        held = np.bincount(self.levels, self.counts, minlength=self.size - self.nulls)
        return np.asarray(held, np.float64)

    def encode(self, series: pd.Series) -> tuple[Symbols, Floats]:
        """The symbol of each cell, -1 for what was never seen, and the log-probability of the cell in its symbol."""
        cells = read_texts(series)
        places = self._index.get_indexer(np.array(cells.to_pylist(), object))
        seen = places >= 0
        symbols = np.where(seen, self.levels[places], -1)
        within = np.where(seen, np.log(self.counts[places] / self._level_counts[symbols]), -np.inf)
        missing = np.asarray(cells.is_null())
        return np.where(missing & self.nulls, self.size - 1, symbols), np.where(missing & self.nulls, 0.0, within)

    def mass(self, allowed: Allowed) -> Floats:
        """The share of each symbol that is allowed ``(size,)``; bounds by row allow all, and are left to the rules."""
        kept = self._kept(allowed)
        if kept.all():
            share = np.ones(self.size)
        else:
            share = np.zeros(self.size)
            held = np.bincount(self.levels[kept], self.counts[kept], minlength=self.size - self.nulls)
            share[: self.size - self.nulls] = held / self._level_counts
        if self.nulls:
            share[-1] = allowed.null
        return share

    def _kept(self, allowed: Allowed) -> NDArray[np.bool_]:
        """Which texts are allowed ``(texts,)``."""
        if allowed.texts is not None:
            return np.asarray(self._index.isin(list(allowed.texts)))
        if not self.column.is_numeric or np.ndim(allowed.low) or np.ndim(allowed.high):
            return np.ones(len(self.texts), bool)
        numbers = np.array([float(text) for text in self.texts])
        return np.asarray((numbers >= allowed.low) & (numbers <= allowed.high))

    def decode(self, symbols: Symbols, rng: np.random.Generator, allowed: Allowed | None = None) -> pd.Series:
        """Texts of these symbols, as often as they were seen, among those allowed; None for null."""
        weights = self.counts.copy()
        if allowed is not None:
            weights[~self._kept(allowed)] = 0
        below = np.concatenate([[0.0], np.cumsum(weights)])
        first = np.searchsorted(self.levels, np.arange(self.size - self.nulls + 1))
        present = np.flatnonzero(symbols < self.size - self.nulls)
        low, high = below[first[symbols[present]]], below[first[symbols[present] + 1]]
        drawn = low + rng.random(len(present)) * (high - low)
        places = np.searchsorted(below, drawn, side="right") - 1
        texts = np.full(len(symbols), None, object)
        texts[present] = np.array([*self.texts, None], object)[places]
        return pd.Series(texts, dtype=object)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and settings."""
        data, ends = pack_texts(self.texts)
        arrays: Arrays = {"texts": data, "ends": ends, "counts": self.counts, "levels": self.levels}
        return arrays, {"null_count": self.null_count}

    @classmethod
    def restored(cls, column: ColumnSchema, arrays: Arrays, extra: dict[str, Any]) -> CategoryCodec:
        """Read what `state` gave."""
        texts = unpack_texts(arrays["texts"], arrays["ends"])
        return cls(column, texts, arrays["counts"], arrays["levels"], extra["null_count"])


@dataclass(frozen=True)
class ConstantCodec:
    """A column that says the same in every row: one symbol.

    Attributes:
        column: The column.
        value: A number, a text, or None for null.
    """

    kind: ClassVar[str] = "constant"
    column: ColumnSchema
    value: float | str | None
    size: ClassVar[int] = 1
    ordered: ClassVar[int] = 0
    nulls: ClassVar[bool] = False

    def encode(self, series: pd.Series) -> tuple[Symbols, Floats]:
        """0 for the value, -1 for any other."""
        if isinstance(self.value, str) or (self.value is None and not self.column.is_numeric):
            texts = read_texts(series)
            same = np.array([text == self.value for text in texts.to_pylist()], bool)
        else:
            cells = read_numbers(series, self.column)
            numbers = np.where(cells.special >= 0, np.nan, cells.values)
            same = cells.missing if self.value is None else ~cells.missing & np.isclose(numbers, self.value, 1e-12, 0)
        return np.where(same, 0, -1), np.where(same, 0.0, -np.inf)

    def mass(self, allowed: Allowed) -> Floats:
        """1 where the value is allowed, ``(1,)``, or ``(rows, 1)`` for bounds by row."""
        if self.value is None:
            return np.array([float(allowed.null)])
        if isinstance(self.value, str):
            return np.array([float(allowed.texts is None or self.value in allowed.texts)])
        inside = (np.asarray(allowed.low) <= self.value) & (self.value <= np.asarray(allowed.high))
        return np.asarray(inside, np.float64)[..., None]

    def decode(self, symbols: Symbols, rng: np.random.Generator, allowed: Allowed | None = None) -> pd.Series:
        """The value, over and over."""
        if self.column.is_numeric:
            return pd.Series(np.full(len(symbols), np.nan if self.value is None else float(self.value)))
        return pd.Series(np.full(len(symbols), self.value, object), dtype=object)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and settings."""
        return {}, {"value": self.value}

    @classmethod
    def restored(cls, column: ColumnSchema, arrays: Arrays, extra: dict[str, Any]) -> ConstantCodec:
        """Read what `state` gave."""
        return cls(column, extra["value"])


@dataclass(frozen=True)
class IdentifierCodec:
    """A column that names rows: it is made up, not learnt; one symbol.

    Whole numbers are counted from ``first``. Texts keep their form: where all names have the same letter it stays, and
    elsewhere letters are redrawn, a digit for a digit; a number is put to the end of what would come twice.

    Attributes:
        column: The column.
        first: The first number, or None for texts.
        form: For texts, the letters that may stand at each place.
    """

    kind: ClassVar[str] = "identifier"
    column: ColumnSchema
    first: int | None
    form: tuple[str, ...] = ()
    size: ClassVar[int] = 1
    ordered: ClassVar[int] = 0
    nulls: ClassVar[bool] = False

    def encode(self, series: pd.Series) -> tuple[Symbols, Floats]:
        """0 for any name: what is not learnt has no probability."""
        return np.zeros(len(series), np.int64), np.zeros(len(series))

    def mass(self, allowed: Allowed) -> Floats:
        """1: any name may be made."""
        return np.ones(1)

    def decode(self, symbols: Symbols, rng: np.random.Generator, allowed: Allowed | None = None) -> pd.Series:
        """As many names, all different."""
        if self.first is not None:
            return pd.Series(self.first + np.arange(len(symbols), dtype=np.float64))
        fixed = sorted(allowed.texts) if allowed is not None and allowed.texts else []
        if fixed:
            return pd.Series([fixed[place % len(fixed)] for place in range(len(symbols))], dtype=object)
        parts = [[letters[place] for place in rng.integers(len(letters), size=len(symbols))] for letters in self.form]
        texts = ["".join(letters) for letters in zip(*parts, strict=True)] if parts else [""] * len(symbols)
        seen: set[str] = set()
        for place, text in enumerate(texts):
            texts[place] = text if text not in seen else f"{text}{place}"
            seen.add(texts[place])
        return pd.Series(texts, dtype=object)

    def names(self, start: int, count: int) -> NDArray[Any]:
        """The names of the rows from number ``start`` on, which differ from those of all other rows.

        Texts take the names of the form by a walk that visits each of them once; a number is put to the end from the
        second round on.

        Example:
            >>> IdentifierCodec(ColumnSchema("id", "text"), None, ("A", "-", "0123456789")).names(8, 4).tolist()
            ['A-3', 'A-0', 'A-71', 'A-41']
        """
        if self.first is not None:
            return self.first + np.arange(start, start + count)
        size = math.prod(map(len, self.form))
        step = next(step for step in itertools.count(max(1, size * 618 // 1000)) if math.gcd(step, size) == 1)
        names = np.empty(count, object)
        for place in range(count):
            turn, row = divmod(start + place, size)
            letter = (
                (row + 1) * step % size
            )  # each of the `size` names once, as `step` and `size` have no common factor
            text = ""
            for letters in reversed(self.form):
                letter, here = divmod(letter, len(letters))
                text = letters[here] + text
            names[place] = f"{text}{turn}" if turn else text
        return names

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Arrays and settings."""
        return {}, {"first": self.first, "form": list(self.form)}

    @classmethod
    def restored(cls, column: ColumnSchema, arrays: Arrays, extra: dict[str, Any]) -> IdentifierCodec:
        """Read what `state` gave."""
        return cls(column, extra["first"], tuple(extra["form"]))


def form_of(texts: list[str]) -> tuple[str, ...]:
    """The letters that may stand at each place of a name, from the names of the most frequent length.

    Example:
        >>> form_of(["A-1", "A-7", "B-10"])
        ('A', '-', '0123456789')
    """
    lengths = np.bincount([len(text) for text in texts])
    alike = [text for text in texts if len(text) == int(lengths.argmax())]
    form = [_alphabet(set(letters)) for letters in zip(*alike, strict=True)]
    if alike[0].isdigit() and "0" not in (first := {text[0] for text in alike}):
        form[0] = "".join(sorted(first)[: max(1, len(first) - 1)])  # a number of as many digits, and not a larger one
    return tuple(form)


def _alphabet(letters: set[str]) -> str:
    """One letter as it is; more as all the digits or letters of their kinds, and themselves."""
    if len(letters) == 1:
        return next(iter(letters))
    kinds = (string.digits, string.ascii_lowercase, string.ascii_uppercase)
    return "".join(sorted(letters.union(*(kind for kind in kinds if letters & set(kind)))))
