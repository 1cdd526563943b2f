"""How rules see the rows of an engine: levels of texts as categories that rules know, and drawn frames as tensors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .cells import read_numbers, read_texts
from .encoding import TableEncoder
from .rule_guidance import RuleGuidance
from .text_codecs import CategoryCodec, ConstantCodec

__all__ = ["RuleView", "obey_frame"]


class RuleView:
    r"""Levels to the rules' categories and back.

    A level may hold several texts, and rules may know a text that no row has. With :math:`F` the share of each category
    in a level and :math:`B` the level of each category, both ways are products: :math:`p F` and :math:`q B`.

    Args:
        guidance: The rules.
        encoder: The codecs of all columns.
    """

    def __init__(self, guidance: RuleGuidance, encoder: TableEncoder) -> None:
        self.guidance, self.encoder = guidance, encoder
        self._constants: dict[str, float] = {}
        self._maps: dict[str, tuple[Tensor, Tensor]] = {}
        for name in guidance.numeric:
            codec = encoder.codecs[name]
            if isinstance(codec, ConstantCodec) and codec.value is not None:
                self._constants[name] = float(codec.value)
        for name, texts in guidance.categories.items():
            codec = encoder.codecs[name]
            if isinstance(codec, CategoryCodec):
                self._maps[name] = _maps(codec, texts)
        self._fixed = {
            name: _one_hot(encoder.codecs[name], texts)
            for name, texts in guidance.categories.items()
            if name not in self._maps
        }

    def obey(
        self, numbers: Mapping[str, Tensor], levels: Mapping[str, Tensor], rows: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Impose the rules; differentiable.

        Args:
            numbers: ``(rows,)`` by column, in the units of the table; NaN is null. Columns that are not here are
                constants, or names of rows, which rules take as null.
            levels: ``(rows, levels)`` by column of texts: probabilities.
            rows: How many rows there are.

        Returns:
            The numbers of ``guidance.numeric``, ``(rows, columns)``, and the levels of the rules' columns of texts; of
            the gradient of levels that moved, the share ``guidance.leak`` passes, as of numbers.
        """
        nothing = torch.full((rows,), torch.nan, dtype=torch.float64)
        given = [
            numbers[name].double() if name in numbers else nothing.nan_to_num(self._constants.get(name, torch.nan))
            for name in self.guidance.numeric
        ]
        x = torch.stack(given, 1) if given else torch.zeros(rows, 0, dtype=torch.float64)
        choices = {name: levels[name].double() @ forth for name, (forth, _) in self._maps.items()}
        choices |= {name: fixed.expand(rows, -1) for name, fixed in self._fixed.items()}
        x, found = self.guidance(x, choices)
        corrected = {}
        for name, (_, back) in self._maps.items():
            moved = (found[name] != choices[name]).any(1, keepdim=True)
            passed = self.guidance.leak * (levels[name] - levels[name].detach())
            corrected[name] = torch.where(moved, (found[name] @ back).to(levels[name].dtype) + passed, levels[name])
        return x, corrected


def _maps(codec: CategoryCodec, texts: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """``(levels, categories + 1)`` and ``(categories + 1, levels)``; the last category is null."""
    place = {text: number for number, text in enumerate(codec.texts)}
    forth = np.zeros((codec.size, len(texts) + 1))
    back = np.zeros((len(texts) + 1, codec.size))
    for category, text in enumerate(texts):
        if text in place:
            level = codec.levels[place[text]]
            forth[level, category] = codec.counts[place[text]]
            back[category, level] = 1.0
        else:  # no row has it, so no level is it: the most frequent one stands in
            back[category, 0] = 1.0
    if codec.nulls:
        forth[-1, -1] = 1.0
        back[-1, -1] = 1.0
    forth /= np.maximum(forth.sum(1, keepdims=True), 1e-300)
    return torch.from_numpy(forth), torch.from_numpy(back)


def _one_hot(codec: object, texts: tuple[str, ...]) -> Tensor:
    """The category of a column that says the same in every row, ``(1, categories + 1)``; null if it is none of them."""
    value = codec.value if isinstance(codec, ConstantCodec) else None
    row = torch.zeros(1, len(texts) + 1, dtype=torch.float64)
    row[0, texts.index(value) if isinstance(value, str) and value in texts else -1] = 1.0
    return row


def obey_frame(frame: pd.DataFrame, guidance: RuleGuidance) -> pd.DataFrame:
    """Rows of data space with the rules imposed, in float64, before any rounding.

    Args:
        frame: As `Generator.sample` draws it.
        guidance: The rules.

    Returns:
        A frame in which only cells that had to move are different.
    """
    if not len(frame):
        return frame
    numbers = [_number_cells(frame[name], guidance, name) for name in guidance.numeric]
    x = torch.from_numpy(np.stack(numbers, 1) if numbers else np.zeros((len(frame), 0)))
    codes = {name: _codes(frame[name], texts) for name, texts in guidance.categories.items()}
    corrected, found = guidance(x, codes)
    frame = frame.copy()
    for place, name in enumerate(guidance.numeric):
        moved = (corrected[:, place] != x[:, place]).numpy() & ~np.isnan(numbers[place])
        frame[name] = frame[name].mask(moved, pd.Series(corrected[:, place].numpy(), frame.index))
    for name, texts in guidance.categories.items():
        moved = (found[name] != codes[name]).numpy()
        new = np.array([*texts, None, None], object)[found[name].numpy()]
        frame[name] = frame[name].mask(moved, pd.Series(new, frame.index, dtype=object))
    return frame


def _number_cells(series: pd.Series, guidance: RuleGuidance, name: str) -> np.ndarray:
    cells = read_numbers(series, guidance.schema[name])
    return np.where(cells.usable, cells.values, np.nan)


def _codes(series: pd.Series, texts: tuple[str, ...]) -> Tensor:
    cells = read_texts(series)
    places = pd.Index(np.array(texts, object)).get_indexer(np.array(cells.to_pylist(), object))
    places = np.where(places < 0, len(texts), places)
    return torch.from_numpy(np.where(np.asarray(cells.is_null()), -1, places))
