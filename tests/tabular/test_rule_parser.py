"""The parser reads what the writer wrote, means what a second parser means, and tells mistakes in one message."""

import contextlib
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from independent_checker import Parser
from rule_strategies import CATEGORICAL, CATEGORIES, NAMES, NUMERIC, products, rows, rule_texts, trees

from graftable.errors import RuleError
from graftable.tabular.evaluation import ChunkCells, obeys
from graftable.tabular.expressions import (
    And,
    Comparison,
    IsNull,
    Linear,
    Member,
    Not,
    Or,
    Span,
    negation_normal_form,
)
from graftable.tabular.io import open_table
from graftable.tabular.rule_parser import parse_rule
from graftable.tabular.rule_text import format_expression
from graftable.tabular.schema import ColumnSchema, Schema

SCHEMA = Schema(
    (
        *(ColumnSchema(name, "decimal") for name in NUMERIC),
        *(ColumnSchema(name, "categorical", categories=CATEGORIES) for name in CATEGORICAL),
    )
)
PEOPLE = Schema(
    (
        ColumnSchema("age", "integer"),
        ColumnSchema("income", "decimal", decimals=2),
        ColumnSchema("debt", "decimal", decimals=2),
        ColumnSchema("hours-per-week", "integer"),
        ColumnSchema("pm2.5", "integer"),
        ColumnSchema("education", "categorical", categories=("HS-grad", "Bachelors", "Masters")),
        ColumnSchema("level", "categorical", categories=("1", "2", "3")),
        ColumnSchema("weekend", "boolean", categories=("FALSE", "TRUE")),
        ColumnSchema("born", "datetime", date_format="%d.%m.%Y"),
        ColumnSchema("class", "integer"),
        ColumnSchema("note", "text"),
    )
)


def parsed(text, columns=PEOPLE, **options):
    return parse_rule(text, columns, **options).expression


def linear(constant=0, **terms):
    return Linear.of_terms({name.replace("_", " "): factor for name, factor in terms.items()}, constant)


@given(trees())
def test_parsing_undoes_printing(tree):
    assert parsed(format_expression(tree), SCHEMA) == tree


@given(products())
def test_parsing_undoes_printing_of_products(comparison):
    assert parsed(format_expression(comparison), SCHEMA, mode="reject") == comparison


@settings(max_examples=150)
@given(rule_texts(), st.lists(rows, min_size=1, max_size=6))
def test_a_rule_means_what_a_second_parser_means(text, table):
    kinds = {"c": ("categorical", None), "d": ("datetime", "%Y-%m-%d")}
    schema = Schema(
        tuple(ColumnSchema(n, k[0], date_format=k[1]) for n in NAMES for k in [kinds.get(n, ("decimal", None))])
    )
    columns = {
        name: pa.array(list(cells), pa.string()) for name, cells in zip(NAMES, zip(*table, strict=True), strict=True)
    }
    (chunk,) = open_table(pa.table(columns)).chunks()
    found = obeys(parse_rule(text, schema), ChunkCells(chunk, schema)).tolist()
    judge = Parser(text, NAMES).whole()
    assert found == [judge(row) is not False for row in table]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("class >= 0", Comparison(linear(**{"class": 1}), ">=")),
        ("2*age - (income - 3)/4 < 1.5", Comparison(linear("-0.75", age=2, income=Fraction(-1, 4)), "<")),
        ("`pm2.5` is not null", Not(IsNull("pm2.5"))),
        ("education != \"Masters\"", Not(Member("education", ("Masters",)))),
        ("education in ['Masters', 'Bachelors',]", Member("education", ("Bachelors", "Masters"))),
        ("level >= 2", Member("level", ("2", "3"))),
        ("level == 1.0", Member("level", ("1",))),
        ("weekend", Member("weekend", ("TRUE",))),
        ("weekend == false", Member("weekend", ("FALSE",))),
        ("born >= date('1970-01-03') + days(2)", Comparison(linear(-4, born=1), ">=")),
        ("born < '03.01.1970'", Comparison(linear(-2, born=1), "<")),
        ("born == '1970-01-01 12:00'", Comparison(linear("-0.5", born=1), "==")),
        ("age == true", Comparison(linear(-1, age=1), "==")),
        ("age in [1, 2]", Or((Comparison(linear(-1, age=1), "=="), Comparison(linear(-2, age=1), "==")))),
        ("0 <= age < 99", And((Comparison(linear(0, age=-1), "<="), Comparison(linear(-99, age=1), "<")))),
    ],
)  # fmt: skip
def test_what_the_constructs_mean(text, expected):
    assert parsed(text) == expected


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("abs(age - income) <= 3", "age - income <= 3 and income - age <= 3"),
        ("abs(age) >= 3", "age >= 3 or -age >= 3"),
        ("max(age, income, 2) < debt", "age < debt and income < debt and 2 < debt"),
        ("-2*min(age, income) >= debt", "-2*age >= debt or -2*income >= debt"),
        ("max(age, income) == 3", "(age <= 3 and income <= 3) and (age >= 3 or income >= 3)"),
        ("sum(age, income, debt) == 3", "age + income + debt == 3"),
        ("age between income and debt", "age >= income and age <= debt"),
        ("if age > 3 then income > 0 else debt > 0", "(not age > 3 or income > 0) and (age > 3 or debt > 0)"),
        ("age > 3 implies income > 0", "not age > 3 or income > 0"),
        ("(age > 3) == (income > 0)", "age > 3 iff income > 0"),
        ("3 >= age", "age <= 3"),
    ],
)
def test_constructs_are_short_for_others(text, same):
    def points(form):
        grid = [
            {"age": Fraction(a), "income": Fraction(b), "debt": Fraction(c)}
            for a in range(-4, 5)
            for b in (-3, 0, 3)
            for c in (-4, 0, 2)
        ]
        return [truth(form, point) for point in grid]

    assert points(negation_normal_form(parsed(text))) == points(negation_normal_form(parsed(same)))


