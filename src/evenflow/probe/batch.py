"""What a batch may look like, and how it is handed to a model."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from evenflow.errors import BatchError

FORMS = "a tensor, (inputs, targets), or a dict of keyword inputs"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch split into the model's arguments and the targets.

    Attributes:
        args: Positional inputs.
        kwargs: Keyword inputs.
        targets: What the loss compares the output with; None when the batch has none.
        samples: Length of dimension 0 of the first tensor.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: Any
    samples: int

    def run(self, model: nn.Module) -> Any:
        """Call the model on copies of the inputs, so that in-place changes stay its own."""
        return model(*map(copied, self.args), **{key: copied(value) for key, value in self.kwargs.items()})

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every input tensor with its position or keyword."""
        for place, value in [*enumerate(self.args), *self.kwargs.items()]:
            found = list(tensors_in(value))
            for number, tensor in enumerate(found):
                yield (f"{place}" if len(found) == 1 else f"{place}.{number}"), tensor

    def describe(self) -> str:
        """Shapes and dtypes of the inputs, for messages."""
        shown = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for _, t in self.named_tensors()]
        return " and ".join(shown)


def parse_batch(batch: object) -> Batch:
    """Split a batch into inputs and targets.

    Args:
        batch: A tensor; `(inputs, targets)`, where inputs is a tensor, a tuple of positional or a dict of keyword
            inputs; or a dict of keyword inputs.

    Raises:
        BatchError: It has another form, holds no tensor, or is empty.
    """
    args, kwargs, targets = _split(batch)
    parsed = Batch(args, kwargs, targets, 0)
    first = next(parsed.named_tensors(), None)
    if first is None:
        found = ", ".join(type(value).__name__ for value in (*args, *kwargs.values())) or "nothing"
        raise BatchError(
            f"the batch holds no input tensor (but {found}); pass {FORMS}; torch.as_tensor converts arrays"
        )
    tensor = first[1]
    samples = tensor.shape[0] if tensor.dim() else 1
    if tensor.numel() == 0:
        raise BatchError(
            f"the batch is empty (its first input has shape {tuple(tensor.shape)}); pass at least one sample, better 32"
        )
    return Batch(args, kwargs, targets, samples)


def _split(batch: object) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
    if isinstance(batch, Tensor):
        return (batch,), {}, None
    if isinstance(batch, Mapping):
        return (), _keywords(batch), None
    if isinstance(batch, (tuple, list)):
        if len(batch) not in (1, 2):
            raise BatchError(
                f"a batch of {len(batch)} parts is ambiguous; pass (inputs, targets), with several inputs as a tuple: "
                "((first, second), targets)"
            )
        inputs, targets = batch[0], batch[1] if len(batch) == 2 else None
        if isinstance(inputs, Mapping):
            return (), _keywords(inputs), targets
        return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}, targets
    raise BatchError(f"a batch must be {FORMS}; got {type(batch).__name__}{_hint(batch)}")


def _hint(batch: object) -> str:
    if hasattr(batch, "__array__"):
        return ": convert it with torch.as_tensor"
    return ": take one batch of it with next(iter(...))" if isinstance(batch, Iterable) else ""


def _keywords(inputs: Mapping[Any, Any]) -> dict[str, Any]:
    wrong = [key for key in inputs if not isinstance(key, str)]
    if wrong:
        raise BatchError(f"a dict batch is passed as keyword arguments, so its keys must be strings; got {wrong[0]!r}")
    return dict(inputs)


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested mappings, tuples, lists and dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif _is_record(value):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


def copied(value: Any) -> Any:
    """The same structure with every tensor copied; copies require a gradient where the originals do."""
    if isinstance(value, Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, tuple):
        parts = [copied(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if not isinstance(value, (MutableMapping, list)) and not _is_record(value):
        return value
    same = copy(value)
    if isinstance(value, MutableMapping):
        for key, part in value.items():
            same[key] = copied(part)
    elif isinstance(value, list):
        same[:] = map(copied, value)
    else:
        for field in fields(value):
            object.__setattr__(same, field.name, copied(getattr(value, field.name)))
    return same


def _is_record(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, type)


def is_signal(value: Any) -> bool:
    """Whether a value is a dense tensor that gradients can flow through."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_nested:
        return False
    return value.is_floating_point() or value.is_complex()


def main_tensor(output: Any) -> Tensor | None:
    """The tensor of a model's output that predicts: `logits` if it has one, else its first real tensor but the loss."""
    logits = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(logits, Tensor) and is_signal(logits):
        return logits
    if isinstance(output, Mapping):
        output = {key: value for key, value in output.items() if key != "loss"} or output
    return next(filter(is_signal, tensors_in(output)), None)
