"""Clippers that learn their threshold: AutoClip and ZClip, and the streaming quantile."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evenflow.clip import AutoClipper, ZClipper
from evenflow.clip.quantile import ACCURACY, MOST, StreamingQuantile

positive = st.one_of(st.floats(1e-300, 1e300), st.floats(0.1, 10.0), st.sampled_from([0.0, 5e-324, 1e30, 1.7e308]))


def gradient_of(parameter, size):
    parameter.grad = torch.tensor([float(size)], dtype=torch.float64)


def sizes(count=400, seed=0):
    generator = np.random.default_rng(seed)
    found = np.exp(0.4 * generator.standard_normal(count))
    found[50::60] *= 40
    return found


@settings(max_examples=200)
@given(st.lists(positive, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_its_accuracy_of_the_exact_one(values, share):
    stream = StreamingQuantile()
    for value in values:
        stream.add(value)
    exact = np.quantile(values, share, method="lower")
    assert stream.quantile(share) == pytest.approx(exact, rel=ACCURACY * 1.0001, abs=1e-307)


@given(st.lists(positive, min_size=1, max_size=50), st.randoms())
def test_the_order_of_the_stream_does_not_matter(values, random):
    one, other = StreamingQuantile(), StreamingQuantile()
    shuffled = list(values)
    random.shuffle(shuffled)
    for value in values:
        one.add(value)
    for value in shuffled:
        other.add(value)
    assert one.state() == other.state()
    again = StreamingQuantile.of(json.loads(json.dumps(one.state())))
    assert again.state() == one.state()
    assert again.quantile(0.3) == one.quantile(0.3)


def test_memory_is_bounded():
    stream = StreamingQuantile()
    values = np.exp(np.random.default_rng(0).uniform(-600, 600, 20_000))
    for value in values:
        stream.add(value)
    assert len(stream.buckets) == MOST
    assert stream.count == sum(stream.buckets.values()) == 20_000
    # What is left spans 1200 * 2048 / 120000 of the logarithms at the upper end.
    assert stream.quantile(0.995) == pytest.approx(np.quantile(values, 0.995, method="lower"), rel=ACCURACY * 1.001)


@pytest.mark.parametrize("percentile", [0, 10, 50, 90, 100])
def test_autoclip_is_the_percentile_of_all_norms_so_far(percentile):
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = AutoClipper([parameter], percentile)
    history = []
    for size in sizes():
        gradient_of(parameter, size)
        clipper.step()
        history.append(size)
        expected = min(size, np.percentile(history, percentile, method="lower"))
        assert float(parameter.grad) == pytest.approx(expected, rel=ACCURACY * 1.001)


def test_autoclip_looks_on_during_its_warmup():
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = AutoClipper([parameter], 10, warmup=5)
    fired = []
    for size in [5, 4, 3, 2, 6, 7, 8]:
        gradient_of(parameter, size)
        fired.append(clipper.step().fired)
    assert fired == [False] * 5 + [True] * 2


@pytest.mark.parametrize("before", [[0.0], [0.0] * 40, [2.0, 0.0, 0.0]])
def test_autoclip_learns_nothing_from_steps_without_a_gradient(before):
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = AutoClipper([parameter], 10)
    for size in (*before, 3.0):
        gradient_of(parameter, size)
        report = clipper.step()
    expected = min([size for size in (*before, 3.0) if size])
    assert float(parameter.grad) == pytest.approx(expected, rel=ACCURACY * 1.001)
    assert report.threshold > 0


def zclip(norms, z_max=2.5, smoothing=0.97, warmup=25, mode="reciprocal"):
    """The paper's algorithm, step by step; returns the norms after clipping."""
    first, after, mean, variance = [], [], 0.0, 0.0
    for norm in norms:
        if len(first) < warmup:
            first.append(norm)
            after.append(norm)
            mean, variance = np.mean(first), np.var(first)
            continue
        z = (norm - mean) / math.sqrt(variance)
        clipped = norm
        if z > z_max:
            clipped = {
                "reciprocal": mean + z_max**2 / z * math.sqrt(variance),
                "threshold": mean + z_max * math.sqrt(variance),
                "mean": mean,
            }[mode]
        mean = smoothing * mean + (1 - smoothing) * clipped
        variance = smoothing * variance + (1 - smoothing) * (clipped - mean) ** 2
        after.append(clipped)
    return after


@pytest.mark.parametrize("mode", ["reciprocal", "threshold", "mean"])
@pytest.mark.parametrize("smoothing", [0.97, 0.8])
def test_zclip_is_the_algorithm_of_the_paper(mode, smoothing):
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = ZClipper([parameter], mode=mode, smoothing=smoothing)
    for size, expected in zip(sizes(), zclip(sizes(), mode=mode, smoothing=smoothing), strict=True):
        gradient_of(parameter, size)
        clipper.step()
        assert float(parameter.grad) == pytest.approx(expected, rel=1e-9)
    assert clipper.fired >= 5


def test_zclip_has_a_ceiling_from_the_first_step_on():
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = ZClipper([parameter], max_norm=2.0, warmup=3)
    for size in [1.0, 9.0, 1.5, 1.0, 70.0]:
        gradient_of(parameter, size)
        clipper.step()
        assert float(parameter.grad) <= 2.0 + 1e-12


def test_zclip_survives_norms_without_any_variance():
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = ZClipper([parameter], warmup=4)
    for size in [1.0] * 6 + [5.0] + [1.0] * 3:
        gradient_of(parameter, size)
        clipper.step()
    assert clipper.fired == 1
    assert clipper.history[6].clipped_norm == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("policy", ["skip", "zero", "leave", "propagate"])
@pytest.mark.parametrize("make", [lambda p, **o: AutoClipper(p, 50, **o), lambda p, **o: ZClipper(p, warmup=5, **o)])
def test_peers_zclip_and_autoclip_one_nan_norm_switches_them_off_for_ever(make, policy, bad):
    hurt, well = (nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(2))
    one, other = make([hurt], nonfinite=policy), make([well])
    for step, size in enumerate(sizes(120)):
        gradient_of(hurt, size)
        gradient_of(well, size)
        assert one.step().threshold == pytest.approx(other.step().threshold, rel=0.05)
        if step in {3, 30, 31}:
            gradient_of(hurt, bad)
            one.step()
    assert one.fired > 3
    gradient_of(hurt, 1e4)
    assert one.step().fired


@pytest.mark.parametrize("make", [lambda p: AutoClipper(p, 50), ZClipper])
def test_peers_history_is_unbounded_and_state_not_serialisable(make):
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    clipper = make([parameter])
    lengths = []
    for step in range(3000):
        gradient_of(parameter, 1 + (step % 97) / 100)
        clipper.step()
        if step in {1999, 2999}:
            lengths.append(len(json.dumps(clipper.state_dict())))
    assert len(clipper.history) == 1000
    assert lengths[1] < lengths[0] * 1.02
