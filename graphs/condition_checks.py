r"""What may be asked of a graph: the attributes with their ranges, and one clear sentence for each impossible wish.

For ``n`` nodes, ``m`` edges and ``c`` components, a simple graph has

.. math:: n - c \le m \le \binom{n - c + 1}{2}, \qquad \bar d = 2 m / n \le n - 1, \qquad \rho = 2 m / (n (n - 1)).
"""

import difflib
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal

from graftable.errors import PromptError

__all__ = [
    "ATTRIBUTE_RANGES",
    "LEVELS",
    "MAX_EDGES",
    "MAX_NODES",
    "WHOLE_ATTRIBUTES",
    "Level",
    "check_feasible",
    "checked_attribute",
    "checked_level",
    "checked_num_edges",
    "checked_num_nodes",
    "counted",
    "implied_edges",
    "spoken",
]

Level = Literal["low", "medium", "high"]

LEVELS: tuple[Level, ...] = ("low", "medium", "high")

MAX_NODES = 50_000
MAX_EDGES = 1_000_000
"""The largest graph that may be asked for: beyond it, one graph takes hours on a CPU."""

ATTRIBUTE_RANGES: dict[str, tuple[float, float]] = {
    "mean_degree": (0, MAX_NODES - 1),
    "clustering": (0, 1),
    "transitivity": (0, 1),
    "degree_gini": (0, 1),
    "assortativity": (-1, 1),
    "modularity": (-0.5, 1),
    "components": (1, MAX_NODES),
    "diameter": (0, MAX_NODES - 1),
    "density": (0, 1),
}
"""The attributes that may be asked for, with the smallest and largest value that any graph can have."""

WHOLE_ATTRIBUTES = ("components", "diameter")


def checked_num_nodes(value: object) -> int:
    """A number of nodes that may be asked for, or one sentence why not."""
    whole = _whole(value)
    if whole is None or not 1 <= whole <= MAX_NODES:
        raise PromptError(
            f"a graph of {_shown(value)} nodes was asked for; ask for a whole number from 1 to {MAX_NODES:,}."
        )
    return whole


def checked_num_edges(value: object) -> int:
    """A number of edges that may be asked for, or one sentence why not."""
    whole = _whole(value)
    if whole is None or whole < 0:
        raise PromptError(f"a graph of {_shown(value)} edges was asked for; ask for a whole number from 0 up.")
    return whole


def checked_attribute(name: str, value: object) -> float:
    """A value that the attribute can have, or one sentence why not."""
    if name not in ATTRIBUTE_RANGES:
        raise _unknown_attribute(name)
    least, most = ATTRIBUTE_RANGES[name]
    # Written so that NaN fails too.
    if not isinstance(value, Real) or isinstance(value, bool) or not least <= float(value) <= most:
        raise PromptError(f"{spoken(name)} {_shown(value)} was asked for; ask for a number from {least:g} to {most:,}.")
    number = float(value)
    if name in WHOLE_ATTRIBUTES and not number.is_integer():
        raise PromptError(f"{spoken(name)} {number:g} was asked for; ask for a whole number.")
    return number


def checked_level(name: str, level: Level) -> Level:
    """A level of an attribute, or one sentence why not."""
    if name not in ATTRIBUTE_RANGES:
        raise _unknown_attribute(name)
    if level not in LEVELS:
        raise PromptError(f"the level {level!r} of {spoken(name)} was asked for; ask for low, medium or high.")
    return level


def implied_edges(num_nodes: int, name: str, value: float) -> float:
    r"""The number of edges that a mean degree :math:`\bar d` or a density :math:`\rho` stands for, before rounding.

    .. math:: m = n \bar d / 2 = \rho n (n - 1) / 2
    """
    return num_nodes * value / 2 * (num_nodes - 1 if name == "density" else 1)


def check_feasible(
    most_nodes: int, num_nodes: int | None, num_edges: int | None, attributes: Mapping[str, float]
) -> None:
    """Refuse sizes that no simple graph has.

    Args:
        most_nodes: The largest number of nodes that the request allows.
        num_nodes: The number of nodes if it is fixed.
        num_edges: The number of edges if it is fixed.
        attributes: Requested attributes.

    Raises:
        PromptError: The sentence names the two numbers that exclude each other.
    """
    for name, below in (("mean_degree", 1), ("diameter", 1), ("components", 0)):
        if attributes.get(name, 0) > most_nodes - below:
            raise PromptError(
                f"{spoken(name)} {attributes[name]:g} was asked for with {counted(most_nodes, 'node')}; at most "
                f"{most_nodes - below:,} is possible, so ask for more nodes or a smaller {spoken(name)}."
            )
    if num_edges is None:
        return
    if num_edges > MAX_EDGES:
        raise PromptError(
            f"{counted(num_edges, 'edge')} were asked for; at most {MAX_EDGES:,} can be drawn, so ask for fewer."
        )
    components = int(attributes.get("components", 1))
    within = f" in {counted(components, 'component')}" if "components" in attributes else ""
    most_edges = (most_nodes - components + 1) * (most_nodes - components) // 2
    if num_edges > most_edges:
        raise PromptError(
            f"{counted(num_edges, 'edge')} and {counted(most_nodes, 'node')}{within} were asked for; at most "
            f"{counted(most_edges, 'edge')} can be there, so ask for fewer edges or more nodes."
        )
    if num_nodes is not None and within and num_edges < num_nodes - components:
        raise PromptError(
            f"{counted(num_edges, 'edge')} and {counted(num_nodes, 'node')}{within} were asked for; at least "
            f"{counted(num_nodes - components, 'edge')} must be there, so ask for more edges or more components."
        )


def spoken(name: str) -> str:
    """The name of an attribute in a sentence, such as "mean degree"."""
    return name.replace("_", " ")


def counted(number: int, noun: str) -> str:
    """A number and its noun, such as "1 node" and "1,200 nodes"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _whole(value: Any) -> int | None:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _shown(value: object) -> str:
    whole = _whole(value)
    return f"{whole:,}" if whole is not None else f"{value:g}" if isinstance(value, float) else repr(value)


def _unknown_attribute(name: str) -> PromptError:
    near = difflib.get_close_matches(name, ATTRIBUTE_RANGES, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"the attributes are {', '.join(ATTRIBUTE_RANGES)}."
    return PromptError(f'there is no attribute "{name}"; {hint}')
