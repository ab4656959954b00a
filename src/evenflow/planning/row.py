"""One row of a plan: what one parameter or buffer becomes, and why."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from evenflow.theory import Fans

Option = float | int | str | tuple[float, ...]

PARAMETER, BUFFER = "parameter", "buffer"

# The rules of a plan and the options that each of them takes; `evenflow.planning.writing` carries them out.
RULES: dict[str, tuple[str, ...]] = {
    "normal": ("mean", "std", "padding_idx"),
    "uniform": ("low", "high"),
    "truncated_normal": ("mean", "std", "low", "high"),
    "orthogonal": ("gain", "blocks"),
    "delta_orthogonal": ("gain", "blocks"),
    "constant": ("value",),
    "segments": ("values",),
    "balance": ("weight", "mean", "std", "dim"),
    "keep": (),
}


@dataclass(frozen=True, slots=True)
class Row:
    r"""What one tensor of a model becomes.

    | rule | elements |
    |---|---|
    | `normal` | $N(mean, std^2)$; row `padding_idx`, where given, is zero |
    | `uniform` | $U[low, high)$ |
    | `truncated_normal` | $N(mean, std^2)$ inside $[low, high]$ |
    | `orthogonal` | `gain` times a random orthogonal matrix in each of `blocks` equal parts of dimension 0 |
    | `delta_orthogonal` | the same at the middle of a kernel, zeros around it |
    | `constant` | `value` |
    | `segments` | equal parts of dimension 0 with one value each, as the gates of a recurrent bias |
    | `balance` | $-mean \sum_j W_{ij} + N(0, std^2)$: a bias that takes its inputs' mean out of the sums of `weight` |
    | `keep` | what they are |

    Attributes:
        name: Qualified name in the model; the seed and this name address the draws.
        kind: "parameter" or "buffer".
        shape: Its shape (the global one, where it is sharded).
        rule: One of `RULES`.
        options: What the rule takes.
        layer: Name of the layer that uses it: a module's, or the parameter's own.
        role: What it is there: "hidden", "output", "residual" (the last weight of a residual branch), "recurrent",
            "gate", "attention", "embedding", "norm", "bias", "statistic", "other".
        activation: The function that follows, by the name that `evenflow.gain` knows; None where there is none.
        fans: Fan-in and fan-out of a weight.
        gain: The factor beside `1 / sqrt(fan_in)`; None where the rule has none.
        aim: Root mean square that the layer's output is meant to have; None where the rule aims at none.
        measured: Root mean square of it on the batch, after the plan was applied; None without a batch.
        lr_scale: Factor on the learning rate of Adam under muP; 1 elsewhere.
        reason: One sentence: why this rule.
        aliases: Further names of the same tensor.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    rule: str
    options: Mapping[str, Option] = field(default_factory=dict)
    layer: str = ""
    role: str = "other"
    activation: str | None = None
    fans: Fans | None = None
    gain: float | None = None
    aim: float | None = None
    measured: float | None = None
    lr_scale: float = 1.0
    reason: str = ""
    aliases: tuple[str, ...] = ()

    def number(self, key: str) -> float:
        """An option that is a number."""
        value = self.options[key]
        if not isinstance(value, (int, float)):
            raise TypeError(f"{self.name}: {key} is {value!r}, no number")
        return float(value)

    def scaled(self, factor: float) -> "Row":
        """The row with draws that are larger by a factor."""
        sizes = ("mean", "std", "low", "high", "gain")
        options = {
            key: value * factor if key in sizes and isinstance(value, (int, float)) else value
            for key, value in self.options.items()
        }
        return replace(self, options=options, gain=None if self.gain is None else self.gain * factor)

    @property
    def blocks(self) -> int:
        """In how many parts the tensor is orthogonal."""
        return int(self.number("blocks")) if "blocks" in self.options else 1

    @property
    def values(self) -> tuple[float, ...]:
        """The values of the segments."""
        values = self.options["values"]
        if not isinstance(values, tuple):
            raise TypeError(f"{self.name}: values is {values!r}, no tuple")
        return values

    @property
    def dim(self) -> int:
        """The dimension of the balanced weight that counts the outputs."""
        return int(self.number("dim")) if "dim" in self.options else 0

    @property
    def std(self) -> float | None:
        """Standard deviation that the elements are meant to have; None where the rule does not tell."""
        if self.rule == "normal":
            return self.number("std")
        if self.rule == "uniform":
            return (self.number("high") - self.number("low")) / math.sqrt(12)
        if self.rule in ("orthogonal", "delta_orthogonal"):
            return abs(self.number("gain")) * math.sqrt(self._share_of_unit_vectors())
        return 0.0 if self.rule == "constant" else None

    def _share_of_unit_vectors(self) -> float:
        """Mean square of an element of a matrix with orthonormal rows or columns, in a tensor of this shape."""
        rows = self.shape[0] / self.blocks
        columns = math.prod(self.shape[1:])
        if self.rule == "delta_orthogonal":
            return min(rows, self.shape[1]) / (rows * columns)
        return 1 / max(rows, columns) if rows and columns else 0.0
