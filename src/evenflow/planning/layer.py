"""What a plan knows of a network: its layers in the order of the data, and how they come together."""

from dataclasses import dataclass, field

from torch import Tensor, nn

from evenflow.theory import Fans


@dataclass(slots=True, kw_only=True)
class Layer:
    """One call of one layer.

    Attributes:
        name: Qualified name of the module, or of the parameter where a module holds several raw weights.
        kind: Class of the module, or the function's name.
        role: "weight", "norm", "embedding" or "opaque", as in `evenflow.probe.LayerRecord`.
        module: The module; None for a raw weight.
        parameters: Names of its parameters, the weight first.
        fans: Fans of its weight; None where there is no rule.
        sources: Indices of the layers that it reads; empty when it reads the network's input.
        input_rms: Root mean square of what it read, where that is the network's input and was measured.
        activation: Name and parameter of the function that follows; None where there is none.
        normalised: Whether a normalisation reads its output.
        last: Whether no other layer reads its output.
        lost: Whether it reads what nothing in sight made.
        share: What its output is multiplied by, so that the sum that it takes part in keeps its size.
        sums: How many residual sums the stream has that this layer ends a branch of; 0 where it ends none.
    """

    name: str
    kind: str
    role: str
    module: nn.Module | None
    parameters: tuple[str, ...]
    fans: Fans | None = None
    sources: tuple[int, ...] = ()
    input_rms: float | None = None
    activation: tuple[str, float | None] | None = None
    normalised: bool = False
    last: bool = False
    lost: bool = False
    share: float = 1.0
    sums: int = 0


@dataclass(slots=True)
class Network:
    """A model as a plan sees it.

    Attributes:
        model: The model.
        layers: The calls of its layers in execution order, or, without a batch, in the order of registration.
        summed: Groups of layers that are added up, by the layers of the sum.
        uses: What the parameters that make no layer met the signal in, by their names.
        traced: Whether a batch was followed.
        unknown: What could not be judged, one sentence each.
        notes: What the reader should know, one sentence each.
    """

    model: nn.Module
    layers: list[Layer]
    summed: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)
    traced: bool = False
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def append(self, layer: Layer) -> int:
        """Add a layer, and return its index."""
        self.layers.append(layer)
        return len(self.layers) - 1

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter once, by its first name."""
        return dict(self.model.named_parameters())


def ends_branch(layer: Layer) -> str:
    """Why the last layer of a residual branch is smaller than others."""
    if layer.sums == 1:
        return "ends the only residual branch of its stream"
    return f"ends a residual branch, one of {layer.sums} on its stream: 1/sqrt({layer.sums}) each"
