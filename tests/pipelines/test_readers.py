"""Laws of the readers: every format gives the graph that was written, and bad files give one sentence."""

import gzip
import json
import os
import random
import shutil

import networkx as nx
import numpy as np
import pytest
import torch

from graftable.errors import DataError
from graftable.graphs.conversion import to_graphml, to_networkx
from graftable.graphs.edge_lists import edge_array, graph_from_edges
from graftable.pipelines.edge_list_text import parse_edge_list
from graftable.pipelines.readers import READERS, convert_graphs, read_graphs, write_graphs
from graftable.pipelines.records import TEXT, write_records

TRIANGLE = graph_from_edges(3, [[0, 1], [1, 2], [0, 2]])
PATH_AND_ISOLATED = graph_from_edges(
    4, [[0, 1], [1, 2]], domain="road", text="a road & a farm", attributes={"diameter": 2.0}
)


def write_npz(path, graphs, **extra):
    edges = [edge_array(graph) for graph in graphs]
    src, dst = np.concatenate(edges).T
    arrays = {"n": [g.num_nodes for g in graphs], "m": [len(e) for e in edges], "src": src, "dst": dst}
    np.savez(path, **{**arrays, **extra})


def write_edges(path, graph, opener=open):
    with opener(path, "wt") as file:
        file.writelines(f"{u} {v}\n" for u, v in edge_array(graph).tolist())


WRITERS = {
    ".parquet": lambda path, graph: write_records(path, [graph]),
    ".graphml": lambda path, graph: path.write_text(to_graphml(graph)),
    ".graphml.gz": lambda path, graph: path.write_bytes(gzip.compress(to_graphml(graph).encode())),
    ".npz": lambda path, graph: write_npz(path, [graph]),
    **{ending: write_edges for ending in READERS if ending.startswith((".txt", ".edges", ".edgelist", ".csv", ".tsv"))},
}
for ending in [e for e in WRITERS if e.endswith(".gz") and WRITERS[e] is write_edges]:
    WRITERS[ending] = lambda path, graph: write_edges(path, graph, gzip.open)


@pytest.mark.parametrize("ending", READERS)
def test_every_format_gives_the_graph_that_was_written(ending, tmp_path):
    path = tmp_path / f"three.v1{ending}"
    WRITERS[ending](path, TRIANGLE)
    (graph,) = read_graphs(path)
    assert torch.equal(graph.edge_index, TRIANGLE.edge_index)
    assert graph.num_nodes == 3
    if ending != ".parquet":  # records have an id already
        assert graph.graph_id == "three.v1"


@pytest.mark.parametrize("ending", [".parquet", ".graphml", ".graphml.gz", ".npz"])
def test_isolated_nodes_and_single_nodes_survive(ending, tmp_path):
    for name, graph in {"four": PATH_AND_ISOLATED, "one": graph_from_edges(1, [])}.items():
        WRITERS[ending](tmp_path / f"{name}{ending}", graph)
        assert read_graphs(tmp_path / f"{name}{ending}")[0].num_nodes == graph.num_nodes


def complaint(path):
    try:
        read_graphs(path)
    except DataError as error:
        return str(error)
    return None


