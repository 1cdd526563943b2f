"""Elimination keeps what integers can do, and a walk goes there."""

import numpy as np
import pytest

from graftable.tabular import elimination
from graftable.tabular.batch import Batch
from graftable.tabular.elimination import STYLES, eliminate, limits_of
from graftable.tabular.feasibility import Undecided, find_point, implies, minimal_conflict, refutation
from graftable.tabular.normal_form import Row, make_row
from graftable.tabular.walks import move_back, move_cost, obeys, walk


def rows(*systems):
    return [make_row(terms, bound) for terms, bound in systems]


def random_rows(generator, columns, reach=5, count=4):
    """A box and some random rows in it."""
    box = [make_row({name: sign}, -reach) for name in columns for sign in (1, -1)]
    drawn = []
    while len(drawn) < count:
        terms = {name: int(generator.choice([-3, -2, -1, -1, 0, 1, 1, 2, 3])) for name in columns}
        row = make_row(terms, int(generator.integers(-9, 6)))
        if isinstance(row, Row):
            drawn.append(row)
            if generator.random() < 0.15:  # an equality
                drawn.append(make_row({name: -a for name, a in row.terms}, -row.bound))
    return [*box, *drawn]


def grid(columns, reach=5):
    axes = np.meshgrid(*[np.arange(-reach, reach + 1)] * len(columns), indexing="ij")
    return dict(zip(columns, (axis.ravel() for axis in axes), strict=True))


@pytest.mark.parametrize("seed", range(150))
def test_a_walk_reaches_every_system_without_a_gap_and_empty_means_empty(seed):
    generator = np.random.default_rng(seed)
    columns = ["x", "y", "z"][: 2 + seed % 2]
    system = random_rows(generator, columns)
    feasible = obeys(Batch(grid(columns), {}, {}), system).any()
    start = {name: generator.integers(-12, 13, 30) for name in columns}
    for style in STYLES:
        result = eliminate(system, style=style)
        batch = Batch(start, {}, {})
        walk(batch, result.levels, result.derived)
        if result.empty:
            assert not feasible
        elif not result.gap:
            assert feasible
            assert obeys(batch, system).all()
        inside = obeys(Batch(start, {}, {}), system)
        for name in columns if not result.empty else ():
            np.testing.assert_array_equal(batch.numbers[name][inside], start[name][inside])


@pytest.mark.parametrize("seed", range(60))
def test_moving_back_stays_inside_and_never_costs_more(seed):
    generator = np.random.default_rng(seed)
    columns = ["x", "y", "z"]
    system = random_rows(generator, columns, count=2)
    result = eliminate(system)
    original = Batch({name: generator.integers(-12, 13, 30) for name in columns}, {}, {})
    batch = original.take(np.arange(30))
    walk(batch, result.levels, result.derived)
    met = obeys(batch, system)
    before = move_cost(batch, original, columns, {})
    move_back(batch, original, limits_of(system), columns)
    assert obeys(batch, system)[met].all()
    assert (move_cost(batch, original, columns, {}) <= before)[met].all()


def test_an_equality_chain_becomes_derived_columns_in_computable_order():
    chain = [("a", "b"), ("b", "c"), ("c", "d")]
    system = [make_row({p: s, q: -s}, s) for p, q in chain for s in (1, -1)]  # a = b + 1, b = c + 1, c = d + 1
    result = eliminate(system)
    assert len(result.derived) == 3
    assert not result.levels
    batch = Batch({name: np.array([7, -3]) for name in "abcd"}, {}, {})
    walk(batch, result.levels, result.derived)
    assert obeys(batch, system).all()


def test_an_equality_without_unit_coefficient_moves_in_strides():
    system = rows(({"x": 2, "y": -3}, 0), ({"x": -2, "y": 3}, 0), ({"x": 1}, 4))  # 2 x == 3 y, x >= 4
    result = eliminate(system)
    assert not result.gap
    batch = Batch({"x": np.arange(-20, 20), "y": np.arange(40)}, {}, {})
    walk(batch, result.levels, result.derived)
    assert obeys(batch, system).all()


def test_a_stride_between_two_bounds_is_a_gap():
    system = rows(({"x": 2, "y": -3}, 0), ({"x": -2, "y": 3}, 0), ({"x": 1}, 4), ({"x": -1}, -5))
    assert eliminate(system).gap
    assert find_point(system) is None


