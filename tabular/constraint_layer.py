r"""Rules as the last layer of anyone's model: differentiable, batched, disjunctive.

Within a convex cell a row is corrected by one walk, column after column,

.. math:: x_c \leftarrow \min(\max(x_c, \ell_c), u_c), \qquad
    \ell_c = \max_{r \in \mathrm{lower}(c)} \Big(\beta_r + \sum_{j \text{ earlier}} \alpha_{rj} x_j\Big),

with the bounds of the compiled program. Columns that do not depend on each other are corrected together: the batch
lies column by column, so that a level is a sparse product over columns and a few clamps. Where rules offer a choice,
each row takes the cell to which it is nearest. A batch goes in pieces that stay in cache from first level to last.

Of all this only a record is kept for the way back: which bound moved which entry. The gradient of an entry that moved
goes to the columns of the bound that moved it last, from the last level to the first.

The layer works in floating point and serves training; the guarantee is the finisher's, in integers, on what is written.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graftable.errors import ConfigError, ShapeError

from .compiler import Compiled, ContradictionError
from .expressions import RuleSet
from .layer_lowering import Lowering
from .layer_walks import Categories, Plan, largest
from .program import Component
from .schema import Schema

__all__ = ["ConstraintLayer"]

CHUNK = 2**19  # numbers at a time on a CPU, so that the columns of a walk stay in cache
HALVES = (torch.float16, torch.bfloat16)


class ConstraintLayer(nn.Module):
    r"""Moves every row of a batch to where the rules hold; rows that obey stay.

    Args:
        rules: The rules; the hard ones are enforced.
        schema: Kinds, scales and spreads of the columns.
        columns: The names of the columns of ``x``, in order. Columns of the rules that hold numbers must be among them.
        leak: The share of a clamped entry's gradient that reaches the entry itself, which a plain clamp cuts off.

    Note:
        The layer has no parameters and no buffers, so that it adds nothing to the ``state_dict`` of a model and follows
        its input to any device. Copies and pickles of the module hold the rules, the schema and the compiled programs;
        the tensors are made again.

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
        for component in program.components:
            if not component.complete:
                warnings.warn(_over_the_cap(component), stacklevel=2)
        self._plans: dict[tuple[frozenset[str], torch.device, torch.dtype], Plan | None] = {}

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
            The corrected numbers; with ``categories``, a pair of these and the corrected categories. Rows whose nulls
            no rule allows come back as they were.

        Raises:
            ShapeError: If ``x`` has another number of columns than were named, or is not floating point.
            ConfigError: If the rules speak of categories and none were given.
        """
        if x.dim() != 2 or x.shape[1] != len(self.columns) or not x.is_floating_point():
            raise ShapeError(
                f"x has shape {tuple(x.shape)} and type {x.dtype}; "
                f"expected (rows, {len(self.columns)}), one column each name, in floating point."
            )
        given = dict(categories or {})
        lacking = sorted(set(self.compiled.program().categorical) - set(given))
        if lacking:
            raise ConfigError(f"categories lacks {', '.join(lacking)}, of which the rules speak; give codes for them.")
        with _full_precision(x):
            numbers, given = self._by_nulls(x.float() if x.dtype in HALVES else x, given)
        numbers = numbers.to(x.dtype)
        return numbers if categories is None else (numbers, given)

    def _by_nulls(self, x: Tensor, categories: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Rows with the same nulls have one program; most batches have no nulls, and no number out of range."""
        if not len(x):
            return x.clone(), categories
        try:
            return self._corrected(x, categories, frozenset(), any_number=True)
        except _OutOfRangeError:
            pass
        program = self.compiled.program()
        touched = torch.tensor([self.columns.index(name) for name in program.columns], device=x.device)
        points = x.new_tensor([program.scales[name] for name in program.columns])
        limit = x.new_full(x.shape[1:], float("inf")).index_copy_(0, touched, largest(x.dtype) / points)
        x = x.clamp(-limit, limit)
        missing = x.detach().index_select(1, touched).isnan()
        if not bool(missing.any()):
            return self._corrected(x, categories, frozenset())
        for rows in _alike(missing):
            nulls = frozenset(
                name for name, null in zip(program.columns, missing[rows[0]].tolist(), strict=True) if null
            )
            here = {name: values.index_select(0, rows) for name, values in categories.items()}
            part, here = self._corrected(x.index_select(0, rows), here, nulls)
            x = x.index_copy(0, rows, part)
            categories = {name: values.index_copy(0, rows, here[name]) for name, values in categories.items()}
        return x, categories

    def _corrected(
        self, x: Tensor, categories: dict[str, Tensor], nulls: frozenset[str], *, any_number: bool = False
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Numbers and categories of rows with the same nulls.

        Raises:
            _OutOfRangeError: If ``any_number`` may come, and one is null or too large to calculate with.
        """
        plan = self._plan(nulls, x)
        if plan is None:
            return x, categories
        cells: list[Tensor | None] = []
        learns = torch.is_grad_enabled() and x.requires_grad
        numbers: Tensor = _Correction.apply(  # type: ignore[no-untyped-call]
            x, plan, categories, cells, _Options(self.leak, learns, any_number)
        )
        for part, cell in zip(plan.parts, cells, strict=True):
            masked = {name: part.masked(name, categories[name], cell) for name in part.allowed}
            categories = {**categories, **masked}
        return numbers, categories

    def _plan(self, nulls: frozenset[str], like: Tensor) -> Plan | None:
        """The plan for rows with these nulls; none if no such row can obey."""
        key = (nulls, like.device, like.dtype)
        if key not in self._plans:
            try:
                program = self.compiled.program(nulls)
            except ContradictionError:
                self._plans[key] = None
            else:
                self._plans[key] = Lowering(program, self.columns, like.detach().new_empty(0)).plan()
        return self._plans[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}


def _over_the_cap(component: Component) -> str:
    done = "rows that obey may move too" if component.cells else "rows that break them stay as they are"
    return f"the rules {', '.join(component.rules)} offer more choices than the layer weighs: {done}."


def _alike(missing: Tensor) -> tuple[Tensor, ...]:
    """Groups of equal rows."""
    code = missing.new_zeros(len(missing), dtype=torch.int64)
    for column in missing.any(0).nonzero().squeeze(1).tolist():
        code = (2 * code + missing[:, column]).unique(return_inverse=True)[1]
    order = code.argsort(stable=True)
    groups: tuple[Tensor, ...] = order.split(code.bincount().tolist())
    return groups


class _OutOfRangeError(Exception):
    """A batch holds a null, or a number that is too large to calculate with."""


class _Options(NamedTuple):
    """Of a correction: the leak, whether a gradient is to come, and whether the numbers were not yet looked at."""

    leak: float
    learns: bool
    any_number: bool


class _Correction(torch.autograd.Function):
    """The walk of a plan, with a record of what moved for the way back; fills in the cells that were chosen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, plan: Plan, categories: Categories, cells: list[Tensor | None], options: _Options
    ) -> Tensor:
        out, size, kept = torch.empty_like(x), _piece(x, plan), plan.moved if options.leak else plan.rounded
        split = {name: _pieces(values, size) for name, values in categories.items()}
        chosen, records = [], []
        for index, (rows, written) in enumerate(zip(_pieces(x, size), _pieces(out, size), strict=True)):
            columns = plan.gather_known(rows) if options.any_number else plan.gather(rows)
            if columns is None:
                raise _OutOfRangeError
            given = columns[plan.rounded].clone() if plan.rounds else None
            plan.count(columns)
            chosen.append(plan.cells(columns, {name: values[index] for name, values in split.items()}))
            before = columns[kept].clone() if options.leak or plan.rounds else None
            record: list[Tensor] | None = [] if options.learns else None
            plan.correct(columns, chosen[-1], record)
            if record is not None:
                records += record
                if options.leak and before is not None:
                    records.append(columns[plan.moved].ne(before).to(x.dtype))
            plan.units(columns, given, before)
            plan.scatter(columns[plan.moved], plan.moved_places, rows, written)
        cells += [None if found[0] is None else torch.cat(found) for found in zip(*chosen, strict=True)]
        ctx.plan, ctx.leak, ctx.size = plan, options.leak, size
        ctx.save_for_backward(*records)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        plan, leak, out = ctx.plan, ctx.leak, torch.empty_like(grad)
        records, count = ctx.saved_tensors, len(plan.sides) + bool(leak)
        for index, (rows, written) in enumerate(zip(_pieces(grad, ctx.size), _pieces(out, ctx.size), strict=True)):
            record = records[index * count : (index + 1) * count]
            columns = plan.gather(rows)
            plan.per_unit(columns)
            leaked = leak * columns[plan.moved] * record[-1] if leak else None
            with _full_precision(columns):
                plan.pull(columns, record[: len(plan.sides)])
            if leaked is not None:
                columns[plan.moved].add_(leaked)
            plan.per_point(columns)
            plan.scatter(columns, plan.places, rows, written)
        return out, None, None, None, None


def _full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast: a bound in half precision would not hold. Where there is none, leaving it takes ten microseconds."""
    on = torch.is_autocast_enabled(x.device.type)
    return torch.autocast(x.device.type, enabled=False) if on else nullcontext()


def _pieces(x: Tensor, size: int) -> Sequence[Tensor]:
    return (x,) if len(x) <= size else x.split(size)


def _piece(x: Tensor, plan: Plan) -> int:
    """How many rows to take at a time."""
    return max(CHUNK // max(plan.width, 1), 1) if x.device.type == "cpu" else len(x)
