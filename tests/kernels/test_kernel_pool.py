"""The threads that share a loop: all of it is done, once, and nobody waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.kernels import pool, share
from evenflow.random import Stream

COUNT = 4 * pool.SLAB + 3


@settings(max_examples=60)
@given(slab=st.integers(1, 50), count=st.integers(0, 400), threads=st.integers(1, 5))
def test_every_element_is_done_once(slab, count, threads):
    done = np.zeros(count, dtype=int)

    def work(start, stop):
        done[start:stop] += 1

    share(work, count, threads, slab=slab)
    assert (done == 1).all()


def test_a_second_thread_helps():
    both = threading.Barrier(2, timeout=30)
    # Two slabs that wait for each other can only end if two threads work on them.
    share(lambda start, stop: both.wait(), 2 * pool.SLAB, 2)


def test_one_thread_is_the_callers():
    seen = set()
    share(lambda start, stop: seen.add(threading.get_ident()), COUNT, 1)
    assert seen == {threading.get_ident()}


@pytest.mark.parametrize("failing", [0, 3 * pool.SLAB])
def test_an_error_in_any_slab_is_raised_and_the_pool_goes_on(failing):
    def work(start, stop):
        if start == failing:
            raise IndexError("this slab")

    for _ in range(10):
        with pytest.raises(IndexError, match="this slab"):
            share(work, COUNT, 2)
    assert_equal_from_threads([2])


def test_without_helpers_the_caller_does_it_all(monkeypatch):
    class Full:
        def submit(self, call):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "_executor", lambda process: Full())
    done = []
    share(lambda start, stop: done.append((start, stop)), COUNT, 4)
    assert len(done) == 5
    assert done[-1][1] == COUNT


def test_a_loop_inside_a_loop_does_not_wait_for_the_outer_one():
    inner = []
    share(lambda start, stop: share(lambda *part: inner.append(part), COUNT, 4), COUNT, 4)
    assert len(inner) == 25


def test_any_number_of_threads_gives_the_same_bits():
    assert_equal_from_threads([1, 2, 3, 64])


def test_four_threads_at_once_give_the_same_bits():
    with ThreadPoolExecutor(4) as callers:
        hashes = set(callers.map(lambda _: Stream(0, "a").normal(COUNT, threads=2).tobytes(), range(8)))
    assert hashes == {Stream(0, "a").normal(COUNT).tobytes()}


def assert_equal_from_threads(numbers):
    for kind in ("uniform", "normal", "truncated_normal"):
        draws = {getattr(Stream(0, "a"), kind)(COUNT, start=1, threads=number).tobytes() for number in numbers}
        assert draws == {getattr(Stream(0, "a"), kind)(COUNT, start=1).tobytes()}
