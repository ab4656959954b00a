"""A draw is a function of its index: not of the shape, the chunk, the number or the order of draws."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.random import Stream, draw

KINDS = ["uniform", "normal", "truncated_normal"]
WHOLE = {kind: getattr(Stream(0, "whole"), kind)(3000) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(start=st.integers(0, 3000), data=st.data())
def test_any_part_is_that_part_of_the_whole(kind, start, data):
    count = data.draw(st.integers(0, 3000 - start))
    part = getattr(Stream(0, "whole"), kind)(count, start=start)
    np.testing.assert_array_equal(part, WHOLE[kind][start : start + count])


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(chunk=st.integers(1, 50).map(lambda n: 4 * n), start=st.integers(0, 9))
def test_the_chunks_do_not_show(kind, chunk, start):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw, "_CHUNK", chunk)
        drawn = getattr(Stream(0, "whole"), kind)(500, start=start)
    np.testing.assert_array_equal(drawn, WHOLE[kind][start : start + 500])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(3000,), (30, 100), (2, 3, 5, 100), [3000, 1]])
def test_the_shape_does_not_show(kind, shape):
    drawn = getattr(Stream(0, "whole"), kind)(shape)
    assert drawn.shape == tuple(shape)
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(drawn.reshape(-1), WHOLE[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_consumed(kind):
    source = Stream(0, "whole")
    source.normal(17)
    np.testing.assert_array_equal(getattr(source, kind)(3000), WHOLE[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_far_end_of_a_stream_can_be_drawn(kind):
    assert getattr(Stream(0, "whole"), kind)(6, start=2**64 - 6).shape == (6,)
    assert not np.array_equal(getattr(Stream(0, "whole"), kind)(6, start=2**40), WHOLE[kind][:6])


@pytest.mark.parametrize("kind", KINDS)
def test_no_elements(kind):
    assert getattr(Stream(0, "whole"), kind)((3, 0)).shape == (3, 0)
    assert getattr(Stream(0, "whole"), kind)(()).shape == ()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_beside_the_result_is_bounded(kind):
    getattr(Stream(0, "warm"), kind)(10)
    tracemalloc.start()
    result = getattr(Stream(0, "memory"), kind)(2**22)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The temporaries of one chunk of 2^16 words are a few MiB, whatever the number of draws.
    assert peak - result.nbytes < 8 * 2**20
