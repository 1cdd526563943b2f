r"""Formulas as unions of convex cells.

A component of the rules is a formula; its disjunctive normal form is a list of cells, each a system of integer rows and
a set of allowed categories per column. The list is grown one choice at a time, all cells abreast, and what cannot
matter is cut at once: a choice that the cell already settles is not made, a choice of one alternative is made without
branching, a cell whose intervals, categories or rows contradict each other goes, and so does a cell inside another.
Cells may overlap: for the nearest point of the union, large cells are better than disjoint ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from .feasibility import refutation
from .normal_form import AllOf, Among, AnyOf, Formula, Lattice, Row, all_of

__all__ = ["Region", "expand", "walk"]

Terms = tuple[tuple[str, int], ...]
_STEPS = 200


@dataclass
class Region:
    """A convex part of the table's space: intervals, rows, allowed categories, and choices not made yet.

    Attributes:
        lattice: The columns.
        low: Lower bounds by column that the rows are seen to imply.
        high: Upper bounds that they are seen to imply.
        rows: Bounds of the rows, by their left side.
        added: Those of the rows that other regions of the same expansion may lack.
        allowed: Allowed categories by column; absent means any.
        waiting: Disjunctions that remain.
        proved: Whether the rows were already tested by linear programming.
    """

    lattice: Lattice
    low: dict[str, int] = field(default_factory=dict)
    high: dict[str, int] = field(default_factory=dict)
    rows: dict[Terms, int] = field(default_factory=dict)
    added: dict[Terms, int] = field(default_factory=dict)
    allowed: dict[str, frozenset[str | None]] = field(default_factory=dict)
    waiting: tuple[AnyOf, ...] = ()
    proved: bool = False

    def system(self) -> tuple[Row, ...]:
        """The rows of the region."""
        return tuple(Row(terms, bound) for terms, bound in sorted(self.rows.items()))

    def meet(self, formula: Formula) -> Region | None:
        """The part of the region where the formula holds, or None where the two are seen to exclude each other."""
        part = replace(
            self,
            low=dict(self.low),
            high=dict(self.high),
            rows=dict(self.rows),
            added=dict(self.added),
            allowed=dict(self.allowed),
            proved=False,
        )
        pending = [formula]
        while pending:
            item = pending.pop()
            match item:
                case bool():
                    if not item:
                        return None
                case AllOf(items):
                    pending += reversed(items)
                case AnyOf():
                    part.waiting = (*part.waiting, item)
                case Among(column, values):
                    kept = values & part.allowed.get(column, values)
                    if not kept:
                        return None
                    part.allowed[column] = kept
                case Row():
                    if not part._add(item):
                        return None
        return part

    def verdict(self, formula: Formula) -> bool | None:
        """True or False where the region settles a formula by intervals and categories, else None."""
        match formula:
            case bool():
                return formula
            case Among(column, values):
                allowed = self.allowed.get(column)
                if allowed is None:
                    return None
                return True if allowed <= values else None if allowed & values else False
            case Row(terms, bound):
                return self._row_verdict(terms, bound)
            case AllOf(items) | AnyOf(items):
                stop = isinstance(formula, AnyOf)
                verdicts = [self.verdict(item) for item in items]
                if stop in verdicts:
                    return stop
                return None if None in verdicts else not stop
        raise TypeError(f"not a formula: {formula!r}")

    def settled(self) -> Region | None:
        """The region after every choice that is none: settled ones dropped, single alternatives taken."""
        region: Region = self
        while True:
            kept: list[AnyOf] = []
            forced: Formula = True
            for clause in region.waiting:
                verdicts = [region.verdict(item) for item in clause.items]
                if True in verdicts:
                    continue
                alternatives = tuple(
                    item for item, verdict in zip(clause.items, verdicts, strict=True) if verdict is None
                )
                if not alternatives:
                    return None
                if len(alternatives) > 1:
                    kept.append(AnyOf(alternatives))
                else:
                    forced = all_of((forced, alternatives[0]))
            rest = replace(region, waiting=tuple(kept))
            if forced is True:
                return rest
            met = rest.meet(forced)
            if met is None:
                return None
            region = met

    def branches(self, clause: AnyOf | None = None) -> list[Region]:
        """The region split over the alternatives of a waiting choice, by default the smallest."""
        if clause is None:
            clause = min(self.waiting, key=lambda item: len(item.items))
        rest = replace(self, waiting=tuple(item for item in self.waiting if item is not clause))
        parts = (rest.meet(item) for item in clause.items)
        return [whole for part in parts if part is not None and (whole := part.settled()) is not None]

    def within(self, other: Region) -> bool:
        """Whether this region is seen to lie inside another of the same expansion."""
        return all(
            column in self.allowed and self.allowed[column] <= kept for column, kept in other.allowed.items()
        ) and all(self._row_verdict(terms, bound) is True for terms, bound in other.added.items())

    def _row_verdict(self, terms: Terms, bound: int) -> bool | None:
        least = self.rows.get(terms)
        if least is None or least < bound:
            least = self._least(terms)
        if least is not None and least >= bound:
            return True
        mirrored = tuple((column, -a) for column, a in terms)
        for limit in (self.rows.get(mirrored), self._least(mirrored)):
            if limit is not None and -limit < bound:
                return False
        return None

    def _least(self, terms: Terms) -> int | None:
        """The least value of a sum over the intervals; None without one."""
        total = 0
        for column, a in terms:
            end = (self.low if a > 0 else self.high).get(column)
            if end is None:
                return None
            total += a * end
        return total

    def _add(self, row: Row) -> bool:
        """Add a row unless it is implied; False if it is seen to leave nothing."""
        verdict = self._row_verdict(row.terms, row.bound)
        if verdict is None:
            self.rows[row.terms] = self.added[row.terms] = row.bound
            return self._tighten(row)
        return verdict

    def _tighten(self, row: Row) -> bool:
        """Let a row narrow the intervals, and these the other rows, for a bounded number of steps."""
        pending = [row]
        for _ in range(_STEPS):
            if not pending:
                break
            changed = self._narrow(pending.pop())
            if changed is None:
                return False
            if changed:
                pending += [
                    Row(terms, bound)
                    for terms, bound in self.rows.items()
                    if any(column in changed for column, _ in terms)
                ]
        return True

    def _narrow(self, row: Row) -> set[str] | None:
        """Columns whose interval a row narrows; None if an interval becomes empty."""
        ends = [(self.high if a > 0 else self.low).get(column) for column, a in row.terms]
        total = sum(a * end for (_, a), end in zip(row.terms, ends, strict=True) if end is not None)
        changed: set[str] = set()
        for (column, a), end in zip(row.terms, ends, strict=True):
            if ends.count(None) > (end is None):
                continue  # another column can still make up for anything
            rest = row.bound - total + (0 if end is None else a * end)
            low, high = self.low.get(column), self.high.get(column)
            if a > 0 and (low is None or -(-rest // a) > low):
                self.low[column] = low = -(-rest // a)
                changed.add(column)
            elif a < 0 and (high is None or rest // a < high):
                self.high[column] = high = rest // a
                changed.add(column)
            if low is not None and high is not None and low > high:
                return None
        return changed


def expand(formula: Formula, lattice: Lattice, *, cap: int = 256) -> tuple[list[Region], bool]:
    """Split a formula into convex regions whose union it is.

    Args:
        formula: The formula.
        lattice: The columns.
        cap: The most regions at a time.

    Returns:
        The regions, and whether they are all: over the cap, the first ``cap`` that a walk finds.

    Example:
        >>> low, high = Row((("x", -1),), 0), Row((("x", 1),), 5)
        >>> regions, complete = expand(AllOf((AnyOf((low, high)), Row((("x", 1),), 0))), Lattice({"x": 1}, {}))
        >>> [(region.low, region.high) for region in regions], complete
        ([({'x': 0}, {'x': 0}), ({'x': 5}, {})], True)
    """
    root = Region(lattice).meet(formula)
    root = None if root is None else root.settled()
    abreast = [] if root is None else [replace(root, added={})]
    while any(region.waiting for region in abreast):
        grown = [part for region in abreast for part in (region.branches() if region.waiting else (region,))]
        if len(grown) > cap:
            grown = [region for region in grown if _stands(region)]
        abreast = _largest(grown)
        if len(abreast) > cap:
            return list(islice(walk(formula, lattice), cap)), False
    return abreast, True


def walk(formula: Formula, lattice: Lattice) -> Iterator[Region]:
    """The convex regions of a formula one by one, some perhaps inside others."""
    root = Region(lattice).meet(formula)
    root = None if root is None else root.settled()
    pending = [] if root is None else [root]
    while pending:
        region = pending.pop()
        if region.waiting:
            pending += reversed(region.branches())
        else:
            yield region


def _stands(region: Region) -> bool:
    """Whether a region survives linear programming; asked once of each."""
    if not region.proved and len(region.rows) > 1 and refutation(region.system()) is not None:
        return False
    region.proved = True
    return True


def _largest(regions: list[Region]) -> list[Region]:
    """The regions that lie inside no other."""
    kept: list[Region] = []
    for region in regions:
        if not any(region.within(other) for other in kept):
            kept = [other for other in kept if not other.within(region)]
            kept.append(region)
    return kept
