"""What a layer has to know about the call that it is in."""

import sys
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


def is_recomputation() -> bool:
    """Tell whether this forward pass runs inside a backward pass, as gradient checkpointing makes it do."""
    # Compiled code recomputes without running this again.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def values_are_hidden() -> bool:
    """Tell whether nothing is decided from values: the call is traced, vectorised, or differentiated forward."""
    return is_traced() or is_of_a_function() or is_differentiated_forward()


def is_traced() -> bool:
    """Tell whether this call is compiled or seen by a mode, so that it must be an operator."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def is_of_a_function() -> bool:
    """Tell whether this call is inside a transformation of `torch.func`."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_differentiated_forward() -> bool:
    """Tell whether derivatives go forward with the values."""
    if torch.compiler.is_compiling():
        return False
    transforms = torch._C._functorch.get_interpreter_stack() or ()
    forward = torch._C._functorch.TransformType.Jvp
    return forward_ad._current_level >= 0 or any(transform.key() == forward for transform in transforms)


def is_recorded() -> bool:
    """Tell whether TorchScript's tracer records this call: it sees torch's functions, and values only once."""
    return torch._C._get_tracing_state() is not None


def is_watched() -> bool:
    """Tell whether a function mode sees this call, as a measurement's does: each function has to be torch's own."""
    if torch.compiler.is_compiling():
        return False
    modes = map(torch._C._get_function_stack_at, range(torch._C._len_torch_function_stack()))
    return any(not isinstance(mode, DeviceContext) for mode in modes)


def has_wrappers(tensors: Iterable[Tensor | None]) -> bool:
    """Tell whether one of the tensors has no memory of its own: it wraps others, as a DTensor does, or is a fake."""
    if torch.compiler.is_compiling():
        return False
    return any(is_traceable_wrapper_subclass(tensor) or _is_fake(tensor) for tensor in tensors)


def _is_fake(tensor: Tensor | None) -> bool:
    # A plain tensor is none, and nothing is if nobody has loaded their module.
    module = None if type(tensor) is Tensor else sys.modules.get("torch._subclasses.fake_tensor")
    return module is not None and isinstance(tensor, module.FakeTensor)
