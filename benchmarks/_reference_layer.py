"""The constraint layer of the literature: one variable after the other, on whole batches, with clauses of literals.

Our own writing of the algorithm for disjunctive rules (Stoian and Giunchiglia, "Beyond the convexity assumption", 2025)
as its authors publish it in PiShield 2, so that it can be timed beside ours. What costs time there, costs it here:

- The clauses of a level are all that are left after the later variables were eliminated, whether they speak of its
  variable or not, and equal ones are kept.
- Every variable whose level has clauses takes two copies of the batch.
- A literal is evaluated by stacking its terms, one column each, and summing over them.
- At a level with disjunctions, rows that break a clause are taken out; each candidate bound of theirs is written into a
  copy of them, and all clauses of the level are checked on that copy. The nearest bound that passes on either side is
  found, then the nearer of the two. Without disjunctions it is a clamp between the largest and the least bound.
- Strict inequalities are met with 1e-12 more, checks forgive 1e-2, and infinities become 1e16.

Two things of the published code are not repeated, both to its favour: it evaluates every literal of a check twice, and
searches the names of the terms of a clause at each call, which here is done once.
"""

import re
from typing import NamedTuple

import torch

STRICT, FORGIVEN, HUGE = 1e-12, 1e-2, 1e16


class Literal(NamedTuple):
    """``sum of weights * x >= bound``, or ``>`` if strict."""

    weights: dict[int, float]
    bound: float
    strict: bool


def read(path):
    """The order of the variables and the clauses of an authors' file."""
    order, *lines = [line for line in path.read_text().splitlines() if line.strip()]
    return [int(name[2:]) for name in order.split()[1:]], [
        [_literal(text) for text in re.split(r"\bor\b", line)] for line in lines
    ]


def _literal(text):
    negated = "neg" in text
    left, sign, right = re.split(r"(>=|>)", text.replace("neg", "").replace(" ", ""))
    found = re.findall(r"([+-]?)([\d.]*)y_(\d+)", left)
    factor = -1.0 if negated else 1.0  # not (a >= b) is -a > -b
    weights = {int(name): factor * float(f"{plus}{number or 1}") for plus, number, name in found}
    return Literal(weights, factor * float(right), (sign == ">") != negated)


class ReferenceLayer:
    """Levels by resolution on one variable after the other, from the last of the order to the first."""

    def __init__(self, path):
        order, clauses = read(path)
        self.levels = []
        for name in reversed(order):
            clauses = [new for clause in clauses for new in _normalised(clause, name)]
            if clauses:
                self.levels.insert(0, Level(name, clauses))
            clauses = _resolved(clauses, name)

    def __call__(self, x):
        corrected = x.clone()
        for level in self.levels:
            corrected[:, level.name] = level(x)
            x = corrected.clone()
            corrected = x.clone()
        corrected = torch.where(corrected == torch.inf, HUGE, corrected)
        return torch.where(corrected == -torch.inf, -HUGE, corrected)


class Level:
    """One variable, and the clauses that earlier variables and it have to obey."""

    def __init__(self, name, clauses):
        self.name = name
        self.clauses = clauses
        self.lower = [one for clause in clauses for one in _with(clause, name, 1)]
        self.upper = [one for clause in clauses for one in _with(clause, name, -1)]
        self.convex = all(len(clause) == 1 for clause in clauses)

    def __call__(self, x):
        return self.clamped(x) if self.convex else self.moved(x)

    def clamped(self, x):
        values = x[:, self.name]
        if self.lower:
            lower = self.bounds(x, self.lower).amax(1)
            values = torch.cat([values[:, None], lower[:, None]], 1).amax(1)
        if self.upper:
            upper = self.bounds(x, self.upper).amin(1)
            values = torch.cat([values[:, None], upper[:, None]], 1).amin(1)
        return values

    def moved(self, x):
        """The values of rows that obey; of the others the nearest bound that makes them obey."""
        values, broken = x[:, self.name].clone(), self.broken(x)
        if not broken.any():
            return values
        rows = x[broken]
        own = rows[:, self.name]
        left, right = self.nearest(rows, self.upper), self.nearest(rows, self.lower)
        values[broken] = torch.where((own - right).abs() < (own - left).abs(), right, left)
        return values

    def nearest(self, x, literals):
        own = x[:, self.name]
        if not literals:
            return torch.full_like(own, torch.inf)
        bounds, fails = self.bounds(x, literals), []
        for bound in bounds.unbind(1):
            tried = x.clone()
            tried[:, self.name] = bound
            fails.append(self.broken(tried))
        bounds = torch.where(torch.stack(fails, 1), torch.inf, bounds)
        distance = (bounds - own[:, None]).abs()
        return torch.where(distance == distance.amin(1, keepdim=True), bounds, torch.inf).amin(1)

    def broken(self, x):
        """Which rows break a clause of the level."""
        fails = []
        for clause in self.clauses:
            holds = [_body(x, one.weights) - one.bound >= -FORGIVEN for one in clause]
            fails.append(~torch.stack(holds, 1).any(1))
        return torch.stack(fails, 1).any(1)

    def bounds(self, x, literals):
        """``(rows, literals)``: the least or the largest value of the variable by each."""
        found = []
        for weights, bound, strict in literals:
            own = weights[self.name]
            rest = {place: weight for place, weight in weights.items() if place != self.name}
            least = (bound - _body(x, rest)) / own
            found.append(least + (STRICT if own > 0 else -STRICT) if strict else least)
        return torch.stack(found, 1)


