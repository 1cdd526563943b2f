"""Trails of a batch of graphs as padded tensors, with everything the pointer head needs at every position."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch

from .trails import END, FEATURES, LINK, TrailState, TrailToken, draw_trail

__all__ = ["LinkContext", "TrailBatch", "batch_trails", "link_context", "neighbour_lists"]

_COLUMN = {name: index for index, name in enumerate(FEATURES)}


@dataclass(frozen=True)
class TrailBatch:
    """Teacher-forcing inputs and labels: position t has read token t and predicts token t + 1.

    Shapes: ``batch`` graphs, ``steps`` the longest trail less one, ``nodes`` the largest graph.
    """

    features: Tensor  # (batch, steps, len(FEATURES)) int64
    allowed: Tensor  # (batch, steps, 4) bool: may ROOT, CHILD, BRANCH, END come next
    labels: Tensor  # (batch, steps) int64: 0..3 as in ``allowed``, 4 + p for LINK p, -100 for padding
    node_step: Tensor  # (batch, nodes) int64: the last position in each node's block
    adjacency: Tensor  # (batch, nodes, nodes) bool, in order of visit
    ancestors: Tensor  # (batch, nodes, nodes) bool: ancestors[v, p] if p is a strict ancestor of v
    depth: Tensor  # (batch, nodes) int64


def batch_trails(
    graphs: Sequence[Sequence[Sequence[int]]],
    rng: Random,
    *,
    num_edges: Sequence[int | None] | None = None,
    max_tokens: int | None = None,
) -> TrailBatch:
    """Draw a fresh trail of every graph and lay them out for teacher forcing.

    Args:
        graphs: Neighbour lists of each graph.
        rng: Source of the trails.
        num_edges: The number of edges that each trail is told, ``None`` for "not told"; default: the true one.
        max_tokens: Trails are cut after this many tokens (their later part is not trained on in this draw).
    """
    told = [sum(map(len, graph)) // 2 for graph in graphs] if num_edges is None else num_edges
    rows = [_read(graph, draw_trail(graph, rng), edges, max_tokens) for graph, edges in zip(graphs, told, strict=True)]
    steps = max(len(row.labels) for row in rows)
    nodes = max(len(row.depth) for row in rows)

    def pad(arrays: list[NDArray[Any]], *shape: int, value: int = 0) -> Tensor:
        out = np.full((len(arrays), *shape), value, dtype=arrays[0].dtype)
        for index, array in enumerate(arrays):
            corner: Any = (index, *(slice(size) for size in array.shape))
            out[corner] = array
        return torch.from_numpy(out)

    return TrailBatch(
        features=pad([row.features for row in rows], steps, len(FEATURES)),
        allowed=pad([row.allowed for row in rows], steps, 4),
        labels=pad([row.labels for row in rows], steps, value=-100),
        node_step=pad([row.node_step for row in rows], nodes),
        adjacency=pad([row.adjacency for row in rows], nodes, nodes),
        ancestors=pad([row.ancestors for row in rows], nodes, nodes),
        depth=pad([row.depth for row in rows], nodes),
    )


@dataclass(frozen=True)
class _TrailArrays:
    features: NDArray[Any]
    allowed: NDArray[Any]
    labels: NDArray[Any]
    node_step: NDArray[Any]
    adjacency: NDArray[Any]
    ancestors: NDArray[Any]
    depth: NDArray[Any]


def _read(
    graph: Sequence[Sequence[int]], tokens: list[TrailToken], edges: int | None, max_tokens: int | None
) -> _TrailArrays:
    state = TrailState(len(graph), edges)
    tokens = tokens[: max_tokens or len(tokens)]
    features, allowed, labels = [], [], []
    node_step: list[int] = []
    for step, (token, following) in enumerate(pairwise(tokens)):
        read = state.apply(token)
        if read.node == len(node_step):
            node_step.append(step)
        node_step[read.node] = step
        kinds = state.allowed_kinds()
        features.append(read)
        allowed.append(kinds[:LINK] + kinds[END:])
        labels.append(following.target + 4 if following.kind == LINK else min(following.kind, 3))
    seen = len(node_step)
    adjacency = np.zeros((seen, seen), dtype=np.bool_)
    if state.edges:
        late, early = np.array(state.edges).T
        adjacency[late, early] = adjacency[early, late] = True
    ancestors = np.zeros((seen, seen), dtype=np.bool_)
    for node, parent in enumerate(state.parents):
        if parent >= 0:
            ancestors[node] = ancestors[parent]
            ancestors[node, parent] = True
    return _TrailArrays(
        np.array(features, dtype=np.int64).reshape(-1, len(FEATURES)),
        np.array(allowed, dtype=np.bool_).reshape(-1, 4),
        np.array(labels, dtype=np.int64),
        np.array(node_step, dtype=np.int64),
        adjacency,
        ancestors,
        np.array(state.depths, dtype=np.int64),
    )


@dataclass(frozen=True)
class LinkContext:
    """What the pointer reads about candidate p at each step; all of shape (batch, steps, nodes)."""

    candidate: Tensor  # bool: LINK p is legal
    common: Tensor  # int64: neighbours that the current node, with the links it has so far, shares with p
    degree: Tensor  # int64: of p, counting the links of earlier nodes and this one's so far
    rank: Tensor  # int64: how far above the deepest candidate p lies in the chain


def link_context(batch: TrailBatch) -> LinkContext:
    """Recover for all steps at once what ``TrailState`` keeps step by step.

    The prefix of a trail is an induced subgraph on the nodes before the current one, so both counts are running sums
    over rows of the adjacency matrix.
    """
    columns = batch.features.unbind(-1)
    node, target = columns[_COLUMN["node"]], columns[_COLUMN["target"]]
    anchor, anchor_depth = columns[_COLUMN["anchor"]], columns[_COLUMN["anchor_depth"]]
    nodes = batch.adjacency.shape[-1]

    def rows(matrix: Tensor, index: Tensor) -> Tensor:
        picked = matrix.gather(1, index.clamp(min=0)[..., None].expand(-1, -1, nodes))
        return picked * (index >= 0)[..., None]

    counts = batch.adjacency.to(torch.int32)
    earlier = counts.cumsum(1, dtype=torch.int32)  # earlier[v, p]: links of p with nodes 0..v
    linked = torch.zeros_like(counts[:, :1]).expand(-1, node.shape[1], -1).clone()
    linked.scatter_(2, target.clamp(min=0)[..., None], (target >= 0).int()[..., None])
    running = rows(counts, target).cumsum(1, dtype=torch.int32)
    links = linked.cumsum(1, dtype=torch.int32)
    opening = node.diff(dim=1, prepend=node[:, :1] - 1) > 0  # the first step of each node's block
    step = torch.arange(node.shape[1], device=node.device).expand_as(node)
    before = torch.where(opening, step, 0).cummax(1).values - 1  # the last step before this block
    common, own = running - rows(running, before), links - rows(links, before)
    degree = rows(earlier, node - 1) + own
    return LinkContext(
        candidate=rows(batch.ancestors, anchor).bool(),
        common=common.long(),
        degree=degree.long(),
        rank=anchor_depth[..., None] - batch.depth[:, None, :],
    )


def neighbour_lists(batch: Batch) -> list[list[list[int]]]:
    """The neighbours of each node of each graph, as lists; what ``draw_trail`` walks on.

    Example:
        >>> from torch_geometric.data import Data
        >>> path = Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3)
        >>> neighbour_lists(Batch.from_data_list([path]))
        [[[1], [0, 2], [1]]]
    """
    source, target = batch.edge_index.cpu()
    order = source.argsort(stable=True)
    counts = torch.bincount(source, minlength=int(batch.num_nodes or 0)).tolist()
    offset = batch.ptr.cpu()[batch.batch.cpu()[source]] if len(source) else source
    targets = (target - offset)[order].tolist()
    lists, start = [], 0
    for count in counts:
        lists.append(targets[start : start + count])
        start += count
    bounds = batch.ptr.tolist()
    return [lists[low:high] for low, high in pairwise(bounds)]
