"""One JSON line per figure, to the screen and to ``benchmarks/results/``."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from graftable.files import write_text

RESULTS = Path(__file__).parent / "results"
#: The default of ``--data``: holds ``bench/*.npz`` (sets of real graphs) and ``peers/*.npz`` (samples of other models).
GRAPH_SETS = Path(os.environ.get("GRAFTABLE_DATA", "../shared/data/graphs"))

PACKAGES = ("graftable", "torch", "numpy")


def figure(name, value, unit, *, peer=None, peer_value=None, device="cpu", packages=PACKAGES, **more):
    """One figure; ``ratio`` is value / peer_value where there is a peer."""
    return {
        "name": name,
        "value": round(float(value), 6),
        "unit": unit,
        "peer": peer,
        "peer_value": peer_value,
        "ratio": None if not peer_value else round(float(value) / peer_value, 4),
        "device": device,
        "versions": {package: version(package) for package in packages if _installed(package)}
        | {"python": platform.python_version()},
        **more,
    }


def _installed(package):
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def share_figure(name, share, **more):
    """A share with its interval, in percent."""
    return figure(name, 100 * share.value, "%", low=100 * share.low, high=100 * share.high, **more)


def write_figures(benchmark, figures, *, show=True, update=False):
    """Print the figures unless they were shown otherwise, and replace ``results/<benchmark>.jsonl``.

    With ``update``, replace those of the same name and keep the others, so that a part can be measured again.
    """
    lines = {one["name"]: json.dumps(one) for one in figures}
    if show:
        print("\n".join(lines.values()))
    path = RESULTS / f"{benchmark}.jsonl"
    known = path.read_text().splitlines() if update and path.exists() else []
    merged = {json.loads(line)["name"]: line for line in known} | lines
    write_text(path, "\n".join(merged.values()) + "\n")