def truth(form, point):
    if isinstance(form, And | Or):
        return (all if isinstance(form, And) else any)(truth(item, point) for item in form.items)
    value = form.linear.value(point)
    return {"<=": value <= 0, "<": value < 0, ">=": value >= 0, ">": value > 0, "==": value == 0, "!=": value != 0}[
        form.operator
    ]


def test_words_of_the_language_are_columns_where_no_such_word_can_stand():
    names = ["in", "is", "then", "and", "or", "sum", "date", "min", "Is", "null", "between", "else", "iff", "implies"]
    for name in names:
        assert parse_rule(f"{name} >= 0", names).columns == (name,)
    assert parse_rule("in in [1] and is is null", names).columns == ("in", "is")
    assert parse_rule("`not` > `if` + `true`", ["not", "if", "true"]).columns == ("if", "not", "true")


def test_a_span_marks_the_relation_in_its_file():
    rule = parse_rule("age > 3 or income < debt", PEOPLE, line=7, column=5)
    assert [item.span for item in rule.expression.items] == [Span(7, 5, 7, 12), Span(7, 16, 7, 29)]


def test_products_and_quotients_are_for_rules_that_are_only_checked():
    rule = parse_rule("income / debt >= 2", PEOPLE, mode="reject")
    schema = Schema((ColumnSchema("income", "decimal"), ColumnSchema("debt", "decimal")))
    table = pa.table({"income": ["4", "3", "-4", "1", None], "debt": ["2", "2", "-2", "0", "1"]})
    (chunk,) = open_table(table).chunks()
    assert obeys(rule, ChunkCells(chunk, schema)).tolist() == [True, False, True, False, True]
    product = parse_rule("income * debt == 8", PEOPLE, mode="report")
    assert obeys(product, ChunkCells(chunk, schema)).tolist() == [True, False, True, False, True]


