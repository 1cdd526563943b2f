"""Batched sampling of trails: exact numbers of nodes, legal at every step, one stream of random numbers a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .trail_batch import LinkContext
from .trail_transformer import DecodingCache, TrailTransformer
from .trails import BRANCH, CHILD, END, LINK, ROOT, PointerRows, TrailState, TrailToken

__all__ = ["TrailRequest", "sample_trails"]


@dataclass(frozen=True)
class TrailRequest:
    """One graph to write.

    Attributes:
        num_nodes: Exactly so many nodes.
        num_edges: The number of edges that the model is told; it follows it closely, not exactly.
        seed: The graph is a function of this number, the condition and the weights.
        connected: Forbid a second ROOT.
        acyclic: Forbid every token that would close a cycle.
    """

    num_nodes: int
    num_edges: int | None
    seed: int
    connected: bool = False
    acyclic: bool = False


@torch.inference_mode()
def sample_trails(
    network: TrailTransformer,
    requests: Sequence[TrailRequest],
    condition: Tensor,
    null_condition: Tensor | None = None,
    *,
    guidance: float = 1.0,
    temperature: float = 1.0,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[list[tuple[int, int]]]:
    r"""Sample one graph for each request.

    Next-token log-probabilities are :math:`\log p = \log p_\varnothing + g\,(\log p_c - \log p_\varnothing)`,
    renormalised over the legal tokens: g = 0 ignores the condition, 1 follows the model, more than 1 exaggerates it.
    With g = 1 only the conditional pass is run.

    Args:
        network: In evaluation mode.
        requests: What to write; served in batches of similar size.
        condition: (requests, width).
        null_condition: (requests, width), the condition with nothing said; needed when ``guidance`` is not 1.
        guidance: g above.
        temperature: Divides the log-probabilities.
        batch_size: Graphs that are written side by side.
        progress: Called with the number of graphs that have just been completed.

    Returns:
        The edges of each graph, (later node, earlier node), in the order of ``requests``.
    """
    order = sorted(range(len(requests)), key=lambda index: _expected_tokens(requests[index]))
    edges: list[list[tuple[int, int]]] = [[] for _ in requests]
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        parts = [condition[chosen]]
        if guidance != 1.0:
            if null_condition is None:
                raise ValueError("guidance other than 1 needs null_condition")
            parts.append(null_condition[chosen])
        writer = _Writer(network, [requests[index] for index in chosen], torch.stack(parts), guidance, temperature)
        while writer.alive:
            for slot in writer.advance():
                edges[chosen[slot]] = writer.states[slot].edges
                if progress is not None:
                    progress(1)
    return edges


def _expected_tokens(request: TrailRequest) -> int:
    return request.num_nodes + (request.num_nodes if request.num_edges is None else request.num_edges)


class _Writer:
    """Writes a batch of trails token by token; slots of finished graphs are dropped once they are half of all."""

    def __init__(
        self,
        network: TrailTransformer,
        requests: Sequence[TrailRequest],
        condition: Tensor,  # (passes, slots, width); passes: conditional, then unconditional
        guidance: float,
        temperature: float,
    ) -> None:
        self.network, self.requests, self.condition = network, requests, condition
        self.guidance, self.temperature = guidance, temperature
        slots, nodes = len(requests), max(request.num_nodes for request in requests)
        self.common, self.degree, self.depth = (np.zeros((slots, nodes), dtype=np.int64) for _ in range(3))
        self.chain = np.zeros((slots, nodes), dtype=np.bool_)
        self.states = [
            TrailState(
                request.num_nodes,
                request.num_edges,
                PointerRows(self.common[slot], self.degree[slot], self.depth[slot], self.chain[slot]),
            )
            for slot, request in enumerate(requests)
        ]
        self.random = [np.random.default_rng(request.seed) for request in requests]
        self.alive = list(range(slots))  # slot of each row of the cache
        self.cache: DecodingCache = network.start(condition.shape[0] * slots, nodes)
        self.tokens = [TrailToken(ROOT)] * slots

    def advance(self) -> list[int]:
        """Read the chosen tokens, choose the next ones; returns the slots whose graphs became complete."""
        features = np.array(
            [self.states[slot].apply(token) for slot, token in zip(self.alive, self.tokens, strict=True)]
        )
        allowed = np.array([self._allowed(slot) for slot in self.alive])
        logits = self._logits(torch.from_numpy(features), torch.from_numpy(allowed))
        chosen = self._draw(logits)
        self.tokens = [TrailToken(LINK, choice - 4) if choice > 3 else TrailToken(_KINDS[choice]) for choice in chosen]
        finished = [slot for slot, token in zip(self.alive, self.tokens, strict=True) if token.kind == END]
        if finished:
            self._drop_finished()
        return finished

    def _allowed(self, slot: int) -> tuple[bool, bool, bool, bool]:
        """Which of ROOT, CHILD, BRANCH, END may come next, with the request's own constraints."""
        root, child, branch, _, end = self.states[slot].allowed_kinds()
        return (root and not self.requests[slot].connected, child, branch, end)

    def _logits(self, features: Tensor, allowed: Tensor) -> Tensor:
        """Guided log-probabilities (rows, 4 + nodes), -inf where illegal."""
        device = self.condition.device
        passes = self.condition.shape[0]
        nodes = max(self.states[slot].node for slot in self.alive) + 1
        anchors = torch.tensor([self.states[slot].anchor for slot in self.alive])
        acyclic = torch.tensor([self._closes_cycle(slot) for slot in self.alive])
        depth = torch.from_numpy(self.depth[self.alive, :nodes])
        context = LinkContext(
            candidate=torch.from_numpy(self.chain[self.alive, :nodes])
            & (torch.arange(nodes) < anchors[:, None])
            & ~acyclic[:, None],
            common=torch.from_numpy(self.common[self.alive, :nodes]),
            degree=torch.from_numpy(self.degree[self.alive, :nodes]),
            rank=features[:, -1:] - depth,
        )

        def both(tensor: Tensor) -> Tensor:
            return tensor.to(device).repeat(passes, *([1] * (tensor.dim() - 1)))

        logits = self.network.step(
            self.cache,
            both(features),
            self.condition.flatten(0, 1),
            LinkContext(*map(both, vars(context).values())),
            both(allowed),
        )
        logits = logits.double().log_softmax(-1)
        if passes == 1:
            return logits / self.temperature
        conditional, unconditional = logits.chunk(2)
        guided = unconditional + self.guidance * (conditional - unconditional)
        return guided.masked_fill(conditional == -torch.inf, -torch.inf) / self.temperature

    def _closes_cycle(self, slot: int) -> bool:
        last = self.states[slot].last_kind
        return self.requests[slot].acyclic and last != BRANCH

    def _draw(self, logits: Tensor) -> list[int]:
        """Invert the cumulative distribution at one uniform number a graph."""
        uniform = torch.tensor([[self.random[slot].random()] for slot in self.alive], dtype=torch.float64)
        cumulative = logits.cpu().softmax(-1).cumsum(-1)
        place = uniform * cumulative[:, -1:]
        return torch.searchsorted(cumulative, place, right=True)[:, 0].clamp(max=logits.shape[1] - 1).tolist()

    def _drop_finished(self) -> None:
        """Complete the states of rows that drew END; compact the cache when half of its rows are idle."""
        going = [row for row, token in enumerate(self.tokens) if token.kind != END]
        for row, token in enumerate(self.tokens):
            if token.kind == END:
                self.states[self.alive[row]].apply(token)
        rows = torch.tensor([row + part * len(self.alive) for part in range(self.condition.shape[0]) for row in going])
        self.cache = self.cache.select(rows.long())
        self.condition = self.condition[:, going]
        self.alive = [self.alive[row] for row in going]
        self.tokens = [self.tokens[row] for row in going]


_KINDS = (ROOT, CHILD, BRANCH, END)
