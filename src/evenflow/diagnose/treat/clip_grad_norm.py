"""Clip the gradient norm before every optimizer step."""

from dataclasses import asdict, dataclass
from typing import ClassVar

from torch import nn

from evenflow.diagnose.treat.remedy import Undo


@dataclass(frozen=True, slots=True)
class ClipGradNorm:
    """Clip the global gradient norm before every optimizer step. It changes the training loop, which only the user can.

    Attributes:
        max_norm: Largest norm that passes unchanged.
    """

    kind: ClassVar[str] = "clip-grad-norm"
    applies_itself: ClassVar[bool] = False
    max_norm: float

    def describe(self) -> str:
        """The remedy in one sentence."""
        return f"clip the gradient norm at {self.max_norm:g} before every optimizer step"

    def code(self) -> str:
        """Python for the training loop of a variable called `model`."""
        return (
            "import evenflow as ef\n\n"
            "# in the training loop, between loss.backward() and optimizer.step():\n"
            f"ef.clip.clip_grad_norm_(model.parameters(), max_norm={self.max_norm:g})"
        )

    def apply_(self, model: nn.Module) -> Undo:  # noqa: ARG002
        """Change nothing: the loop is the user's."""
        return lambda: None

    def to_dict(self) -> dict[str, object]:
        """The remedy as a dictionary that JSON can hold."""
        return {"kind": self.kind, **asdict(self)}
