"""The compiled kernels answer as the reference does, whatever the threads; how they come to be fails softly."""

import itertools
import logging
import os
import subprocess
import sys

import pytest
import torch

from graftable.graphs.ops import native, native_build, native_library, native_order, reference
from graftable.graphs.ops.adjacency import Adjacency

EPS = 1e-6
WIDTHS = (1, 3, 4, 7, 16, 17, 33, 100)  # every kind of tile, whole and overlapping
TYPES = [(torch.float32, torch.int32), (torch.float64, torch.int32), (torch.float32, torch.int64)]
TOLERANCES = {torch.float32: 2e-4, torch.float64: 1e-9}
KINDS = ["max", "min", "mean", "std", "mean,max,std", "max,min", "mean,max,min,std"]
compiled = pytest.mark.skipif(not native_library.available(), reason="no C++ compiler here")


def graph(num_dst=40, num_src=30, num_edges=300, index=torch.int32, seed=0):
    """A third of the edges enter one hub, none enters node 0, and some are equal."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randint(0, num_src, (num_edges,), generator=generator)
    destination = torch.randint(1, num_dst, (num_edges,), generator=generator)
    destination[: num_edges // 3] = 1
    adjacency = Adjacency.from_edge_index(torch.stack([source, destination]), (num_dst, num_src))
    return Adjacency(*(part.to(index) for part in adjacency.pattern), adjacency.edge_id.to(index))


def numbers(*shape, dtype=torch.float32, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def assert_same(actual, expected, tolerance):
    pairs = zip(*((each if isinstance(each, tuple) else (each,)) for each in (actual, expected)), strict=True)
    for one, other in pairs:
        if other is None:
            assert one is None
        else:
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def gradients(kinds, shape, dtype=torch.float32):
    asked = kinds.split(",")
    return [
        numbers(*shape, dtype=dtype, seed=seed) if kind in asked else None
        for seed, kind in enumerate(("mean", "max", "min", "std"))
    ]


def backward(module, adjacency, given, x, outputs):
    mean, _, _, std, argmax, argmin, center = outputs
    return module.multi_aggregate_backward(adjacency, *given, x, mean, std, argmax, argmin, center, EPS)


@compiled
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize(("dtype", "index"), TYPES)
def test_statistics_and_their_gradient_equal_the_reference(kinds, dtype, index):
    for width, edges in itertools.product(WIDTHS, (0, 300)):
        adjacency, x = graph(num_edges=edges, index=index), numbers(30, width, dtype=dtype)
        x[3] = x[4] = 1.0  # ties
        outputs, expected = (module.multi_aggregate(adjacency, x, kinds, EPS) for module in (native, reference))
        assert_same(outputs, expected, TOLERANCES[dtype])
        for extreme in (1, 2, 4, 5):  # values and slots
            assert torch.equal(outputs[extreme], expected[extreme])
        given = gradients(kinds, (40, width), dtype)
        assert_same(
            *(backward(module, adjacency, given, x, outputs) for module in (native, reference)), TOLERANCES[dtype]
        )


@compiled
@pytest.mark.parametrize(("dtype", "index"), TYPES)
def test_sums_equal_the_reference(dtype, index):
    adjacency, tolerance = graph(index=index), TOLERANCES[dtype]
    for width, transposed, mean in itertools.product(WIDTHS, (False, True), (False, True)):
        rows = 40 if transposed else 30
        for x, weight in (
            (numbers(rows, width, dtype=dtype), None),
            (numbers(rows, width, dtype=dtype), numbers(300, dtype=dtype)),
            (numbers(rows, width, 1, dtype=dtype), numbers(300, width, dtype=dtype)),
            (numbers(rows, 3, width, dtype=dtype), numbers(300, 3, dtype=dtype)),
        ):
            given = (adjacency, x, weight, transposed, mean)
            assert_same(native.spmm(*given), reference.spmm(*given), tolerance)
        values = (adjacency, numbers(300, 2, width, dtype=dtype), transposed)
        assert_same(native.edge_sum(*values), reference.edge_sum(*values), tolerance)


@compiled
@pytest.mark.parametrize(("dtype", "index"), TYPES)
def test_rows_are_taken_as_by_torch_short_or_long_in_cache_or_beyond(dtype, index):
    for width, count in ((None, 9), (0, 9), *((width, 5000) for width in (1, 2, 4, 8, 16, 17, 64, 100)), (64, 300_000)):
        x = numbers(40, dtype=dtype) if width is None else numbers(40, width, dtype=dtype)
        order = torch.randint(40, (count,), generator=torch.Generator().manual_seed(2)).to(index)
        assert torch.equal(native_order.take_rows(x, order), x.index_select(0, order))
    wide = numbers(40, 2, 8, dtype=dtype)
    assert torch.equal(native_order.take_rows(wide[:, :, ::2], order), wide[:, :, ::2].index_select(0, order))


@compiled
@pytest.mark.parametrize(("dtype", "index"), TYPES)
def test_sums_by_type_equal_the_reference(dtype, index):
    adjacency, edge_type = graph(index=index), torch.arange(300) % 5
    for width in WIDTHS:
        a, b, table = (numbers(rows, width, dtype=dtype) for rows in (40, 30, 5))
        for x, transposed in ((b, False), (a, True)):
            given = (adjacency, x, table, edge_type, transposed)
            assert_same(native.spmm_typed(*given), reference.spmm_typed(*given), TOLERANCES[dtype])
        given = (adjacency, a, b, edge_type, 5)
        assert_same(native.typed_outer(*given), reference.typed_outer(*given), TOLERANCES[dtype])


@compiled
@pytest.mark.parametrize(("dtype", "index"), TYPES)
def test_sums_of_isomorphism_layers_and_their_gradients_equal_those_written_out(dtype, index):
    for width, edges, kind in itertools.product(WIDTHS, (0, 300), ("none", "vectors", "table")):
        adjacency = graph(40, 40, edges, index=index)
        x, g, epsilon = (
            numbers(40, width, dtype=dtype),
            numbers(40, width, dtype=dtype, seed=2),
            numbers(1, dtype=dtype),
        )
        types = None if kind != "table" else (torch.arange(edges) % 5).to(index)
        u = None if kind == "none" else numbers(edges if types is None else 5, width, dtype=dtype, seed=3)
        leaves = [each.double().requires_grad_() for each in (x, epsilon, u) if each is not None]
        messages = leaves[0][adjacency.col.long()]
        if u is not None:
            messages = (messages + (leaves[2] if types is None else leaves[2][types.long()])).relu()
        wanted = ((1 + leaves[1]) * leaves[0]).index_add(0, adjacency.row.long(), messages)
        found = native.gin_sum(adjacency, x, epsilon, u, types)
        assert_same(found.double(), wanted.detach(), TOLERANCES[dtype])
        gx, gepsilon, gu = native.gin_sum_backward(adjacency, g, x, epsilon, u, types)
        gradients = torch.autograd.grad(wanted, leaves, g.double())
        found = tuple(each.double() for each in (gx, gepsilon, gu) if each is not None)
        assert_same(found, gradients, TOLERANCES[dtype] * 5)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
def test_rows_are_told_apart_by_their_bits_and_too_many_kinds_are_given_up(dtype):
    draw = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 3, (500, 4), generator=draw).to(dtype)
    first, kind = native_order.distinct_rows(rows, 128)
    assert torch.equal(rows[first][kind], rows)
    assert len(first) == len(torch.unique(rows, dim=0))
    assert torch.equal(first, first.sort().values)
    assert native_order.distinct_rows(rows, len(first)) is not None
    assert native_order.distinct_rows(rows, len(first) - 1) is None
    assert native_order.distinct_rows(rows[:0], 4)[1].shape == (0,)


@compiled
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize(("dtype", "index"), TYPES)
def test_scores_and_attention_equal_the_reference(dtype, index, heads):
    adjacency, tolerance, seed = graph(index=index), TOLERANCES[dtype], torch.tensor([7])
    for width, with_edges in itertools.product(WIDTHS, (False, True)):
        q, k, v = (numbers(rows, heads, width, dtype=dtype, seed=rows) for rows in (40, 30, 30))
        edge = numbers(300, heads, width, dtype=dtype) if with_edges else None
        bias = numbers(300, heads, dtype=dtype) if with_edges else None
        g, scoring = numbers(300, heads, dtype=dtype), (q, k, numbers(heads, width, dtype=dtype), edge, 0.2)
        dropout = (0.3, 0.25, seed) if with_edges else (0.3, 0.0, None)
        for name, inputs in (("sddmm", (q, k)), ("gatv2_score", scoring), ("gatv2_score_backward", (g, *scoring))):
            answers = [getattr(module, name)(adjacency, *inputs) for module in (native, reference)]
            assert_same(*answers, tolerance)
        answers = [module.graph_attention(adjacency, q, k, v, bias, *dropout) for module in (native, reference)]
        assert_same(*answers, tolerance)
        given = (adjacency, numbers(40, heads, width, dtype=dtype), q, k, v, bias, *answers[1], *dropout)
        assert_same(*(module.graph_attention_backward(*given) for module in (native, reference)), tolerance)


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_softmax_equals_the_reference_at_all_magnitudes(dtype):
    adjacency = graph()
    for size in (1e-3, 1.0, 30.0, 1e4):
        scores = size * numbers(300, 3, dtype=dtype)
        scores[::7] = -torch.inf
        scores[adjacency.row == 5] = -torch.inf
        assert_same(*(module.segment_softmax(adjacency, scores) for module in (native, reference)), 1e-6)


@compiled
@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_nan_of_a_row_wins_and_infinities_keep_their_order(sign):
    kind = "max" if sign > 0 else "min"
    column = torch.tensor([-torch.inf, 3.0, torch.nan, torch.inf, torch.nan, 3.0])
    for slots, winner in (([0, 0], 0), ([0, 1, 5], 1), ([1, 5, 1], 0), ([1, 3, 2, 4], 2), ([2, 3], 0), ([3, 1, 3], 0)):
        adjacency = Adjacency.from_ptr(torch.tensor([0, len(slots)]), torch.tensor(slots), 6)
        for width in (1, 4, 16, 64):
            x = (sign * column)[:, None].expand(6, width).contiguous()
            outputs = native.multi_aggregate(adjacency, x, kind, EPS)
            value, arg = outputs[1 if sign > 0 else 2], outputs[4 if sign > 0 else 5]
            assert (arg == winner).all()
            torch.testing.assert_close(value, x[slots[winner]][None], rtol=0, atol=0, equal_nan=True)


@compiled
def test_an_infinite_feature_reaches_only_the_nodes_that_see_it():
    adjacency = Adjacency.from_ptr(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 2, 3]), 4)
    x = torch.tensor([[1.0], [2.0], [torch.inf], [5.0]])
    outputs = native.multi_aggregate(adjacency, x, "mean,std", EPS)
    assert outputs[3][0] == 0.5
    given = (torch.ones(2, 1), None, None, torch.ones(2, 1))
    assert backward(native, adjacency, given, x, outputs)[:2].isfinite().all()


@compiled
def test_spread_is_exact_far_from_zero():
    adjacency = graph(num_edges=2000)
    x = 1e4 + numbers(30, 20, dtype=torch.float64)
    close, exact = (module.multi_aggregate(adjacency, x.float(), "std", EPS)[3] for module in (native, reference))
    torch.testing.assert_close(close, exact, rtol=1e-5, atol=1e-6)


@compiled
def test_columns_of_a_wider_tensor_give_the_same():
    adjacency, wide = graph(), numbers(30, 50)
    part, turned = wide[:, 7:40], wide.t().contiguous().t()
    answers = [native.multi_aggregate(adjacency, x, "max,std", EPS) for x in (part, part.clone())]
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))
    sums = [native.spmm(adjacency, x, None, False, True) for x in (turned, wide)]
    assert torch.equal(*sums)


@compiled
def test_results_do_not_depend_on_the_number_of_threads():
    adjacency = graph(3000, 2500, 40_000)
    x, g = numbers(2500, 72), gradients("mean,max,min,std", (3000, 72))
    q, k, att = numbers(3000, 4, 18), numbers(2500, 4, 18), numbers(4, 18)
    scores, square, epsilon = numbers(40_000, 4), graph(3000, 3000, 40_000), numbers(1)
    table, types = numbers(5, 72), (torch.arange(40_000) % 5).int()

    def everything():
        outputs = native.multi_aggregate(adjacency, x, "mean,max,min,std", EPS)
        attention = native.graph_attention(adjacency, q, k, k, None, 0.2, 0.0, None)
        return [
            *outputs,
            backward(native, adjacency, g, x, outputs),
            backward(native, adjacency, [None, *g[1:2], None, None], x, outputs),
            *attention,
            *native.graph_attention_backward(adjacency, q, q, k, k, None, *attention, 0.2, 0.0, None)[:3],
            *native.gatv2_score_backward(adjacency, scores, q, k, att, None, 0.2)[:3],
            native.typed_outer(adjacency, numbers(3000, 72), x, torch.arange(40_000) % 3, 3),
            native.gin_sum(square, g[0], epsilon, table, types),
            *native.gin_sum_backward(square, g[1], g[0], epsilon, table, types),
        ]

    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            answers.append(everything())
    finally:
        torch.set_num_threads(before)
    for first, *others in zip(*answers, strict=True):
        assert all(torch.equal(first, other) for other in others)


@compiled
def test_one_openmp_runtime_is_loaded():
    """In a process of its own: others bring runtimes too, scikit-learn and DGL each."""
    code = """
