"""Batches of a shift set: fair, complete, and a function of seed, epoch and rank alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graftable.errors import ConfigError
from graftable.graphs.shift import load_shift_set
from graftable.pipelines.batching import FixedBatchSampler
from graftable.pipelines.shift import ShiftDataModule

sizes = st.integers(1, 60)


@pytest.fixture(scope="module")
def data():
    module = ShiftDataModule("wheel_star", size=20, settings={"mu": [0.9, 0.7]}, batch_size=6)
    module.setup()
    return module


@settings(derandomize=True, max_examples=60, deadline=None)
@given(count=sizes, batch_size=sizes, world_size=st.integers(1, 4), epoch=st.integers(0, 3), shuffle=st.booleans())
def test_all_ranks_together_see_every_graph_in_batches_of_about_one_size(count, batch_size, world_size, epoch, shuffle):
    served = []
    for rank in range(world_size):
        sampler = FixedBatchSampler(count, batch_size, shuffle=shuffle, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        served += batches
    assert {index for batch in served for index in batch} == set(range(count))
    lengths = [len(batch) for batch in served]
    assert max(lengths) <= batch_size
    assert max(lengths) - min(lengths) <= 1
    if world_size == 1:
        assert sum(lengths) == count


def test_a_resumed_epoch_goes_on_where_it_stopped():
    whole = FixedBatchSampler(50, 8, shuffle=True, seed=3)
    whole.set_epoch(2)
    rest = FixedBatchSampler(50, 8, shuffle=True, seed=3)
    rest.resume(2, 4)
    rest.set_epoch(2)
    assert list(rest) == list(whole)[4:]
    rest.set_epoch(1)
    assert list(rest) != list(whole)


def test_batches_carry_features_labels_environments_and_numbers(data):
    seen = []
    for batch in data.train_dataloader():
        assert batch.x.dtype == torch.float32
        assert batch.y.shape == batch.environment.shape == batch.graph_number.shape == (batch.num_graphs,)
        for place, number in enumerate(batch.graph_number.tolist()):
            graph = data.loaded.train[number]
            assert torch.equal(batch[place].x, graph.x)
            assert int(batch.environment[place]) == graph.environment
        seen += batch.graph_number.tolist()
    assert sorted(seen) == list(range(20))


def test_loading_draws_nothing_from_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    module = ShiftDataModule("wheel_star", size=20, batch_size=6)
    module.setup()
    list(module.train_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_a_set_in_memory_is_taken_as_it_is():
    given_set = load_shift_set("wheel_star", size=20)
    module = ShiftDataModule.from_set(given_set, batch_size=50)
    assert module.loaded is given_set
    assert [len(loader) for loader in (*module.val_dataloader(), *module.test_dataloader())] == [1, 1, 1, 1]
    assert next(iter(module.predict_dataloader())).num_graphs == len(given_set.ood_test)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch_size: found 0"),
        ({"seed": -1}, "seed: found -1"),
        ({"data_seed": -2}, "data_seed: found -2"),
        ({"num_workers": -1}, "num_workers: found -1"),
        ({"name": "wheel_stars"}, "Did you mean wheel_star"),
        ({"settings": {"nu": 1}}, "no setting 'nu'"),
    ],
)
def test_a_bad_setting_is_refused_in_one_sentence(wrong, said):
    with pytest.raises(ConfigError, match=said):
        ShiftDataModule(**wrong).setup()
