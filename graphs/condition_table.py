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

    def fill(self, domain: Tensor, values: Tensor) -> None:
        """Replace the rows."""
        self.domain, self.values = domain.to(self.domain), values.to(self.values)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("domain", "values"):  # the number of rows is not known before the file is read
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.values.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def __len__(self) -> int:
        return len(self.domain)

    def standardised(self, values: Tensor) -> Tensor:
        """Values (..., len(VALUES)) as the network reads them: logarithms of what spans decades; mean 0, spread 1."""
        own = _compressed(self.values)
        return (_compressed(values) - own.mean(0)) / own.std(0).clamp(min=0.05)

    def terciles(self) -> Terciles:
        """What low, medium and high mean among the rows; for the attributes and density."""
        return Terciles.from_values({name: self.column(name).numpy(force=True) for name in (*ATTRIBUTES, "density")})

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
            PromptError: If the table is empty or the domain is unknown.
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
        edges = condition.num_edges if condition.num_edges is not None else _scaled_edges(values, nodes, condition)
        if abs(math.log(nodes / values["num_nodes"])) > 0.25:  # these do not carry over to another size
            del values["diameter"], values["components"]
        values |= {name: value for name, value in condition.attributes.items() if name in VALUES}
        values |= {"num_nodes": nodes, "num_edges": edges, "mean_degree": 2 * edges / nodes}
        return DrawnCondition(int(self.domain[row]), values)

    def _nodes(self, condition: Condition, values: dict[str, float], random: np.random.Generator) -> int:
        if condition.num_nodes is not None:
            return condition.num_nodes
        nodes = int(values["num_nodes"])
        if condition.num_edges is not None:  # keep the row's mean degree, or the requested one
            degree = condition.attributes.get("mean_degree", values["mean_degree"])
            nodes = max(round(2 * condition.num_edges / max(degree, 0.5)), 1)
            while nodes * (nodes - 1) // 2 < condition.num_edges:
                nodes += 1
        if condition.num_nodes_range is not None:
            low, high = condition.num_nodes_range
            nodes = nodes if low <= nodes <= high else int(random.integers(low, high + 1))
        return nodes

    def _fit(self, condition: Condition, domains: Sequence[str]) -> np.ndarray:
        """Log-weight of each row: 0 where it fits, falling with the distance from what is asked for."""
        score = np.zeros(len(self))
        if condition.domain is not None:
            score -= 1e6 * (self.domain.numpy(force=True) != domain_index(condition.domain, domains))
        values = self.values.double()
        nodes = values[:, 0].numpy(force=True)
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
        spread = shift[:-1].std().clamp(min=0.05)
        return ((shift[:-1] - shift[-1]).abs() / spread).numpy(force=True)

    def _outside(self, name: str, level: Level) -> np.ndarray:
        """0 for rows of a level, a large number that grows with the distance for the others."""
        value = self.column(name).double().numpy(force=True)
        first, second = self.terciles().cuts[name]
        low, high = {"low": (-np.inf, first), "medium": (first, second), "high": (second, np.inf)}[level]
        gap = np.where((low < value) & (value <= high), 0.0, np.maximum(low - value, value - high).clip(min=0) + 0.05)
        return np.asarray(100 * gap / max(value.std(), 1e-9))


def _compressed(values: Tensor) -> Tensor:
    index = [VALUES.index(name) for name in _LOGARITHMIC]
    logs = torch.zeros(len(VALUES), dtype=torch.bool, device=values.device)
    logs[index] = True
    return torch.where(logs, torch.log(values.clamp(min=0.1)), values)


def _scaled_edges(values: dict[str, float], nodes: int, condition: Condition) -> int:
    """The edges that the row would have with ``nodes`` nodes: independent cycles grow with n, a tree stays a tree."""
    most = nodes * (nodes - 1) // 2
    degree = condition.attributes.get("mean_degree")
    if degree is not None:
        return min(round(degree * nodes / 2), most)
    if "density" in condition.attributes:
        return min(round(condition.attributes["density"] * most), most)
    components = min(values["components"], nodes)
    cycles = values["num_edges"] - values["num_nodes"] + values["components"]
    scale = nodes / values["num_nodes"]
    if scale > 1.2 or scale < 0.8:
        components = max(components * scale, 1) if components > 1 else 1
    return int(min(max(round(nodes - components + cycles * scale), 0), most))
