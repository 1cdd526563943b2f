import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.pipelines.randomness import CounterRandomness, seed_all

keys = st.lists(st.integers(0, 2**40), min_size=1, max_size=5)


def draw():
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def trainer_at(batch, rank=0):
    return SimpleNamespace(global_rank=rank, fit_loop=SimpleNamespace(total_batch_idx=batch))


def started(trainer, seed=None):
    callback = CounterRandomness(seed)
    callback.setup(trainer, None, "fit")
    return callback


@given(keys)
@settings(max_examples=25)
def test_the_draws_are_a_function_of_the_key_and_not_of_history(key):
    seed_all(*key)
    first = draw()
    draw()
    seed_all(*key)
    assert draw() == first


@given(keys, keys)
@settings(max_examples=25)
def test_different_keys_draw_differently(key, other):
    if len(key) != len(other) or key == other:
        return
    seed_all(*key)
    first = draw()
    seed_all(*other)
    assert all(a != b for a, b in zip(first, draw(), strict=True))


def test_the_three_generators_are_not_seeded_alike():
    seed_all(3)
    ours = float(np.random.rand())
    state = random.getstate()
    seed_all(3)
    assert random.getstate() == state
    assert random.random() != ours


def test_every_stage_rank_and_batch_has_its_own_randomness():
    seen = set()
    for rank in (0, 1):
        for batch in (0, 1, 2):
            trainer = trainer_at(batch, rank)
            callback = started(trainer, seed=5)
            callback.on_train_batch_start(trainer, None, None, batch)
            seen.add(draw())
            callback.on_validation_batch_start(trainer, None, None, 0)
            seen.add(draw())
            callback.on_validation_batch_start(trainer, None, None, 0, dataloader_idx=1)
            seen.add(draw())
        callback.on_test_batch_start(trainer, None, None, 0)
        seen.add(draw())
        callback.on_predict_batch_start(trainer, None, None, 0)
        seen.add(draw())
    assert len(seen) == 2 * (3 * 3 + 2)


@pytest.mark.parametrize(("given_seed", "environment", "expected"), [(4, "9", 4), (None, "9", 9), (None, None, 0)])
def test_the_seed_is_the_argument_or_that_of_the_run(monkeypatch, given_seed, environment, expected):
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    if environment is not None:
        monkeypatch.setenv("PL_GLOBAL_SEED", environment)
    trainer = trainer_at(7)
    started(trainer, given_seed).on_train_batch_start(trainer, None, None, 0)
    first = draw()
    started(trainer, expected).on_train_batch_start(trainer, None, None, 0)
    assert draw() == first
