import pytest
import torch

from evenflow.probe import NetworkRecord, measure


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def layers_of():
    """Measure a model on inputs alone, and return its layers by name (the first call of each)."""

    def run(model, *inputs):
        record: NetworkRecord = measure(model, (inputs, None))
        return {layer.name: layer for layer in reversed(record.layers)}

    return run
