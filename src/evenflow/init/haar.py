"""Random orthonormal matrices."""

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


def haar(rows: int, columns: int, dtype: torch.dtype, stream: Stream) -> Tensor:
    r"""Draw a matrix with orthonormal columns, or rows where there are fewer of them, of Haar's distribution.

    The factor $Q$ of a matrix of normal draws, $G = Q R$, is not uniform over the orthogonal group,
    because LAPACK fixes no signs. $Q \Lambda$ is, with $\Lambda_{jj} = R_{jj} / |R_{jj}|$, for real and
    complex alike.

    Args:
        rows: Number of rows, at least 1.
        columns: Number of columns, at least 1.
        dtype: The dtype it is meant for.
        stream: Where the draws come from.

    Returns:
        A matrix on the CPU, in `dtype` or, for the types of half precision, in single.

    Examples:
        >>> q = haar(5, 3, torch.float64, Stream(0, "weight"))
        >>> bool(torch.allclose(q.T @ q, torch.eye(3, dtype=torch.float64)))
        True

    References:
        Mezzadri 2007, "How to generate random matrices from the classical compact groups", section 5.
    """
    draws = torch.empty((rows, columns), dtype=_WORKING.get(dtype, torch.float32), device="cpu")
    fill_normal(draws, 0.0, 1.0, generator=None, stream=stream)
    if rows < columns:
        return _orthonormal_columns(draws.T).T
    return _orthonormal_columns(draws)


def _orthonormal_columns(draws: Tensor) -> Tensor:
    q: Tensor
    q, r = torch.linalg.qr(draws)
    phase = r.diagonal().sgn()
    return q * torch.where(phase == 0, 1, phase)
