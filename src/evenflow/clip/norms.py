r"""The p-norm of many tensors as one vector, right for every finite input.

A float32 sum of 50 million squares loses the small ones: it is 0.4 % low. A square overflows from 1.8e19 on,
and below 1e-19 it loses its digits. So sums run in float32 over short pieces only and go on in float64, and
when the result says that squares may have left the range, the norm is taken again in float64 on
numbers scaled by the largest:

$$
\|x\|_p = s \, \Bigl( \sum_i |x_i / s|^p \Bigr)^{1/p}, \qquad s = \max_i |x_i| .
$$
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evenflow.clip.gradients import values_to_read

_ROW = 256
"""Numbers added up in float32: 7e-8 off at worst, when all are equal; with 4096 it is 2e-6."""

_CHUNK = 65536
"""The same for the foreach kernel, where each piece is a call: 1e-5 at worst; 4096 takes 5 times as long."""

_SMALL = 4096
"""A vector shorter than this costs less to copy than to call a kernel for."""


def total_norm(tensors: Sequence[Tensor], norm_type: float, foreach: bool | None) -> float:
    r"""Compute the norm of all numbers in all tensors.

    Args:
        tensors: Real or complex, dense or sparse, of any floating dtype, on any device.
        norm_type: $p$, positive or infinite.
        foreach: True reads with torch's foreach kernels, in longer pieces (1e-5); False tensor by tensor.
            None does what is fastest: on a CPU small tensors are packed together and read in rows; elsewhere
            foreach.

    Returns:
        The norm; NaN when there is a NaN; infinity when there is an infinity or the norm is beyond float64.
    """
    if not tensors:
        return 0.0
    vectors = [flat_magnitudes(tensor, norm_type) for tensor in tensors]
    if norm_type in {1.0, 2.0}:
        total = float(torch.linalg.vector_norm(_partial_norms(vectors, norm_type, foreach), norm_type))
        if _in_safe_range(total, vectors, norm_type):
            return total
    return _scaled_norm(vectors, norm_type, foreach)


def largest_magnitudes(vectors: Sequence[Tensor], foreach: bool | None) -> list[float]:
    """Find the largest absolute value of each vector: NaN where it holds one, 0 where it is empty."""
    full = [vector for vector in vectors if vector.numel()]
    if not full:
        return [0.0] * len(vectors)
    if _use_foreach(full, foreach):
        found = _on_host([norm.reshape(1) for norm in torch._foreach_norm(full, math.inf)])
    else:
        ends = _on_host([torch.stack(torch.aminmax(vector)) for vector in full])
        found = ends.reshape(-1, 2).abs().amax(1)
    in_order = iter(found.tolist())
    return [next(in_order) if vector.numel() else 0.0 for vector in vectors]


def flat_magnitudes(tensor: Tensor, norm_type: float) -> Tensor:
    """Lay the numbers out in a real vector of the same norm, without a copy where that is possible."""
    values = tensor if tensor.layout == torch.strided else values_to_read(tensor)
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj()) if norm_type == 2.0 else values.abs()
    if not values.is_contiguous():
        in_memory_order = sorted(range(values.dim()), key=values.stride, reverse=True)
        values = values.permute(in_memory_order)
    return values.flatten()


def _partial_norms(vectors: Sequence[Tensor], norm_type: float, foreach: bool | None) -> Tensor:
    """Return norms of pieces, in float64, whose norm is the total norm."""
    if _use_foreach(vectors, foreach):
        chunks = [chunk for vector in vectors for chunk in _chunks(vector)]
        return _on_host(_foreach_norms(chunks, norm_type))
    if foreach is None:
        vectors = _packed(vectors)
    return _on_host([piece for vector in vectors for piece in _row_norms(vector, norm_type)])


def _row_norms(vector: Tensor, norm_type: float) -> list[Tensor]:
    whole = vector.numel() // _ROW * _ROW
    rows, rest = vector[:whole].view(-1, _ROW), vector[whole:].view(1, -1)
    parts = [part for part in (rows, rest) if part.numel()] or [rest]
    dtype = _accumulator(vector.dtype)
    return [torch.linalg.vector_norm(part, norm_type, dim=1, dtype=dtype) for part in parts]


def _chunks(vector: Tensor) -> Sequence[Tensor]:
    return [vector] if vector.numel() <= _CHUNK else torch.split(vector, _CHUNK)


def _foreach_norms(chunks: Sequence[Tensor], norm_type: float) -> list[Tensor]:
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for chunk in chunks:
        alike.setdefault((chunk.device, chunk.dtype), []).append(chunk)
    return [
        torch.stack(torch._foreach_norm(group, norm_type, dtype=_accumulator(dtype)))
        for (_, dtype), group in alike.items()
    ]


def _packed(vectors: Sequence[Tensor]) -> list[Tensor]:
    """Join the small vectors, so that thousands of them cost a few calls."""
    small = [vector for vector in vectors if vector.numel() < _SMALL]
    large = [vector for vector in vectors if vector.numel() >= _SMALL]
    return [*large, torch.cat(small)] if small else large


def _in_safe_range(total: float, vectors: Sequence[Tensor], norm_type: float) -> bool:
    """Tell whether no square that matters can have left the range.

    A square below the smallest normal number t is off by less than t, so n squares by less than n t; above
    2^13 sqrt(n t) that is under 2^-26 of the squared norm.
    """
    if not math.isfinite(total):
        return False
    if norm_type == 1.0:
        return True
    dtypes = {vector.dtype for vector in vectors}
    smallest = max(torch.finfo(_accumulator(dtype)).tiny for dtype in dtypes)
    count = sum(vector.numel() for vector in vectors)
    return total >= 2.0**13 * math.sqrt(count) * math.sqrt(smallest)


def _scaled_norm(vectors: Sequence[Tensor], norm_type: float, foreach: bool | None) -> float:
    largest = largest_magnitudes(vectors, foreach)
    scale = math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)
    if math.isinf(norm_type) or scale == 0 or not math.isfinite(scale):
        return scale
    partial = [torch.linalg.vector_norm(vector.double() / scale, norm_type) for vector in vectors]
    return scale * float(torch.linalg.vector_norm(_on_host([norm.reshape(1) for norm in partial]), norm_type))


def _use_foreach(vectors: Sequence[Tensor], foreach: bool | None) -> bool:
    return not all(vector.is_cpu for vector in vectors) if foreach is None else foreach


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _on_host(parts: Sequence[Tensor]) -> Tensor:
    """Join the parts in order, in float64 and on the CPU: one transfer when they are on one device."""
    if len({part.device for part in parts}) > 1:
        parts = [part.cpu() for part in parts]
    return torch.cat(list(parts)).to(device="cpu", dtype=torch.float64)
