"""The Triton kernels, run by the interpreter, against the reference: what the laws of all backends do not reach.

That is hubs cut into segments, several tiles of columns, strides, dropout, and what the compiler for a GPU accepts.
"""

import importlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from graftable.errors import ConfigError, MissingExtraError
from graftable.graphs.ops import Adjacency, reference
from graftable.graphs.ops.dropout import dropout_mask

triton = pytest.importorskip("triton")
if not triton.knobs.runtime.interpret:
    pytest.skip("TRITON_INTERPRET is off, and these tests hold CPU tensors", allow_module_level=True)

from graftable.graphs.ops import triton_backend, triton_launch  # noqa: E402

SPLIT = 4
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 4e-2}
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: str(dtype)[6:])
sides = pytest.mark.parametrize("transposed", [False, True], ids=["forward", "transposed"])


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch):
    monkeypatch.setattr(triton_launch, "SPLIT", SPLIT)
    tiles = dict.fromkeys(triton_launch.TILES, (2, 8, 1))  # so that every loop goes round
    monkeypatch.setattr(triton_launch, "TILES", tiles)


def hub_pattern(dtype=torch.float32):
    """Six destinations, seven sources: a hub on either side, equal edges, loops, empty rows and columns."""
    edges = torch.randint(0, 5, (2, 30), generator=torch.Generator().manual_seed(3))
    edges[1] %= 4
    edges[1, -1] = 4  # alone in its row
    edges[1, :13], edges[0, 13:22] = 2, 3  # thirteen edges into node 2: three whole segments and one of a single edge
    pattern = Adjacency.from_edge_index(edges, (6, 7))
    if dtype != torch.float64:
        return pattern
    return Adjacency(*(each.long() for each in pattern.pattern))  # float64 stands for int64 indices too


