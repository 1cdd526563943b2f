"""fit, validate, test and predict through the command, on Lightning's smallest model."""

import contextlib
import io
import signal
import sys

import pytest
import yaml
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel

from graftable.cli import main
from graftable.pipelines.checkpoints import load_checkpoint, save_checkpoint

BORING = [
    *("--model", "lightning.pytorch.demos.boring_classes.BoringModel"),
    *("--data", "lightning.pytorch.demos.boring_classes.BoringDataModule"),
]
SHORT = [
    *("--trainer.max_steps", "2", "--trainer.limit_val_batches", "1", "--trainer.accelerator", "cpu"),
    *("--trainer.log_every_n_steps", "1", "--trainer.enable_progress_bar", "false"),
]
TRANSFORMER = "lightning.pytorch.demos.transformer.LightningTransformer"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """One finished run: its folder, and what the command printed."""
    folder = tmp_path_factory.mktemp("fitted")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["graftable"])
        assert main(["fit", *BORING, *SHORT]) == 0
    return folder / "runs" / "run" / "version_0", out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["graftable"])


@pytest.fixture
def mistake(capsys, tmp_path):
    def check(*arguments, writes=False):
        before = set(tmp_path.iterdir())
        capsys.readouterr()
        assert main(list(arguments)) == 2
        sentence = capsys.readouterr().err.splitlines()[-1]
        assert sentence.startswith("graftable: ")
        assert writes or set(tmp_path.iterdir()) == before
        return sentence.removeprefix("graftable: ")

    return check


def write(name, content):
    with open(name, "w", encoding="utf-8") as file:
        yaml.safe_dump(content, file)


def test_a_fit_writes_its_config_and_a_checkpoint_and_says_so(fitted):
    folder, out, err = fitted
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["config_version"] == 1
    assert config["trainer"]["max_steps"] == 2
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert "wrote runs/run/version_0" in out
    assert "next: graftable validate --config runs/run/version_0/config.yaml" in out
    assert "litlogger" not in out + err


@pytest.mark.parametrize(
    "verb",
    [["validate"], ["test", "--trainer.limit_test_batches", "1"], ["fit", "--trainer.max_steps", "3"]],
    ids=" ".join,
)
def test_the_config_and_checkpoint_of_a_fit_serve_every_verb(verb, fitted, tmp_path):
    folder, *_ = fitted
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert main([*verb, "--config", str(folder / "config.yaml"), "--ckpt_path", str(checkpoint)]) == 0
    assert (tmp_path / "runs" / "run" / "version_0" / "config.yaml").is_file()


def test_a_run_is_named_after_its_config(tmp_path):
    write("mine.yaml", {"model": BORING[1], "data": BORING[3]})
    assert main(["fit", "--config", "mine.yaml", *SHORT]) == 0
    assert (tmp_path / "runs" / "mine" / "version_0" / "checkpoints" / "last.ckpt").is_file()


def test_without_a_logger_the_config_of_the_user_is_left_alone(tmp_path, capsys):
    write("config.yaml", {"model": BORING[1], "data": BORING[3]})
    mine = (tmp_path / "config.yaml").read_bytes()
    assert main(["fit", "--config", "config.yaml", "--trainer.logger", "false", *SHORT]) == 0
    assert (tmp_path / "config.yaml").read_bytes() == mine
    assert yaml.safe_load((tmp_path / "runs" / "config" / "config.yaml").read_text())["trainer"]["max_steps"] == 2
    assert "wrote runs/config (config.yaml) and checkpoints/" in capsys.readouterr().out


