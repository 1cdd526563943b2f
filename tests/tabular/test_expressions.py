"""Trees say what logic says, and their normal form says the same without negations."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from rule_strategies import CATEGORICAL, CATEGORIES, NUMERIC, fractions, trees

from graftable.tabular.expressions import (
    And,
    Comparison,
    Constant,
    IsNull,
    Linear,
    Member,
    Not,
    Or,
    Rule,
    RuleSet,
    all_of,
    any_of,
    atoms,
    columns_of,
    holds,
    negation_normal_form,
)

forms = st.dictionaries(st.sampled_from("xyz"), fractions).flatmap(
    lambda terms: fractions.map(lambda constant: Linear.of_terms(terms, constant))
)
points = st.fixed_dictionaries({name: fractions for name in "xyz"})


def truth(tree, row):
    """Kleene's logic on the tree as it stands; None is unknown, and null cells are None."""
    if isinstance(tree, Constant):
        return tree.value
    if isinstance(tree, Not):
        inner = truth(tree.item, row)
        return None if inner is None else not inner
    if isinstance(tree, And | Or):
        found, decisive = [truth(item, row) for item in tree.items], isinstance(tree, Or)
        return decisive if decisive in found else None if None in found else not decisive
    if isinstance(tree, IsNull):
        return row[tree.column] is None
    if isinstance(tree, Member):
        return None if row[tree.column] is None else row[tree.column] in tree.values
    if any(row[column] is None for column in tree.linear.columns):
        return None
    return holds(tree.linear.value(row), tree.operator)


table_rows = st.fixed_dictionaries(
    {name: st.none() | fractions for name in NUMERIC}
    | {name: st.none() | st.sampled_from(CATEGORIES) for name in CATEGORICAL}
)


@given(forms, forms, fractions, points)
def test_forms_calculate_like_their_values(left, right, factor, point):
    assert (left + right).value(point) == left.value(point) + right.value(point)
    assert (left - right).value(point) == left.value(point) - right.value(point)
    assert (left * factor).value(point) == left.value(point) * factor
    assert (left + factor).value(point) == left.value(point) + factor


@given(forms, forms)
def test_equal_forms_have_equal_terms(left, right):
    assert left + right == right + left
    assert (left + right) - right == left
    assert all(factor for _, factor in (left - right).terms)


@given(trees(), table_rows)
def test_the_normal_form_has_the_truth_of_the_tree(tree, row):
    assert truth(negation_normal_form(tree), row) == truth(tree, row)
    negation = truth(negation_normal_form(tree, negated=True), row)
    assert negation == truth(Not(tree), row)


def no_negation_but_of_leaves(tree):
    if isinstance(tree, And | Or):
        return all(map(no_negation_but_of_leaves, tree.items))
    return not isinstance(tree, Not) or isinstance(tree.item, Member | IsNull)


@given(trees())
def test_the_normal_form_negates_leaves_only_and_is_its_own_normal_form(tree):
    form = negation_normal_form(tree)
    assert no_negation_but_of_leaves(form)
    assert negation_normal_form(form) == form
    assert form == Constant(True) or form == Constant(False) or Constant(True) not in atoms(form)


@given(trees(), table_rows)
def test_a_rule_is_definitely_false_where_its_form_is_false_with_unknowns_taken_as_true(tree, row):
    def lenient(form):
        if isinstance(form, And):
            return all(map(lenient, form.items))
        if isinstance(form, Or):
            return any(map(lenient, form.items))
        return truth(form, row) is not False

    assert (truth(tree, row) is False) == (not lenient(negation_normal_form(tree)))


@given(st.lists(trees(max_leaves=3), max_size=4), table_rows)
def test_joining_is_and_and_or(items, row):
    assert truth(all_of(items), row) == truth(And(tuple(items)), row)
    assert truth(any_of(items), row) == truth(Or(tuple(items)), row)


def test_a_comparison_without_columns_becomes_a_constant():
    number = Comparison(Linear.of_number(3), ">")
    assert negation_normal_form(number) == Constant(True)
    assert negation_normal_form(Not(number)) == Constant(False)
    assert negation_normal_form(And((Not(number), IsNull("a")))) == Constant(False)


def test_a_rule_set_knows_its_columns_and_its_hard_rules():
    rules = RuleSet((Rule("a", IsNull("b")), Rule("c", Member("a", ("x",)), mode="soft")), "f.rules")
    assert rules.columns == ("a", "b")
    assert [rule.name for rule in rules.hard] == ["a"]
    assert (len(rules), rules.hard.file) == (2, "f.rules")


def test_columns_are_those_of_every_leaf():
    tree = Or((Not(IsNull("c")), And((Member("b", ("x",)), Comparison(Linear.of_terms({"a": Fraction(1)}), "<")))))
    assert columns_of(tree) == ("a", "b", "c")
    assert len(list(atoms(tree))) == 3
