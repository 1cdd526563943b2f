r"""What a user asks a graph to be: a domain, sizes, numbers and levels, checked once, in one record.

A :class:`Condition` comes from a prompt (:func:`graftable.graphs.prompts.parse_prompt`), from options, or from a graph
of the corpus. :class:`Terciles` say what "low", "medium" and "high" mean: the thirds of the corpus.

A request is refused where no graph can fulfil it. For ``n`` nodes, ``m`` edges and ``c`` components

.. math:: n - c \le m \le \binom{n - c + 1}{2}, \qquad \bar d = 2 m / n, \qquad \rho = 2 m / (n (n - 1)).
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from graftable.errors import PromptError

__all__ = ["ATTRIBUTE_RANGES", "LEVELS", "MAX_NODES", "Condition", "Level", "Terciles"]

Level = Literal["low", "medium", "high"]

LEVELS: tuple[Level, ...] = ("low", "medium", "high")

MAX_NODES = 50_000
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


@dataclass(frozen=True)
class Condition:
    """A request for a graph; every field may be left open, and an open field is drawn by the model.

    Numbers that follow from others are filled in: nodes and mean degree (or density) give the edges, edges and mean
    degree give the nodes.

    Args:
        text: The words of the user, or None.
        domain: A domain of the corpus, or None.
        num_nodes: Number of nodes in 1..50,000, exact.
        num_edges: Number of edges, exact; at most ``n (n - 1) / 2``.
        attributes: Numbers by the names of :data:`ATTRIBUTE_RANGES`.
        levels: "low", "medium" or "high" by the same names.
        num_nodes_range: Smallest and largest number of nodes, both allowed; left open once ``num_nodes`` is known.

    Raises:
        PromptError: If a value is out of range, or no graph can have all the values.

    Example:
        >>> Condition(domain="power", num_nodes=300, attributes={"mean_degree": 2.8}).num_edges
        420
        >>> Condition(num_nodes=0)
        Traceback (most recent call last):
        graftable.errors.PromptError: a graph of 0 nodes was asked for; ask for a whole number from 1 to 50,000.
    """

    text: str | None = None
    domain: str | None = None
    num_nodes: int | None = None
    num_edges: int | None = None
    attributes: Mapping[str, float] = field(default_factory=dict)
    levels: Mapping[str, Level] = field(default_factory=dict)
    num_nodes_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self._set("attributes", {name: checked_attribute(name, value) for name, value in self.attributes.items()})
        self._set("levels", {name: _checked_level(name, level) for name, level in self.levels.items()})
        if self.num_nodes is not None:
            self._set("num_nodes", checked_num_nodes(self.num_nodes))
        if self.num_edges is not None:
            self._set("num_edges", _checked_num_edges(self.num_edges))
        self._infer_sizes()
        self._settle_range()
        _check_feasible(self)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen for everyone else

    def _infer_sizes(self) -> None:
        """Fill in the number of edges or nodes that the mean degree or the density implies, or refuse a mismatch."""
        degree, density = self.attributes.get("mean_degree"), self.attributes.get("density")
        if self.num_nodes is None and self.num_edges and degree:
            self._set("num_nodes", checked_num_nodes(max(1, round(2 * self.num_edges / degree))))
        if self.num_nodes is None:
            return
        nodes = self.num_nodes
        if degree is not None:
            self._infer_edges(nodes, degree, "mean degree", degree * nodes / 2)
        if density is not None:
            self._infer_edges(nodes, density, "density", density * nodes * (nodes - 1) / 2)

    def _infer_edges(self, nodes: int, value: float, name: str, implied: float) -> None:
        if name == "mean degree" and value > nodes - 1:
            raise PromptError(
                f"a mean degree of {value:g} was asked for with {_count(nodes, 'node')}; "
                f"at most {nodes - 1} is possible, so ask for more nodes or a smaller mean degree."
            )
        if self.num_edges is None:
            # Halves round up, so that what a written mean degree implies does not depend on parity.
            self._set("num_edges", math.floor(implied + 0.5))
        # People round: 4.2 stands for 4.23, and a number of nodes that was itself inferred is off by up to a half.
        elif abs(self.num_edges - implied) > max(0.5 + implied / (2 * nodes), 0.025 * nodes, 0.02 * implied) + 1e-6:
            raise PromptError(
                f"{_count(nodes, 'node')} with a {name} of {value:g} have {round(implied):,} edges, "
                f"but {self.num_edges:,} edges were asked for; leave one of the two out."
            )

    def _settle_range(self) -> None:
        if self.num_nodes_range is None:
            return
        low, high = (checked_num_nodes(bound) for bound in self.num_nodes_range)
        if low > high:
            raise PromptError(f"between {low:,} and {high:,} nodes were asked for; give the smaller number first.")
        self._set("num_nodes_range", (low, high))
        if low == high and self.num_nodes is None:
            self._set("num_nodes", low)
            self._infer_sizes()
        if self.num_nodes is not None:
            if not low <= self.num_nodes <= high:
                raise PromptError(
                    f"between {low:,} and {high:,} nodes and also {self.num_nodes:,} nodes were asked for; keep one."
                )
            self._set("num_nodes_range", None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is asked for."""
        return self == Condition()

    def merged(self, other: "Condition", sources: tuple[str, str] = ("the prompt", "the options")) -> "Condition":
        """Both requests in one.

        Args:
            other: The second request; its text is used only where this one has none.
            sources: What the two requests are called in the error.

        Raises:
            PromptError: If the two ask for different things; the one sentence names both.

        Example:
            >>> Condition(text="a tree", domain="tree").merged(Condition(num_nodes=20)).num_nodes
            20
            >>> Condition(domain="tree").merged(Condition(domain="bio"), ("one", "two"))
            Traceback (most recent call last):
            graftable.errors.PromptError: one asks for the domain "tree", but two asks for the domain "bio"; keep one of them.
        """

        def one(mine: Any, theirs: Any, words: str, name: str = "") -> Any:
            if mine is not None and theirs is not None and mine != theirs:
                raise PromptError(_conflict(sources, words.format(mine, name), words.format(theirs, name)))
            return theirs if mine is None else mine

        def each(mine: Mapping[str, Any], theirs: Mapping[str, Any], words: str) -> dict[str, Any]:
            return {name: one(mine.get(name), theirs.get(name), words, name) for name in {**mine, **theirs}}

        domain = one(self.domain, other.domain, 'the domain "{0}"')
        num_nodes = one(self.num_nodes, other.num_nodes, "{0:,} nodes")
        attributes = each(self.attributes, other.attributes, "{1} {0:g}")
        levels = each(self.levels, other.levels, "{0} {1}")
        # Last, because a number of edges may follow from the numbers above, which the user will recognise.
        num_edges = one(self.num_edges, other.num_edges, "{0:,} edges")
        span = _common_range(self, other, sources)
        return Condition(
            text=self.text if self.text is not None else other.text,
            domain=domain,
            num_nodes=num_nodes,
            num_edges=num_edges,
            attributes=attributes,
            levels=levels,
            num_nodes_range=span,
        )

    def to_dict(self) -> dict[str, Any]:
        """The request as JSON types, without the fields that are open."""
        fields = {
            "text": self.text,
            "domain": self.domain,
            "num_nodes": self.num_nodes,
            "num_edges": self.num_edges,
            "attributes": dict(self.attributes),
            "levels": dict(self.levels),
            "num_nodes_range": None if self.num_nodes_range is None else list(self.num_nodes_range),
        }
        return {name: value for name, value in fields.items() if value is not None and value != {}}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """The request that :meth:`to_dict` wrote.

        Raises:
            PromptError: If a field is unknown or a value is not allowed.
        """
        known = cls.__dataclass_fields__
        for name in fields:
            if name not in known:
                raise PromptError(f'a condition has no field "{name}"; its fields are {", ".join(known)}.')
        values = dict(fields)
        if values.get("num_nodes_range") is not None:
            values["num_nodes_range"] = tuple(values["num_nodes_range"])
        return cls(**values)


