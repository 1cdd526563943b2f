"""Rules inside a network: the constraint layer on rows whose categories may be null and whose choices are soft.

`ConstraintLayer` knows the nulls of numbers, as NaN. Here a column of categories may be null as well: rows are grouped
by which of the rules' columns are null, and each group has a layer of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

import pyarrow as pa
import torch
from torch import Tensor

from ..compiler import Compiled, ContradictionError
from ..constraint_layer import ConstraintLayer
from ..expressions import RuleSet
from ..program import Program
from ..rule_files import format_rules, parse_rules
from ..schema import Schema

__all__ = ["RuleGuidance", "rules_from_text", "rules_to_text"]


def rules_to_text(rules: RuleSet | None) -> str:
    """Rules as a line each, for a model's folder; empty for none."""
    return format_rules(rules) if rules is not None and len(rules) else ""


def rules_from_text(text: str, schema: Schema) -> RuleSet | None:
    """What `rules_to_text` was given."""
    return parse_rules(text, schema, unseen="allow") if text else None


class _Given(Compiled):
    """Programs in which some more columns are null."""

    given: frozenset[str] = frozenset()

    def program(self, nulls: Iterable[str] = ()) -> Program:
        return super().program(frozenset(nulls) | self.given)


class RuleGuidance:
    """Corrects numbers and choices of a batch; differentiable in both.

    Args:
        rules: The rules; the hard ones are enforced.
        schema: The columns.
        leak: The share of a clamped entry's gradient that reaches the entry itself.

    Attributes:
        numeric: The columns of ``x``, in order: those of the rules that hold numbers.
        categories: The texts that the rules know of each other column of theirs, those of the schema first.
        levels: For each column of categories that the rules speak of, how many categories they know: those of the
            schema, then any that only rules name.
    """

    def __init__(self, rules: RuleSet, schema: Schema, *, leak: float = 0.0) -> None:
        self.rules, self.schema, self.leak = rules.hard, schema, leak
        self.compiled = Compiled(self.rules, schema)
        lattice = self.compiled.lattice
        spoken = set(self.rules.columns)
        self.numeric = tuple(column.name for column in schema if column.name in spoken and column.is_numeric)
        texts = {name: schema[name].categories for name in sorted(spoken.difference(self.numeric))}
        self.categories = texts | dict(lattice.categories)  # those that rules only test for null are not on the lattice
        self.levels = {name: len(values) for name, values in self.categories.items()}
        self._names = tuple(self.levels)
        self._base = ConstraintLayer(self.rules, schema, self.numeric, leak=leak)
        self._layers: dict[frozenset[str], ConstraintLayer | None] = {frozenset(): self._base}

    @property
    def columns(self) -> frozenset[str]:
        """All columns of the rules."""
        return frozenset(self.rules.columns)

    def __call__(self, x: Tensor, choices: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Correct a batch.

        Args:
            x: ``(rows, numeric)`` in the units of the table; NaN is null.
            choices: For each column in ``levels``, probabilities ``(rows, levels + 1)``, the last of null; or codes
                ``(rows,)``, -1 for null and ``levels`` for a text that the rules do not know. A cell is null where
                null has more than half of the mass.

        Returns:
            Both, corrected. Null stays null, unless no row with these nulls can obey: then the fewest cells are emptied
            or filled; where that takes more than a few, the row comes back as it was.
        """
        x, choices = self._settled(x, {name: choices[name] for name in self._names})
        null = [x.detach().isnan(), *(_is_null(choices[name])[:, None] for name in self._names)]
        pattern = torch.cat(null, 1)
        if not bool(pattern.any()):
            return self._corrected(x, choices, frozenset())
        patterns, group = pattern.unique(dim=0, return_inverse=True)
        for place, row in enumerate(patterns.tolist()):
            rows = (group == place).nonzero().squeeze(1)
            names = zip((*self.numeric, *self._names), row, strict=True)
            nulls = frozenset(name for name, empty in names if empty)
            here = {name: values.index_select(0, rows) for name, values in choices.items()}
            part, here = self._corrected(x.index_select(0, rows), here, nulls)
            x = x.index_copy(0, rows, part)
            choices = {name: values.index_copy(0, rows, here[name]) for name, values in choices.items()}
        return x, choices

    def _settled(self, x: Tensor, choices: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Rows with nulls that the rules can allow."""
        names = sorted(self.compiled.null_columns)
        if not names:
            return x, choices
        null = [
            _is_null(choices[name]) if name in choices else x.detach()[:, self.numeric.index(name)].isnan()
            for name in names
        ]
        patterns, group = torch.stack(null, 1).unique(dim=0, return_inverse=True)
        for place, row in enumerate(patterns.tolist()):
            nulls = frozenset(name for name, empty in zip(names, row, strict=True) if empty)
            near = self.compiled.nearest_nulls(nulls)
            for name in sorted(nulls ^ near) if near is not None else ():
                rows = group == place
                if name in choices:
                    choices[name] = _switched(choices[name], rows, name in nulls)
                else:
                    at = self.numeric.index(name)
                    number = self._fill(name) if name in nulls else torch.nan
                    column = torch.where(rows, torch.full_like(x[:, at], number), x[:, at])
                    x = torch.cat([x[:, :at], column[:, None], x[:, at + 1 :]], 1)
        return x, choices

    def _fill(self, name: str) -> float:
        column = self.schema[name]
        cells = column.parse(pa.array([column.fill or "0"]))
        return float(cells.numbers[0] / cells.scale)

    def _corrected(
        self, x: Tensor, choices: dict[str, Tensor], nulls: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        layer = self._layer(nulls)
        if layer is None:
            return x, choices
        asked = [name for name in layer.compiled.program().categorical if name not in nulls]
        given = {name: _listed(choices[name], self.levels[name]) for name in asked}
        x, found = layer(x, given)
        back = {name: _with_null(found[name], choices[name], self.levels[name]) for name in asked}
        return x, {**choices, **back}

    def _layer(self, nulls: frozenset[str]) -> ConstraintLayer | None:
        """The layer for rows in which exactly these columns are null; None if no such row can obey."""
        if nulls not in self._layers:
            layer = copy.copy(self._base)
            given = _Given(self.rules, self.schema)
            given.given, layer.compiled = nulls, given
            try:
                given.program()
                self._layers[nulls] = layer
            except ContradictionError:
                self._layers[nulls] = None
        return self._layers[nulls]


def _switched(given: Tensor, rows: Tensor, fill: bool) -> Tensor:
    """Choices with null taken from some rows, or given to them."""
    if not given.is_floating_point():
        return given.masked_fill(rows, 0 if fill else -1)
    listed = _listed(given, given.shape[1] - 1)
    empty = torch.zeros_like(given[:, -1:])
    new = torch.cat([listed, empty], 1) if fill else torch.cat([torch.zeros_like(listed), empty + 1], 1)
    return torch.where(rows[:, None], new + (0.0 if fill else 1.0) * (given - given.detach()), given)


def _is_null(given: Tensor) -> Tensor:
    return given.detach()[:, -1] > 0.5 if given.is_floating_point() else given < 0


def _listed(given: Tensor, levels: int) -> Tensor:
    """Probabilities given that the cell is not null."""
    if not given.is_floating_point():
        return given.masked_fill(given >= levels, -1)
    listed = given[:, :-1]
    total = listed.sum(1, keepdim=True)
    even = torch.full_like(listed, 1 / max(listed.shape[1], 1))
    return torch.where(total > 0, listed / total.clamp(min=torch.finfo(given.dtype).tiny), even)


def _with_null(found: Tensor, given: Tensor, levels: int) -> Tensor:
    """The corrected probabilities with the mass of null that there was."""
    if not given.is_floating_point():
        return found.masked_fill(found < 0, levels)
    null = given[:, -1:]
    return torch.cat([found * (1 - null), null], 1)
