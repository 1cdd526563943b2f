"""Graphs drawn thousands at a time are the graphs that one would build one by one."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.utils import to_networkx

from graftable.graphs.shift import motifs
from graftable.graphs.shift.assembly import GraphPack, attach, copies, ragged_arange, with_random_edges
from graftable.graphs.shift.shift_set import random_cut
from graftable.graphs.shift.triangles import count_triangles, random_gnm
from graftable.graphs.shift.wheel_star import barabasi_albert_trees

fixed = settings(derandomize=True, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def networks(pack):
    found = []
    ends = np.cumsum(pack.edge_counts)
    for size, end, count in zip(pack.node_counts, ends, pack.edge_counts, strict=True):
        graph = nx.empty_graph(int(size))
        graph.add_edges_from(pack.edges[end - count : end].tolist())
        assert graph.number_of_edges() == count  # none twice
        assert graph.number_of_nodes() == size  # none outside
        assert nx.number_of_selfloops(graph) == 0
        found.append(graph)
    return found


def random_pack(rng, graphs=6, largest=12):
    sizes = rng.integers(1, largest, size=graphs)
    return random_gnm(sizes, rng.integers(0, sizes * (sizes - 1) // 2 + 1), rng)


@fixed
@given(seeds)
def test_random_graphs_have_the_edges_asked_for_and_their_triangles_are_counted(seed):
    pack = random_pack(np.random.default_rng(seed))
    assert count_triangles(pack).tolist() == [sum(nx.triangles(graph).values()) // 3 for graph in networks(pack)]


def test_uniform_graphs_are_uniform():
    count = 30_000
    pack = random_gnm(np.full(count, 4), np.full(count, 2), np.random.default_rng(0))
    codes = (pack.edges[:, 0] * 4 + pack.edges[:, 1]).reshape(count, 2)
    _, hits = np.unique(codes, axis=0, return_counts=True)
    assert len(hits) == 15  # pairs of the six edges
    assert abs(hits / (count / 15) - 1).max() < 0.1  # four standard deviations


@fixed
@given(seeds)
def test_data_is_the_pack_in_both_directions_sorted_with_its_fields(seed):
    rng = np.random.default_rng(seed)
    pack = random_pack(rng)
    nodes, edges = int(pack.node_counts.sum()), len(pack.edges)
    x, weight = rng.random((nodes, 2)), rng.random((edges, 1))
    graphs = pack.to_data(
        nodes={"x": x},
        edges={"edge_attr": weight},
        graphs={"y": np.arange(len(pack)), "environment": np.arange(len(pack)) % 2},
    )
    ends = np.cumsum(pack.edge_counts)
    for g, (graph, network) in enumerate(zip(graphs, networks(pack), strict=True)):
        assert nx.utils.graphs_equal(nx.Graph(to_networkx(graph, to_undirected=True).edges), nx.Graph(network.edges))
        assert graph.edge_index.T.tolist() == sorted(graph.edge_index.T.tolist())
        assert graph.x.dtype == torch.float32
        assert graph.y.tolist() == [g]
        assert graph.environment == g % 2
        own = {
            frozenset(pair): value
            for pair, value in zip(
                pack.edges[ends[g] - pack.edge_counts[g] : ends[g]].tolist(),
                weight[ends[g] - pack.edge_counts[g] : ends[g], 0].tolist(),
                strict=True,
            )
        }
        found = [own[frozenset(pair)] for pair in graph.edge_index.T.tolist()]
        assert graph.edge_attr[:, 0].tolist() == pytest.approx(found)
    assert torch.cat([graph.x for graph in graphs]).numpy() == pytest.approx(x)


def test_each_graph_owns_its_memory():
    pack = copies([motifs.cycle(5)], np.zeros(50, dtype=int))
    graph = pack.to_data(nodes={"x": np.ones((250, 1))}, graphs={"y": np.zeros(50, dtype=int)})[7]
    for tensor in (graph.x, graph.edge_index, graph.y):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


@fixed
@given(seeds)
def test_selecting_all_in_order_changes_nothing_and_selecting_twice_composes(seed):
    rng = np.random.default_rng(seed)
    pack = random_pack(rng)
    first, second = rng.integers(0, len(pack), size=5), rng.integers(0, 5, size=3)
    same, once, twice = pack.select(np.arange(len(pack))), pack.select(first[second]), pack.select(first).select(second)
    for one, other in ((pack, same), (once, twice)):
        assert one.edges.tolist() == other.edges.tolist()
        assert one.node_counts.tolist() == other.node_counts.tolist()


@fixed
@given(seeds)
def test_attached_graphs_fall_apart_into_their_parts_without_the_joint(seed):
    rng = np.random.default_rng(seed)
    base, motif = random_pack(rng), random_pack(rng)
    at, to = rng.integers(0, base.node_counts), rng.integers(0, motif.node_counts)
    joined = networks(attach(base, motif, at, to))
    for whole, below, above, u, v in zip(joined, networks(base), networks(motif), at, to, strict=True):
        whole.remove_edge(u, len(below) + v)
        expected = nx.disjoint_union(below, above)
        assert nx.utils.graphs_equal(whole, expected)


@fixed
@given(seeds, st.floats(0, 0.6))
def test_random_edges_are_new_and_leave_the_motif_alone(seed, share):
    rng = np.random.default_rng(seed)
    pack = random_pack(rng, largest=15)
    base = rng.integers(0, pack.node_counts + 1)
    for before, after, kept in zip(
        networks(pack), networks(with_random_edges(pack, share, base, rng)), base, strict=True
    ):
        new = set(map(frozenset, after.edges)) - set(map(frozenset, before.edges))
        assert set(map(frozenset, before.edges)) <= set(map(frozenset, after.edges))
        assert len(new) <= int(share * before.number_of_edges())
        assert all(min(pair) < kept for pair in new)
        if kept == len(before):  # every edge has an end in the base: as many as there is room for
            room = len(before) * (len(before) - 1) // 2 - before.number_of_edges()
            assert len(new) == min(int(share * before.number_of_edges()), room)


def test_random_edges_are_uniform_over_the_pairs_that_are_free():
    count = 20_000
    path = copies([motifs.path(5)], np.zeros(count, dtype=int))
    grown = with_random_edges(path, 0.3, path.node_counts, np.random.default_rng(0))
    pairs = np.sort(grown.edges, axis=1).reshape(count, 5, 2)[:, -1]
    _, hits = np.unique(pairs, axis=0, return_counts=True)
    assert len(hits) == 6  # ten pairs less four
    assert abs(hits / (count / 6) - 1).max() < 0.08


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (motifs.path(6), nx.path_graph(6)),
        (motifs.path(1), nx.path_graph(1)),
        (motifs.cycle(6), nx.cycle_graph(6)),
        (motifs.star(5), nx.star_graph(5)),
        *((motifs.wheel(nodes), nx.wheel_graph(nodes)) for nodes in (1, 2, 3, 4, 5, 9)),
        *((motifs.ladder(rungs), nx.ladder_graph(rungs)) for rungs in (1, 2, 7)),
        *((motifs.tree(height), nx.balanced_tree(2, height)) for height in (0, 1, 4)),
        (motifs.grid(3, 3), nx.grid_2d_graph(3, 3)),
        (motifs.octahedron(), nx.octahedral_graph()),
        (motifs.MOTIFS["house"], nx.house_graph()),
        (motifs.MOTIFS["crane"], nx.complete_bipartite_graph(2, 3)),
        (motifs.MOTIFS["dircycle"], nx.cycle_graph(5)),
    ],
)
def test_building_blocks_are_those_of_networkx(ours, theirs):
    size, edges = ours
    (graph,) = networks(GraphPack(np.array([size]), np.array([len(edges)]), edges))
    assert nx.is_isomorphic(graph, theirs)


def test_trees_grow_by_degree():
    sizes = np.full(4_000, 20)
    trees = networks(barabasi_albert_trees(sizes, np.random.default_rng(0)))
    assert all(nx.is_tree(tree) for tree in trees)
    largest = np.mean([max(dict(tree.degree).values()) for tree in trees])
    peers = [nx.barabasi_albert_graph(20, 1, seed=seed) for seed in range(2_000)]
    assert largest == pytest.approx(np.mean([max(dict(tree.degree).values()) for tree in peers]), abs=0.25)


@fixed
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=6))
def test_ragged_ranges_are_ranges_end_to_end(runs):
    starts, counts = (np.array([run[side] for run in runs], dtype=np.int64) for side in (0, 1))
    assert ragged_arange(starts, counts).tolist() == [n for start, count in runs for n in range(start, start + count)]


@fixed
@given(seeds, st.integers(3, 40))
def test_a_cut_keeps_every_graph_once(seed, total):
    parts = random_cut(np.arange(total), 0.1, total, np.random.default_rng(seed))
    assert sorted(np.concatenate(parts).tolist()) == list(range(total))
    assert len(parts[1]) == len(parts[2]) == int(0.1 * total)
