"""Configs as files: find them by path or bundled name, read them, and refuse what must not be imported.

Nothing here imports torch, so that a bad config is refused in a fraction of a second and before any code it names runs.
"""

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import yaml

from graftable.errors import ConfigError
from graftable.files import write_text

__all__ = [
    "CONFIG_VERSION",
    "TRUSTED_ROOTS",
    "ConfigFile",
    "Request",
    "Setting",
    "bundled_configs",
    "command_of",
    "copy_config",
    "find_config",
    "import_roots",
    "inline_settings",
    "listing",
    "prepare",
    "read_config",
    "refuse_untrusted",
    "restrict_imports",
    "summary",
    "untrusted_sentence",
]

CONFIG_VERSION = 1
TRUSTED_ROOTS = ("graftable", "torch", "lightning", "torchmetrics", "torch_geometric")

# keys that hold a class even when they hold a bare string: `model: some.module.Class`
_CLASS_KEY = re.compile(
    r"(^|\.)class_path$|^(model|data|job)$|^trainer\.(logger|callbacks|strategy|profiler|plugins)(\.\d+)?$"
)
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_CONFIG_FLAGS = ("--config", "-c")
_YAML_SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True)
class Setting:
    """One scalar of a config: where it stands and what it says."""

    key: str
    value: str
    source: str = ""  # the file; empty for the command line

    @property
    def place(self) -> str:
        """The file and the key, or the option, as error messages begin."""
        return f"{self.source}, {self.key}" if self.source else f"--{self.key}"


@dataclass(frozen=True)
class ConfigFile:
    """A config as read: its path and its settings, those of the YAML files it names included."""

    path: Path
    settings: list[Setting]


@dataclass(frozen=True)
class Request:
    """A training command line with its configs read and checked."""

    arguments: list[str]
    settings: list[Setting]  # of the configs and then of the command line: the order in which they apply
    run_name: str  # names the folder under runs/
    extra_roots: list[str]  # packages that may be imported besides the trusted ones


def prepare(arguments: Sequence[str]) -> Request:
    """Read and check every config that a training command line names, before anything heavy or foreign is imported.

    Args:
        arguments: The verb and its options. ``--trust-config`` lifts the refusal of foreign classes, and is removed.

    Raises:
        ConfigError: If a config is missing, not YAML, of another version, or names a class outside `TRUSTED_ROOTS`.
    """
    trust = "--trust-config" in arguments
    resolved, configs = _resolve_configs([token for token in arguments if token != "--trust-config"])
    for config in configs:
        if (command := command_of(config)) != "fit":
            raise ConfigError(f"{config.path}: is no config of a model; use `graftable {command} {config.path}`.")
    settings = [setting for config in configs for setting in config.settings] + inline_settings(resolved)
    if not trust:
        refuse_untrusted(settings)
    return Request(
        arguments=resolved,
        settings=settings,
        run_name=configs[0].path.stem if configs else "run",
        extra_roots=import_roots(settings) if trust else [],
    )


def _resolve_configs(arguments: Sequence[str]) -> tuple[list[str], list[ConfigFile]]:
    """Read what follows each ``--config``, and put paths in the place of bundled names."""
    resolved: list[str] = []
    configs: list[ConfigFile] = []
    for position, token in enumerate(arguments):
        flag, equals, value = token.partition("=")
        if position and arguments[position - 1] in _CONFIG_FLAGS:
            configs.append(read_config(find_config(token)))
            token = str(configs[-1].path)
        elif equals and flag in _CONFIG_FLAGS:
            configs.append(read_config(find_config(value)))
            token = f"{flag}={configs[-1].path}"
        resolved.append(token)
    return resolved, configs


