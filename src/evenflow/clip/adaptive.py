"""Adaptive clipping: each unit by the size of its own weight."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from evenflow import checks
from evenflow.clip.by_norm import as_order, as_policy, as_tensor
from evenflow.clip.gradients import Gradients, Parameters, gradients_from, merged_values, plain_number
from evenflow.clip.named import Named, named_parameters
from evenflow.clip.nonfinite import drop_gradients_, refuse_nonfinite, zero_nonfinite_
from evenflow.clip.norms import Norms, combined, norms
from evenflow.clip.scaling import mark_written
from evenflow.clip.sharded import here, is_sharded, over_mesh, require_summed
from evenflow.clip.units import ROWS, Units, left_out, units_of
from evenflow.errors import TensorDtypeError
from evenflow.uncompiled import uncompiled

_PLAIN_FACTOR = 2.0**-100


@dataclass(frozen=True)
class AdaptivelyClipped:
    """What adaptive clipping did.

    Attributes:
        ratio: The largest norm of a unit's gradient over that of its weight.
        factor: The smallest factor of a unit.
        clipped: How many units were clipped.
        units: How many there are.
        norms: Norm of each gradient afterwards.
    """

    ratio: float
    factor: float
    clipped: int
    units: int
    norms: Norms


@uncompiled
@torch.no_grad()
def adaptive_clip_grad_(
    parameters: Parameters,
    clip_factor: float = 0.01,
    eps: float = 1e-3,
    norm_type: float = 2.0,
    *,
    exclude: str | Iterable[str] | None = "output",
    nonfinite: str = "leave",
) -> Float[Tensor, ""]:
    r"""Scale the gradient of each unit, in place, to at most a share of the norm of its weight (AGC).

    $$
    G_i \leftarrow \lambda \, \frac{\max(\|W_i\|_p, \epsilon)}{\|G_i\|_p} \, G_i
    \qquad \text{where} \quad \frac{\|G_i\|_p}{\max(\|W_i\|_p, \epsilon)} > \lambda
    $$

    A unit $i$ is all that makes one output of a layer: a row of a linear layer, an embedding or a recurrent one, a
    filter of a convolution, which for a transposed one lies along the second dimension, within its group. A
    vector, such as a bias, is one unit.

    Args:
        parameters: A model, a parameter, or an iterable of parameters or of (name, parameter) pairs. Only a model tells
            the types of its layers; otherwise the first dimension counts the units, and no output layer is known.
        clip_factor: $\lambda$, at least 0. The paper takes 0.01 for batches of 4096 and more for smaller ones.
        eps: $\epsilon$, positive: what a weight counts at least, so that those that begin at zero can move.
        norm_type: $p$, positive; infinity is the largest magnitude.
        exclude: What is left out: "output" is the output layer of a model (what `get_output_embeddings()` says, or else
            the last layer that was registered, unless it is the only one); None is nothing; or names of modules or
            parameters.
        nonfinite: As in `clip_grad_norm_`; "propagate" clips the units that are finite.

    Returns:
        The norm of all gradients before clipping, those that are left out included; as from `clip_grad_norm_`.

    Raises:
        ParameterValueError: An argument is out of range, or `exclude` names nothing.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A gradient is neither floating point nor complex, or sparse in a way without rows.
        NonFiniteError: A gradient is not finite and "raise" was asked for. Nothing was changed.
        ShardingError: The units of a sharded weight cannot be told.

    Examples:
        >>> p = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        >>> p.grad = torch.tensor([[0.3, 0.4], [0.0, 0.001]])
        >>> norm = adaptive_clip_grad_(p, 0.01)
        >>> p.grad
        tensor([[0.0300, 0.0400],
                [0.0000, 0.0010]])

    References:
        Brock, De, Smith & Simonyan 2021, "High-performance large-scale image recognition without normalization",
        section 4.1.
    """
    factor, least, order = as_clip_factor(clip_factor), as_eps(eps), as_order(norm_type)
    policy = as_policy(nonfinite, error_if_nonfinite=False)
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    named = named_parameters(parameters)
    units = units_in(named, exclude)
    gradients = gradients_from(named.parameters, named.pairs)
    refuse_without_units(gradients, units)
    total = float(combined(norms(gradients, order, None), order))
    finite = math.isfinite(total)
    if not finite and policy == "raise":
        refuse_nonfinite(gradients, order)
    if not finite and policy == "skip":
        drop_gradients_(named.pairs)
    if not finite and policy == "zero":
        zero_nonfinite_(gradients)
        total = float(combined(norms(gradients, order, None), order))
    if finite or policy in {"zero", "propagate"}:
        clip_units_(gradients, named, units, factor, least, order)
    return as_tensor(total, gradients)


def as_clip_factor(clip_factor: object) -> float:
    """Return `clip_factor` if it is a number of at least 0."""
    return checks.real("clip_factor", plain_number(clip_factor), low=0, infinite=True)


def as_eps(eps: object) -> float:
    """Return `eps` if it is a positive number."""
    return checks.real("eps", plain_number(eps), low=0, open_low=True)


def units_in(named: Named, exclude: object) -> list[Units | None]:
    """Return how each parameter is made of units; None for those that are left out."""
    out = left_out(named.model, dict(named.pairs), exclude)
    modules = named.model
    return [None if name in out else units_of(modules, name, parameter) for name, parameter in named.pairs]


def refuse_without_units(gradients: Gradients, units: Sequence[Units | None]) -> None:
    """Refuse gradients whose units cannot be told.

    Raises:
        TensorDtypeError: One is sparse in another way than by rows.
        ShardingError: One holds parts of a sum, or its groups are cut.
    """
    for gradient, place in zip(gradients.tensors, gradients.origins(), strict=True):
        unit = units[place]
        if unit is None:
            continue
        by_rows = gradient.layout == torch.sparse_coo and gradient.sparse_dim() == 1 and unit == ROWS
        if gradient.layout != torch.strided and not by_rows:
            raise TensorDtypeError(
                f"{gradients.label(gradient)} is sparse without whole rows ({gradient.layout}), so its units are not "
                "known; leave it out with exclude"
            )
        if is_sharded(gradient):
            require_summed(gradient, gradients.label(gradient))
            unit.require_whole_groups(_cut(gradient).values(), gradients.label(gradient))


def clip_units_(
    gradients: Gradients, named: Named, units: Sequence[Units | None], clip_factor: float, eps: float, order: float
) -> AdaptivelyClipped:
    """Clip every unit that is too large for its weight; what it returns is of the whole model."""
    after = norms(gradients, order, None)
    ratio, factor, clipped, count = 0.0, 1.0, 0, 0
    for i, place in enumerate(gradients.origins()):
        unit = units[place]
        if unit is None or gradients.tensors[i].numel() == 0:
            continue
        found = _clip_one_(gradients.tensors[i], named.parameters[place], unit, clip_factor, eps, order)
        ratio, factor = max(ratio, found.ratio), min(factor, found.factor)
        clipped, count = clipped + found.clipped, count + found.units
        after[i] = found.norms[0]
    mark_written(gradients)
    return AdaptivelyClipped(ratio, factor, clipped, count, after)


def _clip_one_(
    gradient: Tensor, weight: nn.Parameter | Tensor, unit: Units, clip_factor: float, eps: float, order: float
) -> AdaptivelyClipped:
    values = merged_values(gradient) if gradient.layout != torch.strided else here(gradient)
    weights = here(weight)
    if gradient.layout != torch.strided:
        weights = weights[gradient.coalesce().indices()[0]]
    sizes = torch.stack([unit.norms(values, order), unit.norms(weights, order)])
    whole = _over_processes(gradient, sizes.cpu().numpy(), unit, order)
    limits = clip_factor * np.maximum(whole[1], eps)
    over = whole[0] > limits
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(over, limits / whole[0], 1.0)
        ratios = whole[0] / np.maximum(whole[1], eps)
        after = whole[0] * factors
    if over.any():
        _multiply_(values, unit.spread(values, torch.from_numpy(factors).to(values.device)))
    return _told(gradient, unit, ratios, factors, after, order)


def _multiply_(values: Tensor, factors: Tensor) -> None:
    if float(factors.min()) < _PLAIN_FACTOR:
        values.copy_(values.to(torch.promote_types(values.dtype, torch.float64)) * factors)
    else:
        values.mul_(factors.to(values.dtype.to_real()))


def _cut(tensor: Tensor) -> dict[int, int]:
    """Return which dimension of a sharded tensor each dimension of its mesh cuts."""
    placements = tensor.placements if is_sharded(tensor) else ()
    return {mesh: placed.dim for mesh, placed in enumerate(placements) if hasattr(placed, "dim")}


def _over_processes(gradient: Tensor, sizes: Norms, unit: Units, order: float) -> Norms:
    """Combine the norms of units that are themselves cut."""
    for mesh, dim in _cut(gradient).items():
        if dim != unit.dim:
            sizes = over_mesh(gradient, mesh, sizes, lambda parts: combined(parts, order))
    return sizes


def _told(
    gradient: Tensor, unit: Units, ratios: Norms, factors: Norms, after: Norms, order: float
) -> AdaptivelyClipped:
    """Bring what happened to the units that are here together with what happened elsewhere."""
    facts = np.array(
        [ratios.max(initial=0.0), -factors.min(initial=1.0), (factors != 1).sum(), factors.size], dtype=np.float64
    )
    norm = combined(after.reshape(-1), order).reshape(1)
    for mesh, dim in _cut(gradient).items():
        if dim == unit.dim:
            both = over_mesh(gradient, mesh, np.concatenate([facts, norm]), lambda parts: _joined(parts, order))
            facts, norm = both[:4], both[4:]
    return AdaptivelyClipped(float(facts[0]), -float(facts[1]), int(facts[2]), int(facts[3]), norm)


def _joined(parts: Norms, order: float) -> Norms:
    return np.concatenate([parts[:, :2].max(axis=0), parts[:, 2:4].sum(axis=0), combined(parts[:, 4:], order)])
