"""One encoder, five kinds: what holds for each of them, whatever it computes."""

import pytest
import torch
from torch.testing import assert_close

from graftable.errors import ConfigError, DataError
from graftable.graphs.nn import GraphEncoder, degree_histogram
from graftable.graphs.nn.encoder import KINDS, READOUTS, Readout
from graftable.graphs.ops import Adjacency

WIDTH, FEATURES, EDGE_FEATURES = 8, 3, 2
SEGMENTS = torch.tensor([0, 5, 9, 12])
#: three graphs of 5, 4 and 3 nodes; nodes 4 and 11 have no edge
EDGES = torch.tensor([[0, 1, 1, 2, 2, 3, 5, 6, 6, 7, 7, 8, 9, 10], [1, 0, 2, 1, 3, 2, 6, 5, 7, 6, 8, 7, 10, 9]])
ADJACENCY = Adjacency.from_edge_index(EDGES, num_nodes=12)


def encoder(kind, edge_features=None, readout="mean", **settings):
    torch.manual_seed(0)
    made = GraphEncoder(kind, FEATURES, WIDTH, 2, heads=2, readout=readout, edge_features=edge_features, **settings)
    made.fit_degrees(degree_histogram([ADJACENCY]))
    return made


def features(rows=12, width=FEATURES, seed=1):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=[None, EDGE_FEATURES], ids=["plain", "edge features"])
def edge_features(request):
    return request.param


@pytest.mark.parametrize("readout", [*READOUTS, "mean+max"])
def test_the_order_of_nodes_does_not_matter(kind, readout):
    made = encoder(kind, readout=readout).eval()
    order = torch.tensor([3, 0, 4, 2, 1, 8, 5, 7, 6, 11, 10, 9])  # within each graph
    place = order.argsort()
    shuffled = Adjacency.from_edge_index(place[EDGES], num_nodes=12)
    assert_close(
        made(features()[order], shuffled, SEGMENTS), made(features(), ADJACENCY, SEGMENTS), atol=1e-5, rtol=1e-5
    )


def test_weights_of_one_change_nothing(kind, edge_features):
    made = encoder(kind, edge_features).eval()
    edges = None if edge_features is None else features(EDGES.shape[1], edge_features, 2)
    given = (features(), ADJACENCY, SEGMENTS, edges)
    ones = {"edge_weight": torch.ones(EDGES.shape[1]), "node_weight": torch.ones(12)}
    assert_close(made(*given, **ones), made(*given), atol=1e-5, rtol=1e-5)


def test_every_parameter_and_every_edge_weight_receives_a_gradient(kind, edge_features):
    made = encoder(kind, edge_features, readout="attention+max")
    edges = None if edge_features is None else features(EDGES.shape[1], edge_features, 2)
    weight = torch.full((EDGES.shape[1],), 0.5, requires_grad=True)
    made(features(), ADJACENCY, SEGMENTS, edges, edge_weight=weight).square().sum().backward()
    assert weight.grad is not None
    assert bool(weight.grad.any())
    still = {name for name, parameter in made.named_parameters() if not bool(parameter.grad.any())}
    # a shift before a batch norm, and of scores before a softmax, is taken out again
    assert not {name for name in still if not name.endswith("bias")}


def test_an_edge_of_weight_zero_is_no_edge():
    made = encoder("gin").eval()
    weight = ADJACENCY.to_slots((torch.arange(EDGES.shape[1]) >= 2).float())
    fewer = Adjacency.from_edge_index(EDGES[:, 2:], num_nodes=12)
    assert_close(made(features(), ADJACENCY, SEGMENTS, edge_weight=weight), made(features(), fewer, SEGMENTS))


