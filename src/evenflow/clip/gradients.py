"""Which gradients a clipping function is about, what they are called, and where their numbers are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import GeneratorType
from typing import TypeAlias
from warnings import warn

import torch
from torch import Tensor, nn

from evenflow.callers import stack_level
from evenflow.clip.sharded import here, is_sharded, refuse_flat_parameters
from evenflow.errors import ParameterTypeError, ParameterValueError, TensorDtypeError

Tensors: TypeAlias = Tensor | Iterable[Tensor] | Iterable[tuple[str, Tensor]]
Parameters: TypeAlias = Tensors | nn.Module

_look = attrgetter("dtype", "is_cpu")


@dataclass(frozen=True)
class Gradients:
    """The gradients that a caller is talking about.

    Attributes:
        tensors: The gradients themselves, not copies.
        here: What this process holds of each: the same tensors, unless they are spread over processes.
        looks: The dtypes, each with whether it is on the CPU, that occur in `here`.
        listed: What the caller listed: tensors or (name, tensor) pairs.
        places: The gradient of each of those, in the same order, if it has one.
    """

    tensors: list[Tensor]
    here: list[Tensor]
    looks: set[tuple[torch.dtype, bool]]
    listed: Sequence[Tensor | tuple[str, Tensor]]
    places: Sequence[Tensor | None]

    @property
    def sharded(self) -> bool:
        """Whether some are spread over processes."""
        return self.here is not self.tensors

    def part(self, places: Sequence[int]) -> "Gradients":
        """Return some of the gradients, by their places in `tensors`."""
        tensors = [self.tensors[place] for place in places]
        local = [self.here[place] for place in places] if self.sharded else tensors
        return Gradients(tensors, local, self.looks, self.listed, self.places)

    def origins(self) -> list[int]:
        """Return, for each of `tensors`, the first place where the caller lists it."""
        present = [place for place, tensor in enumerate(self.places) if tensor is not None]
        if len(present) == len(self.tensors):
            return present
        first: dict[int, int] = {}
        for place in present:
            first.setdefault(id(self.places[place]), place)
        return [first[id(tensor)] for tensor in self.tensors]

    def name(self, gradient: Tensor) -> str:
        """Return what the caller calls one of `tensors`: its name, or its place in the list."""
        place = next(place for place, tensor in enumerate(self.places) if tensor is gradient)
        item = self.listed[place]
        return item[0] if isinstance(item, tuple) else f"tensor {place}"

    def label(self, gradient: Tensor) -> str:
        """Say what to call one of `tensors` in a message."""
        name = self.name(gradient)
        named = any(isinstance(item, tuple) for item in self.listed)
        return f"{repr(name) if named else name} of shape {tuple(gradient.shape)}"


def gradients_of(parameters: Parameters) -> Gradients:
    """Collect the gradients of the parameters, each once, and skip parameters that have none.

    Raises:
        ParameterTypeError: `parameters` is not a tensor, a module, or an iterable of tensors or
            (name, tensor) pairs.
        ParameterValueError: A gradient is on the meta device.
        TensorDtypeError: A gradient is neither floating point nor complex.
        ShardingError: The model is wrapped in FullyShardedDataParallel.
    """
    if isinstance(parameters, nn.Module):
        refuse_flat_parameters(parameters)
        parameters = list(parameters.named_parameters())
    listed = _listed(parameters)
    return gradients_from(without_names(listed), listed)


def gradients_from(parameters: list[Tensor], listed: Sequence[Tensor | tuple[str, Tensor]]) -> Gradients:
    """Collect the gradients of parameters that are known by the names in `listed`, a list as long."""
    refuse_flat_parameters(parameters)
    gradients = [parameter.grad for parameter in parameters]
    present = [gradient for gradient in gradients if gradient is not None]
    if len(set(map(id, present))) < len(present):
        present = list({id(gradient): gradient for gradient in present}.values())
    return _checked(present, listed, gradients)


def gradients_in(tensors: Tensors) -> Gradients:
    """Take tensors that are gradients themselves. One that is listed twice counts twice, as in torch.

    Raises:
        ParameterTypeError: `tensors` is not a tensor or an iterable of tensors or (name, tensor) pairs.
        ParameterValueError: A tensor is on the meta device.
        TensorDtypeError: A tensor is neither floating point nor complex.
    """
    listed = _listed(tensors)
    bare = without_names(listed)
    return _checked(bare, listed, bare)


def values_to_read(tensor: Tensor) -> Tensor:
    """Return the dense tensor of the stored numbers; duplicates in a sparse tensor are added up first."""
    return values_to_write(tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor)


def values_to_write(tensor: Tensor) -> Tensor:
    """Return the dense tensor that holds the stored numbers, sharing memory."""
    if tensor.layout == torch.strided:
        return tensor
    return tensor._values() if tensor.layout == torch.sparse_coo else tensor.values()


def merged_values(tensor: Tensor) -> Tensor:
    """Return the stored numbers for writing; duplicates in a sparse tensor are added up in place first."""
    if tensor.layout == torch.sparse_coo and not tensor.is_coalesced():
        tensor.copy_(tensor.coalesce())
    return values_to_write(tensor)


def plain_number(value: object) -> object:
    """Read a tensor with one value, which torch takes for a number too; return anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def without_names(listed: Sequence[Tensor | tuple[str, Tensor]]) -> list[Tensor]:
    """Return the tensors of a list of tensors or of (name, tensor) pairs.

    Raises:
        ParameterTypeError: An item is neither.
    """
    if all(issubclass(kind, Tensor) for kind in set(map(type, listed))):
        return list(listed)  # type: ignore[arg-type]  # all are tensors
    return [item if isinstance(item, Tensor) else _second(place, item) for place, item in enumerate(listed)]


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
        warn("parameters is an empty generator, perhaps exhausted before; nothing is clipped", stacklevel=stack_level())
    return items


