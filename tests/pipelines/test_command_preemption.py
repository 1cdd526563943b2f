"""The whole promise, through the command and with real signals: stop, exit 143, resume as told, the same bits."""

import os
import random
import shlex
import subprocess
import sys

import pytest
import torch

from graftable.pipelines.checkpoints import load_checkpoint

# Runs `graftable` in a process of its own, with SIGTERM in the middle of a batch, as often as it is told to; it forks
# after the imports, which would take longer than all the training.
COMMANDS = """
import os, signal, sys
import graftable.training, graftable.models.lggm
from graftable.cli import main
from lightning.pytorch import LightningModule

def command(arguments, kill_in):
    def on_train_batch_start(self, batch, batch_idx):
        if self.trainer.fit_loop.total_batch_idx == kill_in:
            os.kill(os.getpid(), signal.SIGTERM)

    LightningModule.on_train_batch_start = on_train_batch_start
    sys.argv = ["graftable", *arguments]
    return main()

for line in sys.stdin:
    kill_in, errors, *arguments = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
        code = 99
        try:
            code = command(arguments, int(kill_in))
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_command_killed_at_three_random_steps_ends_with_the_same_bits(tmp_path):
    python = subprocess.Popen(
        [sys.executable, "-c", COMMANDS], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def graftable(arguments, kill_in=-1):
        print(kill_in, "said.txt", *arguments, sep="\t", file=python.stdin, flush=True)
        return int(python.stdout.readline()), (tmp_path / "said.txt").read_text()

    arguments = ["fit", "--config", "lggm_debug", "--model.init_args.dropout", "0.2", "--trainer.max_steps", "6"]
    arguments += ["--trainer.accumulate_grad_batches", "2", "--trainer.limit_val_batches", "1"]
    arguments += ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    assert graftable(arguments)[0] == 0
    kills = sorted(random.Random(10).sample(range(1, 10), 3))
    assert any(batch % 2 == 0 for batch in kills)  # the first of a window of two: inside gradient accumulation
    for kill_in in kills:
        code, said = graftable(arguments, kill_in)
        assert code == 143, said
        resume = said.strip().splitlines()[-1].strip()
        assert resume.startswith("graftable fit --config lggm_debug ")
        assert "preempted.ckpt" in resume
        arguments = shlex.split(resume)[1:]
    assert graftable(arguments)[0] == 0
    python.communicate()
    whole, resumed = (
        load_checkpoint(tmp_path / "runs" / "lggm_debug" / version / "checkpoints" / "last.ckpt")
        for version in ("version_0", "version_4")
    )
    assert resumed["global_step"] == whole["global_step"] == 6
    for name, value in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], value), name
