"""``graftable check``, ``explain`` and ``repair``: exit codes, sentences, and files that are whole or absent."""

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graftable.cli import main

DATA = Path(__file__).parents[1] / "data"
TABLE = "low,high,kind\n1,2,a\n5,3,b\n4,4,a\n"
RULES = "low <= high\nif kind == 'b' then high >= 3   # for b\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(TABLE)
    Path("r.rules").write_text(RULES)
    return tmp_path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def mistake(capsys, *arguments):
    before = sorted(Path().iterdir())
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("graftable: ")
    assert err.count("\n") == (3 if "^" in err else 1)  # one sentence; of a rule, with the line and carets under it
    assert sorted(Path().iterdir()) == before
    return err


def test_check_counts_and_shows_and_exits_with_1(folder, capsys):
    code, out, _ = run(capsys, "check", "t.csv", "r.rules")
    assert code == 1
    assert "1 of 3 rows break a rule (33.33 %)" in out
    assert "line 3: high = 3, low = 5" in out
    code, out, _ = run(capsys, "check", "t.csv", "r.rules", "--json", "--examples", "0", "--report", "report.json")
    found = json.loads(out)
    assert (code, found["violating_rows"], found["rules"][0]["examples"]) == (1, 1, [])
    assert json.loads(Path("report.json").read_text()) == found


def test_check_of_a_clean_table_exits_with_0(folder, capsys):
    Path("r.rules").write_text("high >= 2")
    assert run(capsys, "check", "t.csv", "r.rules")[0] == 0


def test_repair_makes_check_clean(folder, capsys):
    code, out, _ = run(capsys, "repair", "t.csv", "r.rules", "--out", "o.csv", "--report", "report.json")
    assert code == 0
    assert "1 of 3 rows moved" in out
    assert out.endswith("wrote o.csv\n")
    assert json.loads(Path("report.json").read_text())["moved_rows"] == 1
    assert run(capsys, "check", "o.csv", "r.rules")[0] == 0
    assert sorted(path.name for path in folder.iterdir()) == ["o.csv", "r.rules", "report.json", "t.csv"]


def test_rows_without_a_solution_exit_with_3_and_are_listed(folder, capsys):
    arguments = ("repair", "t.csv", "r.rules", "--out", "o.csv", "--pin", "low", "--pin", "high")
    code, out, _ = run(capsys, *arguments)
    assert code == 3
    assert Path("o.csv").read_text() == TABLE
    assert "o.csv.quarantine.csv" in out
    assert Path("o.csv.quarantine.csv").read_text().splitlines() == [
        "row,place,reason,high,kind,low",
        '1,line 3,"no row with the same `low`, `high` obeys the rules",3,b,5',
    ]
    code, out, _ = run(capsys, *arguments, "--json")
    assert (code, json.loads(out)["quarantined_rows"]) == (3, 1)


def test_explain_says_what_the_rules_amount_to(folder, capsys):
    Path("r.rules").write_text("low <= high\nlow == 7\nkind in ['a', 'b']\nhigh - low >= -1\nhigh <= 9 and low >= 7")
    code, out, _ = run(capsys, "explain", "r.rules", "--data", "t.csv")
    assert code == 0
    assert "Always the same: low = 7." in out
    assert "Say nothing new beside the other rules: line 4" in out
    assert "no row obeys `low == 7`" in out
    code, out, _ = run(capsys, "explain", "r.rules", "--data", "t.csv", "--json")
    found = json.loads(out)
    assert (found["fixed"], found["ranges"]["high"]) == ({"low": "7"}, ["7", "9"])


def test_the_reading_options_are_heeded(folder, capsys):
    Path("t.csv").write_bytes("größe;preis\n1,5;-\n2,5;1,25\n9,5;?\n".encode("latin-1"))
    Path("r.rules").write_text("größe <= 5.25\npreis is null or preis >= 2")
    reading = ("--sep", ";", "--decimal", ",", "--encoding", "latin-1", "--null", "-", "--null", "?")
    assert run(capsys, "check", "t.csv", "r.rules", *reading)[0] == 1
    assert run(capsys, "repair", "t.csv", "r.rules", "--out", "o.csv", *reading)[0] == 0
    assert Path("o.csv").read_bytes().decode("latin-1") == "größe;preis\n1,5;-\n2,5;2,00\n5,2;?\n"