MISTAKES = [
    ("incom >= debt", 1, "there is no column `incom`. Did you mean `income`?"),
    ("Age >= 3", 1, "there is no column `Age`. Did you mean `age`?"),
    ("hours-per-week >= 3", 1, "the name of this column needs back-quotes; write `hours-per-week`."),
    ("age > 1 or hour-per-week >= 3", 12, "there is no column `hour-per-week`. Did you mean `hours-per-week`?"),
    ("pm2.5 >= 0", 1, "the name of this column needs back-quotes; write `pm2.5`."),
    ("income * debt >= 3", 1, "a product or quotient of columns is not linear; such a rule can be checked but not "
     "repaired, so give it `mode: reject`."),
    ("age > 3 or age / debt >= 3", 12, "a product or quotient of columns is not linear"),
    ("abs(age) * debt >= 1", 1, "abs, min and max can be multiplied by numbers only."),
    ("age / 0 > 1", 1, "this divides by zero."),
    ("education == 'Master'", 14, "the column `education` never holds 'Master'. Did you mean 'Masters'?"),
    ("education in ['Masters', 'PhD']", 26, "the column `education` never holds 'PhD'. There is 'HS-grad', 'B"),
    ("level == 4", 10, "the column `level` never holds '4'."),
    ("education >= 'Masters'", 1, "the column `education` holds categories; they have no order, use == or in."),
    ("education + 1 > 3", 1, "the column `education` holds categories; it cannot be calculated with."),
    ("education > 3", 13, "the column `education` holds categories; compare it with a quoted text."),
    ("education == note", 14, "the column `education` holds categories; compare it with a quoted text."),
    ("age == '17'", 8, "the column `age` holds numbers; write the number without quotes."),
    ("born >= '2011-13-01'", 9, "found '2011-13-01', expected a date"),
    ("born >= date(2011)", 9, "expected one quoted date"),
    ("education == true", 14, "the column `education` never holds 'true'."),
    ("education >= '2011-01-01'", 1, "the column `education` holds categories; they have no order, use == or in."),
    ("age >= date('2011-01-01')", 8, "the column `age` holds numbers, which no date can be held against."),
    ("age between 3 and date('2011-01-01') - 2", 19, "the column `age` holds numbers"),
    ("age =< 3", 5, "found `=<`, expected `<=`."),
    ("age = 3", 5, "found `=`, expected `==`."),
    ("age > 3 & debt > 2", 9, "found `&`, expected the word `and`."),
    ("3age > 2", 1, "found `3age`; a product is written `3*age`."),
    ("age >=", 7, "the rule ends too early, expected a column or a number."),
    ("(age > 3", 9, "the rule ends too early, expected `)`."),
    ("age > 3 debt > 2", 9, "found `debt`, expected"),
    ("education == 'Masters", 14, "a ' is opened and never closed"),
    ("age + 1", 1, "expected a condition such as `x >= 0`, found a number."),
    ("age in []", 1, "the list is empty"),
    ("(age > 3) > (debt > 2)", 14, "two conditions are compared with == or !=, not with >."),
    ("age + 1 is null", 1, "only a column can be null."),
    ("age > (debt > 2)", 8, "expected a number, found a condition."),
    ("weekend == 1", 12, "the column `weekend` holds true and false; compare it with true or false."),
    ("age == null", 8, "a null cell is asked for as `x is null` or `x is not null`."),
    ("age > 3 AND debt > 2", 9, "found `AND`; write it in small letters."),
    ("'hours-per-week' + 1 > 3", 1, "expected a number, found the text 'hours-per-week'. The name of a column is"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "column", "sentence"), MISTAKES)
def test_a_mistake_is_told_with_its_place_and_what_to_do(text, column, sentence):
    with pytest.raises(RuleError) as caught:
        parse_rule(text, PEOPLE, file="people.rules", line=3)
    first, shown, carets = str(caught.value).splitlines()
    assert first.startswith(f"people.rules, line 3, column {column}: {sentence}")
    assert shown == f"  3 | {text}"
    assert carets.index("^") == 6 + column - 1


@given(st.text(alphabet="abx'`\"()[]<>=!+-*/., 019\nif then and or not in is null"))
def test_any_text_is_a_rule_or_one_message(text):
    with contextlib.suppress(RuleError):  # and no other error
        parse_rule(text, ["a", "b", "x"], mode="reject")


def test_categories_that_the_schema_lacks_can_be_allowed():
    assert parsed("education == 'PhD'", unseen="allow") == Member("education", ("PhD",))


@pytest.mark.parametrize("text", ["education != 'PhD'", "education not in ['PhD']", "not (education == 'PhD')"])
def test_a_category_that_the_rule_excludes_may_be_absent(text):
    assert parsed(text) == Not(Member("education", ("PhD",)))


def test_a_category_under_two_negations_must_be_known():
    with pytest.raises(RuleError, match="never holds 'PhD'"):
        parsed("not (education != 'PhD')")
    with pytest.raises(RuleError, match="never holds 'PhD'"):
        parsed("education != 'Masters' and education == 'PhD'")


def test_a_rule_knows_the_columns_that_cancel():
    rule = parse_rule("age + debt >= debt", PEOPLE)
    assert (rule.columns, rule.mentioned) == (("age",), ("age", "debt"))


def test_names_alone_leave_the_kind_to_the_use():
    assert parsed("a == 'x'", ["a"]) == Member("a", ("x",))
    assert parsed("a == 1", None) == Comparison(linear(-1, a=1), "==")
    assert parsed("a >= '1970-01-02'", None) == Comparison(linear(-1, a=1), ">=")
