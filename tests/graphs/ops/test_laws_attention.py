"""Softmax over edges, attention and its scores: laws, and torch's dense attention where graphs are simple."""

import math

import pytest
import torch
from ops_laws import F32, F64, Case, Dense, close, gradients, law, using
from torch.nn.functional import scaled_dot_product_attention

from graftable.graphs.ops import (
    Adjacency,
    edge_add,
    edge_sum,
    gatv2_score,
    graph_attention,
    sddmm,
    segment_softmax,
    spmm,
)

backends = pytest.mark.parametrize("backend", ["reference", "torch", "plain", "triton"])
fast_backends = pytest.mark.parametrize("backend", ["reference", "torch", "plain"])


@law(half=True)
def test_weights_lie_in_the_unit_interval_and_sum_to_one_over_each_reached_node(case):
    weights = segment_softmax(case.adjacency, case.values(len(case.edges), 2) * 5)
    assert bool(((weights >= 0) & (weights <= 1)).all())
    reached = (case.adjacency.rowptr.diff() > 0).to(case.dtype).unsqueeze(1).expand(-1, 2)
    close(edge_sum(case.adjacency, weights), reached)


@law()
def test_a_shift_of_all_scores_of_a_node_changes_nothing(case):
    scores, shift = case.values(len(case.edges)), 8 * case.values(case.num_dst, salt=1).round()
    moved = scores + shift[case.adjacency.row.long()]
    close(segment_softmax(case.adjacency, moved), segment_softmax(case.adjacency, scores), factor=10)


@law(half=True)
def test_large_scores_stay_finite_and_pick_the_winner(case):
    scores = 1e4 * case.values(len(case.edges)).sign()
    weights, (gradient,) = gradients(lambda s: segment_softmax(case.adjacency, s), [scores], torch.ones_like(scores))
    assert weights.isfinite().all()
    assert gradient.isfinite().all()
    into = Dense(case.adjacency)
    wins = scores.double() == into.destination(into.max(scores.double()))
    close(weights, wins / into.destination(into.sum(wins.double())).clamp(min=1))


@law(half=True)
def test_a_score_of_minus_infinity_removes_its_edge(case):
    """And where all are removed, weights and gradients are 0, not nan."""
    kept = case.values(len(case.edges), salt=2) > 0
    adjacency, scores = case.adjacency, case.values(len(case.edges))
    masked = scores.masked_fill(~kept, -math.inf)
    weights, (gradient,) = gradients(
        lambda s: segment_softmax(adjacency, s), [masked], case.values(len(case.edges), salt=3)
    )
    rest = [
        pair
        for pair, keep in zip(zip(adjacency.col.tolist(), adjacency.row.tolist(), strict=True), kept, strict=True)
        if keep
    ]
    fewer = Case(tuple(rest), case.num_dst, case.num_src, index=case.index).adjacency
    assert not weights[~kept].any()
    assert not gradient[~kept].any()
    assert gradient.isfinite().all()
    close(weights[kept], segment_softmax(fewer, scores[kept]))


def attention_inputs(case, width=3, values=4):
    return (
        case.values(case.num_dst, 2, width, salt=1),
        case.values(case.num_src, 2, width, salt=2),
        case.values(case.num_src, 2, values, salt=3),
    )


@law(half=True)
def test_equal_keys_give_the_mean_of_the_values(case):
    q, k, v = attention_inputs(case)
    found = graph_attention(case.adjacency, q, k[:1].expand_as(k), v)
    close(found, spmm(case.adjacency, v, reduce="mean"))


@law(half=True)
def test_a_node_with_one_edge_receives_the_value_at_its_other_end(case):
    q, k, v = attention_inputs(case)
    found = graph_attention(case.adjacency, 50 * q, k, v)
    for i in (case.adjacency.rowptr.diff() == 1).nonzero().flatten().tolist():
        close(found[i], v[case.adjacency.col[case.adjacency.rowptr[i]].item()])


@law()
def test_a_bias_of_minus_infinity_removes_its_edge(case):
    """And where all are removed, outputs and gradients are 0, not nan."""
    inputs, adjacency = attention_inputs(case), case.adjacency
    kept = case.values(len(case.edges), salt=5) > 0
    bias = torch.zeros(len(case.edges), 2, dtype=case.dtype).masked_fill(~kept.unsqueeze(1), -math.inf)
    rest = [
        pair
        for pair, keep in zip(zip(adjacency.col.tolist(), adjacency.row.tolist(), strict=True), kept, strict=True)
        if keep
    ]
    fewer = Case(tuple(rest), case.num_dst, case.num_src, index=case.index).adjacency
    g = case.values(case.num_dst, 2, 4, salt=4)
    found, parts = gradients(lambda *each: graph_attention(adjacency, *each), [*inputs, bias], g)
    wanted, others = gradients(lambda *each: graph_attention(fewer, *each), inputs, g)
    for one, other in zip((found, *parts), (wanted, *others), strict=False):
        close(one, other, factor=10)
    assert not parts[3][~kept].any()
    assert parts[3].isfinite().all()


