"""The constraint layer of the literature, written from its description: one variable after the other, whole batches.

A literal ``(weights, constant)`` says ``sum of weights * x + constant >= 0``; a rule is a list of literals of which one
has to hold. Strict inequalities are read as their closure.
"""

import re

import torch

CAP = 4_000  # rules of a level, over which elimination gives up


def read(path):
    """The order of the variables and the rules of an authors' file."""
    order, *lines = [line for line in path.read_text().splitlines() if line.strip()]
    return [int(name[2:]) for name in order.split()[1:]], [
        [_literal(text) for text in re.split(r"\bor\b", line)] for line in lines
    ]


def _literal(text):
    sign = -1.0 if "neg" in text else 1.0
    left, right = re.split(r">=|>", text.replace("neg", "").replace(" ", ""))
    found = re.findall(r"([+-]?)([\d.]*)y_(\d+)", left)
    weights = {int(name): sign * float(f"{plus}{factor or 1}") for plus, factor, name in found}
    return weights, -sign * float(right)


class ReferenceLayer:
    """Levels by resolution on one variable after the other; conjunctions are the case of one literal a rule."""

    def __init__(self, path):
        order, rules = read(path)
        used = {name for rule in rules for weights, _ in rule for name in weights}
        order = [name for name in order if name in used] + sorted(used - set(order))
        self.levels = []
        for name in reversed(order):
            self.levels.insert(0, (name, [rule for rule in rules if _holds(rule, name)]))
            rules = _resolve(rules, name)

    def __call__(self, x):
        for name, rules in self.levels:
            conjunctive = all(len(rule) == 1 for rule in rules)
            x = (_clamp if conjunctive else _nearest)(x, name, rules)
        return x


def _holds(rule, name):
    return any(name in weights for weights, _ in rule)


def _resolve(rules, name):
    kept = {_key(rule): rule for rule in rules if not _holds(rule, name)}
    raising = [(rule, one) for rule in rules for one in rule if one[0].get(name, 0) > 0]
    lowering = [(rule, one) for rule in rules for one in rule if one[0].get(name, 0) < 0]
    for first, up in raising:
        for second, down in lowering:
            rest = [one for rule, used in ((first, up), (second, down)) for one in rule if one is not used]
            if first is second or any(name in weights for weights, _ in rest):
                continue
            found = _simplified([_sum(up, down, name), *rest])
            if found is not None:
                kept[_key(found)] = found
        if len(kept) > CAP:
            raise RuntimeError(f"more than {CAP} rules after the elimination of y_{name}")
    return list(kept.values())


def _sum(up, down, name):
    p, q = -down[0][name], up[0][name]
    weights = {key: p * up[0].get(key, 0) + q * down[0].get(key, 0) for key in {*up[0], *down[0]} - {name}}
    return {key: value for key, value in weights.items() if value}, p * up[1] + q * down[1]


def _simplified(rule):
    """Without the literals that never hold; None for a rule that always does."""
    if any(not weights and constant >= 0 for weights, constant in rule):
        return None
    return list({_key([one]): one for one in rule if one[0]}.values())


def _key(rule):
    return frozenset((frozenset(weights.items()), constant) for weights, constant in rule)


def _value(x, literal, name=None):
    total = torch.full_like(x[:, 0], literal[1])
    for place, weight in literal[0].items():
        if place != name:
            total = total + weight * x[:, place]
    return total


def _bound(x, literal, name):
    return _value(x, literal, name) / -literal[0][name]


def _clamp(x, name, rules):
    for sign, tighter in ((1, torch.maximum), (-1, torch.minimum)):
        for ((weights, constant),) in rules:
            if weights[name] * sign > 0:
                moved = tighter(x[:, name], _bound(x, (weights, constant), name))
                x = x.clone()
                x[:, name] = moved
    return x


def _nearest(x, name, rules):
    """The nearest end of an interval that obeys every rule of the level."""
    own = x[:, name]
    ends = [own] + [_bound(x, one, name) for rule in rules for one in rule if name in one[0]]
    best, distance = own, torch.full_like(own, torch.inf)
    for end in ends:
        tried = x.clone()
        tried[:, name] = end
        fits = torch.ones_like(own, dtype=torch.bool)
        for rule in rules:
            fits &= torch.stack([_value(tried, one) >= -1e-5 for one in rule]).any(0)
        nearer = fits & ((end - own).abs() < distance)
        best, distance = torch.where(nearer, end, best), torch.where(nearer, (end - own).abs(), distance)
    x = x.clone()
    x[:, name] = best
    return x
