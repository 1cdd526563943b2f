"""The row that CTGAN and TVAE read and write: a normalised value and a mode of each number, a level of each text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..schema import Schema
from .blocks import Blocks
from .cells import read_numbers
from .encoding import TableEncoder
from .interface import Arrays
from .mode_normalization import ModeNormalization, Modes, fit_modes
from .number_codec import NumberCodec
from .rule_guidance import RuleGuidance
from .rule_view import RuleView
from .text_codecs import CategoryCodec

__all__ = ["RowLayout"]


class RowLayout:
    r"""Rows of a table as rows of a network, and back.

    A row is :math:`(\alpha_1 \dots \alpha_N, \beta_1 \dots \beta_N, d_1 \dots d_M)`: for each column of numbers its
    normalised value and its mode, and for each column of texts its level. A mode may also be null or a special code;
    rare texts share levels. Constants and names of rows are no part of it: the encoder makes them.

    Args:
        encoder: The codecs of all columns.
        modes: The modes of each column of numbers, by name.

    Attributes:
        numeric: The columns of numbers, in order.
        categorical: The columns of texts, in order.
        blocks: The choices: first the modes of ``numeric``, then the levels of ``categorical``.
    """

    def __init__(self, encoder: TableEncoder, modes: dict[str, Modes]) -> None:
        self.encoder, self.modes = encoder, modes
        self.numeric = tuple(modes)
        self.categorical = tuple(name for name, codec in encoder.codecs.items() if isinstance(codec, CategoryCodec))
        empty = [self._number(name).size - self._number(name).ordered for name in self.numeric]
        self.normalization = ModeNormalization(list(modes.values()), empty)
        levels = [encoder.codecs[name].size for name in self.categorical]
        self.blocks = Blocks([*self.normalization.sizes, *levels])

    @classmethod
    def fit(cls, table: pd.DataFrame, schema: Schema, *, modes: int = 10, levels: int = 100) -> RowLayout:
        """Learn the modes and the levels of a table.

        Args:
            table: At least one row.
            schema: The columns.
            modes: The most Gaussians of a column.
            levels: The most levels of a column; rare texts share the last ones.
        """
        encoder = TableEncoder.fit(table, schema, levels=levels)
        found = {}
        for name, codec in encoder.codecs.items():
            if isinstance(codec, NumberCodec):
                cells = read_numbers(table[name], schema[name])
                found[name] = fit_modes(cells.values[cells.usable], step=1 / schema[name].scale, most=modes)
        return cls(encoder, found)

    @property
    def width(self) -> int:
        """How long a row is."""
        return len(self.numeric) + self.blocks.width

    @property
    def schema(self) -> Schema:
        """The columns of the table."""
        return self.encoder.schema

    def encode(self, table: pd.DataFrame, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Some rows, with drawn modes.

        Returns:
            Normalised values ``(rows, N)``, 0 where there is none, and codes ``(rows, N + M)``, -1 for what was never
            seen.
        """
        alphas, codes = [], []
        for name, modes in self.modes.items():
            cells = read_numbers(table[name], self.schema[name])
            alpha, mode = modes.assign(cells.values, rng) if len(modes) else (np.zeros(len(table)), cells.special)
            symbols = self.encoder.codecs[name].encode(table[name])[0]
            empty = np.where(symbols < 0, -1, len(modes) + symbols - self._number(name).ordered)
            alphas.append(np.where(cells.usable, alpha, 0.0))
            codes.append(np.where(cells.usable, mode, empty))
        codes += [self.encoder.codecs[name].encode(table[name])[0] for name in self.categorical]
        return _stack(alphas, len(table)).float(), _stack(codes, len(table)).long()

    def row(self, alpha: Tensor, codes: Tensor) -> Tensor:
        """``(rows, width)``: what `encode` gave, with ones and zeros for codes."""
        return torch.cat([alpha, self.blocks.one_hot(codes)], 1)

    def decode(self, alpha: Tensor, codes: Tensor, rng: np.random.Generator) -> pd.DataFrame:
        """Rows of data space; ``rng`` draws the texts inside a shared level, and names."""
        columns: dict[str, pd.Series] = {}
        for name, codec in self.encoder.codecs.items():
            if name in self.modes:
                place = self.numeric.index(name)
                columns[name] = self._numbers(name, alpha[:, place].double().numpy(), codes[:, place].numpy(), rng)
            elif name in self.categorical:
                place = len(self.numeric) + self.categorical.index(name)
                columns[name] = codec.decode(codes[:, place].numpy(), rng)
            else:
                columns[name] = codec.decode(np.zeros(len(codes), np.int64), rng)
        return pd.DataFrame(columns)

    def _numbers(
        self, name: str, alpha: NDArray[np.float64], mode: NDArray[np.int64], rng: np.random.Generator
    ) -> pd.Series:
        modes, codec = self.modes[name], self._number(name)
        symbols = np.maximum(mode - len(modes), 0) + codec.ordered
        cells = codec.decode(symbols, rng) if codec.size > codec.ordered else None
        if not len(modes) and cells is not None:
            return cells
        inside = np.minimum(mode, len(modes) - 1)
        values = modes.centers[inside] + modes.widths[inside] * alpha
        values = np.where(inside < modes.atoms, modes.centers[inside], values)
        return pd.Series(values if cells is None else np.where(mode < len(modes), values, cells))

    def _number(self, name: str) -> NumberCodec:
        codec = self.encoder.codecs[name]
        assert isinstance(codec, NumberCodec)  # for the type checker: only these have modes
        return codec

    def view(self, guidance: RuleGuidance) -> RuleView:
        """How the rules see the levels of the texts."""
        return RuleView(guidance, self.encoder)

    def obey(self, row: Tensor, view: RuleView) -> tuple[Tensor, Tensor]:
        r"""Rows with the rules imposed in data space and written in modes again; differentiable.

        Args:
            row: ``(rows, width)``, values in [-1, 1] and hard or soft choices.
            view: The rules.

        Returns:
            The rows, and the numbers of the rules' columns as they were corrected, ``(rows, guidance.numeric)``.
        """
        count = len(self.numeric)
        alpha, choices = row[:, :count], row[:, count:]
        modes = choices[:, : sum(self.normalization.sizes)]
        x = self.normalization.inverse(alpha, modes)
        levels = dict(zip(self.categorical, self.blocks.split(choices)[count:], strict=True))
        numbers = dict(zip(self.numeric, x.unbind(1), strict=True))
        corrected, found = view.obey(numbers, levels, len(row))
        held = {name: corrected[:, place] for place, name in enumerate(view.guidance.numeric)}
        new = torch.stack([held.get(name, numbers[name]) for name in self.numeric], 1) if count else x
        still = (new == x) | x.isnan()
        again, modes = self.normalization(new.where(~still, x.detach()), modes)
        again = torch.where(still, alpha, again)
        written = torch.cat([modes, *(found.get(name, levels[name]) for name in self.categorical)], 1)
        return torch.cat([again, written], 1), corrected

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that was learnt."""
        arrays, extra = self.encoder.state()
        for place, modes in enumerate(self.modes.values()):
            arrays[f"modes{place}"] = np.stack([modes.centers, modes.widths, modes.weights])
        return arrays, {"encoder": extra, "modes": {name: modes.atoms for name, modes in self.modes.items()}}

    @classmethod
    def restored(cls, schema: Schema, arrays: Arrays, extra: dict[str, Any]) -> RowLayout:
        """Read what `state` gave."""
        encoder = TableEncoder.restored(schema, arrays, extra["encoder"])
        modes = {}
        for place, (name, atoms) in enumerate(extra["modes"].items()):
            centers, widths, weights = arrays[f"modes{place}"]
            modes[name] = Modes(centers, widths, weights, atoms)
        return cls(encoder, modes)


def _stack(columns: list[NDArray[Any]], rows: int) -> Tensor:
    return torch.from_numpy(np.stack(columns, 1) if columns else np.zeros((rows, 0)))
