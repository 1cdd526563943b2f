"""Where published constraint layers break rules: the case goes through a file, and a second judge reads what comes out.

The cases are those found in the layers of Stoian et al. (2024), Stoian & Giunchiglia (2025) and their joint library:
what elimination derives (constants, cancelled columns, strictness, contradictions), what floats lose (epsilons, digits,
infinity as a large number), how negation, missing codes and evaluators read the rules, and what all of it costs.
"""

import csv
import itertools
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from independent_checker import judge

from graftable.errors import RuleError
from graftable.tabular.checking import check
from graftable.tabular.compiler import compile_rules
from graftable.tabular.correction import correct
from graftable.tabular.repairing import repair_file
from graftable.tabular.rule_files import load_rules, parse_rules
from graftable.tabular.schema import ColumnSchema, Schema


def repaired(folder, table, rules, **options):
    """The rows, as numbers where they are, of a repaired table that the second judge finds clean."""
    source, out, file = folder / "in.csv", folder / "out.csv", folder / "in.rules"
    source.write_text(table)
    file.write_text(rules)
    report = repair_file(source, file, out, **options)
    assert report.quarantined_rows == 0
    assert judge(out, file).broken_rows == []
    with open(out, newline="") as opened:
        return [tuple(cell for cell in row) for row in list(csv.reader(opened))[1:]]


def test_the_constant_of_a_derived_rule_is_scaled_with_it(tmp_path):
    rules = "ordering y_0 y_1\n2y_1 - y_0 >= 4\n-y_1 >= -3\n"
    assert repaired(tmp_path, "a,b\n1,2.5\n1,3.0\n2,3.0\n", rules) == [("1", "2.5"), ("1", "3.0"), ("2", "3.0")]
    halves = "ordering y_0 y_1\n0.5y_1 - y_0 >= 4\n-y_1 >= -3\n"
    for a, b in repaired(tmp_path, "a,b\n-0.5,3.0\n5,9\n", halves):
        assert Fraction(b) / 2 - Fraction(a) >= 4


def test_a_column_that_cancels_in_a_derived_rule_is_gone(tmp_path):
    rows = [f"{a},{b},{c}" for a, b, c in itertools.product((-3, 0, 4), repeat=3)]
    repaired(tmp_path, "\n".join(["a,b,c", *rows]), "a + b >= 0\nc - b >= 0\nb - a >= 2\nc <= 9\n")


def test_a_derived_rule_is_strict_if_either_parent_is(tmp_path):
    for first, second in ((">=", ">"), (">", ">=")):
        ((a, _, c),) = repaired(tmp_path, "a,b,c\n7,7,7\n", f"a {first} b\nb {second} c\n")
        assert int(a) > int(c)


def test_a_contradiction_that_leaves_no_column_is_an_error(tmp_path):
    with pytest.raises(RuleError, match="lines 2 and 3 of"):
        repaired(tmp_path, "a\n2\n", "ordering y_0\ny_0 >= 3\n-y_0 >= -2\n")


@pytest.mark.parametrize("size", ["1000", "1000.000001", "1000000000000"])
def test_strict_means_a_step_at_any_size(tmp_path, size):
    ((a, b),) = repaired(tmp_path, f"a,b\n{size},{size}\n", "ordering y_0 y_1\ny_1 - y_0 > 0\n")
    assert Fraction(b) > Fraction(a)


def test_a_negation_turns_the_bound_with_the_sum(tmp_path):
    assert repaired(tmp_path, "a\n6\n4\n", "ordering y_0\nneg y_0 >= 5\n") == [("4",), ("4",)]


def test_a_hundredth_is_a_violation(tmp_path):
    table = "a,b\n1.000000,1.000001\n0.999999,1.000000\n"
    assert repaired(tmp_path, table, "a >= 1\n") == [("1.000000", "1.000001"), ("1.000000", "1.000000")]


def test_two_missing_codes_are_missing_as_one_is(tmp_path):
    schema = Schema(tuple(ColumnSchema(name, "integer", special=("-7", "-8", "-9")) for name in "ab"))
    table = "a,b\n-7,-8\n-7,5\n5,-9\n-1,2\n"  # the product of two codes is positive
    (tmp_path / "t.csv").write_text(table)
    assert check(tmp_path / "t.csv", "a >= b + 10", schema).violating_rows == 1
    assert check(tmp_path / "t.csv", "a >= b + 10 ; when_missing: violated", schema).violating_rows == 4


def test_the_file_is_the_evaluator(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n3,2,1\n2,2,2\n")
    index, named = tmp_path / "index.rules", tmp_path / "named.rules"
    index.write_text("ordering y_0 y_1 y_2\ny_1 - y_0 > 0\ny_2 - y_1 >= 0\n")
    named.write_text("b > a\nc >= b\n")
    for rules in (index, named):
        found = check(tmp_path / "t.csv", rules)
        assert (
            [report.violations for report in found.rules] == judge(tmp_path / "t.csv", rules).broken_by_rule == [2, 1]
        )
    meanings = [[rule.expression for rule in load_rules(path, ["a", "b", "c"])] for path in (index, named)]
    forms = [[(item.linear, item.operator) for item in side] for side in meanings]
    assert forms[0] == forms[1]


def test_a_column_outside_all_rules_is_neither_copied_nor_touched():
    schema = Schema(tuple(ColumnSchema(f"x{i}", "integer") for i in range(756)))
    program = compile_rules(parse_rules("\n".join(f"x{i} >= x{i + 1}" for i in range(0, 40, 2)), schema), schema)
    assert sum(len(component.columns) for component in program.components) == 40
    assert all(len(component.columns) == 2 for component in program.components)


def test_pairs_of_rules_do_not_pile_up_from_column_to_column():
    names = [f"x{i}" for i in range(24)]
    schema = Schema(tuple(ColumnSchema(name, "integer") for name in names))
    pairs = "\n".join(f"{left} <= {right}" for left, right in itertools.combinations(names, 2))
    (cell,) = compile_rules(parse_rules(pairs, schema), schema).components[0].cells
    assert sum(len(level.lower) + len(level.upper) for level in cell.levels) == 276  # no more than were written


def test_no_number_stands_for_infinity():
    schema = Schema((ColumnSchema("a", "integer"), ColumnSchema("b", "integer")))
    rules = parse_rules(f"a >= 1{'0' * 20} or a <= -1{'0' * 20}\nb >= a", schema)
    moved = correct(compile_rules(rules, schema), {"a": np.array([6 * 10**19], object), "b": np.array([0], object)})
    assert moved.numbers["a"][0] in (10**20, -(10**20))
    assert moved.numbers["b"][0] >= moved.numbers["a"][0]


def test_the_package_imports_without_test_or_plot_libraries():
    blocked = "import sys\nfor name in ('pytest', 'matplotlib', 'sdv'): sys.modules[name] = None\n"
    code = f"{blocked}from graftable.tabular import check, repair, parse_rules, Schema"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).stderr == b""


def test_a_row_that_obeys_keeps_every_digit(tmp_path):
    table = "a,b\n1000000.3,1000000.3\n123456789012.345678,1\n"
    rows = repaired(tmp_path, table, "a >= b\n")
    assert rows == [("1000000.3", "1000000.3"), ("123456789012.345678", "1")]


def test_a_condition_that_leaves_nothing_is_avoided(tmp_path):
    table = "n,sort\n1,p\n1,q\n2,r\n"
    rows = repaired(tmp_path, table, "if n == 1 then sort == 'p'\nif n == 1 then sort == 'q'\n")
    assert all(n != "1" for n, _ in rows)
