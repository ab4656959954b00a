import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.random import philox

ONES = 0xFFFFFFFF
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


def one_block(counter, key):
    lanes = philox.philox4x32(tuple(np.array([word], dtype=np.uint64) for word in counter), key)
    return tuple(int(lane[0]) for lane in lanes)


def textbook(counter, key):
    """The paper's description with Python's integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & ONES, (first >> 32) ^ c3 ^ k1, first & ONES
        k0, k1 = (k0 + 0x9E3779B9) & ONES, (k1 + 0xBB67AE85) & ONES
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "block"), KNOWN)
def test_known_answers_of_random123(counter, key, block):
    assert one_block(counter, key) == block


@settings(deadline=None)
@given(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD))
def test_every_block_is_the_papers(counter, key):
    assert one_block(counter, key) == textbook(counter, key)


@settings(deadline=None)
@given(st.integers(0, 2**64 - 16), st.integers(0, 12), st.tuples(WORD, WORD))
def test_word_i_is_word_i_mod_4_of_counter_i_div_4(start, count, key):
    expected = []
    for i in range(start, start + count):
        block = i // 4
        expected.append(textbook((block & ONES, block >> 32, 0, 0), key)[i % 4])
    assert philox.words(key, start, count).tolist() == expected


def test_the_counter_carries_into_its_second_word():
    start = 4 * 2**32 - 2
    assert philox.words((0, 0), start, 4).tolist()[2:] == list(textbook((0, 1, 0, 0), (0, 0)))[:2]
