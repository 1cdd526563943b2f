"""``graftable synthesize`` and ``impute``: rows that obey on the file read back, and one sentence for every mistake."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import graftable
from graftable.cli import main
from graftable.errors import ConfigError, DataError, RuleError
from graftable.tabular import Schema, Synthesizer, check
from graftable.tabular import synthesis_files as files
from graftable.tabular.synthesis_files import synthesize_file
from graftable.tabular.table_frames import rows_writer

RULES = "end >= start\ntotal == fee + extra\nif kind == 'gold' then fee >= 25\n"
FAST = ("--engine", "copula")


def loans(rows=400):
    rng = np.random.default_rng(1)
    start, fee, extra = rng.integers(0, 100, rows), rng.integers(0, 50, rows), rng.integers(0, 9, rows)
    frame = {"id": np.arange(100, 100 + rows), "start": start, "end": start + rng.integers(0, 30, rows)}
    frame |= {"fee": fee, "extra": extra, "total": fee + extra, "price": [f"{x:.2f}" for x in rng.gamma(2, 9, rows)]}
    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D")
    return pd.DataFrame(frame | {"kind": np.where(fee >= 25, "gold", 'b;"ase'), "day": days.strftime("%d.%m.%Y")})


@pytest.fixture(scope="module")
def table():
    return loans().to_csv(index=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    frame = loans().astype({"price": float})
    Synthesizer("copula", rules=RULES).fit(frame).save(folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch, table):
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(table)
    Path("r.rules").write_text(RULES)
    return tmp_path


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def mistake(capsys, *arguments):
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("graftable: ")
    assert err.count("\n") == (3 if "^" in err else 1)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before
    return err


def synthesize(capsys, *arguments, data="t.csv", rules="r.rules", out="o.csv", n=50):
    learnt = () if data is None else ("--data", data)
    ruled = () if rules is None else ("--rules", rules)
    return run(capsys, "synthesize", *learnt, *ruled, "-n", n, "--out", out, *arguments)


@pytest.mark.parametrize("out", ["o.csv", "o.csv.gz", "o.parquet"])
def test_the_file_holds_the_rows_that_were_asked_for_and_none_breaks_a_rule(out, folder, capsys):
    code, said, err = synthesize(capsys, *FAST, "--report", "report.json", "--where", "fee >= 30", out=out, n=300)
    assert (code, err) == (0, "")
    assert f"wrote {out}" in said
    found = check(out, RULES + "fee >= 30")
    assert (found.rows, found.violating_rows) == (300, 0)
    assert json.loads(Path("report.json").read_text())["violating_rows"] == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(["t.csv", "r.rules", "report.json", out])


def test_cells_are_written_as_the_table_writes_them(folder, capsys):
    assert synthesize(capsys, *FAST)[0] == 0
    header, *_ = Path("o.csv").read_text().splitlines()
    assert header == Path("t.csv").read_text().splitlines()[0]
    made = pd.read_csv("o.csv", dtype=str)
    assert made["price"].str.fullmatch(r"\d+\.\d\d").all()
    assert made["day"].str.fullmatch(r"\d\d\.\d\d\.\d{4}").all()
    assert {'b;"ase', "gold"} == set(made["kind"])
    assert pd.to_numeric(made["id"]).tolist() == list(range(100, 150))  # names of rows are counted on


def test_parquet_takes_the_types_of_a_parquet_table(folder, capsys):
    real = loans().astype({"start": "int16", "price": "float32", "kind": "category"})
    real["day"] = pd.to_datetime(real["day"], format="%d.%m.%Y")
    real.to_parquet("t.parquet")
    assert synthesize(capsys, *FAST, data="t.parquet", out="o.parquet")[0] == 0
    made = pd.read_parquet("o.parquet")
    assert (made["start"].dtype, made["price"].dtype) == ("int16", "float32")
    assert made["day"].dtype.kind == "M"


def test_a_saved_model_makes_the_same_rows(folder, capsys):
    assert synthesize(capsys, *FAST, "--save-model", "m", "--seed", 4)[0] == 0
    code, out, _ = synthesize(capsys, "--model", "m", "--seed", 4, "--json", data=None, rules=None, out="again.csv")
    assert (code, json.loads(out)["rows"]) == (0, 50)
    assert Path("again.csv").read_bytes() == Path("o.csv").read_bytes()
    assert synthesize(capsys, "--model", "m", "--seed", 5, data=None, rules=None)[0] == 0
    assert Path("again.csv").read_bytes() != Path("o.csv").read_bytes()


def test_a_loaded_model_obeys_rules_that_are_added(model, folder, capsys):
    Path("more.rules").write_text("start <= 50\nextra <= fee")
    assert synthesize(capsys, "--model", model, rules="more.rules", data=None)[0] == 0
    assert check("o.csv", RULES + "start <= 50\nextra <= fee").violating_rows == 0
    Path("more.rules").write_text("end < start")
    assert "cannot all hold" in mistake(
        capsys, "synthesize", "--model", model, "--rules", "more.rules", "--out", "p.csv"
    )


def test_pieces_name_their_rows_apart(model, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE", 40)
    report = synthesize_file(Synthesizer.load(model), 100, tmp_path / "o.csv", seed=1)
    made = pd.read_csv(tmp_path / "o.csv")
    assert (report.rows, len(made)) == (100, 100)
    assert made["id"].is_unique
    assert not made["start"][:40].equals(made["start"][40:80].reset_index(drop=True))


def test_a_file_that_does_not_read_back_clean_is_not_left(model, tmp_path, monkeypatch):
    model = Synthesizer.load(model)
    draw = model.sample

    def careless(n, **options):
        rows, report = draw(n, **options)
        return rows.assign(end=-1), report

    monkeypatch.setattr(model, "sample", careless)
    with pytest.raises(DataError, match="30 of 30 rows break a rule, such as `end >= start` at line 2"):
        synthesize_file(model, 30, tmp_path / "o.csv")
    assert list(tmp_path.iterdir()) == []


BAD = {
    "a condition that contradicts the rules": (("--where", "kind == 'gold' and fee < 10"), "contradicts the rules"),
    "a condition that contradicts itself": (("--where", "fee > 10", "--where", "fee < 5"), "cannot be met"),
    "an unknown column": (("--where", "feee > 10"), "Did you mean `fee`"),
    "what was never seen": (("--where", "start >= 10000"), "`start`"),
    "no rows": (("-n", "0"), "at least 1"),
    "a negative number of rows": (("-n", "-3"), "at least 1"),
    "an unknown engine": (("--engine", "copla"), "Did you mean `copula`?"),
    "an unknown setting": (("--set", "level=3"), "Did you mean `levels`?"),
    "a setting of another type": (("--set", "levels=many"), "expected a whole number"),
    "a setting out of range": (("--set", "intervals=0"), "expected at least 2"),
    "a setting without a value": (("--set", "levels"), "NAME=VALUE"),
    "a model and an engine": (("--model", "m", "--engine", "copula"), "keep one of them"),
    "no folder of a model": (("--model", "nowhere"), "there is no such folder"),
    "a folder without a model": (("--model", "empty"), "--save-model wrote"),
    "a missing table": (("--data", "none.csv"), "there is no such file"),
    "a table that cannot be read": (("--data", "t.parquet"), "is not a Parquet file"),
    "a table without rows": (("--data", "header.csv"), "no rows"),
    "output over the table": (("--out", "t.csv"), "one file"),
    "output over the rules": (("--out", "./r.rules"), "one file"),
    "output that is a folder": (("--out", "empty"), "is a folder"),
    "output in a file": (("--out", "t.csv/o.csv"), "cannot be written"),
    "output of no known kind": (("--out", "o.xlsx"), "ends in"),
    "a model over other files": (("--save-model", "."), "holds"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_leaves_no_file(case, folder, capsys):
    arguments, said = BAD[case]
    Path("empty").mkdir()
    Path("t.parquet").write_text("PAR1")
    Path("header.csv").write_text("start,end\n")
    usual = {"--data": "t.csv", "--rules": "r.rules", "-n": "5", "--out": "o.csv"} if "--model" not in arguments else {}
    usual |= {"--out": "o.csv"} if not usual else {}
    first = [word for pair in usual.items() if pair[0] not in arguments for word in pair]
    engine = () if {"--engine", "--model"} & set(arguments) else FAST
    assert said in mistake(capsys, "synthesize", *first, *engine, *arguments)


def test_there_must_be_a_table_or_a_model(folder, capsys):
    assert "--data" in mistake(capsys, "synthesize", "--out", "o.csv")


def test_an_output_folder_that_is_missing_is_made(model, folder, capsys):
    assert synthesize(capsys, "--model", model, data=None, rules=None, out="new/deep/o.csv")[0] == 0
    assert Path("new/deep/o.csv").is_file()


def test_a_model_of_another_table_is_told(model, folder, capsys):
    Path("u.csv").write_text("start,finish\n1,2\n3,4\n")
    assert "no column `id`, which the model" in mistake(
        capsys, "synthesize", "--model", model, "--data", "u.csv", "--out", "o.csv"
    )
    assert "no column `id`" in mistake(capsys, "impute", "u.csv", "--model", model, "--out", "o.csv")
    Path("v.csv").write_text(Path("t.csv").read_text().replace("gold", "1").replace('"b;""ase"', "2"))
    assert "column `kind`" in mistake(capsys, "impute", "v.csv", "--model", model, "--out", "o.csv")
    Path("u.rules").write_text("finish >= start")
    assert "no column `finish`" in mistake(
        capsys, "synthesize", "--model", model, "--rules", "u.rules", "--out", "o.csv"
    )


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "synthesizer.json", "table.schema.json"])
def test_a_damaged_model_is_told(broken, model, folder, capsys):
    Path("m").mkdir()
    for path in model.iterdir():
        content = path.read_bytes()
        (Path("m") / path.name).write_bytes(content[: len(content) // 2] if path.name == broken else content)
    assert "m" in mistake(capsys, "synthesize", "--model", "m", "--out", "o.csv")


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_are_enough(rows, folder, capsys):
    loans(rows).to_csv("t.csv", index=False)
    Path("r.rules").write_text("end >= start")
    for engine in ("copula", "circuit"):
        assert synthesize(capsys, "--engine", engine)[0] == 0
        assert check("o.csv", "end >= start").rows == 50


def test_null_columns_one_column_and_names_of_rows_are_no_obstacle(folder, capsys):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"name": [f"N-{i:05d}" for i in rng.permutation(300)], "x": rng.integers(0, 9, 300)})
    frame.assign(void="").to_csv("t.csv", index=False)
    Path("r.rules").write_text("x <= 7\nvoid >= x")
    assert synthesize(capsys, *FAST)[0] == 0
    made = pd.read_csv("o.csv")
    assert made["void"].isna().all()
    assert made["name"].is_unique
    frame["x"].where(frame["x"] > 3).to_csv("t.csv", index=False)
    Path("t.csv").write_text(Path("t.csv").read_text().replace("\n\n", '\n""\n'))
    assert synthesize(capsys, *FAST, rules=None)[0] == 0
    assert check("o.csv", "x >= 4").rows == 50


def test_a_column_of_very_many_texts_is_learnt(folder, capsys):
    rng = np.random.default_rng(0)
    city = np.where(rng.random(330_000) < 0.1, "big", "c" + pd.Series(np.arange(330_000)).astype(str))
    frame = pd.DataFrame({"city": city, "x": rng.integers(0, 9, 330_000)})
    frame.to_csv("t.csv", index=False)
    assert frame["city"].nunique() > 290_000
    Path("r.rules").write_text("x >= 1")
    assert synthesize(capsys, *FAST)[0] == 0
    assert check("o.csv", "x >= 1").violating_rows == 0


# -- impute

GAPS = "state,start,end,fee,extra,total\n"
GAP_RULES = "if state == 'open' then end is null\nend >= start\ntotal == fee + extra\n"


@pytest.fixture
def gaps(folder):
    rng, lines = np.random.default_rng(0), []
    for _ in range(300):
        state, start, fee, extra = rng.choice(["open", "done"]), *rng.integers(1, 50, 3).tolist()
        end = "" if state == "open" or rng.random() < 0.3 else start + int(rng.integers(20))
        row = [state, start, end, fee, extra, fee + extra]
        lines.append(",".join(str(x) if i == 2 or rng.random() > 0.15 else "" for i, x in enumerate(row)))
    Path("g.csv").write_text(GAPS + "\n".join(lines) + "\n")
    Path("g.rules").write_text(GAP_RULES)
    return pd.read_csv("g.csv", dtype=str)


def test_impute_fills_gaps_and_touches_no_other_cell(gaps, capsys):
    code, out, _ = run(capsys, "impute", "g.csv", "--rules", "g.rules", "--out", "o.csv", *FAST, "--report", "i.json")
    assert code == 0
    assert out.endswith("wrote o.csv\n")
    filled = pd.read_csv("o.csv", dtype=str)
    given = gaps.notna()
    assert (filled.where(given) == gaps.where(given)).where(given, True).all().all()
    assert filled.drop(columns="end").notna().all().all()
    assert (filled["end"].isna() == (filled["state"] == "open")).all()  # what a rule wants to be null stays
    assert check("o.csv", GAP_RULES).violating_rows == 0
    report = json.loads(Path("i.json").read_text())
    assert set(report["kept_cells"]) == {"end"}
    assert report["filled_cells"]["end"] + report["kept_cells"]["end"] == gaps["end"].isna().sum()


def test_a_row_that_breaks_a_rule_by_its_own_cells_is_named_and_kept(gaps, capsys):
    with open("g.csv", "a") as file:
        file.write("done,9,1,,,5\n")
    code, out, _ = run(capsys, "impute", "g.csv", "--rules", "g.rules", "--out", "o.csv", *FAST)
    assert code == 3
    assert "break a rule by the cells they have: 1;" in out
    last = Path("o.csv").read_text().splitlines()[-1].split(",")
    assert last[:3] == ["done", "9", "1"]
    assert check("o.csv", GAP_RULES).violating_rows == 1


def test_impute_takes_a_saved_model_and_other_kinds_of_file(gaps, capsys):
    code = run(capsys, "impute", "g.csv", "--rules", "g.rules", "--out", "o.csv", *FAST, "--save-model", "m")[0]
    assert (code, run(capsys, "impute", "g.csv", "--model", "m", "--out", "p.csv")[0]) == (0, 0)
    assert Path("p.csv").read_bytes() == Path("o.csv").read_bytes()
    typed = pd.read_csv("g.csv")
    typed.to_parquet("g.parquet")
    assert run(capsys, "impute", "g.parquet", "--model", "m", "--out", "p.parquet")[0] == 0
    made = pd.read_parquet("p.parquet")
    assert (made.dtypes == typed.dtypes).all()
    assert check("p.parquet", GAP_RULES).violating_rows == 0
    assert "written as CSV" in mistake(capsys, "impute", "g.csv", "--model", "m", "--out", "q.parquet")


def test_impute_says_what_cannot_be_done(gaps, capsys):
    base = ("impute", "g.csv", "--rules", "g.rules", "--out")
    assert "cannot fill gaps" in mistake(capsys, *base, "o.csv", "--engine", "tvae")
    assert "one file" in mistake(capsys, *base, "g.csv")
    assert "there is no engine" in mistake(capsys, *base, "o.csv", "--engine", "gan")


# -- Python


def test_the_one_liners_of_python():
    frame = loans().drop(columns=["id", "day"]).astype({"price": float})
    rows, report = graftable.synthesize(frame, rules=RULES, n=30, engine="copula")
    assert (len(rows), report.violating_rows, list(rows)) == (30, 0, list(frame))
    assert len(graftable.synthesize(frame, n=0, engine="copula")[0]) == 0
    frame.loc[:20, "total"] = np.nan
    filled, report = graftable.impute(frame, rules=RULES, engine="copula")
    assert (filled["total"] == filled["fee"] + filled["extra"]).all()
    assert report.filled_cells == {"total": 21}
    assert frame["total"].isna().sum() == 21
    with pytest.raises(ConfigError, match="expected 0 rows or more"):
        graftable.synthesize(frame, n=-1, engine="copula")
    with pytest.raises(ConfigError, match="cannot fill gaps"):
        graftable.impute(frame, engine="ctgan")
    with pytest.raises(RuleError, match="Did you mean `total`"):
        graftable.impute(frame, rules="totl >= 3", engine="copula")


def test_rules_may_be_a_text_longer_than_any_name_of_a_file():
    frame = pd.DataFrame({"a": [1, 5], "b": [4, 2]})
    assert check(frame, "\n".join(["a <= b"] * 2000)).violating_rows == 1


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    frame = pd.DataFrame({"a": [1, 2]})
    (tmp_path / "o.csv").write_text("old")
    with pytest.raises(ZeroDivisionError), rows_writer(tmp_path / "o.csv", Schema.detect(frame)) as writer:
        writer.write(1 / 0)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


# -- signals

#: a command of which the engine learns, or draws, until it is stopped
ENDLESS = """
import sys
from graftable.cli import main
from graftable.tabular.generators.copula import CopulaGenerator

def endless(*arguments, **options):
    print("begun", flush=True)
    while True:
        sum(range(1000))

setattr(CopulaGenerator, sys.argv[1], endless)
sys.exit(main(["synthesize", "--data", "t.csv", "--out", "o.csv", "--engine", "copula", "--save-model", "m"]))
"""


@pytest.mark.parametrize("during", ["fit", "state", "sample"])
@pytest.mark.parametrize(("sent", "code", "said"), [("SIGINT", 130, "stopped"), ("SIGTERM", 143, "preempted")])
def test_a_stopped_command_leaves_no_part_of_a_file(sent, code, said, during, folder):
    (folder / "o.csv").write_text("old")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, during], **pipes)
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, signal.Signals[sent])
    _, err = process.communicate()
    assert (process.returncode, err) == (code, f"graftable: {said}.\n")
    left = {path.name for path in folder.iterdir()} - ({"m"} if during == "sample" else set())
    assert left == {"o.csv", "r.rules", "t.csv"}
    assert (folder / "o.csv").read_text() == "old"
