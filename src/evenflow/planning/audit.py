"""Proof that a plan reached every tensor of a model, and each once."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

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
        raise PlanError(f"the audit failed: {some(missed or touched)} was {'not ' if missed else ''}written")
    parameters = sum(tensors[row.name].numel() for row in rows if row.rule != "keep" and row.kind == PARAMETER)
    return Audit(written, kept, parameters)


def versions(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """How often each tensor was written to, as autograd counts."""
    return {name: tensor._version for name, tensor in tensors.items() if not tensor.is_inference()}


def some(names: list[str]) -> str:
    """The first of several names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
