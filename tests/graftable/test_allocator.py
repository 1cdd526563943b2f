"""Freed memory is kept where it was asked for, and nowhere else: counted in page faults, which know no busy machine."""

import subprocess
import sys

import pytest

from graftable import allocator, training
from graftable.arguments import TRAINING_VERBS
from graftable.cli import main
from graftable.errors import ConfigError

needs_glibc = pytest.mark.skipif(allocator.glibc_version() is None, reason="not glibc")
BORING = [
    *("--model", "lightning.pytorch.demos.boring_classes.BoringModel"),
    *("--data", "lightning.pytorch.demos.boring_classes.BoringDataModule"),
    *("--trainer.fast_dev_run", "true", "--trainer.enable_progress_bar", "false", "--trainer.logger", "false"),
]
FAULTS = """
import resource, sys
import torch
from graftable.allocator import keep_freed_memory

class Faults(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        "The page faults of a buffer of 64 MB, once a few have come and gone; the fewest, as the system adds its own."
        counts = []
        for _ in range(16):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            torch.ones(2**24)
            counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
        return min(counts)

torch.ones(2**24)
default = Faults()[0]
keep_freed_memory()
workers = torch.utils.data.DataLoader(Faults(), num_workers=2, multiprocessing_context="fork")
print(default, Faults()[0], *torch.cat(list(workers)).tolist())
"""


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    for name in (allocator.SWITCH, *allocator.VARIABLES, allocator.HUGE_PAGES, "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)


@needs_glibc
def test_kept_memory_is_not_cleared_again_after_torch_was_imported_nor_in_forked_workers():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    default, kept, *workers = map(int, done.stdout.split())
    assert default >= 32  # pages of 2 MB, where the system gives them unasked; of 4 kB they are 16,384
    assert kept < 16
    assert len(workers) == 2
    assert max(workers) < 16


@pytest.fixture
def kept_by(monkeypatch, tmp_path):
    """How often a command asks for freed memory to be kept."""
    calls = []
    monkeypatch.setattr(training, "keep_freed_memory", lambda: calls.append(True))
    monkeypatch.setattr(sys, "argv", ["graftable"])
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        main([*arguments, *BORING, "--trainer.accelerator", "cpu"])
        return len(calls)

    return run


@needs_glibc
@pytest.mark.parametrize("verb", TRAINING_VERBS)
def test_training_verbs_keep_freed_memory_on_a_cpu(verb, kept_by):
    assert kept_by(verb) == 1


CHOICES = {
    "GRAFTABLE_MALLOC": "default",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_the_user_chose_for_the_allocator_stays(name, kept_by, monkeypatch):
    monkeypatch.setenv(name, CHOICES[name])
    assert kept_by("fit") == 0


def test_a_switch_that_means_nothing_is_refused(monkeypatch):
    monkeypatch.setenv("GRAFTABLE_MALLOC", "keep")
    with pytest.raises(ConfigError, match="GRAFTABLE_MALLOC is 'keep'; expected default or kept"):
        allocator.keeps_in_training()


@needs_glibc
def test_the_switch_overrules_the_other_settings(monkeypatch):
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libjemalloc.so.2")
    assert not allocator.keeps_in_training()
    monkeypatch.setenv("GRAFTABLE_MALLOC", "kept")
    assert allocator.keeps_in_training()


def test_without_glibc_nothing_is_done(monkeypatch):
    monkeypatch.setattr(allocator.os, "confstr", lambda name: None)
    assert allocator.glibc_version() is None
    assert not allocator.keep_freed_memory()
    assert not allocator.keeps_in_training()
    assert allocator.milliseconds_of_a_buffer() is None


@needs_glibc
def test_measuring_leaves_this_process_as_it_is(monkeypatch):
    monkeypatch.setattr(allocator, "keep_freed_memory", lambda: pytest.fail("was called here"))
    present, kept = allocator.milliseconds_of_a_buffer()
    assert present > 0
    assert kept > 0
