"""Configs as files: found by name, read with what they include, refused before anything foreign is imported."""

import pytest

from graftable.config_files import (
    CONFIG_VERSION,
    bundled_configs,
    command_of,
    copy_config,
    find_config,
    inline_settings,
    listing,
    prepare,
    read_config,
    refuse_untrusted,
    summary,
)
from graftable.errors import ConfigError


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", bundled_configs())
def test_a_bundled_config_says_what_it_is_for_and_names_only_trusted_classes(name):
    path = find_config(name)
    settings = read_config(path).settings
    assert summary(path)
    assert ("config_version", str(CONFIG_VERSION)) in [(setting.key, setting.value) for setting in settings]
    refuse_untrusted(settings)


FITTED = [name for name, path in bundled_configs().items() if command_of(read_config(path)) == "fit"]
# a system's own config is the one that has a debug twin, all others are named by it and more
SYSTEMS = [name for name in FITTED if f"{name}_debug" in FITTED]


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_config_of_a_system_has_a_debug_twin_of_the_same_model(name):
    models = [
        [setting.value for setting in read_config(find_config(config)).settings if setting.key == "model.class_path"]
        for config in (name, f"{name}_debug")
    ]
    assert models[0] == models[1] != []


def test_every_other_config_is_of_a_system_that_ships():
    assert SYSTEMS
    assert all(name.startswith(tuple(SYSTEMS)) for name in FITTED)


def test_comparisons_are_named_alike_and_have_one_debug_twin():
    compared = [name for name, path in bundled_configs().items() if command_of(read_config(path)) == "compare"]
    assert "ood_debug" in compared
    assert all(name.startswith("ood_") for name in compared)


def test_every_job_has_a_debug_twin_of_the_same_kind_that_sets_the_same():
    jobs = {name: path for name, path in bundled_configs().items() if command_of(read_config(path)) == "run"}
    assert jobs
    assert all("_job" in name for name in jobs)
    for name in (name for name in jobs if not name.endswith("_debug")):
        keys, twin = ({s.key for s in read_config(jobs[one]).settings} for one in (name, f"{name}_debug"))
        assert keys == twin >= {"job.class_path", "out"}


@pytest.mark.parametrize(("name", "command"), [("ood_debug", "compare"), ("synthesize_job_debug", "run")])
def test_fit_names_the_command_of_a_config_that_trains_no_model(name, command):
    with pytest.raises(ConfigError, match=f"use `graftable {command} "):
        prepare(["fit", "--config", name])


def test_the_listing_has_one_line_per_bundled_config():
    assert len(listing().splitlines()) == len(bundled_configs())


def test_a_file_comes_before_a_bundled_config_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundled = find_config("lggm_debug.yaml")
    mine = write(tmp_path, "lggm_debug.yaml", "seed_everything: 1\n")
    assert find_config("lggm_debug.yaml").samefile(mine)
    assert find_config("configs/lggm_debug.yaml") == find_config("lggm_debug") == bundled


def test_a_missing_config_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean `lggm_debug`"):
        find_config("lgmm_debug")


def test_a_copy_is_the_original_and_replaces_nothing_unasked(tmp_path):
    path = copy_config("lggm_debug", str(tmp_path))
    assert path.read_text() == find_config("lggm_debug").read_text()
    path.write_text("mine")
    with pytest.raises(ConfigError, match="exists already; add --force"):
        copy_config("lggm_debug", str(path))
    assert path.read_text() == "mine"
    copy_config("lggm_debug", str(path), overwrite=True)
    assert path.read_text() != "mine"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "found an empty file, expected settings"),
        ("- a\n- b\n", "found a list, expected settings"),
        ("model: [\n", "line 2: this is not YAML"),
        ("config_version: 2\n", "config_version: found version 2, but this graftable reads version 1"),
        ("config_version: 0\n", "config_version: found version 0, but this graftable reads version 1"),
    ],
)
def test_a_config_that_cannot_be_read_is_one_sentence_with_its_file(text, sentence, tmp_path):
    path = write(tmp_path, "bad.yaml", text)
    with pytest.raises(ConfigError, match=r"bad\.yaml") as error:
        read_config(path)
    assert sentence in str(error.value)


def test_a_binary_file_is_no_config(tmp_path):
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "bad.yaml")


UNTRUSTED = {
    "a class_path": "model:\n  class_path: foreign.Model\n",
    "a bare class": "model: foreign.Model\n",
    "a callback in a list": "trainer:\n  callbacks:\n  - class_path: foreign.Callback\n",
    "a bare callback in a list": "trainer:\n  callbacks: [foreign.Callback]\n",
    "an argument of a class": "model:\n  class_path: torch.A\n  init_args:\n    part: {class_path: foreign.Part}\n",
    "an alias": "x: &it {class_path: foreign.Model}\nmodel: *it\n",
    "a merge": "x: &it {class_path: foreign.Model}\nmodel:\n  <<: *it\n",
    "a quoted key": '"model": {"class_path": "foreign.Model"}\n',
    "an included file": "model: part.yaml\n",
    "a look-alike of a trusted package": "model: torch_evil.Model\n",
}


@pytest.mark.parametrize("where", UNTRUSTED)
def test_a_foreign_class_is_refused_wherever_it_stands(where, tmp_path):
    write(tmp_path, "part.yaml", "class_path: foreign.Model\n")
    path = write(tmp_path, "config.yaml", UNTRUSTED[where])
    with pytest.raises(ConfigError, match="is outside graftable, torch") as error:
        prepare(["fit", "--config", str(path)])
    assert ".yaml, " in str(error.value)
    assert set(prepare(["fit", "--trust-config", "--config", str(path)]).extra_roots) & {"foreign", "torch_evil"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "foreign.Model"],
        ["--model=foreign.Model"],
        ["--model.class_path", "foreign.Model"],
        ["--trainer.callbacks+=foreign.Callback"],
        ["--trainer.callbacks+", "foreign.Callback"],
        ["--model", '{"class_path": "foreign.Model"}'],
        ["--trainer.callbacks", "[{class_path: foreign.Callback}]"],
    ],
    ids=" ".join,
)
def test_a_foreign_class_on_the_command_line_is_refused(arguments):
    with pytest.raises(ConfigError, match=r"`foreign.*add --trust-config"):
        prepare(["fit", *arguments])


def test_a_foreign_class_in_a_file_that_the_command_line_names_is_refused(tmp_path):
    path = write(tmp_path, "model.yaml", "class_path: foreign.Model\n")
    with pytest.raises(ConfigError, match=r"model\.yaml, model\.class_path"):
        prepare(["fit", "--model", str(path)])


@pytest.mark.parametrize("value", ["my.parquet", "graphs/my.graphml", "graftable.models.LGGM", "LGGM", "1.5", "a b.c"])
def test_an_ordinary_value_is_not_taken_for_a_class(value):
    refuse_untrusted(inline_settings(["--data.init_args.records", value]))


def test_configs_that_include_themselves_end(tmp_path):
    path = write(tmp_path, "loop.yaml", "model: loop.yaml\nx: &x [*x]\n")
    assert [setting.key for setting in read_config(path).settings] == ["model"]


def test_the_last_word_is_the_command_line(tmp_path):
    path = write(tmp_path, "my.yaml", "trainer:\n  max_epochs: 1\n")
    request = prepare(["fit", f"--config={path}", "--trainer.max_epochs", "2"])
    assert [setting.value for setting in request.settings if setting.key == "trainer.max_epochs"] == ["1", "2"]
    assert request.run_name == "my"
