"""Leave a model as it was, also when the body raises: its tensors, modes, gradients, hooks, and every random state."""

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_CONTAINERS = (dict, OrderedDict, set, list)
_INTEGER_OF_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Restore a model and the random states of torch, NumPy and Python on exit.

    Of every module: its attributes, and the contents of those that are a plain dict, set or list (its parameters,
    buffers, submodules and hooks lie in such). Of every parameter, buffer and gradient: its values, its memory and its
    `requires_grad`. A tensor is written only when its bits have changed, and its version does not rise, so that a graph
    that was built before can still be run backward.
    """
    with ExitStack() as undo:
        undo.callback(_set_random_states, _random_states())
        gradients = [(p, p.grad) for p in model.parameters()]
        held = [*model.parameters(), *model.buffers(), *(g for _, g in gradients if g is not None)]
        for tensor in {id(tensor): tensor for tensor in held}.values():
            undo.callback(_restore_tensor, tensor, tensor.data, tensor.data.clone(), tensor.requires_grad)
        for parameter, gradient in gradients:
            undo.callback(_restore_gradient, parameter, gradient)
        for module in model.modules():
            contents = [(value, copy(value)) for value in vars(module).values() if type(value) in _CONTAINERS]
            undo.callback(_restore_module, module, module.training, dict(vars(module)), contents)
        yield


def _restore_module(
    module: nn.Module, training: bool, attributes: dict[str, Any], contents: list[tuple[Any, Any]]
) -> None:
    for container, content in contents:
        container.clear()
        (container.extend if isinstance(container, list) else container.update)(content)
    for name in vars(module).keys() - attributes.keys():
        del vars(module)[name]
    vars(module).update(attributes)
    if module.training != training:  # a scripted module keeps it elsewhere
        module.training = training


def _restore_gradient(parameter: Tensor, gradient: Tensor | None) -> None:
    if parameter.grad is not gradient:
        parameter.grad = gradient


def _restore_tensor(tensor: Tensor, memory: Tensor, value: Tensor, requires_grad: bool) -> None:
    """`memory` shares the tensor's storage but not its version: what is written to it does not count as a change."""
    if memory.layout != torch.strided:
        tensor.data = value
    else:
        if tensor.dtype != memory.dtype or not tensor.is_set_to(memory):
            tensor.data = memory
        if not _same_bits(memory, value):
            memory.copy_(value)
    if tensor.requires_grad != requires_grad:
        tensor.detach_().requires_grad_(requires_grad)  # a buffer may have become part of the graph


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.is_quantized or a.is_meta:
        return False
    if a.is_complex():
        a, b = torch.view_as_real(a), torch.view_as_real(b)
    integer = _INTEGER_OF_SIZE[a.element_size()]
    return torch.equal(a.view(integer), b.view(integer))


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
