"""A prescription: remedies in the order in which they are applied."""

from dataclasses import dataclass

from evenflow.diagnose.treat.remedy import Remedy


@dataclass(frozen=True, slots=True)
class Prescription:
    """What to do about a diagnosis, as data. It can be read, printed as code, applied and undone.

    Attributes:
        remedies: The remedies, in the order in which they are applied. Empty for a healthy network.
    """

    remedies: tuple[Remedy, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remedies)

    def describe(self) -> list[str]:
        """One sentence a remedy."""
        return [remedy.describe() for remedy in self.remedies]

    def to_code(self) -> str:
        """Python to paste, for a variable called `model`; an empty string when there is nothing to do."""
        blocks: list[str] = []
        for remedy in self.remedies:
            code = remedy.code()
            seen = any("import evenflow as ef" in block for block in blocks)
            blocks.append(code.removeprefix("import evenflow as ef\n\n") if seen else code)
        return "\n\n".join(blocks)

    def to_dict(self) -> dict[str, object]:
        """The prescription as a dictionary that JSON can hold."""
        return {"remedies": [remedy.to_dict() for remedy in self.remedies]}
