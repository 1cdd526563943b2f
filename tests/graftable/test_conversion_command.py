"""``graftable convert``: what was read is what the records hold, and a mistake leaves nothing behind."""

import os

import networkx as nx
import pytest
import torch

from graftable.cli import main
from graftable.graphs.conversion import from_networkx, to_graphml
from graftable.pipelines.readers import read_graphs


@pytest.fixture
def graphml(tmp_path):
    graph = nx.Graph([("a", "b"), ("b", "c")])
    graph.add_node("alone")
    file = tmp_path / "in" / "little.graphml"
    file.parent.mkdir()
    file.write_text(to_graphml(from_networkx(graph)))
    return file


def mistake(capsys, *arguments):
    assert main(["convert", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("graftable: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("target", ["records", "one.parquet", "deep/er/one.parquet"])
def test_records_hold_the_graphs_that_were_read(target, graphml, tmp_path, capsys):
    assert main(["convert", str(graphml), str(tmp_path / target)]) == 0
    (graph,) = read_graphs(tmp_path / target)
    (original,) = read_graphs(graphml)
    assert torch.equal(graph.edge_index, original.edge_index)
    assert graph.name == ["a", "b", "c", "alone"]
    assert graph.graph_id == "little"
    printed = capsys.readouterr().out
    assert "1 graph of 4 nodes, 2 edges in all" in printed
    assert f"--data.init_args.records {tmp_path / target}" in printed


def test_a_folder_of_several_kinds_becomes_one_file(graphml, tmp_path, capsys):
    (graphml.parent / "edges.txt").write_text("0 1\n1 2\n2 0\n")
    assert main(["convert", str(graphml.parent), str(tmp_path / "all.parquet")]) == 0
    assert sorted(graph.graph_id for graph in read_graphs(tmp_path / "all.parquet")) == ["edges", "little"]
    assert "2 graphs of 3 to 4 nodes" in capsys.readouterr().out


def test_the_domain_is_written_into_every_record(graphml, tmp_path):
    assert main(["convert", str(graphml), str(tmp_path / "a.parquet"), "--domain", "power"]) == 0
    assert [graph.domain for graph in read_graphs(tmp_path / "a.parquet")] == ["power"]


def test_directed_files_need_to_be_read_as_undirected(tmp_path, capsys):
    file = tmp_path / "directed.graphml"
    nx.write_graphml(nx.DiGraph([(0, 1), (1, 0), (1, 2)]), file)
    assert "--undirected" in mistake(capsys, file, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()
    assert main(["convert", str(file), str(tmp_path / "a.parquet"), "--undirected"]) == 0
    assert read_graphs(tmp_path / "a.parquet")[0].num_edges == 4


def test_mistakes_are_one_sentence_and_leave_nothing_behind(graphml, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "not_a_graph.parquet").write_bytes(b"PAR1 or so")
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    target = tmp_path / "out.parquet"
    assert "no such file" in mistake(capsys, tmp_path / "missing.graphml", target)
    assert "no graph file in this folder" in mistake(capsys, tmp_path / "empty", target)
    assert "not_a_graph.parquet" in mistake(capsys, tmp_path / "not_a_graph.parquet", target)
    assert "cannot write .npz" in mistake(capsys, graphml, tmp_path / "out.npz")
    assert "--domain is empty" in mistake(capsys, graphml, target, "--domain", " ")
    assert "cannot be written" in mistake(capsys, graphml, tmp_path / "file" / "out.parquet")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_damaged_file_in_a_folder_stops_everything(graphml, tmp_path, capsys):
    (graphml.parent / "z.graphml").write_text("<graphml>")
    assert "z.graphml" in mistake(capsys, graphml.parent, tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_said(graphml, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "cannot be written" in mistake(capsys, graphml, locked / "a.parquet")
