"""Random rule sets over small boxes, and an oracle that reads the rules' own trees on every point of the box."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import numpy as np

from graftable.tabular.expressions import And, Comparison, Constant, IsNull, Linear, Member, Not, Or, Rule, RuleSet

OPERATORS = ("<=", "<", ">=", ">", "==", "!=")
COMPARE = {
    "<=": np.less_equal,
    "<": np.less,
    ">=": np.greater_equal,
    ">": np.greater,
    "==": np.equal,
    "!=": np.not_equal,
}


@dataclass(frozen=True)
class Column:
    """The part of a column schema that the compiler reads."""

    name: str
    kind: str = "integer"
    scale: int = 1
    categories: tuple[str, ...] = ()
    nullable: bool = False
    spread: Fraction = Fraction(1)


class Columns(dict):
    """Columns by name: a schema for the compiler."""

    def __init__(self, *columns: Column) -> None:
        super().__init__({column.name: column for column in columns})


def number(name, scale=1, spread=1, **options):
    return Column(name, "integer" if scale == 1 else "decimal", scale, spread=Fraction(spread), **options)


def kind(name, *categories, **options):
    return Column(name, "categorical", categories=categories, **options)


def linear(constant=0, **terms):
    return Linear.of_terms(terms, constant)


def at_least(constant=0, **terms):
    """``sum of terms + constant >= 0``."""
    return Comparison(linear(constant, **terms), ">=")


def equal(constant=0, **terms):
    return Comparison(linear(constant, **terms), "==")


def rule_set(*expressions, **options):
    rules = (
        Rule(f"rule {line}", item, text=f"text {line}", line=line, file="test.rules", **options)
        for line, item in enumerate(expressions, 1)
    )
    return RuleSet(tuple(rules), "test.rules")


def truth(expression, schema, numbers, codes):
    """Which rows obey an expression; no nulls. Shares no code with the compiler."""
    if isinstance(expression, Constant):
        return np.full(len(next(iter((*numbers.values(), *codes.values())))), expression.value)
    if isinstance(expression, Not):
        return ~truth(expression.item, schema, numbers, codes)
    if isinstance(expression, And | Or):
        parts = [truth(item, schema, numbers, codes) for item in expression.items]
        return (np.logical_and if isinstance(expression, And) else np.logical_or).reduce(parts)
    if isinstance(expression, Member):
        listed = np.array([*(value in expression.values for value in schema[expression.column].categories), False])
        return listed[codes[expression.column]]
    if isinstance(expression, IsNull):
        return np.zeros(len(next(iter((*numbers.values(), *codes.values())))), bool)
    form = expression.linear
    weights = {name: a / schema[name].scale for name, a in form.terms}
    common = lcm(form.constant.denominator, *(a.denominator for a in weights.values()))
    total = int(form.constant * common)
    for name, a in weights.items():
        total = total + int(a * common) * numbers[name].astype(object)
    return COMPARE[expression.operator](total, 0).astype(bool)


def obeyed(rules, schema, numbers, codes):
    return np.logical_and.reduce([truth(rule.expression, schema, numbers, codes) for rule in rules])


def outcome(expression, schema, numbers, codes, nulls):
    """Where an expression is surely true, and where it is surely false, under Kleene logic."""
    size = len(next(iter((*numbers.values(), *codes.values()))))
    missing = {name: nulls.get(name, np.zeros(size, bool)) for name in schema}
    if isinstance(expression, Not):
        sure, never = outcome(expression.item, schema, numbers, codes, nulls)
        return never, sure
    if isinstance(expression, And | Or):
        parts = [outcome(item, schema, numbers, codes, nulls) for item in expression.items]
        every, some = np.logical_and.reduce, np.logical_or.reduce
        first, second = (every, some) if isinstance(expression, And) else (some, every)
        return first([part[0] for part in parts]), second([part[1] for part in parts])
    if isinstance(expression, IsNull):
        return missing[expression.column], ~missing[expression.column]
    held = truth(expression, schema, numbers, codes)
    names = [expression.column] if isinstance(expression, Member) else [name for name, _ in expression.linear.terms]
    unknown = np.logical_or.reduce([np.zeros(size, bool), *(missing[name] for name in names)])
    return held & ~unknown, ~held & ~unknown


def obeyed_with_nulls(rules, schema, numbers, codes, nulls):
    results = []
    for rule in rules:
        sure, never = outcome(rule.expression, schema, numbers, codes, nulls)
        results.append(~never if rule.when_missing == "satisfied" else sure)
    return np.logical_and.reduce(results)


@dataclass(frozen=True)
class World:
    schema: Columns
    rules: RuleSet
    reach: int

    @property
    def numeric(self):
        return [name for name, column in self.schema.items() if column.kind != "categorical"]

    @property
    def categorical(self):
        return [name for name, column in self.schema.items() if column.kind == "categorical"]

    def grid(self):
        """Every point of the box, as numbers and codes."""
        axes = [np.arange(-self.reach, self.reach + 1)] * len(self.numeric)
        axes += [np.arange(len(self.schema[name].categories)) for name in self.categorical]
        flat = [axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")]
        return dict(zip(self.numeric, flat, strict=False)), dict(
            zip(self.categorical, flat[len(self.numeric) :], strict=True)
        )

    def rows(self, generator, count):
        """Random rows, some outside the box."""
        numbers = {name: generator.integers(-2 * self.reach, 2 * self.reach + 1, count) for name in self.numeric}
        codes = {name: generator.integers(0, len(self.schema[name].categories), count) for name in self.categorical}
        return numbers, codes


def random_world(generator):
    """A box of up to three numbers and one category column, its sides as rules, and up to five random rules."""
    count = int(generator.integers(1, 4))
    reach = int(generator.integers(2, 7)) if count < 3 else int(generator.integers(2, 5))
    columns = [
        number(f"x{i}", int(generator.choice([1, 1, 2, 10])), int(generator.integers(1, 5))) for i in range(count)
    ]
    if generator.random() < 0.4:
        columns.append(kind("c", "a", "b", "d"))
    schema = Columns(*columns)
    sides = [
        Comparison(Linear.of_terms({column.name: sign}, Fraction(reach, column.scale)), ">=")
        for column in columns
        if column.kind != "categorical"
        for sign in (1, -1)
    ]
    random_rules = [random_expression(generator, schema, 2) for _ in range(generator.integers(1, 6))]
    order = generator.permutation(len(sides) + len(random_rules))
    everything = [*sides, *random_rules]
    return World(schema, rule_set(*(everything[i] for i in order)), reach)


def random_expression(generator, schema, depth):
    draw = generator.random()
    if depth == 0 or draw < 0.45:
        return random_atom(generator, schema)
    left, right = (random_expression(generator, schema, depth - 1) for _ in range(2))
    if draw < 0.6:
        return And((left, right))
    if draw < 0.75:
        return Or((left, right))
    if draw < 0.85:
        return Not(left)
    if draw < 0.95:
        return Or((Not(left), right))  # implies
    return Or((And((left, right)), And((Not(left), Not(right)))))  # iff


def random_atom(generator, schema):
    if "c" in schema and generator.random() < 0.35:
        chosen = [value for value in schema["c"].categories if generator.random() < 0.4]
        return Member("c", tuple(chosen))
    names = [name for name, column in schema.items() if column.kind != "categorical"]
    size = int(generator.integers(1, len(names) + 1))
    terms = {}
    for name in generator.choice(names, size, replace=False):
        coefficient = int(generator.choice([-3, -2, -1, -1, -1, 1, 1, 1, 2, 3]))
        terms[str(name)] = Fraction(coefficient, int(generator.choice([1, 1, 1, 2])))
    constant = Fraction(int(generator.integers(-8, 9)), int(generator.choice([1, 1, 2])))
    operator = str(generator.choice(OPERATORS, p=[0.2, 0.2, 0.2, 0.2, 0.12, 0.08]))
    return Comparison(Linear.of_terms(terms, constant), operator)