import pathlib
from graftable.graphs.ops import native_build, native_library
assert native_library.available()
lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
maps = {line.split()[-1] for line in lines if "libgomp" in line or "libomp" in line}
assert {pathlib.Path(path).name for path in maps} == {pathlib.Path(native_build._openmp_runtime()).name}, maps
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@compiled
def test_half_precision_and_other_devices_are_left_to_torch():
    assert native.supports(torch.zeros(1))
    assert native.supports(torch.zeros(1, dtype=torch.float64), graph())
    assert not native.supports(torch.zeros(1, dtype=torch.bfloat16))
    assert not native.supports(torch.zeros(1, device="meta"))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """The builder as in a new process, with an empty cache folder; its compiler copies what was compiled before."""
    ready = native_build._cache_folder()
    monkeypatch.setattr(native_build, "_loaded", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def copy(folder, compiler, runtime, value, index):
        calls.append(value)
        name = f"kernels-{native_build._fingerprint(compiler, runtime, value, index)}.so"
        path = folder / "kernels.so"
        path.write_bytes((ready / name).read_bytes()[: -native_build.DIGEST])
        return path

    monkeypatch.setattr(native_build, "_compile", copy)
    return calls


@compiled
def test_a_library_is_compiled_once_and_a_damaged_one_again(fresh, tmp_path):
    assert native_build.load("float", "int32_t") is not None
    (path,) = (tmp_path / "graftable").iterdir()  # no temporary file stays
    for content in (None, b"", path.read_bytes()[:1000], path.read_bytes()[:-1] + b"?"):
        native_build._loaded.clear()
        before = len(fresh)
        if content is not None:
            path.unlink()  # not over the file that is loaded
            path.write_bytes(content)
        assert native_build.load("float", "int32_t") is not None
        assert len(fresh) == before + (content is not None)


@compiled
def test_a_cache_folder_that_cannot_be_written_is_no_hindrance(fresh, tmp_path):
    (tmp_path / "graftable").write_text("a file where the folder should be")
    assert native_build.load("float", "int32_t") is not None


def test_without_a_compiler_the_answer_is_no_and_is_remembered(fresh, monkeypatch, caplog):
    monkeypatch.setattr(native_build, "_compiler", lambda: None)
    with caplog.at_level(logging.INFO, logger=native_build.__name__):
        assert native_build.load("float", "int32_t") is None
        assert native_build.load("float", "int32_t") is None
    assert len(caplog.records) == 1
    assert "no C++ compiler" in caplog.text


def test_a_compiler_that_fails_is_asked_once_and_quoted(fresh, monkeypatch, tmp_path, caplog):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'catastrophe in line 1' >&2\n[ \"$1\" = --version ]\n")
    broken.chmod(0o755)
    monkeypatch.undo()
    monkeypatch.setattr(native_build, "_loaded", {})
    monkeypatch.setattr(native_build, "_compiler", lambda: str(broken))
    with caplog.at_level(logging.INFO, logger=native_build.__name__):
        assert native_build.load("float", "int32_t") is None
        assert native_build.load("float", "int32_t") is None
    assert len([record for record in caplog.records if "not used" in record.message]) == 1
    assert "catastrophe" in caplog.text
    assert all(record.levelno == logging.INFO for record in caplog.records)


def test_switched_off_the_operators_answer_through_torch():
    script = (
        "import torch\n"
        "from graftable.graphs.ops import Adjacency, multi_aggregate, native_library\n"
        "x = torch.tensor([[1.0], [4.0]], requires_grad=True)\n"
        "adjacency = Adjacency.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 1]), 2)\n"
        "largest, mean = multi_aggregate(adjacency, x, ('max', 'mean'))\n"
        "(largest + mean).sum().backward()\n"
        "print(native_library.available(), largest.item(), x.grad.flatten().tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "GRAFTABLE_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[0] == "False 4.0 [0.5, 1.5]"


@compiled
def test_two_processes_may_compile_at_once(tmp_path):
    """Both find their own whole library, and one file is left."""
    ready = native_build._cache_folder()
    script = (
        "import sys, pathlib\n"
        "from graftable.graphs.ops import native_build as build\n"
        "def copy(folder, *of):\n"
        "    library = folder / 'kernels.so'\n"
        "    name = f'kernels-{build._fingerprint(*of)}.so'\n"
        "    library.write_bytes((pathlib.Path(sys.argv[1]) / name).read_bytes()[:-build.DIGEST])\n"
        "    print('compiled', flush=True)\n"
        "    sys.stdin.readline()\n"  # until both are here
        "    return library\n"
        "build._compile = copy\n"
        "print(build.load('float', 'int32_t') is not None)\n"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    pair = [subprocess.Popen([sys.executable, "-c", script, str(ready)], **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in pair] == ["compiled\n"] * 2
    assert [process.communicate("go\n")[0] for process in pair] == ["True\n"] * 2
    assert len(list((tmp_path / "graftable").iterdir())) == 1