@dataclass(frozen=True)
class Terciles:
    """What "low", "medium" and "high" mean: two cut points for each attribute.

    A value is low in ``(-inf, first]``, medium in ``(first, second]`` and high in ``(second, inf)``. The upper ends
    belong to the level, so that a value which fills more than a third of the corpus (clustering 0) is low as a whole.

    Args:
        cuts: The two cut points by attribute.

    Example:
        >>> terciles = Terciles.from_values({"clustering": [0.0, 0.0, 0.1, 0.2, 0.5, 0.7]})
        >>> terciles.level_of("clustering", 0.6), terciles.bounds("clustering", "high")
        ('high', (0.3, 1.0))
    """

    cuts: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for name, (first, second) in self.cuts.items():
            if name not in ATTRIBUTE_RANGES:
                raise PromptError(_unknown_attribute(name))
            if not first <= second:  # NaN too
                raise PromptError(f"the cut points of {name} are {first} and {second}; give two numbers in order.")

    @classmethod
    def from_values(cls, values: Mapping[str, ArrayLike]) -> Self:
        """The thirds of the given values, one array for each attribute; attributes without values are left out."""
        cuts = {}
        for name, array in values.items():
            numbers = np.asarray(array, dtype=np.float64).ravel()
            if numbers.size:
                first, second = np.quantile(numbers, [1 / 3, 2 / 3])
                cuts[name] = (round(float(first), 6), round(float(second), 6))
        return cls(cuts)

    def level_of(self, name: str, value: float) -> Level:
        """The level of a value."""
        first, second = self._cuts_of(name)
        return "low" if value <= first else "medium" if value <= second else "high"

    def bounds(self, name: str, level: Level) -> tuple[float, float]:
        """The values of a level: above the first number (or equal, where it is the least possible) up to the second."""
        first, second = self._cuts_of(name)
        least, most = ATTRIBUTE_RANGES[name]
        edges = (float(least), first, second, float(most))
        place = LEVELS.index(_checked_level(name, level))
        return edges[place], edges[place + 1]

    def _cuts_of(self, name: str) -> tuple[float, float]:
        if name not in self.cuts:
            raise PromptError(f'no levels are known for "{name}"; they are known for {", ".join(self.cuts)}.')
        return self.cuts[name]

    def to_dict(self) -> dict[str, list[float]]:
        """The cut points as JSON types."""
        return {name: [first, second] for name, (first, second) in self.cuts.items()}

    @classmethod
    def from_dict(cls, cuts: Mapping[str, Any]) -> Self:
        """The terciles that :meth:`to_dict` wrote."""
        return cls({name: (float(first), float(second)) for name, (first, second) in cuts.items()})


