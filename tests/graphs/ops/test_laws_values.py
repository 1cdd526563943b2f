"""Every operator is its formula: values and gradients against dense float64 products, in each backend and type."""

from collections import Counter

import pytest
import torch
from ops_laws import BF16, F64, OPS, Dense, close, close_spread, every_op, gradients, law, using


def within_rounding(found, wanted, magnitude, terms):
    """Within 4 eps of the sum of the magnitudes of what is added; with many terms, within what theory allows."""
    bound = max(4, terms / 2) * torch.finfo(found.dtype).eps * magnitude
    if found.dtype == F64:
        bound = 2 * bound  # there the dense product rounds as much
    error = (found.double() - wanted).abs()
    assert bool((error <= bound).all()), f"error {error.max():.3g}, allowed {bound.flatten()[error.argmax()]:.3g}"


def longest_row(case):
    ends = zip(*case.edges, strict=True) if case.edges else ()
    return max((Counter(end).most_common(1)[0][1] for end in ends), default=0)


@every_op
@law(half=True, whole=True)
def test_values_are_those_of_the_dense_formula(case, name):
    op, adjacency, inputs = OPS[name], case.adjacency, case.inputs(OPS[name])
    dense = Dense(adjacency)
    found = op.call(adjacency, *inputs)
    wanted = op.dense(dense, *(each.double() for each in inputs))
    assert found.dtype == case.dtype
    assert found.is_contiguous()
    assert found.shape == wanted.shape == case.shape(op.output, *found.shape[1:])
    if op.kind == "exact":
        assert found.double().equal(wanted)
    elif op.kind == "sum":
        magnitude = op.dense(dense, *(each.double().abs() for each in inputs))
        within_rounding(found, wanted, magnitude, longest_row(case))
    elif name in ("std", "multi_aggregate"):
        close_spread(found, wanted, factor=10)
    else:
        close(found, wanted)


@every_op
@law(half=True, whole=True)
def test_gradients_are_those_of_the_dense_formula(case, name):
    op, adjacency, inputs = OPS[name], case.adjacency, case.inputs(OPS[name])
    if case.dtype == BF16 and name in ("max", "min", "multi_aggregate"):
        return  # ties, which are common among numbers of 8 bits, have a law of their own
    dense, doubles = Dense(adjacency), [each.double() for each in inputs]
    g = case.values(*op.call(adjacency, *inputs).shape, salt=9)
    _, found = gradients(lambda *leaves: op.call(adjacency, *leaves), inputs, g)
    _, wanted = gradients(lambda *leaves: op.dense(dense, *leaves), doubles, g.double())
    positive = [each.abs() for each in doubles]
    _, sizes = gradients(lambda *leaves: op.dense(dense, *leaves), positive, g.double().abs())
    for one, other, size, (side, *_) in zip(found, wanted, sizes, op.inputs, strict=True):
        assert one.dtype == case.dtype
        if op.kind == "sum":
            within_rounding(one, other, size, len(case.edges) if side == "shared" else longest_row(case))
        else:
            close(one, other, factor=100 if name in ("std", "multi_aggregate") else 10)


@every_op
@law(triton=False, examples=3)
def test_a_gradient_asked_alone_is_that_asked_with_the_others(case, name):
    op, adjacency, inputs = OPS[name], case.adjacency, case.inputs(OPS[name])
    ones = torch.ones_like(op.call(adjacency, *inputs))
    value, together = gradients(lambda *leaves: op.call(adjacency, *leaves), inputs, ones)
    for at, one in enumerate(inputs):
        leaf = one.clone().requires_grad_()
        result = op.call(adjacency, *inputs[:at], leaf, *inputs[at + 1 :])
        (alone,) = torch.autograd.grad(result.sum(), leaf)
        assert alone.equal(together[at])
        assert result.equal(value)


@every_op
@law(triton=False, examples=3)
def test_a_result_without_a_gradient_is_the_result_with_one(case, name):
    op, adjacency, inputs = OPS[name], case.adjacency, case.inputs(OPS[name])
    leaves = [each.clone().requires_grad_() for each in inputs]
    with torch.no_grad():
        alone = op.call(adjacency, *leaves)
    assert not alone.requires_grad
    with torch.inference_mode():
        assert op.call(adjacency, *leaves).equal(alone)
    assert op.call(adjacency, *leaves).equal(alone)


@pytest.mark.parametrize("backend", ["reference", "torch", "plain"])
def test_many_small_numbers_do_not_drown_in_a_large_sum_in_bfloat16(backend):
    from graftable.graphs.ops import Adjacency, spmm

    hub = Adjacency.from_ptr(torch.tensor([0, 5000]))
    with using(backend):
        assert spmm(hub, torch.full((5000, 2), 0.125, dtype=BF16)).tolist() == [[624.0, 624.0]]
