"""A corrected row obeys, is close, and is left alone if it obeyed."""

import ctypes
import os
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from rule_worlds import (
    Columns,
    at_least,
    equal,
    kind,
    linear,
    number,
    obeyed,
    random_world,
    rule_set,
)

from graftable.tabular import correction
from graftable.tabular.compiler import ContradictionError, compile_rules
from graftable.tabular.correction import NOWHERE, SEARCHED, UNTOUCHED, correct
from graftable.tabular.equalities import integer_points
from graftable.tabular.expressions import And, Comparison, Member, Not, Or, RuleSet
from graftable.tabular.quiet_solver import quiet_solver
from graftable.tabular.rule_files import parse_rules
from graftable.tabular.schema import ColumnSchema, Schema
from graftable.tabular.search import nearest

WORLDS, BLOCK = 2_000, 100


def compiled(schema, *expressions, **options):
    rules = rule_set(*expressions)
    return rules, compile_rules(rules, schema, **options)


def integers(*names):
    return Columns(*(number(name) for name in names))


def least_costs(world, program, points, codes, obeying, rows, row_codes):
    """The cheapest move of each row to an obeying point of the box, by trying them all."""
    costs = np.zeros((int(obeying.sum()), len(next(iter(rows.values())))))
    for name in program.columns:
        costs += np.abs(points[name][obeying][:, None] - rows[name]) / program.spreads[name]
    for name in program.categorical:
        costs += codes[name][obeying][:, None] != row_codes[name]
    return costs.min(axis=0)


def find_any(rules, schema):
    """Whether the correction of one row reaches a point that the oracle confirms."""
    rows = {name: np.zeros(1, int) for name, column in schema.items() if column.kind != "categorical"}
    codes = {name: np.zeros(1, int) for name, column in schema.items() if column.kind == "categorical"}
    result = correct(compile_rules(rules, schema), rows, codes)
    return obeyed(rules, schema, {**rows, **result.numbers}, {**codes, **result.codes}).all()


