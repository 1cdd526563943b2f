"""Rule files come back as they were written, in every form, and their mistakes are told by line."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_strategies import CATEGORICAL, CATEGORIES, NUMERIC, comparisons, trees

from graftable.errors import RuleError
from graftable.tabular.expressions import And, Or, Rule, RuleSet, holds, negation_normal_form
from graftable.tabular.rule_files import format_rules, load_rules, parse_rules, parse_yaml_rules, save_rules
from graftable.tabular.rule_index import format_index_rules, index_ordering, parse_index_rules
from graftable.tabular.rule_text import format_expression
from graftable.tabular.schema import ColumnSchema, Schema

SCHEMA = Schema(
    (
        *(ColumnSchema(name, "decimal") for name in NUMERIC),
        *(ColumnSchema(name, "categorical", categories=CATEGORIES) for name in CATEGORICAL),
    )
)
names = st.none() | st.text(alphabet="abc ':;#-", min_size=1).map(str.strip).filter(bool)


@st.composite
def rule_sets(draw):
    rules = []
    for tree in draw(st.lists(trees(max_leaves=3), min_size=1, max_size=4)):
        text = format_expression(tree)
        mode = draw(st.sampled_from(["hard", "soft", "report", "reject"]))
        missing = draw(st.sampled_from(["satisfied", "violated"]))
        rules.append(Rule(draw(names) or text, tree, mode, missing, text))
    return RuleSet(tuple(rules))


def content(rules):
    return [(rule.name, rule.expression, rule.mode, rule.when_missing) for rule in rules]


@settings(max_examples=40)
@given(rule_sets())
def test_plain_text_comes_back(rules):
    assert content(parse_rules(format_rules(rules), SCHEMA)) == content(rules)


@pytest.mark.parametrize("name", ["rules.yaml", "rules.txt"])
@settings(max_examples=25)
@given(rules=rule_sets())
def test_files_come_back(tmp_path_factory, name, rules):
    path = tmp_path_factory.mktemp("rules", numbered=True) / name
    save_rules(rules, path)
    assert content(load_rules(path, SCHEMA)) == content(rules)


def test_comments_blank_lines_and_options_of_plain_text():
    rules = parse_rules(
        "# people\n\n  age >= 17  # grown up\nname != 'a;b#c' ; mode: soft, when_missing: violated , name: \"no; c\"\n"
    )
    assert [(r.name, r.mode, r.when_missing, r.line, r.text) for r in rules] == [
        ("age >= 17", "hard", "satisfied", 3, "age >= 17"),
        ("no; c", "soft", "violated", 4, "name != 'a;b#c'"),
    ]


def test_yaml_takes_texts_and_mappings_and_keeps_their_lines():
    text = """# people
- age >= 17
- rule: "`hours-per-week` <= 99"
  name: hours
  mode: report
- {rule: "a is null", when_missing: violated}
- rule: >
    if age > 3
    then b > 2
