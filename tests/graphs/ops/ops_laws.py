"""What the laws of the operators share: drawn patterns, every public operator with its dense formula, and `law`.

A law is a test of one case, a pattern with a type of number. `law` runs it on every backend, with both widths of
index, in each type. The dense formulas are products with the incidence matrices of the edges, in float64, so that
autograd gives their gradients; they share nothing with the reference backend.
"""

import inspect
import os
import zlib
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from torch.nn.functional import leaky_relu

from graftable.graphs import ops
from graftable.graphs.ops import Adjacency, use_backend

EPS = 1e-6  # under the root of std
HUB = 40
MANY = int(os.environ.get("GRAFTABLE_MANY_EXAMPLES", "1"))  # times as many cases, where time is no matter


@contextmanager
def index_of(dtype):
    """Have patterns made in the block hold indices of this type, however small they are."""
    with patch("graftable.graphs.ops.adjacency.index_dtype", lambda *sizes: dtype):
        yield


@contextmanager
def using(backend):
    """A backend; `plain` is that of torch without kernels of C++ and without torch's private names."""
    with ExitStack() as stack:
        stack.enter_context(use_backend("torch" if backend == "plain" else backend))
        if backend == "plain":
            stack.enter_context(patch("graftable.graphs.ops.native.supports", lambda *inputs: False))
            stack.enter_context(patch("graftable.graphs.ops.torch_primitives.PRIVATE", False))
        yield


@dataclass(frozen=True)
class Case:
    """A list of edges, from which a pattern and values for it are made; the same seed, the same values."""

    edges: tuple[tuple[int, int], ...]  # (source, destination)
    num_dst: int
    num_src: int
    seed: int = 0
    dtype: torch.dtype = torch.float32
    index: torch.dtype = torch.int32

    @property
    def edge_index(self):
        return torch.tensor(self.edges, dtype=torch.int64).reshape(-1, 2).T

    @property
    def adjacency(self):
        with index_of(self.index):
            return Adjacency.from_edge_index(self.edge_index, (self.num_dst, self.num_src))

    def values(self, *shape, salt=0):
        generator = torch.Generator().manual_seed(1000 * self.seed + salt)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.dtype)

    def inputs(self, op):
        """One random tensor for each input of an operator."""
        return [self.values(*self.shape(*each), salt=salt) for salt, each in enumerate(op.inputs, 1)]

    def shape(self, side, *width):
        sizes = {"source": self.num_src, "destination": self.num_dst, "edge": len(self.edges)}
        return (sizes[side], *width) if side in sizes else width


@st.composite
def cases(draw, smallest=1):
    """Patterns with empty rows, self loops and multi-edges; some with a hub, some rectangular."""
    num_dst = draw(st.integers(smallest, 7))
    num_src = draw(st.integers(smallest, 7)) if draw(st.booleans()) else num_dst
    pairs = st.tuples(st.integers(0, num_src - 1), st.integers(0, num_dst - 1))
    edges = draw(st.lists(pairs, max_size=24)) if num_dst and num_src else []
    if edges and draw(st.booleans()):
        edges += [(source % num_src, edges[0][1]) for source in range(HUB)]
    return Case(tuple(edges), num_dst, num_src, draw(st.integers(0, 99)))


SMALL = (  # for the interpreter, where a program takes milliseconds: empty rows, a loop, multi-edges, a longer row
    Case(((0, 1), (2, 1), (2, 1), (1, 1), (3, 0), (0, 1), (3, 3)), 4, 5, seed=3),
)
F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16


