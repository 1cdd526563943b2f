"""Training rules for graphs under shift, all on one encoder: a rule is a loss for a batch.

A name stands for a class and the settings that make it this method and not another; everything else has the published
default. ``make_method`` builds one, ``method_settings`` says what may be set: all that a sweep needs.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from graftable.errors import ConfigError

if TYPE_CHECKING:
    from .method import ShiftMethod
    from .parts import Task

__all__ = ["CONTROLS", "METHODS", "make_method", "method_class", "method_settings"]

#: By name: where the class is, and the settings that the name fixes.
_METHODS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "erm": ("method", "ERM", {}),
    "irm": ("environments", "IRM", {}),
    "vrex": ("environments", "VREx", {}),
    "group_dro": ("environments", "GroupDRO", {}),
    "coral": ("environments", "Coral", {}),
    "mixup": ("environments", "Mixup", {}),
    "gsat": ("rationale", "GSAT", {}),
    "dir": ("rationale", "DIR", {}),
    "ciga": ("rationale", "CIGA", {}),
    "stablenet": ("learned_weights", "StableNet", {}),
    "ood_gnn": ("literal", "OODGNN", {}),
    "l2r": ("two_stage", "L2R", {}),
    "l2r_joint": ("joint", "L2RJoint", {}),
    "l2r_literal": ("literal", "L2RLiteral", {"second_order": False}),
    "l2r_literal_second": ("literal", "L2RLiteral", {"second_order": True}),
    "l2r_uniform": ("two_stage", "L2R", {"control": "uniform"}),
    "l2r_permuted": ("two_stage", "L2R", {"control": "permuted"}),
    "l2r_random_clusters": ("two_stage", "L2R", {"control": "random_clusters"}),
}
#: All methods by name.
METHODS: Final = tuple(_METHODS)
#: Those that only show what another method's gain is not due to.
CONTROLS: Final = ("l2r_uniform", "l2r_permuted", "l2r_random_clusters")


def method_class(name: str) -> type[ShiftMethod]:
    """The class behind a name.

    Raises:
        ConfigError: If there is no such method.

    Example:
        >>> method_class("gsat").__name__
        'GSAT'
    """
    if name not in _METHODS:
        raise ConfigError(f"method is {name!r}; expected one of {', '.join(METHODS)}.")
    module, kind, _ = _METHODS[name]
    found: type[ShiftMethod] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)
    return found


def method_settings(name: str) -> dict[str, Any]:
    """What may be set of a method, with the defaults.

    Raises:
        ConfigError: If there is no such method.

    Example:
        >>> method_settings("mixup")
        {'alpha': 1.0}
    """
    parameters = inspect.signature(method_class(name)).parameters.values()
    fixed = {"task", "width", *_METHODS[name][2]}
    return {parameter.name: parameter.default for parameter in parameters if parameter.name not in fixed}


def make_method(name: str, task: Task, width: int, settings: Mapping[str, Any] | None = None) -> ShiftMethod:
    """Build a method.

    Args:
        name: One of ``METHODS``.
        task: What is predicted.
        width: Width of the encoder.
        settings: Other values than the defaults of ``method_settings``.

    Raises:
        ConfigError: If there is no such method or setting, or a value is out of range.
    """
    known = method_settings(name)
    unknown = sorted(set(settings or {}) - set(known))
    if unknown:
        has = f"it has {', '.join(known)}" if known else "it has none"
        raise ConfigError(f"method_settings: {name} has no setting {unknown[0]!r}; {has}.")
    return method_class(name)(task, width, **(_METHODS[name][2] | dict(settings or {})))
