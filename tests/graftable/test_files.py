"""A file is whole or absent, whenever the process dies."""

import contextlib
import errno
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable import files
from graftable.cli import main
from graftable.errors import DataError


class Crash(BaseException):
    """A death that no ``except Exception`` sees."""


def crash_at(monkeypatch, step):
    """Let the ``step``-th call that touches the disk die; returns the list of calls made."""
    calls = []
    for name in ("fsync", "replace", "close", "open"):
        original = getattr(os, name)

        def call(*arguments, _original=original, _name=name, **keywords):
            calls.append(_name)
            if len(calls) == step:
                raise Crash
            return _original(*arguments, **keywords)

        monkeypatch.setattr(files.os, name, call)
    return calls


@pytest.mark.parametrize("step", range(1, 12))
def test_a_crash_at_any_step_leaves_the_old_file_or_the_new_one(step, tmp_path, monkeypatch):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with contextlib.suppress(Crash):
            files.write_text(target, "new" * 1000)
    assert target.read_text() in ("old", "new" * 1000)


def test_after_an_error_the_target_is_as_it_was_and_no_part_stays(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(KeyError), files.atomic_path(target) as part:  # noqa: PT012
        part.write_text("half")
        raise KeyError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def fail(monkeypatch, name):
    def full(*arguments, **keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"write": (files.Path, "write_bytes")}.get(name, (files.os, name)), full)


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_full_disk_is_one_sentence_and_the_target_is_as_it_was(step, tmp_path, monkeypatch, capsys):
    target = tmp_path / "mine.yaml"
    target.write_text("old")
    with monkeypatch.context() as patch:
        fail(patch, step)
        assert main(["configs", "copy", "lggm", str(target), "--force"]) == 2
    sentence = (
        f"graftable: {target}: cannot be written (No space left on device); make room, or choose another place.\n"
    )
    assert capsys.readouterr().err == sentence
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_target_that_is_a_folder_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"cannot be written \(Is a directory\)"):
        files.write_text(tmp_path, "x")


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"), files.atomic_path(tmp_path / "a.txt") as part:
        part.write_bytes((tmp_path / "absent.txt").read_bytes())


@settings(max_examples=20, deadline=None)
@given(content=st.text())
def test_what_is_written_is_read_back(content, tmp_path_factory):
    target = tmp_path_factory.mktemp("files") / "a.txt"
    files.write_text(target, content)
    assert target.read_bytes().decode() == content


def test_missing_folders_are_made(tmp_path):
    files.write_text(tmp_path / "b" / "c" / "d.txt", "x")
    assert (tmp_path / "b" / "c" / "d.txt").read_text() == "x"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written \(.*\); choose a folder"):
        files.write_text(tmp_path / "file" / "a.txt", "x")


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    files.write_text(tmp_path / "atomic.txt", "x")
    (tmp_path / "plain.txt").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("atomic.txt", "plain.txt")]
    assert modes[0] == modes[1]


def test_stale_parts_are_swept_and_nothing_else(tmp_path):
    (tmp_path / ".a.txt.x1.part").write_text("half")
    (tmp_path / "a.txt").write_text("whole")
    assert [path.name for path in files.remove_stale_parts(tmp_path)] == [".a.txt.x1.part"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
