import subprocess
import sys

import pytest

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.random import Stream

NAN, INF = float("nan"), float("inf")
STREAM = Stream(0, "a")


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        ("uniform", {"low": NAN}, "low"),
        ("uniform", {"high": INF}, "high"),
        ("uniform", {"low": 1.0, "high": 0.0}, "low must not be above high"),
        ("uniform", {"high": 3e38}, "high"),
        ("normal", {"mean": NAN}, "mean"),
        ("normal", {"mean": -INF}, "mean"),
        ("normal", {"std": -1.0}, "std"),
        ("normal", {"std": NAN}, "std"),
        ("normal", {"std": INF}, "std"),
        ("normal", {"std": 1e38}, "std"),
        ("truncated_normal", {"mean": NAN}, "mean"),
        ("truncated_normal", {"std": -1.0}, "std"),
        ("truncated_normal", {"low": NAN}, "low"),
        ("truncated_normal", {"high": NAN}, "high"),
        ("truncated_normal", {"low": 1.0, "high": 0.5}, "low must not be above high"),
        ("truncated_normal", {"low": INF, "high": INF}, "low"),
        ("truncated_normal", {"low": -INF, "high": -INF}, "high"),
        ("uniform", {"start": -1}, "start"),
        ("normal", {"start": 2**64 - 2}, "start"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(kind, arguments, named):
    with pytest.raises(ParameterValueError, match=named):
        getattr(STREAM, kind)(3, **arguments)


@pytest.mark.parametrize("shape", [-1, (2, -3)])
def test_a_negative_size_is_refused(shape):
    with pytest.raises(ParameterValueError, match="shape"):
        STREAM.normal(shape)


@pytest.mark.parametrize("shape", [2.0, "3", True, (2, 1.5), None])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ParameterTypeError, match="shape"):
        STREAM.normal(shape)


@pytest.mark.parametrize("arguments", [{"std": "1"}, {"mean": None}, {"mean": True}, {"start": 1.0}])
def test_arguments_of_the_wrong_type_are_refused(arguments):
    with pytest.raises(ParameterTypeError):
        STREAM.normal(3, **arguments)


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, -1), (2**64, 1)])
def test_words_outside_the_stream_are_refused(start, count):
    with pytest.raises(ParameterValueError):
        STREAM.words(start, count)


@pytest.mark.parametrize(
    "arguments",
    [{"low": 1.7e38, "high": 1.7e38}, {"low": -1.7e38, "high": 1.7e38}],
)
def test_the_widest_uniform_interval_does_not_overflow(arguments):
    draws = STREAM.uniform(1000, **arguments)
    assert abs(draws).max() <= 1.7014118e38


def test_the_widest_normal_distribution_does_not_overflow():
    assert abs(STREAM.normal(100_000, mean=1.7e38, std=2.1e37)).max() < INF


def test_only_far_truncated_normal_draws_load_scipy():
    script = (
        "import sys; from evenflow.random import Stream; s = Stream(0, 'a'); s.normal(3); s.uniform(3)\n"
        "print('scipy' in sys.modules, 'torch' in sys.modules)\n"
        "s.truncated_normal(3); print('scipy' in sys.modules)\n"
        "s.truncated_normal(3, low=9.0, high=10.0); print('scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False", "True"]
