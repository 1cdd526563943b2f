"""The row that the flow reads and writes: normal scores of numbers, and tokens of everything that is discrete."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from .blocks import Blocks
from .cells import read_numbers
from .encoding import TableEncoder
from .number_codec import SHORT_GRID, NumberCodec
from .rule_view import RuleView
from .text_codecs import CategoryCodec

__all__ = ["Curve", "MixedLayout"]

HEAVY = 0.05  # the share of the rows from which a repeated value is a token


class Curve:
    r"""The increasing line through the middles of the intervals of a column: from normal scores to numbers, and back.

    Unlike the steps of the codec it has a slope everywhere between its ends, which rules inside a network need.

    Args:
        codec: The column; at least two intervals.
    """

    def __init__(self, codec: NumberCodec) -> None:
        counts = codec.counts[: codec.ordered]
        edges = np.concatenate([[0.0], np.cumsum(counts) / max(counts.sum(), 1.0)])
        scores = ndtri(np.clip((edges[1:] + edges[:-1]) / 2, 1e-6, 1 - 1e-6))
        numbers = (codec.low + codec.high) / 2
        ends = np.array([codec.low[0], codec.high[-1]])
        scores = np.concatenate([[-4.8], scores, [4.8]])
        numbers = np.concatenate([ends[:1], numbers, ends[1:]]) / codec.scale
        kept = np.append(True, (np.diff(scores) > 1e-9) & (np.diff(numbers) > 0))
        self.scores, self.numbers = torch.from_numpy(scores[kept]), torch.from_numpy(numbers[kept])

    def number(self, score: Tensor) -> Tensor:
        """``(rows,)`` of scores to numbers, float64."""
        return _along(self.scores, self.numbers, score.double())

    def score(self, number: Tensor) -> Tensor:
        """``(rows,)`` of numbers to scores, float64."""
        return _along(self.numbers, self.scores, number)


def _along(given: Tensor, wanted: Tensor, x: Tensor) -> Tensor:
    """A broken line; level beyond its ends."""
    if len(given) < 2:
        return torch.zeros_like(x) + wanted[0]
    x = x.clamp(float(given[0]), float(given[-1]))
    right = torch.searchsorted(given, x.detach().contiguous()).clamp(1, len(given) - 1)
    slope = (wanted[right] - wanted[right - 1]) / (given[right] - given[right - 1])
    return wanted[right - 1] + (x - given[right - 1]) * slope


class MixedLayout:
    """Rows of a table as scores and tokens, and back.

    A column of texts is a token. A column of numbers on a short grid is a token too. Any other has a score, and a token
    where it has nulls, special codes, or values that many rows share: 0 says that there is an ordinary number, then
    come these values, the codes, and null.

    Args:
        encoder: The codecs of all columns.

    Attributes:
        scored: The columns with a score, in order.
        tokens: The columns with a token, in order.
        blocks: The tokens of each.
    """

    def __init__(self, encoder: TableEncoder) -> None:
        self.encoder = encoder
        self._heavy: dict[str, NDArray[np.int64]] = {}
        self.grid: dict[str, NDArray[np.float64]] = {}
        sizes: dict[str, int] = {}
        for name, codec in encoder.codecs.items():
            if isinstance(codec, CategoryCodec):
                sizes[name] = codec.size
            elif (
                isinstance(codec, NumberCodec) and codec.ordered <= SHORT_GRID and bool((codec.low == codec.high).all())
            ):
                sizes[name], self.grid[name] = codec.size, codec.low / codec.scale
            elif isinstance(codec, NumberCodec):
                shares = codec.counts[: codec.ordered] / codec.counts.sum()
                self._heavy[name] = np.flatnonzero((codec.low == codec.high) & (shares >= HEAVY))
                sizes[name] = 1 + len(self._heavy[name]) + codec.size - codec.ordered
        self.scored = tuple(self._heavy)
        self.curves = {name: Curve(self.number(name)) for name in self.scored}
        self.tokens = tuple(name for name, size in sizes.items() if size > 1)
        self.blocks = Blocks([sizes[name] for name in self.tokens])

    def number(self, name: str) -> NumberCodec:
        """The codec of a column of numbers."""
        codec = self.encoder.codecs[name]
        assert isinstance(codec, NumberCodec)  # for the type checker
        return codec

    def encode(self, table: pd.DataFrame, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Some rows.

        Returns:
            Scores ``(rows, P)``, random where there is no number, and tokens ``(rows, Q)``, -1 for what was never seen.
        """
        scores, tokens = [], {}
        for name, codec in self.encoder.codecs.items():
            if name in self._heavy:
                number = self.number(name)
                usable = read_numbers(table[name], number.column).usable
                scores.append(np.where(usable, number.to_scores(table[name], rng), rng.standard_normal(len(table))))
                symbols = number.encode(table[name])[0]
                token = np.where(symbols < 0, -1, 0)
                for place, atom in enumerate(self._heavy[name]):
                    token[symbols == atom] = 1 + place
                empty = symbols >= number.ordered
                token[empty] = 1 + len(self._heavy[name]) + symbols[empty] - number.ordered
                tokens[name] = token
            elif name in self.tokens:
                tokens[name] = codec.encode(table[name])[0]
        rows = len(table)
        return (
            torch.from_numpy(np.stack(scores, 1) if scores else np.zeros((rows, 0))).float(),
            torch.from_numpy(
                np.stack([tokens[name] for name in self.tokens], 1) if self.tokens else np.zeros((rows, 0))
            ).long(),
        )

    def decode(self, scores: Tensor, tokens: Tensor, rng: np.random.Generator) -> pd.DataFrame:
        """Rows of data space; ``rng`` draws the texts inside a shared level, and names."""
        columns: dict[str, pd.Series] = {}
        for name, codec in self.encoder.codecs.items():
            symbols = np.zeros(len(scores), np.int64)
            if name in self.tokens:
                symbols = tokens[:, self.tokens.index(name)].numpy()
            if name not in self._heavy:
                columns[name] = codec.decode(symbols, rng)
                continue
            number, heavy = self.number(name), self._heavy[name]
            values = number.from_scores(scores[:, self.scored.index(name)].double().numpy())
            if len(heavy):
                atoms = number.low[heavy] / number.scale
                is_atom = (symbols >= 1) & (symbols <= len(heavy))
                values = np.where(is_atom, atoms[np.clip(symbols - 1, 0, len(heavy) - 1)], values)
            empty = symbols > len(heavy)
            if empty.any():
                cells = number.decode(np.maximum(symbols - 1 - len(heavy), 0) + number.ordered, rng)
                values = np.where(empty, cells, values)
            columns[name] = pd.Series(values)
        return pd.DataFrame(columns)

    def nulls(self) -> Tensor:
        """``(width,)``: which options of the tokens are null."""
        found = torch.zeros(self.blocks.width, dtype=torch.bool)
        for place, name in enumerate(self.tokens):
            if self.encoder.codecs[name].nulls:
                found[self.blocks.slice(place).stop - 1] = True
        return found

    def numbers(self, scores: Tensor, tokens: Tensor, wanted: tuple[str, ...]) -> dict[str, Tensor]:
        """Some columns of numbers in the units of the table, NaN where there is none; differentiable in scores."""
        found = {}
        for name in wanted:
            token = tokens[:, self.tokens.index(name)] if name in self.tokens else None
            if name in self.grid:
                grid = np.append(self.grid[name], np.full(self.number(name).size - len(self.grid[name]), np.nan))
                found[name] = (
                    torch.from_numpy(grid)[token] if token is not None else torch.full((len(scores),), grid[0])
                )
            elif name in self._heavy:
                found[name] = self.curves[name].number(scores[:, self.scored.index(name)])
                if token is not None:
                    number, heavy = self.number(name), self._heavy[name]
                    atoms = np.concatenate([[0.0], number.low[heavy] / number.scale])
                    empties = np.full(number.size - number.ordered, np.nan)
                    fixed = torch.from_numpy(np.append(atoms, empties))[token.clamp(min=0)]
                    found[name] = torch.where(token > 0, fixed, found[name])
        return found

    def obey(
        self, scores: Tensor, tokens: Tensor, levels: Mapping[str, Tensor], view: RuleView
    ) -> tuple[Tensor, Tensor]:
        """Rows with the rules imposed in data space.

        Args:
            scores: ``(rows, P)``.
            tokens: ``(rows, Q)``, all drawn.
            levels: Probabilities of texts by column, from which one is taken where the drawn one is forbidden.
            view: The rules.
        """
        numbers = self.numbers(scores, tokens, view.guidance.numeric)
        corrected, found = view.obey(numbers, levels, len(scores))
        scores, tokens = scores.clone(), tokens.clone()
        for place, name in enumerate(view.guidance.numeric):
            if name not in numbers:
                continue
            old, new = numbers[name], corrected[:, place]
            moved = (old != new) & ~old.isnan() & ~new.isnan()
            if name in self.grid and name in self.tokens:
                grid = torch.from_numpy(self.grid[name])
                right = (
                    torch.searchsorted(grid, new.nan_to_num(0.0).contiguous())
                    .clamp(1, max(len(grid) - 1, 1))
                    .clamp(max=len(grid) - 1)
                )
                left = (right - 1).clamp(min=0)
                near = torch.where((new - grid[left]).abs() <= (new - grid[right]).abs(), left, right)
                tokens[:, self.tokens.index(name)] = near.where(moved, tokens[:, self.tokens.index(name)])
            elif name in self._heavy:
                at, curve = self.scored.index(name), self.curves[name]
                shift = (curve.score(new) - curve.score(old)).nan_to_num(0.0)
                far = curve.score(new).nan_to_num(0.0)
                token = tokens[:, self.tokens.index(name)] if name in self.tokens else torch.zeros(len(scores)).long()
                target = torch.where(token > 0, far, scores[:, at].double() + shift)
                scores[:, at] = target.where(moved, scores[:, at].double()).float()
                if name in self.tokens:
                    tokens[:, self.tokens.index(name)] = token.masked_fill(moved, 0)
        for name, values in found.items():
            place = self.tokens.index(name)
            changed = (values != levels[name]).any(1)
            tokens[:, place] = values.argmax(1).where(changed, tokens[:, place])
        return scores, tokens
