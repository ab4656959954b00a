"""Put a BatchNorm between a layer and its activation."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from torch import nn

from evenflow import norm
from evenflow.diagnose.treat.remedy import Undo, some


@dataclass(frozen=True, slots=True)
class InsertBatchNorm:
    """Put a BatchNorm between each of these layers and its activation, and drop the bias that it makes redundant.

    Attributes:
        layers: Qualified names of Linear or convolution modules.
    """

    kind: ClassVar[str] = "insert-batch-norm"
    applies_itself: ClassVar[bool] = True
    layers: tuple[str, ...]

    def describe(self) -> str:
        """The remedy in one sentence."""
        layers = "layer" if len(self.layers) == 1 else "layers"
        return f"insert BatchNorm after {layers} {some(map(repr, self.layers))}, before the activation"

    def code(self) -> str:
        """Python that does the same to a variable called `model`."""
        return (
            "import evenflow as ef\n\n"
            "# before the optimizer is made: it would not know the new parameters\n"
            f"ef.norm.insert_(model, {list(self.layers)!r})"
        )

    def apply_(self, model: nn.Module) -> Undo:
        """Insert the layers in place.

        Raises:
            TreatmentError: A name is not in the model or no BatchNorm fits it; nothing has been changed then.
        """
        return norm.insert_(model, self.layers).undo

    def to_dict(self) -> dict[str, object]:
        """The remedy as a dictionary that JSON can hold."""
        return {"kind": self.kind, **asdict(self)}
