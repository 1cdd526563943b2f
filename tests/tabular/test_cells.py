"""Regions cover a formula exactly, and few of them do."""

import numpy as np
import pytest
from rule_worlds import at_least, equal, kind, linear, number, random_world, rule_set

from graftable.tabular.batch import Batch
from graftable.tabular.cells import Region, expand, walk
from graftable.tabular.compiler import lattice_of
from graftable.tabular.expressions import And, Comparison, Member, Not, Or
from graftable.tabular.normal_form import AllOf, Among, AnyOf, Lattice, Row, all_of, on_lattice

X = Lattice({"x": 1, "y": 1, "z": 1}, {"c": ("a", "b", "d")})


def row(bound, **terms):
    return Row(tuple(sorted(terms.items())), bound)


def inside(region, batch):
    result = np.ones(batch.size, bool)
    for item in region.system():
        result &= batch.holds(item)
    for column, allowed in region.allowed.items():
        result &= batch.among(column, allowed)
    return result


@pytest.mark.parametrize("seed", range(150))
def test_the_union_of_the_regions_is_the_formula(seed):
    world = random_world(np.random.default_rng(seed))
    lattice = lattice_of(world.rules, world.schema)
    formula = all_of(on_lattice(rule.expression, lattice) for rule in world.rules)
    points, codes = world.grid()
    batch = Batch(points, codes, lattice.categories)
    expected = batch.holds(formula)
    regions, complete = expand(formula, lattice)
    assert complete
    for found in (regions, list(walk(formula, lattice))):
        union = np.zeros(batch.size, bool)
        for region in found:
            part = inside(region, batch)
            assert not (part & ~expected).any()
            union |= part
        np.testing.assert_array_equal(union, expected)


def test_intervals_settle_choices_without_branching():
    formula = all_of((row(5, x=1), AnyOf((row(3, x=1), row(0, y=1))), AnyOf((row(-2, x=-1), row(1, z=1)))))
    regions, _ = expand(formula, X)
    assert [region.low for region in regions] == [{"x": 5, "z": 1}]


def test_categories_settle_choices_without_branching():
    among = Among("c", frozenset({"a"}))
    formula = all_of((among, AnyOf((Among("c", frozenset({"b"})), row(0, x=1))), AnyOf((among, row(0, y=1)))))
    regions, _ = expand(formula, X)
    assert [(region.low, region.allowed) for region in regions] == [({"x": 0}, {"c": frozenset({"a"})})]


def test_a_region_inside_another_is_dropped():
    formula = AnyOf((row(1, x=1), all_of((row(3, x=1), row(0, y=1))), row(2, x=1)))
    regions, _ = expand(formula, X)
    assert [region.low for region in regions] == [{"x": 1}]


def test_rows_pass_intervals_on():
    part = Region(X).meet(AllOf((row(2, x=1), row(0, x=-1, y=1), row(-1, y=-1))))
    assert part is None


def test_an_iff_between_sixteen_categories_and_numbers_has_one_region_each():
    names = tuple(f"level {i}" for i in range(16))
    schema = {"education": kind("education", *names), "years": number("years")}
    rules = rule_set(
        *(
            Or((And((Member("education", (name,)), equal(-i, years=1))), And((Not(Member("education", (name,))),
               Comparison(linear(-i, years=1), "!=")))))
            for i, name in enumerate(names)
        )
    )  # fmt: skip
    lattice = lattice_of(rules, schema)
    regions, complete = expand(all_of(on_lattice(rule.expression, lattice) for rule in rules), lattice)
    assert complete
    listed = [region for region in regions if region.allowed["education"] != frozenset({None})]
    assert len(listed) == 16
    assert all(region.low == region.high for region in listed)


def test_over_the_cap_the_first_regions_of_a_walk_are_given():
    formula = all_of(AnyOf((row(1, x=1, **{f"v{i}": 1}), row(2, y=1, **{f"v{i}": -1}))) for i in range(8))
    lattice = Lattice({name: 1 for name in ("x", "y", *(f"v{i}" for i in range(8)))}, {})
    regions, complete = expand(formula, lattice, cap=20)
    assert not complete
    assert len(regions) == 20
    assert len(expand(formula, lattice)[0]) == 256


def test_linear_programming_prunes_what_intervals_cannot():
    # x > y, y > z, z > x cannot hold, and no interval says so
    knot = (row(1, x=1, y=-1), row(1, y=1, z=-1), row(1, x=-1, z=1))
    choices = [AnyOf((row(i, **{f"v{i}": 1}), row(i, **{f"w{i}": 1}))) for i in range(5)]
    lattice = Lattice(dict.fromkeys([*"xyz", *(f"{s}{i}" for s in "vw" for i in range(5))], 1), {})
    assert expand(all_of((*knot, *choices)), lattice, cap=4) == ([], True)


def test_at_least_reads_as_it_is_written():
    assert on_lattice(at_least(-3, x=1), X) == row(3, x=1)
