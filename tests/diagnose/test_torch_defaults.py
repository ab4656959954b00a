"""What torch's default initialisation does to a deep ReLU network, and what a check makes of it."""

import torch
from torch import nn

import evenflow as ef

DEPTH, WIDTH = 30, 512


def test_peer_torch_default_linear_with_relu_carries_biases_only():
    torch.manual_seed(0)
    layers = [layer for _ in range(DEPTH) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    model = nn.Sequential(*layers)

    diagnosis = ef.check(model, torch.randn(64, WIDTH))

    last = diagnosis.layers[-1].signal
    assert 0.005 < last.rms < 0.05
    assert last.spread < 1e-4 * last.rms
    assert [finding.rule for finding in diagnosis.findings[:2]] == ["gain-mismatch", "vanishing-signal"]
    assert ef.treat_(model, diagnosis).after.ok
