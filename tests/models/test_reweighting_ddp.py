"""Processes that share a batch find the weights that one process finds on all of it."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("reweighting_process.py")


def run_together(commands):
    """Run the commands side by side; if one fails, or the time of the test is over, stop all."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    try:
        for process in processes:
            said, _ = process.communicate()
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this build of torch has no collectives")
def test_two_processes_of_a_fit_weigh_and_learn_as_one_on_the_joined_batch(tmp_path):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # on a port that is free
    run_together([[str(tmp_path / f"{rank}.pt"), str(rank), "2", str(store.port)] for rank in range(2)])
    runpy.run_path(str(SCRIPT))["main"](tmp_path / "alone.pt")
    alone, *parts = (torch.load(tmp_path / name, weights_only=True) for name in ("alone.pt", "0.pt", "1.pt"))
    assert len(alone["steps"]) == 2
    for step, (ids, weights) in enumerate(alone["steps"]):
        assert float(weights.std()) > 0.1
        own = [part["steps"][step] for part in parts]
        joined_ids, joined = (torch.cat(column) for column in zip(*own, strict=True))
        order = joined_ids.argsort()
        assert torch.equal(joined_ids[order], ids)
        # the second step starts from parameters whose gradients were summed in another order
        torch.testing.assert_close(joined[order], weights, rtol=0, atol=1e-5 if step == 0 else 2e-3)
    for name, value in alone["model"].items():
        torch.testing.assert_close(parts[0]["model"][name], value, rtol=1e-4, atol=1e-4)
        assert torch.equal(parts[0]["model"][name], parts[1]["model"][name])
