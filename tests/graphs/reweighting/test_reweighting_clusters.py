"""Clusters are what holds in every environment, and none are seen where nothing varies."""

import pytest
import torch
from reweighting_worlds import worlds
from sklearn.metrics import adjusted_rand_score, silhouette_score

from graftable.errors import ConfigError, ShapeError
from graftable.graphs.reweighting import StableVariableClusterer, infer_environments
from graftable.graphs.reweighting.clusters import instability, silhouette


@pytest.mark.parametrize("count", [2, "auto"])
@pytest.mark.parametrize("loadings", [(0.3, 1.5), (1.0,)])
def test_blocks_are_found_whatever_the_strength_of_their_ties(count, loadings):
    scores = []
    for seed in range(5):
        z, environment, blocks = worlds(seed, rows=600, loadings=loadings)
        scores.append(adjusted_rand_score(blocks, StableVariableClusterer(count).update(z, environment)))
    assert min(scores) >= 0.85


def test_alike_environments_give_one_cluster():
    found = 0
    for seed in range(50):
        z, environment, _ = worlds(seed, rows=150, agreements=(0.8, 0.8, 0.8), width=8)
        found += int(StableVariableClusterer().update(z, environment).max()) > 0
    assert found <= 5


def test_instability_has_mean_zero_where_nothing_varies():
    values = [
        float(instability(*worlds(seed, rows=100, agreements=(0.8,) * 4, width=4)[:2])[0, 1]) for seed in range(200)
    ]
    mean = torch.tensor(values)
    assert abs(float(mean.mean())) < 3 * float(mean.std()) / 200**0.5


def test_old_clusters_stay_until_the_new_ones_are_better():
    z, environment, blocks = worlds(0)
    clusterer = StableVariableClusterer(2, momentum=0.9)
    first = clusterer.update(z, environment).clone()
    assert torch.equal(clusterer.update(z[::2], environment[::2]), first)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    moved = StableVariableClusterer(2)
    moved.update(z, environment)
    assert adjusted_rand_score(blocks[order], moved.update(z[:, order], environment)) == 1


def test_a_state_continues_where_it_was():
    z, environment, _ = worlds(0, rows=200)
    whole, broken = StableVariableClusterer(momentum=0.9), StableVariableClusterer(momentum=0.9)
    whole.update(z, environment)
    broken.load_state_dict(whole.state_dict())
    more = worlds(1, rows=200)[:2]
    assert torch.equal(whole.update(*more), broken.update(*more))
    assert torch.equal(whole.instability, broken.instability)
    assert whole.state_dict().keys() == broken.state_dict().keys()


def test_environments_too_small_to_compare_leave_one_cluster_and_a_counted_warning():
    clusterer = StableVariableClusterer(2)
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"fewer than two have more than 3 rows.*Merge small environments"):
        labels = clusterer.update(z, torch.arange(20))
    assert labels.tolist() == [0, 0, 0, 0]
    clusterer.update(z, torch.zeros(20))
    assert clusterer.fallbacks == 2
    assert float(clusterer.instability.sum()) == 0
    # one environment of one member is left out, the others count
    clusterer.update(z, torch.tensor([0] * 10 + [1] * 9 + [2]))
    assert clusterer.fallbacks == 2


def test_rows_and_columns_that_say_nothing_do_no_harm():
    z, environment, blocks = worlds(0)
    z = torch.cat([z, torch.full((len(z), 1), 3.0)], 1)
    z[:, 5] = z[:, 4]  # a copy
    z[7] = float("nan")
    labels = StableVariableClusterer(2).update(z, environment)
    assert torch.equal(labels[:32], blocks)


def test_the_silhouette_is_that_of_scikit_learn():
    draw = torch.Generator().manual_seed(0)
    points = torch.randn(20, 3, generator=draw)
    distance, labels = torch.cdist(points, points).fill_diagonal_(0).numpy(), torch.arange(20).numpy() % 4
    labels[labels == 3] = 0
    labels[0] = 3  # a cluster of one
    assert silhouette(distance, labels) == pytest.approx(silhouette_score(distance, labels, metric="precomputed"))


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ConfigError, match='expected "auto" or a number'):
        StableVariableClusterer(0)
    with pytest.raises(ConfigError, match=r"momentum is 1\.0"):
        StableVariableClusterer(momentum=1.0)
    with pytest.raises(ConfigError, match="cannot show a significance"):
        StableVariableClusterer(permutations=5)
    with pytest.raises(ShapeError, match="call update"):
        _ = StableVariableClusterer().labels
    with pytest.raises(ShapeError, match="environment"):
        StableVariableClusterer().update(torch.zeros(4, 2), torch.zeros(3))


class Graph:
    def __init__(self, num_nodes, num_edges, scaffold=""):
        self.num_nodes, self.num_edges, self.scaffold = num_nodes, num_edges, scaffold


def test_environments_are_quantiles_of_what_the_rule_reads():
    graphs = [Graph(10 * n, 10 * n * (n % 3 + 1), "abc"[n % 3]) for n in range(1, 31)]
    assert infer_environments(graphs, "size").tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert infer_environments(graphs, "degree").tolist() == [n % 3 for n in range(1, 31)]
    assert infer_environments(graphs, "scaffold").tolist() == [n % 3 for n in range(1, 31)]
    assert len(infer_environments(graphs, "density").unique()) == 3
    sizes = infer_environments(graphs, "random").bincount()
    assert sizes.tolist() == [10, 10, 10]


def test_losses_are_cut_within_each_class():
    label = torch.arange(40) % 2
    losses = torch.arange(40.0) + 1000 * label  # one class is harder than the other altogether
    found = infer_environments(losses, "loss", num_environments=2, label=label)
    assert found.tolist() == [0] * 20 + [1] * 20


def test_small_environments_are_joined_and_ties_stay_together():
    assert infer_environments(torch.tensor([1.0] * 30 + [2.0]), num_environments=2).unique().tolist() == [0]
    assert infer_environments(torch.tensor([1.0] * 12 + [2.0] * 20)).tolist() == [0] * 12 + [1] * 20
    assert infer_environments(torch.zeros(0)).tolist() == []


def test_environments_that_cannot_be_inferred_are_refused():
    with pytest.raises(ConfigError, match="expected one of size, degree"):
        infer_environments([1.0], "colour")
    with pytest.raises(ConfigError, match="at least 1"):
        infer_environments([1.0], num_environments=0)
    with pytest.raises(ValueError, match="1 of 2 values are not finite"):
        infer_environments([1.0, float("nan")])
    with pytest.raises(ValueError, match="pass the loss of each sample"):
        infer_environments([Graph(1, 1)], "loss")
    with pytest.raises(ValueError, match="pass one text or number per sample"):
        infer_environments([None, "a"], "scaffold")
