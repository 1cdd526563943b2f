"""The front door: help, mistakes and exit codes, none of which loads torch."""

import argparse
import json
import sys
import types

import pytest

from graftable import __version__, cli
from graftable.arguments import COMMANDS, GRAPH_ATTRIBUTES, TRAINING_VERBS
from graftable.cli import lightning, main
from graftable.errors import ConfigError, DataError, RuleError


def stand_in(monkeypatch, command, run):
    """Replace the module of a command by one whose ``run`` is given."""
    module = types.ModuleType(COMMANDS[command].module)
    module.run = run
    monkeypatch.setitem(sys.modules, module.__name__, module)


def mistake(capsys, *arguments):
    assert main(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("graftable: ")
    assert err.count("\n") == 1
    return err


def test_help_names_every_command(capsys):
    assert main([]) == main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in (*TRAINING_VERBS, *COMMANDS))


@pytest.mark.parametrize("command", [[], ["fit"], ["generate"], ["configs", "list"]], ids=" ".join)
def test_version_is_the_package_version_after_any_command(command, capsys):
    assert main([*command, "--version"]) == 0
    assert capsys.readouterr().out == f"graftable {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"graftable {command}" in capsys.readouterr().out


MISTAKES = {
    "fti": "there is no command `fti`. Did you mean `fit`?",
    "frobnicate": "`graftable --help` lists the commands",
    "--vresion": "Did you mean `--version`?",
    "generate": "required: prompt",
    "generate x --num-node 3": "there is no option `--num-node`. Did you mean `--num-nodes`?",
    "generate x --num-nodes 0": "--num-nodes: found '0', expected a whole number of at least 1",
    "generate x --num-nodes many": "--num-nodes: found 'many', expected a whole number of at least 1",
    "generate x -n 0": "found '0', expected a whole number of at least 1",
    "generate x --mean-degree nan": "--mean-degree: found nan, expected a finite number",
    "generate x --clustering inf": "--clustering: found inf, expected a finite number",
    "generate x --connected larg": "'largest', 'reject', 'repair'",
    "configs": "required",
    "configs show lgmm": "Did you mean `lggm`?",
    "fit --config lgmm_debug": "Did you mean `lggm_debug`?",
    "fit --model foreign.Model": "add --trust-config",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_sentence_and_exit_2(line, capsys):
    assert MISTAKES[line] in mistake(capsys, *line.split())


def test_abbreviations_are_not_taken(capsys):
    assert "there is no option `--dom`" in mistake(capsys, "generate", "x", "--dom", "power")


def test_a_command_returns_the_exit_code_of_its_module(monkeypatch):
    seen = []
    stand_in(monkeypatch, "generate", lambda namespace: seen.append(namespace) or 3)
    assert main(["generate", "a tree", "-n", "4", "--mean-degree", "2.5"]) == 3
    assert (seen[0].prompt, seen[0].count, seen[0].mean_degree, seen[0].seed) == ("a tree", 4, 2.5, 0)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DataError("a.csv: found\n  12,5, expected a number."), "graftable: a.csv: found 12,5, expected a number.\n"),
        (PermissionError(13, "Permission denied", "out"), "graftable: out: permission denied; check the path"),
        (FileNotFoundError(2, "No such file or directory", "in"), "graftable: in: no such file or directory; check"),
    ],
    ids=["ours", "permission", "absent"],
)
def test_an_error_below_is_one_sentence_and_exit_2(error, sentence, monkeypatch, capsys):
    def run(namespace):
        raise error

    stand_in(monkeypatch, "convert", run)
    assert mistake(capsys, "convert", "a", "b").startswith(sentence)


def test_the_line_of_a_rule_keeps_its_carets(monkeypatch, capsys):
    def run(namespace):
        raise RuleError("r.rules, line 3, column 1: no\n such column.\n  3 | a >= 1\n      ^")

    stand_in(monkeypatch, "check", run)
    assert main(["check", "a", "b"]) == 2
    assert capsys.readouterr().err == ("graftable: r.rules, line 3, column 1: no such column.\n  3 | a >= 1\n      ^\n")


def test_a_bug_keeps_its_traceback(monkeypatch):
    def run(namespace):
        raise KeyError("bug")

    stand_in(monkeypatch, "convert", run)
    with pytest.raises(KeyError):
        main(["convert", "a", "b"])


def test_a_traceback_can_be_asked_for(monkeypatch):
    monkeypatch.setenv("GRAFTABLE_TRACEBACK", "1")
    with pytest.raises(ConfigError):
        main(["fti"])


def test_ctrl_c_is_exit_130(monkeypatch, capsys):
    def run(namespace):
        raise KeyboardInterrupt

    stand_in(monkeypatch, "demo", run)
    assert main(["demo"]) == 130
    assert capsys.readouterr().err == "graftable: stopped.\n"


