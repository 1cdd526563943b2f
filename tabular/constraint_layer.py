r"""Rules as the last layer of anyone's model: differentiable, batched, disjunctive.

Within a convex cell a row is corrected by one walk, column after column,

.. math:: x_c \leftarrow \min(\max(x_c, \ell_c), u_c), \qquad
    \ell_c = \max_{r \in \mathrm{lower}(c)} \Big(\beta_r + \sum_{j \text{ earlier}} \alpha_{rj} x_j\Big),

with the bounds of the compiled program. Columns that do not depend on each other are corrected together: the batch lies
column by column, so that a level is a sparse product over columns, a segment maximum over the rows that bound one
column, and a clamp. Where rules offer a choice, each row takes the cell to which it is nearest.

The layer works in floating point and serves training; the guarantee is the finisher's, in integers, on what is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graftable.errors import ConfigError, ShapeError

from .compiler import Compiled, ContradictionError
from .expressions import RuleSet
from .layer_walks import Categories, Choice, Lowering
from .schema import Schema

__all__ = ["ConstraintLayer"]

CHUNK = 8_192  # rows at a time, so that the columns of a walk stay in cache


class ConstraintLayer(nn.Module):
    r"""Moves every row of a batch to where the rules hold; rows that obey stay.

    Args:
        rules: The rules; the hard ones are enforced.
        schema: Kinds, scales and spreads of the columns.
        columns: The names of the columns of ``x``, in order. Columns of the rules that hold numbers must be among them.
        leak: The share of a clamped entry's gradient that reaches the entry itself, which a plain clamp cuts off.

    Example:
        >>> from graftable.tabular.schema import Schema
        >>> from graftable.tabular.rule_files import parse_rules
        >>> import pandas as pd
        >>> schema = Schema.detect(pd.DataFrame({"low": [1, 2, 6], "high": [3, 9, 8]}))
        >>> layer = ConstraintLayer(parse_rules("high > low", schema.names), schema, ["low", "high"])
        >>> layer(torch.tensor([[1.0, 4.0], [7.0, 2.0]]))
        tensor([[1., 4.],
                [7., 8.]])
    """

    def __init__(self, rules: RuleSet, schema: Schema, columns: Sequence[str], *, leak: float = 0.0) -> None:
        super().__init__()
        self.compiled = Compiled(rules, schema)
        self.columns = tuple(columns)
        self.leak = leak
        program = self.compiled.program()
        missing = sorted(set(program.columns) - set(columns))
        if missing:
            raise ConfigError(f"columns lacks {', '.join(missing)}, of which the rules speak; name every column of x.")
        self.touched = tuple(column for column in self.columns if column in set(program.columns))
        self._ready: dict[tuple[frozenset[str], torch.device, torch.dtype], list[Choice]] = {}

    def forward(
        self, x: Float[Tensor, "rows columns"], categories: Categories | None = None
    ) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Correct a batch.

        Args:
            x: Numbers in the units of the table, dates in days since 1970. NaN is null, and stays null.
            categories: For each column with categories that the rules speak of: codes ``(rows,)``, the place in
                ``program.categories``, -1 for none of these; or probabilities ``(rows, K)``, which are masked and
                normalised anew.

        Returns:
            The corrected numbers; with ``categories``, a pair of these and the corrected categories.

        Raises:
            ShapeError: If ``x`` has another number of columns than were named.
            ConfigError: If the rules speak of categories and none were given.
        """
        if x.dim() != 2 or x.shape[1] != len(self.columns):
            raise ShapeError(
                f"x has shape {tuple(x.shape)}; expected (rows, {len(self.columns)}), one column each name."
            )
        given = dict(categories or {})
        lacking = sorted(set(self.compiled.program().categorical) - set(given))
        if lacking:
            raise ConfigError(f"categories lacks {', '.join(lacking)}, of which the rules speak; give codes for them.")
        places = torch.tensor([self.columns.index(name) for name in self.touched], device=x.device)
        touched, given = self._by_nulls(x.t().index_select(0, places), given)
        numbers = x.index_copy(1, places, touched.t())
        return numbers if categories is None else (numbers, given)

    def _by_nulls(self, columns: Tensor, categories: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Rows with the same nulls have one program."""
        if not bool(columns.sum().isnan()):  # one pass, where isnan().any() would be two; inf - inf comes here too
            return self._corrected(columns, categories, frozenset())
        patterns, which = columns.isnan().t().unique(dim=0, return_inverse=True)
        for index, pattern in enumerate(patterns.tolist()):
            rows = (which == index).nonzero().squeeze(1)
            nulls = frozenset(name for name, missing in zip(self.touched, pattern, strict=True) if missing)
            here = {name: values.index_select(0, rows) for name, values in categories.items()}
            part, here = self._corrected(columns.index_select(1, rows), here, nulls)
            columns = columns.index_copy(1, rows, part)
            categories = {name: values.index_copy(0, rows, here[name]) for name, values in categories.items()}
        return columns, categories

    def _corrected(
        self, columns: Tensor, categories: dict[str, Tensor], nulls: frozenset[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """``(touched, rows)`` and categories after every component."""
        limit = torch.finfo(columns.dtype).max ** 0.5  # sums of infinities would be nan
        clamp = Tensor.clamp if columns.requires_grad else Tensor.clamp_
        columns = clamp(columns, -limit, limit)
        for component in self._components(nulls, columns):
            if len(component.walks) > 1:
                columns, categories = self._into_cells(component, columns, categories)
                continue
            walk = component.walks[0]
            if columns.requires_grad:
                columns = self._leaky(columns, walk.correct(columns))
            else:
                for part in columns.split(CHUNK, 1):  # views: what a walk reads and writes stays in cache
                    walk.correct(part)
            categories = {name: walk.masked(name, values) for name, values in categories.items()}
        return columns, categories

    def _into_cells(
        self, component: Choice, columns: Tensor, categories: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Each row outside moved into the cell nearest to it; the gradient passes through that cell alone."""
        with torch.no_grad():
            split = {name: values.split(CHUNK) for name, values in categories.items()}
            choice = torch.cat(
                [
                    component.nearest(part, {name: values[index] for name, values in split.items()})
                    for index, part in enumerate(columns.split(CHUNK, 1))
                ]
            )
            outside = (choice >= 0).nonzero().squeeze(1)
            order = outside[choice[outside].argsort(stable=True)]
            used, counts = choice[order].unique_consecutive(return_counts=True)
        if not order.numel():
            return columns, categories
        walks, sizes = [component.walks[index] for index in used.tolist()], counts.tolist()
        parts = [part.contiguous() for part in columns.index_select(1, order).split(sizes, 1)]
        moved = [self._leaky(part, walk.correct(part)) for walk, part in zip(walks, parts, strict=True)]
        columns = columns.index_copy(1, order, torch.cat(moved, 1))
        for walk, rows in zip(walks, order.split(sizes), strict=True):
            for name in walk.allowed:
                masked = walk.masked(name, categories[name].index_select(0, rows))
                categories = {**categories, name: categories[name].index_copy(0, rows, masked)}
        return columns, categories

    def _leaky(self, before: Tensor, after: Tensor) -> Tensor:
        if not self.leak or not before.requires_grad:
            return after
        return after + self.leak * (before - before.detach()) * (after != before)

    def _components(self, nulls: frozenset[str], like: Tensor) -> list[Choice]:
        """The components for rows with these nulls; none if no such row can obey."""
        key = (nulls, like.device, like.dtype)
        if key not in self._ready:
            try:
                program = self.compiled.program(nulls)
            except ContradictionError:
                self._ready[key] = []
                return []
            lowering = Lowering(program, self.touched, like.detach().new_empty(0))
            self._ready[key] = [lowering.choice(part) for part in program.components]
        return self._ready[key]
