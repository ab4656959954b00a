"""What `evenflow.initialize_` promises, on every network of the zoo, judged by torch's own hooks."""

import math
import random

import numpy as np
import pytest
import torch
from measures import measure, outputs, worst_gradient, worst_size
from networks import NETWORKS

import evenflow as ef

NAMES = sorted(NETWORKS)


@pytest.fixture(scope="module", params=NAMES)
def treated(request):
    """A network after `initialize_`, its batch, its plan, and what torch's hooks then measure."""
    network = NETWORKS[request.param]
    torch.manual_seed(0)
    model, batch = network.build(), network.batch()
    plan = ef.initialize_(model, batch)
    torch.manual_seed(0)  # for what a network draws in its forward pass
    return network, plan, measure(model, batch)


def test_the_zoo_is_large():
    assert len(NETWORKS) >= 40


def test_every_output_has_the_size_that_its_rule_means(treated):
    _, plan, (_, sizes, _) = treated
    ones = {row.layer: 1.0 for row in plan.rows if row.aim == 1 and row.role != "embedding"}
    assert worst_size(sizes, ones) < 1.4
    # A branch that reads next to nothing is not blown up; one that the network uses twice is measured once.
    hidden = {row.layer: row.aim for row in plan.rows if row.aim and row.role == "hidden"}
    assert worst_size(sizes, hidden) < 1.4


def test_gradients_differ_by_less_than_ten_times(treated):
    network, plan, (_, _, gradients) = treated
    allowed = (*outputs(plan), *network.uneven)
    judged = {name: size for name, size in gradients.items() if not name.endswith(allowed)} if allowed else gradients
    factor, layer = worst_gradient(judged)
    assert factor < 10, layer


def test_the_loss_of_a_classifier_starts_at_chance(treated):
    network, _, (loss, _, _) = treated
    if network.classes:
        assert 0.9 < loss / math.log(network.classes) < 1.1


def test_nothing_is_unknown_and_every_tensor_is_accounted_for(treated):
    network, plan, _ = treated
    assert plan.unknown == ()
    model = network.build()
    names = [*dict(model.named_parameters()), *dict(model.named_buffers())]
    assert sorted((*plan.audit.written, *plan.audit.kept)) == sorted(names)


def states(model):
    modes = {name: module.training for name, module in model.named_modules()}
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in model.named_modules()}
    gradients = {name: (p.grad, p.requires_grad) for name, p in model.named_parameters()}
    rates = {name: getattr(module, "dropout", None) for name, module in model.named_modules()}
    return modes, hooks, gradients, {name: rate for name, rate in rates.items() if isinstance(rate, float)}


def random_states():
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002  # the state that users' code may depend on
    return torch.get_rng_state().tolist(), numpy_state, random.getstate()


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_changes_nothing_and_initialising_only_the_values(name):
    network = NETWORKS[name]
    torch.manual_seed(0)
    model, batch = network.build().eval(), network.batch()
    before, values = states(model), {key: value.clone() for key, value in model.state_dict().items()}
    randomness = random_states()
    plan = ef.plan(model, batch)
    assert states(model) == before
    assert all(torch.equal(value, values[key]) for key, value in model.state_dict().items())
    plan.apply_()
    assert states(model) == before
    assert random_states() == randomness


@pytest.mark.parametrize("name", NAMES)
def test_without_a_batch_every_tensor_still_has_a_row(name):
    model = NETWORKS[name].build()
    plan = ef.plan(model)
    assert "without a batch" in plan.notes[0]
    audit = plan.apply_()
    assert len(audit.written) + len(audit.kept) == len(dict(model.named_parameters()) | dict(model.named_buffers()))
