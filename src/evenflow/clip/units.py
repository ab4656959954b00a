"""Which numbers of a weight belong to one unit: those that make one output of its layer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evenflow.clip.memory import row_blocks
from evenflow.errors import ParameterTypeError, ParameterValueError, ShardingError

_NO_OUTPUT = (nn.Embedding, nn.EmbeddingBag)


@dataclass(frozen=True, slots=True)
class Units:
    """How a weight is made of units.

    Attributes:
        dim: Dimension along which one unit follows another; None where all is one unit.
        groups: Equal pieces of dimension 0, each with units of its own, where `dim` is 1.
    """

    dim: int | None
    groups: int = 1

    def norms(self, tensor: Tensor, order: float) -> Tensor:
        """Compute the norm of each unit in float64, in a shape that `spread` takes back.

        Args:
            tensor: The weight, or its gradient.
            order: Of the norm.
        """
        rows = row_blocks(tensor) if self.dim == 0 and order == 2.0 else None
        if rows is not None:
            return torch.from_numpy(np.sqrt(rows.run("squares"))).view(-1, *[1] * (tensor.dim() - 1))
        grouped = self._grouped(tensor)
        kept = {None: (), 0: (0,), 1: (0, 2) if self.groups > 1 else (1,)}[self.dim]
        reduced = [dim for dim in range(grouped.dim()) if dim not in kept]
        if not reduced:
            return grouped.abs().double()
        return vector_norms(grouped, order, reduced)

    def spread(self, tensor: Tensor, factors: Tensor) -> Tensor:
        """Bring a number for each unit into a shape that multiplies the tensor."""
        if self.groups == 1:
            return factors
        grouped = self._grouped(tensor)
        return factors.expand(grouped.shape[:2] + factors.shape[2:]).reshape(tensor.shape[0], -1, *factors.shape[3:])

    def require_whole_groups(self, cut: Iterable[int], label: str) -> None:
        """Refuse a weight whose groups are cut by what spreads it over processes.

        Raises:
            ShardingError: It is.
        """
        if self.groups > 1 and 0 in cut:
            raise ShardingError(
                f"{label}: the groups of a transposed convolution are cut by sharding dimension 0; leave it out with "
                "exclude, or shard another dimension"
            )

    def _grouped(self, tensor: Tensor) -> Tensor:
        if self.groups == 1:
            return tensor
        return tensor.reshape(self.groups, tensor.shape[0] // self.groups, *tensor.shape[1:])


WHOLE, ROWS, COLUMNS = Units(None), Units(0), Units(1)


def vector_norms(tensor: Tensor, order: float, dims: list[int]) -> Tensor:
    """Compute norms over some dimensions in float64, kept as dimensions of size 1, safe from overflow."""
    if order == float("inf") and tensor.numel() == 0:
        return torch.zeros([1 if dim in dims else size for dim, size in enumerate(tensor.shape)], dtype=torch.float64)
    wide = tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
    scale = 1.0
    if tensor.numel() and (tensor.dtype.to_real() == torch.float64 or order != 2.0):
        largest = float(wide.abs().amax())
        scale = largest if 0 < largest < float("inf") else 1.0
    norms: Tensor = torch.linalg.vector_norm(wide / scale if scale != 1.0 else wide, order, dims, keepdim=True) * scale
    return norms


def units_of(model: nn.Module | None, name: str, parameter: Tensor) -> Units:
    """Return how a parameter is made of units.

    Args:
        model: The model, if known.
        name: The parameter's qualified name in it.
        parameter: The parameter.
    """
    if parameter.dim() <= 1:
        return WHOLE
    owner = _owner(model, name) if model is not None else None
    if isinstance(owner, nn.modules.conv._ConvTransposeNd):
        return Units(1, owner.groups)
    # transformers' Conv1D is a linear layer whose weight is (in, out).
    if type(owner).__name__ == "Conv1D" and parameter.dim() == 2:
        return COLUMNS
    return ROWS


def left_out(model: nn.Module | None, names: Mapping[str, Tensor], exclude: object) -> set[str]:
    """Return the names of the parameters that are not to be clipped.

    Args:
        model: The model, if known.
        names: All parameters by name.
        exclude: "output" for the output layer, None for nothing, or names of modules or parameters.

    Raises:
        ParameterValueError: There is no module or parameter of that name.
        ParameterTypeError: It is none of these.
    """
    if exclude is None:
        return set()
    if isinstance(exclude, str) and exclude == "output":
        return _output_parameters(model, names) if model is not None else set()
    wanted = [exclude] if isinstance(exclude, str) else exclude
    if not isinstance(wanted, Iterable):
        raise ParameterTypeError(f"exclude must be 'output', None, or names; got {exclude!r}")
    found: set[str] = set()
    for prefix in wanted:
        here = {name for name in names if name == prefix or name.startswith(f"{prefix}.")}
        if not here:
            raise ParameterValueError(
                f"exclude must name modules or parameters; got {prefix!r}, and there are {', '.join(list(names)[:8])}"
            )
        found |= here
    return found


def _owner(model: nn.Module, name: str) -> nn.Module | None:
    path = name.split(".parametrizations.", maxsplit=1)[0] if ".parametrizations." in name else name.rpartition(".")[0]
    return dict(model.named_modules()).get(path)


def _output_parameters(model: nn.Module, names: Mapping[str, Tensor]) -> set[str]:
    """Return the parameters of the layer that makes the model's output; none where there is no other layer."""
    layers = [module for module in model.modules() if _has_weight(module)]
    ask = getattr(model, "get_output_embeddings", None)
    told = ask() if callable(ask) else None
    last = told if isinstance(told, nn.Module) else (layers[-1] if len(layers) > 1 else None)
    if last is None:
        return set()
    theirs = set(map(id, last.parameters()))
    return {name for name, parameter in names.items() if id(parameter) in theirs}


def _has_weight(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return not isinstance(module, _NO_OUTPUT) and any(parameter.dim() > 1 for parameter in own)
