"""What counts as the same computation before and after a change: all that rounding explains, and nothing else."""

import pytest
import torch
from torch import nn

from evenflow.errors import TreatmentError
from evenflow.norm.surgery.trial import Yardstick
from evenflow.probe.batch import parse_batch

ROUNDING = 2.0**-23


class Kink(nn.Module):
    """A ReLU whose argument rounding may carry across zero, beside something that it does not move."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.other = nn.Parameter(torch.ones(1))
        self.moved, self.factor = ROUNDING, 1.0

    def forward(self, x):
        z = torch.relu(self.weight * x - 1 + self.moved) + self.other * x
        return z + (self.factor - 1) * (z - z.detach())


def check_after(**changes):
    model = Kink()
    yardstick = Yardstick(model, parse_batch(torch.ones(1, 1)), (True,))
    for name, value in changes.items():
        setattr(model, name, value)
    yardstick.check()


def test_a_step_that_rounding_explains_is_no_difference():
    check_after(moved=-ROUNDING)


@pytest.mark.parametrize("changes", [{"factor": 1.01}, {"moved": -0.01}, {"moved": 0.01}], ids=str)
def test_another_computation_is_one(changes):
    with pytest.raises(TreatmentError, match="does not compute the same"):
        check_after(**changes)
