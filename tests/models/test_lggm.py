from random import Random
from types import SimpleNamespace

import lightning
import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch

from graftable.errors import ConfigError, GraftableError, ModelFileError
from graftable.generation import fit_graphs, generate
from graftable.graphs.attributes import ATTRIBUTES, graph_attributes
from graftable.graphs.conditions import Condition
from graftable.graphs.connectivity import components
from graftable.graphs.conversion import from_networkx
from graftable.graphs.prompts import parse_prompt
from graftable.graphs.trail_batch import neighbour_lists
from graftable.models.lggm import LGGM, next_token_loss
from graftable.models.pretrained import load_pretrained
from graftable.pipelines.records import record_to_graph

DOMAINS = ["tree", "ws"]


def corpus():
    graphs = [nx.random_labeled_tree(n, seed=n) for n in range(8, 20)]
    graphs += [nx.connected_watts_strogatz_graph(n, 4, 0.2, seed=n) for n in range(12, 24)]
    data = []
    for index, graph in enumerate(graphs):
        one = from_networkx(graph)
        one.domain, one.attributes = DOMAINS[index >= 12], graph_attributes(graph)
        data.append(one)
    return data


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = LGGM(width=32, layers=2, heads=2, domains=DOMAINS, dropout=0.0)
    model.fill_table(corpus())
    return model.eval()


def same(first, second):
    return all(torch.equal(a.edge_index, b.edge_index) for a, b in zip(first, second, strict=True))


def test_next_token_loss_is_the_mean_log_probability_of_the_labels():
    logits = torch.tensor([[[0.0, 1.0, -torch.inf], [2.0, 0.0, 0.0]]])
    labels = torch.tensor([[1, -100]])
    expected = -(logits[0, 0].softmax(-1)[1]).log()
    torch.testing.assert_close(next_token_loss(logits, labels), expected)


def test_neighbour_lists_are_those_of_networkx():
    graphs = [nx.petersen_graph(), nx.empty_graph(3), nx.star_graph(4)]
    lists = neighbour_lists(Batch.from_data_list([from_networkx(graph) for graph in graphs]))
    assert lists == [[sorted(graph[node]) for node in graph] for graph in graphs]


@pytest.mark.parametrize("nodes", [1, 2, 17, 64])
def test_generated_graphs_have_exactly_the_nodes_asked_for(model, nodes):
    for graph in model.generate([Condition(num_nodes=nodes)] * 3, seed=1):
        assert graph.num_nodes == nodes
        assert max(graph.edge_index.flatten().tolist(), default=0) < nodes


def test_a_graph_is_a_function_of_the_seed_and_not_of_how_many_are_drawn(model):
    condition = parse_prompt("a tree of 15 nodes", DOMAINS)
    eight, three = model.generate([condition] * 8, seed=5), model.generate([condition] * 3, seed=5)
    assert same(eight[:3], three)
    assert not same(model.generate([condition] * 3, seed=6), three)