@pytest.mark.parametrize("ending", READERS)
def test_a_damaged_file_gives_one_sentence_that_names_it(ending, tmp_path):
    whole, path = tmp_path / f"whole{ending}", tmp_path / f"torn{ending}"
    WRITERS[ending](whole, graph_from_edges(40, [[i, i + 1] for i in range(39)]))
    content = whole.read_bytes()
    rng = random.Random(0)
    samples = [b"", content[: len(content) // 2], b"\x00\xff\xfe" * 50]
    samples += [bytes(rng.randrange(256) if rng.random() < 0.1 else byte for byte in content) for _ in range(20)]
    for sample in samples:
        path.write_bytes(sample)
        told = complaint(path)  # a few altered bytes may still be a graph
        assert told is None or (told.startswith(f"{path}: ") and "\n" not in told)


def test_a_folder_gives_its_files_by_name_and_skips_what_is_no_graph(tmp_path):
    write_edges(tmp_path / "b.txt", TRIANGLE)
    write_npz(tmp_path / "a.npz", [TRIANGLE, PATH_AND_ISOLATED])
    (tmp_path / "README.md").write_text("# not a graph")
    (tmp_path / ".hidden.txt").write_text("0 0")
    (tmp_path / "sub").mkdir()
    assert [graph.graph_id for graph in read_graphs(tmp_path)] == ["a-0", "a-1", "b"]


def test_a_folder_of_records_is_read_once_though_drawings_lie_beside_them(tmp_path):
    write_records(tmp_path / "graphs.parquet", [TRIANGLE, PATH_AND_ISOLATED])
    (tmp_path / "0.graphml").write_text(to_graphml(TRIANGLE))
    assert len(read_graphs(tmp_path)) == 2


def test_npz_keeps_split_domain_and_source(tmp_path):
    meta = json.dumps({"domain": "col (actor ego nets)", "source": "a paper"})
    write_npz(tmp_path / "x.npz", [TRIANGLE] * 3, split=np.array(["train", "valid", "test"]), meta=np.array(meta))
    graphs = read_graphs(tmp_path / "x.npz")
    assert [graph.split for graph in graphs] == ["train", "val", "test"]
    assert {(graph.domain, graph.source) for graph in graphs} == {("col", "a paper")}


def bad_npz(path, name):
    pickled = np.empty(1, dtype=object)
    pickled[0] = {"a": 1}
    arrays = {"n": np.array([2]), "m": np.array([1]), "src": np.array([0]), "dst": np.array([1])}
    changes = {
        "no src": {"src": None},
        "counts": {"m": np.array([2])},
        "lengths": {"n": np.array([2, 2])},
        "range": {"dst": np.array([2])},
        "negative": {"src": np.array([-1])},
        "float": {"src": np.array([0.5])},
        "pickle": {"n": pickled},
        "loop": {"dst": np.array([0])},
        "split": {"split": np.array(["later"])},
        "empty": {"n": np.array([0])},
    }
    np.savez(path, **{key: value for key, value in {**arrays, **changes[name]}.items() if value is not None})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no src", "src"),
        ("counts", "agree"),
        ("lengths", "agree"),
        ("range", "names node 2"),
        ("negative", "names node -1"),
        ("float", "src"),
        ("pickle", "damaged"),
        ("loop", "itself"),
        ("split", "later"),
        ("empty", "no nodes|names node"),
    ],
)
def test_bad_npz_is_refused(name, reason, tmp_path):
    bad_npz(tmp_path / "x.npz", name)
    with pytest.raises(DataError, match=reason):
        read_graphs(tmp_path / "x.npz")


def test_a_malicious_pickle_is_not_run(tmp_path):
    array = np.empty(1, dtype=object)
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    array[0] = Evil()
    np.savez(tmp_path / "evil.npz", n=array, m=array, src=array, dst=array)
    np.save(tmp_path / "evil.npy", array)
    shutil.copy(tmp_path / "evil.npy", tmp_path / "evil2.npz")
    for name in ("evil.npz", "evil2.npz"):
        with pytest.raises(DataError):
            read_graphs(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "edges", "names"),
    [
        ("0 1\n1 2", 2, None),
        ("# a comment\n% another\n\n1\t2\r\n2\t3\n", 2, ["1", "2", "3"]),
        ("source,target,weight\na,b,1\nb,c,1.0\n", 2, ["a", "b", "c"]),
        ("new york,los angeles\n", 1, ["new york", "los angeles"]),
        ("0 1 {}\n", 1, None),
        ("\ufeff10;20", 1, ["10", "20"]),
        ('# {"nodes": 5, "domain": "asn"}\n0 4', 1, None),
        ("# [1]\n0 1", 1, None),
    ],
)
def test_dialects_of_edge_lists(text, edges, names):
    graph = parse_edge_list(text)
    assert graph.num_edges == 2 * edges
    assert graph.get("name") == names


