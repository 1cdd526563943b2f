"""A PyG model moved over gives the same outputs, called as before or with an Adjacency."""

import copy
import re

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch.testing import assert_close

from graftable.errors import ConfigError, DataError
from graftable.graphs import nn as ours
from graftable.graphs.nn import from_pyg
from graftable.graphs.ops import Adjacency

DEGREES = torch.tensor([3, 4, 2, 0, 2, 1])


class Encoder(nn.Module):
    """A user's own model: convolutions with edge features in attributes, a list and a dictionary."""

    def __init__(self):
        super().__init__()
        head = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.first = pyg.GINEConv(head, train_eps=True, edge_dim=3)
        self.middle = nn.ModuleList(
            [pyg.GATv2Conv(6, 3, heads=2, edge_dim=3), pyg.TransformerConv(6, 3, 2, edge_dim=3)]
        )
        scalers = ["identity", "amplification", "attenuation"]
        self.last = nn.ModuleDict({"pna": pyg.PNAConv(6, 4, ["mean", "max", "std"], scalers, DEGREES, edge_dim=3)})

    def forward(self, x, edge_index, edge_attr):
        x = self.first(x, edge_index, edge_attr).relu()
        for layer in self.middle:
            x = layer(x, edge_index, edge_attr=edge_attr).relu()
        return self.last["pna"](x, edge_index, edge_attr)


def sequential():
    torch.manual_seed(0)
    return pyg.Sequential(
        "x, edge_index, edge_weight",
        [
            (pyg.GCNConv(6, 8), "x, edge_index, edge_weight -> x"),
            nn.ReLU(inplace=True),
            (pyg.SAGEConv(8, 4, aggr="max"), "x, edge_index -> x"),
        ],
    )


MODELS = {
    "GCN": (lambda: pyg.GCN(6, 8, 2, 4, norm="BatchNorm"), "edge_weight"),
    "GraphSAGE": (lambda: pyg.GraphSAGE(6, 8, 3, jk="cat"), None),
    "GIN": (lambda: pyg.GIN(6, 8, 2, 4, train_eps=True), None),
    "GAT": (lambda: pyg.GAT(6, 8, 2, 4, heads=2, edge_dim=3), "edge_attr"),
    "GATv2": (lambda: pyg.GAT(6, 8, 2, heads=4, v2=True, jk="max"), None),
    "PNA": (
        lambda: pyg.PNA(6, 8, 2, aggregators=["mean", "min", "std"], scalers=["linear"], deg=DEGREES, edge_dim=3),
        "edge_attr",
    ),
    "Sequential": (sequential, "edge_weight"),
    "own": (Encoder, "edge_attr"),
}


def edge_values(kind, num_edges):
    if kind is None:
        return {}
    return {kind: torch.rand(num_edges) if kind == "edge_weight" else torch.randn(num_edges, 3)}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_moved_over_gives_the_same_outputs_and_gradients(name, graph):
    edge_index, num_nodes = graph
    model = MODELS[name][0]()
    moved = from_pyg(model)
    x, edges = torch.randn(num_nodes, 6), edge_values(MODELS[name][1], edge_index.shape[1])
    adjacency = Adjacency.from_edge_index(edge_index, num_nodes)
    slots = {key: adjacency.to_slots(value) for key, value in edges.items()}
    want = model(x, edge_index, **edges)
    want.square().sum().backward()
    for pattern, values in ((edge_index, edges), (adjacency, slots)):
        moved.zero_grad()
        got = moved(x, pattern, **values)
        assert_close(got, want, atol=1e-5, rtol=1e-5)
        got.square().sum().backward()
        for (path, mine), theirs in zip(moved.named_parameters(), dict(model.named_parameters()).items(), strict=True):
            gradient = dict(model.named_parameters())[path].grad
            assert theirs is not None
            assert_close(mine.grad, gradient, atol=1e-4, rtol=1e-4, msg=lambda text, path=path: f"{path}: {text}")


