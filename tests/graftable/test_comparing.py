"""``graftable compare``: every run is done once, wherever it was stopped; shared trainings give the same results."""

import copy
import json
import signal
import subprocess
import sys

import pytest
import yaml

import graftable
from graftable.cli import main
from graftable.comparing import compare
from graftable.comparison_plan import read_plan, shared
from graftable.comparison_report import render_comparison
from graftable.comparison_runs import RunFile, do_run, one_thread
from graftable.comparison_tables import COLUMNS, choose
from graftable.errors import ConfigError, DataError
from graftable.graphs.conversion import simple_graph
from graftable.pipelines.readers import write_graphs

TRAINING = {"width": 8, "layers": 1, "epochs": 2, "batch_size": 16, "learning_rate": 0.01}
CONFIG = {
    "sets": {"motif": {"set": "good_motif_basis_concept", "size": 40}},
    "methods": ["erm", "l2r", "vrex"],
    "seeds": 2,
    "training": TRAINING,
}
WHEEL = {"wheel": {"set": "wheel_star", "size": 40}}
L2R_ROWS = {"erm", "erm_refit", "l2r", "l2r_all_pairs", "l2r_permuted", "l2r_random_clusters"}


def lasting(records):
    """Records without the times that they took."""
    return {
        key: {k: v for k, v in record.items() if k not in ("seconds", "clock", "torch")}
        for key, record in records.items()
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return compare(CONFIG, folder), RunFile(folder / "runs.jsonl").read()


def test_every_method_and_every_cheap_row_is_in_every_table(whole):
    found, records = whole
    assert found.runs == (6, 6)
    assert len(records) == 6
    for table in found.tables:
        names = [row.model for row in table.rows]
        assert names[:4] == ["constant (training)", "constant (best)", "random forest", "balanced forest"]
        assert set(names[4:]) == L2R_ROWS | {"vrex"}
        assert (table.seeds, table.complete) == ([0, 1], 2)
        for row in table.rows:
            assert all(0 <= row.columns[column]["mean"] <= 1 for column in COLUMNS)
            assert (row.difference is None) == (row.model == "erm")
        oracle, by_id = (table.row("erm").columns[column]["mean"] for column in ("oracle", "id_val"))
        assert oracle >= by_id  # the test has fewer graphs than the oracle may look at


def test_the_report_and_the_numbers_are_written(whole):
    found, _ = whole
    page = found.report.read_text(encoding="utf-8")
    for name in ("motif", "erm_refit", "random forest", "data:image/png;base64", "2 seeds are few"):
        assert name in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert json.loads(found.results.read_text()) == json.loads(json.dumps(found.to_dict()))


def test_only_differences_of_five_seeds_whose_interval_holds_no_zero_are_marked(whole):
    tables = copy.deepcopy(whole[0].tables)
    assert 'class="sure"' not in render_comparison(tables, [], (6, 6))
    tables[0].row("vrex").difference["excludes_zero"] = True
    page = render_comparison(tables, [], (6, 6))
    assert page.count('class="sure"') == 1
    assert page.index('class="sure"') > page.index('<th scope="row">vrex</th>')


def test_plain_training_from_a_run_of_l2r_is_plain_training(whole):
    _, records = whole
    plan = read_plan(CONFIG)
    erm = next(run for run in read_plan({**CONFIG, "methods": ["erm"]}).runs({}, 1) if run.method == "erm")
    with one_thread():
        alone = do_run(erm, None)
    together = records[next(run.id for run in plan.runs({}, 1) if run.method == "l2r")]
    assert {row["model"] for row in together["rows"]} == L2R_ROWS
    expected = {row["selected_by"]: row for row in together["rows"] if row["model"] == "erm"}
    assert {row["selected_by"]: row for row in alone["rows"]} == expected


def test_a_finished_comparison_runs_nothing_and_other_questions_use_its_runs(whole, tmp_path, monkeypatch):
    found, _ = whole
    monkeypatch.setattr("graftable.comparing.do_run", None)  # nothing may be run
    runs = found.report.parent / "runs.jsonl"
    again = compare(CONFIG, tmp_path / "again", runs=runs)
    assert again.to_dict() == found.to_dict()
    one = compare(CONFIG, tmp_path / "one", runs=runs, sets=["motif"], methods=["erm"], seeds=1)
    assert [table.name for table in one.tables] == ["motif"]
    assert "one seed: no intervals" in str(one)
    assert "One seed: there are no intervals" in one.report.read_text()
    assert one.tables[0].row("erm").columns["id_val"]["low"] is None


#: `graftable compare`, which sends itself a signal in the first training after so many runs
STOPPED = """
import os, sys
from lightning.pytorch import LightningModule
from graftable import comparing
from graftable.cli import main

sent, left, do_run = int(sys.argv[1]), int(sys.argv[2]), comparing.do_run

def counted(*arguments, **options):
    global left
    if left == 0:
        LightningModule.on_train_batch_start = lambda self, batch, place: os.kill(os.getpid(), sent)
    left -= 1
    return do_run(*arguments, **options)

comparing.do_run = counted
sys.exit(main(["compare", "mine.yaml", "--out", "out"]))
"""


def stop(folder, sent, after):
    """Stop a comparison within the first training after so many runs; the exit code and what was said."""
    (folder / "mine.yaml").write_text(yaml.safe_dump({"config_version": 1, **CONFIG}, sort_keys=False))
    command = [sys.executable, "-c", STOPPED, str(int(sent)), str(after)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_comparison_that_is_stopped_goes_on_exactly(whole, tmp_path):
    file = RunFile(tmp_path / "out" / "runs.jsonl")
    # a seed takes three runs, of which the first trains nothing
    for sent, code, after, finished in (
        (signal.SIGINT, 130, 1, 1),
        (signal.SIGTERM, 143, 1, 2),
        (signal.SIGKILL, -signal.SIGKILL, 1, 4),
    ):
        found, errors = stop(tmp_path, sent, after)
        assert found == code, errors
        assert len(file.read()) == finished
        assert "the same command goes on" in errors or sent == signal.SIGKILL
    with open(file.path, "ab") as torn:  # what a kill within a write leaves
        torn.write(b'{"id": "half')
    assert compare(CONFIG, tmp_path / "out").runs == (6, 6)
    assert lasting(file.read()) == lasting(whole[1])
    assert len(file.path.read_bytes().splitlines()) == 6  # nothing was run twice, nothing torn is left


def test_seeds_come_outermost(whole):
    records = list(whole[1].values())
    assert [record["facts"]["seed"] for record in records] == [0] * 3 + [1] * 3


def test_tuning_tries_as_many_for_all_and_the_best_by_validation_is_used_everywhere(tmp_path):
    trials = {"erm": [{}, {"learning_rate": 1e-9}], "vrex": [{"penalty": 1e-3}, {"learning_rate": 1e-9}]}
    config = {**CONFIG, "methods": ["erm", "vrex"], "seeds": 1, "tuning": {"sets": ["motif"], "trials": trials}}
    found = compare(config, tmp_path)
    records = RunFile(tmp_path / "runs.jsonl").read()
    assert sum(record["facts"]["seed"] == 1000 for record in records.values()) == 4
    chosen = choose(read_plan(config), records)
    for name, method in chosen.items():
        scores = {}
        for record in records.values():
            if record["facts"]["method"] == name and record["facts"]["seed"] == 1000:
                row = next(row for row in record["rows"] if row["selected_by"] == "id_val")
                scores[record["facts"]["training"]["learning_rate"]] = (
                    row["id_val"]["accuracy"],
                    -row["id_val"]["loss"],
                )
        assert method.training.get("learning_rate", 0.01) == max(scores, key=scores.get)
        assert all(table.chosen[name] == {**method.training, **method.settings} for table in found.tables)


def test_trainings_are_shared_only_where_they_are_alike():
    plan = read_plan({**CONFIG, "methods": {"erm": None, "l2r": {"dropout": 0.5}}})
    assert [run.method for run in plan.runs({}, 0)] == ["cheap", "erm", "l2r"]
    plan = read_plan({**CONFIG, "methods": {"erm": None, "l2r": {"rho": 0.3}}})
    assert [run.method for run in plan.runs({}, 0)] == ["cheap", "l2r"]
    assert shared(plan.runs({}, 0)) == plan.runs({}, 0)


def test_a_default_that_changes_makes_another_run(monkeypatch):
    run = read_plan(CONFIG).runs({}, 0)[1]
    assert run.facts["settings"] == {"rho": 0.5} | run.facts["settings"]
    before = run.id
    monkeypatch.setattr("graftable.comparison_plan._defaults_of", lambda method: {"rho": 0.3})
    assert run.id != before


def test_a_set_without_data_is_left_out_with_where_it_would_be(tmp_path, monkeypatch):
    monkeypatch.delenv("GRAFTABLE_OOD_DATA", raising=False)
    config = {
        **CONFIG,
        "sets": {**WHEEL, "bace": None},
        "methods": ["erm"],
        "seeds": 1,
    }
    told = []
    found = compare(config, tmp_path, say=told.append)
    assert [table.name for table in found.tables] == ["wheel"]
    assert "name their folder with --data or GRAFTABLE_OOD_DATA" in told[0]
    monkeypatch.setenv("GRAFTABLE_OOD_DATA", str(tmp_path))
    (reason,) = compare(config, tmp_path).left_out
    assert "mol_bace.npz" in reason
    assert str(tmp_path) in reason
    assert compare(config, tmp_path, train=False).left_out == []  # a report needs no graphs
    with pytest.raises(DataError, match="no set is left"):
        compare({**config, "sets": ["bace"]}, tmp_path)


def test_a_method_that_a_task_does_not_suit_stays_in_the_table(tmp_path):
    graphs = [
        simple_graph(4, [[0, 1], [1, 2]], graph_id=str(place), attributes={"weight": place / 7}) for place in range(40)
    ]
    records = write_graphs(graphs, tmp_path / "graphs.parquet")
    config = {"sets": {"mine": {"records": str(records), "label": "weight"}}, "methods": ["l2r", "ciga"], "seeds": 1}
    (table,) = compare({**config, "training": TRAINING}, tmp_path / "out").tables
    assert table.metric == "rmse"
    assert "task is regression" in table.row("ciga").error
    assert table.row("l2r").error is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sets": {"wheel": {"set": "weel_star"}}}, "no set `weel_star`. Did you mean `wheel_star`"),
        ({"sets": {"wheel_star": {"sizes": 3}}}, "sets.wheel_star.sizes: no such setting. Did you mean `size`"),
        ({"methods": ["gsta"]}, "no method `gsta`. Did you mean `gsat`"),
        ({"methods": ["l2r_permuted"]}, "comes with l2r"),
        ({"methods": {"gsat": {"prier": 1}}}, "Did you mean `prior`"),
        ({"methods": {"gsat": {"prior": 2}}}, "prior 2"),
        ({"training": {"encoder": "gni"}}, "encoder is 'gni'"),
        ({"training": {"epochs": 0}}, "epochs of motif is 0"),
        ({"seeds": 0}, "seeds: found 0"),
        ({"sets": {}}, "expected names"),
        ({"sets": {"mine": {"records": "x.parquet"}}}, "has no label"),
        ({"tuning": {"trials": {"erm": [{}]}}}, "l2r has none; expected as many for every method"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_a_mistake_is_one_sentence_before_anything_is_run(tmp_path, change, words):
    with pytest.raises(ConfigError) as error:
        compare({**CONFIG, **change}, tmp_path / "out")
    assert words in str(error.value)
    assert not (tmp_path / "out").exists()


def test_names_on_the_command_line_are_checked(tmp_path, capsys):
    for option, word in (("--sets", "weel_debug"), ("--methods", "verx")):
        assert main(["compare", "ood_debug", option, word, "--out", str(tmp_path / "out")]) == 2
        assert "Did you mean" in capsys.readouterr().err
    assert main(["compare", "ood_debug", "ood_debug", "--out", str(tmp_path / "out")]) == 2
    assert "two configs have a set" in capsys.readouterr().err
    assert main(["compare", "lggm_debug", "--out", str(tmp_path / "out")]) == 2
    assert "for `graftable fit`" in capsys.readouterr().err


def test_json_on_the_command_line_is_what_python_returns(whole, tmp_path, capsys):
    found, _ = whole
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    runs = str(found.report.parent / "runs.jsonl")
    arguments = ["compare", str(path), "--runs", runs, "--out", str(tmp_path), "--report-only", "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    expected = json.loads(json.dumps(found.to_dict()))
    for table in expected["tables"]:
        table["config"] = "mine"
    assert printed == expected
    assert graftable.compare is compare


def test_a_file_that_holds_something_else_is_refused_by_its_line(tmp_path):
    (tmp_path / "runs.jsonl").write_text('{"id": "a"}\nnonsense\n{"id": "b"}\n')
    with pytest.raises(DataError, match="line 2"):
        RunFile(tmp_path / "runs.jsonl").read()
