import builtins
import errno
import io
import os
import pathlib

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from graftable.errors import GraftableError, ModelFileError
from graftable.pipelines.checkpoints import AtomicCheckpointIO, load_checkpoint, save_checkpoint

OLD = {"state_dict": {"weight": torch.arange(6.0).reshape(2, 3)}, "epoch": 1, "name": "old"}
NEW = {"state_dict": {"weight": torch.arange(60.0).reshape(20, 3)}, "epoch": 2, "name": "new"}
CRASHED = 77


def same(found, expected):
    return found["name"] == expected["name"] and torch.equal(
        found["state_dict"]["weight"], expected["state_dict"]["weight"]
    )


class Crash:
    """Ends the process at the ``point``-th write, fsync or rename; a write dies when half of it is on disk."""

    def __init__(self, point):
        self.left = point
        crash, really_open = self, builtins.open

        class DyingFile(io.FileIO):
            def write(self, data):
                crash.step(lambda: io.FileIO.write(self, memoryview(data).cast("B")[: len(data) // 2]))
                return super().write(data)

        def dying_open(file, mode="r", *args, **kwargs):
            writes = "w" in mode or "+" in mode
            return DyingFile(file, mode.replace("b", "")) if writes else really_open(file, mode, *args, **kwargs)

        builtins.open = dying_open
        for name in ("fsync", "replace"):
            setattr(os, name, self.guard(getattr(os, name)))

    def guard(self, function):
        def guarded(*args):
            self.step(lambda: None)
            return function(*args)

        return guarded

    def step(self, half_done):
        if self.left == 0:
            half_done()
            os._exit(CRASHED)
        self.left -= 1


def crashes_of(save, path, after_each):
    """Let a forked child die in ``save`` at its first, second, ... step until one survives; returns how many died."""
    for point in range(1000):
        save_checkpoint(OLD, path)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                Crash(point)
                save(NEW, path)
                status = 0
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        after_each()
        if status == 0:
            return point
        assert status == CRASHED
    raise AssertionError("no child survived")


def naive_save(checkpoint, path):
    with open(path, "wb") as file:
        torch.save(checkpoint, file)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_crash_at_any_step_leaves_the_old_or_the_new_checkpoint(tmp_path):
    found = []

    def look():
        checkpoint = load_checkpoint(tmp_path / "a.ckpt")
        assert same(checkpoint, OLD) or same(checkpoint, NEW)
        found.append(checkpoint["name"])

    assert crashes_of(save_checkpoint, tmp_path / "a.ckpt", look) >= 5
    assert found[0] == "old"
    assert found[-1] == "new"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_same_crashes_destroy_a_file_that_is_written_in_place(tmp_path):
    damaged = []

    def look():
        try:
            load_checkpoint(tmp_path / "a.ckpt")
        except ModelFileError:
            damaged.append(True)

    assert crashes_of(naive_save, tmp_path / "a.ckpt", look) == len(damaged) > 0


def test_parts_of_killed_runs_are_swept_before_the_first_save(tmp_path):
    stale = tmp_path / ".a.ckpt.x7.part"
    stale.write_bytes(b"half")
    AtomicCheckpointIO().save_checkpoint(NEW, tmp_path / "a.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_with_a_wrong_bit_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint(OLD, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(ModelFileError, match=r"a\.ckpt: .*(damaged|plain values)"):
            load_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 1, 100, -200, -1])
def test_a_truncated_checkpoint_is_refused_in_one_sentence(tmp_path, kept):
    path = tmp_path / "a.ckpt"
    save_checkpoint(OLD, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"the checkpoint is damaged \(.+\); resume from an earlier one\.$"):
        load_checkpoint(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"no\.ckpt: there is no such checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "no.ckpt")


def test_an_archive_without_a_checksum_still_loads(tmp_path):
    naive_save(NEW, tmp_path / "a.ckpt")
    assert same(load_checkpoint(tmp_path / "a.ckpt"), NEW)


def test_plain_torch_reads_a_sealed_checkpoint(tmp_path):
    save_checkpoint(NEW, tmp_path / "a.ckpt")
    assert same(torch.load(tmp_path / "a.ckpt", weights_only=True), NEW)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_checkpoint({"state_dict": Trap()}, "a.ckpt")
    with pytest.raises(ModelFileError, match="can run code"):
        AtomicCheckpointIO().load_checkpoint("a.ckpt", weights_only=False)
    assert not pathlib.Path("sprung").exists()


def test_a_full_disk_raises_and_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    save_checkpoint(OLD, path)

    def full(checkpoint, file):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ModelFileError, match=r"a\.ckpt: the checkpoint .*No space left on device.*as it was"):
        save_checkpoint(NEW, path)
    monkeypatch.undo()
    assert same(load_checkpoint(path), OLD)
    assert [found.name for found in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_the_error_of_a_really_full_device_is_understood(tmp_path, monkeypatch):
    really_open = builtins.open
    monkeypatch.setattr(builtins, "open", lambda file, mode="r", *a, **k: really_open("/dev/full", mode, *a, **k))
    with pytest.raises(ModelFileError, match="cannot be written"):
        save_checkpoint(NEW, tmp_path / "a.ckpt")


def test_a_folder_that_cannot_be_written_raises(tmp_path):
    (tmp_path / "file").write_text("a file where a folder is wanted")
    with pytest.raises(ModelFileError, match="cannot be written"):
        AtomicCheckpointIO().save_checkpoint(NEW, tmp_path / "file" / "a.ckpt")
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(GraftableError, match="cannot be written"):
            save_checkpoint(NEW, tmp_path / "a.ckpt")


def test_a_trainer_saves_and_resumes_through_it(tmp_path):
    settings = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_steps=2, default_root_dir=tmp_path, plugins=[AtomicCheckpointIO()], **settings)
    model = BoringModel()
    trainer.fit(model)
    saved = trainer.checkpoint_callback.best_model_path
    assert load_checkpoint(saved)["global_step"] == 2
    resumed = BoringModel()
    Trainer(max_steps=2, default_root_dir=tmp_path, plugins=[AtomicCheckpointIO()], **settings).fit(
        resumed, ckpt_path=saved
    )
    assert torch.equal(resumed.layer.weight, model.layer.weight)