def bundled_configs() -> dict[str, Path]:
    """The configs that ship with the package, by name without suffix.

    Example:
        >>> all(path.suffix == ".yaml" for path in bundled_configs().values())
        True
    """
    folder = Path(str(resources.files("graftable") / "configs"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_config(name: str) -> Path:
    """Resolve what a user wrote after ``--config``: a path that exists, else the name of a bundled config.

    Args:
        name: A path, or a bundled name with or without ``.yaml``.

    Raises:
        ConfigError: If it is neither; the message names the nearest bundled config.
    """
    path = Path(name)
    if path.is_file():
        return path
    bundled = bundled_configs()
    # a checkout-style path such as configs/lggm.yaml means the bundled one when the user stands elsewhere
    if path.parent in (Path(), Path("configs")) and path.suffix in ("", ".yaml") and path.stem in bundled:
        return bundled[path.stem]
    near = difflib.get_close_matches(path.stem, bundled, n=1)
    advice = f"Did you mean `{near[0]}`?" if near else "`graftable configs list` shows the bundled ones."
    raise ConfigError(f"{name}: there is no such config file. {advice}")


def read_config(path: Path) -> ConfigFile:
    """Read a config and the YAML files that its values name; checks the syntax and the version.

    Raises:
        ConfigError: If the text is not YAML, not a mapping, or of another config version.
    """
    config = ConfigFile(path, list(_settings_of_file(path, "", (path.resolve(),))))
    for setting in config.settings:
        if setting.key == "config_version" and setting.value != str(CONFIG_VERSION):
            raise ConfigError(
                f"{setting.place}: found version {setting.value}, but this graftable reads version {CONFIG_VERSION}; "
                "compare it with `graftable configs show NAME` or install the graftable that wrote it."
            )
    return config


def _settings_of_file(path: Path, prefix: str, ancestors: tuple[Path, ...]) -> Iterator[Setting]:
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a YAML text file.") from error
    except yaml.YAMLError as error:
        raise ConfigError(_syntax_error(path, error)) from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}: found {_kind(root)}, expected settings such as `model:` and `data:`.")
    for setting in _settings_of_node(root, prefix, str(path)):
        nested = path.parent / setting.value
        if nested.suffix in _YAML_SUFFIXES and nested.is_file() and nested.resolve() not in ancestors:
            yield from _settings_of_file(nested, setting.key, (*ancestors, nested.resolve()))
        else:
            yield setting


def _settings_of_node(
    node: yaml.Node, key: str, source: str, ancestors: tuple[yaml.Node, ...] = ()
) -> Iterator[Setting]:
    if node in ancestors:  # an alias that contains itself
        return
    if isinstance(node, yaml.ScalarNode):
        yield Setting(key, node.value, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            yield from _settings_of_node(child, f"{key}.{index}", source, (*ancestors, node))
    elif isinstance(node, yaml.MappingNode):
        for name, child in node.value:
            # a merged mapping (<<) puts its settings at this level
            inner = key if name.value == "<<" else f"{key}.{name.value}" if key else str(name.value)
            yield from _settings_of_node(child, inner, source, (*ancestors, node))


def _syntax_error(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark else ""
    return (
        f"{path}{where}: this is not YAML ({getattr(error, 'problem', None) or error}); check indentation and brackets."
    )


def _kind(node: yaml.Node | None) -> str:
    return "an empty file" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "a single value"


def inline_settings(arguments: Sequence[str]) -> list[Setting]:
    """The settings given on the command line, as ``--key value``, ``--key=value`` or ``--key+=value``.

    Example:
        >>> [(s.key, s.value) for s in inline_settings(["--model", "a.B", "--trainer.callbacks+={class_path: c.D}"])]
        [('model', 'a.B'), ('trainer.callbacks.class_path', 'c.D')]
    """
    settings: list[Setting] = []
    for position, token in enumerate(arguments):
        if not token.startswith("--"):
            continue
        key, equals, value = token[2:].partition("=")
        if not equals and position + 1 < len(arguments) and not arguments[position + 1].startswith("--"):
            value = arguments[position + 1]
        key = key.rstrip("+")
        if value[:1] in ("{", "["):
            try:
                node = yaml.compose(value, Loader=yaml.SafeLoader)
            except yaml.YAMLError:
                node = None
            if node is not None:
                settings.extend(_settings_of_node(node, key, ""))
                continue
        if Path(value).suffix in _YAML_SUFFIXES and Path(value).is_file() and key != "config":
            settings.extend(_settings_of_file(Path(value), key, (Path(value).resolve(),)))
        settings.append(Setting(key, value))
    return settings


def refuse_untrusted(settings: Sequence[Setting]) -> None:
    """Refuse class paths that lead outside the trusted packages, before anything is imported.

    Raises:
        ConfigError: If one does.
    """
    for setting in settings:
        root, _, rest = setting.value.partition(".")
        if (
            rest
            and _CLASS_KEY.search(setting.key)
            and _IMPORT_PATH.fullmatch(setting.value)
            and root not in TRUSTED_ROOTS
        ):
            raise ConfigError(untrusted_sentence(setting.place, setting.value))


def untrusted_sentence(place: str, import_path: str) -> str:
    """The one sentence for a class path outside the trusted packages."""
    return (
        f"{place}: `{import_path}` is outside {', '.join(TRUSTED_ROOTS)}, and importing it would run its code; "
        "if you trust it, add --trust-config."
    )


def import_roots(settings: Sequence[Setting]) -> list[str]:
    """The packages that the settings name in anything that looks like an import path."""
    return sorted({s.value.partition(".")[0] for s in settings if _IMPORT_PATH.fullmatch(s.value)})


def command_of(config: ConfigFile) -> str:
    """The command that a config is for: with sets of graphs ``compare``, with a job ``run``, and else ``fit``."""
    keys = {setting.key.partition(".")[0] for setting in config.settings}
    return "compare" if "sets" in keys else "run" if "job" in keys else "fit"


def restrict_imports(also: Sequence[str]) -> None:
    """Let parsers import nothing outside the trusted packages and ``also``, wherever the path was written.

    `refuse_untrusted` reads the obvious places early and cheaply; this is the lock on the door itself.
    """
    from jsonargparse import set_parsing_settings

    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*TRUSTED_ROOTS, *(root for root in also if root != "jsonargparse")],
        config_read_mode_fsspec_enabled=False,  # configs are local files; LightningCLI would also read them from URLs
    )


def summary(path: Path) -> str:
    """The first comment line of a config: what it is for."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip() if first.startswith("#") else ""


def copy_config(name: str, target: str | None = None, *, overwrite: bool = False) -> Path:
    """Copy a bundled config to ``target`` (a file or folder; the current folder if absent).

    Raises:
        ConfigError: If there is no such config, or the target exists and ``overwrite`` is false.
    """
    source = find_config(name)
    path = Path(target or ".")
    if path.is_dir():
        path = path / source.name
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists already; add --force to replace it, or name another file.")
    write_text(path, source.read_text(encoding="utf-8"))
    return path


def listing(as_json: bool = False) -> str:
    """One line per bundled config, or a JSON list."""
    rows = [(name, summary(path)) for name, path in bundled_configs().items()]
    if as_json:
        return json.dumps([{"name": name, "summary": text} for name, text in rows], indent=2)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {text}".rstrip() for name, text in rows)