def _second(place: int, item: object) -> Tensor:
    match item:
        case (str(), Tensor() as tensor):
            return tensor
    raise ParameterTypeError(
        f"parameters must hold tensors or (name, tensor) pairs; item {place} is a {type(item).__name__}"
    )


def _checked(
    tensors: list[Tensor], listed: Sequence[Tensor | tuple[str, Tensor]], places: Sequence[Tensor | None]
) -> Gradients:
    """Return the gradients if all have numbers that a norm is defined for."""
    spread = any(map(is_sharded, tensors)) if set(map(type, tensors)) - {Tensor, nn.Parameter} else False
    local = [here(tensor) for tensor in tensors] if spread else tensors
    dtypes, on_cpu = {tensor.dtype for tensor in local}, {tensor.is_cpu for tensor in local}
    # Two passes over one attribute are faster than one over both, which only a mixture needs.
    alike = len(dtypes) <= 1 or len(on_cpu) <= 1
    looks = {(dtype, where) for dtype in dtypes for where in on_cpu} if alike else set(map(_look, local))
    gradients = Gradients(tensors, local, looks, listed, places)
    if not all(on_cpu for _, on_cpu in gradients.looks):
        _refuse_meta(gradients)
    if not all(dtype.is_floating_point or dtype.is_complex for dtype, _ in gradients.looks):
        _refuse_integers(gradients)
    return gradients


def _refuse_meta(gradients: Gradients) -> None:
    for tensor in gradients.tensors:
        if tensor.is_meta:
            raise ParameterValueError(
                f"{gradients.label(tensor)} is on the meta device and has no values; materialise the model "
                "before clipping"
            )


def _refuse_integers(gradients: Gradients) -> None:
    for tensor in gradients.tensors:
        if not (tensor.is_floating_point() or tensor.is_complex()):
            raise TensorDtypeError(f"{gradients.label(tensor)} must be floating point or complex; got {tensor.dtype}")
