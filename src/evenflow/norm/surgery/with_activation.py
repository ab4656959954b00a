"""A BatchNorm that applies an activation of its own, recognised by its parts: timm's `BatchNormAct2d` and its like."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.norm.surgery.activation_calls import of_module
from evenflow.norm.surgery.become import become
from evenflow.norm.surgery.layers import OURS
from evenflow.norm.surgery.trial import Trial, deviation

_PARTS = {"act", "drop"}
_SPACE = {"BatchNorm1d": (), "BatchNorm2d": (3, 3), "BatchNorm3d": (2, 2, 2)}


@dataclass(frozen=True)
class Activated:
    """A BatchNorm with its activation.

    Attributes:
        layer: The layer.
        base: The class of torch that it is derived from.
        activation: Name of what it applies to its output; None if nothing.
    """

    layer: _BatchNorm
    base: type[_BatchNorm]
    activation: str | None

    def become(self, kind: type[_BatchNorm]) -> Callable[[], None]:
        """Turn the layer into one of evenflow's in place; return the way back."""
        parts = dict(self.layer._modules)
        self.layer._modules.clear()
        way_back = become(self.layer, kind, like=self.base)
        self.layer.activation = self.activation  # type: ignore[assignment]  # an attribute of the new class

        def back() -> None:
            way_back()
            self.layer._modules.update(parts)

        return back


def activated_part(layer: _BatchNorm) -> Activated | str | None:
    """Take apart a layer that is derived from torch's and has the modules `act` and `drop`.

    Returns:
        Its parts; or why it cannot be evenflow's; or None if it is nothing of this kind.
    """
    base = next((kind for kind in OURS if isinstance(layer, kind) and type(layer) is not kind), None)
    if base is None or base is nn.SyncBatchNorm or layer._modules.keys() != _PARTS:
        return None
    act, drop = layer.get_submodule("act"), layer.get_submodule("drop")
    kind = type(layer).__name__
    if type(drop) is not nn.Identity:
        return f"it is a {kind} with {type(drop).__name__} between the normalisation and the activation"
    call = of_module(act)
    if call is None and type(act) is not nn.Identity:
        return f"it is a {kind} whose activation is {type(act).__name__}, which no layer can apply itself"
    if call is not None and call.refusal is not None:
        return f"it is a {kind} whose activation is {call.name}, and {call.refusal}"
    if any(module._forward_hooks or module._forward_pre_hooks for module in (act, drop)):
        return f"it is a {kind}, and a hook looks at its activation"
    parts = Activated(layer, base, None if call is None else call.name)
    return parts if _computes_that(parts) else f"it is a {kind}, which computes something else than its parts suggest"


def _computes_that(parts: Activated) -> bool:
    """Whether a converted copy gives the same in both modes, as far as there are values to compare."""
    held = next((t for t in (*parts.layer.parameters(), *parts.layer.buffers())), None)
    if held is None or held.is_meta:
        return True
    one, other = deepcopy(parts.layer), deepcopy(parts.layer)
    Activated(other, parts.base, parts.activation).become(OURS[parts.base])
    space = _SPACE[parts.base.__name__]
    drawn = torch.randn(8, parts.layer.num_features, *space, generator=torch.Generator().manual_seed(0))
    x = drawn.to(held.device, parts.layer.weight.dtype if parts.layer.weight is not None else torch.float32)
    return all(_agree(one, other, x, training) for training in (True, False))


def _agree(one: nn.Module, other: nn.Module, x: Tensor, training: bool) -> bool:
    found = []
    for layer in (one, other):
        layer.train(training)
        with torch.no_grad():
            found.append(Trial({"output": layer(x.clone()), **dict(layer.named_buffers())}))
    allowed = torch.finfo(x.dtype).eps ** 0.5
    return all(apart <= allowed for _, apart in deviation(*found))