@law()
def test_attention_is_softmax_of_products_then_a_weighted_sum(case):
    q, k, v = attention_inputs(case)
    scores = 0.3 * sddmm(case.adjacency, q, k) + (bias := case.values(len(case.edges), 2, salt=4))
    weights = segment_softmax(case.adjacency, scores)
    close(graph_attention(case.adjacency, q, k, v, bias, scale=0.3), spmm(case.adjacency, v, weights), factor=10)


@law(examples=3)
def test_on_simple_graphs_attention_and_its_gradients_are_those_of_torch_with_a_mask(case):
    edges = tuple({*case.edges, *((0, i) for i in range(case.num_dst))})  # each once, and every node sees one
    simple = Case(edges, case.num_dst, case.num_src, case.seed, case.dtype, case.index)
    mask = torch.zeros(case.num_dst, case.num_src, dtype=torch.bool)
    for source, destination in edges:
        mask[destination, source] = True

    def dense(*inputs):
        q, k, v = (each.transpose(0, 1) for each in inputs)
        return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1)

    inputs, g = attention_inputs(simple), simple.values(case.num_dst, 2, 4, salt=4)
    found, parts = gradients(lambda *each: graph_attention(simple.adjacency, *each), inputs, g)
    wanted, others = gradients(dense, [each.double() for each in inputs], g.double())
    for one, other in zip((found, *parts), (wanted, *others), strict=True):
        close(one, other, factor=10)


@law()
def test_without_slope_gatv2_is_linear_and_the_scores_of_gat_are_a_sum(case):
    q, k, _ = attention_inputs(case)
    att = case.values(2, 3, salt=4)
    a, c = (q * att).sum(-1), (k * att).sum(-1)
    plain = edge_add(case.adjacency, a, c, negative_slope=1.0)
    close(gatv2_score(case.adjacency, q, k, att, negative_slope=1.0), plain, factor=10)
    bent = edge_add(case.adjacency, a, c, negative_slope=0.1)
    close(bent, torch.where(plain > 0, plain, 0.1 * plain))


@law()
def test_no_edge_vector_is_an_edge_vector_of_zeros(case):
    q, k, _ = attention_inputs(case)
    att, zeros = case.values(2, 3, salt=4), torch.zeros(len(case.edges), 2, 3, dtype=case.dtype)
    close(gatv2_score(case.adjacency, q, k, att), gatv2_score(case.adjacency, q, k, att, zeros))
    found, wanted = (
        gradients(
            lambda *each, u=u: gatv2_score(case.adjacency, *each, *u),
            [q, k, att],
            torch.ones(len(case.edges), 2, dtype=case.dtype),
        )
        for u in ((), (zeros,))
    )
    for one, other in zip(found[1], wanted[1], strict=True):
        close(one, other, factor=10)


def star(edges, heads, dtype=F32):
    """One node that sees many, all with equal keys."""
    adjacency = Adjacency.from_edge_index(
        torch.stack([torch.arange(edges), torch.zeros(edges, dtype=torch.long)]), (1, edges)
    )
    return adjacency, torch.zeros(1, heads, 4, dtype=dtype), torch.zeros(edges, heads, 4, dtype=dtype)


@backends
def test_dropout_keeps_the_share_asked_and_scales_it_up(backend):
    edges = 600
    adjacency, q, k = star(edges, 2)
    torch.manual_seed(0)
    with using(backend):
        (sums,) = graph_attention(adjacency, q, k, torch.ones(edges, 2, 1), dropout=0.25)
    kept = sums.flatten() * 0.75 * edges  # the weights, all equal before, are each 1 / (0.75 edges)
    close(kept, kept.round(), factor=10)
    assert (kept / edges).tolist() == pytest.approx([0.75, 0.75], abs=0.05)
    assert kept[0] != kept[1]  # each head by itself


@backends
def test_dropout_repeats_with_the_seed_and_is_the_same_forward_and_backward(backend):
    case = Case(tuple((j, i) for i in range(3) for j in range(5)), 3, 5, dtype=F64)
    adjacency, inputs = case.adjacency, attention_inputs(case)

    def call(*each):
        torch.manual_seed(4)
        return graph_attention(adjacency, *each, dropout=0.4)

    with using(backend):
        assert call(*inputs).equal(call(*inputs))
        assert not call(*inputs).equal(graph_attention(adjacency, *inputs, dropout=0.4))
        if backend != "triton":  # which takes differences of hundreds of runs
            assert torch.autograd.gradcheck(call, [each.requires_grad_() for each in inputs], fast_mode=True)


def test_dropout_takes_the_same_edges_in_every_backend():
    case = Case(tuple((j, i) for i in range(3) for j in range(5)), 3, 5, seed=1)
    results = []
    for backend in ("reference", "torch", "plain", "triton"):
        torch.manual_seed(1)
        with using(backend):
            results.append(graph_attention(case.adjacency, *attention_inputs(case), dropout=0.5))
    for each in results[1:]:
        close(each, results[0])


@fast_backends
def test_values_and_keys_may_have_other_widths_than_each_other(backend):
    case = Case(((0, 0), (1, 0), (1, 1)), 2, 2)
    with using(backend):
        for width, values in ((1, 7), (17, 1)):
            q, k, v = attention_inputs(case, width, values)
            dense = Dense(case.adjacency).attention(q.double(), k.double(), v.double(), torch.zeros(3, 2))
            close(graph_attention(case.adjacency, q, k, v), dense)
