"""The second stage: the last layer is the best under its weights, and the weights are those that were asked for."""

import numpy as np
import pytest
import torch

from graftable.errors import DataError
from graftable.graphs.reweighting import DecorrelationWeighter, LastLayerRefit, dependence_matrix
from graftable.graphs.shift_methods import make_method, two_stage
from graftable.graphs.shift_methods.parts import Task

BINARY = Task("binary", 2)


def biased(rows=400, seed=0, agreement=0.9):
    """Half of the variables cause the label, half agree with it by chance; the second half is the easier to read."""
    draw = torch.Generator().manual_seed(seed)
    y = torch.arange(rows) % 2
    agrees = torch.rand(rows, generator=draw) < agreement
    spurious = torch.where(agrees, y, 1 - y)
    causal = 0.8 * (2 * y - 1).view(-1, 1) + torch.randn(rows, 4, generator=draw)
    tied = 1.0 * (2 * spurious - 1).view(-1, 1) + 0.5 * torch.randn(rows, 4, generator=draw)
    return torch.cat([causal, tied], dim=1).float(), y


def refitted(name, z, y, **settings):
    method = make_method(name, BINARY, z.shape[1], settings)
    return method.refit(z, y, torch.zeros(len(z), dtype=torch.long), torch.rand(len(z)))


def test_weights_lower_the_dependence_and_shuffled_weights_do_not():
    z, y = biased()
    after = {}
    for name in ("l2r", "l2r_permuted"):
        stage = refitted(name, z, y, rho=0.3)
        after[name] = float(dependence_matrix(z, stage.sample_weights).triu(1).sum())
    before = float(dependence_matrix(z).triu(1).sum())
    assert after["l2r"] < 0.7 * before < after["l2r_permuted"]


def test_uniform_weights_are_ones_and_permuted_weights_have_the_same_histogram():
    z, y = biased()
    weights = {name: refitted(name, z, y).sample_weights for name in ("l2r", "l2r_uniform", "l2r_permuted")}
    assert torch.equal(weights["l2r_uniform"], torch.ones(len(z)))
    stage = refitted("l2r_uniform", z, y)
    assert torch.equal(stage.weight, stage.plain[0])
    assert torch.equal(stage.weight, refitted("l2r", z, y).plain[0])
    assert torch.equal(weights["l2r_permuted"].sort().values, weights["l2r"].sort().values)
    assert not torch.equal(weights["l2r_permuted"], weights["l2r"])


def test_controls_beside_are_the_controls_alone():
    z, y = biased()
    environment = torch.arange(len(z)) % 3
    make = lambda name, **settings: make_method(name, BINARY, z.shape[1], settings)  # noqa: E731
    losses = torch.zeros(len(z))
    stage = make("l2r", beside=True).refit(z, y, environment, losses)
    alone = {
        "l2r_permuted": make("l2r_permuted"),
        "l2r_random_clusters": make("l2r_random_clusters"),
        "l2r_all_pairs": make("l2r", clusters="all"),
    }
    assert set(stage.controls) == set(alone)
    for name, method in alone.items():
        assert torch.equal(stage.controls[name][0], method.refit(z, y, environment, losses).weight), name
    assert "l2r_all_pairs" not in make("l2r", beside=True).refit(z, y, torch.zeros_like(environment), losses).controls


def three_environments(rows=300):
    z, y = biased(rows)
    return z, y, torch.arange(rows) // (rows // 3), torch.zeros(rows)


def test_the_harm_is_that_on_environments_left_out_by_hand():
    z, y, environment, losses = three_environments()
    solver, scores = LastLayerRefit(task="multiclass", l2=1e-4, iterations=two_stage.QUICK), {}
    for place in range(3):
        rest = environment != place
        weights, _ = DecorrelationWeighter(rho=0.8, balance="class")(z[rest], label=y[rest])
        heads = [solver.fit(z[rest], y[rest], each)[0] for each in (weights, torch.ones(int(rest.sum())))]
        wrong = [(head(z[~rest]).argmax(1) != y[~rest]).double() for head in heads]
        more = (wrong[0] - wrong[1]).numpy()
        scores[place] = more.mean() / (more.std(ddof=1) / len(more) ** 0.5) if more.std() else 0.0
    stage = make_method("l2r", BINARY, 8, {"clusters": "all"}).refit(z, y, environment, losses)
    assert stage.numbers["left_out_harm"] == pytest.approx(max(0.0, *scores.values()))
    assert any(scores.values())


