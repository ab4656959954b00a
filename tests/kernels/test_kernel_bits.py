"""A kernel gives the bits of the NumPy reference, for every address and parameter."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow import kernels
from evenflow.kernels import blocks, drawing, draws, registry
from evenflow.random import Stream, central, normal, philox, transforms, uniform

TRANSFORMS = {"uniform": uniform.uniform, "normal": normal.normal, "central": central.central}
LARGEST = float(np.finfo(np.float32).max)

names = st.sampled_from(sorted(TRANSFORMS))
keys = st.integers(0, 2**64 - 1)
starts = st.one_of(st.integers(0, 9), st.integers(2**32 - 9, 2**34 + 9), st.integers(0, 2**64 - 2**20))
bounds = st.one_of(st.floats(-1, 1), st.floats(-LARGEST / 2, LARGEST / 2), st.sampled_from([0.0, -0.0, 1e-45, 1e-38]))
scales = st.one_of(st.floats(0, 2), st.floats(0, LARGEST / 16), st.sampled_from([0.0, 1e-45, 1e-38]))
parameters = {
    "uniform": st.tuples(bounds, bounds).map(lambda ends: tuple(sorted(ends))),
    "normal": st.tuples(bounds, scales),
    "central": st.tuples(st.floats(-1, 1), st.floats(0.01, 2), st.floats(-3, 1), st.floats(0.5, 9) | st.just(np.inf))
    .map(lambda p: central.parameters(p[0], p[1], p[0] + p[1] * p[2], p[0] + p[1] * (p[2] + p[3])))
    .filter(bool),
}
PLAIN = {name: central.parameters(0.1, 0.7, -1.0, 1.5) if name == "central" else (-0.3, 0.7) for name in TRANSFORMS}


def kernel(name):
    found = kernels.find(name, registry.WORTH_LOADING)
    assert found is not None
    return found


def by_reference(name, key, start, count, *numbers):
    head = start % 4
    words = philox.words((key & 0xFFFFFFFF, key >> 32), start - head, -(-(head + count) // 4) * 4)
    return TRANSFORMS[name](words, *numbers)[head:][:count]


def assert_same_bits(found, expected):
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))


@settings(max_examples=300)
@given(name=names, key=keys, start=starts, count=st.integers(0, 300), data=st.data())
def test_any_part_of_any_stream_is_the_references(name, key, start, count, data):
    numbers = data.draw(parameters[name])
    out = np.full(count, np.nan, dtype=np.float32)
    kernel(name)(out, key, start, *numbers)
    assert_same_bits(out, by_reference(name, key, start, count, *numbers))


@settings(max_examples=40)
@given(
    name=names,
    key=keys,
    block=st.integers(0, 2**62 - 5),
    width=st.integers(0, 3),
    data=st.data(),
)
def test_the_loops_are_plain_python_too(plain_draws, name, key, block, width, data):
    numbers = data.draw(parameters[name])
    words, aside = np.empty(drawing.ASIDE // 2, dtype=np.uint64), np.empty(drawing.ASIDE, dtype=np.float32)
    room = (aside,) if name == "central" else (words, aside)
    out = np.full(4 * width, np.nan, dtype=np.float32)
    getattr(plain_draws, name)(out, np.uint64(key), np.uint64(block), np.array(numbers), False, *room)
    assert_same_bits(out, by_reference(name, key, 4 * block, 4 * width, *numbers))


@settings(max_examples=60)
@given(
    name=names,
    key=keys,
    begins=st.lists(st.integers(0, 2**61 - 5), min_size=1, max_size=40),
    width=st.sampled_from([1, 2, 5, 130, 1000, 5000]),
    threads=st.integers(1, 3),
    data=st.data(),
)
def test_each_row_of_a_table_begins_where_it_is_told_to(name, key, begins, width, threads, data):
    numbers = data.draw(parameters[name])
    out = np.full((len(begins), 4 * width), np.nan, dtype=np.float32)
    kernel(name)(out, key, 4 * np.array(begins), *numbers, threads=threads)
    for row, block in zip(out, begins, strict=True):
        assert_same_bits(row, by_reference(name, key, 4 * block, 4 * width, *numbers))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_millions_of_draws_are_the_references(name, threads):
    out = np.empty(2**22, dtype=np.float32)
    kernel(name)(out, 12345, 2**33 + 1, *PLAIN[name], threads=threads)
    assert_same_bits(out, by_reference(name, 12345, 2**33 + 1, out.size, *PLAIN[name]))


@settings(max_examples=12)
@given(
    name=st.sampled_from(["uniform", "normal"]),
    seed=st.integers(-(2**63), 2**63 - 1),
    text=st.text(max_size=20),
    start=starts,
    size=st.sampled_from([blocks._SHARED, blocks.PAST_CACHE, registry.WORTH_LOADING, 2**20]),
    beside=st.integers(-5, 5),
    threads=st.sampled_from([1, 2, 4]),
)
def test_a_stream_gives_the_references_bits_around_every_limit(name, seed, text, start, size, beside, threads):
    stream, count = Stream(seed, text), size + beside
    drawn = getattr(stream, name)(count, -0.5, 2.0, start=start, threads=threads)
    assert_same_bits(drawn, by_reference(name, stream.key, start, count, -0.5, 2.0))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_truncated_stream_gives_the_references_bits(threads):
    numbers = central.parameters(0.0, 0.02, -0.04, 0.04)
    drawn = Stream(3, "t").truncated_normal(registry.WORTH_LOADING, 0.0, 0.02, -0.04, 0.04, start=7, threads=threads)
    assert_same_bits(drawn, by_reference("central", Stream(3, "t").key, 7, drawn.size, *numbers))


@pytest.mark.parametrize(("low", "high"), [(-2, 2), (-3.352, 3.352), (-3.354, 3.352), (-3.352, np.inf), (-np.inf, 1)])
def test_a_truncated_draw_is_the_references_whether_its_interval_needs_the_ends_or_not(low, high):
    numbers = central.parameters(0.0, 1.0, low, high)
    out = np.empty(2**20, dtype=np.float32)
    kernel("central")(out, 9, 0, *numbers)
    assert_same_bits(out, by_reference("central", 9, 0, out.size, *numbers))


@given(st.floats(-4, 4).map(lambda power: 2.0**power), keys, st.integers(0, 2**40))
def test_a_draw_from_an_even_interval_is_the_references(end, key, start):
    numbers = central.parameters(0.0, 1.0, -end, end)
    if numbers:
        left, right, share, *_ = numbers
        assert left == right
        assert (
            share > 2.0**-10
        )  # so that no two words come to the same probability, as the shorter way takes for granted
        out = np.empty(1000, dtype=np.float32)
        kernel("central")(out, key, start, *numbers)
        assert_same_bits(out, by_reference("central", key, start, out.size, *numbers))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("gap", range(1, 17, 3))
def test_a_long_array_may_begin_anywhere_in_a_line_of_the_cache(name, gap):
    whole = np.full(blocks.PAST_CACHE + 40, 7, dtype=np.float32)
    out = whole[gap : gap + blocks.PAST_CACHE + 9]
    kernel(name)(out, 5, 0, *PLAIN[name])
    assert_same_bits(out, by_reference(name, 5, 0, out.size, *PLAIN[name]))
    assert (whole[:gap] == 7).all()
    assert (whole[gap + out.size :] == 7).all()


def test_no_tail_above_the_end_needs_the_other_polynomial():
    tail = np.float32(draws._END) * (1 + np.arange(1000, dtype=np.float32) * 2.0**-23)
    v = -transforms.log(np.float32(4) * tail * (np.float32(1) - tail))
    assert (v < central.LIMIT).all()
    assert central.parameters(0, 1, -3.352, 3.352)[0] > draws._END > central.parameters(0, 1, -3.354, 3.354)[0]


@pytest.mark.parametrize(
    ("name", "digest"),
    [("uniform", "49aa3e4460e972a9ad428f32faf5626a"), ("normal", "3ede57f780f170caf2a9aa11b1503533")],
)
def test_the_promised_bits_come_from_the_kernel_too(name, digest):
    out = np.empty(1000, dtype=np.float32)
    kernel(name)(out, Stream(0, "layer.weight").key, 0, 0.0, 1.0)
    assert sha256(out.astype("<f4").tobytes()).hexdigest()[:32] == digest


@pytest.mark.parametrize("name", TRANSFORMS)
def test_neither_neighbour_of_the_array_is_written(name):
    whole = np.zeros(40, dtype=np.float32)
    kernel(name)(whole[3:30], 7, 5, *PLAIN[name])
    assert not whole[:3].any()
    assert whole[3:30].all()
    assert not whole[30:].any()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_rows_of_no_draws_are_drawn_in_no_time(name):
    kernel(name)(np.empty((3, 0), dtype=np.float32), 0, np.zeros(3, dtype=np.int64), *PLAIN[name], threads=2)
    kernel(name)(np.empty(0, dtype=np.float32), 0, 1, *PLAIN[name], threads=2)


@pytest.mark.parametrize("out", [np.zeros(8), np.zeros(16, dtype=np.float32)[::2], np.zeros((4, 8), "f4").T], ids=str)
def test_memory_that_is_no_run_of_float32_is_refused(out):
    with pytest.raises(TypeError, match="draws go to contiguous float32; got"):
        kernel("uniform")(out, 0, 0, 0.0, 1.0)
    assert not out.any()


def test_every_distribution_has_a_loop_and_a_transform():
    assert set(drawing.DISTRIBUTIONS) == set(TRANSFORMS)
    assert all(callable(getattr(draws, name)) for name in drawing.DISTRIBUTIONS)
    assert [len(PLAIN[name]) for name in drawing.DISTRIBUTIONS] == list(drawing.NUMBERS)
