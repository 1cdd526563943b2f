"""Graphs that layers are tried on, and the comparison of a layer with PyG's."""

import pytest
import torch
from torch.testing import assert_close

from graftable.graphs.ops import Adjacency

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def random_edges(num_src, num_dst, num_edges, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(limit, (num_edges,), generator=random) for limit in (num_src, num_dst)])


@pytest.fixture(scope="session")
def graph():
    """12 nodes, of which 10 and 11 have no edges, 9 hears from nobody and 8 is only heard; repeats, and two loops."""
    edges = random_edges(9, 8, 24)
    edges = edges[:, edges[0] != edges[1]]
    special = torch.tensor([[0, 0, 3, 5, 9, 8], [1, 1, 3, 5, 2, 2]])
    return torch.cat([edges, special], dim=1), 12


@pytest.fixture(scope="session")
def two_kinds():
    """7 sources and 5 destinations, of which the last hears from nobody."""
    return random_edges(7, 4, 20, seed=1), (5, 7)


def _parts(value):
    return () if value is None else value if isinstance(value, tuple) else (value,)


@pytest.fixture(scope="session")
def assert_equals_pyg():
    """Same weights: compare outputs, and gradients of nodes, edges and parameters; PyG's in float64."""

    def check(theirs, ours, x, edge_index, num_nodes, edges=None, dtype=torch.float64):
        ours.load_state_dict(theirs.state_dict())
        adjacency = Adjacency.from_edge_index(edge_index, num_nodes)

        def run(layer, pattern, order, dtype):
            layer = layer.to(dtype)
            leaves = [part.to(dtype).requires_grad_() for part in (*_parts(x), *_parts(edges))]
            nodes = tuple(leaves[: len(x)]) if isinstance(x, tuple) else leaves[0]
            out = layer(nodes, pattern) if edges is None else layer(nodes, pattern, order(leaves[-1]))
            direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(3)).to(dtype)
            names = [name for name, _ in layer.named_parameters()]
            wanted = [*leaves, *layer.parameters()]
            gradients = torch.autograd.grad((out * direction).sum(), wanted, materialize_grads=True)
            return {"output": out} | dict(zip([*range(len(leaves)), *names], gradients, strict=True))

        got = run(ours, adjacency, adjacency.to_slots, dtype)
        want = run(theirs, edge_index, lambda values: values, torch.float64)
        assert got.keys() == want.keys()
        for name, value in got.items():
            tolerance = {"atol": TOLERANCE[dtype], "rtol": TOLERANCE[dtype], "check_dtype": False}
            assert_close(value, want[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)

    return check
