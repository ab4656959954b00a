"""Which gradients a clipping function is about, what they are called, and where their numbers are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import GeneratorType
from typing import TypeAlias
from warnings import warn

import torch
from torch import Tensor, nn

from evenflow.errors import ParameterTypeError, ParameterValueError, TensorDtypeError

Tensors: TypeAlias = Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]]
Parameters: TypeAlias = Tensors | nn.Module


@dataclass(frozen=True)
class Gradients:
    """The gradients that a caller is talking about.

    Attributes:
        tensors: The gradients themselves, not copies.
        listed: What the caller listed: tensors or (name, tensor) pairs.
        places: The gradient of each of those, in the same order, if it has one.
    """

    tensors: list[Tensor]
    listed: list[Tensor | tuple[str, Tensor]]
    places: Sequence[Tensor | None]

    def label(self, gradient: Tensor) -> str:
        """Say what to call one of `tensors` in a message: its name, or its place in the caller's list."""
        place = next(place for place, tensor in enumerate(self.places) if tensor is gradient)
        item = self.listed[place]
        called = repr(item[0]) if isinstance(item, tuple) else f"tensor {place}"
        return f"{called} of shape {tuple(gradient.shape)}"


def gradients_of(parameters: Parameters) -> Gradients:
    """Collect the gradients of the parameters, each once, and skip parameters that have none.

    Raises:
        ParameterTypeError: `parameters` is not a tensor, a module, or an iterable of tensors or
            (name, tensor) pairs; or a gradient is a DTensor.
        ParameterValueError: A gradient is on the meta device.
        TensorDtypeError: A gradient is neither floating point nor complex.
    """
    if isinstance(parameters, nn.Module):
        parameters = list(parameters.named_parameters())
    listed = _listed(parameters)
    gradients = [parameter.grad for parameter in _without_names(listed)]
    once = {id(gradient): gradient for gradient in gradients if gradient is not None}
    return _checked(Gradients(list(once.values()), listed, gradients))


def gradients_in(tensors: Tensors) -> Gradients:
    """Take tensors that are gradients themselves. One that is listed twice counts twice, as in torch.

    Raises:
        ParameterTypeError: `tensors` is not a tensor or an iterable of tensors or (name, tensor) pairs.
        ParameterValueError: A tensor is on the meta device.
        TensorDtypeError: A tensor is neither floating point nor complex.
    """
    listed = _listed(tensors)
    bare = _without_names(listed)
    return _checked(Gradients(bare, listed, bare))


def values_to_read(tensor: Tensor) -> Tensor:
    """Return the dense tensor of the stored numbers; duplicates in a sparse tensor are added up first."""
    return values_to_write(tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor)


def values_to_write(tensor: Tensor) -> Tensor:
    """Return the dense tensor that holds the stored numbers, sharing memory."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor._values() if tensor.layout == torch.sparse_coo else tensor.values()


def plain_number(value: object) -> object:
    """Read a tensor with one value, which torch takes for a number too; return anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def _listed(tensors: Tensors) -> list[Tensor | tuple[str, Tensor]]:
    if isinstance(tensors, Tensor):
        return [tensors]
    if not isinstance(tensors, Iterable):
        raise ParameterTypeError(
            "parameters must be a tensor, a module, or an iterable of tensors or (name, tensor) pairs; "
            f"got {type(tensors).__name__}"
        )
    items = list(tensors)
    if not items and isinstance(tensors, GeneratorType):
        warn("parameters is an empty generator, perhaps exhausted before; nothing is clipped", stacklevel=5)
    return items


def _without_names(listed: list[Tensor | tuple[str, Tensor]]) -> list[Tensor]:
    return [item if isinstance(item, Tensor) else _second(place, item) for place, item in enumerate(listed)]


def _second(place: int, item: object) -> Tensor:
    match item:
        case (str(), Tensor() as tensor):
            return tensor
    raise ParameterTypeError(
        f"parameters must hold tensors or (name, tensor) pairs; item {place} is a {type(item).__name__}"
    )


def _checked(gradients: Gradients) -> Gradients:
    """Return the gradients if all have numbers that a norm is defined for."""
    for tensor in gradients.tensors:
        if tensor.is_meta:
            raise ParameterValueError(
                f"{gradients.label(tensor)} is on the meta device and has no values; materialise the model "
                "before clipping"
            )
        if any(kind.__name__ == "DTensor" for kind in type(tensor).__mro__):
            raise ParameterTypeError(
                f"{gradients.label(tensor)} is a DTensor, and sharded gradients cannot be clipped here yet; use "
                "torch.nn.utils.clip_grad_norm_"
            )
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise TensorDtypeError(f"{gradients.label(tensor)} must be floating point or complex; got {tensor.dtype}")
    return gradients
