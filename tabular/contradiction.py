"""Which rules contradict each other: a core by search, and from it a smallest subset.

The search makes one alternative of one disjunction true at a time and stops where linear programming or the categories
refute what has been chosen. A refutation names the rules and the choices that it rests on. Where a choice is not among
them, its other alternatives cannot help either, and the search goes back past it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .elimination import eliminate
from .feasibility import Undecided, find_point, minimal_conflict, refutation
from .normal_form import AllOf, Among, AnyOf, Formula, Lattice, Row

__all__ = ["contradiction", "is_empty", "satisfiable"]

Origin = frozenset[int]
"""Rules by their index; choices by negative numbers."""

_EFFORT = 3_000
_FEW_ROWS = 60


def is_empty(rows: Sequence[Row]) -> bool:
    """Whether it is proved that no integer point obeys the rows, by elimination where that is quick."""
    if len(rows) <= _FEW_ROWS:
        result = eliminate(rows, max_rows=10 * _FEW_ROWS)
        if result.empty or (result.complete and not result.gap):
            return result.empty
    try:
        return find_point(rows) is None
    except Undecided:
        return False


def satisfiable(formulas: Sequence[Formula], lattice: Lattice) -> bool:
    """Whether some row obeys all formulas; what the search cannot decide counts as obeyed.

    Example:
        >>> above, below = Row((("x", 1),), 5), Row((("x", -1),), -4)
        >>> satisfiable([above, below], Lattice({"x": 1}, {})), satisfiable([above], Lattice({"x": 1}, {}))
        (False, True)
    """
    return _core(formulas, lattice) is None


def contradiction(formulas: Sequence[Formula], lattice: Lattice) -> tuple[int, ...] | None:
    """The indices of formulas that cannot hold together, but can once any one of them is dropped; None if all can."""
    core = _core(formulas, lattice)
    if core is None:
        return None
    chosen = sorted(core)
    kept = minimal_conflict(
        len(chosen), lambda places: satisfiable([formulas[chosen[place]] for place in places], lattice)
    )
    return tuple(chosen[place] for place in kept)


def _core(formulas: Sequence[Formula], lattice: Lattice) -> Origin | None:
    search = _Search(lattice)
    state = _State((), (), ())
    for index, formula in enumerate(formulas):
        met = state.meet(formula, frozenset({index}))
        if met is None:
            return frozenset({index})
        state = met
    try:
        return search.core(state)
    except (Undecided, RecursionError):
        return None


@dataclass(frozen=True)
class _State:
    """Literals that hold, and disjunctions still to choose from, each with what it rests on."""

    rows: tuple[tuple[Row, Origin], ...]
    sets: tuple[tuple[Among, Origin], ...]
    waiting: tuple[tuple[AnyOf, Origin], ...]

    def meet(self, formula: Formula, origin: Origin) -> _State | None:
        """The state in which a formula holds too; None if the formula is false."""
        match formula:
            case bool():
                return self if formula else None
            case Row():
                return _State((*self.rows, (formula, origin)), self.sets, self.waiting)
            case Among():
                return _State(self.rows, (*self.sets, (formula, origin)), self.waiting)
            case AnyOf():
                return _State(self.rows, self.sets, (*self.waiting, (formula, origin)))
            case AllOf(items):
                state: _State | None = self
                for item in items:
                    state = None if state is None else state.meet(item, origin)
                return state
        raise TypeError(f"not a formula: {formula!r}")


class _Facts:
    """What single literals of a state say: sides of columns and allowed categories, each with what it rests on."""

    def __init__(self, state: _State, lattice: Lattice) -> None:
        self.free = lattice.free
        self.sides: dict[tuple[str, int], tuple[int, Origin]] = {}
        self.allowed: dict[str, tuple[frozenset[str | None], Origin]] = {}
        self.conflict: Origin | None = None
        literals: tuple[tuple[Row | Among, Origin], ...] = (*state.rows, *state.sets)
        for literal, origin in literals:
            verdict, rests_on = self.verdict(literal)
            if verdict is False:
                self.conflict = origin | rests_on
            elif verdict is None and isinstance(literal, Among):
                kept, rests_on = self.allowed.get(literal.column, (literal.values, origin))
                self.allowed[literal.column] = kept & literal.values, rests_on | origin
            elif verdict is None and isinstance(literal, Row) and len(literal.terms) == 1:
                self.sides[literal.terms[0]] = literal.bound, origin

    def verdict(self, formula: Formula) -> tuple[bool | None, Origin]:
        """Whether the facts settle a formula, and, where it is false, what that rests on."""
        match formula:
            case bool():
                return formula, frozenset()
            case Among(column, values):
                kept, origin = self.allowed.get(column, (None, frozenset[int]()))
                rest = values if kept is None else kept & values
                if not rest or (rest == {None} and column not in self.free):
                    return False, origin
                return (True if kept is not None and kept <= values else None), frozenset()
            case Row(terms, bound):
                if len(terms) > 1:
                    return None, frozenset()
                ((column, sign),) = terms
                if (column, -sign) in self.sides and self.sides[column, -sign][0] + bound > 0:
                    return False, self.sides[column, -sign][1]
                held = (column, sign) in self.sides and self.sides[column, sign][0] >= bound
                return (True if held else None), frozenset()
            case AllOf(items) | AnyOf(items):
                stop = isinstance(formula, AnyOf)
                verdicts = [self.verdict(item) for item in items]
                if any(verdict is stop for verdict, _ in verdicts):
                    # one false part is enough for a conjunction
                    return stop, next(origin for verdict, origin in verdicts if verdict is stop)
                if any(verdict is None for verdict, _ in verdicts):
                    return None, frozenset()
                return not stop, frozenset[int]().union(*(origin for _, origin in verdicts))
        raise TypeError(f"not a formula: {formula!r}")


class _Search:
    def __init__(self, lattice: Lattice) -> None:
        self.lattice = lattice
        self.nodes = 0

    def core(self, state: _State) -> Origin | None:
        """What a refutation of the state rests on; None where a row obeys it."""
        self.nodes += 1
        if self.nodes > _EFFORT:
            raise Undecided
        facts = _Facts(state, self.lattice)
        if facts.conflict is not None:
            return facts.conflict
        choices: list[tuple[int, int, list[Formula], Origin]] = []
        for place, (clause, origin) in enumerate(state.waiting):
            verdicts = [(item, *facts.verdict(item)) for item in clause.items]
            if not any(verdict for _, verdict, _ in verdicts):
                viable = [item for item, verdict, _ in verdicts if verdict is None]
                rests_on = origin.union(*(why for _, verdict, why in verdicts if verdict is False))
                choices.append((len(viable), place, viable, rests_on))
        if not choices or min(choice[0] for choice in choices) > 1:
            found = self.refuted(state)
            if found is not None:
                return found
        if not choices:
            empty = is_empty([row for row, _ in state.rows])
            return frozenset[int]().union(*(origin for _, origin in state.rows)) if empty else None
        return self.branch(state, *min(choices, key=lambda choice: choice[:2])[1:])

    def branch(self, state: _State, place: int, viable: list[Formula], total: Origin) -> Origin | None:
        """What refuting all alternatives of a disjunction rests on; None where one of them can hold."""
        rest = _State(state.rows, state.sets, (*state.waiting[:place], *state.waiting[place + 1 :]))
        choice, origin = -self.nodes, state.waiting[place][1]
        for item in viable:
            met = rest.meet(item, origin | {choice})
            inner = origin | {choice} if met is None else self.core(met)
            if inner is None:
                return None
            if choice not in inner:
                return inner
            total |= inner - {choice}
        return total

    def refuted(self, state: _State) -> Origin | None:
        """What a contradiction among the rows rests on; None if none is seen."""
        rows, origins = [row for row, _ in state.rows], [origin for _, origin in state.rows]
        few = len(rows) <= _FEW_ROWS
        if len(rows) < 2 or (few and not eliminate(rows, max_rows=10 * _FEW_ROWS).empty):
            return None
        proof = refutation(rows)
        if proof is None:  # refuted on integers only, without a list of what that needs: perhaps everything
            return frozenset[int]().union(*origins) if few else None
        return frozenset[int]().union(*(origins[index] for index in proof))
