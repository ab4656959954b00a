"""Random orthonormal matrices, as products of random reflections."""

import torch
from torch import Tensor

from evenflow.init.fill import fill_normal
from evenflow.random import Stream

_WORKING = {
    torch.float64: torch.float64,
    torch.complex128: torch.complex128,
    torch.complex64: torch.complex64,
    torch.complex32: torch.complex64,
}

# Reflections applied at once: enough for the matrix products to be fast, few enough for their triangular factors.
PANEL = 128


def haar(rows: int, columns: int, dtype: torch.dtype, stream: Stream, blocks: int = 1) -> Tensor:
    r"""Draw a matrix with orthonormal columns, or rows where there are fewer of them, of Haar's distribution.

    A matrix is the product of reflections, each of which takes a vector of normal draws to an axis, every vector one
    element shorter than the one before, with the signs that make the triangular factor of a QR decomposition positive.
    That is the orthogonal factor of a normal matrix, without the decomposition. Complex matrices take the
    decomposition, $G = Q R$, and the phases of the diagonal of $R$.

    Args:
        rows: Number of rows, at least 1.
        columns: Number of columns, at least 1.
        dtype: The dtype it is meant for.
        stream: Where the draws come from.
        blocks: Number of equal parts of the rows that are drawn independently, a divisor of them.

    Returns:
        A matrix on the CPU, in `dtype` or, for the types of half precision, in single.

    Examples:
        >>> q = haar(5, 3, torch.float64, Stream(0, "weight"))
        >>> bool(torch.allclose(q.T @ q, torch.eye(3, dtype=torch.float64)))
        True

    References:
        Stewart 1980, "The efficient generation of random orthogonal matrices". Mezzadri 2007, "How to generate random
        matrices from the classical compact groups", sections 5 and 7. Schreiber & Van Loan 1989, "A storage-efficient
        WY representation for products of Householder transformations".
    """
    draws = torch.empty((blocks, rows // blocks, columns), dtype=_WORKING.get(dtype, torch.float32), device="cpu")
    fill_normal(draws, 0.0, 1.0, generator=None, stream=stream)
    wide = draws.shape[1] <= columns
    make = _unitary_rows if draws.is_complex() else orthonormal_rows
    found = make(draws) if wide else make(draws.mT).mT
    return found.reshape(rows, columns)


def orthonormal_rows(draws: Tensor, panel: int = PANEL) -> Tensor:
    r"""Make matrices with orthonormal rows of at most as many rows as columns of draws (blocks, rows, columns).

    Of row `i` the elements from `i` on are used. `panel` reflections at a time are one product of matrices, $I - V T
    V^\top$, whose triangular $T$ is the inverse of the upper triangle of $V^\top V$ with half its diagonal.
    """
    vectors = torch.triu(draws)
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    heads = vectors.diagonal(dim1=-2, dim2=-1)
    heads.masked_fill_(lengths == 0, 1)
    lengths = torch.where(lengths == 0, 1, lengths)
    signs = torch.where(heads < 0, -1.0, 1.0).to(draws.dtype)
    heads += signs * lengths
    half_squares = lengths * heads.abs()
    rows = draws.shape[1]
    result = torch.zeros_like(vectors)
    result.diagonal(dim1=-2, dim2=-1).copy_(-signs)
    for start in range((rows - 1) // panel * panel, -1, -panel):
        end = min(start + panel, rows)
        part = vectors[:, start:end, start:]
        reflected = _triangular_factor(part, half_squares[:, start:end]) @ part
        done = result[:, end:, end:]
        if end < rows:
            weights = done @ reflected[:, :, end - start :].mT
            below = result[:, end:, start:]
            torch.baddbmm(below, weights, part, alpha=-1, out=below)
        weights = reflected[:, :, : end - start].mT * signs[:, start:end, None]
        result[:, start:end, start:] += weights @ part
    return result


def _triangular_factor(vectors: Tensor, half_squares: Tensor) -> Tensor:
    size = vectors.shape[1]
    inverse = torch.triu(vectors @ vectors.mT, 1)
    inverse.diagonal(dim1=-2, dim2=-1).copy_(half_squares)
    identity = torch.eye(size, dtype=vectors.dtype, device=vectors.device).expand_as(inverse)
    factor: Tensor = torch.linalg.solve_triangular(inverse, identity, upper=True)
    return factor


def _unitary_rows(draws: Tensor) -> Tensor:
    q, r = torch.linalg.qr(draws.mT)
    phase = r.diagonal(dim1=-2, dim2=-1).sgn()
    unitary: Tensor = (q * torch.where(phase == 0, 1, phase)[:, None]).mT
    return unitary
