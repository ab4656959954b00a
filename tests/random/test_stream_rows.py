"""Draws for rows that lie apart: each row is what a draw of its own gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.random import Stream, rows

KINDS = {
    "uniform": ("uniform", {}),
    "normal": ("normal", {"mean": 1.0, "std": 3.0}),
    "truncated": ("truncated_normal", {}),
    "truncated-far": ("truncated_normal", {"low": 5.0, "high": 9.0}),
}
STREAM = Stream(0, "rows")


def drawn(kind, shape, **place):
    name, arguments = KINDS[kind]
    return getattr(STREAM, name)(shape, **arguments, **place)


def one_by_one(kind, starts, shape):
    rows = [drawn(kind, shape, start=int(start)) for start in starts]
    return np.array(rows, dtype=np.float32).reshape(len(starts), *shape)


@pytest.mark.parametrize("kind", KINDS)
@given(starts=st.lists(st.integers(0, 2**62), max_size=9), length=st.integers(0, 30))
def test_short_rows(kind, starts, length):
    found = drawn(kind, (len(starts), length), start=np.array(starts, dtype=np.int64))
    np.testing.assert_array_equal(found, one_by_one(kind, starts, (length,)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [255, 256, 257, 4095, 4096, 4099])
def test_rows_around_the_lengths_where_the_way_changes(kind, length):
    starts = np.array([3, 100_001, 2**40 + 2], dtype=np.int64)
    np.testing.assert_array_equal(drawn(kind, (3, length), start=starts), one_by_one(kind, starts, (length,)))


@pytest.mark.parametrize("kind", ["uniform", "normal", "truncated"])
@pytest.mark.parametrize(("count", "length"), [(5, 2**18 + 1), (3000, 301), (40_000, 17)])
@pytest.mark.parametrize("threads", [1, 3])
def test_kernels_and_threads_do_not_show(kind, count, length, threads):
    starts = 5 * np.arange(count) * length + 1
    found = drawn(kind, (count, length), start=starts, threads=threads)
    for row in (0, 1, count // 2, count - 1):
        np.testing.assert_array_equal(found[row], drawn(kind, (length,), start=int(starts[row])))
    whole = drawn(kind, (count * length,))
    in_order = drawn(kind, (count, length), start=np.arange(count) * length, threads=threads)
    np.testing.assert_array_equal(in_order.reshape(-1), whole)


def test_rows_of_any_shape_and_an_array_to_draw_into():
    starts = np.array([7, 0], dtype=np.int32)
    out = np.full((2, 3, 4), np.nan, dtype=np.float32)
    assert drawn("normal", (2, 3, 4), start=starts, out=out) is out
    np.testing.assert_array_equal(out, one_by_one("normal", starts, (3, 4)))


def test_chunks_do_not_show(monkeypatch):
    starts = 10 * np.arange(50)
    expected = drawn("normal", (50, 7), start=starts)
    monkeypatch.setattr(rows, "_CHUNK", 32)
    np.testing.assert_array_equal(drawn("normal", (50, 7), start=starts), expected)


@pytest.mark.parametrize(
    ("start", "shape", "error"),
    [
        ([0, 4], (3, 2), ParameterValueError),
        ([[0], [4]], (2, 2), ParameterValueError),
        ([0], (), ParameterValueError),
        ([0, -1], (2, 2), ParameterValueError),
        ([0, 2**63 - 1], (2, 2), ParameterValueError),
        ([0.0, 4.0], (2, 2), ParameterTypeError),
        ([True, False], (2, 2), ParameterTypeError),
    ],
    ids=["too few", "nested", "no rows", "negative", "beyond the end", "floats", "booleans"],
)
def test_starts_that_fit_no_rows_are_refused(start, shape, error):
    with pytest.raises(error, match="start must be"):
        STREAM.normal(shape, start=np.array(start))
