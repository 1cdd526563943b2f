"""The four graphs that every operator is measured on, and their forms in each library."""

from functools import cache, cached_property

import torch

from graftable.graphs.dgl_adapter import load_dgl
from graftable.graphs.ops import Adjacency

LARGE_NODES, LARGE_EDGES = 100_000, 1_600_000


class Pattern:
    """One graph: an edge list in an order of its own, as users have it, and what each library makes of it."""

    def __init__(self, name, edge_index, ptr):
        self.name, self.edge_index, self.ptr = name, edge_index, ptr
        self.source, self.target = edge_index
        self.num_nodes, self.num_edges = int(ptr[-1]), edge_index.shape[1]
        self.adjacency = Adjacency.from_edge_index(edge_index, self.num_nodes)
        self.segments = Adjacency.from_ptr(ptr)
        self.batch = torch.repeat_interleave(torch.arange(len(ptr) - 1), ptr.diff())

    @cached_property
    def dgl(self):
        """As DGL likes it best: int32, with every format made."""
        graph = load_dgl().graph((self.source, self.target), num_nodes=self.num_nodes).int()
        graph.create_formats_()
        return graph

    @cached_property
    def csr(self):
        """A torch CSR tensor of ones."""
        return self.adjacency.to_torch_csr()

    @cached_property
    def position(self):
        """The place of each node in its graph."""
        return torch.arange(self.num_nodes) - self.ptr[self.batch]

    @cache  # noqa: B019 - there are four patterns
    def columns(self, width):
        """Features of its nodes."""
        return torch.randn(self.num_nodes, width)

    def padded(self, rows):
        """Rows of nodes as (graphs, largest graph, ...), zero where a graph has ended."""
        out = rows.new_zeros(len(self.ptr) - 1, int(self.ptr.diff().max()), *rows.shape[1:])
        out[self.batch, self.position] = rows
        return out

    def dense(self, values):
        """Values of edges as matrices (graphs, targets, sources), those of equal edges added."""
        size = int(self.ptr.diff().max())
        out = values.new_zeros(len(self.ptr) - 1, size, size)
        place = (self.batch[self.target], self.position[self.target], self.position[self.source])
        return out.index_put(place, values, accumulate=True)

    @cached_property
    def counts(self):
        """How many edges join each pair of nodes, as matrices."""
        return self.dense(torch.ones(self.num_edges))

    @cached_property
    def averaging(self):
        """The same, each row divided by its sum."""
        return self.counts / self.counts.sum(2, keepdim=True).clamp(min=1)

    @cached_property
    def log_counts(self):
        """What to add to the scores of dense attention, so that an edge counts as often as it is there."""
        return self.counts.log().unsqueeze(1)


def uniform():
    """100,000 nodes, 1.6 million edges between nodes drawn alike."""
    return Pattern("U", torch.randint(LARGE_NODES, (2, LARGE_EDGES)), torch.tensor([0, LARGE_NODES]))


def power_law():
    """As large, but the r-th node is drawn in proportion to r ** -0.65: hubs of 10,000 edges, and equal edges."""
    odds = torch.arange(1.0, LARGE_NODES + 1).pow(-0.65)
    ends = [torch.multinomial(odds, LARGE_EDGES, replacement=True) for _ in range(2)]
    names = [torch.randperm(LARGE_NODES) for _ in ends]  # a hub is neither early nor the same at both ends
    edge_index = torch.stack([name[end] for name, end in zip(names, ends, strict=True)])
    return Pattern("P", edge_index, torch.tensor([0, LARGE_NODES]))


def small_graphs():
    """A batch of 512 graphs of 12 to 49 nodes, with four edges into a node on average, and none into some."""
    sizes = torch.randint(12, 50, (512,))
    ptr = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    ends = torch.rand(2, 4 * int(ptr[-1]))
    owner = torch.repeat_interleave(torch.arange(512), 4 * sizes)
    return Pattern("B", ptr[owner] + (ends * sizes[owner]).long(), ptr)


def tiny():
    """32 nodes, 100 edges, at least one into each node."""
    target = torch.cat([torch.randperm(32), torch.randint(32, (68,))])
    return Pattern("T", torch.stack([torch.randint(32, (100,)), target]), torch.tensor([0, 32]))


PATTERNS = {"U": uniform, "P": power_law, "B": small_graphs, "T": tiny}


def pattern(name):
    """The same graph each time."""
    torch.manual_seed(sum(map(ord, name)))
    return PATTERNS[name]()
