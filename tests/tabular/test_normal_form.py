"""Rules on the lattice say what they say of values."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rule_worlds import random_world, truth

from graftable.errors import RuleError
from graftable.tabular.batch import Batch
from graftable.tabular.expressions import And, Comparison, IsNull, Linear, Member, NonlinearComparison, Not, Or
from graftable.tabular.normal_form import AllOf, Among, AnyOf, Lattice, Row, make_row, negate, on_lattice

PRICES = Lattice({"price": 100, "cost": 10, "n": 1}, {"kind": ("a", "b")})
numbers = st.fractions(min_value=-50, max_value=50, max_denominator=20)


def form(constant=0, **terms):
    return Linear.of_terms(terms, constant)


@given(st.dictionaries(st.sampled_from("xyz"), numbers, min_size=1), numbers, st.tuples(*[st.integers(-60, 60)] * 3))
def test_a_row_holds_exactly_where_the_inequality_does(terms, bound, point):
    values = dict(zip("xyz", point, strict=True))
    row = make_row(terms, bound)
    expected = sum(a * values[column] for column, a in terms.items()) >= bound
    assert (row if isinstance(row, bool) else row.holds(values)) == expected


def test_rows_are_coprime_and_their_bound_is_rounded_up():
    assert make_row({"x": 2, "y": 4}, 3) == Row((("x", 1), ("y", 2)), 2)
    assert make_row({"x": Fraction(1, 3)}, Fraction(1, 2)) == Row((("x", 1),), 2)


def test_strict_is_one_lattice_step_more():
    assert on_lattice(Comparison(form(price=1), ">"), PRICES) == Row((("price", 1),), 1)
    assert on_lattice(Comparison(form(price=1, cost=-1), ">"), PRICES) == Row((("cost", -10), ("price", 1)), 1)


def test_different_is_a_choice_of_two_sides():
    different = on_lattice(Comparison(form(-3, n=1), "!="), PRICES)
    assert isinstance(different, AnyOf)
    assert set(different.items) == {Row((("n", -1),), -2), Row((("n", 1),), 4)}


def test_equality_off_the_lattice_is_false_and_its_negation_true():
    half = Comparison(form(Fraction(-1, 2), n=1), "==")
    assert on_lattice(half, PRICES) is False
    assert on_lattice(Not(half), PRICES) is True


def test_equality_is_two_rows():
    assert on_lattice(Comparison(form(n=1, cost=-1), "=="), PRICES) == AllOf(
        (Row((("cost", -1), ("n", 10)), 0), Row((("cost", 1), ("n", -10)), 0))
    )


@pytest.mark.parametrize(("when_missing", "value"), [("satisfied", True), ("violated", False)])
def test_leaves_on_null_columns_are_what_when_missing_says(when_missing, value):
    leaves = [Comparison(form(price=1, cost=1), ">"), Member("kind", ("a",)), Not(Member("kind", ("a",)))]
    for leaf in leaves:
        assert on_lattice(leaf, PRICES, nulls=frozenset({"cost", "kind"}), when_missing=when_missing) is value


def test_is_null_is_never_unknown():
    for when_missing in ("satisfied", "violated"):
        nulls = frozenset({"n"})
        assert on_lattice(IsNull("n"), PRICES, nulls=nulls, when_missing=when_missing) is True
        assert on_lattice(Not(IsNull("n")), PRICES, nulls=nulls, when_missing=when_missing) is False
        assert on_lattice(IsNull("cost"), PRICES, nulls=nulls, when_missing=when_missing) is False


def test_a_rule_is_unknown_only_where_the_known_parts_leave_it_open():
    rule = Or((Comparison(form(n=1), ">="), And((Comparison(form(cost=1), ">="), Comparison(form(price=1), ">=")))))
    assert on_lattice(rule, PRICES, nulls=frozenset({"cost"})) == AnyOf((Row((("n", 1),), 0), Row((("price", 1),), 0)))
    assert on_lattice(rule, PRICES, nulls=frozenset({"cost"}), when_missing="violated") == Row((("n", 1),), 0)


def test_unlisted_texts_are_outside_every_set_and_inside_every_complement():
    assert on_lattice(Member("kind", ("a",)), PRICES) == Among("kind", frozenset({"a"}))
    assert on_lattice(Not(Member("kind", ("a",))), PRICES) == Among("kind", frozenset({"b", None}))


def test_products_and_numbers_from_categories_are_errors():
    with pytest.raises(RuleError, match="reject"):
        on_lattice(NonlinearComparison(((("cost", "price"), Fraction(1)),), ">="), PRICES)
    with pytest.raises(RuleError, match='"kind"'):
        on_lattice(Comparison(form(kind=1), ">="), PRICES)


@pytest.mark.parametrize("seed", range(60))
def test_formulas_agree_with_the_rules_own_trees_and_negation_flips_them(seed):
    world = random_world(np.random.default_rng(seed))
    lattice = Lattice(
        {name: world.schema[name].scale for name in world.numeric},
        {name: world.schema[name].categories for name in world.categorical},
    )
    points, codes = world.grid()
    batch = Batch(points, codes, lattice.categories)
    for rule in world.rules:
        formula = on_lattice(rule.expression, lattice)
        expected = truth(rule.expression, world.schema, points, codes)
        np.testing.assert_array_equal(batch.holds(formula), expected)
        np.testing.assert_array_equal(batch.holds(negate(formula, lattice)), ~expected)
