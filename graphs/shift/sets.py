"""One door to all shift sets: a name, perhaps a folder, a seed."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from graftable.errors import ConfigError

from .colors import colors
from .good_cmnist import good_cmnist, mnist75sp
from .good_motif import good_motif
from .molecules import MOLECULE_SETS, good_hiv, scaffold_split
from .shift_set import ShiftSet
from .splits import THRESHOLDS, TU_SETS, extreme_sizes, size_split
from .spurious_motif import spurious_motif
from .triangles import triangles
from .wheel_star import wheel_star

__all__ = ["SHIFT_SETS", "load_shift_set"]


def _kinds(name: str, make: Callable[..., ShiftSet], *domains: str) -> dict[str, Callable[..., ShiftSet]]:
    """The four shifts of GOOD by names of their own: those that the sets bear."""
    return {f"{name}_{d}_{s}": partial(make, domain=d, shift=s) for d in domains for s in ("covariate", "concept")}


SHIFT_SETS: Final[dict[str, Callable[..., ShiftSet]]] = {
    "triangles": triangles,
    "colors": colors,
    "spurious_motif": spurious_motif,
    "good_motif": good_motif,
    **_kinds("good_motif", good_motif, "basis", "size"),
    "wheel_star": wheel_star,
    "good_cmnist": good_cmnist,
    **_kinds("good_cmnist", good_cmnist, "color", "background"),
    "mnist75sp": mnist75sp,
    **{name: partial(size_split, name) for name in THRESHOLDS},
    **{f"{name.lower().replace('-', '_')}_extremes": partial(extreme_sizes, name) for name in TU_SETS},
    **{name: partial(scaffold_split, name) for name in MOLECULE_SETS},
    "good_hiv": good_hiv,
    **_kinds("good_hiv", good_hiv, "scaffold", "size"),
}
"""Every set by name, and the function that makes it."""


def load_shift_set(
    name: str,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    size: int | None = None,
    **settings: Any,
) -> ShiftSet:
    """Generate a shift set, or read and split one; the same arguments give the same graphs.

    Args:
        name: One of ``SHIFT_SETS``, such as ``wheel_star``, ``good_motif``, ``dd300`` or ``bace``.
        root: Folder with the archives ``tu_*.npz``, ``mol_*.npz`` and ``mnist75sp_t10k.npz``; generated sets need none.
        seed: Of everything that is drawn: graphs, noise, splits.
        size: Training graphs; default: as published. The other generated parts keep their proportion.
        **settings: Further arguments of the set's own function, such as ``mu`` of ``wheel_star``.

    Raises:
        ConfigError: If the name or a setting is unknown, a value is out of its range, or a folder is needed.
        DataError: If a file is missing or damaged.

    Example:
        >>> shift = load_shift_set("wheel_star", size=20, mu=0.7)
        >>> len(shift.train), len(shift.ood_test), shift.num_features
        (20, 10, 4)
    """
    if name not in SHIFT_SETS:
        close = difflib.get_close_matches(str(name).lower(), SHIFT_SETS, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ConfigError(f"there is no shift set {name!r}.{hint} The sets are {', '.join(SHIFT_SETS)}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed is {seed!r}; expected a whole number, 0 or more.")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1):
        raise ConfigError(f"size is {size!r}; expected the number of training graphs, 1 or more.")
    make = SHIFT_SETS[name]
    known = inspect.signature(make).parameters
    own = [setting for setting in known if setting not in ("root", "seed", "size", "name", "file")]
    for setting in settings:
        if setting not in own:
            offer = f"its settings are {', '.join(own)}" if own else "it has none of its own"
            raise ConfigError(f"{name} has no setting {setting!r}; {offer}.")
    if "root" in known:
        settings["root"] = root
    return make(seed=int(seed), size=size, **settings)
