"""A second reader and judge of rules, which shares no code with graftable: csv, fractions and a hand-written parser.

Numbers are whole or `Fraction`, made from the text of the cell. A null is the interval of all numbers, and a comparison
of intervals is true, false or unknown (None); so are categories. A rule is broken where it is definitely false, or
where it is not definitely true if ``when_missing`` is "violated". A cell that holds an infinity breaks its rules.
"""

import csv
import gzip
import operator
import re
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import pairwise
from pathlib import Path

NULLS = frozenset({"", "NaN", "nan", "NULL", "null"})
EVERYTHING = (float("-inf"), float("inf"))
OPERATORS = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}
TOKEN = re.compile(
    r"""\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")"""
    r"""|(?P<quoted>`(?:[^`]|``)+`)|(?P<word>[^\W\d]\w*)|(?P<sign><=|>=|==|!=|[<>+\-*/(),\[\]]))"""
)


@dataclass
class Verdict:
    """What was found: how many rows, which of them (from 0) break any rule, and how many break each."""

    rows: int
    broken_rows: list[int]
    broken_by_rule: list[int]

    @property
    def percent(self):
        return 100 * len(self.broken_rows) / self.rows


class Infinite(Exception):
    """A cell holds an infinity."""


@lru_cache(maxsize=1 << 20)
def to_number(text):
    """The exact value of a text: a number, else days since 1970-01-01 of an ISO date."""
    try:
        return int(text)
    except ValueError:
        pass
    if text.strip().lower().lstrip("+-") in ("inf", "infinity"):
        raise Infinite(text)
    try:
        number = Fraction(text.strip())
        return number.numerator if number.denominator == 1 else number
    except ValueError:
        passed = datetime.fromisoformat(text) - datetime(1970, 1, 1)
        return passed.days + Fraction(passed.seconds, 86400) + Fraction(passed.microseconds, 86400 * 10**6)


# -- values: a number, or an interval (low, high); conditions: True, False or None


def interval(value):
    return value if isinstance(value, tuple) else (value, value)


def add(a, b):
    if not isinstance(a, tuple) and not isinstance(b, tuple):
        return a + b
    (a, c), (b, d) = interval(a), interval(b)
    return (a + b, c + d)


def times(factor, a):
    if not isinstance(a, tuple):
        return factor * a
    low, high = sorted((factor * a[0], factor * a[1])) if factor else (0, 0)
    return (low, high)


def compare(a, sign, b):
    if not isinstance(a, tuple) and not isinstance(b, tuple):
        return OPERATORS[sign](a, b)
    (low, high), (least, most) = interval(a), interval(b)
    if sign in ("==", "!="):
        apart = low > most or high < least
        return (sign == "!=") if apart else None
    corners = [OPERATORS[sign](low, most), OPERATORS[sign](high, least)]
    return corners[0] if corners[0] == corners[1] else None


def negate(a):
    return None if a is None else not a


def both(conditions):
    return False if False in conditions else None if None in conditions else True


def either(conditions):
    return True if True in conditions else None if None in conditions else False


def extreme(choose):
    def of(values):
        if not any(isinstance(value, tuple) for value in values):
            return choose(values)
        lows, highs = zip(*map(interval, values), strict=True)
        return (choose(lows), choose(highs))

    return of


