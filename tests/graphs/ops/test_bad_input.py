"""Bad input is answered by one sentence, which names the argument, what was got and what was expected."""

import pytest
import torch

from graftable.errors import ConfigError, DataError, ShapeError
from graftable.graphs import ops
from graftable.graphs.ops import Adjacency, use_backend

PATTERN = Adjacency.from_edge_index(torch.tensor([[0, 1, 2, 4], [1, 1, 0, 2]]), (3, 5))  # 3 destinations, 5 sources
SOURCES, DESTINATIONS, EDGES = torch.ones(5, 2), torch.ones(3, 2), torch.ones(4)
BY_HEAD = {"q": torch.ones(3, 2, 4), "k": torch.ones(5, 2, 4), "v": torch.ones(5, 2, 6)}


pytestmark = pytest.mark.usefixtures("as_users_call")


def edges(*pairs, dtype=torch.long):
    return torch.tensor(pairs, dtype=dtype).reshape(-1, 2).T


def attention(**changes):
    return ops.graph_attention(PATTERN, **{**BY_HEAD, **changes})


def gatv2(**changes):
    return ops.gatv2_score(PATTERN, **{"q": BY_HEAD["q"], "k": BY_HEAD["k"], "att": torch.ones(2, 4), **changes})


CASES = [  # what is called, the error, and its sentence in part
    (
        lambda: Adjacency.from_edge_index(edges((0, 0), (0, 3)), 3),
        DataError,
        r"edge_index\[1, 1\] is 3; expected a destination among the 3 there are, 0 to 2\.",
    ),
    (
        lambda: Adjacency.from_edge_index(edges((0, 0), (5, 1)), (3, 5)),
        DataError,
        r"edge_index\[0, 1\] is 5; expected a source among the 5 there are, 0 to 4\.",
    ),
    (
        lambda: Adjacency.from_edge_index(edges((0, -1)), 3),
        DataError,
        r"edge_index\[1, 0\] is -1; expected a destination",
    ),
    (
        lambda: Adjacency.from_edge_index(edges((0, 0)), 0),
        DataError,
        r"edge_index\[0, 0\] is 0; expected a source among the 0 there are, none",
    ),
    (
        lambda: Adjacency.from_edge_index(edges((0, 0), dtype=torch.float32), 3),
        DataError,
        r"edge_index holds float32; expected integers, such as int64\.",
    ),
    (
        lambda: Adjacency.from_edge_index(edges((0, 0), dtype=torch.bool), 3),
        DataError,
        r"edge_index holds bool; expected integers",
    ),
    (
        lambda: Adjacency.from_edge_index(torch.zeros(3, 2, dtype=torch.long), 3),
        ShapeError,
        r"edge_index has shape \(3, 2\); expected \(2, number of edges\)",
    ),
    (
        lambda: Adjacency.from_edge_index(torch.zeros(2, dtype=torch.long), 3),
        ShapeError,
        r"edge_index has shape \(2,\)",
    ),
    (lambda: Adjacency.from_edge_index(edges((0, 0)), -3), DataError, r"num_nodes is -3; expected 0 or more\."),
    (lambda: Adjacency.from_edge_index(edges((0, 0)), (3, -1)), DataError, r"num_nodes is \(3, -1\)"),
    (
        lambda: Adjacency.from_edge_index(edges((0, 0)), (3, 2, 1)),
        DataError,
        r"num_nodes is \(3, 2, 1\); expected a number, or \(num_dst, num_src\)\.",
    ),
    (lambda: Adjacency.from_ptr(torch.tensor([0, 2, 1])), DataError, r"ptr must begin with 0 and never fall"),
    (
        lambda: Adjacency.from_ptr(torch.tensor([0, 2, 1], dtype=torch.uint8)),
        DataError,
        r"ptr must begin with 0 and never fall",
    ),
    (lambda: Adjacency.from_ptr(torch.tensor([1, 2])), DataError, r"ptr must begin with 0"),
    (
        lambda: Adjacency.from_ptr(torch.zeros(0, dtype=torch.long)),
        ShapeError,
        r"ptr has shape \(0,\); expected \(number of rows \+ 1,\)\.",
    ),
    (lambda: Adjacency.from_ptr(torch.tensor([0.0, 1.0])), DataError, r"ptr holds float32; expected integers"),
    (
        lambda: Adjacency.from_ptr(torch.tensor([0, 2]), torch.tensor([0])),
        ShapeError,
        r"col has shape \(1,\); ptr ends with 2, so expected \(2,\)\.",
    ),
    (
        lambda: Adjacency.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 7]), 3),
        DataError,
        r"col\[1\] is 7; expected a source among the 3 there are",
    ),
    (
        lambda: Adjacency.from_ptr(torch.tensor([0, 2]), num_src=1),
        DataError,
        r"num_src is 1, but ptr ends with 2 entries",
    ),
    (lambda: Adjacency.cat([]), DataError, r"cat was given no Adjacency"),
    (lambda: Adjacency.cat([PATTERN, PATTERN.to("meta")]), DataError, r"on cpu and meta; move them to one device\."),
    (lambda: Adjacency.from_pyg(object()), DataError, r"object has no edge_index"),
    (
        lambda: PATTERN.to_slots(torch.ones(3)),
        ShapeError,
        r"values has shape \(3,\); expected one row for each of 4 edges\.",
    ),
    (
        lambda: PATTERN.to_edges(torch.tensor(1.0)),
        ShapeError,
        r"values has shape \(\); expected one row for each of 4 edges\.",
    ),
    (
        lambda: PATTERN.to_slots(torch.ones(4, device="meta")),
        ShapeError,
        r"values lies on meta, the adjacency on cpu; move one with \.to\.",
    ),
    (
        lambda: ops.spmm(PATTERN, DESTINATIONS),
        ShapeError,
        r"x has shape \(3, 2\); expected one vector or one vector for each head for each of the 5 sources\.",
    ),
    (lambda: ops.spmm(PATTERN, torch.ones(5)), ShapeError, r"x has shape \(5,\); expected one vector"),
    (lambda: ops.spmm(PATTERN, SOURCES.int()), DataError, r"x holds int32; expected real floating-point numbers\."),
    (lambda: ops.spmm(PATTERN, SOURCES.to(torch.complex64)), DataError, r"x holds complex64; expected real"),
    (
        lambda: ops.spmm(PATTERN, SOURCES.to("meta")),
        ShapeError,
        r"x lies on meta, the adjacency on cpu; move one with \.to\.",
    ),
    (lambda: ops.spmm(PATTERN, SOURCES, EDGES.to("meta")), ShapeError, r"edge_weight lies on meta"),
    (
        lambda: ops.spmm(PATTERN, SOURCES, EDGES[:3]),
        ShapeError,
        r"edge_weight has shape \(3,\); expected \(4,\), one weight for each edge\.",
    ),
    (
        lambda: ops.spmm(PATTERN, SOURCES.unsqueeze(1), torch.ones(4, 3)),
        ShapeError,
        r"edge_weight has shape \(4, 3\); expected \(4, 1\), one weight for each edge and head\.",
    ),
    (
        lambda: ops.spmm(PATTERN, SOURCES, torch.ones(4, 2)),
        ShapeError,
        r"edge_weight has shape \(4, 2\); expected \(4,\)",
    ),
    (
        lambda: ops.spmm(PATTERN, SOURCES, EDGES.long()),
        DataError,
        r"edge_weight holds int64; expected real floating-point numbers\.",
    ),
    (
        lambda: ops.spmm(PATTERN, SOURCES, EDGES.double()),
        DataError,
        r"edge_weight holds float64, x float32; expected one type\.",
    ),
    (
        lambda: ops.spmm(PATTERN, SOURCES, reduce="median"),
        ConfigError,
        r"reduce is 'median'; expected one of sum, mean, max, min, std\.",
    ),
    (lambda: ops.spmm(PATTERN, SOURCES, EDGES, "max"), ConfigError, r"edge_weight was given with reduce='max'"),
    (
        lambda: ops.multi_aggregate(PATTERN, SOURCES, ("mean", "most")),
        ConfigError,
        r"reduces is \('mean', 'most'\); expected one or more of",
    ),
    (lambda: ops.multi_aggregate(PATTERN, SOURCES, ()), ConfigError, r"reduces is \(\)"),
    (
        lambda: ops.multi_aggregate(PATTERN, SOURCES, "mean"),
        ConfigError,
        r"reduces is 'mean'; expected one or more of .*, as a list or tuple\.",
    ),
    (lambda: ops.multi_aggregate(PATTERN, DESTINATIONS), ShapeError, r"x has shape \(3, 2\)"),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(4, 3)),
        ShapeError,
        r"edge_features has shape \(4, 3\); expected \(4, 2\)",
    ),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(3, 2), torch.tensor([0, 1, 2, 3])),
        DataError,
        r"edge_type holds 3; expected a row of the table of 3, 0 to 2\.",
    ),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(3, 2), torch.tensor([0, 1, 2, -1])),
        DataError,
        r"edge_type holds -1",
    ),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(0, 2), torch.zeros(4, dtype=torch.long)),
        DataError,
        r"edge_type holds 0; expected a row of the table of 0, which has none\.",
    ),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(3, 2), EDGES),
        DataError,
        r"edge_type holds float32; expected integers\.",
    ),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(3, 2), torch.zeros(3, dtype=torch.long)),
        ShapeError,
        r"edge_type has shape \(3,\); expected \(4,\)",
    ),
    (
        lambda: ops.spmm_edge(PATTERN, SOURCES, torch.ones(3), torch.zeros(4, dtype=torch.long)),
        ShapeError,
        r"edge_features has shape \(3,\); expected \(3, 2\)",
    ),
    (
        lambda: ops.sddmm(PATTERN, SOURCES, SOURCES),
        ShapeError,
        r"a has shape \(5, 2\); expected .* each of the 3 destinations\.",
    ),
    (
        lambda: ops.sddmm(PATTERN, DESTINATIONS, DESTINATIONS),
        ShapeError,
        r"b has shape \(3, 2\); expected \(5, 2\), one row for each source",
    ),
    (
        lambda: ops.edge_add(PATTERN, torch.ones(3, 2), torch.ones(5, 3)),
        ShapeError,
        r"c has shape \(5, 3\); expected \(5, 2\)",
    ),
    (
        lambda: ops.edge_gather(PATTERN, SOURCES, "destination"),
        ShapeError,
        r"x has shape \(5, 2\); expected .* each of the 3 destinations\.",
    ),
    (
        lambda: ops.edge_gather(PATTERN, SOURCES, "left"),
        ConfigError,
        r"side is 'left'; expected destination or source\.",
    ),
    (
        lambda: ops.edge_sum(PATTERN, torch.ones(5)),
        ShapeError,
        r"values has shape \(5,\); expected .* each of the 4 edges\.",
    ),
    (lambda: gatv2(k=BY_HEAD["q"]), ShapeError, r"k has shape \(3, 2, 4\); expected \(5, 2, 4\)"),
    (
        lambda: gatv2(att=torch.ones(8)),
        ShapeError,
        r"att has shape \(8,\); expected \(2, 4\), one vector for each head\.",
    ),
    (lambda: gatv2(edge=torch.ones(4, 8)), ShapeError, r"edge has shape \(4, 8\); expected \(4, 2, 4\)"),
    (
        lambda: ops.segment_softmax(PATTERN, torch.ones(5, 2)),
        ShapeError,
        r"scores has shape \(5, 2\); expected .* each of the 4 edges\.",
    ),
    (
        lambda: attention(q=torch.ones(3, 8)),
        ShapeError,
        r"q has shape \(3, 8\); expected one vector for each head for each of the 3 destinations\.",
    ),
    (lambda: attention(k=torch.ones(5, 1, 4)), ShapeError, r"k has shape \(5, 1, 4\); expected \(5, 2, 4\)"),
    (lambda: attention(v=torch.ones(5, 1, 4)), ShapeError, r"v has shape \(5, 1, 4\); expected \(5, 2, 4\)"),
    (
        lambda: attention(bias=EDGES),
        ShapeError,
        r"bias has shape \(4,\); expected \(4, 2\), one number for each edge and head\.",
    ),
    (lambda: attention(bias=torch.ones(4, 2).to("meta")), ShapeError, r"bias lies on meta"),
    (
        lambda: attention(bias=torch.ones(4, 2).double()),
        DataError,
        r"bias holds float64, q float32; expected one type\.",
    ),
    (lambda: attention(dropout=1.0), ConfigError, r"dropout is 1\.0; expected a probability in \[0, 1\)\."),
    (lambda: attention(dropout=float("nan")), ConfigError, r"dropout is nan"),
    (
        lambda: ops.segment_reduce(torch.tensor([0, 2, 4]), torch.ones(5)),
        ShapeError,
        r"x has shape \(5,\); expected .* each of the 4 rows of the segments\.",
    ),
    (lambda: ops.segment_reduce(torch.tensor([0, 2]), torch.ones(2), "most"), ConfigError, r"reduce is 'most'"),
    (
        lambda: ops.segment_reduce(PATTERN, torch.ones(4)),
        DataError,
        r"segments is Adjacency\(3 x 5, 4 edges.*expected pointers",
    ),
    (
        lambda: ops.segment_reduce(Adjacency.from_edge_index(edges((1, 0), (0, 0)), 2), torch.ones(2)),
        DataError,
        r"segments is Adjacency\(2 x 2, 2 edges.*expected pointers",
    ),
    (
        lambda: ops.segment_reduce(Adjacency.from_ptr(torch.tensor([0, 2]), num_src=3), torch.ones(2), "max"),
        DataError,
        r"segments is Adjacency\(1 x 3, 2 edges",
    ),
    (
        lambda: ops.segment_expand(torch.tensor([0, 2, 4]), torch.ones(4)),
        ShapeError,
        r"x has shape \(4,\); expected .* each of the 2 segments\.",
    ),
    (
        lambda: use_backend("cuda").__enter__(),
        ConfigError,
        r"there is no backend 'cuda'; expected one of reference, torch, triton\.",
    ),
]


@pytest.mark.parametrize(("call", "error", "sentence"), CASES, ids=[sentence[:50] for _, _, sentence in CASES])
def test_one_sentence_names_the_argument_and_what_was_expected(call, error, sentence):
    with use_backend("reference"), pytest.raises(error, match=sentence) as caught:
        call()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [10, 40_000])
def test_among_many_edges_the_first_wrong_one_is_named(size):
    edge_index = torch.zeros(2, size, dtype=torch.long)
    edge_index[0, 7:9] = 3
    with pytest.raises(DataError, match=r"edge_index\[0, 7\] is 3"):
        Adjacency.from_edge_index(edge_index, 3)


def test_under_autocast_types_may_be_mixed_since_all_are_cast():
    with torch.autocast("cpu", torch.bfloat16), use_backend("reference"):
        assert ops.spmm(PATTERN, SOURCES, EDGES.bfloat16()).dtype == torch.bfloat16
