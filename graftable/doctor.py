"""``graftable doctor``: what is installed, whether it works, and what to do where it does not."""

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from packaging.requirements import Requirement

from graftable import __version__, allocator
from graftable.errors import ConfigError

__all__ = ["Finding", "examine", "run"]

# optional distribution -> what it is for, and the extra that brings it
OPTIONAL = {
    "dgl": ("graphs from and to DGL", "dgl"),
    "triton": ("CUDA kernels", "triton"),
    "ray": ("batch jobs on a cluster", "ray"),
    "sdv": ("comparison with SDV; its licence, BUSL-1.1, is source-available", "sdv"),
    "peft": ("adapters for language models", "peft"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``status`` is ok, missing (optional, or a hint) or broken."""

    name: str
    status: str
    detail: str


def run(namespace: argparse.Namespace) -> int:
    """Print the report.

    Returns:
        0 if everything that is needed works, 1 otherwise.
    """
    findings = list(examine())
    if namespace.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.status:<8} {finding.name:<{width}}  {finding.detail}")
    broken = [finding.name for finding in findings if finding.status == "broken"]
    if not namespace.json:
        print(f"broken: {', '.join(broken)}" if broken else 'next: graftable generate "a power grid of 40 buses"')
    return 1 if broken else 0


def examine() -> Iterator[Finding]:
    """Look at one thing after the other; imports torch."""
    yield Finding("graftable", "ok", f"{__version__}, {Path(__file__).parent}")
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    needed = _needed()
    if not needed:
        yield Finding("dependencies", "broken", "not known, since graftable is not installed; pip install -e .")
    for name in needed:
        version = _version(name)
        yield Finding(name, "ok" if version else "broken", version or f"not installed; pip install {name}")
    yield _torch()
    yield _allocator()
    for name, (purpose, extra) in OPTIONAL.items():
        version = _version(name)
        hint = f'for {purpose}: pip install "graftable[{extra}]"'
        yield Finding(name, "ok" if version else "missing", f"{version}, for {purpose}" if version else hint)
    yield _shipped("configs", "configs", "*.yaml")
    yield _shipped("corpus", "graphs/corpus", "*.parquet")
    yield _shipped("weights", "models/pretrained", "*/*.safetensors")
    yield _lightning_command()


def _torch() -> Finding:
    try:
        torch = importlib.import_module("torch")
        cuda = torch.version.cuda
        usable = torch.cuda.is_available()
    except (ImportError, OSError, AttributeError) as error:  # a broken wheel fails in the loader
        return Finding("torch build", "broken", f"cannot be imported ({error}); install torch again")
    if usable:
        names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
        return Finding("torch build", "ok", f"CUDA {cuda}: {names}")
    threads = f"{torch.get_num_threads()} threads on {os.cpu_count()} cores"
    if cuda:
        return Finding("torch build", "missing", f"built for CUDA {cuda}, but no usable GPU or driver; CPU, {threads}")
    return Finding("torch build", "ok", f"CPU, {threads}")


def _allocator() -> Finding:
    """What a large buffer costs as the process is set up, and what it would cost with freed memory kept."""
    try:
        kept_in_training = allocator.keeps_in_training()
        times = allocator.milliseconds_of_a_buffer()
    except ConfigError as error:
        return Finding("allocator", "broken", str(error))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Finding("allocator", "missing", f"could not be measured ({error})")
    if times is None:
        return Finding("allocator", "ok", "not of glibc; left as it is")
    chosen = " ".join(f"{name}={value}" for name, value in allocator.chosen_settings().items())
    found = f"glibc {allocator.glibc_version()}" + f" with {chosen}" * bool(chosen)
    present, kept = times
    gain = f"a new buffer of 64 MB takes {present:.1f} ms, or {kept:.1f} ms with freed memory kept"
    who = (
        "as `graftable fit` keeps it on a CPU" if kept_in_training else "which `graftable fit` leaves to your settings"
    )
    return Finding("allocator", "ok", f"{found}: {gain}, {who}")


def _shipped(name: str, folder: str, pattern: str) -> Finding:
    root = Path(str(resources.files("graftable"))) / folder
    files = sorted(root.glob(pattern))
    if not files:
        return Finding(name, "broken", f"nothing in {root}; install graftable again")
    size = sum(file.stat().st_size for file in files) / 2**20
    return Finding(name, "ok", f"{len(files)} file{'s' * (len(files) > 1)}, {size:.1f} MB in {root}")


def _lightning_command() -> Finding:
    """Who answers to ``lightning``: pip lets the last package that was installed take the name without a word."""
    path = shutil.which("lightning")
    if path is None:
        return Finding("lightning fit", "missing", "no `lightning` on PATH; `graftable fit` does the same")
    try:
        ours = "graftable.cli" in Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # a binary launcher, as on Windows
        ours = False
    if ours:
        return Finding("lightning fit", "ok", f"{path} is graftable's")
    return Finding("lightning fit", "missing", f"{path} belongs to another package; use `graftable fit`")


def _needed() -> list[str]:
    """The distributions that graftable declares as dependencies on this platform; none if it is not installed."""
    try:
        declared = importlib.metadata.requires("graftable") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    requirements = [Requirement(line) for line in declared]
    return [found.name for found in requirements if found.marker is None or found.marker.evaluate({"extra": ""})]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
