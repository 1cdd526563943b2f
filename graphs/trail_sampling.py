"""Batched sampling of trails: exact numbers of nodes, legal at every step, one stream of random numbers a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .trail_batch import LinkContext
from .trail_transformer import DecodingCache, TrailTransformer
from .trails import BRANCH, CHILD, END, FEATURES, LINK, ROOT, PointerRows, TrailState, TrailToken

__all__ = ["TrailRequest", "sample_trails"]


@dataclass(frozen=True)
class TrailRequest:
    """One graph to write.

    Attributes:
        num_nodes: Exactly so many nodes.
        num_edges: The number of edges that the model is told; it follows it closely, not exactly.
        seed: The graph is a function of this number, the condition and the weights.
        components: Exactly so many connected components, if given.
        acyclic: Forbid every token that would close a cycle.
    """

    num_nodes: int
    num_edges: int | None
    seed: int
    components: int | None = None
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
    """Writes a batch of trails token by token.

    Row r of the cache writes the graph of ``slots[r]``. Rows of finished graphs idle until a quarter of all rows do;
    then the cache is compacted.
    """

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
        count, nodes = len(requests), max(request.num_nodes for request in requests)
        self.common, self.degree, self.depth = (np.zeros((count, nodes), dtype=np.int64) for _ in range(3))
        self.chain = np.zeros((count, nodes), dtype=np.bool_)
        self.states = [
            TrailState(
                request.num_nodes,
                request.num_edges,
                PointerRows(self.common[slot], self.degree[slot], self.depth[slot], self.chain[slot]),
            )
            for slot, request in enumerate(requests)
        ]
        self.random = [np.random.default_rng(request.seed) for request in requests]
        self.slots = list(range(count))
        self.features = np.zeros((count, len(FEATURES)), dtype=np.int64)  # by slot
        self.cache: DecodingCache = network.start(condition.shape[0] * count, nodes)
        for slot in self.slots:
            self.features[slot] = self.states[slot].apply(TrailToken(ROOT))

    @property
    def alive(self) -> bool:
        """Whether some graph is not complete."""
        return bool(self.slots)

    def advance(self) -> list[int]:
        """Let the network read the last token of each graph and choose the next; returns the newly complete slots."""
        finished: list[int] = []
        for slot, choice in zip(self.slots, self._draw(self._logits()), strict=True):
            state = self.states[slot]
            if state.complete:
                continue
            token = TrailToken(LINK, choice - 4) if choice > 3 else TrailToken(_KINDS[choice])
            self.features[slot] = state.apply(token)
            if state.complete:
                finished.append(slot)
        if finished:
            self._compact()
        return finished

    def _logits(self) -> Tensor:
        """Guided log-probabilities (rows, 4 + nodes), -inf where illegal."""
        device, slots, passes = self.condition.device, self.slots, self.condition.shape[0]
        nodes = max(self.states[slot].node for slot in slots) + 1
        features = torch.from_numpy(self.features[slots])
        anchors = torch.tensor([self._link_anchor(slot) for slot in slots])
        context = LinkContext(
            candidate=torch.from_numpy(self.chain[slots, :nodes]) & (torch.arange(nodes) < anchors[:, None]),
            common=torch.from_numpy(self.common[slots, :nodes]),
            degree=torch.from_numpy(self.degree[slots, :nodes]),
            rank=features[:, -1:] - torch.from_numpy(self.depth[slots, :nodes]),
        )

        def repeated(tensor: Tensor) -> Tensor:  # for each pass
            return tensor.to(device).repeat(passes, *([1] * (tensor.dim() - 1)))

        logits = self.network.step(
            self.cache,
            repeated(features),
            self.condition.flatten(0, 1),
            LinkContext(*map(repeated, vars(context).values())),
            repeated(torch.tensor([self._allowed(slot) for slot in slots])),
        )
        logits = logits.double().log_softmax(-1)
        if passes > 1:
            conditional, unconditional = logits.chunk(2)
            guided = unconditional + self.guidance * (conditional - unconditional)
            logits = guided.masked_fill(conditional == -torch.inf, -torch.inf)
        return (logits - logits.max(-1, keepdim=True).values) / self.temperature

    def _allowed(self, slot: int) -> tuple[bool, bool, bool, bool]:
        """Which of ROOT, CHILD, BRANCH, END may come next, with the request's own constraints."""
        state, wanted = self.states[slot], self.requests[slot].components
        root, child, branch, _, end = state.allowed_kinds()
        if wanted is None:
            return (root, child, branch, end)
        missing, left = wanted - state.components, state.num_nodes - state.node - 1
        joins = missing < left  # else every node that is left must be a root
        return (root and missing > 0, child and joins, branch and joins, end)

    def _link_anchor(self, slot: int) -> int:
        """The state's anchor, or -1 where a link would close a cycle that the request forbids."""
        state = self.states[slot]
        return -1 if self.requests[slot].acyclic and state.last_kind != BRANCH else state.anchor

    def _draw(self, logits: Tensor) -> list[int]:
        """Invert the cumulative distribution at one uniform number a graph; what an idle row gets has no meaning."""
        uniform = torch.tensor([[self.random[slot].random()] for slot in self.slots], dtype=torch.float64)
        cumulative = logits.cpu().softmax(-1).cumsum(-1)
        place = uniform * cumulative[:, -1:]
        chosen: list[int] = (
            torch.searchsorted(cumulative, place, right=True)[:, 0].clamp(max=logits.shape[1] - 1).tolist()
        )
        return chosen

    def _compact(self) -> None:
        going = [row for row, slot in enumerate(self.slots) if not self.states[slot].complete]
        if going and 4 * len(going) > 3 * len(self.slots):
            return
        passes, rows = self.condition.shape[0], len(self.slots)
        self.cache = self.cache.select(
            torch.tensor([row + part * rows for part in range(passes) for row in going], dtype=torch.int64)
        )
        self.condition = self.condition[:, going]
        self.slots = [self.slots[row] for row in going]


_KINDS = (ROOT, CHILD, BRANCH, END)