def test_saved_models_load_bit_exactly_and_draw_the_same_graphs(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = load_pretrained(LGGM, str(tmp_path))
    assert loaded.hparams == model.hparams
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    condition = parse_prompt("a tree of 15 nodes", DOMAINS)
    assert same(model.generate([condition] * 3), loaded.generate([condition] * 3))


@pytest.mark.parametrize(
    "damage", ["absent", "truncated", "other-shape", "not-json", "other-version", "unknown-setting"]
)
def test_a_damaged_model_folder_is_one_sentence(model, tmp_path, damage):
    model.save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    if damage == "absent":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other-shape":
        config.write_text(config.read_text().replace('"width": 32', '"width": 64'))
    elif damage == "other-version":
        config.write_text(config.read_text().replace('"config_version": 1', '"config_version": 7'))
    elif damage == "unknown-setting":
        config.write_text(config.read_text().replace('"width"', '"rotary_base": 1, "width"'))
    else:
        config.write_text("{")
    with pytest.raises(ModelFileError, match=str(tmp_path)):
        load_pretrained(LGGM, str(tmp_path))


def test_a_folder_of_ones_own_is_not_mistaken_for_the_shipped_model(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save_pretrained("lggm")
    assert load_pretrained(LGGM, "./lggm").domains == DOMAINS
    assert load_pretrained(LGGM, "lggm").domains != DOMAINS


def test_saving_over_a_folder_leaves_the_old_model_or_the_new_one(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def torn(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", torn)
    with pytest.raises((OSError, GraftableError)):
        LGGM(width=32, layers=2, heads=2, domains=DOMAINS).save_pretrained(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_of_fit_is_a_model_and_a_torn_one_is_one_sentence(model, tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save(
        {
            "state_dict": model.state_dict(),
            "hyper_parameters": dict(model.hparams),
            "pytorch-lightning_version": lightning.__version__,
        },
        path,
    )
    loaded = load_pretrained(LGGM, str(path))
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match=r"last\.ckpt: the checkpoint is damaged"):
        load_pretrained(LGGM, str(path))
    with pytest.raises(ModelFileError, match="no such model"):
        load_pretrained(LGGM, str(tmp_path / "absent"))


def batch_of(graphs):
    """As the datamodule hands them out."""
    for index, graph in enumerate(graphs):
        values = [graph.attributes[name] for name in ATTRIBUTES]
        graph.attributes = torch.tensor([values], dtype=torch.float32)
        graph.text = "a tree, please" if index == 0 else ""
        graph.graph_id = f"own_{index}"
    return Batch.from_data_list(graphs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predictions_are_records_that_can_be_joined_to_their_descriptions(model, dtype):
    graphs = corpus()[:4]
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):  # as under a mixed-precision trainer
        records = model.predict_step(batch_of(graphs), 0)
    assert [record_to_graph(record).num_nodes for record in records] == [graph.num_nodes for graph in graphs]
    assert [record["graph_id"] for record in records] == [f"own_{index}" for index in range(4)]
    assert records[0]["text"] == "a tree, please"


def test_a_number_of_components_in_words_is_exact(model):
    condition = parse_prompt("a graph with 30 nodes in 4 components", DOMAINS)
    assert [len(components(graph)) for graph in model.generate([condition] * 5)] == [4] * 5


def test_a_loaded_model_can_be_validated(model, tmp_path):
    model.save_pretrained(tmp_path)
    load_pretrained(LGGM, str(tmp_path)).validation_step(batch_of(corpus()[:4]), 0)


def test_fitting_again_goes_on_from_where_it_was(model, tmp_path):
    model.save_pretrained(tmp_path)
    tuned = fit_graphs(corpus(), pretrained=str(tmp_path), steps=2, progress=False)
    before = {name: value.clone() for name, value in tuned.trails.state_dict().items()}
    tuned.trainer = SimpleNamespace(datamodule=SimpleNamespace(graphs={"train": corpus()}))
    tuned.setup("fit")
    assert all(torch.equal(value, before[name]) for name, value in tuned.trails.state_dict().items())


def test_fine_tuning_makes_room_for_a_new_domain_and_keeps_the_old_ones(model, tmp_path):
    model.save_pretrained(tmp_path)
    rings = [from_networkx(nx.cycle_graph(n)) for n in range(6, 14)]
    for graph in rings:
        graph.domain = "ring"
    tuned = fit_graphs(rings, pretrained=str(tmp_path), steps=1, learning_rate=1e-9, progress=False)
    assert tuned.domains == [*DOMAINS, "ring"]
    torch.testing.assert_close(tuned.condition.domain.weight[:3], model.condition.domain.weight)
    (graph,) = generate("a ring with 9 nodes", model=tuned)
    assert graph.domain == "ring"


def test_graphs_of_a_domain_without_a_place_are_refused(model):
    graph = corpus()[0]
    graph.domain = "ring"
    with pytest.raises(ConfigError, match="'ring'"):
        LGGM(width=32, layers=1, heads=2, domains=DOMAINS).fill_table([graph])


def test_the_null_condition_says_nothing(model):
    drawn, text = model.draw_conditions([Condition(domain="tree"), Condition(domain="ws")], 0)
    condition, nothing = model._sampling_conditions(drawn, text)
    assert not torch.allclose(condition[0], condition[1])
    torch.testing.assert_close(nothing[0], nothing[1])


def test_a_few_steps_teach_the_tiny_model():
    """From near uniform to clearly better on the same graphs, by the loss of the training step itself."""
    torch.manual_seed(0)
    model = LGGM(width=32, layers=1, heads=2, domains=DOMAINS, dropout=0.0, condition_dropout=0.0)
    graphs = corpus()
    model.fill_table(graphs)
    batch = batch_of(corpus())
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for step in range(40):
        loss = model._token_loss(batch, Random(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.65 * losses[0]


def test_odd_head_widths_are_refused():
    with pytest.raises(ConfigError, match="even whole number"):
        LGGM(width=30, heads=4)
