"""Fill a tensor with addressed draws.

Element `i` of the tensor in logical (row-major) order is element `i` of the stream, whatever the tensor's
strides, dtype and device: every dtype is the float32 draw, rounded. A complex tensor of `n` elements is `2 n`
draws, laid out as `torch.view_as_real` shows them. As many threads draw as torch uses. Of a sharded tensor, each
process draws the elements that it holds.
"""

import ctypes
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.init.interval import inside
from evenflow.init.sharded import Rows, own, own_rows
from evenflow.init.source import as_stream
from evenflow.kernels import torch_team
from evenflow.random import Stream
from evenflow.uncompiled import uncompiled

# From a stream, a shape, and the keywords `start`, `out` and `threads` of the stream's methods.
Draw = Callable[..., NDArray[np.floating]]

# Elements drawn and copied at once, which bounds the memory beside the tensor; and those that torch copies in the
# calling thread. Where its threads do not draw, others do, and they would keep each other from the processors.
_DRAWN = 2**20
_ALONE = 2**15


def fill_uniform(
    tensor: Tensor, low: float, high: float, *, generator: torch.Generator | None, stream: Stream | None
) -> Tensor:
    """Fill with draws from U[low, high), also after rounding; of a complex tensor, the two parts each."""
    short = tensor.is_floating_point() and torch.finfo(tensor.dtype).bits < 32
    bounds = inside(low, high, tensor.dtype, below_high=True) if short else None

    def draw(source: Stream, shape: tuple[int, ...], **place: Any) -> NDArray[np.floating]:
        draws = source.uniform(shape, low, high, **place)
        return draws if bounds is None else np.clip(draws, *bounds, out=draws)

    return _fill(tensor, draw, generator, stream)


def fill_normal(
    tensor: Tensor, mean: float, std: float, *, generator: torch.Generator | None, stream: Stream | None
) -> Tensor:
    """Fill with draws from N(mean, std^2); complex numbers have this variance in both parts together."""

    def draw(source: Stream, shape: tuple[int, ...], **place: Any) -> NDArray[np.float32]:
        return source.normal(shape, mean, std, **place)

    def draw_parts(source: Stream, shape: tuple[int, ...], **place: Any) -> NDArray[np.float32]:
        parts = source.normal(shape, 0.0, std / math.sqrt(2), **place)
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

    def draw(source: Stream, shape: tuple[int, ...], **place: Any) -> NDArray[np.floating]:
        draws = source.truncated_normal(shape, mean, std, low, high, **place)
        # As float32 they are inside already.
        return draws if tensor.dtype == torch.float32 else np.clip(draws.astype(np.float64), *bounds)

    return _fill(tensor, draw, generator, stream)


@uncompiled
@torch.no_grad()
def _fill(tensor: Tensor, draw: Draw, generator: torch.Generator | None, stream: Stream | None) -> Tensor:
    if tensor.numel() == 0:
        return tensor
    # Also where nothing is to be drawn here: the generators of all processes are to go on alike.
    source = as_stream(generator, stream)
    here = own(tensor)
    if here.numel():
        _fill_rows(here, own_rows(tensor), draw, source)
    return tensor


def _fill_rows(tensor: Tensor, rows: Rows, draw: Draw, source: Stream) -> None:
    threads = torch.get_num_threads()
    memory = _memory(tensor)
    if memory is not None:
        start, shape = rows.of(0, memory.size)
        draw(source, shape, start=start, out=memory.reshape(shape), threads=threads)
        return
    for first, piece in _pieces(tensor, _DRAWN):
        start, shape = rows.of(first, piece.numel())
        if tensor.is_complex():
            parts = torch.from_numpy(draw(source, (*shape, 2), start=2 * start, threads=threads))
            _copy(torch.view_as_complex(parts), piece)
        else:
            _copy(torch.from_numpy(draw(source, shape, start=start, threads=threads)), piece)


def _copy(draws: Tensor, piece: Tensor) -> None:
    flat = draws.view(-1)
    for start, part in _pieces(piece, _ALONE if piece.is_cpu and torch_team() is None else _DRAWN):
        part.copy_(flat[start : start + part.numel()].view(part.shape))


def _memory(tensor: Tensor) -> NDArray[np.float32] | None:
    """Return the tensor's own memory as an array that the stream can draw into, or None where there is no such."""
    if tensor.dtype != torch.float32 or not (tensor.is_cpu and tensor.is_contiguous()) or tensor.is_neg():
        return None
    try:
        address = tensor.data_ptr()
    except RuntimeError:  # a tensor without memory of its own
        return None
    if address == 0 or address % 4:
        return None
    # Not `tensor.numpy()`, after which torch refuses to resize the memory, as sharding does.
    memory = np.ctypeslib.as_array((ctypes.c_float * tensor.numel()).from_address(address))
    # Autograd hears nothing of what NumPy writes. This writes nothing, but is counted, and refused where due.
    tensor.view(-1)[:0].zero_()
    return memory


def _pieces(tensor: Tensor, limit: int, start: int = 0) -> Iterator[tuple[int, Tensor]]:
    """Cut a tensor into pieces of at most `limit` elements, each with the logical index of its first element."""
    if tensor.numel() <= limit:
        yield start, tensor
        return
    row = tensor.numel() // tensor.shape[0]
    if row > limit:
        for number, part in enumerate(tensor.unbind()):
            yield from _pieces(part, limit, start + number * row)
        return
    rows = limit // row
    for number, part in enumerate(torch.split(tensor, rows)):
        yield start + number * rows * row, part
