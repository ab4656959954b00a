"""Leave a model as it was: parameters, buffers, modes, gradients, and every random state, also when the body raises."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_INTEGER_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Restore the model and the random states of torch, NumPy and Python on exit.

    A tensor is written back only when its bits have changed, so that untouched tensors keep their version.
    """
    modules = list(model.modules())
    tables = [(m, dict(m._parameters), dict(m._buffers), dict(m._modules), m.training) for m in modules]
    tensors = _tensors(model)
    values = [(tensor, tensor.detach().clone()) for tensor in tensors]
    leaves = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    states = _random_states()
    try:
        yield
    finally:
        for module, parameters, buffers, children, training in tables:
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
            module._modules.clear()
            module._modules.update(children)
            module.training = training
        with torch.no_grad():
            for tensor, value in values:
                if not _same_bits(tensor, value):
                    tensor.copy_(value)
        for parameter, requires_grad, grad in leaves:
            parameter.requires_grad_(requires_grad)
            parameter.grad = grad
        _set_random_states(states)


def _tensors(model: nn.Module) -> list[Tensor]:
    found = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return list(found.values())


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    if a.is_sparse or a.is_quantized or a.is_meta:
        return False
    integer = _INTEGER_OF_SIZE[a.element_size()]
    return a.shape == b.shape and torch.equal(a.detach().view(integer), b.view(integer))


def _random_states() -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), cuda, np.random.get_state(), random.getstate()  # noqa: NPY002


def _set_random_states(states: tuple[Any, ...]) -> None:
    cpu, cuda, numpy_state, python_state = states
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state_all(cuda)
    np.random.set_state(numpy_state)  # noqa: NPY002
    random.setstate(python_state)