class Parser:
    """Makes a function of a row (a list of texts, None for null) from the text of a rule."""

    def __init__(self, text, names):
        self.tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            match = TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"cannot read {text[at:]!r}")
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at, self.positions = 0, {name: position for position, name in enumerate(names)}

    def peek(self, *words):
        return self.at < len(self.tokens) and self.tokens[self.at][1] in words and self.tokens[self.at][0] != "text"

    def take(self, *words):
        if self.peek(*words):
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def need(self, word):
        if not self.take(word):
            raise ValueError(f"expected {word} at {self.tokens[self.at :]}")

    def whole(self):
        kind, rule = self.rule()
        if self.at != len(self.tokens) or kind != "condition":
            raise ValueError(f"left over: {self.tokens[self.at :]}")
        return rule

    def rule(self):
        if not self.take("if"):
            return self.chain("iff", self.implication, self.equal)
        condition = self.rule()[1]
        self.need("then")
        consequence = self.rule()[1]
        other = self.rule()[1] if self.take("else") else (lambda row: True)
        return "condition", lambda row: both(
            [either([negate(condition(row)), consequence(row)]), either([condition(row), other(row)])]
        )

    def chain(self, word, inner, join):
        items = [inner()]
        while self.take(word):
            items.append(inner())
        return items[0] if len(items) == 1 else ("condition", join([function for _, function in items]))

    @staticmethod
    def equal(items):
        def same(row):
            found = [item(row) for item in items]
            return both([None if a is None or b is None else a == b for a, b in pairwise(found)])

        return same

    def implication(self):
        left = self.disjunction()
        if not self.take("implies"):
            return left
        condition, consequence = left[1], self.implication()[1]
        return "condition", lambda row: either([negate(condition(row)), consequence(row)])

    def disjunction(self):
        return self.chain("or", self.conjunction, lambda items: lambda row: either([item(row) for item in items]))

    def conjunction(self):
        return self.chain("and", self.negation, lambda items: lambda row: both([item(row) for item in items]))

    def negation(self):
        if self.take("not"):
            inner = self.negation()[1]
            return "condition", lambda row: negate(inner(row))
        return self.relation()

    def relation(self):
        left = self.sum()
        if self.take("is"):
            wanted = not self.take("not")
            self.need("null")
            position = left[2]
            return "condition", lambda row: (row[position] is None) == wanted
        turned = self.peek("not") and self.tokens[self.at + 1][1] in ("in", "between") and bool(self.take("not"))
        turn = negate if turned else (lambda found: found)
        if self.take("in"):
            self.need("[")
            items = [self.sum()]
            while self.take(","):
                items.append(self.sum())
            self.need("]")
            cases = [self.pair(left, "==", item) for item in items]
            return "condition", lambda row: turn(either([case(row) for case in cases]))
        if self.take("between"):
            low = self.sum()
            self.need("and")
            cases = [self.pair(left, ">=", low), self.pair(left, "<=", self.sum())]
            return "condition", lambda row: turn(both([case(row) for case in cases]))
        cases = []
        while sign := self.take(*OPERATORS):
            right = self.sum()
            cases.append(self.pair(left, sign, right))
            left = right
        if not cases:
            return left
        return ("condition", cases[0]) if len(cases) == 1 else ("condition", lambda row: both([c(row) for c in cases]))

    def pair(self, left, sign, right):
        if left[0] == "condition":
            same = self.equal([left[1], right[1]])
            return same if sign == "==" else (lambda row: negate(same(row)))
        if left[0] in ("text", "truth"):
            mirrored = sign.replace("<", "?").replace(">", "<").replace("?", ">")
            return self.pair(right, mirrored, left)
        if right[0] == "text" and sign in ("==", "!="):
            position, wanted, turned = left[2], right[1], sign == "!="
            return lambda row: None if row[position] is None else (row[position] == wanted) != turned
        if right[0] == "truth":
            position, words, turned = left[2], right[1], sign == "!="
            return lambda row: None if row[position] is None else (row[position].lower() in words) != turned
        value, other = left[1], right[1]
        if right[0] == "text":
            days = to_number(other)
            return lambda row: compare(value(row), sign, days)
        return lambda row: compare(value(row), sign, other(row))

    def sum(self):
        total = self.product()
        while sign := self.take("+", "-"):
            a, b, factor = total[1], self.product()[1], -1 if sign == "-" else 1
            total = ("number", lambda row, a=a, b=b, factor=factor: add(a(row), times(factor, b(row))))
        return total

    def product(self):
        total = self.factor()
        while sign := self.take("*", "/"):
            a, b = total, self.factor()
            constant = b if b[0] == "constant" else a
            other = a if constant is b else b
            scale = Fraction(constant[1](None)) ** (1 if sign == "*" else -1)
            scale = scale.numerator if scale.denominator == 1 else scale
            kind = "constant" if other[0] == "constant" else "number"
            total = (kind, lambda row, inner=other[1], scale=scale: times(scale, inner(row)))
        return total

    def factor(self):
        if sign := self.take("+", "-"):
            kind, inner = self.factor()[:2]
            return kind if kind == "constant" else "number", lambda row: times(-1 if sign == "-" else 1, inner(row))
        return self.primary()

    def primary(self):
        if self.take("("):
            inner = self.rule()
            self.need(")")
            return inner
        kind, word = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            number = to_number(word)
            return "constant", lambda row: number
        if kind == "text":
            return "text", word[1:-1].replace(word[0] * 2, word[0])
        if kind == "word" and word in ("true", "false"):
            return "truth", ("true", "1") if word == "true" else ("false", "0")
        if kind == "word" and word in ("sum", "abs", "min", "max", "date", "days") and self.peek("("):
            return self.call(word)
        if kind == "quoted":
            word = word[1:-1].replace("``", "`")
        position = self.positions[word]

        def cell(row):
            return EVERYTHING if row[position] is None else to_number(row[position])

        return "number", cell, position

    def call(self, word):
        self.need("(")
        items = [self.rule()]
        while self.take(","):
            items.append(self.rule())
        self.need(")")
        if word == "date":
            days = to_number(items[0][1])
            return "constant", lambda row: days
        if word == "days":
            return items[0]
        inner = [item[1] for item in items]
        if word == "sum":
            return "number", lambda row: reduce(add, [item(row) for item in inner])
        if word == "abs":
            inner = [inner[0], lambda row, item=inner[0]: times(-1, item(row))]
        choose = extreme(min if word == "min" else max)
        return "number", lambda row: choose([item(row) for item in inner])


