"""Which program a row needs: null cells silence some rules, and the rest may or may not be obeyed without them."""

from __future__ import annotations

from .compiler import Compiled, ContradictionError, formulas_of
from .expressions import RuleSet
from .normal_form import Formula

__all__ = ["Part", "parts_of"]


class Part:
    """Rules that share no column with the others, and what they become where some columns are null."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled, self.columns = compiled, compiled.rules.columns
        self._plans: dict[frozenset[str], tuple[frozenset[str] | None, frozenset[str]]] = {}
        self._alike: dict[tuple[Formula, ...], frozenset[str]] = {}

    def plan(self, pattern: frozenset[str]) -> tuple[frozenset[str] | None, frozenset[str]]:
        """The nearest null columns with which rows can obey, and some null columns that leave the same of the rules.

        Few programs serve many patterns so: each null column of a long sum says just that the sum is unknown.
        """
        if pattern not in self._plans:
            near: frozenset[str] | None = pattern
            try:
                self.compiled.program(self._like(pattern))
            except ContradictionError:
                near = self.compiled.nearest_nulls(pattern)
            self._plans[pattern] = near, self._like(near if near is not None else pattern)
        return self._plans[pattern]

    def _like(self, pattern: frozenset[str]) -> frozenset[str]:
        formulas = formulas_of(self.compiled.rules, self.compiled.lattice, pattern)
        return self._alike.setdefault(tuple(formulas), pattern)


def parts_of(compiled: Compiled) -> list[Part]:
    """The hard rules in groups that share no column, so that the nulls of one group do not matter to another."""
    limits = compiled.pinned, compiled.max_cells, compiled.max_rows
    return [Part(Compiled(rules, compiled.schema, *limits)) for rules in _apart(compiled.rules.hard)]


def _apart(rules: RuleSet) -> list[RuleSet]:
    """The rules in groups that share no column, each in the order of the file."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, rule in enumerate(rules):
        touching = [group for group in groups if group[0].intersection(rule.columns)]
        groups = [group for group in groups if group not in touching]
        columns = set(rule.columns).union(*(group[0] for group in touching))
        groups.append((columns, [*(place for group in touching for place in group[1]), index]))
    return [RuleSet(tuple(rules.rules[place] for place in sorted(places)), rules.file) for _, places in groups]
