"""``graftable run``: a batch job from a config, made in parts that survive a kill."""

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import jsonargparse

from graftable import complaints
from graftable.config_files import (
    CONFIG_VERSION,
    ConfigFile,
    Setting,
    command_of,
    find_config,
    import_roots,
    inline_settings,
    read_config,
    refuse_untrusted,
    restrict_imports,
)
from graftable.errors import ConfigError, GraftableError
from graftable.pipelines import jobs
from graftable.pipelines.jobs.engines import ENGINES
from graftable.pipelines.jobs.job import Job
from graftable.pipelines.jobs.running import Progress, run_job
from graftable.stopping import stopped_by_sigterm

__all__ = ["run"]

QUARANTINED = 3
SECONDS_BETWEEN_LINES = 30


def run(namespace: argparse.Namespace) -> int:
    """Make what a job lacks.

    Args:
        namespace: The command line of ``run``.

    Returns:
        0; 3 if a part or a row is in quarantine.

    Raises:
        GraftableError: If the config is wrong, or the job or a part of it fails; what was made is kept.
    """
    job, settings = read_job(namespace)
    advice = f"What is done is kept; go on with:\n  {resume_command(namespace)}"
    with stopped_by_sigterm(advice):
        try:
            with _progress(quiet=namespace.json) as show:
                report = run_job(
                    job, settings["out"], engine=settings["engine"], workers=settings["workers"], progress=show
                )
        except KeyboardInterrupt:
            print(f"graftable: {advice}", file=sys.stderr)
            raise
    print(report.to_json() if namespace.json else report)
    return QUARANTINED if report.quarantined_parts or report.quarantined_rows else 0


def read_job(namespace: argparse.Namespace) -> tuple[Job, dict[str, Any]]:
    """The job that a config and the options after it describe, and how it is to be run.

    Raises:
        ConfigError: If a setting is unknown or has a bad value, or a class is foreign.
    """
    if any(word.partition("=")[0] in ("--config", "-c") for word in namespace.settings):
        raise ConfigError("leave out --config: a job is given by itself, as in `graftable run synthesize_job_debug`.")
    config = read_config(find_config(namespace.config))
    trust, inline = namespace.trust_config, list(namespace.settings)
    for name in ("out", "workers", "engine"):
        if getattr(namespace, name) is not None:
            inline += [f"--{name}", str(getattr(namespace, name))]
    settings = [*config.settings, *inline_settings(inline)]
    if not trust:
        refuse_untrusted(settings)
    _require_job(config, settings)
    restrict_imports(import_roots(settings) if trust else [])
    for name in jobs.__all__:  # so that a config may name a job without its module
        getattr(jobs, name)
    parser = _parser()
    try:
        found = parser.parse_args(["--config", str(config.path), *inline])
    except complaints.ParserProblem as problem:
        known = [key for key, _ in parser.get_defaults().items()]
        raise ConfigError(complaints.explain(str(problem), settings, known, "run")) from None
    _check_values(found, settings)
    try:
        job: Job = parser.instantiate(found)["job"]
    except ValueError as error:
        if isinstance(error, GraftableError):
            raise
        raise ConfigError(complaints.refusal(error)) from error
    return job, {name: found[name] for name in ("out", "workers", "engine")}


def _require_job(config: ConfigFile, settings: list[Setting]) -> None:
    """Refuse a config of another command, and one that does not say what is made and where."""
    keys = {setting.key.partition(".")[0] for setting in settings if setting.value not in ("", "null")}
    if any(setting.key == "job" and setting.value in ("", "null") for setting in settings):
        keys.discard("job")
    if "job" not in keys and (command := command_of(config)) == "compare":
        raise ConfigError(f"{config.path}: describes no job; use `graftable {command} {config.path}`.")
    if "job" not in keys:
        words = " It is one for `graftable fit --config`." if "model" in keys else ""
        raise ConfigError(
            f"{config.path}: describes no job; expected `job:` with a class_path such as "
            f"graftable.pipelines.jobs.SynthesizeJob.{words}"
        )
    if "out" not in keys:
        raise ConfigError(f"{config.path}: does not say where to; add `out: FOLDER`, or --out FOLDER.")


def resume_command(namespace: argparse.Namespace) -> str:
    """The command that goes on: the one that was given.

    Example:
        >>> given = argparse.Namespace(config="my job.yaml", out=None, workers=2, engine=None, json=False)
        >>> resume_command(argparse.Namespace(**vars(given), settings=["--job.seed", "1"], trust_config=False))
        "graftable run 'my job.yaml' --job.seed 1 --workers 2"
    """
    words = ["graftable", "run", namespace.config, *namespace.settings]
    for name in ("out", "workers", "engine"):
        if getattr(namespace, name) is not None:
            words += [f"--{name}", str(getattr(namespace, name))]
    words += [f"--{name.replace('_', '-')}" for name in ("json", "trust_config") if getattr(namespace, name)]
    return shlex.join(words)


class _Parser(jsonargparse.ArgumentParser):
    """A parser that raises its complaint, in which `complaints.explain` finds the sentence."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        raise ex if isinstance(ex, GraftableError) else complaints.ParserProblem(message)


def _parser() -> _Parser:
    parser = _Parser(prog="graftable run", allow_abbrev=False)
    parser.add_argument("--config", action="config")
    parser.add_argument("--config_version", type=int, default=CONFIG_VERSION)
    parser.add_subclass_arguments(Job, "job", required=True)
    parser.add_argument("--out", type=str, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--engine", type=str, default="local")
    return parser


def _check_values(found: Any, settings: list[Setting]) -> None:
    """Check what the parser takes for any number or text."""
    problems = {
        "config_version": f"version {CONFIG_VERSION}" if found["config_version"] != CONFIG_VERSION else "",
        "workers": "a whole number of at least 1" if found["workers"] < 1 else "",
        "engine": " or ".join(ENGINES) if found["engine"] not in ENGINES else "",
        "out": "the name of a folder" if not found["out"].strip() else "",
    }
    for name, expected in problems.items():
        if expected:
            place = next((s.place for s in reversed(settings) if s.key == name), f"--{name}")
            raise ConfigError(f"{place}: found {found[name]!r}, expected {expected}.")


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Progress | None]:
    """A bar on stderr where someone can see it, and else a line now and then, for logs."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if quiet:
        yield None
    elif not console.is_terminal:
        yield _log()
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("reading", total=None)
            yield lambda what, done, whole: bar.update(task, description=what, completed=done, total=whole)


def _log() -> Progress:
    """Tells on stderr how far the job is, at most every half minute."""
    last = time.monotonic()

    def show(what: str, done: float, whole: float) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"graftable: {what}, {done:g} of {whole:g}", file=sys.stderr, flush=True)

    return show
