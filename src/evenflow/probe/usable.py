"""Which models can be measured, and what is inside their wrappers."""

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from evenflow.errors import ModelError, NoParametersError, ParameterTypeError


def unwrapped(model: object) -> nn.Module:
    """The module inside `torch.compile` and data-parallel wrappers.

    Raises:
        ParameterTypeError: It is no module at all.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ParameterTypeError(f"model must be an instance; got the class {model.__name__}: call it first")
    if not isinstance(model, nn.Module):
        raise ParameterTypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        return unwrapped(inner)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrapped(model.module)
    return model


def require_usable(model: nn.Module) -> None:
    """Raise unless the model has parameters that can be trained.

    Raises:
        NoParametersError: It has none, or all are frozen.
        ModelError: It is scripted, lazy, without values, or was built under inference mode.
    """
    kind = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(f"{kind} is a TorchScript module, whose inside cannot be seen; pass the eager module")
    parameters = dict(model.named_parameters())
    if not parameters:
        raise NoParametersError(f"{kind} has no parameters, so there is nothing to train; pass the network itself")
    for name, parameter in parameters.items():
        if is_lazy(parameter):
            raise ModelError(f"{kind} is lazy ({name} has no shape yet); run it once on one batch, then ask again")
        if parameter.is_meta:
            raise ModelError(
                f"{kind} lies on the meta device ({name} has no values); materialise it first: "
                "model.to_empty(device='cpu') and initialise it"
            )
        if parameter.is_inference():
            raise ModelError(
                f"{kind} was built under torch.inference_mode, so {name} can never be trained; build it outside"
            )
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise NoParametersError(
            f"every parameter of {kind} is frozen (requires_grad=False), so no gradient flows; unfreeze some, for "
            "example with model.requires_grad_()"
        )
