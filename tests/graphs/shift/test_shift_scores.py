"""Scores agree with their definitions, look away where a label is missing, and never turn into a silent NaN."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import classification as peers

from graftable.errors import ConfigError, DataError, ShapeError
from graftable.graphs.shift import (
    cheap_baselines,
    evaluate_predictions,
    graph_features,
    load_shift_set,
    noise_corrected_accuracy,
    worst_environment,
)
from graftable.graphs.shift.scores import HIGHER_IS_BETTER

fixed = settings(derandomize=True, max_examples=20)
seeds = st.integers(0, 2**32 - 1)


@fixed
@given(seeds, st.integers(2, 5))
def test_class_scores_agree_with_torchmetrics(seed, classes):
    rng = np.random.default_rng(seed)
    logits, y = rng.normal(size=(40, classes)), rng.permutation(np.arange(40) % classes)
    found = evaluate_predictions(logits, y, "multiclass")
    guess, truth = torch.tensor(logits).argmax(dim=1), torch.tensor(y)
    assert found["accuracy"] == pytest.approx((guess == truth).double().mean().item())
    recall = peers.multiclass_accuracy(guess, truth, classes, average="macro").item()
    assert found["balanced_accuracy"] == pytest.approx(recall, abs=1e-6)
    assert found["mcc"] == pytest.approx(peers.multiclass_matthews_corrcoef(guess, truth, classes).item(), abs=1e-5)


@fixed
@given(seeds)
def test_ranking_scores_agree_with_torchmetrics_task_by_task_and_skip_missing_labels(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(30, 4))
    y = rng.integers(0, 2, (30, 4)).astype(float)
    y[:2] = [[0], [1]]  # both classes in each task
    hidden = rng.random((30, 4)) < 0.3
    hidden[:2] = False
    found = evaluate_predictions(scores, np.where(hidden, np.nan, y), "multitask")
    areas, precisions = [], []
    for task in range(4):
        rows = ~hidden[:, task]
        pair = torch.tensor(scores[rows, task]).sigmoid(), torch.tensor(y[rows, task]).long()
        areas.append(peers.binary_auroc(*pair).item())
        precisions.append(peers.binary_average_precision(*pair).item())
    assert found["roc_auc"] == pytest.approx(np.mean(areas), abs=1e-6)
    assert found["average_precision"] == pytest.approx(np.mean(precisions), abs=1e-6)


def test_what_is_predicted_for_a_missing_label_has_no_effect():
    y = [[1.0, math.nan], [0.0, 1.0], [math.nan, 0.0]]
    low, high = ([[0.3, v], [0.1, 0.9], [v, 0.2]] for v in (-5.0, 5.0))
    assert evaluate_predictions(low, y, "multitask") == evaluate_predictions(high, y, "multitask")
    assert evaluate_predictions(low, y, "regression") == evaluate_predictions(high, y, "regression")


def test_a_task_with_one_class_is_left_out_of_the_mean():
    y = [[1, 1], [0, 1], [1, 1]]
    assert evaluate_predictions([[2, 0], [1, 1], [3, 2]], y, "multitask")["roc_auc"] == 1.0
    assert math.isnan(evaluate_predictions([[2], [1]], [[1], [1]], "multitask")["roc_auc"])


def test_one_score_and_two_logits_say_the_same_of_two_classes():
    rng = np.random.default_rng(0)
    logits, y = rng.normal(size=(50, 2)), rng.integers(0, 2, 50)
    assert evaluate_predictions(logits, y, "binary") == evaluate_predictions(logits[:, 1] - logits[:, 0], y, "binary")


def test_regression_scores_are_root_mean_square_and_mean_absolute():
    found = evaluate_predictions([[0.0], [3.0]], torch.tensor([0.0, -1.0]), "regression")
    assert found == pytest.approx({"rmse": math.sqrt(8), "mae": 2.0})


def test_tensors_that_need_gradients_are_read():
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    assert evaluate_predictions(logits, torch.tensor([0, 1]), "binary")["roc_auc"] == 1.0


def test_balanced_accuracy_counts_the_classes_that_are_there():
    assert evaluate_predictions(np.eye(3)[[0, 1, 2]], [0, 1, 1], "multiclass")["balanced_accuracy"] == 0.75


@fixed
@given(seeds)
def test_the_worst_environment_is_the_worst_of_all(seed):
    rng = np.random.default_rng(seed)
    logits, y, place = rng.normal(size=(60, 3)), rng.integers(0, 3, 60), rng.integers(0, 4, 60)
    alone = {
        e: evaluate_predictions(logits[place == e], y[place == e], "multiclass")["accuracy"] for e in np.unique(place)
    }
    value, where = worst_environment(logits, y, "multiclass", place, "accuracy")
    assert value == min(alone.values())
    assert alone[where] == value


def test_the_worst_error_is_the_largest_and_undefined_environments_are_passed_over():
    assert worst_environment([0.0, 5.0], [0.0, 0.0], "regression", [0, 1], "rmse") == (5.0, 1)
    logits = [[0, 1], [1, 0], [1, 0], [0, 1]]
    assert worst_environment(logits, [1, 1, 0, 1], "binary", [7, 7, 8, 8], "roc_auc") == (1.0, 8)
    value, where = worst_environment(logits, [1, 1, 1, 1], "binary", [7, 7, 8, 8], "roc_auc")
    assert (math.isnan(value), where) == (True, -1)
    assert worst_environment([0.0, 5.0], [0.0, math.nan], "regression", [0, 1], "rmse") == (0.0, 0)
    assert set(HIGHER_IS_BETTER) >= {"accuracy", "roc_auc", "rmse"}


@pytest.mark.parametrize("true", [0.5, 0.9, 1.0])
def test_the_correction_for_noise_gives_back_the_accuracy_on_true_labels(true):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 400_000)
    guess = np.where(rng.random(len(label)) < true, label, (label + 1) % 3)
    noisy = np.where(rng.random(len(label)) < 0.1, rng.integers(0, 3, len(label)), label)
    assert noise_corrected_accuracy(np.mean(guess == noisy), 0.1, 3) == pytest.approx(true, abs=0.005)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: evaluate_predictions([[1.0, 0]], [0, 1], "binary"), ShapeError, "1 predictions for 2 targets"),
        (lambda: evaluate_predictions([[1.0], [2]], [0, 1], "multiclass"), ShapeError, "expected one per class"),
        (lambda: evaluate_predictions([[1.0, 2, 3]], [0], "binary"), ShapeError, "expected 1 or 2"),
        (lambda: evaluate_predictions([[1.0, 2]], [[0]], "multitask"), ShapeError, "for 1 tasks"),
        (lambda: evaluate_predictions([[1.0, 2]], [[0]], "regression"), ShapeError, "for 1 targets"),
        (lambda: evaluate_predictions([[math.nan, 0]], [0], "binary"), DataError, "the model diverged"),
        (lambda: evaluate_predictions([[1.0]], [math.nan], "regression"), DataError, "no target is known"),
        (lambda: evaluate_predictions([[1.0]], [0], "ranking"), ConfigError, "expected binary"),
        (lambda: worst_environment([1.0], [0], "regression", [0], "mcc"), ConfigError, "has no score 'mcc'"),
        (lambda: worst_environment([1.0], [0], "regression", [0, 1], "rmse"), ShapeError, "2 environments"),
        (lambda: noise_corrected_accuracy(0.5, 1.0, 3), ConfigError, "below 1"),
        (lambda: graph_features([]), DataError, "no graphs"),
    ],
)
def test_a_wrong_call_is_refused_in_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("relative", [False, True])
def test_features_are_shares_and_moments_and_know_no_sizes(relative):
    graphs = load_shift_set("triangles", size=50).train
    found = graph_features(graphs, relative=relative)
    width = 10 if relative else 21
    assert found.shape == (len(graphs), 14 + width + 2)
    assert found[:, :14].sum(axis=1) == pytest.approx(np.ones(len(graphs)))
    assert found[:, 14 : 14 + width].sum(axis=1) == pytest.approx(np.ones(len(graphs)))
    for row, graph in zip(found, graphs, strict=True):
        degree = np.bincount(graph.edge_index[0], minlength=graph.num_nodes)
        degree = degree / (graph.num_nodes - 1) if relative else degree
        assert row[-2:].tolist() == pytest.approx([degree.mean(), degree.std()], abs=1e-5)
    alone = np.concatenate([graph_features([graph], relative=relative) for graph in graphs[:5]])
    assert found[:5].tolist() == alone.tolist()


def test_forests_learn_what_degrees_tell_and_constants_what_shares_tell():
    shift = load_shift_set("wheel_star", size=600)
    rows = {row.method: row.scores for row in cheap_baselines(shift, trees=50)}
    assert list(rows) == ["constant (training)", "constant (best)", "random forest", "balanced forest"]
    assert set(rows["random forest"]) == {"id_val", "id_test", "ood_val", "ood_test"}
    assert rows["constant (best)"]["ood_test"]["accuracy"] == 0.5
    assert rows["random forest"]["id_test"]["accuracy"] > 0.7
    assert rows["random forest"] == {r.method: r.scores for r in cheap_baselines(shift, trees=50)}["random forest"]
