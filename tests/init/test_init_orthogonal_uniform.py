"""The matrices are uniform over the orthogonal and the unitary group: moments, traces, eigenvalues, invariance."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from evenflow.init.haar import haar
from evenflow.random import Stream

COUNT, SIZE = 20_000, 4


def many(dtype, size=SIZE, columns=SIZE, name="haar"):
    """Independent matrices, from one stream."""
    return haar(COUNT * size, columns, dtype, Stream(0, name), COUNT).reshape(COUNT, size, columns).numpy()


def without_signs(name="haar"):
    return np.linalg.qr(Stream(0, name).normal((COUNT, SIZE, SIZE)).astype(np.float64))[0]


def deviation(values, expected):
    """In standard errors of the mean."""
    return abs(values.mean() - expected) / (values.std() / math.sqrt(len(values)))


def distance(found, expected):
    """Kolmogorov's, in the unit that passes 2.7 once in a million."""
    return stats.ks_2samp(found, expected).statistic / math.sqrt(1 / len(found) + 1 / len(expected))


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (4, 6), (6, 4), (5, 5)])
def test_the_moments_of_the_entries_up_to_the_fourth(rows, columns):
    q = many(torch.float64, rows, columns)
    n = max(rows, columns)
    a, b, c, d = q[:, 0, 0], q[:, 0, 1], q[:, 1, 0], q[:, 1, 1]
    pair = (n + 1) / (n * (n - 1) * (n + 2))
    # Two entries in one row of a wide matrix, or in one column of a tall one, belong to one unit vector.
    expected = {"a": 0, "aa": 1 / n, "aaa": 0, "aaaa": 3 / (n * (n + 2)), "dd": 1 / n, "aadd": pair, "bbcc": pair}
    expected |= {"abcd": -1 / (n * (n - 1) * (n + 2)), "ad": 0, "bc": 0, "ab": 0, "ac": 0}
    expected |= {"aabb": 1 / (n * (n + 2))} if columns == n else {}
    expected |= {"aacc": 1 / (n * (n + 2))} if rows == n else {}
    entries = dict(zip("abcd", (a, b, c, d), strict=True))
    for word, value in expected.items():
        assert deviation(math.prod(entries[letter] for letter in word), value) < 5, word


def test_the_traces_have_normal_moments():
    # Diaconis & Evans 2001: of O(n) and U(n), exactly those of N(0, 1) and of its complex twin, up to an order of n.
    trace = np.trace(many(torch.float64), axis1=1, axis2=2)
    square = np.abs(np.trace(many(torch.complex128), axis1=1, axis2=2)) ** 2
    for values, expected in ((trace, 0), (trace**2, 1), (trace**4, 3), (square, 1), (square**2, 2), (square**3, 6)):
        assert deviation(values, expected) < 5


def angles(matrices):
    return np.sort(np.angle(np.linalg.eigvals(matrices)), axis=1)


def test_the_eigenvalues_are_spaced_as_those_of_scipys_groups():
    generator = np.random.default_rng(0)
    theirs = stats.unitary_group.rvs(SIZE, 5000, random_state=generator)
    ours = many(torch.complex128)
    assert distance(np.diff(angles(ours))[:, 1], np.diff(angles(theirs))[:, 1]) < 2.7
    theirs, ours = stats.ortho_group.rvs(SIZE, 5000, random_state=generator), many(torch.float64)
    assert distance(angles(ours)[:, -2], angles(theirs)[:, -2]) < 2.7
    assert distance(np.trace(ours, axis1=1, axis2=2), np.trace(theirs, axis1=1, axis2=2)) < 2.7
    assert distance(angles(without_signs())[:, -2], angles(theirs)[:, -2]) > 5


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_rotation_from_either_side_changes_nothing(dtype):
    left, right = (haar(SIZE, SIZE, dtype, Stream(0, side)).numpy() for side in ("left", "right"))
    matrices, others = many(dtype), many(dtype, name="others")
    for turned in (left @ others, others @ right, left @ others @ right):
        for row, column in np.ndindex(SIZE, SIZE):
            assert distance(turned[:, row, column].real, matrices[:, row, column].real) < 2.7
    plain = without_signs()
    assert distance((plain @ right.real)[:, 0, 0], plain[:, 0, 0]) > 5


def test_half_of_them_are_rotations():
    assert deviation((np.linalg.det(many(torch.float64, 3, 3)) > 0).astype(float), 0.5) < 5


def test_the_phases_of_unitary_matrices_are_uniform_and_their_moduli_beta():
    matrices = many(torch.complex128)
    for entries in matrices.reshape(COUNT, -1).T:
        for values, law in (
            (np.angle(entries) / math.pi, ("uniform", (-1, 2))),
            (np.abs(entries) ** 2, ("beta", (1, 3))),
        ):
            assert stats.kstest(values, *law).statistic < 2.7 / math.sqrt(COUNT)
