"""From a rule set and a schema to a program that corrects rows.

Null cells are settled first: rows are grouped by which of the rules' columns are null, and each group has a program of
its own in which the leaves on null columns are constants. `Compiled` keeps these programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from graftable.errors import RuleError

from .cells import Region, expand
from .contradiction import contradiction, is_empty, satisfiable
from .elimination import eliminate
from .expressions import IsNull, Member, Rule, RuleSet, atoms
from .normal_form import AllOf, Formula, Lattice, Row, all_of, on_lattice
from .normal_form import columns_of as formula_columns
from .program import Cell, Component, Program

if TYPE_CHECKING:
    from .schema import Schema

__all__ = ["Compiled", "ContradictionError", "Limits", "build_cell", "compile_rules"]


class ContradictionError(RuleError):
    """Rules that no row can obey together.

    Attributes:
        rules: A smallest set of them: it can hold once any one of its rules is dropped.
    """

    def __init__(self, message: str, rules: tuple[Rule, ...]) -> None:
        super().__init__(message)
        self.rules = rules


@dataclass(frozen=True)
class Limits:
    """How cells are made; see `compile_rules`."""

    spreads: Mapping[str, float]
    pinned: tuple[str, ...]
    max_cells: int
    max_rows: int


def compile_rules(
    rules: RuleSet,
    schema: Schema,
    *,
    nulls: frozenset[str] = frozenset(),
    pinned: tuple[str, ...] = (),
    max_cells: int = 256,
    max_rows: int = 20_000,
) -> Program:
    """Compile the hard rules for the rows whose null columns, among those of the rules, are ``nulls``.

    Args:
        rules: The rules; those with another mode than ``hard`` are left out.
        schema: Kinds, scales, categories and spreads of the columns.
        nulls: The null columns.
        pinned: Columns that corrections must not move.
        max_cells: The most cells of a component; over it the component is not complete.
        max_rows: The most rows that elimination may hold at a time in a cell.

    Returns:
        The program.

    Raises:
        RuleError: If a rule cannot be compiled.
        ContradictionError: If no row can obey the rules; it names a smallest contradicting subset.
    """
    lattice = lattice_of(rules, schema)
    formulas = formulas_of(rules, lattice, nulls)
    spreads = {column: float(schema[column].spread) * scale for column, scale in lattice.scales.items()}
    limits = Limits(spreads, pinned, max_cells, max_rows)
    components: list[Component] = []
    for members, parts in _components(formulas):
        named = tuple(rules.hard.rules[index] for index in members)
        component = _compile_component(all_of(parts), named, lattice, limits)
        if component is None:
            raise _error(named, [formulas[index] for index in members], lattice)
        components.append(component)
    return Program(tuple(components), lattice.scales, spreads, lattice.categories, pinned, tuple(sorted(nulls)))


@dataclass
class Compiled:
    """The programs of a rule set, one per pattern of null columns, each compiled when it is first asked for.

    Attributes:
        rules: The rules.
        schema: The columns.
        pinned: Columns that corrections must not move.
        max_cells: See `compile_rules`.
        max_rows: See `compile_rules`.
    """

    rules: RuleSet
    schema: Schema
    pinned: tuple[str, ...] = ()
    max_cells: int = 256
    max_rows: int = 20_000
    _programs: dict[frozenset[str], Program | ContradictionError] = field(default_factory=dict, repr=False)

    @cached_property
    def lattice(self) -> Lattice:
        """The part of the schema that the rules use."""
        return lattice_of(self.rules, self.schema)

    def formulas(self) -> list[Formula]:
        """The hard rules on the lattice, for rows without nulls."""
        return formulas_of(self.rules, self.lattice)

    def program(self, nulls: Iterable[str] = ()) -> Program:
        """The program for the rows with exactly these null columns; columns outside the rules do not matter.

        Raises:
            ContradictionError: If no row with these null columns can obey the rules.
        """
        pattern = frozenset(nulls) & self.columns
        if pattern not in self._programs:
            try:
                self._programs[pattern] = compile_rules(
                    self.rules,
                    self.schema,
                    nulls=pattern,
                    pinned=self.pinned,
                    max_cells=self.max_cells,
                    max_rows=self.max_rows,
                )
            except ContradictionError as error:
                self._programs[pattern] = error.with_traceback(None)
        found = self._programs[pattern]
        if isinstance(found, ContradictionError):
            # a new one: an error that is kept would keep the frames of all that it was raised through
            raise ContradictionError(str(found), found.rules)
        return found

    def nearest_nulls(self, nulls: Iterable[str], *, most: int = 3) -> frozenset[str] | None:
        """The pattern next to a forbidden one: the fewest cells to empty or to fill so that the rules can hold.

        Args:
            nulls: Null columns of a row.
            most: The most cells up to which the fewest are sought; beyond it all are filled that a rule needs, and
                those emptied again that need not be.

        Returns:
            A pattern with a program, ``nulls`` itself if it has one, or None if none was found.
        """
        pattern = frozenset(nulls) & self.columns
        candidates = self._switchable(pattern)
        for count in range(most + 1):
            for switched in combinations(candidates, count):
                near = pattern.symmetric_difference(switched)
                if self._can_hold(near):
                    return near
        return self._nearest_filled(pattern, candidates, most)

    def _nearest_filled(self, pattern: frozenset[str], candidates: Sequence[str], most: int) -> frozenset[str] | None:
        filled = pattern.difference(candidates)
        tested = [column for column in candidates if column in self._tested]
        patterns = (filled.union(kept) for count in range(most + 1) for kept in combinations(tested, count))
        near = next((found for found in patterns if self._can_hold(found)), None)
        if near is None:
            return None
        for column in sorted(pattern - near):
            near = near | {column} if self._can_hold(near | {column}) else near
        return near

    def _can_hold(self, nulls: frozenset[str]) -> bool:
        try:
            self.program(nulls)
        except ContradictionError:
            return False
        return True

    @cached_property
    def null_columns(self) -> frozenset[str]:
        """The columns whose nulls can make a hard rule fail: tested for null, or needed where missing is violated."""
        return self._tested | self._needed

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns of the hard rules."""
        return frozenset(self.rules.hard.columns)

    @cached_property
    def _tested(self) -> frozenset[str]:
        return frozenset(
            atom.column for rule in self.rules.hard for atom in atoms(rule.expression) if isinstance(atom, IsNull)
        )

    @cached_property
    def _needed(self) -> frozenset[str]:
        return frozenset(
            column for rule in self.rules.hard if rule.when_missing == "violated" for column in rule.columns
        )

    def _switchable(self, pattern: frozenset[str]) -> list[str]:
        """Columns whose being null a rule depends on, those to empty first; pinned ones never switch."""
        empty = {column for column in self._tested - pattern if self.schema[column].nullable}
        fill = self.null_columns & pattern
        return [*sorted(empty.difference(self.pinned)), *sorted(fill.difference(self.pinned))]