@pytest.mark.parametrize("control", ["l2r", "l2r_permuted"])
def test_weights_that_do_harm_are_uniform_unless_they_are_asked_for(control, monkeypatch):
    z, y, environment, losses = three_environments()
    make = lambda **settings: make_method(control, BINARY, 8, settings)  # noqa: E731
    kept = make(leave_out=False).refit(z, y, environment, losses)
    assert torch.equal(make().refit(z, y, environment, losses).weight, kept.weight)
    assert "left_out_harm" not in kept.numbers
    monkeypatch.setattr(two_stage, "HARMFUL", -1.0)
    with pytest.warns(UserWarning, match="the weights are uniform: fitted without environment"):
        stage = make().refit(z, y, environment, losses)
    assert torch.equal(stage.sample_weights, torch.ones(len(z)))
    assert torch.equal(stage.weight, stage.plain[0])
    assert (stage.numbers["ess"], stage.numbers["max_weight"]) == (len(z), 1.0)
    assert torch.equal(make(leave_out=False).refit(z, y, environment, losses).weight, kept.weight)
    one = torch.zeros_like(environment)  # nothing can be left out
    assert not torch.equal(make().refit(z, y, one, losses).sample_weights, torch.ones(len(z)))


def test_weights_that_are_switched_off_still_make_the_classes_equal(monkeypatch):
    z, y, environment, losses = three_environments()
    y = (torch.arange(len(y)) % 3 == 0).long()
    monkeypatch.setattr(two_stage, "HARMFUL", -1.0)
    with pytest.warns(UserWarning, match="the weights are uniform: fitted without environment"):
        stage = make_method("l2r", BINARY, 8, {"balance": "equal"}).refit(z, y, environment, losses)
    for k in (0, 1):
        mine = stage.sample_weights[y == k]
        assert float(mine.sum()) == pytest.approx(len(z) / 2, rel=1e-5)
        assert float(mine.std()) == pytest.approx(0, abs=1e-6)
    assert stage.numbers["max_weight"] == pytest.approx(1.5)


def test_environments_that_tell_nothing_are_as_good_as_one():
    z, y, environment, losses = three_environments()
    stage = make_method("l2r", BINARY, 8, {"leave_out": False}).refit(z, y, environment, losses)
    alone = make_method("l2r", BINARY, 8).refit(z, y, torch.zeros_like(environment), losses)
    assert torch.equal(stage.sample_weights, alone.sample_weights)


def test_the_second_stage_is_a_function_of_its_seed():
    z, y = biased()
    for name in ("l2r", "l2r_permuted", "l2r_random_clusters"):
        first, second = refitted(name, z, y), refitted(name, z, y)
        assert torch.equal(first.weight, second.weight)
        assert torch.equal(first.sample_weights, second.sample_weights)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("task", "y"),
    [
        (BINARY, torch.ones(40, dtype=torch.long)),
        (Task("regression", 1), torch.randn(40, 1)),
        (Task("multitask", 2), torch.tensor([[1.0, float("nan")], [0.0, float("nan")]]).repeat(20, 1)),
    ],
    ids=["one class", "numbers", "a task without labels"],
)
@pytest.mark.parametrize("kind", ["varied", "constant", "few"])
def test_poor_embeddings_and_labels_give_a_finite_last_layer(task, y, kind):
    z = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    if kind == "constant":
        z = torch.ones(40, 5)
    elif kind == "few":
        z, y = z[:3], y[:3]
    stage = make_method("l2r", task, 5).refit(z, y, torch.arange(len(z)) % 3, torch.zeros(len(z)))
    for part in (stage.weight, stage.bias, stage.sample_weights):
        assert torch.isfinite(part).all()
    assert float(stage.sample_weights.mean()) == pytest.approx(1, abs=1e-4)


def test_embeddings_that_are_not_finite_and_labels_that_are_all_unknown_are_refused():
    z, y = biased(40)
    with pytest.raises(DataError, match="no row has a label"):
        refitted("l2r", z, torch.full_like(y, -1))
    z[3, 2] = float("nan")
    with pytest.raises(DataError, match="not finite"), pytest.warns(UserWarning, match="uniform"):
        refitted("l2r", z, y)


def test_environments_of_easy_and_hard_graphs_give_clusters():
    z, y = biased()
    losses = (z[:, 4:].mean(1) * (1 - 2 * y)).exp()  # easy where the shortcut holds
    stage = make_method("l2r", BINARY, 8, {"environments": "loss"}).refit(z, y, torch.zeros_like(y), losses)
    assert stage.numbers["clusters"] >= 2


def test_a_random_cluster_control_has_clusters():
    z, y = biased()
    assert refitted("l2r_random_clusters", z, y).numbers["clusters"] == 4


def test_effective_sample_size_is_what_was_asked_for():
    z, y = biased()
    for rho in (0.3, 0.7):
        weights = refitted("l2r", z, y, rho=rho, balance="class").sample_weights.double()
        assert float(weights.sum() ** 2 / weights.square().sum()) >= rho * len(z) * (1 - 1e-3)
        assert np.isclose(float(weights[y == 1].sum() / weights.sum()), 0.5, atol=1e-4)
