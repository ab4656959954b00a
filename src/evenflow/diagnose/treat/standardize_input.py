"""Centre and scale the data."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from torch import nn

from evenflow.diagnose.treat.remedy import Undo


@dataclass(frozen=True, slots=True)
class StandardizeInput:
    """Feed `(x - mean) / std` instead of `x`. It changes the data, which only the user can.

    Attributes:
        mean: Mean of the batch.
        std: Standard deviation of the batch.
    """

    kind: ClassVar[str] = "standardize-input"
    applies_itself: ClassVar[bool] = False
    mean: float
    std: float

    def describe(self) -> str:
        """The remedy in one sentence."""
        return f"standardise the inputs: subtract {self.mean:.4g}, divide by {self.std:.4g}"

    def code(self) -> str:
        """Python for the place where the data are loaded."""
        return (
            "# where the data are loaded; take mean and std per feature over the whole training set when you can:\n"
            f"inputs = (inputs - {self.mean:.6g}) / {self.std:.6g}"
        )

    def apply_(self, model: nn.Module) -> Undo:  # noqa: ARG002
        """Change nothing: the data are the user's."""
        return lambda: None

    def to_dict(self) -> dict[str, object]:
        """The remedy as a dictionary that JSON can hold."""
        return {"kind": self.kind, **asdict(self)}
