"""What several tests of operations on models watch."""

import pytest

from evenflow.norm.modules import EvenBatchNorm


@pytest.fixture
def calls(monkeypatch):
    """The activations that layers applied themselves, in order."""
    seen = []
    original = EvenBatchNorm.forward

    def forward(self, x, residual=None, *, activation=None):
        seen.append((activation, residual is not None))
        return original(self, x, residual, activation=activation)

    monkeypatch.setattr(EvenBatchNorm, "forward", forward)
    return seen