"""
    rules = parse_yaml_rules(text)
    assert [(r.name, r.mode, r.when_missing, r.line) for r in rules] == [
        ("age >= 17", "hard", "satisfied", 2),
        ("hours", "report", "satisfied", 3),
        ("a is null", "hard", "violated", 6),
        ("if age > 3 then b > 2", "hard", "satisfied", 8),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- agee >= 3", "the rules, line 1, column 3: there is no column `agee`. Did you mean `age`?\n  1 | agee"),
        ("- age > 3\n- rule: 'agee > 3'", "the rules, line 2, column 10: there is no column `agee`."),
        ("- rule: |\n    agee > 3", "the rules, line 2, column 5: there is no column `agee`."),
        (
            "- {rule: age > 3, mod: soft}",
            "the rules, line 1, column 19: there is no option `mod`. Did you mean `mode`?",
        ),
        ("- {rule: age > 3, mode: sof}", "the rules, line 1, column 19: found mode 'sof', expected one of hard, soft,"),
        ("- {name: a}", "the rules, line 1, column 3: expected a mapping with `rule: ...`."),
        ("- `a b` > 3", "the rules, line 1: this is not YAML (found character '`' that cannot start any token)"),
        ("rule: age > 3", "the rules: expected a list of rules"),
        ("- [a]", "the rules, line 1, column 3: expected the text of a rule."),
        ("[]", "the rules: holds no rules"),
    ],
)
def test_a_mistake_in_yaml_is_told_by_line(text, sentence):
    with pytest.raises(RuleError) as caught:
        parse_yaml_rules(text, ["age"])
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("age > 3\n  agee > 3", "the rules, line 2, column 3: there is no column `agee`. Did you mean `age`?"),
        ("age > 3 ; mod: soft", "the rules, line 1, column 11: there is no option `mod`. Did you mean `mode`?"),
        (
            "age > 3 ; mode: sof",
            "the rules, line 1, column 11: found mode 'sof', expected one of hard, soft, report, re",
        ),
        ("age > 3 ; soft", "the rules, line 1, column 11: expected an option such as `mode: soft` after the `;`."),
        ("# nothing", "the rules: holds no rules"),
        (
            "ordering y_0\ny_0 + y_1 >= 0",
            "the rules, line 2, column 7: there is no column y_1; the table has y_0 to y_0.",
        ),
        ("ordering y_0\ny_0 <= 0", "the rules, line 2, column 1: expected a literal such as `y_0 - 2y_1 >= 3`"),
        ("ordering y_0\ny_0 y_0 >= 0", "the rules, line 2, column 4: expected a term such as `+ 2y_1`."),
    ],
)
def test_a_mistake_in_plain_text_is_told_by_line(text, sentence):
    with pytest.raises(RuleError) as caught:
        parse_rules(text, ["age"])
    assert str(caught.value).startswith(sentence)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(RuleError, match=r"no\.rules: the rules cannot be read \(No such file"):
        load_rules(tmp_path / "no.rules")
    (tmp_path / "latin.rules").write_bytes(b"a > 1\nb\xe9 > 1\n")
    with pytest.raises(RuleError, match=r"latin\.rules, line 2: is not UTF-8"):
        load_rules(tmp_path / "latin.rules")


# -- the index form


def value(form, row):
    if isinstance(form, And | Or):
        return (all if isinstance(form, And) else any)(value(item, row) for item in form.items)
    return holds(form.linear.value(row), form.operator)


GRID = [dict(zip("xyz", point, strict=True)) for point in itertools.product(map(Fraction, (-2, 0, "0.5")), repeat=3)]
xyz = comparisons().map(lambda c: type(c)(rename(c.linear), c.operator))


def rename(linear):
    return type(linear).of_terms(dict(zip("xyz", (a for _, a in linear.terms), strict=False)), linear.constant)


@settings(max_examples=50)
@given(trees(xyz.filter(lambda c: c.linear.terms), max_leaves=4))
def test_the_index_form_keeps_the_meaning(tree):
    written = format_index_rules(RuleSet((Rule("r", tree),)), "xyz")
    back = parse_index_rules(written, "xyz") if written.count("\n") > 1 else RuleSet(())
    for row in GRID:
        expected = value(negation_normal_form(tree), row)
        assert all(value(rule.expression, row) for rule in back) == expected


def test_neg_negates_the_bound_with_the_sum():
    (rule,) = parse_index_rules("ordering y_0\nneg y_0 >= 5")
    assert format_expression(rule.expression) == "y_0 < 5"
    assert value(rule.expression, {"y_0": Fraction(-5)})
    assert not value(rule.expression, {"y_0": Fraction(6)})


def test_every_sign_and_coefficient_of_the_index_form_is_read():
    text = "ordering y_2 y_0 y_1\n\n- y_1 + 2.5y_0 >= -3 or neg 3y_2 > 0.01\n"
    (rule,) = parse_rules(text, ["a", "b", "c"])
    assert format_expression(rule.expression) == "2.5*a - b >= -3 or 3*c <= 0.01"
    assert (rule.line, index_ordering(text)) == (3, (2, 0, 1))


def test_an_index_file_is_written_as_it_was_read():
    text = "ordering y_1 y_0\ny_0 - 3y_1 >= 1\ny_0 > 0.095 or - y_1 > -30\n"
    rules = parse_rules(text, ["a", "b"])
    assert format_index_rules(rules, ["a", "b"], index_ordering(text)) == text


def test_what_the_index_form_cannot_say_is_refused():
    with pytest.raises(RuleError, match="line 1: the index form has sums of numbers only"):
        format_index_rules(parse_rules("a == 'x'"), ["a"])
    with pytest.raises(RuleError, match="line 2: there is no column `b`"):
        format_index_rules(parse_rules("a > 1\nb > 1"), ["a"])
