r"""The baseline: a Gaussian copula over the columns, each with its empirical distribution.

.. math:: x_d = F_d^{-1}(\Phi(y_d)), \qquad y \sim \mathcal{N}(0, R),

with :math:`F_d` read off the symbols of the column (see `graftable.tabular.generators.number_codec`): numbers in their
order, texts by their frequency, null last. :math:`R` is the correlation of the normal scores of the rows, the slices of
repeated values filled at random.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtr, ndtri

from graftable.errors import ConfigError

from ..compiler import Compiled
from ..schema import Schema
from .cells import check_table, data_space
from .encoding import TableEncoder
from .interface import Allowed, Arrays, Conditions, Generator, Progress, within

__all__ = ["CopulaGenerator"]

Floats = NDArray[np.float64]


class CopulaGenerator(Generator):
    """A Gaussian copula with exact marginal distributions; conditions on a column are obeyed, one column at a time.

    A condition truncates the column's score; other columns follow through the correlations. With conditions on several
    columns the joint distribution is approximate: each is drawn given those before it, not those after it.

    Args:
        intervals: About how many intervals a numeric column is cut into.
        levels: The most symbols of a column of texts.
        shrink: The weight of no correlation at all, from 0 to 1, which keeps few rows from looking certain.

    Example:
        >>> frame = pd.DataFrame({"a": range(0, 200, 2), "b": [n % 7 for n in range(100)]})
        >>> copula = CopulaGenerator().fit(frame, Schema.detect(frame))
        >>> bool(copula.sample(50, seed=1)["b"].between(0, 6).all())
        True
    """

    engine: ClassVar[str] = "copula"

    def __init__(self, intervals: int = 256, levels: int = 100, shrink: float = 0.01) -> None:
        within(shrink=(shrink, 0, 1))
        self.intervals, self.levels, self.shrink = intervals, levels, shrink

    def fit(
        self,
        table: pd.DataFrame,
        schema: Schema,
        *,
        rules: Compiled | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Self:
        """Learn a table; see `Generator.fit`. Rules are not needed to learn."""
        table = check_table(table, schema)
        encoder = TableEncoder.fit(table, schema, intervals=self.intervals, levels=self.levels)
        rng = np.random.default_rng(seed)
        symbols = [codec.encode(table[name])[0] for name, codec in encoder.codecs.items()]
        sizes = [codec.size for codec in encoder.codecs.values()]
        self.shares = [
            np.bincount(part, minlength=size) / len(table) for part, size in zip(symbols, sizes, strict=True)
        ]
        scores = np.stack([self._scores(place, part, rng) for place, part in enumerate(symbols)], 1)
        correlation = np.atleast_2d(np.cov(scores.T)) if len(table) > 1 else np.eye(len(sizes))
        spread = np.sqrt(np.maximum(np.diag(correlation), 1e-12))
        correlation = correlation / spread[:, None] / spread
        self.correlation = (1 - self.shrink) * correlation + self.shrink * np.eye(len(sizes))
        np.fill_diagonal(self.correlation, 1.0)
        self.schema, self.encoder = schema, encoder
        if progress is not None:
            progress(1.0, "correlations")
        return self

    def _scores(self, place: int, symbols: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """Normal scores, at random inside the slice of each symbol."""
        below = np.concatenate([[0.0], np.cumsum(self.shares[place])])
        inside = below[symbols] + rng.random(len(symbols)) * self.shares[place][symbols]
        return np.asarray(ndtri(np.clip(inside, 1e-9, 1 - 1e-9)))

    def sample(self, n: int, *, conditions: Conditions | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw rows; see `Generator.sample`."""
        self.fitted_schema()
        rng = np.random.default_rng(seed)
        asked = conditions.columns if conditions is not None else {}
        self.schema.require(tuple(asked), "the conditions")
        names = list(self.encoder.codecs)
        first = [name for name in names if name in asked]
        order = [names.index(name) for name in (*first, *(name for name in names if name not in asked))]
        root = cholesky(self.correlation[np.ix_(order, order)], lower=True)
        noise = rng.standard_normal((n, len(names)))
        columns: dict[str, pd.Series] = {}
        for rank, place in enumerate(order):
            name = names[place]
            allowed, mean = asked.get(name), noise[:, :rank] @ root[rank, :rank]
            if allowed is None:
                symbols = self._symbols(place, np.ones(1), ndtr(mean + root[rank, rank] * noise[:, rank]))
            else:
                symbols, noise[:, rank] = self._truncated(place, allowed, mean, root[rank, rank], rng)
            columns[name] = self.encoder.codecs[name].decode(symbols, rng, allowed)
        return pd.DataFrame({name: columns[name] for name in names})

    def _symbols(self, place: int, weights: Floats, levels: Floats) -> NDArray[np.int64]:
        below = np.cumsum(self.shares[place] * weights)
        found = np.searchsorted(below / below[-1], levels, side="right")
        return np.minimum(found, int(np.flatnonzero(self.shares[place] * weights)[-1]))

    def _truncated(
        self, place: int, allowed: Allowed, mean: Floats, scale: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], Floats]:
        """Symbols and noise of a column whose symbols have weights: a slice counts by its conditional probability."""
        codec = list(self.encoder.codecs.values())[place]
        weights = np.atleast_2d(codec.mass(allowed))
        edges = ndtri(np.clip(np.concatenate([[0.0], np.cumsum(self.shares[place])]), 1e-12, 1 - 1e-12))
        symbols, noise = np.zeros(len(mean), np.int64), np.zeros(len(mean))
        for start in range(0, len(mean), 4096):
            part = slice(start, start + 4096)
            ends = ndtr((edges - mean[part, None]) / scale)
            chances = np.diff(ends, axis=1) * (weights[part] if len(weights) > 1 else weights)
            below = np.cumsum(np.where(self.shares[place] > 0, chances + 1e-300 * (chances > 0), 0), 1)
            if not (below[:, -1] > 0).all():
                raise ConfigError(
                    f"no value of column `{codec.column.name}` in the table that was learnt meets the conditions; "
                    "relax them."
                )
            drawn = (below <= rng.random(len(below))[:, None] * below[:, -1:]).sum(1)
            rows = np.arange(len(drawn))
            level = ends[rows, drawn] + rng.random(len(drawn)) * (ends[rows, drawn + 1] - ends[rows, drawn])
            symbols[part], noise[part] = drawn, ndtri(np.clip(level, 1e-12, 1 - 1e-12))
        return symbols, noise

    def impute(self, table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
        """Fill null cells with a draw given the scores of the row's other cells."""
        table = check_table(table, self.fitted_schema())
        rng = np.random.default_rng(seed)
        names = list(self.encoder.codecs)
        symbols = np.stack([codec.encode(table[name])[0] for name, codec in self.encoder.codecs.items()], 1)
        gaps = np.stack([np.asarray(table[name].isna()) for name in names], 1)
        gaps |= symbols < 0
        scores = np.stack(
            [self._scores(place, np.maximum(symbols[:, place], 0), rng) for place in range(len(names))], 1
        )
        filled = data_space(table, self.schema)
        kinds, group = np.unique(gaps, axis=0, return_inverse=True)
        for index, kind in enumerate(kinds):
            rows = np.flatnonzero(group.reshape(-1) == index)
            if kind.any():
                scores[np.ix_(rows, np.flatnonzero(kind))] = self._given(scores[rows], kind, rng)
        for place, name in enumerate(names):
            codec, rows = self.encoder.codecs[name], np.flatnonzero(gaps[:, place] & np.asarray(table[name].isna()))
            if not len(rows) or codec.size == 1:
                continue
            weights = np.ones(codec.size)
            if codec.nulls:
                weights[-1] = 0
            drawn = codec.decode(self._symbols(place, weights, ndtr(scores[rows, place])), rng)
            filled.iloc[rows, place] = drawn.to_numpy()
        return filled

    def _given(self, scores: Floats, gap: NDArray[np.bool_], rng: np.random.Generator) -> Floats:
        """Scores of the columns of a gap given the others ``(rows, columns of the gap)``."""
        known = ~gap
        inner = self.correlation[np.ix_(gap, gap)]
        noise = rng.standard_normal((len(scores), int(gap.sum())))
        if not known.any():
            return np.asarray(noise @ cholesky(inner, lower=True).T)
        root = cholesky(self.correlation[np.ix_(known, known)], lower=True)
        half = solve_triangular(root, self.correlation[np.ix_(known, gap)], lower=True)
        mean = solve_triangular(root, scores[:, known].T, lower=True).T @ half
        left = cholesky(inner - half.T @ half + 1e-9 * np.eye(len(inner)), lower=True)
        return np.asarray(mean + noise @ left.T)

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """The codecs, the shares of the symbols and the correlations."""
        arrays, extra = self.encoder.state()
        return arrays | {"correlation": self.correlation, "shares": np.concatenate(self.shares)}, extra

    def restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `state` gave."""
        self.encoder = TableEncoder.restored(self.schema, arrays, extra)
        self.correlation = arrays["correlation"]
        ends = np.cumsum([codec.size for codec in self.encoder.codecs.values()])[:-1]
        self.shares = np.split(arrays["shares"], ends)
