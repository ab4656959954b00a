"""One call of a layer, while it is being measured and when it is written down."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from evenflow.errors import ParameterValueError, UnknownLayerError
from evenflow.probe.moments import moments
from evenflow.probe.records import Activation, LayerRecord, Moments, ParameterRecord
from evenflow.theory import Fans, fans


@dataclass(slots=True, kw_only=True)
class LayerCall:
    """What is known of one call of a layer; the activation follows later, the gradient in the backward pass.

    The fields are those of `LayerRecord`, and: `module`, which knows its fans; `matrix_fans`, those of a bare weight;
    `unit_dim`, the dimension of the output that counts the units; `linear_input`, whether no activation lies between
    the sources and this layer; `gated`, whether its activation multiplies the output again, so that it is not all.
    """

    index: int
    name: str
    kind: str
    role: str
    module: nn.Module | None
    matrix_fans: Fans | None
    sources: tuple[int, ...]
    input: Moments | None
    output: Moments
    parameters: tuple[str, ...]
    unit_dim: int
    linear_input: bool = False
    swapped: bool = False
    normalised: bool = False
    activation: Activation | None = None
    gated: bool = False
    gradients: dict[int, Moments] = field(default_factory=dict)

    def receive(self, place: int, gradient: Tensor) -> None:
        """Measure the gradient that arrives at one of the outputs; a later one replaces it."""
        with torch._C.DisableTorchFunction():
            self.gradients[place] = moments(samples_first(gradient, self.swapped), histogram=True)

    def gradient(self) -> Moments | None:
        """The gradient of the output that got most: a recurrent layer is often read by its last state alone."""
        return max(self.gradients.values(), key=lambda arrived: (arrived.nonfinite, arrived.norm), default=None)

    def fans(self) -> Fans | None:
        """The fans by the module's rule, or else by its matrix.

        To be asked when the passes are over: looking at a parametrised weight computes it, which may change buffers.
        """
        if self.module is None:
            return self.matrix_fans
        try:
            return fans(self.module)
        except (UnknownLayerError, ParameterValueError):
            return self.matrix_fans

    def record(self, call: int, bypassed: bool, parameters: Mapping[str, ParameterRecord]) -> LayerRecord:
        """Write the call down."""
        return LayerRecord(
            index=self.index,
            name=self.name,
            kind=self.kind,
            role=self.role,
            call=call,
            fans=self.fans(),
            sources=self.sources,
            bypassed=bypassed,
            normalised=self.normalised,
            input=self.input,
            output=self.output,
            gradient=self.gradient(),
            activation=self.activation,
            parameters=tuple(parameters[name] for name in self.parameters),
        )


def samples_first(tensor: Tensor, swapped: bool) -> Tensor:
    """The tensor with the samples in dimension 0, where torch's attention has put the positions there for itself."""
    return tensor.transpose(0, 1) if swapped and tensor.dim() == 3 else tensor