@pytest.mark.parametrize("name", MODELS)
def test_checkpoints_of_either_load_into_the_other(name):
    model = MODELS[name][0]()
    moved = from_pyg(model)
    assert moved.state_dict().keys() == model.state_dict().keys()
    model.load_state_dict(moved.state_dict())
    moved.load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_the_model_itself_is_left_as_it_was_and_no_layer_of_pyg_stays(name):
    model = MODELS[name][0]()
    before = copy.deepcopy(model.state_dict())
    kinds = [type(module) for module in model.modules()]
    moved = from_pyg(model)
    for parameter in moved.parameters():
        parameter.data.zero_()
    assert [type(module) for module in model.modules()] == kinds
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert not any(isinstance(module, pyg.MessagePassing) for module in moved.modules())


def test_a_moved_model_can_be_copied_trained_and_drawn_anew(graph):
    edge_index, num_nodes = graph
    moved = copy.deepcopy(from_pyg(pyg.GIN(6, 8, 2)))
    optimizer = torch.optim.SGD(moved.parameters(), lr=0.1)
    x = torch.randn(num_nodes, 6)
    first = moved(x, edge_index).square().mean()
    first.backward()
    optimizer.step()
    assert moved(x, edge_index).square().mean() < first
    moved.reset_parameters()
    assert torch.isfinite(moved(x, edge_index)).all()


def test_what_is_tied_frozen_or_of_another_type_stays_so():
    shared = pyg.GCNConv(4, 4)
    model = nn.ModuleList([shared, shared, pyg.GATConv(4, 4)]).double().eval()
    model[2].lin.weight.requires_grad_(False)
    moved = from_pyg(model)
    assert moved[0] is moved[1]
    assert not moved[2].lin.weight.requires_grad
    assert moved[2].att_src.requires_grad
    assert {parameter.dtype for parameter in moved.parameters()} == {torch.float64}
    assert not any(module.training for module in moved.modules())


def test_moving_a_model_draws_no_random_numbers():
    torch.manual_seed(0)
    model = Encoder()
    state = torch.get_rng_state()
    from_pyg(model)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_activation_that_stands_in_several_places_stays_in_all(graph):
    edge_index, num_nodes = graph
    options = {"towers": 2, "pre_layers": 3, "post_layers": 3, "act": nn.Tanh()}
    layer, x = pyg.PNAConv(6, 4, ["mean", "std"], ["linear"], DEGREES, **options), torch.randn(num_nodes, 6)
    assert_close(from_pyg(layer)(x, edge_index), layer(x, edge_index), atol=1e-5, rtol=1e-5)


def test_a_single_layer_may_be_moved(two_kinds):
    edge_index, (num_dst, num_src) = two_kinds
    layer = pyg.SAGEConv((6, 3), 4)
    x = torch.randn(num_src, 6), torch.randn(num_dst, 3)
    moved = from_pyg(layer)
    assert isinstance(moved, ours.SAGEConv)
    assert_close(moved(x, edge_index), layer(x, edge_index))
    assert_close(moved((x[0], None), edge_index, size=(7, 5)), layer((x[0], None), edge_index, size=(7, 5)))


def test_a_model_of_several_kinds_of_node_may_be_moved(two_kinds):
    edge_index, (num_dst, num_src) = two_kinds
    relation, back = ("user", "buys", "item"), ("item", "bought by", "user")
    layer = pyg.HeteroConv({relation: pyg.SAGEConv((6, 3), 4), back: pyg.GATv2Conv((3, 6), 4, add_self_loops=False)})
    x = {"user": torch.randn(num_src, 6), "item": torch.randn(num_dst, 3)}
    edges = {relation: edge_index, back: edge_index.flip(0)}
    got, want = from_pyg(layer)(x, edges), layer(x, edges)
    for kind in x:
        assert_close(got[kind], want[kind])


