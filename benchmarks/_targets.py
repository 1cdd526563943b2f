"""What the operators should reach: times as multiples of ours, and peaks of memory."""

BOTH, ALL = ("default", "kept"), "UPBT"

#: (operators, shapes, directions, modes, peer, at least): the first that fits holds
TARGETS = (
    (("sum",), "UP", ("f", "fb"), BOTH, "DGL", 5.0),
    (("sum",), "UP", ("f",), BOTH, "PyG", 5.0),
    (("sum",), "UP", ("fb",), BOTH, "PyG", 3.0),
    (("mean",), "UP", ("f", "fb"), BOTH, "DGL", 1.05),
    (("mean",), "UP", ("f", "fb"), ("kept",), "PyG", 3.5),
    (("max", "min"), "UP", ("f",), BOTH, "DGL", 0.9),
    (("max", "min"), "UP", ("f", "fb"), BOTH, "PyG", 2.0),
    (("max", "min"), "UP", ("f", "fb"), ("uncompiled",), "PyG", 2.0),
    (("graph_attention",), "UP", ("f",), BOTH, "DGL", 3.5),
    (("graph_attention",), "UP", ("fb",), BOTH, "DGL", 3.6),
    (("graph_attention",), "UP", ("f",), ("kept",), "PyG", 2.5),
    (("graph_attention",), "UP", ("fb",), ("kept",), "PyG", 3.0),
    (("graph_attention",), "B", ("f", "fb"), BOTH, "DGL", 1.7),
    (("graph_attention",), "B", ("f", "fb"), BOTH, "PyG", 2.0),
    (("multi_aggregate",), "UP", ("f", "fb"), BOTH, "PyG", 3.0),
    (("construction",), "UP", ("f",), BOTH, "three sums", 1.0),
    # on the tiny graph, one bare call of torch is quicker than one that looks at its arguments first
    (("edge_gather", "segment_expand", "edge_add"), "T", ("f", "fb"), BOTH, "PyG", None),
    # microseconds differ from machine to machine: 15 and 60 where a gather and index_add take 15 and 99
    (("sum",), "T", ("f",), BOTH, "index_add", 1.0),
    (("sum",), "T", ("fb",), BOTH, "index_add", 1.65),
    # no operator and no shape slower than PyG; than DGL, where widths are not narrow and the graph is not tiny
    (None, ALL, ("f", "fb"), (*BOTH, "uncompiled"), "PyG", 1.0),
    (None, "UPB", ("f", "fb"), BOTH, "DGL", 1.0),
    (None, "B", ("f", "fb"), BOTH, "dense padded", 1.0),
)
NARROW = 16  # against DGL, only the weighted sum promises something here


def target(operator, shape, width, direction, mode, peer):
    """How many times as long as ours ``peer`` should at least take; None if nothing is promised."""
    if peer == "DGL" and 0 < width <= NARROW and operator != "sum":
        return None
    for operators, shapes, directions, modes, other, least in TARGETS:
        named = operators is None or operator in operators
        if named and shape in shapes and direction in directions and mode in modes and peer == other:
            return least
    return None


LARGE = 64 * 2**20  # bytes that one number for each edge and column would fill
#: operator -> how many tensors of nodes x width, and of edges, are returned or saved: forward, then with backward
TENSORS = {
    "sum": ((1, 0), (2, 1)),
    "mean": ((1, 0), (2, 0)),
    "max": ((1, 0), (3, 0)),
    "min": ((1, 0), (3, 0)),
    "std": ((1, 0), (3, 0)),
    "multi_aggregate": ((3, 0), (5, 0)),
    "spmm_edge_type": ((1, 0), (2, 0)),
    "sddmm": ((0, 1), (2, 1)),
}


def memory_limit(operator, direction, nodes, edges, width):
    """MB that a call may take above what was there; None if nothing is promised, or pages are as large as results."""
    if 4 * edges * width < LARGE:
        return None
    heads = 4
    if operator == "graph_attention":  # output + 2 N F + 3 E H, and 6 N F + 4 E H
        of_nodes, of_edges = (3, 3 * heads) if direction == "f" else (6, 4 * heads)
        slack = 1.0
    elif operator in TENSORS:
        of_nodes, of_edges = TENSORS[operator][direction == "fb"]
        slack = 1.5
    else:
        return None
    return slack * 4 * (of_nodes * nodes * width + of_edges * edges) / 2**20


#: figure of the default generator of tables -> tables (None: all) -> at least, at most
TABLE_TARGETS = {
    "shape": {None: (0.98, None)},
    "trend": {None: (0.96, None), "beijing": (0.93, None), "default": (0.93, None)},
    "c2st": {None: (0.5, None), "beijing": (0.15, None), "default": (0.15, None)},
    "fit_seconds": {None: (None, 600)},  # five minutes on two cores
    "nearer_train": {None: (None, 0.55)},
}


def table_target(table, name):
    """What a figure should at least, and at most, be: ``[low, high]``; None if nothing is promised."""
    of_tables = TABLE_TARGETS.get(name, {})
    found = of_tables.get(table, of_tables.get(None))
    return None if found is None else list(found)


#: figure of sampling tables -> at most; the first is a multiple of the time without rules
SAMPLING_TARGETS = {"with_rules": 1.2, "violating": 0, "peak": 4.0, "rare_condition": 10.0}
