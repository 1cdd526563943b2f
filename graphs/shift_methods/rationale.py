"""Methods that look for the part of a graph that matters: GSAT, DIR and CIGA."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from graftable.errors import ConfigError
from graftable.graphs.ops import Adjacency, edge_gather, segment_reduce

from .method import Extras, ShiftMethod
from .parts import GraphBatch, GraphNetwork, Moment, Task, mean_over

__all__ = ["CIGA", "DIR", "GSAT"]

LITTLE = 1e-6


class EdgeScorer(nn.Module):
    """One number per edge from the embeddings of its two ends, the same in both directions of an undirected edge.

    Args:
        width: Width of the nodes.
        dropout: Between its layers.

    Shapes:
        nodes: (nodes, width); returns (edges,) in slot order.
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(2 * width, 2 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, 1),
        )

    def forward(self, nodes: Tensor, adjacency: Adjacency) -> Tensor:
        """Score every edge."""
        ends = [edge_gather(adjacency, nodes, side) for side in ("destination", "source")]
        return both_directions(self.network(torch.cat(ends, dim=1)).squeeze(1), adjacency)


def both_directions(values: Tensor, adjacency: Adjacency) -> Tensor:
    """Average an edge's value with that of the opposite edge; a directed graph's values stay as they are.

    Example:
        >>> pair = Adjacency.from_edge_index(torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
        >>> both_directions(torch.tensor([1.0, 3.0]), pair)
        tensor([2., 2.])
    """
    opposite = adjacency.cached("opposite slots", lambda: _opposite(adjacency))
    return values if opposite is None else (values + values.index_select(0, opposite)) / 2


def _opposite(adjacency: Adjacency) -> Tensor | None:
    row, col, size = adjacency.row.long(), adjacency.col.long(), adjacency.num_src
    one, other = row * size + col, col * size + row
    by_one, by_other = one.argsort(stable=True), other.argsort(stable=True)
    if not torch.equal(one[by_one], other[by_other]):
        return None
    opposite = torch.empty_like(by_one)
    opposite[by_one] = by_other
    return opposite