def test_the_layers_of_a_model_share_one_adjacency(graph, monkeypatch):
    edge_index, num_nodes = graph
    edge_index, built, build = edge_index.clone(), [], Adjacency.from_edge_index
    monkeypatch.setattr(Adjacency, "from_edge_index", lambda *args: built.append(args) or build(*args))
    moved = from_pyg(pyg.GIN(6, 8, 3))
    x = torch.randn(num_nodes, 6)
    moved(x, edge_index)
    moved(x, edge_index)
    assert len(built) == 1
    moved(x, edge_index.clone())
    assert len(built) == 2


def test_an_edge_index_that_was_written_to_is_read_again(graph):
    edge_index, num_nodes = graph
    model, x, edge_index = pyg.GIN(6, 8, 2), torch.randn(num_nodes, 6), edge_index.clone()
    moved = from_pyg(model)
    moved(x, edge_index)
    edge_index[:, :4] = edge_index[:, :4].flip(0)
    assert_close(moved(x, edge_index), model(x, edge_index))


def test_an_edge_index_of_inference_mode_will_do(graph):
    model, x = pyg.GIN(6, 8, 2), torch.randn(graph[1], 6)
    with torch.inference_mode():
        edge_index = graph[0].clone()
        assert_close(from_pyg(model)(x, edge_index), model(x, edge_index))


REFUSED = [
    (lambda: pyg.GCNConv(4, 4, improved=True), "GCNConv has improved=True"),
    (lambda: pyg.GCNConv(4, 4, aggr="max"), "GCNConv has aggr='max'"),
    (lambda: pyg.SAGEConv(4, 4, aggr="lstm"), "SAGEConv has aggr="),
    (lambda: pyg.SAGEConv(4, 4, aggr=["mean", "max"]), "SAGEConv has aggr="),
    (lambda: pyg.GATConv(4, 4, edge_dim=2, fill_value="mul"), "GATConv has fill_value='mul'"),
    (lambda: pyg.TransformerConv(4, 4, flow="target_to_source"), "TransformerConv has flow='target_to_source'"),
    (lambda: pyg.PNAConv(4, 4, ["median"], ["identity"], DEGREES), "PNAConv has aggregators"),
    (lambda: pyg.GCNConv(-1, 4), "GCNConv has no weights yet; run one batch"),
    (lambda: pyg.EdgeConv(nn.Linear(8, 4)), "EdgeConv has no counterpart"),
    (lambda: nn.ModuleDict({"a": nn.Sequential(pyg.ARMAConv(4, 4))}), "ARMAConv at 'a.0' has no counterpart"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_not_covered_is_one_sentence_that_names_the_layer_and_the_option(make, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        from_pyg(make())


def test_layers_without_a_counterpart_may_stay(graph):
    edge_index, num_nodes = graph
    x = torch.randn(num_nodes, 6)
    model = pyg.Sequential(
        "x, edge_index",
        [(pyg.GraphConv(6, 8), "x, edge_index -> x"), (pyg.GINConv(nn.Linear(8, 4)), "x, edge_index -> x")],
    )
    moved = from_pyg(model, strict=False)
    assert isinstance(moved[0], pyg.GraphConv)
    assert isinstance(moved[1], ours.GINConv)
    assert_close(moved(x, edge_index), model(x, edge_index))


def test_calls_that_are_not_covered_are_one_clear_error(graph):
    edge_index, num_nodes = graph
    x, layer = torch.randn(num_nodes, 6), from_pyg(pyg.GATConv(6, 4))
    with pytest.raises(ConfigError, match=r"GATConv .* does not return attention weights"):
        layer(x, edge_index, return_attention_weights=True)
    with pytest.raises(DataError, match=r"got edges as torch\.sparse_coo"):
        layer(x, torch.eye(num_nodes).to_sparse_coo())
    with pytest.raises(TypeError, match="unexpected arguments: edges"):
        layer(x, edge_index, edges=None)
