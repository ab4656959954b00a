"""Turn the BatchNorm layers of a model into evenflow's, torch's or synchronised ones, in place."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow import checks
from evenflow.errors import TreatmentError
from evenflow.norm.surgery.become import become
from evenflow.norm.surgery.kept import Kept, listed
from evenflow.norm.surgery.layers import OURS, THEIRS, batch_norms, why_not_plain
from evenflow.norm.surgery.with_activation import activated_part
from evenflow.norm.sync import SyncBatchNorm

_ONLY_OURS = {
    "activation": None,
    "accumulate": 1,
    "frozen": False,
    "inplace": False,
    "on_nonfinite": "propagate",
    "running_variance": "unbiased",
    "statistics_dtype": None,
}


@dataclass(frozen=True)
class Converted:
    """A layer that is of another class now.

    Attributes:
        name: Its qualified name.
        before: Name of the class that it was of.
        after: Name of the class that it is of.
        activation: What it applies to its output now, where another module did before.
    """

    name: str
    before: str
    after: str
    activation: str | None = None

    def __str__(self) -> str:
        own = "" if self.activation is None else f", which applies {self.activation} itself"
        return f"{self.name or 'the model itself'}: {self.before} is {self.after} now{own}"


@dataclass(frozen=True)
class Conversion:
    """What `convert_` did.

    Attributes:
        converted: The layers that are of another class now.
        kept: The layers that were left as they were, and why.
    """

    converted: tuple[Converted, ...]
    kept: tuple[Kept, ...]
    _ways_back: tuple[tuple[_BatchNorm, type, Callable[[], None]], ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [
            listed(f"converted {len(self.converted)}", self.converted),
            listed(f"kept {len(self.kept)}", self.kept),
        ]
        return "\n".join(part for part in parts if part) or "there is no BatchNorm to convert"

    def undo(self) -> None:
        """Give the layers their former classes back; what training has changed meanwhile stays.

        Raises:
            TreatmentError: It has been undone already, or a layer was changed since. Nothing was changed.
        """
        if any(type(layer) is not kind for layer, kind, _ in self._ways_back):
            raise TreatmentError("the converted layers are of another class now: undone already, or converted again")
        for _, _, way_back in self._ways_back:
            way_back()


def convert_(model: nn.Module, to: str = "evenflow", *, process_group: Any = None) -> Conversion:
    """Turn the BatchNorm layers of a model into those of another library that compute the same, in place.

    Each layer stays the same object and gets another class: parameters, buffers, `state_dict` keys, modes, hooks,
    and whatever refers to the layer, such as an optimizer to its parameters, stay valid.

    | `to` | from | |
    |---|---|---|
    | "evenflow" | `torch.nn.BatchNorm1d`, `2d`, `3d` | `ef.norm.BatchNorm1d`, `2d`, `3d` |
    | | `torch.nn.SyncBatchNorm` | `ef.norm.SyncBatchNorm`, of the same process group |
    | | subclasses of `torch.nn.BatchNorm*d` with modules `act` and `drop`, as timm's `BatchNormAct2d` | `activation=` |
    | "torch" | `ef.norm.BatchNorm*d`, `SyncBatchNorm` | torch's; kept if an option is set that torch's does not have |
    | "sync" | all of these | `ef.norm.SyncBatchNorm`; activation and options stay |

    A layer with modules `act` and `drop` is first compared with the result on random data, in both modes.

    Args:
        model: The model, changed in place.
        to: "evenflow", "torch" or "sync".
        process_group: With "sync", the processes that share statistics; None: all.

    Returns:
        What was converted, what was not and why, and the way back.

    Raises:
        ParameterValueError: `to` is something else.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU())
        >>> print(convert_(model))
        converted 1
          1: torch.nn.BatchNorm1d is evenflow.norm.BatchNorm1d now
        >>> convert_(model, to="torch").converted[0].after
        'torch.nn.BatchNorm1d'
    """
    to = checks.choice("to", to, ["evenflow", "torch", "sync"])
    converted, kept, ways_back = [], [], []
    for name, layer in list(batch_norms(model)):
        if type(layer) in _targets(to).values():
            continue
        found = _plan(layer, to)
        if isinstance(found, str):
            kept.append(Kept(name, found))
            continue
        before = shown(type(layer))
        way_back = found(process_group)
        converted.append(Converted(name, before, shown(type(layer)), _new_activation(layer, before)))
        ways_back.append((layer, type(layer), way_back))
    return Conversion(tuple(converted), tuple(kept), tuple(ways_back))


def shown(kind: type) -> str:
    """Name a class as its users do.

    Examples:
        >>> shown(nn.BatchNorm2d)
        'torch.nn.BatchNorm2d'
    """
    home = {"torch": "torch.nn", "evenflow": "evenflow.norm"}.get(kind.__module__.split(".")[0], kind.__module__)
    return f"{home}.{kind.__name__}"


def _new_activation(layer: _BatchNorm, before: str) -> str | None:
    own = getattr(layer, "activation", None)
    return None if before.startswith("evenflow.norm") else own


def _targets(to: str) -> dict[type, type[_BatchNorm]]:
    """For each class that is known the one that it becomes."""
    if to == "torch":
        return THEIRS
    if to == "evenflow":
        return dict(OURS)
    return dict.fromkeys([*OURS, *THEIRS], SyncBatchNorm)


def _plan(layer: _BatchNorm, to: str) -> Callable[[Any], Callable[[], None]] | str:
    """How to convert a layer, or why not."""
    activated = activated_part(layer) if to != "torch" else None
    if isinstance(activated, str):
        return activated
    if activated is not None:
        kind = SyncBatchNorm if to == "sync" else OURS[activated.base]
        return lambda group: _with_group(layer, activated.become(kind), group)
    if (reason := why_not_plain(layer)) is not None:
        return reason
    if to == "torch":
        extra = [name for name, default in _ONLY_OURS.items() if getattr(layer, name) != default]
        if extra:
            return f"torch's layer has no {extra[0]}, which is {getattr(layer, extra[0])!r} here"
    kind = _targets(to)[type(layer)]
    return lambda group: _with_group(layer, become(layer, kind), group)


def _with_group(layer: _BatchNorm, way_back: Callable[[], None], group: Any) -> Callable[[], None]:
    if isinstance(layer, SyncBatchNorm) and group is not None:
        layer.process_group = group
    return way_back
