"""Rows with nulls obey under Kleene logic, whatever is null in them."""

from dataclasses import replace

import numpy as np
import pytest
from rule_worlds import Columns, obeyed_with_nulls, random_atom, random_world, rule_set

from graftable.tabular import compiler
from graftable.tabular.compiler import Compiled, compile_rules
from graftable.tabular.expressions import IsNull, Not, Or, RuleSet
from graftable.tabular.null_cells import correct_rows, parts_of
from graftable.tabular.rule_files import parse_rules
from graftable.tabular.schema import ColumnSchema, Schema

PEOPLE = Schema(
    (
        ColumnSchema("age", "integer", nullable=True, fill="37"),
        ColumnSchema("years", "decimal", decimals=1, nullable=True, fill="9.5"),
        ColumnSchema("work", "categorical", categories=("office", "none", "farm"), nullable=True, fill="office"),
        ColumnSchema("job", "categorical", categories=("clerk", "cook"), nullable=True, fill="clerk"),
    )
)


def corrected(text, numbers=None, codes=None, nulls=None, **options):
    compiled = Compiled(parse_rules(text, PEOPLE), PEOPLE, **options)
    arrays = ({k: np.array(v) for k, v in (part or {}).items()} for part in (numbers, codes, nulls))
    return correct_rows(compiled, *arrays)


def test_a_null_lifts_the_rules_that_need_it_and_no_others():
    result = corrected(
        "age >= 18\nyears <= age",
        {"age": [5, 5, 40], "years": [700, 700, 700]},
        nulls={"age": [False, True, False], "years": [False, False, True]},
    )
    assert result.numbers["age"].tolist() == [70, 5, 40]
    assert result.moved.tolist() == [True, False, False]


def test_a_cell_is_emptied_where_a_rule_asks_for_that():
    result = corrected(
        "if work is null then job is null", codes={"work": [0, 0], "job": [1, 1]}, nulls={"work": [True, False]}
    )
    assert result.nulls["job"].tolist() == [True, False]
    assert result.cost.tolist() == [1.0, 0.0]
    assert result.solved.all()


def test_a_cell_is_filled_where_a_null_counts_as_violated():
    result = corrected("years >= 12 ; when_missing: violated", {"years": [0, 130]}, nulls={"years": [True, False]})
    assert not result.nulls["years"].any()
    assert result.numbers["years"].tolist() == [120, 130]


def test_an_emptied_cell_stays_as_it_was_if_the_row_stays_unsolved():
    text = "if work is null then job is null\nage >= 18"
    rows = {"numbers": {"age": [5]}, "codes": {"work": [0], "job": [1]}, "nulls": {"work": [True]}}
    result = corrected(text, **rows, pinned=("age",))
    assert result.solved.tolist() == [False]
    assert not result.nulls["job"].any()
    assert not result.moved.any()
    assert corrected(text, **rows, pinned=("job",)).nulls["work"].tolist() == [False]


def test_an_equality_with_a_null_part_asks_for_nothing():
    result = corrected("years == 2*age\nage >= 1", {"age": [3, 3], "years": [10, 10]}, nulls={"age": [True, False]})
    assert result.moved.tolist() == [False, True]
    assert result.solved.all()


def test_an_all_null_column_and_no_rows_work():
    assert corrected("years <= age", {"age": [1], "years": [99]}, nulls={"age": [True], "years": [True]}).solved.all()
    empty = corrected("years <= age", {"age": np.array([], int), "years": np.array([], int)})
    assert len(empty.solved) == 0


@pytest.mark.parametrize("seed", range(0, 2_000, 8))
def test_results_obey_under_kleene_logic_and_obeying_rows_stay(seed):
    generator = np.random.default_rng(seed)
    world = random_world(generator)
    schema = Columns(*(replace(column, nullable=True) for column in world.schema.values()))
    names = list(schema)
    about_nulls = []
    for _ in range(int(generator.integers(0, 3))):
        test = IsNull(str(generator.choice(names)))
        about_nulls.append(Or((test if generator.random() < 0.5 else Not(test), random_atom(generator, schema))))
    rules = RuleSet(
        tuple(
            replace(rule, when_missing="violated" if generator.random() < 0.15 else "satisfied")
            for rule in (*world.rules, *rule_set(*about_nulls))
        )
    )
    described = {
        name: ColumnSchema(
            name,
            "categorical" if column.kind == "categorical" else "decimal",
            decimals=len(str(column.scale)) - 1,
            categories=column.categories,
            nullable=True,
            fill=column.categories[0] if column.categories else "0",
        )
        for name, column in schema.items()
    }
    if any(column.scale == 2 for column in schema.values()):
        return  # decimals only
    compiled = Compiled(rules, Schema(tuple(described.values())))
    numbers, codes = world.rows(generator, 16)
    nulls = {name: generator.random(16) < 0.25 for name in names}
    before = obeyed_with_nulls(rules, schema, numbers, codes, nulls)
    result = correct_rows(compiled, numbers, codes, nulls)
    after = obeyed_with_nulls(rules, schema, result.numbers, result.codes, {**nulls, **result.nulls})
    assert after[result.solved].all()
    assert result.solved[before].all()
    assert not result.moved[before].any()
    for row in np.flatnonzero(~result.solved):  # only where no pattern of nulls helps
        assert compiled.nearest_nulls([name for name in names if nulls[name][row]]) is None


def test_rules_about_nothing_but_nulls_work():
    result = corrected("if work is null then job is null", nulls={"work": [True, False], "job": [False, False]})
    assert result.nulls["job"].tolist() == [True, False]
    assert result.moved.tolist() == [True, False]


def test_nulls_of_one_part_of_the_rules_do_not_multiply_the_programs_of_another(monkeypatch):
    names = [f"c{place}" for place in range(12)]
    schema = Schema(tuple(ColumnSchema(name, "integer", nullable=True) for name in names))
    text = "\n".join(f"{name} is null or {name} >= 1" for name in names)
    compiled = Compiled(parse_rules(text, schema), schema)
    made = []
    monkeypatch.setattr(compiler, "compile_rules", lambda *args, **more: made.append(1) or compile_rules(*args, **more))
    generator = np.random.default_rng(0)
    for part in parts_of(compiled):
        numbers = {name: np.zeros(300, int) for name in part.columns}
        nulls = {name: generator.random(300) < 0.5 for name in part.columns}
        result = correct_rows(part, numbers, {}, nulls)
        assert result.solved.all()
        assert all((result.moved == ~null).all() for null in nulls.values())
    assert len(made) <= 2 * len(names)
