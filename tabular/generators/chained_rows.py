"""Rows whose last columns a chain draws, in three forms that are kept alike: symbols, cells, and what trees see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logsumexp

from .boosted_chain import BoostedChain, draw_symbols
from .encoding import Codec
from .interface import Allowed

__all__ = ["ChainedRows"]


class ChainedRows:
    """Some rows while columns of them are drawn from a chain, in place.

    Args:
        codecs: By column, in their order.
        symbols: ``(rows, columns)``, -1 for what was never seen.
        frame: The same rows in data space.

    Attributes:
        features: What boosted trees see: numbers, or the symbols of columns without an order; NaN for neither
            ``(rows, columns)``.
    """

    def __init__(self, codecs: Mapping[str, Codec], symbols: NDArray[np.int64], frame: pd.DataFrame) -> None:
        self.names, self.codecs, self.symbols, self.frame = list(codecs), codecs, symbols, frame
        seen = [_seen(codec, symbols[:, place], frame[name]) for place, (name, codec) in enumerate(codecs.items())]
        self.features = np.stack(seen, 1)

    def draw(
        self,
        chain: BoostedChain,
        place: int,
        rng: np.random.Generator,
        *,
        some: NDArray[np.intp] | None = None,
        null: bool = True,
        allowed: Allowed | None = None,
    ) -> NDArray[np.float64]:
        """Draw one column of a chain.

        Args:
            chain: The chain.
            place: The column's place in it.
            rng: Draws.
            some: In which rows; None for all.
            null: Whether null may be drawn.
            allowed: What may be drawn; where the chain gives it no chance, the symbols stay.

        Returns:
            The logarithm of the probability of what may be drawn, by row.
        """
        column = chain.columns[place]
        name, rows = self.names[column], slice(None) if some is None else some
        codec = self.codecs[name]
        chances = chain.log_probabilities(place, self.features[rows])
        if codec.nulls and not null:
            chances[:, -1] = -np.inf
        if allowed is not None:
            with np.errstate(divide="ignore"):
                chances = chances + np.log(codec.mass(allowed))
        total = np.asarray(logsumexp(chances, axis=1), np.float64)
        drawn = np.where(np.isneginf(total), self.symbols[rows, column], draw_symbols(chances, rng))
        cells = codec.decode(drawn, rng, allowed)
        self.symbols[rows, column] = drawn
        self.features[rows, column] = _seen(codec, drawn, cells)
        if some is None:
            self.frame[name] = cells
        else:
            held = self.frame[name].to_numpy(copy=True)
            held[some] = cells.to_numpy()
            self.frame[name] = held
        return total

    def fill_last(self, chain: BoostedChain, gaps: Mapping[str, NDArray[np.bool_]], rng: np.random.Generator) -> None:
        """Draw the gaps of each row that come after its last known cell in a chain.

        Args:
            chain: The chain.
            gaps: Which cells are to be filled ``(rows,)``, by column.
            rng: Draws.
        """
        to_end = np.ones(len(self.frame), bool)
        fillable = []
        for column in reversed(chain.columns):
            to_end = to_end & gaps[self.names[column]]
            fillable.append(np.flatnonzero(to_end))
        for place, some in enumerate(reversed(fillable)):
            if len(some):
                self.draw(chain, place, rng, some=some, null=False)


def _seen(codec: Codec, symbols: NDArray[np.int64], cells: pd.Series) -> NDArray[np.float32]:
    """One column as boosted trees see it ``(rows,)``."""
    if codec.ordered:
        return np.asarray(cells.to_numpy(np.float32))
    return np.where(symbols < 0, np.nan, symbols).astype(np.float32)
