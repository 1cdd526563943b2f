"""The head is the least of its loss, and a loss with missing labels reads only those that are there."""

import numpy as np
import pytest
import torch
from reweighting_worlds import shortcut
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn import functional as F
from torch.testing import assert_close

from graftable.errors import ConfigError, DataError, ShapeError
from graftable.graphs.reweighting import DecorrelationWeighter, LastLayerRefit, ReweightedLoss, objective

NAN = float("nan")


def problem(rows=120, variables=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, variables, generator=draw, dtype=torch.float64) * torch.arange(1, variables + 1) + 3
    return z, torch.rand(rows, generator=draw).double() * 2, draw


def test_a_multiclass_head_is_that_of_scikit_learn():
    z, weights, draw = problem()
    label = torch.bucketize(z[:, 0] + torch.randn(120, generator=draw) * 2, torch.tensor([2.0, 4.0]).double())
    weights = weights / weights.mean()
    head, report = LastLayerRefit(l2=0.01, iterations=2000).fit(z, label, weights)
    assert report is None
    standard = ((z - z.mean(0)) / z.std(0, correction=0)).numpy()
    theirs = LogisticRegression(C=1 / (0.01 * 120), tol=1e-10, max_iter=10000).fit(standard, label, weights)
    assert_close(head(z).softmax(1).detach(), torch.from_numpy(theirs.predict_proba(standard)), rtol=0, atol=1e-4)


def test_a_regression_head_is_that_of_scikit_learn_with_missing_labels_left_out():
    z, weights, draw = problem()
    target = torch.stack([z[:, 0] - z[:, 2], z[:, 1] ** 2], 1) + torch.randn(120, 2, generator=draw)
    target[::3, 1] = NAN
    head, _ = LastLayerRefit(l2=0.1).fit(z, target, weights)
    standard = ((z - z.mean(0)) / z.std(0, correction=0)).numpy()
    for task in range(2):
        known = ~target[:, task].isnan()
        share = (weights[known] / weights[known].sum()).numpy()
        theirs = Ridge(alpha=0.1, tol=1e-12).fit(standard[known], target[known, task], share)
        assert_close(head(z)[known, task].detach(), torch.from_numpy(theirs.predict(standard[known])))


def test_a_binary_head_is_the_least_of_its_loss():
    z, weights, draw = problem(60, 3)
    target = (torch.randn(60, 2, generator=draw) + z[:, :2] > 3).double()
    target[::4, 0], target[1] = NAN, NAN
    head, _ = LastLayerRefit(l2=0.05, iterations=2000).fit(z, target, weights)
    standard = (z - z.mean(0)) / z.std(0, correction=0)

    def objective(flat):
        matrix, bias = torch.from_numpy(flat[:6].reshape(2, 3)), torch.from_numpy(flat[6:])
        logits, total = standard @ matrix.T + bias, 0.0
        for row in range(60):
            known = ~target[row].isnan()
            if known.any():
                losses = F.binary_cross_entropy_with_logits(logits[row][known], target[row][known])
                total += float(weights[row] * losses)
        return total / 59 + 0.025 * float(matrix.square().sum())

    scale = z.std(0, correction=0)
    ours = np.concatenate(
        [(head.weight.detach() * scale).flatten(), (head.bias + head.weight @ z.mean(0)).detach().numpy()]
    )
    assert objective(ours) <= minimize(objective, ours, options={"gtol": 1e-7}).fun + 1e-8


def test_the_refit_breaks_a_shortcut_that_the_plain_head_takes(monkeypatch):
    monkeypatch.setattr(objective, "DENSE_ROWS", 100)  # as with many rows
    z, label, _, blocks = shortcut(0, rows=600, width=3)
    test, truth, _, _ = shortcut(1, rows=2000, agreement=0.5, width=3)
    accuracy = {}
    for rho in (1.0, 0.4):
        refit = LastLayerRefit(DecorrelationWeighter(rho), l2=0.1)
        head, report = refit.fit(z, (label > 0).long(), clusters=blocks)
        accuracy[rho] = float(((head(test).argmax(1) > 0) == (truth > 0)).float().mean())
    assert head.weight.dtype == torch.float32
    assert 239.4 <= report.ess < 400
    assert accuracy[0.4] > accuracy[1.0] + 0.03


