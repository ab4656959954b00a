import importlib.util
import sys
from pathlib import Path

import pytest
import torch


def load(name):
    """Import a module that lies beside the tests; two folders may use the same name."""
    spec = importlib.util.spec_from_file_location(f"diagnose_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


ZOO = load("zoo")
FACTORY = load("records_factory")


@pytest.fixture(scope="session")
def make():
    """The factory of hand-written records."""
    return FACTORY


@pytest.fixture(scope="session")
def zoo():
    """Networks whose state of health is known."""
    return ZOO


@pytest.fixture(params=ZOO.HEALTHY)
def healthy(request):
    return ZOO.HEALTHY[request.param]


@pytest.fixture(params=ZOO.SICK)
def sick(request):
    torch.manual_seed(0)
    return ZOO.SICK[request.param]
