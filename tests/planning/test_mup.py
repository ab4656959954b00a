"""Maximal update parametrisation: what grows with the width, and what does not."""

import pytest
import torch
from torch import nn

from evenflow.errors import PlanError
from evenflow.planning import initialize_, plan


def network(width):
    return nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [None, X], ids=["structure", "batch"])
def test_only_what_reads_the_width_learns_slower(batch):
    made = plan(network(128), batch, mup_base=network(32))
    scales = {row.name: row.lr_scale for row in made.rows}
    assert scales == {"0.weight": 1, "0.bias": 1, "2.weight": 0.25, "2.bias": 1, "4.weight": 0.25, "4.bias": 1}


def test_outputs_shrink_as_the_root_of_the_growth():
    wide, narrow = (plan(network(width), X, mup_base=network(32)).row("4.weight") for width in (512, 32))
    assert wide.aim == pytest.approx(narrow.aim / 4)
    assert wide.measured == pytest.approx(wide.aim, rel=0.03)
    assert narrow.lr_scale == 1


def test_the_groups_hold_every_trainable_parameter_once():
    model = network(64)
    model[0].bias.requires_grad_(False)
    groups = initialize_(model, X, mup_base=network(32)).parameter_groups(0.1)
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert {group["lr"] for group in groups} == {0.1, 0.05}


def first_move(width, groups):
    """By how much one step of Adam moves the outputs."""
    model = network(width)
    made = initialize_(model, X, mup_base=network(64))
    optimizer = torch.optim.Adam(groups(made, model), lr=0.003)
    before = model(X)
    torch.nn.functional.cross_entropy(before, torch.arange(64) % 4).backward()
    optimizer.step()
    return float((model(X) - before).detach().square().mean().sqrt())


def test_one_step_of_adam_moves_the_outputs_alike_at_every_width():
    widths = (64, 256, 1024)
    with_scales = [first_move(width, lambda made, _: made.parameter_groups(0.003)) for width in widths]
    without = [first_move(width, lambda _, model: model.parameters()) for width in widths]
    assert max(with_scales) / min(with_scales) < 2.5
    assert max(without) / min(without) > 5


def test_another_architecture_is_no_base():
    with pytest.raises(PlanError, match=r"mup_base must have the parameters of the model; 6\.bias"):
        plan(nn.Sequential(*network(8), nn.ReLU(), nn.Linear(4, 4)), mup_base=network(8))


def test_a_plan_from_a_file_holds_no_parameters():
    made = plan(network(8))
    with pytest.raises(PlanError, match="holds no model"):
        type(made).from_dict(made.to_dict()).parameter_groups(0.1)
