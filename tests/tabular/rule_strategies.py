"""Random rules, as trees and as texts, and random rows for them."""

from fractions import Fraction

from hypothesis import strategies as st

from graftable.tabular.expressions import (
    Comparison,
    IsNull,
    Linear,
    Member,
    NonlinearComparison,
    Not,
    all_of,
    any_of,
)

NUMERIC = ("x", "y", "hours-per-week", "count", "in", "größe", "a `b`")
CATEGORICAL = ("class", "sort of", "is")
CATEGORIES = ("a", "it's", 'say "b"', "12", "# ;")
OPERATORS = ("<=", "<", ">=", ">", "==", "!=")

fractions = st.one_of(
    st.integers(-9, 9).map(Fraction),
    st.fractions(min_value=-20, max_value=20, max_denominator=12),
    st.decimals(min_value=-99, max_value=99, places=3).map(Fraction),
)


@st.composite
def comparisons(draw):
    columns = draw(st.lists(st.sampled_from(NUMERIC), unique=True, max_size=3))
    factors = {column: draw(fractions.filter(bool)) for column in columns}
    return Comparison(Linear.of_terms(factors, draw(fractions)), draw(st.sampled_from(OPERATORS)))


@st.composite
def products(draw):
    columns = st.lists(st.sampled_from(NUMERIC), min_size=2, max_size=3).map(lambda names: tuple(sorted(names)))
    terms = draw(st.dictionaries(columns, fractions.filter(bool), min_size=1, max_size=2))
    return NonlinearComparison(tuple(sorted(terms.items())), draw(st.sampled_from(OPERATORS)))


members = st.builds(
    Member,
    st.sampled_from(CATEGORICAL),
    st.sets(st.sampled_from(CATEGORIES), min_size=1).map(lambda values: tuple(sorted(values))),
)
leaves = comparisons() | members | st.builds(IsNull, st.sampled_from(NUMERIC + CATEGORICAL))


def trees(leaf=leaves, max_leaves=8):
    """Trees in the shape that the parser makes: flat, without constants."""
    return st.recursive(
        leaf,
        lambda inner: (
            st.builds(Not, inner)
            | st.lists(inner, min_size=2, max_size=3).map(all_of)
            | st.lists(inner, min_size=2, max_size=3).map(any_of)
        ),
        max_leaves=max_leaves,
    )


# -- texts over the columns x, y, z (numbers), c (category) and d (date); a comparison has no column twice

NAMES = ("x", "y", "z", "c", "d")


@st.composite
def sums(draw, columns):
    """A sum of the given columns in some form."""
    number = st.sampled_from(["1", "2", "0.5", "3/4", "1.25"])
    wrap = st.sampled_from(["{}", "{}", "-{}", "({})", "2*{}", "{}/3", "abs({})", "max({}, 1)", "min({}, 0.5)"])
    pieces = [draw(wrap).format(column) for column in columns] or [draw(number)]
    joined = draw(st.sampled_from([" + ", " - ", ", "])).join(pieces)
    if ", " not in joined or len(pieces) < 2:
        return joined
    return f"{draw(st.sampled_from(['sum', 'min', 'max']))}({joined})"


@st.composite
def relations(draw):
    shuffled = draw(st.permutations(["x", "y", "z"]))
    first, second = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    left, right = draw(sums(shuffled[:first])), draw(sums(shuffled[first : first + second]))
    operator = draw(st.sampled_from(OPERATORS))
    texts = [
        f"{left} {operator} {right}",
        f"{shuffled[0]} {draw(st.sampled_from(['', 'not ']))}between -1 and {right if second else 2}",
        f"-1 <= {left} < 2",
        f"{shuffled[0]} {draw(st.sampled_from(['', 'not ']))}in [0, 0.5, -1]",
        f"c {draw(st.sampled_from(['==', '!=']))} 'a'",
        f"c {draw(st.sampled_from(['', 'not ']))}in ['a', 'b']",
        f"d {operator} date('2011-01-02')",
        f"{draw(st.sampled_from(NAMES))} is {draw(st.sampled_from(['', 'not ']))}null",
    ]
    return draw(st.sampled_from(texts))


def rule_texts():
    """Rules with every construct of the language."""
    return st.recursive(
        relations(),
        lambda inner: st.one_of(
            inner.map("not ({})".format),
            st.tuples(inner, st.sampled_from(["and", "or", "iff", "implies", "==", "!="]), inner).map(
                lambda t: f"({t[0]}) {t[1]} ({t[2]})"
            ),
            st.tuples(inner, inner, inner).map(lambda t: f"(if {t[0]} then {t[1]} else {t[2]})"),
            st.tuples(inner, inner).map(lambda t: f"(if {t[0]} then {t[1]})"),
        ),
        max_leaves=5,
    )


numbers = st.sampled_from(
    ["0", "1", "-1", "0.5", "-0.50", "2", "1e-1", "3.25", "10000000000000000000", "0.1000000000000000000001"]
)
rows = st.tuples(
    st.none() | numbers,
    st.none() | numbers,
    st.none() | numbers,
    st.sampled_from([None, "a", "b", "say 'c'"]),
    st.sampled_from([None, "2011-01-01", "2011-01-02", "2011-01-03", "2011-01-02 06:30"]),
)
