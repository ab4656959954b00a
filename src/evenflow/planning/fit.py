"""Whether a plan and a model belong together: looked at as a whole, before the first tensor is written."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from evenflow.errors import EvenflowError, PlanError
from evenflow.init.constant import held
from evenflow.init.orthogonal import delta_orthogonal_parts, orthogonal_parts
from evenflow.init.tensors import drawable, writable
from evenflow.planning.audit import local, some
from evenflow.planning.row import Row


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by its first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def require_fit(rows: tuple[Row, ...], model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors by name if the rows and they belong together, one to one.

    Raises:
        PlanError: A tensor has no row or two, a row has no tensor or one of another shape, without values or of a kind
            that its rule cannot fill, or two tensors share elements.
        EvenflowError: What the initialiser of a rule raises for its tensor.
    """
    kind = type(model).__name__
    tensors = tensors_of(model)
    names = [row.name for row in rows]
    known = set(names)
    doubled = next((name for name in names if names.count(name) > 1), None) if len(known) < len(names) else None
    if doubled is not None:
        raise PlanError(f"the plan has two rows for {doubled}; every tensor is written once")
    absent = [name for name in names if name not in tensors]
    if absent:
        raise PlanError(f"{kind} has no tensor {some(absent)}; the plan was made for another model")
    forgotten = [name for name in tensors if name not in known]
    if forgotten:
        raise PlanError(f"the plan has no row for {some(forgotten)} of {kind}; it was made for another model")
    for row in rows:
        _require_row_fits(row, tensors[row.name], kind, tensors)
    _require_apart({row.name: tensors[row.name] for row in rows if row.rule != "keep"}, tensors)
    return tensors


def _require_row_fits(row: Row, tensor: Tensor, kind: str, tensors: Mapping[str, Tensor]) -> None:
    if tuple(tensor.shape) != row.shape:
        raise PlanError(f"{row.name} has shape {tuple(tensor.shape)} in {kind}, and {row.shape} in the plan")
    if row.rule == "keep":
        return
    if tensor.is_meta:
        raise PlanError(
            f"{row.name} lies on the meta device, where there is nothing to write to; call "
            "model.to_empty(device='cpu') first"
        )
    if tensor.is_inference():
        raise PlanError(f"{row.name} was made under torch.inference_mode and cannot be written; build {kind} outside")
    if local(tensor).layout != torch.strided:
        raise PlanError(f"{row.name} has the layout {tensor.layout}, whose zeros have no place to write to; keep it")
    with _told_of(row.name):
        _require_writable(row, tensor, tensors)


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Name the tensor in an error that does not."""
    try:
        yield
    except EvenflowError as error:
        raise type(error)(f"{name}: {error}") from None


def _require_writable(row: Row, tensor: Tensor, tensors: Mapping[str, Tensor]) -> None:
    match row.rule:
        case "constant":
            held(writable(tensor).dtype, row.options["value"])
        case "segments":
            for value in row.values:
                held(writable(tensor).dtype, value)
        case "orthogonal":
            orthogonal_parts(tensor, row.blocks)
        case "delta_orthogonal":
            delta_orthogonal_parts(tensor, row.blocks)
        case rule:
            drawable(tensor, real=rule == "truncated_normal")
    if row.rule == "balance":
        _require_balanced(row, tensor, tensors)


def _require_balanced(row: Row, tensor: Tensor, tensors: Mapping[str, Tensor]) -> None:
    name = str(row.options["weight"])
    if name not in tensors:
        raise PlanError(f"it is to balance {name}, and there is no such tensor")
    weight, dim = tensors[name], row.dim
    if tensor.dim() != 1 or not 0 <= dim < weight.dim() or weight.shape[dim] != tensor.shape[0]:
        raise PlanError(
            f"a bias of shape {tuple(tensor.shape)} cannot balance dimension {dim} of {name}, whose shape is "
            f"{tuple(weight.shape)}"
        )


def _require_apart(written: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Raise where a tensor that is written lies over another, so that one would overwrite the other."""
    places: dict[int, list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        here = local(tensor)
        if here.layout == torch.strided and here.numel() and not here.is_meta:
            low = here.data_ptr()
            reach = 1 + sum((size - 1) * stride for size, stride in zip(here.shape, here.stride(), strict=True))
            place = (low, low + reach * here.element_size(), name)
            places.setdefault(here.untyped_storage().data_ptr(), []).append(place)
    for spans in places.values():
        for first, second in _meeting(sorted(spans)):
            if (first in written or second in written) and _share(local(tensors[first]), local(tensors[second])):
                raise PlanError(f"{first} and {second} share memory, so that one would overwrite the other; tie them")


def _meeting(spans: list[tuple[int, int, str]]) -> Iterator[tuple[str, str]]:
    """Pairs of spans that reach into each other, of spans in the order of their beginnings."""
    active: list[tuple[int, str]] = []
    for low, high, name in spans:
        active = [(end, other) for end, other in active if end > low]
        yield from ((other, name) for _, other in active)
        active.append((high, name))


def _share(first: Tensor, second: Tensor) -> bool:
    """Whether two views of one memory have an element in common; columns that lie between each other have none."""
    return bool(np.shares_memory(_Place(first).array, _Place(second).array))


class _Place:
    """Where a tensor lies, as an array whose elements are never looked at; it may be another device's memory."""

    def __init__(self, tensor: Tensor) -> None:
        size = tensor.element_size()
        self.__array_interface__ = {
            "version": 3,
            "shape": tuple(tensor.shape),
            "strides": tuple(stride * size for stride in tensor.stride()),
            "typestr": f"|V{size}",
            "data": (tensor.data_ptr(), True),
        }
        self.array = np.asarray(self)
