"""What a user asks a graph to be: a domain, sizes, numbers and levels, checked once, in one record.

A :class:`Condition` comes from a prompt (:func:`graftable.graphs.prompts.parse_prompt`), from options, or from a graph
of the corpus. :class:`Terciles` say what "low", "medium" and "high" mean: the thirds of the corpus.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from graftable.errors import PromptError

from .condition_checks import (
    ATTRIBUTE_RANGES,
    LEVELS,
    MAX_NODES,
    Level,
    check_feasible,
    checked_attribute,
    checked_level,
    checked_num_edges,
    checked_num_nodes,
    counted,
    implied_edges,
    spoken,
)

__all__ = ["ATTRIBUTE_RANGES", "LEVELS", "MAX_NODES", "Condition", "Level", "Terciles"]


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
        num_nodes_range: Least and most nodes, both allowed; left open once ``num_nodes`` is known.

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
        self._set("levels", {name: checked_level(name, level) for name, level in self.levels.items()})
        if self.num_nodes is not None:
            self._set("num_nodes", checked_num_nodes(self.num_nodes))
        if self.num_edges is not None:
            self._set("num_edges", checked_num_edges(self.num_edges))
        self._infer_nodes()
        most_nodes = self.num_nodes or (self.num_nodes_range[1] if self.num_nodes_range else MAX_NODES)
        check_feasible(most_nodes, self.num_nodes, None, self.attributes)
        self._infer_edges()
        check_feasible(most_nodes, self.num_nodes, self.num_edges, self.attributes)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen for everyone else

    def _infer_nodes(self) -> None:
        """Fix the number of nodes where the range, or the edges and the mean degree, leave only one."""
        span, degree = self.num_nodes_range, self.attributes.get("mean_degree")
        if span is not None:
            low, high = (checked_num_nodes(bound) for bound in span)
            if low > high:
                raise PromptError(f"between {low:,} and {high:,} nodes were asked for; give the smaller number first.")
            span = (low, high)
            if low == high and self.num_nodes is None:
                self._set("num_nodes", low)
        if self.num_nodes is None and self.num_edges and degree:
            self._set("num_nodes", checked_num_nodes(max(1, math.floor(2 * self.num_edges / degree + 0.5))))
        if span is not None and self.num_nodes is not None:
            if not span[0] <= self.num_nodes <= span[1]:
                raise PromptError(f"{_said(span)} and also {counted(self.num_nodes, 'node')} were asked for; keep one.")
            span = None
        self._set("num_nodes_range", span)

    def _infer_edges(self) -> None:
        """Fill in the number of edges that the mean degree or the density implies, or refuse a mismatch."""
        if self.num_nodes is None:
            return
        for name in ("mean_degree", "density"):
            if name not in self.attributes:
                continue
            implied = implied_edges(self.num_nodes, name, self.attributes[name])
            # People round: 4.2 stands for 4.23, and a number of nodes that was itself inferred is off by up to a half.
            slack = max(0.5 + implied / (2 * self.num_nodes), 0.025 * self.num_nodes, 0.02 * implied) + 1e-6
            if self.num_edges is None:
                self._set("num_edges", math.floor(implied + 0.5))  # halves go up, whatever the parity
            elif abs(self.num_edges - implied) > slack:
                raise PromptError(
                    f"{counted(self.num_nodes, 'node')} with {spoken(name)} {self.attributes[name]:g} have "
                    f"{counted(round(implied), 'edge')}, but {self.num_edges:,} were asked for; leave one out."
                )

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
            >>> Condition(num_nodes=300).merged(Condition(num_nodes=200))
            Traceback (most recent call last):
            graftable.errors.PromptError: 300 nodes (the prompt) and 200 nodes (the options) were asked for; keep one.
        """

        def one(mine: Any, theirs: Any, words: str, name: str = "") -> Any:
            if mine is not None and theirs is not None and mine != theirs:
                raise _conflict(sources, words.format(mine, spoken(name)), words.format(theirs, spoken(name)))
            return theirs if mine is None else mine

        def each(mine: Mapping[str, Any], theirs: Mapping[str, Any], words: str) -> dict[str, Any]:
            return {name: one(mine.get(name), theirs.get(name), words, name) for name in {**mine, **theirs}}

        return Condition(
            text=other.text if self.text is None else self.text,
            domain=one(self.domain, other.domain, 'the domain "{0}"'),
            num_nodes=one(self.num_nodes, other.num_nodes, "{0:,} nodes"),
            num_nodes_range=_common_range(self, other, sources),
            attributes=each(self.attributes, other.attributes, "{1} {0:g}"),
            levels=each(self.levels, other.levels, "{0} {1}"),
            # Last: a number of edges may follow from the numbers above, which the user will recognise sooner.
            num_edges=one(self.num_edges, other.num_edges, "{0:,} edges"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The request as JSON types, without the fields that are open."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        fields |= {"attributes": dict(self.attributes), "levels": dict(self.levels)}
        if self.num_nodes_range is not None:
            fields["num_nodes_range"] = list(self.num_nodes_range)
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

    A value is low up to the first cut point, medium up to the second, and high above. A cut point belongs to the
    level below it, so that a value which fills more than a third of the corpus (clustering 0) is low as a whole.

    Args:
        cuts: The two cut points by attribute.

    Raises:
        PromptError: If an attribute is unknown or its cut points are not in order.

    Example:
        >>> terciles = Terciles.from_values({"clustering": [0.0, 0.0, 0.1, 0.3, 0.5, 0.8]})
        >>> terciles.level_of("clustering", 0.6), terciles.bounds("clustering", "high")
        ('high', (0.3, 1.0))
    """

    cuts: Mapping[str, tuple[float, float]]

    def __post_init__(self) -> None:
        for name, (first, second) in self.cuts.items():
            checked_level(name, "low")
            if not -math.inf < first <= second < math.inf:  # NaN fails too
                raise PromptError(
                    f"the cut points of {spoken(name)} are {first} and {second}; give two numbers in order."
                )

    @classmethod
    def from_values(cls, values: Mapping[str, ArrayLike]) -> Self:
        """The thirds of the given values, one array for each attribute; attributes without values are left out."""
        arrays = {name: np.asarray(array, dtype=np.float64).ravel() for name, array in values.items()}
        # Cut points are values that occur: between two values, rounding could move one across.
        cuts = {
            name: np.quantile(array, [1 / 3, 2 / 3], method="inverted_cdf")
            for name, array in arrays.items()
            if array.size
        }
        return cls({name: (float(low), float(high)) for name, (low, high) in cuts.items()})

    def level_of(self, name: str, value: float) -> Level:
        """The level of a value."""
        first, second = self._cuts_of(name)
        return "low" if value <= first else "medium" if value <= second else "high"

    def bounds(self, name: str, level: Level) -> tuple[float, float]:
        """The values of a level: above the first number (from it on, for "low") and up to the second."""
        place = LEVELS.index(checked_level(name, level))
        least, most = ATTRIBUTE_RANGES[name]
        ends = (float(least), *self._cuts_of(name), float(most))
        return ends[place], ends[place + 1]

    def check(self, condition: Condition) -> None:
        """Refuse a number that lies outside the level that is asked for with it.

        Raises:
            PromptError: The sentence names the level, its bounds and the number.
        """
        for name in condition.levels.keys() & condition.attributes.keys() & self.cuts.keys():
            wanted, value = condition.levels[name], condition.attributes[name]
            if self.level_of(name, value) != wanted:
                low, high = self.bounds(name, wanted)
                raise PromptError(
                    f"{wanted} {spoken(name)} ({low:g} to {high:g} here) and {spoken(name)} {value:g} were asked for; "
                    "keep one."
                )

    def _cuts_of(self, name: str) -> tuple[float, float]:
        if name not in self.cuts:
            raise PromptError(f'no levels are known for "{name}"; they are known for {", ".join(self.cuts)}.')
        return self.cuts[name]

    def to_dict(self) -> dict[str, list[float]]:
        """The cut points as JSON types."""
        return {name: list(pair) for name, pair in self.cuts.items()}

    @classmethod
    def from_dict(cls, cuts: Mapping[str, Any]) -> Self:
        """The terciles that :meth:`to_dict` wrote."""
        return cls({name: (float(first), float(second)) for name, (first, second) in cuts.items()})


def _common_range(one: Condition, two: Condition, sources: tuple[str, str]) -> tuple[int, int] | None:
    """The numbers of nodes that both requests allow."""
    spans = [c.num_nodes_range or ((c.num_nodes, c.num_nodes) if c.num_nodes else None) for c in (one, two)]
    if spans[0] is None or spans[1] is None:
        return spans[0] or spans[1]
    low, high = max(spans[0][0], spans[1][0]), min(spans[0][1], spans[1][1])
    if low > high:
        raise _conflict(sources, _said(spans[0]), _said(spans[1]))
    return low, high


def _said(span: tuple[int, int]) -> str:
    return counted(span[0], "node") if span[0] == span[1] else f"{span[0]:,} to {span[1]:,} nodes"


def _conflict(sources: tuple[str, str], first: str, second: str) -> PromptError:
    return PromptError(f"{first} ({sources[0]}) and {second} ({sources[1]}) were asked for; keep one.")
