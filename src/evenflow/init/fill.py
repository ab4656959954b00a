"""Fill a tensor with addressed draws.

Element `i` of the tensor in logical (row-major) order is element `i` of the stream, whatever the tensor's
strides, dtype and device: every dtype is the float32 draw, rounded. A complex tensor of `n` elements is `2 n`
draws, laid out as `torch.view_as_real` shows them.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.init.interval import inside
from evenflow.init.source import as_stream
from evenflow.random import Stream

Draw = Callable[[Stream, tuple[int, ...], int], NDArray[np.floating]]

_CHUNK = 2**20


def fill_uniform(
    tensor: Tensor, low: float, high: float, *, generator: torch.Generator | None, stream: Stream | None
) -> Tensor:
    """Fill with draws from U[low, high); of a complex tensor, the real and the imaginary parts each."""

    def draw(source: Stream, shape: tuple[int, ...], start: int) -> NDArray[np.float32]:
        return source.uniform(shape, low, high, start=start)

    return _fill(tensor, draw, generator, stream)


def fill_normal(
    tensor: Tensor, mean: float, std: float, *, generator: torch.Generator | None, stream: Stream | None
) -> Tensor:
    """Fill with draws from N(mean, std^2); complex numbers have this variance in both parts together."""

    def draw(source: Stream, shape: tuple[int, ...], start: int) -> NDArray[np.float32]:
        return source.normal(shape, mean, std, start=start)

    def draw_parts(source: Stream, shape: tuple[int, ...], start: int) -> NDArray[np.float32]:
        parts = source.normal(shape, 0.0, std / math.sqrt(2), start=start)
        parts[..., 0] += np.float32(mean)
        return parts

    return _fill(tensor, draw_parts if tensor.is_complex() else draw, generator, stream)


def fill_truncated_normal(
    tensor: Tensor,
    mean: float,
    std: float,
    low: float,
    high: float,
    *,
    generator: torch.Generator | None,
    stream: Stream | None,
) -> Tensor:
    """Fill a real tensor with draws from N(mean, std^2) that stay in [low, high] when they are rounded."""
    bounds = inside(low, high, tensor.dtype)

    def draw(source: Stream, shape: tuple[int, ...], start: int) -> NDArray[np.float64]:
        draws = source.truncated_normal(shape, mean, std, low, high, start=start).astype(np.float64)
        return np.clip(draws, *bounds, out=draws)

    return _fill(tensor, draw, generator, stream)


@torch.no_grad()
def _fill(tensor: Tensor, draw: Draw, generator: torch.Generator | None, stream: Stream | None) -> Tensor:
    if tensor.is_meta or tensor.numel() == 0:
        return tensor
    source = as_stream(generator, stream)
    for start, piece in _pieces(tensor):
        if tensor.is_complex():
            parts = torch.from_numpy(draw(source, (*piece.shape, 2), 2 * start))
            piece.copy_(torch.view_as_complex(parts))
        else:
            piece.copy_(torch.from_numpy(draw(source, tuple(piece.shape), start)))
    return tensor


def _pieces(tensor: Tensor, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Cut a tensor into pieces of bounded size, each with the logical index of its first element."""
    if tensor.numel() <= _CHUNK:
        yield start, tensor
        return
    row = tensor.numel() // tensor.shape[0]
    if row > _CHUNK:
        for number, part in enumerate(tensor.unbind()):
            yield from _pieces(part, start + number * row)
        return
    rows = _CHUNK // row
    for number, part in enumerate(torch.split(tensor, rows)):
        yield start + number * rows * row, part