@pytest.mark.parametrize("code", [130, 143])
def test_a_preempted_training_keeps_its_exit_code(code, monkeypatch):
    def run(request):
        raise SystemExit(code)

    module = types.ModuleType("graftable.training")
    module.run = run
    monkeypatch.setitem(sys.modules, "graftable.training", module)
    assert main(["fit", "--config", "lggm_debug"]) == code


def test_configs_are_listed_shown_and_copied(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["configs", "list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert main(["configs", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == names
    assert main(["configs", "show", names[0]]) == 0
    shown = capsys.readouterr().out
    assert main(["configs", "copy", names[0]]) == 0
    assert (tmp_path / f"{names[0]}.yaml").read_text() == shown
    assert "next: graftable fit --config" in capsys.readouterr().out
    assert "exists already" in mistake(capsys, "configs", "copy", names[0])


def test_lightning_keeps_the_training_verbs_and_passes_the_rest_on(monkeypatch, capsys):
    package, commands = types.ModuleType("lightning_sdk"), types.ModuleType("lightning_sdk.cli")
    entrypoint = types.ModuleType("lightning_sdk.cli.entrypoint")
    entrypoint.main_cli = lambda: 7
    for module in (package, commands, entrypoint):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    assert lightning(["studio", "--help"]) == 7
    assert lightning(["fit", "--model", "foreign.Model"]) == 2
    assert "foreign.Model" in capsys.readouterr().err


def test_lightning_without_its_cloud_package_is_ours(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lightning_sdk", None)
    assert lightning(["--version"]) == 0
    assert capsys.readouterr().out == f"graftable {__version__}\n"


def test_the_attributes_offered_are_those_that_are_measured():
    from graftable.graphs.attributes import ATTRIBUTES

    assert GRAPH_ATTRIBUTES == ATTRIBUTES


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "configs"])
def test_every_command_has_a_module_that_runs_it(command):
    module = cli.importlib.import_module(COMMANDS[command].module)
    assert callable(module.run)


def test_doctor_reports_every_part_and_the_same_as_json(capsys):
    from graftable import doctor

    findings = list(doctor.examine())
    code = doctor.run(argparse.Namespace(json=True))
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report] == [finding.name for finding in findings]
    assert {"torch build", "configs", "weights", "lightning fit"} <= {row["name"] for row in report}
    assert code == int(any(row["status"] == "broken" for row in report))


def test_doctor_asks_for_every_declared_dependency(monkeypatch):
    from graftable import doctor

    declared = ["numpy", "no-such-thing>=2,<3", 'sdv>=2.0; extra == "sdv"', "jsonargparse[signatures]>=4.53"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: declared)
    found = {finding.name: finding.status for finding in doctor.examine()}
    assert (found["numpy"], found["no-such-thing"], found["jsonargparse"]) == ("ok", "broken", "ok")
    assert found["sdv"] != "broken"


def test_a_seed_below_zero_is_refused(capsys):
    assert main(["demo", "--seed", "-1"]) == 2
    assert "expected a whole number of at least 0" in capsys.readouterr().err


def test_doctor_says_who_owns_the_lightning_command(tmp_path, monkeypatch):
    from graftable import doctor

    script = tmp_path / "lightning"
    script.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    script.write_text("from lightning_sdk.cli.entrypoint import main_cli")
    assert "belongs to another package; use `graftable fit`" in doctor._lightning_command().detail
    script.write_text("from graftable.cli import lightning")
    assert doctor._lightning_command().status == "ok"


def test_doctor_says_what_the_allocator_does_and_what_keeping_memory_would_gain(monkeypatch):
    from graftable import allocator, doctor

    for name in (allocator.SWITCH, *allocator.VARIABLES, allocator.HUGE_PAGES, "GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(allocator, "glibc_version", lambda: "2.36")
    monkeypatch.setattr(allocator, "milliseconds_of_a_buffer", lambda: (29.04, 1.26))
    times = "a new buffer of 64 MB takes 29.0 ms, or 1.3 ms with freed memory kept"
    assert doctor._allocator().detail == f"glibc 2.36: {times}, as `graftable fit` keeps it on a CPU"
    monkeypatch.setenv("MALLOC_TOP_PAD_", "0")
    assert doctor._allocator().detail.startswith(
        f"glibc 2.36 with MALLOC_TOP_PAD_=0: {times}, which `graftable fit` leaves"
    )
    monkeypatch.setenv("GRAFTABLE_MALLOC", "of course")
    assert doctor._allocator().status == "broken"
    monkeypatch.setenv("GRAFTABLE_MALLOC", "default")
    monkeypatch.setattr(allocator, "milliseconds_of_a_buffer", lambda: None)
    assert doctor._allocator() == doctor.Finding("allocator", "ok", "not of glibc; left as it is")


def test_doctor_wants_what_is_declared_for_this_platform(monkeypatch):
    declared = ["numpy", "only-there>=3; platform_system == 'Nowhere'", "only-more; extra == 'more'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: declared)
    from graftable import doctor

    found = {finding.name: finding.status for finding in doctor.examine()}
    assert found["numpy"] == "ok"
    assert not {"only-there", "only-more"} & set(found)
