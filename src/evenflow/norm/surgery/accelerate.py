"""Let each BatchNorm of a model apply the activation behind it, in one pass over the data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.errors import TreatmentError
from evenflow.norm.surgery.become import become
from evenflow.norm.surgery.fused import FusedForward, Variant, fuse
from evenflow.norm.surgery.kept import Kept, listed
from evenflow.norm.surgery.layers import OURS, THEIRS, batch_norms, is_batch_norm
from evenflow.norm.surgery.pair_check import check_pair
from evenflow.norm.surgery.pairs import Alone, Pair, find_pairs
from evenflow.norm.surgery.trace import Trace, trace
from evenflow.norm.surgery.trial import Yardstick, undone_on_error
from evenflow.norm.surgery.untraceable import Untraceable
from evenflow.probe.batch import parse_batch
from evenflow.probe.usable import unwrapped

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass(frozen=True)
class Fusion:
    """A BatchNorm that now applies an activation.

    Attributes:
        name: Its qualified name.
        activation: Name of the activation.
        residual: Whether something is added before the activation.
        owner: Qualified name of the module whose forward calls them.
    """

    name: str
    activation: str
    residual: bool
    owner: str

    def __str__(self) -> str:
        steps = ["residual", self.activation] if self.residual else [self.activation]
        return f"{self.name}: {' and '.join(steps)}, in the forward of {self.owner or 'the model'}"


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate_` did.

    Attributes:
        fused: The layers that apply an activation now, one entry for each place that calls them.
        kept: The layers that were left as they were, and why.
        verified: What was compared before and after: the whole model on the "batch", or only the "pairs".
    """

    fused: tuple[Fusion, ...]
    kept: tuple[Kept, ...]
    verified: str
    _forwards: tuple[FusedForward, ...] = field(repr=False)
    _ways_back: tuple[Callable[[], None], ...] = field(repr=False)
    _layers: tuple[_BatchNorm, ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [listed(f"fused {len(self.fused)}", self.fused), listed(f"kept {len(self.kept)}", self.kept)]
        return "\n".join(part for part in parts if part) or "the model has no BatchNorm"

    def undo(self) -> None:
        """Restore the former layers and forwards; what training has changed meanwhile stays.

        Raises:
            TreatmentError: It has been undone already, or these places were changed since. Nothing was changed.
        """
        forwards = all(vars(forward.owner).get("forward") is forward for forward in self._forwards)
        if not forwards or any(type(layer) not in THEIRS for layer in self._layers):
            raise TreatmentError(
                "the accelerated layers are not there any more: it has been undone already, or they were changed since"
            )
        self._take_back()

    def _take_back(self) -> None:
        for forward in self._forwards:
            del vars(forward.owner)["forward"]
        for way_back in self._ways_back:
            way_back()


def accelerate_(model: nn.Module, batch: object = None) -> Acceleration:
    r"""Fuse each BatchNorm with the activation behind it, in place.

    Where a module's forward computes $f(\mathrm{BN}(x))$ or $f(\mathrm{BN}(x) + r)$, with an activation $f$ as a
    module or a function, in place or not, the BatchNorm becomes evenflow's and does all of it in one call. Each
    forward is followed with `torch.fx`, its modules as single steps, and replaced on that instance. The layers,
    their parameters and buffers stay the same objects, and with them optimizers, `state_dict`, hooks, modes,
    classes of the modules around them, copies and pickles. A forward that meets what it was not made for (other
    attributes that it branches on, keyword inputs, a hook on one of the fused layers) goes the original way.

    A layer is kept as it is when its output is also read elsewhere, when a hook looks at it or at the activation,
    when the activation has other parameters than torch's defaults, or when the forward cannot be followed.

    Args:
        model: The model, changed in place. Wrappers of `torch.compile` and data parallelism are looked through;
            `torch.nn.DataParallel` copies instances and must be put around it only after `undo`.
        batch: `(inputs, targets)`, a tensor, or a dict of keyword inputs. Each pair is compared with torch's functions
            on random data; with a batch, also outputs, gradients and buffers of the whole model, in both modes.

    Returns:
        What was fused, what was not and why, and the way back.

    Raises:
        TreatmentError: The comparison failed. The model is as it was.
        BatchError: The batch is empty or has another form.
        NonFiniteError: The batch has NaN or infinity, or the model makes NaN of it. Nothing was changed.
        ModelError: The model raises on the batch.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
        >>> acceleration = accelerate_(model)
        >>> print(acceleration)
        fused 1
          1: relu, in the forward of the model
        >>> acceleration.undo()
    """
    model = unwrapped(model)
    parsed = None if batch is None else parse_batch(batch)
    plan = _Plan(model)
    before = None if parsed is None else Yardstick(model, parsed, (True, False))
    acceleration = plan.perform(verified="pairs" if before is None else "batch")
    with undone_on_error(acceleration._take_back):
        for fusion in acceleration.fused:
            check_pair(plan.layers[fusion.name], fusion.activation, residual=fusion.residual)
        if before is not None:
            before.check()
    return acceleration


class _Plan:
    """Which pairs there are in the forward of which module, found without changing anything."""

    def __init__(self, model: nn.Module) -> None:
        self.names = {id(layer): name for name, layer in batch_norms(model)}
        self.layers = dict(batch_norms(model))
        self.variants: dict[str, tuple[nn.Module, list[Variant]]] = {}
        self.fused: dict[tuple[str, str], Fusion] = {}
        self.reasons: dict[str, list[str]] = {}
        self._inlined: set[int] = set()
        for name, module in model.named_modules():
            if id(module) not in self._inlined and _may_own(module):
                self._look_into(name, module)

    def perform(self, verified: str) -> Acceleration:
        """Change the model."""
        fused = {entry.name: self.layers[entry.name] for entry in self.fused.values()}
        ways_back = [become(layer, OURS[type(layer)]) for layer in fused.values() if type(layer) in OURS]
        forwards = [FusedForward(owner, variants) for owner, variants in self.variants.values()]
        for forward in forwards:
            vars(forward.owner)["forward"] = forward
        kept = tuple(
            Kept(name, "; ".join(self.reasons.get(name, ["no forward that was followed calls it"])))
            for name in self.layers
            if name in self.reasons or name not in fused
        )
        layers = tuple(fused.values())
        return Acceleration(tuple(self.fused.values()), kept, verified, tuple(forwards), tuple(ways_back), layers)

    def _look_into(self, name: str, owner: nn.Module) -> None:
        try:
            traces = _traces(owner)
        except Untraceable as error:
            self._note_unseen(name, owner, str(error))
            return
        self._inlined.update(id(module) for trace in traces for module in trace.inlined)
        variants = [fuse(trace, pairs) for trace in traces if (pairs := list(self._decide(name, trace)))]
        if variants:
            self.variants[name] = owner, variants

    def _decide(self, owner: str, trace: Trace) -> Iterator[Pair]:
        for found in find_pairs(trace):
            layer = trace.module(found.norm)
            name = self.names[id(layer)]
            if isinstance(found, Alone):
                self._keep(name, found.reason)
                continue
            self.fused[name, owner] = Fusion(name, found.name, found.addition is not None, owner)
            yield found

    def _note_unseen(self, name: str, owner: nn.Module, reason: str) -> None:
        for child in _own_norms(owner):
            self._keep(self.names[id(child)], f"in {name or 'the model'}, {reason}")

    def _keep(self, name: str, reason: str) -> None:
        known = self.reasons.setdefault(name, [])
        if reason not in known:
            known.append(reason)


def _traces(owner: nn.Module) -> list[Trace]:
    """The forward in the mode that the module is in, and in the other one if that matters."""
    if "forward" in vars(owner):
        raise Untraceable("its forward has been replaced on the instance")
    found = [trace(owner)]
    if found[0].reads_training:
        mode = owner.training
        owner.training = not mode
        try:
            found.append(trace(owner))
        finally:
            owner.training = mode
    return found


def _may_own(module: nn.Module) -> bool:
    """Whether a module has a forward that can call a BatchNorm of its own."""
    of_torch = type(module).__module__.startswith("torch.nn.") and type(module) is not nn.Sequential
    return not of_torch and any(True for _ in _own_norms(module))


def _own_norms(module: nn.Module) -> Iterator[nn.Module]:
    """The BatchNorms among the children, and inside containers among them."""
    for child in module.children():
        if isinstance(child, _CONTAINERS):
            yield from _own_norms(child)
        elif is_batch_norm(child):
            yield child