def law(*, half=False, triton=True, whole=False, examples=5):
    """Run a test of `case` (and of its other arguments) on every backend, type of number and width of index.

    Every type goes with one width, int64 with float64. For a law that is `whole` the fast backend meets all pairs, and
    the others all types, which for the rest meet one besides bfloat16. In Triton's interpreter, which is slow, the
    cases are those of SMALL.
    """

    def decorate(check):
        grid = [
            pytest.param(backend, dtype, index, id=f"{backend}-{str(dtype)[6:]}-{str(index)[6:]}")
            for backend in ("reference", "torch", "plain", "triton")
            for dtype in (F32, F64, BF16)
            for index in (torch.int32, torch.int64)
            if (dtype != BF16 or (half and index == torch.int32))
            and (backend != "triton" or triton)
            and ((whole and backend == "torch") or (index == torch.int64) == (dtype == F64))
            and (whole or backend == "torch" or dtype in (BF16, F64 if backend == "reference" else F32))
        ]

        @pytest.mark.parametrize(("backend", "dtype", "index"), grid)
        def test(backend, dtype, index, **others):
            def run(case):
                case = Case(case.edges, case.num_dst, case.num_src, case.seed, dtype, index)
                with using(backend):
                    check(case, **others)

            if backend == "triton":
                for case in SMALL:
                    run(case)
            else:
                place = "-".join(map(str, (check.__name__, backend, dtype, index, *others.values())))
                chosen = settings(max_examples=MANY * examples, database=None)
                seed(zlib.crc32(place.encode()))(
                    chosen(given(case=cases())(run))
                )()  # other cases for each, always the same

        own = [p for name, p in inspect.signature(check).parameters.items() if name != "case"]
        fixed = [p for p in inspect.signature(test).parameters.values() if p.kind is not p.VAR_KEYWORD]
        test.__signature__ = inspect.Signature([*fixed, *(p.replace(kind=p.POSITIONAL_OR_KEYWORD) for p in own)])
        test.__name__, test.__doc__ = check.__name__, check.__doc__
        test.pytestmark = [*getattr(check, "pytestmark", []), *test.pytestmark]
        return test

    return decorate


# --- dense formulas -------------------------------------------------------------------------------------------------


class Dense:
    """The incidence matrices of a pattern's slots, in float64: `into` [num_dst, E], `out` [E, num_src]."""

    def __init__(self, adjacency):
        row, col = adjacency.row.long(), adjacency.col.long()
        self.into = torch.eye(adjacency.num_dst, dtype=F64)[:, row]
        self.out = torch.eye(adjacency.num_src, dtype=F64)[col]
        self.row, self.degree = row, self.into.sum(1)
        self.types = edge_types(adjacency)

    def source(self, x):
        return torch.tensordot(self.out, x, 1)

    def destination(self, x):
        return torch.tensordot(self.into.T, x, 1)

    def sum(self, messages):
        return torch.tensordot(self.into, messages, 1)

    def mean(self, messages):
        return self.sum(messages) / self.degree.clamp(min=1).reshape(-1, *(1,) * (messages.dim() - 1))

    def max(self, messages):
        if not len(messages):
            return self.sum(messages)
        seen = self.into.bool().reshape(*self.into.shape, *(1,) * (messages.dim() - 1))
        shown = messages.masked_fill(~seen, -torch.inf).amax(1)
        return shown.masked_fill((self.degree == 0).reshape(-1, *(1,) * (messages.dim() - 1)), 0)

    def min(self, messages):
        return -self.max(-messages)

    def std(self, messages):
        shift = messages - self.destination(self.mean(messages).detach())  # where its gradient is, it cancels
        variance = self.mean(shift**2) - self.mean(shift) ** 2
        single = (self.degree <= 1).reshape(-1, *(1,) * (messages.dim() - 1))
        return variance.clamp(min=EPS).sqrt().masked_fill(single, 0)

    def softmax(self, scores):
        weights = (scores - self.destination(self.max(scores).detach().clamp(min=-1e300))).exp()
        total = self.destination(self.sum(weights))
        return weights / total.masked_fill(total == 0, 1)

    def attention(self, q, k, v, bias, scale=None):
        scale = q.shape[2] ** -0.5 if scale is None else scale
        p = self.softmax(scale * (self.destination(q) * self.source(k)).sum(-1) + bias)
        return self.sum(p.unsqueeze(-1) * self.source(v))


