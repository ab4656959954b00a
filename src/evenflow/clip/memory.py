"""Where tensors lie in memory, for the loops that go over many of them in one call."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evenflow import kernels
from evenflow.clip.gradients import Gradients

_PLAIN_KINDS = {Tensor, nn.Parameter}
_WIDTHS = {
    torch.float32: ("float32", 1),
    torch.float64: ("float64", 1),
    torch.complex64: ("float32", 2),
    torch.complex128: ("float64", 2),
}


@dataclass(frozen=True)
class Blocks:
    """Unbroken blocks of real numbers of one type on the CPU.

    Attributes:
        places: Which tensors they are, of all.
        addresses: Where each begins.
        lengths: How many numbers each has.
        kind: "float32" or "float64".
    """

    places: NDArray[np.int64]
    addresses: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    kind: str

    def run(self, loop: str) -> NDArray[np.float64]:
        """Run one of the loops that find a number for each block."""
        found = kernels.loops()[loop]  # type: ignore[index]  # there are blocks only where there are loops
        return np.asarray(found(self.addresses, self.lengths, self.kind, torch.get_num_threads()), dtype=np.float64)

    def scale_(self, factor: float) -> None:
        """Multiply all numbers by a factor."""
        kernels.loops()["scale"](  # type: ignore[index]  # as above
            self.addresses, self.lengths, self.kind, torch.get_num_threads(), factor
        )


def blocks(gradients: Gradients, *, complex_too: bool) -> tuple[list[Blocks], list[int]]:
    """Find the blocks of memory of the gradients.

    Args:
        gradients: What to find.
        complex_too: Whether a complex number may stand for two real ones.

    Returns:
        The blocks, and the places of the tensors that are not among them: none is found where they are too few to load
        the compiled loops for.
    """
    found, taken = [], 0
    for dtype, on_cpu in gradients.looks:
        if on_cpu and dtype in _WIDTHS and (complex_too or not dtype.is_complex):
            alike = _alike(gradients, dtype)
            if alike is not None:
                found.append(alike)
                taken += alike.places.size
    everything = range(len(gradients.here))
    if not _worth_it(found):
        return [], list(everything)
    if taken == len(everything):
        return found, []
    return found, sorted(set(everything) - {int(place) for block in found for place in block.places})


def row_blocks(tensor: Tensor) -> Blocks | None:
    """Return the rows of a float32 tensor as blocks; None where it lies otherwise, or is too small for the loops."""
    plain = tensor.layout == torch.strided and _is_plain(tensor, torch.float32) and tensor.is_contiguous()
    if not plain or not tensor.numel():
        return None
    rows = tensor.shape[0]
    lengths = np.full(rows, tensor.numel() // rows, dtype=np.int64)
    addresses = np.uint64(tensor.data_ptr()) + np.arange(rows, dtype=np.uint64) * np.uint64(4 * lengths[0])
    found = Blocks(np.arange(rows), addresses, lengths, "float32")
    return found if _worth_it([found]) else None


def _worth_it(found: Sequence[Blocks]) -> bool:
    tensors, numbers = sum(block.places.size for block in found), sum(int(block.lengths.sum()) for block in found)
    return kernels.worth_loading(tensors, numbers) and kernels.loops() is not None


def _alike(gradients: Gradients, dtype: torch.dtype) -> Blocks | None:
    kind, width = _WIDTHS[dtype]
    tensors = gradients.here
    chosen = np.arange(len(tensors))
    if len(gradients.looks) > 1 or set(map(type, tensors)) - _PLAIN_KINDS:
        chosen = np.array([i for i, t in enumerate(tensors) if _is_plain(t, dtype)], dtype=np.int64)
        tensors = [tensors[i] for i in chosen]
    try:
        unbroken = all(map(Tensor.is_contiguous, tensors))
        begins = _addresses(tensors) if unbroken else None
    except RuntimeError:  # one has no memory of its own: it is sparse, or stands for a tensor of a transformation
        begins = None
    if begins is None:
        kept = [i for i, tensor in enumerate(tensors) if _lies_unbroken(tensor)]
        chosen, tensors = chosen[kept], [tensors[i] for i in kept]
        begins = _addresses(tensors)
    lengths = np.fromiter(map(Tensor.numel, tensors), dtype=np.int64, count=len(tensors)) * width
    # A tensor of zeros that torch never made has no address.
    real = (begins != 0) | (lengths == 0)
    if not real.all():
        chosen, begins, lengths = chosen[real], begins[real], lengths[real]
    return Blocks(chosen, begins, lengths, kind) if chosen.size else None


def _addresses(tensors: Sequence[Tensor]) -> NDArray[np.uint64]:
    return np.fromiter(map(Tensor.data_ptr, tensors), dtype=np.uint64, count=len(tensors))


def _is_plain(tensor: Tensor, dtype: torch.dtype) -> bool:
    return tensor.dtype == dtype and tensor.is_cpu and type(tensor) in _PLAIN_KINDS


def _lies_unbroken(tensor: Tensor) -> bool:
    """Tell whether the numbers of a tensor fill a block of memory, in any order of its dimensions."""
    if tensor.layout != torch.strided or torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return False
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size > 1:
            if stride != expected:
                return False
            expected *= size
    return True