def _body(x, weights):
    if not weights:
        return x.new_zeros(len(x))
    return torch.stack([weight * x[:, place] for place, weight in weights.items()], 1).sum(1)


def _with(clause, name, sign):
    """The literals of a clause that bound the variable from below, or with sign -1 from above."""
    return [one for one in clause if sign * one.weights.get(name, 0) > 0]


def _normalised(clause, name):
    """Clauses in which the variable occurs at most once with either sign: one for each choice of these literals.

    Of several lower bounds of a disjunction the least counts, so that a chosen one stays and the others say that they
    are less; likewise the largest of upper bounds.
    """
    above, below = _with(clause, name, 1), _with(clause, name, -1)
    if len(clause) == 1 or max(len(above), len(below)) <= 1:
        return [clause]
    rest = [one for one in clause if name not in one.weights]
    return [[*up, *down, *rest] for up in _choices(above, name) for down in _choices(below, name)]


def _choices(literals, name):
    if not literals:
        return [[]]
    return [
        [chosen, *(_difference(chosen, other, name) for other in literals if other is not chosen)]
        for chosen in literals
    ]


def _difference(chosen, other, name):
    """That ``other`` holds where ``chosen`` lies on its bound, up to what is equal."""
    p, q = 1 / abs(chosen.weights[name]), 1 / abs(other.weights[name])
    weights, bound = _sum(other, q, chosen, -p)
    strict = other.strict if chosen.strict != other.strict else True
    return Literal(weights, bound, strict)


def _sum(first, p, second, q):
    places = dict.fromkeys([*first.weights, *second.weights])
    weights = {place: p * first.weights.get(place, 0) + q * second.weights.get(place, 0) for place in places}
    return {place: weight for place, weight in weights.items() if weight}, p * first.bound + q * second.bound


def _resolved(clauses, name):
    """Clauses without the variable, and what follows from those with it, two by two."""
    kept = [clause for clause in clauses if not any(name in one.weights for one in clause)]
    raising = [clause for clause in clauses if _with(clause, name, 1) and not _with(clause, name, -1)]
    lowering = [clause for clause in clauses if _with(clause, name, -1) and not _with(clause, name, 1)]
    mixed = [clause for clause in clauses if _with(clause, name, 1) and _with(clause, name, -1)]
    raised = [new for first in raising for second in mixed for new in _resolvents(first, second, name)]
    return kept + [new for first in raised + raising for second in lowering for new in _resolvents(first, second, name)]


def _resolvents(first, second, name):
    """What follows from a lower bound in one clause and an upper one in another; nothing if it always holds."""
    (up,), (down,) = _with(first, name, 1), _with(second, name, -1)
    weights, bound = _sum(up, -down.weights[name] / up.weights[name], down, 1)
    strict = up.strict or down.strict
    rest = [one for one in first if one is not up] + [one for one in second if one is not down]
    if weights:
        return [[Literal(weights, bound, strict), *rest]]
    return [] if bound < 0 or (bound == 0 and not strict) else [rest]