def lattice_of(rules: RuleSet, schema: Schema) -> Lattice:
    """The part of the schema that the rules use, with the categories that only they name."""
    named: dict[str, dict[str, None]] = {}
    for rule in rules:
        for atom in atoms(rule.expression):
            if isinstance(atom, Member):
                known = named.setdefault(atom.column, dict.fromkeys(schema[atom.column].categories))
                known.update(dict.fromkeys(atom.values))
    numeric = [column for column in rules.columns if column not in named and schema[column].kind in _NUMERIC]
    scales = {column: int(schema[column].scale) for column in numeric}
    free = frozenset(column for column in named if schema[column].kind == "text")
    return Lattice(scales, {column: tuple(values) for column, values in sorted(named.items())}, free)


_NUMERIC = ("integer", "decimal", "datetime")


def formulas_of(rules: RuleSet, lattice: Lattice, nulls: frozenset[str] = frozenset()) -> list[Formula]:
    """The hard rules on the lattice.

    Raises:
        RuleError: If a rule cannot be brought there; it names the line.
    """
    formulas = []
    for rule in rules.hard:
        try:
            formulas.append(on_lattice(rule.expression, lattice, nulls=nulls, when_missing=rule.when_missing))
        except RuleError as error:
            raise RuleError(f"{rule.file or 'the rules'}, line {rule.line}: {error}") from None
    return formulas


