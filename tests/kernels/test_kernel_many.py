"""Loops over many arrays beside NumPy, one array at a time."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow import kernels
from evenflow.kernels import many
from evenflow.kernels.pool import SLAB

EXTREMES = [0.0, -0.0, 1e-45, -1e-40, 3e38, -3e38, 1e30, np.inf, -np.inf, np.nan]
ONE_BY_ONE = {
    "squares": lambda x: np.sum(x.astype(np.float64) ** 2),
    "magnitudes": lambda x: np.sum(np.abs(x.astype(np.float64))),
    "peaks": lambda x: np.max(np.abs(x), initial=0),
}
NUMBER = st.one_of(st.sampled_from(EXTREMES), st.floats(width=32))
LENGTHS = [0, 1, 7, 0, SLAB - 1, SLAB, SLAB + 1, 3 * SLAB + 5, 64, 0]


def table_of(arrays):
    addresses = np.array([array.ctypes.data for array in arrays], dtype=np.uint64)
    return addresses, np.array([array.size for array in arrays], dtype=np.int64)


def arrays_of(kind, lengths=LENGTHS):
    generator = np.random.default_rng(0)
    return [generator.standard_normal(length).astype(kind) for length in lengths]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_the_loop_is_the_same_as_one_array_at_a_time(name, kind, threads):
    arrays = arrays_of(kind)
    found = kernels.loops()[name](*table_of(arrays), kind, threads)
    np.testing.assert_allclose(found, [ONE_BY_ONE[name](array) for array in arrays], rtol=1e-12)


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", ONE_BY_ONE)
def test_the_number_of_threads_changes_no_bit(name, kind):
    arrays = arrays_of(kind)
    table = table_of(arrays)
    alone, *others = (kernels.loops()[name](*table, kind, threads) for threads in (1, 2, 7))
    assert all(np.array_equal(alone, other) for other in others)


@given(st.lists(st.lists(NUMBER, max_size=40), max_size=6), st.sampled_from(["float32", "float64"]))
def test_any_number_is_read_as_it_is(lists, kind):
    arrays = [np.array(values, dtype=kind) for values in lists]
    table = table_of(arrays)
    with np.errstate(all="ignore"):
        for name, one in ONE_BY_ONE.items():
            found = kernels.loops()[name](*table, kind, 1)
            np.testing.assert_allclose(found, np.array([one(array) for array in arrays]), rtol=1e-12)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("factor", [0.1, 0.0, np.nan, 1e-30])
def test_scaling_has_the_bits_of_numpys(factor, kind, threads):
    arrays = arrays_of(kind)
    expected = [array * array.dtype.type(factor) for array in arrays]
    kernels.loops()["scale"](*table_of(arrays), kind, threads, factor)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_pieces_cover_every_number_once():
    lengths = np.array(LENGTHS)
    owner, starts, pieces = many._cut(lengths)
    assert pieces.max() <= SLAB
    for place, length in enumerate(lengths):
        mine = owner == place
        assert pieces[mine].sum() == length
        assert np.array_equal(starts[mine], np.cumsum(pieces[mine]) - pieces[mine])


def test_the_last_bits_and_those_below_float32_are_kept():
    numbers = np.full(10**6, 1e-30, dtype=np.float32)
    (found,) = kernels.loops()["squares"](*table_of([numbers]), "float32", 1)
    assert found == pytest.approx(1e6 * float(np.float32(1e-30)) ** 2, rel=1e-12)


@pytest.mark.parametrize(
    "switch", ["import sys; sys.modules['numba'] = None", "import numba; numba.config.DISABLE_JIT = 1"]
)
def test_without_numba_there_are_no_loops(switch):
    code = f"{switch}\nfrom evenflow import kernels\nprint(kernels.loops())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None"]
