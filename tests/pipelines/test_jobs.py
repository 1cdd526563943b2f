"""Batch jobs: whatever stops one, and however often, its folder ends with the bytes of a run that was never stopped."""

import ctypes
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from graftable.cli import main
from graftable.errors import ConfigError, DataError, GraftableError
from graftable.pipelines.jobs import RepairJob, SynthesizeJob, run_job
from graftable.pipelines.jobs.job import Task, one_thread
from graftable.tabular import Synthesizer, check

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode leaves it off, and workers look where we look
from cheap_jobs import Letters

RULES = "end >= start\ntotal == fee + extra\n"
CONFIG = """# A job for tests.
config_version: 1
out: made
job:
  class_path: graftable.pipelines.jobs.SynthesizeJob
  init_args: {data: t.csv, rules: r.rules, engine: copula, rows: 850, rows_per_part: 100, seed: 3}
"""
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def loans(rows=300, seed=1):
    rng = np.random.default_rng(seed)
    start, fee, extra = rng.integers(0, 100, rows), rng.integers(0, 50, rows), rng.integers(0, 9, rows)
    frame = {"id": np.arange(100, 100 + rows), "name": [f"N-{i:05d}" for i in rng.permutation(rows)], "start": start}
    frame |= {"end": start + rng.integers(0, 30, rows), "fee": fee, "extra": extra, "total": fee + extra}
    return pd.DataFrame(frame | {"kind": np.where(fee >= 25, "gold", "base")})


@pytest.fixture(scope="module")
def table():
    return loans().to_csv(index=False)


@pytest.fixture
def folder(tmp_path, monkeypatch, table):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(table)
    Path("r.rules").write_text(RULES)
    Path("job.yaml").write_text(CONFIG)
    return tmp_path


def content(folder="made"):
    """All that a folder holds."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def run(capsys, *arguments):
    code = main(["run", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return code, out, err


# -- kills


@needs_fork
def test_a_process_that_dies_at_any_step_on_the_disk_leaves_what_the_next_can_finish(tmp_path):
    run_job(Letters(), tmp_path / "whole")
    steps = 0
    for step in range(1, 200):
        if not dies_at(step, tmp_path / f"{step}"):
            break
        steps = step
        run_job(Letters(), tmp_path / f"{step}")
        assert content(tmp_path / f"{step}") == content(tmp_path / "whole"), step
    assert steps > 30


def dies_at(step, out):
    """Run the job in a process that dies in place of the given rename, flush or removal; False if there are fewer."""
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9)
        return code == 9
    left, code = step, 1

    def deadly(real):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            return real(*arguments, **options) if left else os._exit(9)

        return call

    for name in ("replace", "fsync", "unlink", "mkdir", "rmdir"):
        setattr(os, name, deadly(getattr(os, name)))
    try:
        run_job(Letters(), out)
        code = 0
    finally:
        os._exit(code)


def test_a_part_whose_line_a_kill_cut_off_is_made_again_to_the_same_bytes(tmp_path):
    run_job(Letters(), tmp_path)
    whole = content(tmp_path)
    manifest = whole["_manifest.jsonl"]
    ends = [place for place, byte in enumerate(manifest, start=1) if byte == ord("\n")]
    for cut in [0, *(end + moved for end in ends for moved in (-9, -1, 0, 1))]:
        (tmp_path / "_done.json").unlink()
        (tmp_path / "_manifest.jsonl").write_bytes(manifest[:cut])
        assert run_job(Letters(), tmp_path).made == sum(end - 1 > cut for end in ends)  # only its line feed may lack
        assert content(tmp_path) == whole, cut


# Runs `graftable` in processes that it forks once all is imported: before that, a kill would only prove that imports
# write nothing. The timer counts the processor's time, whatever else the machine does, and its signal is sent by the
# kernel and ends a process in the midst of what it does, as SIGKILL does.
FORKED = """
import os, signal, sys
import graftable.running, graftable.pipelines.jobs.tables, graftable.tabular.generators.copula
from graftable.cli import main

