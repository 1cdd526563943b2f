"""Weights decorrelate as promised, keep enough samples, and are uniform rather than wrong."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reweighting_worlds import correlation, shortcut, worlds
from torch.testing import assert_close

from graftable.errors import ConfigError, ShapeError
from graftable.graphs.reweighting import DecorrelationWeighter, Rows, SampleMemory, objective
from graftable.graphs.reweighting.memory import WeightStore

seeds = st.integers(0, 2**32 - 1)


def table(seed, rows=60, variables=6):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, variables, generator=draw) @ torch.randn(variables, variables, generator=draw)


@pytest.mark.parametrize("clustered", [True, False])
def test_weights_break_the_tie_between_label_and_attribute(clustered):
    before, after, permuted = [], [], []
    for seed in range(10):
        z, label, attribute, blocks = shortcut(seed)
        weights, report = DecorrelationWeighter(0.5, seed=seed)(z, blocks if clustered else None)
        shuffled = weights[torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))]
        before.append(abs(correlation(label, attribute, torch.ones(len(z)))))
        after.append(abs(correlation(label, attribute, weights)))
        permuted.append(abs(correlation(label, attribute, shuffled)))
        assert report.dependence_after < 0.5 * report.dependence_before
    assert sum(before) / 10 == pytest.approx(0.79, abs=0.03)
    assert sum(after) / 10 <= 0.30
    assert max(after) <= 0.5
    assert sum(permuted) / 10 >= 0.75


@settings(max_examples=20, derandomize=True)
@given(seeds, st.floats(0.02, 0.99), st.sampled_from(["rff", "rbf", "linear"]))
def test_the_effective_size_is_kept_and_weights_are_finite(seed, rho, features):
    weights, report = DecorrelationWeighter(rho, features=features)(table(seed))
    ess = float(weights.double().sum() ** 2 / weights.double().square().sum())
    assert ess >= rho * len(weights) - 1e-3 * len(weights)
    assert report.ess == pytest.approx(ess, rel=1e-4)
    assert weights.isfinite().all()
    assert weights.dtype == torch.float32
    assert not weights.requires_grad
    assert float(weights.min()) >= 0
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)


@settings(max_examples=10, derandomize=True)
@given(seeds)
def test_a_permutation_of_rows_permutes_the_weights(seed):
    z = table(seed)
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    weights, _ = DecorrelationWeighter(0.5)(z)
    assert_close(DecorrelationWeighter(0.5)(z[order])[0], weights[order], rtol=0, atol=2e-3)
    # with sample ids, to the bit
    ids = torch.arange(len(z))
    known, _ = DecorrelationWeighter(0.5)(z, sample_id=ids)
    assert_close(DecorrelationWeighter(0.5)(z[order], sample_id=ids[order])[0], known[order], rtol=0, atol=0)


@settings(max_examples=10, derandomize=True)
@given(seeds, st.floats(-1e3, 1e3), st.floats(1e-6, 1e6))
def test_shift_and_scale_of_a_column_change_nothing(seed, shift, scale):
    z = table(seed).double()
    moved = z.clone()
    moved[:, 1] = (moved[:, 1] + shift) * scale
    assert_close(DecorrelationWeighter(0.5)(moved)[0], DecorrelationWeighter(0.5)(z)[0], rtol=0, atol=2e-3)


def test_rho_of_one_is_the_plain_loss_to_the_bit():
    z, losses = table(0), torch.rand(60, generator=torch.Generator().manual_seed(1))
    weights, report = DecorrelationWeighter(1.0)(z, label=torch.arange(60) % 2)
    assert torch.equal(weights, torch.ones(60))
    assert torch.equal((weights * losses).mean(), losses.mean())
    assert report.ess == 60


@pytest.mark.parametrize("balance", ["class", "equal"])
def test_classes_keep_their_mass(balance):
    z, label, _, blocks = shortcut(0)
    label[:40] = float("nan")
    weights, report = DecorrelationWeighter(0.4, balance=balance)(z, blocks, label=label.unsqueeze(1))
    share = weights.double() / len(z)
    for value in (-1.0, 1.0):
        rows = label == value
        wanted = float(rows.double().mean()) if balance == "class" else (1 - 40 / len(z)) / 2
        assert float(share[rows].sum()) == pytest.approx(wanted, abs=1e-4)
        assert report.class_mass[value] == pytest.approx(wanted, abs=1e-4)
    assert float(share[:40].sum()) == pytest.approx(40 / len(z), abs=1e-4)
    assert float(1 / share.square().sum()) >= 0.39 * len(z)


def awkward():
    good = table(0, rows=20)
    nan, huge = good.clone(), good.clone()
    nan[3, 2] = float("nan")
    huge[3, 2] = float("inf")
    yield "not finite", nan, "numbers that are not finite"
    yield "infinite", huge, "numbers that are not finite"
    yield "constant", torch.ones(20, 6), "a representation that is constant"
    yield "one row varies in nothing", good[:1], "fewer rows than clusters"
    yield "fewer rows than clusters", good[:4], "fewer rows than clusters"
    yield "no rows", good[:0], "no rows"
    yield "some columns constant", torch.cat([good[:, :3], torch.full((20, 3), 7.0)], 1), None
    yield "duplicated rows", good[:5].repeat(4, 1), None
    yield "half precision", good.half(), None
    yield "tiny", good * 1e-30, None
    yield "huge", good.double() * 1e200, None


@pytest.mark.parametrize(("z", "reason"), [(z, reason) for _, z, reason in awkward()], ids=[n for n, *_ in awkward()])
def test_awkward_rows_get_sound_or_uniform_weights_and_a_counted_warning(z, reason):
    weigh = DecorrelationWeighter(0.5, balance="class")
    label = torch.zeros(len(z))  # a single class, too
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            weights, report = weigh(z, label=label)
    assert weights.isfinite().all()
    assert report.fallback == reason
    if reason is None:
        assert not caught
        assert float(weights.square().sum()) <= len(z) / 0.5 * 1.001
    else:
        assert torch.equal(weights, torch.ones(len(z)))
        assert weigh.fallbacks[reason] == 2
        assert [str(warning.message) for warning in caught] == [
            f"the weights are uniform because of {reason}; further times are only counted."
        ]


def test_fewer_rows_than_variables_are_weighed():
    z, _, _, blocks = shortcut(0, rows=20)
    weights, report = DecorrelationWeighter(0.5)(z, blocks)
    assert report.fallback is None
    assert report.dependence_after < report.dependence_before
    assert float(weights.std()) > 0.1


def test_one_cluster_is_uniform_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights, report = DecorrelationWeighter(0.5)(table(0), torch.full((6,), 3))
    assert torch.equal(weights, torch.ones(60))
    assert report.fallback == "one cluster"


def test_clusters_are_found_from_environments():
    z, environment, blocks = worlds(0)
    _, report = DecorrelationWeighter(0.7)(z, environment=environment)
    assert torch.equal(report.clusters, blocks)
    alike = torch.arange(300) % 3
    assert DecorrelationWeighter(0.7)(table(0, rows=300), environment=alike)[1].fallback == "one cluster"


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_many_rows_need_no_square_matrix_and_get_the_same_weights(alpha, monkeypatch):
    z, _, _, blocks = shortcut(0)
    dense, _ = DecorrelationWeighter(0.5, alpha)(z, blocks)
    monkeypatch.setattr(objective, "DENSE_ROWS", 10)
    assert_close(DecorrelationWeighter(0.5, alpha)(z, blocks)[0], dense, rtol=0, atol=2e-3)
    with pytest.raises(ConfigError, match='expected 10; use "rff"'):
        DecorrelationWeighter(0.5, features="rbf")(z, blocks)


def test_a_memory_joins_earlier_rows_and_a_state_continues_them():
    z, _, _, blocks = shortcut(0, rows=192)
    batches = [(z[i : i + 32], torch.arange(i, i + 32)) for i in range(0, 192, 32)] * 2

    def run(weigh, batches):
        return [weigh(rows, blocks, sample_id=ids) for rows, ids in batches]

    whole = run(DecorrelationWeighter(0.5, memory=128, smoothing=0.9), batches)
    assert [report.num_rows for _, report in whole[:6]] == [32, 64, 96, 128, 160, 160]
    first = DecorrelationWeighter(0.5, memory=128, smoothing=0.9)
    run(first, batches[:7])
    second = DecorrelationWeighter(0.5, memory=128, smoothing=0.9)
    second.load_state_dict(first.state_dict())
    for (weights, _), (again, _) in zip(whole[7:], run(second, batches[7:]), strict=True):
        assert torch.equal(weights, again)


def test_a_memory_forgets_when_the_encoder_has_moved_or_columns_change():
    memory = SampleMemory(100)
    z = table(0)
    memory.push(Rows(z, sample_id=torch.arange(60)))
    assert len(memory.beside(Rows(z + 0.1, sample_id=torch.arange(40, 100))).z) == 100  # 20 of them are known
    assert len(memory.beside(Rows(z + 100, sample_id=torch.arange(60, 120))).z) == 60
    memory.push(Rows(z, sample_id=torch.arange(60)))
    assert len(memory.beside(Rows(z)).z) == 60
    with pytest.raises(ConfigError, match="expected at least 1 row"):
        SampleMemory(0)


def test_a_store_averages_a_sample_that_comes_twice():
    store = WeightStore()
    store.put(torch.tensor([5, 5, 2]), torch.tensor([1.0, 3.0, 7.0]))
    assert store.get(torch.tensor([2, 5, 9]), default=1.0).tolist() == [7.0, 2.0, 1.0]


def test_the_largest_weight_can_be_cut():
    z, _, _, blocks = shortcut(0)
    free, _ = DecorrelationWeighter(0.3)(z, blocks)
    cut, report = DecorrelationWeighter(0.3, max_weight=2.5)(z, blocks)
    assert float(cut.max()) < float(free.max())
    assert report.max_weight == pytest.approx(float(cut.max()))
    assert float(cut.mean()) == pytest.approx(1, abs=1e-5)


def test_autocast_does_not_coarsen_weights():
    z = table(0)
    plain, _ = DecorrelationWeighter(0.5)(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(DecorrelationWeighter(0.5)(z)[0], plain)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rho": 0.0}, r"rho is 0.0; expected a share of the rows in \(0, 1\]"),
        ({"rho": 1.1}, "rho is 1.1"),
        ({"rho": math.nan}, "rho is nan"),
        ({"features": "cosine"}, "expected one of rff, rbf, linear"),
        ({"balance": "classes"}, "expected none, class or equal"),
        ({"alpha": -1.0}, "expected alpha >= 0"),
        ({"rounds": 0}, "at least 1 of the others"),
        ({"max_weight": 1.0}, "expected more than 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        DecorrelationWeighter(**settings)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((torch.zeros(4, 2, dtype=torch.long),), "expected a matrix of real numbers"),
        ((torch.zeros(4),), "expected a matrix of real numbers"),
        ((torch.zeros(4, 2), torch.zeros(3)), r"expected one per variable, \(2,\)"),
        ((torch.zeros(4, 2), None, None), "no label is given"),
        ((torch.zeros(4, 2), None, torch.zeros(4, 3)), r"label has shape \(4, 3\)"),
        ((torch.zeros(4, 2), None, torch.zeros(4), torch.zeros(5)), "environment has shape"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, sentence):
    with pytest.raises(ShapeError, match=sentence):
        DecorrelationWeighter(balance="class")(*arguments)
