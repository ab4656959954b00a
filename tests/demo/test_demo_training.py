import copy

import pytest
import torch
from torch import nn

from evenflow.data import Split, digits
from evenflow.demo import train
from evenflow.demo.training import BATCH, EVERY, accuracy, batches, steps_of
from evenflow.errors import ParameterValueError


@pytest.fixture(scope="module")
def data():
    split = digits()
    return Split(split.inputs[:300], split.targets[:300], split.test_inputs[:50], split.test_targets[:50])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.0), nn.Linear(32, 10))


def test_equal_models_end_with_equal_bits(model, data):
    twin = copy.deepcopy(model)
    first = train(model, data, epochs=2)
    torch.manual_seed(99)
    second = train(twin, data, epochs=2)
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_the_number_of_threads_changes_no_bit(model, data):
    twin = copy.deepcopy(model)
    before = torch.get_num_threads()
    first = train(model, data, epochs=1)
    torch.set_num_threads(2)
    try:
        assert train(twin, data, epochs=1) == first
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_every_step_ticks_and_every_tenth_is_measured(model, data):
    ticks = []
    run = train(model, data, lambda: ticks.append(None), epochs=3)
    assert len(ticks) == steps_of(data, 3) == 15
    assert run.steps == (*range(0, 15, EVERY), 15)
    assert len(run.loss) == len(run.accuracy) == len(run.steps)


def test_training_trains(model, data):
    run = train(model, data, epochs=60)
    assert run.loss[-1] < 0.5 * run.loss[0]
    assert run.accuracy[-1] > run.accuracy[0] + 0.3


def test_every_epoch_visits_every_sample_once_in_another_order():
    rows = list(batches(300, 2))
    epochs = torch.cat(rows[:5]), torch.cat(rows[5:])
    assert [len(part) for part in rows[:5]] == [BATCH] * 4 + [300 - 4 * BATCH]
    assert all(torch.equal(epoch.sort().values, torch.arange(300)) for epoch in epochs)
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("training", [True, False])
def test_accuracy_is_measured_in_evaluation_mode_and_every_mode_put_back(model, data, training):
    modes = []
    model.train(training)
    model[1].eval()
    model[0].register_forward_hook(lambda module, *_: modes.append(module.training))
    before = [module.training for module in model.modules()]
    statistics = model[1].running_mean.clone()
    accuracy(model, data)
    assert modes == [False]
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[1].running_mean, statistics)


def test_modes_are_put_back_when_the_model_raises(model, data):
    def fail(*_):
        raise KeyError

    model[0].register_forward_hook(fail)
    with pytest.raises(KeyError):
        accuracy(model, data)
    assert model.training


def test_accuracy_counts_right_answers(data):
    class Oracle(nn.Module):
        def forward(self, inputs):
            answers = nn.functional.one_hot(data.test_targets, 10).float()
            answers[:10] = answers[:10].roll(1, dims=1)
            return answers

    assert accuracy(Oracle(), data) == pytest.approx(40 / 50)


def test_no_epoch_is_refused(model, data):
    with pytest.raises(ParameterValueError, match="epochs"):
        train(model, data, epochs=0)
