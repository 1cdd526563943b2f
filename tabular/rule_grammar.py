"""The grammar of one rule, and how its mistakes are told."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from lark import Lark, Token, Tree, UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken
from lark.exceptions import LarkError

from graftable.errors import RuleError

from .expressions import Span
from .schema import did_you_mean

__all__ = ["GRAMMAR", "Source", "parse_tree", "unquote"]

GRAMMAR = r"""
    ?start: rule
    ?rule: "if" rule "then" rule ["else" rule]  -> conditional
         | iff
    ?iff: implication ("iff" implication)*
    ?implication: disjunction ["implies" implication]
    ?disjunction: conjunction ("or" conjunction)*
    ?conjunction: negation ("and" negation)*
    ?negation: "not" negation                   -> negation
             | relation
    ?relation: sum
             | sum (OPERATOR sum)+              -> comparison
             | sum "in" list                    -> member
             | sum "not" "in" list              -> not_member
             | sum "is" "null"                  -> is_null
             | sum "is" "not" "null"            -> is_not_null
             | sum "between" sum "and" sum      -> between
             | sum "not" "between" sum "and" sum -> not_between
    list: "[" [sum ("," sum)* [","]] "]"
    ?sum: product (SIGN product)*
    ?product: factor (TIMES factor)*
    ?factor: SIGN factor                        -> signed
           | primary
    ?primary: NUMBER                            -> number
            | STRING                            -> text
            | TRUTH                             -> truth
            | NAME                              -> column
            | QUOTED                            -> quoted_column
            | FUNCTION "(" rule ("," rule)* ")" -> function
            | "(" rule ")"

    OPERATOR: "<=" | ">=" | "==" | "!=" | "<" | ">"
    SIGN: "+" | "-"
    TIMES: "*" | "/"
    FUNCTION.3: /(?:sum|abs|min|max|date|days)(?=\s*\()/
    TRUTH.2: /(?:true|false)\b/
    NUMBER: /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?!\w)/
    STRING: /'(?:[^'\n]|'')*'|"(?:[^"\n]|"")*"/
    QUOTED: /`(?:[^`\n]|``)+`/
    NAME: /[^\W\d]\w*/
    %ignore /[ \t\r\n]+/
"""

_PLAIN_NAME = re.compile(r"[^\W\d]\w*")
_GLUED = re.compile(r"\w+(?:[-.]\w+)+")
_WORD = re.compile(r"\w+|[<>=!]+")
_KEYWORDS = {"if", "then", "else", "iff", "implies", "or", "and", "not", "in", "is", "null", "between"}

# what may stand next, in a user's words; terminals that lark names itself are in capitals
_WORDS = {
    "OPERATOR": "a comparison such as >=",
    "NAME": "a column",
    "NUMBER": "a number",
    "THEN": "`then`",
    "RPAR": "`)`",
    "RSQB": "`]`",
    "LSQB": "`[`",
    "LPAR": "`(`",
    "AND": "`and`",
    "NULL": "`null`",
    "$END": "the end of the rule",
}


@dataclass(frozen=True)
class Source:
    """The text of one rule and where it stands, for spans and messages.

    Attributes:
        text: The rule.
        file: The file as the user named it, or what errors call the rules.
        line: The line of the rule in the file, from 1.
        column: The column of its first letter, from 1.
    """

    text: str
    file: str = "the rules"
    line: int = 1
    column: int = 1

    def span(self, start: int, end: int) -> Span:
        """The place of ``text[start:end]`` in the file."""
        (line, column), (end_line, end_column) = self._position(start), self._position(end)
        return Span(line, column, end_line, end_column)

    def _position(self, offset: int) -> tuple[int, int]:
        before = self.text[:offset]
        breaks = before.count("\n")
        return self.line + breaks, offset - before.rfind("\n") if breaks else self.column + offset

    def error(self, start: int, end: int, sentence: str) -> RuleError:
        """An error that shows the line and marks ``text[start:end]`` with carets."""
        span = self.span(start, end)
        first = self.text.rfind("\n", 0, start) + 1
        shown = self.text[first:].partition("\n")[0]
        margin = f"  {span.line} | "
        carets = " " * (len(margin) - 2 + start - first) + "^" * max(1, min(end, first + len(shown)) - start)
        return RuleError(
            f"{self.file}, line {span.line}, column {span.column}: {sentence}\n{margin}{shown}\n  {carets}"
        )


@cache
def _parser() -> Lark:
    # the contextual lexer takes a word for a keyword only where one can stand: `Is`, `count` and even `in` are columns
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def parse_tree(source: Source, columns: Sequence[str] | None = None) -> Tree[Token]:
    """Parse a rule to a syntax tree.

    Args:
        source: The rule.
        columns: The columns of the table, for advice on names that need quotes.

    Raises:
        RuleError: If the rule is no sentence of the language.

    Example:
        >>> parse_tree(Source("income >= debt")).data
        'comparison'
        >>> parse_tree(Source("income = debt", "loans.rules", line=3))
        Traceback (most recent call last):
        graftable.errors.RuleError: loans.rules, line 3, column 8: found `=`, expected `==`.
          3 | income = debt
                     ^
    """
    try:
        return _parser().parse(source.text)
    except UnexpectedInput as error:
        raise _syntax_error(source, error, columns or ()) from None
    except (LarkError, RecursionError) as error:
        raise source.error(0, len(source.text), f"this is no rule ({type(error).__name__}).") from error


def _syntax_error(source: Source, error: UnexpectedInput, columns: Sequence[str]) -> RuleError:
    at_end = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
    start = len(source.text.rstrip()) if at_end else (error.pos_in_stream or 0)
    rest = source.text[start:]
    if (advice := _name_with_signs(source.text, start, columns)) is not None:
        return source.error(*advice)
    if rest[:1] in ("'", '"', "`"):
        return source.error(start, start + 1, f"a {rest[0]} is opened and never closed; close it, or double it.")
    if turned := re.match(r"=[<>]", rest):  # `=<` stands for <=
        return source.error(start, start + 2, f"found `{turned[0]}`, expected `{turned[0][::-1]}`.")
    if rest.startswith("=") and not rest.startswith("=="):
        return source.error(start, start + 1, "found `=`, expected `==`.")
    if rest.startswith(("&", "|", "!", "~")):
        word = {"&": "and", "|": "or"}.get(rest[0], "not")
        return source.error(start, start + 1, f"found `{rest[0]}`, expected the word `{word}`.")
    if at_end:
        return source.error(start, start + 1, f"the rule ends too early, expected {_expected(error)}.")
    if glued := re.match(r"([\d.]+)([^\W\d]\w*)", rest):
        return source.error(
            start, start + glued.end(), f"found `{glued[0]}`; a product is written `{glued[1]}*{glued[2]}`."
        )
    whole = _WORD.match(rest)
    if whole and whole[0] != whole[0].lower() and whole[0].lower() in _KEYWORDS:
        return source.error(start, start + whole.end(), f"found `{whole[0]}`; write it in small letters.")
    found = whole[0] if whole else rest[0]
    return source.error(start, start + len(found), f"found `{found}`, expected {_expected(error)}.")


def _expected(error: UnexpectedInput) -> str:
    names = error.allowed if isinstance(error, UnexpectedCharacters) else getattr(error, "accepts", None)
    words = [word for name, word in _WORDS.items() if name in (names or ())]
    if "a column" in words:  # an operand is wanted: brackets and literals need no mention
        words = ["a column", "a number"]
    return " or ".join([", ".join(words[:-1]), words[-1]]) if words[1:] else words[0] if words else "a rule"


def _name_with_signs(text: str, start: int, columns: Sequence[str]) -> tuple[int, int, str] | None:
    """Advice where a column such as ``pm2.5`` stands without quotes around ``start``."""
    for name in sorted(columns, key=len, reverse=True):
        if _PLAIN_NAME.fullmatch(name):
            continue
        for match in re.finditer(rf"(?<![`\w'\"]){re.escape(name)}(?![`\w'\"])", text):
            if match.start() <= start <= match.end():
                return match.start(), match.end(), f"the name of this column needs back-quotes; write `{name}`."
    return None


def unknown_column(source: Source, start: int, end: int, columns: Sequence[str]) -> RuleError:
    """The error for a name that the table does not have."""
    if (advice := _name_with_signs(source.text, start, columns)) is not None:
        return source.error(*advice)
    name = unquote(source.text[start:end])
    if name.lower() in ("null", "none", "nan", "na"):
        return source.error(start, end, "a null cell is asked for as `x is null` or `x is not null`.")
    whole = _GLUED.match(source.text, start)
    if whole and whole.end() > end:  # `educaton-num` may be one name, mistyped and without its quotes
        quoted = [column for column in columns if not _PLAIN_NAME.fullmatch(column)]
        if near := difflib.get_close_matches(whole[0], quoted, n=1, cutoff=0.8):
            return source.error(start, whole.end(), f"there is no column `{whole[0]}`. Did you mean `{near[0]}`?")
    return source.error(start, end, f"there is no column `{name}`.{did_you_mean(name, columns)}")


def unquote(token: str) -> str:
    """The content of a quoted text or name; a doubled quote stands for one.

    Example:
        >>> unquote("'it''s'"), unquote("`a b`"), unquote("plain")
        ("it's", 'a b', 'plain')
    """
    quote = token[:1]
    return token[1:-1].replace(quote * 2, quote) if quote in ("'", '"', "`") else token
