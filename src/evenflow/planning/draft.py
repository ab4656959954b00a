"""A plan while it is being made: the rows so far, and the size of the signal behind each layer."""

import math
from collections.abc import Iterable, Mapping

from torch import Tensor

from evenflow.errors import ParameterValueError
from evenflow.planning.depth import plain_depth
from evenflow.planning.layer import Layer, Network
from evenflow.planning.row import PARAMETER, Option, Row
from evenflow.theory.mean_field import statistics


class Draft:
    """Rows by the names of their tensors, in the order in which they were written.

    Attributes:
        network: The network.
        tensors: Its parameters by their first names.
        rows: The rows so far.
        uses: The roles of the layers that use each parameter.
        depth: Number of layers with an activation, in a network that nothing else keeps even; else 0.
        zero_branches: Whether residual branches start at zero.
    """

    def __init__(self, network: Network, *, zero_branches: bool = False) -> None:
        self.network = network
        self.tensors: Mapping[str, Tensor] = network.parameters()
        self.rows: dict[str, Row] = {}
        self.uses = _roles(network.layers)
        self.depth = plain_depth(network)
        self.zero_branches = zero_branches
        self._names = {id(tensor): name for name, tensor in self.tensors.items()}
        self._behind: dict[int, float] = {}

    def add(
        self, layer: Layer, name: str, rule: str, options: Mapping[str, Option], reason: str, **more: object
    ) -> None:
        """Write the row of a parameter, unless an earlier call of a layer has done so, or its dtype takes no draws."""
        tensor = self.tensors[name]
        if rule not in ("keep", "constant", "segments") and not (tensor.is_floating_point() or tensor.is_complex()):
            self.keep(layer, name, f"its dtype is {tensor.dtype}, which takes no random draws")
        elif name not in self.rows:
            shape = tuple(self.tensors[name].shape)
            facts = {"layer": layer.name, "reason": reason, **more}
            row = Row(name, PARAMETER, shape, rule, dict(options), **facts)  # type: ignore[arg-type]  # of various types
            self.rows[name] = row

    def constant(self, layer: Layer, name: str, value: float, reason: str, role: str = "bias") -> None:
        """Write a row of one value."""
        self.add(layer, name, "constant", {"value": float(value)}, reason, role=role)

    def keep(self, layer: Layer, name: str, reason: str) -> None:
        """Write a row that leaves a parameter as it is, and report it as unknown."""
        if name not in self.rows:
            self.add(layer, name, "keep", {}, f"{reason}, so it stays what it is", role="other")
            self.network.unknown.append(f"{name}: {reason}; it stays what it is")

    def constant_value(self, name: str) -> float | None:
        """The one value that a parameter holds; None where it holds several, or none yet."""
        tensor = self.tensors[name].detach()
        if tensor.is_meta or tensor.numel() == 0 or tensor.is_complex():
            return None
        first = tensor.reshape(-1)[0]
        return float(first) if bool((tensor == first).all()) else None

    def name_of(self, tensor: Tensor | None) -> str | None:
        """The first name of a parameter."""
        return None if tensor is None else self._names.get(id(tensor))

    def emit(self, index: int, rms: float) -> None:
        """Note the size of a layer's output, and with it the second moment of what it hands on."""
        layer = self.network.layers[index]
        unseen_sum = layer.sums and not self.network.traced
        self._behind[index] = second_moment(layer.activation, 1.0 if unseen_sum else rms)

    def activation_before(self, layer: Layer) -> tuple[str, float | None] | None:
        """The activation that all sources of a layer share; None where they share none."""
        found = {self.network.layers[index].activation for index in layer.sources}
        return found.pop() if len(found) == 1 else None

    def second_moment_before(self, layer: Layer) -> float:
        """Second moment of what a layer reads, as its sources' rules mean it to be."""
        if not layer.sources:
            return (layer.input_rms or 1.0) ** 2
        return self._second_moment(layer.sources)

    def _second_moment(self, layers: tuple[int, ...]) -> float:
        """The sum over the paths of a sum, the mean over layers that lie side by side."""
        paths = self.network.summed.get(layers)
        if paths is not None and all(len(path) < len(layers) for path in paths):
            return sum(self._second_moment(path) if path else 1.0 for path in paths)
        return math.fsum(self._behind.get(index, 1.0) for index in layers) / len(layers) if layers else 1.0


def second_moment(activation: tuple[str, float | None] | None, rms: float) -> float:
    """Second moment behind a function of a normal pre-activation; as if it were linear where that vanishes."""
    if activation is None or rms == 0:
        return rms * rms
    try:
        return statistics(activation[0], rms * rms, activation[1]).second_moment or rms * rms
    except ParameterValueError:
        return rms * rms


def _roles(layers: Iterable[Layer]) -> dict[str, set[str]]:
    uses: dict[str, set[str]] = {}
    for layer in layers:
        for name in layer.parameters:
            uses.setdefault(name, set()).add(layer.role)
    return uses