def test_coefficients_on_both_sides_of_a_column_are_a_gap():
    assert eliminate(rows(({"x": 3, "y": 5}, 4), ({"x": -3, "y": -7}, -5), ({"y": 1}, 0))).gap
    assert not eliminate(rows(({"x": 3, "y": 1}, 4), ({"x": -3, "y": -1}, -5), ({"x": 1}, 0))).gap


def test_parallel_rows_leave_the_tightest():
    result = eliminate(rows(({"x": 1}, 1), ({"x": 2}, 9), ({"x": 1}, 3)))
    assert [bound.constant for level in result.levels for bound in level.lower] == [5]


def test_contradictions_come_to_light_in_elimination():
    assert eliminate(rows(({"x": 1}, 3), ({"x": -1}, -2))).empty
    assert eliminate(rows(({"x": 1, "y": -1}, 1), ({"y": 1, "z": -1}, 1), ({"z": 1, "x": -1}, 1))).empty


def test_pinned_columns_come_first_and_are_never_derived():
    system = rows(({"a": 1, "b": 1, "c": -1}, 0), ({"a": -1, "b": -1, "c": 1}, 0), ({"a": 1}, 0), ({"c": -1}, -9))
    for style in STYLES:
        result = eliminate(system, pinned=("c", "a"), style=style)
        assert [item.column for item in result.derived] == ["b"]
        assert {level.column for level in result.levels} <= {"a", "c"}


def test_over_the_cap_elimination_says_so():
    generator = np.random.default_rng(0)
    system = [make_row({name: int(generator.integers(-9, 10)) for name in "abcdefgh"}, -5) for _ in range(40)]
    assert not eliminate(system, max_rows=60).complete


def test_redundant_rows_are_dropped_above_a_number_of_rows(monkeypatch):
    lower = [make_row({"x": 1, f"y{i}": -1}, 0) for i in range(16)]
    upper = [make_row({"x": -1, f"z{i}": 1}, 0) for i in range(16)]
    box = [make_row({f"y{i}": -1}, 0) for i in range(16)] + [make_row({f"z{i}": 1}, 0) for i in range(16)]
    pinned = [f"{name}{i}" for name in "yz" for i in range(16)]

    def bounds():
        levels = eliminate([*lower, *upper, *box], pinned=pinned).levels
        return sum(len(level.lower) + len(level.upper) for level in levels)

    assert bounds() == 64  # of z_i >= y_j, which the box implies, none is left
    monkeypatch.setattr(elimination, "_drop_implied", lambda system: None)
    assert bounds() > 64 + 200


def test_refutations_and_implications_are_proved_or_not_claimed():
    system = rows(({"x": 1, "y": -1}, 1), ({"y": 1, "z": -1}, 1), ({"z": 1, "x": -1}, 0), ({"x": 1}, 0))
    assert refutation(system) == (0, 1, 2)
    assert refutation(system[1:]) is None
    assert implies(system[:2], make_row({"x": 1, "z": -1}, 2))
    assert not implies(system[:2], make_row({"x": 1, "z": -1}, 3))
    assert implies(rows(({"x": 2, "y": 3}, 1), ({"x": 1}, 0)), make_row({"x": 4, "y": 3}, 1))


@pytest.mark.parametrize("seed", range(100))
def test_a_point_is_found_exactly_if_there_is_one(seed):
    generator = np.random.default_rng(seed)
    system = random_rows(generator, ["x", "y", "z"], reach=3)
    feasible = obeys(Batch(grid(["x", "y", "z"], 3), {}, {}), system).any()
    try:
        point = find_point(system)
    except Undecided:
        return
    assert (point is not None) == feasible
    if point is not None:
        assert all(row.holds(point) for row in system)


def test_huge_numbers_are_refuted_exactly():
    huge = 10**15
    assert eliminate(rows(({"x": 1, "y": -1}, huge), ({"y": 1}, huge), ({"x": -1}, 1 - 2 * huge))).empty
    assert not eliminate(rows(({"x": 1, "y": -1}, huge), ({"y": 1}, huge), ({"x": -1}, -2 * huge))).empty


@pytest.mark.parametrize("conflict", [(0,), (3, 4), (1, 5, 9), tuple(range(10))])
def test_the_minimal_conflict_is_found(conflict):
    assert minimal_conflict(10, lambda kept: not set(conflict) <= set(kept)) == conflict
