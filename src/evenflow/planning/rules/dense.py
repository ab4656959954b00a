"""Linear maps: dense layers, convolutions, and bare matrices that meet the signal in a product."""

import math
from dataclasses import dataclass

from evenflow.planning.depth import critical, variance_in_depth
from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer, ends_branch
from evenflow.planning.row import Option
from evenflow.theory.mean_field import CriticalPoint

# A cross-entropy over outputs of size s starts s^2 / 2 above that of a guess: by this share of it. The larger they are,
# the larger are the gradients that reach the layers below.
ABOVE_CHANCE = 0.05

# Factorising larger matrices takes longer than what it saves.
LARGEST_ORTHOGONAL = 2**24

# From this depth on a plain convolutional network needs kernels that carry every mode of the signal.
DEEP_CONVOLUTIONS = 30


@dataclass(frozen=True, slots=True)
class Target:
    """What the rule of a weight is made of: the output's size, the gain that leads to it, and what its bias does."""

    aim: float
    gain: float
    critical: CriticalPoint | None
    reason: str


def dense_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Write the rows of a layer with one weight."""
    matrices = [name for name in layer.parameters if draft.tensors[name].dim() > 1]
    if is_weight_normed(layer.parameters):
        weight_normed_rows(draft, layer)
    elif len(matrices) != 1 or layer.fans is None or layer.fans.fan_in <= 0:
        for name in matrices:
            draft.keep(layer, name, _why_unknown(layer, matrices))
    else:
        target = target_of(draft, layer)
        _weight(draft, layer, matrices[0], target)
        for name in layer.parameters:
            if name != matrices[0]:
                _bias(draft, layer, name, matrices[0], target)
    draft.emit(index, aim_of(draft, layer))


def _why_unknown(layer: Layer, matrices: list[str]) -> str:
    if layer.fans is None:
        return f"the fans of {layer.name} ({layer.kind}) are not known"
    if len(matrices) > 1:
        return f"{layer.name} ({layer.kind}) multiplies with {len(matrices)} matrices at once"
    return f"{layer.name} ({layer.kind}) has no inputs"


def aim_of(draft: Draft, layer: Layer) -> float:
    """The size that the output of a layer is meant to have."""
    if layer.sums and draft.zero_branches:
        return 0.0
    if layer.sums:
        return layer.share
    if layer.last:
        return output_size(layer)
    if layer.activation is not None and not layer.normalised:
        return math.sqrt(variance_in_depth(*layer.activation, draft.depth)) * layer.share
    return layer.share


def output_size(layer: Layer) -> float:
    """The size of outputs with which a cross-entropy over all of them starts at most 5 % above that of a guess."""
    classes = max(2.0, layer.fans.fan_out if layer.fans else 2.0)
    return math.sqrt(2 * ABOVE_CHANCE * math.log(classes))


def target_of(draft: Draft, layer: Layer) -> Target:
    """Size and gain: those of the critical line in a deep plain network, else those that keep the second moment."""
    aim = aim_of(draft, layer)
    source = draft.activation_before(layer)
    point = None if source is None else critical(*source, draft.depth)
    if source is None or point is None or not _can_balance(draft, layer):
        moment = draft.second_moment_before(layer)
        return Target(aim, aim / math.sqrt(moment), None, _reason(draft, layer, moment))
    gain = math.sqrt(point.weight_variance)
    if layer.last:
        spread = max(draft.second_moment_before(layer) - point.mean**2, point.q * 1e-3)
        gain, point = aim / math.sqrt(spread), CriticalPoint(point.q, point.weight_variance, 0.0, point.mean)
    reason = (
        f"on the critical line of {source[0]} at a variance of {point.q:.3g}, where neither signal nor gradient drifts"
    )
    return Target(aim, gain, point, reason + _ending(layer))


def _can_balance(draft: Draft, layer: Layer) -> bool:
    """Whether there is a bias with an element for each sum of the weight."""
    has_bias = any(draft.tensors[name].dim() == 1 for name in layer.parameters)
    return has_bias and not ("Transpose" in layer.kind and getattr(layer.module, "groups", 1) > 1)


def _reason(draft: Draft, layer: Layer, moment: float) -> str:
    source = draft.activation_before(layer)
    if not layer.sources:
        size = "taken to be 1" if layer.input_rms is None else f"{layer.input_rms:.3g}"
        what = "what came from out of sight" if layer.lost else "the network's input"
        text = f"reads {what}, whose size is {size}"
    elif source is not None:
        text = f"reads what {source[0]} lets through, a second moment of {moment:.3g}"
    else:
        text = f"reads a signal with a second moment of {moment:.3g}"
    return text + _ending(layer)


def _ending(layer: Layer) -> str:
    if layer.sums:
        return f"; {ends_branch(layer)}"
    if layer.last:
        return f"; outputs of size {output_size(layer):.2g} start the loss near chance"
    if layer.share < 1:
        return f"; one of {round(1 / layer.share**2)} equal parts of a sum"
    return "; a normalisation follows" if layer.normalised else ""


def _weight(draft: Draft, layer: Layer, name: str, target: Target) -> None:
    assert layer.fans is not None  # `dense_rows` has looked
    std = target.gain / math.sqrt(layer.fans.fan_in)
    rule, options = _rule(draft, layer, name, std)
    aim = None if _is_rescaled(name) else target.aim
    draft.add(
        layer,
        name,
        rule,
        options,
        target.reason,
        role=_role(layer),
        activation=_name(layer),
        fans=layer.fans,
        gain=target.gain,
        aim=aim,
    )


def _is_rescaled(name: str) -> bool:
    """Whether a parametrisation stands between the parameter and the weight, so that its scale may mean nothing."""
    return ".parametrizations." in f".{name}" or name.endswith("_orig")


def _rule(draft: Draft, layer: Layer, name: str, std: float) -> tuple[str, dict[str, Option]]:
    """Orthogonal in a plain network, where products of weights are all that shapes the signal; else normal."""
    shape = tuple(draft.tensors[name].shape)
    groups = int(getattr(layer.module, "groups", 1))
    rows, columns = shape[0] // groups, math.prod(shape[1:])
    other = "Transpose" in layer.kind or (layer.kind == "einsum" and len(shape) > 2)
    if not draft.depth or std == 0 or other or shape[0] * columns > LARGEST_ORTHOGONAL or groups > 1:
        return "normal", {"mean": 0.0, "std": std}
    if len(shape) > 2 and draft.depth >= DEEP_CONVOLUTIONS and _carries_every_mode(layer, shape):
        scale = std * math.sqrt(math.prod(shape[2:]))
        return "delta_orthogonal", {"gain": scale * math.sqrt(max(rows, shape[1])), "blocks": 1}
    return "orthogonal", {"gain": std * math.sqrt(max(rows, columns)), "blocks": 1}


def _carries_every_mode(layer: Layer, shape: tuple[int, ...]) -> bool:
    return shape[0] >= shape[1] and all(size % 2 for size in shape[2:]) and "Conv" in layer.kind


def _bias(draft: Draft, layer: Layer, name: str, weight: str, target: Target) -> None:
    point = target.critical
    if draft.tensors[name].dim() != 1:
        draft.keep(layer, name, f"{name} is no bias that is known")
    elif point is None or (point.mean == 0 and point.bias_variance == 0):
        draft.constant(layer, name, 0.0, "a bias starts at zero")
    elif point.mean == 0:
        options: dict[str, Option] = {"mean": 0.0, "std": math.sqrt(point.bias_variance)}
        draft.add(
            layer, name, "normal", options, "makes up for what the activation takes from the variance", role="bias"
        )
    else:
        options = {"weight": weight, "mean": point.mean, "std": math.sqrt(point.bias_variance), "dim": _outputs(layer)}
        reason = f"takes the mean of the activation before it, {point.mean:.3g}, out of every sum"
        draft.add(layer, name, "balance", options, reason, role="bias")


def _outputs(layer: Layer) -> int:
    """The dimension of the weight that counts the outputs."""
    return 1 if layer.kind == "Conv1D" or "Transpose" in layer.kind else 0


def _role(layer: Layer) -> str:
    if layer.sums:
        return "residual"
    return "output" if layer.last else "hidden"


def _name(layer: Layer) -> str | None:
    return layer.activation[0] if layer.activation else None


def is_weight_normed(names: tuple[str, ...]) -> bool:
    """Whether the weight is split into a length and a direction."""
    return len(_length_and_direction(names)) == 2


def _length_and_direction(names: tuple[str, ...]) -> list[str]:
    for length, direction in (
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
        ("weight_g", "weight_v"),
    ):
        found = [
            next((n for n in names if n.rpartition(end)[1] and n.endswith(end)), None) for end in (length, direction)
        ]
        if None not in found:
            return [name for name in found if name is not None]
    return []


def weight_normed_rows(draft: Draft, layer: Layer) -> None:
    """Directions at random; lengths those that the rows of such a weight have on average."""
    length, direction = _length_and_direction(layer.parameters)
    target = target_of(draft, layer)
    if layer.fans is None:
        draft.keep(layer, length, _why_unknown(layer, [direction]))
        draft.keep(layer, direction, _why_unknown(layer, [direction]))
        return
    std = target.gain / math.sqrt(layer.fans.fan_in)
    draft.add(
        layer,
        direction,
        "normal",
        {"mean": 0.0, "std": std},
        target.reason,
        role=_role(layer),
        activation=_name(layer),
        fans=layer.fans,
        gain=target.gain,
    )
    size = draft.tensors[direction].numel() / max(draft.tensors[length].numel(), 1)
    draft.constant(
        layer, length, std * math.sqrt(size), "the length that such a direction has on average", role="other"
    )
    for name in layer.parameters:
        if name not in (length, direction):
            _bias(draft, layer, name, direction, Target(target.aim, target.gain, None, ""))
