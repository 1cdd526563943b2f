"""Columns that name the rows of a table that is made."""

from __future__ import annotations

import pandas as pd

from .generators.interface import Generator
from .generators.text_codecs import IdentifierCodec

__all__ = ["RowNames"]


class RowNames:
    """Columns that name the rows: each name is a function of the number of its row alone, so that all differ.

    Args:
        generator: Knows which columns these are.
        bound: Columns that rules and conditions speak of, whose names stay as they were drawn.
        first_row: The number of the next row.
    """

    def __init__(self, generator: Generator, bound: set[str], first_row: int = 0) -> None:
        holder = getattr(generator, "layout", generator)
        codecs = getattr(getattr(holder, "encoder", None), "codecs", {})
        self.codecs = {
            name: codec for name, codec in codecs.items() if isinstance(codec, IdentifierCodec) and name not in bound
        }
        self.row = first_row

    def distinct(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame with names that no other row has."""
        for name, codec in self.codecs.items():
            frame[name] = pd.Series(codec.names(self.row, len(frame)), frame.index)
        self.row += len(frame)
        return frame
