"""Readouts, the transformer block and the scalers against other implementations."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch_geometric.nn import AttentionalAggregation, global_add_pool, global_max_pool, global_mean_pool

from graftable.errors import ShapeError
from graftable.graphs.nn import AttentionReadout, GraphTransformerLayer, MaxReadout, MeanReadout, SumReadout
from graftable.graphs.ops import Adjacency

SIZES = torch.tensor([3, 0, 5, 1])  # the second graph is empty
PTR = torch.cat([torch.zeros(1, dtype=torch.int64), SIZES.cumsum(0)])
BATCH = torch.arange(4).repeat_interleave(SIZES)
FORMS = {"ptr": PTR, "adjacency": Adjacency.from_ptr(PTR)}


@pytest.mark.parametrize("segments", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize(
    ("readout", "pool"),
    [(SumReadout, global_add_pool), (MeanReadout, global_mean_pool), (MaxReadout, global_max_pool)],
)
def test_readouts_equal_the_pools_of_pyg(readout, pool, segments):
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    got, want = readout()(x, segments), pool(x, BATCH, size=4)
    assert_close(got, want)
    direction = torch.randn_like(want)
    assert_close(*(torch.autograd.grad((out * direction).sum(), x)[0] for out in (got, want)))


@pytest.mark.parametrize("segments", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("gates", [1, 6])
@pytest.mark.parametrize("mapped", [True, False])
def test_the_attention_readout_equals_that_of_pyg(segments, gates, mapped):
    width = 6 if not mapped else 5
    gate, mapping = nn.Linear(width, gates), nn.Linear(5, 6) if mapped else None
    x = torch.randn(9, width, requires_grad=True)
    got = AttentionReadout(gate, mapping)(x, segments)
    want = AttentionalAggregation(gate, mapping)(x, ptr=PTR, index=BATCH, dim_size=4)
    assert_close(got, want, atol=1e-5, rtol=1e-5)
    inputs = [x, *gate.parameters()]
    for mine, theirs in zip(*(torch.autograd.grad(out.square().sum(), inputs) for out in (got, want)), strict=True):
        assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


def test_a_gate_of_another_width_is_one_clear_error():
    with pytest.raises(ShapeError, match=r"gate_nn gave \(9, 2\); expected one number per node or 5"):
        AttentionReadout(nn.Linear(5, 2))(torch.randn(9, 5), PTR)


def complete(num_nodes):
    nodes = torch.arange(num_nodes)
    return Adjacency.from_edge_index(torch.cartesian_prod(nodes, nodes).T, num_nodes)


def test_on_a_complete_graph_the_block_is_the_encoder_layer_of_torch():
    block = GraphTransformerLayer(8, heads=2).double()
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
    theirs.self_attn.in_proj_weight.data = block.query_key_value.weight.data
    theirs.self_attn.in_proj_bias.data = block.query_key_value.bias.data
    theirs.self_attn.out_proj.load_state_dict(block.output.state_dict())
    theirs.linear1.load_state_dict(block.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(block.feed_forward[3].state_dict())
    x = torch.randn(7, 8, dtype=torch.float64)
    assert_close(block(x, complete(7)), theirs(x.unsqueeze(0)).squeeze(0))


def test_an_edge_that_the_block_forbids_is_an_edge_that_is_not_there(graph):
    adjacency = Adjacency.from_edge_index(*graph)
    block = GraphTransformerLayer(8, heads=2, edge_dim=1)
    block.edge_bias.weight.data.fill_(1.0)
    x, forbidden = torch.randn(adjacency.num_dst, 8), torch.rand(adjacency.num_edges) < 0.4
    edges = torch.where(forbidden, -torch.inf, 0.0).unsqueeze(1)
    rest = torch.stack([adjacency.col, adjacency.row])[:, ~forbidden]
    pruned = Adjacency.from_edge_index(rest, adjacency.num_dst)
    got, want = block(x, adjacency, edges), block(x, pruned, torch.zeros(pruned.num_edges, 1))
    assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_node_without_neighbours_passes_the_block_by_itself(graph):
    adjacency = Adjacency.from_edge_index(*graph)
    block, x = GraphTransformerLayer(8, heads=2), torch.randn(adjacency.num_dst, 8)
    alone = Adjacency.from_edge_index(torch.empty(2, 0, dtype=torch.int64), 1)
    assert_close(block(x, adjacency)[[11]], block(x[[11]], alone))