@pytest.fixture
def signals():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("part", "hook"), [(BoringDataModule, "setup"), (BoringModel, "validation_step")])
def test_ctrl_c_before_the_first_step_is_exit_130(part, hook, monkeypatch, capsys, signals):
    monkeypatch.setattr(part, hook, lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert main(["fit", *BORING, *SHORT]) == 130
    assert capsys.readouterr().err.endswith("graftable: stopped.\n")


@pytest.mark.parametrize("end", [[], ["--config_version", "9"]], ids=["-cFILE", "on the command line"])
def test_another_config_version_is_refused_however_it_is_given(end, mistake):
    write("v7.yaml", {"config_version": 1 if end else 7})
    found = "9" if end else "7"
    assert f"config_version: found version {found}" in mistake("fit", "-cv7.yaml", *BORING, *SHORT, *end)


LGGM_MISTAKES = {
    "--model.init_args.heads 7": "width 48 with 7 heads: expected width / heads to be an even whole number.",
    "--model.init_args.width -3": "width -3 with 3 heads",
    "--data.init_args.num_workers -1": "num_workers: found -1, expected a whole number of at least 0.",
    "--data.init_args.seed -1": "seed: found -1, expected a whole number of at least 0.",
    "--seed_everything -1": "--seed_everything: found -1, expected a whole number from 0 to 4294967295.",
}


@pytest.mark.parametrize("line", LGGM_MISTAKES)
def test_what_a_constructor_refuses_is_its_own_sentence(line, mistake):
    assert mistake("fit", "--config", "lggm_debug", *line.split()).startswith(LGGM_MISTAKES[line])


def test_what_a_checkpoint_remembers_overrules_nothing_and_imports_nothing(fitted):
    checkpoint = load_checkpoint(fitted[0] / "checkpoints" / "last.ckpt")
    checkpoint["hyper_parameters"] = {"_class_path": "foreign.Model", "width": 3}
    save_checkpoint(checkpoint, "remembers.ckpt")
    assert main(["validate", *BORING, *SHORT, "--ckpt_path", "remembers.ckpt"]) == 0


def test_print_config_is_a_config_that_can_be_read_back(capsys, tmp_path):
    assert main(["fit", *BORING, *SHORT, "--print_config"]) == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert main(["fit", "--config", "printed.yaml", "--print_config"]) == 0
    again = yaml.safe_load(capsys.readouterr().out)
    assert again["model"]["class_path"] == BORING[1]


CONFIG_MISTAKES = {
    "a mistyped trainer key": (
        {"trainer": {"max_epoch": 3}},
        "my.yaml, trainer.max_epoch: no such setting. Did you mean `max_epochs`?",
    ),
    "a mistyped group": (
        {"trainr": {"max_epochs": 3}},
        "my.yaml, trainr.max_epochs: no such setting. Did you mean `trainer.max_epochs`?",
    ),
    "a mistyped model argument": (
        {"model": {"class_path": TRANSFORMER, "init_args": {"vocab_sise": 5}}, "data": BORING[3]},
        "my.yaml, model.init_args.vocab_sise: no such setting. Did you mean `vocab_size`?",
    ),
    "a bad value": (
        {"model": {"class_path": TRANSFORMER, "init_args": {"vocab_size": "many"}}},
        "my.yaml, model.init_args.vocab_size: found 'many', expected a whole number.",
    ),
    "a mistyped class": (
        {"model": {"class_path": TRANSFORMER[:-1]}},
        "has no `LightningTransforme`. Did you mean `LightningTransformer`?",
    ),
    "a class of another kind": (
        {"model": {"class_path": "torch.nn.Linear"}},
        "my.yaml, model: `torch.nn.Linear` is not a LightningModule",
    ),
    "a mistyped callback argument": (
        {"trainer": {"callbacks": [{"class_path": "EarlyStopping", "init_args": {"monitr": "x"}}]}},
        "Did you mean `monitor`?",
    ),
    "init_arg for init_args": (
        {"model": {"class_path": TRANSFORMER, "init_arg": {"vocab_size": 5}}},
        "Did you mean `init_args`?",
    ),
    "a missing argument": (
        {"trainer": {"callbacks": [{"class_path": "EarlyStopping"}]}},
        "EarlyStopping needs a value for monitor",
    ),
}


@pytest.mark.parametrize("what", CONFIG_MISTAKES)
def test_a_mistake_in_a_config_is_one_sentence_with_file_key_and_nearest_key(what, mistake):
    content, expected = CONFIG_MISTAKES[what]
    write("my.yaml", content)
    assert expected in mistake("fit", "--config", "my.yaml")


LINE_MISTAKES = {
    "": "--data and --model must be given: add --config NAME",
    "--trainer.max_epoch 4": "--trainer.max_epoch: no such setting. Did you mean `max_epochs`?",
    "--trainer.max_epochs=abc": "--trainer.max_epochs: found 'abc', expected a whole number or null.",
    "--model.layers 3": "--model.layers: no such setting. BoringModel takes no settings.",
    "--trainer.precision 17": "--trainer.precision: found '17', expected",
    "--trainer.accelerator gpuu": "gpuu",
    "--trainer.callbacks+=EarlyStoppin": "there is no class `EarlyStoppin`. Did you mean `EarlyStopping`?",
    "--ckpt_path absent.ckpt": "absent.ckpt: there is no such checkpoint",
    "stray": "there is no place for `stray`",
}


@pytest.mark.parametrize("line", LINE_MISTAKES)
def test_a_mistake_on_the_command_line_is_one_sentence(line, mistake):
    arguments = [*BORING, "--trainer.enable_progress_bar", "false"] if line else []
    assert LINE_MISTAKES[line] in mistake("fit", *arguments, *line.split())


def test_a_class_path_that_only_the_parser_can_see_is_refused_there_too(mistake, tmp_path, monkeypatch):
    (tmp_path / "hidden_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    # an implicit class path, deep inside a value that reads as ordinary text
    line = [
        "--trainer.callbacks+=EarlyStopping",
        "--trainer.callbacks.monitor=x",
        "--trainer.logger+=hidden_module.Logger",
    ]
    assert "hidden_module" in mistake("fit", *BORING, *line)
    assert "hidden_module" not in sys.modules


def test_a_foreign_class_is_imported_only_with_trust(tmp_path, monkeypatch, mistake):
    (tmp_path / "their_model.py").write_text(
        "from lightning.pytorch.demos.boring_classes import BoringModel\nclass Mine(BoringModel):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    line = ["--model", "their_model.Mine", *BORING[2:], *SHORT, "--trainer.fast_dev_run", "true"]
    assert "their_model.Mine" in mistake("fit", *line)
    assert "their_model" not in sys.modules
    assert main(["fit", "--trust-config", *line]) == 0
    assert "their_model" in sys.modules


def test_a_checkpoint_that_carries_code_is_refused_and_the_code_does_not_run(mistake, tmp_path):
    (tmp_path / "evil.ckpt").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")
    assert "evil.ckpt" in mistake("fit", *BORING, *SHORT, "--ckpt_path", "evil.ckpt")
    assert not (tmp_path / "ran").exists()


def test_weights_that_do_not_fit_are_one_sentence(fitted, mistake):
    checkpoint = load_checkpoint(fitted[0] / "checkpoints" / "last.ckpt")
    checkpoint["state_dict"] = {"other.weight": checkpoint["state_dict"]["layer.weight"]}
    save_checkpoint(checkpoint, "other.ckpt")
    assert "do not fit the model" in mistake("validate", *BORING, *SHORT, "--ckpt_path", "other.ckpt", writes=True)


def test_predictions_are_records_or_one_sentence(mistake):
    assert "expected a list of records" in mistake("predict", *BORING, *SHORT, writes=True)
