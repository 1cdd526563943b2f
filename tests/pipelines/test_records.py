import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from graftable.errors import DataError
from graftable.graphs.edge_lists import graph_from_edges
from graftable.pipelines.records import (
    DOCUMENT,
    GRAPH,
    ROW,
    TEXT,
    graph_to_record,
    iterate_records,
    read_records,
    record_to_graph,
    write_records,
)

OPTIONAL = ("graph_id", "name", "domain", "source", "split", "text", "attributes")
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)

EXAMPLES = {
    "row": (ROW, {"row_id": "7", "table": "loans", "split": "train", "numbers": {"age": 41.0}, "categories": {}}),
    "document": (
        DOCUMENT,
        {"document_id": "a", "origin": "a.pdf", "split": None, "num_pages": 3, "document": "{}", "markdown": "# A"},
    ),
    "text": (
        TEXT,
        {
            **{"text_id": "q1", "text": "How many nodes?", "answer": "5", "graph_ids": ["g1", "g2"]},
            **{"domain": None, "origin": None, "split": "val"},
        },
    ),
}


@st.composite
def graphs(draw):
    nodes = draw(st.integers(1, 9))
    pair = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    words = st.none() | st.text(max_size=8)
    return graph_from_edges(
        nodes,
        draw(st.lists(pair, max_size=20)),
        graph_id=draw(st.text(min_size=1, max_size=8)),
        name=draw(st.none() | st.lists(st.text(max_size=3), min_size=nodes, max_size=nodes)),
        domain=draw(words),
        source=draw(words),
        split=draw(words),
        text=draw(words),
        attributes=draw(st.none() | st.dictionaries(st.text(max_size=5), NUMBERS, max_size=4)),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(graphs(), max_size=6))
def test_graphs_survive_the_file(tmp_path_factory, originals):
    path = tmp_path_factory.mktemp("records") / "graphs.parquet"
    assert write_records(path, originals) == len(originals)
    for original, found in zip(originals, map(record_to_graph, read_records(path)), strict=True):
        assert torch.equal(found.edge_index, original.edge_index)
        assert found.num_nodes == original.num_nodes
        assert all(found.get(field) == original.get(field) for field in OPTIONAL)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_records_of_every_kind_survive_the_file(tmp_path, kind):
    schema, record = EXAMPLES[kind]
    write_records(tmp_path / "a.parquet", [record, record], schema)
    assert read_records(tmp_path / "a.parquet", schema) == [record, record]
    assert read_records(tmp_path / "a.parquet", None) == [record, record]


def test_records_longer_than_one_chunk_keep_their_order(tmp_path):
    write_records(tmp_path / "a.parquet", (graph_from_edges(n, [], graph_id=str(n)) for n in range(2500)))
    assert [record["num_nodes"] for record in read_records(tmp_path / "a.parquet")] == list(range(2500))


def test_a_folder_is_read_in_the_order_of_names_without_hidden_parts(tmp_path):
    for name in ("b.parquet", "a.parquet", ".c.parquet"):
        write_records(tmp_path / name, [graph_from_edges(1, [], graph_id=name)])
    assert [record["graph_id"] for record in iterate_records(tmp_path)] == ["a.parquet", "b.parquet"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.parquet"
    write_records(path, [graph_from_edges(2, [[0, 1]])])
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_records(path, [{"graph_id": "no edges"}])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_metadata_lies_beside_the_file(tmp_path):
    write_records(tmp_path / "a.parquet", [], metadata={"seed": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == {"seed": 3}


def test_a_missing_id_is_made_from_the_content():
    one, same, other = graph_from_edges(3, [[0, 1]]), graph_from_edges(3, [[1, 0]]), graph_from_edges(4, [[0, 1]])
    ids = [graph_to_record(graph)["graph_id"] for graph in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]


def test_numbers_of_any_type_become_floats(tmp_path):
    graph = graph_from_edges(1, [], attributes={"int": 1, "numpy": np.float32(0.5), "flag": True})
    write_records(tmp_path / "a.parquet", [graph])
    assert read_records(tmp_path / "a.parquet")[0]["attributes"] == {"int": 1.0, "numpy": 0.5, "flag": 1.0}


@pytest.mark.parametrize("edge_index", [[[0], [1]], [[0, 1, 2], [1, 0, 2]]], ids=["one direction", "self-loop"])
def test_what_a_simple_graph_cannot_hold_is_refused(edge_index):
    with pytest.raises(DataError, match="to_undirected"):
        graph_to_record(Data(edge_index=torch.tensor(edge_index), num_nodes=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_nodes": [5]}, "node 5"),
        ({"source_nodes": [-1]}, "node -1"),
        ({"target_nodes": [1, 2]}, "one pair per edge"),
        ({"num_nodes": None}, "no num_nodes"),
        ({"num_nodes": 0}, "no nodes|names node"),
        ({"source_nodes": [0, 1], "target_nodes": [1, 0]}, "more than once"),
        ({"target_nodes": [0]}, "itself"),
        ({"node_names": ["a"]}, "3 nodes and 1 node names"),
    ],
)
def test_a_record_that_is_no_graph_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        record_to_graph({"num_nodes": 3, "source_nodes": [0], "target_nodes": [1]} | change)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"row_id": None}, "no row_id"),
        ({"row_id": "1", "colour": "red"}, "colour"),
        ({"row_id": "1", "numbers": {"age": "old"}}, "numbers"),
        ({"row_id": 1}, "row_id"),
    ],
)
def test_a_record_outside_its_schema_is_refused(tmp_path, record, message):
    with pytest.raises(DataError, match=message):
        write_records(tmp_path / "a.parquet", [record], ROW)
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_the_expected_records_are_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("not parquet")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "foreign.parquet")
    future = GRAPH.with_metadata({"graftable.record": "graph", "graftable.version": "99"})
    pq.write_table(future.empty_table(), tmp_path / "future.parquet")
    write_records(tmp_path / "rows.parquet", [{"row_id": "1"}], ROW)
    (tmp_path / "empty").mkdir()
    for name, message in {
        "absent.parquet": "cannot be read",
        "text.parquet": "cannot be read",
        "foreign.parquet": "record mark",
        "future.parquet": "version 99",
        "rows.parquet": "row records",
        "empty": "no .parquet",
    }.items():
        with pytest.raises(DataError, match=message):
            read_records(tmp_path / name)