def _components(formulas: Sequence[Formula]) -> list[tuple[list[int], list[Formula]]]:
    """Groups of conjuncts over shared columns, each with the indices of the rules that they come from."""
    groups: list[tuple[set[str], set[int], list[Formula]]] = []
    for index, formula in enumerate(formulas):
        for part in formula.items if isinstance(formula, AllOf) else (formula,):
            if part is True:
                continue
            columns = set(formula_columns(part))
            touching = [group for group in groups if group[0] & columns]
            groups = [group for group in groups if not group[0] & columns]
            columns.update(*(group[0] for group in touching))
            members = {index}.union(*(group[1] for group in touching))
            parts = [old for group in touching for old in group[2]]
            groups.append((columns, members, [*parts, part]))
    return [(sorted(members), parts) for _, members, parts in groups]


def _compile_component(formula: Formula, rules: tuple[Rule, ...], lattice: Lattice, limits: Limits) -> Component | None:
    """The component of a formula; None where no row obeys it."""
    if _knotted(formula):
        return None
    regions, complete = expand(formula, lattice, cap=limits.max_cells)
    cells: list[Cell] = []
    for region in regions:
        closed, cell = build_cell(region, lattice, limits)
        complete = complete and closed
        cells += [cell] if cell is not None else []
    if not cells and (complete or not satisfiable([formula], lattice)):
        return None
    columns = formula_columns(formula)
    categorical = tuple(sorted(columns.intersection(lattice.categories)))
    numeric = tuple(sorted(columns.difference(lattice.categories)))
    return Component(numeric, categorical, formula, tuple(cells), tuple(rule.name for rule in rules), complete)


def _knotted(formula: Formula) -> bool:
    """Whether the rows that hold whatever is chosen are refuted already, before anything is expanded."""
    if not isinstance(formula, AllOf):
        return False
    rows = [item for item in formula.items if isinstance(item, Row)]
    return 1 < len(rows) < len(formula.items) and is_empty(rows)


def build_cell(region: Region, lattice: Lattice, limits: Limits) -> tuple[bool, Cell | None]:
    """Whether the walk of a region could be closed, and its cell, None where it has no point or no walk."""
    if not _has_text(region):
        return True, None
    rows = region.system()
    result = eliminate(rows, spreads=limits.spreads, pinned=limits.pinned, max_rows=limits.max_rows)
    if not result.complete:
        return False, None
    if result.empty or (result.gap and is_empty(rows)):
        return True, None
    categories = tuple(
        (column, tuple(value for value in (*lattice.categories[column], None) if value in allowed))
        for column, allowed in sorted(region.allowed.items())
    )
    return True, Cell(rows, categories, result.levels, result.derived)


def _has_text(region: Region) -> bool:
    """Whether each column has a category left; where the schema lists all, an unlisted one is none."""
    nowhere = frozenset({None})
    return all(kept != nowhere or column in region.lattice.free for column, kept in region.allowed.items())


def _error(rules: tuple[Rule, ...], formulas: Sequence[Formula], lattice: Lattice) -> ContradictionError:
    """What is wrong, for rules of which it is known that they contradict each other."""
    kept = contradiction(formulas, lattice)
    culprits = tuple(rules[index] for index in kept) if kept is not None else rules
    file = culprits[0].file or "the rules"
    lines = [str(rule.line) for rule in culprits]
    said = ", ".join(f"{rule.line} wants {rule.text or rule.name}" for rule in culprits)
    if len(culprits) == 1:
        return ContradictionError(f"no row can obey line {lines[0]} of {file}: {culprits[0].text}", culprits)
    if len({rule.file for rule in culprits}) > 1:
        places = [f"line {rule.line} of {rule.file or 'the rules'} wants {rule.text or rule.name}" for rule in culprits]
        return ContradictionError(f"these cannot all hold: {', '.join(places)}", culprits)
    listed = f"{', '.join(lines[:-1])} and {lines[-1]}"
    return ContradictionError(f"the rules on lines {listed} of {file} cannot all hold: {said}", culprits)
