"""Random orthonormal matrices, as products of random reflections.

Half of the operations of a QR decomposition, and nearly all of them products of matrices. Cholesky's factor of the Gram
matrix costs more than that decomposition: a square normal matrix needs it in double precision, and then once again.
"""

import torch
from torch import Tensor

from evenflow.init.fill import fill_normal
from evenflow.init.serial import at_once, one_thread_each
from evenflow.random import Stream
from evenflow.uncompiled import uncompiled

_DOUBLE = {torch.float64, torch.complex128}

# Rows made and reflections applied at once: enough for the matrix products to be fast, few enough for their triangles.
PANEL = 128
# Elements from which on starting threads costs less than they save.
_WORTH_THREADS = 2**20


@uncompiled
def haar(rows: int, columns: int, dtype: torch.dtype, stream: Stream, blocks: int = 1) -> Tensor:
    r"""Draw a matrix with orthonormal columns, or rows where there are fewer of them, of Haar's distribution.

    A matrix is the product of reflections, each of which takes a vector of normal draws to an axis, every vector one
    element shorter than the one before, with the signs, of complex numbers the phases, that make the triangular factor
    of a QR decomposition positive. It has the distribution of the orthogonal factor of a normal matrix, without the
    decomposition.

    Args:
        rows: Number of rows, at least 1.
        columns: Number of columns, at least 1.
        dtype: The dtype it is meant for.
        stream: Where the draws come from.
        blocks: Number of equal parts of the rows that are drawn independently, a divisor of them.

    Returns:
        A matrix on the CPU, in double precision for the types of double precision, and for all where
        `torch.set_float32_matmul_precision` lets products in single precision be less exact; otherwise in single.

    Examples:
        >>> q = haar(5, 3, torch.float64, Stream(0, "weight"))
        >>> bool(torch.allclose(q.T @ q, torch.eye(3, dtype=torch.float64)))
        True

    References:
        Stewart 1980, "The efficient generation of random orthogonal matrices". Mezzadri 2007, "How to generate random
        matrices from the classical compact groups", sections 5 and 7. Schreiber & Van Loan 1989, "A storage-efficient
        WY representation for products of Householder transformations".
    """
    with torch.inference_mode(False), torch.autocast("cpu", enabled=False):
        draws = torch.empty((blocks, rows // blocks, columns), dtype=_working(dtype), device="cpu")
        fill_normal(draws, 0.0, 1.0, generator=None, stream=stream)
        wide = draws.shape[1] <= columns
        found = orthonormal_rows(draws) if wide else orthonormal_rows(draws.mT).mT
        return found.reshape(rows, columns)


def _working(dtype: torch.dtype) -> torch.dtype:
    double = dtype in _DOUBLE or not _keeps_single()
    if dtype.is_complex:
        return torch.complex128 if double else torch.complex64
    return torch.float64 if double else torch.float32


def _keeps_single() -> bool:
    """Whether products of matrices in single precision are not to be rounded to less."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # it was set through torch's newer interface
        return False


def orthonormal_rows(draws: Tensor, panel: int = PANEL) -> Tensor:
    r"""Make matrices with orthonormal rows of at most as many rows as columns of draws (blocks, rows, columns).

    Of row `i` the elements from `i` on are used; the draws are overwritten. `panel` rows are made at a time, and go
    through `panel` reflections at a time, which are one product of matrices, $I - V^* T V$, whose triangular $T^{-*}$
    is the lower triangle of $V V^*$ with half its diagonal. Which rows go together does not depend on the number of
    threads.
    """
    result = torch.empty_like(draws)
    starts = range(0, draws.shape[1], panel)
    prepared: dict[int, tuple[Tensor, Tensor]] = {}

    def prepare(start: int) -> None:
        prepared[start] = _reflections(draws[:, start : start + panel, start:])

    def make(first: int) -> None:
        filled = slice(first, first + panel)
        rows = result[:, filled].zero_()
        rows[:, :, filled].diagonal(dim1=-2, dim2=-1).copy_(-prepared[first][0])
        for start in range(first, -1, -panel):
            _reflect(rows, filled, draws[:, start : start + panel], start, prepared[start][1])
            filled = slice(start, None)

    with one_thread_each() as allowed:
        threads = allowed if draws.numel() >= _WORTH_THREADS else 1
        at_once(prepare, starts, threads)
        # The last rows go through the most reflections.
        at_once(make, reversed(starts), threads)
    return result


def _reflections(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Make each row the vector of a reflection; return the phases of the draws on the axes, and the triangle."""
    heads = draws.triu_().diagonal(dim1=-2, dim2=-1)
    lengths = draws.abs().square_().sum(-1).sqrt_()
    missing = lengths == 0
    heads += missing
    lengths += missing
    phases = heads.sgn()
    phases = torch.where(phases == 0, 1, phases)
    heads += phases * lengths
    triangle = torch.tril(draws @ draws.mH, -1)
    triangle.diagonal(dim1=-2, dim2=-1).copy_(lengths * heads.abs())
    return phases, triangle


def _reflect(rows: Tensor, filled: slice, vectors: Tensor, start: int, triangle: Tensor) -> None:
    """Take rows, not zero in the columns `filled` alone, through reflections by vectors that begin at `start`."""
    weights = rows[:, :, filled] @ vectors[:, :, filled].mH
    weights = torch.linalg.solve_triangular(triangle, weights, upper=False, left=False)
    rows[:, :, start:].baddbmm_(weights, vectors[:, :, start:], alpha=-1)
