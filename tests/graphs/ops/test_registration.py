"""The operators as torch knows them: schemas, fakes, compiled graphs, autocast, and what they refuse to be part of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ops_laws import BF16, F32, F64, OPS, Case, Dense, close, every_op
from torch.autograd import forward_ad
from torch.library import opcheck

from graftable.graphs.ops import multi_aggregate, operators, segment_softmax, spmm, use_backend

CASE = Case(((0, 1), (2, 1), (2, 1), (1, 1), (3, 0), (0, 1), (3, 3)), 4, 5)  # multi-edges, a loop, two empty rows
E, N_DST, N_SRC = len(CASE.edges), 4, 5


def calls(dtype):
    """For each registered operator some inputs: as in a forward pass, each with a gradient where it has one."""

    def wants(*shape):
        return torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_()

    def fixed(*shape):
        return wants(*shape).detach()

    types = torch.tensor([0, 2, 1, 1, 0, 2, 2])
    adjacency = CASE.adjacency
    with torch.no_grad():
        x, (q, k, v) = fixed(N_SRC, 3), (fixed(N_DST, 2, 3), fixed(N_SRC, 2, 3), fixed(N_SRC, 2, 4))
        mean, _, _, std, argmax, argmin, center = operators.multi_aggregate(adjacency, x, "max,mean,min,std", 1e-6)
        out, lse, weights = operators.graph_attention(adjacency, q, k, v, None, 0.5, 0.0, None)
    gradient, seed = fixed(N_DST, 3), torch.tensor([5])
    return {
        "spmm": [
            (wants(N_SRC, 3), None, False, True),
            (wants(N_SRC, 3), wants(E), False, False),
            (wants(N_DST, 2, 3), wants(E, 2), True, True),
        ],
        "sddmm": [(wants(N_DST, 3), wants(N_SRC, 3)), (wants(N_DST, 2, 3), wants(N_SRC, 2, 3))],
        "edge_gather": [(wants(N_DST, 2, 3), False), (wants(N_SRC), True)],
        "edge_sum": [(wants(E, 2), False), (wants(E), True)],
        "spmm_typed": [(wants(N_SRC, 3), wants(3, 3), types, False)],
        "typed_outer": [(wants(N_DST, 3), wants(N_SRC, 3), types, 3)],
        "multi_aggregate": [(wants(N_SRC, 3), kinds, 1e-6) for kinds in ("max", "max,mean,min,std")],
        "multi_aggregate_backward": [
            (gradient, gradient, gradient, gradient, x, mean, std, argmax, argmin, center, 1e-6),
            (None, gradient, None, None, center[:0], center[:0], center[:0], argmax, argmin[:0], center[:0], 1e-6),
        ],
        "gatv2_score": [
            (wants(N_DST, 2, 3), wants(N_SRC, 2, 3), wants(2, 3), edge, 0.2) for edge in (None, wants(E, 2, 3))
        ],
        "gatv2_score_backward": [(fixed(E, 2), q, k, fixed(2, 3), edge, 0.2) for edge in (None, fixed(E, 2, 3))],
        "segment_softmax": [(wants(E),), (wants(E, 2),)],
        "graph_attention": [
            (wants(N_DST, 2, 3), wants(N_SRC, 2, 3), wants(N_SRC, 2, 4), wants(E, 2), 0.5, 0.0, None),
            (wants(N_DST, 2, 3), wants(N_SRC, 2, 3), wants(N_SRC, 2, 4), None, 0.5, 0.3, seed),
        ],
        "graph_attention_backward": [(fixed(N_DST, 2, 4), q, k, v, None, out, lse, weights, 0.5, 0.0, None)],
    }


REGISTERED = sorted(value.name for value in vars(operators).values() if isinstance(value, operators.Operator))


@pytest.mark.usefixtures("as_users_call")  # while it traces, torch passes symbols for sizes
@pytest.mark.parametrize("name", REGISTERED)
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_every_registered_operator_keeps_what_torch_asks_of_one(backend, name):
    operator = getattr(torch.ops.graftable, name).default
    with use_backend(backend):
        for dtype in (F32, F64, BF16):
            whole = dtype == F32 and backend == "torch"  # tracing costs a second, and sees neither type nor backend
            checks = (
                "test_schema",
                "test_faketensor",
                *(("test_autograd_registration", "test_aot_dispatch_dynamic") if whole else ()),
            )
            for inputs in calls(dtype)[name]:
                opcheck(operator, (*CASE.adjacency.pattern, *inputs), test_utils=checks)


def test_nothing_is_registered_that_is_not_checked():
    assert set(REGISTERED) == set(calls(F32))


@every_op
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_both_doors_lead_to_the_same_bits_and_gradients(backend, name, monkeypatch):
    inputs = [each.requires_grad_() for each in CASE.inputs(OPS[name])]
    with use_backend(backend):
        eager = OPS[name].call(CASE.adjacency, *inputs)
        found = torch.autograd.grad(eager.sum(), inputs)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        traced = OPS[name].call(CASE.adjacency, *inputs)
        wanted = torch.autograd.grad(traced.sum(), inputs)
    assert traced.grad_fn.name() != eager.grad_fn.name() or traced.grad_fn.name().startswith(
        ("Leaky", "Cat", "View", "Squeeze", "Unsafe")
    )
    assert eager.equal(traced)
    assert all(one.equal(other) for one, other in zip(found, wanted, strict=True))


def test_compiled_programs_are_whole_and_equal_those_that_are_not():
    """In an interpreter of its own, without the checks of shapes that tests put around every function."""
    script = Path(__file__).parent / "ops_compiled.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == f"{len(OPS)} operators compiled"


@every_op
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_autocast_gives_low_precision_sums_and_full_precision_statistics(backend, name):
    inputs = [each.requires_grad_() for each in CASE.inputs(OPS[name])]
    wanted = OPS[name].dense(Dense(CASE.adjacency), *(each.detach().double() for each in inputs))
    with use_backend(backend), torch.autocast("cpu", BF16):
        result = OPS[name].call(CASE.adjacency, *inputs)
    untouched = (
        "max",
        "min",
        "std",
        "segment_softmax",
        "edge_add",
        "edge_gather",
        "edge_gather_destination",
        "edge_sum",
        "edge_sum_source",
        "gin_sum",
        "gin_sum_typed",
    )
    assert result.dtype == (F32 if name in untouched or name == "multi_aggregate" else BF16)
    if name in untouched:
        close(result, wanted)
    else:
        torch.testing.assert_close(result.double(), wanted, rtol=5e-2, atol=5e-2)
    result.sum().backward()
    assert all(each.grad.dtype == F32 for each in inputs)
    doubles = [each.detach().double() for each in inputs]
    with use_backend(backend), torch.autocast("cpu", BF16):
        assert OPS[name].call(CASE.adjacency, *doubles).dtype == F64


@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_under_autocast_a_softmax_of_half_precision_scores_is_in_full_precision(backend):
    with use_backend(backend), torch.autocast("cpu", BF16):
        assert segment_softmax(CASE.adjacency, torch.ones(E, dtype=BF16)).dtype == F32


@every_op
@pytest.mark.parametrize("backend", ["reference", "torch"])
def test_transforms_of_functions_are_refused_and_not_passed_over(backend, name):
    inputs, call, adjacency = CASE.inputs(OPS[name]), OPS[name].call, CASE.adjacency
    with use_backend(backend):
        with pytest.raises(NotImplementedError, match="takes no part in vmap"):
            torch.vmap(lambda first: call(adjacency, first, *inputs[1:]))(torch.stack([inputs[0]] * 2))
        with pytest.raises(NotImplementedError, match="takes no part in vmap"):
            torch.func.grad(lambda first: call(adjacency, first, *inputs[1:]).sum())(inputs[0])
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(inputs[0], torch.ones_like(inputs[0]))
            with pytest.raises(NotImplementedError, match="takes no part in vmap"):
                call(adjacency, dual, *inputs[1:])
            assert call(adjacency, *inputs).isfinite().all()  # a tensor without a tangent is welcome


def test_a_gradient_of_a_gradient_that_is_not_asked_costs_no_error():
    x = CASE.values(N_SRC, 3).requires_grad_()
    (first,) = torch.autograd.grad(sum(multi_aggregate(CASE.adjacency, x)).sum(), x, create_graph=True)
    (spmm(CASE.adjacency, x).square().sum() + first.detach().sum()).backward()
    assert x.grad is not None