def draw(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def agree(found, wanted):
    """Each result close to the reference's, of its shape and type, and contiguous."""
    found, wanted = (each if isinstance(each, tuple) else (each,) for each in (found, wanted))
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is None:
            continue
        assert one.is_contiguous()
        tolerance = TOLERANCE.get(one.dtype, 0)
        assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def both(name, *inputs):
    return getattr(triton_backend, name)(*inputs), getattr(reference, name)(*inputs)


# --- hubs -----------------------------------------------------------------------------------------------------------


@sides
@dtypes
def test_sums_over_hubs_are_those_of_the_reference(dtype, transposed):
    pattern = hub_pattern(dtype)
    size = pattern.num_dst if transposed else pattern.num_src
    weight, kinds = draw(30, 3, dtype=dtype, seed=1), torch.arange(30) % 3
    for mean in (False, True):
        agree(*both("spmm", pattern, draw(size, 5, dtype=dtype), None, transposed, mean))
        agree(*both("spmm", pattern, draw(size, 5, dtype=dtype), weight[:, 0], transposed, mean))
        agree(*both("spmm", pattern, draw(size, 3, 2, dtype=dtype), weight, transposed, mean))
    agree(*both("edge_sum", pattern, weight, transposed))
    agree(*both("edge_gather", pattern, draw(13 - size, 3, dtype=dtype), transposed))
    agree(*both("spmm_typed", pattern, draw(size, 5, dtype=dtype), draw(3, 5, dtype=dtype, seed=2), kinds, transposed))


@dtypes
def test_sums_over_types_are_those_of_the_reference(dtype):
    a, b, kinds = draw(6, 5, dtype=dtype), draw(7, 5, dtype=dtype, seed=1), torch.arange(30) % 3
    agree(*both("typed_outer", hub_pattern(dtype), a, b, kinds, 4))  # type 3 has no edge


@pytest.mark.parametrize("kinds", ["mean,max,min,std", "std", "max", "mean,min"])
@dtypes
def test_statistics_of_hubs_and_their_gradients_are_those_of_the_reference(dtype, kinds):
    pattern, x = hub_pattern(dtype), draw(7, 5, dtype=dtype).round(decimals=1)  # rounded, so that ties occur
    found, wanted = both("multi_aggregate", pattern, x, kinds, 1e-6)
    agree(found, (*wanted[:-1], wanted[-1].to(found[-1].dtype)))
    asked = kinds.split(",")
    g = [draw(6, 5, dtype=dtype, seed=1) if kind in asked else None for kind in ("mean", "max", "min", "std")]
    mean, _, _, *rest = wanted
    agree(*both("multi_aggregate_backward", pattern, *g, x, mean, *rest, 1e-6))


@dtypes
def test_attention_over_hubs_and_its_gradients_are_those_of_the_reference(dtype):
    pattern = hub_pattern(dtype)
    q, k, v = draw(6, 2, 5, dtype=dtype), draw(7, 2, 5, dtype=dtype, seed=1), draw(7, 2, 3, dtype=dtype, seed=2)
    bias, g = draw(30, 2, dtype=dtype, seed=3), draw(6, 2, 3, dtype=dtype, seed=4)
    bias[::4, 0] = bias[pattern.row == 1] = -torch.inf  # edges removed, and all of one row
    cases = [(bias, 0.4, 0.0, None)]
    if dtype == torch.float32:  # random numbers are slow to interpret
        cases.append((None, 0.4, 0.3, torch.tensor([2**40 + 7])))
    for inputs in cases:
        found, wanted = both("graph_attention", pattern, q, k, v, *inputs)
        agree(found[:2], wanted[:2])
        residuals = wanted[0], wanted[1], wanted[2], *inputs[1:]
        agree(*both("graph_attention_backward", pattern, g, q, k, v, inputs[0], *residuals))


@dtypes
def test_softmax_over_hubs_is_that_of_the_reference(dtype):
    scores = draw(30, 3, dtype=dtype) * 100
    scores[hub_pattern().row == 1] = scores[3:9, 1] = -torch.inf
    agree(*both("segment_softmax", hub_pattern(dtype), scores))
    agree(*both("segment_softmax", hub_pattern(dtype), scores[:, 1]))


@dtypes
def test_additive_scores_and_their_gradients_are_those_of_the_reference(dtype):
    pattern, slope = hub_pattern(dtype), 0.25  # a power of two: the same in every type
    q, k, att = draw(6, 2, 5, dtype=dtype), draw(7, 2, 5, dtype=dtype, seed=1), draw(2, 5, dtype=dtype, seed=2)
    g = draw(30, 2, dtype=dtype, seed=4)
    for edge in (None, draw(30, 2, 5, dtype=dtype, seed=3)):
        agree(*both("gatv2_score", pattern, q, k, att, edge, slope))
        agree(*both("gatv2_score_backward", pattern, g, q, k, att, edge, slope))


def test_the_bits_of_a_row_do_not_depend_on_the_batch_around_it():
    sparse, dense = Adjacency.from_edge_index(torch.tensor([[0, 2, 1], [1, 1, 3]]), 9), hub_pattern()
    batch = Adjacency.cat([sparse, dense])  # alone, a program takes eight rows of the one and two of the other
    x, y = draw(9, 2, 5, dtype=torch.float32), draw(7, 2, 5, dtype=torch.float32, seed=1)
    q, r = draw(9, 2, 5, dtype=torch.float32, seed=2), draw(6, 2, 5, dtype=torch.float32, seed=3)
    calls = {
        "spmm": lambda pattern, x, q: (triton_backend.spmm(pattern, x, None, False, True),),
        "max": lambda pattern, x, q: triton_backend.multi_aggregate(pattern, x.flatten(1), "max,mean", 0.0)[:2],
        "attention": lambda pattern, x, q: triton_backend.graph_attention(pattern, q, x, x, None, 1.0, 0.0, None)[:2],
    }
    for call in calls.values():
        parts = zip(call(sparse, x, q), call(dense, y, r), strict=True)
        for whole, alone in zip(call(batch, torch.cat([x, y]), torch.cat([q, r])), parts, strict=True):
            assert whole.equal(torch.cat(alone))


def test_segments_cover_each_hub_once_in_order():
    hubs = triton_launch.rows_of(hub_pattern(), False).hubs
    assert 2 in hubs.owner.tolist()
    runs = torch.cat([torch.arange(a, b) for a, b in zip(hubs.segments.begin, hubs.segments.end, strict=True)])
    whole = hub_pattern().rowptr
    assert runs.tolist() == [e for i in hubs.owner.tolist() for e in range(int(whole[i]), int(whole[i + 1]))]
    assert int((hubs.segments.end - hubs.segments.begin).max()) <= SPLIT
    more = triton_launch.split_rows(triton_launch.rows_of(hub_pattern(), False), hubs.owner, limit=40).segments
    assert len(more) == 40
    assert int((more.end - more.begin).sum()) == len(runs)  # what is left over is empty


# --- shapes, strides, special numbers -------------------------------------------------------------------------------


def test_more_columns_than_a_tile_holds_are_summed():
    pattern, wide = hub_pattern(), draw(7, 130, dtype=torch.float32)
    agree(*both("spmm", pattern, wide[:, :10], draw(30, dtype=torch.float32), False, False))
    agree(*both("sddmm", pattern, draw(6, 130, dtype=torch.float32, seed=1), wide))
    agree(*both("sddmm", pattern, draw(6, 130, 1, dtype=torch.float32, seed=1), wide.unsqueeze(2)))
    q, k, att = (
        draw(6, 1, 130, dtype=torch.float32, seed=1),
        wide.unsqueeze(1),
        draw(1, 130, dtype=torch.float32, seed=2),
    )
    agree(*both("gatv2_score", pattern, q, k, att, None, 0.25))


def strided(x, how):
    if how == "transposed":
        return x.movedim(0, -1).contiguous().movedim(-1, 0)
    return torch.stack([x, x], -1).flatten(-2)[..., ::2] if how == "sliced" else x[:1].expand(x.shape)


def test_strides_change_nothing():
    pattern, layouts = hub_pattern(), itertools.cycle(["transposed", "sliced", "transposed", "expanded"])

    def view(*shape, seed=0):
        return strided(draw(*shape, dtype=torch.float32, seed=seed), next(layouts))

    x, flat, weight = view(7, 2, 5), view(7, 5), view(30, 2, seed=1)
    q, v, g = view(6, 2, 5, seed=2), view(7, 2, 3, seed=3), view(6, 2, 3, seed=4)
    agree(*both("spmm", pattern, x, weight, False, False))
    agree(*both("spmm_typed", pattern, flat, view(3, 5), torch.arange(60)[::2] % 3, False))
    agree(*both("edge_sum", pattern, weight, True))
    agree(*both("sddmm", pattern, q, x))
    agree(*both("segment_softmax", pattern, weight))
    found, wanted = both("multi_aggregate", pattern, flat, "mean,max,min,std", 1e-6)
    agree(found, wanted)
    slots = (*wanted[:1], *wanted[3:])
    up = strided(draw(6, 5, dtype=torch.float32, seed=5), "transposed")
    agree(*both("multi_aggregate_backward", pattern, up, up, up, up, flat, *slots, 1e-6))
    agree(*both("gatv2_score_backward", pattern, weight, q, x, view(2, 5), view(30, 2, 5), 0.25))
    found, wanted = both("graph_attention", pattern, q, x, v, weight, 1.0, 0.0, None)
    agree(found[:2], wanted[:2])
    agree(*both("graph_attention_backward", pattern, g, q, x, v, weight, *wanted, 1.0, 0.0, None))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # numpy at 0 * inf
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_number_that_is_not_finite_reaches_the_rows_that_read_it_and_no_other(value):
    pattern, x = hub_pattern(), draw(7, 3, dtype=torch.float32)
    x[0, 1] = x[4, 2] = value
    agree(*both("spmm", pattern, x, torch.zeros(30), False, False))  # 0 * inf is nan
    agree(*both("multi_aggregate", pattern, x, "mean,max,min", 1e-6))


@pytest.mark.parametrize(("num_dst", "num_src"), [(0, 0), (3, 2), (0, 2), (3, 0)])
def test_without_edges_everything_is_zero(num_dst, num_src):
    pattern = Adjacency.from_edge_index(torch.empty(2, 0, dtype=torch.int64), (num_dst, num_src))
    q, k, edge = torch.ones(num_dst, 2, 3), torch.ones(num_src, 2, 3), torch.ones(0, 2)
    kinds, att = edge[:, 0].long(), torch.ones(2, 3)
    results = [
        triton_backend.spmm(pattern, k, edge, False, True),
        triton_backend.spmm(pattern, q, edge, True, True),
        triton_backend.edge_sum(pattern, edge, True),
        triton_backend.typed_outer(pattern, q.flatten(1), k.flatten(1), kinds, 2),
        *triton_backend.multi_aggregate(pattern, k.flatten(1), "mean,max,min,std", 1e-6)[:4],
        *triton_backend.graph_attention(pattern, q, k, k, edge, 1.0, 0.0, None),
        *triton_backend.graph_attention_backward(pattern, q, q, k, k, edge, q, q[..., 0], q, 1.0, 0.0, None),
        *triton_backend.gatv2_score_backward(pattern, edge, q, k, att, None, 0.2)[:3],
        triton_backend.segment_softmax(pattern, edge),
        triton_backend.sddmm(pattern, q, k),
    ]
    assert [int(each.count_nonzero()) for each in results] == [0] * len(results)
    assert not triton_backend.spmm(pattern, k.flatten(1), None, False, False).any()


# --- dropout --------------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_same_edges_forward_and_backward():
    pattern, heads, dropout, seed = Adjacency.from_ptr(torch.tensor([0, 3, 3, 12])), 2, 0.4, torch.tensor([11])
    q, k = draw(3, heads, 4, dtype=torch.float32), draw(12, heads, 4, dtype=torch.float32, seed=1)
    v = torch.eye(12).unsqueeze(1).repeat(1, heads, 1)  # o[i, h, e] is then the weight of edge e
    o, lse, _ = triton_backend.graph_attention(pattern, q, k, v, None, 1.0, dropout, seed)
    plain, _, _ = triton_backend.graph_attention(pattern, q, k, v, None, 1.0, 0.0, None)
    keep = dropout_mask(seed, 12, heads, dropout)
    assert 0 < int(keep.sum()) < keep.numel()
    assert_close(o, plain * keep.T / (1 - dropout))
    g = draw(3, heads, 12, dtype=torch.float32, seed=2)
    _, _, gv, _ = triton_backend.graph_attention_backward(
        pattern, g, q, k, v, None, o, lse, lse.new_empty(0), 1.0, dropout, seed
    )
    assert_close(gv, torch.einsum("ihe,ihd->ehd", o, g))


# --- the module, and the compiler -----------------------------------------------------------------------------------


def test_tensors_off_the_gpu_are_refused_in_one_sentence(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(ConfigError, match="tensors on cpu, expected a GPU"):
        triton_backend.spmm(hub_pattern(), draw(7, 5, dtype=torch.float32), None, False, False)


def test_without_triton_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "graftable.graphs.ops.triton_backend")
    with pytest.raises(MissingExtraError, match=r"graftable\[triton\]"):
        importlib.import_module("graftable.graphs.ops.triton_backend")


def test_every_kernel_compiles_for_a_gpu(tmp_path):
    # The interpreter takes programs that the compiler refuses. No GPU takes part: the binary is not loaded.
    script = Path(__file__).with_name("compile_triton.py")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    sources = Path(triton_launch.__file__).parent.glob("triton_*.py")
    kernels = {name for path in sources for name in re.findall(r"^def (\w+_kernel)\(", path.read_text(), re.MULTILINE)}
    assert set(done.stdout.split()) == kernels
