"""Programs say what the rules say, explain contradictions, and travel as JSON."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from rule_worlds import Columns, at_least, equal, kind, linear, number, obeyed, random_world, rule_set, truth

from graftable.errors import RuleError
from graftable.tabular.batch import Batch
from graftable.tabular.compiler import Compiled, ContradictionError, compile_rules
from graftable.tabular.correction import correct
from graftable.tabular.expressions import (
    And,
    Comparison,
    IsNull,
    Linear,
    Member,
    NonlinearComparison,
    Not,
    Or,
    Rule,
    RuleSet,
)
from graftable.tabular.program import Program

XY = Columns(number("x"), number("y"), number("z"), kind("c", "a", "b", nullable=True), kind("d", "p", "q"))


def inside(cell, batch):
    result = np.ones(batch.size, bool)
    for row in cell.rows:
        result &= batch.holds(row)
    for column, allowed in cell.categories:
        result &= batch.among(column, allowed)
    return result


@pytest.mark.parametrize("seed", range(100))
def test_components_and_cells_say_what_the_rules_say(seed):
    world = random_world(np.random.default_rng(seed))
    points, codes = world.grid()
    expected = obeyed(world.rules, world.schema, points, codes)
    try:
        program = compile_rules(world.rules, world.schema)
    except ContradictionError:
        assert not expected.any()
        return
    batch = Batch(points, codes, program.categories)
    by_formula, by_cells = np.ones(batch.size, bool), np.ones(batch.size, bool)
    for component in program.components:
        by_formula &= batch.holds(component.formula)
        by_cells &= np.logical_or.reduce([inside(cell, batch) for cell in component.cells])
    np.testing.assert_array_equal(by_formula, expected)
    np.testing.assert_array_equal(by_cells, expected)
    again = Program.from_json(program.to_json())
    assert again == program
    assert again.hash == program.hash


def test_rules_without_a_common_column_are_components_of_their_own():
    program = compile_rules(rule_set(at_least(x=1, y=-1), at_least(z=1), Member("c", ("a",))), XY)
    assert [component.columns for component in program.components] == [("x", "y"), ("z",), ()]
    assert [component.rules for component in program.components] == [("rule 1",), ("rule 2",), ("rule 3",)]


def test_only_hard_rules_are_compiled():
    soft = Rule("soft", at_least(-5, x=1), mode="soft")
    program = compile_rules(RuleSet((*rule_set(at_least(5, x=-1)), soft)), XY)
    assert program.components[0].rules == ("rule 1",)


def test_rules_that_are_always_true_leave_nothing():
    assert compile_rules(rule_set(Or((at_least(x=1), Comparison(linear(x=1), "<")))), XY).components != ()
    assert compile_rules(rule_set(at_least(1)), XY).components == ()


def test_the_hash_tells_programs_apart_and_does_not_depend_on_the_order_of_the_schema():
    rules = rule_set(at_least(x=1, y=-1))
    program = compile_rules(rules, XY)
    assert compile_rules(rules, Columns(*reversed(XY.values()))).hash == program.hash
    assert compile_rules(rule_set(at_least(1, x=1, y=-1)), XY).hash != program.hash
    assert compile_rules(rules, XY, pinned=("x",)).hash != program.hash


def test_a_contradiction_names_its_lines_and_what_they_want():
    rules = rule_set(at_least(x=1, y=-1), at_least(z=1), at_least(-5, y=1), at_least(-1, z=1), at_least(3, x=-1))
    with pytest.raises(ContradictionError) as caught:
        compile_rules(rules, XY)
    assert [rule.line for rule in caught.value.rules] == [1, 3, 5]
    assert str(caught.value) == (
        "the rules on lines 1, 3 and 5 of test.rules cannot all hold: 1 wants text 1, 3 wants text 3, 5 wants text 5"
    )


def test_a_rule_that_contradicts_itself_is_named_alone():
    with pytest.raises(ContradictionError, match=r"no row can obey line 2 of test.rules"):
        compile_rules(rule_set(at_least(x=1), And((at_least(-3, x=1), at_least(2, x=-1))), at_least(y=1)), XY)


def test_no_listed_category_left_is_a_contradiction_unless_the_column_takes_any_text():
    rules = rule_set(Not(Member("c", ("a",))), Not(Member("c", ("b",))))
    with pytest.raises(ContradictionError):
        compile_rules(rules, XY)
    free = Columns(kind("c", "a", "b"))
    object.__setattr__(free["c"], "kind", "text")
    assert compile_rules(rules, free).components[0].cells[0].categories == (("c", (None,)),)


def test_integers_without_a_point_contradict_although_reals_do_not():
    rules = rule_set(equal(-4, x=3, y=5), at_least(x=1), at_least(y=1))
    with pytest.raises(ContradictionError) as caught:
        compile_rules(rules, XY)
    assert len(caught.value.rules) == 3


def test_a_contradiction_in_many_rules_is_found_past_choices_that_do_not_matter():
    names = [f"v{i}" for i in range(200)]
    schema = Columns(*(number(name) for name in names))
    chain = [at_least(-1, **{a: 1, b: -1}) for a, b in pairwise(names)]
    either = [Or((at_least(**{name: 1}), at_least(-3, **{name: 1}))) for name in names[:8]]
    knot = [at_least(**{names[120]: 1, names[100]: -1})]  # closes a circle of twenty-one
    with pytest.raises(ContradictionError) as caught:
        compile_rules(rule_set(*chain, *either, *knot), schema)
    assert len(caught.value.rules) == 21


def test_a_contradiction_among_iffs_names_only_those_that_matter():
    names = tuple(f"level {i}" for i in range(16))
    schema = Columns(kind("level", *names), number("years"))
    pairs = ((Member("level", (name,)), equal(-i, years=1)) for i, name in enumerate(names))
    iffs = [Or((And((left, right)), And((Not(left), Not(right))))) for left, right in pairs]
    with pytest.raises(ContradictionError) as caught:
        compile_rules(rule_set(*iffs, Member("level", names[3:5]), at_least(2, years=-1)), schema)
    assert [rule.line for rule in caught.value.rules] == [4, 5, 17, 18]


def test_rows_over_the_cap_are_searched_for():
    names = "abcdef"
    rows = [at_least(-1, **{p: 2, q: -3, r: 1}) for p in names for q in names for r in names if p < q < r]
    schema = Columns(*(number(name) for name in names))
    program = compile_rules(rule_set(*rows), schema, max_rows=8)
    assert not program.components[0].complete
    generator = np.random.default_rng(0)
    result = correct(program, {name: generator.integers(-9, 9, 10) for name in names})
    assert result.solved.all()
    assert obeyed(rule_set(*rows), schema, result.numbers, {}).all()


def test_products_name_the_line():
    product = NonlinearComparison(((("x", "y"), Fraction(1)),), ">=")
    with pytest.raises(RuleError, match=r"test.rules, line 2: .*reject"):
        compile_rules(rule_set(at_least(x=1), product), XY)


def test_dates_and_decimals_share_a_row_on_their_lattices():
    schema = Columns(number("hours", 24), number("days", 1))
    program = compile_rules(rule_set(at_least(hours=1, days=-1)), schema)  # values are days
    assert program.components[0].cells[0].rows[0].terms == (("days", -24), ("hours", 1))


def test_null_columns_leave_the_program():
    rules = rule_set(at_least(x=1, y=-1), at_least(z=1))
    compiled = Compiled(rules, XY)
    assert compiled.program({"y"}).columns == ("z",)
    assert compiled.program({"y", "elsewhere"}) is compiled.program({"y"})
    assert compiled.program({"x", "y", "z"}).components == ()


def test_a_forbidden_pattern_of_nulls_has_a_nearest_one():
    rules = rule_set(Or((Not(IsNull("c")), IsNull("d"))), at_least(x=1))  # if c is null then d is null
    schema = Columns(*XY.values(), kind("d", "p", "q", nullable=True))
    compiled = Compiled(rules, schema)
    with pytest.raises(ContradictionError):
        compiled.program({"c"})
    assert compiled.nearest_nulls({"c"}) == {"c", "d"}
    assert compiled.nearest_nulls({"c", "d"}) == {"c", "d"}
    for _ in range(3):  # the error is kept, but not the frames it went through: they hold all that the asker holds
        with pytest.raises(ContradictionError) as caught:
            compiled.program({"c"})
        assert len(caught.traceback) == 2
    assert Compiled(rules, schema, pinned=("d",)).nearest_nulls({"c"}) == frozenset()


def test_a_needed_null_is_filled_where_missing_counts_as_violated():
    compiled = Compiled(rule_set(at_least(x=1), when_missing="violated"), XY)
    assert compiled.nearest_nulls({"x"}) == frozenset()


def test_any_number_of_needed_nulls_is_filled_and_no_others():
    names = [f"v{i}" for i in range(6)]
    schema = Columns(*(number(name, nullable=True) for name in [*names, "free"]))
    rules = (*rule_set(at_least(**dict.fromkeys(names, 1)), when_missing="violated"), *rule_set(at_least(free=1)))
    compiled = Compiled(RuleSet(rules, "test.rules"), schema)
    assert compiled.nearest_nulls({*names, "free"}) == {"free"}


def test_over_the_cap_a_component_is_incomplete_and_still_solved():
    names = [f"v{i}" for i in range(8)]
    schema = Columns(number("x"), number("y"), *(number(name) for name in names))
    choices = [Or((at_least(-1, x=1, **{name: 1}), at_least(-2, y=1, **{name: -1}))) for name in names]
    rules = rule_set(*choices)
    program = compile_rules(rules, schema, max_cells=10)
    assert not program.components[0].complete
    generator = np.random.default_rng(0)
    rows = {name: generator.integers(-9, 9, 200) for name in schema}
    result = correct(program, rows)
    best = correct(compile_rules(rules, schema), rows)
    assert result.solved.all()
    assert obeyed(rules, schema, result.numbers, {}).all()
    assert (result.cost <= 1.5 * best.cost + 1e-9).mean() > 0.9


def test_implied_categories_follow_numbers():
    rule = Or((Comparison(linear(x=1), "<"), Member("c", ("a",))))  # if x >= 0 then c is a
    program = compile_rules(rule_set(rule), XY)
    result = correct(program, {"x": np.array([5, -1])}, {"c": np.array([1, 1])})
    assert truth(rule, XY, result.numbers, result.codes).all()
    assert result.moved.tolist() == [True, False]


def test_linear_is_exact_on_fractions():
    third = Comparison(Linear.of_terms({"x": Fraction(1, 3)}, Fraction(-1, 3)), ">=")
    assert compile_rules(rule_set(third), XY).components[0].cells[0].rows[0].bound == 1