for line in sys.stdin:
    seconds, *arguments = line.split()
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_PROF, float(seconds))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(main(["run", *arguments]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@needs_fork
def test_the_command_killed_at_five_random_moments_ends_with_the_same_bytes(folder):
    chosen = random.Random(6)
    python = subprocess.Popen([sys.executable, "-c", FORKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def command(seconds, out):
        print(seconds, "job.yaml", "--out", out, file=python.stdin, flush=True)
        return int(python.stdout.readline())

    started = time.process_time()
    assert main(["run", "job.yaml", "--out", "whole"]) == 0
    longest = time.process_time() - started
    kills, made = 0, ["made0"]
    while kills < 5:
        code = command(chosen.uniform(0.01, longest), made[-1])
        assert code in (0, -signal.SIGPROF)
        if code == 0:  # it was faster, so another one is begun
            assert content(made[-1]) == content("whole")
            made.append(f"made{len(made)}")
        else:
            kills += 1
    assert main(["run", "job.yaml", "--out", made[-1]]) == 0
    assert content(made[-1]) == content("whole")
    python.communicate()


@pytest.fixture
def slow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    job = "{class_path: cheap_jobs.Letters, init_args: {letters: abcde, waits: c}}"
    Path("slow.yaml").write_text(f"out: made\njob: {job}\n")
    return ["run", "slow.yaml", "--trust-config"]


def begun(arguments):
    """A process of the command that has made a part and said so: a part appears before its line in the manifest."""
    process = subprocess.Popen([sys.executable, "-m", "graftable", *arguments], stderr=subprocess.PIPE, text=True)
    manifest = Path("made/_manifest.jsonl")
    while not (manifest.is_file() and b"\n" in manifest.read_bytes()) and process.poll() is None:
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(("number", "code", "workers"), [(signal.SIGTERM, 143, "2"), (signal.SIGINT, 130, "1")])
def test_a_signal_ends_the_command_with_the_one_that_goes_on(number, code, workers, slow):
    process = begun([*slow, "--workers", workers, "--job.letters", "abcdef"])
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == code, said
    assert "What is done is kept; go on with:\n  graftable run slow.yaml" in said
    left = content()
    assert 1 <= left["_manifest.jsonl"].count(b"\n") < 6
    assert not [name for name in left if name.startswith(".")]
    resume = next(line for line in said.splitlines() if line.startswith("  graftable run"))
    Path("go").touch()
    assert subprocess.run([sys.executable, "-m", *shlex.split(resume)]).returncode == 0
    run_job(Letters("abcdef", waits="c"), "whole")
    assert content() == content("whole")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
def test_workers_end_with_a_parent_that_is_killed(slow):
    process = begun([*slow, "--workers", "2"])
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.communicate()
    assert len(workers) >= 2
    while any(is_alive(pid) for pid in workers):  # the test's own time limit is the only clock here
        time.sleep(0.01)


def test_a_signal_that_comes_while_libraries_are_listed_is_not_lost(monkeypatch):
    @ctypes.CFUNCTYPE(None)
    def interrupted():
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("graftable.pipelines.jobs.job.threadpool_limits", lambda limits: interrupted() or nullcontext())
    with pytest.raises(KeyboardInterrupt), one_thread():
        pytest.fail("went on")


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_the_system_kills_is_named_and_what_is_done_is_kept(tmp_path):
    with pytest.raises(GraftableError, match=r"ended with exit code -9 while it made c\.txt.*what is done is kept"):
        run_job(Letters(deadly="c"), tmp_path, workers=2)
    assert "c.txt" not in content(tmp_path)
    assert not (tmp_path / ".lock").exists()


# -- the same bytes


def test_the_bytes_do_not_depend_on_who_makes_which_part(folder, capsys):
    assert run(capsys, "job.yaml", "--out", "one")[0] == 0
    assert run(capsys, "job.yaml", "--out", "two", "--workers", "2")[0] == 0
    assert content("one") == content("two")


def test_the_rows_obey_and_are_named_once_and_the_folder_says_what_it_holds(folder, capsys):
    code, out, err = run(capsys, "job.yaml", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert (said["parts"], said["made"], said["rows"], said["figures"]["violating_rows"]) == (9, 9, 850, 0)
    made = pd.read_parquet("made")  # the files of the job itself are no obstacle
    assert made["id"].tolist() == list(range(100, 950))
    assert made["name"].is_unique
    assert not made.drop(columns=["id", "name"]).duplicated().mean() > 0.5
    for path in Path("made").glob("rows-*.parquet"):
        assert check(path, RULES).violating_rows == 0
    lines = [json.loads(line) for line in Path("made/_manifest.jsonl").read_text().splitlines()]
    assert [line["rows"] for line in lines] == [100] * 8 + [50]
    assert json.loads(Path("made/_done.json").read_text())["rows"] == 850


def test_a_second_run_does_nothing_and_says_so(folder, capsys):
    run(capsys, "job.yaml")
    before = {path: path.stat().st_mtime_ns for path in Path("made").rglob("*")}
    code, out, _ = run(capsys, "job.yaml", "--workers", "2")
    assert code == 0
    assert out.startswith("made: is complete (9 parts, 850 rows); nothing was left to do.")
    assert {path: path.stat().st_mtime_ns for path in Path("made").rglob("*")} == before


def damage(path, how):
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[:-9], "flipped": content[:-9] + b"x" + content[-8:], "emptied": b""}[how])


@pytest.mark.parametrize("how", ["gone", "cut", "flipped", "emptied"])
@pytest.mark.parametrize("name", ["b.txt", "_manifest.jsonl", "_done.json", "_shared/times", "_shared/checksums.json"])
def test_what_is_damaged_is_made_again(name, how, tmp_path):
    run_job(Letters(), tmp_path)
    whole = content(tmp_path)
    damage(tmp_path / name, how)
    assert content(tmp_path) != whole
    report = run_job(Letters(), tmp_path)
    assert content(tmp_path) == whole
    assert report.made == 1 or name != "b.txt"


@pytest.mark.parametrize("how", ["gone", "cut", "flipped", "emptied"])
def test_a_damaged_file_of_rows_is_made_again(how, folder, capsys):
    run(capsys, "job.yaml")
    whole = content()
    damage(Path("made/rows-00004.parquet"), how)
    code, out, _ = run(capsys, "job.yaml")
    assert code == 0
    assert "8 parts were there already" in out
    assert content() == whole


def test_a_manifest_is_believed_in_no_file_outside_the_folder(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    run_job(Letters(), tmp_path / "made")
    (tmp_path / "made" / "_done.json").unlink()
    entry = {"part": 0, "name": "a.txt", "files": {"../mine.txt": "0"}}
    with open(tmp_path / "made" / "_manifest.jsonl", "a") as file:
        file.write(json.dumps(entry) + "\n[]\n3\nnull\n" + '{"part": 1')
    run_job(Letters(), tmp_path / "made")
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_job_of_a_model_adds_rules_and_conditions(folder, capsys):
    Synthesizer("copula", rules=RULES).fit(loans()).save("m")
    added = ("--job.rules", "fee <= 30", "--job.where", "start >= 50")
    code, *_ = run(capsys, "job.yaml", "--job.data", "null", "--job.model", "m", *added)
    assert code == 0
    assert not (Path("made") / "_shared").exists()
    for path in Path("made").glob("rows-*.parquet"):
        assert check(path, RULES + "fee <= 30\nstart >= 50").violating_rows == 0


# -- refusals


def mistake(capsys, *arguments):
    before = content(".")
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("graftable: ")
    assert err.count("\n") == (3 if "^" in err else 1)
    assert content(".") == before
    return err


CHANGES = {
    "a setting": (("--job.rows", "400"), "was begun with rows = 850, and the config now says 400"),
    "the seed": (("--job.seed", "4"), "was begun with seed = 3, and the config now says 4"),
    "a setting that was not there": (("--job.where", "fee > 3"), 'where = null, and the config now says "fee > 3"'),
    "the kind": (("--job", "{class_path: RepairJob, init_args: {tables: ., rules: r.rules}}"), "is a RepairJob"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_another_job_is_refused_in_a_folder_that_was_begun(what, folder, capsys):
    arguments, sentence = CHANGES[what]
    run(capsys, "job.yaml")
    assert sentence in mistake(capsys, "job.yaml", *arguments)


def test_a_folder_of_the_users_own_is_not_taken_for_ours(tmp_path):
    (tmp_path / "_shared").mkdir()
    with pytest.raises(ConfigError, match="holds _shared, and no job was begun there"):
        run_job(Letters(), tmp_path)


def test_what_is_shared_must_be_what_it_was_when_made_again(tmp_path, monkeypatch):
    run_job(Letters(), tmp_path)
    (tmp_path / "_shared" / "times").unlink()
    monkeypatch.setattr(Letters, "prepare", lambda self, shared, progress: (shared / "times").write_text("4"))
    with pytest.raises(ConfigError, match="was damaged, and is another when made anew"):
        run_job(Letters(), tmp_path)


def test_another_content_of_what_is_read_is_refused(folder, capsys):
    run(capsys, "job.yaml")
    Path("t.csv").write_text(loans(seed=2).to_csv(index=False))
    assert "was begun with another content of t.csv (data) than it has now" in mistake(capsys, "job.yaml")


def test_a_folder_of_another_version_is_refused(tmp_path):
    run_job(Letters(), tmp_path)
    said = json.loads((tmp_path / "_job.json").read_text())
    for change, sentence in (({"graftable": "0.0.1"}, "begun by graftable 0.0.1"), ({"version": 2}, "another format")):
        (tmp_path / "_job.json").write_text(json.dumps(said | change))
        with pytest.raises(ConfigError, match=sentence):
            run_job(Letters(), tmp_path)
    (tmp_path / "_job.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        run_job(Letters(), tmp_path)


def test_a_folder_that_another_run_has_is_refused_and_one_that_a_dead_run_had_is_not(tmp_path):
    with pytest.raises(ConfigError, match=rf"process {os.getpid()} on \S+ is at work on this job"):
        run_job(Greedy(str(tmp_path)), tmp_path)
    (tmp_path / ".lock").write_text("process 1 on elsewhere")
    assert run_job(Letters(), tmp_path / "new").made == 4


class Greedy(Letters):
    """Runs itself once more while it runs."""

    def __init__(self, out):
        super().__init__()
        self.out = out

    def prepare(self, shared, progress=None):
        run_job(Letters(), self.out)


BAD = {
    "no such config": (("jobb.yaml",), "there is no such config file"),
    "a config of a model": (("lggm_debug",), "describes no job"),
    "an option --config": (("--config", "job.yaml"), "leave out --config"),
    "an unknown setting": (("job.yaml", "--job.rowz", "3"), "--job.rowz: no such setting. Did you mean `rows`?"),
    "an unknown key": (("job.yaml", "--jobs", "3"), "no such setting"),
    "a text for a number": (("job.yaml", "--job.rows", "many"), "found 'many', expected a whole number"),
    "no rows": (("job.yaml", "--job.rows", "0"), "rows is 0; expected a whole number of at least 1"),
    "no rows in a part": (("job.yaml", "--job.rows_per_part", "0"), "rows_per_part is 0"),
    "a negative seed": (("job.yaml", "--job.seed", "-1"), "seed is -1"),
    "no workers": (("job.yaml", "--workers", "0"), "--workers: found '0'"),
    "an unknown engine": (("job.yaml", "--engine", "rai"), "--engine: found 'rai', expected local"),
    "an unknown generator": (("job.yaml", "--job.engine", "copulo"), "Did you mean `copula`?"),
    "an unknown setting of it": (("job.yaml", "--job.settings", "{x: 1}"), "the engine `copula` has no setting `x`"),
    "a text for a number in it": (
        ("job.yaml", "--job.engine", "circuit", "--job.settings", "{members: many}"),
        "`members` of the engine `circuit` is 'many'; expected a whole number",
    ),
    "a setting out of range": (("job.yaml", "--job.settings", "{shrink: 7}"), "shrink is 7; expected 0 to 1"),
    "nothing to learn": (("job.yaml", "--job.data", "null"), "there is nothing to learn from"),
    "two things to learn": (("job.yaml", "--job.model", "m"), "data and model are both given"),
    "no such table": (("job.yaml", "--job.data", "u.csv"), "u.csv"),
    "no such rules": (("job.yaml", "--job.rules", "u.rules"), "u.rules"),
    "a rule of no column": (("job.yaml", "--job.rules", "debt >= 3"), "there is no column `debt`"),
    "rules that contradict": (("job.yaml", "--job.rules", "[fee >= 3, fee <= 2]"), "cannot all hold"),
    "an absurd condition": (("job.yaml", "--job.where", "end < start"), "the condition contradicts the rules"),
    "no such model": (("job.yaml", "--job.data", "null", "--job.model", "m"), "m"),
    "a foreign job": (("job.yaml", "--job", "foreign.Job"), "add --trust-config"),
    "a class that is no job": (("job.yaml", "--job", "graftable.tabular.Schema"), "is not a Job"),
    "a misspelt job": (("job.yaml", "--job", "SynthesiseJob"), "Did you mean `SynthesizeJob`?"),
    "no place": (("job.yaml", "--out", ""), "found '', expected the name of a folder"),
    "a file in the place": (("job.yaml", "--out", "t.csv"), "is a file; give the name of a folder"),
    "a folder of other things": (("job.yaml", "--out", "."), "no job was begun there"),
    "an encoding that is none": (("job.yaml", "--job.encoding", "utf-7x"), "there is no such encoding"),
    "another format": (("job.yaml", "--config_version", "2"), "found 2, expected version 1"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_one_sentence_and_nothing_is_written(what, folder, capsys):
    arguments, sentence = BAD[what]
    assert sentence in mistake(capsys, *arguments)


def test_a_part_that_fails_ends_the_job_and_the_others_are_kept(tmp_path):
    for workers in (1, 2):
        out = tmp_path / f"{workers}"
        with pytest.raises(DataError, match=r"c\.txt: is broken"):
            run_job(Letters(broken="c"), out, workers=workers)
        assert (out / "a.txt").is_file() or workers == 2
        assert not {"c.txt", "_done.json", ".lock"} & {*content(out)}


# -- a folder of tables


@pytest.fixture
def tables(folder):
    Path("in").mkdir()
    for name, seed in (("a.csv", 1), ("b.csv", 2), ("c.csv", 3)):
        frame = loans(60, seed)
        frame.loc[::7, "end"] = -5
        frame.to_csv(f"in/{name}", index=False)
    loans(40).to_parquet("in/d.parquet")
    Path("in/b.csv").write_text("id,end\n1,2\n")
    Path("repair.yaml").write_text(
        "# Repairs.\nout: made\njob: {class_path: RepairJob, init_args: {tables: in, rules: r.rules}}\n"
    )


def test_a_folder_of_tables_is_repaired_and_what_cannot_be_is_set_aside(tables, capsys):
    code, out, _ = run(capsys, "repair.yaml")
    assert code == 3
    assert "1 parts are in quarantine, such as\n    b.csv: " in out
    for name in ("a.csv", "c.csv", "d.parquet"):
        assert check(f"made/{name}", RULES).violating_rows == 0
    (line,) = Path("made/_quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["name"] == "b.csv"
    assert "no column `" in json.loads(line)["reason"]
    whole = content()
    code, out, _ = run(capsys, "repair.yaml", "--workers", "2")
    assert (code, content()) == (3, whole)
    assert "nothing was left to do" in out


def test_a_table_that_is_mended_is_made_by_the_next_run(tables, capsys):
    run(capsys, "repair.yaml")
    loans(60, 2).to_csv("in/b.csv", index=False)
    code, out, _ = run(capsys, "repair.yaml")
    assert code == 0
    assert "3 parts were there already" in out
    assert run(capsys, "repair.yaml", "--out", "whole")[0] == 0
    assert content() == content("whole")


def test_rows_that_cannot_be_repaired_are_listed_beside_their_table(tables, capsys):
    loans(60, 2).to_csv("in/b.csv", index=False)
    code, out, _ = run(capsys, "repair.yaml", "--job.pin", "[start, end]")
    assert code == 3
    assert "rows are in quarantine" in out
    whole = content()
    assert {"a.csv.quarantine.csv", "c.csv.quarantine.csv"} == {name for name in whole if "quarantine" in name}
    Path("made/c.csv.quarantine.csv").unlink()
    code, out, _ = run(capsys, "repair.yaml", "--job.pin", "[start, end]")
    assert (code, content()) == (3, whole)
    assert "3 parts were there already" in out


def test_a_list_of_rows_does_not_outlive_its_table(tables, capsys):
    arguments = ("repair.yaml", "--job.pin", "[start, end]")
    good = Path("in/c.csv").read_bytes()
    run(capsys, *arguments)
    Path("made/_manifest.jsonl").unlink()  # as a kill may leave it: the files of a part come before its line
    Path("made/_done.json").unlink()
    Path("in/c.csv").write_text("id,end\n1,2\n")
    run(capsys, *arguments)
    assert run(capsys, *arguments, "--out", "whole")[0] == 3
    assert content() == content("whole")
    Path("in/c.csv").write_bytes(good)
    run(capsys, *arguments)
    assert "c.csv.quarantine.csv" in content()


def test_a_full_disk_is_no_fault_of_a_table(tables, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("graftable.files.os.fsync", full)
    job = RepairJob("in", "r.rules")
    job.prepare(Path())
    Path("made").mkdir()
    with pytest.raises(DataError, match="No space left"):
        Task(job, Path("made")).opened()(job.parts()[0])


def test_rules_that_are_wrong_for_the_first_table_end_the_job(tables, capsys):
    assert "there is no column `debt`" in mistake(capsys, "repair.yaml", "--job.rules", "debt >= 1")
    assert "cannot all hold" in mistake(capsys, "repair.yaml", "--job.rules", "[fee <= 1, fee >= 2]")
    assert "there is no such folder" in mistake(capsys, "repair.yaml", "--job.tables", "nowhere")
    Path("void").mkdir()
    assert "holds no table" in mistake(capsys, "repair.yaml", "--job.tables", "void")
    assert "no job was begun there" in mistake(capsys, "repair.yaml", "--out", "in")


def test_other_tables_in_the_folder_are_another_job(tables, capsys):
    run(capsys, "repair.yaml")
    loans(9).to_csv("in/e.csv", index=False)
    assert "was begun with 4 parts, and there are 5 now" in mistake(capsys, "repair.yaml")


def test_a_job_of_the_library_is_what_the_command_makes(folder, capsys):
    run(capsys, "job.yaml", "--out", "made")
    run_job(SynthesizeJob("t.csv", rules="r.rules", engine="copula", rows=850, rows_per_part=100, seed=3), "here")
    assert content("made") == content("here")


def test_the_job_that_the_documentation_shows_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(page.partition("```python\n")[2].partition("```")[0], {})
    assert Path("squares/2.txt").read_text() == "4"
