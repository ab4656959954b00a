"""The scalar functions, compiled and as plain Python, beside the reference on arrays."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.kernels import draws
from evenflow.random import philox, transforms

ONES = 2**32 - 1
WORD = st.integers(0, ONES)

# Random123's kat_vectors, the lines "philox4x32 10".
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.fixture(scope="session", params=["compiled", "plain"])
def primitives(request, plain_draws):
    return draws if request.param == "compiled" else plain_draws


@numba.njit
def each_log(x, out):
    for i in range(x.size):
        out[i] = draws.log(x[i])


@numba.njit
def each_angle(cosine, sine):
    for i in range(cosine.size):
        cosine[i], sine[i] = draws.cos_sin(np.int32(i))


def bits(x):
    return np.asarray(x, dtype=np.float32).view(np.uint32)


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN)
def test_known_answers_of_random123(primitives, counter, key, block):
    answer = primitives.philox(*map(np.uint64, counter), np.uint64(key[0] | key[1] << 32))
    assert tuple(map(int, answer)) == block


@given(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD))
def test_every_block_is_the_references(primitives, counter, key):
    expected = philox.philox4x32(tuple(np.array([word], dtype=np.uint64) for word in counter), key)
    answer = primitives.philox(*map(np.uint64, counter), np.uint64(key[0] | key[1] << 32))
    assert tuple(map(int, answer)) == tuple(int(lane[0]) for lane in expected)


@given(st.floats(2.0**-33, 1.0, width=32))
def test_log_of_any_number_is_the_references(primitives, x):
    number = np.float32(x)
    assert bits(primitives.log(number)) == bits(transforms.log(np.array([number])))[0]


@given(st.integers(0, 2**24 - 1))
def test_cosine_and_sine_of_any_angle_are_the_references(primitives, turns):
    expected = np.concatenate(transforms.cos_sin(np.array([turns], dtype=np.uint32)))
    assert (bits(primitives.cos_sin(np.int32(turns))) == bits(expected)).all()


@settings(max_examples=4)
@given(st.integers(0, 252))
def test_log_along_its_domain_is_the_references(offset):
    # Every 253rd float32 in [2^-33, 1]; 253 is odd, so that all low bits of the mantissa occur.
    first, last = (int(bits(end)) for end in (2.0**-33, 1.0))
    x = np.arange(first + offset, last + 1, 253, dtype=np.uint32).view(np.float32)
    found = np.empty_like(x)
    each_log(x, found)
    np.testing.assert_array_equal(bits(found), bits(transforms.log(x)))


def test_cosine_and_sine_of_all_angles_are_the_references():
    found = np.empty((2, 2**24), dtype=np.float32)
    each_angle(*found)
    for part in np.split(np.arange(2**24, dtype=np.uint32), 64):
        expected = np.stack(transforms.cos_sin(part))
        np.testing.assert_array_equal(bits(found[:, part[0] : part[-1] + 1]), bits(expected))