def checked_num_nodes(value: object) -> int:
    """A number of nodes that may be asked for, or one sentence why not."""
    whole = _whole(value)
    if whole is None or not 1 <= whole <= MAX_NODES:
        shown = f"{whole:,}" if whole is not None else repr(value)
        raise PromptError(
            f"a graph of {shown} nodes was asked for; ask for a whole number from 1 to {MAX_NODES:,}."
        )
    return whole


def checked_attribute(name: str, value: object) -> float:
    """A value that the attribute can have, or one sentence why not."""
    if name not in ATTRIBUTE_RANGES:
        raise PromptError(_unknown_attribute(name))
    least, most = ATTRIBUTE_RANGES[name]
    if not isinstance(value, Real) or isinstance(value, bool) or not least <= float(value) <= most:  # NaN too
        shown = f"{float(value):g}" if isinstance(value, Real) else repr(value)
        raise PromptError(f"{name} {shown} was asked for; ask for a number from {least:g} to {most:,}.")
    number = float(value)
    if name in WHOLE_ATTRIBUTES and not number.is_integer():
        raise PromptError(f"{name} {number:g} was asked for; ask for a whole number.")
    return number


def _checked_num_edges(value: object) -> int:
    whole = _whole(value)
    if whole is None or whole < 0:
        raise PromptError(f"a graph of {value!r} edges was asked for; ask for a whole number from 0 up.")
    return whole


def _checked_level(name: str, level: Level) -> Level:
    if name not in ATTRIBUTE_RANGES:
        raise PromptError(_unknown_attribute(name))
    if level not in LEVELS:
        raise PromptError(f"the level {level!r} was asked for {name}; ask for low, medium or high.")
    return level


def _whole(value: object) -> int | None:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else None


def _check_feasible(condition: Condition) -> None:
    """Refuse sizes that no simple graph has.

    Raises:
        PromptError: See the module's formula; the sentence names the two numbers that exclude each other.
    """
    span = condition.num_nodes_range
    most_nodes = condition.num_nodes or (span[1] if span else MAX_NODES)
    for name, least_nodes in (("mean_degree", 1), ("diameter", 1), ("components", 0)):
        value = condition.attributes.get(name, 0)
        if value > most_nodes - least_nodes:
            raise PromptError(
                f"{name} {value:g} was asked for with {_count(most_nodes, 'node')}; "
                f"at most {most_nodes - least_nodes:,} is possible, so ask for more nodes or a smaller {name}."
            )
    edges, components = condition.num_edges, condition.attributes.get("components")
    if edges is None:
        return
    spare = most_nodes - int(components or 1)
    if edges > spare * (spare + 1) // 2:
        within = "" if components is None else f" in {_count(int(components), 'component')}"
        raise PromptError(
            f"{edges:,} edges were asked for, but {_count(most_nodes, 'node')}{within} have at most "
            f"{spare * (spare + 1) // 2:,}; ask for fewer edges or more nodes."
        )
    if condition.num_nodes is not None and components is not None and edges < condition.num_nodes - components:
        raise PromptError(
            f"{_count(condition.num_nodes, 'node')} in {_count(int(components), 'component')} need at least "
            f"{condition.num_nodes - int(components):,} edges, but {edges:,} were asked for; ask for more edges."
        )


def _common_range(one: Condition, two: Condition, sources: tuple[str, str]) -> tuple[int, int] | None:
    """The numbers of nodes that both requests allow."""
    spans = [c.num_nodes_range or ((c.num_nodes, c.num_nodes) if c.num_nodes else None) for c in (one, two)]
    if spans[0] is None or spans[1] is None:
        return spans[0] or spans[1]
    low, high = max(spans[0][0], spans[1][0]), min(spans[0][1], spans[1][1])
    if low > high:
        raise PromptError(_conflict(sources, *(_say_span(span) for span in spans if span)))
    return low, high


def _say_span(span: tuple[int, int]) -> str:
    return _count(span[0], "node") if span[0] == span[1] else f"{span[0]:,} to {span[1]:,} nodes"


def _conflict(sources: tuple[str, str], first: str, second: str) -> str:
    verbs = ["ask" if source.endswith("options") else "asks" for source in sources]
    return f"{sources[0]} {verbs[0]} for {first}, but {sources[1]} {verbs[1]} for {second}; keep one of them."


def _unknown_attribute(name: str) -> str:
    near = difflib.get_close_matches(name, ATTRIBUTE_RANGES, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"the attributes are {', '.join(ATTRIBUTE_RANGES)}."
    return f'there is no attribute "{name}"; {hint}'


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