def test_a_schema_file_says_what_the_columns_are(folder, capsys):
    from graftable.tabular import Schema

    Schema.detect("t.csv").save("s.json")
    Path("t.csv").write_text("low,high,kind\n1,2,a\n5.6,3.4,b\n7,1,c\n")
    assert run(capsys, "repair", "t.csv", "r.rules", "--out", "o.csv", "--schema", "s.json")[0] == 0
    assert Path("o.csv").read_text().splitlines()[2] == "3,3.4,b"  # what moves is an integer, as the schema has it
    Path("sdv.json").write_text(Schema.load("s.json").to_sdv())
    assert run(capsys, "check", "o.csv", "r.rules", "--schema", "sdv.json")[0] == 0


BAD = {
    "an unknown column": ("t.csv", "hihg >= 3", "did you mean `high`"),
    "a product": ("t.csv", "low * high <= 3", "mode: reject"),
    "a contradiction": ("t.csv", "low >= 3\nhigh >= 0\nlow <= 2", "lines 1 and 3 of"),
    "a category never seen": ("t.csv", "kind in ['a', 'c']", "never holds 'c'"),
    "a syntax error": ("t.csv", "low <= <= high", "line 1, column 8"),
    "no rules": ("t.csv", "# nothing", "rule"),
    "a missing file": ("none.csv", RULES, "there is no such file"),
    "an empty file": ("empty.csv", RULES, "is empty"),
    "a header only": ("header.csv", RULES, "no rows"),
    "a ragged file": ("ragged.csv", RULES, "line 3: found 2 cells, expected 3"),
    "a wrong encoding": ("latin.csv", RULES, "--encoding latin-1"),
    "a wrong separator": ("semicolon.csv", RULES, "--sep ';'"),
    "a stray text": ("stray.csv", RULES, "line 4, column `low`: found 'x', expected a number"),
    "no Parquet": ("t.parquet", RULES, "is not a Parquet file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_leaves_no_file(case, folder, capsys):
    table, rules, expected = BAD[case]
    Path("empty.csv").write_text("")
    Path("header.csv").write_text("low,high,kind\n")
    Path("ragged.csv").write_text("low,high,kind\n1,2,a\n3,4\n")
    Path("latin.csv").write_bytes("low,high,kind\n1,2,ä\n".encode("latin-1"))
    Path("semicolon.csv").write_text("low;high;kind\n1;2;a\n")
    Path("stray.csv").write_text("low,high,kind\n1,2,a\n1,2,a\nx,4,a\n1,2,a\n")
    Path("t.parquet").write_text("PAR1")
    Path("r.rules").write_text(rules)
    said = mistake(capsys, "repair", table, "r.rules", "--out", f"o{Path(table).suffix}")
    assert expected.lower() in said.lower()


@pytest.mark.parametrize("command", ["check", "repair", "explain"])
def test_a_category_that_the_table_lacks_may_be_allowed(command, folder, capsys):
    Path("r.rules").write_text("if kind == 'rare' then low >= 3")
    arguments = {"check": ("t.csv", "r.rules"), "explain": ("r.rules", "--data", "t.csv")}
    arguments["repair"] = (*arguments["check"], "--out", "o.csv")
    assert "add --allow-unseen" in mistake(capsys, command, *arguments[command])
    assert run(capsys, command, *arguments[command], "--allow-unseen")[0] == 0


@pytest.mark.parametrize(
    ("out", "report", "schema", "said"),
    [
        ("r.rules", None, None, "--out and the rules are one file"),
        ("s.json", None, "s.json", "--out and --schema are one file"),
        ("o.csv", "t.csv", None, "--report and the table are one file"),
        ("o.csv", "./o.csv", None, "--report and --out are one file"),
        (".", None, None, "--out . is a folder"),
    ],
)
def test_what_is_written_replaces_nothing_that_is_read(out, report, schema, said, folder, capsys):
    from graftable.tabular import Schema

    Schema.detect("t.csv").save("s.json")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    options = [*(("--report", report) if report else ()), *(("--schema", schema) if schema else ())]
    assert said in mistake(capsys, "repair", "t.csv", "r.rules", "--out", out, *options)
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_options_that_make_no_sense_are_one_sentence(folder, capsys):
    assert "Did you mean `low`?" in mistake(capsys, "repair", "t.csv", "r.rules", "--out", "o.csv", "--pin", "lwo")
    assert "--sep" in mistake(capsys, "check", "t.csv", "r.rules", "--sep", ";;")
    assert "no such encoding" in mistake(capsys, "check", "t.csv", "r.rules", "--encoding", "klingon")
    assert "none.json" in mistake(capsys, "check", "t.csv", "r.rules", "--schema", "none.json")
    assert "written as CSV" in mistake(capsys, "repair", "t.csv", "r.rules", "--out", "o.parquet")
    assert "required: --out" in mistake(capsys, "repair", "t.csv", "r.rules")


def test_a_table_that_changed_since_its_schema_is_named(folder, capsys):
    from graftable.tabular import Schema

    Schema.detect("t.csv").save("s.json")
    for changed, expected in {
        "low,top,kind\n1,2,a\n": "there is no column `high`",
        "low,high,kind\n1,2,x\n": "column `kind`: found 'x'",
        "low,high,kind\none,2,a\n": "found 'one', expected a number",
    }.items():
        Path("t.csv").write_text(changed)
        assert expected in mistake(capsys, "repair", "t.csv", "r.rules", "--out", "o.csv", "--schema", "s.json")


def command(*arguments, **options):
    return [sys.executable, "-m", "graftable", *map(str, arguments)]


def test_a_full_disk_leaves_the_old_file(folder):
    Path("t.csv").write_text(TABLE + "5,3,b\n" * 20_000)
    Path("o.csv").write_text("old")

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = subprocess.run(
        command("repair", "t.csv", "r.rules", "--out", "o.csv"), preexec_fn=little_room, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "graftable: o.csv: cannot be written (File too large); make room, or choose another place.\n"
    assert Path("o.csv").read_text() == "old"
    assert sorted(path.name for path in folder.iterdir()) == ["o.csv", "r.rules", "t.csv"]


#: a repair that has written all rows, and is then reading them back until it is stopped
ENDLESS = """
import sys
from graftable.cli import main
from graftable.tabular import repairing

def endless(*arguments):
    print("begun", flush=True)
    while True:
        sum(range(1000))

repairing._confirm = endless
sys.exit(main(["repair", "t.csv", "r.rules", "--out", "o.csv"]))
"""


def stopped_by(sent, folder):
    """Send a signal to a repair once it has written; what it said."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", ENDLESS], **pipes)
    assert process.stdout.readline() == "begun\n"
    assert list(folder.glob(".o.csv.*"))
    process.send_signal(sent)
    _, err = process.communicate()
    return process.returncode, err


@pytest.mark.parametrize(("sent", "code", "said"), [("SIGINT", 130, "stopped"), ("SIGTERM", 143, "preempted")])
def test_a_stopped_repair_leaves_no_file(sent, code, said, folder):
    assert stopped_by(signal.Signals[sent], folder) == (code, f"graftable: {said}.\n")
    assert sorted(path.name for path in folder.iterdir()) == ["r.rules", "t.csv"]


def test_a_kill_leaves_the_old_file(folder):
    Path("o.csv").write_text("old")
    assert stopped_by(signal.SIGKILL, folder) == (-signal.SIGKILL, "")
    assert Path("o.csv").read_text() == "old"


def test_the_public_names_load_no_torch_until_the_layer_is_asked_for():
    program = (
        "import sys, graftable.tabular as t\n"
        "names = [getattr(t, name) for name in t.__all__ if name != 'ConstraintLayer']\n"
        "print('torch' in sys.modules, 'ConstraintLayer' in dir(t))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
