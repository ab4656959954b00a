"""A million draws of every distribution; `make statistics` makes a hundred million."""

import sys

import numpy as np
import pytest

NAMES = ["uniform", "normal", "truncated", "far truncated"]


@pytest.mark.parametrize("name", NAMES)
def test_a_million_draws_pass(battery, name):
    assert battery.Battery(name, 10**6).failures() == []


@pytest.mark.statistics
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_million_draws_pass(battery, name, capsys):
    found = battery.Battery(name, 10**8 if name != "far truncated" else 10**7)
    with capsys.disabled():
        worst = sorted(found.numbers.items(), key=lambda item: -abs(item[1]))[:5]
        shown = ", ".join(f"{key} {value:+.2f}" for key, value in worst)
        sys.stdout.write(
            f"\n{name}, {found.count:,} draws: kolmogorov {found.numbers['kolmogorov']:.2f}; largest: {shown}\n"
        )
    assert found.failures() == []


def shifted(stream, count, start):
    return stream.uniform(count, start=start) * np.float32(0.99)


def repeated(stream, count, start):
    x = stream.uniform(count, start=start)
    x[1::8] = x[::8]
    return x


def alike(stream, count, start):
    """Another seed gives numbers that follow the first one's."""
    from evenflow.random import Stream

    return 0.5 * stream.uniform(count, start=start) + 0.5 * Stream(0, "same").uniform(count, start=start)


def clipped(stream, count, start):
    return stream.normal(count, start=start).clip(-3.5, 3.5)


def coarse(stream, count, start):
    return np.floor(stream.uniform(count, start=start) * 1000).astype(np.float32) / 1000


@pytest.mark.parametrize(
    ("name", "broken", "caught"),
    [
        ("uniform", shifted, "moment 1"),
        ("uniform", repeated, "lag 1"),
        ("uniform", alike, "beside"),
        ("normal", clipped, "beyond 4 sigma"),
        ("uniform", coarse, "cells"),
    ],
    ids=["shifted", "repeated", "alike", "clipped", "coarse"],
)
def test_a_broken_generator_is_caught(battery, name, broken, caught):
    assert any(failure.startswith(caught) for failure in battery.Battery(name, 10**6, broken).failures())
