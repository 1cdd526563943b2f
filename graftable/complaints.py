"""What a parser says in twenty lines, in one sentence: the file and key, what was found, what was expected."""

import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Sequence

from graftable.config_files import Setting, untrusted_sentence
from graftable.errors import GraftableError

__all__ = ["ParserProblem", "did_you_mean", "explain", "one_line", "refusal"]

_UNKNOWN_KEY = re.compile(
    r"Option '([^']+)' is not accepted|does not accept option '([^']+)'|unrecognized arguments: --([^\s=+]+)"
)
_BAD_KEY = re.compile(r'Parser key "([^"]+)":|^argument --([^\s:]+):|^--([^\s:]+):', re.MULTILINE)
_CLASS_BLOCK = re.compile(
    r"^( *)- Problem with given class_path '([^']+)':\n(.*?)(?=^\1- |\Z)", re.MULTILINE | re.DOTALL
)
_EXPECTED = re.compile(r"Expected an? (.+?)(?:\. Got value: .*)?$", re.MULTILINE)
_GOT = re.compile(r"Got value: (.*?)\s*$|Given value: (.*)", re.MULTILINE)
_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "NoneType": "null"}

# where a class may be given by its bare name, and the first example that comes to mind
_SHORT_NAMES = {
    "model": ("graftable.models", "graftable.models.LGGM"),
    "data": ("graftable.pipelines", "graftable.pipelines.GraphDataModule"),
    "job": ("graftable.pipelines.jobs", "graftable.pipelines.jobs.SynthesizeJob"),
    "trainer.callbacks": ("lightning.pytorch.callbacks", "lightning.pytorch.callbacks.EarlyStopping"),
    "trainer.logger": ("lightning.pytorch.loggers", "lightning.pytorch.loggers.CSVLogger"),
}


class ParserProblem(GraftableError):
    """What a parser said, verbatim; `explain` turns it into one sentence with file and key."""


def one_line(message: str) -> str:
    """Collapse the white space of a message."""
    return " ".join(message.split())


def refusal(error: BaseException) -> str:
    r"""What a constructor said, in one line, out of what the parser around it made of that.

    Example:
        >>> refusal(ValueError("Does not validate against any of the Union subtypes\n  - width is odd\n  - no"))
        'width is odd'
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GraftableError):
            return one_line(str(cause))
        cause = cause.__cause__ or cause.__context__
    reasons = re.search(r"^ *- (.+)", str(error), re.MULTILINE) if "Union subtypes" in str(error) else None
    return one_line(reasons[1] if reasons else str(error))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean `x`?`` for the nearest known word, or nothing.

    Example:
        >>> did_you_mean("trainer.max_epoch", ["trainer.max_epochs", "data"])
        ' Did you mean `trainer.max_epochs`?'
        >>> did_you_mean("colour", ["width"])
        ''
    """
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean `{near[0]}`?" if near else ""


def explain(message: str, settings: Sequence[Setting], known_keys: Sequence[str], command: str = "fit") -> str:
    """Turn a parser's complaint into one sentence.

    Args:
        message: What the parser said.
        settings: Every setting of the configs and the command line, in the order in which they apply.
        known_keys: The dotted keys that the parser accepts besides those of the classes that a config names.
        command: Whose ``--help`` lists them.

    Returns:
        A sentence of the form ``place, key: what is wrong. What to do.``
    """
    owner, outer = None, _BAD_KEY.search(message)
    while block := _CLASS_BLOCK.search(message):  # the first class tried is the one that the user named
        owner, message = block[2].rpartition(".")[2], block[3]
    if match := _last(_UNKNOWN_KEY, message):
        return _unknown_key(_find(_group(match), settings), settings, known_keys, command)
    if match := re.search(r"unrecognized arguments: (\S+)", message):
        return f"there is no place for `{match[1]}` here; settings are given as --key value."
    if match := re.search(r"the following arguments are required: (.+)", message):
        if owner and outer:
            return f"{_find(_group(outer), settings).place}: {owner} needs a value for {match[1]}."
        missing = " and ".join(f"--{key.partition('.')[2]}" for key in match[1].split(", "))
        return f"{missing} must be given: add --config NAME, with a file or one of `graftable configs list`."
    if match := re.search(r"Importing '([^']+)' is not allowed", message):
        place = next((s.place for s in reversed(settings) if s.value == match[1]), "the config")
        return untrusted_sentence(place, match[1])
    inner = _last(_BAD_KEY, message)
    if match := inner or outer:
        setting, complaint = _find(_group(match), settings), message[inner.end() if inner else 0 :]
        return f"{setting.place}: {_bad_class(complaint, setting) or _bad_value(complaint, setting)}"
    return one_line(message)