def test_a_header_fixes_the_number_of_nodes():
    graph = parse_edge_list('# {"nodes": 5, "domain": "asn", "source": "x"}\n0 3')
    assert (graph.num_nodes, graph.domain, graph.source) == (5, "asn", "x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no edges"),
        ("# only a comment", "no edges"),
        ("0 1\n2", "line 2"),
        ("a,\n", "line 1"),
        ("0 1 2.5", "line 1.*weight.*--undirected"),
        ("0 1\n1 2 {'weight': 3}", "line 2.*--undirected"),
        ("0 1\n1 0", "more than once.*--undirected"),
        ("0 0", "itself.*--undirected"),
        ("0 1 nan", "nan.*finite"),
        ('# {"nodes": 2}\n0 2', "names node 2"),
        ('# {"nodes": 2}\na b', "'a'"),
    ],
)
def test_bad_edge_lists_are_refused(text, reason):
    with pytest.raises(DataError, match=reason):
        parse_edge_list(text)


@pytest.mark.parametrize(
    ("heading", "rows"),
    [
        ("node_1,node_2", ["0,1", "1,2"]),
        ("id_1,id_2", ["10,11", "11,12"]),
        ("FromNodeId ToNodeId", ["0 1", "1 2"]),
        ("FromNodeId\tToNodeId", ["a\tb", "b\tc"]),
        ('"source","target"', ['"0","1"', '"1","2"']),
        ('"source";"target"', ['"a";"b"', '"b";"c"']),
        ("any word", ["0 1", "1 2"]),
        ("node_1,node_2", ["berlin,paris", "paris,rome"]),
        ("Source ID, Target ID, weight", ["a, b, 1", "b, c, 1"]),
    ],
)
def test_a_line_of_headings_is_no_edge(heading, rows):
    graph = parse_edge_list("\n".join([heading, *rows]))
    assert (graph.num_nodes, graph.num_edges) == (3, 4)
    assert graph.get("name") in (None, ["a", "b", "c"], ["10", "11", "12"], ["berlin", "paris", "rome"])


@pytest.mark.parametrize(
    "text", ["u v\nv w", "node1 node2\nnode3 node4", "a 1\n1 2", "0 b\nb c", "berlin paris", "berlin paris\nrome 1"]
)
def test_a_first_line_that_may_be_an_edge_is_one(text):
    assert parse_edge_list(text).num_edges == 2 * len(text.splitlines())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('"a","b"\n"b","c"', ["a", "b", "c"]),
        ('"Paris, France","Rome, Italy"', ["Paris, France", "Rome, Italy"]),
        ('"new york" "los angeles"\n"los angeles" rome', ["new york", "los angeles", "rome"]),
        ('"a""b"\tc', ['a"b', "c"]),
        ('a "b', ["a", '"b']),
        ("a b {'weight': 1, 'colour': 2}", None),
    ],
)
def test_quotes_are_not_part_of_names(text, names):
    if names is None:  # the comma in edge data separates no columns
        with pytest.raises(DataError, match="line 1: edge data"):
            parse_edge_list(text)
        assert parse_edge_list(text, undirected=True).name == ["a", "b"]
    else:
        assert parse_edge_list(text).name == names


@pytest.mark.parametrize("text", ['"a,b\nb,c', '"a"b,c', '"",b'])
def test_broken_quotes_are_refused(text):
    with pytest.raises(DataError, match=r"line 1: found .*expected two node ids"):
        parse_edge_list(text)


