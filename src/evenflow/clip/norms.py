r"""The p-norms of many tensors, and of all of them as one vector, right for every finite input.

A float32 sum of 50 million squares loses the small ones: it is 0.4 % low. A float32 square overflows from 1.8e19 on,
and below 1e-19 it loses its digits. So every number is widened to float64 before it is squared. Where float64 itself
may have left its range, the norm is taken again on numbers scaled by the largest:

$$
\|x\|_p = s \, \Bigl( \sum_i |x_i / s|^p \Bigr)^{1/p}, \qquad s = \max_i |x_i| .
$$
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.clip.gradients import Gradients, values_to_read
from evenflow.clip.memory import blocks
from evenflow.clip.sharded import over_processes, summed_here

Norms = NDArray[np.float64]

_SMALL = 4096
"""A vector shorter than this costs less to copy than to call a kernel for."""

_ROW = 2**15

_LOOPS = {2.0: "squares", 1.0: "magnitudes", math.inf: "peaks"}
_SAFE_SQUARE = 2.0**-490
"""A float64 norm above this is right in all digits: what a square below the smallest number lost is far below it."""


def norms(gradients: Gradients, norm_type: float, foreach: bool | None) -> Norms:
    r"""Compute the norm of each tensor, of the whole one where processes share it.

    Args:
        gradients: Real or complex, dense or sparse, of any floating dtype, on any device.
        norm_type: $p$, positive or infinite.
        foreach: Many or large tensors on a CPU are read by one compiled loop. Of the others, False reads one after
            another and True by torch's foreach kernels, as None does on another device; on a CPU, None packs small
            ones together.

    Returns:
        For each of `gradients.tensors` its norm; NaN where there is a NaN; infinity where there is an infinity or the
        norm is beyond float64.
    """
    found = np.zeros(len(gradients.tensors))
    rest: Sequence[int] = range(len(gradients.tensors))
    if norm_type in _LOOPS and not _has_parts_of_sums(gradients):
        alike, rest = blocks(gradients, complex_too=norm_type == 2.0)
        for block in alike:
            sums = block.run(_LOOPS[norm_type])
            found[block.places] = np.sqrt(sums) if norm_type == 2.0 else sums
    if rest:
        vectors = [_vector(gradients, place, norm_type) for place in rest]
        found[list(rest)] = _by_torch(vectors, norm_type, foreach)
    if norm_type == 2.0 and any(dtype.to_real() == torch.float64 for dtype, _ in gradients.looks):
        _take_again(found, gradients)
    if gradients.sharded:
        found = over_processes(gradients.tensors, found, lambda parts: combined(parts, norm_type))
    return found


def combined(parts: Norms, norm_type: float) -> Norms:
    r"""Compute, over the first axis, the norm of vectors from the norms of their parts.

    Examples:
        >>> float(combined(np.array([3 * 2.0**700, 4 * 2.0**700]), 2.0)) / 2.0**700
        5.0
    """
    if not len(parts):
        return np.zeros(parts.shape[1:])
    largest: Norms = parts.max(axis=0)
    if math.isinf(norm_type):
        return largest
    # Powers of two divide without rounding.
    scale = np.where((largest > 0) & (largest < np.inf), np.ldexp(1.0, np.frexp(largest)[1] - 1), 1.0)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        sums = ((parts / scale) ** norm_type).sum(axis=0)
        root = np.sqrt(sums) if norm_type == 2.0 else sums ** (1 / norm_type)
        joined: Norms = np.where(np.isfinite(largest), scale * root, largest)
    return joined


def total_norm(gradients: Gradients, norm_type: float, foreach: bool | None) -> float:
    """Compute the norm of all numbers in all tensors; arguments as in `norms`."""
    return float(combined(norms(gradients, norm_type, foreach), norm_type))


def flat_magnitudes(tensor: Tensor, norm_type: float) -> Tensor:
    """Lay the numbers out in a real vector of the same norm, without a copy where that is possible."""
    values = tensor if tensor.layout == torch.strided else values_to_read(tensor)
    if values.is_complex():
        values = _pairs(values) if norm_type == 2.0 else values.to(_wide(values.device).to_complex()).abs()
    if not values.is_contiguous():
        in_memory_order = sorted(range(values.dim()), key=values.stride, reverse=True)
        values = values.permute(in_memory_order)
    return values.flatten()


def _pairs(values: Tensor) -> Tensor:
    return torch.view_as_real(values.resolve_conj())


def _vector(gradients: Gradients, place: int, norm_type: float) -> Tensor:
    tensor = summed_here(gradients.tensors[place]) if gradients.sharded else gradients.here[place]
    return flat_magnitudes(tensor, norm_type)


def _has_parts_of_sums(gradients: Gradients) -> bool:
    return gradients.sharded and any(
        placed.is_partial() for tensor in gradients.tensors for placed in getattr(tensor, "placements", ())
    )


def _by_torch(vectors: Sequence[Tensor], norm_type: float, foreach: bool | None) -> Norms:
    found = np.zeros(len(vectors))
    full = [i for i, vector in enumerate(vectors) if vector.numel()]
    if full and norm_type in _LOOPS:
        found[full] = _plain_norms([vectors[i] for i in full], norm_type, foreach)
    elif full:
        found[full] = [_scaled_norm(vectors[i], norm_type) for i in full]
    return found


def _plain_norms(vectors: Sequence[Tensor], norm_type: float, foreach: bool | None) -> Norms:
    on_cpu = all(vector.is_cpu for vector in vectors)
    if foreach or (foreach is None and not on_cpu):
        return _foreach_norms(vectors, norm_type)
    if foreach is None and norm_type == 2.0 and sum(vector.numel() < _SMALL for vector in vectors) > 1:
        return _packed_norms(vectors)
    return _on_host([_norm(vector, norm_type) for vector in vectors])


def _packed_norms(vectors: Sequence[Tensor]) -> Norms:
    """Join the small vectors, so that hundreds of them cost a few calls."""
    found = np.zeros(len(vectors))
    small = [i for i, vector in enumerate(vectors) if vector.numel() < _SMALL]
    large = [i for i, vector in enumerate(vectors) if vector.numel() >= _SMALL]
    lengths = np.array([vectors[i].numel() for i in small])
    numbers = torch.cat([vectors[i] for i in small]).double().numpy()
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        found[small] = np.sqrt(np.add.reduceat(numbers * numbers, np.cumsum(lengths) - lengths))
    if large:
        found[large] = _on_host([_norm(vectors[i], 2.0) for i in large])
    return found


def _foreach_norms(vectors: Sequence[Tensor], norm_type: float) -> Norms:
    alike: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, vector in enumerate(vectors):
        alike.setdefault((vector.device, vector.dtype), []).append(place)
    found = np.zeros(len(vectors))
    stacks = [
        torch.stack(torch._foreach_norm([vectors[i] for i in places], norm_type, dtype=_wide(device)))
        for (device, _), places in alike.items()
    ]
    found[[place for places in alike.values() for place in places]] = _on_host(stacks)
    return found


def _norm(vector: Tensor, norm_type: float) -> Tensor:
    """Compute the norm of a vector, of a long one from those of its rows: one long sum loses five digits."""
    wide = _wide(vector.device)
    if vector.numel() > 2 * _ROW:
        whole = vector.numel() // _ROW * _ROW
        rows = torch.linalg.vector_norm(vector[:whole].view(-1, _ROW), norm_type, dim=1, dtype=wide)
        rest = torch.linalg.vector_norm(vector[whole:], 2.0 if whole == vector.numel() else norm_type, dtype=wide)
        vector = torch.cat([rows, rest.reshape(1)])
    norm: Tensor = torch.linalg.vector_norm(vector, norm_type, dtype=wide)
    return norm


def _take_again(found: Norms, gradients: Gradients) -> None:
    """Take the norms of float64 numbers again whose squares may have left the range."""
    for place in np.flatnonzero(~((found > _SAFE_SQUARE) & (found < np.inf))):
        vector = _vector(gradients, int(place), 2.0)
        if vector.dtype == torch.float64 and vector.numel():
            found[place] = _scaled_norm(vector, 2.0)


def _scaled_norm(vector: Tensor, norm_type: float) -> float:
    scale = float(_norm(vector, math.inf))
    if scale == 0 or not math.isfinite(scale):
        return scale
    return scale * float(_norm(vector.to(_wide(vector.device)) / scale, norm_type))


def _wide(device: torch.device) -> torch.dtype:
    """Return the dtype to add up in: Apple's GPUs have no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def _on_host(parts: Sequence[Tensor]) -> Norms:
    """Join the parts in order, in float64 and on the CPU: one transfer when they are on one device."""
    flat = [part.reshape(-1) for part in parts]
    if len({part.device for part in flat}) > 1:
        flat = [part.cpu() for part in flat]
    found: Norms = torch.cat(flat).cpu().to(torch.float64).numpy()
    return found
