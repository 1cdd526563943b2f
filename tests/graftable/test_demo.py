"""What the demo leaves behind: exact sizes, whole files, a report that loads nothing.

Where the checkout holds the output of ``make demo`` that is what is read; else a tiny demo is run.
"""

import re
from pathlib import Path

import networkx as nx
import pytest
import torch
import yaml

from graftable.cli import main
from graftable.config_files import bundled_configs
from graftable.demo import PROMPTS, Plan, run_demo
from graftable.errors import ModelFileError
from graftable.graphs.attributes import graph_attributes
from graftable.graphs.conversion import from_networkx
from graftable.graphs.prompts import parse_prompt
from graftable.models.lggm import LGGM
from graftable.pipelines.readers import read_graphs

MADE = Path(__file__).parents[2] / "demo"
TINY_PROMPTS = ("a power grid of 12 buses", "a collaboration network of 9 authors", "a random tree with 10 nodes")
TINY = (
    "--trainer.limit_train_batches=3",
    "--trainer.val_check_interval=2",
    "--trainer.limit_val_batches=1",
    "--data.init_args.domains=[power,col,tree]",
    "--data.init_args.max_nodes=20",
    "--model.init_args.width=16",
    "--model.init_args.layers=1",
)


def save_tiny_model(folder):
    """An untrained model that knows the three domains."""
    torch.manual_seed(0)
    model = LGGM(width=16, layers=1, heads=2)
    graphs = [from_networkx(nx.random_labeled_tree(8 + seed % 5, seed=seed)) for seed in range(15)]
    for graph, domain in zip(graphs, ("power", "col", "tree") * 5, strict=True):
        graph.domain, graph.attributes = domain, graph_attributes(graph)
    model.fill_table(graphs)
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return str(folder)


@pytest.fixture(scope="module")
def demo(tiny_model, tmp_path_factory):
    """The folder of a demo, and its prompts."""
    if (MADE / "report.html").is_file():
        return MADE, PROMPTS
    out = tmp_path_factory.mktemp("demo")
    run_demo(out, 0, Plan(TINY_PROMPTS, tiny_model, overrides=TINY, drawn=2, scored=4))
    return out, TINY_PROMPTS


def sizes(prompts):
    return [parse_prompt(prompt).num_nodes for prompt in prompts]


def test_the_three_prompts_name_their_sizes():
    assert sizes(PROMPTS) == [120, 60, 80]
    assert [parse_prompt(prompt).domain for prompt in PROMPTS] == ["power", "col", "tree"]


def test_records_hold_graphs_of_exactly_the_sizes_asked_for(demo):
    folder, prompts = demo
    graphs = read_graphs(folder / "graphs.parquet")
    assert list(dict.fromkeys(graph.text for graph in graphs)) == list(prompts)
    assert all(graph.num_nodes == parse_prompt(graph.text).num_nodes for graph in graphs)


def test_every_record_is_a_graphml_file_too(demo):
    folder, _ = demo
    graphs = read_graphs(folder / "graphs.parquet")
    assert {path.stem for path in folder.glob("*.graphml")} == {graph.graph_id for graph in graphs}
    for graph in graphs:
        network = nx.read_graphml(folder / f"{graph.graph_id}.graphml")
        assert network.number_of_nodes() == graph.num_nodes
        assert network.number_of_edges() == graph.num_edges // 2


def test_each_prompt_has_drawings(demo):
    folder, prompts = demo
    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == len(prompts)
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)


def test_the_report_shows_every_prompt_and_loads_nothing(demo):
    folder, prompts = demo
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f"“{prompt}”" in html for prompt in prompts)
    sources = re.findall(r"""(?:src|href|srcset|data|action)\s*=\s*["']?([^"'\s>]+)""", html)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b|url\(|@import|https?://|file:", html)


def test_the_report_has_the_model_and_its_baselines_for_each_domain(demo):
    folder, prompts = demo
    html = (folder / "report.html").read_text(encoding="utf-8")
    for name in ("the model", "Erdős-Rényi", "Chung-Lu", "copy of the training set"):
        assert html.count(f'<th scope="row">{name}</th>') == len(prompts)


def test_nothing_half_written_is_left(demo):
    folder, _ = demo
    assert not [path for path in folder.rglob("*") if path.name.endswith(".part") or path.name == ".probe"]


def test_the_small_model_can_be_used(demo, tmp_path, capsys):
    folder, _ = demo
    small = str(folder / "small_model")
    assert main(["generate", "a tree with 6 nodes", "--model", small, "--out", str(tmp_path)]) == 0


def test_a_file_in_the_way_is_said_before_any_work(tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert main(["demo", "--out", str(tmp_path / "taken")]) == 2
    _, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert "is a file, expected a folder" in err
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_said(tmp_path, capsys):
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken" / "demo")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_missing_model_is_said_before_training(tmp_path):
    with pytest.raises(ModelFileError, match="no such model"):
        run_demo(tmp_path / "demo", 0, Plan(model="no_such_model"))
    assert not list((tmp_path / "demo").iterdir())


def test_training_stops_within_three_minutes_whatever_the_machine():
    settings = yaml.safe_load(bundled_configs()["lggm_demo"].read_text(encoding="utf-8"))
    days, hours, minutes, seconds = map(int, settings["trainer"]["max_time"].split(":"))
    assert (days, hours) == (0, 0)
    assert 60 * minutes + seconds <= 180
