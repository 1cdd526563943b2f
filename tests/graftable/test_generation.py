import json
import os

import networkx as nx
import pytest
import torch

from graftable.cli import main
from graftable.errors import DataError, PromptError
from graftable.generation import fit_graphs, generate
from graftable.graphs.attributes import graph_attributes
from graftable.graphs.connectivity import components
from graftable.graphs.conversion import from_networkx
from graftable.models.lggm import LGGM
from graftable.pipelines.readers import read_graphs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny untrained model of two domains, saved; it draws several components, which is what we want here."""
    torch.manual_seed(0)
    model = LGGM(width=32, layers=1, heads=2)
    graphs = []
    for seed in range(12):
        graph = from_networkx(nx.random_labeled_tree(10 + seed, seed=seed))
        graph.domain, graph.attributes = ("power", "tree")[seed % 2], graph_attributes(graph)
        graphs.append(graph)
    model.fill_table(graphs)
    path = tmp_path_factory.mktemp("model")
    model.save_pretrained(path)
    return path


def command(folder, prompt, out, *options):
    return main(["generate", prompt, "--model", str(folder), "--out", str(out), *options])


def test_the_command_writes_files_that_hold_what_was_asked_for(folder, tmp_path, capsys):
    assert command(folder, "a power grid of 23 buses", tmp_path, "-n", "3", "--seed", "4") == 0
    records = read_graphs(tmp_path / "graphs.parquet")
    assert [graph.num_nodes for graph in records] == [23, 23, 23]
    for index, record in enumerate(records):
        graph = nx.read_graphml(tmp_path / f"graph_{index:04d}.graphml")
        assert graph.number_of_nodes() == 23
        assert graph.number_of_edges() == record.num_edges // 2
    assert (tmp_path / "gallery.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "num_nodes" in printed
    assert "wrote" in printed
    assert "next:" in printed


def test_the_command_and_the_one_liner_draw_the_same_graphs(folder, tmp_path):
    command(folder, "a tree with 12 nodes", tmp_path, "-n", "2", "--seed", "9")
    graphs = generate("a tree with 12 nodes", n=2, seed=9, model=str(folder))
    for graph, record in zip(graphs, read_graphs(tmp_path / "graphs.parquet"), strict=True):
        assert torch.equal(graph.edge_index, record.edge_index)


@pytest.mark.parametrize("how", ["largest", "reject", "repair"])
def test_connected_graphs_are_connected(folder, how):
    graphs = generate("a power grid of 20 buses", n=6, model=str(folder), connected=how)
    assert all(len(components(graph)) == 1 for graph in graphs)
    assert any("connected_by" in graph for graph in graphs)
    if how != "largest":
        assert all(graph.num_nodes == 20 for graph in graphs)


def test_json_is_machine_readable(folder, tmp_path, capsys):
    assert command(folder, "a tree with 12 nodes", tmp_path, "--json", "--connected", "repair") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["graphs"][0]["num_nodes"] == 12
    assert summary["request"]["domain"] == "tree"


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        ("  ", [], "prompt is empty"),
        ("a power grid of 300 buses", ["--num-nodes", "200"], "300 nodes"),
        ("a graph", ["--num-nodes", "0"], "expected a whole number"),
        ("a graph", ["--num-nodes", "10000000"], "1 to 50,000"),
        ("a graph", ["--clustering", "nan"], "finite"),
        ("a graph", ["--clustering", "1.5"], "clustering"),
        ("a graph", ["--domain", "powr"], 'did you mean "power"'),
        ("a graph", ["--mean-degre", "3"], "--mean-degree"),
        ("a graph", ["--guidance", "-3"], "expected 0 to 10"),
        ("a graph", ["--temperature", "0"], "expected 0.01 to 100"),
        ("a graph", ["--density", "2"], "density"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(folder, tmp_path, capsys, prompt, options, words):
    out = tmp_path / "out"
    assert command(folder, prompt, out, *options) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_refused_before_drawing(folder, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert command(folder, "a tree with 12 nodes", blocked / "out") == 2
    assert str(blocked) in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["file"]


def test_fewer_edges_than_a_connected_graph_has_are_met_by_components(folder):
    for graph in generate("a graph of 30 nodes and 10 edges", n=4, model=str(folder)):
        assert len(components(graph)) == 20


def test_a_prompt_of_which_nothing_was_recognised_is_said(folder, tmp_path, capsys):
    assert command(folder, "ein Stromnetz", tmp_path) == 0
    assert "no domain, number or level was recognised" in capsys.readouterr().out


def test_components_and_a_connected_graph_exclude_each_other(folder):
    with pytest.raises(PromptError, match="keep one"):
        generate("a graph with 3 components and 20 nodes", model=str(folder), connected="repair")


def test_one_line_fits_ones_own_networkx_graphs(folder, tmp_path):
    own = [nx.cycle_graph(n) for n in range(6, 18)]
    fresh = fit_graphs(own, pretrained=None, steps=2, width=32, layers=1, heads=2, progress=False)
    tuned = fit_graphs(own, pretrained=str(folder), steps=2, progress=False)
    with pytest.raises(DataError, match="found a str"):
        fit_graphs(["a"], pretrained=None)
    assert fit_graphs([nx.karate_club_graph()], pretrained=None, steps=1, width=32, heads=2, undirected=True)
    for model in (fresh, tuned):
        model.save_pretrained(tmp_path / "own")
        (graph,) = generate("a graph with 11 nodes", model=str(tmp_path / "own"))
        assert graph.num_nodes == 11