def read_rules(path, names):
    """The rules of a text file, or of an index file, as texts over column names."""
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    if not lines[0].startswith("ordering"):
        return [re.split(r"\s[#;]", line)[0] for line in lines if line and not line.startswith("#")]
    rules = []
    for line in filter(None, lines[1:]):
        literals = []
        for literal in re.split(r"\bor\b", line):
            turned, body = literal.strip().startswith("neg "), literal.strip().removeprefix("neg ")
            body = re.sub(r"([\d.]*)y_(\d+)", lambda m: f"{m[1] or 1}*`{names[int(m[2])]}`", body)
            literals.append(f"not ({body})" if turned else body)
        rules.append(" or ".join(literals))
    return rules


def read_table(path, separator=",", decimal=".", encoding="utf-8", nulls=NULLS):
    """The column names, and an iterator over rows as lists of texts with None for null."""
    if Path(path).suffix == ".parquet":
        import pyarrow.parquet

        columns = pyarrow.parquet.read_table(path).to_pydict()
        names, cells = list(columns), list(columns.values())
        rows = ([typed_text(cell) for cell in row] for row in zip(*cells, strict=True))
    else:
        opened = gzip.open if Path(path).suffix == ".gz" else open
        reader = csv.reader(opened(path, "rt", encoding=encoding, newline=""), delimiter=separator)
        names = next(reader)
        rows = (row for row in reader if row)
    mark = decimal if decimal != "." else None

    def cells_of(row):
        row = [None if cell is None or cell in nulls else cell for cell in row]
        if mark:
            row = [cell.replace(mark, ".") if cell and re.fullmatch(r"[+-]?\d*,\d+", cell) else cell for cell in row]
        return row

    return names, map(cells_of, rows)


def typed_text(cell):
    if cell is None or cell != cell:
        return None
    return cell.isoformat() if hasattr(cell, "isoformat") else repr(cell) if isinstance(cell, float) else str(cell)


def judge(path, rules, when_missing="satisfied", **options):
    """Read a table from its file and count, exactly, the rows that break rules.

    Args:
        path: CSV (perhaps .gz) or Parquet.
        rules: A rule file, or a list of rule texts.
        when_missing: What an unknown outcome counts as.
        options: ``separator``, ``decimal``, ``encoding``, ``nulls``.
    """
    names, rows = read_table(path, **options)
    texts = read_rules(rules, names) if isinstance(rules, str | Path) else rules
    judged = [Parser(text, names).whole() for text in texts]
    by_rule, broken_rows, number = [0] * len(judged), [], -1
    unknown = when_missing == "satisfied"
    for number, row in enumerate(rows):
        broken = False
        for position, holds in enumerate(judged):
            try:
                found = holds(row)
            except Infinite:
                found = False
            if not (unknown if found is None else found):
                by_rule[position] += 1
                broken = True
        if broken:
            broken_rows.append(number)
    return Verdict(number + 1, broken_rows, by_rule)