@pytest.mark.parametrize("text", ["0 1 2.5", "0 1\n1 0", "0 0\n0 1", "0 1 {'weight': 3}", "a b c d\nb a"])
def test_undirected_drops_weights_repeats_and_loops(text):
    assert parse_edge_list(text, undirected=True).num_edges == 2


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda p: p / "absent.txt", "no such file"),
        (lambda p: (p / "x.docx").touch() or p / "x.docx", "unknown kind"),
        (lambda p: p, "no graph file in this folder"),
        (lambda p: write_records(p / "t.parquet", [{"text_id": "a", "text": "b"}], TEXT) and p, "text records"),
        (lambda p: write_records(p / "e.parquet", []) or p, "holds no graphs"),
        (
            lambda p: write_records(p / "n.parquet", [graph_from_edges(1, [], attributes={"diameter": np.nan})]) and p,
            "diameter.*finite",
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_one_sentence(prepare, reason, tmp_path):
    with pytest.raises(DataError, match=reason) as caught:
        read_graphs(prepare(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sources", "targets", "reason"), [([0, 0, 1], [1, 1, 2], "0 and 1 is listed"), ([0, 1, 2], [1, 2, 2], "node 2 is")]
)
def test_records_that_hold_no_simple_graph_are_simplified_on_request_only(sources, targets, reason, tmp_path):
    path = tmp_path / "a.parquet"
    write_records(path, [{"graph_id": "odd", "num_nodes": 3, "source_nodes": sources, "target_nodes": targets}])
    with pytest.raises(DataError, match=rf"a\.parquet: graph record odd: .*{reason}.*--undirected"):
        read_graphs(path)
    assert read_graphs(path, undirected=True)[0].num_edges == 4


@pytest.mark.parametrize("undirected", [False, True])
def test_records_with_a_wrong_number_of_names_are_refused(undirected, tmp_path):
    path = tmp_path / "a.parquet"
    record = {"graph_id": "odd", "num_nodes": 3, "source_nodes": [0], "target_nodes": [1], "node_names": ["a", "b"]}
    write_records(path, [record])
    with pytest.raises(DataError, match="graph record odd: 3 nodes and 2 node names"):
        read_graphs(path, undirected=undirected)


def test_conversion_keeps_descriptions_names_and_isolated_nodes(tmp_path):
    network = nx.Graph([("berlin", "paris")], domain="road", text="two cities")
    network.add_node("malta")
    nx.write_graphml(network, tmp_path / "cities.graphml")
    write_npz(tmp_path / "set.npz", [TRIANGLE, TRIANGLE])
    path, written = convert_graphs([tmp_path / "cities.graphml", tmp_path / "set.npz"], tmp_path / "out")
    assert (path, len(written)) == (tmp_path / "out" / "graphs.parquet", 3)
    cities, *others = read_graphs(tmp_path / "out")
    assert (cities.domain, cities.text, cities.name) == ("road", "two cities", ["berlin", "paris", "malta"])
    assert to_networkx(cities).adj == network.adj
    assert [graph.graph_id for graph in others] == ["set-0", "set-1"]


def test_conversion_gives_a_domain_on_request(tmp_path):
    write_edges(tmp_path / "a.txt", TRIANGLE)
    convert_graphs(tmp_path / "a.txt", tmp_path / "a.parquet", domain="power")
    assert read_graphs(tmp_path / "a.parquet")[0].domain == "power"


def test_nothing_is_written_unless_all_could_be_read(tmp_path):
    write_edges(tmp_path / "a.txt", TRIANGLE)
    (tmp_path / "b.txt").write_text("0 1\n1 0\n")
    with pytest.raises(DataError, match=r"b\.txt.*--undirected"):
        convert_graphs(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(convert_graphs(tmp_path, tmp_path / "out", undirected=True)[1]) == 2


def test_writing_graphml_is_for_one_graph_and_other_endings_are_refused(tmp_path):
    path = write_graphs([PATH_AND_ISOLATED], tmp_path / "one.graphml")
    (graph,) = read_graphs(path)
    assert (graph.num_nodes, graph.attributes) == (4, {"diameter": 2.0})
    with pytest.raises(DataError, match="2 graphs for one GraphML file"):
        write_graphs([TRIANGLE, TRIANGLE], tmp_path / "two.graphml")
    with pytest.raises(DataError, match=r"cannot write \.npz"):
        write_graphs([TRIANGLE], tmp_path / "x.npz")