class GSAT(ShiftMethod):
    r"""Graph stochastic attention: edges pass with a learnt probability that is told to stay near a prior.

    .. math:: L = R(f(G \odot a)) + \beta \frac{1}{|E|} \sum_e \operatorname{KL}(p_e \,\|\, r), \qquad
        a_e = \sigma\big((\operatorname{logit} p_e + \operatorname{logit} u) / \tau\big)

    with :math:`u` uniform, drawn once for both directions of an edge. The prior r begins at ``first_prior`` and falls
    by 0.1 every ``interval`` epochs to ``prior``. A prediction takes :math:`a_e = p_e`.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        prior: Where r ends, in (0, 1); published values are 0.5 and 0.7.
        first_prior: Where r begins, at least ``prior``.
        interval: Epochs between two falls of r; published values are 10 and 20.
        information: :math:`\beta`.
        temperature: :math:`\tau`.

    References:
        Miao et al., "Interpretable and Generalizable Graph Learning via Stochastic Attention Mechanism", 2022,
        equations 8 and 9.
    """

    def __init__(
        self,
        task: Task,
        width: int,
        prior: float = 0.7,
        first_prior: float = 0.9,
        interval: int = 10,
        information: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(task, width)
        if not 0 < prior <= first_prior < 1 or interval < 1:
            raise ConfigError(
                f"prior {prior}, first_prior {first_prior} and interval {interval} of GSAT: expected "
                "0 < prior <= first_prior < 1 and an interval of at least 1."
            )
        self.prior, self.first_prior, self.interval = prior, first_prior, interval
        self.information, self.temperature = information, temperature
        self.scorer = EdgeScorer(width, dropout=0.5)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """Risk under noisy edges, plus what the edges tell."""
        scores = self.scorer(network.nodes(graphs), graphs.adjacency)
        uniform = torch.rand_like(scores).clamp(LITTLE, 1 - LITTLE)
        noise = _one_draw(uniform, graphs.adjacency).logit()
        attention = ((scores + noise) / self.temperature).sigmoid()
        losses, known = self.task.losses(network.head(network.embed(graphs, edge_weight=attention)), graphs.y)
        passes = scores.sigmoid().clamp(LITTLE, 1 - LITTLE)
        prior = max(self.first_prior - 0.1 * (moment.epoch // self.interval), self.prior)
        told = passes * (passes / prior).log() + (1 - passes) * ((1 - passes) / (1 - prior)).log()
        information = told.sum() / max(len(told), 1)
        return mean_over(losses, known) + self.information * information, {"information": information.detach()}

    def embed(self, network: GraphNetwork, graphs: GraphBatch) -> Tensor:
        """One vector per graph, of edges weighted by their probabilities."""
        scores = self.scorer(network.nodes(graphs), graphs.adjacency)
        return network.embed(graphs, edge_weight=scores.sigmoid())


def _one_draw(values: Tensor, adjacency: Adjacency) -> Tensor:
    """Give both directions of an edge the value of the earlier slot."""
    opposite = adjacency.cached("opposite slots", lambda: _opposite(adjacency))
    if opposite is None:
        return values
    return values.index_select(0, torch.minimum(opposite, torch.arange(len(values), device=values.device)))


class Split(nn.Module):
    """Parts a graph into the edges that score highest and the rest.

    Args:
        width: Width of the encoder.
        ratio: Share of the edges of each graph that are kept, in (0, 1); rounded up.
    """

    def __init__(self, width: int, ratio: float, method: str) -> None:
        super().__init__()
        if not 0 < ratio < 1:
            raise ConfigError(f"ratio of {method} is {ratio}; expected a share above 0 and below 1.")
        self.ratio, self.scorer = ratio, EdgeScorer(width)

    def forward(self, network: GraphNetwork, graphs: GraphBatch) -> tuple[Tensor, Tensor]:
        """Embed the chosen part and the rest, each (graphs, width)."""
        scores = self.scorer(network.nodes(graphs), graphs.adjacency)
        chosen = top_edges(scores.detach(), graphs, self.ratio)
        # the score is a factor of the messages, since a choice alone has no gradient
        kept, left = scores.sigmoid() * chosen, (1 - scores.sigmoid()) * ~chosen
        return (
            network.embed(graphs, edge_weight=kept, node_weight=touched(chosen, graphs)),
            network.embed(graphs, edge_weight=left, node_weight=touched(~chosen, graphs)),
        )


def top_edges(scores: Tensor, graphs: GraphBatch, ratio: float) -> Tensor:
    """Mark the best edges of each graph, ``ceil(ratio * edges)`` of them."""
    sizes = graphs.segments.rowptr.diff().long()
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=scores.device), sizes)
    graph = owner.index_select(0, graphs.adjacency.row.long())
    by_score = (-scores).argsort(stable=True)
    order = by_score[graph[by_score].argsort(stable=True)]
    counts = torch.bincount(graph, minlength=len(sizes))
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device) - starts[graph[order]]
    return rank < torch.ceil(ratio * counts.double()).long()[graph]


def touched(chosen: Tensor, graphs: GraphBatch) -> Tensor:
    """1 for the nodes that a chosen edge touches; all nodes of a graph in which none is chosen."""
    weight = graphs.x.new_zeros(len(graphs.x))
    weight[graphs.adjacency.row[chosen].long()] = 1
    weight[graphs.adjacency.col[chosen].long()] = 1
    found = segment_reduce(graphs.segments, weight, "max")
    owner = torch.repeat_interleave(found, graphs.segments.rowptr.diff().long())
    return torch.where(owner > 0, weight, 1.0)


class DIR(ShiftMethod):
    r"""Discovering invariant rationales: the chosen part should predict alike, whatever rest it is joined with.

    .. math:: L = \operatorname{mean}_r R_r + \alpha\, t^{1.6} \operatorname{Var}_r R_r + R(g(\hat z)), \qquad
        R_r = R\big(f(z) \cdot \sigma(g(\hat z_r))\big)

    with z of the chosen part, :math:`\hat z_r` of the rest of graph r of the batch (no gradient reaches the encoder
    through it), g a head of its own, and t the epoch. Chosen edges pass with the sigmoid of their score, the others
    with what it leaves.

    Args:
        task: What is predicted.
        width: Width of the encoder.
        ratio: Share of the edges that are chosen; published values run from 0.25 to 0.8.
        variance: :math:`\alpha`; published values run from 0.01 to 10.

    References:
        Wu et al., "Discovering Invariant Rationales for Graph Neural Networks", 2022, equation 8.
    """

    def __init__(self, task: Task, width: int, ratio: float = 0.25, variance: float = 0.01) -> None:
        super().__init__(task, width)
        self.variance = variance
        self.split = Split(width, ratio, "DIR")
        self.rest_head = nn.Linear(width, task.outputs)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """Mean and variance of the risks over rests, and the rests' own risk."""
        chosen, rest = self.split(network, graphs)
        logits, rest_logits = network.head(chosen), self.rest_head(rest.detach())
        count = len(logits)
        # every chosen part with every rest: row r of the table is one intervention
        joined = logits.unsqueeze(0) * rest_logits.detach().sigmoid().unsqueeze(1)
        losses, known = self.task.losses(joined.flatten(0, 1), graphs.y.repeat(count, *[1] * (graphs.y.dim() - 1)))
        known = known.view(count, count)
        risks = (losses.view(count, count) * known).sum(1) / known.sum(1).clamp(min=1)
        variance = risks.var(correction=0)
        own = mean_over(*self.task.losses(rest_logits, graphs.y))
        loss = risks.mean() + self.variance * moment.epoch**1.6 * variance + own
        return loss, {"variance": variance.detach()}

    def embed(self, network: GraphNetwork, graphs: GraphBatch) -> Tensor:
        """One vector per graph, of its chosen part."""
        chosen: Tensor = self.split(network, graphs)[0]
        return chosen


