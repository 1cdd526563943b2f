"""What CTGAN and TVAE share: rules, layout and files, drawing under conditions, and the distance of marginals."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from graftable.errors import ConfigError

from ..compiler import Compiled
from ..schema import Schema
from .cells import check_table
from .interface import Arrays, Conditions
from .neural import seeded
from .neural_engine import NeuralEngine, Rows
from .requests import force, may_be, meets
from .row_layout import RowLayout
from .rule_guidance import RuleGuidance, rules_from_text, rules_to_text
from .rule_view import RuleView, obey_frame
from .text_codecs import CategoryCodec, IdentifierCodec

__all__ = ["RowEngine", "marginal_distance"]

ROUNDS, TRIES = 4, 8  # how often, and with how many candidates at a time, a row that meets the conditions is looked for


class RowEngine(NeuralEngine):
    """The part of an engine on `RowLayout` that knows nothing of its networks."""

    epochs: int
    modes: int
    levels: int
    leak: float
    layout: RowLayout
    guidance: RuleGuidance | None
    view: RuleView | None

    def prepare(self, table: pd.DataFrame, schema: Schema, rules: Compiled | None, seed: int) -> None:
        """Learn the layout, take in the rules, and make the networks."""
        layout = RowLayout.fit(check_table(table, schema), schema, modes=self.modes, levels=self.levels)
        self._take(layout, schema, rules_to_text(rules.rules) if rules is not None else "")
        with seeded(seed, 0):
            self.build()

    @abstractmethod
    def build(self) -> None:
        """Make the networks for the layout; weights are drawn from torch's global generator."""

    def encode(self, table: pd.DataFrame, seed: int) -> Rows:
        """Values and codes, with drawn modes."""
        return self.layout.encode(table, np.random.default_rng(seed))

    def _take(self, layout: RowLayout, schema: Schema, rules: str) -> None:
        self.schema, self.layout, self.rules = schema, layout, rules
        found = rules_from_text(rules, schema) if self.constrain != "none" else None
        if found is None and self.constrain != "none":
            raise ConfigError(
                f'constrain is "{self.constrain}", but there are no rules; give some, or set it to "none".'
            )
        self.guidance = None if found is None else RuleGuidance(found, schema, leak=self.leak)
        inside = self.guidance if self.constrain == "training" else None
        self.view = None if inside is None else RuleView(inside, layout.encoder)

    @abstractmethod
    def draw_rows(self, n: int, fixed: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Values and codes of ``n`` rows; where the engine can, columns in ``fixed`` take only levels allowed there."""

    def sample(self, n: int, *, conditions: Conditions | None = None, seed: int = 0) -> pd.DataFrame:
        """Draw rows.

        Rows under conditions are looked for among candidates; what is not found then is a candidate whose cells are
        brought to the nearest value that is allowed.
        """
        if not hasattr(self, "layout"):
            raise ConfigError("the generator has learnt no table yet; call fit first.")
        rng = np.random.default_rng(seed)
        with seeded(seed, 4):
            if conditions is None or not conditions.columns:
                return self._frame(n, {}, rng)
            for name, allowed in conditions.columns.items():
                may_be(name, self.layout.encoder.codecs[name], allowed)
            return self._under(n, conditions, rng)

    def _frame(self, n: int, fixed: dict[str, Tensor], rng: np.random.Generator) -> pd.DataFrame:
        frame = self.layout.decode(*self.draw_rows(n, fixed), rng)
        return frame if self.guidance is None else obey_frame(frame, self.guidance)

    def _under(self, n: int, conditions: Conditions, rng: np.random.Generator) -> pd.DataFrame:
        fixed = {
            name: torch.from_numpy(self._levels(name).mass(allowed))
            for name, allowed in conditions.columns.items()
            if name in self.layout.categorical
        }
        rows, waiting = self._frame(n, fixed, rng), np.arange(n)
        waiting = waiting[~meets(rows, self.schema, conditions, waiting)]
        for _ in range(ROUNDS):
            if not len(waiting):
                break
            asked = np.repeat(waiting, TRIES)
            found = self._frame(len(asked), fixed, rng)
            good = meets(found, self.schema, conditions, asked).reshape(-1, TRIES)
            met = good.any(1)
            chosen = np.flatnonzero(met) * TRIES + good.argmax(1)[met]
            rows.iloc[waiting[met]] = found.iloc[chosen].to_numpy(object)
            waiting = waiting[~met]
        rows = rows.infer_objects()
        rows = force(rows, self.schema, conditions, waiting, self.layout.encoder, rng)
        for name, codec in self.layout.encoder.codecs.items():
            if isinstance(codec, IdentifierCodec):
                rows[name] = codec.decode(np.zeros(n, np.int64), rng, conditions.columns.get(name))
        return rows

    def _levels(self, name: str) -> CategoryCodec:
        codec = self.layout.encoder.codecs[name]
        assert isinstance(codec, CategoryCodec)  # for the type checker: `categorical` names no others
        return codec

    def shared_state(self) -> tuple[Arrays, dict[str, Any]]:
        """The layout and the rules."""
        arrays, extra = self.layout.state()
        return arrays, {"layout": extra, "rules": self.rules}

    def shared_restore(self, arrays: Arrays, extra: dict[str, Any]) -> None:
        """Take what `shared_state` gave."""
        self._take(RowLayout.restored(self.schema, arrays, extra["layout"]), self.schema, extra["rules"])


def marginal_distance(layout: RowLayout, some: tuple[Tensor, Tensor], others: tuple[Tensor, Tensor]) -> float:
    """How far the marginals of two sets of rows are apart: the mean over columns, in [0, 1].

    Of a column of texts, the total variation of its levels; of numbers, the Kolmogorov-Smirnov distance, or the
    difference in the share of cells without a number if that is larger.
    """
    count, sizes = len(layout.numeric), layout.blocks.sizes
    width = sum(layout.normalization.sizes)
    sets = [
        layout.normalization.inverse(alpha, layout.blocks.one_hot(codes)[:, :width]).numpy()
        for alpha, codes in (some, others)
    ]
    found = [_number_distance(sets[0][:, place], sets[1][:, place]) for place in range(count)]
    for place in range(count, len(sizes)):
        shares = [
            np.bincount(codes[:, place].clamp(min=0).numpy(), minlength=sizes[place]) / max(len(codes), 1)
            for _, codes in (some, others)
        ]
        found.append(float(np.abs(shares[0] - shares[1]).sum() / 2))
    return float(np.mean(found)) if found else 0.0


def _number_distance(some: np.ndarray, others: np.ndarray) -> float:
    empty = abs(float(np.isnan(some).mean() - np.isnan(others).mean()))
    some, others = np.sort(some[~np.isnan(some)]), np.sort(others[~np.isnan(others)])
    if not len(some) or not len(others):
        return empty if len(some) == len(others) else 1.0
    both = np.concatenate([some, others])
    below = [np.searchsorted(values, both, side="right") / len(values) for values in (some, others)]
    return max(empty, float(np.abs(below[0] - below[1]).max()))