@pytest.mark.parametrize("block", range(WORLDS // BLOCK))
def test_a_result_obeys_exactly_if_any_point_does(block):
    ratios = []
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        generator = np.random.default_rng(seed)
        world = random_world(generator)
        points, codes = world.grid()
        obeying = obeyed(world.rules, world.schema, points, codes)
        try:
            program = compile_rules(world.rules, world.schema)
        except ContradictionError as error:
            assert not obeying.any(), seed
            for dropped in error.rules if len(error.rules) > 1 else ():
                rest = RuleSet(tuple(rule for rule in error.rules if rule is not dropped))
                assert find_any(rest, world.schema), (seed, dropped.line)
            continue
        assert obeying.any(), seed
        rows, row_codes = world.rows(generator, 12)
        result = correct(program, rows, row_codes)
        assert result.solved.all(), seed
        after = {**rows, **result.numbers}, {**row_codes, **result.codes}
        assert obeyed(world.rules, world.schema, *after).all(), seed
        np.testing.assert_array_equal(result.moved, ~obeyed(world.rules, world.schema, rows, row_codes))
        np.testing.assert_array_equal(result.cost > 0, result.moved)
        least = least_costs(world, program, points, codes, obeying, rows, row_codes)
        assert (result.cost >= least - 1e-9).all(), seed
        ratios += (result.cost[result.moved] / least[result.moved]).tolist()
    assert np.median(ratios) <= 1.0 + 1e-9
    assert np.mean(ratios) <= 1.1


@pytest.mark.parametrize("seed", range(0, 400, 10))
def test_correcting_twice_is_correcting_once_and_rows_do_not_see_each_other(seed):
    generator = np.random.default_rng(seed)
    world = random_world(generator)
    try:
        program = compile_rules(world.rules, world.schema)
    except ContradictionError:
        return
    rows, codes = world.rows(generator, 40)
    once = correct(program, rows, codes)
    twice = correct(program, {**rows, **once.numbers}, {**codes, **once.codes})
    order = generator.permutation(40)
    mixed = correct(
        program, {name: v[order] for name, v in rows.items()}, {name: v[order] for name, v in codes.items()}
    )
    assert not twice.moved.any()
    for name, values in once.numbers.items():
        np.testing.assert_array_equal(twice.numbers[name], values)
        np.testing.assert_array_equal(mixed.numbers[name], values[order])
    for name, values in once.codes.items():
        np.testing.assert_array_equal(mixed.codes[name], values[order])


def test_obeying_rows_and_the_callers_arrays_are_left_alone():
    _, program = compiled(integers("x", "y"), at_least(x=1, y=-1))
    rows = {"x": np.array([3, 0]), "y": np.array([1, 4])}
    before = {name: values.copy() for name, values in rows.items()}
    result = correct(program, rows)
    assert result.moved.tolist() == [False, True]
    assert result.cells.tolist() == [[UNTOUCHED, 0]]
    for name in rows:
        np.testing.assert_array_equal(rows[name], before[name])
        assert result.numbers[name][0] == rows[name][0]


# What the reference layer gets wrong: constants unscaled in elimination, stale coefficients of cancelled columns, lost
# strictness, dropped contradictions, epsilons that vanish, constants not negated, tolerances, no redundancy removal.


def test_constants_are_scaled_in_elimination():
    rules, program = compiled(integers("y0", "y1"), at_least(-4, y1=2, y0=-1), at_least(3, y1=-1))
    result = correct(program, {"y0": np.array([1]), "y1": np.array([3])})
    assert not result.moved.any()  # 2 * 3 - 1 >= 4
    half = [at_least(-4, y1=Fraction(1, 2), y0=-1), at_least(3, y1=-1)]
    rules, program = compiled(integers("y0", "y1"), *half)
    result = correct(program, {"y0": np.array([0, 5]), "y1": np.array([3, 3])})
    assert obeyed(rules, integers("y0", "y1"), result.numbers, {}).all()
    assert (result.numbers["y0"] <= -3).all()


def test_columns_that_cancel_leave_no_trace():
    schema = integers("a", "b", "c")
    rules, program = compiled(schema, at_least(a=1, b=1), at_least(c=1, b=-1), at_least(-2, b=1, a=-1))
    generator = np.random.default_rng(0)
    result = correct(program, {name: generator.integers(-50, 50, 200) for name in schema})
    assert obeyed(rules, schema, result.numbers, {}).all()


def test_strictness_survives_elimination():
    schema = integers("a", "b", "c")
    strict = Comparison(linear(a=1, b=-1), ">"), Comparison(linear(b=1, c=-1), ">")
    rules, program = compiled(schema, *strict)
    result = correct(program, {name: np.array([7]) for name in schema})
    assert obeyed(rules, schema, result.numbers, {}).all()
    with pytest.raises(ContradictionError):
        compiled(schema, *strict, at_least(1, c=1, a=-1))  # a <= c + 1 leaves no room for b


def test_a_contradiction_without_columns_left_is_found():
    with pytest.raises(ContradictionError):
        compiled(integers("y0"), at_least(-3, y0=1), at_least(2, y0=-1))


def test_a_strict_rule_moves_equal_large_values():
    rules, program = compiled(integers("y0", "y1"), Comparison(linear(y1=1, y0=-1), ">"))
    for size in (1000, 10**15, 10**30):
        result = correct(program, {name: np.array([size], object) for name in ("y0", "y1")})
        assert result.moved.all()
        assert obeyed(rules, integers("y0", "y1"), result.numbers, {}).all()


def test_a_negation_turns_the_constant_too():
    _rules, program = compiled(integers("y0"), Not(at_least(-5, y0=1)))
    assert correct(program, {"y0": np.array([6])}).numbers["y0"].tolist() == [4]


def test_there_is_no_tolerance():
    schema = Columns(number("x", 10**6))
    _rules, program = compiled(schema, at_least(-1, x=1))
    assert correct(program, {"x": np.array([10**6 - 1, 10**6])}).moved.tolist() == [True, False]


def test_many_parallel_rows_leave_one_bound():
    _, program = compiled(integers("x", "y"), *(at_least(-i, x=1, y=-1) for i in range(100)))
    (level,) = program.components[0].cells[0].levels
    assert len(level.lower) + len(level.upper) == 1


def test_untouched_decimals_keep_every_digit():
    _, program = compiled(Columns(number("x", 10), number("y", 10)), at_least(x=1, y=-1))
    result = correct(program, {"x": np.array([10000003]), "y": np.array([10000003])})
    assert result.numbers["x"].tolist() == [10000003]


# Equalities


def test_a_sum_holds_whatever_part_is_wrong():
    schema = Columns(number("count", spread=180), number("casual", spread=50), number("registered", spread=150))
    sums = [equal(count=1, casual=-1, registered=-1), at_least(casual=1), at_least(registered=1)]
    rules, program = compiled(schema, *sums)
    generator = np.random.default_rng(0)
    rows = {name: generator.integers(-100, 1000, 500) for name in schema}
    result = correct(program, rows)
    assert obeyed(rules, schema, result.numbers, {}).all()
    one_wrong = correct(program, {"count": np.array([9]), "casual": np.array([3]), "registered": np.array([4])})
    assert one_wrong.numbers["count"].tolist() == [7]  # the cheapest to move


def test_chains_of_equalities_hold():
    schema = integers("a", "b", "c", "d")
    rules, program = compiled(schema, equal(-1, a=1, b=-1), equal(b=1, c=-2), equal(c=1, d=-3), at_least(-5, d=1))
    generator = np.random.default_rng(0)
    result = correct(program, {name: generator.integers(-50, 50, 100) for name in schema})
    assert obeyed(rules, schema, result.numbers, {}).all()


@pytest.mark.parametrize("factor", [Fraction(6, 5), Fraction(3, 2), Fraction(107, 100)])
def test_a_fixed_ratio_holds_without_search(factor):
    schema = Columns(number("total", 100, 40), number("net", 100, 30), number("items"))
    rules, program = compiled(schema, equal(total=1, net=-factor), at_least(net=1), at_least(total=1, items=-1))
    generator = np.random.default_rng(0)
    rows = {name: generator.integers(-500, 5000, 300) for name in ("total", "net")}
    rows["items"] = generator.integers(-3, 60, 300)
    result = correct(program, rows)
    assert obeyed(rules, schema, result.numbers, {}).all()
    assert not (result.cells == SEARCHED).any()


def test_gaps_are_searched():
    schema = integers("x", "y")
    box = [at_least(-1, x=1), at_least(8, x=-1), at_least(y=1), at_least(9, y=-1)]
    rules, program = compiled(schema, equal(-7, x=5, y=-3), *box)
    assert any(cell.gap for cell in program.components[0].cells)
    generator = np.random.default_rng(0)
    rows = {name: generator.integers(-20, 20, 60) for name in schema}
    result = correct(program, rows)
    assert result.solved.all()
    assert obeyed(rules, schema, result.numbers, {}).all()
    unsearched = correct(program, rows, search=False)
    assert obeyed(rules, schema, unsearched.numbers, {})[unsearched.solved].all()


TANGLED = """
-1.5*rate + 0.5*m + `if`/6 == -2.3
-`if`/3 - m/3 == 7*n + price
`if` + rate - 1.5*m < -8 or n + 2*m < -7.79
"""


@cache
def tangled_program():
    decimals = {"rate": 3, "price": 2, "m": 0, "if": 0, "n": 0}
    columns = (ColumnSchema(name, "decimal" if d else "integer", decimals=d) for name, d in decimals.items())
    schema = Schema(tuple(columns))
    return compile_rules(parse_rules(TANGLED, schema), schema)


def test_equalities_without_unit_coefficients_are_solved_for_every_row():
    values = np.array([0, 1, 2, 8])
    rows = {"rate": 1000 * values + 252, "price": 100 * values + 25, "m": values, "if": values, "n": values}
    result = correct(tangled_program(), rows)
    assert result.solved.all()
    m, n, condition = (result.numbers[name] for name in ("m", "n", "if"))
    rate, price = (
        [Fraction(int(v), scale) for v in result.numbers[c]] for c, scale in (("rate", 1000), ("price", 100))
    )
    for row in range(4):
        a, b, c = (Fraction(int(values[row])) for values in (m, n, condition))
        assert -rate[row] * 3 / 2 + a / 2 + c / 6 == Fraction(-23, 10)
        assert -c / 3 - a / 3 == 7 * b + price[row]
        assert c + rate[row] - a * 3 / 2 < -8 or b + 2 * a < Fraction(-779, 100)


def test_what_the_search_gives_up_gets_a_known_point_taken_back_towards_it(monkeypatch):
    monkeypatch.setattr(correction, "nearest", lambda *_arguments: None)
    program = tangled_program()
    rows = {name: np.array([7, -3]) for name in ("rate", "price", "m", "if", "n")}
    result = correct(program, rows)
    assert result.solved.all()
    numbers = {name: 7 for name in rows}
    assert result.cost[0] <= 30 * nearest(program, program.components[0], numbers, {}).cost


@pytest.mark.parametrize("seed", range(40))
def test_steps_reach_every_point_of_equalities_and_no_other(seed):
    generator = np.random.default_rng(seed)
    lefts = [tuple((c, int(a)) for c, a in zip("xyz", generator.integers(-6, 7, 3), strict=True) if a) for _ in "ab"]
    equalities = [(left, int(generator.integers(-9, 10))) for left in lefts]
    found = integer_points(equalities, dict.fromkeys("xyz", 1), {"x": 2.0})
    grid = np.stack(np.meshgrid(*3 * [np.arange(-9, 10)], indexing="ij")).reshape(3, -1)
    obeying = [sum(a * grid["xyz".index(c)] for c, a in left) == total for left, total in equalities]
    points = grid[:, np.logical_and.reduce(obeying)].T
    if found is None:
        assert not len(points)
        return
    vectors = [found.start, *found.steps]
    for left, total in equalities:
        assert [sum(a * v.get(c, 0) for c, a in left) for v in vectors] == [total, *[0] * len(found.steps)]
    steps = np.array([[step.get(c, 0) for c in "xyz"] for step in found.steps], float).reshape(-1, 3)
    for point in points:
        away = point - np.array([found.start[c] for c in "xyz"], float)
        times = np.linalg.lstsq(steps.T, away, rcond=None)[0] if len(steps) else np.zeros(0)
        np.testing.assert_allclose(np.rint(times) @ steps, away, atol=1e-9)


def test_what_a_solver_prints_is_heard_by_nobody(capfd):
    print("before")
    with quiet_solver(), quiet_solver():
        os.write(1, b"a line of the solver")
        ctypes.CDLL(None).puts(b"one that waits in the buffer of C")
    print("after")
    assert capfd.readouterr().out.split() == ["before", "after"]


# Pinned columns


def test_pinned_columns_never_move_and_rows_that_need_it_stay_as_they_were():
    schema = integers("low", "high", "cap")
    _rules, program = compiled(schema, at_least(high=1, low=-1), at_least(cap=1, high=-1), pinned=("low", "cap"))
    rows = {"low": np.array([1, 5, 3]), "high": np.array([0, 0, 9]), "cap": np.array([4, 2, 6])}
    result = correct(program, rows)
    assert result.solved.tolist() == [True, False, True]
    assert result.numbers["high"].tolist() == [1, 0, 6]
    for name in ("low", "cap"):
        np.testing.assert_array_equal(result.numbers[name], rows[name])
    assert result.cells[0].tolist() == [0, NOWHERE, 0]
    assert result.cost[1] == 0


@pytest.mark.parametrize("seed", range(0, 1000, 8))
def test_under_pins_a_row_is_solved_exactly_if_some_point_keeps_them(seed):
    generator = np.random.default_rng(seed)
    world = random_world(generator)
    pinned = [name for name in world.schema if generator.random() < 0.4]
    try:
        program = compile_rules(world.rules, world.schema, pinned=tuple(pinned))
    except ContradictionError:
        return
    points, codes = world.grid()
    obeying = obeyed(world.rules, world.schema, points, codes)
    rows, row_codes = world.rows(generator, 15)
    result = correct(program, rows, row_codes)
    after = {**rows, **result.numbers}, {**row_codes, **result.codes}
    for name in pinned:
        before, now = (rows, after[0]) if name in rows else (row_codes, after[1])
        np.testing.assert_array_equal(before[name], now[name])
    for row in range(15):
        kept = obeying.copy()
        for name in pinned:
            if name in (*program.columns, *program.categorical):
                kept &= points[name] == rows[name][row] if name in points else codes[name] == row_codes[name][row]
        assert result.solved[row] == kept.any(), (seed, row)
    assert obeyed(world.rules, world.schema, *after)[result.solved].all()


# Categories


def test_categories_flip_to_the_most_frequent_allowed_one_or_numbers_move():
    schema = Columns(kind("level", "mid", "low", "high"), number("years", spread=2))
    rule = Or((Not(Member("level", ("low", "high"))), at_least(-9, years=1)))  # if level is low or high, years >= 9
    _rules, program = compiled(schema, rule)
    result = correct(program, {"years": np.array([8, 2, 2])}, {"level": np.array([1, 1, 0])})
    assert result.numbers["years"].tolist() == [9, 2, 2]
    assert result.codes["level"].tolist() == [1, 0, 0]
    assert result.cost.tolist() == [0.5, 1.0, 0.0]


def test_an_unlisted_category_obeys_a_complement_and_flips_out_of_a_set():
    schema = Columns(kind("level", "mid", "low", "high"))
    _, allowing = compiled(schema, Not(Member("level", ("mid",))))
    assert not correct(allowing, {}, {"level": np.array([-1])}).moved.any()
    _, listing = compiled(schema, Member("level", ("high", "low")))
    assert correct(listing, {}, {"level": np.array([-1, 2])}).codes["level"].tolist() == [1, 2]


def test_pinned_categories_stay():
    schema = Columns(kind("level", "mid", "low"), number("years"))
    rule = Or((Not(Member("level", ("low",))), at_least(-9, years=1)))
    _, program = compiled(schema, rule, pinned=("level",))
    result = correct(program, {"years": np.array([0])}, {"level": np.array([1])})
    assert (result.numbers["years"].tolist(), result.codes["level"].tolist()) == ([9], [1])
    _, bound = compiled(schema, rule, pinned=("level", "years"))
    assert correct(bound, {"years": np.array([0])}, {"level": np.array([1])}).solved.tolist() == [False]


# Magnitudes and shapes


def test_numbers_past_int64_are_exact():
    schema = integers("x", "y")
    rules, program = compiled(schema, at_least(-1, x=3, y=-5), at_least(y=1, x=-1))
    rows = {"x": np.array([10**30, 3, -(2**62)], object), "y": np.array([-(10**25), 2**70, 7], object)}
    result = correct(program, rows)
    assert obeyed(rules, schema, result.numbers, {}).all()
    small = correct(program, {"x": np.array([1 << 61, 5]), "y": np.array([0, 9])})
    assert obeyed(rules, schema, small.numbers, {}).all()
    assert small.numbers["x"].dtype == np.int64


@pytest.mark.parametrize("size", [10**15, 2**61, 2**63 - 1])
def test_sums_that_would_overflow_do_not(size):
    schema = integers("a", "b", "c")
    rules, program = compiled(schema, at_least(a=1, b=1, c=1), at_least(-5, a=2, b=-3))
    rows = {"a": np.array([-size, size, 1]), "b": np.array([-size, -size, 2]), "c": np.array([-size, size, 3])}
    result = correct(program, rows)
    assert result.solved.all()
    assert obeyed(rules, schema, result.numbers, {}).all()


def test_one_row_and_no_rows_work():
    _, program = compiled(integers("x", "y"), at_least(x=1, y=-1))
    assert correct(program, {"x": np.array([1]), "y": np.array([2])}).solved.tolist() == [True]
    nothing = correct(program, {"x": np.array([], int), "y": np.array([], int)})
    assert len(nothing.solved) == 0
    _, free = compiled(integers("x"), at_least(1))
    assert correct(free, {"x": np.array([4])}).solved.tolist() == [True]


def test_what_happens_to_a_row_does_not_depend_on_the_others():
    schema = integers("x", "y")
    apart = Or((at_least(-5, x=1), at_least(-1, x=-1)))  # x >= 5 or x <= -1: from 2 both are as near
    _, program = compiled(schema, apart, Or((at_least(-3, y=1), And((at_least(1, y=-1), at_least(x=1, y=-1))))))
    generator = np.random.default_rng(0)
    rows = {name: generator.integers(-9, 9, 40_000) for name in schema}
    whole = correct(program, rows)
    parts = [correct(program, {name: v[i : i + 999] for name, v in rows.items()}) for i in range(0, 40_000, 999)]
    for name in schema:
        np.testing.assert_array_equal(whole.numbers[name], np.concatenate([part.numbers[name] for part in parts]))


@pytest.mark.parametrize("seed", range(0, 500, 10))
def test_huge_cells_among_small_ones_are_corrected_exactly(seed):
    generator = np.random.default_rng(seed)
    world = random_world(generator)
    try:
        program = compile_rules(world.rules, world.schema)
    except ContradictionError:
        return
    rows, codes = world.rows(generator, 20)
    huge = {name: values.astype(object) for name, values in rows.items()}
    for values in huge.values():
        for row in np.flatnonzero(generator.random(20) < 0.3):
            values[row] = int(generator.integers(-9, 10)) * 10 ** int(generator.integers(10, 40))
    result = correct(program, huge, codes)
    assert result.solved.all()
    assert obeyed(world.rules, world.schema, {**huge, **result.numbers}, {**codes, **result.codes}).all()


@pytest.mark.parametrize("seed", range(0, 1500, 10))
def test_over_the_cap_every_row_is_solved_too(seed):
    generator = np.random.default_rng(seed)
    world = random_world(generator)
    try:
        program = compile_rules(world.rules, world.schema, max_cells=1)
    except ContradictionError:
        points, codes = world.grid()
        assert not obeyed(world.rules, world.schema, points, codes).any()
        return
    rows, codes = world.rows(generator, 12)
    result = correct(program, rows, codes)
    assert result.solved.all()
    assert obeyed(world.rules, world.schema, {**rows, **result.numbers}, {**codes, **result.codes}).all()


@pytest.mark.parametrize("seed", range(0, 600, 10))
def test_the_row_search_finds_the_nearest_row(seed):
    generator = np.random.default_rng(seed)
    world = random_world(generator)
    try:
        program = compile_rules(world.rules, world.schema)
    except ContradictionError:
        return
    points, point_codes = world.grid()
    obeying = obeyed(world.rules, world.schema, points, point_codes)
    rows, codes = world.rows(generator, 3)
    least = least_costs(world, program, points, point_codes, obeying, rows, codes)
    for row in range(3):
        cost = 0.0
        for component in program.components:
            texts = {name: program.categories[name][codes[name][row]] for name in component.categorical}
            found = nearest(program, component, {name: int(rows[name][row]) for name in component.columns}, texts)
            cost += found.cost
        assert cost == pytest.approx(least[row])