@pytest.mark.parametrize("readout", READOUTS)
def test_a_node_of_weight_zero_is_not_read(readout):
    torch.manual_seed(0)
    read = Readout(readout, FEATURES)
    weight = torch.ones(12)
    weight[[0, 6]] = 0
    left = torch.tensor([0, 4, 7, 10])
    got, want = read(features(), SEGMENTS, weight), read(features()[weight > 0], left)
    if readout == "attention":  # its softmax is over all nodes: what is left sums to less than 1
        got, want = (torch.nn.functional.normalize(part) for part in (got, want))
    assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert_close(read(features(), SEGMENTS, torch.zeros(12)), torch.zeros(3, FEATURES))


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_a_single_node_without_edges_has_a_finite_embedding(kind, mode):
    made = encoder(kind, dropout=0.5).train(mode)
    lonely = Adjacency.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), num_nodes=1)
    made.fit_degrees(degree_histogram([lonely]))
    out = made(features(1), lonely, torch.tensor([0, 1]))
    assert out.shape == (1, WIDTH)
    assert bool(out.isfinite().all())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "mlp"}, "encoder is 'mlp'; expected one of gin, gcn, gat, pna, transformer"),
        ({"readout": "median"}, "readout is 'median'"),
        ({"width": 0}, "width is 0"),
        ({"layers": 0}, "layers is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"kind": "gat", "width": 9}, "do not divide"),
    ],
)
def test_a_bad_setting_is_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        GraphEncoder(**({"kind": "gin", "in_features": 3} | settings))


def test_features_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"shape \(12, 5\); the encoder was made for \(nodes, 3\)"):
        encoder("gin")(features(12, 5), ADJACENCY, SEGMENTS)


def written_out(made, x, edges):
    """What a GIN encoder computes, of torch's own modules."""
    hidden = made.input(x)
    for depth, (layer, norm) in enumerate(zip(made.layers, made.norms, strict=True)):
        messages = hidden[ADJACENCY.col.long()]
        if edges is not None:
            messages = (messages + layer.lin(edges)).relu()
        hidden = ((1 + layer.eps) * hidden).index_add(0, ADJACENCY.row.long(), messages)
        first, inner, _, last = layer.nn
        for linear, each, rectified in ((first, inner, True), (last, norm, depth == 0)):
            moments = each.running_mean.clone(), each.running_var.clone()
            learnt = each.weight, each.bias
            hidden = torch.nn.functional.batch_norm(linear(hidden), *moments, *learnt, made.training)
            hidden = hidden.relu() if rectified else hidden
    return hidden


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_a_gin_encoder_is_that_of_separate_steps(edge_features, mode):
    made = encoder("gin", edge_features).double().train(mode)
    edges = None if edge_features is None else features(3, edge_features, 2).double()[torch.arange(14) % 3]
    x = features().double()
    wanted = written_out(made, x, edges)
    found = made.nodes(x, ADJACENCY, edges)
    assert_close(found, wanted)
    named = dict(made.named_parameters())
    gradients = [torch.autograd.grad(out.square().sum(), named.values(), allow_unused=True) for out in (found, wanted)]
    for name, one, other in zip(named, *gradients, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            assert_close(one, other, atol=1e-9, rtol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_statistics_without_a_momentum_are_means_over_all_batches():
    made = encoder("gin")
    norm = made.norms[0]
    expected = torch.nn.BatchNorm1d(norm.num_features, momentum=None)
    norm.momentum = None  # as torch.optim.swa_utils.update_bn asks for
    for seed in range(3):
        rows = torch.randn(7, norm.num_features, generator=torch.Generator().manual_seed(seed))
        assert_close(norm(rows), expected(rows))
    for name, value in expected.state_dict().items():
        assert_close(norm.state_dict()[name], value)


def test_a_gin_encoder_keeps_its_relu_under_another_norm():
    made = encoder("gin").eval()
    wanted = made(features(), ADJACENCY, SEGMENTS)
    other = torch.nn.SyncBatchNorm.convert_sync_batchnorm(made)
    assert not any(type(each).__name__ == "_NodeNorm" for each in other.modules())
    assert_close(other(features(), ADJACENCY, SEGMENTS), wanted)