def test_labels_that_are_missing_and_columns_that_are_constant_do_no_harm():
    z, _, _ = problem()
    z[:, 2] = 5
    label = (z[:, 0] > 3).long()
    label[:50] = -100
    head, _ = LastLayerRefit(DecorrelationWeighter(1.0)).fit(z, label, num_classes=4)
    assert head.out_features == 4
    assert head.weight[:, 2].abs().max() == 0
    assert float((head(z).argmax(1) == (z[:, 0] > 3)).double().mean()) > 0.95


def test_what_cannot_be_fitted_is_refused():
    z, _, _ = problem()
    with pytest.raises(DataError, match="z holds numbers that are not finite"):
        LastLayerRefit().fit(z / 0, torch.zeros(120, dtype=torch.long))
    with pytest.raises(DataError, match="no row has a label"):
        LastLayerRefit(DecorrelationWeighter(1.0)).fit(z, torch.full((120,), NAN))
    with pytest.raises(ShapeError, match="expected as many rows"):
        LastLayerRefit().fit(z, torch.zeros(3))
    with pytest.raises(ConfigError, match="expected a number above 0"):
        LastLayerRefit(l2=0)
    with pytest.raises(ConfigError, match="expected auto, multiclass"):
        LastLayerRefit(task="multi")


def test_a_missing_label_passes_no_gradient_and_no_nan():
    prediction = torch.zeros(4, 2, requires_grad=True)
    target = torch.tensor([[1.0, NAN], [0.0, 1.0], [NAN, NAN], [1.0, 1.0]])
    weights = torch.tensor([2.0, 0.5, 9.0, 0.5], requires_grad=True)
    loss = ReweightedLoss(F.binary_cross_entropy_with_logits)(prediction, target, weights)
    assert float(loss.detach()) == pytest.approx(float(torch.tensor(2.0).log()))  # (2 + .5 + .5) / 3 labelled rows
    loss.backward()
    assert prediction.grad.isfinite().all()
    assert float(prediction.grad[2].abs().sum() + prediction.grad[0, 1].abs()) == 0
    assert weights.grad is None


def test_weights_of_one_are_the_loss_without_weights_to_the_bit():
    draw = torch.Generator().manual_seed(0)
    logits, label = torch.randn(33, 5, generator=draw), torch.randint(0, 5, (33,), generator=draw)
    loss = ReweightedLoss(F.cross_entropy)
    assert torch.equal(loss(logits, label, torch.ones(33)), F.cross_entropy(logits, label, reduction="none").mean())
    label[::2] = -100
    assert_close(loss(logits, label), F.cross_entropy(logits, label))
    values = torch.randn(33, 1, generator=draw)
    assert torch.equal(ReweightedLoss(F.mse_loss)(values, values[:, 0] + 1), torch.ones(()))


def test_no_label_at_all_is_a_loss_of_zero_with_a_gradient():
    prediction = torch.ones(3, requires_grad=True)
    loss = ReweightedLoss(F.mse_loss)(prediction, torch.full((3,), NAN))
    loss.backward()
    assert float(loss.detach()) == 0
    assert prediction.grad.tolist() == [0, 0, 0]


def test_a_loss_that_is_not_one_per_sample_is_refused():
    with pytest.raises(ShapeError, match="expected one loss per label"):
        ReweightedLoss(lambda x, y, reduction: (x - y).sum())(torch.zeros(3), torch.zeros(3))
    with pytest.raises(ShapeError, match="expected one per sample"):
        ReweightedLoss(F.mse_loss)(torch.zeros(3), torch.zeros(3), torch.ones(2))
