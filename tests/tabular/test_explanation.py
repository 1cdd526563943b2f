"""An explanation states what holds of every obeying row, and nothing else."""

import numpy as np
import pytest
from rule_worlds import Columns, obeyed, random_world

from graftable.tabular.compiler import Compiled, ContradictionError
from graftable.tabular.explanation import explain
from graftable.tabular.expressions import RuleSet
from graftable.tabular.rule_files import parse_rules
from graftable.tabular.schema import ColumnSchema, Schema

COLUMNS = Schema(
    (
        ColumnSchema("count", "integer"),
        ColumnSchema("casual", "integer"),
        ColumnSchema("registered", "integer"),
        ColumnSchema("price", "decimal", decimals=2),
        ColumnSchema("day", "datetime", date_format="%Y-%m-%d"),
        ColumnSchema("kind", "categorical", categories=("a", "b", "c"), nullable=True),
    )
)


def explained(text):
    return explain(Compiled(parse_rules(text, COLUMNS), COLUMNS))


def test_sums_and_bounds_are_said_in_the_units_of_the_table():
    text = explained("count == casual + registered\ncasual >= 0\nregistered >= 0\nprice >= 0.5*count").text
    assert "casual = count - registered" in text
    assert "price >= 0.5 count" in text


def test_dates_are_said_as_dates():
    found = explained('day >= date("2011-01-01") and day <= date("2012-12-31")')
    assert found.ranges["day"] == ("2011-01-01", "2012-12-31")
    assert "2011-01-01 <= day <= 2012-12-31" in found.text


def test_columns_with_one_value_left_are_named():
    found = explained("casual >= 3\nregistered >= casual + 1\nregistered <= 4")
    assert found.fixed == {"casual": "3", "registered": "4"}


def test_rules_that_say_nothing_are_named():
    found = explained("casual >= 3\ncasual >= 1\ncasual < 5 or casual > 2\ncount <= 7")
    assert [rule.line for rule in found.always] == [3]
    assert [rule.line for rule in found.implied] == [2]


def test_rules_about_nulls_are_not_called_idle():
    found = explained("if kind is null then count is null\ncount >= 0")
    assert not found.always


def test_categories_are_listed():
    assert "kind is 'a' or 'c'" in explained("kind in ['a', 'c']").text
    assert "any unlisted text" in explained("kind != 'a'").text


def test_a_contradiction_is_an_error():
    with pytest.raises(ContradictionError):
        explained("count >= 3\ncount <= 2")


@pytest.mark.parametrize("seed", range(0, 200, 4))
def test_ranges_and_idle_rules_hold_on_every_obeying_point(seed):
    world = random_world(np.random.default_rng(seed))
    columns = (
        ColumnSchema(name, "categorical", categories=column.categories)
        if column.kind == "categorical"
        else ColumnSchema(name, "integer")
        for name, column in world.schema.items()
    )
    schema = Schema(tuple(columns))
    plain = Columns(*(world.schema[name] for name in world.schema))
    for name in world.numeric:  # the same rules, on columns whose text is the lattice integer
        object.__setattr__(plain[name], "scale", 1)
    points, codes = world.grid()
    try:
        found = explain(Compiled(world.rules, schema))
    except ContradictionError:
        assert not obeyed(world.rules, plain, points, codes).any()
        return
    obeying = obeyed(world.rules, plain, points, codes)
    for name, (low, high) in found.ranges.items():
        values = points[name][obeying]
        assert low is None or (values >= int(low)).all()
        assert high is None or (values <= int(high)).all()
    for rule in found.implied:
        rest = RuleSet(tuple(other for other in world.rules if other is not rule))
        np.testing.assert_array_equal(obeyed(rest, plain, points, codes), obeying)
