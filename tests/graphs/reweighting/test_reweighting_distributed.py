"""Two processes find the weights that one process finds on the same batch."""

import torch
from reweighting_worlds import shortcut
from torch import distributed as dist
from torch import multiprocessing

from graftable.graphs.reweighting import DecorrelationWeighter, Rows, gathered


def work(rank, world_size, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world_size)
    torch.set_num_threads(1)
    z, label, _, blocks = shortcut(0, rows=101)
    own = torch.arange(rank, 101, world_size)  # 51 and 50 rows
    rows, place = gathered(Rows(z[own].requires_grad_(), label[own], None, own))
    weigh = DecorrelationWeighter(0.5, balance="class")
    weights, _ = weigh(rows.z, blocks, rows.label, rows.environment, rows.sample_id)
    torch.save({"own": own, "weights": weights[place]}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_find_the_weights_of_one(tmp_path):
    multiprocessing.spawn(work, (2, str(tmp_path)), nprocs=2)
    z, label, _, blocks = shortcut(0, rows=101)
    weights, _ = DecorrelationWeighter(0.5, balance="class")(z, blocks, label, sample_id=torch.arange(101))
    for rank in range(2):
        part = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(part["weights"], weights[part["own"]])