def _unknown_key(setting: Setting, settings: Sequence[Setting], known_keys: Sequence[str], command: str) -> str:
    prefix, _, leaf = setting.key.rpartition(".")
    owner = _class_at(prefix.removesuffix(".init_args"), settings)
    if owner is None:
        siblings = [key for key in known_keys if key.rpartition(".")[0] == prefix]
        structure = [
            word for part in setting.key.split(".") for word in ("init_args", "class_path") if _is_typo(part, word)
        ]
        near = did_you_mean(setting.key, siblings) or did_you_mean(setting.key, known_keys)
        near = f" Did you mean `{structure[0]}`?" if structure else near.replace(f"`{prefix}.", "`")
        return f"{setting.place}: no such setting.{near or f' `graftable {command} --help` lists them.'}"
    parameters = _parameters(owner)
    known = f" {owner.__name__} takes {', '.join(parameters) or 'no settings'}."
    return f"{setting.place}: no such setting.{did_you_mean(leaf, parameters) or known}"


def _bad_class(complaint: str, setting: Setting) -> str | None:
    """What is wrong with the name of a class, if that is what the complaint is about."""
    if match := re.search(r"module '([^']+)' has no attribute '([^']+)'", complaint):
        module = importlib.import_module(match[1])
        return f"`{match[1]}` has no `{match[2]}`.{did_you_mean(match[2], getattr(module, '__all__', dir(module)))}"
    if match := re.search(r"No module named '([^']+)'", complaint):
        return f"there is no module `{match[1]}`; check the spelling of `{setting.value}`."
    if match := re.search(r"Expected a dot import path string: (\S+)", complaint):
        package, example = next(
            (pair for key, pair in _SHORT_NAMES.items() if setting.key.startswith(key)), _SHORT_NAMES["model"]
        )
        names = getattr(importlib.import_module(package), "__all__", [])
        return f"there is no class `{match[1]}`.{did_you_mean(match[1], names) or f' Name one as in {example}.'}"
    if match := re.search(r"does not correspond to a subclass of (\w+)", complaint):
        return f"`{setting.value}` is not a {match[1]}; name a class that is."
    return None


def _bad_value(complaint: str, setting: Setting) -> str:
    kinds = list(dict.fromkeys(kind for text in _EXPECTED.findall(complaint) for kind in _kinds(text)))
    if match := re.search(r"File does not exist: '?([^'\n]+)'?", complaint):
        return f"there is no file {match[1]}; check the path."
    if not kinds:
        return one_line(complaint)
    got = _GOT.search(complaint)
    return f"found {_group(got) if got else setting.value!r}, expected {_alternatives(kinds)}."


def _kinds(annotation: str) -> list[str]:
    """An annotation in the user's words; a Literal gives each of its values."""
    name = re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", annotation.strip()).replace("typing.", "")
    if literal := re.fullmatch(r"Literal\[(.+)\]", name):
        return [value.strip("'") for value in literal[1].split(", ")]
    return [_WORDS.get(name, name)]


def _alternatives(kinds: list[str]) -> str:
    return " or ".join([", ".join(kinds[:-1]), kinds[-1]]) if kinds[1:] else kinds[0]


def _find(key: str, settings: Sequence[Setting]) -> Setting:
    """The last setting at ``key``, which a parser gives in full or relative to the class that owns it."""
    exact = [s for s in settings if f"{s.key}.".startswith(f"{key}.")]
    inner = [s for s in settings if f".{key}." in f".{s.key}."]
    if not (found := exact or inner):
        return Setting(key, "")
    last = found[-1]
    return Setting(last.key[: f".{last.key}.".rindex(f".{key}.") + len(key)], last.value, last.source)


def _class_at(key: str, settings: Sequence[Setting]) -> type | None:
    """The class that the settings name at ``key``, if it can be found."""
    name = next((s.value for s in reversed(settings) if s.key in (key, f"{key}.class_path")), "")
    module, _, leaf = name.rpartition(".")
    if not module:
        module = next((package for start, (package, _) in _SHORT_NAMES.items() if key.startswith(start)), "")
    try:
        found = getattr(importlib.import_module(module), leaf)
    except (ImportError, AttributeError, ValueError):
        return None
    return found if inspect.isclass(found) else None


def _parameters(owner: type) -> list[str]:
    """The constructor arguments of a class, its bases' included where ``**kwargs`` passes them on."""
    names: list[str] = []
    for base in inspect.getmro(owner):
        if "__init__" not in vars(base) or base is object:
            continue
        parameters = inspect.signature(base).parameters.values()
        names += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return list(dict.fromkeys(names))


def _is_typo(word: str, known: str) -> bool:
    return word != known and difflib.SequenceMatcher(None, word, known).ratio() > 0.8


def _group(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None)


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return max(pattern.finditer(text), key=lambda match: match.start(), default=None)
