"""A later round of a treatment that fails does not cost the rounds that helped."""

import torch
from torch import nn

from evenflow.diagnose import check, treat_


class ReadsItsWeights(nn.Module):
    """Constant sigmoid layers, whose forward pass reads a weight directly: no BatchNorm can be put behind them."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(8))
        self.head = nn.Linear(64, 10)
        for layer in self.layers:
            nn.init.constant_(layer.weight, 0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        for layer in self.layers:
            x = torch.sigmoid(layer(x)) + 0 * layer.weight.sum()
        return self.head(x)


def test_the_first_round_is_kept_when_the_second_breaks_the_model(zoo):
    torch.manual_seed(0)
    model = ReadsItsWeights()
    diagnosis = check(model, zoo.digit_vectors())
    assert "symmetric" in {finding.rule for finding in diagnosis.findings}

    treatment = treat_(model, diagnosis)

    assert treatment.kept
    assert {remedy.kind for remedy in treatment.applied} == {"reinitialize"}
    assert not treatment.after.ok
    assert all(isinstance(layer, nn.Linear) for layer in model.layers)
    assert model(torch.zeros(2, 64)).shape == (2, 10)