class CIGA(ShiftMethod):
    r"""Causality-inspired invariant graph learning: chosen parts of one class are alike, and the rest tells less.

    .. math:: L = R(f(z)) + \alpha\, \operatorname{SupCon}(z) + \beta \operatorname{mean}_n \hat\ell_n
        [\hat\ell_n > \ell_n]

    with z of the chosen part, :math:`\hat\ell` the losses of a second head on the rest; :math:`\beta = 0` is the
    first version.

    Args:
        task: What is predicted; one class of several.
        width: Width of the encoder.
        ratio: Share of the edges that are chosen.
        contrast: :math:`\alpha`; published values run from 0.5 to 32.
        rest: :math:`\beta`; published values are 0.5, 1 and 2.
        temperature: Of the contrast.

    Raises:
        ConfigError: If the task has no single class.

    References:
        Chen et al., "Learning Causally Invariant Representations for Out-of-Distribution Generalization on Graphs",
        2022, equations 7 and 8.
    """

    def __init__(
        self,
        task: Task,
        width: int,
        ratio: float = 0.25,
        contrast: float = 1.0,
        rest: float = 0.5,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(task, width)
        task.classes(torch.zeros(1), "CIGA")  # refuses a task without classes before any work is done
        if not temperature > 0:
            raise ConfigError(f"temperature of CIGA is {temperature}; expected a number above 0.")
        self.contrast, self.rest, self.temperature = contrast, rest, temperature
        self.split = Split(width, ratio, "CIGA")
        self.rest_head = nn.Linear(width, task.outputs)

    def loss(self, network: GraphNetwork, graphs: GraphBatch, moment: Moment) -> tuple[Tensor, Extras]:
        """Risk, contrast, and the hinged risk of the rest."""
        chosen, rest = self.split(network, graphs)
        losses, known = self.task.losses(network.head(chosen), graphs.y)
        contrast = supervised_contrast(chosen, self.task.classes(graphs.y, "CIGA"), self.temperature)
        rest_losses, _ = self.task.losses(self.rest_head(rest), graphs.y)
        hinged = mean_over(rest_losses * (rest_losses.detach() > losses.detach()), known)
        loss = mean_over(losses, known) + self.contrast * contrast + self.rest * hinged
        return loss, {"contrast": contrast.detach()}

    def embed(self, network: GraphNetwork, graphs: GraphBatch) -> Tensor:
        """One vector per graph, of its chosen part."""
        chosen: Tensor = self.split(network, graphs)[0]
        return chosen


def supervised_contrast(z: Tensor, classes: Tensor, temperature: float) -> Tensor:
    r"""Pull together what is of one class.

    .. math:: -\frac{1}{N} \sum_n \frac{1}{|P_n|} \sum_{p \in P_n} \log
        \frac{\exp(\langle z_n, z_p \rangle / \tau)}{\sum_{m \ne n} \exp(\langle z_n, z_m \rangle / \tau)}

    over normalised rows, :math:`P_n` the others of the same class; rows without any, and of class -1, add nothing.

    References:
        Khosla et al., "Supervised Contrastive Learning", 2020, equation 2.

    Example:
        >>> supervised_contrast(torch.eye(2), torch.tensor([1, 1]), 1.0).item()  # the only other row is a mate
        0.0
    """
    z = functional.normalize(z.float(), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    scores = (z @ z.T / temperature).masked_fill(itself, -1e9)
    same = (classes.unsqueeze(0) == classes.unsqueeze(1)) & ~itself & (classes >= 0).unsqueeze(1)
    each = (scores.log_softmax(1) * same).sum(1) / same.sum(1).clamp(min=1)
    rows = same.any(1)
    total: Tensor = (0.0 - each.sum()) / rows.sum().clamp(min=1)
    return total
