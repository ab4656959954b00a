"""The parameters of a clipper, with their names and the groups that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.optim import Optimizer

from evenflow.clip.gradients import Parameters, without_names
from evenflow.clip.sharded import refuse_flat_parameters
from evenflow.errors import ParameterTypeError, ParameterValueError


@dataclass(frozen=True)
class Named:
    """Parameters with names, each once.

    Attributes:
        pairs: Names and parameters.
        parameters: The parameters without their names.
        groups: For each the number of its group in the optimizer, or 0.
        model: The model that they are of, if known.
    """

    pairs: list[tuple[str, Tensor]]
    groups: list[int] = field(default_factory=list)
    model: nn.Module | None = None
    parameters: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", [parameter for _, parameter in self.pairs])

    def units(self, per: str) -> tuple[Sequence[int], int]:
        """Number the parts that are clipped apart.

        Args:
            per: "model", "group", "layer" or "parameter".

        Returns:
            For each parameter the number of its part, and how many parts there are.
        """
        count = len(self.pairs)
        if per == "model":
            return [0] * count, 1
        if per == "parameter":
            return range(count), count
        if per == "group":
            return self.groups, max(self.groups, default=-1) + 1
        numbers: dict[str, int] = {}
        layers = [numbers.setdefault(name.rpartition(".")[0], len(numbers)) for name, _ in self.pairs]
        return layers, len(numbers)


def named_parameters(parameters: Parameters | Optimizer) -> Named:
    """List the parameters of a model, an optimizer, or an iterable.

    Raises:
        ParameterTypeError: It is none of these.
        ParameterValueError: There are no parameters.
        ShardingError: The model is wrapped in FullyShardedDataParallel.
    """
    if isinstance(parameters, Optimizer):
        named = _of_optimizer(parameters)
    elif isinstance(parameters, nn.Module):
        refuse_flat_parameters(parameters)
        pairs: list[tuple[str, Tensor]] = list(parameters.named_parameters())
        named = Named(pairs, [0] * len(pairs), parameters)
    else:
        named = _of_iterable(parameters)
    if not named.pairs:
        raise ParameterValueError(
            "parameters must hold at least one parameter; got none: perhaps an exhausted generator"
        )
    refuse_flat_parameters(named.parameters)
    return named


def _of_optimizer(optimizer: Optimizer) -> Named:
    pairs, groups = [], []
    for number, group in enumerate(optimizer.param_groups):
        names = group.get("param_names") or [f"group {number}, parameter {i}" for i in range(len(group["params"]))]
        pairs += list(zip(names, group["params"], strict=True))
        groups += [number] * len(group["params"])
    return Named(pairs, groups)


def _of_iterable(parameters: Parameters) -> Named:
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    try:
        listed = list(parameters)  # type: ignore[arg-type]  # an iterable; the error is told below
    except TypeError as error:
        raise ParameterTypeError(
            "parameters must be a model, an optimizer, a tensor, or an iterable of tensors or (name, tensor) pairs; "
            f"got {type(parameters).__name__}"
        ) from error
    once: dict[int, tuple[str, Tensor]] = {}
    for place, (item, tensor) in enumerate(zip(listed, without_names(listed), strict=True)):
        once.setdefault(id(tensor), (item[0] if isinstance(item, tuple) else f"parameter {place}", tensor))
    return Named(list(once.values()), [0] * len(once))
