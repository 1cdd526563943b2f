"""What graphs exist: the joint distribution of domain, size and attributes, as the training graphs themselves.

A prompt says little. What it leaves open (and n and m before all) is drawn jointly from the training graphs that
fit it, so that a road network is sparse and a friendship network is not, without a density model to be fitted.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graftable.errors import PromptError

from .attributes import ATTRIBUTES
from .conditions import Condition, Level, Terciles

__all__ = ["VALUES", "ConditionTable", "DrawnCondition", "domain_index"]

VALUES = ("num_nodes", "num_edges", *ATTRIBUTES)
"""The numbers that a row holds, in this order."""

_LOGARITHMIC = ("num_nodes", "num_edges", "mean_degree", "components", "diameter")
# How far (in standard deviations of the logarithm or value) a training graph may be from a requested number.
_REACH = 0.15
_SIZE_REACH = 0.35  # natural logarithm of n


def domain_index(name: str, domains: Sequence[str]) -> int:
    """Place of a domain among those that a model knows.

    Raises:
        PromptError: If it is not among them; the sentence names the nearest.
    """
    if name in domains:
        return domains.index(name)
    near = difflib.get_close_matches(name, domains, n=1)
    advice = f'did you mean "{near[0]}"?' if near else f"it knows {', '.join(domains)}."
    raise PromptError(f'the model knows no domain "{name}"; {advice}')


@dataclass(frozen=True)
class DrawnCondition:
    """A condition in which nothing but the text is left open."""

    domain: int  # index into the model's domains, -1 if unknown
    values: dict[str, float]  # by the names of VALUES; what no longer holds at another size is left out


class ConditionTable(nn.Module):
    """One row for each training graph; kept with the weights.

    Shapes:
        ``domain`` (rows,) int64; ``values`` (rows, len(VALUES)) float32.
    """

    domain: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("domain", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("values", torch.zeros(0, len(VALUES)))
        self._terciles: Terciles | None = None

    def fill(self, domain: Tensor, values: Tensor) -> None:
        """Replace the rows."""
        self.domain, self.values = domain.to(self.domain), values.to(self.values)
        self._terciles = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("domain", "values"):  # the number of rows is not known before the file is read
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.values.device))
        self._terciles = None
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __len__(self) -> int:
        return len(self.domain)

    def standardised(self, values: Tensor) -> Tensor:
        """Values (..., len(VALUES)) as the network reads them: logarithms of what spans decades; mean 0, spread 1."""
        own = _compressed(self.values)
        spread = own.std(0) if len(own) > 1 else torch.zeros_like(own[0])
        return (_compressed(values) - own.mean(0)) / spread.clamp(min=0.05)

    def terciles(self) -> Terciles:
        """What low, medium and high mean among the rows; for the attributes and density."""
        if self._terciles is None:
            columns = {name: self.column(name).numpy(force=True) for name in (*ATTRIBUTES, "density")}
            self._terciles = Terciles.from_values(columns)
        return self._terciles

    def column(self, name: str) -> Tensor:
        """(rows,) one of VALUES, or density."""
        if name == "density":
            nodes, edges = self.values[:, 0].double(), self.values[:, 1].double()
            return 2 * edges / (nodes * (nodes - 1)).clamp(min=1)
        return self.values[:, VALUES.index(name)].double()

    def draw(
        self,
        condition: Condition,
        domains: Sequence[str],
        random: np.random.Generator,
        text_score: Tensor | None = None,
    ) -> DrawnCondition:
        """Draw everything that ``condition`` leaves open from the rows that fit it.

        Args:
            condition: A request; levels are read with ``terciles``.
            domains: Names of the domain indices.
            random: Source of the draw.
            text_score: (rows,) log p(row | text) up to a constant, from the text encoder.

        Raises:
            PromptError: If the table is empty, or the domain is unknown or has no rows.
        """
        if not len(self):
            raise PromptError("the model has seen no graphs yet; fit it, or load a fitted one with from_pretrained.")
        score = self._fit(condition, domains)
        if text_score is not None:
            score = score + text_score.double().cpu().numpy()
        weight = np.exp(score - score.max())
        row = int(random.choice(len(weight), p=weight / weight.sum()))
        values = dict(zip(VALUES, self.values[row].tolist(), strict=True))
        nodes = self._nodes(condition, values, random)
        edges = condition.num_edges if condition.num_edges is not None else self._edges(condition, values, nodes)
        if abs(math.log(nodes / values["num_nodes"])) > 0.25:  # these do not carry over to another size
            del values["diameter"], values["components"]
        values |= {name: value for name, value in condition.attributes.items() if name in VALUES}
        values |= {"num_nodes": nodes, "num_edges": edges, "mean_degree": 2 * edges / nodes}
        return DrawnCondition(int(self.domain[row]), values)

    def _nodes(self, condition: Condition, values: dict[str, float], random: np.random.Generator) -> int:
        if condition.num_nodes is not None:
            return condition.num_nodes
        nodes = int(values["num_nodes"])
        least = 1
        if condition.num_edges is not None:  # keep the requested density or mean degree, or else the row's
            edges, density = condition.num_edges, condition.attributes.get("density")
            least = _nodes_for(edges, 1.0)
            degree = condition.attributes.get("mean_degree", values["mean_degree"])
            nodes = _nodes_for(edges, density) if density else round(2 * edges / max(degree, 0.5))
        if condition.num_nodes_range is not None:
            low, high = condition.num_nodes_range
            low = min(max(low, least), high)
            nodes = nodes if low <= nodes <= high else int(random.integers(low, high + 1))
        return max(nodes, least)

    def _edges(self, condition: Condition, values: dict[str, float], nodes: int) -> int:
        """Edges of the row, carried over to ``nodes`` nodes and kept inside the levels that are asked for."""
        edges = _scaled_edges(values, nodes, condition)
        most = nodes * (nodes - 1) // 2
        for name, per_edge in (("mean_degree", 2 / nodes), ("density", 1 / max(most, 1))):
            if name in condition.levels and name not in condition.attributes:
                low, high = self.terciles().bounds(name, condition.levels[name])
                first = math.floor(low / per_edge) + 1 if low > 0 else 0  # levels are open below
                edges = max(min(edges, math.floor(high / per_edge)), first)
        return min(edges, most)

    def _fit(self, condition: Condition, domains: Sequence[str]) -> np.ndarray:
        """Log-weight of each row: 0 where it fits, falling with the distance from what is asked for."""
        score = np.zeros(len(self))
        if condition.domain is not None:
            elsewhere = self.domain.numpy(force=True) != domain_index(condition.domain, domains)
            if elsewhere.all():
                raise PromptError(
                    f'the model was fitted to no graph of the domain "{condition.domain}"; leave the domain out, or '
                    "use a model that was."
                )
            score -= 1e6 * elsewhere
        nodes = self.column("num_nodes").numpy(force=True)
        if condition.num_nodes is not None:
            score -= (np.log(nodes / condition.num_nodes) / _SIZE_REACH) ** 2 / 2
        if condition.num_nodes_range is not None:
            low, high = condition.num_nodes_range
            outside = np.maximum(np.maximum(np.log(low / nodes), np.log(nodes / high)), 0)
            score -= (outside / 0.1) ** 2 / 2
        wanted = dict(condition.attributes)
        if condition.num_nodes and condition.num_edges:
            wanted["mean_degree"] = 2 * condition.num_edges / condition.num_nodes
        for name in sorted(wanted.keys() & {*VALUES, "density"}):
            distance = self._distance(name, wanted[name])
            # a value beyond all rows is served by the nearest ones
            score -= ((distance - distance.min()) / _REACH) ** 2 / 2
        for name, level in condition.levels.items():
            score -= self._outside(name, level)
        return score

    def _distance(self, name: str, value: float) -> np.ndarray:
        column = self.column(name)
        shift = torch.cat([column, column.new_tensor([value])])
        shift = torch.log(shift.clamp(min=0.1)) if name in _LOGARITHMIC else shift
        spread = shift[:-1].std(correction=0).clamp(min=0.05)
        return ((shift[:-1] - shift[-1]).abs() / spread).numpy(force=True)

    def _outside(self, name: str, level: Level) -> np.ndarray:
        """0 for rows of a level, a large number that grows with the distance for the others."""
        value = self.column(name).numpy(force=True)
        first, second = self.terciles().cuts[name]
        low, high = {"low": (-np.inf, first), "medium": (first, second), "high": (second, np.inf)}[level]
        gap = np.where((low < value) & (value <= high), 0.0, np.maximum(low - value, value - high).clip(min=0) + 0.05)
        return np.asarray(100 * gap / max(value.std(), 1e-9))


def _compressed(values: Tensor) -> Tensor:
    index = [VALUES.index(name) for name in _LOGARITHMIC]
    logs = torch.zeros(len(VALUES), dtype=torch.bool, device=values.device)
    logs[index] = True
    return torch.where(logs, torch.log(values.clamp(min=0.1)), values)


def _nodes_for(edges: int, density: float) -> int:
    """The fewest nodes at which so many edges make at most this density."""
    return math.ceil(0.5 + math.sqrt(0.25 + 2 * edges / density) - 1e-9)


def _scaled_edges(values: dict[str, float], nodes: int, condition: Condition) -> int:
    """The edges that the row would have with ``nodes`` nodes: independent cycles grow with n, a tree stays a tree."""
    most = nodes * (nodes - 1) // 2
    degree = condition.attributes.get("mean_degree")
    if degree is not None:
        return min(round(degree * nodes / 2), most)
    if "density" in condition.attributes:
        return min(round(condition.attributes["density"] * most), most)
    components = values["components"]
    cycles = values["num_edges"] - values["num_nodes"] + components
    scale = nodes / values["num_nodes"]
    if components > 1 and not 0.8 <= scale <= 1.2:
        components *= scale
    components = condition.attributes.get("components", min(max(components, 1), nodes))
    return int(min(max(round(nodes - components + cycles * scale), 0), most))
