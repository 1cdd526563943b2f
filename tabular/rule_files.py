"""Rule files: plain text with a rule a line, YAML, and the index form, read and written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import yaml

from graftable.errors import RuleError
from graftable.files import write_text

from .expressions import Mode, Rule, RuleSet, WhenMissing
from .rule_grammar import Source, unquote
from .rule_index import format_index_rules, is_index_form, parse_index_rules
from .rule_parser import Unseen, parse_rule
from .rule_text import format_expression
from .schema import Schema, did_you_mean

__all__ = ["format_rules", "load_rules", "parse_rules", "parse_yaml_rules", "save_rules"]

_OPTIONS: Mapping[str, tuple[str, ...]] = {"mode": get_args(Mode), "when_missing": get_args(WhenMissing), "name": ()}
_YAML_SUFFIXES = (".yaml", ".yml")

# a rule ends at a comment or at its options, unless the sign stands in quotes
_PIECE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|[#;]|[^'\"`#;]+|.")


def load_rules(
    path: str | Path, columns: Schema | Sequence[str] | None = None, *, unseen: Unseen = "refuse"
) -> RuleSet:
    """Read a rule file; ``.yaml`` and ``.yml`` are YAML, and a file that begins with ``ordering`` is in the index form.

    Args:
        path: The file.
        columns: The columns of the table; see `graftable.tabular.rule_parser.parse_rule`.
        unseen: Whether a category that the schema lacks is an error.

    Raises:
        RuleError: If the file cannot be read or has no rules, or one of them is wrong.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RuleError(f"{path}: the rules cannot be read ({error.strerror or error}); check the path.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RuleError(f"{path}, line {line}: is not UTF-8; save the rules as UTF-8 text.") from error
    if Path(path).suffix in _YAML_SUFFIXES:
        return parse_yaml_rules(text, columns, file=str(path), unseen=unseen)
    return parse_rules(text, columns, file=str(path), unseen=unseen)


def parse_rules(
    text: str,
    columns: Schema | Sequence[str] | None = None,
    *,
    file: str = "the rules",
    unseen: Unseen = "refuse",
) -> RuleSet:
    r"""Read rules from text: a rule a line, ``#`` before comments, and options after ``;``.

    Args:
        text: The rules, or a text in the index form.
        columns: The columns of the table; see `graftable.tabular.rule_parser.parse_rule`.
        file: The file, as errors name it.
        unseen: Whether a category that the schema lacks is an error.

    Raises:
        RuleError: If there is no rule, or one of them is wrong.

    Example:
        >>> rules = parse_rules("income >= debt   # always\nage < 120 ; mode: report, name: plausible age")
        >>> [(rule.name, rule.mode, rule.line) for rule in rules]
        [('income >= debt', 'hard', 1), ('plausible age', 'report', 2)]
    """
    if is_index_form(text):
        names = columns.names if isinstance(columns, Schema) else columns
        return _not_empty(parse_index_rules(text, names, file), file)
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        body, options = _parts(line)
        if not body.strip():
            continue
        indent = len(body) - len(body.lstrip())
        settings = _settings(_written_options(options, Source(line, file, number)))
        rules.append(
            parse_rule(body.strip(), columns, file=file, line=number, column=indent + 1, unseen=unseen, **settings)
        )
    return _not_empty(RuleSet(tuple(rules), file), file)


def _parts(line: str) -> tuple[str, str]:
    """A line as rule and options; the comment is dropped."""
    body, options, in_options = "", "", False
    for match in _PIECE.finditer(line):
        if match[0] == "#":
            break
        if match[0] == ";" and not in_options:
            in_options = True
        elif in_options:
            options += match[0]
        else:
            body += match[0]
    return body, options


def _written_options(options: str, source: Source) -> Iterator[tuple[str, str, Source, int]]:
    start = source.text.find(";") + 1
    for piece in options.split(",") if options.strip() else []:
        key, colon, value = piece.partition(":")
        at = source.text.find(key.strip() or ";", start)
        if not colon:
            raise source.error(at, at + len(key.strip()), "expected an option such as `mode: soft` after the `;`.")
        yield key.strip(), unquote(value.strip()), source, at


def _settings(options: Any) -> dict[str, Any]:
    """Options as arguments of `parse_rule`, checked."""
    settings = {}
    for key, value, source, at in options:
        if key not in _OPTIONS:
            raise source.error(at, at + len(key), f"there is no option `{key}`.{did_you_mean(key, list(_OPTIONS))}")
        if _OPTIONS[key] and value not in _OPTIONS[key]:
            expected = ", ".join(_OPTIONS[key])
            raise source.error(at, at + len(key), f"found {key} {value!r}, expected one of {expected}.")
        settings[key] = value
    return settings


def parse_yaml_rules(
    text: str,
    columns: Schema | Sequence[str] | None = None,
    *,
    file: str = "the rules",
    unseen: Unseen = "refuse",
) -> RuleSet:
    r"""Read rules from YAML: a list, each item a text or a mapping with ``rule``, ``name``, ``mode``, ``when_missing``.

    Raises:
        RuleError: If the text is no such list, or one of the rules is wrong.

    Example:
        >>> rules = parse_yaml_rules("- income >= debt\n- {rule: age < 120, mode: report}")
        >>> [(rule.text, rule.mode, rule.line) for rule in rules]
        [('income >= debt', 'hard', 1), ('age < 120', 'report', 2)]
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise RuleError(
            f"{file}{where}: this is not YAML ({problem}); put rules with special signs in quotes."
        ) from error
    if not isinstance(root, yaml.SequenceNode):
        raise RuleError(f"{file}: expected a list of rules, each after a `- `.")
    rules = tuple(_yaml_rule(node, text.splitlines(), columns, file, unseen) for node in root.value)
    return _not_empty(RuleSet(rules, file), file)


def _yaml_rule(
    node: yaml.Node, lines: Sequence[str], columns: Schema | Sequence[str] | None, file: str, unseen: Unseen
) -> Rule:
    rule, options = node, []
    here = Source(lines[node.start_mark.line], file, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        scalars = {key.value: value for key, value in node.value}
        if "rule" not in scalars:
            raise here.error(node.start_mark.column, len(here.text), "expected a mapping with `rule: ...`.")
        rule = scalars.pop("rule")
        for key, value in node.value:
            if key.value != "rule":
                place = Source(lines[key.start_mark.line], file, key.start_mark.line + 1)
                options.append((key.value, str(value.value), place, key.start_mark.column))
    settings = _settings(options)
    if not isinstance(rule, yaml.ScalarNode):
        raise here.error(rule.start_mark.column, len(here.text), "expected the text of a rule.")
    # a quoted scalar begins after its quote, a block on the line after its sign
    line, column = rule.start_mark.line + 1, rule.start_mark.column + 1
    if rule.style in ("'", '"'):
        column += 1
    elif rule.style in ("|", ">"):
        block = lines[line] if line < len(lines) else ""
        line, column = line + 1, len(block) - len(block.lstrip()) + 1
    return parse_rule(rule.value.strip(), columns, file=file, line=line, column=column, unseen=unseen, **settings)


def _not_empty(rules: RuleSet, file: str) -> RuleSet:
    if not rules.rules:
        raise RuleError(f"{file}: holds no rules; write one a line, such as `income >= debt`.")
    return rules


def format_rules(rules: RuleSet) -> str:
    """Rules as plain text, which `parse_rules` reads back.

    Example:
        >>> print(format_rules(parse_rules("a >= 3 ; mode: soft")), end="")
        a >= 3 ; mode: soft
    """
    lines = []
    for rule in rules:
        options = _unusual(rule)
        written = ", ".join(
            f'{key}: "{value}"' if key == "name" else f"{key}: {value}" for key, value in options.items()
        )
        lines.append(_one_line(rule) + (f" ; {written}" if written else ""))
    return "\n".join([*lines, ""])


def _one_line(rule: Rule) -> str:
    return " ".join(rule.text.split()) if rule.text and "\n" not in rule.text else format_expression(rule.expression)


def _unusual(rule: Rule) -> dict[str, str]:
    """The options of a rule that are not the default."""
    options = {} if rule.name == _one_line(rule) else {"name": rule.name}
    if rule.mode != "hard":
        options["mode"] = rule.mode
    if rule.when_missing != "satisfied":
        options["when_missing"] = rule.when_missing
    return options


def save_rules(rules: RuleSet, path: str | Path, index_names: Sequence[str] | None = None) -> None:
    """Write a rule file: YAML by its suffix, the index form if ``index_names`` gives the columns, else plain text.

    Raises:
        RuleError: If the index form cannot say a rule.
    """
    if index_names is not None:
        write_text(path, format_index_rules(rules, index_names))
    elif Path(path).suffix in _YAML_SUFFIXES:
        entries: list[Any] = [
            {"rule": _one_line(rule), **options} if (options := _unusual(rule)) else _one_line(rule) for rule in rules
        ]
        write_text(path, cast("str", yaml.safe_dump(entries, allow_unicode=True, sort_keys=False, width=10_000)))
    else:
        write_text(path, format_rules(rules))
