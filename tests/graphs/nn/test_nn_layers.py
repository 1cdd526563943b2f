"""Each layer equals PyG's from the same weights, whatever the options."""

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch.testing import assert_close

from graftable.errors import ConfigError, ShapeError
from graftable.graphs import nn as ours
from graftable.graphs.nn import pna
from graftable.graphs.ops import Adjacency

WIDTH, OUT, EDGE_WIDTH = 6, 4, 3
DEGREES = torch.tensor([3, 4, 2, 0, 2, 1])


def network(width=WIDTH, out=OUT):
    return nn.Sequential(nn.Linear(width, 5), nn.ReLU(), nn.Linear(5, out))


CASES = [
    ("GCNConv", (WIDTH, OUT), {}, 0),
    ("GCNConv", (WIDTH, 9), {"bias": False}, 0),
    ("GCNConv", (WIDTH, OUT), {"add_self_loops": False}, 0),
    ("GCNConv", (WIDTH, OUT), {"normalize": False}, 0),
    ("GCNConv", (WIDTH, OUT), {}, "weight"),
    ("GCNConv", (WIDTH, OUT), {"add_self_loops": False}, "weight"),
    ("GCNConv", (WIDTH, 9), {"normalize": False}, "weight"),
    ("SAGEConv", (WIDTH, OUT), {}, 0),
    ("SAGEConv", (WIDTH, 9), {"normalize": True}, 0),
    ("SAGEConv", (WIDTH, OUT, "sum"), {"bias": False}, 0),
    ("SAGEConv", (WIDTH, OUT, "max"), {"root_weight": False}, 0),
    ("SAGEConv", (WIDTH, OUT, "min"), {"project": True}, 0),
    ("GINConv", (network,), {}, 0),
    ("GINConv", (network,), {"eps": 0.5, "train_eps": True}, 0),
    ("GINEConv", (network,), {"train_eps": True}, WIDTH),
    ("GINEConv", (network,), {"edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
    ("GATConv", (WIDTH, OUT), {}, 0),
    ("GATConv", (WIDTH, OUT, 3), {"residual": True}, 0),
    ("GATConv", (WIDTH, OUT, 3), {"concat": False, "add_self_loops": False, "bias": False}, 0),
    ("GATConv", (WIDTH, OUT, 2), {"edge_dim": EDGE_WIDTH, "negative_slope": 0.1}, EDGE_WIDTH),
    ("GATConv", (WIDTH, OUT, 2), {"edge_dim": 1, "fill_value": 0.5}, "weight"),
    ("GATConv", (WIDTH, OUT, 2), {"edge_dim": EDGE_WIDTH, "fill_value": "max"}, EDGE_WIDTH),
    ("GATConv", (WIDTH, OUT, 2), {"edge_dim": EDGE_WIDTH, "add_self_loops": False}, EDGE_WIDTH),
    ("GATv2Conv", (WIDTH, OUT), {}, 0),
    ("GATv2Conv", (WIDTH, OUT, 3), {"residual": True, "concat": False}, 0),
    ("GATv2Conv", (WIDTH, OUT, 3), {"share_weights": True, "bias": False, "add_self_loops": False}, 0),
    ("GATv2Conv", (WIDTH, OUT, 2), {"edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
    ("GATv2Conv", (WIDTH, OUT, 2), {"edge_dim": EDGE_WIDTH, "fill_value": torch.tensor([1.0, 0.0, -1.0])}, EDGE_WIDTH),
    ("PNAConv", (WIDTH, OUT, ["mean", "max", "min", "std"], ["identity", "amplification", "attenuation"]), {}, 0),
    ("PNAConv", (WIDTH, OUT, ["mean", "sum"], ["linear", "inverse_linear"]), {"train_norm": True}, 0),
    ("PNAConv", (WIDTH, OUT, ["std", "var", "max"], ["amplification", "linear"]), {"towers": 2}, 0),
    ("PNAConv", (WIDTH, OUT, ["min", "mean"], ["identity"]), {"towers": 2, "divide_input": True, "post_layers": 2}, 0),
    ("PNAConv", (WIDTH, OUT, ["mean", "max"], ["attenuation"]), {"pre_layers": 2, "towers": 2}, 0),
    ("PNAConv", (WIDTH, OUT, ["mean", "max", "std"], ["amplification"]), {"edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
    ("PNAConv", (WIDTH, OUT, ["sum", "min"], ["linear"]), {"edge_dim": 3, "pre_layers": 3, "towers": 2}, EDGE_WIDTH),
    ("TransformerConv", (WIDTH, OUT), {}, 0),
    ("TransformerConv", (WIDTH, OUT, 3), {"concat": False, "beta": True}, 0),
    ("TransformerConv", (WIDTH, OUT, 2), {"beta": True, "bias": False}, 0),
    ("TransformerConv", (WIDTH, OUT, 2), {"edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
    ("TransformerConv", (WIDTH, 2, 3), {"edge_dim": EDGE_WIDTH, "root_weight": False}, EDGE_WIDTH),
]
BIPARTITE = [
    ("SAGEConv", ((WIDTH, 3), OUT), {}, 0),
    ("SAGEConv", ((WIDTH, 3), 9, "max"), {"project": True, "normalize": True}, 0),
    ("GINConv", (network,), {}, 0),
    ("GINEConv", (network,), {"edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
    ("GATConv", ((WIDTH, 3), OUT, 2), {"add_self_loops": False, "residual": True}, 0),
    ("GATConv", ((WIDTH, 3), OUT, 2), {}, 0),
    ("GATConv", (WIDTH, OUT, 2), {}, 0),
    ("GATv2Conv", ((WIDTH, 3), OUT, 2), {"add_self_loops": False, "edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
    ("GATv2Conv", (WIDTH, OUT, 2), {"share_weights": True}, 0),
    ("TransformerConv", ((WIDTH, 3), OUT, 2), {"beta": True, "edge_dim": EDGE_WIDTH}, EDGE_WIDTH),
]


def names(case):
    name, args, options, edges = case
    parts = [str(part) for part in args if not callable(part)] + [f"{key}={value}" for key, value in options.items()]
    return f"{name}({', '.join(parts)})" + (f" edges {edges}" if edges else "")


def build(package, name, args, options):
    torch.manual_seed(0)
    args = tuple(part() if callable(part) else part for part in args)
    if name == "PNAConv":
        options = {"deg": DEGREES, **options}
    return getattr(package, name)(*args, **options)


def edge_values(kind, num_edges):
    if kind == 0:
        return None
    return torch.rand(num_edges) + 0.1 if kind == "weight" else torch.randn(num_edges, kind)


@pytest.mark.parametrize("case", CASES, ids=names)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_layers_equal_pyg(case, dtype, graph, assert_equals_pyg):
    name, args, options, edge_kind = case
    edge_index, num_nodes = graph
    theirs, mine = (build(package, name, args, options) for package in (pyg, ours))
    x, edges = torch.randn(num_nodes, WIDTH), edge_values(edge_kind, edge_index.shape[1])
    assert_equals_pyg(theirs, mine, x, edge_index, num_nodes, edges, dtype)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] == "PNAConv"], ids=names)
def test_pna_with_one_map_per_degree_equals_pyg(case, graph, assert_equals_pyg, monkeypatch):
    monkeypatch.setattr(pna, "ROWS_PER_CLASS", 1)  # as in a batch with few degrees
    test_layers_equal_pyg(case, torch.float64, graph, assert_equals_pyg)


@pytest.mark.parametrize("case", BIPARTITE, ids=names)
def test_layers_between_two_kinds_of_node_equal_pyg(case, two_kinds, assert_equals_pyg):
    name, args, options, edge_kind = case
    edge_index, (num_dst, num_src) = two_kinds
    width_dst = args[0][1] if isinstance(args[0], tuple) else WIDTH
    theirs, mine = (build(package, name, args, options) for package in (pyg, ours))
    x = torch.randn(num_src, WIDTH), torch.randn(num_dst, width_dst)
    edges = edge_values(edge_kind, edge_index.shape[1])
    assert_equals_pyg(theirs, mine, x, edge_index, (num_dst, num_src), edges)


@pytest.mark.parametrize("name", ["SAGEConv", "GINConv", "GATConv"])
def test_destinations_may_have_no_features(name, two_kinds):
    edge_index, (num_dst, num_src) = two_kinds
    options = {"add_self_loops": False} if name == "GATConv" else {}
    theirs, mine = (
        build(package, name, (network,) if name == "GINConv" else ((WIDTH, 3), OUT), options) for package in (pyg, ours)
    )
    mine.load_state_dict(theirs.state_dict())
    x, size = torch.randn(num_src, WIDTH), (num_src, num_dst)
    got = mine((x, None), Adjacency.from_edge_index(edge_index, (num_dst, num_src)))
    assert_close(got, theirs((x, None), edge_index, size=size), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=names)
def test_layers_follow_a_renaming_of_nodes_and_a_shuffle_of_edges(case, graph):
    name, args, options, edge_kind = case
    edge_index, num_nodes = graph
    layer = build(ours, name, args, options).double()
    x, edges = torch.randn(num_nodes, WIDTH).double(), edge_values(edge_kind, edge_index.shape[1])
    renaming, shuffle = torch.randperm(num_nodes), torch.randperm(edge_index.shape[1])

    def run(x, edge_index, edges):
        adjacency = Adjacency.from_edge_index(edge_index, num_nodes)
        return layer(x, adjacency) if edges is None else layer(x, adjacency, adjacency.to_slots(edges.double()))

    moved = torch.empty_like(x)
    moved[renaming] = x
    got = run(moved, renaming[edge_index[:, shuffle]], None if edges is None else edges[shuffle])
    assert_close(got[renaming], run(x, edge_index, edges))


@pytest.mark.parametrize("case", CASES, ids=names)
def test_a_batch_gives_what_its_graphs_give(case, graph):
    name, args, options, edge_kind = case
    edge_index, num_nodes = graph
    layer = build(ours, name, args, options).double()
    one, other = (Adjacency.from_edge_index(edges, num_nodes) for edges in (edge_index, edge_index.flip(1)[:, :9]))
    x = torch.randn(2 * num_nodes, WIDTH).double()
    edges = edge_values(edge_kind, one.num_edges + other.num_edges)
    parts = [()] * 3
    if edges is not None:
        edges = edges.double()
        parts = [(edges,), (edges[: one.num_edges],), (edges[one.num_edges :],)]
    apart = [layer(x[:num_nodes], one, *parts[1]), layer(x[num_nodes:], other, *parts[2])]
    assert_close(layer(x, Adjacency.cat([one, other]), *parts[0]), torch.cat(apart))


@pytest.mark.parametrize("case", [case for case in CASES if case[2].get("edge_dim")][::3], ids=names)
def test_gradients_are_those_of_finite_differences(case, graph):
    name, args, options, edge_kind = case
    edge_index, num_nodes = graph[0][:, :10], graph[1]
    layer = build(ours, name, args, options).double()
    adjacency = Adjacency.from_edge_index(edge_index, num_nodes)
    x, edges = torch.randn(num_nodes, WIDTH).double(), edge_values(edge_kind, adjacency.num_edges).double()
    inputs = (x.requires_grad_(), edges.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, edges: layer(x, adjacency, edges), inputs, fast_mode=True)


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv", "TransformerConv"])
def test_dropout_acts_on_attention_in_training_only(name, graph):
    edge_index, num_nodes = graph
    adjacency = Adjacency.from_edge_index(edge_index, num_nodes)
    x, f = torch.randn(num_nodes, WIDTH), torch.randn(adjacency.num_edges, EDGE_WIDTH)
    for options, edges in (({}, ()), ({"edge_dim": EDGE_WIDTH}, (f,))):
        layer = getattr(ours, name)(WIDTH, OUT, dropout=0.5, **options)
        assert not torch.equal(layer(x, adjacency, *edges), layer(x, adjacency, *edges))
        layer.eval()
        assert torch.equal(layer(x, adjacency, *edges), layer(x, adjacency, *edges))


@pytest.mark.parametrize("case", [case for case in CASES if not case[0].startswith("GIN")], ids=names)
def test_weights_drawn_anew_are_drawn_as_at_first(case):
    name, args, options, _ = case
    layer, other = build(ours, name, args, options), build(ours, name, args, options)
    for parameter in other.parameters():
        parameter.data.fill_(torch.nan)
    other.reset_parameters()
    for (parameter_name, first), second in zip(layer.named_parameters(), other.parameters(), strict=True):
        assert torch.isfinite(second).all(), parameter_name
        if first.numel() > 8 and first.abs().max() > 0:
            assert first.std() / 3 < second.std() < 3 * first.std(), parameter_name


def test_a_normalisation_made_in_evaluation_serves_in_training(graph):
    adjacency, x = Adjacency.from_edge_index(*graph), torch.randn(graph[1], WIDTH)
    layer = ours.GCNConv(WIDTH, 9)
    with torch.inference_mode():
        layer(x, adjacency)
    layer(x, adjacency).sum().backward()


@pytest.mark.parametrize("name", ["GCNConv", "SAGEConv", "GATConv", "GATv2Conv", "TransformerConv"])
def test_graphs_without_edges_or_nodes_are_ordinary(name):
    layer = getattr(ours, name)(WIDTH, OUT)
    for num_nodes in (0, 3):
        adjacency = Adjacency.from_edge_index(torch.empty(2, 0, dtype=torch.int64), num_nodes)
        out = layer(torch.randn(num_nodes, WIDTH), adjacency)
        assert out.shape == (num_nodes, OUT)
        assert torch.isfinite(out).all()


def test_wrong_edge_features_are_one_clear_error(graph):
    adjacency, x = Adjacency.from_edge_index(*graph), torch.randn(graph[1], WIDTH)
    with pytest.raises(ShapeError, match=r"GATConv was made without edge_dim"):
        ours.GATConv(WIDTH, OUT)(x, adjacency, torch.randn(adjacency.num_edges, 3))
    with pytest.raises(ShapeError, match=r"PNAConv was made with edge_dim=3 but is given no edge_features"):
        ours.PNAConv(WIDTH, OUT, ["mean"], ["identity"], DEGREES, edge_dim=3)(x, adjacency)
    with pytest.raises(ShapeError, match=r"edge_features of TransformerConv has shape \(2, 3\); expected"):
        ours.TransformerConv(WIDTH, OUT, edge_dim=3)(x, adjacency, torch.randn(2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ours.GCNConv(2, 2, add_self_loops=True, normalize=False), "needs normalize=True"),
        (lambda: ours.SAGEConv(2, 2, "lstm"), "'lstm'; expected one of mean, sum"),
        (lambda: ours.GATConv(2, 2, fill_value="mul"), "'mul'; expected a number"),
        (lambda: ours.PNAConv(2, 2, ["median"], ["identity"], DEGREES), "'median' is not an aggregator"),
        (lambda: ours.PNAConv(2, 2, ["mean"], ["log"], DEGREES), "'log' is not a scaler"),
        (lambda: ours.PNAConv(2, 3, ["mean"], ["linear"], DEGREES, towers=2), "2 towers do not divide"),
        (lambda: ours.GINEConv(nn.Identity(), edge_dim=2), "input width of Identity"),
        (lambda: ours.GraphTransformerLayer(6, heads=4), "4 heads do not divide 6 channels"),
    ],
)
def test_wrong_options_are_one_clear_error(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("name", ["GCNConv", "PNAConv", "GraphTransformerLayer"])
def test_layers_for_one_kind_of_node_refuse_two(name, two_kinds):
    edge_index, (num_dst, num_src) = two_kinds
    args = {"PNAConv": (WIDTH, OUT, ["mean"], ["identity"], DEGREES), "GraphTransformerLayer": (8,)}
    layer = getattr(ours, name)(*args.get(name, (WIDTH, OUT)))
    with pytest.raises(
        ShapeError, match=f"{name} joins nodes of one kind.*{num_dst} destinations and {num_src} sources"
    ):
        layer(torch.randn(num_src, WIDTH), Adjacency.from_edge_index(edge_index, (num_dst, num_src)))


def test_a_degree_histogram_counts_all_batches(graph):
    edge_index, num_nodes = graph
    one = Adjacency.from_edge_index(edge_index, num_nodes)
    other = Adjacency.from_edge_index(edge_index[:, :5], num_nodes)
    degrees = torch.cat([torch.bincount(edges[1], minlength=num_nodes) for edges in (edge_index, edge_index[:, :5])])
    assert torch.equal(ours.degree_histogram([other, one]), torch.bincount(degrees))
