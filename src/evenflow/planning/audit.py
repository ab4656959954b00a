"""Proof that a plan reached every tensor of a model, and each once."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from evenflow.errors import PlanError
from evenflow.planning.row import PARAMETER, Row


@dataclass(frozen=True, slots=True)
class Audit:
    """What became of the parameters and buffers of a model, each in exactly one of the two.

    Attributes:
        written: Names of the tensors that were written, once each.
        kept: Names of those that a row left as they were; nothing wrote to them.
        parameters: Number of elements of the written parameters.
    """

    written: tuple[str, ...]
    kept: tuple[str, ...]
    parameters: int

    def __str__(self) -> str:
        """One sentence."""
        kept = f", {len(self.kept)} left as they were" if self.kept else ""
        return f"{len(self.written)} tensors written once each ({self.parameters:,} parameters){kept}"


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer once, by its first name."""
    return dict(model.named_parameters()) | dict(model.named_buffers())


def require_fit(rows: tuple[Row, ...], model: nn.Module) -> dict[str, Tensor]:
    """Return the model's tensors by name if the rows and they belong together, one to one.

    Raises:
        PlanError: A tensor has no row or two, a row has no tensor or one of another shape or without values, or two
            tensors share memory.
    """
    kind = type(model).__name__
    tensors = tensors_of(model)
    names = [row.name for row in rows]
    doubled = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if doubled is not None:
        raise PlanError(f"the plan has two rows for {doubled}; every tensor is written once")
    absent = [name for name in names if name not in tensors]
    if absent:
        raise PlanError(f"{kind} has no tensor {_some(absent)}; the plan was made for another model")
    forgotten = [name for name in tensors if name not in set(names)]
    if forgotten:
        raise PlanError(f"the plan has no row for {_some(forgotten)} of {kind}; it was made for another model")
    for row in rows:
        _require_row_fits(row, tensors[row.name], kind)
    _require_apart({row.name: tensors[row.name] for row in rows})
    return tensors


def _require_row_fits(row: Row, tensor: Tensor, kind: str) -> None:
    if tuple(tensor.shape) != row.shape:
        raise PlanError(f"{row.name} has shape {tuple(tensor.shape)} in {kind}, and {row.shape} in the plan")
    if tensor.is_meta and row.rule != "keep":
        raise PlanError(
            f"{row.name} lies on the meta device, where there is nothing to write to; call "
            "model.to_empty(device='cpu') first"
        )
    drawn = row.rule not in ("keep", "constant", "segments")
    if drawn and not (tensor.is_floating_point() or tensor.is_complex()):
        raise PlanError(f"{row.name} has dtype {tensor.dtype}, which no random draw fits")


def _require_apart(tensors: Mapping[str, Tensor]) -> None:
    """Raise where two tensors lie over each other, so that the second write would undo the first."""
    places: dict[int, list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        here = local(tensor)
        if here.layout == torch.strided and here.numel() and not here.is_meta:
            low = here.data_ptr()
            steps = zip(here.shape, here.stride(), strict=True)
            reach = sum((size - 1) * stride for size, stride in steps) + 1
            places.setdefault(here.untyped_storage().data_ptr(), []).append(
                (low, low + reach * here.element_size(), name)
            )
    for spans in places.values():
        spans.sort()
        for (_, end, first), (start, _, second) in pairwise(spans):
            if start < end:
                raise PlanError(f"{first} and {second} share memory, so that one would overwrite the other; tie them")


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor that lies here; the tensor itself, if it is whole."""
    part = getattr(tensor, "_local_tensor", tensor)
    return part if isinstance(part, Tensor) else tensor


def audited(rows: tuple[Row, ...], tensors: Mapping[str, Tensor], before: Mapping[str, int]) -> Audit:
    """Compare the versions of all tensors with those before the plan was carried out.

    Raises:
        PlanError: A tensor that should have been written was not, or the other way round.
    """
    written = tuple(row.name for row in rows if row.rule != "keep")
    kept = tuple(row.name for row in rows if row.rule == "keep")
    changed = {name for name, version in versions(tensors).items() if version != before[name]}
    missed = [name for name in written if name not in changed and local(tensors[name]).numel()]
    touched = [name for name in kept if name in changed]
    if missed or touched:
        raise PlanError(f"the audit failed: {_some(missed or touched)} was {'not ' if missed else ''}written")
    parameters = sum(tensors[row.name].numel() for row in rows if row.rule != "keep" and row.kind == PARAMETER)
    return Audit(written, kept, parameters)


def versions(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How often each tensor was written to, as autograd counts."""
    return {name: tensor._version for name, tensor in tensors.items() if not tensor.is_inference()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
