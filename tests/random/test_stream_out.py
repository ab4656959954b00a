"""Drawing into an array that is there, and with several threads."""

import numpy as np
import pytest

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.random import Stream

KINDS = ["uniform", "normal", "truncated_normal"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 5)])
def test_the_array_itself_is_filled_and_returned(kind, shape):
    draw = getattr(Stream(0, "out"), kind)
    out = np.full(shape, np.nan, dtype=np.float32)
    assert draw(shape, start=3, out=out) is out
    np.testing.assert_array_equal(out, draw(shape, start=3))


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_beside_a_view_is_left_alone(kind):
    whole = np.full(20, np.nan, dtype=np.float32)
    getattr(Stream(0, "out"), kind)(9, out=whole[5:14])
    assert np.isfinite(whole[5:14]).all()
    assert np.isnan(whole[:5]).all()
    assert np.isnan(whole[14:]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_array_of_another_shape_is_refused(kind):
    with pytest.raises(ParameterValueError, match=r"out must have the shape of the draws, \(6,\); got \(2, 3\)"):
        getattr(Stream(0, "out"), kind)(6, out=np.empty((2, 3), dtype=np.float32))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("out", [np.empty(6), np.empty(6, dtype=">f4"), [0.0] * 6, 1.0])
def test_an_array_of_another_type_is_refused(kind, out):
    with pytest.raises(ParameterTypeError, match="out must be a NumPy array of float32; got"):
        getattr(Stream(0, "out"), kind)(6, out=out)


def read_only():
    array = np.empty(6, dtype=np.float32)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "out",
    [np.empty(12, dtype=np.float32)[::2], read_only(), np.empty(25, dtype=np.uint8)[1:].view(np.float32)],
    ids=["strided", "read-only", "unaligned"],
)
def test_an_array_that_cannot_take_the_draws_is_refused(kind, out):
    with pytest.raises(ParameterValueError, match="out must be C-contiguous, aligned and writable"):
        getattr(Stream(0, "out"), kind)(6, out=out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threads", [0, -1])
def test_a_number_of_threads_below_one_is_refused(kind, threads):
    with pytest.raises(ParameterValueError, match="threads must be an integer in"):
        getattr(Stream(0, "out"), kind)(6, threads=threads)
