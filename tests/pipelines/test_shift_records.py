"""Records of a user as a set with a shift: every graph in one part, the right task, one sentence for the rest."""

import numpy as np
import pytest

from graftable.errors import ConfigError, DataError
from graftable.graphs.conversion import simple_graph
from graftable.pipelines.readers import write_graphs
from graftable.pipelines.shift_records import records_digest, shift_set_from_records

COUNT = 60


def written(folder, splits=None, **changes):
    """Paths and cycles of growing size; the label is whether it closes, the weight a number."""
    graphs = []
    for place in range(COUNT):
        nodes = 3 + place // 2
        edges = [[node, node + 1] for node in range(nodes - 1)] + [[0, nodes - 1]] * (place % 2)
        attributes = {"closed": float(place % 2), "weight": nodes / 7, "lab": float(place % 3), **changes}
        graph = simple_graph(nodes, edges, graph_id=f"g{place}", domain=("a", "b")[place % 2], attributes=attributes)
        if splits:
            graph.split = splits[place % len(splits)]
        graphs.append(graph)
    return write_graphs(graphs, folder / "graphs.parquet")


def test_without_splits_the_small_train_and_the_large_test(tmp_path):
    shift = shift_set_from_records(written(tmp_path), "closed", environment="lab")
    sizes = {part: [graph.num_nodes for graph in graphs] for part, graphs in shift.parts.items()}
    assert sum(map(len, sizes.values())) == COUNT
    trained = [*sizes["train"], *sizes["id_val"], *sizes["id_test"]]
    assert max(trained) <= min(sizes["ood_val"]) <= max(sizes["ood_val"]) <= min(sizes["ood_test"])
    assert (shift.task, shift.num_classes, shift.metric, shift.num_environments) == ("binary", 2, "accuracy", 3)


def test_splits_of_the_records_are_kept(tmp_path):
    shift = shift_set_from_records(written(tmp_path, ("train", "val", "id_test", "ood_val", "test")), "closed")
    assert {part: len(graphs) for part, graphs in shift.parts.items()} == dict.fromkeys(shift.parts, COUNT // 5)


def test_a_tenth_of_training_stands_in_for_the_parts_of_its_law_that_are_missing(tmp_path):
    shift = shift_set_from_records(written(tmp_path, ("train", "train", "test")), "closed")
    assert {part: len(graphs) for part, graphs in shift.parts.items()} == {
        "train": 33, "id_val": 4, "id_test": 3, "ood_val": 0, "ood_test": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("label", "task", "classes"), [("weight", "regression", 0), ("lab", "multiclass", 3), ("domain", "binary", 2)]
)
def test_the_task_is_read_from_the_labels(tmp_path, label, task, classes):
    shift = shift_set_from_records(written(tmp_path), label)
    assert (shift.task, shift.num_classes) == (task, classes)
    assert shift.train[0].y.dtype.is_floating_point == (task == "regression")


def test_nodes_are_described_by_their_degree_alike_in_every_part(tmp_path):
    shift = shift_set_from_records(written(tmp_path), "closed")
    for graphs in shift.parts.values():
        for graph in graphs:
            degree = np.bincount(graph.edge_index[0], minlength=graph.num_nodes)
            assert graph.x.argmax(1).tolist() == [{1: 1, 2: 2}[d] for d in degree]


def test_the_digest_is_of_the_content(tmp_path):
    (tmp_path / "other").mkdir()
    first = written(tmp_path)
    assert records_digest(first) == records_digest(written(tmp_path / "other"))
    assert records_digest(first) != records_digest(written(tmp_path / "other" / "more", weight=1.0))


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    path = written(tmp_path)
    with pytest.raises(DataError, match=r"no `class`.*closed, lab, weight"):
        shift_set_from_records(path, "class")
    with pytest.raises(ConfigError, match="expected binary"):
        shift_set_from_records(path, "closed", task="ranking")
    with pytest.raises(ConfigError, match=r"3 classes.*multiclass"):
        shift_set_from_records(path, "lab", task="binary")
    with pytest.raises(DataError, match="split is 'holdout'"):
        shift_set_from_records(written(tmp_path / "a", ("train", "holdout")), "closed")
    with pytest.raises(DataError, match="no graph is for ood_test"):
        shift_set_from_records(written(tmp_path / "b", ("train",)), "closed")
    with pytest.raises(DataError, match="no such records"):
        records_digest(tmp_path / "nowhere.parquet")