def edge_types(adjacency):
    """A type for each slot, three in all, that depends on its two ends alone."""
    return (adjacency.row.long() + 2 * adjacency.col.long()) % 3


@dataclass(frozen=True)
class Op:
    """A public operator: what it takes, what it gives, and its dense formula."""

    call: Callable
    dense: Callable
    inputs: tuple[tuple, ...]  # of each, the side and the shape of one row; "shared" has no rows
    output: str
    kind: str = "sum"  # a sum of products, an "exact" choice, or a "smooth" function


SOURCE, VECTOR, HEADS = "source", (3,), (2, 3)


def _spmm(reduce):
    return lambda adjacency, *inputs: ops.spmm(adjacency, *inputs, reduce=reduce)


def _reduced(name):
    return lambda dense, x: getattr(dense, name)(dense.source(x))


OPS = {
    "sum": Op(_spmm("sum"), _reduced("sum"), ((SOURCE, *VECTOR),), "destination"),
    "weighted_sum": Op(
        _spmm("sum"),
        lambda dense, x, w: dense.sum(w.unsqueeze(-1) * dense.source(x)),
        ((SOURCE, *VECTOR), ("edge",)),
        "destination",
    ),
    "sum_by_head": Op(
        _spmm("sum"),
        lambda dense, x, w: dense.sum(w.unsqueeze(-1) * dense.source(x)),
        ((SOURCE, *HEADS), ("edge", 2)),
        "destination",
    ),
    "mean": Op(_spmm("mean"), _reduced("mean"), ((SOURCE, *VECTOR),), "destination"),
    "weighted_mean": Op(
        _spmm("mean"),
        lambda dense, x, w: dense.mean(w.reshape(-1, 1, 1) * dense.source(x)),
        ((SOURCE, *HEADS), ("edge",)),
        "destination",
    ),
    "mean_by_head": Op(
        _spmm("mean"),
        lambda dense, x, w: dense.mean(w.unsqueeze(-1) * dense.source(x)),
        ((SOURCE, *HEADS), ("edge", 2)),
        "destination",
    ),
    "max": Op(_spmm("max"), _reduced("max"), ((SOURCE, *VECTOR),), "destination", "exact"),
    "min": Op(_spmm("min"), _reduced("min"), ((SOURCE, *HEADS),), "destination", "exact"),
    "std": Op(_spmm("std"), _reduced("std"), ((SOURCE, *VECTOR),), "destination", "smooth"),
    "multi_aggregate": Op(
        lambda adjacency, x: torch.cat(ops.multi_aggregate(adjacency, x, ("std", "max", "sum", "mean", "min")), -1),
        lambda dense, x: torch.cat(
            [getattr(dense, name)(dense.source(x)) for name in ("std", "max", "sum", "mean", "min")], -1
        ),
        ((SOURCE, *VECTOR),),
        "destination",
        "smooth",
    ),
    "spmm_edge": Op(
        ops.spmm_edge,
        lambda dense, x, u: dense.sum(u * dense.source(x)),
        ((SOURCE, *VECTOR), ("edge", *VECTOR)),
        "destination",
    ),
    "spmm_edge_typed": Op(
        lambda adjacency, x, table: ops.spmm_edge(adjacency, x, table, edge_types(adjacency)),
        lambda dense, x, table: dense.sum(torch.eye(3, dtype=F64)[dense.types] @ table * dense.source(x)),
        ((SOURCE, *VECTOR), ("shared", 3, *VECTOR)),
        "destination",
    ),
    "gin_sum": Op(
        lambda adjacency, x, u: ops.gin_sum(adjacency, x, None, u),
        lambda dense, x, u: dense.sum((dense.source(x) + u).relu()),
        ((SOURCE, *VECTOR), ("edge", *VECTOR)),
        "destination",
        "smooth",
    ),
    "gin_sum_typed": Op(
        lambda adjacency, x, table: ops.gin_sum(adjacency, x, None, table, edge_types(adjacency)),
        lambda dense, x, table: dense.sum((dense.source(x) + torch.eye(3, dtype=F64)[dense.types] @ table).relu()),
        ((SOURCE, *VECTOR), ("shared", 3, *VECTOR)),
        "destination",
        "smooth",
    ),
    "sddmm": Op(
        ops.sddmm,
        lambda dense, a, b: (dense.destination(a) * dense.source(b)).sum(-1),
        (("destination", *VECTOR), (SOURCE, *VECTOR)),
        "edge",
    ),
    "sddmm_by_head": Op(
        ops.sddmm,
        lambda dense, a, b: (dense.destination(a) * dense.source(b)).sum(-1),
        (("destination", *HEADS), (SOURCE, *HEADS)),
        "edge",
    ),
    "edge_add": Op(
        ops.edge_add,
        lambda dense, a, c: leaky_relu(dense.destination(a) + dense.source(c), 0.2),
        (("destination", 2), (SOURCE, 2)),
        "edge",
        "smooth",
    ),
    "edge_gather": Op(ops.edge_gather, lambda dense, x: dense.source(x), ((SOURCE, *HEADS),), "edge"),
    "edge_gather_destination": Op(
        lambda adjacency, x: ops.edge_gather(adjacency, x, "destination"),
        lambda dense, x: dense.destination(x),
        (("destination", *VECTOR),),
        "edge",
    ),
    "edge_sum": Op(ops.edge_sum, lambda dense, s: dense.sum(s), (("edge",),), "destination"),
    "edge_sum_source": Op(
        lambda adjacency, s: ops.edge_sum(adjacency, s, "source"),
        lambda dense, s: torch.tensordot(dense.out.T, s, 1),
        (("edge", *HEADS),),
        "source",
    ),
    "gatv2_score": Op(
        ops.gatv2_score,
        lambda dense, q, k, att, u: (att * leaky_relu(dense.destination(q) + dense.source(k) + u, 0.2)).sum(-1),
        (("destination", *HEADS), (SOURCE, *HEADS), ("shared", *HEADS), ("edge", *HEADS)),
        "edge",
        "smooth",
    ),
    "segment_softmax": Op(ops.segment_softmax, lambda dense, s: dense.softmax(s), (("edge", 2),), "edge", "smooth"),
    "graph_attention": Op(
        ops.graph_attention,
        lambda dense, q, k, v, bias: dense.attention(q, k, v, bias),
        (("destination", *HEADS), (SOURCE, *HEADS), (SOURCE, 2, 4), ("edge", 2)),
        "destination",
        "smooth",
    ),
}
TYPED = {  # those above whose types follow from the names of nodes, to be called with types of one's own
    "spmm_edge_typed": ops.spmm_edge,
    "gin_sum_typed": lambda adjacency, x, table, types: ops.gin_sum(adjacency, x, None, table, types),
}
every_op = pytest.mark.parametrize("name", OPS)


def gradients(call, inputs, g):
    """The result of a call, and the gradient of <result, g> for each input."""
    leaves = [each.detach().clone().requires_grad_() for each in inputs]
    result = call(*leaves)
    found = torch.autograd.grad(result, leaves, g, allow_unused=True, materialize_grads=True)
    return result.detach(), found


def close_spread(found, wanted, factor=1.0):
    """Equal in their squares: near 0, the root of a variance shows half of its digits."""
    close(found.square(), wanted.square(), factor)


def close(found, wanted, factor=1.0):
    """Equal to 1e-5 of the size of the numbers in float32; for other types, as much in their last places."""
    tolerance = factor * {F32: 1e-5, F64: 1e-12, BF16: 3e-2}[found.dtype]
    torch.testing.assert_close(found.double(), wanted.double(), rtol=tolerance, atol=tolerance, equal_nan=True)
