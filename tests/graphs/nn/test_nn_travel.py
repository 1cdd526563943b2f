"""An Adjacency goes where batches go: through the workers of a DataLoader, to pinned memory, to another process."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from graftable.graphs.nn import GCNConv, SumReadout
from graftable.graphs.ops import Adjacency

NUM_NODES = 5


class Graphs(torch.utils.data.Dataset):
    """Eight graphs of five nodes."""

    def __len__(self):
        return 8

    def __getitem__(self, at):
        random = torch.Generator().manual_seed(at)
        edge_index = torch.randint(NUM_NODES, (2, 7), generator=random)
        return torch.randn(NUM_NODES, 3, generator=random), Adjacency.from_edge_index(edge_index, NUM_NODES)


def collate(graphs):
    """Join graphs in the worker, and make there what layers would otherwise make."""
    ptr = torch.arange(len(graphs) + 1) * NUM_NODES
    return torch.cat([x for x, _ in graphs]), Adjacency.cat([each for _, each in graphs]), Adjacency.from_ptr(ptr)


def test_batches_made_by_a_worker_are_those_made_at_home():
    layer, readout = GCNConv(3, 4), SumReadout()
    at_home, from_worker = (
        [
            readout(layer(x, adjacency), graphs)
            for x, adjacency, graphs in DataLoader(Graphs(), 4, collate_fn=collate, **how)
        ]
        for how in ({}, {"num_workers": 1})
    )
    assert len(at_home) == len(from_worker) == 2
    for one, other in zip(at_home, from_worker, strict=True):
        assert_close(one, other)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU to pin memory for")
def test_batches_can_be_pinned_and_moved():
    layer = GCNConv(3, 4)
    for x, adjacency, _ in DataLoader(Graphs(), 4, collate_fn=collate, pin_memory=True):
        assert adjacency.col.is_pinned()
        moved = layer.cuda()(x.cuda(), adjacency.to("cuda", non_blocking=True))
        assert_close(moved.cpu(), layer.cpu()(x, adjacency), atol=1e-5, rtol=1e-5)


def test_an_adjacency_on_its_device_already_stays_the_same():
    _, adjacency = Graphs()[0]
    assert adjacency.to("cpu") is adjacency


TWO_PROCESSES = """
    import copy
    import sys
    from datetime import timedelta
    import torch
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel
    from graftable.graphs.nn import TransformerConv
    from graftable.graphs.ops import Adjacency

    rank, folder = int(sys.argv[1]), sys.argv[2]
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(hours=1)
    )
    torch.manual_seed(0)
    edges, x = torch.randint(6, (2, 2, 10)), torch.randn(2, 6, 3)
    layer = TransformerConv(3, 4, heads=2)
    alone, together = copy.deepcopy(layer), DistributedDataParallel(layer)
    together(x[rank], Adjacency.from_edge_index(edges[rank], 6)).square().sum().backward()
    if rank == 0:
        both = Adjacency.cat([Adjacency.from_edge_index(each, 6) for each in edges])
        (alone(x.flatten(0, 1), both).square().sum() / 2).backward()
        for one, other in zip(layer.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-5, rtol=1e-5)
        print("equal")
    distributed.destroy_process_group()
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package")
def test_two_processes_with_a_graph_each_train_as_one_with_both(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    script = textwrap.dedent(TWO_PROCESSES)
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(rank), str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(2)
    ]
    try:
        results = [rank.communicate() for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], results
    assert results[0][0] == "equal\n"
