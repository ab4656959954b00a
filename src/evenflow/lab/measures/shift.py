r"""Internal covariate shift, in two definitions that can disagree.

*Of distributions* (Ioffe & Szegedy 2015): how far the distribution of a layer's inputs moves when a step changes the
layers below it. *Of gradients* (Santurkar et al. 2018): how far the gradient that the layer's step was based on is from
the one that it would have had if the layers below it had made their step already,

$$ \lVert G_i - G_i' \rVert_2, \qquad G_i = \nabla_{W_i} L(W_1, \dots, W_k), \quad
G_i' = \nabla_{W_i} L(W_1', \dots, W_{i-1}', W_i, \dots, W_k). $$
"""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor, nn

from evenflow.errors import ParameterValueError
from evenflow.lab.measures.copies import Batch, Loss, checked, copied, gradients_of, loss_of

PERCENTILES = (15.0, 50.0, 85.0)
LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
MOST_UNITS = 64


@dataclass(frozen=True, slots=True)
class LayerShift:
    """What one step of the layers below did to a layer.

    Attributes:
        layer: Its qualified name.
        percentiles: {15, 50, 85}th percentiles of its inputs before the step.
        percentiles_after: The same after it.
        wasserstein: Mean over its input units of the first Wasserstein distance between before and after.
        relative: The same, each unit divided by its standard deviation before.
        gradient_difference: Norm of the difference between the two gradients of its weights.
        gradient_cosine: Cosine of the angle between them; NaN where one is zero.
    """

    layer: str
    percentiles: tuple[float, ...]
    percentiles_after: tuple[float, ...]
    wasserstein: float
    relative: float
    gradient_difference: float
    gradient_cosine: float


def covariate_shift(
    model: nn.Module,
    batch: Batch,
    update: Callable[[nn.Module], object],
    loss_fn: Loss | None = None,
    layers: Sequence[str] | None = None,
) -> list[LayerShift]:
    """Measure both kinds of internal covariate shift that one step brings about.

    Args:
        model: The network, in training mode if that is how it is trained. It stays as it is.
        batch: Inputs and targets that all is measured on.
        update: Makes one training step on the copy that it is called with, in place. What it draws from torch is drawn
            again afterwards.
        loss_fn: From outputs and targets to the loss; None for cross-entropy.
        layers: Qualified names of the layers, in the order in which the data reach them; None for all linear layers and
            convolutions, in the order of registration.

    Returns:
        One record a layer. The first has no layers below it: its shift is zero.

    Raises:
        BatchError: The batch is no pair of tensors, or empty.
        NoParametersError: The model has nothing to train.
        ParameterValueError: There is no such layer, or none at all.

    Examples:
        >>> from evenflow.lab.training import load_split, mlp
        >>> data, model = load_split("digits"), mlp([64, 16, 10], "tanh")
        >>> def update(twin):
        ...     optimiser = torch.optim.SGD(twin.parameters(), 0.1)
        ...     nn.functional.cross_entropy(twin(data.inputs[:64]), data.targets[:64]).backward()
        ...     optimiser.step()
        >>> first, second = covariate_shift(model, (data.inputs[:64], data.targets[:64]), update)
        >>> first.gradient_difference, second.gradient_difference > 0
        (0.0, True)

    References:
        Ioffe & Szegedy 2015, section 1 and figure 1. Santurkar et al. 2018, "How does batch normalization help
        optimization?", definition 2.1.
    """
    batch = checked(batch)
    before, after = copied(model), copied(model)
    with torch.random.fork_rng(devices=[]):
        update(after)
    names = _names(before, layers)
    inputs = [_inputs(network, names, batch, loss_fn) for network in (before, after)]
    starts = _gradients(before, batch, loss_fn)
    found = []
    for index, name in enumerate(names):
        mixed = _mixed(before, after, names[:index], name)
        old, new = (gradients[f"{name}.weight"] for gradients in (starts, _gradients(mixed, batch, loss_fn)))
        distances, relative = _distances(inputs[0][name], inputs[1][name])
        found.append(
            LayerShift(
                layer=name,
                percentiles=_percentiles(inputs[0][name]),
                percentiles_after=_percentiles(inputs[1][name]),
                wasserstein=distances,
                relative=relative,
                gradient_difference=float((old - new).norm()),
                gradient_cosine=_cosine(old, new),
            )
        )
    return found


def _names(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    known = [name for name, module in model.named_modules() if isinstance(module, LAYERS)]
    wanted = known if layers is None else list(layers)
    missing = [name for name in wanted if name not in known]
    if missing or not wanted:
        raise ParameterValueError(
            f"layers must name linear layers or convolutions of the model; got {missing or wanted}, known: {known[:8]}"
        )
    return wanted


def _inputs(
    model: nn.Module, names: Sequence[str], batch: Batch, loss_fn: Loss | None
) -> dict[str, NDArray[np.float64]]:
    """For each layer its inputs on the batch: (values, units)."""
    seen: dict[str, NDArray[np.float64]] = {}
    with ExitStack() as hooks, torch.no_grad():
        for name in names:
            hook = model.get_submodule(name).register_forward_pre_hook(_recorder(name, seen))
            hooks.callback(hook.remove)
        loss_of(model, batch, loss_fn)
    return seen


def _recorder(name: str, seen: dict[str, NDArray[np.float64]]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def record(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        signal = inputs[0].detach().double()
        units = -1 if isinstance(module, nn.Linear) else 1
        seen[name] = signal.movedim(units, -1).flatten(0, -2).cpu().numpy()

    return record


def _mixed(before: nn.Module, after: nn.Module, below: Sequence[str], name: str) -> nn.Module:
    """A copy in which all that lies below a layer has made its step."""
    mixed = copied(before)
    own = dict(mixed.named_parameters())
    with torch.no_grad():
        for parameter, value in after.named_parameters():
            if _lies_below(parameter, below, name, list(own)):
                own[parameter].copy_(value)
    return mixed


def _lies_below(parameter: str, below: Sequence[str], name: str, order: Sequence[str]) -> bool:
    """Whether a parameter belongs to a layer below, or is registered between one of them and the layer (a norm)."""
    if any(parameter.startswith(f"{layer}.") for layer in below):
        return True
    first = next(i for i, other in enumerate(order) if other.startswith(f"{name}."))
    return bool(below) and order.index(parameter) < first


def _gradients(model: nn.Module, batch: Batch, loss_fn: Loss | None) -> dict[str, Tensor]:
    """The gradient of every trained parameter by its name, in float64 and one dimension."""
    names = [name for name, one in model.named_parameters() if one.requires_grad]
    _, gradients = gradients_of(model, batch, loss_fn)
    return {name: gradient.double().flatten() for name, gradient in zip(names, gradients, strict=True)}


def _distances(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float]:
    """Wasserstein distances, absolute and in standard deviations, averaged over at most `MOST_UNITS` units."""
    units = np.unique(np.linspace(0, before.shape[1] - 1, MOST_UNITS).round().astype(int))
    distances = np.array([wasserstein_distance(before[:, unit], after[:, unit]) for unit in units])
    spread = before[:, units].std(0)
    moving = spread > 1e-12 * max(1.0, float(np.abs(before).max()))
    relative = float((distances[moving] / spread[moving]).mean()) if moving.any() else 0.0
    return float(distances.mean()), relative


def _percentiles(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(p) for p in np.percentile(values, PERCENTILES))


def _cosine(one: Tensor, other: Tensor) -> float:
    size = float(one.norm() * other.norm())
    return float(one @ other) / size if size > 0 else math.nan
