"""What the tests of clipping share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


class _Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="session")
def operators_of():
    """Run a call and list the names of the torch operators that it ran."""

    def run(call: Callable[[], object]) -> list[str]:
        with _Recorder() as recorder:
            call()
        return recorder.names

    return run


@pytest.fixture(scope="session")
def with_gradients():
    """Make a parameter for each gradient, with a copy of it as `.grad`."""

    def make(*gradients: Tensor) -> list[nn.Parameter]:
        parameters = [nn.Parameter(torch.zeros_like(gradient)) for gradient in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        return parameters

    return make
