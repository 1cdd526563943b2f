"""The front door, ``graftable COMMAND``: answers help and mistakes at once, loads torch only for work that needs it."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from graftable import __version__
from graftable.arguments import COMMANDS, TRAINING_VERBS, build_parser
from graftable.errors import ConfigError, GraftableError
from graftable.stopping import stopped_by_sigterm

__all__ = ["lightning", "main"]

USER_MISTAKE, STOPPED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows ``graftable`` on the command line; ``sys.argv`` if absent.

    Returns:
        0 done; 1 a check found violations; 2 the user's mistake; 3 done but some input is in quarantine;
        130 stopped; 143 preempted.

    Example:
        >>> main(["configs", "show", "no_such_config"])
        2
    """
    try:
        return dispatch(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return _stopped()
    except SystemExit as done:  # --help and --print_config end so, and a preempted run with its own code
        if isinstance(done.__context__, KeyboardInterrupt):  # before the first step, Lightning makes Ctrl-C an exit 1
            return _stopped()
        return done.code if isinstance(done.code, int) else 0
    except (GraftableError, OSError) as error:
        if os.environ.get("GRAFTABLE_TRACEBACK") == "1" or (isinstance(error, OSError) and not _is_about_a_file(error)):
            raise
        print(f"graftable: {_sentence(error)}", file=sys.stderr)
        return USER_MISTAKE


def dispatch(arguments: list[str]) -> int:
    """Find the command and run it.

    Raises:
        GraftableError: If the user made a mistake.
    """
    verb = arguments[0] if arguments else "--help"
    if "--version" in arguments:  # after a command, too
        print(f"graftable {__version__}")
        return 0
    if verb in TRAINING_VERBS:
        return train(arguments)
    if not verb.startswith("-") and verb not in COMMANDS:
        raise ConfigError(_unknown_command(verb))
    try:
        namespace = build_parser(__version__).parse_args(arguments or ["--help"])
    except SystemExit as done:  # argparse has printed the help or the version
        return int(done.code or 0)
    if verb == "configs":
        return configs(namespace)
    if getattr(namespace, "command", None) is None:
        raise ConfigError("say what to do; `graftable --help` lists the commands.")
    with stopped_by_sigterm():
        return int(importlib.import_module(COMMANDS[namespace.command].module).run(namespace))


def train(arguments: list[str]) -> int:
    """Run a training verb; a missing or untrusted config is refused before torch is loaded."""
    from graftable.config_files import prepare

    request = prepare(arguments)
    return int(importlib.import_module("graftable.training").run(request))


def configs(namespace: argparse.Namespace) -> int:
    """List, show or copy the bundled configs."""
    from graftable.config_files import command_of, copy_config, find_config, listing, read_config

    if namespace.action == "list":
        print(listing(namespace.json))
    elif namespace.action == "show":
        print(find_config(namespace.name).read_text(encoding="utf-8"), end="")
    else:
        path = copy_config(namespace.name, namespace.target, overwrite=namespace.force)
        command = {"fit": "fit --config", "compare": "compare", "run": "run"}[command_of(read_config(path))]
        print(f"wrote {path}\nnext: graftable {command} {path}")
    return 0


def lightning(arguments: Sequence[str] | None = None) -> int:
    """The ``lightning`` command: the training verbs are ours, all else goes to lightning-sdk if it is installed."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in TRAINING_VERBS:
        return main(arguments)
    try:
        entrypoint = importlib.import_module("lightning_sdk.cli.entrypoint")
    except ImportError:
        return main(arguments)
    return int(entrypoint.main_cli() or 0)


def _stopped() -> int:
    print("graftable: stopped.", file=sys.stderr)
    return STOPPED


def _unknown_command(verb: str) -> str:
    import difflib

    near = difflib.get_close_matches(verb, [*TRAINING_VERBS, *COMMANDS], n=1)
    advice = f"Did you mean `{near[0]}`?" if near else "`graftable --help` lists the commands."
    return f"there is no command `{verb}`. {advice}"


def _is_about_a_file(error: OSError) -> bool:
    return error.filename is not None and error.strerror is not None


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, GraftableError):
        return f"{error.filename}: {str(error.strerror).lower()}; check the path and who may write there."
    *lines, last = str(error).rstrip().split("\n")
    if len(lines) > 1 and not last.strip(" ^"):  # the line that is wrong stays as it is, with its carets under it
        return "\n".join([" ".join(" ".join(lines[:-1]).split()), lines[-1], last])
    return " ".join(str(error).split())
